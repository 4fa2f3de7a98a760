"""Generation: every stream reads its character, runs a step, draws the next one, and so on for a block of characters.

The items of a call are workers of a team (team.py). A step of L layers is L + 1 phases, and the workers meet after
each:

    layer l    a unit is a panel of layer l and a group of streams: G + x Wx, then the gates. With layer normalisation,
               which needs all sums of a row, the one that finishes a group's last panel normalises them and runs the
               gates of all its panels
    tail       a unit is a panel of the output layer and a group, or a panel of a layer's Wh and a group

The recurrent products h Wh need nothing of the next character, so they are made in the tail of the step before, while
one worker draws: the one that finishes a group's last output panel. A call begins with a phase of them alone. Units are
counted group by group: many streams divide among the workers by groups, whose states then stay with one core; one
group, by panels.

The order of sums. An element of G is a sum by fma that starts at zero and runs over k of h_prev Wh, then over k of x
Wx, both ascending; normalisation, bias and gates come last. The room chunk/ does x Wx first: the same numbers but for
rounding. Here it is this order for every number of streams, as a tile's sums are the same bits for any number of its
rows: so a stream's characters depend neither on the streams beside it, nor on threads, nor on blocks. One row at a time
is what one stream needs: there a core waits for its caches to bring the weights, not for the sums.

The arrays are those of records.GenerationTable.
"""

from typing import NamedTuple

import numpy as np

from charrnn.kernels.choose import choose_id, surprisal
from charrnn.kernels.chunk.forward import embed_row
from charrnn.kernels.compiled import inline
from charrnn.kernels.keyed import number_uint64
from charrnn.kernels.layernorm import Sums, normalise_sums
from charrnn.kernels.layout import Layer
from charrnn.kernels.panel import Forward
from charrnn.kernels.products import Rows, Weights, product
from charrnn.kernels.records import GenerationTable
from charrnn.kernels.registry import CELL_KERNELS
from charrnn.kernels.simd import get, lanes, load, shifted, store, zeros
from charrnn.kernels.team import atomic_add, join_team, next_unit
from charrnn.kernels.view import opener, row_opener
from charrnn.kernels.zoneout import blend_row

open_generation, open_layer = opener(GenerationTable), row_opener(Layer)


class Group(NamedTuple):
    """What a unit of work is about: a group of n streams from lo on."""

    lo: int
    n: int


@inline
def group_of(v, index):
    """Return a Group by its number."""
    lo = index * v.B // v.groups
    return Group(lo, (index + 1) * v.B // v.groups - lo)


@inline
def states_at(v, l, group):
    """Return where HS and CS have a group's states of layer l."""
    return (group.lo * v.plan.L + l * group.n) * v.plan.S


@inline
def sums_at(v, l, p, group):
    """Return where G has a group's sums of a panel of layer l."""
    return ((group.lo * v.plan.L + l * group.n) * v.plan.P + p * group.n) * 4 * lanes(v.G)


@inline
def recurrent_unit(v, l, p, group):
    """G = h Wh for a panel of layer l and a group.

    The vectors of the panel that h Wh does not fill become zero, since the product with Wx adds to them.
    """
    m, n, VL = v.plan, group.n, lanes(v.G)
    g, wide, work = sums_at(v, l, p, group), m.h_width * VL, 4 * VL
    if wide < work:
        for row in range(g, g + n * work, work):
            for u in range(0, m.h_column, VL):
                store(v.G, row + u, zeros(v.G))
            for u in range(m.h_column + wide, work, VL):
                store(v.G, row + u, zeros(v.G))
    W = Weights(v.params, open_layer(v.layers, l).h + p * m.H * wide, m.H, 1, 0)
    X, Y = Rows(v.HS, states_at(v, l, group), m.S, 0), Rows(v.G, g + m.h_column, work, 0)
    product(m.tiles, m.h_width, n, X, W, Y, 0)


@inline
def characters_read(v, t):
    """Return the pointer to the characters (B,) that step t reads."""
    return shifted(v.chosen, t * v.B) if v.reading != 0 else shifted(v.inputs, 0)


@inline
def input_unit(v, l, p, t, group):
    """G += x Wx for a panel of layer l and a group: row lookups for characters, products otherwise."""
    m, layer, n, VL = v.plan, open_layer(v.layers, l), group.n, lanes(v.G)
    g, wide, work = sums_at(v, l, p, group), m.x_width * VL, 4 * VL
    W = Weights(v.params, layer.x + p * layer.inputs * wide, layer.inputs, 1, 0)
    if l > 0:
        X = Rows(v.HS, states_at(v, l - 1, group), m.S, 0)
        product(m.tiles, m.x_width, n, X, W, Rows(v.G, g, work, 0), 1)
    elif m.E > 0:
        product(m.tiles, m.x_width, n, Rows(v.X0, group.lo * m.ES, m.ES, 0), W, Rows(v.G, g, work, 0), 1)
    else:
        characters = characters_read(v, t)
        for r in range(n):
            source = W.at + np.int64(characters[group.lo + r]) * wide
            for u in range(0, wide, VL):
                store(v.G, g + r * work + u, load(v.G, g + r * work + u) + load(v.params, source + u))


@inline
def zone_unit(v, X, at, n):
    """Blend what the gates made of a panel's h or c with the states before it, in their place: X (n, S) at `at`."""
    for r in range(n):
        row = at + r * v.plan.S
        blend_row(X, row, row + v.new, row, v.plan.units, v.zone_rate)


@inline
def output_unit(v, q, group):
    """Z = h Wo for a panel of the output layer and a group."""
    m, n = v.plan, group.n
    wide = m.out_width * lanes(v.Z)
    X = Rows(v.HS, states_at(v, m.L - 1, group), m.S, 0)
    W = Weights(v.params, m.out_at + q * m.H * wide, m.H, 1, 0)
    product(m.tiles, m.out_width, n, X, W, Rows(v.Z, (group.lo * m.Q + q * n) * wide, wide, 0), 0)


@inline
def embed_group(v, t, group):
    """X0: the embeddings of what a group reads at step t."""
    characters = characters_read(v, t)
    for row in range(group.lo, group.lo + group.n):
        embed_row(v.plan, v.params, v.X0, row, np.int64(characters[row]))


@inline
def draw_group(v, me, t, group):
    """Draw the next character of each stream of a group, from its logits, as worker `me`; it is the next to be read."""
    m, lo, n = v.plan, group.lo, group.n
    V, wide, bias = m.V, m.out_width * lanes(v.Z), m.out_bias_at
    z = shifted(v.weights, 2 * me * v.scratch)
    w = shifted(z, v.scratch)
    order = shifted(v.order, 2 * me * v.scratch)
    for row in range(lo, lo + n):
        check = 0.0
        for q in range(m.Q):
            at, first = (lo * m.Q + q * n + row - lo) * wide, q * wide
            for j in range(first, min(first + wide, V)):
                z[j] = np.float64(get(v.Z, at + j - first) + get(v.params, bias + j))
                check += z[j] * 0.0
        character = 0
        if check == 0.0:
            bits = number_uint64(np.uint64(v.keys[row]), np.uint64(v.position + t))
            character = choose_id(v, z, w, order, row, np.float64(bits >> np.uint64(11)) * 2.0**-53)
        else:  # a NaN or an infinity times zero
            v.not_finite[0] = 1
        if v.with_logits != 0:
            logits = shifted(v.logits, (t * v.B + row) * V)
            for j in range(V):
                logits[j] = z[j]
        if v.with_losses != 0:
            v.losses[t * v.B + row] = surprisal(z, w, V, character)
        v.inputs[row] = character
        v.chosen[t * v.B + row] = character
        if m.E > 0:
            embed_row(m, v.params, v.X0, row, np.int64(character))


def make_generate(name):
    """Return the items of generation with a cell, a worker each: function(table, like, item)."""
    kernels = CELL_KERNELS[name]
    gates, has_c = kernels.forward, kernels.cell.has_c

    @inline
    def layer_unit(v, l, t, unit):
        """Do a unit of layer l: a panel's x Wx and gates; with layer normalisation, all gates after the last."""
        m, p, index, work = v.plan, unit % v.plan.P, unit // v.plan.P, 4 * lanes(v.G)
        group = group_of(v, index)
        layer, n, states = open_layer(v.layers, l), group.n, states_at(v, l, group)
        input_unit(v, l, p, t, group)
        first, end = p, p + 1
        if m.norm != 0:
            first, end = 0, 0
            if atomic_add(v.summed, index, 1) % m.P == m.P - 1:
                sums = Sums(v.params, layer.gain, v.G, sums_at(v, l, 0, group), n * work, v.G, v.G, 0)
                normalise_sums(m, sums, n, False)
                end = m.P
        for q in range(first, end):
            at, g = states + q * m.units, sums_at(v, l, q, group)
            gates(Forward(v.params, layer.bias + q * work, v.G, g, v.HS, at, at + v.new, v.CS, at, at + v.new, n, m.S))
            if v.new > 0:
                zone_unit(v, v.HS, at, n)
                if has_c:
                    zone_unit(v, v.CS, at, n)

    @inline
    def tail_unit(v, me, t, unit, outputs):
        """Do a unit of the tail: one of `outputs` output panels, after the last a draw; or a panel of the next h Wh."""
        m, each = v.plan, outputs + (v.plan.L * v.plan.P if t + 1 < v.T else 0)
        index, panel = unit // each, unit % each - outputs
        group = group_of(v, index)
        if panel < 0:
            output_unit(v, panel + outputs, group)
            if atomic_add(v.drawn, index, 1) % m.Q == m.Q - 1:
                draw_group(v, me, t, group)
        else:
            recurrent_unit(v, panel // m.P, panel % m.P, group)
            if panel == 0 and m.E > 0 and (v.reading != 0 or t < 0):  # what is drawn is embedded at once
                embed_group(v, t + 1, group)

    def generate(table, like, item):
        """Be worker `item` of the team that draws, or reads, T characters for every stream."""
        v = open_generation(table, like)
        m, words, workers, give_way = v.plan, v.words, v.workers, v.give_way
        phase, target = 1, 0
        join_team(words, item)
        for t in range(-1, v.T):
            for l in range(m.L if t >= 0 else 0):
                units = m.P * v.groups
                target += units
                unit = next_unit(words, item, workers, phase, units, target, give_way)
                while unit >= 0:
                    layer_unit(v, l, t, unit)
                    unit = next_unit(words, item, workers, phase, units, target, give_way)
                phase += 1
            # Before the first step there is nothing to draw, after the last one no further step to prepare.
            outputs = 0 if v.reading != 0 or t < 0 else m.Q
            units = (outputs + (m.L * m.P if t + 1 < v.T else 0)) * v.groups
            target += units
            unit = next_unit(words, item, workers, phase, units, target, give_way)
            while unit >= 0:
                tail_unit(v, item, t, unit, outputs)
                unit = next_unit(words, item, workers, phase, units, target, give_way)
            phase += 1

    return generate
