"""The page of `charrnn eval --html`: the text coloured by what each character cost each reader, and the tables beside
it.
"""

import math

from charrnn.cli.eval_text import (
    MAX_BITS,
    PAGE_CHARACTERS,
    bracket_rows,
    figure,
    loss_rows,
    mistakes_line,
    unit_of,
    verdict_line,
)
from charrnn.cli.show_answers import answer_sheets
from charrnn.cli.words import bare_symbol, note
from charrnn.evaluation.units import bits


def write_judgement_page(judgement, model_line, outputs):
    """Write a Judgement, whose guesses were read, as a page.

    model_line    what the model is, before its figure
    outputs       the Outputs that name it
    """
    import numpy as np

    from charrnn.render.page import GUESSES, FoundUnit, PageData, write_page

    text, vocabulary = judgement.text, judgement.vocabulary
    begin = text.first - 1  # the character before the first judged one leads in
    if vocabulary.start_id is not None and text.ids[text.first] == vocabulary.start_id:
        begin += 1  # of items their START, which is never predicted, and not the end of one that is not shown
    skip = begin - (text.first - 1)
    losses = judgement.losses[skip:]
    n = min(len(losses), PAGE_CHARACTERS)
    readers = _readers(judgement)
    costs = np.full((len(readers), n + 1), np.nan)
    for row, (_, of_reader) in zip(costs, readers):
        row[1:] = bits(of_reader[skip : skip + n])
    guesses_ids, guesses_p = np.zeros((n + 1, GUESSES), np.int32), np.zeros((n + 1, GUESSES))
    shown = min(GUESSES, judgement.guesses.ids.shape[1])
    guesses_ids[:-1, :shown], guesses_p[:-1, :shown] = (array[skip : skip + n, :shown] for array in judgement.guesses)
    data = PageData(
        text=_shown_text(vocabulary, text.ids[begin : begin + n + 1], text.encoding),
        vocabulary=_shown_symbols(vocabulary),
        layers=1,
        units=len(readers),
        quantity=f"bits per {unit_of(judgement)}",
        values=np.nan_to_num(np.minimum(costs / MAX_BITS, 1)),
        guesses_ids=guesses_ids,
        guesses_p=guesses_p,
        surprisal_bits=costs[0],
        title=f"Surprisal: {text.name if text.name != '-' else 'stdin'}",
        model_line=f"{model_line}: {figure(judgement)}{_legend(vocabulary)}",
        found=[FoundUnit(name, name, 0, k, math.nan) for k, (name, _) in enumerate(readers)],
        most_bits=MAX_BITS,
        sheets=_sheets(judgement),
    )
    write_page(outputs.path("html"), data)
    cut = f", the first {n:,} of {len(losses):,} characters" if n < len(losses) else ""
    note(f"wrote {outputs.named('html')}{cut}")


def _legend(vocabulary):
    """Return what the marks of the special symbols stand for, "" where there are none."""
    marks = ", ".join(f"{mark} {name}" for name, mark in zip(vocabulary.special, vocabulary.marks))
    return f"; marks: {marks}" if marks else ""


def _shown_symbols(vocabulary):
    """Return the symbol of every id as the page shows it: of a label its name."""
    symbols = [bare_symbol(symbol) for symbol in vocabulary.shown_symbols]
    if vocabulary.labels:
        symbols[vocabulary.first_label :] = [f"[{name}]" for name in vocabulary.labels]
    return symbols


def _shown_text(vocabulary, ids, encoding):
    """Return what the page shows of each id; each item stands on a line of its own."""
    from charrnn.text.byte_text import read_symbols
    from charrnn.text.special import START

    start = vocabulary.special_id(START)
    if start is None:
        return read_symbols(vocabulary, ids, encoding)[1]
    symbols, last = _shown_symbols(vocabulary), len(ids) - 1
    return [
        symbols[id_] + ("\n" if at < last and ids[at + 1] == start and symbols[id_] != "\n" else "")
        for at, id_ in enumerate(ids.tolist())
    ]


def _readers(judgement):
    """Return [(name, losses (n,))] of what the text can be coloured by."""
    readers = [("the model", judgement.losses)]
    if judgement.ngram is not None:
        order = judgement.ngram.order
        article = "an" if order in (8, 11, 18) or 80 <= order < 90 else "a"
        readers.append((f"{article} {order}-gram from the same training text", judgement.ngram.loss_nats))
    if judgement.dynamic is not None:
        readers.append(("the model, learning as it reads", judgement.dynamic.losses))
    return readers


def _sheets(judgement):
    from charrnn.render.page import Sheet

    sheets, mistakes = [], judgement.mistakes
    if judgement.baselines:
        rows = loss_rows(judgement)
        sheets.append(
            Sheet(
                "Is it good?",
                verdict_line(judgement),
                ["", "nats", "bits"],
                [[name, f"{nats:.4f}", f"{bits(nats):.3f}"] for name, nats, _ in rows],
                [nats / max(row[1] for row in rows) for _, nats, _ in rows],
            )
        )
    if judgement.answers is not None:
        sheets += [Sheet(*one) for one in answer_sheets(judgement.answers, judgement.vocabulary.labels)]
    if mistakes is not None and mistakes.count:
        sheets.append(
            Sheet(
                "Mistakes",
                mistakes_line(mistakes),
                ["", "characters", "share"],
                [
                    [f"{one.kind}: {one.detail}", f"{one.count:,}", f"{one.count / mistakes.count:.1%}"]
                    for one in mistakes.kinds
                ],
                [one.count / mistakes.count for one in mistakes.kinds],
            )
        )
        sheets.append(
            Sheet(
                "Closing brackets",
                "Bits per closing bracket for the model and for the n-gram, by the distance from the opening bracket.",
                ["distance", "brackets", "model", "n-gram"],
                [[*row] for row in bracket_rows(judgement.brackets)],
            )
        )
    return sheets
