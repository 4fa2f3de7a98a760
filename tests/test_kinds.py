"""What is no text in the encoding asked for is said by name, with the command that makes a text of it."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile

import pytest
from test_detection import refused

from charrnn.text.corpus import read_corpus
from charrnn.text.kinds import why_not_text
from charrnn.text.sources import OPENERS, zstd_library

LINES = "to be or not to be, that is the question\n" * 40
TEXTS = {
    "English": LINES,
    "Russian": "Все счастливые семьи похожи друг на друга.\n" * 40,
    "Korean": "한국어 문장은 이렇게 씁니다. 오늘은 날씨가 좋다.\n" * 40,
    "Chinese": "道可道，非常道。名可名，非常名。無名天地之始，有名萬物之母。\n" * 40,
    "with rare letters": "naïve café, 12 €, 😀 and \U0001f9d9.\r\n" * 40,
    "short": "to be",
}


def in_zip(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return buffer.getvalue()


def in_tar(mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(LINES)
        archive.addfile(info, io.BytesIO(LINES.encode()))
    return buffer.getvalue()


KINDS = [
    ("a.zip", in_zip(a_txt=LINES), "a ZIP archive", "unzip -p {}/a.zip > {}/a.txt"),
    ("a.docx", in_zip(_rels="", word__document_xml="<w>"), "a Word document (DOCX)", "pandoc -f docx "),
    (
        "a.epub",
        in_zip(mimetype="application/epub+zip"),
        "an EPUB book",
        "pandoc -f epub -t plain --wrap=none {}/a.epub",
    ),
    ("a.odt", in_zip(mimetype="application/vnd.oasis.opendocument.text"), "an OpenDocument text", "pandoc -f odt "),
    ("my paper.pdf", b"%PDF-1.4\n1 0 obj\n", "a PDF document", "pdftotext '{}/my paper.pdf' '{}/my paper.txt'"),
    ("a.tar", in_tar(), "a tar archive", "tar -xOf {}/a.tar > {}/a.txt"),
    ("a.tar.gz", in_tar("w:gz"), "a tar archive", "gzip -dc {}/a.tar.gz | tar -xOf - > {}/a.txt"),
    ("a.tar.xz", in_tar("w:xz"), "a tar archive", "xz -dc {}/a.tar.xz | tar -xOf - > {}/a.txt"),
    ("a.tgz", in_tar("w:gz"), "compressed with gzip", "tar -xOf {}/a.tgz > {}/a.txt"),
    ("a.txt", gzip.compress(LINES.encode()), "compressed with gzip", "gzip -dc < {}/a.txt > {}/a-2.txt"),
    ("a", bz2.compress(LINES.encode()), "compressed with bzip2", "bzip2 -dc < {}/a > {}/a.txt"),
    ("a", lzma.compress(LINES.encode()), "compressed with xz", "xz -dc < {}/a > {}/a.txt"),
    ("a", lzma.compress(LINES.encode(), lzma.FORMAT_ALONE), "compressed with lzma", "xz --format=lzma -dc < {}/a"),
    ("a.gz.gz", gzip.compress(gzip.compress(LINES.encode())), "compressed with gzip", "| gzip -dc > {}/a.txt"),
    ("a.txt", zstd_library().compress(LINES.encode()), "compressed with Zstandard", "zstd -dc < {}/a.txt > {}/a-2.txt"),
    ("a.7z", b"7z\xbc\xaf\x27\x1c\0", "a 7z archive", "7z x -so {}/a.7z > {}/a.txt"),
    ("a.rar", b"Rar!\x1a\x07\x01\0", "a RAR archive", "unrar p -inul {}/a.rar > {}/a.txt"),
    ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an old Office document", "antiword {}/a.doc > {}/a.txt"),
    ("a.db", b"SQLite format 3\0\x10\0", "an SQLite database", "sqlite3 {}/a.db .dump > {}/a.txt"),
    (
        "u.txt",
        LINES.encode("utf-16"),
        "UTF-16, according to its byte-order mark",
        "iconv -f utf-16 -t utf-8 {}/u.txt > {}/u-2.txt",
    ),
    ("u.txt", LINES.encode("utf-32"), "UTF-32, according to its byte-order mark", "iconv -f utf-32 -t utf-8 {}/u.txt"),
    ("u.txt", LINES.encode("utf-16-le"), "UTF-16-LE without a byte-order mark", "iconv -f utf-16le -t utf-8 {}/u.txt"),
    ("u.gz", gzip.compress(LINES.encode("utf-16-be")), "UTF-16-BE without", "gzip -dc {}/u.gz | iconv -f utf-16be -t"),
]


@pytest.mark.parametrize("name, data, what, command", KINDS, ids=[f"{one[0]}-{one[2]}" for one in KINDS])
def test_a_file_that_holds_text_in_a_form_of_its_own_is_named_with_the_command_that_works(
    tmp_path, name, data, what, command
):
    path = tmp_path / name
    path.write_bytes(data)
    for encoding in ("utf-8", "latin-1"):
        message = refused(path, encoding=encoding)
        assert message.startswith(f"{path} is {what}") and command.replace("{}", str(tmp_path)) in message
    paste = message.split("convert it to text with: ")[1]
    if shutil.which(paste.split()[0]) and len(data) > 200:
        subprocess.run(paste, shell=True, check=True)
        made = next(path for path in tmp_path.iterdir() if path.name != name)
        assert made.read_text() == LINES and path.read_bytes() == data


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_utf16_and_utf32_are_recognised_and_read_as_advised(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    message = refused(path)
    advised = message.split("--encoding ")[1].split(",")[0]
    with read_corpus([path], encoding=advised) as corpus:
        assert corpus.text(0, corpus.characters) == text
    big_endian = tmp_path / "b.txt"
    big_endian.write_bytes(b"\xfe\xff" + text.encode("utf-16-be"))
    assert "read it with --encoding utf-16, or" in refused(big_endian)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_in_utf8_is_not_read_as_utf16(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text + " and more" * 2)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert refused(path, encoding=encoding) == (
            f"{path} is UTF-8, not {encoding.upper()}: read it with --encoding utf-8"
        )


def test_a_mark_of_another_encoding_than_the_one_named_is_told(tmp_path):
    path = tmp_path / "a.txt"
    for written, named in (
        ("utf-32", "utf-16"),
        ("utf-16", "utf-32"),
        ("utf-16", "utf-16-be"),
        ("utf-32", "utf-32-be"),
    ):
        path.write_bytes(LINES.encode(written))
        assert f"read it with --encoding {written}, or" in refused(path, encoding=named)
    for encoding in ("utf-16-le", "utf-32-le"):  # a mark that fits is left out, as ever
        path.write_bytes(f"\ufeff{LINES}".encode(encoding))
        with read_corpus([path], encoding=encoding) as corpus:
            assert corpus.text(0, corpus.characters) == LINES


@pytest.mark.parametrize(
    "data",
    [
        random.Random(1).randbytes(100_000),
        b"\x7fELF\2\1\1\0" + bytes(200),
        bytes(range(1, 128)) * 3,
        b"\0" * 5000,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0",
    ],
    ids=["random", "ELF", "all codes", "zeros", "PNG"],
)
def test_what_is_none_of_these_is_binary(data):
    kind = why_not_text(data, "utf-8")
    assert kind.what.startswith("a binary file, ") and not kind.command and kind.encoding is None


@pytest.mark.parametrize(
    "text", [*TEXTS.values(), "PK is not a ZIP", "BZh is text", "LZIP too", "]", "7z", "%PD", "ustar"]
)
def test_a_text_is_a_text(text):
    assert why_not_text(text.encode(), "utf-8") is None
    assert why_not_text(text.encode("utf-8-sig"), "utf-8") is None


def test_stdin_is_told_what_to_pipe_through(monkeypatch):
    for data, said in (
        (
            LINES.encode("utf-16-le"),
            "read it with --encoding utf-16-le, or pipe it through: iconv -f utf-16le -t utf-8",
        ),
        (in_tar(), "stdin is a tar archive: pipe it through: tar -xOf -"),
        (b"%PDF-1.4\n", "stdin is a PDF document: pipe it through: pdftotext - -"),
    ):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
        assert refused("-").endswith(said)


def test_in_a_folder_they_are_named_one_by_one(tmp_path):
    (tmp_path / "a.txt").write_text(LINES)
    for name in ("b.txt", "c.txt", "d.txt", "e.txt", "f.txt"):
        (tmp_path / name).write_bytes(LINES.encode("utf-16-le"))
    (tmp_path / "g.bin").write_bytes(bytes(99))
    with read_corpus([tmp_path]) as corpus:
        assert corpus.text(0, corpus.characters) == LINES
        said = corpus.notes
    assert said == (
        f"{tmp_path}: skipped 6 binary or special files",
        *(
            f"skipped: {tmp_path}/{name}.txt is UTF-16-LE without a byte-order mark; convert it to text with: "
            f"iconv -f utf-16le -t utf-8 {tmp_path}/{name}.txt > {tmp_path}/{name}-2.txt"
            for name in "bcd"
        ),
        f"also skipped, but can be converted to text: {tmp_path}/e.txt, {tmp_path}/f.txt",
    )
    (tmp_path / "a.txt").unlink()
    assert refused(tmp_path).startswith(
        f"the folder {tmp_path} contains no text (skipped 6 binary or special files): {tmp_path}/b.txt is UTF-16-LE"
    )
    with read_corpus([tmp_path], encoding="utf-16-le") as corpus:
        assert corpus.characters >= 5 * len(LINES)


def test_any_of_them_is_read_as_bytes(tmp_path):
    for name, data, *_ in KINDS:
        (tmp_path / name).write_bytes(data)
        with read_corpus([tmp_path / name], mode="bytes") as corpus:
            assert corpus.characters == len(data) or name.endswith(tuple(OPENERS))
