"""What file system a folder is on, and whether other machines see the locks of its files.

Told from the table of mounts, which only Linux has; of what is not in it nothing is known. Sources: flock(2), nfs(5),
mount.lustre(8), mount.cifs(8).
"""

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

# Those that share files with other machines and keep locks to themselves: whatever the mount says, or by its options.
_LOCAL_KINDS = {"fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "vboxsf", "fuse.vmhgfs-fuse"}
_LOCAL_OPTIONS = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("nolock", "local_lock=all", "local_lock=flock"),
    "lustre": ("localflock",),
    "cifs": ("nobrl", "nolock"),
    "smb3": ("nobrl", "nolock"),
    "afs": ("flock=local",),
}


def why_locks_are_local(folder, mounts=MOUNTS):
    """Say which file system, or option of its mount, keeps a folder's locks from other machines, None without one."""
    found = _mount_of(folder, mounts)
    if found is None:
        return None
    kind, options = found
    if kind in _LOCAL_KINDS:
        return kind
    option = next((one for one in _LOCAL_OPTIONS.get(kind, ()) if one in options), None)
    return None if option is None else f"{kind} with the option {option}"


def _mount_of(folder, mounts):
    """Return (file system, its options) of the mount that a folder is on, None where the system does not say."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path, best, found = os.path.realpath(folder), -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        at = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        if (path == at or path.startswith(at.rstrip("/") + "/")) and len(at) >= best:
            best, found = len(at), (fields[2], fields[3].split(","))
    return found
