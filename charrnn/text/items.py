"""A text as a set of items: which parts of a file are one each, and what becomes of them.

`read_records` makes records of the characters of a file; a record has one field or more, and becomes the ids of
`START field END`, or of `START field SEP field END`. Blank lines and what is empty are no items. Knows characters and
names of fields; no ids and no file beyond its name.
"""

import csv
import hashlib
import io
import json
import sys
from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError, CorpusError, counted, nearest
from charrnn.text.item_kinds import HASH, ItemsReading
from charrnn.text.sources import shown
from charrnn.text.special import SEP
from charrnn.text.task_names import TRANSLATE

_HASH_KEY = b"charrnn items"
_MAX_NAMED = 8  # fields that a sentence lists


class ItemSet(NamedTuple):
    """The items of a Corpus, in the order of its ids.

    reading     an ItemsReading
    starts      ndarray (n + 1,), int64: where each begins, at its START, and at last where the ids end
    hashes      ndarray (n,), uint64, of their content, of a pair that of its text or source; rising where they are in
                the order of it
    others      how many of them, the last ones, are a validation text's
    """

    reading: ItemsReading
    starts: np.ndarray
    hashes: np.ndarray
    others: int = 0

    def __len__(self):
        return len(self.hashes)

    @property
    def own_hashes(self):
        """The hashes of the text's own items."""
        return self.hashes[: len(self) - self.others]

    def followed_by(self, validation):
        """Return these items with those of a validation text, an ItemSet, after them."""
        starts = np.concatenate([self.starts, self.starts[-1] + validation.starts[1:]])
        return ItemSet(self.reading, starts, np.concatenate([self.hashes, validation.hashes]), len(validation))

    def repeats(self):
        """Say how many items repeat an earlier one, and where they are; "" where none does."""
        hashes = self.own_hashes
        twice = len(hashes) - len(np.unique(hashes))
        if not twice:
            return ""
        what = f"{'is' if twice == 1 else 'are'} equal to"
        if self.reading.task is not None:
            same = "source" if self.reading.task == TRANSLATE else "text"
            what = f"{'has' if twice == 1 else 'have'} the same {same} as"
        kept = "kept in the same split" if self.reading.split == HASH else "not always in the same split"
        return f"{twice:,} of {len(hashes):,} items {what} an earlier one; such items are {kept}"

    def first_of(self, start):
        """Return the number of the first item that begins at ids[start] or later."""
        return int(np.searchsorted(self.starts, start))

    def share_start(self, share):
        """Return where in the ids the items begin that are beyond a `share` of them, a Fraction from 0 to 1."""
        if self.reading.split == HASH:
            # By the hash and not by the rank: so an item stays in its split whatever is added beside it.
            bound = share * (1 << 64)
            hashes = self.own_hashes
            number = len(hashes) if bound >= 1 << 64 else int(np.searchsorted(hashes, np.uint64(int(bound))))
        else:
            number = int(len(self.own_hashes) * share)
        return int(self.starts[number])


def item_ids(vocabulary, *fields):
    """Return the ids of an item whose fields, ndarrays of ids, are given: ndarray (n,) of the vocabulary's dtype."""
    pieces = [[vocabulary.start_id]]
    for field in fields:
        pieces += [field, [vocabulary.special_id(SEP)]]
    pieces[-1] = [vocabulary.end_id]
    return np.concatenate([np.asarray(piece, vocabulary.dtype) for piece in pieces])


def text_ids(vocabulary, text, encoding="utf-8", rule=None):
    """Return the ids of a text, ndarray (n,): of a vocabulary of items those of one item.

    rule    the ItemRule of the model; ConfigError where its items are more than a text
    """
    if rule is not None and rule.task is not None:
        raise ConfigError("the model learned labels or pairs, and a string has neither: give files of records")
    ids = vocabulary.encode(text, encoding)
    return ids if vocabulary.start_id is None else item_ids(vocabulary, ids)


def content_hash(fields):
    """Return the keyed hash of a record's fields, a sequence of bytes in UTF-8, as a Python int of 64 bits."""
    content = b"\xff".join(fields)  # which no UTF-8 has
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=_HASH_KEY).digest(), "big")


# ---- records ---------------------------------------------------------------------------------------------------------


def read_records(blocks, path, reading):
    """Yield (fields, line) of every record of a file: a tuple of str, empty ones too, and the number of its first line.

    blocks    the characters of the file, str by str; every line end in them becomes a newline

    Raises CorpusError where the file is not what the reading says.
    """
    lines = _lines(_with_newlines(blocks))
    yield from _READERS[reading.kind](lines, shown(path), reading)


def _with_newlines(blocks):
    """Yield the blocks with CR LF and CR as LF; CR LF may be cut between two of them."""
    decoder = io.IncrementalNewlineDecoder(None, translate=True)
    for block in blocks:
        yield decoder.decode(block)
    yield decoder.decode("", final=True)


def _lines(blocks):
    """Yield the lines of blocks without their newlines; what follows the last newline only where it is not empty."""
    pieces = []
    for block in blocks:
        if "\n" not in block:  # so that a line of any length is joined once
            pieces.append(block)
            continue
        first, *whole = block.split("\n")
        pieces.append(first)
        yield "".join(pieces)
        yield from whole[:-1]
        pieces = [whole[-1]]
    last = "".join(pieces)
    if last:
        yield last


def _is_blank(line):
    return not line or line.isspace()


def _read_lines(lines, _name, _reading):
    for number, line in enumerate(lines, 1):
        yield ("" if _is_blank(line) else line,), number


def _read_paragraphs(lines, _name, _reading):
    paragraph, first = [], 1
    for number, line in enumerate(lines, 1):
        if not _is_blank(line):
            first = first if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield ("\n".join(paragraph),), first
            paragraph = []
    if paragraph:
        yield ("\n".join(paragraph),), first


def _read_file(lines, _name, _reading):
    text = "\n".join(lines).rstrip("\n")
    yield ("" if _is_blank(text) else text,), 1


def _read_table(lines, name, reading):
    csv.field_size_limit(sys.maxsize if sys.maxsize < 1 << 32 else (1 << 31) - 1)  # a field may be as long as it likes
    quoted = reading.kind == "csv"
    rows = csv.reader(
        (line + "\n" for line in lines),
        delimiter="," if quoted else "\t",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    names, columns, line = None, [], 1
    try:
        for row in rows:
            if not row:
                pass  # a blank line
            elif names is None:
                names, columns = row, _columns(row, name, reading)
            elif len(row) != len(names):
                raise CorpusError(
                    f"{name}, line {line:,}: {counted(len(row), 'field')}, but the first row has {len(names)}: "
                    f"correct that row" + (", quoting fields that hold commas" if quoted else "")
                )
            else:
                yield tuple("" if _is_blank(row[column]) else row[column] for column in columns), line
            line = rows.line_num + 1
    except csv.Error as error:
        raise CorpusError(
            f"{name}, line {line:,}: {error}, so it is not valid {reading.kind.upper()}: correct the quotes of that "
            "row, or train with --items lines"
        ) from None


def _columns(names, where, reading):
    """Return the places of an item's parts among the fields of a table, or of a JSON object."""
    columns, taken = [], {field for _, field in reading.fields if field is not None}
    for what, field in reading.fields:
        if field is None:  # the only one that is left
            left = [name for name in names if name not in taken]
            if len(left) != 1:
                raise _which_field(left, where, bool(taken))
            (field,) = left
        elif field not in names:
            raise _no_field(what, field, names, f"{where} has no field")
        if names.count(field) > 1:
            raise CorpusError(
                f"{where} has {names.count(field)} fields with the name {field!r}: give each its own name"
            )
        columns.append(names.index(field))
    return columns


def _read_jsonl(lines, name, reading):
    for number, line in enumerate(lines, 1):
        if _is_blank(line):
            continue
        where = f"{name}, line {number:,}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = (
                "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", "too long a number")
            )
            raise CorpusError(
                f"{where}, is not valid JSON ({said[:1].lower()}{said[1:]}): correct that line, or train with --items "
                "lines"
            ) from None
        parts = [record]
        if isinstance(record, dict):
            names, values = list(record), list(record.values())
            parts = [values[column] for column in _columns(names, f"{where},", reading)]
        elif any(field is not None for _, field in reading.fields):
            field = next(field for _, field in reading.fields if field is not None)
            raise CorpusError(
                f"{where}, is not a JSON object and has no field {field!r}: correct that line, or train without a field"
            )
        yield tuple(_text_of(part, where, what) for part, (what, _) in zip(parts, reading.fields)), number


def _text_of(value, where, what):
    """Return a value of a JSON record as text, "" where it has none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = json.dumps(value)
    if isinstance(value, bool) and what == "label":
        value = json.dumps(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        kind = {dict: "an object", list: "a list"}.get(type(value), "true or false")
        raise CorpusError(f"{where}: the {what} is {kind}, not a string: choose another field with --{what}-field")
    return "" if _is_blank(value) else value


def _which_field(names, where, beside=False):
    return CorpusError(
        f"{where} has no field left for the text: the text needs its own field"
        if beside and not names
        else f"{where} has the fields {_listed(names)}, and it is not clear which one is the text: train with "
        "--text-field "
        f"{names[0] or 'NAME'}"
        if names
        else f"{where} has no fields: correct it"
    )


def _no_field(part, field, names, what):
    parted = _parted_by(names)
    if parted is not None:
        return CorpusError(f"{what} {field!r}: it has {_listed(names)}; {parted}")
    near = nearest(field, names)
    remedy = f"train with --{part}-field {near}" if near else f"train with another --{part}-field, which names one"
    return CorpusError(f"{what} {field!r}: it has {_listed(names)}; {remedy}")


def _parted_by(names):
    """Return what to do with a table whose first row seems to be parted by something else, None where it is not."""
    if len(names) != 1:
        return None
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
        if sign in names[0]:
            how = {"\t": "; train with --items tsv", ",": "; train with --items csv"}.get(sign)
            return f"its fields seem to be separated by {name}" + (how or ": save it again with commas")
    return None


def _listed(names):
    more = len(names) - _MAX_NAMED
    return ", ".join(str(name)[:40] for name in names[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


_READERS = {
    "lines": _read_lines,
    "paragraphs": _read_paragraphs,
    "files": _read_file,
    "csv": _read_table,
    "tsv": _read_table,
    "jsonl": _read_jsonl,
}
