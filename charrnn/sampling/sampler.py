"""Draw new characters from a model, one at a time for each stream, as ids.

This module knows ids and logits; no text, file or terminal. `choose` contains the whole choice of a character, as a
pure function in float64; kernels/choose.py does the same in compiled code and may differ in the last bit of an
exponential. `Sampler` keeps the state: the carry, the ids to read next, and the position.

Promises
    The ids of stream j depend on the parameters, the priming ids, the settings, the seed and j alone; not on the number
    of streams, the size of the blocks, or the number of threads.
    Memory does not grow with the length: a block is not kept after it was yielded.

Randomness is counter-based: the uniform number for (seed, stream, position) is number `position` of the SplitMix64
sequence that starts at number `stream` of the SplitMix64 sequence that starts at `seed` (Steele, Lea & Flood 2014); its
upper 53 bits are divided by 2**53. So the number for any character can be computed without the ones before it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.errors import DAMAGED, ConfigError, DivergenceError, VocabularyError, check_integer, check_number
from charrnn.kernels.splitmix import splitmix64
from charrnn.model.clamps import listed_clamps
from charrnn.sampling.priming import side_by_side
from charrnn.sampling.stops import StopMatcher

BLOCK_SIZE = 64  # characters between two yields; no effect on the ids
PRIME_CHUNK = 128  # characters of one priming pass: bounds its memory and what Ctrl-C waits for; no effect on the ids

NOT_FINITE = f"the model's output is not finite, so no character can be drawn: {DAMAGED}"


@dataclass(frozen=True)
class Settings:
    """How a character is chosen from the logits.

    temperature  divide the logits by this number, at least 0. With 0, the most probable character is always chosen (of
                 equals, the one with the lowest id), and the other settings have no effect
    top_k        keep the top_k most probable characters (of equals, those with the lowest ids), at least 1; None: all
    top_p        then keep the smallest set of the most probable characters whose share of the probability that is left
                 is at least top_p, above 0 and at most 1; 1 keeps all
    min_p        then keep characters that are at least min_p times as probable as the most probable one, 0 .. 1

    Raises ConfigError if a value is not in its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self):
        for name in ("temperature", "top_p", "min_p"):
            check_number(name, getattr(self, name))
        if self.top_k is not None:
            check_integer("top_k", self.top_k)
        if not 0 <= self.temperature < math.inf:  # written so that NaN fails too
            raise ConfigError(
                f"--temperature must be 0 (greedy) or a positive number, got {self.temperature:g}", ["temperature"]
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(
                f"--top-k must be at least 1, got {self.top_k}: leave it out to keep every character", ["top_k"]
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p must be above 0 and at most 1, got {self.top_p:g}", ["top_p"])
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"--min-p must be between 0 and 1, got {self.min_p:g}", ["min_p"])


@dataclass(frozen=True)
class Block:
    """The result of one block of draws, with an entry for each of the B streams.

    ids        tuple of ndarray (n_j,), int32: the new ids of the text. Ids that may be the beginning of a stop sequence
               are held back until this is known; a complete stop sequence is never included
    finished   tuple of str or None: "length" or "stop" if the stream ended in this block; None if it continues or has
               ended before
    drawn      ndarray (B,), int: number of ids drawn in this block, including those of a stop sequence
    loss_nats  ndarray (B,), float64: sum of the losses of the drawn ids, in nats, at temperature 1 and without top_k,
               top_p and min_p; None unless with_losses was given
    stopped_by  tuple of ndarray, int32: the stop sequence that ended the stream in this block, otherwise empty
    """

    ids: tuple[np.ndarray, ...]
    finished: tuple[str | None, ...]
    drawn: np.ndarray
    loss_nats: np.ndarray | None
    stopped_by: tuple[np.ndarray, ...]


class Sampler:
    """Draws characters from a model in `num_samples` parallel streams.

        sampler = Sampler(model, Settings(temperature=0.8), seed=1)
        sampler.prime(vocabulary.encode("ROMEO:"))
        for block in sampler.generate(1000):
            print(vocabulary.decode(block.ids[0]), end="", flush=True)

    model, settings    Model and Settings
    seed               of the random numbers, 0 .. 2**64 - 1
    num_samples        number of streams, at least 1
    clamps             Clamps: units to hold while the prime is read and the text is drawn
    streams            the numbers of the streams; None means 0 .. num_samples - 1. Stream number 3 draws the same ids
                       alone and among others
    make_workspace     make_workspace(model, batch_size, seq_length, training=False) returns an object with the methods
                       reset_carry, get_carry, set_carry and logits of Workspace, which then makes each step

    Usually, steps and choices run in compiled code, block by block (generation.py). With `clamps` or `make_workspace`,
    each step is a call of a workspace, and `choose` makes the choice. Raises ConfigError if an argument is not allowed.
    """

    def __init__(
        self,
        model,
        settings: Settings = Settings(),
        *,
        seed: int = 0,
        num_samples: int = 1,
        clamps: Sequence = (),
        streams: Sequence[int] | None = None,
        make_workspace: Callable | None = None,
    ):
        check_integer("num_samples", num_samples)
        check_integer("seed", seed)
        if num_samples < 1:
            raise ConfigError(f"the number of samples must be at least 1, got {num_samples}")
        if not 0 <= seed < 2**64:
            raise ConfigError(f"the seed must be between 0 and 2**64 - 1, got {seed}")
        self.model = model
        self.settings = settings
        self.seed = seed
        self.num_samples = num_samples
        self._streams = np.arange(num_samples) if streams is None else np.asarray(streams, np.int64)
        if self._streams.shape != (num_samples,):
            raise ConfigError(f"streams must be {num_samples} numbers, got {len(self._streams)}")
        self._make_workspace = make_workspace or (
            functools.partial(_clamped_workspace, listed_clamps(clamps)) if clamps else None
        )
        self._generation = None  # the compiled way, or
        self._workspace = None  # the plain one
        self._inputs = None  # ndarray (B,), int32: drawn but not yet fed; None before the very first character
        self._position = 0

    def prime(self, ids, carry: dict | None = None, position: int = 0) -> None:
        """Begin again: read `ids` in all streams; the next draws follow them.

        ids       ndarray (N,) or sequence of int. With N = 0, the first character is drawn uniformly from the whole
                  vocabulary (with temperature 0: id 0), because the model has not learned how a text begins
        carry     {name: ndarray (L, 1, H)}, as Workspace.get_carry returns it, to begin with; None is zero
        position  number of draws that have been made before; the random numbers continue from there

        The ids are read in one stream, whose carry is then copied to all. Raises VocabularyError for an id that the
        model does not have.
        """
        ids = self._checked(ids)
        # The last id is not read here: it is the input of the first draw, like any drawn character after it.
        before = ids[:-1, None]
        if self._make_workspace is None:
            self._generation = self._prime_compiled(before, carry)
        else:
            self._workspace = self._prime_plainly(before, carry)
        self._inputs = np.full(self.num_samples, ids[-1], dtype=np.int32) if ids.size else None
        self._position = position

    def prime_each(self, prompts: Sequence) -> None:
        """Begin again from a state of zero, with a different prompt in each stream.

        Each stream then draws exactly what it would draw after `prime` with the same prompt.

        prompts    sequences of ids, one for each stream, none of them empty

        Raises ConfigError if a prompt is missing or empty, VocabularyError for an id that the model does not have.
        """
        read = [self._checked(prompt) for prompt in prompts]
        if len(read) != self.num_samples or not all(len(prompt) for prompt in read):
            raise ConfigError(
                f"there must be {self.num_samples} prompts, one per stream, and none of them may be empty"
            )
        before, begins = side_by_side([prompt[:-1] for prompt in read])
        T = len(before)
        alone = np.array([len(prompt) == 1 for prompt in read])
        if self._make_workspace is None:
            self._generation = self._prime_compiled(before[:0, :1], None)
            for start in range(0, T, PRIME_CHUNK):
                self._generation.read(before[start : start + PRIME_CHUNK], begins[start : start + PRIME_CHUNK])
            self._generation.begin(alone)
        else:
            carry = None
            if T:
                reader = self._make_workspace(self.model, self.num_samples, min(PRIME_CHUNK, T), training=False)
                for start in range(0, T, PRIME_CHUNK):
                    reader.logits(before[start : start + PRIME_CHUNK], begins[start : start + PRIME_CHUNK])
                carry = {name: np.where(alone[:, None], 0, value) for name, value in reader.get_carry().items()}
            self._workspace = self._make_workspace(self.model, self.num_samples, 1, training=False)
            self._workspace.reset_carry()
            if carry is not None:
                self._workspace.set_carry(carry)
        self._inputs = np.array([prompt[-1] for prompt in read], np.int32)
        self._position = 0

    def _checked(self, ids) -> np.ndarray:
        """Return ids as an ndarray (N,), int32; VocabularyError where one is not the model's."""
        ids = np.asarray(ids).astype(np.int32).reshape(-1)
        vocab_size = self.model.config.vocab_size
        outside = np.flatnonzero((ids < 0) | (ids >= vocab_size))
        if outside.size:
            raise VocabularyError(
                f"id {ids[outside[0]]} at offset {outside[0]} is outside the {vocab_size} ids of the model"
            )
        return ids

    def _prime_compiled(self, before: np.ndarray, carry: dict | None):
        from charrnn.sampling.generation import Generation

        if len(before):
            single = Generation(self.model, 1)
            single.set_carry(carry)
            for start in range(0, len(before), PRIME_CHUNK):
                single.read(before[start : start + PRIME_CHUNK])
            carry = single.get_carry()
        generation = Generation(self.model, self.num_samples)
        generation.set_carry(carry)
        return generation

    def _prime_plainly(self, before: np.ndarray, carry: dict | None):
        if len(before):
            single = self._make_workspace(self.model, 1, min(PRIME_CHUNK, len(before)), training=False)
            single.reset_carry()
            if carry is not None:
                single.set_carry(carry)
            for start in range(0, len(before), PRIME_CHUNK):
                single.logits(np.ascontiguousarray(before[start : start + PRIME_CHUNK]))
            carry = single.get_carry()
        workspace = self._make_workspace(self.model, self.num_samples, 1, training=False)
        workspace.reset_carry()
        if carry is not None:
            workspace.set_carry({name: np.repeat(value, self.num_samples, axis=1) for name, value in carry.items()})
        return workspace

    def distribution(self, temperatures: Sequence[float]) -> np.ndarray:
        """Return the probability of each id to come next in the first stream: ndarray (n, V), float64.

        temperatures    n numbers above 0; a row is at one of them, without top_k, top_p and min_p

        Nothing is drawn, and the state does not change. Raises DivergenceError if a logit is not finite.
        """
        if self._generation is None and self._workspace is None:
            self.prime(())
        V = self.model.config.vocab_size
        if self._inputs is None:
            return np.full((len(temperatures), V), 1 / V)
        beside = (self._make_workspace or functools.partial(_clamped_workspace, ()))(
            self.model, self.num_samples, 1, training=False
        )
        beside.set_carry((self._generation or self._workspace).get_carry())
        z = beside.logits(self._inputs[None, :])[0, 0].astype(np.float64)
        if not np.isfinite(z).all():
            raise DivergenceError(NOT_FINITE)
        weights = np.exp((z - z.max()) / np.asarray(temperatures, dtype=np.float64)[:, None])
        return weights / weights.sum(axis=1, keepdims=True)

    def generate(
        self,
        length: int,
        stop: Sequence[Sequence[int]] = (),
        *,
        block_size: int = BLOCK_SIZE,
        with_losses: bool = False,
    ) -> Iterator[Block]:
        """Yield Blocks until every stream has drawn `length` ids or a stop sequence.

        length       maximum number of ids to draw per stream; priming ids do not count
        stop         id sequences that end a stream. A stop sequence may extend over several blocks, but not begin in
                     the priming ids. If several end at the same id, the longest one is removed from the text
        block_size   number of ids per block; it does not affect the ids
        with_losses  fill in Block.loss_nats

        Another call continues where this one ended. If a stream was ended by a stop sequence, prime again first.
        Raises ConfigError if an argument is not allowed, and while iterating DivergenceError if a logit is not finite.
        """
        check_integer("length", length)
        if length < 1:
            raise ConfigError(f"the length must be at least 1 character, got {length}")
        if block_size < 1:
            raise ConfigError(f"the block size must be at least 1, got {block_size}")
        if any(len(sequence) == 0 for sequence in stop):
            raise ConfigError("a stop string must hold at least one character, got an empty one")
        if self._generation is None and self._workspace is None:
            self.prime(())
        return self._blocks(length, StopMatcher(stop) if stop else None, block_size, with_losses)

    def _blocks(self, length: int, matcher: StopMatcher | None, block_size: int, with_losses: bool) -> Iterator[Block]:
        B = self.num_samples
        running = [True] * B
        states = [0] * B
        held: list[list[int]] = [[] for _ in range(B)]  # ids that may be the beginning of a stop sequence
        nothing = np.empty(0, dtype=np.int32)
        made = 0
        while made < length and any(running):
            count = min(block_size, length - made)
            ids, losses = self._generate_block(count, with_losses)
            made += count
            pieces: list[np.ndarray] = [nothing] * B
            stopped_by: list[np.ndarray] = [nothing] * B
            finished: list[str | None] = [None] * B
            drawn = np.zeros(B, dtype=np.int64)
            for j in range(B):
                if not running[j]:
                    continue
                if matcher is None:
                    drawn[j], pieces[j], stopped = count, ids[:, j].copy(), False
                else:
                    states[j], drawn[j], stopped = matcher.run(states[j], ids[:, j].tolist())
                    text = held[j] + ids[: drawn[j], j].tolist()
                    cut = len(text) - matcher.held_back(states[j], is_last=made == length)
                    pieces[j] = np.array(text[:cut], dtype=np.int32)
                    held[j] = text[cut:]
                    if stopped:
                        stopped_by[j] = np.array(held[j], dtype=np.int32)
                if stopped or made == length:
                    finished[j] = "stop" if stopped else "length"
                    running[j] = False
            loss_nats = None
            if losses is not None:
                loss_nats = np.array([losses[: drawn[j], j].sum() for j in range(B)])
            yield Block(tuple(pieces), tuple(finished), drawn, loss_nats, tuple(stopped_by))

    def _generate_block(self, count: int, with_losses: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw `count` characters for every stream; return ids (count, B), int32, and losses (count, B), or None."""
        if self._inputs is not None:
            return self._draw(count, with_losses)
        # Nothing was read yet: every character is as likely, and the filters have nothing to filter.
        logits = np.zeros((self.num_samples, self.model.config.vocab_size))
        draws = uniforms(self.seed, self._streams, [self._position])[0]
        self._inputs = choose(logits, self.settings if self.settings.temperature == 0 else Settings(), draws)
        self._position += 1
        ids, losses = self._inputs[None], surprisal(logits, self._inputs)[None] if with_losses else None
        if count > 1:
            more_ids, more_losses = self._draw(count - 1, with_losses)
            ids = np.concatenate([ids, more_ids])
            losses = np.concatenate([losses, more_losses]) if with_losses else None
        return ids, losses

    def _draw(self, count: int, with_losses: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Feed, choose, feed, choose: in compiled code, or through a Workspace where one was given."""
        if self._workspace is not None:
            return self._draw_plainly(count, with_losses)
        settings = self.settings
        keys = splitmix64(np.uint64(self.seed), self._streams)
        ids, losses, _, finite = self._generation.draw(
            self._inputs, count, keys, self._position, temperature=settings.temperature, top_k=settings.top_k,
            top_p=settings.top_p, min_p=settings.min_p, with_losses=with_losses,
        )  # fmt: skip
        if not finite:
            raise DivergenceError(NOT_FINITE)
        self._inputs = ids[-1]
        self._position += count
        return ids, losses

    def _draw_plainly(self, count: int, with_losses: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw as _draw does, a step of the Workspace and a NumPy choice at a time.

        This is for whatever steps otherwise than kernels/generate.py, and says what that does: same `uniforms`, same
        rule of choice. It reads and advances only _workspace (the carry), _inputs and _position.
        """
        B = self.num_samples
        ids = np.empty((count, B), dtype=np.int32)
        losses = np.empty((count, B)) if with_losses else None
        draws = uniforms(self.seed, self._streams, np.arange(self._position, self._position + count))
        for n in range(count):
            logits = self._workspace.logits(self._inputs[None, :])[0]
            self._inputs = choose(logits, self.settings, draws[n])
            ids[n] = self._inputs
            if losses is not None:
                losses[n] = surprisal(logits, self._inputs)
        self._position += count
        return ids, losses


def _clamped_workspace(clamps, model, batch_size, seq_length, training):
    """Make a Workspace whose units are held."""
    from charrnn.model.workspace import Workspace

    workspace = Workspace(model, batch_size, seq_length, training)
    workspace.set_clamps(clamps)
    return workspace


def choose(logits, settings: Settings, draws) -> np.ndarray:
    """Choose one id for each stream from its logits, by a given uniform random number.

    logits    ndarray (B, V), any float type; the computation is in float64
    settings  Settings
    draws     ndarray (B,), in [0, 1): the random numbers

    Returns ndarray (B,), int32. The weights are softmax(logits / temperature), set to 0 where top_k, top_p or min_p
    exclude an id. The result is the first id, in ascending order, at which the cumulative weight exceeds the draw times
    the sum of the weights. An id of weight 0 is never chosen.

    Raises DivergenceError if a logit is NaN or infinite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(z).all():
        raise DivergenceError(NOT_FINITE)
    if settings.temperature == 0:
        return z.argmax(axis=1).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):  # a tiny temperature sends all but the likeliest to weight 0
        weights = np.exp((z - z.max(axis=1, keepdims=True)) / settings.temperature)  # the likeliest weighs exactly 1

    V = z.shape[1]
    top_k = V if settings.top_k is None else min(settings.top_k, V)
    if top_k < V or settings.top_p < 1:
        order = np.argsort(-z, axis=1, kind="stable")  # falling; of equals the lowest id first
        ranked = np.take_along_axis(weights, order, axis=1)
        ranked[:, top_k:] = 0
        if settings.top_p < 1:
            reached = np.cumsum(ranked, axis=1)
            # A rank stays if those before it have not reached p yet: always true of the first.
            ranked[:, 1:][reached[:, :-1] >= settings.top_p * reached[:, -1:]] = 0
        np.put_along_axis(weights, order, ranked, axis=1)
    if settings.min_p > 0:
        weights[weights < settings.min_p] = 0

    cumulative = np.cumsum(weights, axis=1)
    targets = np.asarray(draws, dtype=np.float64) * cumulative[:, -1]  # below the sum, as a draw is at most 1 - 2**-53
    return (cumulative <= targets[:, None]).sum(axis=1).astype(np.int32)


def surprisal(logits, ids) -> np.ndarray:
    """Return the loss of ids (B,) for logits (B, V), that is -log softmax(logits): ndarray (B,), float64, in nats."""
    z = np.asarray(logits, dtype=np.float64)
    highest = z.max(axis=1)
    log_sum = highest + np.log(np.exp(z - highest[:, None]).sum(axis=1))
    return log_sum - z[np.arange(z.shape[0]), ids]


def uniforms(seed: int, streams, positions) -> np.ndarray:
    """Return the random numbers in [0, 1) of streams (B,) at positions (N,): ndarray (N, B), float64."""
    keys = splitmix64(np.uint64(seed), np.asarray(streams))
    bits = splitmix64(keys[None, :], np.asarray(positions)[:, None])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
