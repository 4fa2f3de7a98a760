"""One chunk of truncated backpropagation through time: T steps, L layers, B streams; forward, loss, backward, gradients.

Streams are dealt to shards, and a thread carries its shard through all steps and layers, forward and back, meeting the
others only at the weight gradients; there each panel is one thread's and its rows are summed in ascending order. So no
result depends on the number of threads. Within a shard the chunk is walked in blocks of steps, layer by layer, so that
what one layer wrote is still in cache when the next reads it.

The arrays, all flat, with R = T*B rows in the order t*B + b:

    params, derived, grads   the parameters, their transposes, their gradients (layout.py); derived and grads share their memory:
                             the shards read the one, then the weight gradients write the other
    ids, targets (R,)        characters in and the ones to predict
    h0, c0 (L, B, S)         the carry: read at the start, the state after the chunk written at the end
    HS (L, T+1, B, S)        states; slot 0 the carry in, slot t+1 the state after step t; S the padded stride of H
    CS                       an LSTM's cell states: as HS where they are kept (table[KEPT]); otherwise (block+1, B, S), those of the
                             layer and block of steps at hand, which the backward pass computes again from the gates
    CK (L, blocks, B, S)     the cell state before each block, for that
    XD     (L, R, S)         outputs after dropout (only with dropout)
    HG     (L, R, S)         h as the gates made it, for the way back (only with zoneout and gradients; not of a gru)
    DP     (2, B, S)         the gradients of h and c that pass by a time step on the way back (only with zoneout)
    G      (L, P, R, 4 lanes)   gates, then the gradients of their sums
    X0, DX0 (R, ES)          embeddings of the characters and their gradient (only with an embedding)
    Z      (Q, R, out width lanes)   logits, then their gradients
    DH     (block, B, S)     the gradient coming down into a layer
    DR, DC (L, B, S)         the gradients of the carry: of h and c before the block at hand, in the end of h0 and c0
    XN     (L, P, R, 4 lanes)   the normalised sums, and RS (L, R, 4) what they were multiplied by for that (only with layer normalisation)
    DN     (2, L, P, B, 4 lanes)   the gradients of biases and gains, each stream's own: its steps summed from the last to the first (likewise)
    losses (R,) float64      nats

Products read words. A word is a number, and the operands are the arrays above (pack 1); or it is two neighbours as bfloat16
(pack 2), and the operands are rounded copies, of a block of steps only, rows `block*B` of them, padded to whole vectors:

    weights, derived         all weights as words, and transposed (layout.py)
    HW (2, block+1, B, SW)   states of the layer at hand and of the one below, or what dropout left of them
    XW (rows, ES/2), GW (P, rows, 2 lanes), ZW (Q, rows, out width lanes / 2)     copies of X0, G and Z
    HP (L, 2, R/2, S), XP (R/2, ES)   pairs of rows, for the weight gradients: of h before each step, and of what the layer
                             gives upward; of X0. The pairs of G and Z take the place of the first half of their own panels.
"""

import numpy as np

from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.dropout import drop_row
from charrnn.kernels.gru import gru_backward, gru_forward
from charrnn.kernels.layernorm import normalise_backward, normalise_sums
from charrnn.kernels.layout import (
    LAYER_BIAS,
    LAYER_GAIN,
    LAYER_H,
    LAYER_H_T,
    LAYER_H_WORDS,
    LAYER_INPUT,
    LAYER_SIZE,
    LAYER_X,
    LAYER_X_T,
    LAYER_X_WORDS,
    PLAN_BACK_PANELS,
    PLAN_BACK_WIDTH,
    PLAN_EMBEDDING,
    PLAN_EMBEDDING_AT,
    PLAN_EMBEDDING_BACK_WIDTH,
    PLAN_EMBEDDING_STRIDE,
    PLAN_H_COLUMN,
    PLAN_H_DIRECT,
    PLAN_H_WIDTH,
    PLAN_HIDDEN,
    PLAN_LAYERS,
    PLAN_NORM,
    PLAN_OUT_AT,
    PLAN_OUT_BIAS_AT,
    PLAN_OUT_DEPTH,
    PLAN_OUT_PANELS,
    PLAN_OUT_T_AT,
    PLAN_OUT_WIDTH,
    PLAN_OUT_WORDS,
    PLAN_PANELS,
    PLAN_SIZE,
    PLAN_STRIDE,
    PLAN_STRIDE_WORDS,
    PLAN_TIED,
    PLAN_UNITS,
    PLAN_VOCAB,
    PLAN_X_WIDTH,
)
from charrnn.kernels.lstm import lstm_backward, lstm_cell_state, lstm_forward
from charrnn.kernels.rnn import rnn_backward, rnn_forward
from charrnn.kernels.simd import (
    get,
    lanes,
    load,
    pointer,
    pointer_float64,
    pointer_int32,
    pointer_int64,
    put,
    store,
    zeros,
)
from charrnn.kernels.softmax import add_output_bias, softmax_loss
from charrnn.kernels.tile import product, product_t
from charrnn.kernels.updates import pair_rows
from charrnn.kernels.words import narrow_row
from charrnn.kernels.zoneout import FIRST_C, FIRST_H, OFF, move_rows, part_rows, zone_rows

LOGITS, LOSSES, GRADIENTS = range(3)  # what a chunk is run for

# The table of a chunk: the plan (layout.py), then the sizes and switches of this call, then the addresses of the arrays.
# KEY is the uint64 of dropout.step_key, as int64; NUMBERS a float64 array that holds the dropout's scale and the zoneout's rate;
# ZONING one of zoneout.py's OFF, MASKS, EXPECTATION.
(
    STEPS,
    STREAMS,
    SHARDS,
    BLOCK,
    MODE,
    KEY,
    PER_STEP,
    THRESHOLD,
    NUMBERS,
    LAYERS,
    PARAMS,
    DERIVED,
    GRADS,
    IDS,
    TARGETS,
    H0,
    C0,
    WEIGHTS,
    HW_AT,
    XW_AT,
    GW_AT,
    ZW_AT,
    HP_AT,
    XP_AT,
    HS_AT,
    CS_AT,
    CK_AT,
    KEPT,
    XD_AT,
    X0_AT,
    DX0_AT,
    G_AT,
    Z_AT,
    DH_AT,
    DR_AT,
    DC_AT,
    DE_AT,
    LOSSES_AT,
    NUM_CLAMPS,
    CLAMPS_AT,
    CLAMP_VALUES_AT,
    ZONING,
    ZONE_THRESHOLD,
    HG_AT,
    DP_AT,
    XN_AT,
    RS_AT,
    DN_AT,
    TABLE_SIZE,
) = range(PLAN_SIZE, PLAN_SIZE + 49)
CLAMP_H, CLAMP_C = range(2)  # what a clamp holds: h alone, or c and with it h = o*tanh(c)
SCALE, ZONE_RATE = range(2)  # the places of NUMBERS
GRADIENT_ROWS = 256  # rows of a weight gradient taken at once, so that they stay in cache while all its tiles use them


@inline
def hold_units(table, l, HS, h_next, CS, c_next, G, g, panel, n, stride):
    """Overwrite the units of layer l that are held, in the states that a time step has just written for n streams.

    table    NUM_CLAMPS rows (layer, unit, CLAMP_H or CLAMP_C), int64, and as many (c, h or tanh(c))
    G        the layer's gates: panel 0 at g, the next `panel` numbers on; o of an LSTM is read
    HS, CS   (n, stride) at h_next and c_next, written: the layers above and the next time step read them there
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
                    put(CS, c_next + r * stride + unit, get(values, 2 * k))
                    h = get(G, o + r * 4 * VL) * h
                put(HS, h_next + r * stride + unit, h)


@inline
def zone_states(table, X, first_layer, l, t, lo, prev, new, n, stride):
    """Let units of layer l keep their h (first_layer FIRST_H) or c (FIRST_C) at step t: X (n, stride) at new, from that at prev."""
    zone_rows(
        table[ZONING],
        X,
        prev,
        new,
        n,
        stride,
        np.uint64(table[KEY]),
        first_layer + l,
        t * table[STREAMS] + lo,
        table[ZONE_THRESHOLD],
        pointer_float64(table, NUMBERS)[ZONE_RATE],
    )


@inline
def part_gradients(table, D, d, DP, p, first_layer, l, t, lo, n, stride):
    """Part the gradient D of h or c after step t: the gates' in its place, that of the state before it in DP."""
    part_rows(
        table[ZONING],
        D,
        d,
        DP,
        p,
        n,
        stride,
        np.uint64(table[KEY]),
        first_layer + l,
        t * table[STREAMS] + lo,
        table[ZONE_THRESHOLD],
        pointer_float64(table, NUMBERS)[ZONE_RATE],
    )


@inline
def block_product(plan, width, n, steps, B, X, x, ldx, x_panel, W, w, Y, y, ldy, K, panels, accumulate):
    """Y (+)= X W for the rows (t, b) of n neighbouring streams over some steps; a step's rows lie B rows apart."""
    if n == B:
        product(plan, width, steps * B, X, x, ldx, x_panel, W, w, Y, y, ldy, K, panels, accumulate)
    elif n >= 4 or steps == 1:
        for t in range(steps):
            product(
                plan, width, n, X, x + t * B * ldx, ldx, x_panel, W, w, Y, y + t * B * ldy, ldy, K, panels, accumulate
            )
    else:
        for b in range(n):
            product(
                plan,
                width,
                steps,
                X,
                x + b * ldx,
                B * ldx,
                x_panel,
                W,
                w,
                Y,
                y + b * ldy,
                B * ldy,
                K,
                panels,
                accumulate,
            )


@inline
def layer_output(plan, l, T, B, HS, XD, dropping):
    """Return (array, offset) of row 0 of what layer l gives upward."""
    stride = plan[PLAN_STRIDE]
    if dropping:
        return XD, l * T * B * stride
    return HS, (l * (T + 1) + 1) * B * stride


@inline
def output_words(plan, l, t0, T, B, block, HS, XD, HW, dropping, pack):
    """Return (array, offset in words) of the block's first row of what layer l gives upward."""
    if pack == 1:
        X, x = layer_output(plan, l, T, B, HS, XD, dropping)
        return X, x + t0 * B * plan[PLAN_STRIDE]
    return HW, ((l % 2) * (block + 1) + 1) * B * plan[PLAN_STRIDE_WORDS]


@inline
def embedding_words(plan, VL, pack):
    """Return the stride of the embeddings as words."""
    vectors = plan[PLAN_EMBEDDING_STRIDE] // VL
    return (vectors + pack - 1) // pack * VL


@inline
def logit_words(plan, VL, pack):
    """Return the stride of a panel of logits as words."""
    return (plan[PLAN_OUT_WIDTH] + pack - 1) // pack * VL


@inline
def narrow_rows(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them, as words of two neighbours as bfloat16."""
    VL = lanes(X)
    for u in range(0, count, 2 * VL):
        second = load(X, x + u + VL) if u + VL < count else zeros(X)
        store(Y, y + u // 2, narrow_row(load(X, x + u), second))


@inline
def embed_row(plan, params, X0, row, character):
    """Copy a character's embedding; a tied one is a column of the output weights."""
    VL, stride = lanes(X0), plan[PLAN_EMBEDDING_STRIDE]
    if plan[PLAN_TIED]:
        wide, H = plan[PLAN_OUT_WIDTH] * VL, plan[PLAN_HIDDEN]
        column = plan[PLAN_OUT_AT] + (character // wide) * H * wide + character % wide
        for u in range(H):
            put(X0, row * stride + u, get(params, column + u * wide))
    else:
        for u in range(0, stride, VL):
            store(X0, row * stride + u, load(params, plan[PLAN_EMBEDDING_AT] + character * stride + u))


@inline
def layer_products(
    plan, layers, l, params, weights, ids, HS, XD, HW, X0, XW, G, T, B, lo, n, t0, t1, block, dropping, pack
):
    """G = x Wx for the block's rows of layer l: row lookups for characters, products otherwise."""
    VL, R, P, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_STRIDE_WORDS]
    width = plan[PLAN_X_WIDTH]
    wide, work, at = width * VL, 4 * VL, l * plan[PLAN_PANELS] * R * 4 * VL
    K = layers[l * LAYER_SIZE + LAYER_INPUT]
    words, depth = layers[l * LAYER_SIZE + LAYER_X_WORDS], (K + pack - 1) // pack
    first = t0 * B + lo
    for p in range(P):
        if l == 0 and plan[PLAN_EMBEDDING] == 0:
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    source = layers[LAYER_X] + (p * K + np.int64(ids[row])) * wide
                    for u in range(0, wide, VL):
                        store(G, at + (p * R + row) * work + u, load(params, source + u))
        elif l == 0:
            e_stride = embedding_words(plan, VL, pack)
            block_product(
                plan,
                width,
                n,
                t1 - t0,
                B,
                XW,
                (first if pack == 1 else lo) * e_stride,
                e_stride,
                0,
                weights,
                words + p * depth * wide,
                G,
                at + (p * R + first) * work,
                work,
                depth,
                1,
                0,
            )
        else:
            X, x = output_words(plan, l - 1, t0, T, B, block, HS, XD, HW, dropping, pack)
            block_product(
                plan,
                width,
                n,
                t1 - t0,
                B,
                X,
                x + lo * stride,
                stride,
                0,
                weights,
                words + p * depth * wide,
                G,
                at + (p * R + first) * work,
                work,
                depth,
                1,
                0,
            )
        if width == 3:  # gru: the recurrent part of n starts from nothing
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    store(G, at + (p * R + row) * work + 3 * VL, zeros(G))


@inline
def output_block(
    plan, params, weights, targets, HS, XD, HW, Z, losses, T, B, lo, n, t0, t1, block, dropping, mode, pack
):
    """Run the output layer over the steps t0..t1; with targets, the loss and where asked the gradient of the logits."""
    VL, R, stride, depth = lanes(Z), T * B, plan[PLAN_STRIDE_WORDS], (plan[PLAN_HIDDEN] + pack - 1) // pack
    V, panels, width = plan[PLAN_VOCAB], plan[PLAN_OUT_PANELS], plan[PLAN_OUT_WIDTH]
    wide, first = width * VL, t0 * B + lo
    X, x = output_words(plan, plan[PLAN_LAYERS] - 1, t0, T, B, block, HS, XD, HW, dropping, pack)
    for q in range(panels):
        block_product(
            plan,
            width,
            n,
            t1 - t0,
            B,
            X,
            x + lo * stride,
            stride,
            0,
            weights,
            plan[PLAN_OUT_WORDS] + q * depth * wide,
            Z,
            (q * R + first) * wide,
            wide,
            depth,
            1,
            0,
        )
    scale = 1.0 / R
    for t in range(t0, t1):
        for row in range(t * B + lo, t * B + lo + n):
            if mode == LOGITS:
                add_output_bias(params, plan[PLAN_OUT_BIAS_AT], Z, row, R, V, panels, width)
            else:
                losses[row] = softmax_loss(
                    params,
                    plan[PLAN_OUT_BIAS_AT],
                    Z,
                    row,
                    R,
                    V,
                    panels,
                    width,
                    np.int64(targets[row]),
                    scale,
                    mode == GRADIENTS,
                )


@inline
def matrix_gradient(plan, width, X, x, ldx, D, d, ldd, grads, at, K, R):
    """grads[at] (K, width lanes) = X' D, summed over the R rows in ascending order, some rows at a time."""
    VL = lanes(grads)
    for r in range(0, R, GRADIENT_ROWS):
        product_t(
            plan,
            width,
            K,
            X,
            x + r * ldx,
            ldx,
            D,
            d + r * ldd,
            ldd,
            grads,
            at,
            width * VL,
            min(GRADIENT_ROWS, R - r),
            np.int64(r > 0),
        )


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
def layer_rows(plan, l, T, B, HS, XD, HP, dropping, pack):
    """Return (array, offset) of the first row, or pair of rows, of what layer l gave upward."""
    if pack == 1:
        return layer_output(plan, l, T, B, HS, XD, dropping)
    return HP, (2 * l + 1) * ((T * B + 1) // 2) * plan[PLAN_STRIDE]


@inline
def pair_item(item, plan, layers, ids, HS, XD, X0, G, Z, HP, XP, grads, T, B, dropping):
    """Make one item's pairs of rows for the weight gradients, and what is summed from the single rows: biases, and lookups.

    Items: a panel of the output, a panel of a layer, a layer's states before each step, what a layer gave upward, X0.
    """
    VL, R, P, L, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_LAYERS], plan[PLAN_STRIDE]
    work, rows = 4 * VL, (R + 1) // 2
    if item < plan[PLAN_OUT_PANELS]:
        wide = plan[PLAN_OUT_WIDTH] * VL
        row_sums(plan[PLAN_OUT_WIDTH], Z, item * R * wide, wide, grads, plan[PLAN_OUT_BIAS_AT] + item * wide, R)
        pair_rows(Z, item * R * wide, wide, R, Z, item * R * wide, wide, wide)
        return
    item -= plan[PLAN_OUT_PANELS]
    if item < L * P:
        l, p, width, V = item // P, item % P, plan[PLAN_X_WIDTH], plan[PLAN_VOCAB]
        g = item * R * work
        if plan[PLAN_NORM] == 0:
            row_sums(4, G, g, work, grads, layers[l * LAYER_SIZE + LAYER_BIAS] + p * work, R)
        if l == 0 and plan[PLAN_EMBEDDING] == 0:
            lookup_gradient(ids, width, V, G, g, work, grads, layers[LAYER_X] + p * V * width * VL, width * VL, R)
        pair_rows(G, g, work, R, G, g, work, work)
        return
    item -= L * P
    if item < L:
        pair_rows(HS, item * (T + 1) * B * stride, stride, R, HP, 2 * item * rows * stride, stride, stride)
    elif item < 2 * L:
        X, x = layer_output(plan, item - L, T, B, HS, XD, dropping)
        pair_rows(X, x, stride, R, HP, (2 * (item - L) + 1) * rows * stride, stride, stride)
    else:
        e_stride = plan[PLAN_EMBEDDING_STRIDE]
        pair_rows(X0, 0, e_stride, R, XP, 0, e_stride, e_stride)


def count_pair_items(layout):
    """Return how many items pair_gradients is cut into."""
    return layout.out_panels + layout.num_layers * (layout.panels + 2) + (layout.embedding_stride > 0)


@inline
def gradient_item(item, plan, layers, ids, HS, XD, X0, DX0, G, Z, HP, XP, DN, grads, DE, T, B, dropping, pack):
    """Compute one item of the weight gradients: a panel of the output, of a layer's Wh, b and gains, of its Wx, or of the embedding.

    The light ones come last (lookups, in layer 0), so that threads finish together.
    """
    VL, R, P, H, L, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_HIDDEN], plan[PLAN_LAYERS], plan[PLAN_STRIDE]
    work, rows = 4 * VL, (R + pack - 1) // pack
    if item < plan[PLAN_OUT_PANELS]:
        width = plan[PLAN_OUT_WIDTH]
        X, x = layer_rows(plan, L - 1, T, B, HS, XD, HP, dropping, pack)
        z = item * R * width * VL
        matrix_gradient(
            plan, width, X, x, stride, Z, z, width * VL, grads, plan[PLAN_OUT_AT] + item * H * width * VL, H, rows
        )
        if pack == 1:
            row_sums(width, Z, z, width * VL, grads, plan[PLAN_OUT_BIAS_AT] + item * width * VL, R)
        return
    item -= plan[PLAN_OUT_PANELS]
    if item < 2 * L * P:
        l, p = L - 1 - item // (2 * P), item % P
        g = (l * P + p) * R * work
        if item % (2 * P) < P:
            width = plan[PLAN_H_WIDTH]
            X, x = (HS, l * (T + 1) * B * stride) if pack == 1 else (HP, 2 * l * rows * stride)
            matrix_gradient(
                plan,
                width,
                X,
                x,
                stride,
                G,
                g + plan[PLAN_H_COLUMN],
                work,
                grads,
                layers[l * LAYER_SIZE + LAYER_H] + p * H * width * VL,
                H,
                rows,
            )
            if plan[PLAN_NORM] != 0:
                at = (l * P + p) * B * work
                row_sums(4, DN, at, work, grads, layers[l * LAYER_SIZE + LAYER_BIAS] + p * work, B)
                row_sums(4, DN, at + L * P * B * work, work, grads, layers[l * LAYER_SIZE + LAYER_GAIN] + p * work, B)
            elif pack == 1:
                row_sums(4, G, g, work, grads, layers[l * LAYER_SIZE + LAYER_BIAS] + p * work, R)
            return
        width, K = plan[PLAN_X_WIDTH], layers[l * LAYER_SIZE + LAYER_INPUT]
        at = layers[l * LAYER_SIZE + LAYER_X] + p * K * width * VL
        if l > 0:
            X, x = layer_rows(plan, l - 1, T, B, HS, XD, HP, dropping, pack)
            matrix_gradient(plan, width, X, x, stride, G, g, work, grads, at, K, rows)
        elif plan[PLAN_EMBEDDING] > 0:
            X = X0 if pack == 1 else XP
            matrix_gradient(plan, width, X, 0, plan[PLAN_EMBEDDING_STRIDE], G, g, work, grads, at, K, rows)
        elif pack == 1:
            lookup_gradient(ids, width, K, G, g, work, grads, at, width * VL, R)
        return
    item -= 2 * L * P
    e_stride = plan[PLAN_EMBEDDING_STRIDE]
    if plan[PLAN_TIED]:
        lookup_gradient(ids, 1, plan[PLAN_VOCAB], DX0, item * VL, e_stride, DE, item * VL, e_stride, R)
    else:
        lookup_gradient(
            ids, 1, plan[PLAN_VOCAB], DX0, item * VL, e_stride, grads, plan[PLAN_EMBEDDING_AT] + item * VL, e_stride, R
        )


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


def _make_weight_gradients(pack):
    def weight_gradients(table, like, item):
        """Compute one item of the gradient from what the shards left in the workspace."""
        gradient_item(
            item,
            table,
            pointer_int64(table, LAYERS),
            pointer_int32(table, IDS),
            pointer(table, HS_AT, like),
            pointer(table, XD_AT, like),
            pointer(table, X0_AT, like),
            pointer(table, DX0_AT, like),
            pointer(table, G_AT, like),
            pointer(table, Z_AT, like),
            pointer(table, HP_AT, like),
            pointer(table, XP_AT, like),
            pointer(table, DN_AT, like),
            pointer(table, GRADS, like),
            pointer(table, DE_AT, like),
            table[STEPS],
            table[STREAMS],
            table[THRESHOLD] > 0,
            pack,
        )

    return Items(weight_gradients, "weight_gradients" + SUFFIX[pack])


def _pair_gradients(table, like, item):
    """Make the pairs of rows that the weight gradients of bfloat16 are computed from."""
    pair_item(
        item,
        table,
        pointer_int64(table, LAYERS),
        pointer_int32(table, IDS),
        pointer(table, HS_AT, like),
        pointer(table, XD_AT, like),
        pointer(table, X0_AT, like),
        pointer(table, G_AT, like),
        pointer(table, Z_AT, like),
        pointer(table, HP_AT, like),
        pointer(table, XP_AT, like),
        pointer(table, GRADS, like),
        table[STEPS],
        table[STREAMS],
        table[THRESHOLD] > 0,
    )


def _tied_gradients(table, like, item):
    """Add what the embedding received to the output weights it is tied to, one panel of them."""
    add_tied_gradient(table, pointer(table, DE_AT, like), pointer(table, GRADS, like), item)


SUFFIX = {1: "", 2: "_bfloat16"}
WEIGHT_GRADIENTS = {pack: _make_weight_gradients(pack) for pack in SUFFIX}  # item: 0 .. count_gradient_items(layout)
pair_gradients = Items(_pair_gradients)  # item: 0 .. count_pair_items(layout), before the weight gradients of bfloat16
tied_gradients = Items(_tied_gradients)  # item: a panel of the output layer, after the weight gradients


@inline
def copy_rows(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them."""
    for u in range(0, count, lanes(X)):
        store(Y, y + u, load(X, x + u))


def _make_chunk(cell, gates_forward, gates_backward, cell_state, pack):
    """Return the work items that run a shard of one cell, from the elementwise parts of its time step.

    cell_state   computes the cell state again from the gates; None for a cell that has none
    pack         numbers in a word of the products' operands
    """
    has_c, reads_h = cell_state is not None, cell != "gru"  # reads_h: the way back reads h as the gates made it
    if not has_c:
        cell_state = lstm_cell_state  # never called

    @inline
    def forward_block(
        plan,
        layers,
        params,
        weights,
        ids,
        HS,
        CS,
        CK,
        c0,
        kept,
        XD,
        HW,
        X0,
        XW,
        G,
        XN,
        RS,
        T,
        B,
        lo,
        n,
        t0,
        t1,
        key,
        per_step,
        threshold,
        scale,
        block,
        checkpoints,
        keep,
    ):
        """Run all layers over the steps t0..t1 for the n streams from lo on; c0 is carried from block to block."""
        VL, R, P, stride, s_words = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_STRIDE], plan[PLAN_STRIDE_WORDS]
        units, width, column = plan[PLAN_UNITS], plan[PLAN_H_WIDTH], plan[PLAN_H_COLUMN]
        work, depth = 4 * VL, (plan[PLAN_HIDDEN] + pack - 1) // pack
        columns = plan[PLAN_BACK_PANELS] * plan[PLAN_BACK_WIDTH] * VL
        dropping, norm = threshold > 0, plan[PLAN_NORM] != 0
        if plan[PLAN_EMBEDDING] > 0:
            for t in range(t0, t1):
                for row in range(t * B + lo, t * B + lo + n):
                    embed_row(plan, params, X0, row, np.int64(ids[row]))
                    if pack == 2:
                        e_stride = plan[PLAN_EMBEDDING_STRIDE]
                        narrow_rows(X0, row * e_stride, XW, (row - t0 * B) * embedding_words(plan, VL, pack), e_stride)
        for l in range(plan[PLAN_LAYERS]):
            layer_products(
                plan, layers, l, params, weights, ids, HS, XD, HW, X0, XW, G, T, B, lo, n, t0, t1, block, dropping, pack
            )
            words = (l % 2) * (block + 1) * B * s_words  # of the state before the block
            if pack == 2:
                for b in range(lo, lo + n):
                    narrow_rows(HS, ((l * (T + 1) + t0) * B + b) * stride, HW, words + b * s_words, columns)
            c_block = ((l * (T + 1) + t0 if kept else 0) * B + lo) * stride
            if has_c:
                copy_rows(c0, (l * B + lo) * stride, CS, c_block, n * stride)
                if checkpoints:
                    copy_rows(
                        c0,
                        (l * B + lo) * stride,
                        CK,
                        ((l * -(-T // block) + t0 // block) * B + lo) * stride,
                        n * stride,
                    )
            for t in range(t0, t1):
                h_prev = ((l * (T + 1) + t) * B + lo) * stride
                h_next = h_prev + B * stride
                for p in range(P):
                    g = ((l * P + p) * R + t * B + lo) * work
                    A, a = (HS, h_prev) if pack == 1 else (HW, words + ((t - t0) * B + lo) * s_words)
                    product(
                        plan,
                        width,
                        n,
                        A,
                        a,
                        s_words,
                        0,
                        weights,
                        layers[l * LAYER_SIZE + LAYER_H_WORDS] + p * depth * width * VL,
                        G,
                        g + column,
                        work,
                        depth,
                        1,
                        1,
                    )
                    if norm and p < P - 1:
                        continue
                    if norm:
                        row = t * B + lo
                        normalise_sums(
                            plan,
                            params,
                            layers[l * LAYER_SIZE + LAYER_GAIN],
                            G,
                            (l * P * R + row) * work,
                            R * work,
                            n,
                            XN,
                            RS,
                            (l * R + row) * 4,
                            keep,
                        )
                    for q in range(0 if norm else p, p + 1):
                        c_prev = c_block + (t - t0) * B * stride + q * units
                        gates_forward(
                            params,
                            layers[l * LAYER_SIZE + LAYER_BIAS] + q * work,
                            G,
                            ((l * P + q) * R + t * B + lo) * work,
                            HS,
                            h_prev + q * units,
                            h_next + q * units,
                            CS,
                            c_prev,
                            c_prev + B * stride,
                            n,
                            stride,
                        )
                if plan[ZONING] > OFF:
                    if plan[MODE] == GRADIENTS and reads_h:
                        copy_rows(HS, h_next, pointer(plan, HG_AT, HS), ((l * T + t) * B + lo) * stride, n * stride)
                    zone_states(plan, HS, FIRST_H, l, t, lo, h_prev, h_next, n, stride)
                    if has_c:
                        c_prev = c_block + (t - t0) * B * stride
                        zone_states(plan, CS, FIRST_C, l, t, lo, c_prev, c_prev + B * stride, n, stride)
                if plan[NUM_CLAMPS] > 0:
                    hold_units(
                        plan,
                        l,
                        HS,
                        h_next,
                        CS,
                        c_block + (t - t0 + 1) * B * stride,
                        G,
                        (l * P * R + t * B + lo) * work,
                        R * work,
                        n,
                        stride,
                    )
                if pack == 2:
                    for b in range(n):
                        narrow_rows(HS, h_next + b * stride, HW, words + ((t - t0 + 1) * B + lo + b) * s_words, columns)
            if has_c:
                copy_rows(CS, c_block + (t1 - t0) * B * stride, c0, (l * B + lo) * stride, n * stride)
            if dropping:
                for t in range(t0, t1):
                    for b in range(lo, lo + n):
                        drop_row(
                            HS,
                            ((l * (T + 1) + t + 1) * B + b) * stride,
                            XD,
                            (l * R + t * B + b) * stride,
                            stride,
                            key,
                            l,
                            t * B * per_step + b,
                            threshold,
                            scale,
                        )
                        if pack == 2:
                            narrow_rows(
                                XD, (l * R + t * B + b) * stride, HW, words + ((t - t0 + 1) * B + b) * s_words, columns
                            )

    @inline
    def backward_block(
        plan,
        layers,
        params,
        derived,
        HS,
        CS,
        CK,
        kept,
        DX0,
        G,
        GW,
        Z,
        ZW,
        DH,
        DR,
        DC,
        XN,
        RS,
        DN,
        T,
        B,
        lo,
        n,
        t0,
        t1,
        key,
        per_step,
        threshold,
        scale,
        block,
    ):
        """Take the gradient of the logits down through all layers over the steps t1..t0; G becomes the gradients of its sums."""
        VL, R, P, stride = lanes(G), T * B, plan[PLAN_PANELS], plan[PLAN_STRIDE]
        units, column, zoned = plan[PLAN_UNITS], plan[PLAN_H_COLUMN], plan[ZONING] > OFF
        direct = 1 if zoned else plan[PLAN_H_DIRECT]
        HG, DP, passed = pointer(plan, HG_AT, HS), pointer(plan, DP_AT, HS), lo * stride
        width = plan[PLAN_BACK_WIDTH]
        wide, work, first = width * VL, 4 * VL, t0 * B + lo
        g_stride = work // pack
        h_rows, x_rows = plan[PLAN_H_WIDTH] * VL // pack, plan[PLAN_X_WIDTH] * VL // pack
        out_panels = plan[PLAN_OUT_PANELS]
        out_rows, out_depth = plan[PLAN_OUT_WIDTH] * VL // pack, (plan[PLAN_OUT_DEPTH] + pack - 1) // pack
        z_stride = logit_words(plan, VL, pack)
        if pack == 2:
            z_wide = plan[PLAN_OUT_WIDTH] * VL
            for q in range(out_panels):
                for t in range(t0, t1):
                    for b in range(lo, lo + n):
                        narrow_rows(
                            Z, (q * R + t * B + b) * z_wide, ZW, ((q * block + t - t0) * B + b) * z_stride, z_wide
                        )
        Y, y, z_panel = (Z, first * z_stride, R * z_stride) if pack == 1 else (ZW, lo * z_stride, block * B * z_stride)
        for q in range(plan[PLAN_BACK_PANELS]):
            block_product(
                plan,
                width,
                n,
                t1 - t0,
                B,
                Y,
                y,
                z_stride,
                z_panel,
                derived,
                plan[PLAN_OUT_T_AT] + q * out_panels * out_rows * wide,
                DH,
                lo * stride + q * wide,
                stride,
                out_depth,
                out_panels,
                0,
            )
        for l in range(plan[PLAN_LAYERS] - 1, -1, -1):
            if threshold > 0:
                for t in range(t0, t1):
                    for b in range(lo, lo + n):
                        at = ((t - t0) * B + b) * stride
                        drop_row(DH, at, DH, at, stride, key, l, t * B * per_step + b, threshold, scale)
            carry = (l * B + lo) * stride
            c_block = ((l * (T + 1) + t0 if kept else 0) * B + lo) * stride
            if has_c and not kept:
                copy_rows(CK, ((l * -(-T // block) + t0 // block) * B + lo) * stride, CS, c_block, n * stride)
                for t in range(t0, t1 - 1):
                    for p in range(P):
                        c_prev = c_block + (t - t0) * B * stride + p * units
                        cell_state(G, ((l * P + p) * R + t * B + lo) * work, CS, c_prev, c_prev + B * stride, n, stride)
                    if plan[ZONING] > OFF:
                        c_prev = c_block + (t - t0) * B * stride
                        zone_states(plan, CS, FIRST_C, l, t, lo, c_prev, c_prev + B * stride, n, stride)
            for t in range(t1 - 1, t0 - 1, -1):
                h_prev = ((l * (T + 1) + t) * B + lo) * stride
                h_next = h_prev + B * stride
                dh = ((t - t0) * B + lo) * stride
                H, h = HS, h_next  # of the units as the gates made them
                if zoned:
                    H, h = HG, ((l * T + t) * B + lo) * stride
                    move_rows(DR, carry, DH, dh, n * stride)
                    part_gradients(plan, DH, dh, DP, passed, FIRST_H, l, t, lo, n, stride)
                    if has_c:
                        part_gradients(plan, DC, carry, DP, passed + B * stride, FIRST_C, l, t, lo, n, stride)
                for p in range(P):
                    gates_backward(
                        G,
                        ((l * P + p) * R + t * B + lo) * work,
                        HS,
                        h_prev + p * units,
                        H,
                        h + p * units,
                        CS,
                        c_block + (t - t0) * B * stride + p * units,
                        DH,
                        dh + p * units,
                        DR,
                        carry + p * units,
                        DC,
                        n,
                        stride,
                    )
                if zoned:
                    move_rows(DP, passed, DR, carry, n * stride)
                    if has_c:
                        move_rows(DP, passed + B * stride, DC, carry, n * stride)
                if plan[PLAN_NORM] != 0:
                    row, at = t * B + lo, (l * P * B + lo) * work
                    normalise_backward(
                        plan,
                        params,
                        layers[l * LAYER_SIZE + LAYER_GAIN],
                        G,
                        (l * P * R + row) * work,
                        R * work,
                        n,
                        XN,
                        RS,
                        (l * R + row) * 4,
                        DN,
                        at,
                        B * work,
                        plan[PLAN_LAYERS] * P * B * work,
                    )
                A, g, g_panel = (
                    (G, (l * P * R + t * B + lo) * work, R * work)
                    if pack == 1
                    else (GW, ((t - t0) * B + lo) * g_stride, block * B * g_stride)
                )
                if pack == 2:
                    for p in range(P):
                        for b in range(n):
                            narrow_rows(
                                G, ((l * P + p) * R + t * B + lo + b) * work, GW, g + p * g_panel + b * g_stride, work
                            )
                for q in range(plan[PLAN_BACK_PANELS]):
                    product(
                        plan,
                        width,
                        n,
                        A,
                        g + column // pack,
                        g_stride,
                        g_panel,
                        derived,
                        layers[l * LAYER_SIZE + LAYER_H_T] + q * P * h_rows * wide,
                        DR,
                        carry + q * wide,
                        stride,
                        h_rows,
                        P,
                        direct,
                    )
            A, g, g_panel = (
                (G, (l * P * R + first) * work, R * work) if pack == 1 else (GW, lo * g_stride, block * B * g_stride)
            )
            if l > 0:
                for q in range(plan[PLAN_BACK_PANELS]):
                    block_product(
                        plan,
                        width,
                        n,
                        t1 - t0,
                        B,
                        A,
                        g,
                        g_stride,
                        g_panel,
                        derived,
                        layers[l * LAYER_SIZE + LAYER_X_T] + q * P * x_rows * wide,
                        DH,
                        lo * stride + q * wide,
                        stride,
                        x_rows,
                        P,
                        0,
                    )
            elif plan[PLAN_EMBEDDING] > 0:
                e_width, e_stride = plan[PLAN_EMBEDDING_BACK_WIDTH], plan[PLAN_EMBEDDING_STRIDE]
                for q in range(e_stride // (e_width * VL)):
                    block_product(
                        plan,
                        e_width,
                        n,
                        t1 - t0,
                        B,
                        A,
                        g,
                        g_stride,
                        g_panel,
                        derived,
                        layers[l * LAYER_SIZE + LAYER_X_T] + q * P * x_rows * e_width * VL,
                        DX0,
                        first * e_stride + q * e_width * VL,
                        e_stride,
                        x_rows,
                        P,
                        0,
                    )

    @inline
    def run_forward(table, like, lo, n):
        """Carry the n streams from lo on through the whole chunk; leave the loss, or its gradient at the logits."""
        plan, layers, params, weights = (
            table,
            pointer_int64(table, LAYERS),
            pointer(table, PARAMS, like),
            pointer(table, WEIGHTS, like),
        )
        ids, targets = pointer_int32(table, IDS), pointer_int32(table, TARGETS)
        h0, c0, HS, CS, CK = (
            pointer(table, H0, like),
            pointer(table, C0, like),
            pointer(table, HS_AT, like),
            pointer(table, CS_AT, like),
            pointer(table, CK_AT, like),
        )
        XD, X0, G, Z = (
            pointer(table, XD_AT, like),
            pointer(table, X0_AT, like),
            pointer(table, G_AT, like),
            pointer(table, Z_AT, like),
        )
        HW, XW, XN, RS = (
            pointer(table, HW_AT, like),
            pointer(table, XW_AT, like),
            pointer(table, XN_AT, like),
            pointer(table, RS_AT, like),
        )
        losses, scale = pointer_float64(table, LOSSES_AT), pointer_float64(table, NUMBERS)[SCALE]
        T, B, block, mode, threshold = table[STEPS], table[STREAMS], table[BLOCK], table[MODE], table[THRESHOLD]
        key, per_step, kept = np.uint64(table[KEY]), table[PER_STEP], table[KEPT] != 0
        stride, checkpoints = plan[PLAN_STRIDE], mode == GRADIENTS and not kept
        for l in range(plan[PLAN_LAYERS]):
            copy_rows(h0, (l * B + lo) * stride, HS, (l * (T + 1) * B + lo) * stride, n * stride)
        for t0 in range(0, T, block):
            t1 = min(T, t0 + block)
            forward_block(
                plan,
                layers,
                params,
                weights,
                ids,
                HS,
                CS,
                CK,
                c0,
                kept,
                XD,
                HW,
                X0,
                XW,
                G,
                XN,
                RS,
                T,
                B,
                lo,
                n,
                t0,
                t1,
                key,
                per_step,
                threshold,
                scale,
                block,
                checkpoints,
                mode == GRADIENTS,
            )
            output_block(
                plan,
                params,
                weights,
                targets,
                HS,
                XD,
                HW,
                Z,
                losses,
                T,
                B,
                lo,
                n,
                t0,
                t1,
                block,
                threshold > 0,
                mode,
                pack,
            )
        for l in range(plan[PLAN_LAYERS]):
            copy_rows(HS, ((l * (T + 1) + T) * B + lo) * stride, h0, (l * B + lo) * stride, n * stride)

    @inline
    def run_backward(table, like, lo, n):
        """Take the gradient at the logits back through the whole chunk for the n streams from lo on."""
        plan, layers, params, derived = (
            table,
            pointer_int64(table, LAYERS),
            pointer(table, PARAMS, like),
            pointer(table, DERIVED, like),
        )
        HS, CS, CK, DX0, GW, ZW = (
            pointer(table, HS_AT, like),
            pointer(table, CS_AT, like),
            pointer(table, CK_AT, like),
            pointer(table, DX0_AT, like),
            pointer(table, GW_AT, like),
            pointer(table, ZW_AT, like),
        )
        G, Z, DH, DR, DC = (
            pointer(table, G_AT, like),
            pointer(table, Z_AT, like),
            pointer(table, DH_AT, like),
            pointer(table, DR_AT, like),
            pointer(table, DC_AT, like),
        )
        XN, RS, DN = pointer(table, XN_AT, like), pointer(table, RS_AT, like), pointer(table, DN_AT, like)
        T, B, block, threshold = table[STEPS], table[STREAMS], table[BLOCK], table[THRESHOLD]
        key, per_step, scale = np.uint64(table[KEY]), table[PER_STEP], pointer_float64(table, NUMBERS)[SCALE]
        VL, stride = lanes(G), plan[PLAN_STRIDE]
        for l in range(plan[PLAN_LAYERS]):
            for u in range(0, n * stride, VL):
                store(DR, (l * B + lo) * stride + u, zeros(DR))
                store(DC, (l * B + lo) * stride + u, zeros(DC))
        if plan[PLAN_NORM] != 0:
            work = 4 * VL
            for panel in range(2 * plan[PLAN_LAYERS] * plan[PLAN_PANELS]):
                for u in range((panel * B + lo) * work, (panel * B + lo + n) * work, VL):
                    store(DN, u, zeros(DN))
        for t0 in range((T - 1) // block * block, -1, -block):
            backward_block(
                plan,
                layers,
                params,
                derived,
                HS,
                CS,
                CK,
                table[KEPT] != 0,
                DX0,
                G,
                GW,
                Z,
                ZW,
                DH,
                DR,
                DC,
                XN,
                RS,
                DN,
                T,
                B,
                lo,
                n,
                t0,
                min(T, t0 + block),
                key,
                per_step,
                threshold,
                scale,
                block,
            )

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

    return Items(train, f"{cell}_train{SUFFIX[pack]}"), Items(read, f"{cell}_read{SUFFIX[pack]}")


# For each (cell, pack) the items of a chunk, a shard each: with the gradients, and without.
TRAIN, READ = {}, {}
for _cell, _forward, _backward, _cell_state in (
    ("lstm", lstm_forward, lstm_backward, lstm_cell_state),
    ("gru", gru_forward, gru_backward, None),
    ("rnn", rnn_forward, rnn_backward, None),
):
    for _pack in SUFFIX:
        TRAIN[_cell, _pack], READ[_cell, _pack] = _make_chunk(_cell, _forward, _backward, _cell_state, _pack)
