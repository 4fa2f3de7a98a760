"""What a file is, told from its beginning: text, or something else.

A text may hold any character, a zero byte like any other control character, wherever it stands; what has more than
MAX_CONTROL_SHARE of them in its beginning is no text.

Knows bytes, no paths.
"""

import codecs

MAX_CONTROL_SHARE = 0.05  # more control characters than this, and it is not text

# C0 without tab, newline, vertical tab, form feed, return and escape (a terminal recording is text); DEL.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\v\f\r\x1b")


def why_not_text(head, encoding):
    """Return why the beginning of a file is not text in `encoding`, or "" if it may be."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return ""  # half of what it holds are zeros: only decoding tells
    share = (len(head) - len(head.translate(None, _CONTROLS))) / max(1, len(head))
    return f"{share:.0%} of its characters are control characters" if share > MAX_CONTROL_SHARE else ""


def iconv_name(encoding):
    """Return what iconv calls one of Python's encodings."""
    return encoding.replace("_", "-").replace("-le", "le").replace("-be", "be")
