"""What is to be said of a set of items beside the loss a character: nats an item, and whether those that a model draws
end when items end.

Knows models and ids, not files.
"""

from typing import NamedTuple

import numpy as np

from charrnn.sampling.items import draw_items
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.task_names import STEER

LENGTH_TAIL = 0.02  # of the judged items, on either side, whose lengths count as unusual
DRAWN_ITEMS, MIN_DRAWN = 1_000, 50
MAX_DRAWN_CHARACTERS = 2_000_000


class ItemsJudged(NamedTuple):
    """How well a model predicts items, and whether the items that it draws have the right lengths.

    count        number of complete items that were judged
    loss_nats    mean loss in nats per item, its END included
    bounds       two lengths in characters; at most a share LENGTH_TAIL of the judged items is shorter than the first,
                 and at most this share is longer than the second
    held_early, held_late    the shares of the judged items that are shorter than the first, longer than the second
    drawn        number of items that were drawn from the model at temperature 1; 0 if they would be too long
    early, late  the shares of these that are shorter than the first length, longer than the second; NaN if drawn is 0
    """

    count: int
    loss_nats: float
    bounds: tuple[int, int]
    held_early: float
    held_late: float
    drawn: int
    early: float
    late: float

    def to_dict(self):
        """Return the fields as a dict for JSON; None for shares if no item was drawn."""
        shares = {} if self.drawn else {"early": None, "late": None}
        return {**self._asdict(), "bounds": list(self.bounds), **shares}


def judge_items(model, vocabulary, ids, losses, seed=0, report=None):
    """Return the ItemsJudged of ids whose losses were read; None where no item is whole.

    Of items that follow a label it is their text that is judged, and as large a share of those that are drawn follows
    each label as of those that are judged.

    Parameters
    ----------
    ids : ndarray (n,)
    losses : ndarray (n,)
        Of each of them, in nats.
    seed : int
        Of the items that are drawn.
    report : callable, optional
        Called with (items drawn, of).
    """
    ends = np.flatnonzero(ids == vocabulary.end_id)
    starts = np.flatnonzero(ids == vocabulary.start_id)
    if not len(ends):
        return None
    # The START of a text's very first item is judged by nobody: its characters begin with the losses.
    begins = np.concatenate([np.zeros(1, np.int64), starts[starts < ends[-1]] + 1])
    begins = begins[len(begins) - len(ends) :]
    labels = None
    if model.rule is not None and model.rule.task == STEER:
        labels = ids[begins]
        begins = begins + 2  # of the label and SEP nothing is asked
    lengths = ends - begins
    sums = np.concatenate([np.zeros(1), np.cumsum(losses)])
    low, high = np.quantile(lengths, [LENGTH_TAIL, 1 - LENGTH_TAIL], method="inverted_cdf").astype(int).tolist()
    drawn = min(DRAWN_ITEMS, MAX_DRAWN_CHARACTERS // (high + 1))
    early = late = np.nan
    if drawn < MIN_DRAWN:
        drawn = 0
    else:
        items = _draw(model, vocabulary, _shares(labels, drawn), seed, high + 1)
        drawn = len(items)
        early = sum(item.is_whole and len(item.ids) < low for item in items) / drawn
        late = sum(not item.is_whole or len(item.ids) > high for item in items) / drawn
        if report is not None:
            report(drawn, drawn)
    return ItemsJudged(
        len(ends),
        float((sums[ends + 1] - sums[begins]).mean()),
        (low, high),
        float((lengths < low).mean()),
        float((lengths > high).mean()),
        drawn,
        early,
        late,
    )


def _shares(labels, drawn):
    """Return {label or None: how many items to draw} of the labels of the judged items, None where there are none."""
    if labels is None:
        return {None: drawn}
    names, counts = np.unique(labels, return_counts=True)
    bounds = np.round(np.cumsum(counts) * drawn / counts.sum()).astype(int)
    of_each = np.diff(bounds, prepend=0)
    return {int(label): int(number) for label, number in zip(names, of_each) if number}


def _draw(model, vocabulary, shares, seed, length):
    """Return DrawnItems, as many of each label as `shares` says."""
    items = []
    for label, number in shares.items():
        sampler = Sampler(model.for_drawing(), Settings(), seed=(seed + (label or 0)) % 2**64, num_samples=number)
        items += draw_items(sampler, vocabulary, length, label=label)
    return items
