"""The errors that charrnn raises for the user's input.

Every message gives the rule, the value and the remedy in one sentence. Library code raises these errors; only the
command line turns them into a line on stderr and exit code 2. This module imports nothing from charrnn, so that all
other modules can use `counted`, `either`, `nearest` and the checks of arguments.
"""

import numbers

# Of a model that computes what is no number.
DAMAGED = "its parameters are damaged or diverged; use an earlier checkpoint"
MAX_BESIDE = 1_000  # names in a folder that a mistyped one is compared with


def counted(number, noun):
    """Return a number with a regular noun: "1 step", "2,000 steps", "0.5 minutes"."""
    shown = f"{int(number):,}" if number == int(number) else f"{number:g}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"


def either(names):
    """Return a list of names as alternatives: "a, b or c"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def nearest(name, names):
    """Return the one of `names` that a mistyped name probably means; None if no name is similar.

    Case, and hyphens versus underscores, do not matter. The mistyped name may also be the beginning of a name, or the
    initials of its words.
    """
    import difflib

    plain = {}
    for other in names:
        plain.setdefault(_plain(other), other)
    places = {other: place for place, other in enumerate(plain)}
    given = _plain(name)
    if given in plain:
        return plain[given]
    begun = [other for other in plain if other.startswith(given)] if len(given) > 2 else []
    initials = [other for other in plain if "-" in other and given == "".join(word[:1] for word in other.split("-"))]
    close = difflib.get_close_matches(given, plain, len(plain) or 1)
    # Of those that are as near, the first one named.
    close.sort(key=lambda other: (-difflib.SequenceMatcher(None, other, given).ratio(), places[other]))
    found = begun if len(begun) == 1 else initials or close
    return plain[found[0]] if found else None


def nearest_path(path):
    """Return " (did you mean OTHER?)" if a file or folder next to `path` has a similar name; otherwise ""."""
    import os

    folder, name = os.path.split(os.path.normpath(str(path)))
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MAX_BESIDE)))
    except (OSError, ValueError):
        return ""
    near = nearest(name, names)
    return "" if near is None or near == name else f" (did you mean {os.path.join(folder, near)}?)"


def is_integer(value):
    """Return whether a value is an integer of Python or NumPy; a bool is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value):
    """Return whether a value is a real number of Python or NumPy; a bool is not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_integer(name, value, minimum=None):
    """Raise ConfigError unless an argument is an integer, and at least `minimum` unless that is None."""
    if not is_integer(value) or minimum is not None and value < minimum:
        rule = "" if minimum is None else f" of at least {minimum}"
        raise ConfigError(f"{name} must be an integer{rule}, got {value!r}", [name])


def check_number(name, value):
    """Raise ConfigError unless an argument is a real number; NaN and infinity are."""
    if not is_number(value):
        raise ConfigError(f"{name} must be a number, got {value!r}", [name])


def _plain(name):
    return str(name).lower().replace("_", "-").lstrip("-")


class CharRNNError(Exception):
    """Base class of all errors that charrnn raises for the user's input or machine, not for a bug in charrnn."""


class ConfigError(CharRNNError):
    """An option or argument has a value that is not allowed, or two of them contradict each other.

    Attributes
    ----------
    options : tuple of str
        Names of the options that the error is about, with underscores, such as ("hidden_size",); empty if the error is
        not about a named option. Programs should read the names here rather than parse the message.
    """

    def __init__(self, message, options=()):
        super().__init__(message)
        self.options = tuple(options)


class CorpusError(CharRNNError):
    """A text is missing, empty, too short, not text, or not in the given encoding; or the encoding is unknown."""


class VocabularyError(CharRNNError):
    """A character or id is not in the vocabulary, or a vocabulary is malformed.

    Attributes
    ----------
    missing : str
        The part of the message that says which character is missing, and at which offset; "" if the error is not about
        a missing character.
    remedies : tuple of str
        Ways to solve the problem other than leaving the character out, such as "train on a text that contains it"; may
        be empty.
    """

    def __init__(self, message, missing="", remedies=()):
        super().__init__(message)
        self.missing, self.remedies = missing, tuple(remedies)


class CheckpointError(CharRNNError):
    """A checkpoint is missing, truncated, damaged, of an unknown format version, or not written by charrnn."""


class RunError(CharRNNError):
    """A folder already contains a run, is in use by another process, or is not a run folder or cannot be resumed."""


class StorageError(CharRNNError):
    """A file cannot be written, for example because the disk is full or read-only."""


class DivergenceError(CharRNNError):
    """The loss, a gradient or the output of a model is not a finite number (infinity or NaN)."""


class RecipeError(CharRNNError):
    """A recipe of `charrnn corpus` failed: the corpus could not be downloaded, checked or prepared."""
