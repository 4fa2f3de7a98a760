"""Items drawn from a model, each until its END, as one batch. Knows ids and special symbols, not files."""

from typing import NamedTuple

import numpy as np

from charrnn.sampling.priming import first_ids


class DrawnItem(NamedTuple):
    """An item.

    ids        ndarray (n,), int32, without START and END, after the prime
    is_whole   whether END was drawn; otherwise it was cut off
    loss_nats  of its characters, END included where it was drawn; None unless asked for
    """

    ids: np.ndarray
    is_whole: bool
    loss_nats: float | None = None


def draw_items(  # noqa: PLR0913 - a sampler, and what it draws
    sampler, vocabulary, length, prime_ids=(), stop=(), with_losses=False, label=None
):
    """Return a list of DrawnItem, one of each stream of a Sampler: what follows START and the prime.

    length    new characters of an item at most
    label     the id of the label that steers the items, of a model that has learned to follow one
    stop      id sequences beside END that end an item, as `Sampler.generate` takes them
    """
    end = vocabulary.end_id
    sampler.prime(first_ids(vocabulary, prime_ids, label))
    pieces = [[] for _ in range(sampler.num_samples)]
    losses = np.zeros(sampler.num_samples)
    is_whole = [False] * sampler.num_samples
    # END takes a draw of its own.
    for block in sampler.generate(length + 1, ((end,), *stop), with_losses=with_losses):
        for j, (ids, finished) in enumerate(zip(block.ids, block.finished)):
            pieces[j].append(ids)
            is_whole[j] = is_whole[j] or finished == "stop"
        if block.loss_nats is not None:
            losses += block.loss_nats
    items = []
    for j, of_item in enumerate(pieces):
        ids = np.concatenate(of_item)
        # Never predicted in training; a model that has another mind is not followed.
        ids = ids[ids < len(vocabulary.symbols)][:length]
        items.append(DrawnItem(ids, is_whole[j], float(losses[j]) if with_losses else None))
    return items
