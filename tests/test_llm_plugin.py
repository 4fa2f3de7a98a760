"""The plug-in for the `llm` command line, with the real package."""

import configparser
import importlib
import json
import subprocess
import sys
from pathlib import Path

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli
from llm.plugins import load_plugins, pm

import charrnn
from charrnn import llm_plugin
from charrnn.cli import main

ROOT = Path(__file__).parent.parent


pytestmark = pytest.mark.slow  # each call of `llm` opens its database


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with ./checkpoints/words, and a run elsewhere."""
    folder = tmp_path_factory.mktemp("llm")
    (folder / "text.txt").write_text("to be or not to be\n" * 60)
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--threads", "1", "--no-sample", "-q", "--steps", "5"]
    for run in ("checkpoints/words", "elsewhere/more", "elsewhere/other"):
        assert not main(["train", str(folder / "text.txt"), *tiny, "-o", str(folder / run)])
    (folder / "elsewhere" / "empty").mkdir()
    (folder / "user").mkdir()
    return folder


@pytest.fixture
def ask(runs, monkeypatch):
    """Return a function that calls `llm` in that folder."""
    monkeypatch.chdir(runs)
    monkeypatch.setenv("LLM_USER_PATH", str(runs / "user"))
    load_plugins()
    if not pm.is_registered(llm_plugin):
        pm.register(llm_plugin)

    def ask(*arguments, code=0):
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == code, done.output
        return done.output

    return ask


def test_runs_are_models_of_llm_and_write_the_texts_of_charrnn_sample(ask, runs):
    assert "CharacterModel: charrnn/words" in ask("models")
    model = charrnn.load(runs / "checkpoints" / "words")
    expected = charrnn.sample(model, 70, prime="to b", temperature=0.7, seed=3, top_k=5)
    options = ["-o", "temperature", "0.7", "-o", "length", "70", "-o", "seed", "3", "-o", "top_k", "5"]
    for streaming in ([], ["--no-stream"]):
        assert ask("-m", "charrnn/words", "to b", *options, *streaming) == expected + "\n"
    logged = json.loads(ask("logs", "--json"))[-1]
    assert logged["response_json"] == {"seed": 3, "finish_reason": "length"} and logged["output_tokens"] == 70
    response = llm.get_model("charrnn/words").prompt("to", length=500, seed=1)
    pieces = list(response)
    assert len(pieces) > 1 and len("".join(pieces)) == 500


def test_what_cannot_be_done_is_said_in_one_sentence(ask):
    assert "character 'X' at offset 0 is not among" in ask("-m", "charrnn/words", "X", code=1)
    assert "length must be between 0" in ask("-m", "charrnn/words", "to", "-o", "length", "-4", code=1)
    assert "temperature must be 0 (greedy)" in ask("-m", "charrnn/words", "to", "-o", "temperature", "-4", code=1)
    assert "has no system prompt" in ask("-m", "charrnn/words", "to", "-s", "be brief", code=1)


def test_runs_elsewhere_are_named_by_the_environment(runs, monkeypatch):
    monkeypatch.chdir(runs)
    elsewhere = runs / "elsewhere"
    assert set(llm_plugin.find_runs("")) == {"words"}
    assert set(llm_plugin.find_runs(str(elsewhere))) == {"words", "more", "other"}
    some = llm_plugin.find_runs(f"{elsewhere / 'more'}:{elsewhere / 'other' / 'best.safetensors'}:/no/where")
    assert set(some) == {"words", "more", "best"}


def test_the_entry_point_names_the_plug_in_and_a_start_of_llm_imports_no_numpy():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    name, _, module = parser["options.entry_points"]["llm"].strip().partition(" = ")
    assert name == "charrnn" and importlib.import_module(module) is llm_plugin
    code = "import sys, llm; has = set(sys.modules); import charrnn.llm_plugin; new = set(sys.modules) - has;"
    code += "assert not {'numpy', 'numba', 'charrnn.library'} & new, new"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
