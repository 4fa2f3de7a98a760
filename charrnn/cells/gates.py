"""How often each gate of each unit is nearly shut and nearly open, as in figure 3 of Karpathy, Johnson & Li 2015."""

import numpy as np

from charrnn.cells.record import read_gates
from charrnn.errors import ConfigError, either
from charrnn.spec import CELLS

LEFT, RIGHT = 0.1, 0.9  # below the one a gate is left-saturated, above the other right-saturated


def gate_saturation(model, ids, start, stop, progress=None):
    """Return {gate: ndarray (L, H, 2)}: the shares of ids[start:stop] at which a gate is nearly shut and nearly open.

    Raises ConfigError for a cell without gates.
    """
    gates = CELLS[model.config.cell].sigmoids
    if not gates:
        gated = either([cell.name for cell in CELLS.values() if cell.sigmoids])
        raise ConfigError(f"--gates needs a cell with gates, {gated}, got {model.config.cell}: leave it out", ["gates"])
    counts = read_gates(model, ids, start, stop, gates, _count, progress)
    return {gate: count / (stop - start) for gate, count in counts.items()}


def _count(values):
    return np.stack([np.count_nonzero(values < LEFT, axis=1), np.count_nonzero(values > RIGHT, axis=1)], axis=-1)


def summarise_gates(saturation):
    """Return rows (layer, gate, mean left share, mean right share, and the units left and right over half the time)."""
    rows = []
    layers = len(next(iter(saturation.values())))
    for layer in range(layers):
        for gate, shares in saturation.items():
            left, right = shares[layer].T
            rows.append(
                (
                    layer,
                    gate,
                    float(left.mean()),
                    float(right.mean()),
                    int((left > 0.5).sum()),
                    int((right > 0.5).sum()),
                )
            )
    return rows
