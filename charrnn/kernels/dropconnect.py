"""Recurrent weights dropped for one step of training: DropConnect on Wh (Wan et al. 2013; AWD-LSTM, Merity et al. 2017).

    before the chunk    kept = Wh;  Wh = Wh * mask / (1 - P), in place, so that all that reads Wh needs to know nothing
    after it            Wh = kept;  dWh = dWh * mask / (1 - P)

One mask for all T steps and B streams of a chunk. That of a weight is a function of (seed, step, layer, gate, unit it comes from,
unit it leads to), drawn as dropout.py draws those of units: nothing is kept of it, and no layout of panels changes it.
"""

import numpy as np

from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.dropout import keep_lanes, row_base
from charrnn.kernels.layout import LAYER_H, LAYER_SIZE
from charrnn.kernels.simd import lanes, load, pointer, pointer_float64, pointer_int64, select, store

# The table: sizes (a panel is [HIDDEN][GATES][UNITS]) and the draw's key and threshold, then addresses. NUMBERS_AT: the scale.
(HIDDEN, PANELS, GATES, UNITS, KEY, THRESHOLD, NUMBERS_AT, LAYERS_AT, PARAMS_AT, GRADS_AT, KEPT_AT, TABLE_SIZE) = range(
    12
)

FIRST_LAYER = 1 << 20  # in the counter, beyond all layers whose units are dropped: the two draws have nothing in common


@inline
def drop_panel(X, x, Y, y, H, gates, units, panel, key, layer, threshold, scale):
    """Y = X * mask * scale for a panel [H][gates][units] of a recurrent matrix; X and Y may be the same."""
    for k in range(H):
        for gate in range(gates):
            base = row_base(key, FIRST_LAYER + layer, gate * H + k)
            at = (k * gates + gate) * units
            for u in range(0, units, lanes(X)):
                kept = keep_lanes(X, base, panel * units + u, threshold)
                store(Y, y + at + u, select(kept, load(X, x + at + u) * scale, 0.0))


@inline
def copy_panel(X, x, Y, y, count):
    """Y = X for `count` numbers, whole vectors of them."""
    for u in range(0, count, lanes(X)):
        store(Y, y + u, load(X, x + u))


def _drop_weights(table, like, item):
    """Keep one panel of a recurrent matrix aside, and drop weights from it in its place."""
    H, P, gates, units = table[HIDDEN], table[PANELS], table[GATES], table[UNITS]
    params, size = pointer(table, PARAMS_AT, like), H * gates * units
    at = pointer_int64(table, LAYERS_AT)[item // P * LAYER_SIZE + LAYER_H] + item % P * size
    copy_panel(params, at, pointer(table, KEPT_AT, like), item * size, size)
    drop_panel(
        params,
        at,
        params,
        at,
        H,
        gates,
        units,
        item % P,
        np.uint64(table[KEY]),
        item // P,
        table[THRESHOLD],
        pointer_float64(table, NUMBERS_AT)[0],
    )


def _restore_weights(table, like, item):
    """Put one panel of a recurrent matrix back as it was, and drop from its gradient what was dropped from it."""
    H, P, gates, units = table[HIDDEN], table[PANELS], table[GATES], table[UNITS]
    grads, size = pointer(table, GRADS_AT, like), H * gates * units
    at = pointer_int64(table, LAYERS_AT)[item // P * LAYER_SIZE + LAYER_H] + item % P * size
    copy_panel(pointer(table, KEPT_AT, like), item * size, pointer(table, PARAMS_AT, like), at, size)
    drop_panel(
        grads,
        at,
        grads,
        at,
        H,
        gates,
        units,
        item % P,
        np.uint64(table[KEY]),
        item // P,
        table[THRESHOLD],
        pointer_float64(table, NUMBERS_AT)[0],
    )


drop_weights = Items(_drop_weights)  # item: a panel of a layer's recurrent matrix, before the weights are read
restore_weights = Items(_restore_weights)  # the same, after the weight gradients
