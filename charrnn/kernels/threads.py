"""How many threads the kernels use. Results are the same bits for any number."""

import math
import os

from charrnn.errors import ConfigError, counted
from charrnn.files.machine import CGROUPS, OWN_GROUPS, control_groups, usable_cores
from charrnn.kernels.environment import check_environment

check_environment()

_CHOSEN = []  # what set_num_threads was last told


def num_threads():
    """Return how many threads the kernels use."""
    return _CHOSEN[-1] if _CHOSEN else default_threads()


def max_threads():
    """Return how many threads there are to use on this machine."""
    if asked := os.environ.get("NUMBA_NUM_THREADS"):
        return int(asked)
    return usable_cores()


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
        return f"the container's quota is {counted(quota, 'CPU')} of {cores}"
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
    _CHOSEN[:] = [threads]


def cpu_quota(groups=CGROUPS, own=OWN_GROUPS):
    """Return how many CPUs' time the control groups of this process allow it, None where there is no limit.

    groups, own : as control_groups takes them
    """
    read = {1: _quota_v1, 2: _quota_v2}
    quotas = [read[version](folder) for version, folder in control_groups("cpu", groups, own)]
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
