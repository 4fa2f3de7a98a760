"""Recurrent weights dropped for one step of training: DropConnect on Wh.

Wan et al. 2013; AWD-LSTM, Merity et al. 2017.

    before the chunk    kept = Wh;  Wh = Wh * mask / (1 - P), in place, so that all that reads Wh needs to know nothing
    after it            Wh = kept;  dWh = dWh * mask / (1 - P)

One mask for all T steps and B streams of a chunk. That of a weight is a function of (seed, step, layer, gate, unit it
comes from, unit it leads to), drawn as dropout.py draws those of units: nothing is kept of it, and no layout of panels
changes it.
"""

import numpy as np

from charrnn.kernels.compiled import inline
from charrnn.kernels.dropout import keep_lanes, row_base
from charrnn.kernels.layout import Layer
from charrnn.kernels.records import Connections
from charrnn.kernels.simd import lanes, load, select, store
from charrnn.kernels.view import opener, row_opener

FIRST_LAYER = 1 << 20  # in the counter, beyond all layers whose units are dropped: the two draws have nothing in common


open_connections, open_layer = opener(Connections), row_opener(Layer)


@inline
def count_places(gates):
    """Return how many places there are: one more than the place of the highest bit."""
    count = 0
    while gates >> count > 0:
        count += 1
    return count


@inline
def panel_at(v, item):
    """Return where an item's panel begins in the flat buffer, and how many numbers it has."""
    size = v.H * count_places(v.gates) * v.units
    return open_layer(v.layers, item // v.P).h + item % v.P * size, size


@inline
def drop_panel(v, X, item):
    """X = X * mask * scale for an item's panel, in place."""
    start, _ = panel_at(v, item)
    layer, panel, places = FIRST_LAYER + item // v.P, item % v.P, count_places(v.gates)
    for k in range(v.H):
        gate = 0
        for place in range(places):
            base = row_base(np.uint64(v.key), layer, gate * v.H + k)
            gate += v.gates >> place & 1
            at = start + (k * places + place) * v.units
            for u in range(0, v.units, lanes(X)):
                kept = keep_lanes(X, base, panel * v.units + u, v.threshold)
                store(X, at + u, select(kept, load(X, at + u) * v.scale, 0.0))


@inline
def copy_panel(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them."""
    for u in range(0, count, lanes(X)):
        store(Y, y + u, load(X, x + u))


def drop_weights(table, like, item):
    """Keep one panel of a recurrent matrix aside, and drop weights from it in its place."""
    v = open_connections(table, like)
    at, size = panel_at(v, item)
    copy_panel(v.params, at, v.kept, item * size, size)
    drop_panel(v, v.params, item)


def restore_weights(table, like, item):
    """Put one panel of a recurrent matrix back as it was, and drop from its gradient what was dropped from it."""
    v = open_connections(table, like)
    at, size = panel_at(v, item)
    copy_panel(v.kept, item * size, v.params, at, size)
    drop_panel(v, v.grads, item)
