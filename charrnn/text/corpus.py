"""Files, folders, globs, stdin and compressed texts -> ids on disk.

One pass reads every text in blocks and writes its ids to an unlinked temporary file, which is then memory-mapped: the
memory needed does not grow with the text, and no cache is left behind that could go stale. Line ends stay as they are in
the file. This room knows files and ids; it knows nothing of batches, streams or models.
"""

import bz2
import codecs
import errno
import glob
import gzip
import hashlib
import lzma
import math
import os
import stat
import sys
import tempfile
import zlib
from collections import Counter, namedtuple
from fractions import Fraction
from pathlib import Path

import numpy as np

from charrnn.errors import ConfigError, CorpusError, StorageError, counted
from charrnn.files.storage import write_all
from charrnn.text.vocabulary import CODE_POINTS, MODES, Vocabulary, smallest_dtype

BLOCK_BYTES = 1 << 17  # read, decoded and written at a time: small enough to stay in the cache of a core
SNIFF_BYTES = 1 << 16  # of a file's beginning, by which it is judged to be text or not
CONTROL_SHARE = 0.05  # more control characters than this, and it is not text
MOST_ENTRIES = 300_000  # of folders, looked at for texts that a checkpoint names

XZ_MEMORY = 1 << 28  # bytes that decompressing may take: xz -9 needs 68 MB, a file can ask for 4 GB
_BOM = "\ufeff"
# C0 without tab, newline, vertical tab, form feed, return and escape (a terminal recording is text); DEL.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\v\f\r\x1b")

Splits = namedtuple("Splits", "train val test")
Splits.__doc__ = "Index ranges (start, stop) of a corpus: train, then val, then test, in the order of the text."


def read_corpus(sources, *, mode="chars", encoding="utf-8", vocabulary=None, unknown="error", progress=None):
    """Read texts, one after the other, as a Corpus.

    Parameters
    ----------
    sources : sequence of path-like
        Each a file, a folder (every text in it and below, sorted by path; hidden and binary files are skipped), a
        glob, or "-" for stdin. `.gz`, `.bz2` and `.xz` are decompressed in either mode.
    mode : str
        "chars" decodes the text; "bytes" takes any file byte for byte.
    encoding : str
        Of the texts in chars mode. A byte-order mark at a file's start is left out.
    vocabulary : Vocabulary, optional
        Encode with this one, of the same mode; otherwise the symbols of the text, sorted, become the vocabulary.
    unknown : str
        What to do with a symbol that `vocabulary` lacks: "error", or "skip" it.
    progress : callable, optional
        Called as progress(bytes_done, bytes_total), bytes as stored on disk; the total is None where it is not known.

    Raises
    ------
    CorpusError
        A source is missing, unreadable, empty, corrupt, not text or not in `encoding`, or a new vocabulary would have
        fewer than 2 symbols.
    VocabularyError
        A symbol is not in `vocabulary`.
    StorageError
        The ids find no room on the disk.
    """
    sources = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    if mode not in MODES:
        raise ConfigError(f'mode must be "chars" or "bytes", got {mode!r}')
    if unknown not in ("error", "skip"):
        raise ConfigError(f'unknown must be "error" or "skip", got {unknown!r}')
    if vocabulary is not None and vocabulary.mode != mode:
        raise ConfigError(
            f"the vocabulary is of {vocabulary.mode}, the text is to be read as {mode}: "
            f"read it with --vocab {vocabulary.mode}"
        )
    if mode == "chars":
        encoding = _text_encoding(encoding)
    notes = []
    files = _find_files(sources, mode, encoding, notes)
    writer = _IdWriter(_scratch_file(notes), mode, vocabulary, skip=unknown == "skip")
    try:
        text = _Pass(mode, encoding, writer, _Progress(progress, files), notes)
        for path in files:
            text.read(path)
        if not writer.characters and not writer.skipped:
            raise CorpusError(f"{_named(sources)} {_holds(sources)} no text at all: name a file that is not empty")
        if vocabulary is None and writer.size < 2:
            only = f"byte 0x{writer.codes[0]:02x}" if mode == "bytes" else f"character {chr(writer.codes[0])!r}"
            raise CorpusError(
                f"a text needs at least 2 distinct symbols to train on, {_named(sources)} "
                f"{_holds(sources)} only the {only}: name a longer text"
            )
        ids, vocabulary = writer.finish(vocabulary)
        if mode == "chars" and "\r" in vocabulary.symbols:
            notes.append(
                "the text has carriage returns, as Windows ends its lines: kept as they are, samples have them too"
            )
        if writer.skipped:
            total = sum(writer.skipped.values())
            notes.append(
                f"left out {counted(total, 'character')} that {'is' if total == 1 else 'are'} not in the vocabulary: "
                f"{_most_common(writer.skipped, mode)}"
            )
        if len(ids) == 0:
            raise CorpusError(f"{_named(sources)} {_holds(sources)} no symbol of the vocabulary: name another text")
    except BaseException:
        writer.file.close()
        raise
    return Corpus(
        ids=ids,
        vocabulary=vocabulary,
        sources=tuple(_absolute(source) for source in sources),
        encoding=encoding,
        notes=tuple(notes),
        size_bytes=text.size_bytes,
        fingerprint=text.digest.hexdigest(),
        files=tuple(_absolute(path) for path in files),
        skipped=tuple((code if mode == "bytes" else chr(code), count) for code, count in writer.skipped.most_common()),
        _file=writer.file,
    )


class Corpus:
    """A text as ids on disk. It has a lifetime: `close` it, or use it in a `with`, to free the disk.

    Attributes
    ----------
    ids : ndarray (N,), uint8, uint16 or uint32
        Memory-mapped, read-only.
    vocabulary : Vocabulary
    sources : tuple of str
        As given, absolute, so that the text can be found again; "-" is stdin.
    files : tuple of str
        The files read, in their order, absolute.
    encoding : str
        Of the files, in chars mode.
    notes : tuple of str
        What a user should be told: a byte-order mark left out, files skipped.
    size_bytes : int
        Of the text as read, decompressed.
    fingerprint : str
        sha256 in hex of the characters read, as UTF-8, or of the bytes in bytes mode; it depends neither on the
        encoding nor on how the text was cut into files.
    skipped : tuple of (symbol, count)
        What `unknown="skip"` left out, the most common first.
    """

    def __init__(self, *, ids, vocabulary, sources, encoding, notes, size_bytes, fingerprint, files, skipped, _file):
        self.ids = ids
        self.vocabulary = vocabulary
        self.sources = sources
        self.encoding = encoding
        self.notes = notes
        self.size_bytes = size_bytes
        self.fingerprint = fingerprint
        self.files = files
        self.skipped = skipped
        self._file = _file

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def mode(self):
        """ "chars" or "bytes"."""
        return self.vocabulary.mode

    @property
    def characters(self):
        """N, the number of ids (bytes in bytes mode)."""
        return len(self.ids)

    def text(self, start, stop):
        """Return the text of ids[start:stop]."""
        return self.vocabulary.decode(self.ids[start:stop])

    def split(self, val_fraction, test_fraction):
        """Return Splits of contiguous ranges: test ends the text, val comes before it, train has the rest.

        Raises
        ------
        ConfigError
            A fraction is not in [0, 1), or together they leave nothing to train on.
        """
        for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 <= fraction < 1:
                raise ConfigError(f"{name} must be at least 0 and less than 1, got {fraction}")
        # As the decimals the user wrote: 1 - 0.05 - 0.05 is a little less than 0.9 in binary.
        val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
        if val + test >= 1:
            raise ConfigError(
                f"val_fraction and test_fraction must sum to less than 1, got {val_fraction} and {test_fraction}"
            )
        train_stop = math.floor(self.characters * (1 - val - test))
        val_stop = math.floor(self.characters * (1 - test)) if val else train_stop
        return Splits((0, train_stop), (train_stop, val_stop), (val_stop, self.characters))

    def close(self):
        """Let go of the ids and of their room on the disk."""
        self.ids = np.empty(0, self.ids.dtype)  # the mapping itself goes with the last array that shows it
        self._file.close()


# ---- which files -----------------------------------------------------------------------------------------------------


def strange_sources_exist(sources):
    """Return whether the texts are there that a file names and not the user, before any is opened.

    Each must be a regular file, a folder, or a pattern, within one file system and with MOST_ENTRIES entries to look at in all:
    opening a pipe waits, opening a device may act, and a folder such as / or links that lead in circles never come to an end.

    Raises
    ------
    CorpusError
    """
    left = MOST_ENTRIES
    for source in sources:
        path = os.path.expanduser(source)
        try:
            kind = os.stat(path).st_mode
        except (OSError, ValueError):
            left = _check_pattern(path, left)
            if not left:
                return False
            continue
        if stat.S_ISDIR(kind):
            left = _count_entries(path, left)
        elif not stat.S_ISREG(kind):
            raise _strange(path, "is neither a file nor a folder")
    return True


def _check_pattern(pattern, left):
    """Return `left` less what was looked at, 0 where nothing matches."""
    if not glob.has_magic(pattern) or "\0" in pattern:
        return 0
    parts = Path(pattern).parts
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    if ".." in parts[first:] or parts.count("**") > 1:
        raise _strange(pattern, "goes up again, or down everywhere twice")
    folder = os.path.join(*parts[:first]) if first else os.curdir
    if not os.path.isdir(folder):
        return 0
    left = _count_entries(folder, left, linked=False)
    matches = glob.glob(pattern, recursive=True)
    for match in matches:
        if not os.path.isfile(match) and not os.path.isdir(match):
            raise _strange(match, "is neither a file nor a folder")
    return left if matches else 0


def _count_entries(folder, left, linked=True):
    """Return `left` less the entries in `folder` and below; `linked` says whether links to folders may be among them."""
    try:
        device, folders = os.stat(folder).st_dev, [folder]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        raise _strange(folder, f"holds more than {MOST_ENTRIES:,} entries")
                    if entry.is_dir(follow_symlinks=False):
                        if entry.stat(follow_symlinks=False).st_dev != device:
                            raise _strange(folder, f"leads into another file system, at {entry.path}")
                        folders.append(entry.path)
                    elif not linked and entry.is_dir():
                        raise _strange(folder, f"holds a link to a folder, {entry.path}")
    except OSError as error:
        raise _unreadable(error.filename or folder, error) from None
    return left


def _strange(path, what):
    return CorpusError(
        f"the checkpoint names {path} as its text, which {what}: that is not opened for a file's sake; name the TEXT"
    )


def _find_files(sources, mode, encoding, notes):
    """Return the files that `sources` name, in their order."""
    if not sources:
        raise CorpusError("a corpus needs at least one text, got none: name a file, a folder, or - for stdin")
    files = []
    for source in sources:
        if source == "-":
            files.append("-")
            continue
        path = os.path.expanduser(source)
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            files.extend(_glob_files(path, error))
            continue
        if stat.S_ISDIR(status.st_mode):
            files.extend(_folder_files(path, mode, encoding, notes))
        else:
            files.append(path)
    if files.count("-") > 1:
        raise CorpusError("- is named more than once: stdin can be read only once")
    for path, times in Counter(map(_absolute, files)).items():
        if times > 1:
            notes.append(
                f"{path} is read {times} times: a repeated text makes the validation loss look better than it is"
            )
    return files


def _glob_files(pattern, error):
    """Return the files that match `pattern`, sorted; `error` is why it is no file itself."""
    if not glob.has_magic(pattern):
        raise _unreadable(pattern, error)
    matches = sorted(glob.glob(pattern, recursive=True))
    files = [match for match in matches if not os.path.isdir(match)]
    if not files:
        what = "only folders: name the folders themselves" if matches else "nothing: check the path and the pattern"
        raise CorpusError(f"the pattern {pattern} matches {what}")
    return files


def _folder_files(folder, mode, encoding, notes):
    """Return the texts in `folder` and below, sorted by path; say how many files were skipped."""

    def refuse(error):
        raise _unreadable(error.filename or folder, error)

    found, hidden, binary = [], 0, 0
    for parent, folders, names in os.walk(folder, onerror=refuse):
        visible = [name for name in folders if not name.startswith(".")]
        hidden += len(folders) - len(visible)
        folders[:] = visible  # os.walk goes down only where this says
        for name in names:
            path = os.path.join(parent, name)
            if name.startswith("."):
                hidden += 1
            elif not os.path.isfile(path):  # a pipe, a socket, a link to nothing
                binary += 1
            else:
                found.append(path)
    texts = []
    for path in sorted(found, key=lambda path: Path(path).parts):
        if mode == "chars" and _is_binary_file(path, encoding):
            binary += 1
        else:
            texts.append(path)
    skipped = [f"{count:,} {kind}" for count, kind in ((hidden, "hidden"), (binary, "binary or special")) if count]
    skipped = f"skipped {' and '.join(skipped)} {'file' if hidden + binary == 1 else 'files'}" if skipped else ""
    if not texts:
        raise CorpusError(
            f"the folder {folder} holds no text{f' ({skipped})' if skipped else ''}: name a folder with "
            "text files, or the files themselves"
        )
    if skipped:
        notes.append(f"{folder}: {skipped}")
    return texts


def _is_binary_file(path, encoding):
    with _open(path) as file:
        return bool(_not_text(_read(file, path, SNIFF_BYTES), encoding))


def _not_text(head, encoding):
    """Return why the beginning of a file is not text in `encoding`, or "" if it may be."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return ""  # half of what it holds are zeros: only decoding tells
    if b"\0" in head:
        return "it holds zero bytes"
    share = (len(head) - len(head.translate(None, _CONTROLS))) / max(1, len(head))
    return f"{share:.0%} of its characters are control characters" if share > CONTROL_SHARE else ""


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Pass:
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
        self.writer.begin(_shown(path))
        with _open(path) as file:
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
                    self.notes.append(f"left out the byte-order mark at the start of {_shown(path)}")
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
                f"{_shown(path)} decodes to {text[error.start]!r}, which is half of a character: check "
                f"--encoding {self.encoding}, or read it with --vocab bytes"
            ) from None
        self.writer.write_codes(np.frombuffer(text.encode("utf-32-le"), np.uint32))

    def _blocks(self, file, path, last=None):
        """Yield the bytes of `file`, then `last` if it is not None, telling the progress and the size."""
        while block := _read(file, path, BLOCK_BYTES):
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
                f"{_shown(path)} is not UTF-8, it begins with the byte-order mark of UTF-16: read it with "
                "--encoding utf-16"
            )
        reason = _not_text(head, self.encoding)
        if reason:
            raise CorpusError(
                f"{_shown(path)} looks like a binary file, {reason}: name a text, or take its bytes as "
                "they are with --vocab bytes"
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
        compressed = " of the decompressed text" if _suffix(path) in _OPENERS else ""
        return CorpusError(
            f"{_shown(path)} is {what} {self.encoding.upper()} at byte {offset:,}{compressed}: name "
            f"{other}, or take the bytes as they are with --vocab bytes"
        )


class _Progress:
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


class _Source:
    """An open text: `read(size)` gives decompressed bytes, `raw_file` is the stored file beneath."""

    def __init__(self, raw_file, file, keep_open=False):
        self.raw_file = raw_file
        self.file = file
        self.keep_open = keep_open
        self.taken_bytes = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if not self.keep_open:
            self.file.close()
            self.raw_file.close()

    def read(self, size_bytes):
        block = self.file.read(size_bytes)
        self.taken_bytes += len(block)
        return block


def _open(path):
    if path == "-":
        return _Source(sys.stdin.buffer, sys.stdin.buffer, keep_open=True)
    try:
        raw_file = open(path, "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    opener = _OPENERS.get(_suffix(path))
    return _Source(raw_file, opener(raw_file) if opener else raw_file)


class _XzFile:
    """Reads .xz, of any number of streams, in bounded memory; lzma.open takes what the file asks for."""

    def __init__(self, raw_file):
        self._raw_file = raw_file
        self._machine = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def read(self, size_bytes):
        pieces = []
        while size_bytes and (piece := self._read_some(size_bytes)):
            pieces.append(piece)
            size_bytes -= len(piece)
        return b"".join(pieces)

    def _read_some(self, size_bytes):
        """Return some of the next `size_bytes`, nothing at the end."""
        while True:
            data = b""
            if self._machine.eof:
                data = self._machine.unused_data.lstrip(b"\0")  # zeros may stand between streams
                while not data and (block := self._raw_file.read(BLOCK_BYTES)):
                    data = block.lstrip(b"\0")
                if not data:
                    return b""
                self._machine = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            elif self._machine.needs_input:
                data = self._raw_file.read(BLOCK_BYTES)
                if not data:
                    raise EOFError
            if piece := self._machine.decompress(data, size_bytes):
                return piece

    def close(self):
        self._machine = None


_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": _XzFile}


def _read(file, path, size_bytes):
    """Return the next `size_bytes` of a source, fewer only at its end."""
    try:
        return file.read(size_bytes)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _corrupt(path, error) from None
    except OSError as error:
        if error.errno is None:  # bz2 has no error of its own
            raise _corrupt(path, error) from None
        raise _unreadable(path, error) from None


def _corrupt(path, error):
    if isinstance(error, lzma.LZMAError) and "usage limit" in str(error):
        return CorpusError(
            f"{path} asks for more than {XZ_MEMORY >> 20:,} MB of memory to be decompressed: compress it again with xz -9 or less"
        )
    reason = "ends too early" if isinstance(error, EOFError) else "is corrupt"
    return CorpusError(f"{path} {reason} for a {_suffix(path)} file: fetch or compress it again")


def _unreadable(path, error):
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return CorpusError(f"{path} does not exist: check the path")
    if number in (errno.EACCES, errno.EPERM):
        return CorpusError(f"{path} may not be read: change its permissions, or name a copy of it")
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return CorpusError(f"{path!r} cannot be read ({reason}): check the path")


def _text_encoding(name):
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
            "--vocab bytes, which needs none"
        ) from None
    return "utf-8" if info.name == "utf-8-sig" else info.name


# ---- ids on disk -----------------------------------------------------------------------------------------------------


class _IdWriter:
    """Writes ids to a file, learning symbols in the order they come; `finish` puts them in order of code.

    A byte table serves ASCII and bytes mode while there are at most 256 symbols; everything else goes through a table
    over all code points. The file holds the smallest dtype for the symbols so far, and is widened when they outgrow it.
    """

    def __init__(self, file, mode, vocabulary, skip):
        self.file = file
        self.mode = mode
        self.vocabulary = vocabulary
        self.skip = skip
        self.skipped = Counter()
        self.characters = 0
        self.codes = []
        self.table = np.full(256 if mode == "bytes" else CODE_POINTS, -1, np.int32)
        self.where = ""
        self._file_start = 0
        if vocabulary is not None:
            self._learn([symbol if mode == "bytes" else ord(symbol) for symbol in vocabulary.symbols])
        self.dtype = smallest_dtype(self.size)
        self._make_byte_table()

    @property
    def size(self):
        return len(self.codes)

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
            else:
                index = int(np.argmax(missing))
                symbol = int(codes[index])
                raise self.vocabulary.unknown(
                    symbol if self.mode == "bytes" else chr(symbol),
                    self.characters - self._file_start + index,
                    self.where,
                )
        self._append(ids.astype(self.dtype), len(ids))

    def finish(self, vocabulary):
        """Return the memory-mapped ids and their vocabulary, its symbols sorted if it is a new one."""
        if vocabulary is None:
            order = sorted(range(self.size), key=self.codes.__getitem__)
            symbols = [self.codes[number] for number in order]
            vocabulary = Vocabulary(self.mode, symbols if self.mode == "bytes" else map(chr, symbols))
            new_ids = np.empty(self.size, self.dtype)
            new_ids[order] = np.arange(self.size, dtype=self.dtype)
            if order != list(range(self.size)):
                self._rewrite(new_ids)
        self.file.flush()
        if self.characters == 0:
            return np.empty(0, self.dtype), vocabulary
        return np.memmap(self.file, self.dtype, mode="r", shape=(self.characters,)), vocabulary

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
        with _room_for_ids(self.file):
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
        """Replace each id of the file by new_ids[id], in place."""
        block = BLOCK_BYTES // self.dtype.itemsize or 1
        byte_table = new_ids.tobytes().ljust(256, b"\0") if self.dtype == np.uint8 else None
        for start in range(0, self.characters, block):
            ids = self._read_ids(start, min(start + block, self.characters), self.dtype)
            self._write_at(
                start * self.dtype.itemsize, ids.tobytes().translate(byte_table) if byte_table else new_ids[ids]
            )

    def _read_ids(self, start, stop, dtype):
        descriptor, size_bytes = self.file.fileno(), (stop - start) * dtype.itemsize
        os.lseek(descriptor, start * dtype.itemsize, os.SEEK_SET)
        pieces = bytearray()
        while len(pieces) < size_bytes:
            piece = os.read(descriptor, size_bytes - len(pieces))
            if not piece:
                raise StorageError(
                    "the temporary file of ids was cut short while it was in use: try again, or set "
                    "CHARRNN_CACHE_DIR to another folder"
                )
            pieces += piece
        return np.frombuffer(pieces, dtype)

    def _write_at(self, offset, ids):
        with _room_for_ids(self.file):
            os.lseek(self.file.fileno(), offset, os.SEEK_SET)
            write_all(self.file.fileno(), ids)


class _room_for_ids:
    """Turns an OSError of writing ids into a StorageError that says where, and what to do."""

    def __init__(self, file):
        self.folder = file.folder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise StorageError(
                f"the text's ids cannot be written to {self.folder} ({reason}): free some space there, "
                "or set CHARRNN_CACHE_DIR to a folder with room"
            ) from error


class _ScratchFile:
    """An unlinked temporary file, unbuffered, that knows which folder it takes its room from."""

    def __init__(self, file, folder):
        self.file = file
        self.folder = folder
        self.read, self.seek, self.tell, self.fileno = file.read, file.seek, file.tell, file.fileno
        self.flush, self.close = file.flush, file.close


def _scratch_file(notes):
    """Open a temporary file without a name in the first cache folder that lets us."""
    folders = _cache_folders()
    for place, folder in enumerate(folders):
        try:
            os.makedirs(folder, exist_ok=True)
            file = tempfile.TemporaryFile(buffering=0, prefix="charrnn-ids-", dir=folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            continue
        if place:
            notes.append(f"the cache folder {folders[0]} cannot be used, ids are kept in {folder}")
        return _ScratchFile(file, folder)
    raise StorageError(
        f"the text's ids find no place in {' or '.join(folders)} ({reason}): set CHARRNN_CACHE_DIR to a "
        "folder that you may write to"
    )


def _cache_folders():
    """Return where ids may be kept, the first choice first."""
    folders = []
    if chosen := os.environ.get("CHARRNN_CACHE_DIR"):
        folders.append(os.path.abspath(os.path.expanduser(chosen)))
    else:
        home = os.path.expanduser("~")
        cache = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(cache):  # unset, empty, or what the specification says to ignore
            cache = os.path.join(home, ".cache") if os.path.isabs(home) else ""
        if cache:
            folders.append(os.path.join(cache, "charrnn"))
    try:
        folders.append(tempfile.gettempdir())
    except OSError:  # there is no folder at all that we may write to
        folders = folders or [os.getcwd()]
    return folders


# ---- words -----------------------------------------------------------------------------------------------------------


def _suffix(path):
    return os.path.splitext(path)[1].lower()


def _shown(path):
    return "stdin" if path == "-" else path


def _absolute(path):
    return path if path == "-" else os.path.abspath(os.path.expanduser(path))


def _named(sources):
    return _shown(sources[0]) if len(sources) == 1 else f"{len(sources)} sources together"


def _holds(sources):
    return "holds" if len(sources) == 1 else "hold"


def _most_common(skipped, mode):
    shown = [f"0x{code:02x}" if mode == "bytes" else repr(chr(code)) for code, _ in skipped.most_common(5)]
    return ", ".join(shown) + (f" and {len(skipped) - 5:,} more" if len(skipped) > 5 else "")
