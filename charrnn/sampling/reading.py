"""What a model makes of many texts of different lengths, read side by side as one batch. Knows ids, not files.

A stream's bits do not depend on the streams beside it, nor on the number of threads.
"""

import numpy as np

from charrnn.errors import ConfigError, DivergenceError
from charrnn.model.workspace import Workspace
from charrnn.sampling.priming import side_by_side
from charrnn.sampling.sampler import NOT_FINITE

CHUNK = 64  # characters of a pass: bounds its memory; no effect on the numbers
MAX_PLACES = 1 << 22  # texts of a batch times the characters of its longest


def batches(lengths, most):
    """Yield the numbers of texts that are read side by side, a list each: up to `most` of like length, the short first.

    A text that is much longer than others is read beside few, so that they do not wait for it, nor take its memory.
    """
    order, first = sorted(range(len(lengths)), key=lengths.__getitem__), 0
    while first < len(order):
        stop = first + 1
        # What is read before a short text begins, or after it has ended, is read for nothing.
        while stop < min(len(order), first + most):
            longest = lengths[order[stop]] + 1
            if longest > 2 * lengths[order[first]] + CHUNK or (stop + 1 - first) * longest > MAX_PLACES:
                break
            stop += 1
        yield order[first:stop]
        first = stop


def read_prompts(model, prompts, clamps=()):
    """Read every prompt from a state of zero; return log p of what follows, and the carry.

    prompts    n sequences of ids, none of them empty
    clamps     units to be held meanwhile

    Returns log_p (n, V), float64, nats; and the carry {"h": (L, n, H)}, with "c" where the cell has one. Raises
    ConfigError where a prompt is empty, DivergenceError where the model's output is not finite.
    """
    if not len(prompts) or not min(map(len, prompts)):
        raise ConfigError("a prompt must have at least 1 character, got an empty one")
    x, begins = side_by_side(prompts)
    T, n = x.shape
    if model.start_id is not None:
        begins |= x == model.start_id
    workspace = Workspace(model, n, min(T, CHUNK), training=False)
    workspace.set_clamps(clamps)
    for t in range(0, T, CHUNK):
        logits = workspace.logits(x[t : t + CHUNK], begins[t : t + CHUNK])
    return log_softmax(logits[-1]), workspace.get_carry()


def log_softmax(logits):
    """Return log p (..., V), float64, nats, of logits (..., V). Raises DivergenceError where one is not finite."""
    z = np.ascontiguousarray(logits, np.float64)
    if not np.isfinite(z).all():
        raise DivergenceError(NOT_FINITE)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def pick(carry, streams):
    """Return the carry of some streams, in the order asked for, each as often as asked for."""
    return {name: state[:, streams] for name, state in carry.items()}
