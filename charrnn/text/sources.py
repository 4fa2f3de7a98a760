"""Which files a text is made of, and their bytes: files, folders, globs, stdin; plain or compressed.

Knows paths and bytes; what characters they hold is told by decoding.py.
"""

import bz2
import codecs
import errno
import glob
import gzip
import lzma
import os
import stat
import sys
import zlib
from collections import Counter
from pathlib import Path

from charrnn.errors import CorpusError
from charrnn.files.marks import has_mark

BLOCK_BYTES = 1 << 17  # read and decoded at a time: small enough to stay in the cache of a core
SNIFF_BYTES = 1 << 16  # of a file's beginning, by which it is judged to be text or not
MAX_CONTROL_SHARE = 0.05  # more control characters than this, and it is not text
MAX_ENTRIES = 300_000  # of folders, looked at for texts that a checkpoint names
MAX_XZ_BYTES = 1 << 28  # of memory to decompress in: xz -9 needs 68 MB, a file can ask for 4 GB

# C0 without tab, newline, vertical tab, form feed, return and escape (a terminal recording is text); DEL.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\v\f\r\x1b")


# ---- the user's texts --------------------------------------------------------------------------------------------


def find_files(sources, mode, encoding, notes):
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
            files.extend(_glob_files(path, error, notes))
            continue
        if stat.S_ISDIR(status.st_mode):
            files.extend(_folder_files(path, mode, encoding, notes))
        else:
            files.append(path)
    if files.count("-") > 1:
        raise CorpusError("- is named more than once: stdin can be read only once")
    for path, times in Counter(map(absolute, files)).items():
        if times > 1:
            notes.append(
                f"{path} is read {times} times: a repeated text makes the validation loss look better than it is"
            )
    return files


def _glob_files(pattern, error, notes):
    """Return the files that match `pattern`, sorted; `error` is why it is no file itself."""
    if not glob.has_magic(pattern):
        raise _unreadable(pattern, error)
    matches = sorted(glob.glob(pattern, recursive=True))
    texts = [match for match in matches if not os.path.isdir(match)]
    files = [text for text in texts if not has_mark(text)]
    if not files:
        what = "nothing: check the path and the pattern"
        if matches:
            what = "only pages of charrnn's own" if texts else "only folders: name the folders themselves"
        raise CorpusError(f"the pattern {pattern} matches {what}")
    if len(files) < len(texts):
        notes.append(f"{pattern}: skipped {_own_files(len(texts) - len(files))}")
    return files


def _own_files(count):
    return f"{count:,} {'page or picture' if count == 1 else 'pages and pictures'} that charrnn wrote"


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
    texts, own = [], 0
    for path in sorted(found, key=lambda path: Path(path).parts):
        if has_mark(path):
            own += 1
        elif mode == "chars" and _is_binary_file(path, encoding):
            binary += 1
        else:
            texts.append(path)
    if own:
        notes.append(f"{folder}: skipped {_own_files(own)}")
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
    with open_source(path) as file:
        return bool(why_not_text(read_block(file, path, SNIFF_BYTES), encoding))


def why_not_text(head, encoding):
    """Return why the beginning of a file is not text in `encoding`, or "" if it may be."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return ""  # half of what it holds are zeros: only decoding tells
    if b"\0" in head:
        return "it holds zero bytes"
    share = (len(head) - len(head.translate(None, _CONTROLS))) / max(1, len(head))
    return f"{share:.0%} of its characters are control characters" if share > MAX_CONTROL_SHARE else ""


# ---- texts that a checkpoint names ---------------------------------------------------------------------------------


def strange_sources_exist(sources):
    """Return whether the texts are there that a file names and not the user, before any is opened.

    Each must be a regular file, a folder, or a pattern, within one file system and with MAX_ENTRIES entries to look at
    in all: opening a pipe waits, opening a device may act, and a folder such as / or links that lead in circles never
    come to an end.

    Raises
    ------
    CorpusError
    """
    left = MAX_ENTRIES
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
    """Return `left` less the entries in `folder` and below; `linked` tells whether links to folders may be there."""
    try:
        device, folders = os.stat(folder).st_dev, [folder]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        raise _strange(folder, f"holds more than {MAX_ENTRIES:,} entries")
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


# ---- their bytes ---------------------------------------------------------------------------------------------------


class Source:
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


def open_source(path):
    if path == "-":
        return Source(sys.stdin.buffer, sys.stdin.buffer, keep_open=True)
    try:
        raw_file = open(path, "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    opener = OPENERS.get(suffix(path))
    return Source(raw_file, opener(raw_file) if opener else raw_file)


class _XzFile:
    """Reads .xz, of any number of streams, in bounded memory; lzma.open takes what the file asks for."""

    def __init__(self, raw_file):
        self._raw_file = raw_file
        self._machine = lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)

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
                self._machine = lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)
            elif self._machine.needs_input:
                data = self._raw_file.read(BLOCK_BYTES)
                if not data:
                    raise EOFError
            if piece := self._machine.decompress(data, size_bytes):
                return piece

    def close(self):
        self._machine = lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)  # a new one holds nothing


OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": _XzFile}


def read_block(file, path, size_bytes):
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
            f"{path} asks for more than {MAX_XZ_BYTES >> 20:,} MB of memory to be decompressed: "
            "compress it again with xz -9 or less"
        )
    reason = "ends too early" if isinstance(error, EOFError) else "is corrupt"
    return CorpusError(f"{path} {reason} for a {suffix(path)} file: fetch or compress it again")


def _unreadable(path, error):
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return CorpusError(f"{path} does not exist: check the path")
    if number in (errno.EACCES, errno.EPERM):
        return CorpusError(f"{path} may not be read: change its permissions, or name a copy of it")
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return CorpusError(f"{path!r} cannot be read ({reason}): check the path")


# ---- words -----------------------------------------------------------------------------------------------------------


def suffix(path):
    return os.path.splitext(path)[1].lower()


def shown(path):
    return "stdin" if path == "-" else path


def absolute(path):
    return path if path == "-" else os.path.abspath(os.path.expanduser(path))
