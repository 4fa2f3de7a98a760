"""The optimiser step over the flat parameters: gradient norm, clipping, fused updates, and the transposes rebuilt.

Everything is elementwise over flat buffers of one length, so the panels' order does not matter. Sums of squares are taken
over blocks of a fixed size and added in their order: the norm is the same bits for any number of threads.
"""
import math

from numba import prange

from charrnn.kernels.compiled import inline, kernel
from charrnn.kernels.layout import FROM, FROM_PANELS, FROM_ROWS, FROM_WIDTH, TO, TO_WIDTH
from charrnn.kernels.simd import fetch_add, fma, get, lanes, load, put, reduce_add, select, sqrt, store, zeros

BLOCK = 4096
SGD, ADAGRAD, RMSPROP, ADAM, ADAMW = range(5)


@inline
def block_sum_of_squares(grads, lo, hi, clip_value):
    """Return the sum of squares of grads[lo:hi], after clamping each element to +-clip_value in place where that is > 0."""
    total = zeros(grads)
    for i in range(lo, hi, lanes(grads)):
        g = load(grads, i)
        if clip_value > 0:
            g = select(g > clip_value, clip_value, g)
            g = select(g < 0.0 - clip_value, 0.0 - clip_value, g)
            store(grads, i, g)
        total = fma(g, g, total)
    return reduce_add(total)


@inline
def update_block(rule, params, grads, first, second, lo, hi, scale, rate, a, b, eps, decay, correction):
    """Update params[lo:hi] by one rule from grads*scale and the state `first`, `second` (only what the rule keeps).

        sgd      v = a v + g;                              w -= rate v          (a: momentum)
        adagrad  s += g^2;                                 w -= rate g / (sqrt(s) + eps)
        rmsprop  s = a s + (1-a) g^2;                      w -= rate g / (sqrt(s) + eps)
        adam     m = a m + (1-a) g; s = b s + (1-b) g^2;   w -= rate m / (sqrt(s) correction + eps)
        adamw    w -= decay w first, then adam

    `rate` already holds Adam's 1/(1 - a^step), `correction` is 1/sqrt(1 - b^step), `decay` the learning rate times the
    weight decay. Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019.
    """
    for i in range(lo, hi, lanes(params)):
        g, w = load(grads, i) * scale, load(params, i)
        if rule == SGD:
            if a > 0:
                g = fma(a, load(first, i), g)
                store(first, i, g)
            w = fma(0.0 - rate, g, w)
        elif rule == ADAGRAD:
            s = fma(g, g, load(second, i))
            store(second, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        elif rule == RMSPROP:
            s = fma(a, load(second, i), (1.0 - a) * g * g)
            store(second, i, s)
            w = w - rate * g / (sqrt(s) + eps)
        else:
            m = fma(a, load(first, i), (1.0 - a) * g)
            s = fma(b, load(second, i), (1.0 - b) * g * g)
            store(first, i, m)
            store(second, i, s)
            w = fma(0.0 - decay, w, w)
            w = w - rate * m / fma(sqrt(s), correction, eps)
        store(params, i, w)


@inline
def transpose_panel(transposes, item, panel, params, derived):
    """Rewrite one panel's part of a transposed matrix: derived [K/wide][columns][wide] from params [K][columns]."""
    VL = lanes(params)
    K, columns = transposes[item, FROM_ROWS], transposes[item, FROM_WIDTH] * VL
    wide, rows = transposes[item, TO_WIDTH] * VL, transposes[item, FROM_PANELS] * columns
    source = transposes[item, FROM] + panel * K * columns
    for k in range(K):
        to = transposes[item, TO] + ((k // wide) * rows + panel * columns) * wide + k % wide
        for c in range(columns):
            put(derived, to + c * wide, get(params, source + k * columns + c))


@kernel(parallel=True)
def rebuild_transposes(transposes, params, derived, counter, workers):
    """Rebuild `derived` from `params`."""
    total = 0
    for m in range(len(transposes)):
        total += transposes[m, FROM_PANELS]
    counter[0] = 0
    for _ in prange(workers):
        i = fetch_add(counter, 1)
        while i < total:
            m = 0
            p = i
            while p >= transposes[m, FROM_PANELS]:
                p -= transposes[m, FROM_PANELS]
                m += 1
            transpose_panel(transposes, m, p, params, derived)
            i = fetch_add(counter, 1)


@kernel(parallel=True)
def gradient_norm(grads, partial, clip_value, counter, workers):
    """Return the L2 norm of the gradient; clamp its elements first to +-clip_value where that is > 0.

    partial   float64, one number a block of BLOCK elements
    """
    blocks = (grads.size + BLOCK - 1) // BLOCK
    counter[0] = 0
    for _ in prange(workers):
        i = fetch_add(counter, 1)
        while i < blocks:
            partial[i] = block_sum_of_squares(grads, i * BLOCK, min(grads.size, (i + 1) * BLOCK), clip_value)
            i = fetch_add(counter, 1)
    total = 0.0
    for i in range(blocks):
        total += partial[i]
    return math.sqrt(total)


@kernel(parallel=True)
def apply_update(rule, params, grads, first, second, scale, rate, a, b, eps, decay, correction, counter, workers):
    """Update every parameter; see update_block for the rules."""
    blocks = (grads.size + BLOCK - 1) // BLOCK
    counter[0] = 0
    for _ in prange(workers):
        i = fetch_add(counter, 1)
        while i < blocks:
            update_block(rule, params, grads, first, second, i * BLOCK, min(grads.size, (i + 1) * BLOCK), scale, rate, a, b,
                         eps, decay, correction)
            i = fetch_add(counter, 1)
