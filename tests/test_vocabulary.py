"""Characters and bytes to ids and back, and what a vocabulary says about symbols it lacks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import VocabularyError
from charrnn.text import vocabulary as module
from charrnn.text.vocabulary import Vocabulary, smallest_dtype

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def chars(text):
    return Vocabulary("chars", sorted(set(text)))


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT)
def test_decode_gives_back_any_text_that_was_encoded(text):
    vocabulary = chars(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == smallest_dtype(vocabulary.size) and ids.shape == (len(text),)
    assert [vocabulary.symbols[number] for number in ids] == list(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.tolist()) == text


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1))
def test_bytes_mode_gives_back_any_bytes(data):
    vocabulary = Vocabulary("bytes", sorted(set(data)))
    ids = vocabulary.encode_bytes(data)
    assert bytes(vocabulary.symbols[number] for number in ids) == data
    assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_fed_byte_by_byte_the_decoder_says_what_decode_says(data):
    vocabulary = Vocabulary("bytes", range(256))
    decoder = vocabulary.decoder()
    assert "".join(map(decoder.feed, data)) + decoder.flush() == vocabulary.decode(list(data))


def test_the_byte_decoder_holds_a_character_back_until_it_is_whole():
    decoder = Vocabulary("bytes", range(256)).decoder()
    assert [decoder.feed(byte) for byte in "é€😀".encode()] == ["", "é", "", "", "€", "", "", "", "😀"]
    assert decoder.flush() == ""


def test_the_byte_decoder_shows_a_truncated_tail_as_one_replacement_character():
    decoder = Vocabulary("bytes", range(256)).decoder()
    assert [decoder.feed(byte) for byte in "😀".encode()[:3]] == ["", "", ""]
    assert decoder.flush() == "\ufffd"
    assert decoder.flush() == "" and decoder.feed(ord("a")) == "a"


def test_the_character_decoder_holds_nothing_back():
    decoder = Vocabulary("chars", "a😀").decoder()
    assert (decoder.feed(1), decoder.feed(0), decoder.flush()) == ("😀", "a", "")


def test_bytes_mode_encodes_text_as_its_utf8():
    vocabulary = Vocabulary("bytes", range(256))
    assert vocabulary.encode("é").tolist() == [0xC3, 0xA9]
    assert vocabulary.encode("\udcff").tolist() == [0xFF]  # a byte the command line could not decode
    with pytest.raises(VocabularyError, match=r"character '\\ud800' at offset 1"):
        vocabulary.encode("a\ud800")


@pytest.mark.parametrize(
    "size, dtype", [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_ids_have_the_smallest_type_that_holds_them(size, dtype):
    symbols = [chr(code) for code in range(size + 2048) if not 0xD800 <= code < 0xE000][:size]
    vocabulary = Vocabulary("chars", symbols)
    ids = vocabulary.encode(symbols[-1] + symbols[0])
    assert ids.dtype == dtype and ids.tolist() == [size - 1, 0]


def test_empty_text_has_no_ids():
    vocabulary = Vocabulary("chars", "a")
    assert vocabulary.encode("").shape == (0,) and vocabulary.decode([]) == ""


def test_text_longer_than_a_block_is_encoded_whole_and_offsets_count_from_its_start(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_SYMBOLS", 3)
    vocabulary = Vocabulary("chars", "abc😀")
    text = "abc😀cba" * 3
    assert vocabulary.decode(vocabulary.encode(text)) == text
    with pytest.raises(VocabularyError, match="offset 7 "):
        vocabulary.encode("abcabcaxabc")


@pytest.mark.parametrize(
    "symbols, text, message",
    [
        (
            "ab",
            "abé",
            "character 'é' at offset 2 is not among the 2 characters of the vocabulary: leave it out, or train a byte "
            "model, which accepts any text, with 'charrnn train TEXT --vocab bytes'",
        ),
        ("abe", "bé", "write 'e'"),
        ("abE", "é", "write 'E'"),
        ("abE", "e", "write 'E'"),
        ("abé", "É", "write 'é'"),
        ("ab'", "\u2019", 'write "\'"'),
        ("ab\u2019", "'", "write '\u2019'"),
        ("ab-", "\u2014", "write '-'"),
        ("ab ", "\t", "write ' '"),
        ("ab\n", "\r", r"end lines with '\n'"),
        ("af", "\ufb01", "write 'f'"),  # the ligature fi
        ("fi", "\ufb01", "has it as 'f' and 'i': convert this text to the Unicode form NFKD"),
        ("ace\u0301f", "caf\u00e9", r"has it as 'e' and '\u0301': convert this text to the Unicode form NFD"),
        ("acef\u00e9", "cafe\u0301", "has it joined with its neighbours: convert this text to the Unicode form NFC"),
        ("\u1112\u1161\u11ab", "\ud55c", r"has it as '\u1112' and '\u1161' and '\u11ab': convert"),
        (
            "\ud55c",
            "\u1112\u1161\u11ab",
            "has it joined with its neighbours: convert this text to the Unicode form NFC",
        ),
        ("ab", "😀", "'😀' at offset 0"),
        ("ab", "\x1b[31m", r"'\x1b' at offset 0"),  # repr: no terminal acts on the message
        ("ab", "\ud800", r"'\ud800' at offset 0"),
    ],
)
def test_an_unknown_character_is_named_with_its_offset_and_the_nearest_remedy(symbols, text, message):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary("chars", symbols).encode(text)
    assert message in str(caught.value)


def test_an_unknown_byte_is_named_with_its_offset():
    with pytest.raises(VocabularyError, match="byte 0xc3 at offset 1 is not among the 2 bytes"):
        Vocabulary("bytes", b"ab").encode("aé")


def test_raw_bytes_are_refused_by_a_vocabulary_of_characters():
    with pytest.raises(VocabularyError, match="--vocab bytes"):
        Vocabulary("chars", "ab").encode_bytes(b"ab")


@pytest.mark.parametrize("ids", [[0, 2], [-1], np.array([2], np.uint8)])
def test_an_id_outside_the_vocabulary_is_not_decoded(ids):
    with pytest.raises(VocabularyError, match="ids must be 0 to 1"):
        Vocabulary("chars", "ab").decode(ids)


@settings(max_examples=50, deadline=None)
@given(ANY_TEXT)
def test_json_keeps_a_vocabulary_as_it_is(text):
    vocabulary = Vocabulary("chars", dict.fromkeys(text))  # in any order: ids are positions
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_json_of_bytes_holds_numbers():
    assert Vocabulary("bytes", b"\x00\xff").to_json() == {"mode": "bytes", "symbols": [0, 255]}
    assert Vocabulary.from_json({"mode": "bytes", "symbols": [0, 255]}) == Vocabulary("bytes", b"\x00\xff")


@pytest.mark.parametrize(
    "obj, message",
    [
        (None, "must be {"),
        ([], "must be {"),
        ({"mode": "chars"}, "must be {"),
        ({"mode": "chars", "symbols": ["a"], "more": 1}, "must be {"),
        ({"mode": "words", "symbols": ["a"]}, '"chars" or "bytes", got \'words\''),
        ({"mode": ["chars"], "symbols": ["a"]}, "got a list"),
        ({"mode": "chars", "symbols": "ab"}, "must be a list"),
        ({"mode": "chars", "symbols": {"a": 0}}, "must be a list"),
        ({"mode": "chars", "symbols": []}, "at least 1 symbol"),
        ({"mode": "chars", "symbols": ["a", "b", "a"]}, "got 'a' twice"),
        ({"mode": "chars", "symbols": ["a", "bc"]}, "symbol 1 must be one character, got 'bc'"),
        ({"mode": "chars", "symbols": ["a", ""]}, "one character, got ''"),
        ({"mode": "chars", "symbols": ["a" * 10**6]}, "got 'aaaaaaaaaaaaaaaaaaaa'..."),
        ({"mode": "chars", "symbols": [["a"]]}, "got a list"),
        ({"mode": "chars", "symbols": [97]}, "one character, got 97"),
        ({"mode": "chars", "symbols": ["\ud83d"]}, r"lone surrogate '\ud83d'"),
        ({"mode": "bytes", "symbols": [256]}, "0 to 255, got 256"),
        ({"mode": "bytes", "symbols": [-1]}, "0 to 255, got -1"),
        ({"mode": "bytes", "symbols": [10**5000]}, "got a huge number"),
        ({"mode": "bytes", "symbols": [True]}, "got True"),
        ({"mode": "bytes", "symbols": [1.0]}, "got 1.0"),
        ({"mode": "bytes", "symbols": ["a"]}, "got 'a'"),
        ({"mode": "bytes", "symbols": [1, 1]}, "got 1 twice"),
        ({"mode": "bytes", "symbols": [0] * 257}, "at most 256 symbols"),
        ({"mode": "chars", "symbols": ["a"] * (0x110000 + 1)}, "at most 1,112,064 symbols"),
    ],
)
def test_a_strangers_json_is_checked(obj, message):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.from_json(obj)
    assert message in str(caught.value) and len(str(caught.value)) < 200


def test_a_mapping_finds_each_symbol_in_the_old_vocabulary():
    mapping = Vocabulary("chars", "abcd").mapping_from(Vocabulary("chars", "xcab"))
    assert mapping.tolist() == [2, 3, 1, -1] and mapping.dtype == np.int64


def test_a_mapping_between_the_modes_knows_ascii():
    characters, numbers = Vocabulary("chars", "aé\x80"), Vocabulary("bytes", b"\x80a\xc3")
    assert characters.mapping_from(numbers).tolist() == [1, -1, -1]
    assert numbers.mapping_from(characters).tolist() == [-1, 0, -1]


def test_a_vocabulary_is_a_value():
    assert Vocabulary("chars", "ab") == Vocabulary("chars", ["a", "b"]) != Vocabulary("chars", "ba")
    assert len({Vocabulary("chars", "ab"), Vocabulary("chars", "ab")}) == 1
    with pytest.raises(AttributeError):
        Vocabulary("chars", "ab").mode = "bytes"
