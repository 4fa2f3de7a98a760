"""What `charrnn sweep` prints: what a dry run lists, and the table of results."""

import json
import sys

import click

from charrnn.cli.words import duration, printable
from charrnn.errors import counted
from charrnn.training.options import shown


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
            memory = None if one.memory_bytes is None else megabytes(one.memory_bytes)
            if memory and free is not None and one.memory_bytes > free:
                memory += f", {megabytes(free)} are free"
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


def show_results(record):
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
    """Print the table with as many of the options as a terminal has room for, and the names of those left out.

    The runs' own names still tell them apart.
    """
    from shutil import get_terminal_size

    from rich.measure import Measurement

    shown, room = list(columns), get_terminal_size().columns if console.is_terminal else None
    while room and shown and Measurement.get(console, console.options, make_table(shown)).maximum > room:
        shown.pop()
    console.print(make_table(shown))
    if len(shown) < len(columns):
        console.print(
            f"no room for {', '.join(name.replace('_', ' ') for name in columns[len(shown) :])}: --json and --csv have "
            "all, and a wider terminal"
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
