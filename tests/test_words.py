"""How lines stand on a terminal: broken between words, whole where they are for pasting; and in which order."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.cli.display import Foot
from charrnn.cli.words import BARS, columns_of, note, wrapped


class Terminal(io.StringIO):
    """A stream that says it is a terminal; its width is COLUMNS."""

    def isatty(self):
        return True


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    return Terminal()


def test_lines_are_broken_between_words_on_a_terminal_only(narrow):
    text = "the text is short: add --num-samples or a-very-long-option, and go on\n  as it was\nshort"
    lines = wrapped(text, narrow).split("\n")
    assert max(map(len, lines)) <= 40 and lines[-2:] == ["  as it was", "short"]
    assert " ".join(lines[:-2]) == text.split("\n")[0]
    assert wrapped(text, io.StringIO()) == text


def test_options_and_commands_are_not_torn(narrow):
    told = "this is refused because of its size: lower --hidden-size or --num-layers, as in 'charrnn train a.txt -o b'."
    lines = wrapped(told, narrow).split("\n")
    for whole in ("--hidden-size", "--num-layers", "'charrnn train a.txt -o b'"):
        assert any(whole in line for line in lines), lines
    for command in (
        "next: charrnn sample checkpoints/a-long-name-of-a-run --temperature 0.8",
        "  charrnn info " + "x" * 50,
    ):
        assert wrapped(command, narrow) == command


def test_what_is_broken_goes_on_under_its_value(narrow):
    lines = wrapped("validation  1.23 nats = 3.45 bits a character, at step 20", narrow, 12).split("\n")
    assert len(lines) == 2 and lines[1].startswith(" " * 12 + "character")
    sha = "fingerprint  " + "f" * 38  # with no room beside the name, it begins further to the left
    assert (
        wrapped(sha, narrow, 13).split("\n") == ["fingerprint", "f" * 38]
        or max(map(len, wrapped(sha, narrow, 13).split("\n"))) <= 42
    )


def test_the_width_is_that_of_the_stream_itself(monkeypatch):
    pty = pytest.importorskip("pty")
    monkeypatch.delenv("COLUMNS", raising=False)
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as file:
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 33, 0, 0))
        assert columns_of(file) == 33
    os.close(reader)
    assert columns_of(io.StringIO()) is None


def test_lines_at_the_foot_are_drawn_for_the_width_of_now(monkeypatch, narrow):
    """A terminal that is made narrower breaks lines; the cursor is at the first one's beginning, and what follows
    clears them all. It must not draw lines again that were made for the old width.
    """
    from rich.console import Console
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "80")
    console = Console(file=narrow, force_terminal=True, color_system=None)
    foot = Foot(console)
    table = Table.grid(expand=True)
    table.add_column(ratio=1)
    for name in ("one", "two"):
        table.add_row(name + "=" * 70)
    foot.draw(table)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys, "stderr", narrow)
    before = len(narrow.getvalue())
    note("something of note")
    first, second = narrow.getvalue()[:before], narrow.getvalue()[before:]
    assert first.startswith("\r \x1b[J\rone") and first.endswith("\r\x1b[1A")
    cleared, told, again = re.split("(something of note\n)", second)
    assert cleared == "\r \x1b[J\r" and again.startswith("\r \x1b[J\rone")
    lines = re.sub(r"\x1b\[\d*[JA]", "", again).replace("\r \r", "").split("\r\n")
    assert len(lines) > 1 and max(len(line.strip("\r")) for line in lines) <= 30
    assert again.endswith(f"\r\x1b[{len(lines) - 1}A")
    foot.close()
    assert narrow.getvalue().endswith("\r \x1b[J\r") and not BARS
    foot.close()


def test_no_more_lines_than_the_terminal_has(monkeypatch, narrow):
    from rich.console import Console

    monkeypatch.setenv("LINES", "5")
    foot = Foot(Console(file=narrow, force_terminal=True, color_system=None))
    foot.draw("\n".join("abcdefgh"))
    assert narrow.getvalue().count("\r\n") == 3
    foot.close()


# ---- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    (folder / "a text with a name of some length.txt").write_text("to be or not to be, that is the question\n" * 200)
    common = ["--steps", "2", "--hidden-size", "8", "--num-layers", "1", "-q", "-o", "run", "--val-fraction", "0.2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "a text with a name of some length.txt", *common]) == 0
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        "eval run --dynamic --errors --html page.html",
        "info run",
        "corpus list",
        "train --resume run --steps 3",
        "sample run --length 5 --prime ZZZ",
        "eval run --split nonsense",
    ],
)
def test_at_80_columns_no_line_is_longer_than_the_terminal(folder, arguments, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    main(arguments.split())
    for stream in (out, err):
        shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())
        lines = [line.split("\r")[-1] for line in shown.replace("\r\n", "\n").split("\n")]
        long = [line for line in lines if len(line.rstrip()) > 80 and not re.match(r"([\w ]+:)? +charrnn ", line)]
        assert not long


@pytest.mark.parametrize("arguments", ["eval run --dynamic --html page.html", "eval run --surprisal --json"])
def test_in_one_file_what_is_said_stands_between_lines_in_the_order_of_the_terminal(folder, arguments):
    code = "import sys; from charrnn.cli import main; sys.exit(main(sys.argv[1:]))"
    with open(folder / "both.txt", "w") as file:
        subprocess.run(
            [sys.executable, "-c", code, *arguments.split()], stdout=file, stderr=file, cwd=folder, check=True
        )
    lines = Path(folder / "both.txt").read_text().splitlines()
    assert lines[0] == "checkpoint run/best.safetensors"
    if "--json" in arguments:
        assert all(line.startswith("{") and line.endswith("}") for line in lines[1:-1]) and " nats" in lines[-1]
    else:
        assert " nats = " in lines[1] and re.match("over [0-9,]+ characters of the val split of ", lines[2])
        assert lines[-1] == "wrote page.html" and lines[-2].startswith("rms, rate")


def test_a_page_is_told_when_the_bar_is_gone(folder, monkeypatch):
    from charrnn.cli import progress

    monkeypatch.chdir(folder)
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    files = ["--html", "cells.html", "--svg", "cells.svg", "--unit", "0:0", "--characters", "4000"]
    assert main(["cells", "run", "a text with a name of some length.txt", *files]) == 0
    *_, end = re.split(r"\x1b\[J", err.getvalue())
    assert end.strip("\r") == "wrote cells.html\nwrote cells.svg\n"
