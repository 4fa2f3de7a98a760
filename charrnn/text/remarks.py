"""What a user should know of the characters of a text: how its lines end, how its letters are spelt.

Sees every character as it is in the files and changes none. Knows no file and no vocabulary; corpus.py decides whether
the remarks are made.
"""

import os
import unicodedata

from charrnn.errors import counted

MAX_JUDGED = 1 << 24  # characters whose normal form is looked at: it may take as long as reading them


class Remarks:
    """Watches the characters of a text go by; `notes` tells what was seen."""

    def __init__(self, rewriting):
        self._rewriting = rewriting
        self._returns = self._windows_ends = self._newlines = 0
        self._after_return = False
        self._judged, self._last = 0, ""
        self._spelling = None  # the first characters that NFC spells in another way, and their spelling in NFC

    def see(self, text):
        """Take in the next characters."""
        if self._rewriting.newlines == "keep":
            self._see_line_ends(text)
        if self._rewriting.normalize == "none" and self._spelling is None and self._judged < MAX_JUDGED:
            self._judged += len(text)
            text = self._last + text
            self._last = text[-1:]
            if not unicodedata.is_normalized("NFC", text):
                self._spelling = _first_in_pieces(text)

    def notes(self):
        """Return the remarks, each with what may be done about it where a model is trained."""
        return [each for each in (self._on_line_ends(), self._on_spelling()) if each]

    def _see_line_ends(self, text):
        if "\r" in text or self._after_return:
            self._returns += text.count("\r")
            self._windows_ends += text.count("\r\n") + (self._after_return and text.startswith("\n"))
            self._after_return = text.endswith("\r") if text else self._after_return
        if not self._newlines:
            self._newlines = text.count("\n")

    def _on_line_ends(self):
        alone = self._returns - self._windows_ends
        if not self._returns:
            return None
        if not self._newlines:
            return (
                "the text ends its lines with carriage returns alone, as old Macs did, and has no newline at all: kept "
                "as it is, samples are like it; train with --newlines lf to make newlines of them"
            )
        told = "the text has carriage returns, as Windows ends its lines"
        if alone:
            some = f"{counted(alone, 'carriage return')} that {'ends' if alone == 1 else 'end'} no line as Windows does"
            told = f"{told}, and {some}" if self._windows_ends else f"the text has {some}"
        return f"{told}: kept as they are, samples have them too; train with --newlines lf to have newlines alone"

    def _on_spelling(self):
        if self._spelling is None:
            return None
        spelt, joined = self._spelling
        return (
            f"the text is not in Unicode's form NFC, in which most is typed: it spells {joined!r} as {ascii(spelt)}; kept "
            "as it is, and a prime must be spelt so too; train with --normalize nfc to have both read as one"
        )


def _first_in_pieces(text):
    """Return (the first characters of a text that NFC spells in another way, the character that it makes of them)."""
    joined = unicodedata.normalize("NFC", text)
    at = len(os.path.commonprefix([text, joined]))
    pieces = unicodedata.normalize("NFD", joined[at : at + 1])
    return pieces if text.startswith(pieces, at) else text[at : at + 1], joined[at : at + 1]
