"""A shard of a chunk, forward: in blocks of steps, so that what a layer wrote is in cache when the next reads it.

For each layer come the products of all its inputs in the block, then step by step the recurrent products and the cell.
"""

import numpy as np

from charrnn.kernels.chunk.views import (
    Part,
    as_words,
    carry_at,
    cell_at,
    checkpoint_at,
    embedding_words,
    logits_at,
    open_layer,
    output_words,
    row_at,
    state_at,
    state_words_at,
    sums_at,
    sums_panel,
)
from charrnn.kernels.compiled import inline
from charrnn.kernels.dropout import drop_row
from charrnn.kernels.layernorm import Sums, normalise_sums
from charrnn.kernels.marks import is_reset, is_silent, put_back, set_aside
from charrnn.kernels.panel import Forward
from charrnn.kernels.products import Rows, Weights, product
from charrnn.kernels.records import CLAMP_C, GRADIENTS, LOGITS, OFF
from charrnn.kernels.simd import get, lanes, load, put, store, zeros
from charrnn.kernels.softmax import add_output_bias, clear_logits, softmax_loss
from charrnn.kernels.words import narrow_row
from charrnn.kernels.zoneout import FIRST_C, FIRST_H, zone_rows


@inline
def copy_rows(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them."""
    for u in range(0, count, lanes(X)):
        store(Y, y + u, load(X, x + u))


@inline
def narrow_rows(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them, as words of two neighbours as bfloat16."""
    VL = lanes(X)
    for u in range(0, count, 2 * VL):
        second = load(X, x + u + VL) if u + VL < count else zeros(X)
        store(Y, y + u // 2, narrow_row(load(X, x + u), second))


@inline
def in_turn(t, i, panels):
    """Return the panel that step t takes as its number i; beyond the last, the last one.

    Steps take the panels upward and downward in turn: of weights that do not all stay in a core's cache, the next step
    then begins with those that are still there. No bit depends on the order.
    """
    i = min(i, panels - 1)
    return i if t % 2 == 0 else panels - 1 - i


@inline
def block_product(v, width, part, X, W, Y, accumulate):
    """Y (+)= X W for all rows (t, b) of a part; a step's rows lie B rows apart."""
    tiles, n, steps, B = v.plan.tiles, part.n, part.t1 - part.t0, v.B
    if n == B:
        product(tiles, width, steps * B, X, W, Y, accumulate)
    elif n >= 4 or steps == 1:
        for t in range(steps):
            x = Rows(X.numbers, X.at + t * B * X.stride, X.stride, X.panel)
            product(tiles, width, n, x, W, Rows(Y.numbers, Y.at + t * B * Y.stride, Y.stride, 0), accumulate)
    else:
        for b in range(n):
            x = Rows(X.numbers, X.at + b * X.stride, B * X.stride, X.panel)
            product(tiles, width, steps, x, W, Rows(Y.numbers, Y.at + b * Y.stride, B * Y.stride, 0), accumulate)


@inline
def embed_row(plan, params, X0, row, character):
    """Copy a character's embedding; a tied one is a column of the output weights."""
    VL = lanes(X0)
    if plan.tied != 0:
        wide = plan.out_width * VL
        column = plan.out_at + (character // wide) * plan.H * wide + character % wide
        for u in range(plan.H):
            put(X0, row * plan.ES + u, get(params, column + u * wide))
    else:
        for u in range(0, plan.ES, VL):
            store(X0, row * plan.ES + u, load(params, plan.embedding_at + character * plan.ES + u))


@inline
def look_up(v, p, t, lo, n):
    """G = x Wx for a panel of step t of layer 0, without embeddings: rows of Wx, by the characters of n streams.

    It is done just before the product with Wh adds to them, so that they are in the first cache.
    """
    m, layer, VL = v.plan, open_layer(v.layers, 0), lanes(v.G)
    wide, g = m.x_width * VL, sums_at(v, 0, p, t, lo)
    for b in range(n):
        row, to = layer.x + (p * layer.inputs + np.int64(v.ids[t * v.B + lo + b])) * wide, g + b * 4 * VL
        store(v.G, to, load(v.params, row))
        store(v.G, to + VL, load(v.params, row + VL))
        store(v.G, to + 2 * VL, load(v.params, row + 2 * VL))
        store(v.G, to + 3 * VL, load(v.params, row + 3 * VL) if m.x_width > 3 else zeros(v.G))


@inline
def input_products(v, l, part):
    """G = x Wx for a part's rows of layer l, where that is a product.

    The vectors of a panel that x Wx does not fill become zero, since the product with Wh adds to them.
    """
    m, layer, VL = v.plan, open_layer(v.layers, l), lanes(v.G)
    wide, work, depth = m.x_width * VL, 4 * VL, as_words(layer.inputs, m.pack)
    for p in range(m.P):
        W = Weights(v.weights, layer.x_words + p * depth * wide, depth, 1, depth * wide)
        Y = Rows(v.G, sums_at(v, l, p, part.t0, part.lo), work, 0)
        if l > 0:
            block_product(v, m.x_width, part, output_words(v, l - 1, part), W, Y, 0)
        else:
            row = part.lo if m.pack > 1 else part.t0 * v.B + part.lo
            stride = embedding_words(v)
            block_product(v, m.x_width, part, Rows(v.XW, row * stride, stride, 0), W, Y, 0)
        if wide < work:
            for t in range(part.t0, part.t1):
                for b in range(part.lo, part.lo + part.n):
                    for u in range(wide, work, VL):
                        store(v.G, sums_at(v, l, p, t, b) + u, zeros(v.G))


@inline
def hold_units(v, l, t, part):
    """Overwrite the units of layer l that are held, in the states that step t has just written.

    The layers above and the next time step read them there. h of a held c is o*tanh(c), o the last gate of a panel.
    """
    m, VL = v.plan, lanes(v.G)
    for k in range(v.num_clamps):
        if v.clamps[3 * k] == l:
            unit = v.clamps[3 * k + 1]
            o = sums_at(v, l, unit // m.units, t, part.lo) + 3 * VL + unit % m.units
            for r in range(part.n):
                h = get(v.clamp_values, 2 * k + 1)
                if v.clamps[3 * k + 2] == CLAMP_C:
                    put(v.CS, cell_at(v, l, t + 1, part) + r * m.S + unit, get(v.clamp_values, 2 * k))
                    h = get(v.G, o + r * 4 * VL) * h
                put(v.HS, state_at(v, l, t + 1, part.lo) + r * m.S + unit, h)


@inline
def output_block(v, part):
    """Run the output layer over a part; with targets, the loss and where asked the gradient of the logits."""
    m = v.plan
    wide, depth = m.out_width * lanes(v.Z), as_words(m.H, m.pack)
    X = output_words(v, m.L - 1, part)
    for q in range(m.Q):
        W = Weights(v.weights, m.out_words + q * depth * wide, depth, 1, depth * wide)
        block_product(v, m.out_width, part, X, W, Rows(v.Z, logits_at(v, q, part.t0, part.lo), wide, 0), 0)
    for t in range(part.t0, part.t1):
        for row in range(t * v.B + part.lo, t * v.B + part.lo + part.n):
            if v.mode == LOGITS:
                add_output_bias(v, row)
            elif is_silent(v, row):
                v.losses[row] = 0.0
                if v.mode == GRADIENTS:
                    clear_logits(v, row)
            else:
                v.losses[row] = softmax_loss(v, row, v.mode == GRADIENTS)


def make_forward(kernels, pack):
    """Return run_forward(v, lo, n) for a cell's kernels (registry.CellKernels) and `pack` numbers a word."""
    gates, has_c, reads_h = kernels.forward, kernels.cell.has_c, kernels.cell.reads_h

    @inline
    def embed_block(v, part):
        """X0: the embeddings of a part's characters; XW: as words."""
        for t in range(part.t0, part.t1):
            for row in range(t * v.B + part.lo, t * v.B + part.lo + part.n):
                embed_row(v.plan, v.params, v.X0, row, np.int64(v.ids[row]))
                if pack == 2:
                    narrow_rows(v.X0, row * v.plan.ES, v.XW, (row - part.t0 * v.B) * embedding_words(v), v.plan.ES)

    @inline
    def narrow_states(v, X, x, l, t, part):
        """Round the part's rows of X from x on to where the products read the state before step t."""
        m = v.plan
        columns = m.back_panels * m.back_width * lanes(X)
        for r in range(part.n):
            narrow_rows(X, x + r * m.S, v.HW, state_words_at(v, l, t, part) + r * m.S_words, columns)

    @inline
    def run_step(v, l, t, part):
        """Take layer l through step t: recurrent products, normalisation, the cell, zoneout, clamps."""
        m, layer, lo, n, VL = v.plan, open_layer(v.layers, l), part.lo, part.n, lanes(v.G)
        depth, norm, work = as_words(m.H, pack), m.norm != 0, 4 * VL
        h_prev, h_next = state_at(v, l, t, lo), state_at(v, l, t + 1, lo)
        X = Rows(v.HS, h_prev, m.S, 0) if pack == 1 else Rows(v.HW, state_words_at(v, l, t, part), m.S_words, 0)
        c_prev, c_next = cell_at(v, l, t, part), cell_at(v, l, t + 1, part)
        panel = depth * m.h_width * VL
        for i in range(m.P):
            p = in_turn(t, i, m.P)
            W = Weights(v.weights, layer.h_words + p * panel, depth, 1, (in_turn(t, i + 1, m.P) - p) * panel)
            Y = Rows(v.G, sums_at(v, l, p, t, lo) + m.h_column, work, 0)
            if l == 0 and m.E == 0:
                look_up(v, p, t, lo, n)
            product(m.tiles, m.h_width, n, X, W, Y, 1)
            if norm and i < m.P - 1:
                continue
            if norm:
                at = sums_at(v, l, 0, t, lo)
                sums = Sums(v.params, layer.gain, v.G, at, sums_panel(v), v.XN, v.RS, ((l * v.T + t) * v.B + lo) * 4)
                normalise_sums(m, sums, n, v.mode == GRADIENTS)
            for q in range(0 if norm else p, m.P if norm else p + 1):
                u = q * m.units
                b, g = layer.bias + q * work, sums_at(v, l, q, t, lo)
                gates(Forward(v.params, b, v.G, g, v.HS, h_prev + u, h_next + u, v.CS, c_prev + u, c_next + u, n, m.S))
        if v.zoning > OFF:
            if reads_h and v.mode == GRADIENTS:
                copy_rows(v.HS, h_next, v.HG, row_at(v, l, t, lo), n * m.S)
            zone_rows(v, v.HS, h_prev, h_next, FIRST_H + l, t * v.streams + lo, n)
            if has_c:
                zone_rows(v, v.CS, c_prev, c_next, FIRST_C + l, t * v.streams + lo, n)
        if v.num_clamps > 0:
            hold_units(v, l, t, part)

    @inline
    def narrow_reset_states(v, l, t, part):
        """Round the states again that are reset before step t."""
        for b in range(part.lo, part.lo + part.n):
            if is_reset(v, t * v.B + b):
                narrow_states(v, v.HS, state_at(v, l, t, b), l, t, Part(b, 1, part.t0, part.t1))

    @inline
    def run_reset_step(v, l, t, part):
        """Take layer l through step t, which reads zeros of the streams that are reset."""
        lo, n, h, c = part.lo, part.n, state_at(v, l, t, part.lo), cell_at(v, l, t, part)
        set_aside(v, v.HS, h, 0, t, lo, n)
        if has_c:
            set_aside(v, v.CS, c, 1, t, lo, n)
        if pack == 2:
            narrow_reset_states(v, l, t, part)
        run_step(v, l, t, part)
        put_back(v, v.HS, h, 0, t, lo, n)
        if has_c:
            put_back(v, v.CS, c, 1, t, lo, n)
        if pack == 2:
            narrow_reset_states(v, l, t, part)

    @inline
    def run_layer(v, l, part):
        """Take layer l through a part, from what the layer below gives upward; c0 is carried from part to part."""
        m, lo, t0, t1 = v.plan, part.lo, part.t0, part.t1
        if l > 0 or m.E > 0:
            input_products(v, l, part)
        if pack == 2:
            narrow_states(v, v.HS, state_at(v, l, t0, lo), l, t0, part)
        if has_c:
            copy_rows(v.c0, carry_at(v, l, lo), v.CS, cell_at(v, l, t0, part), part.n * m.S)
            if v.mode == GRADIENTS and v.kept == 0:
                copy_rows(v.c0, carry_at(v, l, lo), v.CK, checkpoint_at(v, l, part), part.n * m.S)
        for t in range(t0, t1):
            if v.resetting != 0:
                run_reset_step(v, l, t, part)
            else:
                run_step(v, l, t, part)
            if pack == 2:
                narrow_states(v, v.HS, state_at(v, l, t + 1, lo), l, t + 1, part)
        if has_c:
            copy_rows(v.CS, cell_at(v, l, t1, part), v.c0, carry_at(v, l, lo), part.n * m.S)
        if v.threshold > 0:
            for t in range(t0, t1):
                for b in range(lo, lo + part.n):
                    drop_row(
                        v, v.HS, state_at(v, l, t + 1, b), v.XD, row_at(v, l, t, b), l, t * v.streams * v.per_step + b
                    )
                if pack == 2:
                    narrow_states(v, v.XD, row_at(v, l, t, lo), l, t + 1, part)

    @inline
    def run_forward(v, lo, n):
        """Carry the n streams from lo on through the whole chunk; leave the loss, or its gradient at the logits."""
        m = v.plan
        for l in range(m.L):
            copy_rows(v.h0, carry_at(v, l, lo), v.HS, state_at(v, l, 0, lo), n * m.S)
        for t0 in range(0, v.T, v.block):
            part = Part(lo, n, t0, min(v.T, t0 + v.block))
            if m.E > 0:
                embed_block(v, part)
            for l in range(m.L):
                run_layer(v, l, part)
            output_block(v, part)
        for l in range(m.L):
            copy_rows(v.HS, state_at(v, l, v.T, lo), v.h0, carry_at(v, l, lo), n * m.S)

    return run_forward
