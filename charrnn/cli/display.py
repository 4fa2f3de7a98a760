"""What a training run shows on stderr: a live bar on a terminal, plain lines elsewhere. Values come as records.

A display must never end a run: when the terminal goes away, it falls silent.
"""

import contextlib
import os
import sys
import time

from charrnn.cli.words import BARS, bars_hidden, columns_of, duration, neutralise, wrapped
from charrnn.errors import counted
from charrnn.training.defaults import STEPPING_SHARE

PLAIN_SECONDS = 10  # between two plain lines at least
REFRESH_SECONDS = 0.125


def make_display(quiet):
    """Return the display that fits stderr: a function of a record, with `note` and `close`."""
    if quiet:
        return Quiet()
    return Live() if shows_live() else Plain()


def shows_live():
    """Say whether stderr is a terminal that lines can be drawn over on."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Quiet:
    """Shows nothing but what it is told to `note` as important."""

    def __init__(self):
        self._lost = False

    def show(self, record):
        """Show a record of the trainer."""
        method = getattr(self, "_" + type(record).__name__.lower(), None)
        if method is not None and not self._lost:
            self._guarded(method, record)

    def note(self, text, important=False):
        """Say something between the records."""
        if important and not self._lost:
            self._guarded(self._write, neutralise(text))

    def close(self):
        """Leave the terminal as it was."""

    def _notice(self, record):
        self.note(record.text, important=record.important)

    def _write(self, text):
        with bars_hidden():
            print(wrapped(text, sys.stderr), file=sys.stderr, flush=True)

    def _guarded(self, function, *arguments):
        try:
            function(*arguments)
        except OSError:  # the terminal or the pipe is gone
            self._lost = True


class Nothing(Quiet):
    """Shows nothing at all: of a group of processes, the first one shows what there is."""

    def show(self, record):
        pass

    def note(self, text, important=False):
        pass


def _chars_per_s(step):
    return f"{step.chars_per_s:,.0f} chars/s"


def speed_of(preflight):
    """Return a function that spells the speed of a Step: in characters, or in items where labels alone count."""
    if preflight.unit != "label" or not preflight.items:
        return _chars_per_s
    # An item's START is read and its label is not: as many places as characters without the one.
    share = preflight.items[0] / (preflight.train_characters - preflight.items[0])
    return lambda step: f"{step.chars_per_s * share:,.0f} items/s"


class Plain(Quiet):
    """Lines, for a file or a pipe."""

    def __init__(self):
        super().__init__()
        self._next_s, self._unit, self._speed = 0.0, "char", _chars_per_s

    def note(self, text, important=False):
        super().note(text, important=True)

    def _preflight(self, record):
        self._unit, self._speed = record.unit, speed_of(record)
        for line in preflight_lines(record):
            self._write(line)

    def _step(self, record):
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + PLAIN_SECONDS
        total = f"/{record.total_steps:,}" if record.total_steps else ""
        self._write(
            f"step {record.step:,}{total}  epoch {record.epoch:.2f}  train {record.smoothed_loss_nats:.4f}  "
            f"norm {record.grad_norm:.2f}  lr {record.learning_rate:.2e}  {self._speed(record)}  "
            f"{eta_text(record.remaining_s)}"
        )

    def _evaluated(self, record):
        self._write(evaluated_line(record, self._unit))

    def _sampled(self, record):
        self._write(f"--- sample at step {record.step:,}\n{neutralise(record.text).rstrip()}\n---")


class Foot:
    """Lines at the foot of a terminal, drawn over one another; what is said meanwhile scrolls by above them.

    Drawn by hand between steps: a thread of its own would take time from the kernels. Rich's own Live leaves the cursor
    below its lines and goes up by as many as it drew, which after a resize are others: half bars then stay for ever.
    Here the cursor waits at the beginning of the first line, and a terminal that is resized leaves it there.
    """

    def __init__(self, console):
        self._console, self._shown = console, None

    def draw(self, renderable):
        """Draw a rich renderable in the place of the one before."""
        if self._shown is None:
            BARS.append(self.hidden)
        self._shown = renderable
        self._show()

    @contextlib.contextmanager
    def hidden(self):
        """Leave the lines' place to something else meanwhile."""
        self._clear()
        yield
        self._show()

    def close(self):
        """Take the lines off the terminal for good."""
        if self._shown is not None:
            self._shown = None
            BARS.remove(self.hidden)
            self._clear()

    def _show(self):
        # Drawn for the width of now: a line that a terminal breaks is more lines than are counted here.
        with self._console.capture() as captured:
            self._console.print(self._shown, width=columns_of(self._console.file))
        lines = captured.get().splitlines()[: max(1, self._console.height - 1)]
        up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        self._clear("\r\n".join(lines) + f"\r{up}")

    def _clear(self, then=""):
        # The space is for tmux, which keeps a whole screen that is cleared from its very first place on.
        self._console.file.write(f"\r \x1b[J\r{then}")
        self._console.file.flush()


class Live(Quiet):
    """A bar and a line of figures at the foot of the terminal; validations and samples scroll by above it."""

    def __init__(self):
        super().__init__()
        from rich.console import Console

        # Rich decides on colour: none with NO_COLOR.
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Foot(self._console)
        self._step_record = self._evaluation = None
        self._next_s, self._unit, self._speed = 0.0, "char", _chars_per_s

    def note(self, text, important=False):
        self._guarded(self._print, neutralise(text), "bold" if important else "dim")

    def close(self):
        self._guarded(self._live.close)

    def _print(self, text, style="", hang=0):
        from rich.text import Text

        with bars_hidden():
            self._console.print(Text(wrapped(text, self._console.file, hang), style=style), soft_wrap=True)

    def _preflight(self, record):
        self._unit, self._speed = record.unit, speed_of(record)
        for line in preflight_lines(record):
            self._print(line, hang=8)

    def _notice(self, record):
        self._print(neutralise(record.text), "yellow")

    def _step(self, record):
        self._step_record = record
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + REFRESH_SECONDS
            self._refresh()

    def _evaluated(self, record):
        self._evaluation = record
        self._print(evaluated_line(record, self._unit), "green" if record.is_best else "")
        self._refresh()

    def _sampled(self, record):
        from rich.rule import Rule
        from rich.text import Text

        line = "─" if self._unicode() else "-"
        with bars_hidden():
            self._console.print(Rule(f"sample at step {record.step:,}", align="left", style="dim", characters=line))
            self._console.print(Text(neutralise(record.text).rstrip("\n"), style="cyan"), soft_wrap=True)
            self._console.print(Rule(style="dim", characters=line))

    def _unicode(self):
        return (self._console.encoding or "").lower().startswith("utf")

    def _refresh(self):
        if self._step_record is not None:
            self._live.draw(self._foot())

    def _foot(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        record = self._step_record
        bar = Table.grid(expand=True, padding=(0, 2, 0, 0))
        bar.add_column(ratio=1)
        for _ in range(3):
            bar.add_column(no_wrap=True)
        bar.add_row(
            "" if record.progress is None else ProgressBar(total=1.0, completed=record.progress),
            Text("" if record.progress is None else f"{record.progress:4.0%}"),
            Text(self._speed(record), style="cyan"),
            Text(eta_text(record.remaining_s), style="bold"),
        )
        wide = self._console.width >= 100
        total = f"/{record.total_steps:,}" if record.total_steps and wide else ""
        figures = [
            ("step", f"{record.step:,}{total}"),
            ("epoch", f"{record.epoch:.2f}"),
            ("train", f"{record.smoothed_loss_nats:.3f}"),
        ]
        if self._evaluation is not None:
            figures.append(("val", f"{self._evaluation.evaluation.loss_nats:.3f}"))
            if wide and self._evaluation.best_loss_nats is not None:
                figures.append(("best", f"{self._evaluation.best_loss_nats:.3f}"))
        figures += [("norm", f"{record.grad_norm:.2f}"), ("lr", f"{record.learning_rate:.1e}")]
        line = Text(no_wrap=True, overflow="crop")
        for name, value in figures:
            line.append(f"{name} ", style="dim")
            line.append(f"{value}  ", style="bold")
        return Group(bar, line)


def preflight_lines(record):
    """Return what is known before the first step, in short lines."""
    if record.total_steps:
        epochs = record.total_steps / record.steps_per_epoch
        length = counted(record.total_steps, "step")
    elif record.duration_s is not None:
        steps = record.step + STEPPING_SHARE * record.duration_s / record.step_s
        epochs = steps / record.steps_per_epoch
        length = duration(record.duration_s)
    else:
        epochs, length = None, "until the validation loss stops improving"
    at = f"; continues from step {record.step:,}" if record.step else ""
    waits = []
    if record.patience is not None:
        every = "" if record.eval_every is None else f", one every {counted(record.eval_every, 'step')}"
        waits = [f"ends    at the latest {counted(record.patience, 'validation')} after the best one{every}"]
    train, val, test = record.train_characters, record.val_characters, record.test_characters
    threads = counted(record.threads, "thread")
    items = []
    if record.items is not None:
        of_each = [f"{number:,} {name}" for number, name in zip(record.items, ("train", "validation", "test"))]
        items = [f"items   {sum(record.items):,}: {', '.join(of_each)}"]
    return [
        f"text    {record.characters:,} characters, {record.vocab_size:,} different",
        *items,
        f"splits  {train:,} train, {val:,} validation, {test:,} test",
        f"model   {record.parameters:,} parameters; {record.memory_bytes / 1e6:,.0f} MB of memory while training; "
        f"{threads}",
        f"length  {length}; each step reads {counted(record.batch_size, 'stream')} x "
        f"{counted(record.seq_length, 'character')}; {_expected(epochs, record)}{at}",
        *waits,
        *_chosen_lines(record.chosen),
        f"folder  {neutralise(str(record.folder))}",
    ]


def _chosen_lines(chosen):
    """Name the options that the user left open, as one would name them to change them; no line where there are none."""
    named = ", ".join(
        f"--{name.replace('_', '-')} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in chosen.items()
    )
    return [f"default {named}"] if named else []


def _expected(epochs, record):
    """Say how far a run is expected to come, in epochs, and where steps are counted how long it takes."""
    if epochs is None:
        return f"{counted(record.steps_per_epoch, 'step')} per epoch"
    epochs = f"{epochs:.2g}" if epochs < 10 else f"{epochs:,.0f}"
    took = f", about {duration(record.duration_s)}" if record.total_steps else ""
    return f"about {epochs} epoch{'' if epochs == '1' else 's'}{took}"


def evaluated_line(record, unit="char"):
    """Say what a validation found; unit : what the loss is the mean over, in short."""
    evaluation, waits = record.evaluation, ""
    if record.is_best:
        waits = "  best"
    elif record.patience is not None:
        waits = f"  not better ({record.waited} of {record.patience})"
    return (
        f"step {record.step:,}  epoch {record.epoch:.2f}  validation {evaluation.loss_nats:.4f} nats = "
        f"{evaluation.loss_bpc:.4f} bits/{unit}{waits}"
    )


def eta_text(seconds):
    """Say when a run is expected to end; nothing where that is not known."""
    return "" if seconds is None else f"ETA {clock_text(seconds)}"


def clock_text(seconds):
    """Write a duration as m:ss or h:mm:ss."""
    seconds = max(0, round(seconds))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
