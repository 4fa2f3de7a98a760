"""Clamps: units that are held at a value while a workspace runs."""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, either
from charrnn.kernels.records import CLAMP_C, CLAMP_H
from charrnn.spec import CELLS

MAX_TANH = 1 - 2.0**-20  # tanh(c) of a held unit at most: c must be finite


@dataclass(frozen=True)
class Clamp:
    """A unit to be held at `value` while a workspace runs, layer and unit counted from 0.

    quantity    "tanh-c" or "c" of a cell with c: it is held, and h = o tanh(c) follows its output gate; or "h"
    """

    layer: int
    unit: int
    value: float
    quantity: str = "h"


def check_unit(config, layer, unit):
    """Raise ConfigError unless the model has this unit."""
    if not 0 <= layer < config.num_layers or not 0 <= unit < config.hidden_size:
        raise ConfigError(
            f"the units of this model are 0:0 to {config.num_layers - 1}:{config.hidden_size - 1} (layer:unit, "
            f"from 0), got {layer}:{unit}"
        )


def pack_clamps(config, clamps):
    """Return Clamps, each unit at most once, as compiled code reads them (kernels/chunk/views.py). Raises ConfigError.

    Returns ndarray (N, 3), int64: layer, unit and what is held; and ndarray (N, 2) of the model's dtype: c, and h or
    tanh(c).
    """
    rows, values = [], []
    for clamp in clamps:
        check_unit(config, clamp.layer, clamp.unit)
        rows.append((clamp.layer, clamp.unit, CLAMP_H if clamp.quantity == "h" else CLAMP_C))
        values.append(_held_values(config, clamp))
    if len({row[:2] for row in rows}) < len(rows):
        raise ConfigError("a unit can be held at one value only, got the same unit twice")
    return np.array(rows, np.int64).reshape(-1, 3), np.array(values, config.dtype).reshape(-1, 2)


def _held_values(config, clamp):
    """Return c and h of a held unit whose output gate is 1; of h alone, the value twice. Raises ConfigError."""
    value, holdable = clamp.value, CELLS[config.cell].holdable
    if not math.isfinite(value):
        raise ConfigError(f"a unit can be held at a finite value, got {value}")
    if clamp.quantity not in holdable:
        raise ConfigError(
            f"what can be held in a unit of this {config.cell} is {either(holdable)}, got {clamp.quantity!r}"
        )
    if clamp.quantity == "tanh-c":
        if abs(value) > 1:
            raise ConfigError(f"tanh(c) lies in -1..1, got {value:g} to hold unit {clamp.layer}:{clamp.unit} at")
        tanh_value = max(-MAX_TANH, min(MAX_TANH, value))
        return math.atanh(tanh_value), tanh_value
    return value, math.tanh(value) if clamp.quantity == "c" else value
