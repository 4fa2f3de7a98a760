"""charrnn gradients: how far back a gradient reaches, and a memory. Results on stdout, progress and notes on stderr.

Measuring is gradients/report.py's, showing show_gradients.py's.
"""

import json
import os
import time
from pathlib import Path

import click

from charrnn.cli.checks import check_bounds, check_pillow, unknown_option
from charrnn.cli.opening import announce, open_model, open_text, use_threads
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.progress import progress_bar, reading_bar
from charrnn.cli.show_gradients import MIN_WIDTH, MemoryView, ReachView
from charrnn.cli.words import duration, note
from charrnn.errors import ConfigError
from charrnn.spec import CELLS

MAX_TIMES, MAX_STEPS, MAX_TRAIN_STEPS = 100_000, 100_000, 10**6
OF_FRESH = ("cell", "hidden_size", "num_layers", "embedding_size", "singular_values", "matrix", "forget_biases")
OF_MEMORY = ("cell", "hidden_size", "num_layers", "train_steps")
OF_DISTANCE = ("steps", "times", "layer")  # of all but --memory
WITHOUT_GATES = tuple(cell.name for cell in CELLS.values() if not cell.has_gates)
WITH_FORGET_GATE = tuple(cell.name for cell in CELLS.values() if cell.forget_gate)
OF_CELLS = {"singular_values": WITHOUT_GATES, "matrix": WITHOUT_GATES, "forget_biases": WITH_FORGET_GATE}
SPELT = {"singular_values": "--singular-value", "forget_biases": "--forget-bias"}


def _titles(cells):
    return " and ".join(CELLS[cell].title for cell in cells)


@click.command(name="gradients", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--steps",
    type=int,
    default=200,
    show_default=True,
    metavar="K",
    help="Follow the gradient back up to K characters.",
)
@click.option(
    "--times", type=int, default=64, show_default=True, metavar="N", help="Use the loss at N places of the text."
)
@click.option(
    "--layer",
    type=int,
    metavar="N",
    show_default="all layers as one vector",
    help="Use only this layer's state; layers are counted from 0.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Show only fresh (untrained) networks. With --fresh, give no CHECKPOINT; TEXT is optional.",
)
@click.option(
    "--cell",
    multiple=True,
    type=click.Choice(tuple(CELLS), case_sensitive=False),
    show_default="all three",
    help="Fresh networks: recurrent cell. May be repeated.",
)
@click.option(
    "--hidden-size",
    type=int,
    metavar="N",
    show_default="128; with --memory: 32",
    help="Fresh networks: units per layer.",
)
@click.option(
    "--num-layers", type=int, default=1, show_default=True, metavar="N", help="Fresh networks: number of layers."
)
@click.option(
    "--embedding-size",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Fresh networks: size of the embedding; 0 means one-hot input.",
)
@click.option(
    "--singular-value",
    "singular_values",
    multiple=True,
    type=float,
    metavar="X",
    show_default="0.8, 1 and 1.5",
    help=f"Fresh {_titles(WITHOUT_GATES)}: largest singular value of its recurrent matrix. May be repeated.",
)
@click.option(
    "--matrix",
    type=click.Choice(("orthogonal", "uniform"), case_sensitive=False),
    default="orthogonal",
    show_default=True,
    help=f"Fresh {_titles(WITHOUT_GATES)}: its recurrent matrix. orthogonal: all singular values are equal; uniform: "
    "random numbers, scaled so that the largest singular value is the one given by --singular-value.",
)
@click.option(
    "--forget-bias",
    "forget_biases",
    multiple=True,
    type=float,
    metavar="X",
    show_default="0, 1 and 2",
    help=f"Fresh {_titles(WITH_FORGET_GATE)}: bias of its forget gates. May be repeated.",
)
@click.option(
    "--memory",
    is_flag=True,
    help="Train small networks on tasks that need memory over k characters, and show their accuracy for each k.",
)
@click.option(
    "--train-steps",
    type=int,
    default=2000,
    show_default=True,
    metavar="N",
    help="With --memory: training steps per network.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of fresh networks and their text."
)
@file_option("svg", "Write the figure as a drawing.")
@file_option("png", "Write the figure as a picture.")
@force_option("svg", "png")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Width of the plots in columns.")
@click.option("--encoding", metavar="NAME", show_default="the run's, or utf-8", help="Encoding of TEXT.")
@unknown_option
@click.option("--threads", type=int, metavar="N", show_default="all cores; with --memory: 1", help="Number of threads.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Show how many characters back the gradient reaches.

    \b
    Example: charrnn gradients --fresh
             charrnn gradients checkpoints/shakespeare-1
             charrnn gradients --memory

    The gradient is that of the loss at one character. charrnn measures it with respect to the hidden state (h, and c
    of an LSTM) k characters earlier, for k = 0 to --steps. It does this at many places of the text. For each k, the
    figure shows the median and the quartiles of the gradient's norm. While a model is trained, the gradient is cut off
    at the beginning of each chunk ('charrnn train TEXT --seq-length N'); here it is not.

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. If there is no run,
    or with --fresh, fresh (untrained) networks are compared: the three cells, vanilla RNNs with different recurrent
    matrices, and LSTMs with different forget biases. TEXT is a file, a folder, a glob, or - for stdin; without it, a
    run reads the text that it held out from training, and fresh networks read random characters.
    """
    # The way back is many small products of NumPy: its threads would wait for one another longer than they compute. It
    # asks once, when imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.runs.checkpoint import lacking_run, newest_run

    if options["fresh"] and text is None:
        checkpoint, text = None, os.fspath(checkpoint) if checkpoint is not None else None
    _check(ctx, checkpoint, text, options)
    outputs = Outputs(options, "svg", "png")
    if options["memory"]:
        measure = _memory
    elif options["fresh"] or checkpoint is None and newest_run() is None:
        if not options["fresh"]:
            note(f"there is no run, so these are fresh networks: {lacking_run()}")
        measure = _fresh
    else:
        measure = _run
    if measure is not _run and options["unknown"] is not None:
        raise ConfigError(
            f"--unknown {options['unknown']} is for trained models, and fresh networks know every character that they "
            "read: leave it out",
            ["unknown"],
        )
    view = measure(ctx, checkpoint, text, options, outputs)
    if options["as_json"]:
        click.echo(json.dumps(view.report.to_dict(), allow_nan=False))
    else:
        view.print(options["width"])
    view.write(outputs)


def _memory(ctx, checkpoint, text, options, outputs):
    """Return the MemoryView of networks trained for it."""
    announce(ctx)
    use_threads(ctx, options["threads"] or 1)  # networks so small are no faster on two
    from charrnn.gradients.report import MemoryOptions, MemoryReport, measure_memory

    given = {"cells": _cells(options), "hidden_size": options["hidden_size"]}
    asked = MemoryOptions(
        **{name: value for name, value in given.items() if value},
        num_layers=options["num_layers"],
        train_steps=options["train_steps"],
        seed=options["seed"],
    )
    begun, curves = time.perf_counter(), []
    with progress_bar() as progress:
        for curve in measure_memory(asked, progress):
            note(f"{curve.task}, {CELLS[curve.cell].title}: trained in {duration(curve.elapsed_s)}")
            curves.append(curve)
    return MemoryView(MemoryReport(asked, tuple(curves)), time.perf_counter() - begun)


def _fresh(ctx, checkpoint, text, options, outputs):
    """Return the ReachView of fresh networks."""
    outputs.protect(text)
    announce(ctx)
    use_threads(ctx, options["threads"])
    from charrnn.gradients.report import FreshOptions, check_layer, compare_fresh

    given = {"cells": _cells(options)} | {
        name: options[name] for name in ("hidden_size", "singular_values", "forget_biases")
    }
    asked = FreshOptions(
        **{name: value for name, value in given.items() if value},
        num_layers=options["num_layers"],
        embedding_size=options["embedding_size"],
        matrix=options["matrix"],
        seed=options["seed"],
    )
    excerpt, vocab_size = _fresh_text(text, options)
    check_layer(options["layer"], asked.num_layers)
    with progress_bar() as progress:
        report = compare_fresh(excerpt, vocab_size, options["steps"], options["times"], asked, progress)
    return ReachView("How far back a gradient reaches in fresh networks", report, options["layer"])


def _fresh_text(text, options):
    """Return (Excerpt that fresh networks read, its vocabulary's size)."""
    import contextlib

    import numpy as np

    from charrnn.gradients.report import RANDOM_CHARACTERS, RANDOM_SYMBOLS, random_excerpt
    from charrnn.text.corpus import read_corpus
    from charrnn.text.excerpt import Excerpt

    if text is None:
        characters = max(RANDOM_CHARACTERS, options["steps"] + options["times"] + 2)
        return random_excerpt(options["seed"], characters), RANDOM_SYMBOLS
    with reading_bar() as progress:
        corpus = read_corpus([text], encoding=options["encoding"] or "utf-8", progress=progress)
    with contextlib.closing(corpus):
        for said in corpus.notes:
            note(said)
        return Excerpt.whole(np.array(corpus.ids), text), corpus.vocabulary.size


def _run(ctx, checkpoint, text, options, outputs):
    """Return the ReachView of a run, beside fresh networks of its size that read the same text."""
    opened = open_model(ctx, checkpoint, options["threads"])
    outputs.protect(text, opened)
    from charrnn.gradients.report import check_layer, compare_run
    from charrnn.runs.checkpoint import BEST, LAST
    from charrnn.text.excerpt import Excerpt

    with open_text(opened, text, options["encoding"], options["unknown"]) as (corpus, named, splits, _):
        if splits is None:
            excerpt = Excerpt(corpus.ids, 0, corpus.characters, text, None, corpus.skipped)
        else:
            name = f"the held-out text of {', '.join(named)}"
            excerpt = Excerpt(corpus.ids, *splits.held_out, name)
        check_layer(options["layer"], opened.model.config.num_layers)
        step = opened.checkpoint.training.get("step")
        steps = _steps(ctx, opened.model, excerpt, options)
        with progress_bar() as progress:
            report = compare_run(
                opened.model,
                excerpt,
                steps,
                options["times"],
                step if isinstance(step, int) else None,
                options["seed"],
                progress,
            )
    run = opened.path.parent if opened.path.name in (BEST, LAST) else opened.path
    return ReachView(f"How far back a gradient reaches in {run}", report, options["layer"])


def _steps(ctx, model, excerpt, options):
    """Return how far to go back: as asked for; where nobody asked and items are short, as far as enough of them go."""
    from click.core import ParameterSource

    from charrnn.gradients.distance import fit_steps, item_depths

    asked = options["steps"]
    if model.start_id is None or ctx.get_parameter_source("steps") != ParameterSource.DEFAULT:
        return asked
    depths = item_depths(excerpt.ids, excerpt.start, excerpt.stop, model.rule)
    steps = fit_steps(depths, asked, options["times"])
    if steps < asked:
        note(f"only few items are {asked} long: using --steps {steps}")
    return steps


def _cells(options):
    """Return the cells that were asked for in the order in which they are measured, none where all are."""
    from charrnn.gradients.report import WEAKEST_FIRST

    return tuple(cell for cell in WEAKEST_FIRST if cell in options["cell"])


def _check(ctx, checkpoint, text, options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    from charrnn.training.options import LARGEST

    check_bounds(
        options,
        ("steps", 1, MAX_STEPS),
        ("times", 1, MAX_TIMES),
        ("layer", 0, None),
        ("hidden_size", 1, LARGEST["hidden_size"]),
        ("num_layers", 1, LARGEST["num_layers"]),
        ("embedding_size", 0, LARGEST["embedding_size"]),
        ("train_steps", 1, MAX_TRAIN_STEPS),
        ("seed", 0, 2**63 - 1),
        ("width", MIN_WIDTH, None),
        ("threads", 1, None),
    )
    for name, least in (("singular_values", 0), ("forget_biases", -100)):
        for value in options[name]:
            if not least <= value <= 100:
                raise ConfigError(f"{_spelt(name)} must be between {least} and 100, got {value:g}", [name])
    named = {
        name
        for name in (*OF_FRESH, *OF_MEMORY, *OF_DISTANCE)
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    allowed = OF_MEMORY if options["memory"] else OF_FRESH
    for name in OF_DISTANCE:
        if name in named and options["memory"]:
            raise ConfigError(
                f"--{name} is for gradients, but --memory measures accuracy: leave one of them out", [name, "memory"]
            )
    for name, cells in OF_CELLS.items():
        if name in named and options["cell"] and not {*cells} & {*options["cell"]}:
            raise ConfigError(
                f"{_spelt(name)} is for the {_titles(cells)}, which --cell does not include: leave it out, or add "
                f"--cell {cells[0]}",
                [name, "cell"],
            )
    for name in (*OF_FRESH, *OF_MEMORY):
        if name in named and name not in allowed:
            raise ConfigError(
                f"{_spelt(name)} is for {'--memory' if name in OF_MEMORY else 'fresh networks'}: leave it out"
                + (", or leave out --memory" if options["memory"] else ", or add --memory"),
                [name],
            )
    if options["memory"] and (checkpoint is not None or text is not None or options["fresh"]):
        given = "--fresh" if options["fresh"] else checkpoint if checkpoint is not None else text
        raise ConfigError(f"--memory trains its own networks on its own texts: leave out {given}", ["memory"])
    if options["fresh"] and checkpoint is not None:
        raise ConfigError(
            f"--fresh takes one argument, the TEXT to read, got {checkpoint} and {text}: leave out one of them, or "
            "--fresh",
            ["fresh"],
        )
    of_fresh = sorted(named & {*OF_FRESH})
    if of_fresh and not options["memory"] and not options["fresh"]:
        if checkpoint is not None:
            raise ConfigError(
                f"{_spelt(of_fresh[0])} is for fresh networks, and a run is compared with fresh networks of its own "
                "size: leave it out, or add --fresh and give only a TEXT",
                [of_fresh[0], "fresh"],
            )
        options["fresh"] = True
    check_pillow(options["png"])
    if options["encoding"] is not None and text is None:
        raise ConfigError(
            f"--encoding {options['encoding']} applies to a TEXT, but no TEXT was given: leave it out", ["encoding"]
        )


def _spelt(name):
    return SPELT.get(name, "--" + name.replace("_", "-"))
