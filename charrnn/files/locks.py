"""A lock on a file, which ends with the process that holds it, however that ends.

It is the system's lock on the open file, so a lock file that lies about means nothing. A child process that inherits
the descriptor holds the lock too, until both have ended. This module knows paths, not what is locked by them.
"""

import contextlib
import os

from charrnn.errors import StorageError
from charrnn.files.storage import storage_error, write_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


class LockHeld(StorageError):
    """Another process holds the lock.

    process_id    of the holder, an int; None where the file does not say
    """

    def __init__(self, path, process_id):
        self.process_id = process_id
        who = "another process" + (f" (process {process_id})" if process_id is not None else "")
        super().__init__(f"{path} is locked by {who}: wait for it or stop it")


class NoLocks(StorageError):
    """The file system has no locks, as some network file systems.

    reason    what the system says
    """

    def __init__(self, path, reason):
        self.reason = reason
        super().__init__(f"{path} is on a file system that has no locks ({reason}): use a disk of this machine")


def acquire(path):
    """Create and lock the file at `path`, write this process's id into it, and return its descriptor.

    Raises
    ------
    LockHeld
        Another process, or another descriptor of this one, holds it.
    NoLocks
        The file system has none.
    StorageError
        The file cannot be created or written to.
    """
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not _try_lock(descriptor, path):
                    raise LockHeld(path, _holder(descriptor))
                # Its holder removes the file before it lets go. If that came between our open and our lock, we hold
                # a file that nobody else can find, which locks nobody out.
                if _is_still_at(path, descriptor):
                    _sign(path, descriptor)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error


def release(path, descriptor):
    """Remove the lock file and let go of the lock."""
    if fcntl:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)
    else:  # Windows removes no open file
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _sign(path, descriptor):
    """Write who holds the lock into it; where that fails, take it away."""
    try:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, f"{os.getpid()}\n".encode("ascii"))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _try_lock(descriptor, path):
    """Return whether the lock could be had; raise NoLocks where the file system has none."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            # One byte far behind the process id, which must stay readable.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            os.lseek(descriptor, 0, os.SEEK_SET)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # some network file systems
        raise NoLocks(path, (error.strerror or str(error)).lower()) from None
    return True


def _is_still_at(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor):
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 20).strip()
    return int(text) if text.isdigit() else None
