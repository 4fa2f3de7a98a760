"""Measures of a model while it trains: largest singular values of the recurrent matrices, norms of the gradient.

Both read the flat arrays without copying them. There, the columns of a matrix are in another order and padded with
columns of zeros; neither changes a singular value or a norm.
"""

import math

import numpy as np

VECTORS = 8  # iterated together: the more, the sooner close singular values come apart
ITERATIONS = 30
TOLERANCE = 1e-4  # of the value, from one iteration to the next


def largest_singular_values(model):
    """Return the largest singular value of the recurrent matrix (G*H, H) of each layer: a list of L floats.

    Computed by power iteration, so it may be too small by up to 0.5 %. NaN if the weights are not finite.
    """
    return [_largest(panel_view(model.flat, panel)) for panel in model.layout.weights_h]


def norms_by_layer(model, flat):
    """Return the Euclidean norm of each layer's part of an array (N,) ordered like model.flat, such as a gradient.

    Returns a dict with the keys "embedding", "layer 0", "layer 1", ..., "output". A tied embedding belongs to "output".
    """
    layout = model.layout
    parts = {
        f"layer {layer}": [
            layout.weights_x[layer],
            layout.weights_h[layer],
            layout.biases[layer],
            *layout.gains[layer : layer + 1],
        ]
        for layer in range(layout.num_layers)
    }
    norms = {
        name: math.sqrt(sum(_sum_squares(flat[panel.at : panel.at + panel.size]) for panel in panels))
        for name, panels in (*parts.items(), ("output", [layout.out, layout.out_bias]))
    }
    if layout.embedding_at >= 0:
        rows = layout.vocab_size * layout.embedding_stride
        norms = {"embedding": math.sqrt(_sum_squares(flat[layout.embedding_at : layout.embedding_at + rows])), **norms}
    return norms


def panel_view(flat, panel):
    """Return the part of a flat array that belongs to `panel`, as a view (panels, K, columns)."""
    return flat[panel.at : panel.at + panel.size].reshape(panel.panels, panel.rows, -1)


def _largest(W):
    """Return the largest singular value of W (panels, K, columns), all panels side by side.

    By block power iteration, with Ritz values.
    """
    v = np.random.Generator(np.random.Philox(0)).standard_normal((W.shape[1], min(VECTORS, W.shape[1]))).astype(W.dtype)
    value = 0.0
    for _ in range(ITERATIONS):
        v = np.linalg.qr(v)[0]
        u = v.T @ W
        gram = (u @ u.transpose(0, 2, 1)).sum(axis=0, dtype=np.float64)
        if not np.isfinite(gram).all():
            return math.nan
        before, value = value, math.sqrt(max(0.0, np.linalg.eigvalsh(gram)[-1]))
        if abs(value - before) <= TOLERANCE * value:
            break
        v = (W @ u.transpose(0, 2, 1)).sum(axis=0)
    return value


def _sum_squares(numbers):
    with np.errstate(over="ignore"):
        total = float(numbers @ numbers)
    return total if math.isfinite(total) else float((numbers.astype(np.float64) ** 2).sum())
