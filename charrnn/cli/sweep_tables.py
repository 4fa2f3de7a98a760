"""What `charrnn sweep` prints: what a dry run lists, and the table of results."""

import json
import sys
from typing import NamedTuple

import click

from charrnn.cli.words import columns_of, duration, printable, wrapped
from charrnn.errors import counted
from charrnn.training.settings import shown

LEAST_FIRST = ("parameters", "time", "best step", "at step", "memory")  # left out in this order, then others


class _Column(NamedTuple):
    """A column: its name, a value a row, and to which side they stand."""

    name: str
    cells: list
    justify: str = "left"


def show_drafts(drafts, columns, states, as_json, as_csv):
    """List what a sweep would train. states : {run: its state} of a sweep that is there, or nothing."""
    from charrnn.files.machine import available_memory

    if as_json or as_csv:
        rows = [
            {
                "run": one.point.name,
                "options": one.point.options,
                "parameters": one.parameters,
                "memory_bytes": one.memory_bytes,
                "error": one.error,
                "state": states.get(one.point.name),
                "steps": one.total_steps,
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

    def memory(size_bytes):
        if size_bytes is None:
            return None
        return megabytes(size_bytes) + (f", only {megabytes(free)} free" if free and size_bytes > free else "")

    table = [
        _Column("run", [one.point.name for one in drafts]),
        *(_Column(name, [one.point.options[name] for one in drafts]) for name in columns),
        _Column("parameters", [one.parameters for one in drafts], "right"),
        _Column("memory", [memory(one.memory_bytes) for one in drafts], "right"),
    ]
    if states:
        table.append(_Column("state", [states.get(one.point.name) for one in drafts]))
    _print_fitted(console, table, columns)
    for one in drafts:
        if one.error:
            console.print(wrapped(f"{one.point.name} will fail: {printable(one.error, sys.stdout)}", sys.stdout))
    failing = sum(one.error is not None for one in drafts)
    console.print(counted(len(drafts), "run") + (f"; {failing} will fail" if failing else ""))


def show_results(record):
    """Print the table, and where seeds differ, the means over them."""
    console, columns, rows = _console(), record["columns"], record["runs"]

    def state(row):
        return row["state"] + (
            f", went back to an earlier step {counted(row['returns'], 'time')}" if row["returns"] else ""
        )

    table = [
        _Column("run", [row["run"] for row in rows]),
        *(_Column(name, [row["options"].get(name) for row in rows]) for name in columns),
        _Column("parameters", [row["parameters"] for row in rows], "right"),
        _Column("at step", [row["step"] for row in rows], "right"),
        _Column("time", [_time(row["elapsed_s"]) for row in rows], "right"),
        _Column("validation nats", [_nats(row["val_loss_nats"]) for row in rows], "right"),
        _Column("test nats", [_nats(row["test_loss_nats"]) for row in rows], "right"),
        _Column("best step", [row["best_step"] for row in rows], "right"),
        _Column("state", [state(row) for row in rows]),
    ]
    _print_fitted(console, table, columns)
    if rows := record.get("over_seeds"):
        columns = [name for name in columns if name != "seed"]
        table = [
            *(_Column(name, [row["options"].get(name) for row in rows]) for name in columns),
            _Column("seeds finished", [f"{row['finished']} of {row['runs']}" for row in rows], "right"),
            _Column("validation nats", [_nats(row["val_loss_nats"], row["val_spread"]) for row in rows], "right"),
            _Column("test nats", [_nats(row["test_loss_nats"], row["test_spread"]) for row in rows], "right"),
        ]
        console.print("\nmean ± standard deviation over seeds")
        _print_fitted(console, table, columns)
    for row in record["runs"]:
        if row["error"]:
            console.print(wrapped(f"\n{row['run']} {row['state']}: {printable(row['error'], sys.stdout)}", sys.stdout))


def _console():
    from rich.console import Console

    # Rich decides on colour: none with NO_COLOR, none into a pipe.
    # A table is as wide as it is: figures cut off are worth nothing.
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, width=10_000)


def _print_fitted(console, table, options):
    """Print as many columns as a terminal has room for, and the names of those left out.

    table : _Columns; options : the names of those that a sweep is about, which are the last to be left out
    """
    from rich.measure import Measurement

    room = columns_of(console.file)
    names = [column.name for column in table]
    values = [column.cells for column in table if column.name in options]
    # What tells nothing goes first: a state that all have, and a run's name where its options are another.
    alike = {column.name for column in table if column.name == "state" and len(set(map(str, column.cells))) < 2}
    told = len(set(map(str, zip(*values)))) == len(table[0].cells) if values else False
    order = [
        *alike,
        *(name for name in LEAST_FIRST if name in names),
        *(["run"] if told and "run" in names else []),
        *(["test nats"] if "test nats" in names else []),
        *reversed(options),
    ]

    def fits(names):
        made = _table([column for column in table if column.name in names])
        return not room or Measurement.get(console, console.options, made).maximum <= room

    kept = list(names)
    for name in order:
        if fits(kept) or len(kept) == 1:
            break
        kept.remove(name)
    for name in reversed(order):  # a wide one may have made room for narrow ones again
        if name not in kept and fits([*kept, name]):
            kept.append(name)
    console.print(_table([column for column in table if column.name in kept]))
    if len(kept) < len(names):
        left_out = ", ".join(name.replace("_", " ") for name in names if name not in kept)
        console.print(wrapped(f"hidden columns: {left_out}. Widen the terminal, or use --csv", console.file))


def _table(columns):
    """Return _Columns as a rich table."""
    from rich.table import Table

    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        heading = column.name.replace("_", "\n").replace(" ", "\n")
        made.add_column(heading, justify=column.justify, no_wrap=True, overflow="ignore")
    for row in zip(*(column.cells for column in columns)):
        made.add_row(*_cells(row))
    return made


def _cells(values):
    return [_cell(value) for value in values]


def _cell(value):
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def megabytes(size_bytes):
    return f"{size_bytes / 1e6:,.{1 if size_bytes < 1e7 else 0}f} MB"


def _time(seconds):
    return duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"


def _nats(loss, spread=None):
    if loss is None:
        return None
    return f"{loss:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
