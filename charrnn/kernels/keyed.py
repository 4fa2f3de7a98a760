"""SplitMix64 (splitmix.py) in compiled code."""

import numpy as np

from charrnn.kernels import splitmix
from charrnn.kernels.compiled import inline

_GOLDEN = np.uint64(splitmix.GOLDEN)

mix_uint64 = inline(splitmix.mix_uint64)


@inline
def number_uint64(key, number):
    """Return number `number` (from 0) of the sequence seeded with `key`, both uint64."""
    return mix_uint64(key + number * _GOLDEN)
