"""How well a model answers, in the terminal: labels with their confusion, texts against what they should be."""

import sys

import click

from charrnn.cli.words import printable, tell
from charrnn.errors import counted

SCORES, LOSSES = ["label", "items", "precision", "recall", "F1"], ["label", "items", "characters", "nats"]
MAX_CONFUSED = 20  # labels of a confusion matrix that is shown whole
MAX_NAME = 12  # columns of a label in a confusion matrix


def answer_sheets(answers, names):
    """Return the sheets of a page: (title, line, heads, rows) each, of an AnswersJudged."""
    sheets = []
    if answers.labels is not None:
        judged = answers.labels
        line = f"accuracy {_share(judged.accuracy)}; macro-F1 {judged.macro_f1:.4f}"
        sheets.append(("Labels", line, SCORES, _score_rows(judged, names)))
        if len(names) <= MAX_CONFUSED:
            line = "Rows: the true label. Columns: the predicted label."
            sheets.append(("Confusion", line, *_confusion(judged, names)))
    if answers.targets is not None:
        judged = answers.targets
        line = f"exact match {_share(judged.exact)}"
        rows = [[f"{judged.error_rate:.2%}", f"{judged.edits:,}", f"{judged.symbols:,}"]]
        sheets.append(("Answers", line, ["character error rate", "edits", "characters"], rows))
    if answers.by_label is not None:
        sheets.append(("Labels", "Loss on the texts of each label.", LOSSES, _loss_rows(answers.by_label)))
    return sheets


def print_answers(answers, names):
    """Print an AnswersJudged; names : of the labels."""
    if answers.labels is not None:
        _print_labels(answers.labels, names)
        for count, judged in (answers.after or {}).items():
            click.echo(f"after {counted(count, 'character')}: accuracy {_share(judged.accuracy)}")
    if answers.targets is not None:
        judged, how = answers.targets, "greedily" if answers.beam == 1 else f"with a beam of {answers.beam}"
        click.echo(f"exact match {_share(judged.exact)}, decoded {how}")
        click.echo(
            f"character error rate {judged.error_rate:.2%}: {judged.edits:,} edits over "
            f"{counted(judged.symbols, 'character')}"
        )
    if answers.by_label is not None:
        print_table(LOSSES, _loss_rows(answers.by_label))


def _print_labels(judged, names):
    click.echo(f"accuracy {_share(judged.accuracy)}")
    click.echo(f"macro-F1 {judged.macro_f1:.4f}, calibration error {judged.calibration_error:.4f}")
    print_table(SCORES, _score_rows(judged, names))
    if len(names) <= MAX_CONFUSED:
        tell("rows: the true label; columns: the predicted label")
        print_table(*_confusion(judged, names))
    tell(
        "precision: the share of the texts with this predicted label that have it; recall: the share of the texts with "
        "this true label that got it; F1: both in one number; macro-F1: the mean of F1 over the labels; calibration "
        "error: how far the probabilities differ from the accuracy (0 is best)"
    )


def _score_rows(judged, names):
    return [
        [names[one.number], f"{one.cases:,}", f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}"]
        for one in judged.labels
    ]


def _loss_rows(by_label):
    return [[one.label, f"{one.items:,}", f"{one.characters:,}", f"{one.loss_nats:.4f}"] for one in by_label]


def _confusion(judged, names):
    """Return the heads and the rows of the confusion matrix."""
    from rich.cells import cell_len, set_cell_size

    short = [name if cell_len(name) <= MAX_NAME else set_cell_size(name, MAX_NAME).rstrip() for name in names]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(short, judged.confusion)]
    return ["", *short], rows


def print_table(heads, rows):
    """Print columns, the first to the left and the others to the right."""
    from rich.cells import cell_len

    cells = [[printable(cell, sys.stdout) for cell in row] for row in (heads, *rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        spaces = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths)]
        first, *others = [
            cell + space if column == 0 else space + cell for column, (cell, space) in enumerate(zip(row, spaces))
        ]
        click.echo("  ".join(["  " + first, *others]).rstrip())


def _share(proportion):
    """Spell a Proportion with its interval."""
    return (
        f"{proportion.value:.2%} ({proportion.hits:,} of {proportion.cases:,}; 95 % interval "
        f"{proportion.low:.2%} to {proportion.high:.2%})"
    )
