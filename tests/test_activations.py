"""tanh, sigmoid and exp against longdouble NumPy, at the bounds charrnn/kernels/activations.py states."""

import numpy as np
import pytest
from numba import njit

from charrnn.kernels.activations import exp, sigmoid, tanh
from charrnn.kernels.simd import lanes, load, store

EXACT = (np.exp, np.tanh, lambda v: 1 / (1 + np.exp(-v)))


@njit
def apply(x, y, which):
    for i in range(0, x.size, lanes(x)):
        v = load(x, i)
        if which == 0:
            v = exp(v)
        elif which == 1:
            v = tanh(v)
        else:
            v = sigmoid(v)
        store(y, i, v)


def points(dtype, limit):
    x = np.concatenate(
        [
            np.linspace(-limit, limit, 200_000),
            np.linspace(-12, 12, 200_000),
            np.geomspace(1e-20, 1, 50_000),
            -np.geomspace(1e-20, 1, 50_000),
        ]
    )
    return x[: len(x) // 64 * 64].astype(dtype)


def errors(dtype, which, limit):
    x = points(dtype, limit)
    y = np.empty_like(x)
    apply(x, y, which)
    exact = EXACT[which](x.astype(np.longdouble))
    absolute = np.abs(y - exact)
    return float(absolute.max()), float((absolute / np.abs(exact)).max()), y


@pytest.mark.slow
@pytest.mark.parametrize("dtype, limit, bound", [("float32", 86, 3e-7), ("float64", 700, 1e-15)])
def test_exp_keeps_its_relative_bound(dtype, limit, bound):
    assert errors(dtype, 0, limit)[1] < bound


@pytest.mark.slow
@pytest.mark.parametrize("dtype, limit, bound", [("float32", 86, 5e-7), ("float64", 700, 1e-15)])
def test_sigmoid_keeps_its_relative_bound(dtype, limit, bound):
    assert errors(dtype, 2, limit)[1] < bound


@pytest.mark.slow
def test_tanh_keeps_its_bounds_and_never_leaves_plus_minus_one():
    _, relative, y = errors("float32", 1, 86)
    assert relative < 5e-7
    assert np.abs(y).max() <= 1
    absolute, _, y = errors("float64", 1, 700)
    assert absolute < 5e-16
    assert np.abs(y).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_nan_comes_out_where_nan_went_in_and_infinities_saturate(dtype, which):
    x = np.zeros(64, dtype)
    x[:3] = np.nan, np.inf, -np.inf
    y = np.empty_like(x)
    apply(x, y, which)
    assert np.isnan(y[0]) and np.isfinite(y[1:]).all()
    if which:
        assert y[1] == pytest.approx(1) and y[2] == pytest.approx(-1 if which == 1 else 0, abs=1e-30)
