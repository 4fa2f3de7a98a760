"""Items, packed end to end into B streams, chunk by chunk, with a cursor that can be saved.

Nothing is padded: an item of n characters takes n + 1 places of its stream, those of `START text` with `text END` to
predict, and the next item follows at once; at its START the state is zero. Each epoch deals all items in an order of
its own. Knows ids and where items begin, no characters, files or models.
"""

import heapq

import numpy as np

from charrnn.errors import CorpusError, counted
from charrnn.text.streams import Pages, check_shape, fit_streams, read_cursor

MAX_IDLE = 0.05  # share of the places that hold nothing, from which it is worth a word


class ItemStreams:
    """Deal the items of ids[start:stop] to B streams, and hand these out in chunks of up to T characters.

    The longest items are dealt first, each to the stream that has least; so all streams are about equally long, and as
    long in every epoch. Which of equally long items goes where, and the order within a stream, are drawn from the seed
    and the epoch. The epoch ends with the longest stream: its last chunk may be shorter than T, and in it other streams
    may be idle. What is idle is reset and does not count.

    Parameters
    ----------
    ids : ndarray (N,)
    items : ItemSet
        Of all the ids.
    start, stop : int
        Where items begin.
    batch_size : int, B
    seq_length : int, T
    seed : int
    silent : ndarray (n,), int64, optional
        Of all the items, how many predictions at the beginning of each do not count; all count where it is None.

    Attributes
    ----------
    chunks_per_epoch : int
    epoch, chunk : int
        Name the chunk that `next_chunk` reads next. After an epoch's last chunk epoch is one more and chunk is 0.
    idle_share : float
        Of an epoch's places, those that hold nothing.

    Raises
    ------
    ConfigError
        batch_size or seq_length is less than 1.
    CorpusError
        There are fewer items than streams.
    """

    def __init__(self, ids, items, start, stop, batch_size, seq_length, seed, silent=None):  # noqa: PLR0913
        check_shape(batch_size, seq_length)
        first, last = items.first_of(start), items.first_of(stop)
        if last - first < batch_size:
            raise CorpusError(_too_few(last - first, batch_size))
        self.batch_size, self.seq_length, self._seed = batch_size, seq_length, seed
        self.epoch = self.chunk = 0
        self._ids, self._pages = ids, Pages(ids)
        self._starts = items.starts[first : last + 1]
        # Of an item with both its symbols: the last one, END, is only ever predicted.
        self._lengths = np.diff(self._starts) - 1
        self._silent = None if silent is None or not silent.any() else silent[first:last]
        loads, self._stream_of_rank = _deal(np.sort(self._lengths)[::-1], batch_size)
        self._bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(loads)])  # of the streams, laid end to end
        self._loads, longest = loads, int(loads.max())
        self._length = longest
        self.chunks_per_epoch = -(-longest // seq_length)
        self.idle_share = 1 - float(loads.sum()) / (batch_size * longest)
        self._order_epoch, self._order, self._ends = None, np.empty(0, np.int64), np.empty(0, np.int64)

    @property
    def at_epoch_start(self):
        """Whether the next chunk is an epoch's first."""
        return self.chunk == 0

    def next_chunk(self):
        """Return the next x and y, ndarray (T, B) each, int32, and resets and counts, bool; move the cursor on.

        resets says where the state is zero before x is read; counts whether the loss of y counts.
        """
        if self._order_epoch != self.epoch:
            self._make_order()
        begin = self.chunk * self.seq_length
        t = np.arange(begin, min(begin + self.seq_length, self._length))[:, None]
        counts = t < self._loads
        # A place in all streams laid end to end; where one is idle, the first of the stream again.
        places = self._bounds[:-1] + np.where(counts, t, 0)
        number = np.searchsorted(self._ends, places, side="right")
        item = self._order[number]
        within = places - (self._ends[number] - self._lengths[item])
        at = self._starts[item] + within
        x, y = (np.asarray(self._ids[where]).astype(np.int32) for where in (at, at + 1))
        if self._silent is not None:
            counts = counts & (within >= self._silent[item])
        self.chunk += 1
        if self.chunk == self.chunks_per_epoch:
            self.epoch, self.chunk = self.epoch + 1, 0
        self._pages.read(x.size)
        return x, y, within == 0, counts

    def cursor(self):
        """Return {"epoch", "chunk"}, naming the next chunk, for `seek`."""
        return {"epoch": self.epoch, "chunk": self.chunk}

    def seek(self, cursor):
        """Go to the chunk that `cursor` names. Raises ConfigError where it names none of these streams."""
        self.epoch, self.chunk = read_cursor(cursor, self.chunks_per_epoch)

    def _make_order(self):
        """Draw the epoch's order: the items of stream 0, then those of stream 1, and so on."""
        n = len(self._lengths)
        # Raw numbers: those are the same in every version of NumPy.
        bits = np.random.PCG64(np.random.SeedSequence([self._seed, self.epoch]))
        ranked = np.lexsort((bits.random_raw(n), -self._lengths))
        self._order = ranked[np.lexsort((bits.random_raw(n), self._stream_of_rank))]
        self._ends = np.cumsum(self._lengths[self._order])
        self._order_epoch = self.epoch


def _deal(lengths, batch_size):
    """Deal lengths (n,), the longest first, each to the stream with least; return (loads (B,), stream of each (n,))."""
    heap = [(0, stream) for stream in range(batch_size)]
    streams = np.empty(len(lengths), np.min_scalar_type(batch_size - 1))
    for rank, length in enumerate(lengths.tolist()):
        load, stream = heap[0]
        streams[rank] = stream
        heapq.heapreplace(heap, (load + length, stream))
    loads = np.zeros(batch_size, np.int64)
    for load, stream in heap:
        loads[stream] = load
    return loads, streams


def fit_item_streams(items, start, stop, shape, fixed):
    """Return (batch_size, seq_length, notes) that the items of ids[start:stop] can be trained with.

    As `fit_streams`; there are never more streams than items.

    Parameters
    ----------
    shape : (int, int)
        The batch_size and the seq_length wished for.
    fixed : (bool, bool)
        Whether the user asked for the one, and for the other.

    Raises
    ------
    ConfigError
        batch_size or seq_length is less than 1.
    CorpusError
        There is no item, or there are fewer than the streams that were asked for.
    """
    (batch_size, seq_length), notes = shape, []
    check_shape(batch_size, seq_length)
    first, last = items.first_of(start), items.first_of(stop)
    n = last - first
    if n < 1 or fixed[0] and n < batch_size:
        raise CorpusError(_too_few(n, batch_size))
    if n < batch_size:
        batch_size = n
        notes.append(f"there are only {counted(n, 'item')} to train on: using --batch-size {batch_size}")
    positions = stop - start - n  # what is read
    if not any(fixed) and positions > 1:
        batch_size, seq_length, more = fit_streams(positions + 1, batch_size, seq_length, False)
        notes += more
    return batch_size, min(seq_length, max(1, positions)), notes


def idle_note(streams):
    """Return a note on places of a batch without text, "" where they are few."""
    if streams.idle_share <= MAX_IDLE or streams.batch_size == 1:
        return ""
    return (
        f"{streams.idle_share:.0%} of each batch is not used, because some items are much longer than others; to waste "
        f"less, use a --batch-size below {streams.batch_size}"
    )


def _too_few(items, batch_size):
    if items < 1:
        return "the training split has no item: use a text with more items, or lower --val-fraction and --test-fraction"
    return (
        f"the training split has {counted(items, 'item')}, too few for {counted(batch_size, 'stream')}: lower "
        f"--batch-size to {items}"
    )
