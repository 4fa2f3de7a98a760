"""How many threads the kernels use. Results are the same bits for any number and any of Numba's threading layers."""

import math
import os
import threading
import warnings
from pathlib import Path

from charrnn.errors import ConfigError, counted
from charrnn.kernels.environment import cannot_start, check_numba

check_numba()

import numba  # noqa: E402 - what is wrong with it is a sentence by now

CGROUPS = Path("/sys/fs/cgroup")

# Where there is no room for a semaphore, Numba says that forking would not be safe. Nothing here forks.
warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock", numba.NumbaWarning)

_HERE = threading.local()  # .begun: whether this Python thread has had its default; Numba's number is one per thread


def num_threads():
    """Return how many threads the kernels use. Raises ConfigError."""
    try:
        threads = numba.get_num_threads()
        if not hasattr(_HERE, "begun"):
            _HERE.begun = True
            if threads == max_threads() > default_threads():
                numba.set_num_threads(default_threads())
                threads = default_threads()
        return threads
    except ValueError as error:
        raise cannot_start(error) from None


def max_threads():
    """Return how many threads there are to use on this machine."""
    return numba.config.NUMBA_NUM_THREADS


def default_threads():
    """Return how many threads are used unless somebody says otherwise: as many as CPUs that this process may keep busy.

    NUMBA_NUM_THREADS decides where it is set. Otherwise it is the CPUs of the process's affinity, or fewer where the
    control group's quota is less: a thread more would only spend the quota sooner and have all of them wait.
    """
    quota = cpu_quota()
    if quota is None or "NUMBA_NUM_THREADS" in os.environ:
        return max_threads()
    return min(max_threads(), max(1, math.ceil(quota)))


def explain_threads():
    """Say in a few words where `default_threads` comes from."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return f"NUMBA_NUM_THREADS={os.environ['NUMBA_NUM_THREADS']}"
    quota, cores, may = cpu_quota(), os.cpu_count() or 1, max_threads()
    if quota is not None and default_threads() < may:
        return f"the container's quota is {counted(quota, 'CPU')}, of {cores}"
    return f"this process may use {may} of {counted(cores, 'CPU')}" if may < cores else "one per CPU"


def set_num_threads(threads):
    """Let the kernels use this many threads. Raises ConfigError."""
    if not 1 <= threads <= max_threads():
        if threads >= 1 and "NUMBA_NUM_THREADS" in os.environ:
            raise ConfigError(
                f"--threads {threads} is more than NUMBA_NUM_THREADS={max_threads()} allows: "
                f"--threads {max_threads()}, or unset NUMBA_NUM_THREADS"
            )
        raise ConfigError(f"--threads must be between 1 and {max_threads()} on this machine, got {threads}")
    num_threads()  # starts them
    numba.set_num_threads(threads)


def cpu_quota(groups=CGROUPS, own=Path("/proc/self/cgroup")):
    """Return how many CPUs' time the control groups of this process allow it, None where there is no limit.

    groups : the mounted hierarchy or hierarchies, of version 2 or 1
    own : the file that says in which group this process is

    Every group above counts too. Inside a container its own group may be mounted as the root, whatever `own` says, so
    places that do not exist are passed over.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            mounts, read = [groups, groups / "unified"], _quota_v2
        elif "cpu" in controllers.split(","):
            mounts, read = [groups / controllers, groups / "cpu", groups / "cpu,cpuacct"], _quota_v1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            quotas += [read(mount.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(folder):
    """Return the CPUs of a group's cpu.max, "QUOTA PERIOD" in microseconds or "max PERIOD"."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return _cpus(int(quota), int(period))
    except (OSError, ValueError):
        return None


def _quota_v1(folder):
    """Return the CPUs of a group's cfs quota and period, in microseconds; -1 is no quota."""
    try:
        return _cpus(*(int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")))
    except (OSError, ValueError):
        return None


def _cpus(quota, period):
    return quota / period if quota > 0 and period > 0 else None
