"""From files to the ids of items, on disk: `START field END`, end to end, in the order that splits are cut from.

items.py has what a record is, decoding.py what the characters of a file are, ids.py where ids are written.
"""

import numpy as np

from charrnn.errors import CorpusError, VocabularyError, counted
from charrnn.files.storage import write_all
from charrnn.text.decoding import TextReader
from charrnn.text.ids import SPECIAL_CODES, map_ids, open_scratch_file, room_for_ids
from charrnn.text.item_kinds import HASH
from charrnn.text.items import ItemSet, content_hash, read_records
from charrnn.text.remarks import Remarks
from charrnn.text.rewriting import Rewriting
from charrnn.text.sources import shown
from charrnn.text.special import END, SEP, START

BUFFERED_CHARACTERS = 1 << 17  # of items, written to the disk together
MOVED_ITEMS = 1 << 14  # put in order together


class ItemReader(TextReader):
    """The one pass of decoding.py, with items in the place of one long text."""

    def __init__(self, reading, encoding, writer, progress, notes, rewriting):
        super().__init__("chars", encoding, writer, progress, notes, rewriting, False)
        self.reading = reading
        self.rewriting = rewriting
        self.remarks = Remarks(Rewriting(rewriting.normalize, rewriting.lowercase, "lf"))  # line ends are none of them
        self.empty = 0
        self._hashes = []  # arrays of uint64
        self._lengths = []  # arrays of int64, of an item with all its special symbols
        self._buffer, self._buffered = [], 0  # (fields, line) and their characters

    def _read_characters(self, file, path):
        self.writer.locate = None
        for fields, line in read_records(self.decoded(file, path), path, self.reading):
            if self.rewriting:
                fields = tuple(map(self.rewriting.apply, fields))
            if not any(fields):
                self.empty += 1
                continue
            self._buffer.append((fields, line))
            self._buffered += sum(map(len, fields))
            if self._buffered >= BUFFERED_CHARACTERS:
                self._write(path)
        self._write(path)

    def _write(self, path):
        """Write the items that wait."""
        if not self._buffer:
            return
        lengths, contents, hashes = [], [], []
        for fields, line in self._buffer:
            try:
                encoded = [field.encode() for field in fields]
            except UnicodeEncodeError as error:  # of an escape in JSON, or an encoding such as unicode_escape
                raise CorpusError(
                    f"{shown(path)}, line {line:,}, holds {error.object[error.start]!r}, which is half of a character: "
                    "mend that line"
                ) from None
            hashes.append(content_hash(encoded))
            contents += encoded
            lengths.append([len(field) for field in fields])
        # A field's length before it: so the fingerprint tells where one ends.
        self.digest.update(b"".join(len(content).to_bytes(8, "little") + content for content in contents))
        whole = b"".join(contents)
        if b"\0" in whole and path not in self.with_zeros[-1:]:
            self.with_zeros.append(path)
        codes = np.frombuffer(whole.decode().encode("utf-32-le"), np.uint32)
        places, marks, at = [], [], 0
        for sizes in lengths:
            places.append(at)
            marks.append(SPECIAL_CODES[START])
            for size in sizes:
                at += size
                places.append(at)
                marks.append(SPECIAL_CODES[SEP])
            marks[-1] = SPECIAL_CODES[END]
        before = self.writer.characters
        left_out = sum(self.writer.skipped.values())
        try:
            self.writer.write_codes(np.insert(codes, places, np.array(marks, np.uint32)))
        except VocabularyError:
            raise self.explained(self._unknown(path), path) from None
        self._hashes.append(np.array(hashes, np.uint64))
        sizes = np.array([sum(each) + len(each) + 1 for each in lengths], np.int64)
        if sum(self.writer.skipped.values()) > left_out:
            sizes = self._sizes_without_unknown()
        assert sizes.sum() == self.writer.characters - before
        self._lengths.append(sizes)
        self._buffer, self._buffered = [], 0

    def _unknown(self, path):
        """Return the error of the first waiting character that the vocabulary has not."""
        vocabulary = self.writer.vocabulary
        for fields, line in self._buffer:
            for field in fields:
                for offset, symbol in enumerate(field):
                    if not self.writer.knows(ord(symbol)):
                        return vocabulary.unknown(symbol, offset, f"{shown(path)}, item of line {line:,}, ")
        raise AssertionError("every character is known")

    def _sizes_without_unknown(self):
        """Return the ids of each waiting item, where unknown characters are left out."""
        return np.array(
            [
                sum(self.writer.knows(ord(symbol)) for field in fields for symbol in field) + len(fields) + 1
                for fields, _ in self._buffer
            ],
            np.int64,
        )

    def finish(self, ids, keep_order):
        """Return (ids, their file, ItemSet): the items in the order that their reading says, with what is to be noted.

        ids         as they were written
        keep_order  leave them in the order of the files whatever the reading says
        """
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        lengths = np.concatenate([np.empty(0, np.int64), *self._lengths])
        file, reading = self.writer.file, self.reading
        starts = _starts(lengths)
        if reading.split == HASH and not keep_order:
            order = np.argsort(hashes, kind="stable")
            ids, file = _in_order(ids, starts, order, file, self.notes)
            hashes, starts = hashes[order], _starts(lengths[order])
        if self.empty:
            self.notes.append(f"left out {counted(self.empty, 'empty item')}")
        twice = len(hashes) - len(np.unique(hashes))
        if twice:
            kept = "equal ones are in the same split" if reading.split == HASH else "equal ones may be in two splits"
            self.notes.append(
                f"{counted(twice, 'item')} of {len(hashes):,} {'is' if twice == 1 else 'are'} equal to an earlier one; "
                f"{kept}"
            )
        return ids, file, ItemSet(reading, starts, hashes)


def _starts(lengths):
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _in_order(ids, starts, order, file, notes):
    """Return (the ids of items in another order, the file that holds them); the old file is closed."""
    new = open_scratch_file(notes)
    try:
        for at in range(0, len(order), MOVED_ITEMS):
            chosen = order[at : at + MOVED_ITEMS]
            with room_for_ids(new):
                write_all(new.fileno(), _gather(ids, starts[chosen], starts[chosen + 1]))
        new.flush()
        moved = map_ids(new, ids.dtype, len(ids))
    except BaseException:
        new.close()
        raise
    file.close()
    return moved, new


def _gather(ids, starts, stops):
    """Return ids[starts[k] : stops[k]] for all k, end to end; long ones are copied one by one."""
    lengths = stops - starts
    total = int(lengths.sum())
    if total > 64 * len(starts):
        return np.concatenate([ids[start:stop] for start, stop in zip(starts.tolist(), stops.tolist())])
    shift = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return ids[np.arange(total) + shift]
