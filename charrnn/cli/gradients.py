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


@click.command(name="gradients")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--steps", type=int, default=200, show_default=True, metavar="K", help="Go back up to K characters.")
@click.option(
    "--times", type=int, default=64, show_default=True, metavar="N", help="Take the loss at N places of the text."
)
@click.option(
    "--layer", type=int, metavar="N", show_default="all as one vector", help="Only this layer's state, counted from 0."
)
@click.option("--fresh", is_flag=True, help="Fresh networks only; the one argument is then the TEXT they read.")
@click.option(
    "--cell",
    multiple=True,
    type=click.Choice(tuple(CELLS), case_sensitive=False),
    show_default="all three",
    help="Fresh networks: of this cell. May be repeated.",
)
@click.option(
    "--hidden-size", type=int, metavar="N", show_default="128; --memory 32", help="Fresh networks: units a layer."
)
@click.option("--num-layers", type=int, default=1, show_default=True, metavar="N", help="Fresh networks: layers.")
@click.option(
    "--embedding-size", type=int, default=0, show_default=True, metavar="N", help="Fresh networks: 0 is one-hot."
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
    help=f"Fresh {_titles(WITHOUT_GATES)}: all singular values alike, or the fresh matrix times a number.",
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
    help="Train small networks on tasks that need memory over k characters: accuracy against k.",
)
@click.option(
    "--train-steps", type=int, default=2000, show_default=True, metavar="N", help="Of --memory: updates a network."
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Of fresh networks and their text.")
@file_option("svg", "Write the figure as a drawing.")
@file_option("png", "Write the figure as a picture.")
@force_option("svg", "png")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Columns of the plots.")
@click.option("--encoding", metavar="NAME", show_default="the run's, or utf-8", help="Encoding of TEXT.")
@unknown_option
@click.option("--threads", type=int, metavar="N", show_default="all cores; --memory 1", help="Threads to compute with.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Show how far back gradients reach, and memory.

    \b
    Example: charrnn gradients --fresh
             charrnn gradients checkpoints/shakespeare-1
             charrnn gradients --memory

    The norm of the gradient of the loss at a character with respect to the hidden state (h, and c of an LSTM) k
    characters before, for k = 0 to --steps: median and quartiles over many places of the text. CHECKPOINT is a file or
    a run folder; left out, it is the newest run under ./checkpoints, and where there is none, fresh networks are shown:
    the three cells, the vanilla RNN by its recurrent matrix, the LSTM by its forget bias. TEXT is a file, a folder, a
    glob, or - for stdin; left out, it is the text that the run held out from training, found again, and for fresh
    networks random characters.
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
            note(f"these are fresh networks, of no run: {lacking_run()}")
        measure = _fresh
    else:
        measure = _run
    if measure is not _run and options["unknown"] is not None:
        raise ConfigError(
            f"--unknown {options['unknown']} is of a trained model, and fresh networks know every character that they "
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
        note(f"few items go back {asked}: --steps is {steps}")
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
                raise ConfigError(f"{_spelt(name)} must lie between {least} and 100, got {value:g}", [name])
    named = {
        name
        for name in (*OF_FRESH, *OF_MEMORY, *OF_DISTANCE)
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    allowed = OF_MEMORY if options["memory"] else OF_FRESH
    for name in OF_DISTANCE:
        if name in named and options["memory"]:
            raise ConfigError(
                f"--{name} is of gradients, and --memory measures answers: leave it out, or leave out --memory",
                [name, "memory"],
            )
    for name, cells in OF_CELLS.items():
        if name in named and options["cell"] and not {*cells} & {*options["cell"]}:
            raise ConfigError(
                f"{_spelt(name)} is of the {_titles(cells)}, and --cell names none: leave it out, or add --cell "
                f"{cells[0]}",
                [name, "cell"],
            )
    for name in (*OF_FRESH, *OF_MEMORY):
        if name in named and name not in allowed:
            raise ConfigError(
                f"{_spelt(name)} is of {'--memory' if name in OF_MEMORY else 'fresh networks'}: leave it out"
                + (", or leave out --memory" if options["memory"] else ", or add --memory"),
                [name],
            )
    if options["memory"] and (checkpoint is not None or text is not None or options["fresh"]):
        given = "--fresh" if options["fresh"] else checkpoint if checkpoint is not None else text
        raise ConfigError(f"--memory trains networks of its own on texts of its own: leave out {given}", ["memory"])
    if options["fresh"] and checkpoint is not None:
        raise ConfigError(
            f"--fresh takes one argument, the TEXT to read, got {checkpoint} and {text}: leave one of them out, or "
            "--fresh",
            ["fresh"],
        )
    of_fresh = sorted(named & {*OF_FRESH})
    if of_fresh and not options["memory"] and not options["fresh"]:
        if checkpoint is not None:
            raise ConfigError(
                f"{_spelt(of_fresh[0])} is of fresh networks: add --fresh and name only "
                "a TEXT, or leave it out: a run is shown beside fresh networks of its own size",
                [of_fresh[0], "fresh"],
            )
        options["fresh"] = True
    check_pillow(options["png"])
    if options["encoding"] is not None and text is None:
        raise ConfigError(
            f"--encoding {options['encoding']} is of a TEXT, and none is named: leave it out", ["encoding"]
        )


def _spelt(name):
    return SPELT.get(name, "--" + name.replace("_", "-"))
