"""Zoneout: a unit keeps its state of the step before with probability P, h and c each for itself (Krueger et al. 2017).

    MASKS         training      x = x_prev where the mask says so, else x~    x~ is what the gates made of h or c
    EXPECTATION   otherwise     x = x~ + P (x_prev - x~)

Nothing is scaled. h~ is o tanh(c~): the gates know nothing of it. The mask of a unit is a function of (seed, step,
layer, row t*B + b, unit), drawn as dropout.py draws those of units and drawn again on the way back: no layout of panels
changes it.
"""

import numpy as np

from charrnn.kernels.compiled import inline
from charrnn.kernels.dropout import keep_lanes, row_base
from charrnn.kernels.records import MASKS
from charrnn.kernels.simd import lanes, load, select, store, zeros

# In the counter, where dropout.py has the layer itself and dropconnect.py 2**20 on: the draws have nothing in common.
FIRST_H, FIRST_C = 2 << 20, 3 << 20


@inline
def zone_rows(v, X, prev, new, layer, row, n):
    """Let units keep their states: X (n, S) at new, from what it was at prev; v a view of a chunk.

    layer, row   of the first of the n in the counter
    """
    S, VL = v.plan.S, lanes(X)
    for r in range(n):
        at, old = new + r * S, prev + r * S
        if v.zoning == MASKS:
            base = row_base(np.uint64(v.key), layer, row + r)
            for u in range(0, S, VL):
                store(X, at + u, select(keep_lanes(X, base, u, v.zone_threshold), load(X, at + u), load(X, old + u)))
        else:
            blend_row(X, old, at, at, S, v.zone_rate)


@inline
def blend_row(X, prev, new, to, count, rate):
    """Write the expectation of `count` units at `to`, whole vectors of them; it may be where one of the two is read."""
    for u in range(0, count, lanes(X)):
        x = load(X, new + u)
        store(X, to + u, x + (load(X, prev + u) - x) * rate)


@inline
def part_rows(v, D, d, P, p, layer, row, n):
    """Part the gradient D of n zoned states: that of the gates stays in D, what passes to the states before in P."""
    S, masks, VL = v.plan.S, v.zoning == MASKS, lanes(D)
    for r in range(n):
        at, to = d + r * S, p + r * S
        base = row_base(np.uint64(v.key), layer, row + r) if masks else 0
        for u in range(0, S, VL):
            whole = load(D, at + u)
            passed = select(keep_lanes(D, base, u, v.zone_threshold), 0.0, whole) if masks else whole * v.zone_rate
            store(P, to + u, passed)
            store(D, at + u, whole - passed)


@inline
def move_rows(X, x, Y, y, count):
    """Y += X, X = 0 for `count` numbers, whole vectors of them."""
    for u in range(0, count, lanes(X)):
        store(Y, y + u, load(Y, y + u) + load(X, x + u))
        store(X, x + u, zeros(X))
