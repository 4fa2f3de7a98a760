"""The marks of a chunk's rows: where a stream's state is zero before a step, and whose loss does not count.

A slot of HS is what one step gave and what the next one reads. With resets these differ: it keeps what was given, and
while a step reads zeros the row stands aside in PK. The gradients of Wh pack zeros in its place. So a chunk without
resets does nothing of all this, and one with resets only what its reset rows ask for.
"""

from charrnn.kernels.compiled import inline
from charrnn.kernels.records import RESET, SILENT
from charrnn.kernels.simd import lanes, load, store, zeros


@inline
def is_reset(v, row):
    """Return whether a stream is reset before a row is read; v a view of a chunk."""
    return v.resetting != 0 and v.marks[row] & RESET != 0


@inline
def is_silent(v, row):
    """Return whether the loss of a row does not count."""
    return v.counting != 0 and v.marks[row] & SILENT != 0


@inline
def reset_rows(v, X, at, t, lo, n):
    """Set to zero the rows of X (n, S) at `at` whose streams, from lo on, are reset before step t.

    Zeros are written: what a row held, were it NaN, is gone.
    """
    for r in range(n):
        if is_reset(v, t * v.B + lo + r):
            for u in range(0, v.plan.S, lanes(X)):
                store(X, at + r * v.plan.S + u, zeros(X))


@inline
def set_aside(v, X, at, k, t, lo, n):
    """Set the rows to zero as reset_rows does, and keep them in PK, k: 0 of h, 1 of c."""
    S, VL = v.plan.S, lanes(X)
    for r in range(n):
        if is_reset(v, t * v.B + lo + r):
            to = (k * v.B + lo + r) * S
            for u in range(0, S, VL):
                store(v.PK, to + u, load(X, at + r * S + u))
                store(X, at + r * S + u, zeros(X))


@inline
def put_back(v, X, at, k, t, lo, n):
    """Put back the rows that set_aside has set aside."""
    S, VL = v.plan.S, lanes(X)
    for r in range(n):
        if is_reset(v, t * v.B + lo + r):
            to = (k * v.B + lo + r) * S
            for u in range(0, S, VL):
                store(X, at + r * S + u, load(v.PK, to + u))
