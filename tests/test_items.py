"""Texts as sets of items: what an item is, in which split it is, and how items are dealt to streams."""

import gzip
from fractions import Fraction

import numpy as np
import pytest

from charrnn.errors import ConfigError, CorpusError, VocabularyError
from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading, inferred, items_hint
from charrnn.text.item_streams import ItemStreams, fit_item_streams, idle_note
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.options import TrainingConfig

START, END = "␂", "␃"


def write(path, text):
    path.write_bytes(text.encode())
    return path


def read(path, kind, field=None, split="order", **more):
    return read_corpus(path, items=ItemsReading(kind, field, split), **more)


def items_of(corpus):
    """Return the items of a corpus as they are, in their order."""
    whole = corpus.text(0, None)
    assert whole.startswith(START) and whole.endswith(END)
    return whole[1:-1].split(END + START)


# ---- what an item is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, field, text, expected",
    [
        ("lines", None, "anna\n\n  \nbob b\nzoë", ["anna", "bob b", "zoë"]),
        ("lines", None, "\ufeffanna\r\nbob\rcarl\r\n", ["anna", "bob", "carl"]),
        ("paragraphs", None, "a\nb\n\n \nc\n", ["a\nb", "c"]),
        ("paragraphs", None, "\r\na\r\nb\r\n\r\nc", ["a\nb", "c"]),
        ("files", None, "a\r\n\r\nb\r\n\r\n", ["a\n\nb"]),
        ("csv", "t", 'n,t\r\n1,"a, ""q""\r\nnew"\r\n\r\n2,\r\n3,x\r\n', ['a, "q"\nnew', "x"]),
        ("csv", None, "only\na\nb", ["a", "b"]),
        ("tsv", "t", 'n\tt\n1\tsay "a\n2\t b,c\n', ['say "a', " b,c"]),
        ("jsonl", "t", '{"t": "\\u00e9\\n1", "n": 1}\n\n{"t": 12, "n": 2}\n{"t": null}\n', ["é\n1", "12"]),
        ("jsonl", None, '"a"\n{"anything": "b"}\n', ["a", "b"]),
    ],
)
def test_items_are_read_as_their_kind_says(tmp_path, kind, field, text, expected):
    with read(write(tmp_path / "a", text), kind, field) as corpus:
        assert items_of(corpus) == expected
        assert len(corpus.items) == len(expected)
        assert [corpus.ids[at] for at in corpus.items.starts[:-1]] == [corpus.vocabulary.start_id] * len(expected)


@pytest.mark.parametrize(
    "kind, field, text, said",
    [
        ("csv", "txt", "name,text\na,b\n", "has no field 'txt': it has name, text; train with --text-field text"),
        (
            "csv",
            None,
            "name,text\na,b\n",
            "has the fields name, text, and it is not clear which one is the text: train with --text-field name",
        ),
        ("csv", "text", 'name,text\n"a\nb",c\nd\n', "line 4: 1 field, but the first row has 2"),
        ("csv", "text", 'name,text\na,"b\n', "line 2: unexpected end of data, so it is not valid CSV"),
        ("jsonl", "a", '{"a": "b"}\n{"a": \n', r"line 2, is not valid JSON \(expecting value\)"),
        ("csv", "t", "t,n,t\na,b,c\n", "has 2 fields with the name 't': give each its own name"),
        ("jsonl", "b", '{"a": "b"}\n', "line 1, has no field 'b': it has a"),
        ("jsonl", "a", '{"a": ' + "1" * 5000 + "}\n", "line 1, is not valid JSON .too long a number"),
        ("jsonl", "a", '{"a": ["b"]}\n', "line 1: the text is a list, not a string"),
        ("jsonl", "a", '{"a": "\\ud800"}\n', "line 1, holds .* half of a character"),
        ("jsonl", None, "[" * 100_000, "line 1, is not valid JSON"),
        ("lines", None, "\n \n", "no item found .read as lines"),
    ],
)
def test_what_is_not_of_its_kind_is_refused_with_its_place(tmp_path, kind, field, text, said):
    with pytest.raises(CorpusError, match=said):
        read(write(tmp_path / "a", text), kind, field)


def test_files_are_an_item_each_and_any_text_may_be_compressed(tmp_path):
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts" / "a.txt", "one")
    (tmp_path / "texts" / "b.txt.gz").write_bytes(gzip.compress(b"two\n"))
    write(tmp_path / "texts" / "c.txt", "\n")
    with read(tmp_path / "texts", "files") as corpus:
        assert items_of(corpus) == ["one", "two"]
        assert "skipped 1 empty item" in corpus.notes


def test_an_item_may_be_longer_than_any_block(tmp_path):
    text = "ab" * 200_000 + "c"
    with read(write(tmp_path / "a", f"x\n{text}\ny\n"), "lines") as corpus:
        assert items_of(corpus) == ["x", text, "y"]


def test_the_options_infer_the_kind_where_a_field_is_named():
    assert inferred(["a/b.JSONL.gz"], {"text_field": "t"})["items"] == "jsonl"
    assert inferred(["a.csv"], {}) == {}  # a stream, as ever
    assert inferred(["a.csv"], {"text_field": "t", "items": "tsv"})["items"] == "tsv"
    for texts in (["a.txt"], ["a.csv", "b.tsv"]):
        with pytest.raises(ConfigError, match="add --items csv, tsv or jsonl"):
            inferred(texts, {"text_field": "t"})
    with pytest.raises(ConfigError, match="--text-field t .* lines have no fields: leave it out, or .* --items csv"):
        ItemsReading("lines", "t")


def test_a_mark_is_never_a_character_of_the_text(tmp_path):
    vocabulary = Vocabulary("chars", "a␂␃⊢", special=("START", "END"))
    assert not set(vocabulary.marks) & set(vocabulary.symbols) and len(set(vocabulary.marks)) == 2
    assert vocabulary.decode([4, 0, 1, 5]) == f"{vocabulary.marks[0]}a␂{vocabulary.marks[1]}"
    with pytest.raises(VocabularyError):
        vocabulary.encode(vocabulary.marks[0])
    stream = Vocabulary("chars", "a⊢")
    assert vocabulary.mapping_from(stream).tolist() == [0, -1, -1, 1, -1, -1]
    assert vocabulary.mapping_from(vocabulary).tolist() == [0, 1, 2, 3, 4, 5]
    with read(write(tmp_path / "a", "␂\nb\n"), "lines") as corpus:
        assert corpus.vocabulary.marks[0] != "␂" and corpus.vocabulary.symbols == ("b", "␂")


def test_another_text_is_read_by_the_vocabulary_in_the_order_of_its_file(tmp_path):
    with read(write(tmp_path / "a", "anna\nbob\n"), "lines", split="hash") as corpus:
        vocabulary = corpus.vocabulary
    other = write(tmp_path / "b", "bob\nnab\nbox\n")
    with pytest.raises(VocabularyError, match="'x' at .*item of line 3, offset 2"):
        read(other, "lines", vocabulary=vocabulary)
    with read(other, "lines", split="hash", vocabulary=vocabulary, unknown="skip") as corpus:
        assert items_of(corpus) == ["bob", "nab", "bo"] and corpus.skipped == (("x", 1),)
        assert np.diff(corpus.items.starts).tolist() == [5, 5, 4]
    with pytest.raises(ConfigError, match="the vocabulary"):
        read_corpus(other, vocabulary=vocabulary)


def test_an_item_is_rewritten_by_itself(tmp_path):
    from charrnn.text.rewriting import Rewriting

    with read(write(tmp_path / "a", "ANNE\u0301\nΟΔΟΣ\n"), "lines", rewriting=Rewriting("nfc", True)) as corpus:
        assert items_of(corpus) == ["anné", "οδος"]


# ---- splits ----------------------------------------------------------------------------------------------------------


def names(count, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))) for _ in range(count)]


def split_of(corpus):
    """Return {item: splits that it is in}."""
    found = {}
    for name, (start, stop) in corpus.split(0.2, 0.1)._asdict().items():
        for item in corpus.text(start, stop)[1:-1].split(END + START):
            found.setdefault(item, set()).add(name)
    return found


def test_equal_items_are_in_one_split_and_none_moves_when_items_are_added(tmp_path):
    some, more = names(400), names(400) + names(300, seed=1)
    with read(write(tmp_path / "a", "\n".join(some)), "lines", split="hash") as corpus:
        before = split_of(corpus)
        counts = corpus.count_items(corpus.split(0.2, 0.1))
        twice = len(some) - len(set(some))
        assert twice and f"{twice} of 400 items are equal to an earlier one" in corpus.items.repeats()
        assert sorted(items_of(corpus)) == sorted(some)
    assert sum(counts) == 400 and 250 < counts[0] < 310 and 50 < counts[1] < 110 and 20 < counts[2] < 60
    with read(write(tmp_path / "b", "\n".join(reversed(more))), "lines", split="hash") as corpus:
        after = split_of(corpus)
    assert all(len(splits) == 1 for splits in after.values())
    assert all(after[item] == splits for item, splits in before.items())


def test_splits_in_the_files_order_are_shares_of_the_items(tmp_path):
    with read(write(tmp_path / "a", "\n".join(map(str, range(10, 30)))), "lines") as corpus:
        splits = corpus.split(0.2, 0.1)
        assert corpus.count_items(splits) == (14, 4, 2)
        assert corpus.text(*splits.val) == "␂24␃␂25␃␂26␃␂27␃"
        assert corpus.items.share_start(Fraction(1)) == corpus.characters


# ---- streams ---------------------------------------------------------------------------------------------------------


def streams_of(corpus, B=3, T=4, seed=5):
    return ItemStreams(corpus.ids, corpus.items, *corpus.split(0.2, 0.1).train, B, T, seed)


def epoch_of(streams):
    """Return the chunks of an epoch."""
    return [streams.next_chunk() for _ in range(streams.chunks_per_epoch)]


def test_every_epoch_has_each_item_once_from_its_start_to_its_end(tmp_path):
    with read(write(tmp_path / "a", "\n".join(names(100))), "lines", split="hash") as corpus:
        streams, orders = streams_of(corpus), []
        train = corpus.split(0.2, 0.1).train
        expected = sorted(corpus.text(*train)[1:-1].split(END + START))
        for epoch in range(3):
            assert streams.epoch == epoch and streams.at_epoch_start
            chunks = epoch_of(streams)
            x, y, resets, counts = (np.concatenate(parts) for parts in zip(*chunks))
            assert all(len(chunk[0]) == 4 for chunk in chunks[:-1])
            texts = []
            for b in range(3):
                read_ids, said = x[counts[:, b], b], y[counts[:, b], b]
                begins = resets[counts[:, b], b]
                assert (begins == (read_ids == corpus.vocabulary.start_id)).all()
                assert (read_ids[1:][~begins[1:]] == said[:-1][~begins[1:]]).all()
                texts += corpus.vocabulary.decode(said)[:-1].split(END)
            assert resets[~counts].all()
            orders.append(texts)
            assert sorted(texts) == expected
        assert orders[0] != orders[1] != orders[2]


def test_the_streams_of_many_short_items_are_hardly_ever_idle(tmp_path):
    with read(write(tmp_path / "a", "\n".join(names(20_000))), "lines", split="hash") as corpus:
        for B, T in ((16, 64), (256, 64)):
            streams = streams_of(corpus, B, T)
            counts = [chunk[3] for chunk in epoch_of(streams)]
            idle = 1 - sum(map(np.sum, counts)) / sum(map(np.size, counts))
            assert idle <= 0.01 and idle == pytest.approx(streams.idle_share)
            assert not idle_note(streams)


def test_a_cursor_goes_on_in_the_midst_of_any_epoch(tmp_path):
    with read(write(tmp_path / "a", "\n".join(names(60))), "lines", split="hash") as corpus:
        streams = streams_of(corpus)
        for _ in range(streams.chunks_per_epoch + 3):
            streams.next_chunk()
        cursor = streams.cursor()
        rest = epoch_of(streams)
        again = streams_of(corpus)
        again.seek(cursor)
        for chunk, other in zip(rest, epoch_of(again)):
            assert all((one == two).all() for one, two in zip(chunk, other))
        assert any((one[0] != two[0]).any() for one, two in zip(epoch_of(again), epoch_of(streams_of(corpus, seed=6))))
        with pytest.raises(ConfigError, match="a cursor must name"):
            again.seek({"epoch": 0, "chunk": again.chunks_per_epoch})


def test_a_shape_is_fitted_to_few_items(tmp_path):
    with read(write(tmp_path / "a", "ab\ncd\n" + "x" * 500), "lines") as corpus:
        whole = 0, corpus.characters
        assert fit_item_streams(corpus.items, *whole, (16, 64), (False, False))[0] == 3
        with pytest.raises(CorpusError, match="too few for 16 streams: lower --batch-size to 3"):
            fit_item_streams(corpus.items, *whole, (16, 64), (True, False))
        with pytest.raises(CorpusError, match="no item"):
            fit_item_streams(corpus.items, 0, 0, (16, 64), (False, False))
        streams = ItemStreams(corpus.ids, corpus.items, *whole, 3, 64, 0)
        assert "66% of each batch is not used, because some items are much longer than others" in idle_note(streams)


def test_a_table_read_as_one_long_text_is_pointed_out():
    hint = items_hint(["a.csv"], TrainingConfig())
    assert hint == "a.csv is read as one long text; to learn its rows as separate items, add --items csv"
    assert "its lines" in items_hint(["a.jsonl", "b.ndjson"], TrainingConfig())
    for texts, options in ((["a.csv"], {"items": "csv"}), (["a.txt"], {}), (["a.csv", "b.txt"], {}), (["-"], {})):
        assert items_hint(texts, TrainingConfig(**options)) == ""
