"""Texts that are drawn from a model while it trains: often while much changes, later less.

Drawn in a workspace of their own: no state of the training is touched. Knows no checkpoint and no display.
"""

import base64
from typing import NamedTuple

from charrnn.errors import VocabularyError
from charrnn.kernels.splitmix import step_key
from charrnn.sampling.items import draw_items
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.decoding import stored_encoding_of_bytes
from charrnn.text.task_names import CLASSIFY, STEER, TRANSLATE

SAMPLE_TEMPERATURE = 0.8
SAMPLE_ITEMS = 16  # of a model of items, shown as far as there is room
FIRST_SAMPLE_S = 2.0
MIN_PAUSE_S, MAX_PAUSE_S = 8.0, 600.0
PAUSE_SHARE = 0.9  # of the time since the start


class Drawn(NamedTuple):
    """A sample: its text, and of a model of bytes the bytes themselves, which may be no text."""

    text: str
    data: bytes | None

    def to_dict(self):
        """Return what a log has of it."""
        if self.data is None:
            return {"sample": self.text}
        return {"sample": self.text, "sample_base64": base64.b64encode(self.data).decode("ascii")}


def are_possible(config):
    """Say whether a run's model writes texts by itself, rather than telling labels or translating."""
    return config.task not in (CLASSIFY, TRANSLATE)


class Samples:
    """When a run shows a sample, and the text of it."""

    def __init__(self, config, vocabulary, stopwatch):
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
