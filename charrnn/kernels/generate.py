"""Generation: every stream reads its character, runs a step, draws the next one, and so on for a block of characters.

The items of a call are workers of a team (team.py). A step of L layers is L + 1 phases, and the workers meet after each:

    layer l    a unit is a panel of layer l and a group of streams: G + x Wx, then the gates. With layer normalisation, which needs
               all sums of a row, the one that finishes a group's last panel normalises them and runs the gates of all its panels
    tail       a unit is a panel of the output layer and a group, or a panel of a layer's Wh and a group

The recurrent products h Wh need nothing of the next character, so they are made in the tail of the step before, while one
worker draws: the one that finishes a group's last output panel. A call begins with a phase of them alone. Units are counted
group by group: many streams divide among the workers by groups, whose states then stay with one core; one group, by panels.

The order of sums. An element of G is a sum by fma that starts at zero and runs over k of h_prev Wh, then over k of x Wx, both
ascending; normalisation, bias and gates come last. chunk.py does x Wx first: the same numbers but for rounding. Here it is this order for
every number of streams, as a tile's sums are the same bits for any number of its rows: so a stream's characters depend
neither on the streams beside it, nor on threads, nor on blocks. One row at a time is what one stream needs: there a core waits
for its caches to bring the weights, not for the sums.

The arrays beside the parameters, S the padded stride of H. The first three hold one group after the other, n streams from lo
on, so that a core that reads ahead meets no other core's:

    HS, CS (L, n, S)             from row lo L on: the carry, in and out; a step overwrites it in place. With zoneout as much again,
                                 NEW numbers on: what the gates make of a state, before it is blended with the state before
    G      (L, P, n, 4 lanes)    from row lo L P on: sums and gates
    Z      (Q, n, out width lanes)   from row lo Q on: logits without their bias
    X0     (B, ES)               embeddings (only with an embedding)
    INPUTS (B,) int32            the characters to read; at the end the last ones drawn, not yet read
    KEYS   (B,) uint64           a stream's SplitMix64 key
    DRAWN, SUMMED (B,) int64     of each group, how often a panel of the output, or of a layer, was finished
    CHOSEN (T, B) int32          the characters drawn; or, with READING, the ones to read: then nothing is drawn
    LOSSES, LOGITS (T, B) and (T, B, V) float64, only where their address is not 0
    WEIGHTS (workers, 2, VS) float64, ORDER (workers, 2, VS) int64    scratch of a choice, VS = V padded to vectors
    NUMBERS float64              temperature, top_p, min_p; then written: not 0 where a logit was not finite; the zoneout's rate
"""

import math

import numpy as np

from charrnn.kernels.activations import exp
from charrnn.kernels.chunk.items import embed_row
from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.gru import gru_forward
from charrnn.kernels.layernorm import normalise_sums
from charrnn.kernels.layout import (
    LAYER_BIAS,
    LAYER_GAIN,
    LAYER_H,
    LAYER_INPUT,
    LAYER_SIZE,
    LAYER_X,
    PLAN_EMBEDDING,
    PLAN_EMBEDDING_STRIDE,
    PLAN_H_COLUMN,
    PLAN_H_WIDTH,
    PLAN_HIDDEN,
    PLAN_LAYERS,
    PLAN_NORM,
    PLAN_OUT_AT,
    PLAN_OUT_BIAS_AT,
    PLAN_OUT_PANELS,
    PLAN_OUT_WIDTH,
    PLAN_PANELS,
    PLAN_SIZE,
    PLAN_STRIDE,
    PLAN_UNITS,
    PLAN_VOCAB,
    PLAN_X_WIDTH,
)
from charrnn.kernels.lstm import lstm_forward
from charrnn.kernels.rnn import rnn_forward
from charrnn.kernels.simd import (
    get,
    lanes,
    load,
    pointer,
    pointer_float64,
    pointer_int32,
    pointer_int64,
    select,
    shifted,
    store,
    zeros,
)
from charrnn.kernels.team import atomic_add, join_team, next_unit
from charrnn.kernels.tile import product
from charrnn.kernels.zoneout import blend_row

# The table of a call: the plan (layout.py), then sizes and switches, then the addresses of the arrays.
(
    STEPS,
    STREAMS,
    GROUPS,
    WORKERS,
    POSITION,
    READING,
    TOP_K,
    SCRATCH,
    GIVE_WAY,
    LAYERS,
    PARAMS,
    INPUTS,
    KEYS,
    NUMBERS,
    HS_AT,
    CS_AT,
    G_AT,
    X0_AT,
    Z_AT,
    CHOSEN_AT,
    LOSSES_AT,
    LOGITS_AT,
    WEIGHTS_AT,
    ORDER_AT,
    WORDS_AT,
    DRAWN_AT,
    NEW,
    SUMMED_AT,
    TABLE_SIZE,
) = range(PLAN_SIZE, PLAN_SIZE + 29)
TEMPERATURE, TOP_P, MIN_P, NOT_FINITE, ZONE_RATE, NUMBERS_SIZE = range(6)  # the places of NUMBERS

GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@inline
def state_at(plan, l, lo, n):
    """Return the row of HS and CS where a group's states of layer l begin."""
    return lo * plan[PLAN_LAYERS] + l * n


@inline
def sums_at(plan, l, p, lo, n):
    """Return the row of G where a group's sums of a panel of layer l begin."""
    return (lo * plan[PLAN_LAYERS] + l * n) * plan[PLAN_PANELS] + p * n


@inline
def recurrent_unit(plan, layers, params, HS, G, l, p, lo, n):
    """G = h Wh for a panel of layer l and the group of n streams from lo on."""
    VL, H, stride = lanes(G), plan[PLAN_HIDDEN], plan[PLAN_STRIDE]
    width, work, column = plan[PLAN_H_WIDTH], 4 * VL, plan[PLAN_H_COLUMN]
    g = sums_at(plan, l, p, lo, n) * work
    for u in range(0, n * work if column > 0 else 0, work):  # gru: n has no recurrent part
        store(G, g + u, zeros(G))
    product(
        plan,
        width,
        n,
        HS,
        state_at(plan, l, lo, n) * stride,
        stride,
        0,
        params,
        layers[l * LAYER_SIZE + LAYER_H] + p * H * width * VL,
        G,
        g + column,
        work,
        H,
        1,
        0,
    )


@inline
def input_unit(plan, layers, params, characters, first, HS, X0, G, l, p, lo, n):
    """G += x Wx for a panel of layer l and the n streams from lo on: row lookups for characters, products otherwise."""
    VL, stride = lanes(G), plan[PLAN_STRIDE]
    width, work = plan[PLAN_X_WIDTH], 4 * VL
    g = sums_at(plan, l, p, lo, n) * work
    K = layers[l * LAYER_SIZE + LAYER_INPUT]
    weights = layers[l * LAYER_SIZE + LAYER_X] + p * K * width * VL
    if l > 0:
        product(
            plan, width, n, HS, state_at(plan, l - 1, lo, n) * stride, stride, 0, params, weights, G, g, work, K, 1, 1
        )
    elif plan[PLAN_EMBEDDING] > 0:
        e_stride = plan[PLAN_EMBEDDING_STRIDE]
        product(plan, width, n, X0, lo * e_stride, e_stride, 0, params, weights, G, g, work, K, 1, 1)
    else:
        for r in range(n):
            source = weights + np.int64(characters[first + lo + r]) * width * VL
            for u in range(0, width * VL, VL):
                store(G, g + r * work + u, load(G, g + r * work + u) + load(params, source + u))


@inline
def zone_unit(table, X, at, n):
    """Blend what the gates made of a panel's h or c with the states before it, X (n, stride) at `at`, in the place of these."""
    count, stride, rate = table[PLAN_UNITS], table[PLAN_STRIDE], pointer_float64(table, NUMBERS)[ZONE_RATE]
    for r in range(n):
        row = at + r * stride
        blend_row(X, row, row + table[NEW], row, count, rate)


@inline
def output_unit(plan, params, HS, Z, q, lo, n):
    """Z = h Wo for a panel of the output layer and the n streams from lo on."""
    VL, H, stride, width = lanes(Z), plan[PLAN_HIDDEN], plan[PLAN_STRIDE], plan[PLAN_OUT_WIDTH]
    wide = width * VL
    product(
        plan,
        width,
        n,
        HS,
        state_at(plan, plan[PLAN_LAYERS] - 1, lo, n) * stride,
        stride,
        0,
        params,
        plan[PLAN_OUT_AT] + q * H * wide,
        Z,
        (lo * plan[PLAN_OUT_PANELS] + q * n) * wide,
        wide,
        H,
        1,
        0,
    )


# The choice of a character. sampler.choose is the same rule in NumPy; what may differ is the last bit of an exponential.


@inline
def splitmix64(key, number):
    """Return number `number` (from 0) of the SplitMix64 sequence seeded with `key`; both uint64."""
    z = key + (number + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@inline
def exponentials(z, w, V, highest, divisor):
    """w[j] = exp((z[j] - highest) / divisor), 0 where that is below e^-708; both arrays padded to whole vectors."""
    for j in range(0, V, lanes(w)):
        x = (load(z, j) - highest) / divisor
        store(w, j, select(x < -708.0, 0.0, exp(x)))


@inline
def rank(z, order, spare, V):
    """Fill order[0..V-1] with the ids by falling z, of equals the lowest first: a merge sort; V more places are spare."""
    for j in range(V):
        order[j] = j
    source, to, run = 0, spare, 1
    while run < V:
        for start in range(0, V, 2 * run):
            middle, end = min(start + run, V), min(start + 2 * run, V)
            i, j = start, middle
            for k in range(start, end):
                if i < middle and (j >= end or z[order[source + i]] >= z[order[source + j]]):
                    order[to + k] = order[source + i]
                    i += 1
                else:
                    order[to + k] = order[source + j]
                    j += 1
        source, to, run = to, source, 2 * run
    if source != 0:
        for j in range(V):
            order[j] = order[source + j]


@inline
def keep_likeliest(z, w, order, V, scratch, top_k, top_p):
    """Set the weights to 0 that top-k, and then top-p of what is left, leave out."""
    rank(z, order, scratch, V)
    for j in range(top_k, V):
        w[order[j]] = 0.0
    if top_p < 1.0:
        total = 0.0
        for j in range(V):
            total += w[order[j]]
        reached, bound = 0.0, top_p * total
        for j in range(V):
            before = reached
            reached += w[order[j]]
            if j > 0 and before >= bound:  # those before it have reached p
                w[order[j]] = 0.0


@inline
def choose_id(z, w, order, V, scratch, draw, temperature, top_k, top_p, min_p):
    """Return the id that the draw chooses from the logits z[0..V-1]; w, order are scratch. The rule is sampler.choose's."""
    highest, best = z[0], 0
    for j in range(1, V):
        if z[j] > highest:
            highest, best = z[j], j
    if temperature == 0.0:
        return best
    exponentials(z, w, V, highest, temperature)
    if top_k < V or top_p < 1.0:
        keep_likeliest(z, w, order, V, scratch, top_k, top_p)
    if min_p > 0.0:
        for j in range(V):
            if w[j] < min_p:
                w[j] = 0.0
    total = 0.0
    for j in range(V):
        total += w[j]
    target, cumulative = draw * total, 0.0
    for j in range(V):
        cumulative += w[j]
        if cumulative > target:
            return j
    return best  # not reached: a draw is below 1


@inline
def surprisal(z, w, V, chosen):
    """Return the loss of one id in nats: log sum_j e^z_j - z_chosen."""
    highest = z[0]
    for j in range(1, V):
        highest = max(highest, z[j])
    exponentials(z, w, V, highest, 1.0)
    total = 0.0
    for j in range(V):
        total += w[j]
    return highest + math.log(total) - z[chosen]


@inline
def draw_group(table, like, me, t, lo, n):
    """Draw the next character of the n streams from lo on, from their logits; it is the next to be read."""
    plan, params, Z = table, pointer(table, PARAMS, like), pointer(table, Z_AT, like)
    inputs, chosen = pointer_int32(table, INPUTS), pointer_int32(table, CHOSEN_AT)
    keys, numbers = pointer_int64(table, KEYS), pointer_float64(table, NUMBERS)
    scratch, B, V = table[SCRATCH], table[STREAMS], plan[PLAN_VOCAB]
    wide, bias = plan[PLAN_OUT_WIDTH] * lanes(Z), plan[PLAN_OUT_BIAS_AT]
    z = shifted(pointer_float64(table, WEIGHTS_AT), 2 * me * scratch)
    w = shifted(z, scratch)
    order = shifted(pointer_int64(table, ORDER_AT), 2 * me * scratch)
    for row in range(lo, lo + n):
        check = 0.0
        for q in range(plan[PLAN_OUT_PANELS]):
            at, first = (lo * plan[PLAN_OUT_PANELS] + q * n + row - lo) * wide, q * wide
            for j in range(first, min(first + wide, V)):
                z[j] = np.float64(get(Z, at + j - first) + get(params, bias + j))
                check += z[j] * 0.0
        character = 0
        if check == 0.0:
            bits = splitmix64(np.uint64(keys[row]), np.uint64(table[POSITION] + t))
            draw = np.float64(bits >> np.uint64(11)) * 2.0**-53
            character = choose_id(
                z, w, order, V, scratch, draw, numbers[TEMPERATURE], table[TOP_K], numbers[TOP_P], numbers[MIN_P]
            )
        else:  # a NaN or an infinity times zero
            numbers[NOT_FINITE] = 1.0
        if table[LOGITS_AT] != 0:
            logits = shifted(pointer_float64(table, LOGITS_AT), (t * B + row) * V)
            for j in range(V):
                logits[j] = z[j]
        if table[LOSSES_AT] != 0:
            pointer_float64(table, LOSSES_AT)[t * B + row] = surprisal(z, w, V, character)
        inputs[row] = character
        chosen[t * B + row] = character
        if plan[PLAN_EMBEDDING] > 0:
            embed_row(plan, params, pointer(table, X0_AT, like), row, np.int64(character))


def _make_generate(cell, gates_forward):
    """Return the work items that generate with one cell, from the elementwise part of its time step."""
    has_c = cell == "lstm"

    def generate(table, like, item):
        """Be worker `item` of the team that draws, or reads, STEPS characters for every stream."""
        plan, layers, params = table, pointer_int64(table, LAYERS), pointer(table, PARAMS, like)
        HS, CS, G = pointer(table, HS_AT, like), pointer(table, CS_AT, like), pointer(table, G_AT, like)
        X0, Z = pointer(table, X0_AT, like), pointer(table, Z_AT, like)
        words, drawn, reading = pointer_int64(table, WORDS_AT), pointer_int64(table, DRAWN_AT), table[READING] != 0
        summed, norm = pointer_int64(table, SUMMED_AT), plan[PLAN_NORM] != 0
        characters = pointer_int32(table, CHOSEN_AT) if reading else pointer_int32(table, INPUTS)
        B, groups, workers, give_way = table[STREAMS], table[GROUPS], table[WORKERS], table[GIVE_WAY]
        L, P, Q, units = plan[PLAN_LAYERS], plan[PLAN_PANELS], plan[PLAN_OUT_PANELS], plan[PLAN_UNITS]
        work, stride, new = 4 * lanes(G), plan[PLAN_STRIDE], table[NEW]
        phase, target = 1, 0
        join_team(words, item)
        for t in range(-1, table[STEPS]):
            for l in range(L if t >= 0 else 0):
                target += P * groups
                unit = next_unit(words, item, workers, phase, P * groups, target, give_way)
                while unit >= 0:
                    p, lo = unit % P, unit // P * B // groups
                    n = (unit // P + 1) * B // groups - lo
                    input_unit(plan, layers, params, characters, t * B if reading else 0, HS, X0, G, l, p, lo, n)
                    first, end = p, p + 1
                    if norm:
                        first, end = 0, 0
                        if atomic_add(summed, unit // P, 1) % P == P - 1:
                            normalise_sums(
                                plan,
                                params,
                                layers[l * LAYER_SIZE + LAYER_GAIN],
                                G,
                                sums_at(plan, l, 0, lo, n) * work,
                                n * work,
                                n,
                                G,
                                G,
                                0,
                                False,
                            )
                            end = P
                    for q in range(first, end):
                        at = state_at(plan, l, lo, n) * stride + q * units
                        gates_forward(
                            params,
                            layers[l * LAYER_SIZE + LAYER_BIAS] + q * work,
                            G,
                            sums_at(plan, l, q, lo, n) * work,
                            HS,
                            at,
                            at + new,
                            CS,
                            at,
                            at + new,
                            n,
                            stride,
                        )
                        if new > 0:
                            zone_unit(table, HS, at, n)
                            if has_c:
                                zone_unit(table, CS, at, n)
                    unit = next_unit(words, item, workers, phase, P * groups, target, give_way)
                phase += 1
            # Before the first step there is nothing to draw, after the last one no further step to prepare.
            outputs = 0 if reading or t < 0 else Q
            each = outputs + (L * P if t + 1 < table[STEPS] else 0)
            target += each * groups
            unit = next_unit(words, item, workers, phase, each * groups, target, give_way)
            while unit >= 0:
                group, panel = unit // each, unit % each - outputs
                lo = group * B // groups
                n = (group + 1) * B // groups - lo
                if panel < 0:
                    output_unit(plan, params, HS, Z, panel + outputs, lo, n)
                    if atomic_add(drawn, group, 1) % Q == Q - 1:
                        draw_group(table, like, item, t, lo, n)
                else:
                    recurrent_unit(plan, layers, params, HS, G, panel // P, panel % P, lo, n)
                    if (
                        panel == 0 and plan[PLAN_EMBEDDING] > 0 and (reading or t < 0)
                    ):  # what is drawn is embedded at once
                        for row in range(lo, lo + n):
                            embed_row(
                                plan, params, X0, row, np.int64(characters[((t + 1) * B if reading else 0) + row])
                            )
                unit = next_unit(words, item, workers, phase, each * groups, target, give_way)
            phase += 1

    return Items(generate, f"{cell}_generate")


# For each cell the items of generation, a worker each.
GENERATE = {
    cell: _make_generate(cell, forward)
    for cell, forward in (("lstm", lstm_forward), ("gru", gru_forward), ("rnn", rnn_forward))
}
