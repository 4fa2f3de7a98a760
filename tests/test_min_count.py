"""--min-count: characters that come too rarely become one unknown symbol, which is read, and never drawn unasked."""

import json
from collections import Counter

import numpy as np
import pytest
from commands import charrnn

from charrnn.errors import CheckpointError, ConfigError, CorpusError, VocabularyError
from charrnn.library import load, sample
from charrnn.model.parameters import NEVER, Model
from charrnn.runs.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.options import TrainingConfig

LINES = [f"line {n * n % 7} says {'abc' * (n % 4)}." for n in range(60)]
TEXT = "\n".join(LINES[:20]) + " \u00e9 \u03b1\u03b1 Z\n" + "\n".join(LINES[20:]) + " \u6f22\u00e9\n"
RARE = "\u00e9\u03b1Z\u6f22"  # 2, 2, 1 and 1 times
OPTIONS = "--hidden-size 9 --num-layers 1 --batch-size 3 --seq-length 7 --steps 12 -q"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_rare_characters_become_one_symbol_and_it_is_said_how_many(folder):
    with read_corpus(["text.txt"], min_count=3) as corpus:
        vocabulary = corpus.vocabulary
        assert vocabulary.unknown_symbol == "\ufffd" and corpus.rare == (4, 6)
        assert vocabulary.symbols == tuple(sorted({*TEXT, "\ufffd"} - set(RARE)))
        assert corpus.text(0, corpus.characters) == "".join("\ufffd" if one in RARE else one for one in TEXT)
        counts = np.bincount(corpus.ids)
        assert counts.min() >= 3 and counts[vocabulary.unknown_id] == 6
        said = "--min-count 3: 4 characters that come less often, 6 occurrences in all, become the unknown symbol"
        assert any(said in note for note in corpus.notes)
    with read_corpus(["text.txt"]) as plain, read_corpus(["text.txt"], min_count=1) as same:
        assert plain.vocabulary == same.vocabulary and plain.vocabulary.unknown_symbol is None
    assert all(count >= 3 for one, count in Counter(TEXT).items() if one not in RARE)


def test_where_none_is_rare_there_is_no_unknown_symbol_and_where_all_are_it_is_refused(folder):
    with read_corpus(["text.txt"], min_count=1) as corpus, read_corpus(["text.txt"], min_count=2) as two:
        assert corpus.vocabulary.unknown_symbol is None and two.rare == (2, 2)
    (folder / "even.txt").write_text("abab" * 9)
    with read_corpus(["even.txt"], min_count=3) as corpus:
        assert corpus.vocabulary.unknown_symbol is None
        assert any("every character occurs that often" in note for note in corpus.notes)
    with pytest.raises(CorpusError, match="--min-count 100 leaves"):
        read_corpus(["even.txt"], min_count=100)


def test_the_mark_is_no_character_that_the_text_has_often(folder):
    (folder / "text.txt").write_text(TEXT + "\ufffd" * 5, encoding="utf-8")
    with read_corpus(["text.txt"], min_count=3) as corpus:
        assert corpus.vocabulary.unknown_symbol == "\u25a1" and "\ufffd" in corpus.vocabulary.symbols


def test_items_have_it_too_and_many_symbols_are_stored_in_few_bytes(folder):
    strange = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    (folder / "text.txt").write_text(TEXT + strange + "\n", encoding="utf-8")
    with read_corpus(["text.txt"], min_count=3, items=ItemsReading("lines")) as corpus:
        assert corpus.vocabulary.unknown_symbol and corpus.ids.dtype == np.uint8 == corpus.vocabulary.dtype
        shown = corpus.text(0, corpus.characters)
        assert shown.count("\ufffd") == 406 and len(corpus.items) == 61
    with read_corpus(["text.txt"], min_count=3) as corpus:
        assert corpus.ids.dtype == np.uint8 and corpus.text(0, corpus.characters).count("\ufffd") == 406


def test_a_vocabulary_reads_what_it_does_not_know_as_the_unknown_symbol_and_travels_through_json():
    vocabulary = Vocabulary("chars", "ab\ufffd", unknown_symbol="\ufffd")
    assert vocabulary.encode("a\u6f22b\ufffd").tolist() == [0, 2, 1, 2]
    assert vocabulary.count_unknown("a\u6f22b\ufffd") == 1
    assert vocabulary.to_json() == {"mode": "chars", "symbols": ["a", "b", "\ufffd"], "unknown": "\ufffd"}
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    # The unknown symbol of another vocabulary is the same one, whatever its mark; a character of that shape is not.
    other = Vocabulary("chars", "b\u25a1\ufffd", unknown_symbol="\u25a1")
    assert vocabulary.mapping_from(other).tolist() == [-1, 0, 1]
    for wrong in ({"unknown": "x"}, {"unknown": 1}, {"unknown": None}, {"unknown": "ab"}):
        with pytest.raises(VocabularyError, match="unknown"):
            Vocabulary.from_json({**vocabulary.to_json(), **wrong})
    with pytest.raises(VocabularyError):
        Vocabulary("bytes", (1, 2), unknown_symbol="a")


def test_a_run_with_it_resumes_exactly_in_format_5(folder):
    charrnn(f"train text.txt --min-count 3 --schedule constant {OPTIONS} -o whole")
    charrnn(f"train text.txt --min-count 3 --schedule constant {OPTIONS.replace('12', '7')} -o parts")
    charrnn("train --resume parts --steps 12 -q")
    one, other = load_checkpoint("whole/last.safetensors"), load_checkpoint("parts/last.safetensors")
    assert all(np.array_equal(one.parameters[name], other.parameters[name]) for name in one.parameters)
    metadata = read_metadata("whole/last.safetensors")
    assert metadata["format_version"] == 5 and metadata["training"]["corpus"]["rare"] == [4, 6]
    shown = " ".join(charrnn("info whole").stdout.split())
    assert "unknown symbol \ufffd for all others; in the text 4 characters, 6 occurrences" in shown


def test_an_older_format_has_no_unknown_symbol(folder):
    charrnn(f"train text.txt --min-count 3 {OPTIONS} -o run")
    data = (folder / "run/last.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["charrnn"] = header["__metadata__"]["charrnn"].replace(
        '"format_version":5', '"format_version":4'
    )
    del header["__metadata__"]["sha256"]
    new = json.dumps(header).encode()
    (folder / "old.safetensors").write_bytes(len(new).to_bytes(8, "little") + new + data[8 + size :])
    with pytest.raises(CheckpointError, match="has the key unknown, which format 4 does not have"):
        load_checkpoint("old.safetensors")


def test_eval_and_primes_read_unknown_characters_as_it_and_say_so(folder):
    charrnn(f"train text.txt --min-count 3 {OPTIONS} -o run")
    (folder / "other.txt").write_text("line \u00e9 says \u6f22 abc.\n" * 5, encoding="utf-8")
    (folder / "known.txt").write_text("line \ufffd says \ufffd abc.\n" * 5, encoding="utf-8")
    told = [charrnn(f"eval run {name}.txt --json") for name in ("other", "known")]
    losses = [json.loads(one.stdout)["loss_nats"] for one in told]
    assert losses[0] == losses[1]
    assert "10 characters that the model does not know are read as its unknown symbol" in told[0].stderr
    told = charrnn("sample run --prime \u6f22\u6f22 --length 5 --seed 1")
    assert "--prime: 2 characters that the model does not know are read as its unknown symbol" in told.stderr


def test_the_unknown_symbol_is_drawn_only_where_that_is_asked_for(folder):
    charrnn(f"train text.txt --min-count 3 {OPTIONS} -o run")
    checkpoint = load_checkpoint("run/last.safetensors")
    unknown = checkpoint.vocabulary.unknown_id
    checkpoint.parameters["output.bias"][unknown] = 50.0  # nothing else would ever be drawn
    for name in ("last", "best"):
        save_checkpoint(folder / "run" / f"{name}.safetensors", checkpoint)
    command = "sample run --length 40 --seed 1 --hide-prime"
    assert "\ufffd" not in charrnn(command).stdout
    assert charrnn(f"{command} --allow-unknown").stdout.count("\ufffd") == 40
    model = load("run")
    assert "\ufffd" not in sample(model, 40, seed=1)
    assert model.unknown_id == unknown and model.for_drawing().get_parameters()["output.bias"][unknown] == NEVER
    assert Model.from_checkpoint(checkpoint).get_parameters()["output.bias"][unknown] == 50.0


def test_min_count_is_of_characters():
    with pytest.raises(ConfigError, match="--min-count 2 counts characters, but --vocab bytes"):
        TrainingConfig(min_count=2, vocab="bytes")
