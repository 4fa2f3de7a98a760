"""How well a model predicts a text: mean loss in nats a character, bits per character, perplexity.

Two passes over a range of ids. `evaluate_stream` is the plain definition, one stream from end to end; `read_losses`
keeps what it found of every character, `read_guesses` what the model expected there. `evaluate_split` gives the same
figure, of trained models to 0.00005 nats, faster: in a few parallel streams (reading.py, which says what they may
miss). All are deterministic. This module knows models and ids, not texts, files or clocks.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.distributed.group import ALONE
from charrnn.distributed.tree import shards_of
from charrnn.errors import CorpusError, counted
from charrnn.evaluation.reading import WARM_UP, Settling, read
from charrnn.evaluation.units import bits, perplexity
from charrnn.model.workspace import Workspace
from charrnn.text.streams import Pages

MIN_STREAM = 1024  # a few times the warm-up, which would cost more than the streams gain
MAX_STREAMS = 64

# Streams that begin in another state than the one before them left are read again, as long as that may move the loss by
# so much: a state that is kept for ever mends one stream a reading, so what a reading moved is taken times the streams
# that it may come to.
SETTLED_NATS = 1e-4

# Characters in a chunk. Small for many streams, to hold memory down; the carry makes the result independent of it.
SPLIT_CHUNK = 8
STREAM_CHUNK = 256

# Blocks of a text that a standard error is taken over: contiguous, since what makes one character easy makes its
# neighbours so.
ERROR_BLOCKS = 100
MIN_BLOCK = 200


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of a model on a text, in several units.

    Attributes
    ----------
    loss_nats : float
        Mean cross-entropy in nats per character (per label if only labels count).
    characters : int
        Number of characters that the mean is over.
    """

    loss_nats: float
    characters: int

    @property
    def loss_bpc(self):
        """Mean loss in bits per character: loss_nats / log(2)."""
        return bits(self.loss_nats)

    @property
    def perplexity(self):
        """exp(loss_nats): a uniform choice among this many characters has the same loss. Infinity above 709 nats."""
        return perplexity(self.loss_nats)

    def to_dict(self):
        """Return the loss in all units as a dict of numbers for JSON; None instead of an infinite perplexity."""
        return {
            "loss_nats": self.loss_nats,
            "loss_bpc": self.loss_bpc,
            "perplexity": self.perplexity if math.isfinite(self.perplexity) else None,
            "characters": self.characters,
        }


def count_streams(characters):
    """Number of parallel streams for a split of this length: a power of two, a function of nothing else."""
    streams = 1
    while streams < MAX_STREAMS and characters // (2 * streams) >= MIN_STREAM:
        streams *= 2
    return streams


def split_workspace(model, characters, group=ALONE):
    """Make the workspace that `evaluate_split` wants for a split of this length, to be used again and again."""
    lo, hi = shards_of(group.rank, group.size, count_streams(characters))
    return Workspace(model, max(1, hi - lo), SPLIT_CHUNK, training=False)


def evaluate_split(model, ids, start, stop, workspace=None, interrupted=None, marks=None, group=ALONE):  # noqa: PLR0913 - keywords
    """Evaluate ids[start:stop] in a few parallel streams.

    ids          ndarray (N,), any integer type; the characters before `start` are read to warm up, and not counted
    workspace    from `split_workspace(model, stop - start, group)`; made here when None
    interrupted  called before every chunk; the pass is given up, and None returned, when it says True. In a group of
                 several processes only after each reading, by all of them
    marks        the TextMarks of ids: the mean is that of the losses that count
    group        processes that share the streams out, and all return the same

    The first character is predicted from those before it; the first of the whole text is not predicted at all, and of
    a model of items what its rule leaves out does not count. Sums are float64 in a fixed order: the same parameters
    give the same bits.
    """
    if workspace is None:
        workspace = split_workspace(model, stop - start, group)
    first, _ = first_predicted(start, stop)
    characters, pages = count_predicted(model, ids, first, stop, marks), Pages(ids)
    counts = _left_to_count(model, ids, first, stop, marks)
    streams = workspace.batch_size if group.size == 1 else count_streams(stop - start)
    totals, read_here = np.zeros(streams), {}  # a stream's own, since it may be read again
    before, stopped = math.inf, False

    def gather():
        nonlocal stopped
        for part in group.gather(read_here):
            for number, total in part.items():
                totals[number] = total
        read_here.clear()
        stopped = group.size > 1 and interrupted is not None and interrupted()

    def settled(left):
        nonlocal before
        gather()
        moved, before = abs(before - totals.sum()), totals.sum()
        return stopped or not moved * left >= SETTLED_NATS * characters  # what is not a number moves no more

    settling = Settling(settled, group, streams)
    for _, losses, places in read(workspace, ids, first - 1, stop - 1, settling=settling, marks=marks):
        if group.size == 1 and interrupted is not None and interrupted():
            return None
        for b, (stream, at, count) in enumerate(places):
            of_stream = losses[:count, b] if counts is None else losses[:count, b] * counts[at : at + count]
            read_here[stream.number] = of_stream.sum() + (0.0 if stream.is_new else read_here[stream.number])
        pages.read(losses.size)
    gather()
    if stopped:
        return None
    return Evaluation(float(totals.sum()) / characters, characters)


def evaluate_stream(model, ids, start=0, stop=None, marks=None):
    """Evaluate ids[start:stop] as one stream, its carry kept from end to end: what `evaluate_split` is held to."""
    stop = len(ids) if stop is None else stop
    first, _ = first_predicted(start, stop)
    count_predicted(model, ids, first, stop, marks)
    return sum_up(read_losses(model, ids, start, stop, marks=marks), predicted(model, ids, first, stop, marks))


def read_losses(model, ids, start=0, stop=None, progress=None, marks=None):
    """Return the loss of every character of ids[start:stop] but the text's very first, ndarray (n,) float64, in nats.

    Of a model of items that of what does not count is 0. One stream, its carry kept from end to end; `sum_up` makes an
    Evaluation of them.

    progress    called with (characters read, n) after every chunk
    marks       the TextMarks of ids; a loss that does not count is 0
    """
    pieces, done = [], 0
    for n, losses in read_stream(model, ids, start, stop, marks):
        pieces.append(losses)
        done += len(losses)
        if progress is not None:
            progress(done, n)
    return np.concatenate(pieces)


def read_stream(model, ids, start=0, stop=None, marks=None):
    """Yield (n, losses of the next chunk) of ids[start:stop] as one stream: what `read_losses` joins."""
    stop = len(ids) if stop is None else stop
    first, own = first_predicted(start, stop)
    workspace, pages = Workspace(model, 1, STREAM_CHUNK, training=False), Pages(ids)
    counts = _left_to_count(model, ids, first, stop, marks)
    at = first - 1 - own
    while at < stop - 1:
        # One chunk ends where the warm-up does: the rest are the same chunks whatever came before.
        size = min(STREAM_CHUNK, (first - 1 if at < first - 1 else stop - 1) - at)
        window = np.asarray(ids[at : at + size + 1]).astype(np.int32)[:, None]
        masks = {} if marks is None else marks.read(np.arange(at, at + size + 1)[:, None])
        losses = workspace.losses(window[:-1], window[1:], **masks)[:, 0]
        at += size
        pages.read(size)
        if at >= first:
            place = at - size + 1 - first
            yield stop - first, losses if counts is None else losses * counts[place : place + size]


def _left_to_count(model, ids, first, stop, marks):
    """Return which losses of ids[first:stop] count, ndarray of bool, where a workspace does not see to that itself: it
    knows `marks`, and START; None where these say all.
    """
    is_partly = marks is None and model.rule is not None and model.rule.leaves_out
    return predicted(model, ids, first, stop) if is_partly else None


def count_predicted(model, ids, first, stop, marks=None):
    """Return how many of ids[first:stop] are predicted, and count: all, but of items what the model's rule leaves out.

    Raises CorpusError where there is none.
    """
    count, block = 0, 1 << 20
    for at in range(first, stop, block):
        counts = predicted(model, ids, at, min(stop, at + block), marks)
        count += min(block, stop - at) if counts is None else int(np.count_nonzero(counts))
    if not count:
        raise CorpusError("this text has no character to predict: use a longer one")
    return count


def predicted(model, ids, first, stop, marks=None):
    """Return which of ids[first:stop] are predicted, and count, ndarray of bool; None for all."""
    if marks is not None and marks.counts is not None:
        return np.asarray(marks.counts[first:stop])
    return None if model.rule is None else model.rule.counts(ids, first, stop)


def mean_nats(losses, counted=None):
    """Return the mean of losses, ndarray (n,), in nats, over those that count, ndarray (n,) bool; None for all."""
    return float(losses.mean() if counted is None else losses[counted].mean())


def sum_up(losses, counted=None):
    """Return the Evaluation of losses in nats, ndarray (n,), a character each.

    counted    ndarray (n,) bool: those that count, None for all
    """
    losses, total = losses if counted is None else losses[counted], 0.0
    for at in range(0, len(losses), STREAM_CHUNK):
        total += float(losses[at : at + STREAM_CHUNK].sum())
    return Evaluation(total / len(losses), len(losses))


def first_predicted(start, stop):
    """Return the first place of start .. stop - 1 that can be predicted, and how many characters before it warm up the
    carry.

    Raises CorpusError where there is none.
    """
    first = max(start, 1)
    if stop - first < 1:
        raise CorpusError(
            "an evaluation needs at least 2 characters, the second of which is predicted, got "
            f"{counted(max(0, stop - start), 'character')}: name a longer text"
        )
    return first, min(WARM_UP, first - 1)


def standard_error(losses):
    """Return (standard error of the mean, blocks, characters a block) of losses (n,); the error is NaN below 2 blocks.

    Of n characters as of n independent draws, the error would come out too small: a hard word is several hard
    characters, a hard passage many. So it is that of the means of blocks side by side, up to ERROR_BLOCKS of at least
    MIN_BLOCK characters. What is alike over longer stretches than a block it does not see.
    """
    blocks = min(ERROR_BLOCKS, len(losses) // MIN_BLOCK)
    if blocks < 2:
        return math.nan, blocks, len(losses)
    length = len(losses) // blocks
    bounds = np.arange(blocks) * len(losses) // blocks
    means = np.add.reduceat(losses, bounds) / np.diff(np.append(bounds, len(losses)))
    return float(means.std(ddof=1) / math.sqrt(blocks)), blocks, length


def read_guesses(model, ids, start, stop, count, progress=None, marks=None):
    """Return what the model expected in the place of each character that `read_losses` judges.

    Returns guesses (n, count) int32, likeliest first, and their probabilities (n, count) float64; count is V at most.
    """
    first, own = first_predicted(start, stop)
    n, count = stop - first, min(count, model.config.vocab_size)
    workspace = Workspace(model, 1, STREAM_CHUNK, training=False)
    guesses, shares = np.empty((n, count), np.int32), np.empty((n, count))
    at = first - 1 - own
    while at < stop - 1:
        # One chunk ends where the warm-up does, as in read_losses.
        size = min(STREAM_CHUNK, (first - 1 if at < first - 1 else stop - 1) - at)
        resets = None if marks is None or marks.resets is None else marks.resets[at : at + size, None]
        logits = workspace.logits(np.asarray(ids[at : at + size]).astype(np.int32)[:, None], resets)[:, 0]
        at += size
        if at < first:
            continue
        rows = slice(at - size - first + 1, at - first + 1)
        guesses[rows], shares[rows] = likeliest(logits, count)
        if progress is not None:
            progress(rows.stop, n)
    return guesses, shares


def likeliest(logits, count):
    """Return the ids (..., count) of the largest logits (..., V), falling, the first of equal ones first, and their
    probabilities, float64.
    """
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    best = np.argsort(-p, axis=-1, kind="stable")[..., :count]
    return best, np.take_along_axis(p, best, axis=-1)
