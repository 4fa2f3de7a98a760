"""The naive oracle: the mathematics of charrnn a second time, in plain NumPy, to hold the kernels to.

It shares no line and no layout with the package and must not import it. Loops over t, dense one-hot inputs, no
packing, no threads, no fused anything; every forward is followed by its backward, written out by hand. `test_oracle.py`
holds this file to PyTorch and to finite differences, `test_model.py` and `test_optim.py` hold charrnn to this file.

Parameters and gradients are dicts under PyTorch's names and shapes. The number of layers, the embedding, the tying and
the layer normalisation are read off the names. Whatever dtype the parameters have, the arithmetic has.

    B  parallel streams       T  characters in a chunk   V  vocabulary
    D  input size of a layer  H  hidden size             L  layers
"""

from collections import namedtuple

import numpy as np

Dropout = namedtuple("Dropout", "rate variational seed weight_rate", defaults=(0.0,))
# of one layer: (G*H, D), (G*H, H), (G*H,), (G*H,); gain, or None: (G*H,), of a GRU (4*H,) for r, z, n's input and
# recurrent part
Weights = namedtuple("Weights", "Wx Wh bx bh gain")
Forward = namedtuple("Forward", "logits carry tape")
Result = namedtuple("Result", "loss losses logits carry grads carry_grads")


# ---- one layer over a chunk --------------------------------------------------------------------------------------
#
# forward   (w, x (T, B, D), carry, zones, resets)           -> h (T, B, H), carry out, tape
# backward  (w, tape, dh (T, B, H), carry gradient, resets)  -> dx (T, B, D), Weights of gradients, that of the carry in
#
# `carry` is (h,) or (h, c), each (B, H). The tape is a list over t of what the backward needs. `zones` is how much of
# itself each unit keeps at each step, one (T, B, H) for h and one for c: 0 or 1 by a mask, P throughout in expectation,
# or nothing at all for None: x = k x_prev + (1 - k) x~, where x~ is what the cell made of h or c. `resets` (T, B) says
# where a stream's state is zero before a step; None resets none.


def zone_of(zones, t, count):
    """How much each unit keeps at step t, for h and, where `count` is 2, c."""
    return tuple(0.0 if zones is None else zones[part][t] for part in range(count))


def begin(resets, t, x):
    """The state x (B, H) before step t, or the gradient of it that flows on to before: zero where a stream is reset."""
    return x if resets is None else np.where(resets[t][:, None], np.zeros_like(x), x)


def sigmoid(a):
    return (1 + np.tanh(a / 2)) / 2  # 1 / (1 + exp(-a)) without its overflow


def normalise(s, gain, count):
    """Normalise each gate's sums s (B, count*H) over its layer (Ba et al. 2016); return them and the tape.

    gain (s - mean) / sqrt(var + 1e-5)
    """
    if gain is None:
        return s, None
    parts = np.split(s, count, axis=1)
    deviations = [np.sqrt(part.var(axis=1, keepdims=True) + 1e-5) for part in parts]
    xhat = np.concatenate(
        [(part - part.mean(axis=1, keepdims=True)) / deviation for part, deviation in zip(parts, deviations)], axis=1
    )
    return xhat * gain, (xhat, deviations)


def normalise_backward(da, tape, gain, dgain):
    """Add to dgain; return ds."""
    if gain is None:
        return da
    xhat, deviations = tape
    dgain[...] += (da * xhat).sum(axis=0)
    ds, count = [], len(deviations)
    for d, x, deviation in zip(np.split(da * gain, count, axis=1), np.split(xhat, count, axis=1), deviations):
        ds.append((d - d.mean(axis=1, keepdims=True) - x * (d * x).mean(axis=1, keepdims=True)) / deviation)
    return np.concatenate(ds, axis=1)


def rnn_forward(w, x, carry, zones=None, resets=None):
    """h~ = tanh(Wx x + Wh h_prev + bx + bh)."""
    (h,) = carry
    hs, tape = [], []
    for t in range(len(x)):
        h_prev = begin(resets, t, h)
        (k,) = zone_of(zones, t, 1)
        a, norm = normalise(x[t] @ w.Wx.T + h_prev @ w.Wh.T, w.gain, 1)
        made = np.tanh(a + w.bx + w.bh)
        h = k * h_prev + (1 - k) * made
        hs.append(h)
        tape.append((x[t], h_prev, made, k, norm))
    return np.stack(hs), (h,), tape


def rnn_backward(w, tape, dhs, dcarry, resets=None):
    (dh,) = dcarry
    dw = zeros_like(w)
    dxs = []
    for t in reversed(range(len(tape))):
        x, h_prev, made, k, norm = tape[t]
        dh = dhs[t] + dh
        da = (1 - k) * dh * (1 - made**2)
        ds = normalise_backward(da, norm, w.gain, dw.gain)
        biases_backward(dw, da, da)
        dx, dh_below = affine_backward(w, dw, x, h_prev, ds, ds)
        dh = begin(resets, t, k * dh + dh_below)
        dxs.append(dx)
    return np.stack(dxs[::-1]), dw, (dh,)


def lstm_forward(w, x, carry, zones=None, resets=None):
    """a = Wx x + Wh h_prev + bx + bh in blocks i, f, g, o;  c~ = f*c_prev + i*g;  h~ = o*tanh(c~)."""
    h, c = carry
    hs, tape = [], []
    for t in range(len(x)):
        h_prev, c_prev = begin(resets, t, h), begin(resets, t, c)
        a, norm = normalise(x[t] @ w.Wx.T + h_prev @ w.Wh.T, w.gain, 4)
        a_i, a_f, a_g, a_o = np.split(a + w.bx + w.bh, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        kept_h, kept_c = zone_of(zones, t, 2)
        made = f * c_prev + i * g
        h = kept_h * h_prev + (1 - kept_h) * o * np.tanh(made)
        c = kept_c * c_prev + (1 - kept_c) * made
        hs.append(h)
        tape.append((x[t], h_prev, c_prev, i, f, g, o, made, kept_h, kept_c, norm))
    return np.stack(hs), (h, c), tape


def lstm_backward(w, tape, dhs, dcarry, resets=None):
    dh, dc = dcarry
    dw = zeros_like(w)
    dxs = []
    for t in reversed(range(len(tape))):
        x, h_prev, c_prev, i, f, g, o, made, kept_h, kept_c, norm = tape[t]
        dh = dhs[t] + dh
        dh_made = (1 - kept_h) * dh
        dc_made = (1 - kept_c) * dc + dh_made * o * (1 - np.tanh(made) ** 2)
        da_i = dc_made * g * i * (1 - i)
        da_f = dc_made * c_prev * f * (1 - f)
        da_g = dc_made * i * (1 - g**2)
        da_o = dh_made * np.tanh(made) * o * (1 - o)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
        ds = normalise_backward(da, norm, w.gain, dw.gain)
        biases_backward(dw, da, da)
        dx, dh_below = affine_backward(w, dw, x, h_prev, ds, ds)
        dh, dc = begin(resets, t, kept_h * dh + dh_below), begin(resets, t, kept_c * dc + dc_made * f)
        dxs.append(dx)
    return np.stack(dxs[::-1]), dw, (dh, dc)


def gru_forward(w, x, carry, zones=None, resets=None):
    """r, z = sigmoid(.);  n = tanh(Wx_n x + bx_n + r*(Wh_n h_prev + bh_n));  h~ = (1-z)*n + z*h_prev.

    The reset gate acts after the recurrent product, as in PyTorch and cuDNN; Cho et al. 2014 apply it before.
    Normalised are the sums of r and z, and of n the input part and the recurrent part, each on its own.
    """
    (h,) = carry
    H = h.shape[1]
    hs, tape = [], []
    for t in range(len(x)):
        h_prev = begin(resets, t, h)
        up, on = x[t] @ w.Wx.T, h_prev @ w.Wh.T
        s = np.concatenate([up[:, : 2 * H] + on[:, : 2 * H], up[:, 2 * H :], on[:, 2 * H :]], axis=1)
        a, norm = normalise(s, w.gain, 4)
        a_r, a_z, up_n, on_n = np.split(a, 4, axis=1)
        r, z = sigmoid(a_r + w.bx[:H] + w.bh[:H]), sigmoid(a_z + w.bx[H : 2 * H] + w.bh[H : 2 * H])
        on_n = on_n + w.bh[2 * H :]
        n = np.tanh(up_n + w.bx[2 * H :] + r * on_n)
        (k,) = zone_of(zones, t, 1)
        h = k * h_prev + (1 - k) * ((1 - z) * n + z * h_prev)
        hs.append(h)
        tape.append((x[t], h_prev, r, z, n, on_n, k, norm))
    return np.stack(hs), (h,), tape


def gru_backward(w, tape, dhs, dcarry, resets=None):
    (dh,) = dcarry
    dw = zeros_like(w)
    dxs = []
    for t in reversed(range(len(tape))):
        x, h_prev, r, z, n, on_n, k, norm = tape[t]
        dh = dhs[t] + dh
        dh_made = (1 - k) * dh
        dz = dh_made * (h_prev - n)
        dn = dh_made * (1 - z)
        da_n = dn * (1 - n**2)
        da_r = da_n * on_n * r * (1 - r)
        da_z = dz * z * (1 - z)
        biases_backward(dw, np.concatenate([da_r, da_z, da_n], axis=1), np.concatenate([da_r, da_z, da_n * r], axis=1))
        ds = normalise_backward(np.concatenate([da_r, da_z, da_n, da_n * r], axis=1), norm, w.gain, dw.gain)
        ds_r, ds_z, d_up, d_on = np.split(ds, 4, axis=1)
        dx, dh_below = affine_backward(
            w, dw, x, h_prev, np.concatenate([ds_r, ds_z, d_up], axis=1), np.concatenate([ds_r, ds_z, d_on], axis=1)
        )
        dh = begin(resets, t, k * dh + dh_made * z + dh_below)
        dxs.append(dx)
    return np.stack(dxs[::-1]), dw, (dh,)


def affine_backward(w, dw, x, h_prev, d_up, d_on):
    """Backward of `up = Wx x` and `on = Wh h_prev`: add to dw, return dx and dh_prev."""
    dw.Wx[...] += d_up.T @ x
    dw.Wh[...] += d_on.T @ h_prev
    return d_up @ w.Wx, d_on @ w.Wh


def biases_backward(dw, da_x, da_h):
    dw.bx[...] += da_x.sum(axis=0)
    dw.bh[...] += da_h.sum(axis=0)


def zeros_like(w):
    return Weights(*(None if p is None else np.zeros_like(p) for p in w))


# A cell. carried: the names of its states. gates: {name: its place in an entry of the tape}, in PyTorch's order. apart:
# the gates whose recurrent sum has a bias, and with layer normalisation a gain, of its own. made_c: the place in an
# entry of the tape of what the gates made of c, which h = o*tanh(c) comes from; None for a cell without c.
Cell = namedtuple("Cell", "forward backward carried gates apart made_c", defaults=((), None))

CELLS = {
    "lstm": Cell(lstm_forward, lstm_backward, ("h", "c"), {"i": 3, "f": 4, "g": 5, "o": 6}, made_c=7),
    "gru": Cell(gru_forward, gru_backward, ("h",), {"r": 2, "z": 3, "n": 4}, apart=("n",)),
    "rnn": Cell(rnn_forward, rnn_backward, ("h",), {}),
}


def blocks(cell):
    """How many blocks of H rows a cell's stored weights have: one a gate, or one for the state itself."""
    return max(1, len(CELLS[cell].gates))


# ---- the whole network -------------------------------------------------------------------------------------------


def forward(parameters, cell, x, carry=None, dropout=None, step=0, zoneout=0.0, resets=None):  # noqa: PLR0913
    """Run ids x (T, B) up through the layers: logits (T, B, V), the carry out and the tape.

    Units zone out by masks in training, that is with a Dropout, and in expectation without.
    """
    T, B = x.shape
    L = num_layers(parameters)
    H = parameters["rnn.weight_hh_l0"].shape[1]
    dtype = parameters["output.bias"].dtype
    carry = zero_carry(cell, L, B, H, dtype) if carry is None else carry
    up = input_table(parameters)[x]
    layers, carry_out = [], {part: np.zeros_like(carry[part]) for part in CELLS[cell].carried}
    for l in range(L):
        zones = (
            None
            if zoneout == 0
            else [zone_shares(zoneout, dropout, step, l, part, T, B, H).astype(dtype) for part in CELLS[cell].carried]
        )
        h, state, tape = CELLS[cell].forward(
            layer_weights(parameters, l, dropout, step),
            up,
            [carry[part][l] for part in CELLS[cell].carried],
            zones,
            resets,
        )
        for part, value in zip(CELLS[cell].carried, state):
            carry_out[part][l] = value
        mask = dropout_mask(dropout, step, l, T, B, H).astype(dtype)
        up = h * mask
        layers.append((tape, mask))
    logits = up @ output_weight(parameters).T + parameters["output.bias"]
    return Forward(logits, carry_out, (layers, up))


def losses_nats(logits, y):
    """-log softmax(logits)[y], (T, B)."""
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    return -np.take_along_axis(log_p, y[:, :, None].astype(np.int64), axis=2)[:, :, 0]


def loss_and_grads(  # noqa: PLR0913
    parameters, cell, x, y, carry=None, dropout=None, step=0, zoneout=0.0, resets=None, counts=None
):
    """The mean loss over T*B, or over where `counts` (T, B) is True, and its gradient.

    That is with respect to every parameter and to the carry that went in, and PyTorch's: both biases have theirs.
    `one_bias` makes charrnn's layout of them.
    """
    T, B = x.shape
    logits, carry_out, (layers, top) = forward(parameters, cell, x, carry, dropout, step, zoneout, resets)
    counts = np.ones((T, B)) if counts is None else np.asarray(counts, float)
    losses = losses_nats(logits, y) * counts
    grads = {name: np.zeros_like(value) for name, value in parameters.items()}

    dlogits = np.exp(logits - logits.max(axis=2, keepdims=True))
    dlogits /= dlogits.sum(axis=2, keepdims=True)
    for t in range(T):
        for b in range(B):
            dlogits[t, b, y[t, b]] -= 1
    dlogits *= (counts / counts.sum())[:, :, None].astype(dlogits.dtype)
    grads["output.bias"] += dlogits.sum(axis=(0, 1))
    grads[output_name(parameters)] += np.einsum("tbv,tbh->vh", dlogits, top)
    dup = dlogits @ output_weight(parameters)

    carry_grads = {part: np.zeros_like(value) for part, value in carry_out.items()}
    for l in reversed(range(len(layers))):
        tape, mask = layers[l]
        nothing = [
            np.zeros_like(carry_out[part][l]) for part in CELLS[cell].carried
        ]  # truncated: no gradient from later
        w = layer_weights(parameters, l, dropout, step)
        dup, dw, dcarry = CELLS[cell].backward(w, tape, dup * mask, nothing, resets)
        dw = dw._replace(Wh=dw.Wh * weight_mask(dropout, step, l, dw.Wh.shape))
        for part, value in zip(CELLS[cell].carried, dcarry):
            carry_grads[part][l] = value
        for name, value in zip((*layer_names(l), gain_name(l)), dw):
            if name in grads:
                grads[name] += value
        if l == 0 and "embedding.weight" in parameters:
            for t in range(T):
                for b in range(B):
                    grads["embedding.weight"][x[t, b]] += dup[t, b]
    return Result(losses.sum() / counts.sum(), losses, logits, carry_out, grads, carry_grads)


def layer_names(l):
    return tuple(f"rnn.{kind}_l{l}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def gain_name(l):
    return f"rnn.norm_gain_l{l}"


def layer_weights(parameters, l, dropout=None, step=0):
    w = Weights(*(parameters[name] for name in layer_names(l)), parameters.get(gain_name(l)))
    return w._replace(Wh=w.Wh * weight_mask(dropout, step, l, w.Wh.shape).astype(w.Wh.dtype))


def num_layers(parameters):
    return sum(name.startswith("rnn.weight_hh_l") for name in parameters)


def input_table(parameters):
    """The rows that stand for the ids, (V, D): the embedding, or the identity for a one-hot input."""
    V = len(parameters["output.bias"])
    return parameters.get("embedding.weight", np.eye(V, dtype=parameters["output.bias"].dtype))


def output_name(parameters):
    return "output.weight" if "output.weight" in parameters else "embedding.weight"


def output_weight(parameters):
    return parameters[output_name(parameters)]


def zero_carry(cell, L, B, H, dtype):
    return {part: np.zeros((L, B, H), dtype) for part in CELLS[cell].carried}


# ---- parameters --------------------------------------------------------------------------------------------------


def shapes(cell, V, H, L, E=0, tied=False, layer_norm=False):
    """PyTorch's names and shapes, in PyTorch's order; the gains, which it has not, after a layer's biases."""
    table = {"embedding.weight": (V, E)} if E else {}
    for l in range(L):
        GH, D = blocks(cell) * H, H if l else E or V
        table.update(zip(layer_names(l), [(GH, D), (GH, H), (GH,), (GH,)]))
        if layer_norm:
            table[gain_name(l)] = (GH + len(CELLS[cell].apart) * H,)
    if not tied:
        table["output.weight"] = (V, H)
    table["output.bias"] = (V,)
    return table


def one_bias(named, cell):
    """A copy in charrnn's layout: one bias a gate, in bias_ih; bias_hh is zero but for a gate whose recurrent sum
    stands apart.

    For gradients and for optimiser state, where the two biases of a gate are one number, not for parameters.
    """
    folded = {name: np.array(value) for name, value in named.items()}
    for name, value in folded.items():
        if ".bias_hh_l" in name:
            value[one_bias_rows(cell, len(value))] = 0
    return folded


def one_bias_rows(cell, count):
    """Which of the `count` rows of a layer's biases have one bias: bool (count,)."""
    apart = [name in CELLS[cell].apart for name in CELLS[cell].gates] or [False]
    return ~np.repeat(apart, count // blocks(cell))


def random_parameters(  # noqa: PLR0913 - what a model is made of
    cell, V, H, L, E=0, tied=False, dtype="float64", seed=0, layer_norm=False
):
    """Uniform in +-1.5/sqrt(H): every gate bends and no gradient is tiny, and yet no rounding error grows over time
    (the spectral radius of Wh stays under 0.9). One bias a gate, as in charrnn. Gains are uniform in 0.2..0.6.
    """
    rng = np.random.default_rng(seed)
    scale = 1.5 / np.sqrt(H)
    named = {
        name: rng.uniform(-scale, scale, shape) for name, shape in shapes(cell, V, H, L, E, tied, layer_norm).items()
    }
    named = {name: 0.4 + 0.2 * value / scale if "norm_gain" in name else value for name, value in named.items()}
    return {name: value.astype(dtype) for name, value in one_bias(named, cell).items()}


def random_chunk(V, T, B, seed=0):
    """Ids x and targets y, (T, B) int32, y the character after x in each stream."""
    ids = np.random.default_rng(seed).integers(0, V, (T + 1, B)).astype(np.int32)
    return ids[:-1].copy(), ids[1:].copy()


def random_carry(cell, L, B, H, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return {part: rng.uniform(-0.8, 0.8, (L, B, H)).astype(dtype) for part in CELLS[cell].carried}


# ---- dropout -----------------------------------------------------------------------------------------------------

M32, M64 = 2**32 - 1, 2**64 - 1


def splitmix64(z):
    """Steele, Lea & Flood 2014."""
    z = (z + 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def dropout_bit(rate, seed, step, layer, row, unit):
    """Whether this unit is kept: a counter-based draw, the same whenever and wherever it is asked for."""
    base = splitmix64((splitmix64((splitmix64(seed & M64) + step) & M64) + (layer << 32) + row) & M64) & M32
    x = (base + unit * 0x9E3779B9) & M32
    x ^= x >> 16
    x = (x * 0x7FEB352D) & M32
    x ^= x >> 15
    x = (x * 0x846CA68B) & M32
    x ^= x >> 16
    return (x >> 8) >= round(rate * 2**24)


def dropout_mask(dropout, step, layer, T, B, H):
    """(T, B, H) float64: 0 where dropped, 1/(1-rate) where kept; variational: the same at every t."""
    if dropout is None or dropout.rate == 0:
        return np.ones((T, B, H))
    mask = np.zeros((T, B, H))
    for t in range(1 if dropout.variational else T):
        for b in range(B):
            for unit in range(H):
                mask[t, b, unit] = dropout_bit(dropout.rate, dropout.seed, step, layer, t * B + b, unit)
    if dropout.variational:
        mask[:] = mask[0]
    return mask / (1 - dropout.rate)


def weight_mask(dropout, step, layer, shape):
    """(G*H, H) float64 for a layer's Wh: 0 where dropped, 1/(1-rate) where kept."""
    if dropout is None or dropout.weight_rate == 0:
        return np.ones(shape)
    rate, H = dropout.weight_rate, shape[1]
    mask = np.zeros(shape)
    for to in range(shape[0]):
        for k in range(H):
            mask[to, k] = dropout_bit(rate, dropout.seed, step, 2**20 + layer, to // H * H + k, to % H)
    return mask / (1 - rate)


def zone_shares(zoneout, dropout, step, layer, part, T, B, H):
    """(T, B, H) float64: how much of itself each unit keeps at each step of its h or its c, `part`."""
    if dropout is None:
        return np.full((T, B, H), zoneout)
    shares = np.zeros((T, B, H))
    for t in range(T):
        for b in range(B):
            for unit in range(H):
                shares[t, b, unit] = not dropout_bit(
                    zoneout, dropout.seed, step, (2 if part == "h" else 3) * 2**20 + layer, t * B + b, unit
                )
    return shares


# ---- clipping and optimisers -------------------------------------------------------------------------------------
#
# Each update takes one parameter p and its gradient g, keeps its state in the dict s, and changes p in place; k counts
# the steps from 1. Definitions and defaults are PyTorch's, except that rmsprop's alpha is 0.95 and its eps as given.


def sgd(p, g, s, k, learning_rate, momentum=0.0):
    step = g
    if momentum:
        step = s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0) + g
    p -= learning_rate * step


def adagrad(p, g, s, k, learning_rate, eps=1e-10):
    s["sum"] = s.get("sum", 0) + g**2
    p -= learning_rate * g / (np.sqrt(s["sum"]) + eps)


def rmsprop(p, g, s, k, learning_rate, alpha=0.95, eps=1e-8):
    s["square_avg"] = alpha * s.get("square_avg", 0) + (1 - alpha) * g**2
    p -= learning_rate * g / (np.sqrt(s["square_avg"]) + eps)


def adam(p, g, s, k, learning_rate, betas=(0.9, 0.999), eps=1e-8):
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0) + (1 - betas[0]) * g
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0) + (1 - betas[1]) * g**2
    m_hat = s["exp_avg"] / (1 - betas[0] ** k)
    v_hat = s["exp_avg_sq"] / (1 - betas[1] ** k)
    p -= learning_rate * m_hat / (np.sqrt(v_hat) + eps)


def adamw(p, g, s, k, learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    p -= learning_rate * weight_decay * p
    adam(p, g, s, k, learning_rate, betas, eps)


UPDATES = {"sgd": sgd, "adagrad": adagrad, "rmsprop": rmsprop, "adam": adam, "adamw": adamw}


def average(before, parameters, k, ema):
    """The average after update k, from 1, which made `parameters`; `before` is that of update k - 1."""
    newest = max(1 - ema, 10 / (k + 9))
    return {name: (1 - newest) * (before[name] if before else 0) + newest * p for name, p in parameters.items()}


def global_norm(grads):
    return np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values()))


def clip(grads, clip_norm=0, clip_value=0):
    """Clip each element first, then the norm of what that leaves. Returns new gradients and the norm before both."""
    norm = global_norm(grads)
    if clip_value:
        grads = {name: np.clip(g, -clip_value, clip_value) for name, g in grads.items()}
    if clip_norm:
        scale = min(1.0, clip_norm / (global_norm(grads) + 1e-6))
        grads = {name: (g * scale).astype(g.dtype) for name, g in grads.items()}
    return grads, norm


class Optimizer:
    """Steps a dict of parameters in place."""

    def __init__(self, name, **hyperparameters):
        self.update, self.hyperparameters = UPDATES[name], hyperparameters
        self.state, self.steps = {}, 0

    def step(self, parameters, grads, learning_rate, clip_norm=0, clip_value=0):
        grads, norm = clip(grads, clip_norm, clip_value)
        self.steps += 1
        for name, p in parameters.items():
            slots = self.state.setdefault(name, {})
            self.update(p, grads[name], slots, self.steps, learning_rate, **self.hyperparameters)
        return norm


# ---- n-grams -----------------------------------------------------------------------------------------------------


def discounts(counts):
    """Return what is taken from a count of 0, 1, 2, 3 and more: of eq. 17, unless there are too few to tell."""
    n = [sum(count == r for count in counts.values()) for r in range(5)]
    if all(n[1:]):
        Y = n[1] / (n[1] + 2 * n[2])
        D = [0, 1 - 2 * Y * n[2] / n[1], 2 - 3 * Y * n[3] / n[2], 3 - 4 * Y * n[4] / n[3]]
        if all(0 < D[r] <= r for r in (1, 2, 3)):
            return D
    return [0, 0.5, 1, 1.5]


def kneser_ney(text, vocab_size, order, context):
    """Return P(. | context) of an interpolated modified Kneser-Ney n-gram, (V,), by counting all over again.

    Chen & Goodman 1999, eq. 13 to 17. A count below the highest order is the number of different characters before, the
    text's beginning being one more. A longer context than order - 1 is cut; a shorter one lowers the order, counts and
    all.
    """
    text, context = list(text), list(context)[max(0, len(context) - order + 1) :]

    def counts(k, plain):
        befores = {}
        for at in range(len(text) - k + 1):
            before = at if plain else (text[at - 1] if at else "the beginning")
            befores.setdefault(tuple(text[at : at + k]), set()).add(before)
        return {gram: len(found) for gram, found in befores.items()}

    p = np.full(vocab_size, 1 / vocab_size)
    for k in range(1, len(context) + 2):
        c = counts(k, plain=k == order)
        D = discounts(c)
        h = tuple(context[len(context) - k + 1 :])
        follow = [c.get((*h, w), 0) for w in range(vocab_size)]
        if sum(follow):
            free = sum(D[min(count, 3)] for count in follow)
            p = np.array([(count - D[min(count, 3)] + free * p[w]) / sum(follow) for w, count in enumerate(follow)])
    return p


def items_kneser_ney(items, symbols, order, context):
    """Return {symbol: P(. | context)} of an n-gram of items, by counting all over again, item by item.

    As kneser_ney, but no n-gram reaches over the border of an item, a list that begins with "^": that begins a context,
    has nothing before it, and so counts plainly in every order (Heafield et al. 2013, section 3.1).
    """
    context = list(context)[max(0, len(context) - order + 1) :]

    def counts(k):
        plain, befores = {}, {}
        for item in items:
            for at in range(len(item) - k + 1):
                gram = tuple(item[at : at + k])
                if gram != ("^",):
                    plain[gram] = plain.get(gram, 0) + 1
                    befores.setdefault(gram, set()).add(item[at - 1])
        return {g: n if k == order or g[0] == "^" else len(befores[g]) for g, n in plain.items()}

    p = dict.fromkeys(symbols, 1 / len(symbols))
    for k in range(1, len(context) + 2):
        c = counts(k)
        D = discounts(c)
        follow = {w: c.get((*context[len(context) - k + 1 :], w), 0) for w in symbols}
        total, free = sum(follow.values()), sum(D[min(count, 3)] for count in follow.values())
        if total:
            p = {w: (count - D[min(count, 3)] + free * p[w]) / total for w, count in follow.items()}
    return p


def longest_match(text, part):
    """Return how long a beginning of `part` occurs in `text`, both lists."""
    return max(
        length
        for length in range(len(part) + 1)
        if length == 0 or any(text[at : at + length] == part[:length] for at in range(len(text) - length + 1))
    )
