"""How many threads the kernels use. Results are the same bits for any number."""
import numba

from charrnn.errors import ConfigError


def num_threads():
    """Return how many threads the kernels use."""
    return numba.get_num_threads()


def max_threads():
    """Return how many threads there are to use on this machine."""
    return numba.config.NUMBA_NUM_THREADS


def set_num_threads(threads):
    """Let the kernels use this many threads. Raises ConfigError."""
    if not 1 <= threads <= max_threads():
        raise ConfigError(f"threads must be between 1 and {max_threads()} on this machine, got {threads}")
    numba.set_num_threads(threads)
