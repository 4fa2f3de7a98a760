"""SplitMix64: keyed random numbers, as a Python int and as a NumPy array (Steele, Lea & Flood 2014).

"Fast splittable pseudorandom number generators", with the constants of Java 8. A sequence is counted, not consumed:
number n of the sequence seeded with `key` is mix(key + n*GOLDEN), so any of them can be had without those before it.
Arithmetic is modulo 2**64. keyed.py has the same in compiled code.
"""

import numpy as np

GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN, _MIX_1, _MIX_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)


def mix(z):
    """Return the number 0 of the sequence seeded with `z`, a Python int of 64 bits."""
    z = (z + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * MIX_1) & MASK
    z = ((z ^ (z >> 27)) * MIX_2) & MASK
    return z ^ (z >> 31)


def mix_uint64(z):
    """Return the number 0 of the sequence seeded with `z`, uint64, in compiled code or an array."""
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def splitmix64(key, number):
    """Return number `number` (from 0) of the sequence seeded with `key`, broadcasting; ndarray of uint64."""
    with np.errstate(over="ignore"):
        return mix_uint64(np.asarray(key, dtype=np.uint64) + np.asarray(number).astype(np.uint64) * _GOLDEN)


def step_key(seed, step):
    """Return the key of one optimiser step's masks: 64 bits, as the int that an int64 table holds them in."""
    return as_int64(mix((mix(seed & MASK) + step) & MASK))


def as_int64(number):
    """Return a whole number modulo 2**64 as the int that an int64 has of it."""
    number &= MASK
    return number - 2**64 if number >= 2**63 else number
