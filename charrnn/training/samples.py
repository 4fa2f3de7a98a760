"""Samples that are drawn from a model while it trains: often at first, when it changes fast, later less often.

They are drawn in a separate workspace, so training is not affected. This module knows no checkpoint and no display.
"""

import base64
from typing import NamedTuple

import numpy as np

from charrnn.errors import VocabularyError
from charrnn.evaluation.answers import MAX_TARGET, tell_labels, translate
from charrnn.kernels.splitmix import step_key
from charrnn.sampling.items import draw_items
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.decoding import stored_encoding_of_bytes
from charrnn.text.task_names import CLASSIFY, STEER, TRANSLATE

SAMPLE_TEMPERATURE = 0.8
ANSWERS, MAX_SHOWN = 8, 60  # items that are answered, and the characters that are shown of each part
SAMPLE_ITEMS, SAMPLE_LABELS = (
    16,
    4,
)  # of a model of items, shown as far as there is room, and the labels that steer them
FIRST_SAMPLE_S = 2.0
MIN_PAUSE_S, MAX_PAUSE_S = 8.0, 600.0
PAUSE_SHARE = 0.9  # of the time since the start


class Drawn(NamedTuple):
    """A sample that was drawn.

    text           str: the text as it is shown
    data           bytes: for a byte model, the drawn bytes, which may be invalid as text; otherwise None
    temperature    float, or None for answers, which are the most probable ones
    """

    text: str
    data: bytes | None
    temperature: float | None = SAMPLE_TEMPERATURE  # None of answers, which are the likeliest ones

    def to_dict(self):
        """Return the sample as a dict for the log."""
        data = {} if self.data is None else {"sample_base64": base64.b64encode(self.data).decode("ascii")}
        heat = {} if self.temperature is None else {"temperature": self.temperature}
        return {"sample": self.text, **data, **heat}


def can_show(plan):
    """Return whether samples can be drawn in a run: texts, or answers if there are validation items to answer."""
    return plan.config.task not in (CLASSIFY, TRANSLATE) or plan.splits.validates


class Samples:
    """Draws the samples of a run, and decides when they are due.

    For a model that predicts labels or translates, a sample consists of its answers to some held-out items.

    config           TrainingConfig
    vocabulary       Vocabulary of the model
    stopwatch        Stopwatch of the run; None if `are_due` is never called
    corpus, split    Corpus, and (start, stop) of the split from which the held-out items are taken
    """

    def __init__(self, config, vocabulary, stopwatch, corpus, split):
        self._corpus, self._split = corpus, split
        self._every, self._seed = config.sample_every, config.seed
        self._vocabulary, self._stopwatch = vocabulary, stopwatch
        self._encoding = stored_encoding_of_bytes(config.encoding)
        self._next_s = FIRST_SAMPLE_S + (0.0 if stopwatch is None else stopwatch.before_s)

    def are_due(self, step):
        """Return whether a sample is due after this step. If it is, draw one: the next is scheduled from now."""
        if step == 0 or self._every == 0:
            return False
        if self._every:
            return step % self._every == 0
        now = self._stopwatch.elapsed_s()
        if now < self._next_s:
            return False
        self._next_s = now + min(max(MIN_PAUSE_S, PAUSE_SHARE * now), MAX_PAUSE_S)
        return True

    def draw(self, model, step, length):
        """Return a Drawn of `length` characters. Raises DivergenceError if the logits are not finite."""
        model = model.for_drawing()
        if model.rule is not None and model.rule.task in (CLASSIFY, TRANSLATE):
            return self._answer(model, step)
        if self._vocabulary.start_id is not None:
            return self._draw_items(model, step, length)
        sampler = Sampler(model, Settings(temperature=SAMPLE_TEMPERATURE), seed=self._seed + step)
        try:
            sampler.prime(self._vocabulary.encode("\n"))
        except VocabularyError:
            sampler.prime(())
        decoder, ids = self._vocabulary.decoder(self._encoding), []
        for block in sampler.generate(length):
            ids += block.ids[0].tolist()
        data = self._vocabulary.decode_bytes(ids) if self._vocabulary.mode == "bytes" else None
        return Drawn("".join(map(decoder.feed, ids)) + decoder.flush(), data)

    def _draw_items(self, model, step, length):
        """Return a Drawn of some items, a line each, of so many characters in all at most.

        Where labels steer them, they are of several labels in turn, each named in front, and grouped by label.
        """
        labels = [None]
        if model.rule.task == STEER:
            count = len(self._vocabulary.labels)
            begin = int(step_key(self._seed, step)) % count
            labels = [(begin + k) % count for k in range(min(SAMPLE_LABELS, count))]
        of_each = [self._draw_of_label(model, step, length, label, SAMPLE_ITEMS // len(labels)) for label in labels]
        shown, left = [], length
        for place, text in ((place, text) for turn in zip(*of_each) for place, text in enumerate(turn)):
            if shown and len(text) > left:
                break
            shown.append((place, text))
            left -= len(text) + 1
        return Drawn("\n".join(text for _, text in sorted(shown, key=lambda one: one[0])), None)

    def _draw_of_label(self, model, step, length, label, count):
        """Return a list of texts, with the name of their label in front; label : its number, None of items without."""
        vocabulary, settings = self._vocabulary, Settings(temperature=SAMPLE_TEMPERATURE)
        sampler = Sampler(model, settings, seed=self._seed + step, num_samples=count)
        if label is None:
            return [vocabulary.decode(item.ids) for item in draw_items(sampler, vocabulary, length)]
        items = draw_items(sampler, vocabulary, length, label=vocabulary.first_label + label)
        return [f"{vocabulary.labels[label]}: {vocabulary.decode(item.ids)}" for item in items]

    def _answer(self, model, step):
        """Return a Drawn of answers to some held-out items, each text once, a line each, beside what is right."""
        vocabulary, rule = self._vocabulary, model.rule
        asked = self._asked(step)
        if not asked:
            return Drawn("", None, None)
        if rule.task == CLASSIFY:
            given = [items[0][1:-2] for items in asked]
            right = [[vocabulary.names[int(item[-1])] for item in items] for items in asked]
            told = [vocabulary.labels[k] for k in tell_labels(model, vocabulary, given).argmax(axis=1).tolist()]
        else:
            places = [int(np.flatnonzero(items[0] == rule.sep_id)[0]) for items in asked]
            given = [items[0][1:place] for items, place in zip(asked, places)]
            right = [[vocabulary.decode(item[place + 1 : -1]) for item in items] for items, place in zip(asked, places)]
            longest = min(MAX_TARGET, 2 * max(len(truth) for truths in right for truth in truths) + 8)
            told = [vocabulary.decode(found[0].ids) for found in translate(model, vocabulary, given, 1, longest)]
        lines = [
            f"{_shortened(vocabulary.decode(text))} -> {_shortened(answer)}"
            + ("" if answer in truths else f" (right: {_shortened(truths[0])})")
            for text, answer, truths in zip(given, told, right)
        ]
        return Drawn("\n".join(lines), None, None)

    def _asked(self, step):
        """Return held-out items, ANSWERS at most: for each text that is asked, the ids of all items that have it."""
        items = self._corpus.items
        first, stop = (items.first_of(place) for place in self._split)
        if first == stop:
            return []
        hashes = items.hashes[first:stop]
        begin = int(step_key(self._seed, step)) % (stop - first)
        _, firsts = np.unique(np.roll(hashes, -begin), return_index=True)
        chosen = [hashes[(begin + place) % (stop - first)] for place in sorted(firsts.tolist())[:ANSWERS]]
        return [
            [
                np.asarray(self._corpus.ids[items.starts[n] : items.starts[n + 1]])
                for n in (first + np.flatnonzero(hashes == content)).tolist()
            ]
            for content in chosen
        ]


def _shortened(text):
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
