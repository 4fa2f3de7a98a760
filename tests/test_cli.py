"""The group: its help, its errors as sentences, its exit codes."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import charrnn
from charrnn import cli
from charrnn.cli import COMMANDS, group, main
from charrnn.errors import CharRNNError, ConfigError, nearest

ROOT = Path(__file__).parent.parent
VERBS = group.list_commands(None)


def test_help_lists_every_command_that_is_there(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert {"train", "sample", "eval", "info"} <= set(VERBS)
    for verb in VERBS:
        assert f"  {verb} " in out
    for verb in set(COMMANDS) - set(VERBS):
        assert f"  {verb} " not in out


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_repeats_the_first_line_of_each_commands_help(verb):
    command = group.get_command(None, verb)
    assert command.name == verb
    assert command.help.splitlines()[0] == COMMANDS[verb][1]
    assert len(COMMANDS[verb][1]) < 60


@pytest.mark.parametrize("verb", [verb for verb in VERBS if not isinstance(group.get_command(None, verb), click.Group)])
def test_the_help_of_each_command_has_an_example_and_says_every_option(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"Example: charrnn {verb}" in capsys.readouterr().out
    for parameter in group.get_command(None, verb).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{verb} {parameter.name} says nothing"


def test_train_shows_the_options_that_matter_first_and_all_of_them_when_asked(capsys):
    from charrnn.cli.options import FIRST

    flags = [option.opts[-1] for option in group.get_command(None, "train").params if isinstance(option, click.Option)]
    assert main(["train", "--help"]) == 0
    few = capsys.readouterr().out
    assert {flag for flag in flags if re.search(rf"^  (-\w, )?{flag}\b", few, re.M)} == {
        f"--{name.replace('_', '-')}" for name in FIRST
    }
    assert len(few.splitlines()) < 60 and "--help-all" in few
    assert main(["train", "--help-all"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{flag}" in shown for flag in flags) and len(flags) > 50


def test_no_command_at_all_says_what_to_type_next(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "charrnn train FILE --minutes 5" in shown and "charrnn --help" in shown and "charrnn sample" not in shown
    (tmp_path / "checkpoints/demo-1").mkdir(parents=True)
    (tmp_path / "checkpoints/demo-1/best.safetensors").touch()
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "The newest run is checkpoints/demo-1." in shown and re.search(r"^  .+:  +charrnn sample$", shown, re.M)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert charrnn.__version__ in capsys.readouterr().out


def test_help_imports_no_command_and_no_room_but_errors():
    """That is what makes it come in a moment, however busy the machine is."""
    code = (
        "import sys; from charrnn.cli import main; main(['--help']);"
        "print(*(name for name in sys.modules if name.startswith('charrnn')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(done.stdout.splitlines()[-1].split()) == {
        "charrnn",
        "charrnn.cli",
        "charrnn.cli.pipes",
        "charrnn.errors",
    }


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["train", "--nonsense"], ["info", "--nonsense"], ["sample", "a", "b"]]
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("Error: ") and captured.err.count("\n") == 1
    assert "--help" in captured.err


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ConfigError("batch_size must be at least 1, got 0"), 2, "Error: batch_size must be at least 1, got 0\n"),
        (CharRNNError("a name with \x1b[2J and\na newline"), 2, "Error: a name with \\x1b[2J and a newline\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
        (MemoryError(), 2, "Error: this does not fit in memory: free some memory"),
        (
            OSError(errno.ENOSPC, "No space left on device", "some/file"),
            2,
            "Error: the disk is full, writing or reading some/file",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "some/file"),
            2,
            "Error: permission denied, writing or reading some/file",
        ),
    ],
)
def test_errors_become_sentences_and_exit_codes(error, code, said, monkeypatch, capsys):
    @click.command()
    def failing():
        raise error

    monkeypatch.setattr(cli, "_abandon_stdout", lambda: None)
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, verb: failing)
    assert main(["failing"]) == code
    captured = capsys.readouterr()
    assert captured.err.strip("\n").startswith(said.strip("\n")) and "Traceback" not in captured.err
    assert captured.err.strip("\n").count("\n") == 0
    assert said != "" or captured.err.strip() == ""


def test_a_defect_of_the_program_is_not_hidden(monkeypatch):
    @click.command()
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, verb: broken)
    with pytest.raises(ZeroDivisionError):
        main(["broken"])


SPEAKS = """
import sys, click
from charrnn import cli


@click.command()
def speaking():
    for number in range(20_000):
        click.echo(f"line {number}", err=number % 2 == 1)
    open("whole", "w").write("to the end")
    sys.exit(int(sys.argv[2]))


get = cli.LazyGroup.get_command
cli.LazyGroup.get_command = lambda self, ctx, verb: speaking if verb == "speak" else get(self, ctx, verb)
sys.exit(cli.main(sys.argv[1:2]))
"""


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed otherwise elsewhere")
@pytest.mark.parametrize("command, code", [("speak", 0), ("speak", 3), ("--help", 0), ("nonsense", 2)])
@pytest.mark.parametrize("closed", [("stdout",), ("stdout", "stderr")])
def test_a_reader_that_has_enough_changes_neither_the_end_nor_the_exit_code(tmp_path, command, code, closed):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", SPEAKS, command, str(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{name: writer if name in closed else subprocess.PIPE for name in ("stdout", "stderr")},
    )
    os.close(writer)
    assert done.returncode == code
    assert (tmp_path / "whole").exists() == (command == "speak")
    assert b"Traceback" not in (done.stderr or b"") and b"Broken" not in (done.stderr or b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_said_and_is_a_failure(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", "--help"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (
        done.returncode == 2
        and done.stderr.startswith("Error: cannot write to stdout")
        and done.stderr.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("smaple", "sample"),
        ("Train", "train"),
        ("corpus bild", "build"),
        ("--versoin", "--version"),
        ("sample --lenght 5", "--length"),
        ("sample --hide_prime", "--hide-prime"),
        ("sample -temperature=0.5", "--temperature"),
        ("train text --no-sampel", "--no-sample"),
        ("train text --embed 4", "--embedding-size"),
        ("train text --lr 0.1", "--learning-rate"),
        ("train text --cell LSTN", "lstm"),
        ("train text --optimizer adm", "adam"),
        ("cells --quantity tanh_c", "tanh-c"),
        ("gradients --cell lstm --cell gur", "gru"),
        ("eval --unknown skp", "skip"),
    ],
)
def test_a_mistyped_command_option_or_choice_is_told_the_one_that_was_meant(capsys, typed, meant):
    assert main(typed.split()) == 2
    assert f"Did you mean '{meant}'? (see charrnn" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    "typed, said",
    [
        ("train text --minutes 5m", "'--minutes': must be a number, got '5m'"),
        ("train text --hidden-size abc", "'--hidden-size': must be a whole number, got 'abc'"),
        ("sample --length 1.5", "'--length': must be a whole number, got '1.5'"),
        ("train --normalize NFC --cell LSTM", "no text to train on"),
        ("eval nowhere --unknown Skip --split VAL", "nowhere does not exist"),
    ],
)
def test_a_value_that_is_no_number_is_told_the_rule_and_a_choice_may_have_capitals(capsys, typed, said):
    assert main(typed.split()) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("typed", ["generate", "sample -z", "sample --quuux 3", "train text --cell elman"])
def test_what_is_like_nothing_there_is_gets_no_guess(capsys, typed):
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert "Did you mean" not in said
    assert typed != "generate" or "there are train, sweep, sample, next, eval" in said.replace("\n", " ")


def test_names_are_near_by_spelling_beginning_or_initials():
    names = ("learning-rate", "seq-length", "sample-length", "sample")
    assert nearest("lr", names) == "learning-rate" and nearest("Seq_Length", names) == "seq-length"
    assert nearest("samples", names) == "sample" and nearest("learn", names) == "learning-rate"
    assert nearest("sampl", names) == "sample" and nearest("x", names) is None and nearest("", names) is None
