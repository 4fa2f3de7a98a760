"""Source trees: a folder, a tarball or a Debian package as (path, bytes) of the files that are wanted.

Nothing of an archive is ever written to the disk, so a hostile name in it can do no harm.
"""

import hashlib
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

from charrnn.errors import RecipeError
from charrnn.recipes.reports import ignore

MAX_FILE_BYTES = 16 << 20  # no source file that a person wrote is longer
READING = "reading the source"  # as progress is told

_SKIPPED_FOLDERS = {"__pycache__", "node_modules"}


def read_tree(source, wanted, progress=ignore):
    """Return {path: bytes} of the files of `source` for which wanted(path) holds.

    progress    called with (what is being done, bytes done, of), `of` None where it is not known

    `source` is a folder, a tarball, or a .deb; paths are relative to it with "/" between their parts. Where an archive
    has no wanted file, it is searched without the folder that most archives wrap around everything.

    Raises
    ------
    RecipeError
        `source` is not there, unreadable, or no archive.
    """
    source = Path(source).expanduser()
    try:
        if source.is_dir():
            return _read_folder(source, wanted, progress)
        if source.suffix == ".deb":
            return _read_deb(source, wanted, progress)
        with open(source, "rb") as file:
            return _read_tarball(file, source.stat().st_size, wanted, progress)
    except FileNotFoundError:
        raise RecipeError(f"{source} does not exist: check the path given with --from") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise RecipeError(
            f"{source} is neither a folder nor a complete tarball ({_reason(error)}): name a folder, a .tar.gz, "
            ".tar.bz2 or .tar.xz, or a .deb"
        ) from None
    except OSError as error:
        raise RecipeError(f"{source} cannot be read ({_reason(error)}): check the path given with --from") from None


def in_hash_order(files):
    """Return the paths of `files` ordered by the sha256 of each: shuffled, but the same way on every machine.

    Neighbours in a tree are alike; shuffled, the end of the text is a fair validation of the rest.
    """
    return sorted(files, key=lambda path: hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest())


def joined(texts, limit_bytes=None):
    """Return whole texts one after the other; one that would exceed the limit is passed over for the next that fits."""
    taken, size_bytes = [], 0
    for text in texts:
        if limit_bytes is None or size_bytes + len(text) <= limit_bytes:
            taken.append(text)
            size_bytes += len(text)
    return b"".join(taken)


def as_utf8(data):
    """Return the bytes of a source file as UTF-8: those of old ones that are not are ISO-8859-1."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode("utf-8")
    return data


def _read_folder(folder, wanted, progress):
    files, done = {}, 0

    def refuse(error):
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS]
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if wanted(relative) and path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                files[relative] = path.read_bytes()
                done += len(files[relative])
                progress(READING, done, None)
    return files


class _Counted(io.BufferedIOBase):
    """A file to be read once, from its beginning, that knows how far it is."""

    def __init__(self, file):
        self.file, self.done = file, 0

    def read(self, size=-1, /):
        block = self.file.read(size)
        self.done += len(block)
        return block


def _read_tarball(file, size_bytes, wanted, progress):
    """Return the wanted files of a tarball that is read from an open file."""
    counted = _Counted(file)
    with tarfile.open(fileobj=counted, mode="r|*") as archive:
        return _read_archive(archive, wanted, lambda: progress(READING, counted.done, size_bytes))


def _read_archive(archive, wanted, tell):
    """Return the wanted files of an open archive, without the folder wrapped around them if only so they are wanted."""
    plain, wrapped = {}, {}
    for member in archive:
        tell()
        name = member.name.removeprefix("./")
        inner = name.partition("/")[2]
        files, path = (plain, name) if wanted(name) else (wrapped, inner)
        if member.isfile() and member.size <= MAX_FILE_BYTES and wanted(path):
            files[path] = archive.extractfile(member).read()
    return plain or wrapped


def _read_deb(source, wanted, progress):
    """Return the wanted files of the one tarball inside a Debian package such as linux-source-6.1."""
    dpkg = shutil.which("dpkg-deb")
    if dpkg is None:
        raise RecipeError(
            f"{source} can only be opened with dpkg-deb, which is not installed: unpack it elsewhere and give the "
            "tarball in it with --from"
        )
    if not source.exists():
        raise FileNotFoundError(source)
    process = subprocess.Popen([dpkg, "--fsys-tarfile", str(source)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None  # it is a pipe
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as outer:
            for member in outer:
                if member.isfile() and ".tar" in Path(member.name).suffixes:
                    return _read_tarball(outer.extractfile(member), member.size, wanted, progress)
    finally:
        process.stdout.close()
        process.kill()
        process.wait()
    raise RecipeError(f"{source} contains no tarball of sources: give a linux-source package, a tarball or a tree")


def _reason(error):
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
