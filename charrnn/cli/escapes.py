"""Escapes in what is typed: \\n and its kind, as Python spells them. Imports no command."""

import re

from charrnn.errors import ConfigError

SPELT = "\\n, \\t, \\r, \\0, \\\\, \\xHH, \\uXXXX and \\UXXXXXXXX"
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:([ntr0\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL)
# What looks like a newline or a tab that was meant, and not like a command of LaTeX.
_MEANT = re.compile(r"(?<!\\)\\[ntr](?![a-z])")
_BYTE = 0xDC00  # as which a vocabulary of bytes takes a byte


def read_escapes(text, option, in_bytes=False):
    """Return a text with its escapes read.

    option      as what it was given, for the ConfigError where one is none
    in_bytes    whether \\xHH is a byte, not a character
    """

    def read(match):
        simple, byte, *codes, wrong = match.groups()
        if simple:
            return _SIMPLE[simple]
        if byte:
            return chr(int(byte, 16) + (_BYTE if in_bytes else 0))
        code = next((int(code, 16) for code in codes if code), 0xD800)
        if wrong is not None or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            raise ConfigError(
                f"{option}: {match[0]} at offset {match.start():,} is not an escape: with --escapes write {SPELT}, "
                "where "
                "\\\\ is a backslash",
                ["escapes"],
            )
        return chr(code)

    return _ESCAPE.sub(read, text)


def looks_escaped(text):
    """Say whether a text that is taken as it stands has what looks like an escape for a newline, a tab or a return."""
    return _MEANT.search(text) is not None


def on_one_line(text):
    """Write a text on one line: what breaks lines, and the backslash, as `read_escapes` reads them."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
