"""Which stretch of a text shows a unit best, and how its values become a colour. Pure."""

import numpy as np

from charrnn.cells.signals import GRADED

SIGMOIDS = ("i", "f", "o", "r", "z")
FAINT = 0.5  # what never gets stronger than this is shown enlarged
NEWLINE, BLANKS = "\n", (" ", "\t", "\n")
MAX_BEGINNING = 400  # symbols of a line cut off that are left out
MAX_TAIL = 3  # a part of 1 / MAX_TAIL may be cut off a passage for its end to be a line's or a word's


def shown_values(values, quantity):
    """Return (values in -1 .. 1 as float32, the factor they were enlarged by)."""
    values = np.asarray(values, np.float32)
    if quantity in SIGMOIDS:
        return 2 * values - 1, 1.0
    strongest = float(np.percentile(np.abs(values), 99.5)) if values.size else 0.0
    if quantity == "c" and strongest > 1 or 0 < strongest < FAINT:
        return np.clip(values / strongest, -1, 1), 1 / strongest
    return np.clip(values, -1, 1), 1.0


def choose_passage(text, signal, allowed, length):
    """Return (start, stop) of the stretch of symbols that shows a signal best; the unit has no say in it.

    text      list of N symbols
    signal    a Signal of N values, or None
    allowed   ndarray (N,) bool: stretches lie in it where that can be had

    It begins with a line or, where lines are long, with a word, ends likewise where that costs little, and is the one
    in which the signal switches most and is on about half of the time, or a graded one varies most.
    """
    N = len(text)
    length = min(length, N)
    starts = _starts(text, length)
    inside = np.concatenate([[0], np.cumsum(allowed)])
    whole = starts[inside[starts + length] - inside[starts] == length]
    starts = whole if len(whole) else starts
    if signal is None:
        return _ended(text, int(starts[0]), length)
    values = signal.values.astype(np.float64)
    total, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (values, values**2))
    changes = np.concatenate([[0], np.cumsum(np.concatenate([[False], values[1:] != values[:-1]]))])
    mean = (total[starts + length] - total[starts]) / length
    if signal.kind == GRADED:
        merit = (squares[starts + length] - squares[starts]) / length - mean**2
    else:
        switches = changes[starts + length] - changes[starts]
        merit = np.minimum(mean, 1 - mean) * np.sqrt(np.minimum(switches, 12))
    return _ended(text, int(starts[np.argmax(merit)]), length)


def first_whole(text, before):
    """Return where the first whole line of a list of symbols begins, or the first whole word where lines are long; 0
    where text begins so.

    before    the symbol that stands before the text, "" where none does
    """
    if before in ("", NEWLINE):
        return 0
    for t in range(1, min(len(text), MAX_BEGINNING)):
        if text[t - 1] == NEWLINE and text[t] not in (NEWLINE, "\r"):
            return t
    return next((t for t in range(1, len(text)) if text[t - 1] in BLANKS and text[t] not in (*BLANKS, "\r")), 0)


def _starts(text, length):
    """Return where a passage may begin: at lines that are not empty, at words if lines are long, at 0 where there is
    neither.
    """
    last = len(text) - length
    lines = [t for t in range(1, last + 1) if text[t - 1] == NEWLINE and text[t] not in (NEWLINE, "\r")]
    if len(lines) < len(text) / 400:
        lines = [t for t in range(1, last + 1) if text[t - 1] in BLANKS and text[t] not in BLANKS]
    return np.array(lines or [0])


def _ended(text, start, length):
    """Return (start, stop): after a line, or else a word, within the last third; without one the text is cut."""
    stop = start + length
    if stop == len(text):
        return start, stop
    least = stop - length // MAX_TAIL
    for ends in ((NEWLINE,), BLANKS):
        for t in range(stop, least, -1):
            if text[t - 1] in ends:
                return start, _without_empty_lines(text, t, least)
    return start, stop


def _without_empty_lines(text, stop, least):
    while stop > least and text[stop - 1] == text[stop - 2] == NEWLINE:
        stop -= 1
    return stop
