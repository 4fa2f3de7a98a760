"""A text that is drawn piece by piece: drawing can stop at any character and continue later. Knows ids, not files."""

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.sampling.priming import stop_ids
from charrnn.sampling.sampler import Sampler, Settings


class StandingText:
    """A text that is being drawn: its beginning, and the ids drawn so far.

        text = StandingText(model, first_ids(vocabulary, prime_ids), seed=7)
        for ids in text.draw(300, Settings(0.8)):
            ...                                     # leave the loop at any time
        for ids in text.draw(300, Settings(0.8)):   # and continue

    Promise: as long as settings, clamps and stops stay the same, the text is the one that a Sampler draws in one piece,
    no matter how often drawing is interrupted. If they change, the text so far is read again with the new clamps, and
    the random numbers continue where they were.

    first       ids that are read before the first draw, as `first_ids` returns them
    drawn       list of int: the ids drawn so far
    position    number of draws that made these ids
    ended       "length", "stop", or "end" (the END of an item) after a complete `draw`; None before the first one, and
                after one that was interrupted
    """

    def __init__(self, model, first: Sequence[int], *, seed: int = 0, stream: int = 0):
        self.first, self.drawn = [int(i) for i in first], []
        self.position, self.ended = 0, None
        self._model, self._seed, self._stream = model, seed, stream
        self._sampler = self._clamps = None  # a Sampler that has read all that stands, and its clamps
        self._stopped_by = []

    def draw(
        self, length: int, settings: Settings, clamps: Sequence = (), stops: Sequence[Sequence[int]] = ()
    ) -> Iterator[np.ndarray]:
        """Draw up to `length` more ids; yield them as ndarrays of int32, as soon as they are drawn.

        If a stop sequence ended the text before, it is now part of the text and is yielded first.

        settings    Settings
        clamps      Clamps: units to hold
        stops       id sequences that end the text, as for Sampler.generate; for a model of items, END also ends it
        """
        if self._stopped_by:
            pending, self._stopped_by, self._sampler = self._stopped_by, [], None
            yield self._add(pending)
        vocabulary = self._model.vocabulary
        end, symbols, left = vocabulary.end_id, len(vocabulary.symbols), length
        sampler = self._ready(settings, clamps)
        stops = stop_ids(vocabulary, stops)
        if end is not None:  # which takes a draw of its own
            length += 1
        if stops:  # it may be ahead of what it gives out
            self._sampler = None
        self.ended = None
        for block in sampler.generate(length, stops):
            ids = block.ids[0][:left] if end is not None else block.ids[0]
            left -= len(ids)
            found = self._add(ids)
            if block.finished[0] == "stop":
                stop = block.stopped_by[0].tolist()
                self.ended, self._stopped_by = ("end", []) if stop == [end] else ("stop", stop)
            elif block.finished[0]:
                self.ended = "length"
                self._sampler = sampler if end is None else None
            # Other special symbols are never predicted in training; a model that has another mind is not followed.
            yield found[found < symbols]

    def log_probabilities(self, clamps: Sequence = ()) -> np.ndarray:
        """Return log probabilities of the next symbol at temperature 1: ndarray (V,), float64, in nats."""
        from charrnn.sampling.following import next_log_probabilities

        return next_log_probabilities(self._model, [[*self.first, *self.drawn]], clamps)[0]

    def _add(self, ids) -> np.ndarray:
        self.drawn += [int(i) for i in ids]
        self.position += len(ids)
        return np.asarray(ids, np.int32)

    def _ready(self, settings, clamps):
        """Return a Sampler that has read all that stands."""
        if self._sampler is None or self._clamps != tuple(clamps):
            self._sampler = Sampler(self._model, settings, seed=self._seed, clamps=clamps, streams=[self._stream])
            self._sampler.prime([*self.first, *self.drawn], position=self.position)
            self._clamps = tuple(clamps)
        self._sampler.settings = settings
        return self._sampler
