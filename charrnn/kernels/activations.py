"""tanh, sigmoid and exp on vectors, for float32 and float64. NaN goes in, NaN comes out.

Error bounds, held by tests/test_activations.py:

    float32   tanh     relative 5e-7, never outside [-1, 1]     (rational fit: benchmarks/fit_tanh.py)
              sigmoid  relative 5e-7 for x > -87                exp  relative 3e-7 for |x| < 87
    float64   tanh     absolute 5e-16                           sigmoid, exp  relative 1e-15 for |x| < 700
"""

from numba import types
from numba.extending import overload

from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import exp2, fma, select

LOG2E = 1.4426950408889634
LN2_HIGH_32, LN2_LOW_32 = 0.693145751953125, 1.42860682030941723e-06  # the high part has 16 trailing zero bits
LN2_HIGH_64, LN2_LOW_64 = 0.6931471803691238, 1.9082149292705877e-10


def exp(x):
    """e to the power of each lane, clamped to the finite range."""
    raise NotImplementedError("compiled code only")


def tanh(x):
    """The hyperbolic tangent of each lane."""
    raise NotImplementedError("compiled code only")


@inline
def _exp_minus(x):
    """Return e^-r and 2^n, whose product is e^-x, for float32: n = round(-x / ln 2), |r| <= ln(2)/2.

    e^-r is its Taylor series to the last bit that counts; -x is never computed, only the signs of odd powers change.
    """
    x = select(x > 87.0, 87.0, x)
    x = select(x < -88.0, -88.0, x)
    shifted = fma(x, -LOG2E, 12582912.0)
    n = shifted - 12582912.0
    r = fma(n, LN2_LOW_32, fma(n, LN2_HIGH_32, x))
    y = fma(r, -1 / 5040, 1 / 720)
    y = fma(y, r, -1 / 120)
    y = fma(y, r, 1 / 24)
    y = fma(y, r, -1 / 6)
    y = fma(y, r, 0.5)
    y = fma(y, r, -1.0)
    return fma(y, r, 1.0), exp2(shifted)


@overload(exp, inline="always")
def _exp(x):
    if x.dtype == types.float32:

        def float32(x):
            y, scale = _exp_minus(0.0 - x)
            return y * scale

        return float32

    def float64(x):  # e^x = 2^n e^r
        x = select(x < -708.0, -708.0, x)
        x = select(x > 709.0, 709.0, x)
        shifted = fma(x, LOG2E, 6755399441055744.0)
        n = shifted - 6755399441055744.0
        r = fma(n, -LN2_LOW_64, fma(n, -LN2_HIGH_64, x))
        y = fma(r, 1 / 6227020800, 1 / 479001600)
        y = fma(y, r, 1 / 39916800)
        y = fma(y, r, 1 / 3628800)
        y = fma(y, r, 1 / 362880)
        y = fma(y, r, 1 / 40320)
        y = fma(y, r, 1 / 5040)
        y = fma(y, r, 1 / 720)
        y = fma(y, r, 1 / 120)
        y = fma(y, r, 1 / 24)
        y = fma(y, r, 1 / 6)
        y = fma(y, r, 0.5)
        y = fma(y, r, 1.0)
        y = fma(y, r, 1.0)
        return y * exp2(shifted)

    return float64


@overload(tanh, inline="always")
def _tanh(x):
    if x.dtype == types.float32:

        def float32(x):
            # x P(x^2) / Q(x^2) on [-9, 9], where float32's tanh has reached 1
            x = select(x < -9.0, -9.0, x)
            x = select(x > 9.0, 9.0, x)
            s = x * x
            p = fma(s, 1.335463185e-08, 2.060905960e-05)
            p = fma(p, s, 3.495586698e-03)
            p = fma(p, s, 1.338102443e-01)
            p = fma(p, s, 9.999999795e-01)
            q = fma(s, 7.776545771e-07, 3.285632513e-04)
            q = fma(q, s, 2.587697673e-02)
            q = fma(q, s, 4.671434003e-01)
            q = fma(q, s, 1.0)
            y = x * p / q
            y = select(y < -1.0, -1.0, y)
            return select(y > 1.0, 1.0, y)

        return float32

    def float64(x):
        # tanh x = 1 - 2 / (e^2x + 1)
        return 1.0 - 2.0 / (exp(2.0 * x) + 1.0)

    return float64


def sigmoid(x):
    """1 / (1 + e^-x) of each lane."""
    raise NotImplementedError("compiled code only")


@overload(sigmoid, inline="always")
def _sigmoid(x):
    if x.dtype == types.float32:

        def float32(x):
            y, scale = _exp_minus(x)
            return 1.0 / fma(y, scale, 1.0)

        return float32

    def float64(x):
        return 1.0 / (1.0 + exp(0.0 - x))

    return float64
