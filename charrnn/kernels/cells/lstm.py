"""The LSTM: the elementwise part of a time step, forward beside backward. The products around it are chunk/'s."""

from charrnn.kernels.activations import sigmoid, tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import fma, lanes, load, store


@inline
def forward(s):
    """Finish one panel (`lanes` units) of a time step for n streams; s is a panel.Forward.

        a = x Wx + h_prev Wh + b;   i, f, o = sigmoid(a_i, a_f, a_o);   g = tanh(a_g)
        c = f*c_prev + i*g;         h = o*tanh(c)

    b and G hold the gates in the order i, f, g, o. `backward` needs them unchanged.

    Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000.
    """
    G, CS, VL = s.G, s.CS, lanes(s.G)
    b_i, b_f = load(s.params, s.b), load(s.params, s.b + VL)
    b_g, b_o = load(s.params, s.b + 2 * VL), load(s.params, s.b + 3 * VL)
    for r in range(s.n):
        a = s.g + r * 4 * VL
        i = sigmoid(load(G, a) + b_i)
        f = sigmoid(load(G, a + VL) + b_f)
        u = tanh(load(G, a + 2 * VL) + b_g)
        o = sigmoid(load(G, a + 3 * VL) + b_o)
        c = fma(f, load(CS, s.c_prev + r * s.stride), i * u)
        store(CS, s.c_next + r * s.stride, c)
        store(s.HS, s.h_next + r * s.stride, o * tanh(c))
        store(G, a, i)
        store(G, a + VL, f)
        store(G, a + 2 * VL, u)
        store(G, a + 3 * VL, o)


@inline
def cell_state(s):
    """Compute c again from the gates, to the same bits: c (n, stride) at c_next, from c_prev."""
    G, CS, VL = s.G, s.CS, lanes(s.G)
    for r in range(s.n):
        a = s.g + r * 4 * VL
        c = fma(load(G, a + VL), load(CS, s.c_prev + r * s.stride), load(G, a) * load(G, a + 2 * VL))
        store(CS, s.c_next + r * s.stride, c)


@inline
def backward(s):
    """Turn dh and dc into da of the four gates, in place of the gates; s is a panel.Backward.

        dc += dh o (1 - tanh(c)^2);   da_i = dc g i(1-i);   da_f = dc c_prev f(1-f)
        da_g = dc i (1-g^2);          da_o = dh tanh(c) o(1-o);   dc_prev = dc f

    tanh(c) is h/o, h as forward made it. h_prev is not read.
    """
    G, VL = s.G, lanes(s.G)
    for r in range(s.n):
        a, row = s.g + r * 4 * VL, r * s.stride
        i, f, u, o = load(G, a), load(G, a + VL), load(G, a + 2 * VL), load(G, a + 3 * VL)
        tanh_c = load(s.HG, s.h + row) / o  # o is never 0: the exponential in it is clamped
        d = load(s.DH, s.dh + row) + load(s.DR, s.dr + row)
        dc = fma(d * o, 1.0 - tanh_c * tanh_c, load(s.DC, s.dr + row))
        store(G, a, dc * u * i * (1.0 - i))
        store(G, a + VL, dc * load(s.CS, s.c_prev + row) * f * (1.0 - f))
        store(G, a + 2 * VL, dc * i * (1.0 - u * u))
        store(G, a + 3 * VL, d * tanh_c * o * (1.0 - o))
        store(s.DC, s.dr + row, dc * f)
