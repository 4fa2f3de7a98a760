"""What is done to the characters of a text before they become ids: line ends, normal forms, lower case.

    Rewriting("nfc", lowercase=True).apply(text)        a whole text
    Rewriter(rewriting)  .feed(block) .finish()         the same characters, block by block

A rewriting belongs to a model's vocabulary: every text that the model reads goes through it. Blocks of any size give
the characters of the whole, though a mark may belong to a letter of the block before, a syllable of Hangul may be cut
between its parts, and how a sigma ends depends on what follows. Knows characters; no file, no id, no NumPy.
"""

import functools
import unicodedata
from dataclasses import dataclass
from typing import Literal

from charrnn.errors import CorpusError, VocabularyError, either

NORMALIZE = ("none", "nfc", "nfkc")
NEWLINES = ("keep", "lf")
MAX_RUN = 1 << 16  # characters that hang together, a letter and all its marks: more of them are no text

_SIGMA = "\u03a3"  # the one character whose lower case depends on its neighbours: at the end of a word it is another
_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
_COMPOSED: dict[str, _Form] = {"nfc": "NFC", "nfkc": "NFKC"}
_DECOMPOSED: dict[str, _Form] = {"none": "NFD", "nfc": "NFD", "nfkc": "NFKD"}


@dataclass(frozen=True)
class Rewriting:
    """How the characters of a text are converted: line ends first, then the normal form and lower case.

    normalize    "none", "nfc" or "nfkc": a Unicode normal form (Unicode Standard Annex 15)
    lowercase    True converts letters to lower case, as str.lower() does for the whole text
    newlines     "keep"; or "lf", which converts CR LF and a lone CR to LF

    Raises VocabularyError if a value is not allowed.
    """

    normalize: str = "none"
    lowercase: bool = False
    newlines: str = "keep"

    def __post_init__(self):
        for name, choices in (("normalize", NORMALIZE), ("newlines", NEWLINES)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise VocabularyError(f"{name} must be {either(choices)}, got {ascii(value)[:40]}")
        if not isinstance(self.lowercase, bool):
            raise VocabularyError(f"lowercase must be true or false, got {ascii(self.lowercase)[:40]}")

    def __bool__(self):
        """Return whether any conversion is made."""
        return self != AS_IT_IS

    def __str__(self):
        """Return the conversions as options of `charrnn train`, such as "--lowercase"."""
        parts = [f"--normalize {self.normalize}"] if self.normalize != "none" else []
        parts += ["--lowercase"] if self.lowercase else []
        parts += [f"--newlines {self.newlines}"] if self.newlines != "keep" else []
        return " ".join(parts)

    def to_json(self):
        """Return what is not the default, as a vocabulary stores it."""
        return {name: value for name, value in vars(self).items() if value != getattr(AS_IT_IS, name)}

    def apply(self, text):
        """Return a whole text rewritten."""
        return self.apply_after(text, False)[0]

    def apply_after(self, text, after_letter):
        """Return (the piece `text` of a longer one rewritten, whether a letter ends it).

        `after_letter` is what that was of the piece before. A piece must end where `last_cut` says, or with the text.
        """
        if self.newlines == "lf" and "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = self.normal(text)
        if self.lowercase:
            before = "a" if after_letter else ""
            after_letter = _letter_ends(text, before)
            # The normal form comes again: lower case letters may join with marks that their capitals do not join with.
            text = self.normal((before + text).lower()[len(before) :])
        return text, after_letter

    def last_cut(self, text):
        """Return the last place where the text so far may be cut, to rewrite one piece after the other; 0 for none.

        What hangs together further back than MAX_RUN is not looked for.
        """
        at, nearest = len(text) - 1, max(0, len(text) - 1 - MAX_RUN)
        while at > nearest:
            if not self._hangs_together(text, at):
                if not self.lowercase:
                    return at
                last = at - 1
                while last >= 0 and (kind := _kind(text[last], self)) == "passed over":
                    last -= 1
                if last < 0 or kind == "plain":
                    return at
                at = last + 1  # how this sigma is written is open, and with it every place behind it
            at -= 1
        return 0

    def locate(self, text, index):
        """Return where in `text` the character stands that became character `index` of the text rewritten."""
        start, written, is_open = 0, 0, False
        for stop in range(1, len(text)):
            if self.lowercase and (kind := _kind(text[stop - 1], self)) != "passed over":
                is_open = kind == "sigma"
            if not is_open and not self._hangs_together(text, stop):
                written += len(self.apply(text[start:stop]))
                if written > index:
                    break
                start = stop
        return start

    def _hangs_together(self, text, at):
        """Tell whether line end or normal form may hang on text[at - 1] and text[at] together."""
        if self.newlines == "lf" and text[at] == "\n" and text[at - 1] == "\r":
            return True
        return self.normalize != "none" and not _begins_anew(text[at], self)

    def normal(self, text):
        """Return a text in the normal form."""
        return text if self.normalize == "none" else unicodedata.normalize(_COMPOSED[self.normalize], text)


AS_IT_IS = Rewriting()


class EndlessRunError(CorpusError):
    """More characters hang together than are kept back."""


class Rewriter:
    """One text, block by block: what cannot be told yet is kept back until the next block, or the end."""

    def __init__(self, rewriting):
        self._rewriting = rewriting
        self._kept = ""
        self._after_letter = False
        # The last piece given out, and the characters before it as they were read and as they were written.
        self._piece, self._read, self._written = "", 0, 0
        self._length = 0  # of the last piece as it was written

    def feed(self, block):
        """Return what `block` adds. Raises EndlessRunError where more hangs together than any text has."""
        text = self._kept + block
        cut = self._rewriting.last_cut(text)
        if not cut and len(text) > MAX_RUN:
            raise EndlessRunError(
                f"{MAX_RUN:,} characters in a row, such as {ascii(text[-1])}, are more marks than a letter can have: "
                f"leave {self._rewriting} out"
            )
        return self._give(text[:cut], text[cut:])

    def finish(self):
        """Return what was kept back: the text ends here."""
        return self._give(self._kept, "")

    def locate(self, offset):
        """Return where in the text that was fed the character stands that is number `offset` of the text given out.

        It must be in what was given out last.
        """
        return self._read + self._rewriting.locate(self._piece, offset - self._written)

    def _give(self, piece, kept):
        self._read += len(self._piece)
        self._written += self._length
        self._piece, self._kept = piece, kept
        text, self._after_letter = self._rewriting.apply_after(piece, self._after_letter)
        self._length = len(text)
        return text


# ---- characters ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1 << 14)
def _begins_anew(character, rewriting):
    """Tell whether a character never joins with what stands before it, nor changes places with it."""
    form = _DECOMPOSED[rewriting.normalize]
    written = rewriting.apply(character)
    return all(
        not unicodedata.combining(first) and first not in _joining()
        for first in (unicodedata.normalize(form, each)[:1] for each in (character, written))
    )


@functools.cache
def _joining():
    """Return the characters that normal forms may join with the one before them."""
    hangul = {*map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))}  # its vowels and final consonants
    parts = (unicodedata.decomposition(chr(code)).split() for code in range(0xC0, 0x20000))
    return hangul | {chr(int(pair[1], 16)) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}


@functools.lru_cache(maxsize=1 << 14)
def _kind(character, rewriting):
    """Tell what a character is to a sigma before it: itself a "sigma", "passed over" as marks are, or "plain".

    str.lower has the properties that decide (Cased and Case_Ignorable; the Unicode Standard, 3.13) and shows them only
    by what it does.
    """
    kind = "passed over"
    for each in rewriting.normal(character):
        if each == _SIGMA:
            kind = "sigma"
        elif not _is_passed_over(each):
            kind = "plain"
    return kind


def _is_passed_over(text):
    """Tell whether nothing in `text` decides how a sigma beside it is written."""
    word = "a" + _SIGMA + text
    return (word + "a").lower()[1] != word.lower()[1]


def _letter_ends(text, before):
    """Tell whether a letter stands at the end of before + text, marks behind it aside."""
    for tail in (text[-32:], before + text):
        letter, none = ((first + tail + _SIGMA).lower()[-1] == "\u03c2" for first in ("a", ""))
        if letter == none:
            return letter
    return False
