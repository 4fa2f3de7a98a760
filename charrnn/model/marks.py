"""The marks of a chunk: where states are reset, and which losses count; from masks to the form that kernels read."""

from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.records import RESET, SILENT


class Masks(NamedTuple):
    """Where the states of a chunk are reset, and which of its losses count.

    resets       ndarray (T, B) of bool: the state of a stream is set to zero before x[t, b] is read; None: no resets
    counts       ndarray (T, B) of bool: the loss of predicting y[t, b] counts; None: all losses count
    mean_over    int: number by which the sum of the losses is divided; None means the number of losses that count here.
                 It is larger if the chunk is only a part of a batch
    """

    resets: np.ndarray | None = None
    counts: np.ndarray | None = None
    mean_over: int | None = None


NO_MASKS = Masks()


class Marks(NamedTuple):
    """A summary of the marks of a chunk.

    resetting    bool: whether any state is reset
    counting     bool: whether some losses do not count
    counted      int: number of losses that count
    """

    resetting: bool
    counting: bool
    counted: int


def item_masks(start_id, x, y, masks):
    """Return `masks` with the rules of a model of items filled in where resets or counts is None.

    States are reset where START is read, and predicting START does not count.

    start_id    the id of START
    x, y        ndarray (T, B) of ids; y is None if no loss is computed
    """
    if masks.resets is None:
        masks = masks._replace(resets=np.asarray(x) == start_id)
    if masks.counts is None and y is not None:
        masks = masks._replace(counts=np.asarray(y) != start_id)
    return masks


def pack_marks(resets, counts, shape, place):
    """Write the marks of a chunk into `place`, an int32 array, if there are any; return its Marks.

    resets, counts    as in Masks
    shape             (T, B)

    Raises ConfigError if a mask is not bool or has another shape.
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
