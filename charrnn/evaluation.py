"""How well a model predicts a text: mean loss in nats a character, bits per character, perplexity.

Two passes over a range of ids. `evaluate_stream` is the plain definition, one stream from end to end; `read_losses` keeps what it
found of every character, `read_guesses` what the model expected there. `evaluate_split` gives the same figure to 0.001 nats,
faster: a few parallel streams, each warmed up on the characters before it. All are deterministic. This module knows models and
ids, not texts, files or clocks.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CorpusError
from charrnn.model import Workspace
from charrnn.streams import Pages

# A stream joins the text in its middle with an empty carry; after this many characters its predictions are those of a
# stream that came all the way. A stream must be a few times longer, or the warm-up costs more than the streams gain.
WARM_UP = 256
SHORTEST_STREAM = 1024
MOST_STREAMS = 64

# Characters in a chunk. Small for many streams, to hold memory down; the carry makes the result independent of it.
SPLIT_CHUNK = 8
STREAM_CHUNK = 256

# Blocks of a text that a standard error is taken over: contiguous, since what makes one character easy makes its neighbours so.
ERROR_BLOCKS = 100
SHORTEST_BLOCK = 200


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy over a number of characters."""

    loss_nats: float
    characters: int

    @property
    def loss_bpc(self):
        """Bits per character."""
        return self.loss_nats / math.log(2)

    @property
    def perplexity(self):
        return math.exp(self.loss_nats) if self.loss_nats < 700 else math.inf

    def to_dict(self):
        return {"loss_nats": self.loss_nats, "loss_bpc": self.loss_bpc, "perplexity": self.perplexity,
                "characters": self.characters}


def count_streams(characters):
    """Number of parallel streams for a split of this length: a power of two, a function of nothing else."""
    streams = 1
    while streams < MOST_STREAMS and characters // (2 * streams) >= SHORTEST_STREAM:
        streams *= 2
    return streams


def split_workspace(model, characters):
    """Make the workspace that `evaluate_split` wants for a split of this length, to be used again and again."""
    return Workspace(model, count_streams(characters), SPLIT_CHUNK, training=False)


def evaluate_split(model, ids, start, stop, workspace=None, interrupted=None):
    """Evaluate ids[start:stop] in a few parallel streams.

    ids          ndarray (N,), any integer type; the characters before `start` are read to warm up, and not counted
    workspace    from `split_workspace(model, stop - start)`; made here when None
    interrupted  called before every chunk; the pass is given up, and None returned, when it says True

    The first character is predicted from those before it; the first of the whole text is not predicted at all.
    Sums are float64 in a fixed order: the same parameters give the same bits.
    """
    if workspace is None:
        workspace = split_workspace(model, stop - start)
    return _evaluate(workspace, ids, start, stop, count_streams(stop - start), SPLIT_CHUNK, interrupted)


def evaluate_stream(model, ids, start=0, stop=None, workspace=None, interrupted=None):
    """Evaluate ids[start:stop] as one stream, its carry kept from end to end. Arguments as in `evaluate_split`."""
    stop = len(ids) if stop is None else stop
    if workspace is None:
        workspace = Workspace(model, 1, STREAM_CHUNK, training=False)
    return _evaluate(workspace, ids, start, stop, 1, STREAM_CHUNK, interrupted)


def read_losses(model, ids, start=0, stop=None, progress=None):
    """Return the loss of every character of ids[start:stop] but the text's very first, ndarray (n,) float64, in nats.

    One stream, as evaluate_stream reads it; `sum_up` makes its Evaluation of them, to the bit.

    progress    called with (characters read, n) after every chunk
    """
    pieces, done = [], 0
    for n, losses in read_stream(model, ids, start, stop):
        pieces.append(losses)
        done += len(losses)
        if progress is not None:
            progress(done, n)
    return np.concatenate(pieces)


def read_stream(model, ids, start=0, stop=None):
    """Yield (n, losses of the next chunk) of ids[start:stop] as one stream: what `read_losses` joins."""
    stop = len(ids) if stop is None else stop
    first, own = first_predicted(start, stop)
    workspace = Workspace(model, 1, STREAM_CHUNK, training=False)
    before, pages = np.array([first - 1]), Pages(ids)
    for _ in _losses(workspace, ids, pages, before, -own, 0, STREAM_CHUNK, None):
        pass
    for losses in _losses(workspace, ids, pages, before, 0, stop - first, STREAM_CHUNK, None):
        yield stop - first, losses[:, 0]


def sum_up(losses):
    """Return the Evaluation of losses in nats, ndarray (n,), a character each."""
    total = 0.0
    for at in range(0, len(losses), STREAM_CHUNK):
        total += float(losses[at:at + STREAM_CHUNK].sum())
    return Evaluation(total / len(losses), len(losses))


def first_predicted(start, stop):
    """Return the first place of start .. stop - 1 that can be predicted, and how many characters before it warm up the carry.

    Raises CorpusError where there is none.
    """
    first = max(start, 1)
    if stop - first < 1:
        raise CorpusError(f"an evaluation needs a character to predict and one before it, got {max(0, stop - start)} characters")
    return first, min(WARM_UP, first - 1)


def standard_error(losses):
    """Return (standard error of the mean, blocks, characters a block) of losses (n,); the error is NaN below 2 blocks.

    Of n characters as of n independent draws, the error would come out too small: a hard word is several hard characters, a hard
    passage many. So it is that of the means of blocks side by side, up to ERROR_BLOCKS of at least SHORTEST_BLOCK characters. What
    is alike over longer stretches than a block it does not see.
    """
    blocks = min(ERROR_BLOCKS, len(losses) // SHORTEST_BLOCK)
    if blocks < 2:
        return math.nan, blocks, len(losses)
    length = len(losses) // blocks
    bounds = np.arange(blocks) * len(losses) // blocks
    means = np.add.reduceat(losses, bounds) / np.diff([*bounds, len(losses)])
    return float(means.std(ddof=1) / math.sqrt(blocks)), blocks, length


def read_guesses(model, ids, start, stop, count, progress=None):
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
        logits = workspace.logits(np.asarray(ids[at:at + size]).astype(np.int32)[:, None])[:, 0]
        at += size
        if at < first:
            continue
        rows = slice(at - size - first + 1, at - first + 1)
        guesses[rows], shares[rows] = likeliest(logits, count)
        if progress is not None:
            progress(rows.stop, n)
    return guesses, shares


def likeliest(logits, count):
    """Return the ids (..., count) of the largest logits (..., V), falling, the first of equal ones first, and their probabilities, float64."""
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    best = np.argsort(-p, axis=-1, kind="stable")[..., :count]
    return best, np.take_along_axis(p, best, axis=-1)


def _evaluate(workspace, ids, start, stop, streams, chunk, interrupted):
    first, _ = first_predicted(start, stop)
    characters = stop - first
    # Stream s predicts the characters bounds[s] .. bounds[s + 1] - 1, each from the character before it.
    bounds = np.array([first + characters * s // streams for s in range(streams + 1)])
    lengths = np.diff(bounds)
    before = bounds[:-1] - 1
    workspace.reset_carry()
    pages = Pages(ids)

    # Only stream 0 can stand so near the text's beginning that it has less than WARM_UP characters before it. It then
    # runs along on a character of no meaning, and starts from an empty carry where its own warm-up begins.
    own = min(WARM_UP, int(before[0]))
    others = WARM_UP if streams > 1 else own
    if own < others:
        for _ in _losses(workspace, ids, pages, before, -others, -own, chunk, interrupted):
            pass
        carry = workspace.get_carry()
        for state in carry.values():
            state[:, 0] = 0
        workspace.set_carry(carry)
    for _ in _losses(workspace, ids, pages, before, -own, 0, chunk, interrupted):
        pass

    total, rows = 0.0, 0
    longest = int(lengths.max())
    for losses in _losses(workspace, ids, pages, before, 0, longest, chunk, interrupted):
        rows += len(losses)
        if rows == longest:  # lengths differ by one at most: some streams end before the last row
            losses[-1, lengths < longest] = 0.0
        total += float(losses.sum())
    if rows < longest:
        return None
    return Evaluation(total / characters, characters)


def _losses(workspace, ids, pages, before, begin, end, chunk, interrupted):
    """Run steps begin .. end-1 of every stream, counted from its first scored one; yield losses (T, S), float64, a chunk."""
    for t in range(begin, end, chunk):
        if interrupted is not None and interrupted():
            return
        at = np.arange(t, min(t + chunk, end))[:, None] + before[None, :]
        window = ids[np.clip(np.vstack([at, at[-1:] + 1]), 0, len(ids) - 1)].astype(np.int32)
        pages.read(at.size)
        yield workspace.losses(window[:-1], window[1:])
