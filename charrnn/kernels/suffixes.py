"""Walks along the sorted suffixes of a text: how much neighbours share, how often an n-gram occurs, what follows it.

A text is codes (N,) int32: several stretches side by side, separators between them that are no character. `order` (N,)
int32 lists where its suffixes begin, sorted by their first so many codes (charrnn/evaluation/suffixes.py makes it).
Suffixes that begin with the same k codes then stand together, so that one walk meets every k-gram once: `shared[i]`
says how many codes suffix i has in common with the one before it. Plain serial code, one item a walk; the counts are
whole numbers, and no result depends on how ties were sorted.

The other arrays of the table (records.SuffixTable):

    shared             (N,) int16     codes in common with the suffix before, `most` at most
    left               (N,) int32     the code before each suffix, in the order of `order`
    start_code                        what begins an item, 0 where none does: it is no outcome, and nothing is before it
    seen               (num_codes,) int64   scratch: which k-gram a code was last seen before
    counts, lefts      (N,) int32     written where a k-gram's suffixes begin: how often it is in codes[:stop], and
                       before how many different codes; 0 where it is not in there
    counts_of_counts   (2, 5) int64   how many k-grams have a count of 1, 2, 3 and 4, by either count, from column 1 on
    discounts          (2, 4) float64   what a count of 1, 2, or 3 and more is lowered by, from column 1 on: row 0 for
                       the highest order (plain counts), row 1 for one below others (counts of different codes before)
    slots              (N,) int32     which result the code at each place is, -1 where it is none
    low                (P,) float64   read and written: probabilities as a lower order has them
    top                (P,) float64   written: as the highest order has them; the caller has put `low` there for what
                       no k-gram reaches
    matches            (N,) int32     by place: how much of a suffix occurs in codes[:stop]
"""

from charrnn.kernels.records import SuffixTable
from charrnn.kernels.view import opener

open_walk = opener(SuffixTable)


def share_prefixes(table, like, item):
    """Write to `shared` how many codes, `most` at most, each suffix has in common with the one before it."""
    v = open_walk(table, like)
    codes, order, shared, N, most = v.codes, v.order, v.shared, v.count, v.most
    shared[0] = 0
    for i in range(1, N):
        a, b = order[i - 1], order[i]
        longest = min(most, N - max(a, b))
        length = 0
        while length < longest and codes[a + length] == codes[b + length]:
            length += 1
        shared[i] = length


def count_grams(table, like, item):
    """Count every k-gram of codes[:stop], and the different codes that stand before it.

    Of items, one that reaches from an item into the next has no count, nor has START alone; one that begins with START
    is counted plainly both times, since no code stands before it (Heafield et al. 2013, section 3.1: <s>).
    """
    v = open_walk(table, like)
    codes, order, shared, left, seen, k, stop = v.codes, v.order, v.shared, v.left, v.seen, v.k, v.stop
    counts, lefts, counts_of_counts, start_code = v.counts, v.lefts, v.counts_of_counts, v.start_code
    for i in range(10):
        counts_of_counts[i] = 0
    for code in range(v.num_codes):
        seen[code] = -1
    first, count, distinct = 0, 0, 0
    for i in range(v.count + 1):
        if i == v.count or (i > 0 and shared[i] < k):
            if start_code > 0 and count > 0:
                at = order[first]
                if codes[at] == start_code:
                    distinct = count
                for ahead in range(min(1, k - 1), k):
                    if codes[at + ahead] == start_code:
                        count, distinct = 0, 0
            counts[first], lefts[first] = count, distinct
            if 0 < count < 5:
                counts_of_counts[count] += 1
            if 0 < distinct < 5:
                counts_of_counts[5 + distinct] += 1
            first, count, distinct = i, 0, 0
            if i == v.count:
                break
        if order[i] + k <= stop:
            count += 1
            if seen[left[i]] != first:
                seen[left[i]] = first
                distinct += 1


def interpolate(table, like, item):
    """Take the probabilities of order k - 1 to order k (charrnn/evaluation/ngram.py has the formula).

    A context that reaches over a separator, or from an item into the next, occurs nowhere in codes[:stop], and is left
    alone like any other such.
    """
    v = open_walk(table, like)
    order, shared, slots, k, stop, N = v.order, v.shared, v.slots, v.k, v.stop, v.count
    counts, lefts, discounts, low, top = v.counts, v.lefts, v.discounts, v.low, v.top
    first = 0
    while first < N:
        # One context of k - 1 codes: what follows it in all, and what its discounts set free.
        total, total_below, weight, weight_below = 0.0, 0.0, 0.0, 0.0
        asked = False
        last = first
        while last < N and (last == first or shared[last] >= k - 1):
            if last == first or shared[last] < k:
                total += counts[last]
                total_below += lefts[last]
                if counts[last] > 0:
                    weight += discounts[min(counts[last], 3)]
                    weight_below += discounts[4 + min(lefts[last], 3)]
            asked = asked or order[last] >= stop
            last += 1
        if asked and total > 0:
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
                    kept = count - discounts[min(count, 3)]
                    kept_below = distinct - discounts[4 + min(distinct, 3)]
                top[slot] = (kept + weight * here) / total
                low[slot] = (kept_below + weight_below * here) / total_below
        first = last


def longest_matches(table, like, item):
    """Write to `matches` how much of each suffix from `stop` on occurs in codes[:stop].

    A match may run past `stop`, and one as long as `shared` goes may be longer. Nothing is written of a suffix that
    begins before `stop`.
    """
    v = open_walk(table, like)
    order, shared, matches, stop, N = v.order, v.shared, v.matches, v.stop, v.count
    for backward in range(2):
        reach = 0
        for step in range(N):
            i = N - 1 - step if backward else step
            if step > 0:
                reach = min(reach, shared[i + 1] if backward else shared[i])
            if order[i] < stop:
                reach = 32767
            else:
                matches[order[i]] = max(matches[order[i]], reach) if backward else reach
