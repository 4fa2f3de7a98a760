"""The marks of a chunk: where streams are reset, and which losses count, from masks to what the kernels read."""

from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.records import RESET, SILENT


class Marks(NamedTuple):
    """What a chunk's marks come to.

    resetting    whether a stream is reset
    counting     whether there are losses that do not count
    counted      how many count
    """

    resetting: bool
    counting: bool
    counted: int


def item_masks(start_id, x, y, masks):
    """Return the (resets, counts) of a chunk of items, where `masks` leave them open (None).

    x, y    (T, B) ids; y None where no loss is asked for
    """
    resets, counts = masks
    resets = np.asarray(x) == start_id if resets is None else resets
    counts = np.asarray(y) != start_id if counts is None and y is not None else counts
    return resets, counts


def pack_marks(resets, counts, shape, place):
    """Write the marks of a chunk of `shape` (T, B) into `place`, int32, where it has any; return its Marks.

    resets, counts    (T, B) bool, or None: no stream is reset, every loss counts. Raises ConfigError.
    """
    T, B = shape
    marks, resetting, counted = place[: T * B].reshape(shape), False, T * B
    if resets is not None or counts is not None:
        marks[:] = 0
    if resets is not None:
        resets = _check("resets", resets, shape)
        resetting = bool(resets.any())
        marks += resets * np.int32(RESET)
    if counts is not None:
        counts = _check("counts", counts, shape)
        counted = int(np.count_nonzero(counts))
        marks += ~counts * np.int32(SILENT)
    return Marks(resetting, counted < T * B, counted)


def _check(name, mask, shape):
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != shape:
        raise ConfigError(f"{name} must be bool of the ids' shape {shape}, got {mask.dtype} of shape {mask.shape}")
    return mask
