"""Layer normalisation of a time step's sums, forward beside backward.

It stands between the products and the gates, which add the bias.
Each gate's sums s are normalised over the layer's H units, for every stream on its own, and multiplied by gains of that
gate's own:

    xhat = (s - mean(s)) / sqrt(var(s) + EPSILON);   a = gain*xhat + b

Ba, Kiros & Hinton 2016. The padding is left out of both means and stays zero. A row's sums run over its panels in
ascending order, lane by lane, then over the lanes by halves: its bits depend on nothing that lies beside it.
"""

import math
from typing import NamedTuple

from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import fma, get, lane_below, lanes, load, put, reduce_add, select, store, zeros

EPSILON = 1e-5  # PyTorch's


class Sums(NamedTuple):
    """The sums of a time step, all panels of a layer, for some streams.

    gain   (P, 4 lanes) at params[gain]
    G      (P, n, 4 lanes), panel p from g + p*panel on: the sums
    XN     laid out as G: xhat
    RS     (n, 4) at rs: 1/sqrt(var + EPSILON)
    """

    params: object
    gain: int
    G: object
    g: int
    panel: int
    XN: object
    RS: object
    rs: int


@inline
def normalise_sums(plan, s, n, keep):
    """Turn the sums of n streams into gain*xhat, in their place; write XN and RS where `keep` is not 0."""
    params, G, XN, RS = s.params, s.G, s.XN, s.RS
    VL, P, H, units = lanes(G), plan.P, plan.H, plan.units
    work, next_vector = 4 * VL, VL if units > VL else 0  # rnn: the four vectors are units of one gate
    for r in range(n):
        row = s.g + r * work
        s0, s1, s2, s3 = zeros(G), zeros(G), zeros(G), zeros(G)
        for p in range(P):
            a = row + p * s.panel
            s0, s1, s2, s3 = s0 + load(G, a), s1 + load(G, a + VL), s2 + load(G, a + 2 * VL), s3 + load(G, a + 3 * VL)
        if next_vector > 0:
            s0 = (s0 + s1) + (s2 + s3)
            s1, s2, s3 = s0, s0, s0
        m0, m1, m2, m3 = reduce_add(s0) / H, reduce_add(s1) / H, reduce_add(s2) / H, reduce_add(s3) / H
        s0, s1, s2, s3 = zeros(G), zeros(G), zeros(G), zeros(G)
        for p in range(P):
            a, left = row + p * s.panel, H - p * units
            d0 = select(lane_below(G, left), load(G, a) - m0, 0.0)
            d1 = select(lane_below(G, left - next_vector), load(G, a + VL) - m1, 0.0)
            d2 = select(lane_below(G, left - 2 * next_vector), load(G, a + 2 * VL) - m2, 0.0)
            d3 = select(lane_below(G, left - 3 * next_vector), load(G, a + 3 * VL) - m3, 0.0)
            s0, s1, s2, s3 = fma(d0, d0, s0), fma(d1, d1, s1), fma(d2, d2, s2), fma(d3, d3, s3)
            store(G, a, d0)
            store(G, a + VL, d1)
            store(G, a + 2 * VL, d2)
            store(G, a + 3 * VL, d3)
        if next_vector > 0:
            s0 = (s0 + s1) + (s2 + s3)
            s1, s2, s3 = s0, s0, s0
        m0, m1 = 1.0 / math.sqrt(reduce_add(s0) / H + EPSILON), 1.0 / math.sqrt(reduce_add(s1) / H + EPSILON)
        m2, m3 = 1.0 / math.sqrt(reduce_add(s2) / H + EPSILON), 1.0 / math.sqrt(reduce_add(s3) / H + EPSILON)
        for p in range(P):
            a, k = row + p * s.panel, s.gain + p * work
            x0, x1, x2, x3 = load(G, a) * m0, load(G, a + VL) * m1, load(G, a + 2 * VL) * m2, load(G, a + 3 * VL) * m3
            store(G, a, x0 * load(params, k))
            store(G, a + VL, x1 * load(params, k + VL))
            store(G, a + 2 * VL, x2 * load(params, k + 2 * VL))
            store(G, a + 3 * VL, x3 * load(params, k + 3 * VL))
            if keep:
                store(XN, a, x0)
                store(XN, a + VL, x1)
                store(XN, a + 2 * VL, x2)
                store(XN, a + 3 * VL, x3)
        if keep:
            put(RS, s.rs + r * 4, m0)
            put(RS, s.rs + r * 4 + 1, m1)
            put(RS, s.rs + r * 4 + 2, m2)
            put(RS, s.rs + r * 4 + 3, m3)


@inline
def _gain_backward(s, k, a, DN, to, gains):
    """Return dx = da*gain of a vector, in the place of da; add da to the bias's gradient and da*xhat to the gain's."""
    da = load(s.G, a)
    store(DN, to, load(DN, to) + da)
    store(DN, to + gains, fma(da, load(s.XN, a), load(DN, to + gains)))
    dx = da * load(s.params, k)
    store(s.G, a, dx)
    return dx


@inline
def _sums_backward(G, XN, a, mean, share, scale, left):
    """Turn dx of a vector into ds; 0 in the padding, from lane `left` on."""
    store(G, a, select(lane_below(G, left), (load(G, a) - mean - load(XN, a) * share) * scale, 0.0))


@inline
def normalise_backward(plan, s, n, DN, to, to_panel, gains):
    """Turn da of n streams into ds, in their place; XN and RS read.

        dx = da*gain;   ds = (dx - mean(dx) - xhat*mean(dx*xhat)) / sqrt(var + EPSILON);   db += da;   dgain += da*xhat

    DN     (P, n, 4 lanes), panel p from to + p*to_panel on: each stream's db; `gains` numbers on, its dgain; added to
    """
    G, XN, RS = s.G, s.XN, s.RS
    VL, P, H, units = lanes(G), plan.P, plan.H, plan.units
    work, next_vector = 4 * VL, VL if units > VL else 0  # rnn: the four vectors are units of one gate
    for r in range(n):
        row = s.g + r * work
        s0, s1, s2, s3 = zeros(G), zeros(G), zeros(G), zeros(G)
        q0, q1, q2, q3 = zeros(G), zeros(G), zeros(G), zeros(G)
        for p in range(P):
            a, k, at = row + p * s.panel, s.gain + p * work, to + p * to_panel + r * work
            dx = _gain_backward(s, k, a, DN, at, gains)
            s0, q0 = s0 + dx, fma(dx, load(XN, a), q0)
            dx = _gain_backward(s, k + VL, a + VL, DN, at + VL, gains)
            s1, q1 = s1 + dx, fma(dx, load(XN, a + VL), q1)
            dx = _gain_backward(s, k + 2 * VL, a + 2 * VL, DN, at + 2 * VL, gains)
            s2, q2 = s2 + dx, fma(dx, load(XN, a + 2 * VL), q2)
            dx = _gain_backward(s, k + 3 * VL, a + 3 * VL, DN, at + 3 * VL, gains)
            s3, q3 = s3 + dx, fma(dx, load(XN, a + 3 * VL), q3)
        if next_vector > 0:
            s0, q0 = (s0 + s1) + (s2 + s3), (q0 + q1) + (q2 + q3)
            s1, s2, s3, q1, q2, q3 = s0, s0, s0, q0, q0, q0
        m0, m1, m2, m3 = reduce_add(s0) / H, reduce_add(s1) / H, reduce_add(s2) / H, reduce_add(s3) / H
        c0, c1, c2, c3 = reduce_add(q0) / H, reduce_add(q1) / H, reduce_add(q2) / H, reduce_add(q3) / H
        scale = s.rs + r * 4
        for p in range(P):
            a, left = row + p * s.panel, H - p * units
            _sums_backward(G, XN, a, m0, c0, get(RS, scale), left)
            _sums_backward(G, XN, a + VL, m1, c1, get(RS, scale + 1), left - next_vector)
            _sums_backward(G, XN, a + 2 * VL, m2, c2, get(RS, scale + 2), left - 2 * next_vector)
            _sums_backward(G, XN, a + 3 * VL, m3, c3, get(RS, scale + 3), left - 3 * next_vector)
