"""How much of a text stands word for word in another: substrings of every length, exactly, from suffixes in order.

Knows ids. What they are, a model's sample or a text it never saw, is the caller's business.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.evaluation.suffixes import sort_suffixes
from charrnn.kernels.entries import LONGEST_MATCHES

LENGTHS = 50
MAX_DEPTH = 1600  # characters; a longer copy is measured by reading on


@dataclass(frozen=True)
class Overlap:
    """How much of a text of n characters also occurs in the training text.

    shares     ndarray (LENGTHS,) float64: for each length 1, 2, ..., the share of the substrings of this length that
               occur in the training text; NaN for lengths above n
    longest    length of the longest substring that occurs there, in characters
    start      where this substring begins in the text
    source     where it begins in the training text
    """

    shares: np.ndarray
    longest: int
    start: int
    source: int


def overlaps(training_ids, texts, vocab_size, progress=None):
    """Return the Overlap of each text, an array of ids, with the training text."""
    depth, stop = 2 * LENGTHS, len(training_ids)
    while True:  # deeper only where a copy is longer than this can tell
        text = sort_suffixes([training_ids, *texts], vocab_size, depth, progress)
        matches = np.zeros(len(text.codes), np.int32)
        text.walk(LONGEST_MATCHES, stop=stop, matches=matches)
        # A match that goes on over both separators is cut at the first.
        of_texts = [
            np.minimum(matches[begin : begin + len(one)], np.arange(len(one), 0, -1))
            for begin, one in zip(text.begins[1:], texts)
        ]
        longest = max((int(one.max()) for one in of_texts if len(one)), default=0)
        if longest < depth or depth >= MAX_DEPTH:
            break
        depth *= 4
    return [_overlap(training_ids, one, of_one, depth) for one, of_one in zip(texts, of_texts)]


def _overlap(training_ids, ids, matches, depth):
    n = len(ids)
    shares = np.full(LENGTHS, np.nan)
    for length in range(1, min(n, LENGTHS) + 1):
        shares[length - 1] = (matches[: n - length + 1] >= length).mean()
    start = int(np.argmax(matches)) if n else 0
    longest, start = _read_on(training_ids, ids, matches >= depth, depth, int(matches[start]) if n else 0, start)
    return Overlap(shares, longest, start, _find(training_ids, ids[start : start + longest]))


def _read_on(training_ids, ids, is_deep, depth, longest, start):
    """Return (length, place) of the longest copy, of which it is known so far that it is `longest` at `start`, or lies
    where `is_deep`.

    is_deep    ndarray (n,) bool: the next `depth` characters stand in the training text, and how many more is not known
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_deep, [False]]).astype(np.int8)))
    runs = sorted(zip(edges[::2].tolist(), edges[1::2].tolist()), key=lambda run: run[0] - run[1])
    for begin, end in runs:  # one holds no copy beyond the `depth` of its last place
        for at in range(begin, end):
            if end - 1 + depth - at <= longest:
                break
            while (source := _find(training_ids, ids[at : at + longest + 1])) >= 0 and at + longest < len(ids):
                longest, start = longest + 1, at
                while (
                    at + longest < len(ids)
                    and source + longest < len(training_ids)
                    and ids[at + longest] == training_ids[source + longest]
                ):
                    longest += 1
    return longest, start


def _find(ids, part):
    """Return the first place of `part` in ids, 0 for an empty one, -1 where it is not."""
    ids, part = np.ascontiguousarray(ids), np.ascontiguousarray(part, ids.dtype)
    width, data, wanted = ids.itemsize, ids.tobytes(), part.tobytes()
    at = data.find(wanted)
    while at > 0 and at % width:  # found across the numbers' edges
        at = data.find(wanted, at + 1)
    return at // width if at >= 0 else -1
