"""The table of a chunk, and where everything stands in its arrays.

The arrays, all flat, with R = T*B rows in the order t*B + b, S the padded stride of H:

    params, derived, grads   the parameters, their transposes, their gradients (layout.py); derived and grads share
                             memory: the shards read the one, then the weight gradients write the other
    ids, targets (R,)        characters in and the ones to predict
    h0, c0 (L, B, S)         the carry: read at the start, the state after the chunk written at the end
    HS (L, T+1, B, S)        states; slot 0 is the carry in, slot t+1 the state after step t
    CS (L, T+1, B, S)        a cell's states c, where they are kept (v.kept). Otherwise (block+1, B, S): those of the
                             layer and block of steps at hand, which the backward pass computes again from the gates
    CK (L, blocks, B, S)     c before each block, for that
    XD (L, R, S)             outputs after dropout; only with dropout
    HG (L, R, S)             h as the gates made it; only with zoneout and gradients, of a cell whose way back reads it
    DP (2, B, S)             the gradients of h and c that pass by a time step on the way back; only with zoneout
    G (L, P, R, 4 lanes)     sums, then gates, then the gradients of the sums
    X0, DX0 (R, ES)          embeddings of the characters and their gradient; only with an embedding
    Z (Q, R, out width lanes)   logits, then their gradients
    DH (block, B, S)         the gradient coming down into a layer
    DR, DC (L, B, S)         the gradients of h and c before the block at hand; in the end, of h0 and c0
    DE (V, ES)               the gradient that a tied embedding receives
    XN (L, P, R, 4 lanes)    the normalised sums; only with layer normalisation, as are the next two
    RS (L, R, 4)             what the sums were multiplied by for that
    DN (2, L, P, B, 4 lanes)   the gradients of biases and gains, of each stream: its steps from the last to the first
    losses (R,) float64      nats

Products read words. A word is a number, and the operands are the arrays above (pack 1). Or it is two neighbours as
bfloat16 (pack 2), and the operands are rounded copies of a block of steps, block*B rows, padded to whole vectors:

    weights, derived         all weights as words, and transposed (layout.py)
    HW (2, block+1, B, SW)   states of the layer at hand and of the one below, or what dropout left of them
    XW (block*B, ES/2)       copy of X0
    GW (P, block*B, 2 lanes)   copy of G
    ZW (Q, block*B, out width lanes / 2)   copy of Z
    HP (L, 2, R/2, S)        pairs of rows for the weight gradients: of h before each step, and of what a layer gives
                             upward. The pairs of G and Z take the place of the first half of their own panels.
    XP (R/2, ES)             pairs of rows of X0

With pack 1, weights are params, XW is X0, and the rest of the second list has no memory.
"""

from typing import NamedTuple

from charrnn.kernels.compiled import inline
from charrnn.kernels.layout import Layer, LayoutPlan
from charrnn.kernels.simd import lanes
from charrnn.kernels.table import Float64s, Int32s, Int64s, Numbers, opener, row_opener
from charrnn.kernels.tile import Rows

LOGITS, LOSSES, GRADIENTS = range(3)  # what a chunk is run for
CLAMP_H, CLAMP_C = range(2)  # what a clamp holds: h alone, or c and with it h = o*tanh(c)


class Chunk(NamedTuple):
    """The table of a chunk."""

    plan: LayoutPlan
    T: int  # steps of this chunk
    B: int
    shards: int
    block: int  # steps that a shard walks at a time
    mode: int  # LOGITS, LOSSES or GRADIENTS
    kept: int  # whether CS holds all steps

    key: int  # of this step's masks: the uint64 of dropout.step_key, as int64
    per_step: int  # 1: dropout masks of each step; 0: of the chunk
    threshold: int  # of dropout, 0 without any
    scale: float
    zoning: int  # zoneout.OFF, MASKS or EXPECTATION
    zone_threshold: int
    zone_rate: float
    num_clamps: int
    clamps: Int64s  # (num_clamps, 3): layer, unit, CLAMP_H or CLAMP_C
    clamp_values: Numbers  # (num_clamps, 2): c, and h or tanh(c)

    layers: Int64s  # Layers
    params: Numbers
    weights: Numbers
    derived: Numbers
    grads: Numbers

    ids: Int32s
    targets: Int32s
    h0: Numbers
    c0: Numbers
    HS: Numbers
    CS: Numbers
    CK: Numbers
    XD: Numbers
    HG: Numbers
    DP: Numbers
    G: Numbers
    X0: Numbers
    DX0: Numbers
    Z: Numbers
    DH: Numbers
    DR: Numbers
    DC: Numbers
    DE: Numbers
    XN: Numbers
    RS: Numbers
    DN: Numbers
    losses: Float64s

    HW: Numbers
    XW: Numbers
    GW: Numbers
    ZW: Numbers
    HP: Numbers
    XP: Numbers


# The table of a reach: a chunk's, of one step of all streams, which are `places` places at successive times; and the
# norms (2, L, R) of the gradients of h, and of c as the gates made it, after each step.
ChunkReach = NamedTuple("ChunkReach", [*Chunk.__annotations__.items(), ("places", int), ("norms", Float64s)])


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
    return ((l * v.plan.P + p) * v.T * v.B + t * v.B + b) * 4 * lanes(v.G)


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
    work, R = 4 * lanes(v.G), v.T * v.B
    if v.plan.pack == 1:
        return Rows(v.G, sums_at(v, l, 0, t, part.lo), work, R * work)
    stride = work // 2
    return Rows(v.GW, ((t - part.t0) * v.B + part.lo) * stride, stride, v.block * v.B * stride)


@inline
def logit_gradient_words(v, part):
    """Return the Rows of the logits' gradients of a part, as words."""
    stride = logit_words(v)
    if v.plan.pack == 1:
        return Rows(v.Z, logits_at(v, 0, part.t0, part.lo), stride, v.T * v.B * stride)
    return Rows(v.ZW, part.lo * stride, stride, v.block * v.B * stride)
