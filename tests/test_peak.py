"""The peak kernel does the multiply-adds it counts: its recurrence in exact fractions, rounded once a step."""

from fractions import Fraction

import numpy as np
import pytest

from charrnn.bench import multiply_adds
from charrnn.kernels.host import has_fma
from charrnn.kernels.records import UNROLLED, numbers_per_item


def recurrence(a, b, x, steps, dtype):
    """x = a x + b with one rounding a step (to float64 first, which 29 more bits make harmless for float32)."""
    a, b = Fraction(float(a)), Fraction(float(b))
    for _ in range(steps):
        x = dtype(float(a * Fraction(float(x)) + b))
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_lane_goes_through_the_recurrence_with_one_rounding_a_step(dtype):
    rng = np.random.default_rng(0)
    numbers = rng.uniform(0.5, 1.5, (3, numbers_per_item(dtype))).astype(dtype)
    before, rounds = numbers.copy(), 5
    flops = multiply_adds(numbers, rounds, workers=2)
    want = np.array([[recurrence(row[0], row[1], x, rounds * UNROLLED, dtype) for x in row[2:]] for row in before])
    assert np.array_equal(numbers[:, :2], before[:, :2])
    if has_fma():
        assert np.array_equal(numbers[:, 2:], want)
    else:
        np.testing.assert_allclose(numbers[:, 2:], want, rtol=rounds * UNROLLED * np.finfo(dtype).eps)
    assert flops == 2 * rounds * UNROLLED * want.size


def test_no_rounds_change_nothing():
    numbers = np.ones((1, numbers_per_item(np.float32)), np.float32)
    assert multiply_adds(numbers, 0) == 0
    assert (numbers == 1).all()
