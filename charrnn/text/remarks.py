"""What a user should know of the characters of a text: how its lines and files end, how its letters are spelt.

Sees every character as it is in the files and changes none. Knows no file and no vocabulary; corpus.py decides whether
the remarks are made.
"""

import os
import unicodedata

from charrnn.errors import counted

LINE_ENDS = "\n\r\f\x85\u2028\u2029"
MAX_JUDGED = 1 << 24  # characters of a text that are looked at closely, which may take as long as reading them


class Remarks:
    """Watches the characters of a text go by; `notes` tells what was seen."""

    def __init__(self, rewriting):
        self._rewriting = rewriting
        self._windows_ends = self._lone_returns = self._newlines = False  # whether the text has any
        self._after_return = False
        self._judged, self._last = 0, ""
        self._spelling = None  # the first characters that NFC spells in another way, and their spelling in NFC

    def see(self, text):
        """Take in the next characters."""
        self._judged += len(text)
        if self._rewriting.newlines == "keep":
            self._see_line_ends(text)
        if self._rewriting.normalize == "none" and self._spelling is None and self._judged <= MAX_JUDGED:
            text = self._last + text
            self._last = text[-1:]
            if not unicodedata.is_normalized("NFC", text):
                self._spelling = _first_in_pieces(text)

    def notes(self):
        """Return the remarks, each with what may be done about it where a model is trained."""
        return [each for each in (self._on_line_ends(), self._on_spelling()) if each]

    def _see_line_ends(self, text):
        self._newlines = self._newlines or "\n" in text
        has_both = self._windows_ends and self._lone_returns
        if has_both or self._judged > MAX_JUDGED and (self._windows_ends or self._lone_returns):
            self._after_return = False
            return
        if self._after_return and text:
            self._note_return(text[0])
        if "\r" in text:
            windows_ends = text.count("\r\n")
            self._windows_ends = self._windows_ends or windows_ends > 0
            self._lone_returns = self._lone_returns or text.count("\r") - text.endswith("\r") > windows_ends
        if text:
            self._after_return = text.endswith("\r")

    def _note_return(self, after):
        """Take in a carriage return, by the character after it, "" at the end of the text."""
        if after == "\n":
            self._windows_ends = True
        else:
            self._lone_returns = True

    def _on_line_ends(self):
        if self._after_return:
            self._note_return("")
        if not self._windows_ends and not self._lone_returns:
            return None
        if not self._newlines:
            return (
                "the text ends its lines with carriage returns, as old Macs did, and has no newlines. It is kept as "
                "it is, and samples will look the same; train with --newlines lf to convert them to newlines"
            )
        told = "the text has carriage returns at the ends of lines, as Windows writes them"
        if self._lone_returns:
            told = (
                f"{told}, and others on their own"
                if self._windows_ends
                else "the text has both carriage returns and newlines"
            )
        return f"{told}. They are kept, and samples will have them too; train with --newlines lf to have only newlines"

    def _on_spelling(self):
        if self._spelling is None:
            return None
        spelt, joined = self._spelling
        return (
            f"the text is not in the usual Unicode form NFC: it writes {joined!r} as {ascii(spelt)}. It is kept as it "
            "is, so a prime must be written in the same way; train with --normalize nfc to accept both"
        )


class Seams:
    """Where the files of a text meet: which do not end in a newline, so that the next one continues their last line.

    parted    whether a newline is put there
    """

    def __init__(self, parted):
        self.parted = parted
        self._last_file, self._end = None, "\n"
        self._count, self._first = 0, ("", "")  # the files on both sides of the first seam

    def begin(self, name):
        """A file begins that is not empty; return whether the one before it left its last line open."""
        is_open = self._last_file is not None and self._end not in LINE_ENDS
        if is_open:
            self._count += 1
            self._first = self._first if self._count > 1 else (self._last_file or "", name)
        self._last_file = name
        return is_open

    def go_on(self, end):
        """Take in the last character so far of the file that was begun."""
        self._end = end

    def notes(self, is_new):
        """Return the remark, if there is one; `is_new` tells whether the text is for a model to be trained."""
        if not self._count:
            return []
        if self.parted:
            return [f"inserted {counted(self._count, 'newline')} between files that do not end with one"]
        first, following = self._first
        if self._count == 1:
            said = f"{first} does not end with a newline, so {following} continues its last line"
        else:
            said = (
                f"{self._count:,} files do not end with a newline, so the next file continues their last line; for "
                f"example {following} continues the last line of {first}"
            )
        return [said + ("; train with --part-files to insert a newline between them" if is_new else "")]


def _first_in_pieces(text):
    """Return (the first characters of a text that NFC spells in another way, the character that it makes of them)."""
    joined = unicodedata.normalize("NFC", text)
    at = len(os.path.commonprefix([text, joined]))
    pieces = unicodedata.normalize("NFD", joined[at : at + 1])
    return pieces if text.startswith(pieces, at) else text[at : at + 1], joined[at : at + 1]
