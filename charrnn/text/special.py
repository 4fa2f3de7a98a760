"""Symbols that no text holds: where an item begins, where its fields meet, where it ends.

Their ids follow those of the characters. Decoded, each is one character, a mark, that no text of the vocabulary has: so
a mark on the screen is never a character of the text. Knows names and characters; no vocabulary and no id.
"""

from charrnn.errors import VocabularyError

START, SEP, END = SPECIALS = ("START", "SEP", "END")  # in the order of their ids

# How each is shown: the first of these that is no symbol of the vocabulary.
_MARKS = {START: "\u2402\u22a2\u25b7\u276c", SEP: "\u241f\u2502\u21e5\u2758", END: "\u2403\u22a3\u25c1\u276d"}
_PRIVATE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))  # where a vocabulary has even those


def checked(special, mode):
    """Return the special symbols of a vocabulary as a tuple; VocabularyError where they break a rule."""
    special = tuple(special)
    if special != tuple(name for name in SPECIALS if name in special):
        raise VocabularyError(f"special symbols must be some of {', '.join(SPECIALS)}, each once and in this order")
    if special and not {START, END} <= set(special):
        raise VocabularyError(f"special symbols are START and END at least, got {' and '.join(special)}")
    if special and mode == "bytes":
        raise VocabularyError("a vocabulary of bytes has no special symbols")
    return special


def from_json(obj):
    """Return the special symbols of a vocabulary's JSON object, which may come from a stranger's file."""
    if "special" not in obj:
        return ()
    special = obj["special"]
    if not isinstance(special, list) or not special or not all(isinstance(name, str) for name in special):
        raise VocabularyError(f"a vocabulary's special symbols must be a list of some of {', '.join(SPECIALS)}")
    return tuple(special)


def choose_marks(special, symbols):
    """Return the characters that stand for special symbols beside `symbols`, (len(special),)."""
    known = frozenset(symbols)
    return tuple(next(mark for mark in _candidates(name) if mark not in known) for name in special)


def _candidates(name):
    yield from _MARKS[name]
    yield from map(chr, _PRIVATE[SPECIALS.index(name) :: len(SPECIALS)])
