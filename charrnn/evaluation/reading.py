"""Read a stretch of a text in a few streams side by side, and have what one continuous reading would have.

Every stream is warmed up on the WARM_UP characters before it, from an empty carry. A unit that remembers for longer, a
toggle above all, may then begin in the wrong state, and be wrong for thousands of characters. So where a stream's
beginning is not the end of the stream before it, within TOLERANCE, it is read again from that end, until all fit. What
differs less is taken to be forgotten: a cell state that is far out, where tanh is flat, fits another that is too.

A model that is hardly trained may never forget how it began: with layer normalisation, which lifts small sums, any two
beginnings grow apart, and no two streams meet. It is read in one go then. Knows models and ids, not texts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.distributed.group import ALONE
from charrnn.distributed.tree import shards_of
from charrnn.model.workspace import Workspace

WARM_UP = 256
TOLERANCE = 0.02  # of h and of tanh(c), each from -1 to 1, where two streams meet
MIN_SETTLED = 0.25  # of the streams of a reading: 32 side by side take 7 to 16 times as long as one of them alone


class TextMarks(NamedTuple):
    """Where a text resets the state, and which of its losses count, each ndarray (N,) bool as long as its ids, or None.

    resets    the state is zero before ids[i] is read
    counts    the loss of predicting ids[i] counts; otherwise it is read as 0
    """

    resets: np.ndarray | None = None
    counts: np.ndarray | None = None

    def read(self, places):
        """Return {name: (T, B) bool} for ids read at `places` (T + 1, B) and predicted at the last T of them."""
        masks = {"resets": (self.resets, places[:-1]), "counts": (self.counts, places[1:])}
        return {name: np.asarray(mask[at]) for name, (mask, at) in masks.items() if mask is not None}


class Settling(NamedTuple):
    """When a reading is good enough, and who reads.

    enough     asked before streams are read again, with the number of streams from the first of them on: True leaves
               them as they are
    group      the group of processes that share the streams out; each is given its own, and all are asked `enough`
    streams    how many streams there are in all; None for as many as the workspace has
    """

    enough: Callable
    group: Any = ALONE
    streams: int | None = None


@dataclass
class Stream:
    """Columns first .. first + length - 1 of what is read. `into` and `out` are the carry it began with and ended with.

    is_new    True in its first chunk, each time that it is read: what was kept of an earlier reading is void
    """

    number: int
    first: int
    length: int
    into: dict | None = None
    out: dict | None = None
    is_new: bool = True


def read(workspace, ids, start, stop, clamps=(), run=Workspace.losses, settling=None, marks=None):
    """Yield (workspace, what run(workspace, x, y) gave (T, B, ...), places) a chunk; a place is (stream, first column,
    its columns).

    workspace    not of training; it has as many streams as there will be, or as this process's part of them, and reads
                 as many characters at a time as it can
    ids          ndarray (N,), any integer type; column t is the reading of ids[start + t], t < stop - start
    clamps       units to be held; streams that are read again are held too
    settling     a Settling; None reads until all streams meet
    marks        the TextMarks of ids; `run` is then given resets and counts by name, those that there are

    A stream that is read again comes once more as a whole: what comes later stands. Where `settling` is None and a
    reading settles less than a share of MIN_SETTLED of its streams, the model hardly forgets how it began: what is left
    is read in one go, stream after stream, since each reading side by side would settle little more than its first.
    """
    enough, group, count = settling or (None, ALONE, None)
    N, count, T = stop - start, count or workspace.batch_size, workspace.seq_length
    length, size = -(-N // count), count * T
    streams = [Stream(k, at, min(length, N - at)) for k, at in enumerate(range(0, N, length))]
    waiting, in_one_go = streams, False
    while waiting:
        if len(waiting) < count:
            T = size // len(waiting)
        mine = waiting[slice(*shards_of(group.rank, group.size, len(waiting)))]
        if mine:
            if (len(mine), T) != (workspace.batch_size, workspace.seq_length):
                workspace = Workspace(workspace.model, len(mine), T, training=False)
            workspace.set_clamps(clamps)
            yield from _read_once(workspace, ids, start, mine, run, marks)
        if group.size > 1:
            carries = [(stream.into, stream.out) for stream in mine]
            for stream, (into, out) in zip(waiting, [one for part in group.gather(carries) for one in part]):
                stream.into, stream.out = into, out
        left = [stream for before, stream in zip(streams[:-1], streams[1:]) if not _fits(before.out, stream.into)]
        if left and enough is not None and enough(len(streams) - left[0].number):
            return
        if enough is None and waiting is not streams and len(waiting) - len(left) < MIN_SETTLED * len(waiting):
            in_one_go = True
        waiting = left[:1] if in_one_go else left
        for stream in waiting:
            stream.into = streams[stream.number - 1].out


def _read_once(workspace, ids, start, streams, run, marks):
    """Read streams side by side, each from the carry that it has, or else warmed up; yield as `read` does."""
    at = np.array([start + stream.first for stream in streams])
    carries = [stream.into for stream in streams if stream.into is not None]
    if not carries:
        _warm_up(workspace, ids, at, marks)
        for b, stream in enumerate(streams):
            stream.into = _carry_of(workspace.get_carry(), b)
    else:
        workspace.set_carry({name: np.concatenate([carry[name] for carry in carries], axis=1) for name in carries[0]})
    longest = max(stream.length for stream in streams)
    for t in range(0, longest, workspace.seq_length):
        T = min(workspace.seq_length, longest - t)
        for stream in streams:
            stream.is_new = t == 0
        x, y, masks = _window(ids, at + t, T, marks)
        yield (
            workspace,
            run(workspace, x, y, **masks),
            [(stream, stream.first + t, max(0, min(T, stream.length - t))) for stream in streams],
        )
    carry = workspace.get_carry()
    for b, stream in enumerate(streams):
        stream.out = _carry_of(carry, b)  # of the last stream, which may be shorter, nobody asks


def _warm_up(workspace, ids, at, marks):
    """Read the WARM_UP characters before each stream, from an empty carry.

    Only the first stream can stand so near the text's beginning that there are less. It then runs along on a character
    of no meaning, and starts from an empty carry where the text does.
    """
    workspace.reset_carry()
    own = min(WARM_UP, int(at[0]))
    for begin, end in ((-WARM_UP if len(at) > 1 else -own, -own), (-own, 0)):
        for t in range(begin, end, workspace.seq_length):
            x, _, masks = _window(ids, at + t, min(workspace.seq_length, end - t), marks)
            workspace.logits(x, masks.get("resets"))
        if end == -own and begin < end:
            carry = workspace.get_carry()
            for state in carry.values():
                state[:, 0] = 0
            workspace.set_carry(carry)


def _window(ids, at, T, marks):
    """Return the characters read and the ones to predict, (T, B) each, from the places `at` (B,) on; and masks."""
    places = np.clip(at[None, :] + np.arange(T + 1)[:, None], 0, len(ids) - 1)
    window = np.asarray(ids[places]).astype(np.int32)
    return window[:-1], window[1:], {} if marks is None else marks.read(places)


def _carry_of(carry, b):
    return {name: state[:, b : b + 1] for name, state in carry.items()}


def _fits(out, into):
    # Not "all within": what is not a number stays so however often it is read, and is not waited for.
    return not any(
        (np.abs(np.tanh(out[name]) - np.tanh(into[name])) > TOLERANCE).any()
        if name == "c"
        else (np.abs(out[name] - into[name]) > TOLERANCE).any()
        for name in out
    )
