"""A shard of a chunk, backward: from the gradient of the logits down, in blocks of steps from the last to the first.

The gradients of the sums take the place of the gates. The gradients of the weights are left to weight_gradients.py. A
way back that measures its reach writes the norms of the gradients of the states as well.
"""

import math

from charrnn.kernels.chunk.forward import block_product, copy_rows, in_turn, narrow_rows
from charrnn.kernels.chunk.views import (
    Part,
    as_words,
    carry_at,
    cell_at,
    checkpoint_at,
    gradient_words,
    logit_gradient_words,
    logit_words,
    logits_at,
    open_layer,
    row_at,
    state_at,
    sums_at,
    sums_panel,
)
from charrnn.kernels.compiled import inline
from charrnn.kernels.dropout import drop_row
from charrnn.kernels.layernorm import Sums, normalise_backward
from charrnn.kernels.marks import put_back, reset_rows, set_aside
from charrnn.kernels.panel import Backward, Forward
from charrnn.kernels.products import Rows, Weights, product
from charrnn.kernels.records import OFF
from charrnn.kernels.simd import fma, lanes, load, reduce_add, store, zeros
from charrnn.kernels.zoneout import FIRST_C, FIRST_H, move_rows, part_rows, zone_rows


@inline
def clear_gradients(v, lo, n):
    """Set to zero what the n streams from lo on sum up as they are walked."""
    m, VL = v.plan, lanes(v.DR)
    for l in range(m.L):
        for u in range(0, n * m.S, VL):
            store(v.DR, carry_at(v, l, lo) + u, zeros(v.DR))
            store(v.DC, carry_at(v, l, lo) + u, zeros(v.DC))
    if m.norm != 0:
        for panel in range(2 * m.L * m.P):
            for u in range((panel * v.B + lo) * 4 * VL, (panel * v.B + lo + n) * 4 * VL, VL):
                store(v.DN, u, zeros(v.DN))


@inline
def gradient_below(v, l, part):
    """Take the gradients of layer l's sums in a part down to its inputs: DH of the layer below, or DX0."""
    m, layer, X = v.plan, open_layer(v.layers, l), gradient_words(v, l, part.t0, part)
    VL, depth = lanes(v.G), as_words(m.x_width * lanes(v.G), m.pack)
    if l > 0:
        wide = m.back_width * VL
        for q in range(m.back_panels):
            W = Weights(v.derived, layer.x_t + q * m.P * depth * wide, depth, m.P, m.P * depth * wide)
            block_product(v, m.back_width, part, X, W, Rows(v.DH, part.lo * m.S + q * wide, m.S, 0), 0)
    elif m.E > 0:
        wide, first = m.embedding_back_width * VL, part.t0 * v.B + part.lo
        for q in range(m.ES // wide):
            W = Weights(v.derived, layer.x_t + q * m.P * depth * wide, depth, m.P, m.P * depth * wide)
            block_product(v, m.embedding_back_width, part, X, W, Rows(v.DX0, first * m.ES + q * wide, m.ES, 0), 0)


@inline
def note_h(v, l, t, part):
    """Write the norms of the gradients of h after step t: from above and from the next step together."""
    S, VL = v.plan.S, lanes(v.DH)
    for b in range(part.lo, part.lo + part.n):
        dh, dr = ((t - part.t0) * v.B + b) * S, carry_at(v, l, b)
        total = zeros(v.DH)
        for u in range(0, S, VL):
            d = load(v.DH, dh + u) + load(v.DR, dr + u)
            total = fma(d, d, total)
        v.norms[(l * v.T + t) * v.B + b] = math.sqrt(reduce_add(total))


@inline
def pass_by(*args):
    """Note nothing."""


def make_note_c(o):
    """Return what writes the norms of the gradients of c as the gates made it; o is that gate's place in the panel."""

    @inline
    def note_c(v, l, t, part, H, h):
        """dc + dh o (1 - tanh(c)^2), tanh(c) = h/o; h as the gates made it (n, S) at h of H."""
        m, VL = v.plan, lanes(v.G)
        for r in range(part.n):
            b = part.lo + r
            dh, carry, total = ((t - part.t0) * v.B + b) * m.S, carry_at(v, l, b), zeros(v.G)
            for p in range(m.P):
                for w in range(0, m.units, VL):
                    u, gate = p * m.units + w, load(v.G, sums_at(v, l, p, t, b) + o * m.units + w)
                    tanh_c = load(H, h + r * m.S + u) / gate
                    d = load(v.DH, dh + u) + load(v.DR, carry + u)
                    dc = fma(d * gate, 1.0 - tanh_c * tanh_c, load(v.DC, carry + u))
                    total = fma(dc, dc, total)
            v.norms[((m.L + l) * v.T + t) * v.B + b] = math.sqrt(reduce_add(total))

    return note_c


@inline
def follow(v, part):
    """Begin a part's one step with what the step after it left, v.places streams on; nothing comes from above."""
    m, VL = v.plan, lanes(v.DR)
    for l in range(m.L):
        to, after = carry_at(v, l, part.lo), carry_at(v, l, part.lo + v.places)
        copy_rows(v.DR, after, v.DR, to, part.n * m.S)
        copy_rows(v.DC, after, v.DC, to, part.n * m.S)
    for u in range(0, part.n * m.S, VL):
        store(v.DH, part.lo * m.S + u, zeros(v.DH))


def make_backward(kernels, pack, measures_reach=False):
    """Return run_backward(v, lo, n) for a cell's kernels (registry.CellKernels) and `pack` numbers a word.

    measures_reach    Return run_reach(v, lo, n) instead, which writes v.norms
    """
    gates_backward, has_c, passes_h = kernels.backward, kernels.cell.has_c, int(kernels.cell.passes_h)
    cell_state = kernels.cell_state or kernels.forward  # the latter is never called
    note_gradient_of_h, note_gradient_of_c = pass_by, pass_by
    if measures_reach:
        note_gradient_of_h = note_h
        note_gradient_of_c = make_note_c(kernels.cell.panel.index("o")) if has_c else pass_by

    @inline
    def output_backward(v, part):
        """Take the gradients of a part's logits down to DH of the last layer."""
        m, VL = v.plan, lanes(v.Z)
        wide, depth = m.back_width * VL, as_words(m.out_depth, pack)
        if pack == 2:
            stride, numbers = logit_words(v), m.out_width * VL
            for q in range(m.Q):
                for t in range(part.t0, part.t1):
                    for b in range(part.lo, part.lo + part.n):
                        to = ((q * v.block + t - part.t0) * v.B + b) * stride
                        narrow_rows(v.Z, logits_at(v, q, t, b), v.ZW, to, numbers)
        panel = m.Q * as_words(m.out_width * VL, pack) * wide
        for q in range(m.back_panels):
            W = Weights(v.derived, m.out_t_at + q * panel, depth, m.Q, panel)
            Y = Rows(v.DH, part.lo * m.S + q * wide, m.S, 0)
            block_product(v, m.back_width, part, logit_gradient_words(v, part), W, Y, 0)

    @inline
    def restore_cells(v, l, part):
        """Compute the cell states of a part again, from the one before it and the gates."""
        m, lo, n = v.plan, part.lo, part.n
        copy_rows(v.CK, checkpoint_at(v, l, part), v.CS, cell_at(v, l, part.t0, part), n * m.S)
        if v.resetting != 0:
            reset_rows(v, v.CS, cell_at(v, l, part.t0, part), part.t0, lo, n)
        for t in range(part.t0, part.t1 - 1):
            c_prev, c_next = cell_at(v, l, t, part), cell_at(v, l, t + 1, part)
            for p in range(m.P):
                u, g = p * m.units, sums_at(v, l, p, t, lo)
                cell_state(Forward(v.params, 0, v.G, g, v.HS, 0, 0, v.CS, c_prev + u, c_next + u, n, m.S))
            if v.zoning > OFF:
                zone_rows(v, v.CS, c_prev, c_next, FIRST_C + l, t * v.streams + lo, n)
            if v.resetting != 0:
                reset_rows(v, v.CS, c_next, t + 1, lo, n)

    @inline
    def step_backward(v, l, t, part):
        """Take layer l back through step t: zoneout, the cell, normalisation, recurrent products."""
        m, layer, lo, n, VL = v.plan, open_layer(v.layers, l), part.lo, part.n, lanes(v.G)
        work, zoned = 4 * VL, v.zoning > OFF
        h_prev, c_prev, carry = state_at(v, l, t, lo), cell_at(v, l, t, part), carry_at(v, l, lo)
        dh, passed_h, passed_c = ((t - part.t0) * v.B + lo) * m.S, lo * m.S, (v.B + lo) * m.S
        H, h = v.HS, state_at(v, l, t + 1, lo)  # of the units as the gates made them
        if v.resetting != 0 and passes_h:
            set_aside(v, v.HS, h_prev, 0, t, lo, n)
        note_gradient_of_h(v, l, t, part)
        if zoned:
            H, h = v.HG, row_at(v, l, t, lo)
            move_rows(v.DR, carry, v.DH, dh, n * m.S)
            part_rows(v, v.DH, dh, v.DP, passed_h, FIRST_H + l, t * v.streams + lo, n)
            if has_c:
                part_rows(v, v.DC, carry, v.DP, passed_c, FIRST_C + l, t * v.streams + lo, n)
        note_gradient_of_c(v, l, t, part, H, h)
        for p in range(m.P):
            u, g = p * m.units, sums_at(v, l, p, t, lo)
            gates_backward(
                Backward(
                    v.G, g, v.HS, h_prev + u, H, h + u, v.CS, c_prev + u, v.DH, dh + u, v.DR, carry + u, v.DC, n, m.S
                )
            )
        if zoned:
            move_rows(v.DP, passed_h, v.DR, carry, n * m.S)
            if has_c:
                move_rows(v.DP, passed_c, v.DC, carry, n * m.S)
        if m.norm != 0:
            at = sums_at(v, l, 0, t, lo)
            sums = Sums(v.params, layer.gain, v.G, at, sums_panel(v), v.XN, v.RS, ((l * v.T + t) * v.B + lo) * 4)
            normalise_backward(m, sums, n, v.DN, (l * m.P * v.B + lo) * work, v.B * work, m.L * m.P * v.B * work)
        X = gradient_words(v, l, t, part)
        if pack == 2:
            for p in range(m.P):
                for r in range(n):
                    to = X.at + p * X.panel + r * X.stride
                    narrow_rows(v.G, sums_at(v, l, p, t, lo + r), v.GW, to, work)
        X = Rows(X.numbers, X.at + m.h_column // pack, X.stride, X.panel)
        wide, depth = m.back_width * VL, as_words(m.h_width * VL, pack)
        panel = m.P * depth * wide
        for i in range(m.back_panels):
            q = in_turn(t, i, m.back_panels)
            ahead = (in_turn(t, i + 1, m.back_panels) - q) * panel
            W = Weights(v.derived, layer.h_t + q * panel, depth, m.P, ahead)
            Y = Rows(v.DR, carry + q * wide, m.S, 0)
            product(m.tiles, m.back_width, n, X, W, Y, 1 if zoned else passes_h)
        if v.resetting != 0 and passes_h:
            put_back(v, v.HS, h_prev, 0, t, lo, n)
        if v.resetting != 0:  # nothing flows to before a reset
            reset_rows(v, v.DR, carry, t, lo, n)
            reset_rows(v, v.DC, carry, t, lo, n)

    @inline
    def layer_backward(v, l, part):
        """Take the gradient DH of what layer l gave upward in a part down to what the layer read."""
        if v.threshold > 0:
            for t in range(part.t0, part.t1):
                for b in range(part.lo, part.lo + part.n):
                    at = ((t - part.t0) * v.B + b) * v.plan.S
                    drop_row(v, v.DH, at, v.DH, at, l, t * v.streams * v.per_step + b)
        if has_c and v.kept == 0:
            restore_cells(v, l, part)
        for t in range(part.t1 - 1, part.t0 - 1, -1):
            step_backward(v, l, t, part)
        gradient_below(v, l, part)

    @inline
    def run_backward(v, lo, n):
        """Take the gradient at the logits back through the whole chunk for the n streams from lo on."""
        clear_gradients(v, lo, n)
        for t0 in range((v.T - 1) // v.block * v.block, -1, -v.block):
            part = Part(lo, n, t0, min(v.T, t0 + v.block))
            output_backward(v, part)
            for l in range(v.plan.L - 1, -1, -1):
                layer_backward(v, l, part)

    @inline
    def run_reach(v, lo, n):
        """Take the gradient at the logits of the last step back through all steps, for the n places from lo on.

        The chunk has one step of every stream: stream t*v.places + b is step t of place b.
        """
        steps = v.B // v.places
        for t in range(steps - 1, -1, -1):
            part = Part(t * v.places + lo, n, 0, 1)
            if t == steps - 1:
                clear_gradients(v, part.lo, n)
                output_backward(v, part)
            else:
                follow(v, part)
            for l in range(v.plan.L - 1, -1, -1):
                layer_backward(v, l, part)

    return run_reach if measures_reach else run_backward
