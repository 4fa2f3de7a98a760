"""Items drawn from a model, each until its END, as one batch; and what follows each of many prompts. Knows ids and
special symbols, not files.
"""

from typing import NamedTuple

import numpy as np

from charrnn.sampling.priming import first_ids, stop_ids

MAX_STREAMS = 256  # of the prompts that are continued side by side; no effect on what follows them


class DrawnItem(NamedTuple):
    """An item, or what follows a prompt.

    ids        ndarray (n,), int32, without START and END, after the prime
    is_whole   whether END was drawn, or a stop sequence; otherwise it was cut off
    loss_nats  of its characters, END included where it was drawn; None unless asked for
    drawn      characters drawn, those of END or a stop sequence included
    """

    ids: np.ndarray
    is_whole: bool
    loss_nats: float | None = None
    drawn: int = 0


def draw_items(  # noqa: PLR0913 - a sampler, and what it draws
    sampler, vocabulary, length, prime_ids=(), stop=(), with_losses=False, label=None
):
    """Return a list of DrawnItem, one of each stream of a Sampler: what follows START and the prime.

    length    new characters of an item at most
    label     the id of the label that steers the items, of a model that has learned to follow one
    stop      id sequences beside END that end an item, as `Sampler.generate` takes them
    """
    sampler.prime(first_ids(vocabulary, prime_ids, label))
    return _collect(sampler, vocabulary, length, stop, with_losses)


def continue_prompts(  # noqa: PLR0913 - a sampler, and what it draws
    make_sampler, vocabulary, prompts, length, num_samples=1, stop=(), with_losses=False, label=None
):
    """Yield for every prompt, in their order, a list of `num_samples` DrawnItem: what follows it.

    make_sampler    (number of streams, their numbers) -> Sampler
    prompts         of ids; one may be empty
    length, stop, label    as for draw_items

    Sample k of any prompt is drawn as stream k: it is what the prompt alone gives, to the bit, whatever else is asked.
    """
    width = max(1, MAX_STREAMS // num_samples)
    for start in range(0, len(prompts), width):
        first = [first_ids(vocabulary, prompt, label) for prompt in prompts[start : start + width]]
        found = [[] for _ in first]
        # Of a model that has never seen a newline nothing stands before an empty prompt.
        for places in (
            [j for j, ids in enumerate(first) if len(ids)],
            [j for j, ids in enumerate(first) if not len(ids)],
        ):
            if not places:
                continue
            streams = list(range(num_samples)) * len(places)
            sampler = make_sampler(len(streams), streams)
            if len(first[places[0]]):
                sampler.prime_each([first[j] for j in places for _ in range(num_samples)])
            items = _collect(sampler, vocabulary, length, stop, with_losses)
            for n, j in enumerate(places):
                found[j] = items[n * num_samples : (n + 1) * num_samples]
        yield from found


def _collect(sampler, vocabulary, length, stop, with_losses):
    """Return a list of DrawnItem, one of each stream of a primed Sampler."""
    end = vocabulary.end_id
    pieces = [[] for _ in range(sampler.num_samples)]
    losses, drawn = np.zeros(sampler.num_samples), np.zeros(sampler.num_samples, np.int64)
    is_whole = [False] * sampler.num_samples
    if end is not None:  # which takes a draw of its own
        length += 1
    for block in sampler.generate(length, stop_ids(vocabulary, stop), with_losses=with_losses):
        for j, (ids, finished) in enumerate(zip(block.ids, block.finished)):
            pieces[j].append(ids)
            is_whole[j] = is_whole[j] or finished == "stop"
        drawn += block.drawn
        if block.loss_nats is not None:
            losses += block.loss_nats
    items = []
    for j, of_item in enumerate(pieces):
        ids = np.concatenate(of_item)
        if end is not None:
            # Never predicted in training; a model that has another mind is not followed.
            ids = ids[ids < len(vocabulary.symbols)][: length - 1]
        items.append(DrawnItem(ids, is_whole[j], float(losses[j]) if with_losses else None, int(drawn[j])))
    return items
