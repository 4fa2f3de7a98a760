"""Draw items from a model, each until its END, as one batch; and draw continuations of many prompts. Knows ids and
special symbols, not files.
"""

from typing import NamedTuple

import numpy as np

from charrnn.sampling.priming import first_ids, stop_ids

MAX_STREAMS = 256  # of the prompts that are continued side by side; no effect on what follows them


class DrawnItem(NamedTuple):
    """An item, or a continuation of a prompt, that was drawn.

    ids        ndarray (n,), int32: what was drawn after the prime, without END and without a stop sequence
    is_whole   bool: whether END or a stop sequence was drawn; otherwise the text was cut off at the maximum length
    loss_nats  float: sum of the losses of all drawn ids, in nats, END included; None unless it was asked for
    drawn      int: number of drawn ids, including END or the stop sequence
    """

    ids: np.ndarray
    is_whole: bool
    loss_nats: float | None = None
    drawn: int = 0


def draw_items(  # noqa: PLR0913 - a sampler, and what it draws
    sampler, vocabulary, length, prime_ids=(), stop=(), with_losses=False, label=None
):
    """Draw one item in each stream of a Sampler; return a list of DrawnItem.

    length       maximum number of characters to draw per item
    prime_ids    ids with which each item begins, after START
    stop         id sequences that end an item, besides END, as for `Sampler.generate`
    label        id of the label of the items, for a model that writes texts for a label; otherwise None
    """
    sampler.prime(first_ids(vocabulary, prime_ids, label))
    return _collect(sampler, vocabulary, length, stop, with_losses)


def continue_prompts(  # noqa: PLR0913 - a sampler, and what it draws
    make_sampler, vocabulary, prompts, length, num_samples=1, stop=(), with_losses=False, label=None
):
    """Yield for each prompt, in order, a list of `num_samples` DrawnItem: continuations of the prompt.

    make_sampler           callable: make_sampler(num_streams, stream_numbers) returns a Sampler
    prompts                sequences of ids; a prompt may be empty
    length, stop, label    as for `draw_items`

    Sample k of each prompt is drawn as stream k, so it is the same, to the bit, as if the prompt were continued alone.
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
