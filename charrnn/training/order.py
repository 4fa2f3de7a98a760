"""Detect texts whose lines are sorted. Their last part differs from the rest, so a split by position is unfair.

In a sorted list, for example, the model would learn the words up to T, and the validation split would have those from U
on. Sorting is detected directly: of lines that are far apart, the later ones also come later in the alphabet. The loss
of n-grams on the last part does not help: it is higher for code and manuals (docs/DECISIONS.md). This module knows
texts and their splits; no model.
"""

import numpy as np

from charrnn.text.item_kinds import HASH

WINDOWS, WINDOW = 64, 16_384  # places of a text that are looked at, and characters of each
MIN_LINES = 100
MIN_SHARE = 0.95  # of the pairs of places that differ, in a text that is in order; about a half in any other
MIN_PAIRS = 12  # that must differ: by chance, these all rise or all fall in one text of 2,000
PARTS, MIN_GROWTH = 8, 1.5  # of a text in the order of length: parts whose means rise, from the first to the last


def order_note(corpus, splits):
    """Return a tuple with a note if the order of the text makes its splits unfair; otherwise ().

    corpus : Corpus
    splits : Splits; if none of the held-out splits is a part of the text, the order does not matter
    """
    items = corpus.items
    is_held_out = corpus.validation is None and splits.validates or splits.test[1] > splits.test[0]
    if items is not None and items.reading.split == HASH or not is_held_out:
        return ()
    order = find_order(_lines(corpus) if items is None else _items(corpus))
    if order is None:
        return ()
    what = "lines" if items is None else "items"
    remedy = "shuffle them first, as with: shuf TEXT > shuffled.txt"
    if items is not None:
        remedy = "leave --split order out, or " + remedy
    elif corpus.mode == "chars":
        remedy = "learn them as items, with --items lines, or " + remedy
    return (
        f"the {what} of the text are {order}, so the held-out ones at the end differ from those that the model learns "
        f"from, and the loss on them means little: {remedy}",
    )


def find_order(windows):
    """Return in which order the lines of a text are, such as "in alphabetical order"; None if they are not sorted.

    windows : list of lists of str: neighbouring lines at several places, in the order of the text
    """
    windows = [lines for lines in windows if lines]
    together = [line for lines in windows for line in lines]
    if len(together) < MIN_LINES:
        return None
    # Of a text that is all in a few windows, some of its lines.
    far = [lines[0] for lines in windows] if len(windows) >= WINDOWS / 2 else together[:: -(-len(together) // WINDOWS)]
    words = [_word(line) for line in far]
    if sum(not word or word[0].isdigit() for word in words) < (1 - MIN_SHARE) * len(words):  # as they rise in logs
        if any(_is_monotone(keys, MIN_PAIRS) for keys in (words, [word[:1] for word in words])):
            return "in alphabetical order"
    means = [float(np.mean([len(line) for line in part])) for part in _parts(together)]
    if _is_monotone(means, PARTS - 1) and max(means) >= MIN_GROWTH * min(means):
        return "in the order of their length"
    return None


def _word(line):
    """Return what a line is sorted by: without what stands before its first letter or digit, in one case."""
    at = next((place for place, symbol in enumerate(line) if symbol.isalnum()), len(line))
    return line[at:].casefold()


def _is_monotone(keys, fewest):
    """Say whether nearly all keys that differ from the one before rise, or nearly all fall, and there are enough."""
    pairs = list(zip(keys, keys[1:]))
    up, down = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
    return up + down >= fewest and max(up, down) >= MIN_SHARE * (up + down)


def _parts(lines):
    """Return the lines in PARTS parts."""
    return [lines[len(lines) * k // PARTS : len(lines) * (k + 1) // PARTS] for k in range(PARTS)]


def _places(count, size):
    """Return where windows of `size` begin in something as long as `count`, spread over it."""
    number = min(WINDOWS, -(-count // size))
    return [count * k // number for k in range(number)] if number == WINDOWS else list(range(0, count, size))


def _lines(corpus):
    """Return neighbouring whole lines from places all over a text, those of one place a list; blank ones left out."""
    stop = corpus.own_characters
    windows = []
    for start in _places(stop, WINDOW):
        lines = corpus.text(start, min(start + WINDOW, stop)).splitlines()
        windows.append([line for line in lines[start > 0 : len(lines) - 1] if line.strip()])
    return windows


def _items(corpus):
    """Return the texts of neighbouring items from places all over a set of items, those of one place a list."""
    starts, count = corpus.items.starts, len(corpus.items.own_hashes)
    size = max(2, MIN_LINES // WINDOWS * 4)
    return [
        [corpus.text(int(starts[n]) + 1, int(starts[n + 1])) for n in range(first, min(first + size, count))]
        for first in _places(count, size)
    ]
