"""How likely each label is after a text, and already after the first characters of it.

An item is START text END label, and a label is one symbol. Its probability is the model's after END, over the sum of
those of all labels. Knows models and ids, not files.
"""

import numpy as np

from charrnn.errors import ConfigError
from charrnn.model.workspace import Workspace
from charrnn.sampling.reading import batches, log_softmax, pick

MAX_ROWS = 256  # texts of a batch; no effect on the numbers
CHUNK = 32  # characters of a pass


def label_probabilities(model, texts, end_id, labels, after=None, report=None):  # noqa: PLR0913
    """Return the probability of each label after each text, ndarray (N, K), float64; with `after`, (A, N, K).

    Each text is read once, however many of its beginnings are judged, beside others of any length; no bit depends on
    these, nor on the number of threads.

    Parameters
    ----------
    model : Model
        Of items.
    texts : sequence of sequences of int
        The ids of each, without START and END. An empty one tells what is known before anything is read.
    end_id : int
        The symbol that ends a text.
    labels : sequence of int
        The ids of the labels, (K,).
    after : sequence of int, optional
        Judge after so many characters of each text, as if it ended there; a text that is shorter, after the whole of
        it. None: after the whole text.
    report : callable, optional
        Called with (texts done, of).

    Raises ConfigError, and DivergenceError where the model's output is not finite.
    """
    if model.start_id is None:
        raise ConfigError("labels belong to items, but this is a model of one long text")
    if not len(labels):
        raise ConfigError("there must be at least 1 label, got none")
    if after is not None and (not len(after) or min(after) < 0):
        raise ConfigError(f"after must name numbers of characters, each at least 0, got {list(after)}")
    labels = np.asarray(labels)
    found = np.empty((1 if after is None else len(after), len(texts), len(labels)))
    done = 0
    for numbers in batches([len(text) for text in texts], MAX_ROWS):
        lengths = np.array([len(texts[j]) for j in numbers])
        judged = lengths[None] if after is None else np.minimum(np.asarray(after)[:, None], lengths)
        states = _read_beginnings(model, [texts[j] for j in numbers], judged)
        workspace = Workspace(model, len(numbers), 1, training=False)
        for place in range(len(judged)):
            workspace.set_carry(pick(states, np.arange(len(numbers)) + place * len(numbers)))
            logits = workspace.logits(np.full((1, len(numbers)), end_id, np.int32))
            found[place, numbers] = np.exp(log_softmax(logits[0][:, labels]))
        done += len(numbers)
        if report is not None:
            report(done, len(texts))
    return found[0] if after is None else found


def _read_beginnings(model, texts, judged):
    """Return the carry after `judged` (A, n) characters of each text: {"h": (L, A*n, H)}, "c" likewise."""
    T, n = int(judged.max()) + 1, len(texts)
    x = np.full((T, n), model.start_id, np.int32)
    for j, text in enumerate(texts):
        x[1 : len(text) + 1, j] = text[: T - 1]
    workspace = Workspace(model, n, min(T, CHUNK), training=False)
    steps, streams = judged.ravel(), np.tile(np.arange(n), len(judged))
    found = {}
    for t in range(0, T, CHUNK):
        workspace.logits(x[t : t + CHUNK])
        here = np.flatnonzero((steps >= t) & (steps < t + CHUNK))
        for name, carry in workspace.get_carry().items():
            if name not in found:
                found[name] = np.empty((len(carry), len(steps), carry.shape[2]), carry.dtype)
            found[name][:, here] = workspace.states(name)[:, steps[here] - t, streams[here]]
    return found
