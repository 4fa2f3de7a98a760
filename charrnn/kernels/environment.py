"""The one door to Numba: it is loaded here first, and what the environment asks of it is understood or refused.

Nothing is raised while this module is loaded, so that a second attempt in the same process is told the same.
"""

import contextlib
import os
import re
import warnings

from charrnn.errors import ConfigError

MAX_THREADS = 1024  # more are a slip of the keyboard, and no system lets one process start as many as one likes

_NOT_PARSED = re.compile(r"Environment variable '(\w+)' is defined but its associated value '(.*)' could not be", re.S)


def _forget_empty():
    """Take what is set to nothing out of the environment: to Numba `NUMBA_NUM_THREADS=` is no number, to a shell unset.

    Numba reads the environment again before it compiles.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("NUMBA_") and not value.strip()]:
        del os.environ[name]


@contextlib.contextmanager
def _complaints():
    """Yield a dict that is filled with {variable: value} of what Numba cannot read in the environment.

    It would print each with a traceback.
    """
    shown, bad = warnings.showwarning, {}

    def listen(message, *arguments, **keywords):
        if (found := _NOT_PARSED.match(str(message))) is None:
            shown(message, *arguments, **keywords)
        else:
            bad[found[1]] = found[2]

    warnings.showwarning = listen
    try:
        yield bad
    finally:
        warnings.showwarning = shown


_forget_empty()
_failure = None
with _complaints() as _bad:
    try:
        import numba
    except (ValueError, ImportError, OSError) as error:
        _failure = error


def cannot_start(error):
    """Return the ConfigError for Numba's refusal to start its threads as the environment asks."""
    names = [name for name in ("NUMBA_THREADING_LAYER", "NUMBA_NUM_THREADS") if name in os.environ]
    asked = " with " + " and ".join(f"{name}={os.environ[name]}" for name in names) if names else ""
    remedy = f"unset {' '.join(names)}" if names else "set NUMBA_THREADING_LAYER=workqueue, which is always there"
    return ConfigError(f"Numba cannot start its threads{asked} ({str(error).splitlines()[0].rstrip('.')}): {remedy}")


def check_numba():
    """Raise ConfigError where Numba cannot be loaded, could not read its environment, or is told not to compile."""
    if isinstance(_failure, ValueError):  # NUMBA_NUM_THREADS below 1
        raise cannot_start(_failure) from None
    if _failure is not None:  # it is not there, does not fit NumPy, or lacks a shared library
        why = " ".join(str(_failure).split()).rstrip(".")
        raise ConfigError(
            f"charrnn needs Numba, which cannot be loaded ({why}): python -m pip install --upgrade numba llvmlite numpy"
        ) from _failure
    for name, value in _bad.items():
        if os.environ.get(name) != value:  # mended meanwhile, and Numba reads it again before it compiles
            continue
        number = " and must be a whole number of at least 1" if name == "NUMBA_NUM_THREADS" else ""
        raise ConfigError(
            f"Numba cannot read the environment variable {name}, which is {value!r}{number}: unset {name}"
        )
    if numba.config.DISABLE_JIT:
        by = f"NUMBA_DISABLE_JIT={value}" if (value := os.environ.get("NUMBA_DISABLE_JIT")) else "Numba's settings"
        remedy = "unset NUMBA_DISABLE_JIT" if value else "take disable_jit out of .numba_config.yaml"
        raise ConfigError(f"charrnn needs Numba's compiler, and {by} turned it off: {remedy}")
    threads = numba.config.NUMBA_NUM_THREADS
    if threads > MAX_THREADS and "NUMBA_NUM_THREADS" in os.environ:
        raise ConfigError(f"NUMBA_NUM_THREADS must be at most {MAX_THREADS}, got {threads}: unset NUMBA_NUM_THREADS")
