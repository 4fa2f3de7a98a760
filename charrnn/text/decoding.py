"""From the bytes of files to characters, and on to whoever makes ids of them: one pass, in blocks.

Line ends stay as they are in the file. A byte-order mark is left out, and said.
"""

import codecs
import hashlib
import os
import stat

import numpy as np

from charrnn.errors import CorpusError
from charrnn.text.sources import BLOCK_BYTES, OPENERS, SNIFF_BYTES, open_source, read_block, shown, suffix, why_not_text

_BOM = "\ufeff"


def text_encoding(name):
    """Return Python's name of a text encoding, with which a byte-order mark is left to us to remove and to note."""
    try:
        info = codecs.lookup(name)
        # Private, but it is what str.encode itself asks: "rot13" and "zip" are codecs, and no encodings.
        if not getattr(info, "_is_text_encoding", True) or info.incrementaldecoder is None:
            raise LookupError
        info.incrementaldecoder("strict").decode(b"", final=True)
    except (LookupError, TypeError, ValueError, OSError):
        raise CorpusError(
            f"--encoding {name!r} is not known here: try utf-8, latin-1, cp1252, utf-16 or shift_jis, or "
            "train on bytes, which need none, with 'charrnn train --vocab bytes'"
        ) from None
    return "utf-8" if info.name == "utf-8-sig" else info.name


class TextReader:
    """The one pass: files -> bytes -> characters -> ids, and the fingerprint."""

    def __init__(self, mode, encoding, writer, progress, notes):
        self.mode = mode
        self.encoding = encoding
        self.writer = writer
        self.progress = progress
        self.notes = notes
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, path):
        """Append one file."""
        self.writer.begin(shown(path))
        with open_source(path) as file:
            if self.mode == "bytes":
                for block in self._blocks(file, path):
                    self.digest.update(block)
                    self.writer.write_bytes(block)
            else:
                self._read_characters(file, path)

    def _read_characters(self, file, path):
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        first, done = True, 0
        for block in self._blocks(file, path, last=b""):
            if done == 0:
                self._refuse_binary(block[:SNIFF_BYTES], path)
            done += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The decoder's object is what it had kept back and this block: its end is where we are.
                raise self._undecodable(path, done - len(error.object) + error.start, error) from None
            except UnicodeError as error:  # UTF-16 and UTF-32 without a byte-order mark where one is needed
                raise self._undecodable(path, max(0, done - len(block)), error) from None
            if text and first:
                first = False
                if text[0] == _BOM:
                    text = text[1:]
                    self.notes.append(f"left out the byte-order mark at the start of {shown(path)}")
            self._write_characters(text, path)

    def _write_characters(self, text, path):
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
                f"--encoding {self.encoding}, or train on its bytes with "
                "'charrnn train --vocab bytes'"
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
        # No UTF-8 begins like this, whether or not zero bytes follow.
        if self.encoding == "utf-8" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CorpusError(
                f"{shown(path)} is not UTF-8, it begins with the byte-order mark of UTF-16: read it with "
                "--encoding utf-16"
            )
        reason = why_not_text(head, self.encoding)
        if reason:
            raise CorpusError(
                f"{shown(path)} looks like a binary file, {reason}: name a text, or train on its bytes as "
                "they are with 'charrnn train --vocab bytes'"
            )

    def _undecodable(self, path, offset, error):
        what = (
            "truncated"
            if isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"
            else "not valid"
        )
        other = (
            "another one with --encoding NAME"
            if self.encoding != "utf-8"
            else "its encoding with --encoding NAME, such as latin-1"
        )
        compressed = " of the decompressed text" if suffix(path) in OPENERS else ""
        return CorpusError(
            f"{shown(path)} is {what} {self.encoding.upper()} at byte {offset:,}{compressed}: name "
            f"{other}, or train on its bytes as they are with 'charrnn train --vocab bytes'"
        )


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
