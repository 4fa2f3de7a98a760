"""The ids of a text, on disk: a temporary file without a name, memory-mapped when it is complete.

So the memory needed does not grow with the text, and nothing is left behind that could go stale. This module knows
codes and ids; it knows nothing of the files that they come from.
"""

import contextlib
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from charrnn.errors import StorageError
from charrnn.files.cache import cache_root, temporary_root
from charrnn.files.storage import write_all
from charrnn.text.special import MAX_LABELS, PRIVATE_USE, SPECIALS
from charrnn.text.symbols import CODE_POINTS
from charrnn.text.vocabulary import UNKNOWN_MARKS, Vocabulary, smallest_dtype

BLOCK_BYTES = 1 << 17  # rewritten at a time
SPECIAL_CODES = {name: CODE_POINTS + number for number, name in enumerate(SPECIALS)}  # beyond those of all characters
FIRST_LABEL = CODE_POINTS + len(SPECIALS)  # the code of the first label


class IdWriter:
    """Writes ids to a file, learning symbols in the order they come; `finish` puts them in order of code.

    A byte table serves ASCII and bytes mode while there are at most 256 symbols; everything else goes through a table
    over all code points. The file holds the smallest dtype for the symbols so far, and is widened when they outgrow it.
    """

    def __init__(self, file, mode, vocabulary, skip, min_count=1):
        self.file = file
        self.min_count = min_count
        self.rare = (0, 0)  # how many symbols came less often than that, and how often all of them together
        self.unknown_id = None if vocabulary is None else vocabulary.unknown_id
        self.unknown = 0  # characters that were written as the unknown symbol
        self.mode = mode
        self.vocabulary = vocabulary
        self.skip = skip
        self.skipped = Counter()
        self.characters = 0
        self.codes: list[int] = []
        self.labels: dict[str, int] = {}  # {name: code}
        self.table = np.full(256 if mode == "bytes" else FIRST_LABEL + MAX_LABELS, -1, np.int32)
        self.where = ""
        self.locate = None  # a function from a character's place in its file as it is written here to that as it was
        self._file_start = 0
        if vocabulary is not None:
            self._learn([symbol if mode == "bytes" else ord(symbol) for symbol in vocabulary.symbols])
            self._learn([SPECIAL_CODES[name] for name in vocabulary.special])
            self._learn([self._label_code(name) for name in vocabulary.labels])
        self.dtype = smallest_dtype(self.size)
        self._make_byte_table()

    @property
    def size(self):
        return len(self.codes)

    def knows(self, code):
        """Whether a code can be written: any, unless the vocabulary was given."""
        return self.vocabulary is None or self.table[code] >= 0 or self.unknown_id is not None and not self.skip

    def label_code(self, name):
        """Return the code of a label, a new one where labels are learned; None where the vocabulary has it not."""
        if name not in self.labels and self.vocabulary is not None:
            return None
        return self._label_code(name)

    def _label_code(self, name):
        return self.labels.setdefault(name, FIRST_LABEL + len(self.labels))

    def begin(self, name):
        """A file begins: the offset of an unknown symbol counts from here."""
        self.where = f"{name}, "
        self._file_start = self.characters + sum(self.skipped.values())

    def write_bytes(self, data):
        """Append the ids of `data`: ASCII text, or bytes in bytes mode."""
        if self.byte_table is not None:
            ids = data.translate(self.byte_table)
            # 255 marks an unknown byte until it is an id, which takes 256 symbols.
            if b"\xff" not in ids or self._all_bytes_known:
                self._append(ids, len(ids))
                return
        self.write_codes(np.frombuffer(data, np.uint8))

    def write_codes(self, codes):
        """Append the ids of `codes`, ndarray (N,) of code points or bytes."""
        ids = self.table[codes]
        if len(ids) and ids.min() < 0:
            missing = ids < 0
            if self.vocabulary is None:
                self._learn(np.unique(codes[missing]).tolist())
                self._widen(smallest_dtype(self.size))
                self._make_byte_table()
                ids = self.table[codes]
            elif self.skip:
                strange, counts = np.unique(codes[missing], return_counts=True)
                self.skipped.update(dict(zip(strange.tolist(), counts.tolist())))
                ids = ids[~missing]
            elif self.unknown_id is not None:
                self.unknown += int(missing.sum())
                ids = np.where(missing, self.unknown_id, ids)
            else:
                index = int(np.argmax(missing))
                symbol = int(codes[index])
                offset = self.characters - self._file_start + index
                if self.locate is not None:
                    offset = self.locate(offset)
                raise self.vocabulary.unknown(symbol if self.mode == "bytes" else chr(symbol), offset, self.where)
        self._append(ids.astype(self.dtype), len(ids))

    def finish(self, vocabulary):
        """Return the memory-mapped ids and their vocabulary, its symbols sorted if it is a new one.

        Of a new one the characters that came less often than min_count are one, the unknown symbol.
        """
        if vocabulary is None:
            rare = self._rare_codes()
            labels = tuple(sorted(self.labels))
            places = {self.labels[name]: FIRST_LABEL + place for place, name in enumerate(labels)}
            unknown = None
            if rare:
                known = {chr(code) for code in self.codes if code < CODE_POINTS and code not in rare}
                unknown = next(mark for mark in (*UNKNOWN_MARKS, *map(chr, PRIVATE_USE)) if mark not in known)
            codes = [ord(unknown) if unknown and code in rare else code for code in self.codes]
            placed = [places.get(code, code) for code in codes]  # labels by name, whatever came first
            symbols = sorted(set(codes), key=lambda code: places.get(code, code))
            place = {places.get(code, code): number for number, code in enumerate(symbols)}
            special = tuple(SPECIALS[code - CODE_POINTS] for code in symbols if CODE_POINTS <= code < FIRST_LABEL)
            symbols = [code for code in symbols if code < CODE_POINTS]
            vocabulary = Vocabulary(
                self.mode,
                tuple(symbols if self.mode == "bytes" else map(chr, symbols)),
                special=special,
                labels=labels,
                unknown_symbol=unknown,
            )
            new_ids = np.array([place[one] for one in placed], self.dtype)
            dtype = smallest_dtype(len(symbols))
            if dtype != self.dtype or not np.array_equal(new_ids, np.arange(self.size)):
                self._rewrite(new_ids.astype(dtype))
        self.file.flush()
        if self.characters == 0:
            return np.empty(0, self.dtype), vocabulary
        return map_ids(self.file, self.dtype, self.characters), vocabulary

    def _rare_codes(self):
        """Return the codes of the characters that came less often than min_count; count them and their places."""
        if self.min_count <= 1:
            return frozenset()
        counts, block = np.zeros(self.size, np.int64), BLOCK_BYTES // self.dtype.itemsize or 1
        for start in range(0, self.characters, block):
            ids = self._read_ids(start, min(start + block, self.characters), self.dtype)
            counts += np.bincount(ids, minlength=self.size)
        rare = [n for n, code in enumerate(self.codes) if code < CODE_POINTS and counts[n] < self.min_count]
        self.rare = len(rare), int(counts[rare].sum())
        return frozenset(self.codes[n] for n in rare)

    def _learn(self, codes):
        self.table[codes] = np.arange(self.size, self.size + len(codes), dtype=np.int32)
        self.codes.extend(codes)

    def _make_byte_table(self):
        """The first 256 codes' ids as bytes, or None where an id needs more than a byte."""
        first = self.table[:256]
        self.byte_table = np.where(first < 0, 255, first).astype(np.uint8).tobytes() if self.size <= 256 else None
        # In chars mode these bytes are ASCII.
        self._all_bytes_known = bool((first[: 256 if self.mode == "bytes" else 128] >= 0).all())

    def _append(self, ids, count):
        with room_for_ids(self.file):
            write_all(self.file.fileno(), ids)
        self.characters += count

    def _widen(self, dtype):
        """Rewrite the file in place with a wider dtype, from its end: no block is overwritten before it is read."""
        if dtype == self.dtype:
            return
        old, block = self.dtype, BLOCK_BYTES // dtype.itemsize or 1
        for stop in range(self.characters, 0, -block):
            start = max(0, stop - block)
            ids = self._read_ids(start, stop, old)
            self._write_at(start * dtype.itemsize, ids.astype(dtype))
        os.lseek(self.file.fileno(), 0, os.SEEK_END)
        self.dtype = dtype

    def _rewrite(self, new_ids):
        """Replace each id of the file by new_ids[id], in place; their dtype may be a smaller one."""
        block, dtype = BLOCK_BYTES // self.dtype.itemsize or 1, new_ids.dtype
        byte_table = new_ids.tobytes().ljust(256, b"\0") if self.dtype == np.uint8 else None
        for start in range(0, self.characters, block):
            ids = self._read_ids(start, min(start + block, self.characters), self.dtype)
            # What is written is never beyond what has been read.
            self._write_at(start * dtype.itemsize, ids.tobytes().translate(byte_table) if byte_table else new_ids[ids])
        if dtype != self.dtype:
            os.ftruncate(self.file.fileno(), self.characters * dtype.itemsize)
            self.dtype = dtype

    def _read_ids(self, start, stop, dtype):
        descriptor, size_bytes = self.file.fileno(), (stop - start) * dtype.itemsize
        os.lseek(descriptor, start * dtype.itemsize, os.SEEK_SET)
        pieces = bytearray()
        while len(pieces) < size_bytes:
            piece = os.read(descriptor, size_bytes - len(pieces))
            if not piece:
                raise StorageError(
                    "the temporary file of the text's ids was truncated while it was in use: try again, or set "
                    "CHARRNN_CACHE_DIR to another folder"
                )
            pieces += piece
        return np.frombuffer(pieces, dtype)

    def _write_at(self, offset, ids):
        with room_for_ids(self.file):
            os.lseek(self.file.fileno(), offset, os.SEEK_SET)
            write_all(self.file.fileno(), ids)


def map_ids(file, dtype, characters):
    """Return the ids of a scratch file, memory-mapped, ndarray (characters,)."""
    return np.memmap(file, dtype, mode="r", shape=(characters,))


class room_for_ids:
    """Turns an OSError of writing ids into a StorageError that says where, and what to do."""

    def __init__(self, file):
        self.folder = file.folder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise StorageError(
                f"the text's ids cannot be written to {self.folder} ({reason}): free some space there, or set "
                "CHARRNN_CACHE_DIR to a folder with more space"
            ) from error


class _ScratchFile:
    """An unlinked temporary file, unbuffered, that knows which folder it takes its room from: "memory", if none."""

    def __init__(self, file, folder):
        self.file = file
        self.folder = folder
        self.read, self.seek, self.tell, self.fileno = file.read, file.seek, file.tell, file.fileno
        self.flush, self.close = file.flush, file.close


def open_scratch_file(notes):
    """Open a temporary file without a name in the first cache folder that lets us, or in memory if none does."""
    folders = _folders()
    for place, folder in enumerate(folders):
        try:
            os.makedirs(folder, exist_ok=True)
            file = tempfile.TemporaryFile(buffering=0, prefix="charrnn-ids-", dir=folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            continue
        if place:
            notes.append(f"the cache folder {folders[0]} cannot be used; the text's ids are stored in {folder} instead")
        return _ScratchFile(file, folder)
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: not on Linux
        file = os.fdopen(os.memfd_create("charrnn-ids"), "w+b", buffering=0)
        notes.append(f"no folder for the text's ids can be written to ({reason}); they are kept in memory")
        return _ScratchFile(file, "memory")
    raise StorageError(
        f"there is no space for the text's ids in {' or '.join(map(str, folders))} ({reason}): set CHARRNN_CACHE_DIR "
        "to a folder that you can write to"
    )


def _folders():
    """Return where ids may be kept, the first choice first."""
    return [folder for folder in (cache_root(), temporary_root()) if folder] or [Path.cwd()]
