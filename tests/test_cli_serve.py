"""charrnn serve as a process: how it begins, what it refuses, and how it ends."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import charrnn
from charrnn.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    (folder / "text.txt").write_text("to be or not to be\n" * 60)
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--threads", "1", "--no-sample", "-q", "--steps", "5"]
    assert not main(["train", str(folder / "text.txt"), *tiny, "-o", str(folder / "words")])
    return folder / "words"


def start(run, *options):
    """Start a server on a free port; return the process and its address, once it has said it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", "serve", str(run), "--port", "0", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.stdout.readline()
    found = re.match(r"serving words at (http://127\.0\.0\.1:\d+) \(press Ctrl-C to stop\)$", said)
    assert found, (said, process.stderr.read())
    return process, found[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_answers_what_it_has_begun(run, number, capsys):
    process, url = start(run, "--max-tokens", "30000", *(["--quiet"] if number == signal.SIGINT else []))
    try:
        port = url.rpartition(":")[2]
        assert main(["serve", str(run), "--port", port]) == 2
        assert (
            f"port {port} of 127.0.0.1 is in use: name another with --port {int(port) + 1}" in capsys.readouterr().err
        )
        with httpx.Client(base_url=url, timeout=30) as http:
            asked = {"prompt": "to", "max_tokens": 30_000, "seed": 1, "stream": True}
            with http.stream("POST", "/v1/completions", json=asked) as answer:
                lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
                first = json.loads(next(lines))["choices"][0]["text"]
                process.send_signal(number)
                *parts, done = lines
        text = first + "".join(json.loads(part)["choices"][0]["text"] for part in parts)
        assert done == "[DONE]" and text == charrnn.sample(charrnn.load(run), 30_000, prime="to", seed=1)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and out == ""
    logged = "POST /v1/completions 200" in err and "1 x 30,000 asked, 30,000 characters" in err
    assert logged == (number == signal.SIGTERM), err


def test_what_is_missing_or_wrong_is_said_before_a_model_is_read(run, monkeypatch, capsys):
    for options, said in (
        (["--port", "70000"], "--port must be at least 0 and at most 65,535, got 70,000"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid is not an address of this machine"),
        (["--encoding", "latin-1"], "--encoding latin-1 is for a byte model, and this is a model of characters"),
        (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1 is not an address of this machine"),
    ):
        assert main(["serve", str(run), *options]) == 2
        assert said in capsys.readouterr().err
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else find(name, *more)
    )
    assert main(["serve", str(run)]) == 2
    assert "pip install starlette uvicorn" in capsys.readouterr().err


def test_a_model_that_predicts_is_not_served(tmp_path, capsys):
    (tmp_path / "l.csv").write_text(
        "text,label\n" + "".join(f"{'ab' * (i % 5 + 1)},{'xy'[i % 2]}\n" for i in range(90))
    )
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--threads", "1", "--no-sample", "-q", "--steps", "2"]
    told = ["--text-field", "text", "--label-field", "label", "--task", "classify"]
    assert not main(["train", str(tmp_path / "l.csv"), *tiny, *told, "-o", str(tmp_path / "run")])
    assert main(["serve", str(tmp_path / "run")]) == 2
    assert "predicts labels and does not write texts; use it with: charrnn predict" in capsys.readouterr().err
