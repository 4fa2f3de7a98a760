"""charrnn cells: which units follow something in the text. Here they are searched for; findings.py shows them."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import click

from charrnn.cli.evaluate import open_text
from charrnn.cli.words import note, shorter
from charrnn.errors import counted
from charrnn.render.colours import RED_BLUE, SCALES
from charrnn.spec import CELLS, QUANTITIES

MOST_CHARACTERS = 10_000_000
GATE_CHARACTERS = 40_000
UNTRAINED_SEED = 1_000_003
ABLATION_CHARACTERS = 30_000
BYTES_A_VALUE = 9  # of a search: two recordings, ranks
NARROWEST = 40
SPLITS = ("held-out", "val", "test")


@click.command(name="cells")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--characters",
    type=int,
    default=100_000,
    show_default=True,
    metavar="N",
    help="Read up to N characters of the text.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    show_default="held-out, which is both others",
    help="Which part of the run's own text to read.",
)
@click.option(
    "--quantity",
    type=click.Choice(QUANTITIES),
    show_default="tanh-c for lstm, h otherwise",
    help="What to look at in a unit: its cell, its output, or a gate.",
)
@click.option(
    "--signal",
    "custom",
    multiple=True,
    metavar="NAME=REGEX",
    help="Look for a signal of your own too: on inside each match. May be repeated.",
)
@click.option("--find", "wanted", metavar="SIGNAL", help="Show the best unit for this signal, named or not.")
@click.option(
    "--unit",
    "unit_text",
    metavar="LAYER:UNIT",
    help="Show this unit, both counted from 0: what it follows, and a passage.",
)
@click.option("--highlight", is_flag=True, help="Show a passage coloured by the best unit of each signal found.")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Columns of the passages.")
@click.option(
    "--scale",
    type=click.Choice(list(SCALES)),
    default=RED_BLUE.name,
    show_default=True,
    help="Colours of +1 and -1; orange-blue is easier apart for colour-blind eyes.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page on which every unit can be looked at.",
)
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the passages as a picture."
)
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the passages as a drawing."
)
@click.option(
    "--ablate", is_flag=True, help="Hold each unit found while the model reads: does it miss it where the signal is on?"
)
@click.option(
    "--clamp",
    metavar="mean|off|zero|VALUE",
    show_default="mean",
    help="What --ablate holds a unit at: its mean, its mean where the signal is off, or a value.",
)
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
    perfect), by Pearson's r where it is graded, beside Spearman's as `rank`. `null` is the same search on shifted
    signals, `untrained` in a network that has learned nothing, `probe` a linear readout of all units of a layer.
    """
    _check(options, text)
    from charrnn.cli.display import announce_compilation
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(checkpoint)
    if path != checkpoint:
        note(f"checkpoint {shorter(path)}")
    loaded = load_checkpoint(path)
    ctx.call_on_close(announce_compilation(note))
    from charrnn.kernels.threads import num_threads, set_num_threads
    from charrnn.model.parameters import Model

    if options["threads"] is not None:
        before = num_threads()
        ctx.call_on_close(lambda: set_num_threads(before))
        set_num_threads(options["threads"])
    if loaded.training.get("step") == 0:
        note("this model is untrained (step 0): what its units follow, any random network follows")
    model = Model.from_checkpoint(loaded)
    with open_text(loaded, path, text, options["encoding"]) as (corpus, named, splits):
        stretch = _stretch(corpus, splits, named, text, options)
        Search(model, loaded.vocabulary, corpus.ids, stretch, path, _validation_loss(loaded.training), options).run()


def _check(options, text):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    from charrnn.errors import ConfigError

    for name, least, most in (("characters", 1, MOST_CHARACTERS), ("threads", 1, None), ("width", NARROWEST, None)):
        value = options[name]
        if value is not None and (value < least or most is not None and value > most):
            raise ConfigError(
                f"--{name} must be at least {least:,}{f' and at most {most:,}' if most else ''}, got {value:,}"
            )
    if text is not None and options["split"] is not None:
        raise ConfigError(f"--split {options['split']} is of the run's own text: leave it out, or leave out {text}")
    if options["as_json"] and options["as_csv"]:
        raise ConfigError("--json and --csv both say how to print the table: leave one of them out")
    if options["wanted"] is not None and options["unit_text"] is not None:
        raise ConfigError("--find and --unit both say which unit to show: leave one of them out")
    if options["highlight"] and (options["as_json"] or options["as_csv"]):
        raise ConfigError(
            f"--highlight is for reading, --{'json' if options['as_json'] else 'csv'} for a program: leave one of them out"
        )
    if options["clamp"] is not None and not options["ablate"]:
        raise ConfigError(f"--clamp {options['clamp']} says what --ablate holds a unit at: add --ablate")
    for file in ("html", "png", "svg"):
        if options[file] is not None and not options[file].absolute().parent.is_dir():
            raise ConfigError(f"--{file} {options[file]}: there is no folder {options[file].parent}; make it first")
    if options["png"] is not None and importlib.util.find_spec("PIL") is None:
        raise ConfigError(
            "--png needs Pillow, which is not installed: pip install pillow, or write an --svg, which needs nothing"
        )
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


@dataclass(frozen=True)
class Stretch:
    """The characters that are read, start .. stop - 1, of a part that goes on to `end`.

    of      what the part is of: "held out from shakespeare.txt", "of other.txt"
    named   the texts as they were named, whole
    split   one of SPLITS, None for a TEXT
    """

    start: int
    stop: int
    end: int
    of: str
    named: str
    split: str | None

    @property
    def told(self):
        """Say which characters these are."""
        count, whole = f"{self.stop - self.start:,}", f"{self.end - self.start:,}"
        return (
            f"all {counted(self.stop - self.start, 'character')} {self.of}"
            if count == whole
            else f"the first {count} of {whole} characters {self.of}"
        )

    @property
    def remedy(self):
        """Say how to read more."""
        return "raise --characters" if self.stop < self.end else "name a longer TEXT"


def _stretch(corpus, splits, named, text, options):
    """Return the Stretch to read. Raises ConfigError where it is too short to search in."""
    from charrnn.cells.search import FEWEST_CHARACTERS
    from charrnn.errors import ConfigError

    split = options["split"] or SPLITS[0]
    if splits is None:
        split, start, end = None, 0, corpus.characters
        of = f"of {shorter(text) if text != '-' else 'stdin'}"
    else:
        start, end = (splits.val[0], splits.test[1]) if split == SPLITS[0] else getattr(splits, split)
        files = ", ".join(Path(name).name for name in named)
        of = f"held out from {files}" if split == SPLITS[0] else f"of the {split} split of {files}"
        if start == end and split != SPLITS[0]:
            raise ConfigError(f"the run has no {split} split: choose another --split, or name a TEXT")
        if end - start < FEWEST_CHARACTERS:
            raise ConfigError(
                f"the run held out {counted(end - start, 'character')}{f' as {split}' if split != SPLITS[0] else ''} and a search needs "
                f"{FEWEST_CHARACTERS:,}: name a TEXT it was not trained on"
            )
    stretch = Stretch(
        start, min(end, start + options["characters"]), end, of, text if splits is None else ", ".join(named), split
    )
    if stretch.stop - start < FEWEST_CHARACTERS:
        raise ConfigError(
            f"a search needs at least {FEWEST_CHARACTERS:,} characters, one half to choose a unit and one to score it, got "
            f"{stretch.stop - start:,}: {stretch.remedy}"
        )
    return stretch


def _validation_loss(training):
    """Return the validation loss in nats of a checkpoint's own step, None where it does not say."""
    history = training.get("history")
    for record in (training.get("best"), history[-1] if isinstance(history, list) and history else None):
        if isinstance(record, dict) and record.get("step") == training.get("step"):
            loss_nats = record.get("val_loss_nats")
            if isinstance(loss_nats, float) and math.isfinite(loss_nats):
                return loss_nats
    return None


class Search:
    """One search, and what is asked of the units found.

    After `run`: symbols, signals, twins, recording, findings, selected, unit_rows, ablations, gates.
    """

    def __init__(self, model, vocabulary, ids, stretch, path, validation_loss_nats, options):
        self.model, self.vocabulary, self.ids, self.stretch, self.path = model, vocabulary, ids, stretch, path
        self.start, self.stop = stretch.start, stretch.stop
        self.validation_loss_nats, self.options, self.config = validation_loss_nats, options, model.config

    def run(self):
        from charrnn.cells.record import check_quantity, parse_unit
        from charrnn.cells.search import halves
        from charrnn.cli.display import progress_bar
        from charrnn.cli.findings import print_csv, print_json, print_text, write_html, write_pictures

        options = self.options
        self.quantity = options["quantity"] or CELLS[self.config.cell].default_quantity
        check_quantity(self.config.cell, self.quantity)
        unit = parse_unit(options["unit_text"], self.config) if options["unit_text"] is not None else None
        self.chooses, self.scores = halves(self.stop - self.start)
        self._check_clamp_and_memory()
        self._find_signals()
        with progress_bar() as progress:
            self._search(progress)
            self.selected = self._select(unit)
            self.ablations = self._ablate(progress) if options["ablate"] else []
            self.gates = self._read_gates(progress) if options["gates"] or options["html"] else {}
            if options["html"]:
                progress("writing the page")(0, 1)
                write_html(self, options["html"])
        show = print_json if options["as_json"] else print_csv if options["as_csv"] else print_text
        show(self)
        write_pictures(self)

    def _check_clamp_and_memory(self):
        from charrnn.cells.record import clamp_at
        from charrnn.errors import ConfigError
        from charrnn.model.workspace import Workspace
        from charrnn.training.memory import available_memory

        if self.options["ablate"] and not isinstance(self.options["clamp"], str):
            Workspace(self.model, 1, 1, training=False).set_clamps(
                [clamp_at(self.config, 0, 0, self.options["clamp"], self.quantity)]
            )
        units, characters = self.config.num_layers * self.config.hidden_size, self.stop - self.start
        need, free = BYTES_A_VALUE * units * characters, available_memory()
        if free is not None and need > free:
            raise ConfigError(
                f"{units:,} units over {characters:,} characters need {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} are free: "
                f"lower --characters, to {int(free / BYTES_A_VALUE / units):,} at most"
            )

    # What is found

    def _find_signals(self):
        import numpy as np

        from charrnn.cells.passages import read_symbols
        from charrnn.cells.signals import BUILT_IN, Signal, find_signals, without_twins
        from charrnn.errors import ConfigError

        text, self.symbols, lengths = read_symbols(self.vocabulary, self.ids[self.start : self.stop])
        found, self.twins = without_twins(find_signals(text, self.options["custom"]))
        self.signals = [
            Signal(signal.name, signal.phrase, signal.kind, np.repeat(signal.values, lengths)) for signal in found
        ]
        wanted, names = self.options["wanted"], [signal.name for signal in self.signals]
        if wanted in self.twins:
            note(f"{wanted} is on where {self.twins[wanted]} is in this text: what follows is {self.twins[wanted]}")
            wanted = self.options["wanted"] = self.twins[wanted]
        if wanted is not None and wanted not in names:
            why = "it does not occur here often enough" if wanted in BUILT_IN else "there is no such signal"
            raise ConfigError(f"--find {wanted}: {why}; in this text there are {', '.join(names) or 'none'}")

    def _search(self, progress):
        from charrnn.cells.record import record
        from charrnn.cells.search import search
        from charrnn.model.parameters import Model

        self.recording = record(
            self.model, self.ids, self.start, self.stop, self.quantity, progress("reading the text")
        )
        fresh = Model.initialise(self.config, UNTRAINED_SEED)
        untrained = record(fresh, self.ids, self.start, self.stop, self.quantity, progress("reading it untrained"))
        report = progress("scoring every unit")
        self.findings = search(self.recording, self.signals, untrained, progress=lambda share: report(share, 1))
        scored = {finding.signal.name for finding in self.findings}
        for name, _ in self.options["custom"]:
            if name not in scored:
                note(f"signal {name} is too rare in one half of the text to be scored: {self.stretch.remedy}")

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
                raise ConfigError(
                    f"--find {self.options['wanted']}: it is too rare in one half of the text to be scored: {self.stretch.remedy}"
                )
        else:
            findings = [finding for finding in findings if finding.named]
        return [(finding, finding.signal, finding.layer, finding.unit) for finding in findings]

    def _ablate(self, progress):
        from charrnn.cells.ablate import ablate

        found = [(signal, layer, unit) for _, signal, layer, unit in self.selected if signal is not None]
        if not found:
            return []
        report = progress("reading with units held")
        return ablate(
            self.model,
            self.ids,
            self.start,
            self.recording,
            found,
            self.options["clamp"],
            ABLATION_CHARACTERS,
            progress=lambda share: report(share, 1),
        )

    def _read_gates(self, progress):
        from charrnn.cells.gates import gate_saturation

        if not CELLS[self.config.cell].sigmoids and not self.options["gates"]:
            return {}
        stop = min(self.stop, self.start + GATE_CHARACTERS)
        return gate_saturation(self.model, self.ids, self.start, stop, progress("reading the gates"))
