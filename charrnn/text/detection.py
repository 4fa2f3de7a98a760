"""Which encoding bytes are in that are not in the one that was asked for: a suggestion, never acted on unasked.

Knows bytes, no paths. The detector is imported when a suggestion is needed.
"""

import codecs
import re
import unicodedata

SAMPLE_BYTES = 1 << 16  # that a suggestion is made from
FEW = 12  # bytes beyond ASCII, below which no detector can tell; among letters, the commonest is likely
DAMAGED = 0.1  # so many faults for a character beyond ASCII, at most, and it is UTF-8 that is damaged

# What files come in, and no more: among all encodings that Python knows, most languages fit several, and rare ones win.
_WESTERN = "cp1252"
_CANDIDATES = (
    *(_WESTERN, "cp949", "cp932", "euc_jp", "gb18030", "big5", "cp1251", "koi8_r", "cp1250", "iso8859_2", "cp1253"),
    *("cp1254", "cp1255", "cp1256", "cp874", "cp866", "cp850", "mac_roman"),
)
_CENTRAL = ("cp1250", "iso8859_2")  # of Central Europe: they have most letters of the West too


def suggest_encoding(data):
    """Return Python's name of the encoding that a text in bytes probably has; None if no encoding is plausible.

    data : bytes; the first and the last character may be incomplete
    """
    if looks_like_utf8(data):
        return "utf-8"
    lines = b"\n".join(line for line in data.split(b"\n") if not line.isascii())
    if sum(byte >= 0x80 for byte in lines) < FEW:
        return _WESTERN if _is_sparse(lines) and _reads_well(lines, _WESTERN) else None
    from charset_normalizer import from_bytes

    matches = list(from_bytes(lines, cp_isolation=list(_CANDIDATES), enable_fallback=False))
    matches = [match for match in matches if _reads_well(lines, match.encoding)]
    if not matches:
        return None
    best = matches[0]
    if best.encoding != _WESTERN:
        # The same characters in both, or nothing but the detector's liking of a language against it.
        western = next((match for match in matches if _WESTERN in match.could_be_from_charset), None)
        if western is best or (western and best.encoding in _CENTRAL and western.coherence > best.coherence - 0.1):
            return _WESTERN
    return best.encoding.replace("_", "-")


def is_damaged_utf8(data):
    """Return whether invalid UTF-8 is nearly valid: it has few errors compared with its non-ASCII characters."""
    text = data.decode("utf-8", "replace")
    faults = text.count("\ufffd")
    beyond = sum(c > "\x7f" for c in text) - faults if not text.isascii() else 0
    return faults <= DAMAGED * beyond


def looks_like_utf8(data):
    """Return whether bytes are valid UTF-8 with at least three non-ASCII characters, which is hardly chance."""
    return not data.isascii() and _is_utf8(data) and sum(byte >= 0xC0 for byte in data[:SAMPLE_BYTES]) >= 3


def _is_utf8(data):
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _is_sparse(data):
    """Say whether bytes beyond ASCII stand by ones and twos among letters, as accents in a Latin alphabet."""
    words = re.findall(rb"[\x80-\xff]+", data)
    letters = len(re.findall(rb"[A-Za-z]", data))
    return max(map(len, words), default=0) <= 2 and letters >= 2 * sum(map(len, words))


def _reads_well(data, encoding):
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    strange = sum(unicodedata.category(c) in ("Cc", "Cn", "Co") and c not in "\t\n\r\f\v\x1b" for c in text)
    return strange <= 0.01 * len(text)
