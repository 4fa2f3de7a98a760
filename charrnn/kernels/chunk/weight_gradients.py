"""The weight gradients of a chunk, from what the shards left: an item is a panel, summed over all R rows in order."""

import numpy as np

from charrnn.kernels.chunk.views import as_words, open_chunk, open_layer, output_rows, state_at, sums_at
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import get, lanes, load, put, store, zeros
from charrnn.kernels.tile import Rows, product_t
from charrnn.kernels.updates import pair_rows

GRADIENT_ROWS = 256  # rows of a weight gradient taken at once, so that they stay in cache while all its tiles use them


@inline
def matrix_gradient(v, width, X, D, at, K, R):
    """grads[at] (K, width lanes) = X' D, summed over the R rows in ascending order, some rows at a time."""
    Y = Rows(v.grads, at, width * lanes(v.grads), 0)
    for r in range(0, R, GRADIENT_ROWS):
        x = Rows(X.numbers, X.at + r * X.stride, X.stride, 0)
        d = Rows(D.numbers, D.at + r * D.stride, D.stride, 0)
        product_t(v.plan.tiles, width, x, d, Y, (K, min(GRADIENT_ROWS, R - r)), np.int64(r > 0))


@inline
def row_sums(v, width, D, at, R):
    """grads[at] (width lanes) = the sum of D's R rows."""
    VL = lanes(v.grads)
    for j in range(width):
        total = zeros(v.grads)
        for r in range(R):
            total = total + load(D.numbers, D.at + r * D.stride + j * VL)
        store(v.grads, at + j * VL, total)


@inline
def lookup_gradient(v, width, D, grads, at, stride):
    """grads[at + character*stride] = the sum of the rows of D (R, width lanes) where that character was read."""
    VL = lanes(grads)
    for c in range(v.plan.V):
        for j in range(width):
            store(grads, at + c * stride + j * VL, zeros(grads))
    for r in range(v.T * v.B):
        to = at + np.int64(v.ids[r]) * stride
        for j in range(width):
            store(grads, to + j * VL, load(grads, to + j * VL) + load(D.numbers, D.at + r * D.stride + j * VL))


@inline
def sums_rows(v, l, p):
    """Return the Rows of the gradients of a panel's sums."""
    return Rows(v.G, sums_at(v, l, p, 0, 0), 4 * lanes(v.G), 0)


@inline
def logit_rows(v, q):
    """Return the Rows of the gradients of a panel's logits."""
    wide = v.plan.out_width * lanes(v.Z)
    return Rows(v.Z, q * v.T * v.B * wide, wide, 0)


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
def output_gradient(v, q):
    """Compute the gradient of a panel of the output layer."""
    m, rows = v.plan, as_words(v.T * v.B, v.plan.pack)
    wide = m.out_width * lanes(v.Z)
    matrix_gradient(v, m.out_width, upward_rows(v, m.L - 1), logit_rows(v, q), m.out_at + q * m.H * wide, m.H, rows)
    if m.pack == 1:
        row_sums(v, m.out_width, logit_rows(v, q), m.out_bias_at + q * wide, v.T * v.B)


@inline
def recurrent_gradient(v, l, p):
    """Compute the gradient of a panel of layer l's Wh, with its biases and gains."""
    m, D = v.plan, sums_rows(v, l, p)
    D = Rows(D.numbers, D.at + m.h_column, D.stride, 0)
    at = open_layer(v.layers, l).h + p * m.H * m.h_width * lanes(v.G)
    matrix_gradient(v, m.h_width, state_rows(v, l), D, at, m.H, as_words(v.T * v.B, m.pack))
    if m.pack == 1 or m.norm != 0:  # otherwise pair_gradients has summed the single rows
        bias_gradients(v, l, p)


@inline
def input_gradient(v, l, p):
    """Compute the gradient of a panel of layer l's Wx."""
    m, layer, rows = v.plan, open_layer(v.layers, l), as_words(v.T * v.B, v.plan.pack)
    at, D = layer.x + p * layer.inputs * m.x_width * lanes(v.G), sums_rows(v, l, p)
    if l > 0:
        matrix_gradient(v, m.x_width, upward_rows(v, l - 1), D, at, layer.inputs, rows)
    elif m.E > 0:
        X = Rows(v.X0 if m.pack == 1 else v.XP, 0, m.ES, 0)
        matrix_gradient(v, m.x_width, X, D, at, layer.inputs, rows)
    elif m.pack == 1:
        input_lookup_gradient(v, p)


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
    """Compute one item of the weight gradients from what the shards left in the workspace.

    Items: a panel of the output; of each layer from the last on, a panel of its Wh, b and gains, and of its Wx; a
    vector of the embeddings. The light ones come last (lookups, in layer 0), so that threads finish together.
    """
    v = open_chunk(table, like)
    m = v.plan
    if item < m.Q:
        output_gradient(v, item)
        return
    item -= m.Q
    if item < 2 * m.L * m.P:
        l, p = m.L - 1 - item // (2 * m.P), item % m.P
        if item % (2 * m.P) < m.P:
            recurrent_gradient(v, l, p)
        else:
            input_gradient(v, l, p)
        return
    embedding_gradient(v, item - 2 * m.L * m.P)


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
        pair_rows(v.HS, state_at(v, item, 0, 0), m.S, R, v.HP, pairs_at(v, item, 0), m.S, m.S)
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
