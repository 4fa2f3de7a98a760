"""Suffixes in order: by any depth, over stretches that must not touch."""

import numpy as np
import pytest

from charrnn.evaluation.suffixes import sort_suffixes


@pytest.mark.parametrize("depth", [1, 3, 20, 70])
@pytest.mark.parametrize("symbols", [2, 65, 100_000])
def test_the_order_is_that_of_the_first_codes_and_shared_is_what_neighbours_have_in_common(symbols, depth):
    rng = np.random.default_rng(symbols + depth)
    repeated = rng.integers(0, symbols, 60)
    stretches = [rng.integers(0, symbols, 50), np.concatenate([repeated, repeated]), rng.integers(0, 1, 30)]
    text = sort_suffixes(stretches, symbols, depth)
    codes = [code for stretch in stretches for code in (*(int(i) + 1 for i in stretch), symbols + 1)]
    assert text.codes.tolist() == codes and text.begins == (0, 51, 172)
    heads = [tuple(codes[at : at + depth]) for at in text.order]
    assert sorted(text.order.tolist()) == list(range(len(codes)))
    assert heads == sorted(heads)
    for i in range(1, len(codes)):
        common = 0
        while common < min(len(heads[i - 1]), len(heads[i])) and heads[i - 1][common] == heads[i][common]:
            common += 1
        assert text.shared[i] == common


def test_the_text_may_be_empty_but_for_its_separator():
    text = sort_suffixes([np.zeros(0, np.uint8)], 3, 20)
    assert text.order.tolist() == [0] and text.shared.tolist() == [0]
