"""What `charrnn gradients` has measured, as curves: plots and a table in the terminal, a drawing, a picture."""

import dataclasses
import itertools
import math
import sys

import click

from charrnn.cli.words import can_print, duration, printable
from charrnn.errors import counted
from charrnn.spec import CELLS

LOWEST_SHARE = 1e-40  # of the largest norm: what is below it is told, not drawn
SHOWN = (0, 10, 50, 100)  # distances in the table, beside the last
PLOT_HEIGHT = 18
MIN_WIDTH, MAX_WIDTH = 40, 110
VANISHES, EXPLODES = 1e-3, 10.0  # a gradient whose norm is this share of the first one, or beyond
REMEMBERED = 0.9  # share of right answers from which a distance is remembered
STYLES = ("cyan", "yellow", "magenta", "blue", "green", "red")  # beside the marks, which alone tell curves apart
TASK_TITLES = {"copy": "copy a character", "bracket": "close a bracket"}


class View:
    """Panels of curves, and the ways to show them: what a report becomes. See ReachView and MemoryView."""

    title = ""
    foot = ""  # the line under the table
    notes = ()  # paragraphs under that, and in the drawing

    def panels(self):
        """Return the figure.Panels."""
        raise NotImplementedError

    def figure(self):
        """Return the figure.Figure."""
        raise NotImplementedError

    def heading(self):
        """Return the lines above the plots."""
        raise NotImplementedError

    def table(self):
        """Return (names of the columns, rows of words)."""
        raise NotImplementedError

    def print(self, width=None):
        """Print heading, plots and table; width : columns, the terminal's where None."""
        from rich.console import Console
        from rich.text import Text

        from charrnn.render.figure import shared_range
        from charrnn.render.plot import CHARACTERS, Axes, band_mark, coincidences, level_mark, mark, plot_curves

        figure = self.figure()
        console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        unicode = can_print(CHARACTERS, sys.stdout)
        width = width or max(MIN_WIDTH, min(MAX_WIDTH, console.width))
        for line in self.heading():
            click.echo(click.wrap_text(printable(line, sys.stdout), width))
        for panel in figure.panels:
            console.print(Text(f"\n{panel.title}", style="bold"))
            curves = panel.curves
            drawn = plot_curves(
                [list(zip(curve.x, curve.y)) for curve in curves],
                width,
                PLOT_HEIGHT,
                unicode,
                bands=[list(zip(curve.x, curve.low, curve.high)) if curve.low else [] for curve in curves],
                levels=[y for y, _ in panel.levels],
                axes=Axes(
                    figure.x_label,
                    figure.y_label + (" (powers of ten)" if figure.log else ""),
                    figure.log,
                    figure.log_x,
                    shared_range(figure),
                ),
            )
            for line in drawn.lines:
                console.print(
                    Text.assemble(*((text, STYLES[index] if index is not None else "") for text, index in line))
                )
            for index, curve in enumerate(curves):
                console.print(Text.assemble("  ", (f"{mark(index, unicode)} {curve.name}", STYLES[index])))
            for _, name in panel.levels:
                console.print(f"  {level_mark(unicode)} {name}")
            if said := coincidences(drawn.shared, unicode):
                click.echo(_wrapped(said, width, "  ", "  "))
            if any(curve.low for curve in panel.curves):
                console.print(f"  {band_mark(unicode)} from the lower to the upper quartile")
        self._print_table(console, unicode, width)

    def _print_table(self, console, unicode, width):
        from rich import box
        from rich.measure import Measurement
        from rich.table import Table

        names, rows = self.table()
        table = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII_DOUBLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for at, name in enumerate(names):
            table.add_column(name, justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        if needed > min(width, console.width):  # a paragraph per row instead
            click.echo(f"\n{names[0]}")
            for name, *values in rows:
                # no line ends between a column's name and its value
                cells = (f"{at}:\xa0{value}".replace(" ", "\xa0") for at, value in zip(names[1:], values))
                click.echo(click.wrap_text(name, width))
                click.echo(click.wrap_text(", ".join(cells), width, "  ", "  ").replace("\xa0", " "))
            click.echo()
            self._print_foot(width)
            return
        console.print(table)
        self._print_foot(width)

    def verdict(self):
        """Return what the figures mean, a sentence for each curve."""
        raise NotImplementedError

    def _print_foot(self, width):
        for sentence in self.verdict():
            click.echo(_wrapped(printable(sentence, sys.stdout), width, "", "  "))
        if self.foot:
            click.echo(click.wrap_text(self.foot, width))
        for said in self.notes:
            click.echo("\n" + click.wrap_text(printable(said, sys.stdout), width))

    def write(self, outputs):
        """Write the figure as the files of Outputs."""
        from charrnn.render.figure import write_png, write_svg

        if outputs:
            figure = self.figure()
            for name, write in (("svg", write_svg), ("png", write_png)):
                outputs.write(name, write, figure)


def _wrapped(text, width, *indents):
    """Wrap a text, but end no line inside "k = 50"."""
    whole = text.replace("k = ", "k\xa0=\xa0")
    return click.wrap_text(whole, width, *indents).replace("\xa0", " ")


class ReachView(View):
    """A ReachReport: norms of gradients against distance; layer : whose state is meant, None for all as one vector."""

    foot = (
        "factor per step: by how much the median is multiplied from one k to the next, on average. Below 1 the "
        "gradient shrinks on its way back, above 1 it grows"
    )

    def __init__(self, title, report, layer=None):
        self.title, self.report, self.layer = title, report, layer

    def panels(self):
        from charrnn.render.figure import Curve, Panel

        panels, x = {}, list(range(self.report.steps + 1))
        for network in self.report.networks:
            panel = panels.setdefault(network.panel, Panel(network.panel, []))
            for state in network.states:
                low, median, high = network.reach.curve(state, self.layer)
                name = f"{network.name}, {state}" if len(network.states) > 1 else network.name
                panel.curves.append(Curve(name, x, median.tolist(), low.tolist(), high.tolist()))
        return list(panels.values())

    def figure(self):
        from charrnn.render.figure import Figure, shared_range

        y_label = "norm of the gradient of the loss in nats, median and quartiles"
        figure = Figure(self.title, "k, characters back", y_label, self.panels(), log=True, notes=self.notes)
        low, high = shared_range(figure)
        if low < high * LOWEST_SHARE:
            figure = dataclasses.replace(figure, y_range=(high * LOWEST_SHARE, high))
        return figure

    def heading(self):
        which = "the states of all layers as one vector" if self.layer is None else f"the state of layer {self.layer}"
        places = f"{counted(self.report.times, 'place')} t of {self.report.text}"
        return [self.title, f"norm of d loss(t) / d state(t - k): {which}, median over {places}"]

    def table(self):
        steps, rows = self.report.steps, []
        at = [*(k for k in SHOWN if k < steps), steps]
        for panel in self.panels():
            for curve in panel.curves:
                factor = (curve.y[-1] / curve.y[0]) ** (1 / steps) if curve.y[0] > 0 else math.nan
                rows.append((curve.name, *(f"{curve.y[k]:.1e}" for k in at), f"{factor:.3f}"))
        return ("median norm at k =", *map(str, at), "factor per step"), rows

    def verdict(self):
        curves = [curve for panel in self.panels() for curve in panel.curves]
        answer = run_answer(self.report.networks[0], self.layer)
        return answer + reach_verdict({curve.name: (curve.y[0], curve.y[-1]) for curve in curves}, self.report.steps)

    @property
    def notes(self):
        return self.report.notes


def run_answer(network, layer=None):
    """Say in one sentence how far back the gradient of a trained network reaches; [] for a fresh one.

    network    a NetworkReach
    layer      the layer whose state is meant, None for all as one vector
    """
    if not network.is_trained:
        return []
    _, (first, *further), _ = (line.tolist() for line in network.reach.curve(network.states[-1], layer))
    if not (first > 0 and all(map(math.isfinite, further))):
        return []
    steps, left = len(further), further[-1] / first
    gone = next((k for k, norm in enumerate(further, 1) if norm < VANISHES * first), None)
    if left > EXPLODES:
        said = f"it grows on its way back: {counted(steps, 'character')} back it has {left:.3g} times its size at k = 0"
    elif gone is not None:
        said = (
            f"{counted(gone, 'character')} back it has less than {VANISHES:g} times its size at k = 0, so what is "
            "further back hardly teaches the network"
        )
    else:
        said = f"{counted(steps, 'character')} back it still has {left:.2g} times its size at k = 0"
    return [f"in short, the gradient of {network.name}: {said}"]


def reach_verdict(norms, steps):
    """Say which gradients vanish, which explode, and which do neither; a list of sentences.

    A gradient vanishes if its norm `steps` characters back is below VANISHES times that at the character itself, and
    explodes if it is above EXPLODES times that. So one that shrinks slowly need not vanish.

    norms    {name: (norm at the character itself, norm `steps` characters back)}
    """
    far = f"at k = {steps:,} its norm is"
    groups = {
        f"vanishes ({far} less than {VANISHES:g} times that at k = 0)": [],
        f"explodes ({far} more than {EXPLODES:g} times that at k = 0)": [],
        f"neither vanishes nor explodes ({far} {VANISHES:g} to {EXPLODES:g} times that at k = 0)": [],
        "is not finite": [],
    }
    vanishing, exploding, staying, broken = groups.values()
    for name, (first, last) in norms.items():
        if not (math.isfinite(first) and math.isfinite(last)):
            broken.append(name)
        else:
            (vanishing if last < VANISHES * first else exploding if last > EXPLODES * first else staying).append(name)
    return [f"the gradient {what}: {'; '.join(names)}" for what, names in groups.items() if names]


class MemoryView(View):
    """A MemoryReport: accuracy against distance, by task and cell; took_s : all of it."""

    title = "How far back a cell remembers"

    def __init__(self, report, took_s):
        self.report, self.took_s = report, took_s

    def panels(self):
        from charrnn.render.figure import Curve, Panel

        panels = {
            task: Panel(TASK_TITLES[task], [], [(chance, f"chance, {chance:.1%}")])
            for task, chance in self.report.chances.items()
        }
        for curve in self.report.curves:
            x, y = map(list, zip(*curve.accuracy.items()))
            panels[curve.task].curves.append(Curve(CELLS[curve.cell].title, x, y))
        return list(panels.values())

    def figure(self):
        from charrnn.render.figure import Figure

        panels = self.panels()
        return Figure(
            self.title,
            "k, characters between what is shown and its answer",
            "share of correct answers",
            panels,
            log_x=True,
            x_ticks=panels[0].curves[0].x,
            y_range=(0.0, 1.05),
        )

    def heading(self):
        updates = counted(self.report.options.train_steps, "update")
        return [self.title, f"share of correct answers after {updates} per network, {duration(self.took_s)} in total"]

    def table(self):
        rows = [
            (f"{curve.task}, {CELLS[curve.cell].title}", *(f"{share:.2f}" for share in curve.accuracy.values()))
            for curve in self.report.curves
        ]
        return ("k =", *map(str, self.report.curves[0].accuracy)), rows

    def verdict(self):
        sentences = []
        for curve in self.report.curves:
            right = list(itertools.takewhile(lambda one: one[1] >= REMEMBERED, curve.accuracy.items()))
            what = (
                f"at least {REMEMBERED:.0%} of the answers are right up to k = {right[-1][0]:,}"
                if right
                else f"fewer than {REMEMBERED:.0%} of the answers are right at every distance"
            )
            sentences.append(f"{curve.task}, {CELLS[curve.cell].title}: {what}")
        return sentences
