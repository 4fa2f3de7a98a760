"""What a file is, told from its beginning: text, text in UTF-16 or UTF-32, or something that a text can be made of.

A text may hold any character, a zero byte like any other control character, wherever it stands; what has more than
MAX_CONTROL_SHARE of them in its beginning is no text. Knows bytes, no paths.
"""

import codecs
import unicodedata
from typing import NamedTuple

MAX_CONTROL_SHARE = 0.05  # more control characters than this, and it is not text
MIN_CHARACTERS = 4  # of UTF-16 without a mark, below which anything might be it
MAX_PRINTABLE_SHARE = 0.75  # of its bytes, as ASCII has them
SHORT = 64  # below so many characters, half of them must be ASCII

# C0 without tab, newline, vertical tab, form feed, return and escape (a terminal recording is text); DEL.
_CONTROLS = dict.fromkeys(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\v\f\r\x1b")

_PRINTABLE = bytes((*range(0x20, 0x7F), *b"\t\n\r"))

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class FileKind(NamedTuple):
    """What a file is that cannot be read as it was asked to be.

    what       as in "it is ..."
    encoding   in which it is a text; None where it is none
    command    of a shell, which makes a text of it: {} is the file, {text} the text
    filter     the same of a pipe, from stdin to stdout; empty where there is none
    """

    what: str
    encoding: str | None = None
    command: str = ""
    filter: str = ""


def _unpacked(what, filter):
    return FileKind(what, command=f"{filter} < {{}} > {{text}}", filter=filter)


def _document(what, kind):
    return FileKind(
        what, command=f"pandoc -f {kind} -t plain --wrap=none {{}} -o {{text}}", filter=f"pandoc -f {kind} -t plain"
    )


_TAR = FileKind("a tar archive", command="tar -xOf {} > {text}", filter="tar -xOf -")
_ZIP = FileKind("a ZIP archive", command="unzip -p {} > {text}", filter="funzip")
_IN_ZIP = (  # what stands in the beginning of an archive that is a document
    (b"mimetypeapplication/epub+zip", _document("an EPUB book", "epub")),
    (b"mimetypeapplication/vnd.oasis.opendocument.text", _document("an OpenDocument text", "odt")),
    (b"word/", _document("a Word document (DOCX)", "docx")),
)
_MAGIC = (
    (b"PK\x03\x04", _ZIP),
    (b"%PDF-", FileKind("a PDF document", command="pdftotext {} {text}", filter="pdftotext - -")),
    (b"\x1f\x8b", _unpacked("compressed with gzip", "gzip -dc")),
    (b"BZh", _unpacked("compressed with bzip2", "bzip2 -dc")),
    (b"\xfd7zXZ\0", _unpacked("compressed with xz", "xz -dc")),
    (b"\x28\xb5\x2f\xfd", _unpacked("compressed with Zstandard", "zstd -dc")),
    (b"\x04\x22\x4d\x18", _unpacked("compressed with LZ4", "lz4 -dc")),
    (b"\x1f\x9d", _unpacked("compressed with compress", "gzip -dc")),
    (b"LZIP\x01", _unpacked("compressed with lzip", "lzip -dc")),
    (b"\x5d\0\0", _unpacked("compressed with lzma", "xz --format=lzma -dc")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", command="7z x -so {} > {text}")),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", command="unrar p -inul {} > {text}")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("an old Office document (DOC)", command="antiword {} > {text}")),
    (b"SQLite format 3\0", FileKind("an SQLite database", command="sqlite3 {} .dump > {text}")),
)


def why_not_text(head, encoding):
    """Return what the beginning of a file is, as a FileKind, where it is not text in `encoding`; None if it may be."""
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if wide:
        return _not_wide(head, codecs.lookup(encoding).name, marked)
    if marked is not None:
        return _wide(marked, f"{marked.upper()}, according to its byte-order mark")
    kind = recognise(head)
    if kind is not None:
        return kind
    unmarked = _unmarked(head) if b"\0" in head else None
    if unmarked is not None:
        return _wide(unmarked, f"{unmarked.upper()} without a byte-order mark")
    return _binary(head.decode("latin-1"))


def recognise(head):
    """Return what a file is, as a FileKind, that holds text in a form of its own; None of any other."""
    if head[257:262] == b"ustar":
        return _TAR
    for magic, kind in _MAGIC:
        if head.startswith(magic) and _is_compressed(head, magic):
            return next((inner for mark, inner in _IN_ZIP if mark in head), kind) if kind is _ZIP else kind
    return None


def iconv_name(encoding):
    """Return what iconv calls one of Python's encodings."""
    return encoding.replace("_", "-").replace("-le", "le").replace("-be", "be")


def _is_compressed(head, magic):
    """Say whether what follows a magic is no text, where that magic could begin one."""
    return magic != b"BZh" or head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")


def _binary(text):
    """Return the kind of a binary file where so many of these characters are control characters; else None."""
    share = (len(text) - len(text.translate(_CONTROLS))) / max(1, len(text))
    if share > MAX_CONTROL_SHARE:
        return FileKind(f"a binary file, {share:.0%} of its characters are control characters")
    return None


def _wide(encoding, what):
    filter = f"iconv -f {iconv_name(encoding)} -t utf-8"
    return FileKind(what, encoding, f"{filter} {{}} > {{text}}", filter)


def _not_wide(head, encoding, marked):
    """Return what a file is that is to be read as UTF-16 or UTF-32, and is not."""
    if len(head) < 4:
        return None  # nothing can be told
    if marked is not None:
        orders = {"le": (codecs.BOM_UTF32_LE, codecs.BOM_UTF16_LE), "be": (codecs.BOM_UTF32_BE, codecs.BOM_UTF16_BE)}
        if encoding[:6] == marked and (encoding == encoding[:6] or head.startswith(orders[encoding[-2:]])):
            return None
        return _wide(marked, f"{marked.upper()}, according to its byte-order mark")
    kind = recognise(head)
    if kind is not None:
        return kind
    if b"\0" not in head and len(head) >= 2 * MIN_CHARACTERS:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            return None
        return FileKind(f"UTF-8, not {encoding.upper()}", "utf-8")
    text = head.decode(encoding, "replace")
    return _binary(text)


def _unmarked(head):
    """Return in which of UTF-16 and UTF-32 the beginning of a file is text, though it has no mark; None if in none."""
    if len(head) - len(head.translate(None, _PRINTABLE)) > MAX_PRINTABLE_SHARE * len(head):
        return None  # one byte a character, and zero bytes among them
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head[: 1 << 14])
        except UnicodeDecodeError:
            continue
        if len(text) >= MIN_CHARACTERS and _is_plausible(text):
            return encoding
    return None


def _is_plausible(text):
    """Say whether decoded characters are those of a text: all assigned, hardly any controls, and with ASCII among them.

    Bytes that are no text nearly always decode to unassigned or private characters. Those of a text in one byte a
    character decode to ideographs, but then nothing in ASCII is among them.
    """
    strange = sum(unicodedata.category(c) in ("Cn", "Co", "Cs") for c in text)
    plain = sum(" " <= c < "\x7f" or c in "\t\n\r" for c in text)
    least = 0.5 if len(text) < SHORT else 0.001
    return strange <= 0.01 * len(text) and _binary(text) is None and plain >= least * len(text)
