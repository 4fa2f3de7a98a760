"""How far back a gradient reaches: the norm of d loss_t / d state_{t-k} for each layer, at every distance k.

The states are those that the kernels computed, in the model's dtype; the way back is plain NumPy in float64, a step at a time and all
places of the text side by side, since float32 ends at 1e-45 and a vanishing gradient does not. This room knows ids, not texts.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, counted
from charrnn.model import STATES, Workspace

WARM_UP = 256  # characters read before each stretch, where the text has them
STREAMS = 16   # places side by side
MOST_STEPS = 100_000


@dataclass(frozen=True)
class Reach:
    """Norms of d loss_t / d state_{t-k} over many t: `norms[state]` is an ndarray (L, steps + 1, N) float64, index k in the middle.

    state    "h", and "c" of an LSTM
    """

    norms: dict

    def curve(self, state, layer=None):
        """Return the lower quartile, the median and the upper quartile over t, ndarray (3, steps + 1); all layers as one vector where None."""
        norms = self.norms[state]
        each = np.sqrt((norms**2).sum(axis=0)) if layer is None else norms[layer]
        return np.quantile(each, (0.25, 0.5, 0.75), axis=1)

    @property
    def steps(self):
        return self.norms["h"].shape[1] - 1


def choose_times(start, stop, steps, count):
    """Return up to `count` times t, evenly spaced, whose steps + 1 states and next character lie in start..stop. Raises ConfigError."""
    if stop - start < steps + 2:
        raise ConfigError(f"a gradient {counted(steps, 'step')} back needs {steps + 2:,} characters of text, got {stop - start:,}: lower --steps, or "
                          "name a longer TEXT")
    first, last = start + steps, stop - 2
    first += min(WARM_UP, (last - first) // 2)
    return np.unique(np.linspace(first, last, count).round().astype(np.int64))


def measure_reach(model, ids, times, steps, progress=None):
    """Return the Reach of the loss at each of `times` over the `steps` states before.

    loss_t is of predicting ids[t + 1] after ids[t] was read; state_{t-k} is what a layer held after it had read ids[t-k]. The gradient
    counts every way from that state to the loss: through time, through the layers above, and from an LSTM's c through its h. With
    zoneout c is what the gates made of it, which its h comes from.

    times       ndarray (N,), each at least `steps`; up to WARM_UP characters before a stretch are read first, from a carry of zeros
    progress    called with (places done, N) now and then
    """
    parameters = {name: array.astype(np.float64) for name, array in model.get_parameters().items()}
    parts = []
    for at in range(0, len(times), STREAMS):
        parts.append(_walk(model, parameters, ids, np.asarray(times[at:at + STREAMS]), steps))
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
    states = {name: workspace.states(name) for name in STATES[config.cell]}

    dlogits = np.exp(logits - logits.max(axis=1, keepdims=True))
    dlogits /= dlogits.sum(axis=1, keepdims=True)
    dlogits[np.arange(B), window[T]] -= 1
    above = np.zeros((T, B, config.hidden_size))
    above[-1] = dlogits @ parameters["embedding.weight" if config.tied else "output.weight"]
    norms = {state: np.empty((config.num_layers, T, B)) for state in carry}
    for layer in range(config.num_layers - 1, -1, -1):
        values = {name: states[name][layer].astype(np.float64) for name in states}
        previous = {name: np.concatenate([carry[name][layer][None], values[name][:-1]]) for name in carry}
        weights = [parameters[f"rnn.{kind}_l{layer}"] for kind in ("weight_hh", "bias_hh")]
        da = _BACKWARD[config.cell](values, previous, *weights, config.zoneout, above, {name: norms[name][layer] for name in norms})
        if layer:
            above = da @ parameters[f"rnn.weight_ih_l{layer}"]
    return {state: each[:, ::-1] for state, each in norms.items()}


# One layer back through time. Each takes the states `s` (T, B, H) after every step and `prev` before it, the recurrent weights, and the
# gradient `above` (T, B, H) that the layer above, or the output, gives h; writes the norms (T, B); returns da (T, B, G*H) of what the
# layer's input enters. Formulas as in kernels/rnn.py, lstm.py, gru.py, with a share P of each state's gradient passing by to the state
# before, as zoneout.py has it in expectation; `made`: what the gates made of h or c.


def _rnn_backward(s, prev, Wh, bh, P, above, norms):
    """dh += above;  da = (1-P) dh (1 - made^2);  dh_prev = P dh + da Wh."""
    dh, das = 0, []
    for t in range(len(above) - 1, -1, -1):
        dh = above[t] + dh
        norms["h"][t] = np.linalg.norm(dh, axis=1)
        made = np.clip((s["h"][t] - P * prev["h"][t]) / (1 - P), -1, 1)
        da = (1 - P) * dh * (1 - made**2)
        dh = P * dh + da @ Wh
        das.append(da)
    return np.stack(das[::-1])


def _lstm_backward(s, prev, Wh, bh, P, above, norms):
    """dh += above;  made = f c_prev + i g;  dm = (1-P) dh;  dc~ = (1-P) dc + dm o (1 - tanh(made)^2);  da_i, da_f, da_g of dc~ and
    da_o of dm;  dh_prev = P dh + da Wh;  dc_prev = P dc + dc~ f."""
    dh, dc, das = 0, 0, []
    for t in range(len(above) - 1, -1, -1):
        i, f, g, o, c_prev = (*(s[name][t] for name in "ifgo"), prev["c"][t])
        tanh_made = np.tanh(f * c_prev + i * g)
        dh = above[t] + dh
        dh_made = (1 - P) * dh
        dc_made = (1 - P) * dc + dh_made * o * (1 - tanh_made**2)
        norms["h"][t], norms["c"][t] = np.linalg.norm(dh, axis=1), np.linalg.norm(dc_made, axis=1)
        da = np.concatenate([dc_made * g * i * (1 - i), dc_made * c_prev * f * (1 - f), dc_made * i * (1 - g**2),
                             dh_made * tanh_made * o * (1 - o)], axis=1)
        dh, dc = P * dh + da @ Wh, P * dc + dc_made * f
        das.append(da)
    return np.stack(das[::-1])


def _gru_backward(s, prev, Wh, bh, P, above, norms):
    """dh += above;  dm = (1-P) dh;  da_n = dm (1-z) (1-n^2);  da_r = da_n m r(1-r);  da_z = dm (h_prev - n) z(1-z), where
    m = h_prev Wh_n + b_m;  dh_prev = P dh + dm z + (da_r, da_z, da_n r) Wh."""
    H = Wh.shape[1]
    dh, das = 0, []
    for t in range(len(above) - 1, -1, -1):
        r, z, n, h_prev = s["r"][t], s["z"][t], s["n"][t], prev["h"][t]
        m = h_prev @ Wh[2 * H:].T + bh[2 * H:]
        dh = above[t] + dh
        norms["h"][t] = np.linalg.norm(dh, axis=1)
        dh_made = (1 - P) * dh
        da_n = dh_made * (1 - z) * (1 - n**2)
        da_r, da_z = da_n * m * r * (1 - r), dh_made * (h_prev - n) * z * (1 - z)
        dh = P * dh + dh_made * z + np.concatenate([da_r, da_z, da_n * r], axis=1) @ Wh
        das.append(np.concatenate([da_r, da_z, da_n], axis=1))
    return np.stack(das[::-1])


_BACKWARD = {"rnn": _rnn_backward, "lstm": _lstm_backward, "gru": _gru_backward}
