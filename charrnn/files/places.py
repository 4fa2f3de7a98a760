"""Folders whose files are run: which of them may be read, because nobody but this user and root can have written there,
and which may be written. Knows nothing of what the files hold.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

STRANGERS = "users other than you and root can write to it, or to a folder above it"


class Places(NamedTuple):
    """Where files of one kind are: the folders to read them from, best first, and the one to keep new ones in."""

    readable: tuple
    writable: Path | None
    refused: tuple  # (folder, why) of each that is not read or cannot be written


def find_places(roots, name):
    """Return the Places of the folders `name` under `roots`, best first. The one that can be written is made.

    A folder that can only be read is read too: it was filled when an image was made, or by root for all users.
    """
    readable, refused = [], []
    for root in roots:
        folder = root / name
        try:
            _make_writable(root, name)
            unwritable = None
        except OSError as error:
            unwritable = _reason(error)
        try:
            folder = folder.resolve()
            if not folder.is_dir():
                refused.append((folder, unwritable))
            elif not is_private(folder):
                refused.append((folder, STRANGERS))
            elif unwritable is None:
                os.utime(folder)
                return Places((*readable, folder), folder, tuple(refused))
            else:
                readable.append(folder)
                refused.append((folder, unwritable))
        except OSError as error:
            refused.append((folder, _reason(error)))
    return Places(tuple(readable), None, tuple(refused))


def _make_writable(root, name):
    """Make the folder `name` under `root`, if it is not there, and write in it. Raises OSError.

    Others may read what is made, as far as the umask lets them, so that an image's root can fill it for its users.
    """
    place = root
    for part in ("", *name.split("/")):
        place /= part
        place.mkdir(parents=True, exist_ok=True, mode=0o755)
    tempfile.TemporaryFile(dir=place).close()


def _reason(error):
    return (error.strerror or str(error)).lower()


def is_private(folder):
    """Tell whether only this user, or root, can have written in `folder` or can put another one in its place.

    What is read from it is run. So each folder above it must belong to the user or to root, and be closed
    to others or sticky, as /tmp is; and every file in it must be the user's own or root's, and closed to others.
    """
    if not hasattr(os, "getuid"):
        return True
    trusted = {os.getuid(), 0}
    owners = trusted | _unmapped_owners()
    status = folder.stat()
    if status.st_uid not in trusted or status.st_mode & 0o022:
        return False
    for above in folder.parents:
        status = above.stat()
        # A group of one's own, the first group of a user on many systems, may write; 002 is their umask.
        strangers = 0o002 if status.st_gid in (os.getgid(), 0) else 0o022
        if status.st_uid not in owners or status.st_mode & strangers and not status.st_mode & stat.S_ISVTX:
            return False
    for file in folder.iterdir():
        try:
            status = file.lstat()
        except FileNotFoundError:  # another process has just put it in its place
            continue
        if status.st_uid not in trusted or not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
            return False
    return True


def _unmapped_owners():
    """Return the id of every user from outside, root among them, if this process is in a user namespace."""
    try:
        if Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]:
            return set()
        return {int(Path("/proc/sys/kernel/overflowuid").read_text())}
    except (OSError, ValueError):  # no Linux
        return set()
