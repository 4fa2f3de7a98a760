"""The one door to Numba: it is loaded here first, and what the environment asks of it is understood or refused.

Numba is the compiler. Where all machine code is found on disk (machine_code.py) it is not loaded at all, unless the
environment asks something of it.
"""

import contextlib
import os
import re
import warnings
from functools import lru_cache

from charrnn.errors import ConfigError

# Of the environment's NUMBA_ variables, those that change nothing of what is compiled.
INDIFFERENT = "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_CACHE_DIR"
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


def asked_of_numba():
    """Return what the environment asks of the compiler, sorted (variable, value) pairs."""
    return sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in INDIFFERENT)


def check_environment():
    """Raise ConfigError for what the environment asks and charrnn cannot do."""
    _forget_empty()
    if (asked := os.environ.get("NUMBA_NUM_THREADS")) is not None:
        if not asked.strip().isdecimal() or not 1 <= int(asked) <= MAX_THREADS:
            raise ConfigError(
                f"NUMBA_NUM_THREADS must be a whole number between 1 and {MAX_THREADS}, got {asked!r}: "
                "unset NUMBA_NUM_THREADS"
            )
    if asked_of_numba():
        check_numba()


@lru_cache(maxsize=1)
def _load():
    """Load Numba; return the exception for which it cannot be loaded, and {variable: value} of what it cannot read."""
    with _complaints() as bad:
        try:
            import numba  # noqa: F401 - the first time; from now on it is there, or not
        except (ValueError, ImportError, OSError) as error:
            return error, bad
    return None, bad


def check_numba():
    """Raise ConfigError where Numba cannot be loaded, could not read its environment, or is told not to compile."""
    failure, bad = _load()
    if failure is not None:  # it is not there, does not fit NumPy, or lacks a shared library
        why = " ".join(str(failure).split()).rstrip(".")
        raise ConfigError(
            f"charrnn needs Numba, which cannot be loaded ({why}): python -m pip install --upgrade numba llvmlite numpy"
        ) from failure
    for name, value in bad.items():
        if os.environ.get(name) == value:  # else it was mended meanwhile, and Numba reads it again before it compiles
            raise ConfigError(f"Numba cannot read the environment variable {name}, which is {value!r}: unset {name}")
    from numba import config

    if config.DISABLE_JIT:
        by = f"NUMBA_DISABLE_JIT={value}" if (value := os.environ.get("NUMBA_DISABLE_JIT")) else "Numba's settings"
        remedy = "unset NUMBA_DISABLE_JIT" if value else "take disable_jit out of .numba_config.yaml"
        raise ConfigError(f"charrnn needs Numba's compiler, but {by} turned it off: {remedy}")
