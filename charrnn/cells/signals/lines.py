"""Lines, words and characters: places in them, and what kind of character each is."""

import itertools
import re
import unicodedata

import numpy as np

from charrnn.cells.signals.scripts import has_case

_VOWELS = frozenset("aeiouаеёиоуыэюяієїαεηιουω")
URL = re.compile(
    r"(?:(?:https?|ftp)://|(?<![\w.])www\.)[^\s<>\"'{}|\\^`"
    + "\u1100-\u11ff\u2e80-\ud7ff\uff00-\uffef"
    + r"]+(?<![.,;:!?)\]])"
)
_WORD = re.compile(r"[^\W\d_]+")
_BETWEEN_NAMES = re.compile(r"[ '.-]+")
_LABEL = re.compile(r"\w+:")


class Lines:
    """What a character's line says of it: a newline belongs to the line after it, of which nothing is read yet."""

    def __init__(self, text):
        N = len(text)
        self.position, self.to_end = np.zeros(N, np.float32), np.zeros(N, np.float32)
        at = 0
        while at < N:
            stop = text.find("\n", at)
            stop = N if stop < 0 else stop
            end = stop - 1 if stop > at and text[stop - 1] == "\r" else stop
            self.position[at:stop] = np.arange(1, stop - at + 1)
            self.to_end[at:end] = np.arange(end - at - 1, -1, -1)
            if stop < N:  # having read the newline: the next line's whole length is to come
                following = text.find("\n", stop + 1)
                following = N if following < 0 else following
                self.to_end[stop] = following - stop - 1 - (text[following - 1] == "\r" and following > stop + 1)
            at = stop + 1


def indentation(text, code, kind):
    """Return how many levels the statement is indented by, as Python's tokenizer counts them: ndarray (N,).

    A level holds until a line's first character that is not blank says another. What a person would not call a level
    keeps the one before: lines that go on inside parentheses, a comment or a string, and in C labels and preprocessor
    lines.
    """
    values, stack, at = np.zeros(len(text), np.float32), [0], 0
    goes_on = code.parentheses | code.comment | code.string
    while at < len(text):
        newline = text.find("\n", at)
        stop = len(text) if newline < 0 else newline + 1
        first, columns = at, 0
        while first < stop and text[first] in " \t":
            columns += 1 if text[first] == " " else 8 - columns % 8
            first += 1
        values[at:first] = len(stack) - 1
        is_blank = first == stop or text[first] in "\r\n"
        no_statement = kind == "c" and (text[first : first + 1] == "#" or columns == 0 and _LABEL.match(text, first))
        if not (is_blank or no_statement or at and goes_on[at - 1]):
            while stack[-1] > columns:
                stack.pop()
            if stack[-1] < columns:
                stack.append(columns)
        values[first:stop] = len(stack) - 1
        at = stop
    return values


def run_position(inside):
    """Return 1, 2, 3 ... along each run of True, 0 elsewhere."""
    count = np.arange(1, len(inside) + 1, dtype=np.float32)
    last_off = np.maximum.accumulate(np.where(inside, 0, count)) if len(inside) else count
    return np.where(inside, count - last_off, 0).astype(np.float32)


def next_is(text, symbols):
    """Return True where the next character is one of `symbols`: ndarray (N,)."""
    values = np.zeros(len(text), bool)
    values[:-1] = np.fromiter((symbol in symbols for symbol in text[1:]), bool, max(0, len(text) - 1))
    return values


def spans(text, matches):
    """Return True inside each match, from its first character to its last."""
    values = np.zeros(len(text), bool)
    for match in matches:
        values[match.start() : match.end()] = True
    return values


def capitals(text):
    """Return True in words of two capitals or more, and between two such words: in KING RICHARD as a whole.

    Of KBS는 only the letters that have case are the word.
    """
    values, last = np.zeros(len(text), bool), None
    for a, b in _cased_words(text):
        if b - a > 1 and text[a:b].isupper():
            if last is not None and _BETWEEN_NAMES.fullmatch(text, last, a):
                a = last
            values[a:b], last = True, b
        else:
            last = None
    return values


def _cased_words(text):
    """Yield (start, stop) of runs of letters that are all with case or all without."""
    for match in _WORD.finditer(text):
        at, stop = match.span()
        if match[0].isascii():
            yield at, stop
            continue
        for _, run in itertools.groupby(range(at, stop), lambda t: has_case(text[t])):
            places = list(run)
            yield places[0], places[-1] + 1


def is_vowel(symbol):
    base = unicodedata.normalize("NFD", symbol)[:1] if symbol > "\x7f" else symbol
    return base.lower() in _VOWELS
