"""What this machine has, as the system tells it: the CPU's name and cores, control groups, and memory, also theirs.

Says None for what the system does not tell. Imports neither NumPy nor Numba.
"""

import os
import platform
from pathlib import Path
from typing import NamedTuple

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_MOUNTS_V1 = {"cpu": ("cpu", "cpu,cpuacct"), "memory": ("memory",)}
NO_LIMIT = 1 << 60  # version 1 writes a number as large as this where there is no limit


class ContainerMemory(NamedTuple):
    """The bytes that the control groups of this process allow it, and those of them that are left."""

    limit_bytes: int
    left_bytes: int


def cpu_name():
    """Return the processor's name as the system knows it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores():
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_cache_bytes(caches=CACHES):
    """Return the bytes of the second-level cache, a core's own on most CPUs, or None where the system does not say."""
    for folder in sorted(caches.glob("index*")):
        try:
            level, size = ((folder / name).read_text().strip() for name in ("level", "size"))
            if level == "2":
                return int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
        except (OSError, ValueError):
            continue
    return None


def control_groups(controller, groups=CGROUPS, own=OWN_GROUPS):
    """Yield (version, folder) of the control groups of this process that bear on a controller, version 2 or 1.

    controller : "cpu" or "memory"
    groups : the mounted hierarchy or hierarchies
    own : the file that says in which group this process is

    Every group above counts too. Inside a container its own group may be mounted as the root, whatever `own` says: so
    folders are among them that do not exist.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            version, mounts = 2, ("", "unified")
        elif controller in controllers.split(","):
            version, mounts = 1, (controllers, *_MOUNTS_V1[controller])
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield version, groups.joinpath(mount, *parts[:depth])


def total_memory():
    """Return the bytes of memory of the machine, or None."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def available_memory():
    """Return the bytes of memory that can be had without pushing others out, or None where the system does not say."""
    container = container_memory()
    found = [_meminfo_bytes(b"MemAvailable:") or total_memory(), container and container.left_bytes]
    return min((size for size in found if size is not None), default=None)


def _meminfo_bytes(field):
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


_MEMORY_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def container_memory(groups=CGROUPS, own=OWN_GROUPS):
    """Return the ContainerMemory of the tightest control group of this process, None where there is no limit.

    groups, own : as control_groups takes them
    """
    found = [_memory_of(folder, *_MEMORY_FILES[version]) for version, folder in control_groups("memory", groups, own)]
    found = [one for one in found if one is not None]
    if not found:
        return None
    return ContainerMemory(min(one.limit_bytes for one in found), min(one.left_bytes for one in found))


def _memory_of(folder, limit_name, usage_name, cache_name):
    """Return the ContainerMemory of one group: files read once are given back when memory is short."""
    try:
        limit, used = (int((folder / name).read_text()) for name in (limit_name, usage_name))
        if not 0 < limit < NO_LIMIT:
            return None
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.split()[:1] == [cache_name]:
                used -= int(line.split()[1])
        return ContainerMemory(limit, max(0, limit - max(0, used)))
    except (OSError, ValueError, IndexError):  # "max" among them
        return None
