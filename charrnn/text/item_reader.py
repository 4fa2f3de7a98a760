"""From files to the ids of items, on disk: `START text END` and the other shapes of tasks.py, end to end, in the order
that splits are cut from.

items.py has what a record is, decoding.py what the characters of a file are, ids.py where ids are written.
"""

import os
from collections import Counter
from typing import NamedTuple

import numpy as np

from charrnn.errors import CorpusError, VocabularyError, counted
from charrnn.files.storage import write_all
from charrnn.text.decoding import TextReader
from charrnn.text.ids import SPECIAL_CODES, map_ids, open_scratch_file, room_for_ids
from charrnn.text.item_kinds import HASH
from charrnn.text.items import ItemSet, content_hash, read_records
from charrnn.text.remarks import Remarks
from charrnn.text.rewriting import Rewriting
from charrnn.text.sources import absolute, shown
from charrnn.text.special import END, MAX_LABEL, MAX_LABELS, SEP, START, unknown_label
from charrnn.text.task_names import STEER, TRANSLATE

BUFFERED_CHARACTERS = 1 << 17  # of items, written to the disk together
MOVED_ITEMS = 1 << 14  # put in order together


class Record(NamedTuple):
    """What becomes an item: its texts, its label where it has one, and the number of its first line."""

    texts: tuple[str, ...]
    label: str | None
    line: int


class ItemReader(TextReader):
    """The one pass of decoding.py, with items in the place of one long text."""

    bytes_instead = None  # items are of characters

    def __init__(self, reading, encoding, writer, progress, notes, rewriting):
        super().__init__("chars", encoding, writer, progress, notes, rewriting, False)
        self.reading = reading
        self.rewriting = rewriting
        self.remarks = Remarks(Rewriting(rewriting.normalize, rewriting.lowercase, "lf"))  # line ends are none of them
        self.empty = self.records = 0
        self._empty_fields = Counter()  # records in which a field is empty
        self._hashes = []  # arrays of uint64
        self._lengths = []  # arrays of int64, of an item with all its special symbols
        self._buffer, self._buffered = [], 0  # Records and their characters

    def _read_characters(self, file, path):
        self.writer.locate = None
        for fields, line in read_records(self.decoded(file, path), path, self.reading):
            record = self._record(fields, path, line)
            if record is None:
                self.empty += 1
                continue
            self._buffer.append(record)
            self._buffered += sum(map(len, record.texts))
            if self._buffered >= BUFFERED_CHARACTERS:
                self._write(path)
        self._write(path)

    def _record(self, fields, path, line):
        """Return the Record of some fields, None where there is nothing in them, or of a pair in one of them."""
        task, label = self.reading.task, None
        self.records += 1
        if task is None:
            texts = tuple(map(self.rewriting.apply, fields))
            return Record(texts, None, line) if any(texts) else None
        if self.reading.label_from is not None:
            folder = os.path.basename(os.path.dirname(absolute(path)))
            fields = (folder, *fields) if task == STEER else (*fields, folder)
        for (what, _), field in zip(self.reading.fields, fields):
            self._empty_fields[what] += not field
        if task == STEER:
            label, *fields = fields
        elif task != TRANSLATE:
            *fields, label = fields
        texts = tuple(map(self.rewriting.apply, fields))
        if not all(texts) or label == "":
            return None
        if label is not None:
            label = self._checked(label.strip(), path, line)
        return Record(texts, label, line)

    def _checked(self, label, path, line):
        """Return a label, or raise CorpusError where it cannot be one, or the vocabulary has it not."""
        where, field = f"{shown(path)}, line {line:,}", self.reading.label_field
        if len(label) > MAX_LABEL:
            raise CorpusError(
                f"{where}: a label has {len(label):,} characters, and at most {MAX_LABEL} are allowed; {field!r} "
                "seems to contain texts: name the field of the labels with 'charrnn train TEXT --label-field NAME'"
            )
        code = self.writer.label_code(label)
        if code is None:
            unknown = unknown_label(label, self.writer.vocabulary.labels)
            if self.reading.label_from is not None:
                unknown += "; the label of a file is the name of its folder"
            raise CorpusError(f"{where}: {unknown}")
        if len(self.writer.labels) > MAX_LABELS:
            raise CorpusError(
                f"{where}: there are more than {MAX_LABELS:,} different labels, so they seem to be texts: name the "
                "field of the labels with 'charrnn train TEXT --label-field NAME'"
            )
        return label

    def _write(self, path):
        """Write the items that wait."""
        if not self._buffer:
            return
        contents, digested, hashes = [], [], []
        for texts, label, line in self._buffer:
            try:
                encoded = [text.encode() for text in texts]
                labelled = [] if label is None else [label.encode()]
            except UnicodeEncodeError as error:  # of an escape in JSON, or an encoding such as unicode_escape
                raise CorpusError(
                    f"{shown(path)}, line {line:,}, holds {error.object[error.start]!r}, which is half of a "
                    "character: correct that line"
                ) from None
            # Of a pair what is given, or the text: so no answer to a question of training is asked for again later.
            hashes.append(content_hash(encoded if self.reading.task is None else encoded[:1]))
            contents += encoded
            for content in (*encoded, *labelled):  # its length before it: so the fingerprint tells where one ends
                digested += [len(content).to_bytes(8, "little"), content]
        self.digest.update(b"".join(digested))
        whole = b"".join(contents)
        if b"\0" in whole and path not in self.with_zeros[-1:]:
            self.with_zeros.append(path)
        codes = np.frombuffer(whole.decode().encode("utf-32-le"), np.uint32)
        places, marks, at = [], [], 0
        for record in self._buffer:
            for text, follow in zip(("", *record.texts), self._marks(record)):
                at += len(text)
                places += [at] * len(follow)
                marks += follow
        before = self.writer.characters
        left_out = sum(self.writer.skipped.values())
        try:
            self.writer.write_codes(np.insert(codes, places, np.array(marks, np.uint32)))
        except VocabularyError:
            raise self.explained(self._unknown(path), path) from None
        self._hashes.append(np.array(hashes, np.uint64))
        knows = None if sum(self.writer.skipped.values()) == left_out else self.writer.knows
        sizes = np.array([self._size(record, knows) for record in self._buffer], np.int64)
        assert sizes.sum() == self.writer.characters - before
        self._lengths.append(sizes)
        self._buffer, self._buffered = [], 0

    def _marks(self, record):
        """Return the codes that stand before a record's first text, and after each of its texts."""
        first, last = [SPECIAL_CODES[START]], [SPECIAL_CODES[END]]
        if record.label is not None:
            code = self.writer.label_code(record.label)
            if self.reading.task == STEER:
                first += [code, SPECIAL_CODES[SEP]]
            else:
                last.append(code)
        return [first, *[[SPECIAL_CODES[SEP]]] * (len(record.texts) - 1), last]

    def _size(self, record, knows):
        """Return how many ids a record has; of characters only those that `knows` says are known, all where None."""
        texts = "".join(record.texts)
        characters = len(texts) if knows is None else sum(knows(ord(symbol)) for symbol in texts)
        return characters + sum(map(len, self._marks(record)))

    def _unknown(self, path):
        """Return the error of the first waiting character that the vocabulary has not."""
        vocabulary = self.writer.vocabulary
        for texts, _, line in self._buffer:
            for text in texts:
                for offset, symbol in enumerate(text):
                    if not self.writer.knows(ord(symbol)):
                        return vocabulary.unknown(symbol, offset, f"{shown(path)}, item of line {line:,}, ")
        raise AssertionError("every character is known")

    def nothing(self):
        """Say what a text without an item lacks."""
        for what, field in self.reading.fields if self.records and self.reading.task else ():
            if self._empty_fields[what] == self.records and field is not None:
                return f"no {what}: the field {field!r} is empty in every record; name another with --{what}-field"
        if self.records and self.reading.task is not None:
            parts = " and ".join(what for what, _ in self.reading.fields)
            return f"no record has both {parts}: each of {counted(self.records, 'record')} lacks one of them"
        return f"no item found (read as {self.reading.kind}): name a file that is not empty"

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
            what = counted(self.empty, "empty item" if reading.task is None else "item")
            self.notes.append(f"skipped {what}" + (" with an empty part" if reading.task is not None else ""))
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
