"""The vanilla RNN: the elementwise part of a time step, forward beside backward. The products around it are chunk.py's."""

from charrnn.kernels.activations import tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import lanes, load, store


@inline
def rnn_forward(params, b, G, g, HS, h_prev, h_next, CS, c_prev, c_next, n, stride):
    """Finish one panel (4 vectors of units) of a time step for n streams.

        a = x Wx + h_prev Wh + b;   h = tanh(a)

    b                b (4 lanes) at params[b]
    G                (n, 4 lanes) at g: x Wx + h_prev Wh, read
    HS               h_next (n, stride) written; CS is not used

    Elman 1990.
    """
    VL = lanes(G)
    for r in range(n):
        for v in range(4):
            a = load(G, g + (r * 4 + v) * VL) + load(params, b + v * VL)
            store(HS, h_next + r * stride + v * VL, tanh(a))


@inline
def rnn_backward(G, g, HS, h_prev, HG, h, CS, c_prev, DH, dh, DR, dr, DC, n, stride):
    """Turn dh into da = dh (1 - h^2), in place of the panel's workspace.

    HG        (n, stride) at h: h as rnn_forward wrote it, read; HS and CS are not used
    DH, DR    (n, stride) at dh, dr: the gradient from above, and from the next time step; read
    G         (n, 4 lanes) at g: da, written
    """
    VL = lanes(G)
    for r in range(n):
        for v in range(4):
            y = load(HG, h + r * stride + v * VL)
            d = load(DH, dh + r * stride + v * VL) + load(DR, dr + r * stride + v * VL)
            store(G, g + (r * 4 + v) * VL, d * (1.0 - y * y))
