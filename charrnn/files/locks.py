"""A lock on a file, which ends with the process that holds it, however that ends.

It is the system's lock on the open file, so a lock file that lies about means nothing. A child process that inherits
the descriptor holds the lock too, until both have ended. This module knows paths, not what is locked by them.

Other machines see a lock where the file system passes it on (mounts.py); one whose machine was cut off for long may be
given to another process meanwhile, which `is_ours` notices.
"""

import contextlib
import functools
import os
import platform
import random
import secrets
import time

from charrnn.errors import StorageError
from charrnn.files.storage import storage_error, write_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


_HOST_AT = 64  # in a lock file: what stands before it is a number, by which the file is known as a lock
_PAUSE_S = 0.05  # between two attempts, at most


class LockHeld(StorageError):
    """Another process holds the lock.

    process_id    of the holder, an int; None where the file does not say
    host          the holder's machine where it is another one, else None
    """

    def __init__(self, path, process_id, host=None):
        self.process_id, self.host = process_id, host
        super().__init__(f"{path} is locked by another process{self.whose()}: wait for it or stop it")

    def whose(self):
        """Return the holder's process and machine in parentheses, as far as they are known."""
        if self.process_id is None:
            return ""
        return f" (process {self.process_id}{f' on {self.host}' if self.host else ''})"


class NoLocks(StorageError):
    """The file system has no locks, as some network file systems.

    reason    what the system says
    """

    def __init__(self, path, reason):
        self.reason = reason
        super().__init__(f"{path} is on a file system without locks ({reason}): use a disk of this machine")


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
                    raise LockHeld(path, *_holder(descriptor))
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


def acquire_soon(path, patience_s):
    """Like `acquire`, but wait for a holder that needs it for a moment only; LockHeld after `patience_s`."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return acquire(path)
        except LockHeld:
            if time.monotonic() >= until:
                raise
        time.sleep(random.uniform(0, _PAUSE_S))


def release(path, descriptor):
    """Remove the lock file and let go of the lock."""
    mine = is_ours(path, descriptor)
    if fcntl:
        if mine:
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.close(descriptor)
    else:  # Windows removes no open file
        os.close(descriptor)
        if mine:
            with contextlib.suppress(OSError):
                os.unlink(path)


def is_locked(path):
    """Say whether some process holds the lock of a file. Whoever asks may be taken for a holder for a moment."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        return not _try_lock(descriptor, path, shared=True)
    finally:
        os.close(descriptor)


def is_ours(path, descriptor):
    """Say whether the lock that this process acquired is still its own, and not removed or signed by another."""
    try:
        return _is_still_at(path, descriptor) and _content(descriptor) == _signature(os.getpid())
    except OSError:  # what a network file system says of a lock that is lost
        return False


@functools.cache
def _signature(process_id):
    return f"{process_id}\n".ljust(_HOST_AT) + f"{platform.node()} {secrets.token_hex(8)}\n"


def _sign(path, descriptor):
    """Write who holds the lock into it; where that fails, take it away."""
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        write_all(descriptor, _signature(os.getpid()).encode("utf-8"))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _try_lock(descriptor, path, shared=False):
    """Return whether the lock could be had; raise NoLocks where the file system has none."""
    try:
        if fcntl:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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
    """Return the process and the machine that a lock file names, None for what it does not."""
    try:
        number, _, host = _content(descriptor).partition("\n")
    except OSError:  # SMB: nobody else may read a locked file
        return None, None
    host = host.split()[0] if host.split() else None
    return (int(number) if number.isdigit() else None), (None if host == platform.node() else host)


def _content(descriptor):
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 1024).decode("utf-8", "replace")
