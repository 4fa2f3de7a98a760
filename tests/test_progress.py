"""The progress bar: where there is one, what it leaves on the terminal, and how it fits. No test looks at a clock."""

import contextlib
import io
import os
import re
import select
import struct
import sys
import types

import pytest

from charrnn.cli import display, progress, train
from charrnn.cli.corpus import command as corpus_command
from charrnn.cli.words import BARS, note, say

TIMES = r"\d\d:\d\d<(\d\d:\d\d|\?)"


class Terminal:
    """A pseudo-terminal in the place of stderr."""

    # Made in the test itself: between a fixture and its test pytest puts its own stderr in place.
    def __init__(self, monkeypatch, columns=80, encoding="utf-8"):
        pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
        self.reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.file = os.fdopen(writer, "w", encoding=encoding)
        monkeypatch.setattr(sys, "stderr", self.file)
        monkeypatch.setenv("TERM", "xterm-256color")

    def read(self):
        """Return all that was written; the terminal is closed then."""
        self.file.close()
        pieces = []
        with os.fdopen(self.reader, "rb", buffering=0) as file, contextlib.suppress(OSError):  # so a closed one ends
            while piece := file.read(1 << 16):
                pieces.append(piece)
        return b"".join(pieces).decode()

    def waits_for_output(self):
        return bool(select.select([self.reader], [], [], 60)[0])


@pytest.fixture
def at_once(monkeypatch):
    """Show bars from the first report on, and not by a clock."""
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setattr(progress, "TICK_S", 1e6)


def screen(written):
    """Return the lines that stand on a terminal at the end. Knows what a bar writes, and nothing else."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[J|[^\x1b]", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines[row:] = lines[row:] or [""]
        elif part == "\x1b[J":
            lines[row:] = [lines[row][:column]]
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def screen_before_the_end(written):
    """Return the lines that stood on it before the bar was taken off for good."""
    return screen(written[: written.rindex("\r \x1b[J")])


def drawn(written):
    """Return every line that was drawn, one after the other."""
    return [line for line in re.split(r"\x1b\[J|\r|\n", written) if line.strip()]


def test_a_bar_says_what_and_how_far_and_is_gone_before_the_result(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 0, 4)
        report("scoring every unit", 1, 4)
    terminal.file.write("result\n")
    written = terminal.read()
    assert [re.sub(r"\|.*\| ", "|", line) for line in drawn(written)[:2]] == [
        "reading the text           0%|00:00<?",
        "scoring every unit        25%|00:00<?",  # drawn when the stage begins, then ten times a second
    ]
    assert screen(written) == ["result", ""] and not BARS
    assert not re.search(r"\x1b\[[\d;]*m", written)  # no colours, so NO_COLOR has nothing to forbid


@pytest.mark.parametrize(
    "speak", [note, lambda text: display.Live().note(text), lambda text: display.Plain().note(text)]
)
def test_a_note_stands_above_the_bar_and_does_not_tear_it(monkeypatch, at_once, speak):
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 0, 4)
        speak("something of note")
        report("reading the text", 3, 4)
    written = re.sub(r"\x1b\[[\d;]*m", "", terminal.read())
    above, bar = screen_before_the_end(written)
    assert above == "something of note" and re.match("reading the text +(0|75)%", bar)
    assert screen(written) == ["something of note", ""]


def test_a_result_on_stdout_finds_the_line_empty(monkeypatch, at_once, capsys):
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 0, 4)
        say("result")
    written = terminal.read()
    assert capsys.readouterr().out == "result\n" and screen(written) == [""]
    first, hidden, again = written.split("reading the text")
    assert screen(hidden[hidden.index("\r") :]) == [""] and screen_before_the_end(written)[0].startswith("reading")


def test_what_is_over_soon_shows_no_bar(monkeypatch):
    monkeypatch.setattr(progress, "DELAY_S", 1e6)
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 0, 4)
        note("something of note")
        report("writing the page", 0, 1)
    assert screen(terminal.read()) == ["something of note", ""]


def test_a_stage_that_reports_nothing_is_shown_too(monkeypatch):
    monkeypatch.setattr(progress, "DELAY_S", 0.01)
    monkeypatch.setattr(progress, "TICK_S", 0.02)
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("writing the page", 0, 1)
        assert terminal.waits_for_output()
    assert "writing the page" in terminal.read()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_file_a_pipe_and_a_dumb_terminal_get_nothing(monkeypatch, at_once, term):
    if term == "dumb":
        terminal = Terminal(monkeypatch)
        monkeypatch.setenv("TERM", term)
    else:
        monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.progress_bar() as report, progress.reading_bar() as read:
        report("reading the text", 1, 4)
        read(1, None)
        assert not BARS
    assert (terminal.read() if term == "dumb" else sys.stderr.getvalue()) == ""


@pytest.mark.parametrize("columns", [20, 40, 59, 60, 80, 200, 0])
@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_bar_fits_the_terminal_and_its_characters(monkeypatch, at_once, columns, in_bytes, encoding):
    terminal = Terminal(monkeypatch, columns, encoding)
    with progress.progress_bar(in_bytes) as report:
        report("reading the text", 25 * 10**6, 10**8)
        report("fetching linux-source-6.12 from afar", 25 * 10**6, 10**8)
        note("drawn again")
    written = terminal.read()
    lines = [line for line in drawn(written) if "again" not in line]
    assert max(map(len, lines)) <= min(columns or 80, progress.MAX_COLUMNS)
    assert encoding == "utf-8" or written.isascii()
    if columns != 20:
        assert all(re.search(f"%.*{TIMES}", line) for line in lines) and "25%" in written
        assert ("25.0MB" in written) == in_bytes


def test_bytes_of_unknown_number_are_counted(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with progress.reading_bar() as report:
        report(2_500_000, None)
        note("drawn again")
    assert re.search(r"reading the text +2\.50MB 00:00\r", terminal.read())


def test_a_second_text_begins_anew(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with progress.reading_bar() as report:
        report(50, 100)
        report(10, 40)
        note("drawn again")
    assert "25%" in terminal.read()


def test_a_window_made_narrower_leaves_no_bar_behind(monkeypatch, at_once):
    """The cursor rests at the beginning of the line: what the terminal breaks in two is cleared as a whole."""
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 1, 4)
    written = terminal.read()
    for before in re.findall(r"([^\x1b]*)\x1b\[J", written)[1:]:
        assert before.endswith("\r\r ")


def test_a_terminal_that_goes_away_ends_nothing(monkeypatch, at_once):
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(32, "Broken pipe")

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Gone())
    with progress.progress_bar() as report:
        report("reading the text", 1, 4)
        report("writing the page", 0, 1)


def test_a_bar_is_gone_after_an_error(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), progress.progress_bar() as report:
        report("reading the text", 1, 4)
        raise KeyboardInterrupt
    assert screen(terminal.read()) == [""] and not BARS


def test_building_a_corpus_shows_what_is_read_and_leaves_its_lines(monkeypatch, at_once, tmp_path, capsys):
    terminal = Terminal(monkeypatch)
    (tmp_path / "a.tex").write_text("\\section{A}\n")
    arguments = ["build", "latex", "--from", str(tmp_path), "-o", str(tmp_path / "a.txt")]
    assert corpus_command.main(arguments, standalone_mode=False) is None
    written = terminal.read()
    assert any(line.startswith("reading the source") for line in drawn(written))
    assert "12 bytes" in capsys.readouterr().out
    said = screen(written)
    assert said[0].startswith(f"reading {tmp_path}") and said[1].startswith(f"source: {tmp_path}") and len(said) == 5


def test_what_goes_on_where_something_else_ended_goes_on_in_the_same_bar(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with progress.progress_bar() as report:
        report("reading the text", 0.0, 1)
        report("reading the text", 0.4, 1)
        bar = BARS[-1].__self__
        stage = bar._stage
        report("untrained network reads", 0.4, 1)
        report("untrained network reads", 0.7, 1)
        assert bar._stage is stage and (stage.n, stage.desc, stage.initial) == (0.7, "untrained network reads", 0.0)
        report("reading passages again", 100, 4_000)  # another piece of work, and back
        assert bar._stage is not stage and (bar._stage.n, bar._stage.initial) == (100, 100)
        report("scoring every unit", 0.7, 1)
        report("scoring every unit", 0.8, 1)
        assert (bar._stage.n, bar._stage.initial) == (0.8, 0.7)  # what remains is by the time of this last tenth
    assert screen(terminal.read()) == [""]


# ---- lines, where no bar can be drawn --------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch):
    """Report (second, what, done, of) elsewhere than on a terminal, and return the lines that are said."""

    def say_all(reports, in_bytes=False):
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        clock = iter([0.0, *(at for at, *_ in reports)])
        monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
        with progress.progress_bar(in_bytes) as report:
            for _, *how_far in reports:
                report(*how_far)
        return sys.stderr.getvalue().splitlines()

    return say_all


def test_elsewhere_a_line_says_now_and_then_how_far_it_is_and_how_long_it_takes(said):
    reports = [(0, "reading", 0, 1), *((s, "reading", s / 40, 1) for s in range(1, 20))]
    reports += [(s, "scoring", s / 40, 1) for s in range(20, 41)]
    assert said(reports) == [
        "reading: 25%, about 30 s left",
        "scoring: 50%, about 20 s left",
        "scoring: 75%, about 10 s left",
        "scoring: 100%",
    ]


def test_elsewhere_what_is_over_soon_says_nothing(said):
    assert said([(0, "reading", 0, 1), (5, "reading", 1, 1), (9.9, "scoring", 0, 1)]) == []


def test_elsewhere_another_stage_has_its_own_estimate(said):
    reports = [(0, "reading", 0, 1), (60, "reading", 1, 1), (65, "holding", 0, 8), (75, "holding", 2, 8)]
    assert said(reports) == ["reading: 100%", "holding: 25%, about 30 s left"]


def test_elsewhere_bytes_of_an_unknown_number_are_counted(said):
    assert said([(0, "fetching", 0, None), (12, "fetching", 7_000_000, None)], in_bytes=True) == ["fetching: 7 MB"]
    assert said([(0, "fetching", 0, 0), (12, "fetching", 0, 0)], in_bytes=True) == ["fetching: 0 MB"]


def test_a_pipe_that_is_gone_ends_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", Gone())
    with progress.progress_bar() as report:
        report("reading", 1, 4)


# ---- reading the text of a run -------------------------------------------------------------------------------------


def test_a_run_on_a_terminal_reads_under_a_bar(monkeypatch, at_once):
    terminal = Terminal(monkeypatch)
    with train._reading(display.Live()) as report:
        report(5, 10)
    written = terminal.read()
    assert "reading the text" in written and screen(written) == [""]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_elsewhere_says_once_that_reading_takes_a_while(monkeypatch, quiet):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = iter([0.0, 0.5, 1.5, 2.5])
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    with train._reading(display.make_display(quiet)) as report:
        for _ in range(3):
            report(1, 50_000_000)
    assert sys.stderr.getvalue() == ("" if quiet else "reading the text, 50 MB\n")


@pytest.mark.parametrize("folder, said", [("some", progress.KEPT), (None, progress.NOT_KEPT)])
def test_what_is_said_of_compiling_is_whether_it_is_kept(monkeypatch, tmp_path, folder, said):
    from charrnn.files.places import Places
    from charrnn.kernels import machine_code

    def full(*_):
        raise OSError(28, "No space left on device")

    writable = tmp_path / folder if folder else None
    monkeypatch.setattr(machine_code, "cache_places", lambda: Places((), writable, ()))
    monkeypatch.setattr(machine_code, "keep_code", full)
    monkeypatch.setattr(machine_code, "link", lambda code: 7)
    told = []
    forget = progress.announce_compilation(told.append)
    for entry in ("one", "two"):
        assert machine_code.entry_address(entry, lambda: None) == 7
    assert told[0] == progress.COMPILING + said
    if folder:
        assert told[1].startswith(f"the compiled kernels cannot be stored in {writable} (no space left on dev")
    forget()
    machine_code.entry_address("three", lambda: None)
    assert len(told) == (2 if folder else 1) and not machine_code.UNKEPT_LISTENERS
