"""charrnn gradients: how far back a gradient reaches, and a memory. Results on stdout, progress and notes on stderr."""

import dataclasses
import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import click

from charrnn.cli.evaluate import open_text
from charrnn.cli.words import duration, note, printable
from charrnn.errors import counted
from charrnn.spec import CELLS

FRESH_SYMBOLS = 65  # a fresh network reads so many different characters, at random, where no TEXT is named
FRESH_CHARACTERS = 20_000
MOST_TIMES, MOST_STEPS = 100_000, 100_000
SINGULAR_VALUES, FORGET_BIASES = (0.8, 1.0, 1.5), (0.0, 1.0, 2.0)
LOWEST_SHARE = 1e-40  # of the largest norm: what is below it is told, not drawn
SHOWN = (0, 10, 50, 100)  # distances in the table, beside the last
PLOT_HEIGHT = 18
NARROWEST, WIDEST = 40, 110
STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")
TASK_TITLES = {"copy": "copy a character", "bracket": "close a bracket"}
WEAKEST_FIRST = tuple(reversed(CELLS))  # the order in which cells are measured
OF_FRESH = ("cell", "hidden_size", "num_layers", "embedding_size", "singular_values", "matrix", "forget_biases")
OF_MEMORY = ("cell", "hidden_size", "num_layers", "train_steps")
OF_DISTANCE = ("steps", "times", "layer")  # of all but --memory
OF_CELL = {"singular_values": "rnn", "matrix": "rnn", "forget_biases": "lstm"}
SPELT = {"singular_values": "--singular-value", "forget_biases": "--forget-bias"}


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
    type=click.Choice(tuple(CELLS)),
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
    help="Fresh vanilla RNN: largest singular value of its recurrent matrix. May be repeated.",
)
@click.option(
    "--matrix",
    type=click.Choice(("orthogonal", "uniform")),
    default="orthogonal",
    show_default=True,
    help="Fresh vanilla RNN: all singular values alike, or the fresh matrix times a number.",
)
@click.option(
    "--forget-bias",
    "forget_biases",
    multiple=True,
    type=float,
    metavar="X",
    show_default="0, 1 and 2",
    help="Fresh LSTM: bias of its forget gates. May be repeated.",
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
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the figure as a drawing."
)
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the figure as a picture."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Columns of the plots.")
@click.option("--encoding", metavar="NAME", show_default="the run's, or utf-8", help="Encoding of TEXT.")
@click.option("--threads", type=int, metavar="N", show_default="all cores; --memory 1", help="Threads to compute with.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Show how far back gradients reach, and memory.

    \b
    Example: charrnn gradients --fresh
             charrnn gradients checkpoints/shakespeare-1
             charrnn gradients --memory

    The norm of the gradient of the loss at a character with respect to the hidden state (h, and c of an LSTM) k characters
    before, for k = 0 to --steps: median and quartiles over many places of the text. CHECKPOINT is a file or a run folder; left
    out, it is the newest run under ./checkpoints, and where there is none, fresh networks are shown: the three cells, the
    vanilla RNN by its recurrent matrix, the LSTM by its forget bias. TEXT is a file, a folder, a glob, or - for stdin; left
    out, it is the text that the run held out from training, found again, and for fresh networks random characters.
    """
    # The way back is many small products of NumPy: its threads would wait for one another longer than they compute. It asks once, when imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.runs.checkpoint import newest_run

    if options["fresh"] and text is None:
        checkpoint, text = None, os.fspath(checkpoint) if checkpoint is not None else None
    _check(ctx, checkpoint, text, options)
    from charrnn.cli.display import announce_compilation, progress_bar

    ctx.call_on_close(announce_compilation(note))
    from charrnn.kernels.threads import num_threads, set_num_threads

    threads = options["threads"] or (
        1 if options["memory"] else None
    )  # networks as small as those of --memory are no faster on two
    if threads is not None:
        ctx.call_on_close(lambda before=num_threads(): set_num_threads(before))
        set_num_threads(threads)
    with progress_bar() as progress:
        if options["memory"]:
            view = MemoryView(options, progress)
        elif options["fresh"] or checkpoint is None and newest_run() is None:
            if not options["fresh"]:
                note(
                    "no run under ./checkpoints: these are fresh networks (name a CHECKPOINT, or train one with 'charrnn train TEXT')"
                )
            view = fresh_view(text, options, progress)
        else:
            view = run_view(checkpoint, text, options, progress)
    view.show()


def _check(ctx, checkpoint, text, options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    from charrnn.errors import ConfigError
    from charrnn.training.options import LARGEST

    for name, least, most in (
        ("steps", 1, MOST_STEPS),
        ("times", 1, MOST_TIMES),
        ("layer", 0, None),
        ("hidden_size", 1, LARGEST["hidden_size"]),
        ("num_layers", 1, LARGEST["num_layers"]),
        ("embedding_size", 0, LARGEST["embedding_size"]),
        ("train_steps", 1, 10**6),
        ("seed", 0, 2**63 - 1),
        ("width", NARROWEST, None),
        ("threads", 1, None),
    ):
        value = options[name]
        if value is not None and (value < least or most is not None and value > most):
            raise ConfigError(
                f"--{name.replace('_', '-')} must be at least {least:,}{f' and at most {most:,}' if most else ''}, got {value:,}"
            )
    for name, least in (("singular_values", 0), ("forget_biases", -100)):
        for value in options[name]:
            if not least <= value <= 100:
                raise ConfigError(f"{_spelt(name)} must lie between {least} and 100, got {value:g}")
    named = {
        name
        for name in (*OF_FRESH, *OF_MEMORY, *OF_DISTANCE)
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    allowed = OF_MEMORY if options["memory"] else OF_FRESH
    for name in OF_DISTANCE:
        if name in named and options["memory"]:
            raise ConfigError(
                f"--{name} is of gradients, and --memory measures answers: leave it out, or leave out --memory"
            )
    for name, cell in OF_CELL.items():
        if name in named and options["cell"] and cell not in options["cell"]:
            raise ConfigError(
                f"{_spelt(name)} is of the {CELLS[cell].title}, and --cell names none: leave it out, or add --cell {cell}"
            )
    for name in (*OF_FRESH, *OF_MEMORY):
        if name in named and name not in allowed:
            raise ConfigError(
                f"{_spelt(name)} is of {'--memory' if name in OF_MEMORY else 'fresh networks'}: leave it out"
                + (", or leave out --memory" if options["memory"] else ", or add --memory")
            )
    if options["memory"] and (checkpoint is not None or text is not None or options["fresh"]):
        given = "--fresh" if options["fresh"] else checkpoint if checkpoint is not None else text
        raise ConfigError(f"--memory trains networks of its own on texts of its own: leave out {given}")
    if options["fresh"] and checkpoint is not None:
        raise ConfigError(
            f"--fresh takes one argument, the TEXT to read, got {checkpoint} and {text}: leave one of them out, or --fresh"
        )
    of_fresh = sorted(named & {*OF_FRESH})
    if of_fresh and not options["memory"] and not options["fresh"]:
        if checkpoint is not None:
            raise ConfigError(
                f"{_spelt(of_fresh[0])} is of fresh networks: add --fresh and name only "
                "a TEXT, or leave it out: a run is shown beside fresh networks of its own size"
            )
        options["fresh"] = True
    for file in ("png", "svg"):
        if options[file] is not None and not options[file].absolute().parent.is_dir():
            raise ConfigError(f"--{file} {options[file]}: there is no folder {options[file].parent}; make it first")
    if options["png"] is not None and importlib.util.find_spec("PIL") is None:
        raise ConfigError(
            "--png needs Pillow, which is not installed: pip install pillow, or write an --svg, which needs nothing"
        )
    if options["encoding"] is not None and text is None:
        raise ConfigError(f"--encoding {options['encoding']} is of a TEXT, and none is named: leave it out")


def _spelt(name):
    return SPELT.get(name, "--" + name.replace("_", "-"))


# What is measured


def fresh_view(text, options, progress):
    """Return the ReachView of fresh networks: the cells, the vanilla RNN by its matrix, the LSTM by its forget bias."""
    from charrnn.gradients.fresh import fresh_model
    from charrnn.spec import ModelConfig

    cells = tuple(cell for cell in WEAKEST_FIRST if not options["cell"] or cell in options["cell"])
    ids, vocab_size, where = _fresh_text(text, options)
    view = ReachView("How far back a gradient reaches in fresh networks", options, where)

    def config(cell):
        return ModelConfig(
            cell, vocab_size, options["hidden_size"] or 128, options["num_layers"], options["embedding_size"]
        )

    panel = view.add_panel(f"fresh, {config('rnn').num_layers} x {config('rnn').hidden_size}")
    networks = [(panel, CELLS[cell].title, cell, {}, "hc") for cell in cells]
    if "rnn" in cells:
        panel = view.add_panel(f"vanilla RNN, {options['matrix']} matrix")
        networks += [
            (panel, f"singular value {value:g}", "rnn", {"singular_value": value, "matrix": options["matrix"]}, "h")
            for value in options["singular_values"] or SINGULAR_VALUES
        ]
    if "lstm" in cells:
        panel = view.add_panel("LSTM's c, by its forget bias")
        networks += [
            (panel, f"forget bias {bias:g}", "lstm", {"forget_bias": bias}, "c")
            for bias in options["forget_biases"] or FORGET_BIASES
        ]
    view.check_layer(options["num_layers"])
    for at, (panel, name, cell, changes, states) in enumerate(networks):
        view.measure(
            panel,
            name,
            fresh_model(config(cell), options["seed"], **changes),
            ids,
            0,
            len(ids),
            progress(f"network {at + 1} of {len(networks)}"),
            states,
        )
    return view


def _fresh_text(text, options):
    """Return (ids, vocabulary size, what it is)."""
    import contextlib

    import numpy as np

    if text is None:
        count = max(FRESH_CHARACTERS, options["steps"] + options["times"] + 2)
        rng = np.random.default_rng(options["seed"])
        return (
            rng.integers(0, FRESH_SYMBOLS, count).astype(np.int32),
            FRESH_SYMBOLS,
            f"random characters, {FRESH_SYMBOLS} different",
        )
    from charrnn.text.corpus import read_corpus

    with contextlib.closing(read_corpus([text], encoding=options["encoding"] or "utf-8")) as corpus:
        for said in corpus.notes:
            note(said)
        return np.array(corpus.ids), corpus.vocabulary.size, text


def run_view(checkpoint, text, options, progress):
    """Return the ReachView of a run, beside fresh networks of its size that read the same text."""
    from charrnn.model.parameters import Model
    from charrnn.runs.checkpoint import BEST, LAST, find_checkpoint, load_checkpoint

    path = find_checkpoint(checkpoint)
    if path != checkpoint:
        note(f"checkpoint {path}")
    loaded = load_checkpoint(path)
    model = Model.from_checkpoint(loaded)
    config = model.config
    size = f"{config.num_layers} x {config.hidden_size}"
    with open_text(loaded, path, text, options["encoding"]) as (corpus, named, splits):
        start, stop, where = 0, corpus.characters, text
        if splits is not None:
            start, stop, where = splits.val[0], splits.test[1], f"the held-out text of {', '.join(named)}"
        run = path.parent if path.name in (BEST, LAST) else path
        view = ReachView(f"How far back a gradient reaches in {run}", options, where)
        view.check_layer(config.num_layers)
        step = loaded.training.get("step")
        trained = view.add_panel(
            f"this {CELLS[config.cell].title}, {size}"
            + (f", after {counted(step, 'step')}" if isinstance(step, int) else "")
        )
        view.measure(trained, f"this {CELLS[config.cell].title}", model, corpus.ids, start, stop, progress("the run"))
        fresh = view.add_panel(f"fresh, {size}" + "".join(f", {word}" for word in _extras(config)))
        for cell in WEAKEST_FIRST:
            fresh_config = dataclasses.replace(config, cell=cell)
            view.measure(
                fresh,
                CELLS[cell].title,
                Model.initialise(fresh_config, options["seed"]),
                corpus.ids,
                start,
                stop,
                progress(f"a fresh {CELLS[cell].title}"),
            )
    return view


def _extras(config):
    """Name what a model has beside cells and sizes, which its fresh networks have too."""
    if config.embedding_size:
        yield f"embedding {config.embedding_size}"
    if config.layer_norm:
        yield "layer norm"
    if config.zoneout:
        yield f"zoneout {config.zoneout:g}"


# What is shown


class View:
    """Panels of curves, and the ways to show them."""

    foot = ""  # the line under the table

    def __init__(self, title, options):
        self.title, self.options = title, options
        self.panels = []  # figure.Panel

    def add_panel(self, title, levels=()):
        from charrnn.render.figure import Panel

        self.panels.append(Panel(title, [], list(levels)))
        return self.panels[-1]

    def show(self):
        figure = self.figure()
        if self.options["as_json"]:
            click.echo(json.dumps(self.to_dict(), allow_nan=False))
        else:
            self._print(figure)
        from charrnn.render.figure import write_png, write_svg

        for name, write in (("svg", write_svg), ("png", write_png)):
            if self.options[name] is not None:
                write(self.options[name], figure)
                note(f"written: {self.options[name]}")

    def _print(self, figure):
        from rich.console import Console
        from rich.text import Text

        from charrnn.render.figure import Curve, shared_range
        from charrnn.render.plot import band_mark, mark, plot_spans

        console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        unicode = (console.encoding or "").lower().startswith("utf")
        width = self.options["width"] or max(NARROWEST, min(WIDEST, console.width))
        for line in self.heading():
            click.echo(click.wrap_text(printable(line, sys.stdout), width))
        for panel in self.panels:
            console.print(Text(f"\n{panel.title}", style="bold"))
            curves = [
                *panel.curves,
                *(Curve(name, panel.curves[0].x, [y] * len(panel.curves[0].x)) for y, name in panel.levels),
            ]
            lines = plot_spans(
                [list(zip(curve.x, curve.y)) for curve in curves],
                width,
                PLOT_HEIGHT,
                unicode,
                log=figure.log,
                bands=[list(zip(curve.x, curve.low, curve.high)) if curve.low else [] for curve in curves],
                log_x=figure.log_x,
                y_range=shared_range(figure),
            )
            for line in lines:
                console.print(
                    Text.assemble(*((text, STYLES[index] if index is not None else "") for text, index in line))
                )
            for index, curve in enumerate(curves):
                console.print(Text.assemble("  ", (f"{mark(index, unicode)} {curve.name}", STYLES[index])))
            if any(curve.low for curve in panel.curves):
                console.print(f"  {band_mark(unicode)} from the lower to the upper quartile")
        self._print_table(console, unicode, width)

    def _print_table(self, console, unicode, width):
        from rich import box
        from rich.table import Table

        names, rows = self.table()
        table = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII_DOUBLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for at, name in enumerate(names):
            table.add_column(name, justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        if self.foot:
            click.echo(click.wrap_text(self.foot, width))


class ReachView(View):
    """Norms of gradients against distance."""

    foot = (
        "times a step: by what the median is multiplied from one k to the next, on average; below 1 the gradient vanishes, above 1 "
        "it explodes"
    )

    def __init__(self, title, options, where):
        super().__init__(title, options)
        self.where, self.times, self.networks = where, 0, []

    def check_layer(self, num_layers):
        from charrnn.errors import ConfigError

        if self.options["layer"] is not None and self.options["layer"] >= num_layers:
            raise ConfigError(
                f"--layer must be at most {num_layers - 1}, the last of {num_layers} counted from 0, got {self.options['layer']}"
            )

    def measure(self, panel, name, model, ids, start, stop, progress, states="hc"):
        """Add a network's curves to a panel, those of `states`; all are kept for --json."""
        from charrnn.errors import DAMAGED, DivergenceError
        from charrnn.gradients.distance import choose_times, measure_reach
        from charrnn.render.figure import Curve

        steps = self.options["steps"]
        times = choose_times(start, stop, steps, self.options["times"])
        self.times = len(times)
        reach = measure_reach(model, ids, times, steps, progress)
        if not all(math.isfinite(norm) for norms in reach.norms.values() for norm in norms[:, 0].ravel()):
            raise DivergenceError(f"a gradient of {name} is not a finite number even where it begins: {DAMAGED}")
        self.networks.append((panel.title, name, model.config, reach))
        for state in reach.norms:
            if state in states or len(reach.norms) == 1:
                low, median, high = reach.curve(state, self.options["layer"])
                shown = f"{name}, {state}" if len(reach.norms) > 1 and len(states) > 1 else name
                panel.curves.append(Curve(shown, list(range(steps + 1)), median.tolist(), low.tolist(), high.tolist()))

    def figure(self):
        from charrnn.render.figure import Figure, shared_range

        figure = Figure(
            self.title, "k, characters back", "norm of the gradient, median and quartiles", self.panels, log=True
        )
        low, high = shared_range(figure)
        if low < high * LOWEST_SHARE:
            figure = dataclasses.replace(figure, y_range=(high * LOWEST_SHARE, high))
        return figure

    def heading(self):
        which = (
            "all layers' states as one vector"
            if self.options["layer"] is None
            else f"the state of layer {self.options['layer']}"
        )
        return [
            self.title,
            f"norm of d loss(t) / d state(t - k): {which}, median over {counted(self.times, 'place')} t of {self.where}",
        ]

    def table(self):
        steps = self.options["steps"]
        at = [*(k for k in SHOWN if k < steps), steps]
        rows = []
        for panel in self.panels:
            for curve in panel.curves:
                factor = (curve.y[-1] / curve.y[0]) ** (1 / steps) if curve.y[0] > 0 else math.nan
                rows.append((curve.name, *(f"{curve.y[k]:.1e}" for k in at), f"{factor:.3f}"))
        return ("median norm at k =", *map(str, at), "times a step"), rows

    def to_dict(self):
        networks = []
        for panel, name, config, reach in self.networks:
            curves = []
            for state, norms in reach.norms.items():
                for layer in (None, *range(len(norms))):
                    low, median, high = (
                        [value if math.isfinite(value) else None for value in line.tolist()]
                        for line in reach.curve(state, layer)
                    )
                    curves.append(
                        {
                            "state": state,
                            "layer": "all" if layer is None else layer,
                            "lower_quartile": low,
                            "median": median,
                            "upper_quartile": high,
                        }
                    )
            networks.append(
                {
                    "panel": panel,
                    "name": name,
                    "cell": config.cell,
                    "hidden_size": config.hidden_size,
                    "num_layers": config.num_layers,
                    "curves": curves,
                }
            )
        return {"steps": self.options["steps"], "times": self.times, "text": self.where, "networks": networks}


class MemoryView(View):
    """Accuracy against distance, by task and cell."""

    def __init__(self, options, progress):
        super().__init__("How far back a cell remembers", options)
        import time

        from charrnn.gradients import memory
        from charrnn.render.figure import Curve

        begun = time.perf_counter()
        self.chances = {task: 1 / len(answers) for task, (_, answers) in memory.TASKS.items()}
        self.accuracies = {}
        cells = [cell for cell in WEAKEST_FIRST if not options["cell"] or cell in options["cell"]]
        size = options["hidden_size"] or 32, options["num_layers"], options["train_steps"], options["seed"]
        for task in memory.TASKS:
            panel = self.add_panel(TASK_TITLES[task], [(self.chances[task], f"chance, {self.chances[task]:.1%}")])
            for cell in cells:
                cell_begun, report = time.perf_counter(), progress(f"{task}, {CELLS[cell].title}")
                accuracy = self.accuracies[task, cell] = {}
                for distance in memory.DISTANCES:
                    model = memory.train(task, cell, distance, *size)
                    accuracy[distance] = memory.measure(model, task, distance, options["seed"])
                    report(sum(accuracy), sum(memory.DISTANCES))
                panel.curves.append(Curve(CELLS[cell].title, list(accuracy), list(accuracy.values())))
                note(f"{task}, {CELLS[cell].title}: trained in {duration(time.perf_counter() - cell_begun)}")
        self.took_s = time.perf_counter() - begun

    def figure(self):
        from charrnn.render.figure import Figure

        return Figure(
            self.title,
            "k, characters from what is shown to its answer",
            "share of right answers",
            self.panels,
            log_x=True,
            x_ticks=self.panels[0].curves[0].x,
            y_range=(0.0, 1.05),
        )

    def heading(self):
        return [
            self.title,
            f"share of right answers after {counted(self.options['train_steps'], 'update')}, {duration(self.took_s)} in all",
        ]

    def table(self):
        distances = self.panels[0].curves[0].x
        rows = [
            (f"{task}, {CELLS[cell].title}", *(f"{accuracy[k]:.2f}" for k in distances))
            for (task, cell), accuracy in self.accuracies.items()
        ]
        return ("k =", *map(str, distances)), rows

    def to_dict(self):
        return {
            "train_steps": self.options["train_steps"],
            "hidden_size": self.options["hidden_size"] or 32,
            "num_layers": self.options["num_layers"],
            "seed": self.options["seed"],
            "chance": self.chances,
            "accuracy": [
                {"task": task, "cell": cell, "by_distance": {str(k): share for k, share in accuracy.items()}}
                for (task, cell), accuracy in self.accuracies.items()
            ],
        }
