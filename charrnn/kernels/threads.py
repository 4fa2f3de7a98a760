"""How many threads the kernels use. Results are the same bits for any number and any of Numba's threading layers."""

import os
import warnings

from charrnn.errors import ConfigError


def _cannot_start(error):
    """Return the ConfigError for Numba's refusal to start its threads as the environment asks."""
    names = [name for name in ("NUMBA_THREADING_LAYER", "NUMBA_NUM_THREADS") if name in os.environ]
    asked = " with " + " and ".join(f"{name}={os.environ[name]}" for name in names) if names else ""
    remedy = f"unset {' and '.join(names)}" if names else "set NUMBA_THREADING_LAYER=workqueue, which is always there"
    return ConfigError(f"Numba cannot start its threads{asked} ({str(error).splitlines()[0].rstrip('.')}): {remedy}")


try:
    import numba
except ValueError as error:  # NUMBA_NUM_THREADS below 1
    raise _cannot_start(error) from None

# Where there is no room for a semaphore, Numba says that forking would not be safe. Nothing here forks.
warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock", numba.NumbaWarning)


def num_threads():
    """Return how many threads the kernels use. Raises ConfigError."""
    try:
        return numba.get_num_threads()
    except ValueError as error:
        raise _cannot_start(error) from None


def max_threads():
    """Return how many threads there are to use on this machine."""
    return numba.config.NUMBA_NUM_THREADS


def set_num_threads(threads):
    """Let the kernels use this many threads. Raises ConfigError."""
    if not 1 <= threads <= max_threads():
        raise ConfigError(f"--threads must be between 1 and {max_threads()} on this machine, got {threads}")
    num_threads()  # starts them
    numba.set_num_threads(threads)
