"""The GRU: the elementwise part of a time step, forward beside backward. The products around it are chunk/'s.

The reset gate is applied after the recurrent product, which has its own bias for n, as cuDNN and PyTorch do. The paper
resets the state before the product; there the recurrent product of n would have to wait for r.
"""

from charrnn.kernels.activations import sigmoid, tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import fma, lanes, load, store


@inline
def forward(s):
    """Finish one panel (`lanes` units) of a time step for n streams; s is a panel.Forward.

        r, z = sigmoid(x Wx + h_prev Wh + b);   m = h_prev Wh_n + b_m
        n = tanh(x Wx_n + b_n + r*m);           h = (1-z)*n + z*h_prev

    b and G hold the gates in the order n, r, z, m. `backward` needs them unchanged. There is no c.

    Cho et al. 2014; this form: Appleyard, Kocisky & Blunsom 2016.
    """
    G, HS, VL = s.G, s.HS, lanes(s.G)
    b_n, b_r = load(s.params, s.b), load(s.params, s.b + VL)
    b_z, b_m = load(s.params, s.b + 2 * VL), load(s.params, s.b + 3 * VL)
    for row in range(s.n):
        a = s.g + row * 4 * VL
        r = sigmoid(load(G, a + VL) + b_r)
        z = sigmoid(load(G, a + 2 * VL) + b_z)
        m = load(G, a + 3 * VL) + b_m
        u = tanh(fma(r, m, load(G, a) + b_n))
        h = load(HS, s.h_prev + row * s.stride)
        store(HS, s.h_next + row * s.stride, fma(z, h - u, u))
        store(G, a, u)
        store(G, a + VL, r)
        store(G, a + 2 * VL, z)
        store(G, a + 3 * VL, m)


@inline
def backward(s):
    """Turn dh into da of n, r, z and m, in place of the gates; s is a panel.Backward.

        da_n = dh (1-z) (1-n^2);    da_r = da_n m r(1-r);    da_z = dh (h_prev - n) z(1-z);    da_m = da_n r
        dh_prev = dh z  (+ the product's part, which is added to it)

    h as forward made it is not read.
    """
    G, VL = s.G, lanes(s.G)
    for row in range(s.n):
        a, at = s.g + row * 4 * VL, row * s.stride
        u, r, z, m = load(G, a), load(G, a + VL), load(G, a + 2 * VL), load(G, a + 3 * VL)
        d = load(s.DH, s.dh + at) + load(s.DR, s.dr + at)
        da_n = d * (1.0 - z) * (1.0 - u * u)
        store(G, a, da_n)
        store(G, a + VL, da_n * m * r * (1.0 - r))
        store(G, a + 2 * VL, d * (load(s.HS, s.h_prev + at) - u) * z * (1.0 - z))
        store(G, a + 3 * VL, da_n * r)
        store(s.DR, s.dr + at, d * z)
