"""How many threads the kernels use. Results are the same bits for any number."""

import os
from functools import lru_cache

from charrnn.errors import ConfigError

_CHOSEN = []  # what set_num_threads was last told


@lru_cache(maxsize=1)
def max_threads():
    """Return how many threads there are to use on this machine."""
    asked = os.environ.get("NUMBA_NUM_THREADS")
    if asked:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads():
    """Return how many threads the kernels use."""
    return _CHOSEN[-1] if _CHOSEN else max_threads()


def set_num_threads(threads):
    """Let the kernels use this many threads. Raises ConfigError."""
    if not 1 <= threads <= max_threads():
        raise ConfigError(f"--threads must be between 1 and {max_threads()} on this machine, got {threads}")
    _CHOSEN[:] = [threads]
