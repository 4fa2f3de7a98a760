"""The errors charrnn raises for what a user gave it.

Every message says the rule, the value and the remedy in one sentence. Library code raises these; only the command line
turns them into a line on stderr and exit code 2. This module imports nothing of charrnn, and so any other may word its
messages by `counted`, `either` and `nearest`.
"""

# Of a model that computes what is no number.
DAMAGED = "its parameters are damaged or diverged; use an earlier checkpoint"
MAX_BESIDE = 1_000  # names in a folder that a mistyped one is compared with


def counted(number, noun):
    """Say how many of a regular noun: 1 step, 2,000 steps, 0.5 minutes."""
    shown = f"{int(number):,}" if number == int(number) else f"{number:g}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"


def either(names):
    """List names of which one is to be taken: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def nearest(name, names):
    """Return which of `names` a mistyped one stands for, None where none is near.

    Capitals, hyphens and underscores do not count. It may be the beginning of a name, or the initials of its words.
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
    """Return " (did you mean OTHER?)" where a file or folder beside `path` has a similar name; "" otherwise."""
    import os

    folder, name = os.path.split(os.path.normpath(str(path)))
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MAX_BESIDE)))
    except (OSError, ValueError):
        return ""
    near = nearest(name, names)
    return "" if near is None or near == name else f" (did you mean {os.path.join(folder, near)}?)"


def _plain(name):
    return str(name).lower().replace("_", "-").lstrip("-")


class CharRNNError(Exception):
    """Base of every error that is about the user's input or machine, not about a defect of charrnn."""


class ConfigError(CharRNNError):
    """An option or configuration value breaks its rule, or two of them contradict.

    options : the names of the options concerned, as TrainingConfig or the command has them, e.g. ("hidden_size",);
        empty where the error is about something else. Whoever needs to know reads them here, never in the message.
    """

    def __init__(self, message, options=()):
        super().__init__(message)
        self.options = tuple(options)


class CorpusError(CharRNNError):
    """A text is missing, empty, too short, not text, or not in the encoding named."""


class VocabularyError(CharRNNError):
    """A character is not in the vocabulary, or a vocabulary is malformed.

    missing : which character is missing where, without a remedy; "" where the error is about something else
    remedies : what mends it, but for leaving that one character out; none where that mends nothing
    """

    def __init__(self, message, missing="", remedies=()):
        super().__init__(message)
        self.missing, self.remedies = missing, tuple(remedies)


class CheckpointError(CharRNNError):
    """A checkpoint is missing, truncated, corrupt, of another format version, or not charrnn's."""


class RunError(CharRNNError):
    """A run folder is taken, locked, or does not fit what is asked of it."""


class StorageError(CharRNNError):
    """The disk is full, read-only, or refuses a write."""


class DivergenceError(CharRNNError):
    """The loss or a gradient stopped being finite."""


class RecipeError(CharRNNError):
    """A corpus recipe cannot be carried out here."""
