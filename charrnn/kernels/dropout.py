"""Dropout masks from a counter: the mask of a unit is a function of (seed, step, layer, row, unit) and nothing else.

No generator state is kept, so a resumed run draws the masks that an uninterrupted one would have, and the backward pass
draws again what the forward pass drew. A row is the stream's place in the chunk, t*B + b, or the stream alone, b, for
the variational form (one mask for all steps of a chunk: Gal & Ghahramani 2016).
"""

import numpy as np

from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import keep_lanes, lanes, load, select, store

THRESHOLD_BITS = 24


def mix(z):
    """Return splitmix64 of a Python int: the finaliser of Steele, Lea & Flood 2014."""
    z = (z + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return z ^ (z >> 31)


def step_key(seed, step):
    """Return the key of one optimiser step's masks: 64 bits, as the int that an int64 table holds them in."""
    key = mix((mix(seed & 0xFFFFFFFFFFFFFFFF) + step) & 0xFFFFFFFFFFFFFFFF)
    return key - 2**64 if key >= 2**63 else key


@inline
def _mix64(z):
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inline
def row_base(key, layer, row):
    """Return what the draws of one row begin from: 32 bits, for keep_lanes."""
    return np.int64(_mix64(key + (np.uint64(layer) << np.uint64(32)) + np.uint64(row)) & np.uint64(0xFFFFFFFF))


@inline
def drop_row(X, x, Y, y, count, key, layer, row, threshold, scale):
    """Y = X * mask * scale for the `count` units of one row; X and Y may be the same."""
    base = row_base(key, layer, row)
    for u in range(0, count, lanes(X)):
        kept = keep_lanes(X, base, u, threshold)
        store(Y, y + u, select(kept, load(X, x + u) * scale, 0.0))
