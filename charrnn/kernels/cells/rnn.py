"""The vanilla RNN: the elementwise part of a time step, forward beside backward. The products around it: chunk/."""

from charrnn.kernels.activations import tanh
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import lanes, load, store


@inline
def forward(s):
    """Finish one panel (4 vectors of units) of a time step for n streams; s is a panel.Forward.

        a = x Wx + h_prev Wh + b;   h = tanh(a)

    The sums stay as they are. There is no c.

    Elman 1990.
    """
    VL = lanes(s.G)
    for r in range(s.n):
        for v in range(4):
            a = load(s.G, s.g + (r * 4 + v) * VL) + load(s.params, s.b + v * VL)
            store(s.HS, s.h_next + r * s.stride + v * VL, tanh(a))


@inline
def backward(s):
    """Turn dh into da = dh (1 - h^2), in place of the panel's sums; s is a panel.Backward. h_prev is not read."""
    VL = lanes(s.G)
    for r in range(s.n):
        for v in range(4):
            at = r * s.stride + v * VL
            y = load(s.HG, s.h + at)
            d = load(s.DH, s.dh + at) + load(s.DR, s.dr + at)
            store(s.G, s.g + (r * 4 + v) * VL, d * (1.0 - y * y))
