"""A loss in other units than nats. Pure: the command line imports it before it imports NumPy."""

import math

FEW = 100  # characters: below them xz measures its own header, and a loss is that of some words
LARGE = 1e9  # a perplexity from here on is written as a power of ten


def bits(nats):
    """Return a loss in bits."""
    return nats / math.log(2)


def perplexity_text(nats, places, thousands=","):
    """Spell a perplexity, with so many places; a large one as a power of ten, one beyond floats as infinite."""
    hard = perplexity(nats)
    return f"{hard:{thousands}.{places}f}" if hard < LARGE or math.isinf(hard) else f"{hard:.{places}e}"


def perplexity(nats):
    """Return e to the loss; infinite where that is beyond a float, above 709.78 nats."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
