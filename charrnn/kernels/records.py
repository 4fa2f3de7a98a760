"""The records whose tables Python hands to compiled code (table.py), and what their switches may be.

Nothing here is compiled, nor imports what compiles: a model whose machine code is kept on disk runs without Numba.
"""

from typing import NamedTuple

from charrnn.kernels.host import isa, lanes_of_dtype
from charrnn.kernels.layout import LayoutPlan
from charrnn.kernels.table import Float64s, Int16s, Int32s, Int64s, Numbers, Tiles

LOGITS, LOSSES, GRADIENTS = range(3)  # what a chunk is run for
CLAMP_H, CLAMP_C = range(2)  # what a clamp holds: h alone, or c and with it h = o*tanh(c)
OFF, MASKS, EXPECTATION = range(3)  # whether, and how, zoneout keeps states
RESET, SILENT = 1, 2  # marks of a row: the state is zero before it; its loss does not count
THRESHOLD_BITS = 24  # of the draws that dropout's and zoneout's thresholds are compared with
GRADIENT_BLOCK = 4096  # numbers of the gradient and parameters that an item of the optimiser takes
SGD, ADAGRAD, RMSPROP, ADAM, ADAMW = range(5)

LINE = 8  # int64 words a cache line
TEAM_WORDS = 2 * LINE  # of a worker of a team (team.py)

# The words of a pool (work.py), and how many there are.
STATE, NEXT, ADDRESS, TABLE, COUNT, LIMIT, GIVE_WAY = 0, 8, 16, 17, 18, 19, 20
POOL_WORDS = 24


class Chunk(NamedTuple):
    """The table of a chunk.

    The arrays, all flat, with R = T*B rows in the order t*B + b, S the padded stride of H, and RP and BP rows of memory
    for R and block*B (layout.panel_rows):

    params, derived, grads   the parameters, their transposes, their gradients (layout.py); derived and grads share
                             memory: the shards read the one, then the weight gradients write the other
    ids, targets (R,)        characters in and the ones to predict
    marks (R,)               RESET and SILENT, where v.resetting or v.counting
    h0, c0 (L, B, S)         the carry: read at the start, the state after the chunk written at the end
    HS (L, T+1, B, S)        states; slot 0 is the carry in, slot t+1 the state after step t
    CS (L, T+1, B, S)        a cell's states c, where they are kept (v.kept). Otherwise (block+1, B, S): those of the
                             layer and block of steps at hand, which the backward pass computes again from the gates
    CK (L, blocks, B, S)     c before each block, for that
    PK (2, B, S)             states h and c that stand aside while a step reads zeros; only with resets
    XD (L, R, S)             outputs after dropout; only with dropout
    HG (L, R, S)             h as the gates made it; only with zoneout and gradients, of a cell whose way back reads it
    DP (2, B, S)             the gradients of h and c that pass by a time step on the way back; only with zoneout
    G (L, P, RP, 4 lanes)    sums, then gates, then the gradients of the sums
    X0, DX0 (R, ES)          embeddings of the characters and their gradient; only with an embedding
    Z (Q, R, out width lanes)   logits, then their gradients
    DH (block, B, S)         the gradient coming down into a layer
    DR, DC (L, B, S)         the gradients of h and c before the block at hand; in the end, of h0 and c0
    DE (V, ES)               the gradient that a tied embedding receives
    XN (L, P, RP, 4 lanes)   the normalised sums; only with layer normalisation, as are the next two
    RS (L, R, 4)             what the sums were multiplied by for that
    DN (2, L, P, B, 4 lanes)   the gradients of biases and gains, of each stream: its steps from the last to the first
    losses (R,) float64      nats; 0 where the loss does not count

    Products read words. A word is a number, and the operands are the arrays above (pack 1). Or it is two neighbours as
    bfloat16 (pack 2), and the operands are rounded copies of a block of steps, block*B rows, padded to whole vectors:

    weights, derived         all weights as words, and transposed (layout.py)
    HW (2, block+1, B, SW)   states of the layer at hand and of the one below, or what dropout left of them
    XW (block*B, ES/2)       copy of X0
    GW (P, BP, 2 lanes)      copy of G
    ZW (Q, block*B, out width lanes / 2)   copy of Z
    HP (L, 2, R/2, S)        pairs of rows for the weight gradients: of h before each step, and of what a layer gives
                             upward. The pairs of G and Z take the place of the first half of their own panels.
    XP (R/2, ES)             pairs of rows of X0

    With pack 1, weights are params, XW is X0, and the rest of the second list has no memory.
    """

    plan: LayoutPlan
    T: int  # steps of this chunk
    B: int
    shards: int
    block: int  # steps that a shard walks at a time
    panel_rows: int  # RP
    panel_block_rows: int  # BP
    panel_group: int  # panels that an item of the weight gradients takes
    first_item: int  # of the weight gradients, in this call
    mode: int  # LOGITS, LOSSES or GRADIENTS
    kept: int  # whether CS holds all steps
    resetting: int  # whether a stream is reset in this chunk
    counting: int  # whether there are losses that do not count
    counted: int  # how many count, at least 1

    key: int  # of this step's masks: the uint64 of dropout.step_key, as int64
    streams: (
        int  # of the batch that masks are keyed by: more than B where these are some of them, from one that is in `key`
    )
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
    marks: Int32s
    h0: Numbers
    c0: Numbers
    HS: Numbers
    CS: Numbers
    CK: Numbers
    PK: Numbers
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


class GenerationTable(NamedTuple):
    """The table of a call of generate.py.

    The arrays beside the parameters, S the padded stride of H. The first three hold one group after the other, n
    streams from lo on, so that a core that reads ahead meets no other core's:

    HS, CS (L, n, S)             from row lo L on: the carry, in and out; a step overwrites it in place. With zoneout as
                                 much again, `new` numbers on: what the gates make of a state, before it is blended with
                                 the state before
    G      (L, P, n, 4 lanes)    from row lo L P on: sums and gates
    Z      (Q, n, out width lanes)   from row lo Q on: logits without their bias
    X0     (B, ES)               embeddings (only with an embedding)
    inputs (B,) int32            the characters to read; at the end the last ones drawn, not yet read
    keys   (B,) uint64           a stream's SplitMix64 key
    temperature, top_k, top_p, min_p (B,)   a stream's settings, float64, but top_k int64: V where all are kept
    drawn, summed (B,) int64     of each group, how often a panel of the output, or of a layer, was finished
    chosen (T, B) int32          the characters drawn; or, with `reading`, the ones to read: then nothing is drawn
    losses, logits (T, B) and (T, B, V) float64, only where they are asked for
    weights (workers, 2, VS) float64, order (workers, 2, VS) int64    scratch of a choice, VS = V padded to vectors
    """

    plan: LayoutPlan
    T: int  # characters that a stream reads, or draws
    B: int
    groups: int
    workers: int
    give_way: int  # the address of sched_yield, or 0
    reading: int
    position: int  # of the first draw in the streams' sequences of random numbers
    scratch: int  # VS
    new: int  # with zoneout, how far what the gates make stands behind the states; otherwise 0
    zone_rate: float
    with_losses: int
    with_logits: int

    layers: Int64s  # Layers
    params: Numbers
    HS: Numbers
    CS: Numbers
    G: Numbers
    Z: Numbers
    X0: Numbers
    inputs: Int32s
    keys: Int64s
    temperature: Float64s
    top_k: Int64s
    top_p: Float64s
    min_p: Float64s
    drawn: Int64s
    summed: Int64s
    chosen: Int32s
    losses: Float64s
    logits: Float64s
    weights: Float64s
    order: Int64s
    words: Int64s  # of the team
    not_finite: Int64s  # (1,) written: 1 where a logit was not finite


class Update(NamedTuple):
    """The table of an optimiser's step."""

    rule: int
    size: int
    scale: float  # of the gradient, by clipping its norm
    rate: float  # with Adam's 1/(1 - decay_1^step)
    decay_1: float  # momentum, RMSprop's alpha, or Adam's first beta
    decay_2: float  # Adam's second beta
    eps: float
    weight_decay: float  # times the learning rate
    correction: float  # Adam's 1/sqrt(1 - decay_2^step)
    clip_value: float
    newest: float  # the share of the new parameters in their average; 0 without one
    params: Numbers
    grads: Numbers
    moment: Numbers  # where the rule keeps one: the average of gradients
    square: Numbers  # and of their squares
    average: Numbers
    partial: Float64s  # the sums of squares, a block each


class Transposition(NamedTuple):
    """The table of a rewriting of all transposed weights."""

    params: Numbers
    derived: Numbers
    transposes: Int64s  # Transposes


class Connections(NamedTuple):
    """The table: a panel of a recurrent matrix is [H][places][units]; a place holds a gate, or zeros."""

    H: int
    P: int
    gates: int  # which places hold a gate, in the stored order of gates: a bit each, that of the last place is set
    units: int
    key: int
    threshold: int
    scale: float
    layers: Int64s  # Layers
    params: Numbers
    grads: Numbers
    kept: Numbers  # the recurrent weights, panel after panel


class SuffixTable(NamedTuple):
    """The table of a walk along sorted suffixes (suffixes.py has what each array is)."""

    count: int  # N
    most: int
    k: int
    stop: int
    codes: Int32s
    order: Int32s
    shared: Int16s
    left: Int32s
    seen: Int64s
    num_codes: int
    counts: Int32s
    lefts: Int32s
    counts_of_counts: Int64s
    discounts: Float64s
    slots: Int32s
    low: Float64s
    top: Float64s
    matches: Int32s
    start_code: int  # that begins an item, 0 where the text is of no items


# A multiply-add takes 4 or 5 cycles and up to 4 begin in one. With a and b they must fit in the 32 vector registers of
# AVX-512 and NEON, the 16 of AVX2.
ACCUMULATORS = {"avx512": 20, "neon": 20, "avx2": 12}
UNROLLED = 4  # steps of the recurrence between two looks at the loop's counter


class PeakTable(NamedTuple):
    """The table: how often to go round the loop, how many numbers an item has, and all of them."""

    rounds: int
    item_size: int
    numbers: Numbers


READ_WIDTH = 4  # vectors of the panels that are read


class ReadTable(NamedTuple):
    """The table: how often to read all panels, their sizes, how many numbers an item has, and all of them."""

    tiles: Tiles
    rounds: int
    rows: int
    K: int
    panels: int
    item_size: int
    numbers: Numbers


def count_team_words(workers):
    """Return how many words a team needs."""
    return TEAM_WORDS * workers


def numbers_per_item(dtype):
    """Return how many numbers an item of the peak takes: a, b and the vectors."""
    return 2 + ACCUMULATORS[isa()] * lanes_of_dtype(dtype)
