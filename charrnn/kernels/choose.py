"""The choice of a character from its logits, in compiled code. sampler.choose is the same rule in NumPy.

What may differ from it is the last bit of an exponential. Arrays are float64 and int64, V of them used, padded to whole
vectors.
"""

import math

from charrnn.kernels.activations import exp
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import lanes, load, select, store


@inline
def exponentials(z, w, V, highest, divisor):
    """w[j] = exp((z[j] - highest) / divisor), 0 where that is below e^-708; both arrays padded to whole vectors."""
    for j in range(0, V, lanes(w)):
        x = (load(z, j) - highest) / divisor
        store(w, j, select(x < -708.0, 0.0, exp(x)))


@inline
def rank(z, order, spare, V):
    """Fill order[0..V-1] with the ids by falling z, of equals the lowest first (a merge sort), with V spare places."""
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
def keep_likeliest(v, z, w, order, row):
    """Set the weights to 0 that top-k, and then top-p of what is left, leave out."""
    V, top_p = v.plan.V, v.top_p[row]
    rank(z, order, v.scratch, V)
    for j in range(v.top_k[row], V):
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
def choose_id(v, z, w, order, row, draw):
    """Return the id that the draw chooses from the logits z[0..V-1], by the settings of stream `row`.

    v    a view of a generation; w and order are scratch
    """
    V, temperature, min_p = v.plan.V, v.temperature[row], v.min_p[row]
    highest, best = z[0], 0
    for j in range(1, V):
        if z[j] > highest:
            highest, best = z[j], j
    if temperature == 0.0:
        return best
    exponentials(z, w, V, highest, temperature)
    if v.top_k[row] < V or v.top_p[row] < 1.0:
        keep_likeliest(v, z, w, order, row)
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
