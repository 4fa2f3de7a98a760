"""The optimiser step over the flat parameters: gradient norm, clipping, fused updates, and the transposes rebuilt.

Everything is elementwise over flat buffers of one length, so the panels' order does not matter. Sums of squares are
taken over blocks of a fixed size and added in their order: the norm is the same bits for any number of threads.
"""

from charrnn.kernels.compiled import inline
from charrnn.kernels.layout import Transpose
from charrnn.kernels.records import ADAGRAD, GRADIENT_BLOCK, RMSPROP, SGD, Transposition, Update
from charrnn.kernels.simd import fma, lanes, load, reduce_add, select, sqrt, store, zeros
from charrnn.kernels.view import opener, row_opener
from charrnn.kernels.words import narrow_pairs, narrow_transpose_block, transpose_block

open_update, open_transposition, open_transpose = opener(Update), opener(Transposition), row_opener(Transpose)


@inline
def block_sum_of_squares(grads, lo, hi, clip_value):
    """Return the sum of squares of grads[lo:hi], each clamped to +-clip_value first, in place, where that is > 0."""
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
def update_block(v, lo, hi):
    """Update params[lo:hi] by the rule from grads*scale and what the rule keeps: v = m = `moment`, s = `square`.
        sgd      v = a v + g;                              w -= rate v          (a: momentum)
        adagrad  s += g^2;                                 w -= rate g / (sqrt(s) + eps)
        rmsprop  s = a s + (1-a) g^2;                      w -= rate g / (sqrt(s) + eps)
        adam     m = a m + (1-a) g; s = b s + (1-b) g^2;   w -= rate m / (sqrt(s) correction + eps)
        adamw    w -= decay w moment, then adam

    a, b are decay_1 and decay_2, decay is weight_decay.

    Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019.
    """
    rule, params, grads, moment, square = v.rule, v.params, v.grads, v.moment, v.square
    scale, rate, a, b, eps = v.scale, v.rate, v.decay_1, v.decay_2, v.eps
    for i in range(lo, hi, lanes(params)):
        g, w = load(grads, i) * scale, load(params, i)
        if rule == SGD:
            if a > 0:
                g = fma(a, load(moment, i), g)
                store(moment, i, g)
            w = fma(0.0 - rate, g, w)
        elif rule == ADAGRAD:
            s = fma(g, g, load(square, i))
            store(square, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        elif rule == RMSPROP:
            s = fma(a, load(square, i), (1.0 - a) * g * g)
            store(square, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        else:
            m = fma(a, load(moment, i), (1.0 - a) * g)
            s = fma(b, load(square, i), (1.0 - b) * g * g)
            store(moment, i, m)
            store(square, i, s)
            w = fma(0.0 - v.weight_decay, w, w)
            w = w - rate * m / fma(sqrt(s), v.correction, eps)
        store(params, i, w)


@inline
def average_block(params, average, lo, hi, newest):
    """average[lo:hi] += newest * (params - average)."""
    for i in range(lo, hi, lanes(params)):
        a = load(average, i)
        store(average, i, fma(newest, load(params, i) - a, a))


@inline
def pair_rows(X, x, ldx, rows, Y, y, ldy, count):
    """Y = the rows of X in pairs, as words of bfloat16: word u of row j is (X[2j][u], X[2j+1][u]).

    A missing last row counts as zero. `count` numbers a row, whole vectors. Y may begin where X begins if ldy <= 2 ldx.
    """
    VL = lanes(X)
    for r in range(0, rows, 2):
        for u in range(0, count, VL):
            second = load(X, x + (r + 1) * ldx + u) if r + 1 < rows else zeros(X)
            store(Y, y + (r // 2) * ldy + u, narrow_pairs(load(X, x + r * ldx + u), second))


@inline
def narrow_panel(matrix, panel, params, derived):
    """As transpose_panel, in words of bfloat16; and the panel itself in words of two rows."""
    VL = lanes(params)
    K, columns = matrix.rows, matrix.width * VL
    wide, rows = matrix.target_width * VL, matrix.panels * columns // 2
    source, words = matrix.source + panel * K * columns, matrix.words + panel * ((K + 1) // 2) * columns
    pair_rows(params, source, columns, K, derived, words, columns, columns)
    for k in range(0, -(-K // wide) * wide, VL):
        to = matrix.target + ((k // wide) * rows + panel * columns // 2) * wide + k % wide
        for c in range(0, columns, 2 * VL):
            x, y = source + k * columns + c, to + c // 2 * wide
            narrow_transpose_block(params, x, columns, min(VL, K - k), derived, y, wide, (columns - c) // 2)


@inline
def transpose_panel(matrix, panel, params, derived):
    """Write one panel's part of a transposed matrix: derived [K/wide][columns][wide] from params [K][columns].

    K is padded with zeros.
    """
    VL = lanes(params)
    K, columns = matrix.rows, matrix.width * VL
    wide, rows = matrix.target_width * VL, matrix.panels * columns
    source = matrix.source + panel * K * columns
    for k in range(0, -(-K // wide) * wide, VL):
        to = matrix.target + ((k // wide) * rows + panel * columns) * wide + k % wide
        for c in range(0, columns, VL):
            transpose_block(params, source + k * columns + c, columns, min(VL, K - k), derived, to + c * wide, wide, VL)


def sum_squares(table, like, item):
    """Write the sum of squares of one block of the gradient, its elements clamped first where clip_value > 0."""
    v, lo = open_update(table, like), item * GRADIENT_BLOCK
    v.partial[item] = block_sum_of_squares(v.grads, lo, min(v.size, lo + GRADIENT_BLOCK), v.clip_value)


def update(table, like, item):
    """Update one block of the parameters, and while it is in cache its average, where there is one."""
    v, lo = open_update(table, like), item * GRADIENT_BLOCK
    hi = min(v.size, lo + GRADIENT_BLOCK)
    update_block(v, lo, hi)
    if v.newest > 0:
        average_block(v.params, v.average, lo, hi, v.newest)


@inline
def find_panel(transposes, item):
    """Return (a view of its matrix, which of its panels) for an item of a transposition."""
    i = 0
    while item >= open_transpose(transposes, i).panels:
        item -= open_transpose(transposes, i).panels
        i += 1
    return open_transpose(transposes, i), item


def transpose(table, like, item):
    """Rewrite one panel's part of the transposed weights."""
    v = open_transposition(table, like)
    matrix, panel = find_panel(v.transposes, item)
    transpose_panel(matrix, panel, v.params, v.derived)


def narrow(table, like, item):
    """Rewrite one panel's words and its part of the transposed words."""
    v = open_transposition(table, like)
    matrix, panel = find_panel(v.transposes, item)
    narrow_panel(matrix, panel, v.params, v.derived)
