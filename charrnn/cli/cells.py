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
from charrnn.cli.progress import progress_bar
from charrnn.cli.show_cells import MIN_WIDTH, print_findings
from charrnn.cli.words import neutralise, note, shorter
from charrnn.errors import ConfigError, counted
from charrnn.render.colours import RED_BLUE, SCALES
from charrnn.spec import CELLS, QUANTITIES

MAX_CHARACTERS = 10_000_000
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
    type=click.Choice(SPLITS, case_sensitive=False),
    show_default="held-out, which is both others",
    help="Which part of the run's own text to read.",
)
@click.option(
    "--quantity",
    type=click.Choice(QUANTITIES, case_sensitive=False),
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
    type=click.Choice(list(SCALES), case_sensitive=False),
    default=RED_BLUE.name,
    show_default=True,
    help="Colours of +1 and -1; orange-blue is easier apart for colour-blind eyes.",
)
@file_option("html", "Write a page on which every unit can be looked at.")
@file_option("png", "Write the passages as a picture.")
@file_option("svg", "Write the passages as a drawing.")
@force_option("html", "png", "svg")
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
@unknown_option
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
    outputs = Outputs(options, "html", "png", "svg")
    opened = open_model(ctx, checkpoint, options["threads"])
    outputs.protect(text, opened)
    if opened.checkpoint.training.get("step") == 0:
        note("this model is untrained (step 0): what its units follow, any random network follows")
    with open_text(opened, text, options["encoding"], options["unknown"]) as read:
        excerpt, end, of = _excerpt(read, text, options)
        asked = _asked(options, opened.model.config)
        with progress_bar() as progress:
            from charrnn.cells.report import find_cells
            from charrnn.training.stored import stored_validation_loss

            findings = find_cells(opened.model, opened.checkpoint.vocabulary, excerpt, asked, progress)
            remedy = "raise --characters" if excerpt.stop < end else "name a longer TEXT"
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
        note(f"{wanted} is on where {twin} is in this text: what follows is {twin}")
    scored = {finding.signal.name for finding in findings.found}
    for name, _ in options["custom"]:
        if name not in scored:
            note(f"signal {name} is too rare in one half of the text to be scored: {remedy}")


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
            f"--split {options['split']} is of the run's own text: leave it out, or leave out {text}", ["split"]
        )
    if options["as_json"] and options["as_csv"]:
        raise ConfigError("--json and --csv both say how to print the table: leave one of them out", ["json", "csv"])
    if options["wanted"] is not None and options["unit_text"] is not None:
        raise ConfigError("--find and --unit both say which unit to show: leave one of them out", ["find", "unit"])
    if options["highlight"] and (options["as_json"] or options["as_csv"]):
        raise ConfigError(
            f"--highlight is for reading, --{'json' if options['as_json'] else 'csv'} for a program: leave one of them "
            "out",
            ["highlight", "json" if options["as_json"] else "csv"],
        )
    if options["clamp"] is not None and not options["ablate"]:
        raise ConfigError(
            f"--clamp {options['clamp']} says what --ablate holds a unit at: add --ablate", ["clamp", "ablate"]
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
            raise ConfigError(f"the run has no {split} split: choose another --split, or name a TEXT", ["split"])
        if end - start < MIN_CHARACTERS:
            as_split = f" as {split}" if split != SPLITS[0] else ""
            raise ConfigError(
                f"the run held out {counted(end - start, 'character')}{as_split} and a search needs "
                f"{MIN_CHARACTERS:,}: name a TEXT it was not trained on"
            )
    stop = min(end, start + options["characters"])
    if stop - start < MIN_CHARACTERS:
        remedy = "raise --characters" if stop < end else "name a longer TEXT"
        raise ConfigError(
            f"a search needs at least {MIN_CHARACTERS:,} characters, one half to choose a unit and one to score it, "
            f"got {stop - start:,}: {remedy}"
        )
    return Excerpt(read.corpus.ids, start, stop, name, split, read.corpus.skipped, read.encoding), end, of
