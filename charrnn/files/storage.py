"""Files that are either the old one or the new one, never half of each.

Everything charrnn writes to keep goes through `atomic_write`. This room knows paths and bytes; what they mean is the
business of its callers.
"""

import errno
import os
import re
import secrets
import shlex
from collections.abc import Iterable
from pathlib import Path

from charrnn.errors import StorageError

_TEMPORARY = re.compile(r"\.charrnn-[0-9a-f]{16}\.tmp")

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some of your quota, or choose a folder on another disk",
    errno.EFBIG: "raise the limit on file sizes, or choose a folder on another disk",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.EACCES: "choose a folder that you are allowed to write to",
    errno.EPERM: "choose a folder that you are allowed to write to",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "choose a folder whose path contains no file",
    errno.EISDIR: "choose another name, because a folder has this one",
    errno.EEXIST: "choose another name, because something else has this one",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def atomic_write(path, data):
    """Write `data` to `path` so that a reader, a crash or a power cut sees the old file whole or the new one whole.

    The bytes go to a temporary file in the same folder, which is fsynced and renamed over `path`; then the folder is
    fsynced. On any failure, an interrupt included, the temporary file is removed and the old file is as it was.

    Parameters
    ----------
    path : path-like
    data : str (written as UTF-8, no newline translation), bytes, or an iterable of bytes-like pieces

    Raises
    ------
    StorageError
        The disk is full, read-only, or refuses.
    """
    path = Path(path)
    try:
        temporary = _write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except BaseException:
            _remove_quietly(temporary)
            raise
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error


def atomic_write_all(contents):
    """Write several files that belong together, {path: data as `atomic_write` takes it}: all of them, or none.

    Every byte is on the disk under a temporary name before the first file is replaced. Where a replacement fails, the
    files that were replaced before it are put back. A power cut between two replacements leaves some files old and some
    new, each of them whole.

    Raises StorageError where the disk is full, read-only, or refuses.
    """
    temporaries, replaced, path = {}, [], None
    try:
        try:
            for path, data in contents.items():
                temporaries[path] = _write_temporary(path, data)
            for path, temporary in temporaries.items():
                before = _temporary_in(Path(path).parent) if os.path.lexists(path) else None
                if before is not None:
                    give_second_name(path, before)
                replaced.append((path, before))
                os.replace(temporary, path)
        except BaseException:
            for done, before in reversed(replaced):
                if before is not None:
                    os.replace(before, done)
                elif not os.path.lexists(temporaries[done]):  # it was renamed: nothing had this name
                    _remove_quietly(done)
            raise
        finally:
            for leftover in (*temporaries.values(), *(before for _, before in replaced if before is not None)):
                _remove_quietly(leftover)
        for folder in {Path(path).parent for path in contents}:
            fsync_folder(folder)
    except OSError as error:
        raise storage_error(error, path) from error


def _temporary_in(folder):
    return Path(folder) / f".charrnn-{secrets.token_hex(8)}.tmp"


def _write_temporary(path, data):
    """Write `data` to a new temporary file in the folder of `path`, on the disk; return its name."""
    temporary = _temporary_in(Path(path).parent)
    # 0o666 and the umask, as open() would: mkstemp's 0o600 would hide the file from the user's colleagues.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            for piece in _pieces(data):
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _remove_quietly(temporary)
        raise
    return temporary


def give_second_name(path, second):
    """Make `second` another name of the file at `path`, replacing what had that name; a copy where there are no links.

    As whole and as durable as by `atomic_write`. The file must be one that is replaced and never written to.
    """
    path, second = Path(path), Path(second)
    temporary = second.parent / f".charrnn-{secrets.token_hex(8)}.tmp"
    try:
        os.link(path, temporary)
    except OSError:
        try:
            with open(path, "rb") as file:
                atomic_write(second, iter(lambda: file.read(1 << 20), b""))
        except OSError as error:
            raise storage_error(error, second) from error
        return
    try:
        try:
            os.replace(temporary, second)
        finally:
            # A rename to another name of the same file does nothing: then there is still the temporary one.
            _remove_quietly(temporary)
        fsync_folder(second.parent)
    except OSError as error:
        raise storage_error(error, second) from error


def write_all(descriptor, piece):
    """Write all of a bytes-like object, however many calls the system needs for it."""
    view = memoryview(piece).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_folder(folder):
    """Make what was created, renamed or removed in `folder` survive a power cut; nothing where folders cannot sync."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may be allowed to write in a folder and not to read it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what file systems say that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def make_folder(path):
    """Create a folder and its parents where missing, to survive a power cut; StorageError when that cannot be done."""
    path = Path(path)
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            fsync_folder(folder.parent)
    except OSError as error:
        broken = next((each for each in (path, *path.parents) if each.is_symlink() and not each.exists()), None)
        if broken is not None:  # the system says "file exists" of it
            target = os.readlink(broken)
            raise StorageError(
                f"cannot make the folder {path}: {broken} is a link to {target}, which does not exist; create that "
                f"folder, or remove the link with: rm {shlex.quote(str(broken))}"
            ) from None
        raise storage_error(error, path) from error


def forget_names(folder):
    """Make this machine look again at which files are in a folder that another machine may have written to.

    A client of NFS remembers for some seconds which names there are, and which not, until it changes the folder.
    """
    temporary = _temporary_in(folder)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.unlink(temporary)
    except OSError as error:
        raise storage_error(error, temporary) from error


def is_temporary(name):
    """Say whether a file's name is one that `atomic_write` writes under before it has its own."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale_temporaries(folder):
    """Remove what `atomic_write` left in `folder` when its process was killed. The caller holds the folder's lock."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if is_temporary(name):
            _remove_quietly(Path(folder) / name)


def storage_error(error, path):
    """Return the StorageError that tells an OSError met while writing `path`, with its remedy."""
    reason = (error.strerror or str(error)).lower()
    remedy = _REMEDIES.get(error.errno, "check the disk, or choose another folder")
    return StorageError(f"cannot write {path}: {reason}; {remedy}")


def _pieces(data):
    if isinstance(data, str):
        return [data.encode("utf-8")]
    if isinstance(data, Iterable) and not isinstance(data, (bytes, bytearray, memoryview)):
        return data
    return [data]


def _remove_quietly(path):
    try:
        os.unlink(path)
    except OSError:
        pass
