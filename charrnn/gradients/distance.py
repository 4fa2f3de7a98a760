"""How far back a gradient reaches: the norm of d loss_t / d state_{t-k} for each layer, at every distance k.

The states are those that the model has, in its own dtype. The gates at each of them, and the way back, are the
kernels' in float64, all places of the text side by side: float32 ends at 1e-45 and a vanishing gradient does not. This
room knows ids, not texts.
"""

from dataclasses import dataclass, replace

import numpy as np

from charrnn.errors import ConfigError, counted
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace

WARM_UP = 256  # characters read before each stretch, where the text has them
STREAMS = 16  # places side by side


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
            "lower --steps, or name a longer TEXT",
            ["steps"],
        )
    first, last = start + steps, stop - 2
    first += min(WARM_UP, (last - first) // 2)
    return np.unique(np.linspace(first, last, count).round().astype(np.int64))


def choose_item_times(depths, start, steps, count):
    """Return up to `count` times t, evenly spaced among those whose steps + 1 states are of one item.

    depths    of start and what follows, as `item_depths` returns them

    Raises ConfigError.
    """
    eligible = np.flatnonzero(depths >= steps)
    if not len(eligible):
        deepest = int(depths.max(initial=-1))
        remedy = f"--steps {deepest} reaches as far as the longest item" if deepest > 0 else "name a longer TEXT"
        raise ConfigError(f"no item of this text is {counted(steps, 'character')} long: {remedy}", ["steps"])
    chosen = np.unique(np.linspace(0, len(eligible) - 1, count).round().astype(np.int64))
    return start + eligible[chosen]


def item_depths(ids, start, stop, rule):
    """Return how many characters of its item lie before each of start .. stop - 2, START among them: ndarray, -1 where
    what is predicted does not count by an ItemRule, and where the item has begun before.
    """
    counts = rule.counts(ids, start + 1, stop)
    places, read = np.arange(len(counts)), np.asarray(ids[start : stop - 1])
    begun = np.maximum.accumulate(np.where(read == rule.start_id, places, -1))
    return np.where((begun < 0) | ~counts, -1, places - begun)


def fit_steps(depths, steps, count):
    """Return `steps`, or fewer if the items are too short to have `count` places that go back so far."""
    depths = np.sort(depths)[::-1]
    reached = int(depths[min(count, len(depths)) - 1]) if len(depths) else 0
    return max(1, min(steps, reached))


def measure_reach(model, ids, times, steps, progress=None):
    """Return the Reach of the loss at each of `times` over the `steps` states before.

    loss_t is of predicting ids[t + 1] after ids[t] was read; state_{t-k} is what a layer held after it had read
    ids[t-k]. The gradient counts every way from that state to the loss: through time, through the layers above, and
    from an LSTM's c through its h. With zoneout c is what the gates made of it, which its h comes from.

    times       ndarray (N,), each at least `steps`; up to WARM_UP characters before a stretch are read first, from a
                carry of zeros
    progress    called with (places done, N) now and then
    """
    exact = Model(replace(model.config, dtype="float64"), model.rule)
    exact.set_parameters(model.get_parameters())
    parts, T, workspaces = [], steps + 1, {}
    for at in range(0, len(times), STREAMS):
        places = np.asarray(times[at : at + STREAMS])
        B = len(places)
        if B not in workspaces:
            workspaces[B] = Workspace(model, B, T, training=False), Workspace(exact, T * B, 1)
        reading, back = workspaces[B]
        parts.append(_measure_side_by_side(reading, back, np.asarray(ids), places))
        if progress is not None:
            progress(min(len(times), at + STREAMS), len(times))
    return Reach({state: np.concatenate([part[state] for part in parts], axis=2) for state in parts[0]})


def _measure_side_by_side(reading, back, ids, times):
    """Return {state: norms (L, steps + 1, B)} of B places.

    reading    a workspace of the model, of B streams and steps + 1 steps
    back       one of the model in float64, of one step: every step of every place is a stream of its own, which goes on
               from the state that the model itself had there
    """
    T, B = reading.seq_length, len(times)
    window = ids[times[:, None] + np.arange(-T + 1, 2)].T.astype(np.int32)
    x, y = window[:T], window[1:]
    lead = min(WARM_UP, int(times.min()) - (T - 1))
    reading.reset_carry()
    for t in range(-lead, 0, T):
        earlier = ids[times[:, None] - (T - 1) + np.arange(t, min(0, t + T))].T
        reading.losses(earlier, earlier)
    carry = reading.get_carry()
    reading.losses(x, y)
    before = {
        state: np.concatenate([first[:, None], reading.states(state)[:, :-1]], 1) for state, first in carry.items()
    }
    back.set_carry({state: each.reshape(len(each), T * B, -1) for state, each in before.items()})
    norms = back.measure_reach(x.reshape(1, -1), y.reshape(1, -1), B)
    return {state: each[:, ::-1] for state, each in norms.items()}
