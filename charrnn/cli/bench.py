"""charrnn bench: what this machine does, and what to expect of it. How it is measured is the bench room's."""

import json
import sys

import click

from charrnn.cli.checks import check_bounds
from charrnn.cli.opening import announce, use_threads
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.progress import progress_bar
from charrnn.cli.words import note
from charrnn.errors import counted
from charrnn.spec import CELLS
from charrnn.training.defaults import BATCH_SIZE, SEQ_LENGTH
from charrnn.training.options import DEFAULTS, TrainingConfig

OWN = ("hidden_size", "num_layers", "batch_size", "seq_length")  # any of them asks for one shape of the user's own


@click.command(name="bench", cls=PlainCommand)
@click.option(
    "--cell",
    type=click.Choice(tuple(CELLS), case_sensitive=False),
    default=DEFAULTS.cell,
    show_default=True,
    help="Recurrent cell.",
)
@click.option(
    "--hidden-size",
    type=int,
    metavar="N",
    show_default=f"{DEFAULTS.hidden_size}, and other shapes",
    help="Units per layer. This and the next three options select one shape to measure.",
)
@click.option("--num-layers", type=int, metavar="N", show_default=f"{DEFAULTS.num_layers}", help="Layers.")
@click.option(
    "--batch-size",
    type=int,
    metavar="N",
    show_default=f"{BATCH_SIZE}",
    help="Number of streams that are read in parallel.",
)
@click.option(
    "--seq-length", type=int, metavar="N", show_default=f"{SEQ_LENGTH}", help="Characters per step and stream."
)
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Number of threads.")
@click.option(
    "--repeats",
    type=int,
    metavar="N",
    default=7,
    show_default=True,
    help="Each figure is the median of N measurements. If a row takes long, bench makes fewer, but at least 3 (or N "
    "if N is less than 3).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx, cell, threads, repeats, as_json, **own):
    """Measure training and sampling speed on this machine.

    \b
    Example: charrnn bench --cell gru

    Measures complete training steps (vocabulary of 65, Adam), in characters per second and as a share of the CPU's
    peak, which is its highest speed of multiply-adds. Also measures the sampling of one stream. The first row is the
    default model of charrnn train; the other models have no embedding, layer normalisation or dropout.

    This takes about a minute; do not use the machine meanwhile. Other programs can disturb the measurement. To notice
    this, bench repeats three short measurements: the peak, matrix products with weights in the L2 cache, and reads
    from L3 or memory. The line "load" shows how far each of them fell below its best value.
    """
    check_bounds({"repeats": repeats, "threads": threads}, ("repeats", 1, None), ("threads", 1, None))
    own = {name: value for name, value in own.items() if value is not None}
    TrainingConfig(**own)  # its rules are theirs

    announce(ctx)
    from charrnn import bench
    from charrnn.kernels.threads import default_threads, num_threads

    use_threads(ctx, threads or default_threads())
    default = bench.Shape(cell, *bench.DEFAULT_SHAPE, **bench.DEFAULT_MODEL)
    if own:
        shapes = [bench.Shape(cell, **{**dict(zip(OWN, bench.DEFAULT_SHAPE)), **own})]
    else:
        shapes = [default, *(bench.Shape(cell, *sizes) for sizes in (*bench.SHAPES, bench.MIN_CHAR_RNN))]
    for shape in shapes:
        bench.check_memory(shape)
    machine = {**bench.machine(), "threads": num_threads()}
    note("measuring the peak")
    peaks = bench.measure_peaks(repeats)
    results = []
    with progress_bar() as progress:  # one for all shapes: its remaining time is that of the command
        for shape in shapes:
            note(f"measuring {shape.cell} {_size(shape)}, {_batch(shape)}")
            results.append(
                bench.measure_shape(
                    shape,
                    repeats,
                    # As `charrnn train` runs it: with its dropout too.
                    dropout=0.0 if own or shape != default else bench.DEFAULT_DROPOUT,
                    progress=lambda share: progress("measuring", len(results) + share, len(shapes)),
                )
            )
    sentence = None if own else bench.expectation(cell, *_default_speed(default, results[0], repeats))
    load = bench.disturbance(peaks, results)
    if as_json:
        click.echo(json.dumps(_json(machine, peaks, results, sentence, load)))
    else:
        _print(machine, peaks, results, sentence, load)


def _default_speed(shape, result, repeats):
    """Return the precision in which `charrnn train` trains the default model here, and its characters per second.

    result    the ShapeResult of the shape, which is of float32
    """
    from charrnn import bench
    from charrnn.model.precision import default_precision

    precision = default_precision("float32")
    if precision == "float32":
        return precision, result.training_chars_per_s
    training = bench.StepBench(shape, dropout=bench.DEFAULT_DROPOUT, precision=precision)
    (measured,) = bench.measure([training], repeats, budget_s=2.0)
    return precision, measured.rate


def _json(machine, peaks, results, sentence, load):
    from dataclasses import asdict

    return {
        "machine": machine,
        "peak_gflops": {str(threads): peak for threads, peak in peaks.items()},
        "shapes": [
            {
                **asdict(result.shape),
                **{key: value for key, value in asdict(result).items() if key != "shape"},
                "disturbed": disturbed,
            }
            for result, disturbed in zip(results, load.rows)
        ],
        "disturbance": {
            "best_peak_gflops": load.best_gflops,
            "lowest_peak_gflops": load.lowest_gflops,
            "fall": load.fall,
            "falls": load.falls,
            "disturbed": load.disturbed,
        },
        "expectation": sentence,
    }


def _print(machine, peaks, results, sentence, load):
    from rich.console import Console
    from rich.table import Table

    # Rich decides on colour: none with NO_COLOR, none into a pipe.
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    threads = machine["threads"]
    console.print(f"machine  {machine['cpu']}, {machine['isa']}, {counted(threads, 'thread')}")
    console.print(
        "peak     float32 " + ", ".join(f"{peak:,.0f} GFLOP/s on {counted(n, 'thread')}" for n, peak in peaks.items())
    )
    console.print(f"load     {_load(load)}")
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("units\nx layers", "streams\nx steps"):
        table.add_column(name, no_wrap=True)
    for name in ("parameters", "training\ncharacters/s", "share\nof peak", "sampling\ncharacters/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for result, disturbed in zip(results, load.rows):
        table.add_row(
            _size(result.shape) + ("*" if disturbed else ""),
            _batch(result.shape),
            f"{result.parameters:,}",
            f"{result.training_chars_per_s:,.0f}",
            f"{result.peak_share:.0%}",
            f"{result.sampling_chars_per_s:,.0f}",
        )
    console.print(
        f"\n{results[0].shape.cell}, vocabulary of {results[0].shape.vocab_size}, {counted(threads, 'thread')}; "
        "one stream is sampled on one"
    )
    console.print(table)
    if sentence:
        console.print("\n" + sentence, soft_wrap=False)


def _load(load):
    """Say in a line how disturbed the machine was."""
    names = {"peak": "peak", "l2": "L2", "memory": "memory"}
    fell = ", ".join(f"{names[name]} -{fall:.0%}" for name, fall in load.falls.items())
    if not load.disturbed:
        return f"not disturbed by other processes: {fell} at worst"
    meaning = "; rows marked * are too slow" if any(load.rows) else ", but before the first row only"
    return f"disturbed: {fell}{meaning}"


def _size(shape):
    return f"{shape.hidden_size} x {shape.num_layers}"


def _batch(shape):
    return f"{shape.batch_size} x {shape.seq_length}"
