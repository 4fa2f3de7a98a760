"""SplitMix64: keyed random numbers, as a Python int, as a NumPy array and in compiled code (Steele, Lea & Flood 2014).

"Fast splittable pseudorandom number generators", with the constants of Java 8. A sequence is counted, not consumed:
number n of the sequence seeded with `key` is mix(key + n*GOLDEN), so any of them can be had without those before it.
Arithmetic is modulo 2**64.
"""

import numpy as np

from charrnn.kernels.compiled import inline

GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN, _MIX_1, _MIX_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)


def mix(z):
    """Return the number 0 of the sequence seeded with `z`, a Python int of 64 bits."""
    z = (z + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * MIX_1) & MASK
    z = ((z ^ (z >> 27)) * MIX_2) & MASK
    return z ^ (z >> 31)


@inline
def mix_uint64(z):
    """Return the number 0 of the sequence seeded with `z`, uint64, in compiled code or an array."""
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@inline
def number_uint64(key, number):
    """Return number `number` (from 0) of the sequence seeded with `key`, both uint64, in compiled code."""
    return mix_uint64(key + number * _GOLDEN)


def splitmix64(key, number):
    """Return number `number` (from 0) of the sequence seeded with `key`, broadcasting; ndarray of uint64."""
    with np.errstate(over="ignore"):
        return mix_uint64.py_func(np.asarray(key, dtype=np.uint64) + np.asarray(number).astype(np.uint64) * _GOLDEN)
