"""Parallel streams against a loop over their definition, the cursor, and the shapes that fit a text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text import streams as module
from charrnn.text.streams import Streams, fit_streams


def naive_chunks(ids, start, stop, B, T):
    S = (stop - start - 1) // B
    for c in range(S // T):
        at = [[start + b * S + c * T + t for b in range(B)] for t in range(T)]
        yield [[ids[i] for i in row] for row in at], [[ids[i + 1] for i in row] for row in at]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 5), st.integers(2, 60), st.integers(1, 5), st.integers(1, 5))
def test_chunks_are_those_of_the_definition(start, characters, B, T):
    ids = np.arange(start + characters + 3, dtype=np.uint8)
    stop = start + characters
    if characters < B * T + 1:
        with pytest.raises(CorpusError):
            Streams(ids, start, stop, B, T)
        return
    streams = Streams(ids, start, stop, B, T)
    chunks = [streams.next_chunk() for _ in range(streams.chunks_per_epoch)]
    assert [(x.tolist(), y.tolist()) for x, y in chunks] == list(naive_chunks(ids.tolist(), start, stop, B, T))
    assert streams.cursor() == {"epoch": 1, "chunk": 0}


def test_a_chunk_is_fresh_int32_in_c_order():
    ids = np.arange(50, dtype=np.uint16)
    streams = Streams(ids, 0, 50, 3, 4)
    for array in streams.next_chunk():
        assert array.shape == (4, 3) and array.dtype == np.int32
        assert array.flags.c_contiguous and array.flags.writeable and array.flags.owndata
        array[:] = 0
    assert ids.tolist() == list(range(50))
    x, y = streams.next_chunk()
    assert x.base is None and y.base is None and not np.shares_memory(x, y)


@pytest.mark.parametrize("B, T", [(1, 1), (1, 3), (4, 1)])
def test_streams_of_one_and_chunks_of_one_work(B, T):
    ids = np.arange(13, dtype=np.uint8)
    streams = Streams(ids, 0, 13, B, T)
    assert streams.chunks_per_epoch == 12 // B // T
    x, y = streams.next_chunk()
    assert x.shape == (T, B) and (y == x + 1).all()


def test_two_characters_are_the_least_that_can_be_trained_on():
    streams = Streams(np.array([7, 9]), 0, 2, 1, 1)
    for epoch in range(3):
        assert streams.at_epoch_start and streams.epoch == epoch
        x, y = streams.next_chunk()
        assert (x.tolist(), y.tolist()) == ([[7]], [[9]])


def test_the_cursor_names_the_next_chunk_and_wraps_at_the_epoch():
    streams = Streams(np.arange(21), 0, 21, 2, 3)  # S = 10, three chunks
    seen = []
    for _ in range(4):
        seen.append((streams.epoch, streams.chunk, streams.at_epoch_start))
        streams.next_chunk()
    assert seen == [(0, 0, True), (0, 1, False), (0, 2, False), (1, 0, True)]
    assert streams.cursor() == {"epoch": 1, "chunk": 1}


def test_after_a_seek_the_same_chunks_follow():
    ids = np.arange(100)
    streams = Streams(ids, 5, 95, 3, 4)
    for _ in range(9):
        streams.next_chunk()
    cursor, expected = streams.cursor(), [streams.next_chunk() for _ in range(5)]
    again = Streams(ids, 5, 95, 3, 4)
    again.seek(cursor)
    for (x, y), (x_again, y_again) in zip(expected, [again.next_chunk() for _ in range(5)], strict=True):
        assert (x == x_again).all() and (y == y_again).all()
    assert again.cursor() == streams.cursor()


@pytest.mark.parametrize(
    "cursor",
    [
        {"epoch": 0, "chunk": 3},
        {"epoch": -1, "chunk": 0},
        {"epoch": 0, "chunk": -1},
        {},
        {"epoch": 0},
        {"epoch": 0, "chunk": 1.0},
        {"epoch": True, "chunk": 0},
        None,
        [0, 1],
        "no",
    ],
)
def test_a_cursor_of_other_streams_is_refused(cursor):
    streams = Streams(np.arange(21), 0, 21, 2, 3)
    streams.next_chunk()
    with pytest.raises(ConfigError, match="chunk from 0 to 2"):
        streams.seek(cursor)
    assert streams.cursor() == {"epoch": 0, "chunk": 1}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 10, 0, 1), "batch_size must be at least 1, got 0"),
        ((0, 10, 1, -2), "seq_length must be at least 1, got -2"),
        ((0, 11, 1, 1), "0 <= start <= stop <= 10, got 0 and 11"),
        ((-1, 9, 1, 1), "got -1 and 9"),
        ((5, 4, 1, 1), "got 5 and 4"),
    ],
)
def test_nonsense_is_refused_with_its_rule(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Streams(np.arange(10), *arguments)


def test_the_ids_are_never_copied_as_a_whole(tmp_path):
    ids = np.memmap(tmp_path / "ids", np.uint8, "w+", shape=(1000,))
    streams = Streams(ids, 3, 999, 4, 5)
    assert np.shares_memory(streams._inputs, ids) and np.shares_memory(streams._targets, ids)


def test_pages_of_a_mapped_text_are_given_back_and_the_characters_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RELEASE_BYTES", 64)
    content = np.random.default_rng(1).integers(0, 9, 20_000).astype(np.uint8)
    content.tofile(tmp_path / "ids")
    streams = Streams(np.memmap(tmp_path / "ids", np.uint8, "r"), 0, 20_000, 2, 7)
    plain = Streams(content, 0, 20_000, 2, 7)
    for _ in range(plain.chunks_per_epoch):
        assert (streams.next_chunk()[1] == plain.next_chunk()[1]).all()


def test_a_shape_that_fits_is_kept():
    assert fit_streams(2501, 50, 50, fixed=True) == (50, 50, [])
    assert fit_streams(2501, 50, 50, fixed=False) == (50, 50, [])


@pytest.mark.parametrize(
    "characters, batch_size, seq_length, message",
    [
        (
            62,
            50,
            50,
            "the training split has 62 characters; 50 streams of 50 characters need at least 2,501: lower "
            "--batch-size to 1 or --seq-length to 1",
        ),
        (2500, 50, 50, "need at least 2,501: lower --batch-size to 49 or --seq-length to 49"),
        (40, 1, 50, "1 stream of 50 characters needs at least 51: lower --seq-length to 39"),
        (40, 50, 1, "lower --batch-size to 39"),
        (30, 50, 50, "need at least 2,501: lower --batch-size and --seq-length"),
    ],
)
def test_a_fixed_shape_that_does_not_fit_is_refused_with_what_would(characters, batch_size, seq_length, message):
    with pytest.raises(CorpusError) as caught:
        fit_streams(characters, batch_size, seq_length, fixed=True)
    assert str(caught.value).endswith(message)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 20_000), st.integers(1, 200), st.integers(1, 200))
def test_a_shape_that_is_not_fixed_shrinks_until_it_fits(characters, batch_size, seq_length):
    B, T, notes = fit_streams(characters, batch_size, seq_length, fixed=False)
    streams = Streams(np.zeros(characters, np.uint8), 0, characters, B, T)
    fitted = batch_size * seq_length + 1 <= characters
    assert 1 <= B <= batch_size and 1 <= T <= seq_length
    assert bool(notes) == ((B, T) != (batch_size, seq_length))
    if fitted:  # the batch is kept, and of each stream fewer characters are left out than there are chunks
        stream = (characters - 1) // B
        assert B == batch_size and (stream % T < streams.chunks_per_epoch or stream // seq_length >= 20)
    if not fitted and characters > 4:
        assert streams.chunks_per_epoch >= 4


def test_shrinking_lowers_the_batch_before_the_length_and_says_so():
    assert fit_streams(1001, 50, 50, fixed=False) == (
        5,
        50,
        [
            "the text has only 1,001 characters to train on, too few for 50 streams of 50 characters: using 5 streams "
            "of 50 characters instead"
        ],
    )
    assert fit_streams(41, 50, 50, fixed=False)[:2] == (1, 10)
    assert fit_streams(2, 50, 50, fixed=False)[:2] == (1, 1)


@pytest.mark.parametrize("characters", [0, 1])
@pytest.mark.parametrize("fixed", [False, True])
def test_fewer_than_two_characters_cannot_be_trained_on(characters, fixed):
    with pytest.raises(CorpusError, match=f"at least 2 characters, got {characters}"):
        fit_streams(characters, 1, 1, fixed)


def test_a_short_text_is_used_to_its_end():
    """3,600 characters in 32 streams of 112: with chunks of 64 the last 48 of each would never be read."""
    assert fit_streams(3600, 32, 64, fixed=False)[:2] == (32, 56)
    assert fit_streams(3600, 32, 64, fixed=True)[:2] == (32, 64)
    assert fit_streams(1_003_854, 32, 64, fixed=False) == (32, 64, [])
