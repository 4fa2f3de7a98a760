"""One chunk of truncated backpropagation through time: T steps, L layers, B streams; forward, loss, backward, gradients.

Streams are dealt to shards, and a thread carries its shard through all steps and layers, forward and back, meeting the
others only at the weight gradients; there each panel is one thread's and its rows are summed in ascending order. So no
result depends on the number of threads. Within a shard the chunk is walked in blocks of steps, layer by layer, so that
what one layer wrote is still in cache when the next reads it.

The arrays, all flat, with R = T*B rows in the order t*B + b:

    params, derived, grads   the parameters, their transposes, their gradients (layout.py)
    ids, targets (R,)        characters in and the ones to predict
    h0, c0 (L, B, S)         the carry: read at the start, the state after the chunk written at the end
    HS, CS (L, T+1, B, S)    states; slot 0 the carry in, slot t+1 the state after step t; S the padded stride of H
    XD     (L, R, S)         outputs after dropout (only with dropout)
    G      (L, P, R, 4 lanes)   gates, then the gradients of their sums
    X0, DX0 (R, ES)          embeddings of the characters and their gradient (only with an embedding)
    Z      (Q, R, out width lanes)   logits, then their gradients
    DH     (block, B, S)     the gradient coming down into a layer
    DR, DC (L, B, S)         the gradients of the carry: of h and c before the block at hand, in the end of h0 and c0
    losses (R,) float64      nats
"""
import numpy as np

from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.dropout import drop_row
from charrnn.kernels.gru import gru_backward, gru_forward
from charrnn.kernels.layout import (LAYER_BIAS, LAYER_H, LAYER_H_T, LAYER_INPUT,
                                    LAYER_SIZE, LAYER_X, LAYER_X_T, PLAN_BACK_WIDTH, PLAN_EMBEDDING, PLAN_EMBEDDING_AT,
                                    PLAN_EMBEDDING_BACK_WIDTH, PLAN_EMBEDDING_STRIDE, PLAN_H_COLUMN, PLAN_H_DIRECT,
                                    PLAN_H_WIDTH, PLAN_HIDDEN, PLAN_LAYERS, PLAN_OUT_AT, PLAN_OUT_BIAS_AT,
                                    PLAN_OUT_PANELS, PLAN_OUT_T_AT, PLAN_OUT_WIDTH, PLAN_PANELS, PLAN_STRIDE, PLAN_TIED,
                                    PLAN_SIZE, PLAN_UNITS, PLAN_VOCAB, PLAN_X_WIDTH)
from charrnn.kernels.lstm import lstm_backward, lstm_forward
from charrnn.kernels.rnn import rnn_backward, rnn_forward
from charrnn.kernels.simd import (get, lanes, load, pointer, pointer_float64, pointer_int32, pointer_int64, put, store,
                                  zeros)
from charrnn.kernels.softmax import add_output_bias, softmax_loss
from charrnn.kernels.tile import product, product_t

LOGITS, LOSSES, GRADIENTS = range(3)  # what a chunk is run for

# The table of a chunk: the plan (layout.py), then the sizes and switches of this call, then the addresses of the arrays.
# KEY is the uint64 of dropout.step_key, as int64; NUMBERS a float64 array that holds the dropout's scale.
(STEPS, STREAMS, SHARDS, BLOCK, MODE, KEY, PER_STEP, THRESHOLD, NUMBERS, LAYERS, PARAMS, DERIVED, GRADS, IDS, TARGETS, H0, C0,
 HS_AT, CS_AT, XD_AT, X0_AT, DX0_AT, G_AT, Z_AT, DH_AT, DR_AT, DC_AT, DE_AT, LOSSES_AT, NUM_CLAMPS, CLAMPS_AT, CLAMP_VALUES_AT,
 TABLE_SIZE) = range(PLAN_SIZE, PLAN_SIZE + 33)
CLAMP_H, CLAMP_C = range(2)  # what a clamp holds: h alone, or c and with it h = o*tanh(c)
GRADIENT_ROWS = 256  # rows of a weight gradient taken at once, so that they stay in cache while all its tiles use them


@inline
def hold_units(table, l, HS, CS, G, g, panel, h_next, n, stride):
    """Overwrite the units of layer l that are held, in the states that a time step has just written for n streams.

    table    NUM_CLAMPS rows (layer, unit, CLAMP_H or CLAMP_C), int64, and as many (c, h or tanh(c))
    G        the layer's gates: panel 0 at g, the next `panel` numbers on; o of an LSTM is read
    HS, CS   (n, stride) at h_next, written: the layers above and the next time step read them there
    """
    VL, units = lanes(G), table[PLAN_UNITS]
    clamps, values = pointer_int64(table, CLAMPS_AT), pointer(table, CLAMP_VALUES_AT, HS)
    for k in range(table[NUM_CLAMPS]):
        if clamps[3 * k] == l:
            unit = clamps[3 * k + 1]
            o = g + unit // units * panel + 3 * VL + unit % units
            for r in range(n):
                h = get(values, 2 * k + 1)
                if clamps[3 * k + 2] == CLAMP_C:
                    put(CS, h_next + r * stride + unit, get(values, 2 * k))
                    h = get(G, o + r * 4 * VL) * h
                put(HS, h_next + r * stride + unit, h)


@inline
def block_product(plan, width, n, steps, B, X, x, ldx, x_panel, W, w, Y, y, ldy, K, panels, accumulate):
    """Y (+)= X W for the rows (t, b) of n neighbouring streams over some steps; a step's rows lie B rows apart."""
    if n == B:
        product(plan, width, steps * B, X, x, ldx, x_panel, W, w, Y, y, ldy, K, panels, accumulate)
    elif n >= 4 or steps == 1:
        for t in range(steps):
            product(plan, width, n, X, x + t * B * ldx, ldx, x_panel, W, w, Y, y + t * B * ldy, ldy, K, panels, accumulate)
    else:
        for b in range(n):
            product(plan, width, steps, X, x + b * ldx, B * ldx, x_panel, W, w, Y, y + b * ldy, B * ldy, K, panels, accumulate)


@inline
def layer_output(plan, l, T, B, HS, XD, dropping):
    """Return (array, offset) of row 0 of what layer l gives upward."""
    stride = plan[PLAN_STRIDE]
    if dropping:
        return XD, l * T * B * stride
    return HS, (l * (T + 1) + 1) * B * stride


@inline
def embed(plan, params, derived, ids, X0, row):
    """Copy the embedding of one row's character; a tied one is read from the transpose of the output weights."""
    VL, stride, character = lanes(X0), plan[PLAN_EMBEDDING_STRIDE], np.int64(ids[row])
    if plan[PLAN_TIED]:
        wide = plan[PLAN_BACK_WIDTH] * VL
        rows = plan[PLAN_OUT_PANELS] * plan[PLAN_OUT_WIDTH] * VL
        for u in range(0, stride, VL):
            store(X0, row * stride + u, load(derived, plan[PLAN_OUT_T_AT] + ((u // wide) * rows + character) * wide + u % wide))
    else:
        for u in range(0, stride, VL):
            store(X0, row * stride + u, load(params, plan[PLAN_EMBEDDING_AT] + character * stride + u))


@inline
def layer_products(plan, layers, l, params, derived, ids, HS, XD, X0, G, T, B, lo, n, t0, t1, dropping):
    """G = x Wx for the block's rows of layer l: row lookups for characters, products otherwise."""
    VL, R, P, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_STRIDE]
    width = plan[PLAN_X_WIDTH]
    wide, work, at = width * VL, 4 * VL, l * plan[PLAN_PANELS] * R * 4 * VL
    weights, K = layers[l * LAYER_SIZE + LAYER_X], layers[l * LAYER_SIZE + LAYER_INPUT]
    first = t0 * B + lo
    for p in range(P):
        if l == 0 and plan[PLAN_EMBEDDING] == 0:
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    source = weights + (p * K + np.int64(ids[row])) * wide
                    for u in range(0, wide, VL):
                        store(G, at + (p * R + row) * work + u, load(params, source + u))
        elif l == 0:
            block_product(plan, width, n, t1 - t0, B, X0, first * plan[PLAN_EMBEDDING_STRIDE], plan[PLAN_EMBEDDING_STRIDE], 0,
                          params, weights + p * K * wide, G, at + (p * R + first) * work, work, K, 1, 0)
        else:
            X, x = layer_output(plan, l - 1, T, B, HS, XD, dropping)
            block_product(plan, width, n, t1 - t0, B, X, x + first * stride, stride, 0,
                          params, weights + p * K * wide, G, at + (p * R + first) * work, work, K, 1, 0)
        if width == 3:  # gru: the recurrent part of n starts from nothing
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    store(G, at + (p * R + row) * work + 3 * VL, zeros(G))


@inline
def output_block(plan, params, targets, HS, XD, Z, losses, T, B, lo, n, t0, t1, dropping, mode):
    """Run the output layer over the steps t0..t1; with targets, the loss and where asked the gradient of the logits."""
    VL, R, H, stride = lanes(Z), T * B, plan[PLAN_HIDDEN], plan[PLAN_STRIDE]
    V, panels, width = plan[PLAN_VOCAB], plan[PLAN_OUT_PANELS], plan[PLAN_OUT_WIDTH]
    wide, first = width * VL, t0 * B + lo
    X, x = layer_output(plan, plan[PLAN_LAYERS] - 1, T, B, HS, XD, dropping)
    for q in range(panels):
        block_product(plan, width, n, t1 - t0, B, X, x + first * stride, stride, 0, params, plan[PLAN_OUT_AT] + q * H * wide,
                      Z, (q * R + first) * wide, wide, H, 1, 0)
    scale = 1.0 / R
    for t in range(t0, t1):
        for row in range(t * B + lo, t * B + lo + n):
            if mode == LOGITS:
                add_output_bias(params, plan[PLAN_OUT_BIAS_AT], Z, row, R, V, panels, width)
            else:
                losses[row] = softmax_loss(params, plan[PLAN_OUT_BIAS_AT], Z, row, R, V, panels, width,
                                           np.int64(targets[row]), scale, mode == GRADIENTS)


@inline
def matrix_gradient(plan, width, X, x, ldx, D, d, ldd, grads, at, K, R):
    """grads[at] (K, width lanes) = X' D, summed over the R rows in ascending order, some rows at a time."""
    VL = lanes(grads)
    for r in range(0, R, GRADIENT_ROWS):
        product_t(plan, width, K, X, x + r * ldx, ldx, D, d + r * ldd, ldd, grads, at, width * VL, min(GRADIENT_ROWS, R - r), np.int64(r > 0))


@inline
def row_sums(width, D, d, ldd, grads, at, R):
    """grads[at] (width lanes) = the sum of D's rows."""
    VL = lanes(grads)
    for v in range(width):
        total = zeros(grads)
        for r in range(R):
            total = total + load(D, d + r * ldd + v * VL)
        store(grads, at + v * VL, total)


@inline
def lookup_gradient(ids, width, V, D, d, ldd, grads, at, row_stride, R):
    """grads[at + character*row_stride] += each row of D: the gradient of a row lookup."""
    VL = lanes(grads)
    for c in range(V):
        for v in range(width):
            store(grads, at + c * row_stride + v * VL, zeros(grads))
    for r in range(R):
        to = at + np.int64(ids[r]) * row_stride
        for v in range(width):
            store(grads, to + v * VL, load(grads, to + v * VL) + load(D, d + r * ldd + v * VL))


@inline
def gradient_item(item, plan, layers, ids, HS, XD, X0, DX0, G, Z, grads, DE, T, B, dropping):
    """Compute one item of the weight gradients: a panel of a layer's Wh and b, of its Wx, of the output, or of the embedding."""
    VL, R, P, H, L, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_HIDDEN], plan[PLAN_LAYERS], plan[PLAN_STRIDE]
    work = 4 * VL
    if item < 2 * L * P:
        l, p = item // (2 * P), (item // 2) % P
        g = (l * P + p) * R * work
        if item % 2 == 0:
            width = plan[PLAN_H_WIDTH]
            matrix_gradient(plan, width, HS, l * (T + 1) * B * stride, stride, G, g + plan[PLAN_H_COLUMN], work,
                            grads, layers[l * LAYER_SIZE + LAYER_H] + p * H * width * VL, H, R)
            row_sums(4, G, g, work, grads, layers[l * LAYER_SIZE + LAYER_BIAS] + p * work, R)
            return
        width, K = plan[PLAN_X_WIDTH], layers[l * LAYER_SIZE + LAYER_INPUT]
        at = layers[l * LAYER_SIZE + LAYER_X] + p * K * width * VL
        if l > 0:
            X, x = layer_output(plan, l - 1, T, B, HS, XD, dropping)
            matrix_gradient(plan, width, X, x, stride, G, g, work, grads, at, K, R)
        elif plan[PLAN_EMBEDDING] > 0:
            matrix_gradient(plan, width, X0, 0, plan[PLAN_EMBEDDING_STRIDE], G, g, work, grads, at, K, R)
        else:
            lookup_gradient(ids, width, K, G, g, work, grads, at, width * VL, R)
        return
    item -= 2 * L * P
    if item < plan[PLAN_OUT_PANELS]:
        width = plan[PLAN_OUT_WIDTH]
        X, x = layer_output(plan, L - 1, T, B, HS, XD, dropping)
        z = item * R * width * VL
        matrix_gradient(plan, width, X, x, stride, Z, z, width * VL, grads, plan[PLAN_OUT_AT] + item * H * width * VL, H, R)
        row_sums(width, Z, z, width * VL, grads, plan[PLAN_OUT_BIAS_AT] + item * width * VL, R)
        return
    item -= plan[PLAN_OUT_PANELS]
    e_stride = plan[PLAN_EMBEDDING_STRIDE]
    if plan[PLAN_TIED]:
        lookup_gradient(ids, 1, plan[PLAN_VOCAB], DX0, item * VL, e_stride, DE, item * VL, e_stride, R)
    else:
        lookup_gradient(ids, 1, plan[PLAN_VOCAB], DX0, item * VL, e_stride, grads, plan[PLAN_EMBEDDING_AT] + item * VL, e_stride, R)


@inline
def add_tied_gradient(plan, DE, grads, panel):
    """Add the gradient that the embedding DE (V, ES) received to one panel of the output weights."""
    VL = lanes(grads)
    wide, H, stride = plan[PLAN_OUT_WIDTH] * VL, plan[PLAN_HIDDEN], plan[PLAN_EMBEDDING_STRIDE]
    for c in range(panel * wide, min((panel + 1) * wide, plan[PLAN_VOCAB])):
        for u in range(H):
            at = plan[PLAN_OUT_AT] + (panel * H + u) * wide + c % wide
            put(grads, at, get(grads, at) + get(DE, c * stride + u))


def count_gradient_items(layout):
    """Return how many items weight_gradients is cut into."""
    return 2 * layout.num_layers * layout.panels + layout.out_panels + layout.embedding_stride // layout.lanes


def _weight_gradients(table, like, item):
    """Compute one item of the gradient from what the shards left in the workspace."""
    gradient_item(item, table, pointer_int64(table, LAYERS), pointer_int32(table, IDS), pointer(table, HS_AT, like),
                  pointer(table, XD_AT, like), pointer(table, X0_AT, like), pointer(table, DX0_AT, like),
                  pointer(table, G_AT, like), pointer(table, Z_AT, like), pointer(table, GRADS, like),
                  pointer(table, DE_AT, like), table[STEPS], table[STREAMS], table[THRESHOLD] > 0)


def _tied_gradients(table, like, item):
    """Add what the embedding received to the output weights it is tied to, one panel of them."""
    add_tied_gradient(table, pointer(table, DE_AT, like), pointer(table, GRADS, like), item)


weight_gradients = Items(_weight_gradients)  # item: 0 .. count_gradient_items(layout)
tied_gradients = Items(_tied_gradients)      # item: a panel of the output layer, after weight_gradients


def _make_chunk(cell, gates_forward, gates_backward):
    """Return the work items that run a shard of one cell, from the elementwise parts of its time step."""
    @inline
    def forward_block(plan, layers, params, derived, ids, HS, CS, XD, X0, G, T, B, lo, n, t0, t1, key, per_step,
                      threshold, scale):
        """Run all layers over the steps t0..t1 for the n streams from lo on."""
        VL, R, P, H, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_HIDDEN], plan[PLAN_STRIDE]
        units, width, column = plan[PLAN_UNITS], plan[PLAN_H_WIDTH], plan[PLAN_H_COLUMN]
        work = 4 * VL
        dropping = threshold > 0
        if plan[PLAN_EMBEDDING] > 0:
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    embed(plan, params, derived, ids, X0, row)
        for l in range(plan[PLAN_LAYERS]):
            layer_products(plan, layers, l, params, derived, ids, HS, XD, X0, G, T, B, lo, n, t0, t1, dropping)
            for t in range(t0, t1):
                h_prev = ((l * (T + 1) + t) * B + lo) * stride
                h_next = h_prev + B * stride
                for p in range(P):
                    g = ((l * P + p) * R + t * B + lo) * work
                    product(plan, width, n, HS, h_prev, stride, 0, params, layers[l * LAYER_SIZE + LAYER_H] + p * H * width * VL,
                            G, g + column, work, H, 1, 1)
                    gates_forward(params, layers[l * LAYER_SIZE + LAYER_BIAS] + p * work, G, g, HS, CS, h_prev + p * units,
                                  h_next + p * units, n, stride)
                if plan[NUM_CLAMPS] > 0:
                    hold_units(plan, l, HS, CS, G, (l * P * R + t * B + lo) * work, R * work, h_next, n, stride)
            if dropping:
                for t in range(t0, t1):
                    for b in range(lo, lo + n):
                        drop_row(HS, ((l * (T + 1) + t + 1) * B + b) * stride, XD, (l * R + t * B + b) * stride, stride,
                                 key, l, t * B * per_step + b, threshold, scale)

    @inline
    def backward_block(plan, layers, derived, HS, CS, X0, DX0, G, Z, DH, DR, DC, T, B, lo, n, t0, t1, key,
                       per_step, threshold, scale):
        """Take the gradient of the logits down through all layers over the steps t1..t0; G becomes the gradients of its sums."""
        VL, R, P, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_STRIDE]
        units, column, direct = plan[PLAN_UNITS], plan[PLAN_H_COLUMN], plan[PLAN_H_DIRECT]
        width = plan[PLAN_BACK_WIDTH]
        wide, work, first = width * VL, 4 * VL, t0 * B + lo
        h_rows, x_rows = plan[PLAN_H_WIDTH] * VL, plan[PLAN_X_WIDTH] * VL
        out_rows, out_panels = plan[PLAN_OUT_WIDTH] * VL, plan[PLAN_OUT_PANELS]
        for q in range(stride // wide):
            block_product(plan, width, n, t1 - t0, B, Z, first * out_rows, out_rows, R * out_rows,
                          derived, plan[PLAN_OUT_T_AT] + q * out_panels * out_rows * wide,
                          DH, lo * stride + q * wide, stride, out_rows, out_panels, 0)
        for l in range(plan[PLAN_LAYERS] - 1, -1, -1):
            if threshold > 0:
                for t in range(t0, t1):
                    for b in range(lo, lo + n):
                        at = ((t - t0) * B + b) * stride
                        drop_row(DH, at, DH, at, stride, key, l, t * B * per_step + b, threshold, scale)
            carry = (l * B + lo) * stride
            for t in range(t1 - 1, t0 - 1, -1):
                h_prev = ((l * (T + 1) + t) * B + lo) * stride
                h_next = h_prev + B * stride
                dh = ((t - t0) * B + lo) * stride
                for p in range(P):
                    gates_backward(G, ((l * P + p) * R + t * B + lo) * work, HS, CS, h_prev + p * units, h_next + p * units,
                                   DH, dh + p * units, DR, carry + p * units, DC, n, stride)
                g = (l * P * R + t * B + lo) * work
                for q in range(stride // wide):
                    product(plan, width, n, G, g + column, work, R * work, derived, layers[l * LAYER_SIZE + LAYER_H_T] + q * P * h_rows * wide,
                            DR, carry + q * wide, stride, h_rows, P, direct)
            g = (l * P * R + first) * work
            if l > 0:
                for q in range(stride // wide):
                    block_product(plan, width, n, t1 - t0, B, G, g, work, R * work, derived,
                                  layers[l * LAYER_SIZE + LAYER_X_T] + q * P * x_rows * wide, DH, lo * stride + q * wide, stride, x_rows, P, 0)
            elif plan[PLAN_EMBEDDING] > 0:
                e_width, e_stride = plan[PLAN_EMBEDDING_BACK_WIDTH], plan[PLAN_EMBEDDING_STRIDE]
                for q in range(e_stride // (e_width * VL)):
                    block_product(plan, e_width, n, t1 - t0, B, G, g, work, R * work, derived,
                                  layers[l * LAYER_SIZE + LAYER_X_T] + q * P * x_rows * e_width * VL,
                                  DX0, first * e_stride + q * e_width * VL, e_stride, x_rows, P, 0)

    @inline
    def run_forward(table, like, lo, n):
        """Carry the n streams from lo on through the whole chunk; leave the loss, or its gradient at the logits."""
        plan, layers, params = table, pointer_int64(table, LAYERS), pointer(table, PARAMS, like)
        derived, ids, targets = pointer(table, DERIVED, like), pointer_int32(table, IDS), pointer_int32(table, TARGETS)
        h0, c0, HS, CS = (pointer(table, H0, like), pointer(table, C0, like), pointer(table, HS_AT, like),
                          pointer(table, CS_AT, like))
        XD, X0, G, Z = (pointer(table, XD_AT, like), pointer(table, X0_AT, like), pointer(table, G_AT, like),
                        pointer(table, Z_AT, like))
        losses, scale = pointer_float64(table, LOSSES_AT), pointer_float64(table, NUMBERS)[0]
        T, B, block, mode, threshold = table[STEPS], table[STREAMS], table[BLOCK], table[MODE], table[THRESHOLD]
        key, per_step = np.uint64(table[KEY]), table[PER_STEP]
        VL, stride = lanes(G), plan[PLAN_STRIDE]
        for l in range(plan[PLAN_LAYERS]):
            for u in range(0, n * stride, VL):
                store(HS, (l * (T + 1) * B + lo) * stride + u, load(h0, (l * B + lo) * stride + u))
                store(CS, (l * (T + 1) * B + lo) * stride + u, load(c0, (l * B + lo) * stride + u))
        for t0 in range(0, T, block):
            t1 = min(T, t0 + block)
            forward_block(plan, layers, params, derived, ids, HS, CS, XD, X0, G, T, B, lo, n, t0, t1, key, per_step,
                          threshold, scale)
            output_block(plan, params, targets, HS, XD, Z, losses, T, B, lo, n, t0, t1, threshold > 0, mode)
        for l in range(plan[PLAN_LAYERS]):
            for u in range(0, n * stride, VL):
                store(h0, (l * B + lo) * stride + u, load(HS, ((l * (T + 1) + T) * B + lo) * stride + u))
                store(c0, (l * B + lo) * stride + u, load(CS, ((l * (T + 1) + T) * B + lo) * stride + u))

    @inline
    def run_backward(table, like, lo, n):
        """Take the gradient at the logits back through the whole chunk for the n streams from lo on."""
        plan, layers, derived = table, pointer_int64(table, LAYERS), pointer(table, DERIVED, like)
        HS, CS, X0, DX0 = (pointer(table, HS_AT, like), pointer(table, CS_AT, like), pointer(table, X0_AT, like),
                           pointer(table, DX0_AT, like))
        G, Z, DH, DR, DC = (pointer(table, G_AT, like), pointer(table, Z_AT, like), pointer(table, DH_AT, like),
                            pointer(table, DR_AT, like), pointer(table, DC_AT, like))
        T, B, block, threshold = table[STEPS], table[STREAMS], table[BLOCK], table[THRESHOLD]
        key, per_step, scale = np.uint64(table[KEY]), table[PER_STEP], pointer_float64(table, NUMBERS)[0]
        VL, stride = lanes(G), plan[PLAN_STRIDE]
        for l in range(plan[PLAN_LAYERS]):
            for u in range(0, n * stride, VL):
                store(DR, (l * B + lo) * stride + u, zeros(DR))
                store(DC, (l * B + lo) * stride + u, zeros(DC))
        for t0 in range((T - 1) // block * block, -1, -block):
            backward_block(plan, layers, derived, HS, CS, X0, DX0, G, Z, DH, DR, DC, T, B, lo, n, t0, min(T, t0 + block),
                           key, per_step, threshold, scale)

    def train(table, like, item):
        """Run one shard forward and back."""
        B, shards = table[STREAMS], table[SHARDS]
        lo = item * B // shards
        n = (item + 1) * B // shards - lo
        run_forward(table, like, lo, n)
        run_backward(table, like, lo, n)

    def read(table, like, item):
        """Run one shard forward."""
        B, shards = table[STREAMS], table[SHARDS]
        lo = item * B // shards
        run_forward(table, like, lo, (item + 1) * B // shards - lo)

    return Items(train, f"{cell}_train"), Items(read, f"{cell}_read")


# For each cell the items of a chunk, a shard each: with the gradients, and without.
TRAIN, READ = {}, {}
for _cell, _forward, _backward in (("lstm", lstm_forward, lstm_backward), ("gru", gru_forward, gru_backward),
                                   ("rnn", rnn_forward, rnn_backward)):
    TRAIN[_cell], READ[_cell] = _make_chunk(_cell, _forward, _backward)
