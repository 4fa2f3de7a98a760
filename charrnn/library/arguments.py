"""What the calls of `import charrnn` do with what they are given: check it, and name it by its keyword in messages.

Messages of the rooms below name options as the command line does, `--seq-length`. Every public call is wrapped in
`naming_keywords`, so that a caller who wrote `seq_length=0` reads `seq_length`.
"""

import contextlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from charrnn.errors import CharRNNError, ConfigError
from charrnn.training.settings import short
from charrnn.training.spelling import spelt_in_python


@contextlib.contextmanager
def naming_keywords():
    """A context, and a decorator, in which an error that charrnn raises names keyword arguments, not options."""
    try:
        yield
    except CharRNNError as error:
        error.args = (spelt_in_python(str(error)), *error.args[1:])
        raise


def as_path(name, value):
    """Return a path-like argument as a Path, or None. Raises ConfigError."""
    if value is None:
        return None
    if not isinstance(value, (str, PathLike)):
        raise ConfigError(f"{name} must be a path, got {value!r}")
    return Path(value)


def as_texts(texts):
    """Return a path-like or a sequence of them as a list. Raises ConfigError."""
    listed = [texts] if isinstance(texts, (str, PathLike)) or not isinstance(texts, Iterable) else list(texts)
    if not all(isinstance(one, (str, PathLike)) for one in listed):
        raise ConfigError(f"texts must be a path or a sequence of paths, got {texts!r}")
    return listed


def check_string(name, value):
    """Raise ConfigError unless an argument is a str."""
    if not isinstance(value, str):
        remedy = ": decode it first" if isinstance(value, (bytes, bytearray)) else ""
        raise ConfigError(f"{name} must be a str, got {short(value)}{remedy}")


def as_strings(name, strings):
    """Return a sequence of str as a list. Raises ConfigError."""
    if not isinstance(strings, Iterable):
        raise ConfigError(f"{name} must be a sequence of str, got {short(strings)}")
    listed = list(strings)
    for one in listed:
        check_string(f"each string of {name}", one)
    return listed
