"""The bytes of a text's files, plain or compressed, and whether those may be opened that a checkpoint names.

Knows paths and bytes: which files a text is made of is told by folders.py, what characters they hold by decoding.py.
"""

import bz2
import errno
import glob
import gzip
import lzma
import os
import shlex
import stat
import sys
import zlib
from pathlib import Path

from charrnn.errors import CorpusError, nearest_path

BLOCK_BYTES = 1 << 17  # read and decoded at a time: small enough to stay in the cache of a core
SNIFF_BYTES = 1 << 16  # of a file's beginning, by which it is judged to be text or not
MAX_ENTRIES = 300_000  # of folders, looked at for texts that a checkpoint names
MAX_XZ_BYTES = 1 << 28  # of memory to decompress in: xz -9 needs 68 MB, a file can ask for 4 GB
MAX_ZST_WINDOW = 28  # 2**28 bytes likewise: zstd -19 needs 8 MB, --ultra -22 needs 128, --long=31 needs 2 GB


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
        raise _strange(pattern, "contains .. or ** more than once")
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
                        raise _strange(folder, f"has more than {MAX_ENTRIES:,} entries")
                    if entry.is_dir(follow_symlinks=False):
                        if entry.stat(follow_symlinks=False).st_dev != device:
                            raise _strange(folder, f"leads to another file system at {entry.path}")
                        folders.append(entry.path)
                    elif not linked and entry.is_dir():
                        raise _strange(folder, f"contains a link to a folder, {entry.path}")
    except OSError as error:
        raise unreadable(error.filename or folder, error) from None
    return left


def _strange(path, what):
    return CorpusError(
        f"the checkpoint names {path} as its text, which {what}; charrnn does not open such a path on a checkpoint's "
        "word, so give the TEXT yourself"
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
        raise unreadable(path, error) from None
    opener = OPENERS.get(suffix(path))
    return Source(raw_file, opener(raw_file) if opener else raw_file)


class _CorruptError(Exception):
    """What was read is not of the format; what a library says of it is the cause."""


class _BoundedFile:
    """Reads .xz and .zst, of any number of streams, in bounded memory; what opens such files takes what they ask for.

    make_machine   returns a decompressor: of lzma, or of anything with the same attributes
    padding        a byte that may stand between streams any number of times
    error          what it raises for what it cannot read
    """

    def __init__(self, raw_file, make_machine, padding, error):
        self._raw_file = raw_file
        self._make_machine = make_machine
        self._padding = padding
        self._error = error
        self._machine = make_machine()

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
                data = self._machine.unused_data.lstrip(self._padding)
                while not data and (block := self._raw_file.read(BLOCK_BYTES)):
                    data = block.lstrip(self._padding)
                if not data:
                    return b""
                self._machine = self._make_machine()
            elif self._machine.needs_input:
                data = self._raw_file.read(BLOCK_BYTES)
                if not data:
                    raise EOFError
            try:
                piece = self._machine.decompress(data, size_bytes)
            except self._error as error:
                raise _CorruptError from error
            if piece:
                return piece

    def close(self):
        self._machine = self._make_machine()  # a new one holds nothing


def _open_xz(raw_file):
    return _BoundedFile(raw_file, lambda: lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES), b"\0", lzma.LZMAError)


def zstd_library():
    """Return Python's module for Zstandard, or before 3.14 the package that is the same."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _open_zst(raw_file):
    zstd = zstd_library()
    options = {int(zstd.DecompressionParameter.window_log_max): MAX_ZST_WINDOW}
    return _BoundedFile(raw_file, lambda: zstd.ZstdDecompressor(options=options), b"", zstd.ZstdError)


OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": _open_xz, ".zst": _open_zst}
UNPACK = {".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc", ".zst": "zstd -dc"}  # the commands that do the same
_TAR_SUFFIXES = (".tgz", ".tbz", ".tbz2", ".txz", ".tzst")


def read_block(file, path, size_bytes):
    """Return the next `size_bytes` of a source, fewer only at its end."""
    try:
        return file.read(size_bytes)
    except (EOFError, zlib.error, _CorruptError, gzip.BadGzipFile) as error:
        raise _corrupt(path, error) from None
    except OSError as error:
        if error.errno is None:  # bz2 has no error of its own
            raise _corrupt(path, error) from None
        raise unreadable(path, error) from None


def _corrupt(path, error):
    said = str(error.__cause__ or "")
    if "usage limit" in said or "too much memory" in said:  # what lzma and Zstandard say
        size_bytes, again = (1 << MAX_ZST_WINDOW, "zstd -19") if "memory for" in said else (MAX_XZ_BYTES, "xz -9")
        return CorpusError(
            f"decompressing {path} needs more than {size_bytes >> 20:,} MB of memory: compress it again with {again} "
            "or less"
        )
    reason = "ends too early" if isinstance(error, EOFError) else "is corrupt"
    return CorpusError(f"{path} {reason} for a {suffix(path)} file: download or compress it again")


def unreadable(path, error):
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return CorpusError(f"{path} does not exist{nearest_path(path)}: check the path")
    if number in (errno.EACCES, errno.EPERM):
        return CorpusError(f"you are not allowed to read {path}: change its permissions, or use a copy")
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return CorpusError(f"{path!r} cannot be read ({reason}): check the path")


# ---- words -----------------------------------------------------------------------------------------------------------


def suffix(path):
    return os.path.splitext(path)[1].lower()


def shown(path):
    return "stdin" if path == "-" else path


def absolute(path):
    return path if path == "-" else os.path.abspath(os.path.expanduser(path))


def as_text(path, command, ending=".txt"):
    """Return a shell command that turns a file into a text beside it, overwriting none.

    command : with {} for the file and {text} for the text
    """
    path = str(path)
    stem = os.path.splitext(path)[0]
    while suffix(stem) in (ending, ".tar", *OPENERS):
        stem = os.path.splitext(stem)[0]
    number, text = 1, f"{stem}{ending}"
    while os.path.lexists(text):
        number += 1
        text = f"{stem}-{number}{ending}"
    return command.format(shlex.quote(path), text=shlex.quote(text))


def made_text(path, kind):
    """Return a shell command that makes a text of a file, or of what comes from stdin; "" where there is none.

    kind : a FileKind of kinds.py, of what the file holds once it is decompressed
    """
    if path == "-":
        return kind.filter
    if suffix(path) in _TAR_SUFFIXES:
        return as_text(path, "tar -xOf {} > {text}")
    if unpack := UNPACK.get(suffix(path)):
        return as_text(path, f"{unpack} {{}} | {kind.filter} > {{text}}") if kind.filter else ""
    return as_text(path, kind.command) if kind.command else ""
