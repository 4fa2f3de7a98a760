"""The view of a chunk: where a step, a stream and a panel stand in its arrays (records.py)."""

from typing import NamedTuple

from charrnn.kernels.compiled import inline
from charrnn.kernels.layout import Layer
from charrnn.kernels.products import Rows
from charrnn.kernels.records import Chunk, ChunkReach
from charrnn.kernels.simd import lanes
from charrnn.kernels.view import opener, row_opener


class Part(NamedTuple):
    """What is walked at a time: the n streams from lo on, over the steps t0..t1."""

    lo: int
    n: int
    t0: int
    t1: int


open_chunk = opener(Chunk)
open_reach = opener(ChunkReach)
open_layer = row_opener(Layer)


# Offsets: of step t and stream b of layer l. A step's streams follow each other, S or 4 lanes numbers apart.


@inline
def state_at(v, l, t, b):
    """Return where HS has the state before step t."""
    return ((l * (v.T + 1) + t) * v.B + b) * v.plan.S


@inline
def row_at(v, l, t, b):
    """Return where XD and HG have the row of step t."""
    return ((l * v.T + t) * v.B + b) * v.plan.S


@inline
def carry_at(v, l, b):
    """Return where h0, c0, DR and DC have a stream's row."""
    return (l * v.B + b) * v.plan.S


@inline
def cell_at(v, l, t, part):
    """Return where CS has the part's c before step t."""
    slot = l * (v.T + 1) + t if v.kept != 0 else t - part.t0
    return (slot * v.B + part.lo) * v.plan.S


@inline
def checkpoint_at(v, l, part):
    """Return where CK has the part's c before its first step."""
    return ((l * -(-v.T // v.block) + part.t0 // v.block) * v.B + part.lo) * v.plan.S


@inline
def sums_at(v, l, p, t, b):
    """Return where G and XN have a panel's row of step t."""
    return ((l * v.plan.P + p) * v.panel_rows + t * v.B + b) * 4 * lanes(v.G)


@inline
def sums_panel(v):
    """Return how far the panels of G and XN lie apart."""
    return v.panel_rows * 4 * lanes(v.G)


@inline
def logits_at(v, q, t, b):
    """Return where Z has a panel's row of step t."""
    return (q * v.T * v.B + t * v.B + b) * v.plan.out_width * lanes(v.Z)


# Operands of products


@inline
def as_words(count, pack):
    """Return how many words `count` numbers make."""
    return (count + pack - 1) // pack


@inline
def embedding_words(v):
    """Return the stride of the embeddings as words."""
    VL = lanes(v.X0)
    return as_words(v.plan.ES // VL, v.plan.pack) * VL


@inline
def logit_words(v):
    """Return the stride of a panel of logits as words."""
    return as_words(v.plan.out_width, v.plan.pack) * lanes(v.Z)


@inline
def state_words_at(v, l, t, part):
    """Return where HW has the part's state before step t."""
    return ((l % 2 * (v.block + 1) + t - part.t0) * v.B + part.lo) * v.plan.S_words


@inline
def output_rows(v, l, t, b):
    """Return the Rows of what layer l gives upward, from step t and stream b on."""
    if v.threshold > 0:
        return Rows(v.XD, row_at(v, l, t, b), v.plan.S, 0)
    return Rows(v.HS, state_at(v, l, t + 1, b), v.plan.S, 0)


@inline
def output_words(v, l, part):
    """Return the Rows of what layer l gives upward in a part, as words."""
    if v.plan.pack == 1:
        return output_rows(v, l, part.t0, part.lo)
    return Rows(v.HW, state_words_at(v, l, part.t0 + 1, part), v.plan.S_words, 0)


@inline
def gradient_words(v, l, t, part):
    """Return the Rows of the sums' gradients of a part from step t on, as words; each panel is one of the layer's."""
    work = 4 * lanes(v.G)
    if v.plan.pack == 1:
        return Rows(v.G, sums_at(v, l, 0, t, part.lo), work, sums_panel(v))
    stride = work // 2
    return Rows(v.GW, ((t - part.t0) * v.B + part.lo) * stride, stride, v.panel_block_rows * stride)


@inline
def logit_gradient_words(v, part):
    """Return the Rows of the logits' gradients of a part, as words."""
    stride = logit_words(v)
    if v.plan.pack == 1:
        return Rows(v.Z, logits_at(v, 0, part.t0, part.lo), stride, v.T * v.B * stride)
    return Rows(v.ZW, part.lo * stride, stride, v.block * v.B * stride)
