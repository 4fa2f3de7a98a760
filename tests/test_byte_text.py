"""The bytes of a model of bytes as text: in any encoding, whatever they are, and what is shown for each."""

import random

import numpy as np
import pytest

from charrnn.errors import CorpusError, VocabularyError
from charrnn.evaluation.report import judge
from charrnn.model.parameters import Model
from charrnn.spec import ModelConfig
from charrnn.text.byte_text import read_symbols
from charrnn.text.decoding import encoding_of_bytes, stored_encoding_of_bytes
from charrnn.text.excerpt import Excerpt
from charrnn.text.vocabulary import Vocabulary

BYTES = Vocabulary("bytes", range(256))
ENCODINGS = (
    "utf-8 latin-1 cp1252 cp037 koi8-r utf-16 utf-16-be utf-32 utf-7 shift_jis euc_jisx0213 big5hkscs cp949 gb18030 hz "
    "iso2022_jp iso2022_kr"
).split()


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_bytes_fail_in_any_encoding_and_each_is_shown_once(name):
    encoding, draw = encoding_of_bytes(name), random.Random(1)
    for round_ in range(100):
        likely = [*range(256)] if round_ % 2 else [0x1B, 0x24, 0x42, 0x41, 0x80, 0xD8, 0, 0x2B]
        data = draw.choices(likely, k=40)
        decoder = BYTES.decoder(encoding)
        assert isinstance("".join(map(decoder.feed, data)) + decoder.flush(), str)
        assert isinstance(BYTES.decode(data, encoding), str)
        text, symbols, lengths = read_symbols(BYTES, data, encoding)
        assert len(symbols) == 40 == lengths.sum() and len(text) == len(lengths) and lengths.min() >= 0


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_is_text_is_shown_as_it_is(name):
    encoding = encoding_of_bytes(name)
    data = "ab é 한 日本 ж".encode(encoding, "ignore")
    assert "".join(read_symbols(BYTES, list(data), encoding)[1]) == data.decode(encoding)


@pytest.mark.parametrize("name", ["nonsense", "base64", "idna", "punycode", "rot13", "undefined"])
def test_a_codec_that_cannot_show_any_bytes_is_refused(name):
    with pytest.raises(CorpusError, match=f"--encoding '{name}' is unknown: try utf-8"):
        encoding_of_bytes(name)
    assert stored_encoding_of_bytes(name) == "utf-8"


def test_a_byte_of_the_command_line_or_of_an_escape_stands_for_itself_in_any_encoding():
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        expected = "a".encode(encoding) + b"\xe9\x41" + "b".encode(encoding)
        assert BYTES.encode("a\udce9\udc41b", encoding).tobytes() == expected
    with pytest.raises(VocabularyError, match="'ж' at offset 3 cannot be written in LATIN-1: leave it out"):
        BYTES.encode("a\udce9bж", "latin-1")
    with pytest.raises(VocabularyError, match="cannot be written in UTF-8"):
        BYTES.encode("\ud800", "utf-8")


def test_a_notebook_shows_a_text_of_bytes_in_its_encoding():
    model = Model.initialise(ModelConfig("gru", 256, 4, 1), 1)
    for data, encoding in (("café ж".encode(), "utf-8"), ("café".encode("latin-1"), "latin-1")):
        shown = judge(model, BYTES, Excerpt.whole(np.frombuffer(data, np.uint8), encoding=encoding))._repr_html_()
        assert "é" in shown and "\ufffd" not in shown
