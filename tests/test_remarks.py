"""What is said of a text's line ends and spelling, however it is cut."""

import re
import unicodedata

import pytest

from charrnn.text.corpus import read_corpus
from charrnn.text.remarks import Remarks
from charrnn.text.rewriting import AS_IT_IS, Rewriting
from charrnn.text.vocabulary import Vocabulary


def notes(text, size, rewriting=AS_IT_IS):
    remarks = Remarks(rewriting)
    for start in range(0, len(text), size):
        remarks.see(text[start : start + size])
    return remarks.notes()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("text, said", [
    ("a\nb\n", None),
    ("a\rb\r", "carriage returns, as old Macs did, and has no newlines. .*--newlines lf to convert them to newlines"),
    ("a\r\nb\r\n", 'has carriage returns at the ends of lines, as Windows writes them. They are kept.*--newlines lf'),
    ("a\r\nb\rc\r\n", 'as Windows writes them, and others on their own. They are kept'),
    ("1%\r2%\r\r\n", 'as Windows writes them, and others on their own. They are kept'),
    ("1%\r2%\n\r", 'has both carriage returns and newlines. They are kept'),
    ("\r\r\n\r", 'as Windows writes them, and others on their own'),
    ("cafe\u0301", r"writes 'é' as 'e\\u0301'.*--normalize nfc"),
    ("\u1112\u1161\u11ab", r"writes '.' as '\\u1112\\u1161"),
    ("\u212b ngstr", r"writes '.' as '\\u212b'"),
    ("q\u0301 \u05d0\u05b7 \u0928\u0940 caf\u00e9 \ud55c", None),  # marks that join with nothing
])  # fmt: skip
def test_what_is_worth_a_word_is_said_however_the_text_is_cut(text, said, size):

    found = notes(text, size)
    assert (found == []) if said is None else len(found) == 1 and re.search(said, found[0])


def test_what_is_rewritten_is_not_remarked_on():
    text = "cafe\u0301\r\n"
    assert len(notes(text, 3)) == 2
    assert [each.split()[2] for each in notes(text, 3, Rewriting("nfkc"))] == ["has"]
    assert len(notes(text, 3, Rewriting(newlines="lf"))) == 1
    assert notes(text, 3, Rewriting("nfc", newlines="lf")) == []


def test_a_corpus_tells_what_was_remarked_unless_its_vocabulary_is_given(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\rb\r")
    assert "old Macs" in read_corpus([tmp_path / "a.txt"]).notes[0]
    assert read_corpus([tmp_path / "a.txt"], mode="bytes").notes == ()
    assert read_corpus([tmp_path / "a.txt"], rewriting=Rewriting(newlines="lf")).notes == ()
    assert read_corpus([tmp_path / "a.txt"], vocabulary=Vocabulary("chars", "\rab")).notes == ()
    with read_corpus([tmp_path / "a.txt"], rewriting=Rewriting(newlines="lf")) as corpus:
        assert corpus.text(0, 4) == "a\nb\n" and corpus.vocabulary.symbols == ("\n", "a", "b")


def test_most_texts_are_judged_at_the_cost_of_a_look():
    assert notes("e" * 10 + unicodedata.normalize("NFC", "\u00e9"), 4) == []


def test_what_comes_late_in_a_long_text_is_still_seen(monkeypatch):
    monkeypatch.setattr("charrnn.text.remarks.MAX_JUDGED", 10)
    assert "Windows" in notes("a\n" * 50 + "b\r\n", 4)[0]
    assert "old Macs" in notes("a\r" * 50, 4)[0] and "and newlines" in notes("a\r" * 50 + "\n" * 2, 100)[0]
