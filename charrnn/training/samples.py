"""Texts that are drawn from a model while it trains: often while much changes, later less.

Drawn in a workspace of their own: no state of the training is touched. Knows no checkpoint and no display.
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
SAMPLE_ITEMS = 16  # of a model of items, shown as far as there is room
FIRST_SAMPLE_S = 2.0
MIN_PAUSE_S, MAX_PAUSE_S = 8.0, 600.0
PAUSE_SHARE = 0.9  # of the time since the start


class Drawn(NamedTuple):
    """A sample: its text, and of a model of bytes the bytes themselves, which may be no text."""

    text: str
    data: bytes | None
    temperature: float | None = SAMPLE_TEMPERATURE  # None of answers, which are the likeliest ones

    def to_dict(self):
        """Return what a log has of it."""
        data = {} if self.data is None else {"sample_base64": base64.b64encode(self.data).decode("ascii")}
        heat = {} if self.temperature is None else {"temperature": self.temperature}
        return {"sample": self.text, **data, **heat}


def can_show(plan):
    """Say whether there is something to show of a run's model: texts, or answers to items that are held out."""
    return plan.config.task not in (CLASSIFY, TRANSLATE) or plan.splits.val[1] > plan.splits.val[0]


class Samples:
    """When a run shows a sample, and the text of it: of a model that answers, some answers to held-out items.

    corpus, split    what these are taken from: a Corpus, and (start, stop) of a split of it
    """

    def __init__(self, config, vocabulary, stopwatch, corpus, split):
        self._corpus, self._split = corpus, split
        self._every, self._seed = config.sample_every, config.seed
        self._vocabulary, self._stopwatch = vocabulary, stopwatch
        self._encoding = stored_encoding_of_bytes(config.encoding)
        self._next_s = stopwatch.before_s + FIRST_SAMPLE_S

    def are_due(self, step):
        """Say whether to show one after this step; counts on its being shown."""
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
        """Return a Drawn of so many characters. Raises DivergenceError where the model computes what is no number."""
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
        """Return a Drawn of some items, a line each, of so many characters in all at most; of one label, named in
        front, where labels steer them.
        """
        label, name = None, ""
        if model.rule.task == STEER:
            number = int(step_key(self._seed, step)) % len(self._vocabulary.labels)
            label, name = self._vocabulary.first_label + number, f"{self._vocabulary.labels[number]}: "
        sampler = Sampler(
            model, Settings(temperature=SAMPLE_TEMPERATURE), seed=self._seed + step, num_samples=SAMPLE_ITEMS
        )
        items = draw_items(sampler, self._vocabulary, length, label=label)
        texts = [name + self._vocabulary.decode(item.ids) for item in items]
        shown, left = [], length
        for text in texts:
            if shown and len(text) > left:
                break
            shown.append(text)
            left -= len(text) + 1
        return Drawn("\n".join(shown), None)

    def _answer(self, model, step):
        """Return a Drawn of answers to some held-out items, a line each, beside what is right."""
        items, vocabulary, rule = self._corpus.items, self._vocabulary, model.rule
        first, stop = (items.first_of(place) for place in self._split)
        count = min(ANSWERS, stop - first)
        if not count:
            return Drawn("", None, None)
        begin = int(step_key(self._seed, step)) % (stop - first)
        numbers = [first + (begin + k) % (stop - first) for k in range(count)]
        read = [np.asarray(self._corpus.ids[items.starts[n] : items.starts[n + 1]]) for n in numbers]
        if rule.task == CLASSIFY:
            given = [item[1:-2] for item in read]
            right = [vocabulary.names[int(item[-1])] for item in read]
            told = [vocabulary.labels[k] for k in tell_labels(model, vocabulary, given).argmax(axis=1).tolist()]
        else:
            places = [int(np.flatnonzero(item == rule.sep_id)[0]) for item in read]
            given = [item[1:place] for item, place in zip(read, places)]
            right = [vocabulary.decode(item[place + 1 : -1]) for item, place in zip(read, places)]
            longest = min(MAX_TARGET, 2 * max(map(len, right)) + 8)
            told = [vocabulary.decode(found[0].ids) for found in translate(model, vocabulary, given, 1, longest)]
        lines = [
            f"{_shortened(vocabulary.decode(text))} -> {_shortened(answer)}"
            + ("" if answer == truth else f" (right: {_shortened(truth)})")
            for text, answer, truth in zip(given, told, right)
        ]
        return Drawn("\n".join(lines), None, None)


def _shortened(text):
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
