"""charrnn train: what is asked on the command line or in a file, what is shown, how it ends."""

import base64
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import held
import numpy as np
import pytest
from click.testing import CliRunner

from charrnn.cli import display, group, main
from charrnn.cli import train as train_module
from charrnn.evaluation.loss import Evaluation
from charrnn.runs.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from charrnn.runs.folder import read_log
from charrnn.training import preparation
from charrnn.training.defaults import NORMALISED_RATES
from charrnn.training.model_options import HEADINGS
from charrnn.training.options import NAMES, SETTINGS
from charrnn.training.records import Evaluated, Preflight, Sampled, Step

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
TINY = ["--hidden-size", "8", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7", "--precision", "float32"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def train(*arguments):
    return main(["train", *map(str, arguments)])


def fails(capsys, *arguments):
    """Run, expect exit code 2 and one sentence; return it."""
    assert train(*arguments) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and captured.err.splitlines()[-1] == errors[0] and "Traceback" not in captured.err
    return errors[0]


# --------------------------------------------------------------------------------------------------------- a whole run


def test_a_run_leaves_its_four_files_and_says_its_result(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 12, "--eval-every", 4, "--sample-every", 6, "--sample-length", 20) == 0
    captured = capsys.readouterr()
    run = folder / "checkpoints" / "text-1"
    assert sorted(path.name for path in run.iterdir()) == [
        "best.safetensors",
        "config.toml",
        "last.safetensors",
        "log.jsonl",
    ]
    metadata = read_metadata(run / "best.safetensors")
    best = metadata["training"]["best"]["val_loss_nats"]
    assert f"validation  {best:.4f} nats" in captured.out and "test " in captured.out
    assert "checkpoints/text-1/best.safetensors" in captured.out
    for said in (
        "different",
        "parameters",
        "threads" if "threads" in captured.err else "thread",
        "12 steps",
        "chars/s",
        "sample at step 6",
        "validation",
        "charrnn sample checkpoints/text-1",
    ):
        assert said in captured.err
    assert "\x1b" not in captured.err and "\r" not in captured.err  # plain lines: stderr is no terminal
    records = list(read_log(run / "log.jsonl"))
    assert [record["step"] for record in records if "sample" not in record] == list(range(1, 13))
    assert [record["step"] for record in records if "sample" in record] == [6]
    assert metadata["training"]["corpus"]["sources"] == ["text.txt"]


def test_a_run_of_one_step_is_not_told_in_plurals(capsys):
    assert train("text.txt", *TINY, "--steps", 1, "--threads", 1) == 0
    captured = capsys.readouterr()
    assert (
        "trained     1 step, " in captured.out
        and "length  1 step; each step reads 3 streams x 7 characters" in captured.err
        and "1 thread\n" in captured.err
    )


def test_a_quiet_run_shows_the_result_only(capsys):
    assert train("text.txt", *TINY, "--steps", 3, "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "validation" in captured.out


def test_the_written_config_trains_the_same_model_again(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 5, "--dropout", 0.2, "--cell", "gru", "-o", "one", "-q") == 0
    options = tomllib.loads((folder / "one" / "config.toml").read_text())
    assert options["text"] == ["text.txt"] and options["cell"] == "gru" and set(options) <= {"text", *NAMES}
    assert train("--config", "one/config.toml", "-o", "two", "-q") == 0
    one, two = (load_checkpoint(folder / name / "last.safetensors").parameters for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_same_run_gives_the_same_bits_with_one_thread_and_two(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 5, "-o", "one", "-q", "--threads", 1) == 0
    assert train("text.txt", *TINY, "--steps", 5, "-o", "two", "-q", "--threads", 2) == 0
    one, two = (load_checkpoint(folder / name / "last.safetensors").parameters for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_bytes_mode_shows_samples_that_are_text(folder, capsys):
    (folder / "bin.txt").write_bytes("naïve café \U0001f600 ".encode() * 60 + bytes(range(256)))
    assert train("bin.txt", *TINY, "--vocab", "bytes", "--steps", 4, "--sample-every", 2) == 0
    err = capsys.readouterr().err
    assert "256 different" in err and "\x1b" not in err and "\x00" not in err
    run = folder / "checkpoints" / "bin-1"
    logged = [record for record in read_log(run / "log.jsonl") if "sample" in record]
    assert [record["step"] for record in logged] == [2]
    for record in logged:  # the bytes themselves, of which most are no text
        assert base64.b64decode(record["sample_base64"]).decode(errors="replace") == record["sample"]


@pytest.mark.slow
def test_stdin_is_a_text(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", "train", "-", *TINY, "--steps", "3", "-q"],
        input=TEXT,
        text=True,
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "checkpoints" / "stdin-1" / "best.safetensors").exists()


# ----------------------------------------------------------------------------------------------------------- resuming


def test_resume_alone_takes_the_newest_run_and_finds_its_text_again(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 6, "-o", "checkpoints/old", "-q") == 0
    assert train("text.txt", *TINY, "--steps", 4, "-o", "checkpoints/new", "-q") == 0
    capsys.readouterr()
    assert train("--resume", "--steps", 9) == 0
    assert "resuming checkpoints/new" in capsys.readouterr().err
    assert read_metadata(folder / "checkpoints/new/last.safetensors")["training"]["step"] == 9
    assert read_metadata(folder / "checkpoints/old/last.safetensors")["training"]["step"] == 6


def test_weights_beyond_drawing_from_end_as_a_divergence_does(folder, capsys):
    """The loss tells, and not the first sample, which is drawn before."""
    assert train("text.txt", *TINY, "--steps", 2, "--val-fraction", 0.3, "-o", "runs/a", "-q") == 0
    checkpoint = load_checkpoint("runs/a/last.safetensors")
    far = {**checkpoint.parameters, "output.weight": np.full_like(checkpoint.parameters["output.weight"], 3e38)}
    save_checkpoint("runs/a/last.safetensors", dataclasses.replace(checkpoint, parameters=far))
    said = fails(
        capsys,
        "text.txt",
        "--init-from",
        "runs/a/last.safetensors",
        "--steps",
        3,
        "--eval-every",
        1,
        "--sample-every",
        1,
        "-o",
        "runs/b",
    )
    assert "training stopped" in said and "start a new run with" in said
    said = fails(
        capsys,
        "text.txt",
        *TINY,
        "--learning-rate",
        1e38,
        "--clip-norm",
        0,
        "--warmup",
        0,
        "--optimizer",
        "sgd",
        "--steps",
        30,
        "--eval-every",
        0,
        "--sample-every",
        1,
        "-o",
        "runs/c",
    )
    assert "training stopped" in said and "start a new run with" in said


def test_resume_of_a_best_checkpoint_says_that_the_run_goes_on_from_its_last(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 4, "--eval-every", 2, "-o", "runs/a", "-q") == 0
    capsys.readouterr()
    assert train("--resume", "runs/a/last.safetensors", "--steps", 6) == 0
    assert "--init-from" not in capsys.readouterr().err
    assert train("--resume", "runs/a/best.safetensors", "--steps", 8) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert (
        "from runs/a/last.safetensors" in err and "from runs/a/best.safetensors: charrnn train TEXT --init-from" in err
    )


def test_resume_takes_a_run_also_from_another_folder(folder, monkeypatch, capsys):
    assert train("text.txt", *TINY, "--steps", 4, "-o", "runs/a", "-q") == 0
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert train("--resume", "../runs/a", "--steps", 6, "-q") == 0
    assert read_metadata(folder / "runs/a/last.safetensors")["training"]["step"] == 6


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number, code", [(2, 130), (15, 143), (1, 129)], ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_says_how_to_go_on_and_the_end_is_the_same(folder, number, code, capsys):
    options = [*TINY, "--steps", 30, "--eval-every", 10, "--log-every", 1]
    process = held.start("train", "text.txt", *options, "-o", "stopped", "--no-sample")
    held.wait_until_held(process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code, err
    assert "charrnn train --resume stopped" in err and "Traceback" not in err
    assert read_metadata(folder / "stopped" / "last.safetensors")["training"]["step"] == 1
    assert train("--resume", "stopped", "-q") == 0
    assert train("text.txt", *options, "-o", "whole", "-q") == 0
    for name in ("last", "best"):
        one, two = (load_checkpoint(folder / run / f"{name}.safetensors") for run in ("stopped", "whole"))
        for part in ("parameters", "optimizer", "carry"):
            a, b = getattr(one, part), getattr(two, part)
            assert all(np.array_equal(a[key], b[key]) for key in b)
    assert not (folder / "stopped" / "lock").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_kernels_are_compiled_stops_at_once(folder, number, code, capsys, monkeypatch):
    """There is no step to finish. What comes later would fail."""
    monkeypatch.setattr(preparation, "make_optimizer", lambda *_: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stopped:
        train("text.txt", *TINY, "--steps", 4, "--dropout", 0, "-o", "run")
    assert stopped.value.code == code
    said = capsys.readouterr().err
    assert "stopped before the first step of this session: nothing was trained" in said and "again" not in said
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert train("--resume", "run", "-q") == 0
    assert read_metadata(folder / "run" / "last.safetensors")["training"]["step"] == 4


def test_a_full_disk_is_told_with_how_to_go_on(folder, capsys, monkeypatch):
    options = ["text.txt", *TINY, "--steps", 8, "--checkpoint-every", 3, "-q"]
    assert train(*options, "-o", "whole") == 0
    real, room = os.replace, [2]  # checkpoints

    def full(source, target):
        if os.path.basename(target) == "last.safetensors":
            if not room[0]:
                raise OSError(28, "No space left on device")
            room[0] -= 1
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    said = fails(capsys, *options, "-o", "run")
    assert "no space left on device" in said
    assert "the checkpoint of step 3" in said and "charrnn train --resume run" in said
    assert sorted(path.name for path in (folder / "run").iterdir()) == [
        "config.toml",
        "good.safetensors",
        "last.safetensors",
        "log.jsonl",
    ]
    room[0] = 100
    assert train("--resume", "run", "-q") == 0
    one, two = (load_checkpoint(folder / run / "last.safetensors").parameters for run in ("run", "whole"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    room[0] = 0
    said = fails(capsys, *options, "-o", "none")
    assert "no space left" in said and "--resume" not in said and not (folder / "none").exists()


def test_what_resume_refuses(folder, capsys):
    assert "no run under ./checkpoints" in fails(capsys, "--resume")
    assert "is not a run folder" in fails(capsys, "--resume", "nowhere")
    assert train("text.txt", *TINY, "--steps", 4, "-o", "run", "-q") == 0
    assert f"--learning-rate {NORMALISED_RATES['adam']:g}" in fails(
        capsys, "--resume", "run", "--steps", 9, "--learning-rate", 0.1
    )
    assert "finished" in fails(capsys, "--resume", "run")
    assert "not shortened" in fails(capsys, "--resume", "run", "--steps", 2)
    assert "leave one of them out" in fails(capsys, "--resume", "run", "--init-from", "run")
    assert "name two different runs" in fails(capsys, "--resume", "run", "-o", "other")
    (folder / "text.txt").write_text(TEXT + "more")
    assert "has changed" in fails(capsys, "--resume", "run", "--steps", 9)
    (folder / "text.txt").unlink()
    assert "is missing" in fails(capsys, "--resume", "run", "--steps", 9)
    (folder / "moved.txt").write_text(TEXT)
    assert train("moved.txt", "--resume", "run", "--steps", 9, "-q") == 0


# -------------------------------------------------------------------------------------------------- from old weights


def test_init_from_maps_the_vocabulary_and_says_so(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 4, "-o", "old", "-q") == 0
    (folder / "other.txt").write_text(TEXT.replace("s", "ß"))
    capsys.readouterr()
    assert (
        train("other.txt", "--init-from", "old", "--batch-size", 3, "--seq-length", 7, "--steps", 3, "-o", "new") == 0
    )
    err = capsys.readouterr().err
    assert "1 character is not in the old model; it starts untrained: 'ß'" in err
    assert "1 character of the old model is not in the text and is dropped: 's'" in err
    assert read_metadata(folder / "new/last.safetensors")["model"]["hidden_size"] == 8
    assert "--hidden-size 8, got 9" in fails(capsys, "other.txt", "--init-from", "old", "--hidden-size", 9)
    assert "--vocab chars" in fails(capsys, "other.txt", "--init-from", "old", "--vocab", "bytes")


# -------------------------------------------------------------------------------------------------------- config file


def test_samples_that_were_turned_off_stay_off_when_a_run_is_resumed(folder, capsys):
    often = ("--sample-every", 4, "--sample-length", 9)
    assert train("text.txt", *TINY, "--steps", 8, *often, "--no-sample", "-o", "run") == 0
    assert "sample at step" not in capsys.readouterr().err
    assert read_metadata(folder / "run" / "last.safetensors")["training"]["config"]["sample"] is False
    assert train("--resume", "run", "--steps", 16) == 0
    assert "sample at step" not in capsys.readouterr().err
    assert train("--resume", "run", "--steps", 24, "--sample") == 0
    assert "sample at step" in capsys.readouterr().err
    assert train("--resume", "run", "--steps", 32) == 0
    assert "sample at step" in capsys.readouterr().err


@pytest.mark.parametrize("spelt", ["no-sample = true", "sample = false"])
def test_a_config_file_may_turn_samples_off_as_it_always_could(folder, capsys, spelt):
    (folder / "off.toml").write_text(spelt)
    options = ("--config", "off.toml", "--steps", 4, "--sample-every", 2, "-o", "run")
    assert train("text.txt", *TINY, *options) == 0
    assert "sample at step" not in capsys.readouterr().err
    assert tomllib.loads((folder / "run" / "config.toml").read_text())["sample"] is False


def test_the_command_line_wins_over_the_config_file(folder, capsys):
    (folder / "c.toml").write_text(
        'text = "text.txt"\nhidden-size = 5\nnum_layers = 1\nepochs = 2\nbatch-size = 3\n'
        "seq-length = 7\nvariational-dropout = true\nlearning-rate = 0.01\nquiet = true\n"
    )
    assert train("--config", "c.toml", "--hidden-size", 6, "--steps", 3, "-o", "run") == 0
    config = read_metadata(folder / "run" / "last.safetensors")["training"]["config"]
    assert (config["hidden_size"], config["num_layers"], config["steps"], config["epochs"]) == (6, 1, 3, None)
    assert config["variational_dropout"] is True and config["learning_rate"] == 0.01


@pytest.mark.parametrize(
    "content, said",
    [
        ("hidden_sise = 3", "'hidden_sise'.*did you mean 'hidden-size'"),
        ("xyzzy = 3", "unknown option 'xyzzy'; list them with: charrnn train --help-all"),
        ("hidden-size = 1.5", "must be a whole number, got '1.5'"),
        ("hidden-size = true", "must be a whole number, got 'True'"),
        ("hidden-size = [3]", r"'hidden-size' cannot have the value \[3\]; give one value \(lists of values belong"),
        ("cell = 'cnn'", "'cnn' is not one of"),
        ("tie-weights = 'perhaps'", "'perhaps' is not a valid boolean"),
        ("hidden-size = ", "is not TOML"),
        ("[model]\nhidden-size = 3", "'model'"),
        ("dropout = nan", "--dropout must be"),
        ("dropout = 3", "--dropout must be"),
    ],
)
def test_a_wrong_config_file_is_refused(folder, capsys, content, said):
    import re

    (folder / "c.toml").write_text(content + "\n")
    assert re.search(said, fails(capsys, "text.txt", "--config", "c.toml"))
    assert not (folder / "checkpoints").exists()


def test_a_missing_or_undecodable_config_file_is_refused(folder, capsys):
    assert "cannot read --config gone.toml" in fails(capsys, "text.txt", "--config", "gone.toml")
    (folder / "c.toml").write_bytes(b"cell = '\xff'")
    assert "is not in UTF-8, as TOML must be" in fails(capsys, "text.txt", "--config", "c.toml")


# --------------------------------------------------------------------------------------------------------------- help


def test_every_option_stands_once_in_the_help_under_a_heading_of_its_own():
    command = train_module.command
    shown = CliRunner().invoke(group, ["train", "--help-all"], prog_name="charrnn").output
    lines = shown[shown.index("Model:") :].splitlines()
    headings = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [*HEADINGS, "The run", "Help"]
    under = {}
    for line in lines:
        if line.endswith(":") and not line.startswith(" "):
            heading = line[:-1]
        elif line.startswith("  -"):
            under.setdefault(line.split()[0].rstrip(","), []).append(heading)
    assert under.pop("-h") == ["Help"]
    options = {one.opts[0]: one for one in command.params if isinstance(one, click.Option)}
    assert under == {flag: [one.heading] for flag, one in options.items()}
    assert {one.name: one.heading for one in options.values()}.items() >= {
        name: one.heading for name, one in SETTINGS.items()
    }.items()


def test_options_stand_in_the_help_by_their_place_and_then_in_the_order_of_the_fields():
    lines = CliRunner().invoke(group, ["train", "--help-all"], prog_name="charrnn").output.splitlines()
    flags = [line.split()[0] for line in lines if line.startswith("  --")]
    length = flags[flags.index("--minutes") : flags.index("--optimizer")]
    assert length == ["--minutes", "--epochs", "--steps", "--patience", "--batch-size", "--seq-length", "--shards"]
    assert flags.index("--sample-length") + 1 == flags.index("--sample") == flags.index("--log-every") - 1


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hidden-size", "0"],
        ["--hidden-size", "-3"],
        ["--hidden-size", "many"],
        ["--num-layers", "0"],
        ["--embedding-size", "-1"],
        ["--tie-weights"],
        ["--batch-size", "0"],
        ["--seq-length", "0"],
        ["--seq-length", "2.5"],
        ["--epochs", "0"],
        ["--epochs", "nan"],
        ["--steps", "0"],
        ["--steps", "-1"],
        ["--minutes", "0"],
        ["--minutes", "inf"],
        ["--epochs", "1", "--steps", "1"],
        ["--minutes", "1", "--steps", "1"],
        ["--optimizer", "lion"],
        ["--learning-rate", "0"],
        ["--learning-rate", "-1"],
        ["--learning-rate", "nan"],
        ["--schedule", "linear"],
        ["--warmup", "-1"],
        ["--min-learning-rate", "2"],
        ["--decay", "0"],
        ["--decay-after", "-1"],
        ["--momentum", "0.9"],
        ["--momentum", "1", "--optimizer", "sgd"],
        ["--weight-decay", "0.1", "--optimizer", "adam"],
        ["--weight-decay", "-1", "--optimizer", "adamw"],
        ["--clip-norm", "-1"],
        ["--clip-norm", "inf"],
        ["--clip-value", "-1"],
        ["--dropout", "1"],
        ["--dropout", "-0.1"],
        ["--vocab", "words"],
        ["--encoding", "klingon"],
        ["--val-fraction", "1"],
        ["--val-fraction", "-0.1"],
        ["--val-fraction", "0.5", "--test-fraction", "0.5"],
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--threads", "0"],
        ["--threads", "100000"],
        ["--dtype", "float16"],
        ["--eval-every", "-1"],
        ["--log-every", "0"],
        ["--sample-every", "-1"],
        ["--sample-length", "0"],
        ["--checkpoint-every", "-1"],
        ["--cell", "transformer"],
        ["--init-from", "nowhere"],
        ["--batch-size", "1000", "--seq-length", "1000"],
        ["--hidden-size", "99999999999999999999"],
        ["--steps", "99999999999999999999"],
        ["--steps", "1000000000000000001"],
        ["--epochs", "1e18"],
        ["--epochs", "1e300"],
    ],
    ids=" ".join,
)
def test_a_nonsense_value_is_refused_before_anything_is_written(folder, capsys, arguments):
    error = fails(capsys, "text.txt", *arguments)
    assert len(error) > 20
    if arguments != ["--init-from", "nowhere"]:  # a file is named by its path
        assert arguments[0] in error
    assert sorted(path.name for path in folder.iterdir()) == ["text.txt"]


def test_a_model_that_fits_in_no_memory_is_refused_and_leaves_nothing(folder, capsys):
    for hidden_size in (200_000, 9_000_000):
        assert "memory" in fails(capsys, "text.txt", "--hidden-size", hidden_size)
    assert not list(folder.glob("checkpoints/*"))


def test_a_text_too_short_for_the_default_model_asks_for_a_size(folder, capsys):
    for text in ("to be o", "to be or not to be\n" * 20):
        (folder / "short.txt").write_text(text)
        said = fails(capsys, "short.txt", "--steps", 1)
        assert "would memorise them: name a longer text, or choose a size, such as --hidden-size 16 --num" in said
        assert not (folder / "checkpoints").exists()
    assert "the training split has only 342 characters, and the default model, with 858,632 parameters," in said
    advised = said.split("such as ")[1].split()
    assert train("short.txt", "--steps", 1, *advised, "-q", "-o", "run") == 0
    assert train("short.txt", "--steps", 1, "--init-from", "run", "-q", "-o", "warm") == 0
    (folder / "c.toml").write_text("hidden-size = 16\n")
    assert train("short.txt", "--steps", 1, "--config", "c.toml", "-q", "-o", "configured") == 0
    assert train("short.txt", "--resume", "run", "--steps", 2, "-q") == 0


@pytest.mark.parametrize(
    "content", [None, b"", b"aaaaaaaaaaaaaaaaaaaaaaaa", b"ab", b"caf\xe9 " * 50, b"\0\1\2\3" * 100]
)
def test_a_text_that_cannot_be_trained_on_is_refused(folder, capsys, content):
    if content is not None:
        (folder / "bad.txt").write_bytes(content)
    fails(capsys, "bad.txt")
    assert not list(folder.glob("checkpoints/*"))


def test_no_text_at_all_is_refused(capsys):
    assert "give one or more texts" in fails(capsys)


def test_a_folder_that_holds_a_run_is_refused_and_stays_as_it_was(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 2, "-o", "run", "-q") == 0
    before = {path.name: path.read_bytes() for path in (folder / "run").iterdir()}
    assert "already contains a run" in fails(capsys, "text.txt", *TINY, "--steps", 2, "-o", "run")
    assert {path.name: path.read_bytes() for path in (folder / "run").iterdir()} == before
    assert "is a file" in fails(capsys, "text.txt", *TINY, "-o", "text.txt")


def test_divergence_ends_with_a_sentence_and_the_checkpoint_stands(folder, capsys):
    said = fails(capsys, "text.txt", *TINY, "--steps", 40, "--optimizer", "sgd", "--learning-rate", "1e30", "-o", "run")
    assert "step" in said and "--learning-rate" in said
    assert load_checkpoint(folder / "run" / "last.safetensors").training["step"] == 0


def test_a_short_text_shrinks_the_defaults_and_that_is_said(folder, capsys):
    assert train("text.txt", "--hidden-size", 8, "--steps", 2) == 0
    assert "the text is short" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ display


def show_all(shown):
    shown.show(
        Preflight(
            1115394,
            65,
            1003854,
            55770,
            55770,
            871745,
            59_000_000,
            2,
            32,
            64,
            490,
            0,
            11760,
            0.02,
            250.0,
            Path("checkpoints/tinyshakespeare-1"),
        )
    )
    shown.show(Sampled(50, "ROMEO\x1b[2J\x07\r\nthe\ttext"))
    shown.show(Evaluated(98, 0.2, Evaluation(1.5, 55770), True, 0.5, 1.5))
    shown.show(Step(99, 11760, 0.2, 1.61, 1.6, 0.45, 2.9e-3, 89123.4, 3.2, 0.0084, 270.0))
    shown.show(Evaluated(196, 0.4, Evaluation(1.4, 55770), False, 0.5, 1.5))
    shown.close()


def read_terminal(reader):
    """Read all that was written to a terminal that is closed now; it comes in as many pieces as the system likes."""
    pieces = []
    with (
        os.fdopen(reader, "rb", buffering=0) as file,
        contextlib.suppress(OSError),
    ):  # a closed terminal ends in an error
        while piece := file.read(1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_display_fits_the_width_and_neutralises_samples(width, monkeypatch):
    pty = pytest.importorskip("pty")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = display.make_display(False)
        assert isinstance(shown, display.Live)
        show_all(shown)
    seen = read_terminal(reader)
    assert "\x1b[2J" not in seen and "\x07" not in seen and "ROMEO␛[2J␇␍" in seen
    assert "\x1b[32m" in seen  # a best validation is green
    import re

    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    foot = [line for line in plain.splitlines() if "chars/s" in line or "norm" in line]
    assert foot and all(len(line.rstrip("\r")) <= width for line in foot)
    assert "ETA 4:30" in plain and "89,123 chars/s" in plain
    if width >= 80:
        assert "train 1.600" in plain and "val 1.500" in plain and "lr 2.9e-03" in plain


def test_no_color_is_honoured(monkeypatch):
    pty = pytest.importorskip("pty")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        show_all(display.make_display(False))
    seen = read_terminal(reader)
    import re

    assert not re.search(r"\x1b\[(3[0-7]|9[0-7]|38)", seen)


def test_a_terminal_that_goes_away_does_not_end_the_run(monkeypatch):
    class Gone:
        encoding = "utf-8"

        def isatty(self):
            return False

        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stderr", Gone())
    show_all(display.make_display(False))


def test_durations_are_written_as_on_a_clock():
    assert [display.clock_text(s) for s in (0, 59.6, 61, 3600, 90061)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "25:01:01",
    ]


def test_the_log_is_json_a_line(folder, capsys):
    assert train("text.txt", *TINY, "--steps", 3, "-o", "run", "-q") == 0
    for line in (folder / "run" / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] >= 1


@pytest.mark.slow
def test_a_warm_start_compiles_nothing(folder):
    assert train("text.txt", *TINY, "--steps", 2, "-o", "a", "-q") == 0
    code = (
        "import sys; from charrnn.cli import main; from charrnn.kernels.machine_code import COMPILE_LISTENERS\n"
        "compiled = []; COMPILE_LISTENERS.append(compiled.append)\n"
        "code = main(sys.argv[1:]); print(f'compiled: {compiled}'); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "text.txt", *TINY, "--steps", "2", "-o", "b", "-q"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "compiled: []"
