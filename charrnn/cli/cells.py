"""charrnn cells: which units follow something in the text.

Searching is cells/report.py's, printing show_cells.py's, pages and pictures are cells_files.py's.
"""

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path

import click

from charrnn.cli.cells_files import write_cells_page, write_pictures
from charrnn.cli.cells_text import Shown
from charrnn.cli.checks import check_bounds, check_pillow, unknown_option
from charrnn.cli.clamps import parse_clamp_of_ablation
from charrnn.cli.opening import open_model, open_text
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.progress import progress_bar
from charrnn.cli.show_cells import MIN_WIDTH, print_findings
from charrnn.cli.words import neutralise, note, shorter
from charrnn.errors import ConfigError, counted
from charrnn.render.colours import RED_BLUE, SCALES
from charrnn.spec import CELLS, QUANTITIES

MAX_CHARACTERS = 10_000_000
SPLITS = ("held-out", "val", "test")


def _list_signals(ctx, _parameter, wanted):
    """Print the name and the meaning of every built-in signal, and end."""
    if not wanted or ctx.resilient_parsing:
        return
    from charrnn.cells.signals.signal import BUILT_IN, GRADED

    longest = max(map(len, BUILT_IN))
    for name, (phrase, kind) in BUILT_IN.items():
        click.echo(f"{name:<{longest}}  {phrase}{' (graded)' if kind == GRADED else ''}")
    ctx.exit()


@click.command(name="cells", cls=PlainCommand)
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
    type=click.Choice(SPLITS, case_sensitive=False),
    show_default="held-out, which is val and test together",
    help="Which part of the run's own text to read.",
)
@click.option(
    "--quantity",
    type=click.Choice(QUANTITIES, case_sensitive=False),
    show_default="tanh-c for lstm, h otherwise",
    help="Which number of a unit to look at. A unit of an LSTM has a cell state (its memory; c or tanh-c), an output "
    "(h), gates (i, f, o) and a candidate (g). A unit of a GRU has a state (h), gates (r, z) and a candidate (n); one "
    "of a vanilla RNN has only h.",
)
@click.option(
    "--signal",
    "custom",
    multiple=True,
    metavar="NAME=REGEX",
    help="Define a signal of your own, which is on inside each match of the regular expression. May be repeated.",
)
@click.option(
    "--list-signals",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_signals,
    help="List the built-in signals with their meaning, and exit.",
)
@click.option(
    "--find",
    "wanted",
    metavar="SIGNAL",
    help="Show the best unit for this signal, even if the unit does not clearly follow the signal.",
)
@click.option(
    "--unit",
    "unit_text",
    metavar="LAYER:UNIT",
    help="Show this unit (layer and unit are counted from 0): which signals it follows, and a passage.",
)
@click.option(
    "--highlight", is_flag=True, help="For each signal that a unit follows, show a passage coloured by that unit."
)
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Width of the passages in columns.")
@click.option(
    "--scale",
    type=click.Choice(list(SCALES), case_sensitive=False),
    default=RED_BLUE.name,
    show_default=True,
    help="Colours of +1 and -1; orange-blue is easier to distinguish for colour-blind readers.",
)
@file_option("html", "Write a web page that shows every unit.")
@file_option("png", "Write the passages as a picture.")
@file_option("svg", "Write the passages as a drawing.")
@force_option("html", "png", "svg")
@click.option(
    "--ablate",
    is_flag=True,
    help="Hold each unit that was found at a fixed value while the model reads, and measure how much the loss rises.",
)
@click.option(
    "--clamp",
    metavar="mean|off|zero|VALUE",
    show_default="mean",
    help="The value at which --ablate holds a unit: its mean, its mean where the signal is off, zero, or a number.",
)
@click.option(
    "--gates", is_flag=True, help="Show how often each gate is nearly closed (< 0.1) and nearly open (> 0.9)."
)
@click.option("--encoding", metavar="NAME", show_default="the run's", help="Encoding of TEXT.")
@unknown_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Number of threads.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Find parts of a model that react to quotes, lines, etc.

    \b
    Example: charrnn cells --highlight
             charrnn cells checkpoints/shakespeare-1 --find line-position

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. TEXT is a file, a
    folder, a glob, or - for stdin; without it, charrnn reads the part of the run's own text that was held out (not used
    for training).

    A signal is something that a unit can follow in a text: being inside quotes or comments, the position in the line,
    and more (--list-signals). A signal is either on or off, or it is a number (a graded signal). For each signal that
    occurs in the text, the unit that follows it best is chosen on one half of the text and scored on the other half.

    \b
    Columns of the table:
      on         share of the text where the signal is on; for a graded
                 signal, its mean
      unit       layer:unit, both counted from 0
      goes       whether the unit goes up or down with the signal
      score      AUROC of an on/off signal (0.5: no better than chance,
                 1: perfect); Pearson's r for a graded one
      rank       Spearman's correlation for a graded signal
      null       chance level: the signal is shifted along the text, and the
                 search is repeated; 95 % of such searches have at most
                 this score
      untrained  best score of an untrained network
      probe      score of a linear model that reads all units of the layer
    """
    _check(options, text)
    outputs = Outputs(options, "html", "png", "svg")
    opened = open_model(ctx, checkpoint, options["threads"])
    outputs.protect(text, opened)
    if opened.checkpoint.training.get("step") == 0:
        note("this model is untrained (step 0): its units follow only what those of any random network follow")
    with open_text(opened, text, options["encoding"], options["unknown"]) as read:
        excerpt, end, of = _excerpt(read, text, options)
        asked = _asked(options, opened.model.config)
        with progress_bar() as progress:
            from charrnn.cells.report import find_cells
            from charrnn.training.stored import stored_validation_loss

            findings = find_cells(opened.model, opened.checkpoint.vocabulary, excerpt, asked, progress)
            remedy = "raise --characters" if excerpt.stop < end else "use a longer TEXT"
            _note_what_is_not_there(findings, options, remedy)
            validation_loss_nats = stored_validation_loss(opened.checkpoint.training)
            shown = Shown(findings, of, end, opened.model.config, opened.path, validation_loss_nats)
        _print(shown, options)  # before the files, which may have to be refused
        with progress_bar() as progress:
            write_cells_page(shown, opened.model, options["scale"], outputs, progress)
        if outputs.named("html"):  # when the bar is gone
            note(f"wrote {outputs.named('html')}")
        write_pictures(findings, options["scale"], outputs)


def _asked(options, config):
    """Return the CellsOptions of the options of the command line."""
    from charrnn.cells.record import parse_unit
    from charrnn.cells.report import CellsOptions

    return CellsOptions(
        quantity=options["quantity"],
        signals=tuple(options["custom"]),
        wanted=options["wanted"],
        unit=None if options["unit_text"] is None else parse_unit(options["unit_text"], config),
        clamp=options["clamp"] if options["ablate"] else None,
        gates=options["gates"] or options["html"] is not None and bool(CELLS[config.cell].sigmoids),
    )


def _note_what_is_not_there(findings, options, remedy):
    """Say which signal stands for one that was asked for, and which of the user's own could not be scored."""
    if options["wanted"] in findings.twins:
        wanted, twin = options["wanted"], findings.twins[options["wanted"]]
        note(f"in this text {wanted} is on exactly where {twin} is on, so {twin} is shown")
    scored = {finding.signal.name for finding in findings.found}
    for name, _ in options["custom"]:
        if name not in scored:
            note(f"signal {name} is too rare in one half of the text to get a score: {remedy}")


def _print(shown, options):
    if options["as_json"]:
        # The page has the gates even where they are not asked for.
        findings = shown.findings if options["gates"] else dataclasses.replace(shown.findings, gates=None)
        click.echo(json.dumps(dataclasses.replace(shown, findings=findings).to_dict(), allow_nan=False))
    elif options["as_csv"]:
        _print_csv(shown.findings)
    else:
        print_findings(shown, options["scale"], options["width"], options["highlight"], options["gates"])


def _print_csv(findings):
    output = io.StringIO()  # a program's input: to a terminal only what it would act on is written otherwise
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(findings.columns())
    writer.writerows(findings.rows())
    click.echo(neutralise(output.getvalue()) if sys.stdout.isatty() else output.getvalue(), nl=False)


def _check(options, text):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    check_bounds(options, ("characters", 1, MAX_CHARACTERS), ("threads", 1, None), ("width", MIN_WIDTH, None))
    if text is not None and options["split"] is not None:
        raise ConfigError(
            f"--split {options['split']} selects a part of the run's own text, but you gave {text}: leave one of them "
            f"out",
            ["split"],
        )
    if options["as_json"] and options["as_csv"]:
        raise ConfigError("--json and --csv contradict each other: leave one of them out", ["json", "csv"])
    if options["wanted"] is not None and options["unit_text"] is not None:
        raise ConfigError("--find and --unit both select the unit to show: leave one of them out", ["find", "unit"])
    if options["highlight"] and (options["as_json"] or options["as_csv"]):
        raise ConfigError(
            f"--highlight is for reading, --{'json' if options['as_json'] else 'csv'} for a program: leave one of them "
            "out",
            ["highlight", "json" if options["as_json"] else "csv"],
        )
    if options["clamp"] is not None and not options["ablate"]:
        raise ConfigError(
            f"--clamp {options['clamp']} has no effect without --ablate: add --ablate", ["clamp", "ablate"]
        )
    check_pillow(options["png"])
    options["clamp"] = parse_clamp_of_ablation(options["clamp"])
    options["custom"] = [_parse_signal(text) for text in options["custom"]]


def _parse_signal(text):
    name, equals, expression = text.partition("=")
    if not equals or not name.strip() or not expression:
        raise ConfigError(
            f"--signal is written NAME=REGEX, such as year='\\b1[89][0-9][0-9]\\b', got {text!r}", ["signal"]
        )
    return name.strip(), expression


def _excerpt(read, text, options):
    """Return (Excerpt to read, where the part that it begins ends, what that is of).

    Raises ConfigError where it is too short to search in.
    """
    from charrnn.cells.search import MIN_CHARACTERS
    from charrnn.text.excerpt import Excerpt

    split = options["split"] or SPLITS[0]
    if read.splits is None:
        split, start, end, name = None, 0, read.corpus.characters, text
        of = f"of {shorter(text) if text != '-' else 'stdin'}"
    else:
        splits, name = read.splits, ", ".join(read.named)
        start, end = splits.held_out if split == SPLITS[0] else getattr(splits, split)
        files = ", ".join(Path(one).name for one in read.named)
        of = f"held out from {files}" if split == SPLITS[0] else f"of the {split} split of {files}"
        if start == end and split != SPLITS[0]:
            raise ConfigError(f"the run has no {split} split: choose another --split, or give a TEXT", ["split"])
        if end - start < MIN_CHARACTERS:
            as_split = f" as {split}" if split != SPLITS[0] else ""
            raise ConfigError(
                f"the run held out only {counted(end - start, 'character')}{as_split}, and a search needs "
                f"{MIN_CHARACTERS:,}: give a TEXT that it was not trained on"
            )
    stop = min(end, start + options["characters"])
    if stop - start < MIN_CHARACTERS:
        remedy = "raise --characters" if stop < end else "use a longer TEXT"
        raise ConfigError(
            f"a search needs at least {MIN_CHARACTERS:,} characters, half of them to choose units and half to score "
            f"them, got {stop - start:,}: {remedy}"
        )
    return Excerpt(read.corpus.ids, start, stop, name, split, read.corpus.skipped, read.encoding), end, of
