"""charrnn sweep: a specification in, a folder of runs and a table out. What a sweep does is the sweep room's."""

import json
import re
import sys
import time
from pathlib import Path

import click

from charrnn.cli.display import PLAIN_SECONDS, REFRESH_SECONDS, Quiet, clock_text
from charrnn.cli.train import OutputPath, read_toml, signals_stop, typed_options
from charrnn.cli.words import duration, neutralise, printable, quoted
from charrnn.errors import ConfigError, counted


@click.command(name="sweep")
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=OutputPath(),
    metavar="SWEEP",
    show_default="checkpoints/NAME-sweep-N",
    help="Folder of the sweep, to be made or to go on with.",
)
@click.option("--resume", type=OutputPath(), metavar="SWEEP", help="Go on with a sweep by the SPEC it was given last.")
@click.option(
    "--jobs",
    type=int,
    metavar="N",
    show_default="1, of all threads",
    help="Train N models at a time, each on one thread.",
)
@click.option("--dry-run", is_flag=True, help="List the runs with their parameters and memory, and make none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@click.option("-q", "--quiet", is_flag=True, help="Show the result only.")
def command(spec, output, resume, jobs, dry_run, as_json, as_csv, quiet):
    """Train a grid of models and compare them.

    \b
    Example: charrnn sweep grid.toml --jobs 2

    \b
    SPEC is a TOML file: any option of charrnn train for all runs, lists of values to be
    combined, and runs picked by hand, as in
      text = ["shakespeare.txt"]
      minutes = 5
      [grid]
      cell = ["lstm", "gru"]
      dropout = [0, 0.2]
      seed = [1, 2, 3]
      [[run]]
      hidden_size = 512

    Each run has a folder in SWEEP, beside results.json and results.csv. Given again, the command goes on with what is
    unfinished and adds what is new in SPEC. A run that fails is in the table with its reason and stops no other; the exit
    code is then 1. Ctrl-C saves. A run that has diverged would do so again: remove its folder to have it made anew.
    """
    if (spec is None) == (resume is None):
        raise ConfigError(
            "name either a SPEC, as in 'charrnn sweep grid.toml', or a sweep to go on with by --resume SWEEP"
        )
    if resume is not None and output is not None:
        raise ConfigError("--resume names the folder of the sweep: leave -o/--output out")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    if as_json and as_csv:
        raise ConfigError("--json and --csv both say how to print the table: leave one of them out")
    if resume is not None:
        spec, output = resume / "spec.toml", resume
        if not spec.is_file():
            raise ConfigError(f"{resume} holds no sweep to go on with: name the folder that 'charrnn sweep' wrote")
    read = _read_spec(spec, resume)

    from charrnn.sweep import sweep

    points = sweep.make_points(read)
    drafts = sweep.draft(points, read.texts)
    if dry_run:
        there = output is not None and (output / sweep.SPEC).is_file()
        made = sweep.Sweep(read, drafts, output).results.values() if there else ()  # in the order of the drafts
        states = {one.point.name: found.state for one, found in zip(drafts, made)}
        _show_drafts(drafts, sweep.differing(points), states, as_json, as_csv)
        return 0
    with sweep.open_sweep(output, read.name) as (folder, lock):
        made = sweep.Sweep(read, drafts, folder, lock, jobs or 1)
        display = _make_display(quiet)
        finished = sum(one.state == sweep.FINISHED for one in made.results.values())
        display.note(
            f"{made.waiting} of {counted(len(made.results), 'run')} to train, into {folder}"
            + (f"; {finished} finished before" if finished else "")
        )
        announced = False
        try:
            with signals_stop(made.stop) as received:
                for event in made.run():
                    if received and not announced:
                        announced = True
                        display.note("stopping after the steps at hand, saved (Ctrl-C again: at once, unsaved)")
                    display.show(event)
        finally:
            display.close()
        record = made.to_dict()
        if as_json:
            click.echo(json.dumps(record))
        elif as_csv:
            click.echo(sweep.to_csv(sweep.sort_results(made.results.values()), made.columns), nl=False)
        else:
            _show_results(record)
        states = [one.state for one in made.results.values()]
        best = sweep.sort_results(made.results.values())[0]
        if best.val_loss_nats is not None and best.state == sweep.FINISHED:
            display.note(
                f"next: charrnn sample {quoted(folder / best.run)} --temperature 0.8\n      charrnn eval {quoted(folder / best.run)}"
            )
        if any(state in (sweep.WAITING, sweep.STOPPED) for state in states):
            display.note(f"stopped, saved; go on with:\n  charrnn sweep --resume {quoted(folder)}", important=True)
            return 128 + received[0] if received else 1
        return 1 if any(state in (sweep.FAILED, sweep.DIVERGED) for state in states) else 0


# ---------------------------------------------------------------------------------------------------------------- spec


def _read_spec(path, resume):
    """Read SPEC.toml, its options checked by the code that checks those of a --config; ConfigError for what is wrong in it."""
    from charrnn.sweep.sweep import Spec

    options, where = read_toml(path, str(path)), str(path)
    name = options.pop("name", None if resume is None else "sweep") or path.stem
    grid, runs = options.pop("grid", {}), options.pop("run", [])
    text = options.pop("text", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where} gives 'name' a value that it cannot have: {name!r}")
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise ConfigError(f'{where} names no text to train on: add a line such as text = ["shakespeare.txt"]')
    if "-" in texts:
        raise ConfigError(f"{where} names - as a text, but stdin can be read once only: save it in a file")
    if not isinstance(grid, dict) or not isinstance(runs, list) or not all(isinstance(one, dict) for one in runs):
        raise ConfigError(
            f"{where} must give the grid in a [grid] table and each run picked by hand in a [[run]] table"
        )
    common, values = typed_options(options, where), {}
    for key, listed in grid.items():
        if not isinstance(listed, list) or not listed:
            raise ConfigError(f"{where} [grid] must give {key!r} a list of values, got {listed!r}")
        for value in listed:
            for option, typed in typed_options(_one_option(key, value, where), f"{where} [grid]").items():
                if typed in values.setdefault(option, []):
                    raise ConfigError(f"{where} [grid] gives {key!r} the value {value!r} twice: leave one of them out")
                values[option].append(typed)
    picked = []
    for number, one in enumerate(runs, 1):
        own = one.pop("name", None)
        if own is not None and not (isinstance(own, str) and re.fullmatch(r"\w[\w.+-]{0,99}", own)):
            raise ConfigError(
                f"{where} [[run]] {number} must have a name of letters, digits, '-', '_', '+' and '.', got {own!r}"
            )
        if own in ("spec.toml", "results.json", "results.csv", "lock"):
            raise ConfigError(
                f"{where} [[run]] {number} cannot be named {own}, as a file of the sweep is: choose another name"
            )
        for key in one:
            _one_option(key, one[key], where)
        picked.append((own, typed_options(one, f"{where} [[run]] {number}")))
    if resume is not None:
        texts = _texts_of(resume, texts)
    return Spec(name, tuple(texts), common, values, tuple(picked), path.read_bytes())


def _one_option(key, value, where):
    if key == "text":
        raise ConfigError(f"{where} must name the text once for all runs: losses on different texts cannot be compared")
    return {key: value}


def _texts_of(folder, texts):
    """Return the texts of a sweep, found again as they were named or from where its folder stands."""
    from charrnn.sweep.sweep import read_results
    from charrnn.training.trainer import find_texts

    known = read_results(folder).get("text")
    from_run = known.get("sources_from_run") if isinstance(known, dict) else None
    if not isinstance(from_run, list) or [Path(str(one)).name for one in from_run] != [Path(one).name for one in texts]:
        return texts
    return find_texts({"corpus": {"sources": texts, "sources_from_run": from_run}}, folder)


# -------------------------------------------------------------------------------------------------------------- tables


def _show_drafts(drafts, columns, states, as_json, as_csv):
    """List what a sweep would train. states : {run: its state} of a sweep that is there, or nothing."""
    from charrnn.model.memory import available_memory

    if as_json or as_csv:
        rows = [
            {
                "run": one.point.name,
                "options": one.point.options,
                "parameters": one.parameters,
                "memory_bytes": one.memory_bytes,
                "error": one.error,
                "state": states.get(one.point.name),
            }
            for one in drafts
        ]
        if as_json:
            click.echo(json.dumps({"columns": columns, "runs": rows}))
            return
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["run", *columns, "parameters", "memory_bytes", "error", "state"])
        for row in rows:
            writer.writerow(
                [
                    row["run"],
                    *(row["options"][name] for name in columns),
                    row["parameters"],
                    row["memory_bytes"],
                    row["error"],
                    row["state"],
                ]
            )
        return
    console, free = _console(), available_memory()

    def make_table(columns):
        table = _table(["run", *columns], ["parameters", "memory"], ["state"] if states else [])
        for one in drafts:
            memory = None if one.memory_bytes is None else _megabytes(one.memory_bytes)
            if memory and free is not None and one.memory_bytes > free:
                memory += f", {_megabytes(free)} are free"
            table.add_row(
                *_cells([one.point.name, *(one.point.options[name] for name in columns), one.parameters, memory]),
                *(_cells([states.get(one.point.name)]) if states else []),
            )
        return table

    _print_fitted(console, make_table, columns)
    for one in drafts:
        if one.error:
            console.print(f"{one.point.name} will fail: {printable(one.error, sys.stdout)}")
    failing = sum(one.error is not None for one in drafts)
    console.print(counted(len(drafts), "run") + (f", {failing} of which will fail" if failing else ""))


def _show_results(record):
    """Print the table, and where seeds differ, the means over them."""
    console, columns = _console(), record["columns"]

    def make_table(columns):
        table = _table(
            ["run", *columns],
            ["parameters", "at\nstep", "time", "validation\nnats", "test\nnats", "best\nstep"],
            ["state"],
        )
        for row in record["runs"]:
            state = row["state"] + (f", went back {counted(row['returns'], 'time')}" if row["returns"] else "")
            table.add_row(
                *_cells([row["run"], *(row["options"].get(name) for name in columns)]),
                *_cells(
                    [
                        row["parameters"],
                        row["step"],
                        _time(row["elapsed_s"]),
                        _nats(row["val_loss_nats"]),
                        _nats(row["test_loss_nats"]),
                        row["best_step"],
                        state,
                    ]
                ),
            )
        return table

    _print_fitted(console, make_table, columns)
    if record.get("over_seeds"):
        columns = [name for name in columns if name != "seed"]
        table = _table(columns, ["seeds\nfinished", "validation\nnats", "test\nnats"])
        for row in record["over_seeds"]:
            table.add_row(
                *_cells([row["options"].get(name) for name in columns]),
                f"{row['finished']} of {row['runs']}",
                *_cells(
                    [_nats(row["val_loss_nats"], row["val_spread"]), _nats(row["test_loss_nats"], row["test_spread"])]
                ),
            )
        console.print("\nmean ± standard deviation over seeds")
        console.print(table)
    for row in record["runs"]:
        if row["error"]:
            console.print(f"\n{row['run']} {row['state']}: {printable(row['error'], sys.stdout)}")


def _console():
    from rich.console import Console

    # Rich decides on colour: none with NO_COLOR, none into a pipe.
    # A table is as wide as it is: figures cut off are worth nothing.
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, width=10_000)


def _print_fitted(console, make_table, columns):
    """Print the table of as many of the options as a terminal has room for, and the names of those it has not: the runs' own names tell."""
    from shutil import get_terminal_size

    from rich.measure import Measurement

    shown, room = list(columns), get_terminal_size().columns if console.is_terminal else None
    while room and shown and Measurement.get(console, console.options, make_table(shown)).maximum > room:
        shown.pop()
    console.print(make_table(shown))
    if len(shown) < len(columns):
        console.print(
            f"no room for {', '.join(name.replace('_', ' ') for name in columns[len(shown) :])}: --json and --csv have all, "
            "and a wider terminal"
        )


def _table(left, right, after=()):
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(name.replace("_", "\n"), no_wrap=True, overflow="ignore")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True, overflow="ignore")
    for name in after:
        table.add_column(name, no_wrap=True, overflow="ignore")
    return table


def _cells(values):
    return [_cell(value) for value in values]


def _cell(value):
    from charrnn.training.options import shown

    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def _megabytes(size_bytes):
    return f"{size_bytes / 1e6:,.{1 if size_bytes < 1e7 else 0}f} MB"


def _time(seconds):
    return duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"


def _nats(loss, spread=None):
    if loss is None:
        return None
    return f"{loss:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


# ------------------------------------------------------------------------------------------------------------- display


def _make_display(quiet):
    from charrnn.cli.display import shows_live

    if quiet:
        return Quiet()
    return LiveSweep() if shows_live() else PlainSweep()


class PlainSweep(Quiet):
    """Lines, for a file or a pipe."""

    def __init__(self):
        super().__init__()
        self._next_s = {}

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

    def _ended(self, event):
        self.note(ended_line(event))


class LiveSweep(Quiet):
    """A line for each run at hand at the foot of the terminal; those that have ended scroll by above it."""

    def __init__(self):
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._at_hand = {}
        self._next_s = 0.0

    def note(self, text, important=False):
        self._guarded(self._print, text, "bold" if important else "dim")

    def close(self):
        self._guarded(self._live.stop)

    def _print(self, text, style=""):
        from rich.text import Text

        self._console.print(Text(neutralise(text), style=style), soft_wrap=True)

    def _note(self, event):
        self._print(f"{event.run}: {event.text}" if event.run else event.text, "yellow" if event.important else "dim")

    def _begun(self, event):
        self._live.start()
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

    def _refresh(self):
        self._next_s = time.monotonic() + REFRESH_SECONDS
        self._live.update(self._foot(), refresh=True)

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
                ProgressBar(total=1.0, completed=progress.share),
                f"step {progress.step:,}",
                f"train {progress.train_loss_nats:.3f}",
                val,
                f"ETA {clock_text(progress.remaining_s)}",
            )
        return table


def begun_line(event):
    result = event.result
    where = f", from step {result.step:,} on" if result.step else ""
    return (
        f"run {event.number}/{event.count} {result.run}: {result.parameters:,} parameters, "
        f"{_megabytes(result.memory_bytes)}{where}"
    )


def progress_text(event):
    total = f"/{event.total_steps:,}" if event.total_steps else ""
    val = "" if event.val_loss_nats is None else f"  validation {event.val_loss_nats:.4f}"
    return (
        f"step {event.step:,}{total}  train {event.train_loss_nats:.4f}{val}  {event.share:.0%}  "
        f"ETA {clock_text(event.remaining_s)}"
    )


def ended_line(event):
    result = event.result
    if result.error:
        return f"{result.run} {result.state}: {result.error}"
    losses = [
        f"{name} {loss:.4f}"
        for name, loss in (("validation", result.val_loss_nats), ("test", result.test_loss_nats))
        if loss is not None
    ]
    return f"{result.run} {result.state} at step {result.step:,}: {', '.join([*losses, duration(result.elapsed_s)])}"
