"""Does the model miss a unit where its signal is, and only there? Hold it while the model reads, and compare the
losses.

The characters are dealt to three regions, by the state that each next character is predicted from:
    on      the signal is on (a graded one: in its upper third)
    off     it is off (a graded one: in its lower third)
    switch  within a few characters of where it switches: from the prediction of the character that switches it on
Beside the unit stand random units of the same layer, each held in the same way. What is said of a unit is the rise of
the mean loss, in nats a character, with the standard error of that rise over blocks of the text.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.cells.record import clamp_at, read_losses
from charrnn.cells.signals import GRADED
from charrnn.errors import ConfigError

RANDOM_UNITS = 8
AFTER_A_SWITCH = 3  # characters after one that switches the signal, still counted to the switch
HELD = ("mean", "off", "zero")
REGIONS = ("on", "off", "switch")
MISSED = ("nowhere", "only there", "mostly there", "everywhere")  # there: where the signal is on or switches
ERROR_BLOCK = 250  # characters: longer than what makes neighbours alike


@dataclass(frozen=True)
class Rise:
    """The rise of the mean loss in one region of the text while a unit is held.

    nats          the rise, in nats per character
    error         its standard error, in nats per character
    characters    number of characters in the region
    """

    nats: float
    error: float
    characters: int


@dataclass(frozen=True)
class Ablation:
    """How the loss of a model rises while one of its units is held at a fixed value.

    The regions are "on", "off" and "switch": where the signal is on, is off, or has just switched.

    signal         name of the signal
    layer, unit    the unit, counted from 0
    held           "mean", "off", "zero" or "value": how the value was chosen
    value          the value that the unit was held at
    rises          {region: Rise} for this unit
    random         {region: (mean, highest)}: the rises for random units of the same layer, in nats per character
    loss_nats      {region: mean loss of the model with no unit held, in nats per character}
    """

    signal: str
    layer: int
    unit: int
    held: str
    value: float
    rises: dict
    random: dict
    loss_nats: dict

    @property
    def missed(self):
        """Where the model misses the unit: "nowhere", "only there", "mostly there" or "everywhere".

        "There" means where the signal is on or switches. The model misses a unit in a region if the loss rises by more
        than for every random unit, and by more than 2 standard errors.
        """

        def is_missed(region):
            rise, (_, highest) = self.rises[region], self.random[region]
            return rise.characters > 0 and rise.nats > max(highest, 2 * rise.error)

        there = [self.rises[name].nats for name in ("on", "switch") if is_missed(name)]
        if not there:
            return MISSED[0]
        if not is_missed("off"):
            return MISSED[1]
        return MISSED[2] if self.rises["off"].nats < max(there) / 3 else MISSED[3]

    def to_dict(self):
        """Return the numbers of all regions as a dict for JSON; None for numbers that are not finite."""

        def plain(value):
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {
            "signal": self.signal,
            "layer": self.layer,
            "unit": self.unit,
            "held": self.held,
            "value": self.value,
            "missed": self.missed,
            "regions": {
                name: {
                    "characters": self.rises[name].characters,
                    "loss_nats": plain(self.loss_nats[name]),
                    "rise_nats": plain(self.rises[name].nats),
                    "error_nats": plain(self.rises[name].error),
                    "random_mean_nats": plain(self.random[name][0]),
                    "random_highest_nats": plain(self.random[name][1]),
                }
                for name in REGIONS
            },
        }


def ablate(model, ids, start, recording, found, clamp="mean", characters=None, progress=None):
    """Return an Ablation for each (signal, layer, unit) in `found`.

    ids, start   the text that `recording` is of begins at ids[start]
    clamp        what to hold a unit at: "mean", its mean over the recording; "off", its mean where the signal is off (a
                 graded one: in its lower third), so that little changes where the signal is off; "zero"; or a
                 number
    characters   highest number of characters to read; None reads as many as the recording has
    progress     called with a share from 0 to 1 now and then

    Random units are held in the same way, each at its own mean.
    """
    N = recording.values.shape[2] if characters is None else min(characters, recording.values.shape[2])
    config, stop = model.config, start + N
    if not isinstance(clamp, (int, float)) and clamp not in HELD:
        raise ConfigError(f"--clamp must be {', '.join(HELD)} or a number, got {clamp!r}", ["clamp"])
    quantity = clamp_at(config, 0, 0, 0.0, recording.quantity).quantity
    if clamp in ("mean", "off") and quantity != recording.quantity:
        raise ConfigError(
            f"a unit can be held at its mean only for --quantity h, c or tanh-c, got {recording.quantity}: use "
            "--clamp zero",
            ["quantity", "clamp"],
        )
    rng = np.random.default_rng(0)  # the same units each time
    randoms = {}
    for layer in sorted({layer for _, layer, _ in found}):
        others = [unit for unit in range(config.hidden_size) if (layer, unit) not in {(l, u) for _, l, u in found}]
        randoms[layer] = [(layer, int(unit)) for unit in rng.permutation(others)[:RANDOM_UNITS]]
    holds = {}  # (signal's name, unit) -> (layer, unit, value): what is held alike is read once
    for signal, layer, unit in found:
        where = _off(signal) if clamp == "off" else slice(None)
        for pair in [(layer, unit), *randoms[layer]]:
            value = (
                0.0
                if clamp == "zero"
                else clamp
                if clamp not in HELD
                else float(recording.values[pair][where].astype(np.float32).mean(dtype=np.float64))
            )
            holds[signal.name, pair] = (*pair, value)

    losses = {None: None, **dict.fromkeys(holds.values())}
    for k, hold in enumerate(losses):
        losses[hold] = read_losses(
            model,
            ids,
            start,
            stop,
            [] if hold is None else [clamp_at(config, hold[0], hold[1], hold[2], quantity)],
            None if progress is None else _share_of(progress, k, len(losses)),
        )
    whole = losses[None]
    known = np.isfinite(whole)
    results = []
    for signal, layer, unit in found:
        rises, random, loss = {}, {}, {}
        for name, mask in zip(REGIONS, regions(signal.values[:N], signal.kind)):
            mask = mask & known
            rises[name] = _rise(losses[holds[signal.name, (layer, unit)]] - whole, mask)
            of_random = [_rise(losses[holds[signal.name, pair]] - whole, mask).nats for pair in randoms[layer]]
            random[name] = (float(np.mean(of_random)), float(np.max(of_random))) if of_random else (math.nan, math.nan)
            loss[name] = float(whole[mask].mean()) if mask.any() else math.nan
        results.append(
            Ablation(
                signal.name,
                layer,
                unit,
                clamp if clamp in HELD else "value",
                holds[signal.name, (layer, unit)][2],
                rises,
                random,
                loss,
            )
        )
    return results


def _share_of(progress, k, count):
    """Return a function of how far reading k of `count` is; what is read again within it (record.py) moves nothing."""
    return lambda done, of, again=None: progress((k + (done / of if again is None else 1)) / count)


def _off(signal):
    """Return where a signal is off, or a graded one low: mask (N,)."""
    if signal.kind == GRADED:
        return signal.values <= np.quantile(signal.values, 1 / 3)
    return ~signal.values.astype(bool)


def regions(values, kind):
    """Return three disjoint masks (N,): on, off, switch. See the head of this file."""
    change = np.zeros(len(values), bool)
    if kind == GRADED:
        step = np.abs(np.diff(values.astype(np.float64)))
        changed = step > 0
        # A counter moves at every character: its switches are its jumps.
        jump = changed if changed.mean() < 0.3 else step > max(1.5, values.std() / 2)
        change[1:] = jump
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        on, off = (values > low if low == high else values >= high), values <= low
    else:
        change[1:] = values[1:] != values[:-1]
        on, off = values.astype(bool), ~values.astype(bool)
    near = change.copy()
    near[:-1] |= change[1:]  # the state before, which predicts the character that switches
    for back in range(1, AFTER_A_SWITCH):
        near[back:] |= change[:-back]
    return on & ~near, off & ~near, near


def _rise(difference, mask):
    n = int(mask.sum())
    if n == 0:
        return Rise(math.nan, math.nan, 0)
    mean = float(difference[mask].mean())
    # Ratio estimator over blocks: neighbours are alike, blocks are not.
    blocks = np.arange(len(mask)) // ERROR_BLOCK
    sums = np.bincount(blocks[mask], difference[mask], minlength=blocks[-1] + 1)
    counts = np.bincount(blocks[mask], minlength=blocks[-1] + 1)
    used = counts > 0
    k = int(used.sum())
    if k < 2:
        return Rise(mean, math.nan, n)
    residual = sums[used] - mean * counts[used]
    return Rise(mean, float(np.sqrt(np.sum(residual**2) * k / (k - 1)) / n), n)
