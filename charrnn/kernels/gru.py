"""The GRU: the elementwise part of a time step, forward beside backward. The products around it are chunk.py's.

The reset gate is applied after the recurrent product, which has its own bias for n, as cuDNN and PyTorch do. The paper
resets the state before the product; there the recurrent product of n would have to wait for r.
"""

from charrnn.kernels.activations import sigmoid, tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import fma, lanes, load, store


@inline
def gru_forward(params, b, G, g, HS, h_prev, h_next, CS, c_prev, c_next, n, stride):
    """Finish one panel (`lanes` units) of a time step for n streams.

        r, z = sigmoid(x Wx + h_prev Wh + b);   m = h_prev Wh_n + b_m
        n = tanh(x Wx_n + b_n + r*m);           h = (1-z)*n + z*h_prev

    b         b (4 lanes) at params[b], in the order n, r, z, m
    G         (n, 4 lanes) at g: the products read; n, r, z, m written, which gru_backward needs unchanged
    HS        h_prev (n, stride) read, h_next written; CS is not used

    Cho et al. 2014; this form: Appleyard, Kocisky & Blunsom 2016.
    """
    VL = lanes(G)
    b_n, b_r, b_z, b_m = load(params, b), load(params, b + VL), load(params, b + 2 * VL), load(params, b + 3 * VL)
    for row in range(n):
        a = g + row * 4 * VL
        r = sigmoid(load(G, a + VL) + b_r)
        z = sigmoid(load(G, a + 2 * VL) + b_z)
        m = load(G, a + 3 * VL) + b_m
        u = tanh(fma(r, m, load(G, a) + b_n))
        h = load(HS, h_prev + row * stride)
        store(HS, h_next + row * stride, fma(z, h - u, u))
        store(G, a, u)
        store(G, a + VL, r)
        store(G, a + 2 * VL, z)
        store(G, a + 3 * VL, m)


@inline
def gru_backward(G, g, HS, h_prev, HG, h, CS, c_prev, DH, dh, DR, dr, DC, n, stride):
    """Turn dh into da of n, r, z and m, in place of the gates.

        da_n = dh (1-z) (1-n^2);    da_r = da_n m r(1-r);    da_z = dh (h_prev - n) z(1-z);    da_m = da_n r
        dh_prev = dh z  (+ the products' part, which chunk.py adds)

    HS        h_prev (n, stride), read; HG and CS are not used
    DH, DR    (n, stride) at dh, dr: the gradient from above, and from the next time step, read; DR: dh z written
    G         (n, 4 lanes) at g: n, r, z, m read; da written in the same order
    """
    VL = lanes(G)
    for row in range(n):
        a = g + row * 4 * VL
        u, r, z, m = load(G, a), load(G, a + VL), load(G, a + 2 * VL), load(G, a + 3 * VL)
        d = load(DH, dh + row * stride) + load(DR, dr + row * stride)
        da_n = d * (1.0 - z) * (1.0 - u * u)
        store(G, a, da_n)
        store(G, a + VL, da_n * m * r * (1.0 - r))
        store(G, a + 2 * VL, d * (load(HS, h_prev + row * stride) - u) * z * (1.0 - z))
        store(G, a + 3 * VL, da_n * r)
        store(DR, dr + row * stride, d * z)
