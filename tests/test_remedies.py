"""What a message advises is done here, in the very situation of the message: it works."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import held
import pytest

from charrnn.cli import main
from charrnn.errors import CheckpointError
from charrnn.runs.checkpoint import read_metadata
from charrnn.runs.folder import RunFolder, read_log
from charrnn.text.corpus import read_corpus
from charrnn.training.validation import evaluate_test

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
TINY = ["--hidden-size", "8", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7", "--no-sample"]
COMMAND = re.compile(r"'charrnn ([^']*)'|charrnn (.+)$", re.M)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a text and a finished run of 11 steps on it."""
    folder, before = tmp_path_factory.mktemp("made"), os.getcwd()
    (folder / "text.txt").write_text(TEXT)
    os.chdir(folder)
    try:
        assert main(["train", "text.txt", *TINY, "--steps", "11", "-o", "run", "-q"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments, code=0):
    """Run a command in this process; return what it said on stderr."""
    assert main(list(map(str, arguments))) == code
    return capsys.readouterr().err


def advised(said):
    """Return the arguments of the last command that a message advises."""
    quoted, bare = COMMAND.findall(said)[-1]
    return shlex.split(quoted or bare)


def step_of(path):
    return read_metadata(path)["training"]["step"]


# ------------------------------------------------------------------------------------------------- a damaged checkpoint


def damage(path, how):
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:  # only the numbers
        whole = bytearray(path.read_bytes())
        whole[-1] ^= 1
        path.write_bytes(whole)


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
@pytest.mark.parametrize("name", ["run", "a run's folder"])
def test_a_run_whose_last_is_damaged_goes_on_from_its_best_as_advised(folder, capsys, how, name):
    os.rename("run", name)
    best = Path(name, "best.safetensors")
    # A best of earlier than the last, as most are.
    run(capsys, "train", "text.txt", *TINY, "--steps", 4, "-o", "short", "-q")
    shutil.copy("short/best.safetensors", best)
    damage(Path(name, "last.safetensors"), how)
    said = run(capsys, "train", "--resume", name, "--steps", 20, code=2)
    arguments = advised(said)
    assert arguments == ["train", "--resume", str(best)]
    said = run(capsys, *arguments, "--steps", 14)
    assert "resuming from" in said and "after step 4 are lost" in said
    assert step_of(Path(name, "last.safetensors")) == 14
    steps = [record["step"] for record in read_log(Path(name, "log.jsonl"))]
    assert steps == sorted(steps) and steps[-1] == 14
    run(capsys, "train", "--resume", name, "--steps", 15)
    assert step_of(Path(name, "last.safetensors")) == 15


def test_a_refused_resumption_from_best_leaves_the_damaged_last_as_it_is(folder, capsys):
    damage(folder / "run/last.safetensors", "cut")
    before = (folder / "run/last.safetensors").read_bytes()
    (folder / "text.txt").write_text(TEXT + "more")
    run(capsys, "train", "--resume", "run/best.safetensors", code=2)
    assert (folder / "run/last.safetensors").read_bytes() == before


def test_best_named_where_last_is_whole_goes_on_from_last_and_says_so(folder, capsys):
    said = run(capsys, "train", "--resume", "run/best.safetensors", "--steps", 14)
    assert "resumes where it stopped, from run/last.safetensors" in said and step_of("run/last.safetensors") == 14
    arguments = ["text.txt" if each == "TEXT" else each for each in advised(said.split("\n")[0])]
    assert arguments == ["train", "text.txt", "--init-from", "run/best.safetensors"]
    run(capsys, *arguments, "--steps", 1, "-o", "other")


@pytest.mark.parametrize("one, other", [("last", "best"), ("best", "last")])
@pytest.mark.parametrize("command", [("info",), ("sample", "--length", "3"), ("eval", "--no-baselines")])
def test_a_damaged_checkpoint_leads_to_the_other_one_where_that_is_whole(folder, capsys, one, other, command):
    damage(folder / f"run/{one}.safetensors", "cut")
    said = run(capsys, *command, f"run/{one}.safetensors", code=2)
    named = re.search(r"; name (\S+) instead$", said)[1]
    assert named == f"run/{other}.safetensors"
    run(capsys, *command, named)
    damage(folder / f"run/{other}.safetensors", "cut")
    assert "instead" not in run(capsys, *command, f"run/{one}.safetensors", code=2)


def test_where_neither_is_whole_nothing_of_the_run_is_advised(folder, capsys):
    for name in ("last", "best"):
        damage(folder / f"run/{name}.safetensors", "cut")
    assert advised(run(capsys, "train", "--resume", "run", code=2)) == ["train", "TEXT", "-o", "FOLDER"]
    assert "restore it from a copy" in run(capsys, "train", "--resume", "run/best.safetensors", code=2)


def test_a_finished_run_whose_best_is_damaged_can_be_measured_as_advised(folder, capsys):
    run(capsys, "train", "text.txt", *TINY, "--steps", 8, "--eval-every", 4, "-o", "r", "-q")
    damage(folder / "r/best.safetensors", "cut")
    with read_corpus(["text.txt"]) as corpus, RunFolder.open("r") as opened:
        splits = corpus.split(0.05, 0.05)
        with pytest.raises(CheckpointError) as refused:
            evaluate_test(opened, corpus, splits, splits.val)
    run(capsys, *advised(str(refused.value)), "--no-baselines")


# ------------------------------------------------------------------------------------------------------ sweeps and runs


def sweep(capsys, steps=4):
    with open("grid.toml", "w") as file:
        file.write(
            f'text = ["text.txt"]\nsteps = {steps}\nhidden_size = 8\nnum_layers = 1\nbatch_size = 3\nseq_length = 7\n'
            '[grid]\ncell = ["lstm", "gru"]\n'
        )
    return run(capsys, "sweep", "grid.toml", "-q")


@pytest.mark.slow
def test_after_a_sweep_its_runs_are_named_to_whoever_asks_for_the_newest(folder, capsys):
    sweep(capsys)
    for command in (("sample", "--length", 3), ("info",), ("eval", "--no-baselines")):
        said = run(capsys, *command, code=2)
        named = re.search(r"such as (\S+)$", said)[1]
        run(capsys, *command, named)
    assert "such as checkpoints/grid-sweep-1/" in run(capsys, "gradients", "--steps", 3)
    said = run(capsys, "train", "--resume", code=2)
    assert advised(said) == ["sweep", "--resume", "checkpoints/grid-sweep-1"]
    run(capsys, *advised(said))
    assert advised(run(capsys, "train", "--resume", "checkpoints/grid-sweep-1", code=2)) == advised(said)
    assert advised(run(capsys, "sweep", "--resume", "run", code=2)) == ["train", "--resume", "run"]


@pytest.mark.slow
def test_a_dry_run_tells_a_run_that_has_begun_from_one_that_has_not(folder, capsys):
    sweep(capsys)
    sweep_folder = Path("checkpoints/grid-sweep-1")
    text = Path("grid.toml").read_text()
    shutil.rmtree(sweep_folder / "gru")
    # Stopped half way: what a run of 8 steps left at 4.
    Path("grid.toml").write_text(text.replace("steps = 4", "steps = 8"))
    shutil.rmtree(sweep_folder / "lstm")
    process = held.start("train", "text.txt", "--cell", "lstm", *TINY, "--steps", 8, "-o", sweep_folder / "lstm")
    held.wait_until_held(process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    (sweep_folder / "results.json").unlink()
    assert main(["sweep", "grid.toml", "-o", str(sweep_folder), "--dry-run", "--csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert {row[0]: row[-1] for row in rows} == {"lstm": "stopped", "gru": "waiting"}
    run(capsys, "sweep", "grid.toml", "-o", sweep_folder, "-q")


@pytest.mark.slow
def test_a_run_of_a_sweep_whose_last_is_damaged_says_how_it_goes_on(folder, capsys):
    sweep(capsys)
    at = Path("checkpoints/grid-sweep-1/gru/last.safetensors")
    damage(at, "cut")
    assert main(["sweep", "--resume", "checkpoints/grid-sweep-1", "--json"]) == 1
    error = next(row["error"] for row in json.loads(capsys.readouterr().out)["runs"] if row["run"] == "gru")
    arguments = advised(error)
    assert arguments == ["train", "--resume", str(at.with_name("best.safetensors"))]
    run(capsys, *arguments, "--steps", 5)


# --------------------------------------------------------------------------------------- texts, folders and full disks


@pytest.mark.slow
def test_a_changed_text_gets_the_remedy_of_the_command_that_meets_it(folder, capsys):
    (folder / "text.txt").write_text(TEXT + "line 3\n")
    for command in (("eval", "--no-baselines"), ("gradients", "--steps", "3")):
        said = run(capsys, *command, "run", code=2)
        assert "not the text that the run was started with, or it has changed: text.txt had" in said and said.endswith(
            "or name another TEXT to read\n"
        )
        run(capsys, *command, "run", "text.txt")
    said = run(capsys, "eval", "run", "text.txt", "--errors", code=2)
    assert said.endswith("restore that text, or leave --errors out\n")
    assert advised(run(capsys, "train", "--resume", "run", "--steps", 20, code=2)) == (
        ["train", "TEXT", "--init-from", "RUN"]
    )
    run(capsys, "train", "text.txt", "--init-from", "run", "--steps", 1, "-o", "new")
    sweep(capsys)
    (folder / "text.txt").write_text(TEXT)
    assert "or name another folder with -o" in run(capsys, "sweep", "--resume", "checkpoints/grid-sweep-1", code=2)
    run(capsys, "sweep", "grid.toml", "-o", "another", "-q")


@pytest.mark.slow
def test_a_text_that_is_gone_gets_the_remedy_of_the_command_that_misses_it(folder, capsys):
    sweep(capsys)
    os.rename("text.txt", "moved.txt")
    said = run(capsys, "train", "--resume", "run", "--steps", 20, code=2)
    assert "give the TEXT's new path on the command line" in said
    assert "or name another TEXT to read" in run(capsys, "eval", "run", code=2)
    run(capsys, "eval", "run", "moved.txt", "--no-baselines")
    run(capsys, "train", "moved.txt", "--resume", "run", "--steps", 20)
    said = run(capsys, "sweep", "--resume", "checkpoints/grid-sweep-1", code=2)
    assert "change the line text = [...] of checkpoints/grid-sweep-1/spec.toml" in said
    spec = Path("checkpoints/grid-sweep-1/spec.toml")
    spec.write_text(spec.read_text().replace('"text.txt"', '"moved.txt"'))
    run(capsys, "sweep", "--resume", "checkpoints/grid-sweep-1")


def test_a_link_to_nowhere_is_called_so_and_goes_as_advised(folder, capsys):
    for link in ("checkpoints", "far"):
        Path(link).symlink_to("/nowhere/x")
        output = [] if link == "checkpoints" else ["-o", "far/run"]
        said = run(capsys, "train", "text.txt", *TINY, "--steps", 1, *output, code=2)
        assert f"{link} is a link to /nowhere/x, which does not exist" in said
        remedy = said.rsplit("with: ", 1)[1]
        assert subprocess.run(shlex.split(remedy)).returncode == 0
        run(capsys, "train", "text.txt", *TINY, "--steps", 1, *output)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
def test_a_full_stdout_is_not_called_a_full_folder_and_what_was_saved_is_named(folder):
    def refused(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *map(str, arguments)],
            stdout=open("/dev/full", "w"),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 2
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and "cannot write to stdout: no space left" in errors[0] and "folder" not in errors[0]
        return errors[0]

    assert advised(refused("train", "text.txt", *TINY, "--steps", 1, "-q", "-o", "saved")) == ["info", "saved"]
    assert main(["info", "saved"]) == 0
    assert "free some space" in refused("info", "run")
