"""Weights as a page carries them: float32, float16 or int8, and what that costs.

Matrices are rounded to the kind that is asked for. Vectors, of which there are few, stay float32: biases, gains, and
the scales of int8, one a row. The two biases of a sum are added up before.

    kind       a number is
    float32    itself
    float16    rounded to 11 bits
    int8       level * scale of its row, level -127..127, scale the row's largest magnitude / 127

Knows models and ids; no file and no page.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError
from charrnn.evaluation.loss import evaluate_split
from charrnn.model.parameters import Model
from charrnn.spec import CELLS

KINDS = ("float32", "float16", "int8")
DEFAULT_KIND = "float16"  # docs/DECISIONS.md
MAX_HALF = 65504.0
MAX_LEVEL = 127
ALIGNMENT = 4  # bytes: what a Float32Array over them needs


@dataclass(frozen=True)
class PackedArray:
    """An array of the page.

    data      its numbers, ndarray of `kind`, little-endian
    scales    ndarray (rows,) float32 of int8, else None
    """

    name: str
    kind: str
    data: np.ndarray
    scales: np.ndarray | None = None

    def restored(self):
        """Return what the page makes of it, float64."""
        values = self.data.astype(np.float64)
        return values if self.scales is None else values * self.scales.astype(np.float64)[:, None]


@dataclass(frozen=True)
class WeightsCost:
    """What rounding costs on held-out text: losses in nats a character over so many characters."""

    full_loss_nats: float
    loss_nats: float
    characters: int

    @property
    def cost_nats(self):
        return self.loss_nats - self.full_loss_nats

    def to_dict(self):
        """Return it as plain numbers."""
        return {
            "full_loss_nats": self.full_loss_nats,
            "loss_nats": self.loss_nats,
            "cost_nats": self.cost_nats,
            "characters": self.characters,
        }


def pack_array(name, values, kind):
    """Return the PackedArray of an array; a vector is float32 whatever the kind. Raises ConfigError."""
    if values.ndim < 2 or kind == "float32":
        return PackedArray(name, "float32", np.ascontiguousarray(values, "<f4"))
    if kind == "float16":
        largest = float(np.abs(values).max())
        if largest > MAX_HALF:
            raise ConfigError(
                f"{name} has a weight of magnitude {largest:g}, but float16 ends at {MAX_HALF:,.0f}: add --weights "
                "float32",
                ["weights"],
            )
        return PackedArray(name, kind, np.ascontiguousarray(values, "<f2"))
    scales = (np.abs(values).max(axis=1) / MAX_LEVEL).astype("<f4")
    scales[scales == 0] = 1
    levels = np.rint(values / scales.astype(np.float64)[:, None])
    return PackedArray(name, kind, np.clip(levels, -MAX_LEVEL, MAX_LEVEL).astype(np.int8), scales)


def pack_model(model, kind):
    """Return the PackedArrays of a Model. `rnn.bias_l0` and so on are those of each sum of a layer, (sums * H,)."""
    if kind not in KINDS:
        raise ConfigError(f"--weights must be one of {', '.join(KINDS)}, got {kind!r}", ["weights"])
    arrays, config = model.get_parameters(), model.config
    packed = []
    for name, values in arrays.items():
        if ".bias_ih" in name:
            layer = name.removeprefix("rnn.bias_ih_l")
            packed.append(
                pack_array(f"rnn.bias_l{layer}", _sum_biases(config, values, arrays[f"rnn.bias_hh_l{layer}"]), kind)
            )
        elif ".bias_hh" not in name:
            packed.append(pack_array(name, values, kind))
    return packed


def lay_out(packed):
    """Return (bytes of PackedArrays end to end, what the page's header says of each)."""
    pieces, entries, at = [], [], 0

    def put(array):
        nonlocal at
        data = array.tobytes()
        start, rest = at, -len(data) % ALIGNMENT
        pieces.append(data + bytes(rest))
        at += len(data) + rest
        return start

    for one in packed:
        entry = {"name": one.name, "shape": list(one.data.shape), "kind": one.kind, "at": put(one.data)}
        if one.scales is not None:
            entry["scale_at"] = put(one.scales)
        entries.append(entry)
    return b"".join(pieces), entries


def rounded_model(model, packed):
    """Return a Model of the same kind whose weights are those that a page has."""
    arrays = model.get_parameters()
    for one in packed:
        if one.name in arrays and one.data.ndim > 1:
            arrays[one.name] = one.restored().astype(model.config.dtype)
    rounded = Model(model.config, model.rule)
    rounded.set_parameters(arrays)
    return rounded


def measure_cost(model, packed, ids, start, stop):
    """Return the WeightsCost of PackedArrays of a Model on ids[start:stop]; 0 where nothing is rounded."""
    full = evaluate_split(model, ids, start, stop)
    assert full is not None  # nothing interrupts it
    if model.config.dtype == "float32" and all(one.kind == "float32" for one in packed):
        return WeightsCost(full.loss_nats, full.loss_nats, full.characters)
    rounded = evaluate_split(rounded_model(model, packed), ids, start, stop)
    assert rounded is not None
    return WeightsCost(full.loss_nats, rounded.loss_nats, full.characters)


def _sum_biases(config, input_bias, recurrent_bias):
    """Return the bias of each sum of a layer, in the order of Cell.sums."""
    cell, H = CELLS[config.cell], config.hidden_size
    biases = []
    for name in cell.blocks:
        rows = cell.rows(name, H)
        own = name in cell.recurrent.values()  # its recurrent product is a sum of its own
        biases.append(input_bias[rows] if own else input_bias[rows] + recurrent_bias[rows])
    biases += [recurrent_bias[cell.rows(block, H)] for block in cell.recurrent.values()]
    return np.concatenate(biases)
