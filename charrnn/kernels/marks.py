"""The marks of a chunk's rows: where a stream's state is zero before a step, and whose loss does not count.

A slot of HS is what one step gave and what the next one reads. With resets these differ: the slot is what is read,
zero at a reset, so that the recurrent products, zoneout and the gradients of Wh need to know nothing; what was given
upward is kept in XD, where dropout has it too (views.output_rows), and what the way back reads of it in XD or HG
(views.made_rows). Likewise CS, whose rows XC keeps where all are asked for. A chunk without resets has none of these
copies.
"""

from charrnn.kernels.compiled import inline
from charrnn.kernels.records import RESET, SILENT
from charrnn.kernels.simd import lanes, store, zeros


@inline
def reset_rows(v, X, at, t, lo, n):
    """Set to zero the rows of X (n, S) at `at` whose streams, from lo on, are reset before step t; v a view of a chunk.

    Zeros are written: what a row held, were it NaN, is gone.
    """
    for r in range(n):
        if v.marks[t * v.B + lo + r] & RESET:
            for u in range(0, v.plan.S, lanes(X)):
                store(X, at + r * v.plan.S + u, zeros(X))


@inline
def is_silent(v, row):
    """Return whether the loss of a row does not count."""
    return v.counting != 0 and v.marks[row] & SILENT != 0
