"""The probability of each symbol to come next after a text, for many texts in one batch. Knows ids and vocabularies,
not files.
"""

from typing import NamedTuple

import numpy as np

from charrnn.sampling.reading import batches, read_prompts

MAX_ROWS = 256  # texts of a batch; no effect on the numbers


class NextCharacter(NamedTuple):
    """A symbol that may come next after a text, with its probability.

    Attributes
    ----------
    symbol : str or int
        The character; for a byte model, the byte as an int in 0 .. 255. For a model of items it may also be "START",
        "SEP" or "END" (the special symbols that begin, divide and end an item) or the name of a label.
    id : int
        The id of the symbol in the model's vocabulary.
    probability : float
        Probability at temperature 1; over all symbols of the vocabulary, the probabilities add up to 1.
    loss_nats : float
        -log(probability): the loss, in nats, if this symbol is the one that comes next.
    """

    symbol: str | int
    id: int
    probability: float
    loss_nats: float


def next_log_probabilities(model, texts, clamps=()):
    """Return the log probability of each symbol to come next after each text: ndarray (n, V), float64, in nats.

    texts     n sequences of ids, each read from a state of zero. After an empty one, all symbols are equally probable,
              because the model has not learned how a text begins
    clamps    Clamps: units to hold while the texts are read

    The row of a text does not depend on the other texts, to the bit. Raises ConfigError if a clamp does not fit, and
    DivergenceError if the logits are not finite.
    """
    V = model.config.vocab_size
    found = np.full((len(texts), V), -np.log(V))
    places = [j for j, text in enumerate(texts) if len(text)]
    for batch in batches([len(texts[j]) for j in places], MAX_ROWS):
        rows = [places[n] for n in batch]
        found[rows] = read_prompts(model, [texts[j] for j in rows], clamps)[0]
    return found


def likeliest(vocabulary, log_p, top_k=None):
    """Return a list of NextCharacter, the most probable first; of equally probable ones, the lowest id first.

    log_p    ndarray (V,): log probabilities in nats
    top_k    how many to return; None returns all
    """
    order = np.argsort(-log_p, kind="stable")[:top_k].tolist()
    return [NextCharacter(vocabulary.names[i], i, float(np.exp(log_p[i])), float(-log_p[i])) for i in order]
