"""The units found, in the terminal: table, passages, ablation and gates on stdout, hints on stderr."""

import os
import sys
import textwrap

import click

from charrnn.cli.cells_text import LONG_PASSAGE, PASSAGE, each_once, heading, is_graded, mille, telling, units_of
from charrnn.cli.words import note, printable, quoted, say, shorter, wrapped
from charrnn.errors import counted

FIRST_SHOWN = 2  # passages after the table, and where no unit is named
MIN_WIDTH, MAX_WIDTH = 40, 110
MAX_NAME, MIN_PHRASE = 24, 18  # columns of a table: a longer name is cut, phrases with less room are left out
MIN_TABLE, NAME_ROOM = 80, 14
REGIONS = ("on", "off", "switch")


def print_findings(shown, scale, width=None, is_highlight=False, with_gates=False):
    """Print the table, passages, and what else was asked for.

    shown           a Shown
    scale           a name in SCALES
    width           columns of the passages, the terminal's where None
    is_highlight    passages of every signal found, in the place of the table
    with_gates      print the gates too
    """
    _Printed(shown, scale, width, is_highlight).print(with_gates)


class _Printed:
    """A search on a console of some width, with or without Unicode and colours."""

    def __init__(self, shown, scale, width, is_highlight):
        from rich.console import Console

        from charrnn.render.colours import SCALES, background_of, colour_mode

        self.shown, self.findings, self.is_highlight = shown, shown.findings, is_highlight
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.unicode = (self.console.encoding or "").lower().startswith("utf")
        self.width = width or max(MIN_WIDTH, min(MAX_WIDTH, self.console.width))
        self.console.width = max(MIN_TABLE, self.console.width)  # rich would cut figures, a terminal wraps
        colour, ends = colour_mode(sys.stdout, os.environ), SCALES[scale]
        self.high, self.low = ("+", "-") if colour == "none" else (ends.plus_name, ends.minus_name)
        self.look = {
            "width": self.width,
            "colour": colour,
            "unicode": self.unicode,
            "scale": scale,
            "background": background_of(os.environ),
        }

    def print(self, with_gates):
        findings, is_highlight = self.findings, self.is_highlight
        is_focused = findings.wanted is not None or findings.follows is not None
        self.print_what_was_read()
        if findings.follows is not None:
            self.print_unit()
        elif not is_highlight:
            self.print_table([one.finding for one in findings.selected] if is_focused else findings.found)
        if not is_focused:
            self.print_verdict()
        elif findings.wanted is not None and not findings.selected[0].finding.named:
            self.paragraph(
                f"No unit clearly follows {findings.wanted}. The one shown comes closest, but it is not clearly "
                "better than chance (null) or than an untrained network."
            )
        passages = telling(findings.selected)
        if is_highlight and not passages:
            passages = telling(units_of(findings.found))[:FIRST_SHOWN]
        elif not is_highlight and not is_focused:
            passages = each_once(passages)[:FIRST_SHOWN]
        self.print_passages(passages, LONG_PASSAGE if is_focused else PASSAGE)
        if findings.ablations:
            self.print_ablations()
        if with_gates:
            self.print_gates()
        if not is_focused:
            self.print_hints()

    def paragraph(self, text):
        say(textwrap.fill(printable(text, sys.stdout), self.width, break_on_hyphens=False, break_long_words=False))

    def print_what_was_read(self):
        findings, shown = self.findings, self.shown
        characters, units = len(findings.symbols), findings.num_layers * findings.hidden_size
        validation = ""
        if shown.validation_loss_nats is not None:
            validation = f"; {shown.validation_loss_nats:.4f} on the validation split"
        click.echo(f"model   {shown.model_line}: {counted(units, 'unit')}")
        click.echo(f"values  shown: {shown.values_line}")
        click.echo(wrapped(f"text    {printable(shown.told, sys.stdout)}", sys.stdout, hang=8))
        click.echo(f"loss    {findings.loss_nats:.4f} nats on these {characters:,} characters{validation}")

    def print_table(self, findings):
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        heads = ["on", "unit", "goes", "score", "rank", "null", "untrained", "probe"]
        rows = [
            [
                f"{f.signal.on:.3g}" if is_graded(f.signal) else f"{f.signal.on:.1%}",
                f"{f.layer}:{f.unit}",
                "down" if f.sign < 0 else "up",
                ("r " if is_graded(f.signal) else "") + f"{f.score:.3f}",
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
        name_size = min(MAX_NAME, max(map(cell_len, ["signal", *names])), max(NAME_ROOM, self.console.width - used))
        room = min(self.console.width - used - name_size - 2, max(map(cell_len, phrases), default=0))

        def cut(text, size):
            return text if cell_len(text) <= size else set_cell_size(text, size - 1) + ("…" if self.unicode else "~")

        with_phrase = room >= MIN_PHRASE
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
        findings, is_highlight = self.findings.found, self.is_highlight
        named = [finding for finding in findings if finding.named]
        mark = "✓" if self.unicode else "*"
        if is_highlight:
            click.echo()
        if not findings:
            self.paragraph(
                "No built-in signal occurs often enough in this text: define one of your own with --signal "
                "NAME=REGEX, or use a longer TEXT."
            )
            return
        if not named:
            self.paragraph(
                "No unit clearly follows a signal, compared with chance and with an untrained network. This is common "
                "in a small model or after a short training: train longer, or use a larger model. Where the probe is "
                "high, the model does represent the signal, but in many units together."
                + (" The closest units:" if is_highlight else "")
            )
        else:
            units = len({(f.layer, f.unit) for f in named})
            followed, scores = ("is", "its score is") if len(named) == 1 else ("are", "their scores are")
            different = f" ({counted(units, 'different unit')})" if len(named) > 1 else ""
            self.paragraph(
                f"{len(named)} of {counted(len(findings), 'signal')} {followed} followed by a unit{different}: "
                f"{scores} above chance (null) and above that of an untrained network."
            )
        if is_highlight:
            self.paragraph("AUROC: 0.5 is chance, 1 is perfect. r and rank: 0 is chance, 1 is perfect.")
            return
        against = ""
        if any(f.score < (0 if is_graded(f.signal) else 0.5) for f in findings):
            against = (
                " A score below 0.5, or an r below 0, means that the unit moved in opposite directions in the two "
                "halves of the text, so it does not follow the signal."
            )
        graded = (
            " Scores marked r are Pearson correlations, rank is Spearman's; all other scores are AUROCs."
            if any(is_graded(f.signal) for f in findings)
            else ""
        )
        self.paragraph(
            f"{mark} marks a unit whose score is above all scores on shifted signals (null is the 95th percentile of "
            "these), and closer to 1 than to the untrained network's score. on: the share of the text where the "
            "signal is on, or its mean. goes: whether the unit's value goes up or down when the signal is on or high."
            f"{graded}{against}"
        )
        for name, other in self.findings.twins.items():
            self.paragraph(f"In this text {name} is on exactly where {other} is on, so only {other} is shown.")

    def print_unit(self):
        _, _, layer, unit = self.findings.selected[0]
        table = self.table(f"<unit {layer}:{unit} follows", "<", "<goes", "score", "rank")
        for signal, score, rho in self.findings.follows:
            table.add_row(
                printable(signal.name, sys.stdout),
                printable(signal.phrase, sys.stdout),
                "down" if score < 0 else "up",
                ("r " if is_graded(signal) else "") + f"{abs(score):.3f}",
                "" if rho is None else f"{rho:.3f}",
            )
        self.console.print(table)
        self.paragraph(
            "These scores are over the whole text. You named the unit, so there is no search and no null. goes: "
            "whether the unit's value goes up or down when the signal is on or high."
        )

    def print_passages(self, selected, length):
        from charrnn.render.terminal import highlight, legend

        if selected:
            say("\n" + legend(**self.look))
        for one in selected:
            symbols, values, factor = self.findings.passage(one, length)
            title = heading(self.findings, one, factor, self.high, self.low)
            if one.finding is not None:
                title[1] += f"   --find {one.signal.name}"
            say("\n" + highlight(symbols, values, title="\n".join(title), with_legend=False, **self.look))

    def print_ablations(self):
        first = self.findings.ablations[0]
        held = {"mean": "its mean", "off": "the mean that it has where the signal is off", "zero": "zero"}.get(
            first.held, f"{first.value:g}"
        )
        click.echo()
        self.paragraph(
            f"While the model reads, each unit in turn is held at a fixed value: {held}. The table shows how much the "
            "loss then rises, in thousandths of a nat per character: where the signal is on (for a graded signal: "
            "high), where it is off, and where it switches."
        )
        table = self.table("<signal", "on", "random", "off", "random", "switch", "random", "<missed")
        rows = []
        for a in self.findings.ablations:
            figures = [mille(nats) for name in REGIONS for nats in (a.rises[name].nats, a.random[name][0])]
            rows.append([printable(a.signal, sys.stdout), *figures, a.missed])
            table.add_row(*rows[-1])
        self.console.print(table)
        unknown = (
            " -: no characters to count here. Characters near a place where the signal switches are counted only in "
            "the column switch."
            if any("-" in row for row in rows)
            else ""
        )
        self.paragraph(
            "random: the mean rise when other units of the layer, drawn at random, are held in the same way. missed: "
            "where the model needs the unit. There the loss rises more than with any of those random units, and by "
            "more than twice its standard error. 'There' is where the signal is on or switches; 'mostly' means that "
            "the loss also rises where the signal is off, but less than a third as much." + unknown
        )

    def print_gates(self):
        from charrnn.cells.gates import summarise_gates
        from charrnn.render.scatter import scatters

        table = self.table("<layer", "gate", "shut < 0.1", "open > 0.9", "units mostly shut", "units mostly open")
        for layer, gate, left, right, shut, opened in summarise_gates(self.findings.gates):
            table.add_row(str(layer), gate, f"{left:.1%}", f"{right:.1%}", str(shut), str(opened))
        self.console.print(table)
        self.paragraph(
            "Each dot below is a unit. Across: the share of the time that its gate is nearly shut (below 0.1). Up: the "
            "share of the time that it is nearly open (above 0.9)."
        )
        click.echo("\n" + scatters(self.findings.gates, width=self.width, unicode=self.unicode))

    def print_hints(self):
        from charrnn.runs.names import BEST

        findings = self.findings
        if not findings.found or not sys.stderr.isatty():
            return
        f, _, layer, unit = telling(findings.selected or units_of(findings.found))[0]
        path = self.shown.path
        run = quoted(shorter(path.parent if path.name == BEST else path))
        for purpose, command in (
            ("To see more:", f"cells {run} --find {quoted(f.signal.name)}"),
            ("", f"cells {run} --html cells.html"),
            *([] if findings.ablations else [("To test it:", f"cells {run} --ablate")]),
            ("To hear it:", f"sample {run} --clamp {layer}:{unit}={f.sign}"),
        ):
            note(f"{purpose:14} charrnn {command}")
