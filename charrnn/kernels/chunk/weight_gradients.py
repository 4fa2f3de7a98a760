"""The weight gradients of a chunk, from what the shards left: each is summed over all R rows in ascending order.

A matrix's gradient is X' D: X what it read, D the gradients of the sums. An item takes some columns of X and some
panels of D, a block of rows at a time. X is packed for that, so that the tiles read it in order, without the strides
and pages between its rows; packing costs the less the more panels use it.
"""

from typing import NamedTuple

import numpy as np

from charrnn.kernels.chunk.views import as_words, open_chunk, open_layer, output_rows, state_at, sums_at, sums_panel
from charrnn.kernels.compiled import inline
from charrnn.kernels.host import AMX_ROWS, AMX_WORDS, GRADIENT_ROWS
from charrnn.kernels.marks import is_reset
from charrnn.kernels.products import Rows, Upcoming, packed_columns, packed_group, packed_scratch, product_t
from charrnn.kernels.simd import get, lanes, load, put, store, zeros
from charrnn.kernels.updates import pair_rows
from charrnn.kernels.words import narrow_pairs, transpose_block


class Gradient(NamedTuple):
    """The gradient of one matrix, grads[at] (panels, K, width lanes) = X' D over R rows, and what is summed beside it.

    bias      where grads has the sums of D's rows; -1 where they are not wanted. A panel's are bias_width vectors, of
              which D's first is number bias_skip / lanes
    read      1 where X is the states that steps read: zero at a reset
    lookup    where grads has the gradient of a matrix whose rows were looked up, the first of bias_width vectors; or -1
    """

    X: Rows
    D: Rows
    R: int
    width: int
    at: int
    K: int
    panels: int
    bias: int
    bias_width: int
    bias_skip: int
    lookup: int
    read: int


@inline
def pack_columns(v, g, r, rows, first, stop, packed):
    """packed[block][row] = the columns first..stop of `rows` rows of X from row r on, in blocks of packed_columns."""
    X, VL, columns = g.X, lanes(v.grads), packed_columns(v.grads)
    for k in range(first, stop, columns):
        to = (k - first) * rows
        for w in range(0, min(columns, stop - k), VL):
            x = X.at + r * X.stride + k + w
            for row in range(rows):
                store(packed, to + row * columns + w, load(X.numbers, x + row * X.stride))
        if g.read != 0 and v.resetting != 0:
            for row in range(rows):
                if is_reset(v, r + row):
                    clear(packed, to + row * columns, columns)


@inline
def pack_transposed(X, r, rows, first, stop, packed):
    """packed[block][run][column] = 16 rows each of X, as AMX reads them: the columns first..stop, in blocks of 16."""
    runs = -(-rows // AMX_WORDS)
    for run in range(runs):
        x = X.at + (r + run * AMX_WORDS) * X.stride
        for k in range(first, stop, AMX_ROWS):
            to = ((k - first) // AMX_ROWS * runs + run) * AMX_ROWS * AMX_WORDS
            left = min(AMX_WORDS, rows - run * AMX_WORDS)
            transpose_block(X.numbers, x + k, X.stride, left, packed, to, AMX_WORDS, AMX_ROWS)


@inline
def sums_beside(v, g, p, r, rows):
    """Add `rows` rows of D from row r on to what is summed beside a matrix's gradient, for panel p."""
    VL = lanes(v.grads)
    D = Rows(g.D.numbers, g.D.at - g.bias_skip + p * g.D.panel + r * g.D.stride, g.D.stride, 0)
    if g.bias >= 0:
        at = g.bias + p * g.bias_width * VL
        if r == 0:
            clear(v.grads, at, g.bias_width * VL)
        add_rows(v, g.bias_width, D, at, rows)
    if g.lookup >= 0:
        wide = v.plan.x_width * VL
        at = g.lookup + p * v.plan.V * wide
        if r == 0:
            clear(v.grads, at, v.plan.V * wide)
        add_looked_up(v, v.plan.x_width, D, r, rows, v.grads, at, wide)


@inline
def matrix_gradient(v, g, item):
    """Compute one item of a Gradient; count_items says how many there are.

    What is summed beside it is shared out among the groups of columns, panel by panel, while D is in the cache.
    """
    group = packed_group(v.grads)
    groups = -(-g.K // group)
    columns = -(-g.K // (groups * packed_columns(v.grads))) * packed_columns(v.grads)
    column_group, p0 = item % groups, item // groups * v.panel_group
    first, p1 = column_group * columns, min(g.panels, p0 + v.panel_group)
    stop, wide = min(g.K, first + columns), g.width * lanes(v.grads)
    packed = packed_scratch(v.grads)
    for r in range(0, g.R, GRADIENT_ROWS):
        rows = min(GRADIENT_ROWS, g.R - r)
        if v.plan.amx != 0:
            pack_transposed(g.X, r, rows, first, stop, packed)
        else:
            pack_columns(v, g, r, rows, first, stop, packed)
        for p in range(p0, p1):
            D = Rows(g.D.numbers, g.D.at + p * g.D.panel + r * g.D.stride, g.D.stride, 0)
            ahead = g.D.panel if p + 1 < p1 else rows * g.D.stride - (p - p0) * g.D.panel
            X = Rows(g.X.numbers, g.X.at + (r + rows) * g.X.stride + first, g.X.stride if p == p0 else 0, 0)
            Y = Rows(v.grads, g.at + (p * g.K + first) * wide, wide, 0)
            product_t(v.plan.tiles, g.width, packed, D, Upcoming(ahead, X), Y, (stop - first, rows), np.int64(r > 0))
            if p % groups == column_group:
                sums_beside(v, g, p, r, rows)


@inline
def count_items(v, K, panels):
    """Return how many items the gradient of a matrix is cut into (layout.gradient_items counts them too)."""
    return -(-K // packed_group(v.grads)) * -(-panels // v.panel_group)


@inline
def add_rows(v, width, D, at, R):
    """grads[at] (width lanes) += the sum of D's R rows, in ascending order."""
    VL = lanes(v.grads)
    if width == 4:  # side by side: none waits for another
        s0, s1 = load(v.grads, at), load(v.grads, at + VL)
        s2, s3 = load(v.grads, at + 2 * VL), load(v.grads, at + 3 * VL)
        for r in range(R):
            d = D.at + r * D.stride
            s0, s1 = s0 + load(D.numbers, d), s1 + load(D.numbers, d + VL)
            s2, s3 = s2 + load(D.numbers, d + 2 * VL), s3 + load(D.numbers, d + 3 * VL)
        store(v.grads, at, s0)
        store(v.grads, at + VL, s1)
        store(v.grads, at + 2 * VL, s2)
        store(v.grads, at + 3 * VL, s3)
        return
    for j in range(width):
        total = load(v.grads, at + j * VL)
        for r in range(R):
            total = total + load(D.numbers, D.at + r * D.stride + j * VL)
        store(v.grads, at + j * VL, total)


@inline
def clear(grads, at, count):
    """Set `count` numbers of the gradient to zero, whole vectors."""
    for u in range(0, count, lanes(grads)):
        store(grads, at + u, zeros(grads))


@inline
def row_sums(v, width, D, at, R):
    """grads[at] (width lanes) = the sum of D's R rows."""
    clear(v.grads, at, width * lanes(v.grads))
    add_rows(v, width, D, at, R)


@inline
def add_looked_up(v, width, D, r, R, grads, at, stride):  # noqa: PLR0913  rows, and where their sums stand
    """grads[at + character*stride] += D's R rows (1, 3 or 4 vectors) where that character was read: rows r on."""
    VL = lanes(grads)
    for k in range(R):
        to, d = at + np.int64(v.ids[r + k]) * stride, D.at + k * D.stride
        store(grads, to, load(grads, to) + load(D.numbers, d))
        if width > 1:  # spelt out, since a loop over so few vectors is slower
            store(grads, to + VL, load(grads, to + VL) + load(D.numbers, d + VL))
            store(grads, to + 2 * VL, load(grads, to + 2 * VL) + load(D.numbers, d + 2 * VL))
        if width > 3:
            store(grads, to + 3 * VL, load(grads, to + 3 * VL) + load(D.numbers, d + 3 * VL))


@inline
def lookup_gradient(v, width, D, grads, at, stride):
    """grads[at + character*stride] = the sum of the rows of D (R, width lanes) where that character was read."""
    for c in range(v.plan.V):
        clear(grads, at + c * stride, width * lanes(grads))
    add_looked_up(v, width, D, 0, v.T * v.B, grads, at, stride)


@inline
def sums_rows(v, l, p):
    """Return the Rows of the gradients of a panel's sums."""
    return Rows(v.G, sums_at(v, l, p, 0, 0), 4 * lanes(v.G), sums_panel(v))


@inline
def logit_rows(v, q):
    """Return the Rows of the gradients of a panel's logits."""
    wide = v.plan.out_width * lanes(v.Z)
    return Rows(v.Z, q * v.T * v.B * wide, wide, v.T * v.B * wide)


@inline
def pairs_at(v, l, upward):
    """Return where HP has pairs of rows of layer l: of h before each step, or of what the layer gave upward (1)."""
    return (2 * l + upward) * as_words(v.T * v.B, 2) * v.plan.S


@inline
def upward_rows(v, l):
    """Return the Rows, or pairs of rows, of what layer l gave upward."""
    if v.plan.pack == 1:
        return output_rows(v, l, 0, 0)
    return Rows(v.HP, pairs_at(v, l, 1), v.plan.S, 0)


@inline
def state_rows(v, l):
    """Return the Rows, or pairs of rows, of layer l's h before each step."""
    if v.plan.pack == 1:
        return Rows(v.HS, state_at(v, l, 0, 0), v.plan.S, 0)
    return Rows(v.HP, pairs_at(v, l, 0), v.plan.S, 0)


@inline
def bias_gradients(v, l, p):
    """Sum up the gradients of a panel's biases; with layer normalisation, of its gains too, from each stream's own."""
    m, layer, work = v.plan, open_layer(v.layers, l), 4 * lanes(v.G)
    D, R = sums_rows(v, l, p), v.T * v.B
    if m.norm != 0:
        D, R = Rows(v.DN, (l * m.P + p) * v.B * work, work, 0), v.B
        row_sums(v, 4, Rows(v.DN, D.at + m.L * m.P * v.B * work, work, 0), layer.gain + p * work, R)
    row_sums(v, 4, D, layer.bias + p * work, R)


@inline
def input_lookup_gradient(v, p):
    """Sum up the gradients of a panel of layer 0's Wx, whose rows were looked up."""
    wide = v.plan.x_width * lanes(v.G)
    lookup_gradient(
        v, v.plan.x_width, sums_rows(v, 0, p), v.grads, open_layer(v.layers, 0).x + p * v.plan.V * wide, wide
    )


@inline
def output_gradient(v, item):
    """Compute an item of the gradient of the output layer, with its bias."""
    m, rows = v.plan, as_words(v.T * v.B, v.plan.pack)
    bias = m.out_bias_at if m.pack == 1 else -1  # otherwise pair_gradients has summed the single rows
    X, D = upward_rows(v, m.L - 1), logit_rows(v, 0)
    matrix_gradient(v, Gradient(X, D, rows, m.out_width, m.out_at, m.H, m.Q, bias, m.out_width, 0, -1, 0), item)


@inline
def recurrent_gradient(v, l, item, count):
    """Compute an item of the gradient of layer l's Wh, of `count`, and its share of the biases, gains and lookups."""
    m, layer, D = v.plan, open_layer(v.layers, l), sums_rows(v, l, 0)
    D = Rows(D.numbers, D.at + m.h_column, D.stride, D.panel)
    bias, lookup = layer.bias, layer.x if l == 0 and m.E == 0 else -1
    if m.pack > 1:  # pair_gradients has summed the single rows
        bias = lookup = -1
    if m.norm != 0:
        bias = -1
        for p in range(item, m.P, count):
            bias_gradients(v, l, p)
    X, rows, read = state_rows(v, l), as_words(v.T * v.B, m.pack), int(m.pack == 1)  # of pairs, pair_states sees to it
    matrix_gradient(v, Gradient(X, D, rows, m.h_width, layer.h, m.H, m.P, bias, 4, m.h_column, lookup, read), item)


@inline
def input_gradient(v, l, item):
    """Compute an item of the gradient of layer l's Wx, where that is a product."""
    m, layer, rows, D = v.plan, open_layer(v.layers, l), as_words(v.T * v.B, v.plan.pack), sums_rows(v, l, 0)
    if l > 0:
        X = upward_rows(v, l - 1)
    else:
        X = Rows(v.X0 if m.pack == 1 else v.XP, 0, m.ES, 0)
    matrix_gradient(v, Gradient(X, D, rows, m.x_width, layer.x, layer.inputs, m.P, -1, 4, 0, -1, 0), item)


@inline
def embedding_gradient(v, u):
    """Compute the gradient of one vector of all embeddings; tied ones receive it in DE."""
    m, at = v.plan, u * lanes(v.DX0)
    D = Rows(v.DX0, at, m.ES, 0)
    if m.tied != 0:
        lookup_gradient(v, 1, D, v.DE, at, m.ES)
    else:
        lookup_gradient(v, 1, D, v.grads, m.embedding_at + at, m.ES)


def weight_gradients(table, like, item):
    """Compute one item of the weight gradients from what the shards left in the workspace, number v.first_item + item.

    Items (layout.gradient_items counts them): those of the output; of each layer from the last on, those of its Wh,
    with b and gains, and of its Wx; a vector of the embeddings. The light ones come last: threads finish together.
    """
    v = open_chunk(table, like)
    m = v.plan
    item += v.first_item
    count = count_items(v, m.H, m.Q)
    if item < count:
        output_gradient(v, item)
        return
    item -= count
    for l in range(m.L - 1, -1, -1):
        count = count_items(v, m.H, m.P)
        if item < count:
            recurrent_gradient(v, l, item, count)
            return
        item -= count
        if l == 0 and m.E == 0:  # looked up, beside the recurrent ones
            break
        count = count_items(v, open_layer(v.layers, l).inputs, m.P)
        if item < count:
            input_gradient(v, l, item)
            return
        item -= count
    embedding_gradient(v, item)


@inline
def pair_states(v, l):
    """Make pairs of layer l's h before each step, zero at a reset."""
    S, R, VL, h, to = v.plan.S, v.T * v.B, lanes(v.HS), state_at(v, l, 0, 0), pairs_at(v, l, 0)
    if v.resetting == 0:
        pair_rows(v.HS, h, S, R, v.HP, to, S, S)
        return
    for r in range(0, R, 2):
        for u in range(0, S, VL):
            first = zeros(v.HS) if is_reset(v, r) else load(v.HS, h + r * S + u)
            second = zeros(v.HS) if r + 1 == R or is_reset(v, r + 1) else load(v.HS, h + (r + 1) * S + u)
            store(v.HP, to + r // 2 * S + u, narrow_pairs(first, second))


def pair_gradients(table, like, item):
    """Make one item's pairs of rows for the weight gradients.

    What is summed from single rows, biases and lookups, is summed here too: the pairs take the rows' place.

    Items: a panel of the output, a panel of a layer, a layer's states before each step, what a layer gave upward, X0.
    """
    v = open_chunk(table, like)
    m, R, work = v.plan, v.T * v.B, 4 * lanes(v.G)
    if item < m.Q:
        D = logit_rows(v, item)
        row_sums(v, m.out_width, D, m.out_bias_at + item * D.stride, R)
        pair_rows(v.Z, D.at, D.stride, R, v.Z, D.at, D.stride, D.stride)
        return
    item -= m.Q
    if item < m.L * m.P:
        l, p = item // m.P, item % m.P
        if m.norm == 0:
            bias_gradients(v, l, p)
        if l == 0 and m.E == 0:
            input_lookup_gradient(v, p)
        D = sums_rows(v, l, p)
        pair_rows(v.G, D.at, work, R, v.G, D.at, work, work)
        return
    item -= m.L * m.P
    if item < m.L:
        pair_states(v, item)
    elif item < 2 * m.L:
        X = output_rows(v, item - m.L, 0, 0)
        pair_rows(X.numbers, X.at, m.S, R, v.HP, pairs_at(v, item - m.L, 1), m.S, m.S)
    else:
        pair_rows(v.X0, 0, m.ES, R, v.XP, 0, m.ES, m.ES)


def tied_gradients(table, like, panel):
    """Add the gradient that the embedding DE (V, ES) received to one panel of the output weights it is tied to."""
    v = open_chunk(table, like)
    m = v.plan
    wide = m.out_width * lanes(v.grads)
    for c in range(panel * wide, min((panel + 1) * wide, m.V)):
        for u in range(m.H):
            at = m.out_at + (panel * m.H + u) * wide + c % wide
            put(v.grads, at, get(v.grads, at) + get(v.DE, c * m.ES + u))
