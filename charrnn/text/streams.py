"""B parallel streams over ids, chunk by chunk, with a cursor that can be saved.

Streams copy the characters of a chunk and nothing more; the ids may be a memory-mapped text of any length. They know
ids and indices, not characters, files or models.
"""

import mmap

import numpy as np

from charrnn.errors import ConfigError, CorpusError, counted

CHUNKS_EVEN = 20  # below so many chunks an epoch, the default sequence is fitted to the stream's length
CHUNKS_WANTED = 4  # an epoch of a shrunken shape, so that a carried state is still learned from
RELEASE_BYTES = 32 << 20  # of a mapped text read before its pages are given back


class Streams:
    """Cut ids[start:stop] into B contiguous streams and hand them out in chunks of T characters.

    With n = stop - start characters each stream is S = (n - 1) // B long, and an epoch has S // T chunks: chunk c of
    stream b is x = ids[start + b S + c T : + T], and y the same moved on by one. What is left over at the end of a
    stream (fewer than T characters) and at the end of the text (fewer than B, and the last one, which is only ever
    predicted) is left out of every epoch.

    Parameters
    ----------
    ids : ndarray (N,)
    start, stop : int
    batch_size : int, B
    seq_length : int, T

    Attributes
    ----------
    chunks_per_epoch : int
    epoch, chunk : int
        Name the chunk that `next_chunk` reads next. After an epoch's last chunk epoch is one more and chunk is 0.

    Raises
    ------
    ConfigError
        batch_size or seq_length is less than 1, or the range is not within the ids.
    CorpusError
        The range is too short for one chunk.

    Examples
    --------
    >>> streams = Streams(np.arange(9), 0, 9, batch_size=2, seq_length=2)
    >>> x, y = streams.next_chunk()
    >>> x.tolist(), y.tolist()
    ([[0, 4], [1, 5]], [[1, 5], [2, 6]])
    """

    def __init__(self, ids, start, stop, batch_size, seq_length):
        check_shape(batch_size, seq_length)
        if not 0 <= start <= stop <= len(ids):
            raise ConfigError(
                f"a range of the {len(ids):,} characters must be 0 <= start <= stop <= {len(ids):,}, got "
                f"{start:,} and {stop:,}"
            )
        if stop - start < batch_size * seq_length + 1:
            raise CorpusError(_too_short(stop - start, batch_size, seq_length))
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.epoch = 0
        self.chunk = 0
        stream_length = (stop - start - 1) // batch_size
        self.chunks_per_epoch = stream_length // seq_length
        # Views (B, S): a slice and a new shape copy nothing.
        self._inputs = ids[start : start + batch_size * stream_length].reshape(batch_size, stream_length)
        self._targets = ids[start + 1 : start + 1 + batch_size * stream_length].reshape(batch_size, stream_length)
        self._pages = Pages(ids)

    @property
    def at_epoch_start(self):
        """Whether the next chunk is an epoch's first: the carry is to be reset before it."""
        return self.chunk == 0

    def next_chunk(self):
        """Return the next x and y, ndarray (T, B) each, int32 and fresh, and move the cursor on."""
        window = slice(self.chunk * self.seq_length, (self.chunk + 1) * self.seq_length)
        x = np.array(self._inputs[:, window].T, np.int32, order="C")
        y = np.array(self._targets[:, window].T, np.int32, order="C")
        self.chunk += 1
        if self.chunk == self.chunks_per_epoch:
            self.epoch, self.chunk = self.epoch + 1, 0
        self._pages.read(x.size)
        return x, y

    def cursor(self):
        """Return {"epoch", "chunk"}, naming the next chunk, for `seek`."""
        return {"epoch": self.epoch, "chunk": self.chunk}

    def seek(self, cursor):
        """Go to the chunk that `cursor` names.

        Raises
        ------
        ConfigError
            It names no chunk of these streams.
        """
        self.epoch, self.chunk = read_cursor(cursor, self.chunks_per_epoch)


def read_cursor(cursor, chunks_per_epoch):
    """Return the (epoch, chunk) of a cursor, as `Streams.cursor` returns it. Raises ConfigError if it is invalid."""
    try:
        epoch, chunk = cursor["epoch"], cursor["chunk"]
        valid = type(epoch) is int and type(chunk) is int and epoch >= 0 and 0 <= chunk < chunks_per_epoch
    except (TypeError, KeyError, IndexError):
        valid = False
    if not valid:
        raise ConfigError(
            f"a cursor must name an epoch from 0 and a chunk from 0 to {chunks_per_epoch - 1:,}, "
            f"got {cursor}; it belongs to another text, or to another batch_size or seq_length"
        )
    return epoch, chunk


class Pages:
    """Gives the pages of a mapped text back now and then: the kernel counts them as ours while we read through it.

    ids    ndarray; where no file is mapped beneath, nothing happens
    """

    def __init__(self, ids):
        self._itemsize = ids.itemsize
        while isinstance(ids, np.ndarray):
            ids = ids.base
        if isinstance(ids, memoryview):
            ids = ids.obj
        self._mapping = None
        if isinstance(ids, mmap.mmap) and hasattr(ids, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping = ids
        self._read_bytes = 0

    def read(self, characters):
        """So many more were read."""
        self._read_bytes += characters * self._itemsize
        if self._mapping is not None and self._read_bytes >= RELEASE_BYTES:
            self._mapping.madvise(mmap.MADV_DONTNEED)  # read-only and shared: the file has them all
            self._read_bytes = 0


def fit_streams(characters, batch_size, seq_length, fixed):
    """Return (batch_size, seq_length, notes) that a text of so many characters can be trained with.

    The shape asked for is kept if it gives one chunk at least. Otherwise, unless it is `fixed`, batch_size is lowered
    first and seq_length only when one stream is still too many, so that an epoch has a few chunks; notes says so.

    Parameters
    ----------
    characters : int
        Of the part to train on.
    fixed : bool
        Whether the user asked for this very shape.

    Raises
    ------
    ConfigError
        batch_size or seq_length is less than 1.
    CorpusError
        The shape is fixed and does not fit, or the text has fewer than 2 characters.
    """
    check_shape(batch_size, seq_length)
    if characters < 2:
        raise CorpusError(
            f"the training split needs at least 2 characters, got {characters}: name a longer text, or "
            "lower --val-fraction and --test-fraction"
        )
    if fixed or characters > batch_size * seq_length * CHUNKS_EVEN:
        if batch_size * seq_length + 1 > characters:
            raise CorpusError(_too_short(characters, batch_size, seq_length))
        return batch_size, seq_length, []
    if batch_size * seq_length + 1 <= characters:
        # Few chunks a stream: the steps are evened out, so that hardly a character is left over at its end.
        stream = (characters - 1) // batch_size
        even = stream // -(-stream // seq_length)
        if even == seq_length:
            return batch_size, even, []
        note = (
            f"the text is short: using {counted(batch_size, 'stream')} of {counted(even, 'character')} instead of "
            f"{seq_length:,}, so that all of it is read"
        )
        return batch_size, even, [note]
    wanted = max(1, (characters - 1) // CHUNKS_WANTED)  # characters of all streams in one chunk
    length = min(seq_length, wanted)
    streams = min(batch_size, wanted // length)
    return (
        streams,
        length,
        [
            f"the text has only {characters:,} characters to train on, too few for {counted(batch_size, 'stream')} of "
            f"{counted(seq_length, 'character')}: using {counted(streams, 'stream')} of "
            f"{counted(length, 'character')} instead"
        ],
    )


def check_shape(batch_size, seq_length):
    """Raise ConfigError if batch_size or seq_length is less than 1."""
    for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")


def _too_short(characters, batch_size, seq_length):
    largest_batch, longest = (characters - 1) // seq_length, (characters - 1) // batch_size
    options = [
        f"{option} to {value:,}"
        for option, value, now in (("--batch-size", largest_batch, batch_size), ("--seq-length", longest, seq_length))
        if 1 <= value < now
    ]
    remedy = f"lower {' or '.join(options)}" if options else "lower --batch-size and --seq-length"
    if characters < 2:
        remedy = "name a longer text"
    return (
        f"the training split has {counted(characters, 'character')}; "
        f"{_streams(batch_size, seq_length)} at least {batch_size * seq_length + 1:,}: {remedy}"
    )


def _streams(batch_size, seq_length):
    return f"{counted(batch_size, 'stream')} of {counted(seq_length, 'character')} need{'s' if batch_size == 1 else ''}"
