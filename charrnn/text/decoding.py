"""From the bytes of files to characters, and on to whoever makes ids of them: one pass, in blocks.

A byte-order mark is left out, and said. Line ends and all else stay as they are in the file, but for what a Rewriting
does to them: to each file by itself.
"""

import codecs
import hashlib
import os
import stat

import numpy as np

from charrnn.errors import CorpusError, VocabularyError, counted, nearest
from charrnn.text.detection import SAMPLE_BYTES, is_damaged_utf8, looks_like_utf8, suggest_encoding
from charrnn.text.kinds import FileKind, iconv_name, why_not_text
from charrnn.text.remarks import Remarks, Seams
from charrnn.text.rewriting import EndlessRunError, Rewriter
from charrnn.text.sources import (
    BLOCK_BYTES,
    OPENERS,
    SNIFF_BYTES,
    UNPACK,
    as_text,
    made_text,
    open_source,
    read_block,
    shown,
    suffix,
)

_BOM = "\ufeff"
# Names by which a mistyped one is told.
_USUAL = (
    "utf-8 utf-16 utf-32 latin-1 latin-2 latin-9 iso-8859-1 iso-8859-2 iso-8859-15 cp437 cp850 cp949 cp1250 cp1251 "
    "cp1252 koi8-r koi8-u mac-roman shift_jis euc-jp euc-kr iso-2022-jp iso-2022-kr gb2312 gbk gb18030 big5 ascii"
).split()
_DROP_FAULTS = "iconv -c -f utf-8 -t utf-8"


TRAIN_ON_BYTES = "train on its bytes with 'charrnn train TEXT --vocab bytes'"


def text_encoding(name, takes_bytes=True):
    """Return Python's name of a text encoding. Raises CorpusError if there is no such encoding.

    For "utf-8-sig" it is "utf-8", because the reader removes a byte-order mark itself.

    takes_bytes    whether the message may advise to train on bytes instead
    """
    try:
        info = codecs.lookup(name)
        # Private, but it is what str.encode itself asks: "rot13" and "zip" are codecs, and no encodings.
        if not getattr(info, "_is_text_encoding", True) or info.incrementaldecoder is None:
            raise LookupError
        info.incrementaldecoder("strict").decode(b"", final=True)
    except (LookupError, TypeError, ValueError, OSError):
        bytes_too = f", or {TRAIN_ON_BYTES}" if takes_bytes else ""
        raise CorpusError(_not_known(name) + bytes_too) from None
    return "utf-8" if info.name == "utf-8-sig" else info.name


def _not_known(name):
    near = nearest(name, _USUAL) or "utf-8, latin-1, cp1252, utf-16 or shift_jis"
    return f"--encoding {name!r} is unknown: try {near}"


def encoding_of_bytes(name):
    """Return Python's name of the encoding in which the bytes of a byte model are shown.

    "utf-16" and "utf-32" become little-endian, because drawn bytes have no byte-order mark. Raises CorpusError if the
    encoding is unknown, or cannot replace invalid bytes.
    """
    try:
        known = text_encoding(name)
        known = f"{known}-le" if known in ("utf-16", "utf-32") else known
        codecs.getincrementaldecoder(known)("replace").decode(bytes(range(256)), final=True)
    except (CorpusError, UnicodeError):
        raise CorpusError(_not_known(name)) from None
    return known


def stored_encoding_of_bytes(name):
    """Return `encoding_of_bytes` of a stored name; "utf-8" if it is unknown (old runs of bytes stored any name)."""
    try:
        return encoding_of_bytes(name)
    except CorpusError:
        return "utf-8"


def refuse_binary(head, path, encoding, otherwise: str | None = TRAIN_ON_BYTES):
    """Raise CorpusError where the beginning of a file is no text in an encoding, with what it is and the remedy.

    otherwise : what to do with a file of no known kind, but to name another; None where there is nothing
    """
    kind = why_not_text(head, encoding)
    if kind is None:
        return
    command = made_text(path, kind)
    how = f"pipe it through: {command}" if path == "-" else f"convert it to text with: {command}"
    if kind.encoding is not None:
        remedy = f"read it with --encoding {kind.encoding}" + (f", or {how}" if command else "")
    elif command:
        remedy = how
    else:
        remedy = "name a text file" + (f", or {otherwise}" if otherwise else "")
    raise CorpusError(f"{shown(path)} {'is' if kind.command or kind.encoding else 'looks like'} {kind.what}: {remedy}")


class TextReader:
    """The one pass: files -> bytes -> characters -> characters rewritten -> ids, and the fingerprint."""

    bytes_instead: str | None = TRAIN_ON_BYTES  # what can be done with a file that is no text; None: nothing

    def __init__(self, mode, encoding, writer, progress, notes, rewriting, part_files):
        self.mode = mode
        self.encoding = encoding
        self.writer = writer
        self.progress = progress
        self.notes = notes
        self.rewriting = rewriting
        self.remarks = Remarks(rewriting)
        self.seams = Seams(part_files)
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.with_zeros = []  # the files that hold zero bytes, as characters
        self._doubted = False  # whether the file at hand seems to be in UTF-8, and is read in another encoding

    def read(self, path):
        """Append one file."""
        self.writer.begin(shown(path))
        with open_source(path) as file:
            if self.mode == "bytes":
                for at, block in enumerate(self._blocks(file, path)):
                    # Of bytes, those that are visible ASCII tell of a text: no picture is said to lack a newline.
                    end = chr(block[-1])
                    self._see_end(path, end if "!" <= end <= "~" else "\n", is_first=at == 0)
                    self.digest.update(block)
                    self.writer.write_bytes(block)
            else:
                self._read_characters(file, path)

    def _read_characters(self, file, path):
        rewriter = Rewriter(self.rewriting) if self.rewriting else None
        self.writer.locate = rewriter.locate if rewriter else None
        is_empty = True
        for text in self.decoded(file, path):
            if text:
                self._see_end(path, text[-1], is_first=is_empty)
                is_empty = False
            try:
                self._write_characters(text if rewriter is None else _rewritten(rewriter, text, path), path)
            except VocabularyError as error:
                raise self.explained(error, path) from None
        if rewriter is not None:
            self._write_characters(rewriter.finish(), path)

    def explained(self, error, path):
        """Return the VocabularyError that a file has met, or that its encoding is to blame where that seems so."""
        return CorpusError(encoding_to_blame(error, shown(path), self.encoding)) if self._doubted else error

    def decoded(self, file, path):
        """Yield the characters of a file as they are, block by block, and take in what is to be remarked of them."""
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        first, done, before = True, 0, b""
        self._doubted = False
        for block in self._blocks(file, path, last=b""):
            if done == 0:
                self._refuse_binary(block[:SNIFF_BYTES], path)
                self._doubted = self._doubt_encoding(block, path)
            done += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The decoder's object is what it had kept back and this block: its end is where we are.
                offset = done - len(error.object) + error.start
                sample = _around(before + block, len(before + block) - (done - offset), file, path)
                raise self._undecodable(path, offset, error, sample) from None
            except UnicodeError as error:  # UTF-16 and UTF-32 without a byte-order mark where one is needed
                raise self._undecodable(path, max(0, done - len(block)), error, b"") from None
            if text and first:
                first = False
                if text[0] == _BOM:
                    text = text[1:]
                    self.notes.append(f"skipped the byte-order mark at the start of {shown(path)}")
            self.remarks.see(text)
            yield text
            before = block

    def _see_end(self, path, end, is_first):
        """Take in the last character so far of a file, before it is written; part the file from the one before."""
        if is_first and self.seams.begin(shown(path)) and self.seams.parted and self.writer.knows(ord("\n")):
            self.digest.update(b"\n")
            self.writer.write_bytes(b"\n")
            self.writer.begin(shown(path))
        self.seams.go_on(end)

    def _write_characters(self, text, path):
        if "\0" in text and path not in self.with_zeros[-1:]:
            self.with_zeros.append(path)
        if text.isascii():
            data = text.encode("ascii")
            self.digest.update(data)
            self.writer.write_bytes(data)
            return
        try:
            self.digest.update(text.encode("utf-8"))
        except UnicodeEncodeError as error:  # unicode_escape and its kind can make lone surrogates
            raise CorpusError(
                f"{shown(path)} decodes to {text[error.start]!r}, which is half of a character: check "
                f"--encoding {self.encoding}{self._or_bytes()}"
            ) from None
        self.writer.write_codes(np.frombuffer(text.encode("utf-32-le"), np.uint32))

    def _blocks(self, file, path, last=None):
        """Yield the bytes of `file`, then `last` if it is not None, telling the progress and the size."""
        while block := read_block(file, path, BLOCK_BYTES):
            self.size_bytes += len(block)
            self.progress.tell(file)
            yield block
        self.progress.next_file(file)
        if last is not None:
            yield last

    def _refuse_binary(self, head, path):
        refuse_binary(head, path, self.encoding, self.bytes_instead)

    def _or_bytes(self):
        return f", or {self.bytes_instead}" if self.bytes_instead else ""

    def _doubt_encoding(self, block, path):
        """Say whether a file seems to be in UTF-8, and not in the encoding in which it is read; note it."""
        doubted = is_utf8_in_another(block, self.encoding)
        if doubted:
            self.notes.append(
                f"{shown(path)} is valid UTF-8 but is read as {self.encoding}: if letters appear as two or three "
                "strange characters, read it with --encoding utf-8"
            )
        return doubted

    def _undecodable(self, path, offset, error, sample):
        """Return the error that says where, and how the text can be read: in another encoding, or without a fault."""
        what = (
            "truncated"
            if isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"
            else "not valid"
        )
        compressed = " of the decompressed text" if suffix(path) in OPENERS else ""
        where = f"{shown(path)} is {what} {self.encoding.upper()} at byte {offset:,}{compressed}"
        bytes_too = self._or_bytes()
        if self.encoding == "utf-8" and is_damaged_utf8(sample):
            command = made_text(path, FileKind("", command=f"{_DROP_FAULTS} {{}} > {{text}}", filter=_DROP_FAULTS))
            how = f"with: {command}" if path != "-" else f"by piping it through: {command}"
            return CorpusError(f"{where}, but valid elsewhere: remove the damaged part {how}")
        encoding = suggest_encoding(sample) if sample else None
        if encoding is not None and encoding != self.encoding:
            return CorpusError(
                f"{where}: it seems to be {encoding.upper()}; read it with --encoding {encoding}{bytes_too}"
            )
        other = "its encoding" if self.encoding == "utf-8" else "another encoding"
        return CorpusError(f"{where}: give {other} with --encoding NAME, such as cp1252 or shift_jis{bytes_too}")


def is_utf8_in_another(data, encoding):
    """Say whether bytes that are read as `encoding` are UTF-8, with more than ASCII among them."""
    return not encoding.startswith("utf-") and looks_like_utf8(data)


def encoding_to_blame(error, name, encoding):
    """Say that a VocabularyError comes of a text in UTF-8 that is read as `encoding`; name : of the text."""
    return f"{error.missing}: {name} is valid UTF-8 but is read as {encoding}; read it with --encoding utf-8"


def _around(data, at, file, path):
    """Return the bytes around data[at], of whole lines at their beginning, and what follows them in the file."""
    start = max(0, at - SAMPLE_BYTES // 2)
    if start:
        start = max(start, data.find(b"\n", start, at) + 1)
    data = data[start : start + SAMPLE_BYTES]
    return data + read_block(file, path, SAMPLE_BYTES - len(data))


def zero_bytes_kept(paths, encoding):
    """Return the notes on the files of a text that hold zero bytes: one."""
    if not paths:
        return []
    first, more = paths[0], f" and {counted(len(paths) - 1, 'other file')}" if len(paths) > 1 else ""
    said = f"{shown(first)}{more} {'hold' if more else 'holds'} zero bytes, which are kept as characters"
    if first == "-":
        return [f"{said}; to remove them, add tr -d '\\000' to the pipe"]
    unpack = UNPACK.get(suffix(first))
    steps = [f"{unpack} {{}}"] if unpack else []
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        steps.append(f"iconv -f {iconv_name(encoding)} -t utf-8" + ("" if steps else " {}"))
    steps.append("tr -d '\\000'" + ("" if steps else " < {}"))
    return [f"{said}; to remove them: {as_text(first, ' | '.join(steps) + ' > {text}')}"]


def _rewritten(rewriter, text, path):
    """Return what a Rewriter makes of the next characters of a file."""
    try:
        return rewriter.feed(text)
    except EndlessRunError as error:
        raise CorpusError(f"{shown(path)}: {error}") from None


class ReadProgress:
    """Counts bytes as they are stored; a compressed file's place is that of the file beneath."""

    def __init__(self, callback, files):
        self.callback = callback
        self.done = 0
        self.total = None
        if callback and "-" not in files:
            sizes = [os.stat(path) for path in files]
            if all(stat.S_ISREG(size.st_mode) for size in sizes):
                self.total = sum(size.st_size for size in sizes)

    def tell(self, file):
        if self.callback:
            self.callback(self.done + _place(file), self.total)

    def next_file(self, file):
        self.done += _place(file)


def _place(file):
    return file.raw_file.tell() if file.raw_file.seekable() else file.taken_bytes
