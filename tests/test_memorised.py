"""Substrings that stand in the training text too, against a search for each one."""

import numpy as np
import pytest
from oracle import longest_match

from charrnn.evaluation.memorised import LENGTHS, overlaps


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shares_and_the_longest_copy_are_those_of_a_search_for_every_substring(dtype):
    rng = np.random.default_rng(1)
    training = rng.integers(0, 3, 400).astype(dtype)
    copied = np.concatenate([rng.integers(0, 3, 20), training[100:170], rng.integers(0, 3, 20)]).astype(dtype)
    drawn = rng.integers(0, 3, 60).astype(dtype)
    for text, found in zip((copied, drawn), overlaps(training, [copied, drawn], 3)):
        matches = [longest_match(training.tolist(), text[at:].tolist()) for at in range(len(text))]
        shares = [
            np.mean([matches[at] >= length for at in range(len(text) - length + 1)]) for length in range(1, LENGTHS + 1)
        ]
        np.testing.assert_allclose(found.shares, shares)
        assert found.longest == max(matches) and matches[found.start] == found.longest
        assert (
            training[found.source : found.source + found.longest] == text[found.start : found.start + found.longest]
        ).all()
    assert found.longest < 20


def test_a_copy_longer_than_any_depth_is_measured_whole(monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.memorised.MAX_DEPTH", 150)
    training = np.random.default_rng(0).integers(0, 4, 3000)
    (found,) = overlaps(training, [np.concatenate([[3, 3, 3], training[500:2500]])], 4)
    assert found.longest >= 2000 and found.start <= 3 and found.shares[-1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_longest_of_several_copies_beyond_any_depth_is_found(monkeypatch, dtype):
    monkeypatch.setattr("charrnn.evaluation.memorised.LENGTHS", 2)  # a depth of 4, then of 16
    monkeypatch.setattr("charrnn.evaluation.memorised.MAX_DEPTH", 16)
    rng = np.random.default_rng(2)
    for _ in range(12):
        training = rng.integers(0, 2, 700).astype(dtype)
        # Copies end to end, so that one deep place follows another though they go on elsewhere; some at both texts'
        # ends.
        parts = [training[at : at + rng.integers(5, 90)] for at in rng.integers(0, 700, 6)]
        text = np.concatenate([*parts, rng.integers(0, 2, 3).astype(dtype), training[-40:]])
        (found,) = overlaps(training, [text], 2)
        known, word = ("".join(map(str, array.tolist())) for array in (training, text))
        longest = max(
            end - at
            for at in range(len(word))
            for end in range(at + 1, min(len(word), at + 150) + 1)
            if word[at:end] in known
        )
        assert found.longest == longest < 150
        assert (
            training[found.source : found.source + found.longest] == text[found.start : found.start + found.longest]
        ).all()


def test_a_copy_at_the_training_texts_end_does_not_reach_into_what_is_judged():
    training, text = np.array([0, 1, 2]), np.array([1, 2, 1, 2])
    (found,) = overlaps(training, [text], 3)
    assert found.longest == 2 and found.source == 1
    np.testing.assert_allclose(found.shares[:4], [1, 2 / 3, 0, 0])
    assert np.isnan(found.shares[4:]).all()


def test_a_copy_is_looked_for_by_numbers_not_by_bytes():
    (found,) = overlaps(
        np.array([256, 0, 1], np.uint16), [np.array([1], np.uint16)], 300
    )  # 256, 0 holds the bytes of a 1
    assert (found.longest, found.source) == (1, 2)


def test_what_the_training_text_lacks_is_found_nowhere():
    (found, nothing) = overlaps(np.array([0, 1, 0]), [np.array([2, 2]), np.array([], int)], 3)
    assert found.longest == 0 and found.shares[0] == 0
    assert nothing.longest == 0 and np.isnan(nothing.shares).all()
