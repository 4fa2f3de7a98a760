"""Texts of every kind to ids on disk, and one clear sentence for each that cannot be read."""

import builtins
import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import CharRNNError, ConfigError, CorpusError, StorageError, VocabularyError
from charrnn.text import corpus as module
from charrnn.text import decoding, ids, sources
from charrnn.text.corpus import read_corpus
from charrnn.text.sources import zstd_library
from charrnn.text.vocabulary import Vocabulary

zstd = zstd_library()
ROOT = Path(__file__).parent.parent
AWKWARD = "\ufeffa\r\nb\rc\n\té€😀\U0010ffff\x85\u2028'"


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def stdin(monkeypatch):
    def feed(data):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))

    return feed


@pytest.fixture(params=[1, 2, 3, 7, 1 << 17])
def block_bytes(request, monkeypatch):
    set_block_bytes(monkeypatch, request.param)
    return request.param


def set_block_bytes(monkeypatch, size):
    for each in (sources, decoding, ids):
        monkeypatch.setattr(each, "BLOCK_BYTES", size)


def checked_zstd(data):
    """Compress as the command zstd does: with a checksum."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def whole(corpus):
    return corpus.text(0, corpus.characters)


def refused(*arguments, error=CorpusError, **options):
    with pytest.raises(error) as caught:
        read_corpus(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_ids_are_those_of_the_sorted_vocabulary(write):
    corpus = read_corpus([write("a.txt", "banana bread")])
    assert corpus.vocabulary == Vocabulary("chars", " abdenr")
    assert corpus.ids.dtype == np.uint8 and corpus.ids.shape == (12,) and corpus.characters == 12
    assert (corpus.ids == corpus.vocabulary.encode("banana bread")).all()
    assert corpus.text(7, 12) == "bread" and corpus.mode == "chars" and corpus.size_bytes == 12
    assert corpus.notes == ()


def test_ids_are_memory_mapped_read_only_and_leave_no_file(write, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARRNN_CACHE_DIR", str(tmp_path / "cache"))
    corpus = read_corpus([write("a.txt", "ab")])
    assert isinstance(corpus.ids, np.memmap) and not corpus.ids.flags.writeable
    assert os.listdir(tmp_path / "cache") == []


def test_characters_cut_by_a_block_are_whole_again(write, block_bytes):
    text = AWKWARD[1:] * 3
    assert whole(read_corpus([write("a.txt", text)])) == text


def test_line_ends_stay_as_they_are(write, block_bytes):
    text = "a\r\nb\nc\r\r\n\n\x85\u2028"
    corpus = read_corpus([write("a.txt", text)])
    assert whole(corpus) == text and {"\r", "\n"} < set(corpus.vocabulary.symbols)


def test_the_byte_order_mark_of_each_file_is_left_out_and_noted(write, block_bytes):
    paths = [write("a.txt", "\ufeffab"), write("b.txt", "c\ufeff"), write("c.txt", "\ufeffd")]
    corpus = read_corpus(paths)
    assert whole(corpus) == "abc\ufeffd"
    assert corpus.notes[:-1] == tuple(
        f"skipped the byte-order mark at the start of {path}" for path in (paths[0], paths[2])
    )
    assert corpus.notes[-1].startswith("2 files do not end with a newline")


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "UTF8", "utf-7"]
)
def test_other_encodings_are_decoded(write, encoding, block_bytes):
    text = "na\u00efve\r\n\u00e9t\u00e9 " * 20
    assert whole(read_corpus([write("a.txt", text.encode(encoding))], encoding=encoding)) == text


@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "iso2022_jp"])
def test_encodings_of_many_bytes_are_decoded(write, encoding, block_bytes):
    text = "\u65e5\u672c\u8a9e\n" * 5
    assert whole(read_corpus([write("a.txt", text.encode(encoding))], encoding=encoding)) == text


def test_files_that_do_not_end_in_a_newline_are_told_and_parted_where_asked(write, block_bytes):
    one, empty, two, three = write("1", "one"), write("2", ""), write("3", "\ufefftwo\r"), write("4", "three")
    corpus = read_corpus([one, empty, two, three])
    assert whole(corpus) == "onetwo\rthree"
    assert corpus.notes[-1] == (
        f"{one} does not end with a newline, so {two} continues its last line; train with --part-files to insert a "
        "newline between them"
    )
    parted = read_corpus([one, empty, two, three], part_files=True)
    assert whole(parted) == "one\ntwo\rthree" and parted.notes[-1].startswith("inserted 1 newline between files")
    assert parted.fingerprint == hashlib.sha256(b"one\ntwo\rthree").hexdigest()
    assert read_corpus([two, one], part_files=True).fingerprint == read_corpus([two, one]).fingerprint
    many = read_corpus([one, three, one], encoding="latin-1").notes[-1]
    assert (
        f"2 files do not end with a newline, so the next file continues their last line; for example {three} continues"
        in many
    )


def test_a_newline_between_files_is_of_a_given_vocabulary_and_moves_no_offset(write, block_bytes):
    one, two = write("1", "one"), write("2", "two!")
    known = Vocabulary("chars", "\nenotw")
    message = refused([one, two], vocabulary=known, part_files=True, error=VocabularyError)
    assert f"'!' at {two}, offset 3" in message
    skipping = read_corpus([one, two], vocabulary=known, part_files=True, unknown="skip")
    assert whole(skipping) == "one\ntwo"
    without = Vocabulary("chars", "!enotw")
    assert whole(read_corpus([one, two], vocabulary=without, part_files=True)) == "onetwo!"
    told = read_corpus([one, two], vocabulary=without).notes
    assert told == (f"{one} does not end with a newline, so {two} continues its last line",)


def test_bytes_are_parted_too_and_a_picture_lacks_no_newline(write, block_bytes):
    one, two, picture = write("1", "one"), write("2", "two\n"), write("3", b"\xff\xd9\x00")
    assert len(read_corpus([one, two], mode="bytes").notes) == 1
    assert read_corpus([picture, two], mode="bytes").notes == ()
    assert whole(read_corpus([one, two], mode="bytes", part_files=True)) == "one\ntwo\n"


def test_bytes_mode_takes_anything_as_it_is(write, block_bytes):
    data = b"\xef\xbb\xbf" + bytes(range(256)) * 2 + "é\r\n".encode("latin-1")
    corpus = read_corpus([write("a.bin", data)], mode="bytes")
    assert bytes(corpus.vocabulary.symbols[number] for number in corpus.ids) == data
    assert corpus.vocabulary == Vocabulary("bytes", range(256)) and corpus.ids.dtype == np.uint8
    assert corpus.notes == () and corpus.size_bytes == corpus.characters == len(data)
    assert corpus.fingerprint == hashlib.sha256(data).hexdigest()


def test_bytes_mode_has_only_the_bytes_of_the_text(write, block_bytes):
    data = bytes(range(255)) + b"\xfe\xfe"
    corpus = read_corpus([write("a.bin", data)], mode="bytes")
    assert corpus.vocabulary.size == 255 and corpus.ids[-1] == 254


@pytest.mark.parametrize("size, dtype", [(2, "uint8"), (255, "uint8"), (256, "uint8"), (257, "uint16")])
def test_ids_are_widened_when_the_vocabulary_outgrows_them(write, block_bytes, size, dtype):
    symbols = [chr(code) for code in range(0x20, 0x20 + size)]
    text = "".join(symbols[::-1] + symbols)
    corpus = read_corpus([write("a.txt", text)])
    assert corpus.ids.dtype == dtype and corpus.vocabulary == Vocabulary("chars", symbols)
    assert whole(corpus) == text


@pytest.mark.parametrize("size, dtype", [(65536, "uint16"), (65537, "uint32")])
def test_ids_are_widened_twice_for_very_many_symbols(write, size, dtype):
    symbols = [chr(code) for code in range(0x20, 0x20 + size + 2048) if not 0xD800 <= code < 0xE000][:size]
    text = "".join(symbols[::-1]) + "ab"
    corpus = read_corpus([write("a.txt", text)])
    assert corpus.ids.dtype == dtype and corpus.vocabulary.size == size and whole(corpus) == text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=3), st.integers(1, 9))
def test_any_texts_are_read_back_whole(write, monkeypatch, texts, size):
    set_block_bytes(monkeypatch, size)
    joined = "".join(text.removeprefix("\ufeff") for text in texts)
    paths = [write(f"{number}.txt", text) for number, text in enumerate(texts)]
    if len(set(joined)) < 2:
        refused(paths)
        return
    with read_corpus(paths) as corpus:
        assert whole(corpus) == joined
        assert corpus.vocabulary.symbols == tuple(sorted(set(joined)))
        assert corpus.fingerprint == hashlib.sha256(joined.encode()).hexdigest()
        with read_corpus(paths, vocabulary=corpus.vocabulary) as again:
            assert (again.ids == corpus.ids).all() and again.ids.dtype == corpus.ids.dtype


def test_the_fingerprint_depends_on_the_characters_alone(write):
    one = read_corpus([write("a.txt", "\ufeffh\u00e9llo")])
    two = read_corpus([write("b.txt", "h\u00e9".encode("latin-1")), write("c.txt", b"llo")], encoding="latin-1")
    assert one.fingerprint == two.fingerprint == hashlib.sha256("h\u00e9llo".encode()).hexdigest()
    assert read_corpus([write("d.txt", "h\u00e9llO")]).fingerprint != one.fingerprint


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_files_follow_one_another_in_the_order_given(write):
    paths = [write("b.txt", "bb"), write("a.txt", "aa"), write("empty.txt", "")]
    corpus = read_corpus(paths)
    assert whole(corpus) == "bbaa" and corpus.sources == tuple(map(str, paths)) == corpus.files


def test_one_path_may_come_without_a_list(write):
    path = write("a.txt", "ab")
    assert whole(read_corpus(path)) == whole(read_corpus(str(path))) == "ab"


def test_sources_are_kept_absolute(write, monkeypatch, tmp_path, stdin):
    write("deep/a.txt", "ab")
    monkeypatch.chdir(tmp_path)
    stdin(b"cd")
    corpus = read_corpus(["deep", "deep/*.txt", "-"])
    assert corpus.sources == (str(tmp_path / "deep"), str(tmp_path / "deep/*.txt"), "-")
    assert corpus.files == (str(tmp_path / "deep/a.txt"), str(tmp_path / "deep/a.txt"), "-")
    assert whole(corpus) == "ababcd"


def test_a_file_read_twice_is_noted(write):
    path = write("a.txt", "ab")
    assert "is read 2 times" in read_corpus([path, path]).notes[0]


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_and_binary_files(write, tmp_path):
    for name, content in (
        ("b.txt", "B"),
        ("a/z.txt", "Z"),
        ("a/b/c.md", "C"),
        ("a-b.txt", "-"),
        (".hidden", "h"),
        (".git/config", "g"),
        ("x.pyc", b"\0\1\2"),
        ("noise", bytes(range(1, 32)) * 9),
        ("e", ""),
        ("t.txt.gz", gzip.compress(b"T")),
        ("n.gz", gzip.compress(b"\0\0")),
    ):
        write(f"texts/{name}", content)
    corpus = read_corpus([tmp_path / "texts"])
    assert whole(corpus) == "CZ-BT"
    assert corpus.notes[0] == f"{tmp_path / 'texts'}: skipped 2 hidden and 3 binary or special files"


def test_a_folder_in_bytes_mode_has_all_its_files_but_hidden_ones(write, tmp_path):
    write("texts/a", b"\0\xff")
    write("texts/.b", b"b")
    corpus = read_corpus([tmp_path / "texts"], mode="bytes")
    assert corpus.vocabulary.symbols == (0, 255)
    assert corpus.notes == (f"{tmp_path / 'texts'}: skipped 1 hidden file",)


def test_links_to_nowhere_and_in_circles_do_not_stop_a_folder(write, tmp_path):
    write("texts/a.txt", "ab")
    (tmp_path / "texts/nowhere").symlink_to("gone")
    (tmp_path / "texts/circle").symlink_to(".")
    os.mkfifo(tmp_path / "texts/pipe")
    assert whole(read_corpus([tmp_path / "texts"])) == "ab"


def test_a_glob_matches_files_sorted_and_below_with_two_stars(write, tmp_path):
    for name in ("b.txt", "a.txt", "deep/c.txt", "d.md"):
        write(name, name[-5:])
    assert whole(read_corpus([f"{tmp_path}/*.txt"])) == "a.txtb.txt"
    assert whole(read_corpus([f"{tmp_path}/**/*.txt"])) == "a.txtb.txtc.txt"


def test_a_file_whose_name_looks_like_a_glob_is_that_file(write):
    assert whole(read_corpus([write("a[1].txt", "ab")])) == "ab"


@pytest.mark.parametrize(
    "suffix, compress",
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", zstd.compress),
        (".GZ", gzip.compress),
    ],
)
@pytest.mark.parametrize("mode", ["chars", "bytes"])
def test_compressed_texts_are_read_as_text(write, block_bytes, suffix, compress, mode):
    text = "h\u00e9llo\r\n" * 9
    corpus = read_corpus([write(f"a.txt{suffix}", compress(text.encode()))], mode=mode)
    assert whole(corpus) == text and corpus.size_bytes == len(text.encode())


def test_stdin_is_read(stdin, block_bytes):
    stdin(AWKWARD.encode())
    corpus = read_corpus(["-"])
    assert whole(corpus) == AWKWARD[1:] and corpus.sources == ("-",)
    assert corpus.notes[0] == "skipped the byte-order mark at the start of stdin"
    assert "carriage returns" in corpus.notes[1]


def test_a_pipe_is_read_to_its_end():
    code = "from charrnn.text.corpus import read_corpus; c = read_corpus(['-']); print(c.characters, c.vocabulary.size)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"ab\r\n" * 100_000, stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    assert done.stdout.split() == [b"400000", b"4"]


def test_progress_counts_stored_bytes_up_to_the_total(write, monkeypatch):
    set_block_bytes(monkeypatch, 10)
    paths = [write("a.txt", "ab" * 20), write("b.txt.gz", gzip.compress(b"cd" * 1000)), write("c.txt", "ef")]
    calls = []
    read_corpus(paths, progress=lambda *call: calls.append(call))
    total = sum(path.stat().st_size for path in paths)
    assert {call[1] for call in calls} == {total} and calls[-1][0] == total
    assert [call[0] for call in calls] == sorted(call[0] for call in calls)


def test_progress_of_stdin_has_no_total(stdin, monkeypatch):
    set_block_bytes(monkeypatch, 3)
    stdin(b"abcdefg")
    calls = []
    read_corpus(["-"], progress=lambda *call: calls.append(call))
    assert calls == [(3, None), (6, None), (7, None)]


# ---- with a vocabulary -----------------------------------------------------------------------------------------------


def test_a_given_vocabulary_is_used_as_it_is(write):
    vocabulary = Vocabulary("chars", "zba\u20ac")
    corpus = read_corpus([write("a.txt", "ab")], vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary and corpus.ids.tolist() == [2, 1]
    assert read_corpus([write("a.txt", "aaa")], vocabulary=vocabulary).ids.tolist() == [2, 2, 2]


def test_a_character_not_in_the_vocabulary_is_named_with_file_and_offset(write, block_bytes):
    paths = [write("a.txt", "abab"), write("b.txt", "ab\u00e9")]
    message = refused(paths, vocabulary=Vocabulary("chars", "abe"), error=VocabularyError)
    assert f"character '\u00e9' at {paths[1]}, offset 2 is not among the 3 characters" in message
    assert "write 'e'" in message
    message = refused([paths[0]], mode="bytes", vocabulary=Vocabulary("bytes", b"b"), error=VocabularyError)
    assert f"byte 0x61 at {paths[0]}, offset 0" in message


def test_unknown_characters_are_skipped_when_asked_and_counted(write, block_bytes):
    text = "a\u00e9b\u00e9cxa"
    corpus = read_corpus([write("a.txt", text)], vocabulary=Vocabulary("chars", "ab"), unknown="skip")
    assert whole(corpus) == "aba"
    assert corpus.notes == ("skipped 4 characters that are not in the vocabulary: '\u00e9', 'c', 'x'",)
    assert corpus.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_a_text_of_unknown_characters_only_is_refused(write):
    assert "no character of the vocabulary" in refused(
        [write("a.txt", "xy")], vocabulary=Vocabulary("chars", "ab"), unknown="skip"
    )


def test_every_byte_value_with_a_full_vocabulary(write):
    data = bytes(range(256))[::-1]
    corpus = read_corpus([write("a", data)], mode="bytes", vocabulary=Vocabulary("bytes", range(256)))
    assert corpus.ids.tobytes() == data


def test_a_vocabulary_of_256_symbols_still_finds_what_it_lacks(write):
    vocabulary = Vocabulary("chars", [chr(code) for code in range(0x21, 0x21 + 256)])
    symbols = "".join(vocabulary.symbols)
    assert whole(read_corpus([write("a.txt", symbols)], vocabulary=vocabulary)) == symbols
    assert "character ' ' at" in refused([write("b.txt", "a b")], vocabulary=vocabulary, error=VocabularyError)


def test_a_vocabulary_of_the_other_mode_is_refused(write):
    message = refused([write("a.txt", "ab")], vocabulary=Vocabulary("bytes", b"ab"), error=ConfigError)
    assert "read it as bytes" in message


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "val, test, expected",
    [
        (0.05, 0.05, ((0, 90), (90, 95), (95, 100))),
        (0.1, 0, ((0, 90), (90, 100), (100, 100))),
        (0, 0, ((0, 100), (100, 100), (100, 100))),
        (0, 0.1, ((0, 90), (90, 90), (90, 100))),
        (0.005, 0.005, ((0, 99), (99, 99), (99, 100))),
    ],
)
def test_splits_are_contiguous_from_the_end(write, val, test, expected):
    splits = read_corpus([write("a.txt", "ab" * 50)]).split(val, test)
    assert (splits.train, splits.val, splits.test) == expected


def test_the_last_tenth_is_cut_where_others_cut_it(write):
    splits = read_corpus([write("a.txt", b"ab" * 557_697)]).split(0.1, 0)
    assert splits.train == (0, int(1_115_394 * 0.9))


@pytest.mark.parametrize("val, test", [(-0.1, 0), (1, 0), (0, 1), (0.5, 0.5), (float("nan"), 0), (0, float("inf"))])
def test_fractions_that_leave_nothing_are_refused(write, val, test):
    with pytest.raises(ConfigError, match="must"):
        read_corpus([write("a.txt", "ab" * 50)]).split(val, test)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(tmp_path):
    assert refused([tmp_path / "gone.txt"]) == f"{tmp_path}/gone.txt does not exist: check the path"
    assert (
        refused([tmp_path / "*.txt"]) == f"the pattern {tmp_path}/*.txt matches nothing: check the path and the pattern"
    )
    assert "given" in refused([])
    assert "cannot be read" in refused(["a\0b"])
    (tmp_path / "folder").mkdir()
    assert "matches only folders" in refused([tmp_path / "f*"])
    assert "contains no text: name a folder with" in refused([tmp_path / "folder"])
    (tmp_path / "folder" / "a.bin").write_bytes(b"\0")
    assert "contains no text (skipped 1 binary or special file)" in refused([tmp_path / "folder"])


def test_an_empty_text_is_refused(write, stdin):
    path = write("a.txt", "")
    assert refused([path]) == f"{path} contains no text: name a file that is not empty"
    assert "2 sources together contain no text" in refused([path, write("b.txt.gz", gzip.compress(b""))])
    assert "contains no text" in refused([path], mode="bytes")
    stdin(b"")
    assert refused(["-"]).startswith("stdin contains no text")
    assert "contains no text" in refused([write("bom.txt", "\ufeff")])


@pytest.mark.parametrize("content", ["a", "aaaaaaaa"])
def test_a_text_of_one_symbol_is_refused(write, content):
    path = write("a.txt", content)
    assert (
        refused([path]) == f"a text needs at least 2 different characters to train on, {path} contains only the "
        "character 'a': name a longer text"
    )
    assert "only the byte 0x61" in refused([path], mode="bytes")


def test_what_is_not_utf8_is_refused_with_file_offset_and_both_ways_out(write, block_bytes):
    path = write("a.txt", "abcd\u00e9".encode() + "\u00e9t\u00e9".encode("latin-1"))
    assert (
        refused([path]) == f"{path} is not valid UTF-8 at byte 6: give its encoding with --encoding NAME, "
        "such as cp1252 or shift_jis, or train on its bytes with 'charrnn train TEXT --vocab bytes'"
    )


def test_utf8_cut_in_the_middle_of_a_character_is_refused(write, block_bytes):
    assert "is truncated UTF-8 at byte 2: " in refused([write("a.txt", "ab\u20ac".encode()[:-1])])
    assert "at byte 2 of the decompressed text" in refused([write("a.gz", gzip.compress("ab\u20ac".encode()[:-1]))])


@pytest.mark.parametrize(
    "encoding, data, offset",
    [
        ("ascii", b"abc\xe9", 3),
        ("cp1252", b"ab\x81", 2),
        ("utf-16-le", b"a\0b\0\0\xd8a\0", 4),
        ("shift_jis", b"ab\xfd", 2),
        ("cp949", b"ab\xff\xff", 2),
    ],
)
def test_what_is_not_in_the_encoding_named_is_refused(write, block_bytes, encoding, data, offset):
    message = refused([write("a.txt", data)], encoding=encoding)
    assert f"at byte {offset}" in message and "with --encoding" in message


def test_half_characters_are_refused(write):
    assert "half of a character" in refused([write("a.txt", rb"ab\ud800")], encoding="unicode_escape")
    assert "not valid UTF-8" in refused([write("a.txt", b"ab\xed\xa0\x80")])


@pytest.mark.parametrize("data", [b"ab\0", bytes(range(1, 128)) * 3, b"\x7fELF\2\1\1\0"])
def test_a_binary_file_is_refused_as_characters(write, data):
    message = refused([write("a.bin", data)])
    assert "looks like a binary file" in message and message.endswith("with 'charrnn train TEXT --vocab bytes'")


@pytest.mark.parametrize("at", [0, 40, 300_000])
def test_a_zero_byte_is_a_character_like_any_other_wherever_it_stands(write, at):
    text = "to be or not to be\n" * 20_000
    text = f"{text[:at]}\0{text[at:]}"
    corpus = read_corpus([path := write("a.txt", text)])
    assert whole(corpus) == text
    assert corpus.notes == (
        f"{path} holds zero bytes, which are kept as characters; to remove them: "
        f"tr -d '\\000' < {path} > {path.parent}/a-2.txt",
    )
    subprocess.run(corpus.notes[0].split("to remove them: ")[1], shell=True, check=True)
    assert (path.parent / "a-2.txt").read_text() == text.replace("\0", "")
    assert read_corpus([path.parent / "a-2.txt"]).notes == ()


@pytest.mark.parametrize(
    "name, encoding, compress, command",
    [
        ("a b.txt.xz", "utf-8", lzma.compress, "xz -dc '{}/a b.txt.xz' | tr -d '\\000' > '{}/a b.txt'"),
        ("a.txt", "utf-16", bytes, "iconv -f utf-16 -t utf-8 {}/a.txt | tr -d '\\000' > {}/a-2.txt"),
        (
            "a.gz",
            "utf-16-le",
            gzip.compress,
            "gzip -dc {}/a.gz | iconv -f utf-16le -t utf-8 | tr -d '\\000' > {}/a.txt",
        ),
    ],
)
def test_the_command_that_takes_zero_bytes_out_knows_how_the_text_is_kept(
    write, name, encoding, compress, command, tmp_path
):
    text = "to be\0or not to be, that is\n" * 9
    corpus = read_corpus([write(name, compress(text.encode(encoding)))], encoding=encoding)
    said = next(note for note in corpus.notes if "zero bytes" in note)
    assert whole(corpus) == text and said.endswith(f": {command.replace('{}', str(tmp_path))}")
    subprocess.run(said.split("to remove them: ")[1], shell=True, check=True)
    assert Path(command.split("> ")[1].strip("'").replace("{}", str(tmp_path))).read_text() == text.replace("\0", "")


def test_zero_bytes_in_many_files_and_from_stdin_are_one_note(write, tmp_path, stdin):
    write("texts/a.txt", "the first record of them\0" * 5)
    write("texts/b.txt", "another record of words\0" * 5)
    write("texts/c.txt", "none")
    assert (
        read_corpus([tmp_path / "texts"])
        .notes[0]
        .startswith(f"{tmp_path}/texts/a.txt and 1 other file hold zero bytes, which are kept")
    )
    with read_corpus([tmp_path / "texts/c.txt"]) as other:
        left_out = read_corpus([tmp_path / "texts/a.txt"], vocabulary=other.vocabulary, unknown="skip")
    assert not any("zero bytes" in note for note in left_out.notes)
    stdin(b"the first\0second, and more words")
    assert read_corpus(["-"]).notes == (
        "stdin holds zero bytes, which are kept as characters; to remove them, add tr -d '\\000' to the pipe",
    )


def test_escape_sequences_and_form_feeds_are_text(write):
    text = "\x1b[31mred\x1b[0m\f\v\t"
    assert whole(read_corpus([write("a.txt", text)])) == text


@pytest.mark.parametrize("name", ["klingon", "rot13", "zip", "undefined", "", "utf\0-8", "x" * 99])
def test_an_encoding_that_is_none_is_refused(write, name):
    assert "is unknown" in refused([write("a.txt", "ab")], encoding=name)


@pytest.mark.parametrize(
    "suffix, compress", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", checked_zstd)]
)
@pytest.mark.parametrize("mode", ["chars", "bytes"])
def test_damaged_archives_are_refused(write, suffix, compress, mode):
    data = compress(os.urandom(3000).hex().encode())
    path = write(f"short{suffix}", data[:-9])
    assert refused([path], mode=mode) == f"{path} ends too early for a {suffix} file: download or compress it again"
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    assert "is corrupt for a" in refused([write(f"flipped{suffix}", flipped)], mode=mode)
    assert f"is corrupt for a {suffix} file" in refused([write(f"plain{suffix}", b"only text, all along")], mode=mode)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(write):
    path = write("a.txt", "ab")
    path.chmod(0)
    assert "you are not allowed to read" in refused([path])


def test_a_refused_permission_names_the_file_and_the_remedy(write, monkeypatch):
    path = write("a.txt", "ab")

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(sources, "open", refuse, raising=False)
    assert refused([path]) == f"you are not allowed to read {path}: change its permissions, or use a copy"


def test_stdin_cannot_be_read_twice():
    assert "stdin can be read only once" in refused(["-", "-"])


@pytest.mark.parametrize("options", [{"mode": "words"}, {"unknown": "ignore"}])
def test_nonsense_options_are_refused(write, options):
    assert "must be" in refused([write("a.txt", "ab")], error=ConfigError, **options)


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_with_the_folder_and_the_remedy(write, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARRNN_CACHE_DIR", str(tmp_path / "cache"))

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ids, "write_all", full)
    message = refused([write("a.txt", "ab")], error=StorageError)
    assert (
        message == f"the text's ids cannot be written to {tmp_path}/cache (no space left on device): free some "
        "space there, or set CHARRNN_CACHE_DIR to a folder with more space"
    )


def test_what_lies_in_the_cache_folder_is_never_read(write, tmp_path, monkeypatch):
    """Ids are made anew each time, in a file without a name: nothing that is planted here stands for a text's ids."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("CHARRNN_CACHE_DIR", str(cache))
    path = write("text.txt", "abcabc" * 50)
    with read_corpus([path]) as corpus:
        wanted, fingerprint = corpus.ids.copy(), corpus.fingerprint
        assert os.listdir(cache) == []  # no name that a file could be planted under
    planted = [
        cache / name
        for name in (fingerprint, fingerprint + ".ids", "text.txt", "text.txt.ids", "charrnn-ids-", "ids", "x.npy")
    ]
    for each in planted:
        each.write_bytes(b"\2" * 300)
    opened, real_open, real_os_open = [], builtins.open, os.open
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **more: (opened.append(file), real_open(file, *rest, **more))[1]
    )
    monkeypatch.setattr(
        os, "open", lambda file, *rest, **more: (opened.append(file), real_os_open(file, *rest, **more))[1]
    )
    with read_corpus([path]) as corpus:
        assert np.array_equal(corpus.ids, wanted) and corpus.vocabulary.symbols == tuple("abc")
    monkeypatch.undo()
    names = {os.path.basename(os.fspath(file)) for file in opened if not isinstance(file, int)}
    assert "text.txt" in names and not {each.name for each in planted if each.name != "text.txt"} & names
    assert str(cache / "text.txt") not in map(str, opened)
    assert sorted(os.listdir(cache)) == sorted(each.name for each in planted)


def test_an_unusable_cache_folder_falls_back_to_another_and_says_so(write, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARRNN_CACHE_DIR", str(write("file", "x") / "cache"))
    corpus = read_corpus([write("a.txt", "ab")])
    assert whole(corpus) == "ab" and f"the cache folder {tmp_path}/file/cache cannot be used" in corpus.notes[0]


def test_no_usable_folder_at_all_is_an_error(write, monkeypatch):
    nowhere = str(write("file", "x") / "cache")
    monkeypatch.setenv("CHARRNN_CACHE_DIR", nowhere)
    monkeypatch.setattr(ids.tempfile, "gettempdir", lambda: nowhere)
    monkeypatch.delattr(os, "memfd_create", raising=False)  # nor memory to keep them in, as where there is no Linux
    assert "there is no space for the text's ids in" in refused([write("a.txt", "ab")], error=StorageError)


def test_closing_frees_the_room_on_the_disk(write):
    corpus = read_corpus([write("a.txt", "ab")])
    descriptor = corpus.file.fileno()
    os.fstat(descriptor)
    corpus.close()
    corpus.close()
    with pytest.raises((OSError, ValueError)):
        corpus.file.fileno()


def test_a_refused_text_leaves_no_open_file(write, monkeypatch):
    files = []
    opened = module.open_scratch_file
    monkeypatch.setattr(module, "open_scratch_file", lambda notes: files.append(opened(notes)) or files[-1])
    for data, error in ((b"a\0", CorpusError), (b"a", CorpusError), (b"a\xff", CorpusError)):
        refused([write("a.txt", data)], error=error)
    assert len(files) == 3
    for file in files:
        with pytest.raises(ValueError):
            file.fileno()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(),
    st.sampled_from(["a.txt", "a.gz", "a.bz2", "a.xz", "a.zst"]),
    st.sampled_from(["utf-8", "utf-16", "latin-1", "shift_jis", "utf-7", "cp037"]),
)
def test_any_file_is_read_or_refused_in_a_sentence(write, data, name, encoding):
    try:
        with read_corpus([write(name, data)], encoding=encoding) as corpus:
            assert len(whole(corpus)) == corpus.characters
    except CharRNNError as error:
        assert re.fullmatch(r"[^\n]+: [^\n]+", str(error))
