"""The order in which the shards of a batch are summed: one binary tree, whoever holds which of them.

A node (lo, hi) is the sum of shards lo .. hi - 1. It is its left half plus its right half, never anything else. So a
sum has the same bits for every division of the shards among processes. Pure; knows no process.
"""


def halves(lo, hi):
    """Return where a node of two shards or more is divided; the left half is the larger one."""
    return lo + (hi - lo + 1) // 2


def shards_of(rank, processes, shards):
    """Return (lo, hi), the shards that a process runs: contiguous, and as many as the others run, give or take one."""
    return shards * rank // processes, shards * (rank + 1) // processes


def nodes_within(lo, hi, shards):
    """Return the largest nodes of a tree over so many shards that lie within lo .. hi - 1, in ascending order."""

    def within(a, b):
        if lo <= a and b <= hi:
            return [(a, b)]
        if b <= lo or hi <= a:
            return []
        middle = halves(a, b)
        return [*within(a, middle), *within(middle, b)]

    return within(0, shards)


def add_up(sums, node):
    """Return the sum of a node from those of nodes below it, {node: array or number}.

    Arrays are added in place: the result is in the memory of the first. `sums` loses what it has no more.
    """
    if node in sums:
        return sums.pop(node)
    lo, hi = node
    middle = halves(lo, hi)
    left = add_up(sums, (lo, middle))
    left += add_up(sums, (middle, hi))
    return left


def slices(size, processes, grain):
    """Return the processes + 1 bounds of contiguous slices of `size` numbers, multiples of `grain` but for the last."""
    grains = -(-size // grain)
    return [min(size, grains * k // processes * grain) for k in range(processes + 1)]
