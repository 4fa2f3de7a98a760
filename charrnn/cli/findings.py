"""What `charrnn cells` has found: the table and the passages on stdout, JSON, CSV, pictures and the page.

Everything here takes a cells.Search that has run. Results on stdout, notes on stderr.
"""

import csv
import io
import json
import math
import os
import sys
import textwrap

import click

from charrnn.cli.cells import NARROWEST
from charrnn.cli.words import bare_symbol, neutralise, note, printable, say, shorter
from charrnn.errors import counted

PAGE_VALUES = 12_000_000  # of a page: so many characters times units at most
PASSAGE = 420
LONG_PASSAGE = 800
FIRST_SHOWN = 2  # passages after the table, and where no unit is named
WIDEST = 110
LONGEST_NAME, SHORTEST_PHRASE = 24, 18  # cells of a table: a longer name is cut, phrases with less room are left out
NARROWEST_TABLE, NAME_ROOM = 80, 14
REGIONS = ("on", "off", "switch")
CSV_COLUMNS = (
    "signal",
    "phrase",
    "kind",
    "on",
    "layer",
    "unit",
    "sign",
    "measure",
    "score",
    "spearman",
    "null",
    "null_max",
    "untrained",
    "probe",
    "probe_layer",
    "named",
)


# For programs


def print_json(search):
    """Print all that was asked for as one JSON object of plain numbers and words."""
    stretch = search.stretch
    result = {
        "checkpoint": os.fspath(search.path),
        "text": stretch.named,
        "split": stretch.split,
        "characters": stretch.stop - stretch.start,
        "start": stretch.start,
        "quantity": search.quantity,
        "layers": search.config.num_layers,
        "units": search.config.hidden_size,
        "loss_nats": _loss_nats(search),
        "validation_loss_nats": search.validation_loss_nats,
        "signals": [finding.to_dict() for finding in search.findings],
        "twins": search.twins,
    }
    if search.unit_rows is not None:
        _, _, layer, unit = search.selected[0]
        result["unit"] = {
            "layer": layer,
            "unit": unit,
            "follows": [
                {"signal": signal.name, "measure": _measure(signal), "score": score, "spearman": rho}
                for signal, score, rho in search.unit_rows
            ],
        }
    if search.options["ablate"]:
        result["ablation"] = [ablation.to_dict() for ablation in search.ablations]
    if search.options["gates"]:
        result["gates"] = {
            gate: {"left": shares[:, :, 0].tolist(), "right": shares[:, :, 1].tolist()}
            for gate, shares in search.gates.items()
        }
    click.echo(json.dumps(result, allow_nan=False))


def print_csv(search):
    """Print the table, a row a signal, with the ablation's figures where there are any."""
    ablated = {(a.signal, a.layer, a.unit): a for a in search.ablations}
    regions = REGIONS if search.options["ablate"] else ()
    output = io.StringIO()  # a program's input: to a terminal only what it would act on is written otherwise
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(
        [*CSV_COLUMNS, *(f"rise_{name}_nats" for name in regions), *(f"random_{name}_nats" for name in regions)]
    )
    for finding in search.findings:
        values = finding.to_dict()
        ablation = ablated.get((finding.signal.name, finding.layer, finding.unit))
        extra = (
            []
            if not regions
            else [""] * 6
            if ablation is None
            else [*(ablation.rises[name].nats for name in regions), *(ablation.random[name][0] for name in regions)]
        )
        writer.writerow(
            [
                "" if value is None or value != value else value
                for value in (*(values[name] for name in CSV_COLUMNS), *extra)
            ]
        )
    click.echo(neutralise(output.getvalue()) if sys.stdout.isatty() else output.getvalue(), nl=False)


# Files


def write_pictures(search):
    """Write the passages as --png and --svg ask. Raises ConfigError where no unit is named."""
    from charrnn.errors import ConfigError
    from charrnn.render.colours import SCALES
    from charrnn.render.picture import Passage, write_png, write_svg

    options = search.options
    if not options["png"] and not options["svg"]:
        return
    if not search.selected:
        raise ConfigError("no unit is named, so there is nothing to draw: name one by --find or --unit")
    ends = SCALES[options["scale"]]
    passages = []
    for finding, signal, layer, unit in _telling(search.selected):
        symbols, values, factor = _passage(search, signal, layer, unit, PASSAGE)
        heading = _heading(search, finding, signal, layer, unit, factor, ends.plus_name, ends.minus_name)
        passages.append(Passage("; ".join(heading), symbols, values))
    for option, write in (("png", write_png), ("svg", write_svg)):
        if options[option]:
            write(options[option], passages, options["scale"])
            note(f"wrote {options[option]}")


def write_html(search, path):
    """Write the page on which every unit can be looked at."""
    import numpy as np

    from charrnn.cells.passages import NEWLINE, first_whole, shown_values
    from charrnn.cells.record import read_guesses
    from charrnn.render.page import FoundUnit, PageData, write_page

    L, H, N = search.recording.values.shape
    symbols = search.vocabulary.symbols
    before = bare_symbol(symbols[search.ids[search.start - 1]]) if search.start else ""
    first = first_whole(search.symbols, before)
    N = min(N - first, max(2_000, PAGE_VALUES // (L * H)))
    guesses_ids, guesses_p = read_guesses(search.model, search.ids, search.start + first, search.start + first + N)
    surprisal = np.concatenate([[np.nan], search.recording.loss_nats])[first : first + N] / math.log(2)
    shown = np.empty((L * H, N), np.float32)
    for k, values in enumerate(search.recording.units):
        shown[k] = shown_values(values[first : first + N], search.quantity)[0]
    which = f"the first {N:,} characters"
    if first:
        which = (
            f"{N:,} characters, from the first whole {'line' if search.symbols[first - 1] == NEWLINE else 'word'} on,"
        )
    found = [
        FoundUnit(
            signal=f.signal.name,
            description=f.signal.phrase,
            layer=f.layer,
            unit=f.unit,
            score=f.score,
            null=f.null,
            probe=f.probe,
            kind=_measure(f.signal),
            sign=f.sign,
        )
        for f, *_ in _telling(_named(search))
    ]
    write_page(
        path,
        PageData(
            text=search.symbols[first : first + N],
            vocabulary=[bare_symbol(symbol) for symbol in symbols],
            layers=L,
            units=H,
            quantity=search.quantity,
            values=shown,
            found=found,
            guesses_ids=guesses_ids,
            guesses_p=guesses_p,
            surprisal_bits=surprisal,
            gates=search.gates,
            title=f"Cells of {search.path.parent.name or search.path.name}",
            model_line=f"{_model_line(search)}, on {which} {search.stretch.of}",
            scale=search.options["scale"],
        ),
    )
    note(f"wrote {path}")


# For readers


def print_text(search):
    """Print the table, passages, and what else was asked for."""
    _Printed(search).print()


class _Printed:
    """A search on a console of some width, with or without Unicode and colours."""

    def __init__(self, search):
        from rich.console import Console

        from charrnn.render.colours import SCALES, background_of, colour_mode

        self.search, self.options = search, search.options
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.unicode = (self.console.encoding or "").lower().startswith("utf")
        self.width = self.options["width"] or max(NARROWEST, min(WIDEST, self.console.width))
        self.console.width = max(NARROWEST_TABLE, self.console.width)  # rich would cut figures, a terminal wraps
        colour, ends = colour_mode(sys.stdout, os.environ), SCALES[self.options["scale"]]
        self.high, self.low = ("+", "-") if colour == "none" else (ends.plus_name, ends.minus_name)
        self.look = dict(
            width=self.width,
            colour=colour,
            unicode=self.unicode,
            scale=self.options["scale"],
            background=background_of(os.environ),
        )

    def print(self):
        search, is_highlight = self.search, self.options["highlight"]
        is_focused = self.options["wanted"] is not None or search.unit_rows is not None
        self.print_what_was_read()
        if search.unit_rows is not None:
            self.print_unit()
        elif not is_highlight:
            self.print_table([finding for finding, *_ in search.selected] if is_focused else search.findings)
        if not is_focused:
            self.print_verdict()
        elif self.options["wanted"] is not None and not search.selected[0][0].named:
            self.paragraph(
                f"No unit is named for {self.options['wanted']}: this one comes nearest, and is not clearly better than chance (null) "
                "and than an untrained network."
            )
        shown = _telling(search.selected)
        if is_highlight and not shown:
            shown = _telling(_all(search))[:FIRST_SHOWN]
        elif not is_highlight and not is_focused:
            shown = _each_once(shown)[:FIRST_SHOWN]
        self.print_passages(shown, LONG_PASSAGE if is_focused else PASSAGE)
        if search.ablations:
            self.print_ablations()
        if self.options["gates"]:
            self.print_gates()
        if not is_focused:
            self.print_hints()

    def paragraph(self, text):
        say(textwrap.fill(printable(text, sys.stdout), self.width, break_on_hyphens=False, break_long_words=False))

    def print_what_was_read(self):
        search = self.search
        count = f"{search.stop - search.start:,}"
        validation = (
            ""
            if search.validation_loss_nats is None
            else f"; {search.validation_loss_nats:.4f} on the run's validation"
        )
        click.echo(
            f"model  {_model_line(search)}: {search.config.num_layers * search.config.hidden_size:,} units, looked at by {search.quantity}"
        )
        click.echo(f"text   {printable(search.stretch.told, sys.stdout)}")
        click.echo(f"loss   {_loss_nats(search):.4f} nats on these {count} characters{validation}")

    def print_table(self, findings):
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        heads = ["on", "unit", "goes", "score", "rank", "null", "untrained", "probe"]
        rows = [
            [
                f"{f.signal.on:.3g}" if _is_graded(f.signal) else f"{f.signal.on:.1%}",
                f"{f.layer}:{f.unit}",
                "down" if f.sign < 0 else "up",
                ("r " if _is_graded(f.signal) else "") + f"{f.score:.3f}",
                "" if f.spearman is None else f"{f.spearman:.3f}",
                f"{f.null:.3f}",
                "" if f.untrained is None else f"{f.untrained:.3f}",
                f"{f.probe:.3f}",
            ]
            for f in findings
        ]
        if not any(row[4] for row in rows):
            for row in (heads, *rows):
                del row[4]
        names = [printable(f.signal.name, sys.stdout) for f in findings]
        phrases = [printable(f.signal.phrase, sys.stdout) for f in findings]
        used = 5 + sum(2 + max(map(len, column)) for column in zip(heads, *rows))
        name_size = min(LONGEST_NAME, max(map(cell_len, ["signal", *names])), max(NAME_ROOM, self.console.width - used))
        room = min(self.console.width - used - name_size - 2, max(map(cell_len, phrases), default=0))

        def cut(text, size):
            return text if cell_len(text) <= size else set_cell_size(text, size - 1) + ("…" if self.unicode else "~")

        with_phrase = room >= SHORTEST_PHRASE
        table = self.table(
            "<signal", *(["<"] if with_phrase else []), *("<goes" if head == "goes" else head for head in heads)
        )
        mark = "✓ " if self.unicode else "* "
        for f, name, phrase, row in zip(findings, names, phrases, rows):
            place = 2 + heads.index("score") + with_phrase
            cells = [
                (mark if f.named else "  ") + cut(name, name_size),
                *([cut(phrase, room)] if with_phrase else []),
                *row,
            ]
            table.add_row(
                *(Text(cell, style="bold" if f.named and k == place - 1 else "") for k, cell in enumerate(cells)),
                style="" if f.named else "dim",
            )
        self.console.print(table)

    def table(self, *columns):
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD if self.unicode else box.ASCII_DOUBLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
        )
        for name in columns:
            table.add_column(name.lstrip("<"), justify="left" if name.startswith("<") else "right", no_wrap=True)
        return table

    def print_verdict(self):
        findings, is_highlight = self.search.findings, self.options["highlight"]
        named = [finding for finding in findings if finding.named]
        mark = "✓" if self.unicode else "*"
        if is_highlight:
            click.echo()
        if not findings:
            self.paragraph(
                "Nothing that charrnn knows by name happens often enough in this text: name a signal of your own by --signal "
                "NAME=REGEX, or a longer TEXT."
            )
            return
        if not named:
            self.paragraph(
                "No unit stands out: none is clearly better than chance and than a network that has learned nothing. That is "
                "common in a small or young model: train longer, or larger. Where the probe is high, the model does know the "
                "signal, by many units together." + (" What comes nearest:" if is_highlight else "")
            )
        else:
            units = len({(f.layer, f.unit) for f in named})
            follows = "has a unit that follows it" if len(named) == 1 else "have a unit that follows them"
            self.paragraph(
                f"{len(named)} of {counted(len(findings), 'signal')} {follows}, beyond chance (null) and beyond an untrained network: "
                f"{counted(units, 'unit')} that nobody designed."
            )
        if is_highlight:
            return
        against = ""
        if any(f.score < (0 if _is_graded(f.signal) else 0.5) for f in findings):
            against = (
                " A score below 0.5, or an r below 0: in the half that scores, the unit went the other way than in the half that chose "
                "it, so it follows nothing."
            )
        graded = (
            " r: Pearson's, rank: Spearman's; other scores are AUROCs."
            if any(_is_graded(f.signal) for f in findings)
            else ""
        )
        self.paragraph(
            f"{mark}: above every shifted search (null), and at most half as far from 1 as the untrained network's best. on: the "
            f"share of the text, or the mean. goes: the unit's way where the signal is on or high.{graded}{against}"
        )
        for name, other in self.search.twins.items():
            self.paragraph(f"{name} is on where {other} is, which stands for both.")

    def print_unit(self):
        _, _, layer, unit = self.search.selected[0]
        table = self.table(f"<unit {layer}:{unit} follows", "<", "<goes", "score", "rank")
        for signal, score, rho in self.search.unit_rows:
            table.add_row(
                printable(signal.name, sys.stdout),
                printable(signal.phrase, sys.stdout),
                "down" if score < 0 else "up",
                ("r " if _is_graded(signal) else "") + f"{abs(score):.3f}",
                "" if rho is None else f"{rho:.3f}",
            )
        self.console.print(table)
        self.paragraph(
            "Over the whole text; the unit was not chosen, so no null is needed. goes: its way where the signal is on or high."
        )

    def print_passages(self, shown, length):
        from charrnn.render.terminal import highlight, legend

        if shown:
            say("\n" + legend(**self.look))
        for finding, signal, layer, unit in shown:
            symbols, values, factor = _passage(self.search, signal, layer, unit, length)
            title = _heading(self.search, finding, signal, layer, unit, factor, self.high, self.low)
            if finding is not None:
                title[1] += f"   --find {finding.signal.name}"
            say("\n" + highlight(symbols, values, title="\n".join(title), with_legend=False, **self.look))

    def print_ablations(self):
        first = self.search.ablations[0]
        held = {"mean": "its mean", "off": "its mean where the signal is off", "zero": "zero"}.get(
            first.held, f"{first.value:g}"
        )
        click.echo()
        self.paragraph(
            f"Each unit held at {held}: by how many thousandths of a nat a character the loss rises where the signal is on (a "
            "graded one: high), where it is off and where it switches."
        )
        table = self.table("<signal", "on", "random", "off", "random", "switch", "random", "<missed")
        for a in self.search.ablations:
            figures = [_mille(nats) for name in REGIONS for nats in (a.rises[name].nats, a.random[name][0])]
            table.add_row(printable(a.signal, sys.stdout), *figures, a.missed)
        self.console.print(table)
        self.paragraph(
            "random: the same of other units of the layer, drawn at random and held in the same way: their mean, to compare with. "
            "missed: where the loss rises by more than with any of those and than twice its standard error; there is where the "
            "signal is on or switches, there most that it rises three times as much there as where the signal is off."
        )

    def print_gates(self):
        from charrnn.cells.gates import summarise_gates
        from charrnn.render.scatter import scatters

        table = self.table("<layer", "gate", "shut < 0.1", "open > 0.9", "units mostly shut", "units mostly open")
        for layer, gate, left, right, shut, opened in summarise_gates(self.search.gates):
            table.add_row(str(layer), gate, f"{left:.1%}", f"{right:.1%}", str(shut), str(opened))
        self.console.print(table)
        click.echo(scatters(self.search.gates, width=self.width, unicode=self.unicode))

    def print_hints(self):
        if not self.search.findings or not sys.stderr.isatty():
            return
        f, _, layer, unit = _telling(self.search.selected or _all(self.search))[0]
        run = shorter(self.search.path)
        for purpose, command in (
            ("To see more:", f"cells {run} --find {f.signal.name}"),
            ("", f"cells {run} --html cells.html"),
            ("To test it:", f"cells {run} --ablate"),
            ("To hear it:", f"sample {run} --clamp {layer}:{unit}={f.sign}"),
        ):
            note(f"{purpose:14} charrnn {command}")


# Of a search


def _named(search):
    return [selected for selected in _all(search) if selected[0].named]


def _all(search):
    return [(finding, finding.signal, finding.layer, finding.unit) for finding in search.findings]


def _telling(selected):
    """Order what is selected: what tells more of a model than which character it has just read comes first."""
    from charrnn.cells.signals import OF_CHARACTERS

    return sorted(selected, key=lambda one: one[1] is not None and one[1].name in OF_CHARACTERS)


def _each_once(selected):
    """Leave out units that were there before."""
    first = {}
    for one in selected:
        first.setdefault(one[2:], one)
    return list(first.values())


def _passage(search, signal, layer, unit, length):
    """Return (symbols, values in -1..1, factor) of the stretch that shows the signal best."""
    import numpy as np

    from charrnn.cells.passages import choose_passage, shown_values

    allowed = np.zeros(len(search.symbols), bool)
    allowed[search.scores] = True
    start, stop = choose_passage(search.symbols, signal, allowed, length)
    values, factor = shown_values(search.recording.values[layer, unit], search.quantity)
    return search.symbols[start:stop], values[start:stop], factor


def _heading(search, finding, signal, layer, unit, factor, high, low):
    """Return the lines over a passage: what the unit follows, how it shows it, and how surely.

    high, low    what +1 and -1 look like
    """
    enlarged = [f"shown x{factor:.3g}"] if factor != 1 else []
    if finding is None:
        return [f"unit {layer}:{unit}, {search.quantity}", *enlarged]
    begin, end = (low, high) if finding.sign > 0 else (high, low)
    how = f"from {begin} to {end} as it grows" if _is_graded(signal) else f"{end} where it is on"
    untrained = "" if finding.untrained is None else f", untrained {finding.untrained:.3f}"
    score = (
        f"r {finding.score:.3f}, rank {finding.spearman:.3f}" if _is_graded(signal) else f"AUROC {finding.score:.3f}"
    )
    return [f"{signal.phrase}: unit {layer}:{unit}, {how}", f"{score} (null {finding.null:.3f}{untrained})", *enlarged]


def _model_line(search):
    config = search.config
    return f"{config.cell} of {config.num_layers} x {config.hidden_size}"


def _loss_nats(search):
    import numpy as np

    return float(np.nanmean(search.recording.loss_nats))


def _is_graded(signal):
    return signal.kind == "graded"


def _measure(signal):
    return "pearson" if _is_graded(signal) else "auroc"


def _mille(nats):
    return f"{1000 * nats:.1f}" if math.isfinite(nats) else "-"
