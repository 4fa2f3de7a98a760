"""Fit the rational tanh of charrnn/kernels/activations.py: x P(x^2) / Q(x^2) on [0, 9], and print its coefficients.

Q(x^2) tanh(x) - x P(x^2) = 0 is linear in the coefficients; it is solved by least squares on Chebyshev points, weighted
by the inverse of the last round's denominator and by 1/tanh (so that the *relative* error is fitted), and the weights
are sharpened where the error is largest until it is nearly equal everywhere (Lawson's algorithm).

Run: python benchmarks/fit_tanh.py
"""

import numpy as np

LIMIT, P_DEGREE, Q_DEGREE = 9.0, 4, 4


def fit():
    x = LIMIT * (1 - np.cos(np.linspace(0, np.pi, 4001)[1:])) / 2
    s = x * x / LIMIT**2  # scaled for conditioning
    t = np.tanh(x)
    weight, denominator = np.ones_like(x), np.ones_like(x)
    best = None
    for _ in range(400):
        columns = [x * s**i / t for i in range(P_DEGREE + 1)] + [-(s**i) for i in range(1, Q_DEGREE + 1)]
        w = np.sqrt(weight) / denominator
        solution = np.linalg.lstsq(np.stack(columns, 1) * w[:, None], w, rcond=None)[0]
        p, q = solution[: P_DEGREE + 1], np.concatenate([[1], solution[P_DEGREE + 1 :]])
        denominator = np.polyval(q[::-1], s)
        error = np.abs(x * np.polyval(p[::-1], s) / denominator / t - 1)
        if best is None or error.max() < best[0]:
            best = error.max(), p / LIMIT ** (2 * np.arange(P_DEGREE + 1)), q / LIMIT ** (2 * np.arange(Q_DEGREE + 1))
        weight = weight * (error / error.mean() + 1e-3) ** 0.5
        weight /= weight.mean()
    return best


def evaluate(p, q, x):
    """The fit as float32 Horner steps, to see what rounding adds."""
    x = np.clip(x, -LIMIT, LIMIT).astype(np.float32)
    s = x * x
    top, bottom = np.float32(p[-1]), np.float32(q[-1])
    for c in p[-2::-1]:
        top = top * s + np.float32(c)
    for c in q[-2::-1]:
        bottom = bottom * s + np.float32(c)
    return x * top / bottom


if __name__ == "__main__":
    error, p, q = fit()
    print(f"relative error of the fit {error:.2e}")
    print("P", ", ".join(f"{c:.9e}" for c in p))
    print("Q", ", ".join(f"{c:.9e}" for c in q))
    x = np.linspace(-12, 12, 2_000_001).astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    got = evaluate(p, q, x).astype(np.float64)
    print(
        f"in float32: absolute error {np.abs(got - exact).max():.2e}, largest value {np.abs(got).max():.9f}, "
        f"relative error {np.nanmax(np.abs(got / np.where(exact == 0, np.nan, exact) - 1)):.2e}"
    )
