"""Read many texts of different lengths with a model, as one batch. Knows ids, not files.

The result for a text does not depend on the other texts or on the number of threads, to the bit.
"""

import numpy as np

from charrnn.errors import ConfigError, DivergenceError
from charrnn.model.workspace import Workspace
from charrnn.sampling.priming import side_by_side
from charrnn.sampling.sampler import NOT_FINITE

CHUNK = 64  # characters of a pass: bounds its memory; no effect on the numbers
MAX_PLACES = 1 << 22  # texts of a batch times the characters of its longest


def batches(lengths, most):
    """Divide texts into batches of similar lengths; yield each batch as a list of indices, short texts first.

    lengths    the lengths of the texts
    most       maximum number of texts in a batch; batches of long texts are smaller, so that they need less memory
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
    """Read each prompt from a state of zero; return the log probabilities of the next symbol, and the carry.

    prompts    n sequences of ids, none of them empty
    clamps     Clamps: units to hold while the prompts are read

    Returns log_p, ndarray (n, V) float64, in nats; and the carry {"h": ndarray (L, n, H)}, with "c" for an LSTM. Raises
    ConfigError if a prompt is empty or a clamp does not fit, and DivergenceError if the logits are not finite.
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
    """Return log probabilities (..., V), float64, in nats, for logits (..., V). DivergenceError for NaN or infinity."""
    z = np.ascontiguousarray(logits, np.float64)
    if not np.isfinite(z).all():
        raise DivergenceError(NOT_FINITE)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def pick(carry, streams):
    """Return the carry of some streams. streams : their indices, in any order; an index may come more than once"""
    return {name: state[:, streams] for name, state in carry.items()}
