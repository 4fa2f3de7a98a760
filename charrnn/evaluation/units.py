"""A loss in other units than nats. Pure: the command line imports it before it imports NumPy."""

import math


def bits(nats):
    """Return a loss in bits."""
    return nats / math.log(2)


def perplexity(nats):
    """Return e to the loss; infinite where that is beyond a float, above 709.78 nats."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
