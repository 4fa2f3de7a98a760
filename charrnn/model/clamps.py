"""Clamps: units that are held at a fixed value while a workspace runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, either, is_integer, is_number
from charrnn.kernels.records import CLAMP_C, CLAMP_H
from charrnn.spec import CELLS

MAX_TANH = 1 - 2.0**-20  # tanh(c) of a held unit at most: c must be finite


@dataclass(frozen=True)
class Clamp:
    """A hidden unit that is held at a fixed value while a model runs.

    Creating a Clamp checks nothing. The calls that take clamps raise ConfigError if the model has no such unit or
    quantity, if the value is not allowed, or if a unit is given twice.

    Attributes
    ----------
    layer, unit : int
        The unit, both counted from 0.
    value : float
        The value to hold it at: a finite number, in -1 .. 1 for "tanh-c".
    quantity : {"h", "c", "tanh-c"}
        What is held: the output h of the unit, or, in an LSTM, its cell state c, given as c or as tanh(c). If the cell
        state is held, the output h = o * tanh(c) still follows the output gate o.
    """

    layer: int
    unit: int
    value: float
    quantity: str = "h"


def check_unit(config, layer, unit):
    """Raise ConfigError if a model with this ModelConfig has no such unit; layer and unit count from 0."""
    known = is_integer(layer) and is_integer(unit) and 0 <= layer < config.num_layers and 0 <= unit < config.hidden_size
    if not known:
        raise ConfigError(
            f"the units of this model are 0:0 to {config.num_layers - 1}:{config.hidden_size - 1} (layer:unit, "
            f"from 0), got {layer}:{unit}"
        )


def listed_clamps(clamps):
    """Return clamps as a tuple. Raises ConfigError if they are not a sequence of Clamp."""
    listed = tuple(clamps) if isinstance(clamps, Iterable) else (clamps,)
    if isinstance(clamps, Clamp) or not all(isinstance(one, Clamp) for one in listed):
        raise ConfigError(f"clamps must be a sequence of Clamp, such as [Clamp(0, 17, 1.0)], got {clamps!r}")
    return listed


def pack_clamps(config, clamps):
    """Return N Clamps as the two arrays that compiled code reads (kernels/chunk/views.py).

    Returns ndarray (N, 3), int64: layer, unit, and which quantity is held; and ndarray (N, 2) of the model's dtype: the
    cell state c and tanh(c), or h twice if h is held. Raises ConfigError if a clamp does not fit the model or a unit
    comes twice.
    """
    rows, values = [], []
    for clamp in listed_clamps(clamps):
        check_unit(config, clamp.layer, clamp.unit)
        rows.append((clamp.layer, clamp.unit, CLAMP_H if clamp.quantity == "h" else CLAMP_C))
        values.append(_held_values(config, clamp))
    if len({row[:2] for row in rows}) < len(rows):
        raise ConfigError("a unit can be held at one value only, got the same unit twice")
    return np.array(rows, np.int64).reshape(-1, 3), np.array(values, config.dtype).reshape(-1, 2)


def _held_values(config, clamp):
    """Return c and h of a held unit whose output gate is 1; of h alone, the value twice. Raises ConfigError."""
    value, holdable = clamp.value, CELLS[config.cell].holdable
    if not is_number(value) or not math.isfinite(value):
        raise ConfigError(f"a unit can be held at a finite value, got {value!r}")
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
