"""Scripts: which of them a text's letters are of, which signals say nothing about such a text, and what Hangul has."""

import functools
import unicodedata
from collections import Counter

import numpy as np

MOST = 0.5  # share of a text's letters from which on it is a text of their kind
SOME = 0.1  # of Hangul in a text that switches between it and Latin
MIN_LINES = 8  # with fewer, a place in the line is a place in the text

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "BOPOMOFO", "YI")
_WITH_VOWELS = ("LATIN", "CYRILLIC", "GREEK")

# Each with whether what stands before it must have a final consonant (None: it is the same after both). Those that end
# many nouns too, such as 제도 and 회의, count after two syllables only.
_PARTICLES = {
    "은": True, "는": False, "을": True, "를": False, "과": True, "와": False, "이": True, "가": False,
    "으로": True, "로": False, "에": None, "의": None, "도": None, "만": None, "에서": None, "에게": None,
    "께서": None, "한테": None, "부터": None, "까지": None, "처럼": None, "보다": None, "마다": None, "조차": None,
    "마저": None, "에는": None, "에서는": None, "에게는": None, "에도": None, "에서도": None, "으로는": True,
    "로는": False, "으로도": True, "로도": False, "까지도": None, "부터는": None,
}  # fmt: skip
_AMBIGUOUS = ("이", "가", "의", "도", "만")
_LONGEST = max(map(len, _PARTICLES))
_RIEUL = 8  # the final consonant after which it is 로, as after none


@functools.cache
def script_of(symbol):
    """Return the script of a letter as the first word of its Unicode name, "" of what is no letter."""
    return unicodedata.name(symbol, "").split(" ")[0].split("-")[0] if symbol.isalpha() else ""


def misfits(text):
    """Return {name of a built-in signal: why it says nothing about this text}."""
    counts = Counter(text)
    letters, scripts, cased, lower = 0, Counter(), 0, 0
    for symbol, count in counts.items():
        if symbol.isalpha():
            letters += count
            scripts[script_of(symbol)] += count
            cased += count * has_case(symbol)
            lower += count * symbol.islower()
    share = lambda *names: sum(scripts[name] for name in names) / max(1, letters)  # noqa: E731
    found = {}
    if letters and cased < MOST * letters:
        found |= dict.fromkeys(("capital", "all-capitals"), "most letters of this text have no upper and lower case")
    elif letters and lower < MIN_LINES:
        found |= dict.fromkeys(("capital", "all-capitals"), "this text has no lower-case letters")
    if letters and share(*_WITH_VOWELS) < MOST:
        found["vowel"] = "most letters of this text belong to scripts whose vowels charrnn does not know"
    if share(*_SPACELESS) >= MOST:
        found |= dict.fromkeys(("word-position", "word-start"), "words of this script are not separated by spaces")
    if counts["\n"] < MIN_LINES:
        found |= dict.fromkeys(("line-position", "to-line-end"), "this text has very few lines")
    if share("HANGUL") < MOST:
        found |= dict.fromkeys(("final-consonant", "particle"), "most letters of this text are not Hangul")
    if share("HANGUL") < SOME or not scripts["LATIN"]:
        found["script-switch"] = "this text does not have both Hangul and Latin letters"
    return found


def has_case(symbol):
    """Tell whether a letter is a capital or a small one: those of most scripts are neither."""
    return symbol.isupper() or symbol.islower() or symbol.istitle()


def letters_of(text):
    """Return where letters are, with the marks that belong to them: ndarray (N,) bool."""
    letters = np.fromiter(map(str.isalpha, text), bool, len(text))
    marks = [t for t, symbol in enumerate(text) if symbol > "\x7f" and unicodedata.category(symbol)[0] == "M"]
    for t in marks:
        letters[t] = t > 0 and letters[t - 1]
    return letters


def final_consonants(text):
    """Return where a Hangul syllable ends in a consonant: at the syllable, or decomposed at that consonant."""
    return np.fromiter((_final(symbol) > 0 or "\u11a8" <= symbol <= "\u11ff" for symbol in text), bool, len(text))


def particles(text):
    """Return where a word of Hangul ends in what is spelled as a particle (josa): ndarray (N,) bool.

    By spelling alone: the longest entry of a list with which the word ends, of the form that the syllable before it
    asks for (은 after a final consonant, 는 after none). A verb such as 가는 passes for a noun and its particle, and so
    does a noun such as 결과.
    """
    values, at, N = np.zeros(len(text), bool), 0, len(text)
    while at < N:
        if not _is_syllable(text[at]):
            at += 1
            continue
        stop = at
        while stop < N and _is_syllable(text[stop]):
            stop += 1
        size = _particle(text[at:stop])
        values[stop - size : stop] = True
        at = stop
    return values


def script_switches(text):
    """Return where the first letter after a switch between Hangul and Latin is: ndarray (N,) bool."""
    values, last = np.zeros(len(text), bool), ""
    for t, symbol in enumerate(text):
        script = "HANGUL" if _is_syllable(symbol) else script_of(symbol)
        if script in ("HANGUL", "LATIN"):
            values[t] = last not in ("", script)
            last = script
    return values


def _particle(word):
    for size in range(min(_LONGEST, len(word) - 1), 0, -1):
        end, before = word[-size:], _final(word[-size - 1])
        if end not in _PARTICLES or end in _AMBIGUOUS and len(word) < 3:
            continue
        wanted, is_closed = _PARTICLES[end], before > 0
        if before == _RIEUL and end.startswith(("으로", "로")):
            is_closed = False
        if wanted is None or wanted == is_closed:
            return size
    return 0


def _is_syllable(symbol):
    return "가" <= symbol <= "힣"


def _final(symbol):
    """Return the number of a syllable's final consonant, 0 where it has none or is no syllable."""
    return (ord(symbol) - 0xAC00) % 28 if _is_syllable(symbol) else 0
