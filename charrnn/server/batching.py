"""Continuous batching: texts of many requests drawn side by side, which join and leave between blocks of characters.

Knows ids and settings; knows no text, no request and no thread. Between two blocks every text holds its own carry, so
one that must wait costs nothing but its place in memory. A text's ids are those that `Sampler` draws for its prime,
settings, seed and number, whatever is drawn beside it: that is what Generation promises of a stream.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from charrnn.errors import DivergenceError
from charrnn.kernels.splitmix import splitmix64
from charrnn.model.workspace import Workspace
from charrnn.sampling.generation import Generation
from charrnn.sampling.priming import side_by_side
from charrnn.sampling.reading import log_softmax
from charrnn.sampling.sampler import PRIME_CHUNK, Settings, StopMatcher, choose, uniforms

SLOTS = 64  # texts drawn side by side at most: with more, characters per second no longer grow
READERS = 16  # prompts read side by side at most: what a text that is being drawn waits for
BLOCK_S = 0.02  # what a block should take: how long a new request waits to join, and a stream to be sent on
MAX_BLOCK = 64  # characters of a block
MAX_LOGITS = 1 << 20  # numbers that a block brings where logits are asked for
TURN_S = 0.25  # after this, texts that have waited take the places of those that were drawn


@dataclass
class Prompt:
    """What some texts follow: read once, however many texts follow it.

    ids     ndarray (N,), int32. The last one is read with the first draw.
    top     how many of the likeliest characters are told of each place; None: no log probabilities are asked for
    skip    ids at the beginning that are no part of the prompt as it was given, such as START
    scores  a Scores of the ids from `skip` on, once it is read, where they are asked for
    """

    ids: np.ndarray
    top: int | None = None
    skip: int = 0
    scores: Scores | None = None
    carry: dict | None = None
    read: int = 0
    scored: int = 0
    parts: list = field(default_factory=list)
    cancelled: bool = False

    @property
    def is_read(self):
        return self.read >= len(self.ids) - 1 and (self.top is None or self.scored >= len(self.ids))


@dataclass
class Scores:
    """Log probabilities, nats, of successive characters.

    chosen     ndarray (n,): of the character itself; NaN where nothing stands before it
    likeliest  ndarray (n, k): ids, the likeliest first; log_p (n, k) theirs
    """

    chosen: np.ndarray
    likeliest: np.ndarray
    log_p: np.ndarray

    @classmethod
    def of(cls, logits, ids, top):
        """Return the Scores of ids (n,) under logits (n, V)."""
        log_p = log_softmax(logits)
        order = np.argsort(-log_p, axis=1, kind="stable")[:, :top]
        return cls(log_p[np.arange(len(ids)), ids], order.astype(np.int32), np.take_along_axis(log_p, order, axis=1))

    @classmethod
    def joined(cls, parts):
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in cls.__annotations__))

    def cut(self, count):
        """Return those of the first `count` characters."""
        return Scores(self.chosen[:count], self.likeliest[:count], self.log_p[:count])

    def after(self, count):
        """Return those of all characters but the first `count`."""
        return Scores(self.chosen[count:], self.likeliest[count:], self.log_p[count:])


@dataclass
class Drawing:
    """A text that is drawn.

    number     which of the texts of its seed: `Sampler`'s stream
    limit      characters to draw at most
    stop       a StopMatcher, or None
    owner      whatever it belongs to; the batch hands it back
    held       ids that may be the beginning of a stop sequence
    """

    prompt: Prompt
    settings: Settings
    seed: int
    number: int
    limit: int
    stop: StopMatcher | None = None
    top: int | None = None
    owner: object = None
    key: np.uint64 = np.uint64(0)
    carry: dict | None = None
    input: int | None = None
    position: int = 0
    state: int = 0
    held: list = field(default_factory=list)
    held_scores: Scores | None = None
    cancelled: bool = False
    paused: bool = False

    def __post_init__(self):
        self.key = splitmix64(np.uint64(self.seed), np.array([self.number]))[0]


@dataclass
class Growth:
    """What a text has become longer by.

    ids        list of int that are certain to belong to it
    finished   None, "length", "stop" or "error"
    scores     of ids, where they are asked for
    """

    drawing: Drawing
    ids: list
    finished: str | None
    scores: Scores | None = None


class Batch:
    """The texts that are being drawn from a model, up to `slots` of them at a time.

        batch = Batch(model)
        batch.add(Drawing(Prompt(ids), settings, seed=1, number=0, limit=300))
        while batch.has_work():
            for drawn in batch.step():
                ...

    Texts that do not fit in wait, and take their turns.
    """

    def __init__(self, model, slots=SLOTS):
        self.model, self.slots = model, slots
        self._waiting: deque[Drawing] = deque()  # for their prompt, or for a place
        self._running: list[Drawing] = []
        self._prompts: deque[Prompt] = deque()
        self._generations: dict[int, Generation] = {}
        self._step_s: dict[int, float] = {}
        self._scorer = None
        self._turn_ends = 0.0

    def __len__(self):
        return len(self._waiting) + len(self._running)

    def add(self, drawing: Drawing):
        """Let a text take part from the next step on."""
        if not drawing.prompt.is_read and not any(one is drawing.prompt for one in self._prompts):
            self._prompts.append(drawing.prompt)
        self._waiting.append(drawing)

    def has_work(self):
        """Say whether a step would do something: it would not where every text is paused."""
        return any(not one.paused or one.cancelled for one in (*self._running, *self._waiting))

    def step(self) -> list[Growth]:
        """Read a piece of the prompts that wait, draw a block of the texts whose turn it is; return what came of it."""
        self._leave()
        done = self._read_prompts()
        self._join()
        done += self._draw(self._running) if self._running else []
        ended = {id(one.drawing) for one in done if one.finished}
        if ended:
            self._running = [one for one in self._running if id(one) not in ended]
            self._waiting = deque(one for one in self._waiting if id(one) not in ended)
        return done

    def drop(self):
        """Forget all texts; return them."""
        dropped = [*self._running, *self._waiting]
        self._running, self._waiting, self._prompts = [], deque(), deque()
        return dropped

    def _leave(self):
        """Take out what was cancelled, and let those that are paused give up their places."""
        here = [one for one in self._running if not one.cancelled]
        self._waiting = deque(one for one in self._waiting if not one.cancelled)
        self._waiting.extend(one for one in here if one.paused)
        self._running = [one for one in here if not one.paused]
        wanted = {id(one.prompt) for one in self._waiting}
        self._prompts = deque(one for one in self._prompts if id(one) in wanted)

    def _join(self):
        """Give places to those that wait, in their order; after a turn also those of the texts that were drawn."""
        if not self._waiting:
            return
        ready = [one for one in self._waiting if one.prompt.is_read and not one.paused]
        now = time.monotonic()
        if len(ready) + len(self._running) > self.slots and now >= self._turn_ends:
            self._waiting.extend(self._running)
            ready += self._running
            self._running = []
        if not self._running:
            self._turn_ends = now + TURN_S
        joining = ready[: self.slots - len(self._running)]
        chosen = set(map(id, joining))
        self._waiting = deque(one for one in self._waiting if id(one) not in chosen)
        self._running += joining

    def _read_prompts(self):
        """Read up to PRIME_CHUNK characters of some prompts; return the texts that end because a prompt fails."""
        if not self._prompts:
            return []
        some = [prompt for prompt in list(self._prompts)[:READERS] if prompt.read < len(prompt.ids) - 1]
        if some:
            self._read(some)
        failed = set()
        for prompt in [one for one in self._prompts if one.top is not None][:1]:
            try:
                self._score(prompt)
            except DivergenceError:
                failed.add(id(prompt))
        self._prompts = deque(one for one in self._prompts if not one.is_read and id(one) not in failed)
        return [Growth(one, [], "error") for one in self._waiting if id(one.prompt) in failed]

    def _read(self, prompts):
        """Read a chunk of each prompt. The first chunk is what a prompt's length leaves over; the others are full."""
        counts = []
        for prompt in prompts:
            rest = len(prompt.ids) - 1 - prompt.read
            counts.append((rest - 1) % PRIME_CHUNK + 1)
        B = _places(len(prompts))
        chunks = [prompt.ids[prompt.read : prompt.read + count] for prompt, count in zip(prompts, counts)]
        ids, begins = side_by_side([*chunks, *[()] * (B - len(chunks))])
        begins[0] = False  # the longest go on with their carry, or with none
        generation = self._generation(B)
        generation.set_carry(self._gathered([prompt.carry for prompt in prompts], B))
        generation.read(ids, begins if begins.any() else None)
        carry = generation.get_carry()
        for j, (prompt, count) in enumerate(zip(prompts, counts)):
            prompt.carry, prompt.read = _of_stream(carry, j), prompt.read + count

    def _score(self, prompt):
        """Score the next chunk of a prompt whose log probabilities are asked for."""
        if self._scorer is None:
            self._scorer = Workspace(self.model, 1, PRIME_CHUNK, training=False)
        scorer, at = self._scorer, prompt.scored
        if at == 0:
            scorer.reset_carry()
        else:
            scorer.set_carry(prompt.parts.pop())
        logits = scorer.logits(prompt.ids[at : at + PRIME_CHUNK, None])[:, 0]
        following = prompt.ids[at + 1 : at + 1 + len(logits)]
        if at == 0:  # nothing stands before the first
            nothing = np.full((1, min(prompt.top, logits.shape[1])), np.nan)
            prompt.parts.append(Scores(np.full(1, np.nan), np.zeros(nothing.shape, np.int32), nothing))
        prompt.parts.append(Scores.of(logits[: len(following)], following, prompt.top))
        prompt.scored = at + len(logits)
        if prompt.scored >= len(prompt.ids):
            prompt.scores, prompt.parts = Scores.joined(prompt.parts).after(prompt.skip), []
        else:
            prompt.parts.append({name: value.copy() for name, value in scorer.get_carry().items()})

    def _draw(self, drawings):
        """Draw a block of some texts; return what came of it."""
        done = [self._begin(one) for one in drawings if one.input is None]
        done = [one for one in done if one is not None]
        ended = {id(one.drawing) for one in done if one.finished}
        drawings = [one for one in drawings if id(one) not in ended]
        if not drawings:
            return done
        V, B = self.model.config.vocab_size, _places(len(drawings))
        with_logits = any(one.top is not None for one in drawings)
        count = self._block(drawings, B, with_logits)
        settings = [one.settings for one in drawings] + [Settings()] * (B - len(drawings))
        generation = self._generation(B)
        generation.set_carry(self._gathered([one.carry for one in drawings], B))
        begun = time.perf_counter()
        ids, _, logits, finite = generation.draw(
            _filled([one.input for one in drawings], B, np.int32),
            count,
            _filled([one.key for one in drawings], B, np.uint64),
            _filled([one.position for one in drawings], B, np.int64),
            temperature=np.array([one.temperature for one in settings]),
            top_k=np.array([one.top_k or V for one in settings]),
            top_p=np.array([one.top_p for one in settings]),
            min_p=np.array([one.min_p for one in settings]),
            with_logits=with_logits,
        )
        if not finite:
            if len(drawings) == 1:
                return [*done, Growth(drawings[0], [], "error")]
            return done + [drawn for one in drawings for drawn in self._draw([one])]
        step_s = (time.perf_counter() - begun) / count
        self._step_s[B] = min(2 * self._step_s.get(B, step_s), 0.7 * self._step_s.get(B, step_s) + 0.3 * step_s)
        carry = generation.get_carry()
        for j, one in enumerate(drawings):
            one.carry, one.input = _of_stream(carry, j), int(ids[-1, j])
            scores = None if one.top is None or logits is None else Scores.of(logits[:, j], ids[:, j], one.top)
            done.append(self._advance(one, ids[:, j].tolist(), scores))
        return done

    def _begin(self, drawing):
        """Let a text begin after its prompt; where there is none, draw its first character, each as likely."""
        if len(drawing.prompt.ids):
            drawing.carry, drawing.input = drawing.prompt.carry, int(drawing.prompt.ids[-1])
            return None
        logits, settings = np.zeros((1, self.model.config.vocab_size)), drawing.settings
        draws = uniforms(drawing.seed, np.array([drawing.number]), np.array([0]))[0]
        first = choose(logits, settings if settings.temperature == 0 else Settings(), draws)
        drawing.input = int(first[0])
        scores = None if drawing.top is None else Scores.of(logits, first, drawing.top)
        return self._advance(drawing, first.tolist(), scores)

    def _block(self, drawings, places, with_logits):
        """Return how many characters to draw: as many as take BLOCK_S, and no more than any text still needs."""
        count = int(BLOCK_S / self._step_s.get(places, BLOCK_S / 16))
        if with_logits:
            count = min(count, MAX_LOGITS // (places * self.model.config.vocab_size))
        return max(1, min(count, MAX_BLOCK, max(one.limit - one.position for one in drawings)))

    @staticmethod
    def _advance(one, ids, scores):
        """Return what new ids make of a text: up to its limit, or to where a stop sequence is complete."""
        ids = ids[: one.limit - one.position]
        stopped = False
        if one.stop is not None:
            one.state, read, stopped = one.stop.run(one.state, ids)
            ids = ids[:read]
        one.position += len(ids)
        ended = stopped or one.position >= one.limit
        text = one.held + ids
        if scores is not None:
            scores = scores.cut(len(ids))
            scores = scores if one.held_scores is None else Scores.joined([one.held_scores, scores])
        cut = len(text) - (0 if one.stop is None else one.stop.held_back(one.state, is_last=ended))
        one.held = text[cut:]
        if scores is not None:
            one.held_scores, scores = scores.after(cut), scores.cut(cut)
        return Growth(one, text[:cut], "stop" if stopped else "length" if ended else None, scores)

    def _generation(self, places):
        if places not in self._generations:
            self._generations[places] = Generation(self.model, places)
        return self._generations[places]

    def _gathered(self, carries, places):
        """Return the carry of a batch of `places` streams from those of its first ones; None is zero."""
        known = next((one for one in carries if one is not None), None)
        if known is None:
            return None
        nothing = {name: np.zeros_like(value) for name, value in known.items()}
        rows = [nothing if one is None else one for one in carries] + [nothing] * (places - len(carries))
        return {name: np.stack([one[name] for one in rows], axis=1) for name in known}


def _places(count):
    """Return of how many streams the batch is that holds `count` texts: few sizes, each with little to spare."""
    return count if count <= 2 else -(-count // 4) * 4


def _of_stream(carry, j):
    return {name: value[:, j].copy() for name, value in carry.items()}


def _filled(values, places, dtype):
    """Return values as an array with zeros in the places that are left."""
    array = np.zeros(places, dtype)
    array[: len(values)] = values
    return array
