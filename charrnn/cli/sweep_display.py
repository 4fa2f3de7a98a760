"""What `charrnn sweep` shows while it works: lines, or on a terminal a live line for each run at hand."""

import time

from charrnn.cli.display import PLAIN_SECONDS, REFRESH_SECONDS, Foot, Quiet, eta_text, shows_live
from charrnn.cli.sweep_tables import megabytes
from charrnn.cli.words import bars_hidden, duration, neutralise, wrapped

MAX_OTHERS = 12  # lines of other workers at the foot of a terminal


def make_display(quiet):
    if quiet:
        return Quiet()
    return LiveSweep() if shows_live() else PlainSweep()


class PlainSweep(Quiet):
    """Lines, for a file or a pipe."""

    def __init__(self):
        super().__init__()
        self._next_s = {}
        self._others_s = 0.0

    def note(self, text, important=False):
        super().note(text, important=True)

    def _note(self, event):
        self.note(f"{event.run}: {event.text}" if event.run else event.text)

    def _begun(self, event):
        self.note(begun_line(event))

    def _progress(self, event):
        now = time.monotonic()
        if now >= self._next_s.setdefault(event.run, now + PLAIN_SECONDS):
            self._next_s[event.run] = now + PLAIN_SECONDS
            self.note(f"{event.run}: {progress_text(event)}")

    def _others(self, event):
        now = time.monotonic()
        if event.waits and now >= self._others_s:
            self._others_s = now + PLAIN_SECONDS
            self.note("waiting for other workers: " + ("; ".join(others_lines(event.workers)) or "none found"))

    def _ended(self, event):
        self.note(ended_line(event))


class LiveSweep(Quiet):
    """A line for each run at hand at the foot of the terminal; those that have ended scroll by above it."""

    def __init__(self):
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Foot(self._console)
        self._at_hand, self._elsewhere = {}, ()
        self._next_s = 0.0

    def note(self, text, important=False):
        self._guarded(self._print, text, "bold" if important else "dim")

    def close(self):
        self._guarded(self._live.close)

    def _print(self, text, style=""):
        from rich.text import Text

        with bars_hidden():
            self._console.print(Text(wrapped(neutralise(text), self._console.file), style=style), soft_wrap=True)

    def _note(self, event):
        self._print(f"{event.run}: {event.text}" if event.run else event.text, "yellow" if event.important else "dim")

    def _begun(self, event):
        self._at_hand[event.result.run] = (event, None)
        self._refresh()

    def _progress(self, event):
        self._at_hand[event.run] = (self._at_hand[event.run][0], event)
        if time.monotonic() >= self._next_s:
            self._refresh()

    def _ended(self, event):
        self._at_hand.pop(event.result.run, None)
        self._print(ended_line(event), {"finished": "green", "stopped": ""}.get(event.result.state, "red"))
        self._refresh()

    def _others(self, event):
        self._elsewhere = event.workers
        self._refresh()

    def _refresh(self):
        self._next_s = time.monotonic() + REFRESH_SECONDS
        self._live.draw(self._foot())

    def _foot(self):
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for _ in range(4):
            table.add_column(no_wrap=True, justify="right")
        for begun, progress in self._at_hand.values():
            name = Text(f"{begun.number}/{begun.count} {begun.result.run}", style="bold")
            if progress is None:
                table.add_row(name, ProgressBar(total=1.0, completed=0.0), "", "", "", "")
                continue
            val = "" if progress.val_loss_nats is None else f"val {progress.val_loss_nats:.3f}"
            table.add_row(
                name,
                "" if progress.share is None else ProgressBar(total=1.0, completed=progress.share),
                f"step {progress.step:,}",
                f"train {progress.train_loss_nats:.3f}",
                val,
                eta_text(progress.remaining_s),
            )
        for line in others_lines(self._elsewhere)[:MAX_OTHERS]:
            table.add_row(Text(neutralise(line), style="dim"), "", "", "", "", "")
        if len(self._elsewhere) > MAX_OTHERS:
            table.add_row(Text(f"and {len(self._elsewhere) - MAX_OTHERS} more workers", style="dim"), *[""] * 5)
        return table


def others_lines(workers):
    """Return a line for each run that other workers are at, and for each worker without one."""
    lines = []
    for worker in workers:
        for run in worker.runs or ({"run": "no run yet"},):
            step, val = run.get("step"), run.get("val_loss_nats")
            at = f", step {step:,}" if isinstance(step, int) else ""
            at += f", validation {val:.3f}" if isinstance(val, float) else ""
            lines.append(f"{run['run']}{at} ({worker})")
    return lines


def begun_line(event):
    result = event.result
    where = f", from step {result.step:,} on" if result.step else ""
    return (
        f"run {event.number}/{event.count} {result.run}: {result.parameters:,} parameters, "
        f"{megabytes(result.memory_bytes)}{where}"
    )


def progress_text(event):
    total = f"/{event.total_steps:,}" if event.total_steps else ""
    val = "" if event.val_loss_nats is None else f"  validation {event.val_loss_nats:.4f}"
    done = "" if event.share is None else f"  {event.share:.0%}  {eta_text(event.remaining_s)}"
    return f"step {event.step:,}{total}  train {event.train_loss_nats:.4f}{val}{done}"


def ended_line(event):
    result = event.result
    by = ", by another worker" if event.elsewhere else ""
    if result.error:
        return f"{result.run} {result.state}{by}: {result.error}"
    losses = [
        f"{name} {loss:.4f}"
        for name, loss in (("validation", result.val_loss_nats), ("test", result.test_loss_nats))
        if loss is not None
    ]
    return (
        f"{result.run} {result.state}{by} at step {result.step:,}: {', '.join([*losses, duration(result.elapsed_s)])}"
    )
