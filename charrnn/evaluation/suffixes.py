"""The suffixes of a text in order, so that all places with the same next characters stand side by side. Knows ids, not
texts.

Stretches of ids are laid side by side as codes, a separator after each: no match and no n-gram reaches from one into
another. Sorting is by the first `depth` codes only, which is all that n-grams and matches of bounded length ask for: a
radix of packed codes, then doubling. About 40 bytes of memory a character at the peak.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.kernels.entries import SHARE_PREFIXES
from charrnn.kernels.pool import run_items
from charrnn.kernels.records import SuffixTable
from charrnn.kernels.table import Table

BYTES_A_CHARACTER = 40
KEY_BITS = 63


@dataclass(frozen=True)
class Sorted:
    """Stretches of ids as codes, and their suffixes in order.

    codes    ndarray (N,) int32: an id plus 1, or the separator V + 1
    begins   where each stretch begins in it
    order    ndarray (N,) int32: where each suffix begins, sorted by its first `depth` codes
    shared   ndarray (N,) int16: codes in common with the suffix before, `depth` at most
    """

    codes: np.ndarray
    begins: tuple
    order: np.ndarray
    shared: np.ndarray
    depth: int

    def walk(self, items, **fields):
        """Walk along the suffixes by one of the entries of kernels/suffixes.py; fields: what else is in its table."""
        table = Table(SuffixTable)
        table.set(count=len(self.codes), codes=self.codes, order=self.order, shared=self.shared, **fields)
        run_items(items.address("float64"), table.words, 1)


def sort_suffixes(stretches, vocab_size, depth, progress=None):
    """Return the Sorted of stretches, arrays of ids below vocab_size.

    depth       codes to sort by, 1..32767; ties stay in the order of the text
    progress    called with a share 0..1 now and then
    """
    begins = np.cumsum([0, *(len(stretch) + 1 for stretch in stretches)])
    codes = np.empty(int(begins[-1]), np.int32)
    for begin, stretch in zip(begins, stretches):
        np.add(stretch, 1, out=codes[begin : begin + len(stretch)], casting="unsafe")
        codes[begin + len(stretch)] = vocab_size + 1
    order = _sorted(codes, (vocab_size + 1).bit_length(), depth, progress or (lambda share: None))
    shared = np.empty(len(codes), np.int16)
    text = Sorted(codes, tuple(map(int, begins[:-1])), order, shared, depth)
    text.walk(SHARE_PREFIXES, most=depth)
    return text


def _sorted(codes, bits, depth, progress):
    reached = min(KEY_BITS // bits, depth, len(codes))
    keys = np.zeros(len(codes), np.int64)
    for ahead in range(reached):  # beyond the end stands 0, below every code
        keys <<= bits
        keys[: len(codes) - ahead] |= codes[ahead:]
    while True:
        progress(min(1.0, reached / depth))
        order = np.argsort(keys, kind="stable").astype(np.int32)
        if reached >= depth:
            return order
        keys = keys[order]
        ranks = np.empty(len(codes), np.int64)
        ranks[order] = np.cumsum(np.concatenate([[True], keys[1:] != keys[:-1]]))
        if ranks[order[-1]] == len(codes):  # no two are alike any more
            return order
        keys = ranks << 32
        keys[: len(codes) - reached] |= ranks[reached:]
        reached *= 2
