"""The LSTM: the elementwise part of a time step, forward beside backward. The products around it are chunk.py's."""

from charrnn.kernels.activations import sigmoid, tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import fma, lanes, load, store


@inline
def lstm_forward(params, b, G, g, HS, h_prev, h_next, CS, c_prev, c_next, n, stride):
    """Finish one panel (`lanes` units) of a time step for n streams.

        a = x Wx + h_prev Wh + b;   i, f, o = sigmoid(a_i, a_f, a_o);   g = tanh(a_g)
        c = f*c_prev + i*g;         h = o*tanh(c)

    b          b (4 lanes) at params[b], gates i, f, g, o
    G          (n, 4 lanes) at g: x Wx + h_prev Wh read; i, f, g, o written, which lstm_backward needs unchanged
    CS, HS     c_prev (n, stride) at c_prev read; c at c_next and h at h_next written

    Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000.
    """
    VL = lanes(G)
    b_i, b_f, b_g, b_o = load(params, b), load(params, b + VL), load(params, b + 2 * VL), load(params, b + 3 * VL)
    for r in range(n):
        a = g + r * 4 * VL
        i = sigmoid(load(G, a) + b_i)
        f = sigmoid(load(G, a + VL) + b_f)
        u = tanh(load(G, a + 2 * VL) + b_g)
        o = sigmoid(load(G, a + 3 * VL) + b_o)
        c = fma(f, load(CS, c_prev + r * stride), i * u)
        store(CS, c_next + r * stride, c)
        store(HS, h_next + r * stride, o * tanh(c))
        store(G, a, i)
        store(G, a + VL, f)
        store(G, a + 2 * VL, u)
        store(G, a + 3 * VL, o)


@inline
def lstm_cell_state(G, g, CS, c_prev, c_next, n, stride):
    """Compute c again from the gates, to the same bits: c (n, stride) at c_next, from c_prev. The gates as lstm_backward reads them."""
    VL = lanes(G)
    for r in range(n):
        a = g + r * 4 * VL
        store(
            CS,
            c_next + r * stride,
            fma(load(G, a + VL), load(CS, c_prev + r * stride), load(G, a) * load(G, a + 2 * VL)),
        )


@inline
def lstm_backward(G, g, HS, h_prev, HG, h, CS, c_prev, DH, dh, DR, dr, DC, n, stride):
    """Turn dh and dc into da of the four gates, in place of the gates.

        dc += dh o (1 - tanh(c)^2);   da_i = dc g i(1-i);   da_f = dc c_prev f(1-f)
        da_g = dc i (1-g^2);          da_o = dh tanh(c) o(1-o);   dc_prev = dc f

    HG, CS    h (n, stride) at h as lstm_forward wrote it, c_prev at c_prev; read. tanh(c) is h/o; HS is not used
    DH, DR    (n, stride) at dh, dr: the gradient from above, and from the next time step; read
    DC        (n, stride) at dr: dc from the next time step read, dc_prev written
    G         (n, 4 lanes) at g: i, f, g, o read; da written
    """
    VL = lanes(G)
    for r in range(n):
        a = g + r * 4 * VL
        i, f, u, o = load(G, a), load(G, a + VL), load(G, a + 2 * VL), load(G, a + 3 * VL)
        tanh_c = load(HG, h + r * stride) / o  # o is never 0: the exponential in it is clamped
        d = load(DH, dh + r * stride) + load(DR, dr + r * stride)
        dc = fma(d * o, 1.0 - tanh_c * tanh_c, load(DC, dr + r * stride))
        store(G, a, dc * u * i * (1.0 - i))
        store(G, a + VL, dc * load(CS, c_prev + r * stride) * f * (1.0 - f))
        store(G, a + 2 * VL, dc * i * (1.0 - u * u))
        store(G, a + 3 * VL, d * tanh_c * o * (1.0 - o))
        store(DC, dr + r * stride, dc * f)
