"""Walks along the sorted suffixes of a text: how much neighbours share, how often an n-gram occurs, what follows it.

A text is codes (N,) int32: several stretches side by side, separators between them that are no character. `order` (N,)
int32 lists where its suffixes begin, sorted by their first so many codes (charrnn/evaluation/suffixes.py makes it).
Suffixes that begin with the same k codes then stand together, so that one walk meets every k-gram once: `shared[i]`
says how many codes suffix i has in common with the one before it. Plain serial code; the counts are whole numbers, and
no result depends on how ties were sorted.
"""

import numpy as np

from charrnn.kernels.compiled import kernel


@kernel
def share_prefixes(codes, order, most, shared):
    """Write to shared (N,) int16 how many codes, `most` at most, each suffix has in common with the one before it."""
    shared[0] = 0
    for i in range(1, len(order)):
        a, b = order[i - 1], order[i]
        longest = min(most, len(codes) - max(a, b))
        length = 0
        while length < longest and codes[a + length] == codes[b + length]:
            length += 1
        shared[i] = length


@kernel
def count_grams(order, shared, left, k, stop, seen, counts, lefts, counts_of_counts):  # noqa: PLR0913  plain arrays
    """Count every k-gram of codes[:stop], and the different codes that stand before it.

    left               (N,) int32    the code before each suffix, in the order of `order`
    seen               (codes,) int64 scratch, written: which k-gram a code was last seen before
    counts, lefts      (N,) int32    written where a k-gram's suffixes begin: its two counts, 0 where it is not in
                       codes[:stop]
    counts_of_counts   (2, 5) int64  written: how many k-grams have a count of 1, 2, 3 and 4, by either count, from
                       column 1 on
    """
    counts_of_counts[:] = 0
    seen[:] = -1
    first, count, distinct = 0, 0, 0
    for i in range(len(order) + 1):
        if i == len(order) or (i > 0 and shared[i] < k):
            counts[first], lefts[first] = count, distinct
            if 0 < count < 5:
                counts_of_counts[0, count] += 1
            if 0 < distinct < 5:
                counts_of_counts[1, distinct] += 1
            first, count, distinct = i, 0, 0
            if i == len(order):
                break
        if order[i] + k <= stop:
            count += 1
            if seen[left[i]] != first:
                seen[left[i]] = first
                distinct += 1


@kernel
def interpolate(order, shared, k, stop, counts, lefts, discounts, slots, low, top):  # noqa: PLR0913  plain arrays
    """Take the probabilities of order k - 1 to order k (charrnn/evaluation/ngram.py has the formula).

    A context that reaches over a separator occurs nowhere in codes[:stop], and is left alone like any other such.

    discounts   (2, 4) float64  what a count of 1, 2, or 3 and more is lowered by, from column 1 on: row 0 for the
                highest order
                                (plain counts), row 1 for one below others (counts of different codes before)
    slots       (N,) int32      which result the code at each place is, -1 where it is none
    low         (P,) float64    read and written: probabilities as a lower order has them
    top         (P,) float64    written: as the highest order has them; the caller has put `low` there for what no
                k-gram reaches
    """
    N = len(order)
    first = 0
    totals, weights = np.zeros(2), np.zeros(2)
    while first < N:
        # One context of k - 1 codes: what follows it in all, and what its discounts set free.
        totals[:] = 0
        weights[:] = 0
        asked = False
        last = first
        while last < N and (last == first or shared[last] >= k - 1):
            if last == first or shared[last] < k:
                totals[0] += counts[last]
                totals[1] += lefts[last]
                if counts[last] > 0:
                    weights[0] += discounts[0, min(counts[last], 3)]
                    weights[1] += discounts[1, min(lefts[last], 3)]
            asked = asked or order[last] >= stop
            last += 1
        if asked and totals[0] > 0:
            count, distinct = 0, 0
            for i in range(first, last):
                if i == first or shared[i] < k:
                    count, distinct = counts[i], lefts[i]
                at = order[i] + k - 1
                if order[i] < stop or at >= N or slots[at] < 0:
                    continue
                slot = slots[at]
                here = low[slot]
                kept, kept_below = 0.0, 0.0
                if count > 0:
                    kept = count - discounts[0, min(count, 3)]
                    kept_below = distinct - discounts[1, min(distinct, 3)]
                top[slot] = (kept + weights[0] * here) / totals[0]
                low[slot] = (kept_below + weights[1] * here) / totals[1]
        first = last


@kernel
def longest_matches(order, shared, stop, matches):
    """Write to matches (N,) int32, by place, how much of each suffix from `stop` on occurs in codes[:stop].

    A match may run past `stop`, and one as long as `shared` goes may be longer. Nothing is written of a suffix that
    begins before `stop`.
    """
    for backward in range(2):
        reach = 0
        for step in range(len(order)):
            i = len(order) - 1 - step if backward else step
            if step > 0:
                reach = min(reach, shared[i + 1] if backward else shared[i])
            if order[i] < stop:
                reach = 32767
            else:
                matches[order[i]] = max(matches[order[i]], reach) if backward else reach
