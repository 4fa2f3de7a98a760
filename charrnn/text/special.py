"""Symbols that no text holds: where an item begins, where its fields meet, where it ends, and what labels there are.

Their ids follow those of the characters; those of labels come last. Decoded, each is one character, a mark, that no
text of the vocabulary has: so a mark on the screen is never a character of the text. Knows names and characters; no
vocabulary and no id.
"""

from collections.abc import Iterable

from charrnn.errors import VocabularyError, counted, nearest

START, SEP, END = SPECIALS = ("START", "SEP", "END")  # in the order of their ids

LABEL = "LABEL"
MAX_LABELS, MAX_LABEL = 10_000, 200  # labels of a vocabulary, characters of one
_MAX_NAMED = 8  # labels that a sentence lists

# How each is shown: the first of these that is no symbol of the vocabulary.
_MARKS = {
    START: "\u2402\u22a2\u25b7\u276c",
    SEP: "\u241f\u2502\u21e5\u2758",
    END: "\u2403\u22a3\u25c1\u276d",
    LABEL: "\u25c6\u25c7\u2756",
}
PRIVATE_USE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))  # where a vocabulary has even those


def checked(special, mode):
    """Return the special symbols of a vocabulary as a tuple; VocabularyError where they break a rule."""
    special = _listed("special symbols", special)
    if special != tuple(name for name in SPECIALS if name in special):
        raise VocabularyError(f"special symbols must be some of {', '.join(SPECIALS)}, each once and in this order")
    if special and not {START, END} <= set(special):
        raise VocabularyError(f"special symbols are START and END at least, got {' and '.join(special)}")
    if special and mode == "bytes":
        raise VocabularyError("a vocabulary of bytes has no special symbols")
    return special


def _listed(what, names):
    if not isinstance(names, Iterable):
        raise VocabularyError(f"a vocabulary's {what} must be a sequence of strings, got {names!r}")
    return tuple(names)


def from_json(obj):
    """Return the special symbols of a vocabulary's JSON object, which may come from a stranger's file."""
    if "special" not in obj:
        return ()
    special = obj["special"]
    if not isinstance(special, list) or not special or not all(isinstance(name, str) for name in special):
        raise VocabularyError(f"a vocabulary's special symbols must be a list of some of {', '.join(SPECIALS)}")
    return tuple(special)


def checked_labels(labels, special):
    """Return the labels of a vocabulary as a tuple; VocabularyError where they break a rule."""
    labels = _listed("labels", labels)
    if labels and not {START, END} <= set(special):
        raise VocabularyError("a vocabulary with labels needs the special symbols START and END")
    if len(labels) > MAX_LABELS:
        raise VocabularyError(f"a vocabulary has at most {MAX_LABELS:,} labels, got {len(labels):,}")
    for name in labels:
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_LABEL:
            raise VocabularyError(f"a label must be a string of 1 to {MAX_LABEL} characters")
    if len(set(labels)) != len(labels):
        raise VocabularyError("a vocabulary's labels must differ")
    return labels


def labels_from_json(obj):
    """Return the labels of a vocabulary's JSON object, which may come from a stranger's file."""
    if "labels" not in obj:
        return ()
    labels = obj["labels"]
    if not isinstance(labels, list) or not labels:
        raise VocabularyError("a vocabulary's labels must be a list of strings")
    return tuple(labels)


def unknown_label(name, labels):
    """Say that there is no label of a name, and which are near, or which there are."""
    if not labels:
        return f"there is no label {name[:MAX_LABEL]!r}: the model has no labels"
    near = nearest(name, labels)
    if near is not None:
        return f"the model has no label {name[:MAX_LABEL]!r}: did you mean {near!r}?"
    return f"the model has no label {name[:MAX_LABEL]!r}: its labels are {listed(labels)}"


def listed(labels):
    """Name labels in a sentence, the first of many."""
    more = len(labels) - _MAX_NAMED
    return ", ".join(labels[:_MAX_NAMED]) + (f" and {counted(more, 'other')}" if more > 0 else "")


def choose_marks(special, symbols):
    """Return the characters that stand for special symbols beside `symbols`, (len(special),)."""
    known = frozenset(symbols)
    return tuple(next(mark for mark in _candidates(name) if mark not in known) for name in special)


def _candidates(name):
    yield from _MARKS[name]
    yield from map(chr, PRIVATE_USE[list(_MARKS).index(name) :: len(_MARKS)])
