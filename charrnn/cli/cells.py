"""charrnn cells: which units follow something in the text. Results on stdout, progress and notes on stderr."""

import contextlib
import csv
import importlib.util
import io
import json
import math
import os
import sys
from pathlib import Path

import click

from charrnn.cli.evaluate import open_text
from charrnn.cli.info import loss_text, printable
from charrnn.cli.sample import neutralise

MOST_CHARACTERS = 10_000_000
GATE_CHARACTERS = 40_000
UNTRAINED_SEED = 1_000_003
ABLATION_CHARACTERS = 30_000
BYTES_A_VALUE = 9  # of a search: two recordings, ranks
PAGE_VALUES = 12_000_000  # of a page: so many characters times units at most
PASSAGE = 420
LONG_PASSAGE = 800
FIRST_SHOWN = 2  # passages after the table
NARROWEST, WIDEST = 40, 110
QUANTITIES = ("tanh-c", "h", "c", "i", "f", "o", "g", "r", "z", "n")


@click.command(name="cells")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--characters", type=int, default=100_000, show_default=True, metavar="N", help="Read up to N characters of the text.")
@click.option("--quantity", type=click.Choice(QUANTITIES), show_default="tanh-c for lstm, h otherwise",
              help="What to look at in a unit: its cell, its output, or a gate.")
@click.option("--signal", "custom", multiple=True, metavar="NAME=REGEX",
              help="Look for a signal of your own too: on inside each match. May be repeated.")
@click.option("--find", "wanted", metavar="SIGNAL", help="Show the best unit for this signal, named or not.")
@click.option("--unit", "unit_text", metavar="LAYER:UNIT", help="Show this unit, both counted from 0: what it follows, and a passage.")
@click.option("--highlight", is_flag=True, help="Show a passage coloured by the best unit of each signal found.")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Columns of the passages.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write a page on which every unit can be looked at.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the passages as a picture.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the passages as a drawing.")
@click.option("--ablate", is_flag=True, help="Hold each unit found while the model reads: does it miss it where the signal is on?")
@click.option("--clamp", metavar="mean|off|zero|VALUE", show_default="mean",
              help="What --ablate holds a unit at: its mean, its mean where the signal is off, or a value.")
@click.option("--gates", is_flag=True, help="Say how often each gate is nearly shut (< 0.1) and nearly open (> 0.9).")
@click.option("--encoding", metavar="NAME", show_default="the run's", help="Encoding of TEXT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Threads to compute with.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Find the units that follow something in the text.

    \b
    Example: charrnn cells --highlight
             charrnn cells checkpoints/shakespeare-1 --find line-position

    CHECKPOINT is a file or a run folder; left out, it is the newest run under ./checkpoints. TEXT is a file, a folder,
    a glob, or - for stdin; left out, it is the text that the run held out from training, found again.

    Every unit is scored against every signal that occurs in the text: quotes, comments, position in line and more. Half
    of the text chooses the unit, the other half scores it: by AUROC where a signal is on or off (0.5 is nothing, 1 is
    perfect), by Pearson's r where it is graded. `null` is the same search on shifted signals, `untrained` in a network
    that has learned nothing, `probe` a linear readout of all units of a layer.
    """
    _check(options)
    from charrnn.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.cli.display import announce_compilation

    path = find_checkpoint(checkpoint)
    if path != checkpoint:
        _note(f"checkpoint {path}")
    loaded = load_checkpoint(path)
    ctx.call_on_close(announce_compilation(_note))
    from charrnn.kernels.threads import num_threads, set_num_threads
    from charrnn.model import Model, ModelConfig

    if options["threads"] is not None:
        before = num_threads()
        ctx.call_on_close(lambda: set_num_threads(before))
        set_num_threads(options["threads"])
    if loaded.training.get("step") == 0:
        _note("this model is untrained (step 0): what its units follow, any random network follows")
    model = Model(ModelConfig(vocab_size=loaded.vocabulary.size, **loaded.model))
    model.set_parameters(loaded.parameters)
    with open_text(loaded, path, text, options["encoding"]) as (corpus, named, splits):
        start, stop, where = _stretch(corpus, splits, named, text, options["characters"])
        view = View(model, loaded.vocabulary, corpus.ids, start, stop, where, path, options)
        view.run()


def _check(options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    from charrnn.errors import ConfigError

    for name, least, most in (("characters", 1, MOST_CHARACTERS), ("threads", 1, None), ("width", NARROWEST, None)):
        value = options[name]
        if value is not None and (value < least or most is not None and value > most):
            raise ConfigError(f"--{name} must be at least {least:,}{f' and at most {most:,}' if most else ''}, got {value:,}")
    if options["as_json"] and options["as_csv"]:
        raise ConfigError("--json and --csv both say how to print the table: leave one of them out")
    if options["wanted"] is not None and options["unit_text"] is not None:
        raise ConfigError("--find and --unit both say which unit to show: leave one of them out")
    if options["highlight"] and (options["as_json"] or options["as_csv"]):
        raise ConfigError(f"--highlight is for reading, --{'json' if options['as_json'] else 'csv'} for a program: leave one of them out")
    if options["clamp"] is not None and not options["ablate"]:
        raise ConfigError(f"--clamp {options['clamp']} says what --ablate holds a unit at: add --ablate")
    for file in ("html", "png", "svg"):
        if options[file] is not None and not options[file].absolute().parent.is_dir():
            raise ConfigError(f"--{file} {options[file]}: there is no folder {options[file].parent}; make it first")
    if options["png"] is not None and importlib.util.find_spec("PIL") is None:
        raise ConfigError("--png needs Pillow, which is not installed: pip install 'charrnn[pictures]', or write an --svg, which needs "
                          "nothing")
    options["clamp"] = _parse_clamp(options["clamp"])
    options["custom"] = [_parse_signal(text) for text in options["custom"]]


def _parse_clamp(text):
    from charrnn.errors import ConfigError

    if text in (None, "mean", "off", "zero"):
        return text or "mean"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--clamp must be mean, off, zero or a number, got {text!r}")
    return value


def _parse_signal(text):
    from charrnn.errors import ConfigError

    name, equals, expression = text.partition("=")
    if not equals or not name.strip() or not expression:
        raise ConfigError(f"--signal is written NAME=REGEX, such as year='\\b1[89][0-9][0-9]\\b', got {text!r}")
    return name.strip(), expression


def _stretch(corpus, splits, named, text, characters):
    """Return (start, stop, what it is) of the characters to read."""
    from charrnn.cells.search import FEWEST_CHARACTERS
    from charrnn.errors import ConfigError

    if splits is None:
        start, stop, where = 0, corpus.characters, text if text != "-" else "stdin"
    else:
        start, stop = splits.val[0], splits.test[1]
        where = f"the held-out text of {', '.join(named)}"
        if stop - start < FEWEST_CHARACTERS:
            raise ConfigError(f"the run held out {stop - start:,} characters and a search needs {FEWEST_CHARACTERS:,}: name a TEXT it was "
                              "not trained on")
    return start, min(stop, start + characters), where


class View:
    """One search, and all that is shown of it."""

    def __init__(self, model, vocabulary, ids, start, stop, where, path, options):
        self.model, self.vocabulary, self.ids, self.start, self.stop = model, vocabulary, ids, start, stop
        self.where, self.path, self.options = where, path, options
        self.config = model.config

    def run(self):
        from charrnn.cells.record import check_quantity, default_quantity, parse_unit
        from charrnn.cells.search import halves

        options = self.options
        self.quantity = options["quantity"] or default_quantity(self.config.cell)
        check_quantity(self.config.cell, self.quantity)
        unit = parse_unit(options["unit_text"], self.config) if options["unit_text"] is not None else None
        self.chooses, self.scores = halves(self.stop - self.start)
        self._check_clamp_and_memory()
        self._find_signals()
        with _progress() as progress:
            self._search(progress)
            self.selected = self._select(unit)
            self.ablations = self._ablate(progress) if options["ablate"] else []
            self.gates = self._read_gates(progress) if options["gates"] or options["html"] else {}
            if options["html"]:
                self._write_page(progress)
        if options["as_json"]:
            click.echo(json.dumps(self._to_dict(), allow_nan=False))
        elif options["as_csv"]:
            self._print_csv()
        else:
            self._print()
        self._write_pictures()

    def _check_clamp_and_memory(self):
        from charrnn.cells.record import clamp_at
        from charrnn.errors import ConfigError
        from charrnn.model import Workspace
        from charrnn.trainer import available_memory

        if self.options["ablate"] and not isinstance(self.options["clamp"], str):
            Workspace(self.model, 1, 1, training=False).set_clamps([clamp_at(self.config, 0, 0, self.options["clamp"], self.quantity)])
        units, characters = self.config.num_layers * self.config.hidden_size, self.stop - self.start
        need, free = BYTES_A_VALUE * units * characters, available_memory()
        if free is not None and need > free:
            raise ConfigError(f"{units:,} units over {characters:,} characters need {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} are free: "
                              f"lower --characters, to {int(free / BYTES_A_VALUE / units):,} at most")

    # What is found

    def _find_signals(self):
        import numpy as np

        from charrnn.cells.passages import read_symbols
        from charrnn.cells.signals import BUILT_IN, Signal, find_signals
        from charrnn.errors import ConfigError

        text, self.symbols, lengths = read_symbols(self.vocabulary, self.ids[self.start:self.stop])
        self.signals = [
            Signal(signal.name, signal.phrase, signal.kind, np.repeat(signal.values, lengths))
            for signal in find_signals(text, self.options["custom"])
        ]
        wanted, names = self.options["wanted"], [signal.name for signal in self.signals]
        if wanted is not None and wanted not in names:
            why = "it does not occur here often enough" if wanted in BUILT_IN else "there is no such signal"
            raise ConfigError(f"--find {wanted}: {why}; in this text there are {', '.join(names) or 'none'}")

    def _search(self, progress):
        from charrnn.cells.record import record
        from charrnn.cells.search import search
        from charrnn.model import Model

        self.recording = record(self.model, self.ids, self.start, self.stop, self.quantity, progress("reading the text"))
        fresh = Model.initialise(self.config, UNTRAINED_SEED)
        untrained = record(fresh, self.ids, self.start, self.stop, self.quantity,
                           progress("reading it untrained"))
        report = progress("scoring every unit")
        self.findings = search(self.recording, self.signals, untrained, progress=lambda share: report(share, 1))
        scored = {finding.signal.name for finding in self.findings}
        for name, _ in self.options["custom"]:
            if name not in scored:
                _note(f"signal {name} is too rare in one half of the text to be scored: read more with --characters")

    def _select(self, unit):
        """Return [(finding or None, signal or None, layer, unit)] to show, ablate and draw."""
        from charrnn.cells.search import score_unit
        from charrnn.errors import ConfigError

        self.unit_rows = None
        if unit is not None:
            self.unit_rows = score_unit(self.recording, self.signals, *unit)
            return [(None, self.unit_rows[0][0] if self.unit_rows else None, *unit)]
        findings = self.findings
        if self.options["wanted"] is not None:
            findings = [finding for finding in findings if finding.signal.name == self.options["wanted"]]
            if not findings:
                raise ConfigError(f"--find {self.options['wanted']}: it is too rare in one half of the text to be scored: read more with --characters")
        else:
            findings = [finding for finding in findings if finding.named]
        return [(finding, finding.signal, finding.layer, finding.unit) for finding in findings]

    def _ablate(self, progress):
        from charrnn.cells.ablate import ablate

        found = [(signal, layer, unit) for _, signal, layer, unit in self.selected if signal is not None]
        if not found:
            return []
        report = progress("reading with units held")
        return ablate(self.model, self.ids, self.start, self.recording, found, self.options["clamp"], ABLATION_CHARACTERS,
                      progress=lambda share: report(share, 1))

    def _read_gates(self, progress):
        from charrnn.cells.gates import SIGMOID_GATES, gate_saturation

        if self.config.cell not in SIGMOID_GATES and not self.options["gates"]:
            return {}
        stop = min(self.stop, self.start + GATE_CHARACTERS)
        return gate_saturation(self.model, self.ids, self.start, stop, progress("reading the gates"))

    # Passages

    def _passage(self, signal, layer, unit, length):
        """Return (symbols, values in -1..1, factor) of the stretch that shows the signal best."""
        import numpy as np

        from charrnn.cells.passages import choose_passage, shown_values

        allowed = np.zeros(len(self.symbols), bool)
        allowed[self.scores] = True
        start, stop = choose_passage(self.symbols, signal, allowed, length)
        values, factor = shown_values(self.recording.values[layer, unit], self.quantity)
        return self.symbols[start:stop], values[start:stop], factor

    def _title(self, finding, signal, layer, unit, factor):
        enlarged = f", shown x{factor:.3g}" if factor != 1 else ""
        if finding is None:
            return f"unit {layer}:{unit}, {self.quantity}{enlarged}"
        low = " (low where it is on)" if finding.sign < 0 and signal.kind != "graded" else " (falls as it rises)" if finding.sign < 0 else ""
        return f"{signal.phrase}: unit {layer}:{unit}{low}, {_score(finding)}{enlarged}"

    def _write_pictures(self):
        if not self.options["png"] and not self.options["svg"]:
            return
        from charrnn.errors import ConfigError
        from charrnn.render.picture import Passage, write_png, write_svg

        if not self.selected:
            raise ConfigError("no unit is named, so there is nothing to draw: name one by --find or --unit")
        passages = []
        for finding, signal, layer, unit in self._telling():
            symbols, values, factor = self._passage(signal, layer, unit, PASSAGE)
            passages.append(Passage(self._title(finding, signal, layer, unit, factor), symbols, values))
        for option, write in (("png", write_png), ("svg", write_svg)):
            if self.options[option]:
                write(self.options[option], passages)
                _note(f"wrote {self.options[option]}")

    def _write_page(self, progress):
        import numpy as np

        from charrnn.cells.passages import shown_values
        from charrnn.cells.record import read_guesses
        from charrnn.render.page import FoundUnit, PageData, write_page

        L, H, N = self.recording.values.shape
        N = min(N, max(2_000, PAGE_VALUES // (L * H)))
        progress("writing the page")(0, 1)
        guesses_ids, guesses_p = read_guesses(self.model, self.ids, self.start, self.start + N)
        surprisal = np.full(N, np.nan)
        surprisal[1:] = self.recording.loss_nats[:N - 1] / math.log(2)
        shown = np.empty((L * H, N), np.float32)
        for k, values in enumerate(self.recording.units):
            shown[k] = shown_values(values[:N], self.quantity)[0]
        write_page(self.options["html"], PageData(
            text=self.symbols[:N], vocabulary=[_symbol(symbol) for symbol in self.vocabulary.symbols], layers=L, units=H,
            quantity=self.quantity, values=shown,
            found=[FoundUnit(signal=f.signal.name, description=f.signal.phrase, layer=f.layer, unit=f.unit, score=f.score, null=f.null,
                             probe=f.probe, kind=_measure(f.signal), sign=f.sign) for f in self.findings if f.named],
            guesses_ids=guesses_ids, guesses_p=guesses_p, surprisal_bits=surprisal, gates=self.gates,
            title=f"Cells of {self.path.parent.name or self.path.name}", model_line=f"{self._model_line()}, on {self.where}"))
        _note(f"wrote {self.options['html']}")

    # Printing

    def _model_line(self):
        config = self.config
        return f"{config.cell} of {config.num_layers} x {config.hidden_size}"

    def _loss_nats(self):
        import numpy as np

        return float(np.nanmean(self.recording.loss_nats))

    def _to_dict(self):
        """Return all that was asked for as plain numbers and words."""
        result = {
            "checkpoint": os.fspath(self.path), "text": self.where, "characters": self.stop - self.start, "quantity": self.quantity,
            "layers": self.config.num_layers, "units": self.config.hidden_size, "loss_nats": self._loss_nats(),
            "signals": [finding.to_dict() for finding in self.findings],
        }
        if self.unit_rows is not None:
            _, _, layer, unit = self.selected[0]
            result["unit"] = {"layer": layer, "unit": unit, "follows": [
                {"signal": signal.name, "measure": _measure(signal), "score": score, "spearman": rho} for signal, score, rho in self.unit_rows]}
        if self.options["ablate"]:
            result["ablation"] = [ablation.to_dict() for ablation in self.ablations]
        if self.options["gates"]:
            result["gates"] = {gate: {"left": shares[:, :, 0].tolist(), "right": shares[:, :, 1].tolist()}
                               for gate, shares in self.gates.items()}
        return result

    def _print_csv(self):
        columns = ("signal", "phrase", "kind", "on", "layer", "unit", "sign", "measure", "score", "spearman", "null", "null_max",
                   "untrained", "probe", "probe_layer", "named")
        ablated = {(a.signal, a.layer, a.unit): a for a in self.ablations}
        regions = ("on", "off", "switch") if self.options["ablate"] else ()
        output = io.StringIO()  # a program's input: to a terminal only what it would act on is written otherwise
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow([*columns, *(f"rise_{name}_nats" for name in regions), *(f"random_{name}_nats" for name in regions)])
        for finding in self.findings:
            values = finding.to_dict()
            ablation = ablated.get((finding.signal.name, finding.layer, finding.unit))
            extra = [] if not regions else [""] * 6 if ablation is None else [
                *(ablation.rises[name].nats for name in regions), *(ablation.random[name][0] for name in regions)]
            writer.writerow(["" if value is None or value != value else value for value in (*(values[name] for name in columns), *extra)])
        click.echo(neutralise(output.getvalue()) if sys.stdout.isatty() else output.getvalue(), nl=False)

    def _print(self):
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False)
        self.console = console
        self.unicode = (console.encoding or "").lower().startswith("utf")
        self.width = self.options["width"] or max(NARROWEST, min(WIDEST, console.width))
        loss = loss_text(self._loss_nats()).partition(",")[0]
        click.echo(printable(f"{self._model_line()} read {self.stop - self.start:,} characters of {self.where}", sys.stdout))
        click.echo(f"at {loss}; {self.config.num_layers * self.config.hidden_size:,} units searched by {self.quantity}")
        focused = self.options["wanted"] is not None or self.unit_rows is not None
        if self.unit_rows is not None:
            self._print_unit()
        elif not self.options["highlight"]:
            self._print_table([s[0] for s in self.selected] if focused else self.findings)
        if not focused:
            self._print_verdict()
        shown = self._telling() if focused or self.options["highlight"] else self._first_shown()
        for finding, signal, layer, unit in shown:
            self._print_passage(finding, signal, layer, unit, LONG_PASSAGE if focused else PASSAGE)
        if self.ablations:
            self._print_ablations()
        if self.options["gates"]:
            self._print_gates()
        if not focused:
            self._print_hints()

    def _first_shown(self):
        """The first named units to look at, each once."""
        first = {}
        for selected in self._telling():
            first.setdefault(selected[2:], selected)
        return list(first.values())[:FIRST_SHOWN]

    def _telling(self):
        """What is selected, those first that tell more of a model than which character it has just read."""
        from charrnn.cells.signals import OF_CHARACTERS

        return sorted(self.selected, key=lambda selected: selected[1] is not None and selected[1].name in OF_CHARACTERS)

    def _table(self, *columns):
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD if self.unicode else box.ASCII_DOUBLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in columns:
            left = name.startswith("<")
            table.add_column(name.lstrip("<"), justify="left" if left else "right", no_wrap=True)
        return table

    def _print_table(self, findings):
        from rich.text import Text

        table = self._table("<signal", "on/mean", "unit", "score", "null", "untrained", "probe")
        mark = "✓ " if self.unicode else "* "
        for f in findings:
            graded = f.signal.kind == "graded"
            on = f"{f.signal.on:.3g}" if graded else f"{f.signal.on:.1%}"
            table.add_row(
                Text((mark if f.named else "  ") + printable(f.signal.phrase, sys.stdout)), on,
                f"{'-' if f.sign < 0 else '+'}{f.layer}:{f.unit}", Text(("r " if graded else "") + f"{f.score:.3f}", style="bold" if f.named else ""),
                f"{f.null:.3f}", "" if f.untrained is None else f"{f.untrained:.3f}", f"{f.probe:.3f}", style="" if f.named else "dim")
        self.console.print(table)

    def _print_verdict(self):
        named = [finding for finding in self.findings if finding.named]
        if not self.findings:
            click.echo("Nothing that charrnn knows by name happens often enough in this text: name a signal of your own by --signal "
                       "NAME=REGEX, or a longer TEXT.")
        elif not named:
            click.echo("No unit stands out: none is clearly better than chance and than a network that has\n"
                       "learned nothing. That is common in a small or young model: train longer, or larger.\n"
                       "Where the probe is high, the model does know the signal, by many units together.")
        else:
            count = len({(f.layer, f.unit) for f in named})
            click.echo(f"{len(named)} of {len(self.findings)} signals have a unit that follows them, beyond chance and beyond an\n"
                       f"untrained network: {count} unit{'s' if count > 1 else ''} that nobody designed. (✓: above every shifted\n"
                       "search, and at most half as far from 1 as the untrained network's best.)")

    def _print_unit(self):
        _, _, layer, unit = self.selected[0]
        table = self._table(f"<unit {layer}:{unit} follows", "score")
        for signal, score, _ in self.unit_rows:
            table.add_row(printable(signal.phrase, sys.stdout), ("r " if signal.kind == "graded" else "") + f"{score:+.3f}")
        self.console.print(table)
        click.echo("Over the whole text; it was not chosen, so no null is needed. A minus: low where the signal is on or high.")

    def _print_passage(self, finding, signal, layer, unit, length):
        from charrnn.render.colours import background_of, colour_mode
        from charrnn.render.terminal import highlight

        symbols, values, factor = self._passage(signal, layer, unit, length)
        click.echo()
        self._say(highlight(symbols, values, width=self.width, colour=colour_mode(sys.stdout, os.environ), unicode=self.unicode,
                             title=self._title(finding, signal, layer, unit, factor), background=background_of(os.environ)))

    def _say(self, text):
        """Write lines with their colours, whatever characters the stream lacks."""
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), color=True)

    def _print_ablations(self):
        first = self.ablations[0]
        held = {"mean": "its mean", "off": "its mean where the signal is off", "zero": "zero"}.get(first.held, f"{first.value:g}")
        click.echo(f"\nEach unit held at {held}: by how many thousandths of a nat\n"
                   "a character the loss rises where the signal is on (a graded one: high), where it\n"
                   "is off and where it switches, and what random units of the layer do there.")
        table = self._table("<signal", "on", "random", "off", "random", "switch", "random", "<missed")
        for a in self.ablations:
            figures = [_mille(nats) for name in ("on", "off", "switch") for nats in (a.rises[name].nats, a.random[name][0])]
            table.add_row(printable(a.signal, sys.stdout), *figures, a.missed)
        self.console.print(table)

    def _print_gates(self):
        from charrnn.cells.gates import summarise_gates
        from charrnn.render.scatter import scatters

        table = self._table("<layer", "gate", "shut < 0.1", "open > 0.9", "units mostly shut", "units mostly open")
        for layer, gate, left, right, shut, opened in summarise_gates(self.gates):
            table.add_row(str(layer), gate, f"{left:.1%}", f"{right:.1%}", str(shut), str(opened))
        self.console.print(table)
        click.echo(scatters(self.gates, width=self.width, unicode=self.unicode))

    def _print_hints(self):
        if not self.findings or not sys.stderr.isatty():
            return
        name = self.findings[0].signal.name
        click.echo(f"\nTo see more:   charrnn cells --find {name}    charrnn cells --html cells.html", err=True)
        click.echo("To test it:    charrnn cells --ablate", err=True)
        f = self.findings[0]
        click.echo(f"To hear it:    charrnn sample --clamp {f.layer}:{f.unit}=1", err=True)


def _score(finding):
    low = "" if finding.untrained is None else f", untrained {finding.untrained:.3f}"
    return f"{'r' if finding.signal.kind == 'graded' else 'AUROC'} {finding.score:.3f} (null {finding.null:.3f}{low})"


def _measure(signal):
    return "pearson" if signal.kind == "graded" else "auroc"


def _mille(nats):
    return f"{1000 * nats:.1f}" if math.isfinite(nats) else "-"


def _symbol(symbol):
    return symbol if isinstance(symbol, str) else chr(symbol) if symbol < 0x80 else f"\\x{symbol:02x}"


def _note(text):
    click.echo(printable(text, sys.stderr), err=True)


@contextlib.contextmanager
def _progress():
    """Yield a function of a description that gives a function of (done, of): one bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda description: lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), console=Console(stderr=True),
                  transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def begin(description):
            bar.update(task, description=f"{description:24}", completed=0.0)
            return lambda done, of: bar.update(task, completed=done / of)

        yield begin
