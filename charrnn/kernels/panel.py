"""What a cell's kernels are given: one panel of a time step, for n streams.

A file of cells/ holds, under these names:

    forward(s)       s a Forward: the sums become gates, and h, with c where the cell has one, is written
    backward(s)      s a Backward: the gates become the gradients of their sums
    cell_state(s)    s a Forward, of which G, CS and their offsets count: c computed again, to the same bits, from the
                     gates that forward left in G. Only of a cell that has a c

Whether backward reads h as forward made it (s.HG), and whether a part of dh_prev goes beside the recurrent product
(backward has then written it to s.DR, which is otherwise overwritten by the product): `reads_h` and `passes_h` of the
cell's entry say so.

The workspace of a panel, four vectors a stream, holds the gates as `panel` of that entry has them.
"""

from typing import NamedTuple


class Forward(NamedTuple):
    """A panel of a time step on the way forward; every array with the offset where the panel begins in it.

    params       b (4 lanes) at params[b]
    G            (n, 4 lanes) at g: the sums x Wx + h_prev Wh read, the gates written
    HS           h_prev (n, stride) at h_prev read, h at h_next written; they may be the same place
    CS           c_prev (n, stride) at c_prev read, c at c_next written; likewise
    n, stride    streams, and how far their states lie apart
    """

    params: object
    b: int
    G: object
    g: int
    HS: object
    h_prev: int
    h_next: int
    CS: object
    c_prev: int
    c_next: int
    n: int
    stride: int


class Backward(NamedTuple):
    """A panel of a time step on the way back; every array with the offset where the panel begins in it.

    G            (n, 4 lanes) at g: the gates read, the gradients of their sums written
    HS           h_prev (n, stride) at h_prev, read
    HG           h (n, stride) at h, as forward made it, read
    CS           c_prev (n, stride) at c_prev, read
    DH           (n, stride) at dh: the gradient from above, read
    DR           (n, stride) at dr: that from the next time step read, what passes to h_prev beside the product written
    DC           (n, stride) at dr: dc from the next time step read, dc_prev written
    n, stride    streams, and how far their states lie apart
    """

    G: object
    g: int
    HS: object
    h_prev: int
    HG: object
    h: int
    CS: object
    c_prev: int
    DH: object
    dh: int
    DR: object
    dr: int
    DC: object
    n: int
    stride: int
