"""How far back a gradient reaches: the norm of d loss_t / d state_{t-k} for each layer, at every distance k.

The states are those that the kernels computed, in the model's dtype; the way back is plain NumPy in float64, a step at
a time and all places of the text side by side, since float32 ends at 1e-45 and a vanishing gradient does not. This room
knows ids, not texts.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, counted
from charrnn.kernels.layernorm import EPSILON
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS

WARM_UP = 256  # characters read before each stretch, where the text has them
STREAMS = 16  # places side by side
MOST_STEPS = 100_000


@dataclass(frozen=True)
class Reach:
    """Norms of d loss_t / d state_{t-k} over many t: `norms[state]` is an ndarray (L, steps + 1, N) float64, index k in
    the middle.

    state    "h", and "c" of an LSTM
    """

    norms: dict

    def curve(self, state, layer=None):
        """Return the lower quartile, the median and the upper quartile over t, ndarray (3, steps + 1); where layer is
        None, all layers as one vector."""
        norms = self.norms[state]
        each = np.sqrt((norms**2).sum(axis=0)) if layer is None else norms[layer]
        return np.quantile(each, (0.25, 0.5, 0.75), axis=1)

    @property
    def steps(self):
        return self.norms["h"].shape[1] - 1


def choose_times(start, stop, steps, count):
    """Return up to `count` times t, evenly spaced, whose steps + 1 states and next character lie in start..stop.

    Raises ConfigError.
    """
    if stop - start < steps + 2:
        raise ConfigError(
            f"a gradient {counted(steps, 'step')} back needs {steps + 2:,} characters of text, got {stop - start:,}: "
            "lower --steps, or name a longer TEXT"
        )
    first, last = start + steps, stop - 2
    first += min(WARM_UP, (last - first) // 2)
    return np.unique(np.linspace(first, last, count).round().astype(np.int64))


def measure_reach(model, ids, times, steps, progress=None):
    """Return the Reach of the loss at each of `times` over the `steps` states before.

    loss_t is of predicting ids[t + 1] after ids[t] was read; state_{t-k} is what a layer held after it had read
    ids[t-k]. The gradient counts every way from that state to the loss: through time, through the layers above, and
    from an LSTM's c through its h. With zoneout c is what the gates made of it, which its h comes from.

    times       ndarray (N,), each at least `steps`; up to WARM_UP characters before a stretch are read first, from a
                carry of zeros
    progress    called with (places done, N) now and then
    """
    parameters = {name: array.astype(np.float64) for name, array in model.get_parameters().items()}
    parts = []
    for at in range(0, len(times), STREAMS):
        parts.append(_walk(model, parameters, ids, np.asarray(times[at : at + STREAMS]), steps))
        if progress is not None:
            progress(min(len(times), at + STREAMS), len(times))
    return Reach({state: np.concatenate([part[state] for part in parts], axis=2) for state in parts[0]})


def _walk(model, parameters, ids, times, steps):
    """Return {state: norms (L, steps + 1, B)} of B places side by side."""
    config, T, B = model.config, steps + 1, len(times)
    workspace = Workspace(model, B, T, training=False)
    window = np.asarray(ids)[times[:, None] + np.arange(-steps, 2)].T.astype(np.int32)
    lead = min(WARM_UP, int(times.min()) - steps)
    for t in range(-lead, 0, T):
        before = np.asarray(ids)[times[:, None] - steps + np.arange(t, min(0, t + T))].T
        workspace.losses(before, before)
    carry = workspace.get_carry()
    logits = workspace.logits(window[:T])[-1].astype(np.float64)
    states = {name: workspace.states(name) for name in CELLS[config.cell].readable}

    dlogits = np.exp(logits - logits.max(axis=1, keepdims=True))
    dlogits /= dlogits.sum(axis=1, keepdims=True)
    dlogits[np.arange(B), window[T]] -= 1
    above = np.zeros((T, B, config.hidden_size))
    above[-1] = dlogits @ parameters["embedding.weight" if config.tied else "output.weight"]
    norms = {state: np.empty((config.num_layers, T, B)) for state in carry}
    for layer in range(config.num_layers - 1, -1, -1):
        values = {name: states[name][layer].astype(np.float64) for name in states}
        previous = {name: np.concatenate([carry[name][layer][None], values[name][:-1]]) for name in carry}
        Wh, bh = (parameters[f"rnn.{kind}_l{layer}"] for kind in ("weight_hh", "bias_hh"))
        sums = _Sums()
        if config.layer_norm:
            Wx = parameters[f"rnn.weight_ih_l{layer}"]
            if layer:
                x, W = states["h"][layer - 1], Wx.T
            else:  # a row lookup
                x, W = window[:T], parameters["embedding.weight"] @ Wx.T if config.embedding_size else Wx.T
            sums = _NormalisedSums(config.cell, parameters, layer, x, W, previous["h"])
        da = _BACKWARD[config.cell](
            values, previous, Wh, bh, sums, config.zoneout, above, {name: norms[name][layer] for name in norms}
        )
        if layer:
            above = da @ parameters[f"rnn.weight_ih_l{layer}"]
    return {state: each[:, ::-1] for state, each in norms.items()}


class _Sums:
    """The sums of a layer's gates, which enter them as they are."""

    def entering(self, sums):
        """Return what sums of the recurrent part of a GRU's n (B, H) become, before its bias."""
        return sums

    def back(self, t, da):
        """Return the gradient of the sums (B, blocks*H) from that of what they become; a GRU's are r z n m."""
        return da


class _NormalisedSums(_Sums):
    """The sums of a layer's gates, normalised (kernels/layernorm.py); computed again for a step when its gradient
    comes.

    x, W      what enters (T, B, D) and its weights (D, G*H); or characters (T, B) and the sums that each gives (V, G*H)
    h_prev    the states before each step (T, B, H)
    """

    def __init__(self, cell, parameters, layer, x, W, h_prev):
        self._x, self._W, self._h_prev, self._is_gru = x, W, h_prev, cell == "gru"
        self._Wh, self._H = parameters[f"rnn.weight_hh_l{layer}"], h_prev.shape[2]
        self._gain = parameters[f"rnn.norm_gain_l{layer}"].reshape(-1, self._H)

    def entering(self, sums):
        return self._gain[3] * _normalised(sums)[0]

    def back(self, t, da):
        x, on = self._x[t], self._h_prev[t] @ self._Wh.T
        up = self._W[x] if x.ndim == 1 else x @ self._W
        if self._is_gru:
            two = 2 * self._H
            sums = np.concatenate([up[:, :two] + on[:, :two], up[:, two:], on[:, two:]], axis=1)
        else:
            sums = up + on
        xhat, deviation = _normalised(sums.reshape(len(sums), -1, self._H))
        dx = da.reshape(xhat.shape) * self._gain
        ds = (dx - dx.mean(axis=2, keepdims=True) - xhat * (dx * xhat).mean(axis=2, keepdims=True)) / deviation
        return ds.reshape(da.shape)


def _normalised(sums):
    """Return xhat and the deviations over the last axis."""
    deviation = np.sqrt(sums.var(axis=-1, keepdims=True) + EPSILON)
    return (sums - sums.mean(axis=-1, keepdims=True)) / deviation, deviation


# One layer back through time. Each takes the states `s` (T, B, H) after every step and `prev` before it, the recurrent
# weights, the gates' `sums` (_Sums), the zoneout P, and the gradient `above` (T, B, H) that the layer above, or the
# output, gives h; writes the norms (T, B); returns ds (T, B, G*H) of what the layer's input enters. Formulas as in
# kernels/rnn.py, lstm.py, gru.py, with a share P of each state's gradient passing by to the state before, as zoneout.py
# has it in expectation; `made`: what the gates made of h or c.


def _rnn_backward(s, prev, Wh, bh, sums, P, above, norms):
    """dh += above;  da = (1-P) dh (1 - made^2);  dh_prev = P dh + ds Wh."""
    dh, dss = 0, []
    for t in range(len(above) - 1, -1, -1):
        dh = above[t] + dh
        norms["h"][t] = np.linalg.norm(dh, axis=1)
        made = np.clip((s["h"][t] - P * prev["h"][t]) / (1 - P), -1, 1)
        ds = sums.back(t, (1 - P) * dh * (1 - made**2))
        dh = P * dh + ds @ Wh
        dss.append(ds)
    return np.stack(dss[::-1])


def _lstm_backward(s, prev, Wh, bh, sums, P, above, norms):
    """dh += above;  made = f c_prev + i g;  dm = (1-P) dh;  dc~ = (1-P) dc + dm o (1 - tanh(made)^2);  da_i, da_f, da_g
    of dc~ and da_o of dm;  dh_prev = P dh + ds Wh;  dc_prev = P dc + dc~ f."""
    dh, dc, dss = 0, 0, []
    for t in range(len(above) - 1, -1, -1):
        i, f, g, o, c_prev = (*(s[name][t] for name in "ifgo"), prev["c"][t])
        tanh_made = np.tanh(f * c_prev + i * g)
        dh = above[t] + dh
        dh_made = (1 - P) * dh
        dc_made = (1 - P) * dc + dh_made * o * (1 - tanh_made**2)
        norms["h"][t], norms["c"][t] = np.linalg.norm(dh, axis=1), np.linalg.norm(dc_made, axis=1)
        ds = sums.back(
            t,
            np.concatenate(
                [
                    dc_made * g * i * (1 - i),
                    dc_made * c_prev * f * (1 - f),
                    dc_made * i * (1 - g**2),
                    dh_made * tanh_made * o * (1 - o),
                ],
                axis=1,
            ),
        )
        dh, dc = P * dh + ds @ Wh, P * dc + dc_made * f
        dss.append(ds)
    return np.stack(dss[::-1])


def _gru_backward(s, prev, Wh, bh, sums, P, above, norms):
    """dh += above;  dm = (1-P) dh;  da_n = dm (1-z) (1-n^2);  da_r = da_n m r(1-r);  da_z = dm (h_prev - n) z(1-z),
    where m = h_prev Wh_n + b_m;  da_m = da_n r;  dh_prev = P dh + dm z + (ds_r, ds_z, ds_m) Wh."""
    H = Wh.shape[1]
    dh, dss = 0, []
    for t in range(len(above) - 1, -1, -1):
        r, z, n, h_prev = s["r"][t], s["z"][t], s["n"][t], prev["h"][t]
        m = sums.entering(h_prev @ Wh[2 * H :].T) + bh[2 * H :]
        dh = above[t] + dh
        norms["h"][t] = np.linalg.norm(dh, axis=1)
        dh_made = (1 - P) * dh
        da_n = dh_made * (1 - z) * (1 - n**2)
        da_r, da_z = da_n * m * r * (1 - r), dh_made * (h_prev - n) * z * (1 - z)
        ds = sums.back(t, np.concatenate([da_r, da_z, da_n, da_n * r], axis=1))
        dh = P * dh + dh_made * z + np.concatenate([ds[:, : 2 * H], ds[:, 3 * H :]], axis=1) @ Wh
        dss.append(ds[:, : 3 * H])
    return np.stack(dss[::-1])


_BACKWARD = {"rnn": _rnn_backward, "lstm": _lstm_backward, "gru": _gru_backward}
