"""Characters rewritten: a text block by block is the text as a whole, whatever is cut."""

import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError, VocabularyError
from charrnn.text import rewriting as module
from charrnn.text.rewriting import AS_IT_IS, NEWLINES, NORMALIZE, Rewriter, Rewriting

ALL = [Rewriting(form, lower, ends) for form in NORMALIZE for lower in (False, True) for ends in NEWLINES]
# What joins, changes places, grows or looks around: marks of several classes, Hangul in every spelling, ligatures,
# letters whose lower case is longer or joins anew, sigmas and what is passed over beside them, line ends.
AWKWARD = (
    "aeAE JjIiİıßẞ\u0130\u00e9\u00c9\u00c5\u212b\u2126\u212aΩ"
    "\u0301\u0307\u0323\u030c\u0328\u0345\u0334\u1dce\u20d0\u3099\u302a\u0f71\u0f72"
    "\u1100\u1112\u1161\u1175\u11a8\u11c2\uac00\ud7a3\u314b\u3160\u3131\uffa1\u1160"
    "ΣσςΑα\u1fbc\u1d6ba\u2163\u2121\ufb01\ufb03\u00bd\u01c4\u01c5\u3316\ufdfa\u03f9\U0001d6ba\U0001d7ed"
    "\u00ad\u200d\u200b'.:^`\u00b7\u2019_-0 \t\n\r\r\n\u0085\u2028"
    "\u0928\u093c\u0915\u0958\u09c7\u09be\u0bc6\u0bd7\u0d46\u0d57\u1025\u102e\u0627\u0653\u05d0\u05b7\ufb2e"
    "\U0001d15e\U000110ab\U000110ba\U00010400\U0001e900\U0001f600\U0010ffff"
)


def whole(rewriting, text):
    """What the rewriting is, in three lines."""
    if rewriting.newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    forms = () if rewriting.normalize == "none" else (rewriting.normalize.upper(),)
    for form in forms:
        text = unicodedata.normalize(form, text)
    if rewriting.lowercase:
        text = text.lower()
    for form in forms:
        text = unicodedata.normalize(form, text)
    return text


def in_blocks(rewriting, blocks):
    rewriter = Rewriter(rewriting)
    return "".join([*map(rewriter.feed, blocks), rewriter.finish()])


@given(st.sampled_from(ALL), st.lists(st.text(st.sampled_from(AWKWARD), max_size=8) | st.text(max_size=4), max_size=8))
@settings(max_examples=250, deadline=None)
def test_blocks_equal_the_whole(rewriting, blocks):
    text = "".join(blocks)
    assert rewriting.apply(text) == whole(rewriting, text)
    assert in_blocks(rewriting, blocks) == whole(rewriting, text)
    assert in_blocks(rewriting, text) == whole(rewriting, text)


@pytest.mark.parametrize("rewriting", ALL, ids=str)
def test_every_pair_of_awkward_characters_may_be_cut(rewriting):
    for first in AWKWARD:
        for second in AWKWARD:
            assert in_blocks(rewriting, first + second) == whole(rewriting, first + second)


@pytest.mark.parametrize("blocks, expected", [
    (["cafe", "\u0301s"], "caf\u00e9s"),
    (["e", "\u0301", "\u0323"], "\u1eb9\u0301"),  # marks change places, and the one that came last joins
    (["\u1112", "\u1161", "\u11ab\u1100", "\u1173\u11af"], "\ud55c\uae00"),
    (["\ud558", "\u11ab"], "\ud55c"),
])  # fmt: skip
def test_nfc_over_blocks(blocks, expected):
    assert in_blocks(Rewriting("nfc"), blocks) == expected


def test_nfkc_over_blocks():
    assert in_blocks(Rewriting("nfkc"), ["\ufb01", "\u3131", "\u3160", "\uff21", "\u00b2"]) == "fi\uadfcA2".replace(
        "\uadfc", unicodedata.normalize("NFKC", "\u3131\u3160")
    )


@pytest.mark.parametrize("blocks, expected", [
    (["ΟΔΟΣ", " ΟΔΟΣ"], "οδος οδος"),
    (["ΟΔΟΣ", "ΟΔΟΣ"], "οδοσοδος"),
    (["ΟΔΟΣ", "'", ".", "\u0301", "Α"], "οδοσ'.\u0301α"),
    (["ΟΔΟΣ", "'", ". "], "οδος'. "),
    (["Α", "'", "Σ"], "α'ς"),
    ([" ", "Σ"], " σ"),
    (["ISTANBUL İ", "STRASSE ẞ"], "istanbul i\u0307strasse ß"),
])  # fmt: skip
def test_lower_case_over_blocks(blocks, expected):
    assert in_blocks(Rewriting(lowercase=True), blocks) == expected == "".join(blocks).lower()


def test_lower_case_joins_marks_that_the_capital_does_not_join_with():
    assert Rewriting("nfc", lowercase=True).apply("J\u030c") == "\u01f0"


def test_line_ends_over_blocks():
    assert in_blocks(Rewriting(newlines="lf"), ["a\r", "\nb\r", "\r", "\n\n\r"]) == "a\nb\n\n\n\n"


@pytest.mark.parametrize("rewriting", [Rewriting("nfc", True, "lf"), Rewriting("nfkc", True, "lf")], ids=str)
def test_a_text_rewritten_stays_as_it_is(rewriting):
    for code in [*range(0x3400), *range(0xF900, 0x10000), *range(0x1D400, 0x1D800)]:
        once = rewriting.apply(chr(code))
        assert rewriting.apply(once) == once, hex(code)


@given(st.sampled_from([one for one in ALL if one]), st.text(st.sampled_from(AWKWARD), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_character_is_found_again_in_the_text_as_it_was(rewriting, text):
    written = rewriting.apply(text)
    places = [rewriting.locate(text, index) for index in range(len(written))]
    assert places == sorted(places) and all(0 <= place < len(text) for place in places)
    rewriter, told, given_out = Rewriter(rewriting), [], 0
    for piece in [*text, None]:
        out = rewriter.finish() if piece is None else rewriter.feed(piece)
        told += [rewriter.locate(given_out + index) for index in range(len(out))]
        given_out += len(out)
    assert told == places


def test_where_a_character_stands_in_a_text_that_grew_and_shrank():
    rewriting = Rewriting("nfkc", lowercase=True, newlines="lf")
    assert rewriting.apply("\ufb03 e\u0301\r\n!") == "ffi \u00e9\n!"
    assert [rewriting.locate("\ufb03 e\u0301\r\n!", index) for index in range(7)] == [0, 0, 0, 1, 2, 4, 6]


@pytest.mark.parametrize("endless", ["\u0301", "\u1161\u1175"])
def test_what_hangs_together_without_end_is_refused_and_not_held(endless, monkeypatch):
    monkeypatch.setattr(module, "MAX_RUN", 1 << 10)
    rewriter = Rewriter(Rewriting("nfc"))
    with pytest.raises(CorpusError, match="in a row.*leave --normalize nfc out"):
        for _ in range(100):
            rewriter.feed(endless * (1 << 8))
    assert len(rewriter._kept) <= module.MAX_RUN


def test_memory_does_not_grow_with_the_text():
    rewriter = Rewriter(Rewriting("nfc", True, "lf"))
    block = "ΣΙΣΥΦΟΣ e\u0301 \r\n" * 700
    rewriter.feed(block)
    tracemalloc.start()
    for _ in range(50):
        rewriter.feed(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(block)


def test_only_what_is_not_the_default_is_stored():
    assert AS_IT_IS.to_json() == {} and not AS_IT_IS and str(AS_IT_IS) == ""
    one = Rewriting("nfc", True, "lf")
    assert one and one.to_json() == {"normalize": "nfc", "lowercase": True, "newlines": "lf"}
    assert Rewriting(**one.to_json()) == one and str(one) == "--normalize nfc --lowercase --newlines lf"


@pytest.mark.parametrize("wrong", [{"normalize": "nfd"}, {"normalize": []}, {"lowercase": 1}, {"newlines": None}])
def test_a_strangers_value_is_refused(wrong):
    with pytest.raises(VocabularyError, match=next(iter(wrong))):
        Rewriting(**wrong)
