"""The optimiser step over the flat parameters: gradient norm, clipping, fused updates, and the transposes rebuilt.

Everything is elementwise over flat buffers of one length, so the panels' order does not matter. Sums of squares are taken
over blocks of a fixed size and added in their order: the norm is the same bits for any number of threads.
"""

from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.layout import FROM, FROM_PANELS, FROM_ROWS, FROM_WIDTH, TO, TO_WIDTH, TO_WORDS, TRANSPOSE_SIZE
from charrnn.kernels.simd import (
    fma,
    lanes,
    load,
    pointer,
    pointer_float64,
    pointer_int64,
    reduce_add,
    select,
    sqrt,
    store,
    zeros,
)
from charrnn.kernels.words import narrow_pairs, narrow_transpose_block, transpose_block

BLOCK = 4096
SGD, ADAGRAD, RMSPROP, ADAM, ADAMW = range(5)

# The table of an update: its rule and size, then the addresses of the arrays; of a transposition: three addresses of it.
(
    RULE,
    SIZE,
    NUMBERS_AT,
    PARTIAL_AT,
    PARAMS_AT,
    GRADS_AT,
    FIRST_AT,
    SECOND_AT,
    AVERAGE_AT,
    DERIVED_AT,
    TRANSPOSES_AT,
    TABLE_SIZE,
) = range(12)
# The float64 numbers at NUMBERS_AT
SCALE, RATE, DECAY_1, DECAY_2, EPS, WEIGHT_DECAY, CORRECTION, CLIP_VALUE, NEWEST, NUMBERS_SIZE = range(10)


@inline
def block_sum_of_squares(grads, lo, hi, clip_value):
    """Return the sum of squares of grads[lo:hi], after clamping each element to +-clip_value in place where that is > 0."""
    total = zeros(grads)
    for i in range(lo, hi, lanes(grads)):
        g = load(grads, i)
        if clip_value > 0:
            g = select(g > clip_value, clip_value, g)
            g = select(g < 0.0 - clip_value, 0.0 - clip_value, g)
            store(grads, i, g)
        total = fma(g, g, total)
    return reduce_add(total)


@inline
def update_block(rule, params, grads, first, second, lo, hi, scale, rate, a, b, eps, decay, correction):
    """Update params[lo:hi] by one rule from grads*scale and the state `first`, `second` (only what the rule keeps).

        sgd      v = a v + g;                              w -= rate v          (a: momentum)
        adagrad  s += g^2;                                 w -= rate g / (sqrt(s) + eps)
        rmsprop  s = a s + (1-a) g^2;                      w -= rate g / (sqrt(s) + eps)
        adam     m = a m + (1-a) g; s = b s + (1-b) g^2;   w -= rate m / (sqrt(s) correction + eps)
        adamw    w -= decay w first, then adam

    `rate` already holds Adam's 1/(1 - a^step), `correction` is 1/sqrt(1 - b^step), `decay` the learning rate times the
    weight decay. Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019.
    """
    for i in range(lo, hi, lanes(params)):
        g, w = load(grads, i) * scale, load(params, i)
        if rule == SGD:
            if a > 0:
                g = fma(a, load(first, i), g)
                store(first, i, g)
            w = fma(0.0 - rate, g, w)
        elif rule == ADAGRAD:
            s = fma(g, g, load(second, i))
            store(second, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        elif rule == RMSPROP:
            s = fma(a, load(second, i), (1.0 - a) * g * g)
            store(second, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        else:
            m = fma(a, load(first, i), (1.0 - a) * g)
            s = fma(b, load(second, i), (1.0 - b) * g * g)
            store(first, i, m)
            store(second, i, s)
            w = fma(0.0 - decay, w, w)
            w = w - rate * m / fma(sqrt(s), correction, eps)
        store(params, i, w)


@inline
def average_block(params, average, lo, hi, newest):
    """average[lo:hi] += newest * (params - average)."""
    for i in range(lo, hi, lanes(params)):
        a = load(average, i)
        store(average, i, fma(newest, load(params, i) - a, a))


@inline
def pair_rows(X, x, ldx, rows, Y, y, ldy, count):
    """Y = the rows of X in pairs, as words of bfloat16: word u of row j is (X[2j][u], X[2j+1][u]), a missing last row zero.

    `count` numbers a row, whole vectors. Y may begin where X begins if ldy <= 2 ldx.
    """
    VL = lanes(X)
    for r in range(0, rows, 2):
        for u in range(0, count, VL):
            second = load(X, x + (r + 1) * ldx + u) if r + 1 < rows else zeros(X)
            store(Y, y + (r // 2) * ldy + u, narrow_pairs(load(X, x + r * ldx + u), second))


@inline
def narrow_panel(transposes, at, panel, params, derived):
    """As transpose_panel, in words of bfloat16; and the panel itself in words of two rows."""
    VL = lanes(params)
    K, columns = transposes[at + FROM_ROWS], transposes[at + FROM_WIDTH] * VL
    wide, rows = transposes[at + TO_WIDTH] * VL, transposes[at + FROM_PANELS] * columns // 2
    source = transposes[at + FROM] + panel * K * columns
    pair_rows(
        params,
        source,
        columns,
        K,
        derived,
        transposes[at + TO_WORDS] + panel * ((K + 1) // 2) * columns,
        columns,
        columns,
    )
    for k in range(0, -(-K // wide) * wide, VL):
        to = transposes[at + TO] + ((k // wide) * rows + panel * columns // 2) * wide + k % wide
        for c in range(0, columns, 2 * VL):
            narrow_transpose_block(
                params,
                source + k * columns + c,
                columns,
                min(VL, K - k),
                derived,
                to + c // 2 * wide,
                wide,
                (columns - c) // 2,
            )


@inline
def transpose_panel(transposes, at, panel, params, derived):
    """Write one panel's part of a transposed matrix: derived [K/wide][columns][wide] from params [K][columns], K padded with 0."""
    VL = lanes(params)
    K, columns = transposes[at + FROM_ROWS], transposes[at + FROM_WIDTH] * VL
    wide, rows = transposes[at + TO_WIDTH] * VL, transposes[at + FROM_PANELS] * columns
    source = transposes[at + FROM] + panel * K * columns
    for k in range(0, -(-K // wide) * wide, VL):
        to = transposes[at + TO] + ((k // wide) * rows + panel * columns) * wide + k % wide
        for c in range(0, columns, VL):
            transpose_block(params, source + k * columns + c, columns, min(VL, K - k), derived, to + c * wide, wide, VL)


def _sum_squares(table, like, item):
    """Write the sum of squares of one block of the gradient; clamp its elements first to +-CLIP_VALUE where that is > 0."""
    numbers, lo = pointer_float64(table, NUMBERS_AT), item * BLOCK
    pointer_float64(table, PARTIAL_AT)[item] = block_sum_of_squares(
        pointer(table, GRADS_AT, like), lo, min(table[SIZE], lo + BLOCK), numbers[CLIP_VALUE]
    )


def _update(table, like, item):
    """Update one block of the parameters, and while it is in cache its average, where NEWEST > 0; see update_block for the rules."""
    x, lo = pointer_float64(table, NUMBERS_AT), item * BLOCK
    hi, params = min(table[SIZE], lo + BLOCK), pointer(table, PARAMS_AT, like)
    update_block(
        table[RULE],
        params,
        pointer(table, GRADS_AT, like),
        pointer(table, FIRST_AT, like),
        pointer(table, SECOND_AT, like),
        lo,
        hi,
        x[SCALE],
        x[RATE],
        x[DECAY_1],
        x[DECAY_2],
        x[EPS],
        x[WEIGHT_DECAY],
        x[CORRECTION],
    )
    if x[NEWEST] > 0:
        average_block(params, pointer(table, AVERAGE_AT, like), lo, hi, x[NEWEST])


@inline
def find_panel(transposes, item):
    """Return (where its matrix stands in the table, which of its panels) for an item of a transposition."""
    m = 0
    while item >= transposes[m * TRANSPOSE_SIZE + FROM_PANELS]:
        item -= transposes[m * TRANSPOSE_SIZE + FROM_PANELS]
        m += 1
    return m * TRANSPOSE_SIZE, item


def _transpose(table, like, item):
    """Rewrite one panel's part of the transposed weights."""
    at, panel = find_panel(pointer_int64(table, TRANSPOSES_AT), item)
    transpose_panel(
        pointer_int64(table, TRANSPOSES_AT),
        at,
        panel,
        pointer(table, PARAMS_AT, like),
        pointer(table, DERIVED_AT, like),
    )


def _narrow(table, like, item):
    """Rewrite one panel's words and its part of the transposed words."""
    at, panel = find_panel(pointer_int64(table, TRANSPOSES_AT), item)
    narrow_panel(
        pointer_int64(table, TRANSPOSES_AT),
        at,
        panel,
        pointer(table, PARAMS_AT, like),
        pointer(table, DERIVED_AT, like),
    )


sum_squares = Items(_sum_squares)  # item: a block of BLOCK numbers of the gradient
update = Items(_update)  # item: a block of BLOCK parameters
transpose = Items(_transpose)  # item: a panel of a matrix that has a transpose
narrow = Items(_narrow)  # the same, for products of bfloat16
