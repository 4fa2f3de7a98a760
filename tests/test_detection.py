"""A text in another encoding: the one that is suggested reads it, and a damaged one is not taken for another."""

import io
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.errors import CorpusError, VocabularyError
from charrnn.text.corpus import read_corpus
from charrnn.text.detection import suggest_encoding
from charrnn.text.sources import BLOCK_BYTES
from charrnn.text.vocabulary import Vocabulary

KOREAN = "한국어 문장은 이렇게 씁니다. 오늘은 날씨가 좋아서 산책을 했다.\n그는 집으로 돌아갔다.\n"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n"
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"
TRADITIONAL = "道可道，非常道。名可名，非常名。無名天地之始，有名萬物之母。\n"
SIMPLIFIED = "道可道，非常道。这是一个中文的句子，我们在学习语言模型。\n"
FRENCH = "Le café était fermé, mais l'été où nous étions allés là-bas, ça marchait très bien.\n"
GERMAN = "Die Straße über die Brücke ist schön, größer als früher.\n"
POLISH = "Zażółć gęślą jaźń, wszyscy ludzie rodzą się wolni i równi pod względem swej godności.\n"
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.\n"
TURKISH = "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Işık şöyle görünüyor.\n"
ARABIC = "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.\n"
QUOTED = "It’s the “quoted” text — with some dashes and otherwise plain English sentences.\n"
ENGLISH = "Nobody ever said anything about it again in that house.\n"


def refused(path, **options):
    with pytest.raises(CorpusError) as caught:
        read_corpus([path], **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "text, encoding, suggested",
    [
        (KOREAN, "cp949", "cp949"),
        (KOREAN, "euc_kr", "cp949"),
        (JAPANESE, "shift_jis", "cp932"),
        (JAPANESE, "euc_jp", "euc-jp"),
        (RUSSIAN, "koi8_r", "koi8-r"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "cp866", "cp866"),
        (TRADITIONAL, "big5", "big5"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "latin-1", "cp1252"),
        (GERMAN, "latin-1", "cp1252"),
        (POLISH, "cp1250", "cp1250"),
        (POLISH, "iso8859_2", "iso8859-2"),
        (GREEK, "cp1253", "cp1253"),
        (TURKISH, "cp1254", "cp1254"),
        (ARABIC, "cp1256", "cp1256"),
        (QUOTED, "cp1252", "cp1252"),
        ("café\n", "latin-1", "cp1252"),
        (f"{ENGLISH * 40}The price was £5.\n{ENGLISH}", "latin-1", "cp1252"),
    ],
)
def test_the_suggested_encoding_reads_the_text(tmp_path, text, encoding, suggested):
    path = tmp_path / "a.txt"
    for content in (text * 60, ENGLISH * 3000 + text * 60 + ENGLISH * 3000):  # also deep within a text
        path.write_bytes(content.encode(encoding))
        message = refused(path)
        assert f"it seems to be {suggested.upper()}; read it with --encoding {suggested}, or" in message
        advised = re.search("--encoding ([a-z0-9-]+)", message)[1]
        with read_corpus([path], encoding=advised) as corpus:
            assert corpus.text(0, corpus.characters) == content


@pytest.mark.parametrize("data", [b"ab\x81", b"\xbe\xc8", bytes(range(0x80, 0x100)) * 2])
def test_where_nothing_is_plausible_nothing_is_suggested(tmp_path, data):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert suggest_encoding(data) is None
    assert "give its encoding with --encoding NAME, such as cp1252 or shift_jis, or train on its bytes with" in refused(
        path
    )


def test_another_encoding_is_suggested_for_one_that_was_named(tmp_path):
    path = tmp_path / "a.txt"
    for text, written, named, suggested in (
        (KOREAN, "utf-8", "ascii", "utf-8"),
        (KOREAN, "cp949", "ascii", "cp949"),
        (KOREAN, "utf-8", "cp949", "utf-8"),
        (RUSSIAN, "cp1251", "shift_jis", "cp1251"),
    ):
        path.write_bytes((text * 9).encode(written))
        message = refused(path, encoding=named)
        assert f"is not valid {named.upper()} at byte " in message or "is truncated" in message
        assert f"read it with --encoding {suggested}, or" in message


@pytest.mark.parametrize("fault", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
def test_a_damaged_text_in_utf8_is_not_taken_for_another_encoding(tmp_path, fault, monkeypatch):
    whole = KOREAN.encode() * 50
    path = tmp_path / "a.txt"
    path.write_bytes(whole + fault + whole)
    message = refused(path)
    assert message == (
        f"{path} is not valid UTF-8 at byte {len(whole):,}, but valid elsewhere: remove the damaged part with: "
        f"iconv -c -f utf-8 -t utf-8 {path} > {tmp_path}/a-2.txt"
    )
    subprocess.run(
        message.split("damaged part with: ")[1], shell=True
    )  # iconv -c ends with 1 where it left out something
    assert (tmp_path / "a-2.txt").read_bytes() == whole + whole
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(whole + fault + whole)))
    assert refused("-").endswith("remove the damaged part by piping it through: iconv -c -f utf-8 -t utf-8")


def test_a_text_in_utf8_that_is_cut_at_its_end_is_damaged(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(KOREAN.encode()[:-3])
    assert "is truncated UTF-8 at byte " in refused(path) and "remove the damaged part with: iconv -c" in refused(path)


def test_utf8_that_is_read_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "a.txt"
    for text, doubted in ((FRENCH, True), (KOREAN, True), (ENGLISH, False), ("Ã©", False)):
        path.write_bytes(text.encode())
        with read_corpus([path], encoding="latin-1") as corpus:
            assert any("read it with --encoding utf-8" in note for note in corpus.notes) == doubted
    path.write_bytes(FRENCH.encode("latin-1"))
    with read_corpus([path], encoding="latin-1") as corpus:
        assert corpus.notes == ()
        known = corpus.vocabulary
    known = Vocabulary("chars", sorted({*known.symbols, *"Ã©"}))
    # What a vocabulary does not know of it is the fault of the encoding, in any block; that of one in latin-1 is not.
    for before in ("", "e " * (BLOCK_BYTES // 2)):
        path.write_bytes(("ééé" + before + FRENCH).encode())
        message = refused(path, encoding="latin-1", vocabulary=known)
        assert f"of the vocabulary: {path} is valid UTF-8 but is read as iso8859-1; read it with --enc" in message
    path.write_bytes("Été ~".encode("latin-1"))
    with (
        pytest.raises(VocabularyError, match="is not among"),
        read_corpus([path], encoding="latin-1", vocabulary=known),
    ):
        pass


def test_train_says_so_for_a_korean_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_bytes((KOREAN * 40).encode("cp949"))
    assert main(["train", "a.txt"]) == 2
    assert capsys.readouterr().err == (
        "Error: a.txt is not valid UTF-8 at byte 0: it seems to be CP949; read it with --encoding cp949, or train on "
        "its bytes with 'charrnn train TEXT --vocab bytes'\n"
    )


def test_the_detector_is_imported_for_a_suggestion_only(tmp_path):
    (tmp_path / "a.txt").write_text(KOREAN)
    code = (
        "import sys; from charrnn.text.corpus import read_corpus; read_corpus([sys.argv[1]]);"
        "print([name for name in sys.modules if name.startswith(('charset', 'backports', 'compression.zstd'))])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")], cwd=root, stdout=subprocess.PIPE, check=True, text=True
    )
    assert done.stdout == "[]\n"
