"""The marks of a chunk: where streams are reset, and which losses count, from masks to what the kernels read."""

from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.records import RESET, SILENT


class Masks(NamedTuple):
    """What a caller says of a chunk's streams.

    resets, counts    (T, B) bool, or None: pack_marks
    mean_over         how many losses the mean is taken over, None for those that count here; more where these are some
                      of a batch's streams
    """

    resets: np.ndarray | None = None
    counts: np.ndarray | None = None
    mean_over: int | None = None


NO_MASKS = Masks()


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
    """Return the Masks of a chunk of items, with resets and counts where `masks` leave them open (None).

    x, y    (T, B) ids; y None where no loss is asked for
    """
    if masks.resets is None:
        masks = masks._replace(resets=np.asarray(x) == start_id)
    if masks.counts is None and y is not None:
        masks = masks._replace(counts=np.asarray(y) != start_id)
    return masks


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
