"""What is asked of a set of items, and which of their symbols count: the shapes of recurrent networks, over ids.

    None        START text END                   the text counts
    steer       START label SEP text END         the text counts: one to many
    classify    START text END label             the label counts: many to one
    both        START text END label             all of it counts
    translate   START source SEP target END      the target counts: many to many, of another length

END counts wherever a text or a target does. What counts is always the rest of an item from some place on. What never
counts is never predicted: START, and whatever the task leaves out. Knows ids; no file and no model.
"""

from typing import NamedTuple

import numpy as np

from charrnn.text.special import SEP
from charrnn.text.task_names import CLASSIFY, STEER, TASKS, TRANSLATE

BLOCK = 1 << 20  # ids looked at together


class ItemRule(NamedTuple):
    """Which symbols of an item a model predicts, by their ids; V is the number of symbols.

    start_id, end_id, sep_id    ids of the special symbols, 0 .. V - 1; None if the vocabulary has no such symbol
    labels                      ids of the labels: the first, and the one after the last
    task                        one of TASKS; None for plain items
    """

    start_id: int
    end_id: int | None = None
    sep_id: int | None = None
    labels: tuple[int, int] = (0, 0)
    task: str | None = None

    @classmethod
    def of(cls, vocabulary, task):
        """Return the rule of a vocabulary's items, None of one long text."""
        if vocabulary.start_id is None:
            return None
        labels = vocabulary.first_label, vocabulary.size
        return cls(vocabulary.start_id, vocabulary.end_id, vocabulary.special_id(SEP), labels, task)

    @property
    def _after_sep(self):
        return self.task in (STEER, TRANSLATE)

    @property
    def leaves_out(self):
        """Whether more than START does not count."""
        return self.task in (STEER, CLASSIFY, TRANSLATE)

    def never(self):
        """Return the ids that are never predicted, ndarray (n,)."""
        labels = np.arange(*self.labels)
        if self.task == CLASSIFY:
            return np.arange(self.labels[0])
        silent = [self.start_id] if self.sep_id is None else [self.start_id, self.sep_id]
        return np.array([*silent, *labels] if self.task == STEER else silent)

    def counts(self, ids, first, stop):
        """Return which of ids[first:stop] count where they are predicted, ndarray (stop - first,) bool."""
        inside, pieces = self._after_sep and self._is_after_sep(ids, first), [np.empty(0, bool)]
        for at in range(first, stop, BLOCK):
            block = np.asarray(ids[at : min(stop, at + BLOCK)])
            if self.task == CLASSIFY:
                pieces.append((block >= self.labels[0]) & (block < self.labels[1]))
                continue
            counts = block != self.start_id
            if self._after_sep:
                turns = (block == self.sep_id) | (block == self.start_id)
                last = np.maximum.accumulate(np.where(turns, np.arange(len(block)), -1))
                after = np.where(last >= 0, block[last] == self.sep_id, inside)
                inside = bool(after[-1])
                counts = after & ~turns
            pieces.append(counts)
        return np.concatenate(pieces)

    def _is_after_sep(self, ids, place):
        """Say whether ids[place] comes after the SEP of its item."""
        for stop in range(place, 0, -BLOCK):
            block = np.asarray(ids[max(0, stop - BLOCK) : stop])
            turns = np.flatnonzero((block == self.sep_id) | (block == self.start_id))
            if len(turns):
                return bool(block[turns[-1]] == self.sep_id)
        return False

    def silent(self, ids, starts):
        """Return how many predictions at the beginning of each item do not count, ndarray (n,) int64.

        ids       ndarray (N,)
        starts    ndarray (n + 1,): where each item begins, and where the last one ends
        """
        if self.task == CLASSIFY:
            return np.diff(starts) - 2
        if not self._after_sep:
            return np.zeros(len(starts) - 1, np.int64)
        found, start, stop = [np.empty(0, np.int64)], int(starts[0]), int(starts[-1])
        for at in range(start, stop, BLOCK):
            found.append(np.flatnonzero(np.asarray(ids[at : min(stop, at + BLOCK)]) == self.sep_id) + at)
        return np.concatenate(found) - starts[:-1]

    def label_ids(self, ids, starts):
        """Return the label of each item, ndarray (n,) int64 from 0; None where items have none."""
        if self.task is None or self.task == TRANSLATE:
            return None
        places = starts[:-1] + 1 if self.task == STEER else starts[1:] - 1
        return np.asarray(ids[places]).astype(np.int64) - self.labels[0]


def stored_task(training):
    """Return the task of a checkpoint's record of its training, which may be a stranger's; None where it has none."""
    options = training.get("config")
    options = options if isinstance(options, dict) else {}
    task = options.get("task")
    if task is None and (options.get("label_field") is not None or options.get("label_from") is not None):
        return STEER
    return task if task in TASKS else None
