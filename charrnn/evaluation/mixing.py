"""A model and an n-gram as one: the probability of each character is a weighted mean of what both give it.

The weights come from the characters before, so the mean is a proper probability and needs no text to tune it on: every
BLOCK characters each of the two gets the share of them that it has explained, and what is further back counts less
(expectation maximisation for the weights of a mixture, with forgetting). This module knows losses, no models.
"""

from typing import NamedTuple

import numpy as np

from charrnn.evaluation.loss import mean_nats

BLOCK = 64  # characters that are read with the same weights
KEPT = 0.95  # of what was counted, with every block: weights follow about the last 1,300 characters
START = 1.0  # what each of the two has explained before the first character


class MixedLosses(NamedTuple):
    """The losses of a mixture of a model and an n-gram.

    order          order of the n-gram
    losses         ndarray (n,) float64: the loss of every judged character, in nats; 0 for one that does not count
    model_share    mean weight of the model, 0 .. 1; the rest is the weight of the n-gram
    counted        ndarray (n,) bool: the characters that count; None if all do
    """

    order: int
    losses: np.ndarray
    model_share: float
    counted: np.ndarray | None = None

    @property
    def loss_nats(self):
        """Mean loss of the characters that count, in nats per character."""
        return mean_nats(self.losses, self.counted)


def mix(losses, other, order, counted=None):
    """Return the MixedLosses of a model and an n-gram.

    losses, other    ndarray (n,) float64: what each character costs the model, and the n-gram, in nats
    order            of the n-gram
    counted          ndarray (n,) bool, the characters that count; None for all
    """
    rows = np.arange(len(losses)) if counted is None else np.flatnonzero(counted)
    given = np.exp(-np.stack([losses[rows], other[rows]], axis=1))
    mixed, explained, model_share = np.zeros(len(losses)), np.full(2, START), 0.0
    for at in range(0, len(rows), BLOCK):
        weights = explained / explained.sum()
        parts = given[at : at + BLOCK] * weights
        whole = parts.sum(axis=1, keepdims=True)
        mixed[rows[at : at + BLOCK]] = -np.log(whole[:, 0])
        model_share += weights[0] * len(parts)
        explained = KEPT * explained + (parts / whole).sum(axis=0)
    return MixedLosses(order, mixed, model_share / max(1, len(rows)), counted)
