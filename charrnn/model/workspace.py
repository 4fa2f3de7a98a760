"""A model: its configuration, its parameters by name, and the workspace that runs it over chunks of one batch shape.

Model holds the numbers that are trained; Workspace holds everything that one batch shape needs beside them: states, gates,
gradients, and the carry from chunk to chunk. Neither knows a file, a character or an option of the command line.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, either
from charrnn.kernels import chunk, dropconnect, updates, zoneout
from charrnn.kernels.dropout import THRESHOLD_BITS, step_key
from charrnn.kernels.host import has_bfloat16
from charrnn.kernels.items import run_items
from charrnn.kernels.layout import PLAN_SIZE, Layout
from charrnn.kernels.simd import padded
from charrnn.kernels.threads import num_threads
from charrnn.kernels.tile import fill_tiles
from charrnn.spec import CELLS, PRECISIONS, ModelConfig

SHARED_PRODUCTS = (
    1 << 22
)  # multiplications of a pass, some 50 us of one core, from which other threads are woken for it
SHARED_WEIGHTS = 1 << 17  # recurrent weights, some 60 us of one core, from which other threads are woken to drop them
LARGEST_TANH = 1 - 2.0**-20  # tanh(c) of a held unit at most: c must be finite
BLOCK_BYTES = 384 * 1024  # states of one layer that a shard keeps warm while it walks a block of steps


@dataclass(frozen=True)
class Dropout:
    """What a step of training drops: units in what each layer gives upward, and weights of the recurrent matrices.

    Of a model with zoneout it also draws, by the same seed, which units keep their states.

    rate           share of the units, never along time; variational: the same units at all steps of a chunk
    weight_rate    share of the recurrent weights, the same for all streams and steps of a chunk
    """

    rate: float
    variational: bool = False
    seed: int = 0
    weight_rate: float = 0.0


def check_precision(precision, dtype="float32"):
    """Return the dtype that products are computed in. Raises ConfigError where this CPU or the model's dtype cannot."""
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "float32":
        return dtype
    if dtype != "float32":
        raise ConfigError(f"--precision {precision} needs --dtype float32, got {dtype}: leave one of them out")
    if not has_bfloat16():
        raise ConfigError(
            f"--precision {precision} needs a CPU with AVX512-BF16, which this one has not: use --precision float32, or "
            "take a bfloat16 run's weights into a new one with --init-from"
        )
    return precision


@dataclass(frozen=True)
class Clamp:
    """A unit to be held at `value` while a workspace runs, layer and unit counted from 0.

    quantity    "tanh-c" or "c" of an LSTM: the cell is held, and h = o tanh(c) follows its output gate; or "h"
    """

    layer: int
    unit: int
    value: float
    quantity: str = "h"


def aligned_zeros(size, dtype, alignment=64):
    """Return a zeroed 1-D array whose first element sits on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size * dtype.itemsize].view(dtype)


def check_unit(config, layer, unit):
    """Raise ConfigError unless the model has this unit."""
    if not 0 <= layer < config.num_layers or not 0 <= unit < config.hidden_size:
        raise ConfigError(
            f"the units of this model are 0:0 to {config.num_layers - 1}:{config.hidden_size - 1} (layer:unit, "
            f"from 0), got {layer}:{unit}"
        )


def uniform_bound(config):
    """Return the bound of the uniform initialisation, 1/sqrt(hidden_size), as PyTorch's recurrent layers have it."""
    return 1 / math.sqrt(config.hidden_size)


class Model:
    """The parameters of a recurrent language model.

    flat   (N,) of config.dtype: every parameter, in panels (kernels/layout.py); Optimizer updates it in place
    """

    def __init__(self, config):
        self.config = config
        self.layout = self.new_layout()
        fill_tiles(self.layout.plan, self.layout.forward_widths, (), config.dtype)
        self.flat = aligned_zeros(self.layout.size, config.dtype)

    def new_layout(self, pack=1):
        """Return the layout of the parameters, with the tables for operands of `pack` numbers a word."""
        return Layout(self.config, pack)

    @classmethod
    def initialise(cls, config, seed):
        """Return a model with fresh parameters.

        Weights and biases of the recurrent layers are uniform in +-1/sqrt(H), the LSTM's forget biases 1 (Jozefowicz et al.
        2015), gains 1; the output layer is uniform in +-1/sqrt(H) with zero bias, embeddings are normal with deviation 1 (tied:
        1/sqrt(H)). The same seed gives the same parameters in either dtype, up to rounding.
        """
        model = cls(config)
        bound, forget_gate = uniform_bound(config), CELLS[config.cell].forget_gate
        arrays = {}
        for name, shape in model.shapes().items():
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *name.encode()])))
            if name == "embedding.weight":
                arrays[name] = rng.standard_normal(shape) * (bound if config.tied else 1)
            elif name == "output.bias" or name.startswith("rnn.bias_hh"):
                arrays[name] = np.zeros(shape)
            elif name.startswith("rnn.norm_gain"):
                arrays[name] = np.ones(shape)
            else:
                arrays[name] = rng.uniform(-bound, bound, shape)
            if name.startswith("rnn.bias_ih") and forget_gate:
                arrays[name][CELLS[config.cell].rows(forget_gate, config.hidden_size)] = 1
        model.set_parameters(arrays)
        return model

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """Return the model of a Checkpoint (checkpoint.py)."""
        model = cls(ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model))
        model.set_parameters(checkpoint.parameters)
        return model

    @property
    def num_parameters(self):
        """How many numbers are trained; a gate's bias counts once, as it is kept."""
        return self.layout.num_parameters()

    def shapes(self):
        """Return {PyTorch name: shape} of every parameter."""
        return self.layout.shapes()

    def get_parameters(self):
        """Return {PyTorch name: array}, copies."""
        return self.unpack(self.flat)

    def set_parameters(self, arrays):
        """Set every parameter from {PyTorch name: array}. Raises ConfigError where names or shapes differ."""
        self.flat[:] = self.pack(arrays)

    def pack(self, arrays):
        """Return {PyTorch name: array} as one flat array in the layout of `flat`. Raises ConfigError."""
        shapes = self.shapes()
        if set(arrays) != set(shapes):
            missing, unknown = sorted(set(shapes) - set(arrays)), sorted(set(arrays) - set(shapes))
            raise ConfigError(f"parameters do not fit the model: missing {missing}, unknown {unknown}")
        for name, shape in shapes.items():
            if np.shape(arrays[name]) != shape:
                raise ConfigError(f"parameter {name} must have shape {shape}, got {np.shape(arrays[name])}")
        flat = aligned_zeros(self.layout.size, self.config.dtype)
        self.layout.pack({name: np.asarray(arrays[name], self.config.dtype) for name in shapes}, flat)
        return flat

    def unpack(self, flat):
        """Return a flat array of this layout (parameters, gradients, optimiser state) as {PyTorch name: array}."""
        return self.layout.unpack(flat)

    def view(self, flat):
        """Return a flat array of this layout as a mapping from PyTorch name to array that makes each one when it is asked for."""
        return NamedArrays(self.layout, flat)


class NamedArrays(Mapping):
    """A flat array of a layout by PyTorch name: each array is made when it is asked for, and belongs to the asker."""

    def __init__(self, layout, flat):
        self._layout, self._flat, self._names = layout, flat, layout.shapes()

    def __getitem__(self, name):
        if name not in self._names:
            raise KeyError(name)
        return self._layout.take(self._flat, name)

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


class ShardPace:
    """Watches how long a step of training takes, and deals the streams to more shards while a core is busy elsewhere.

    With one shard a thread, the thread on the busy core is waited for; with three, the other takes some of its shards. Small
    shards read the weights more often: a few per cent slower on an idle machine.
    """

    PATIENCE = 8  # quiet chunks before the streams are dealt to few shards again

    def __init__(self):
        self.best, self.disturbed = math.inf, 0

    def shards(self, workers, streams):
        return max(workers, min(3 * workers, streams // 4)) if self.disturbed else workers

    def note(self, seconds):
        """Take down the time of a step's forward and backward pass."""
        if seconds > 1.25 * self.best:
            self.disturbed = self.PATIENCE
        elif self.disturbed:
            self.disturbed -= 1
        self.best = min(seconds, 1.01 * self.best)  # what was fast once may be out of reach later: forget it slowly


class Workspace:
    """Runs a model over chunks of at most seq_length steps of batch_size streams, and keeps the carry between them.

    model        a Model; its parameters are read at every call, so updates are seen
    training     False leaves out what only gradients need
    precision    "float32": the numbers of the model's own dtype; "bfloat16": the products' operands are rounded to bfloat16, their
                 sums, the model and everything else stay float32; needs a CPU with AVX512-BF16
    grads        (N,) the gradient of the last loss_and_grads, in the layout of model.flat, until the next chunk runs
    shards       groups that the streams are dealt to, or None: as many as suits the threads; no result depends on it
    """

    def __init__(self, model, batch_size, seq_length, training=True, precision="float32"):
        for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self.model, self.batch_size, self.seq_length, self.training = model, batch_size, seq_length, training
        dtype = model.config.dtype
        operands = check_precision(precision, dtype)
        self._pack = 2 if precision == "bfloat16" else 1
        self.layout = layout = model.layout if self._pack == 1 else model.new_layout(self._pack)
        self._sizes = self.sizes(layout, batch_size, seq_length, training)
        for name, size in self._sizes.items():
            setattr(self, name, aligned_zeros(size, dtype))
        rows = batch_size * seq_length
        # The transposed weights live only while a chunk runs back, the gradient only after it: they share their memory.
        scratch = aligned_zeros(
            max(layout.size if training else 0, layout.derived_size if training or self._pack > 1 else 0), dtype
        )
        self.grads = scratch[: layout.size]
        self.shards, self._pace = None, ShardPace()
        self._losses, self._numbers = np.zeros(rows), np.array([1.0, model.config.zoneout])
        self._ids, self._targets = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self._counter = np.zeros(8, np.int64)
        self._grown = {}
        self._connections, self._weight_scale = np.zeros(dropconnect.TABLE_SIZE, np.int64), np.ones(1)
        self._kept = np.zeros(0, dtype)  # recurrent weights, while some are dropped
        self._clamps, self._clamp_values = np.zeros(0, np.int64), np.zeros(0, dtype)
        self._steps = 0
        self._table = np.zeros(chunk.TABLE_SIZE, np.int64)
        self._table[:PLAN_SIZE] = layout.plan
        self._table[chunk.KEPT] = not training
        self._table[chunk.ZONE_THRESHOLD] = round(model.config.zoneout * 2**THRESHOLD_BITS)
        fill_tiles(self._table, layout.forward_widths, (), operands)
        if training:
            fill_tiles(self._table, layout.backward_widths, layout.forward_widths, operands)
        if self._pack == 1:  # the operands are the numbers themselves
            for slot, array in ((chunk.WEIGHTS, model.flat), (chunk.XW_AT, self._X0)):
                self._table[slot] = array.ctypes.data
        else:
            self._table[chunk.WEIGHTS] = scratch.ctypes.data
        for slot, array in (
            (chunk.NUMBERS, self._numbers),
            (chunk.LAYERS, layout.layers),
            (chunk.PARAMS, model.flat),
            (chunk.DERIVED, scratch),
            (chunk.GRADS, scratch),
            (chunk.IDS, self._ids),
            (chunk.TARGETS, self._targets),
            (chunk.H0, self._h0),
            (chunk.C0, self._c0),
            (chunk.HS_AT, self._HS),
            (chunk.CS_AT, self._CS),
            (chunk.X0_AT, self._X0),
            (chunk.DX0_AT, self._DX0),
            (chunk.G_AT, self._G),
            (chunk.Z_AT, self._Z),
            (chunk.DR_AT, self._DR),
            (chunk.DC_AT, self._DC),
            (chunk.DE_AT, self._DE),
            (chunk.XN_AT, self._XN),
            (chunk.RS_AT, self._RS),
            (chunk.DN_AT, self._DN),
            (chunk.LOSSES_AT, self._losses),
        ):
            self._table[slot] = array.ctypes.data
        self._transposition = np.zeros(updates.TABLE_SIZE, np.int64)
        for slot, array in (
            (updates.PARAMS_AT, model.flat),
            (updates.DERIVED_AT, scratch),
            (updates.TRANSPOSES_AT, layout.transposes),
        ):
            self._transposition[slot] = array.ctypes.data

    @staticmethod
    def sizes(layout, batch_size, seq_length, training):
        """Return {buffer: numbers}, all but the gradient."""
        B, T, L, S = batch_size, seq_length, layout.num_layers, layout.stride
        R = B * T
        return {
            "_h0": L * B * S,
            "_c0": L * B * S,
            "_HS": L * (T + 1) * B * S,
            "_CS": L * (T + 1) * B * S if CELLS[layout.cell].has_c and not training else 0,
            "_G": L * layout.panels * R * 4 * layout.lanes,
            "_X0": R * layout.embedding_stride,
            "_Z": layout.out_panels * R * layout.out_width * layout.lanes,
            "_DX0": R * layout.embedding_stride if training else 0,
            "_DR": L * B * S if training else 0,
            "_DC": L * B * S if training else 0,
            "_DE": layout.vocab_size * layout.embedding_stride if training and layout.tied else 0,
            "_XN": L * layout.panels * R * 4 * layout.lanes if training and layout.layer_norm else 0,
            "_RS": L * R * 4 if training and layout.layer_norm else 0,
            "_DN": 2 * L * layout.panels * B * 4 * layout.lanes if training and layout.layer_norm else 0,
        }

    # The carry

    def _carry_arrays(self, h, c):
        config, S = self.model.config, self.model.layout.stride
        shape = config.num_layers, self.batch_size, S
        arrays = {"h": h.reshape(shape)[:, :, : config.hidden_size]}
        if CELLS[config.cell].has_c:
            arrays["c"] = c.reshape(shape)[:, :, : config.hidden_size]
        return arrays

    def reset_carry(self):
        """Set the carry to zero."""
        self._h0[:] = 0
        self._c0[:] = 0

    def get_carry(self):
        """Return the carry as {"h": (L, B, H)}, with "c" for an LSTM; copies."""
        return {name: array.copy() for name, array in self._carry_arrays(self._h0, self._c0).items()}

    def set_carry(self, carry):
        """Set the carry from what get_carry gave. Raises ConfigError."""
        places = self._carry_arrays(self._h0, self._c0)
        if set(carry) != set(places):
            raise ConfigError(f"the carry must hold {sorted(places)}, got {sorted(carry)}")
        for name, place in places.items():
            if np.shape(carry[name]) != place.shape:
                raise ConfigError(f"the carry {name} must have shape {place.shape}, got {np.shape(carry[name])}")
        self.reset_carry()  # the padding too: after a chunk of NaN it is not zero
        for name, place in places.items():
            place[:] = carry[name]

    def carry_grads(self):
        """Return the gradient of the last loss_and_grads with respect to the carry that went in, like get_carry."""
        return {name: array.copy() for name, array in self._carry_arrays(self._DR, self._DC).items()}

    # Reading and holding units

    def states(self, name):
        """Return what the units were in the last chunk, (L, T, B, H): one of the cell's `readable`, copied; gates after activation.

        Raises ConfigError. Not after loss_and_grads: the gates have become their gradients.
        """
        config, layout = self.model.config, self.model.layout
        L, T, B, H, S = config.num_layers, self._steps, self.batch_size, config.hidden_size, layout.stride
        cell = CELLS[config.cell]
        if name not in cell.readable:
            raise ConfigError(f"a unit of this {config.cell} has {', '.join(cell.readable)}, got {name!r}")
        if name == "c" and self.training:
            raise ConfigError("a workspace for training does not keep its cell states: make one with training=False")
        if name in "hc":
            states = self._HS if name == "h" else self._CS
            return states[: L * (T + 1) * B * S].reshape(L, T + 1, B, S)[:, 1:, :, :H].copy()
        gates = self._G[: L * layout.panels * T * B * 4 * layout.lanes].reshape(L, layout.panels, T, B, 4, layout.lanes)
        gate = gates[:, :, :, :, cell.panel.index(name)]
        return gate.transpose(0, 2, 3, 1, 4).reshape(L, T, B, -1)[..., :H].copy()

    def set_clamps(self, clamps):
        """Hold units in every chunk from now on; () lets go of all. The carry that comes in is as it is.

        clamps    Clamps, each unit at most once. Raises ConfigError.
        """
        config = self.model.config
        rows, values = [], []
        for clamp in clamps:
            check_unit(config, clamp.layer, clamp.unit)
            value, tanh_value = clamp.value, clamp.value
            if not math.isfinite(value):
                raise ConfigError(f"a unit can be held at a finite value, got {value}")
            holdable = CELLS[config.cell].holdable
            if clamp.quantity not in holdable:
                raise ConfigError(
                    f"what can be held in a unit of this {config.cell} is {either(holdable)}, got {clamp.quantity!r}"
                )
            if clamp.quantity == "tanh-c":
                if abs(value) > 1:
                    raise ConfigError(
                        f"tanh(c) lies in -1..1, got {value:g} to hold unit {clamp.layer}:{clamp.unit} at"
                    )
                tanh_value = max(-LARGEST_TANH, min(LARGEST_TANH, value))
                value = math.atanh(tanh_value)
            elif clamp.quantity == "c":
                tanh_value = math.tanh(value)
            rows.append((clamp.layer, clamp.unit, chunk.CLAMP_H if clamp.quantity == "h" else chunk.CLAMP_C))
            values.append((value, tanh_value))
        if len({row[:2] for row in rows}) < len(rows):
            raise ConfigError("a unit can be held at one value only, got the same unit twice")
        self._clamps = np.array(rows, np.int64).reshape(-1)
        self._clamp_values = np.array(values, config.dtype).reshape(-1)
        self._table[chunk.NUM_CLAMPS], self._table[chunk.CLAMPS_AT] = len(rows), self._clamps.ctypes.data
        self._table[chunk.CLAMP_VALUES_AT] = self._clamp_values.ctypes.data

    # Running

    def _run(self, mode, x, y, dropout=None, step=0):
        model, B = self.model, self.batch_size
        T = self._take_ids(x, y)
        dtype = model.config.dtype
        workers = num_threads() if T * B * self.layout.size >= SHARED_PRODUCTS else 1
        training = mode == chunk.GRADIENTS
        shards = min(B, self.shards or (self._pace.shards(workers, B) if training else workers))
        block = self._block(shards, T)
        threshold, key, per_step = 0, 0, 1
        if dropout is not None and dropout.rate > 0:
            threshold, self._numbers[chunk.SCALE] = round(dropout.rate * 2**THRESHOLD_BITS), 1 / (1 - dropout.rate)
            per_step = 0 if dropout.variational else 1
        if dropout is not None:
            key = step_key(dropout.seed, step)
        self._table[chunk.ZONING] = (
            zoneout.OFF if model.config.zoneout == 0 else zoneout.EXPECTATION if dropout is None else zoneout.MASKS
        )
        self._hold(T, block, training, threshold > 0)
        table = self._table
        if training or self._pack > 1:
            derive = updates.transpose if self._pack == 1 else updates.narrow
            run_items(derive.address(dtype), self._transposition, self.layout.transposed_panels, workers, self._counter)
        table[chunk.STEPS : chunk.THRESHOLD + 1] = T, B, shards, block, mode, key, per_step, threshold
        self._steps = T
        run = (chunk.TRAIN if training else chunk.READ)[model.config.cell, self._pack]
        start = time.perf_counter()
        run_items(run.address(dtype), table, shards, workers, self._counter)
        if training:
            if workers > 1:
                self._pace.note((time.perf_counter() - start) / T)
            if self._pack > 1:
                run_items(
                    chunk.pair_gradients.address(dtype),
                    table,
                    chunk.count_pair_items(self.layout),
                    workers,
                    self._counter,
                )
            run_items(
                chunk.WEIGHT_GRADIENTS[self._pack].address(dtype),
                table,
                chunk.count_gradient_items(model.layout),
                workers,
                self._counter,
            )
            if model.config.tied:
                run_items(chunk.tied_gradients.address(dtype), table, model.layout.out_panels, workers, self._counter)
        return T

    @contextlib.contextmanager
    def _weights_dropped(self, rate, seed, step):
        """Drop recurrent weights while the body runs; then they are as they were, and the gradient is that of what was left."""
        table, layout, recurrent = self._connections, self.layout, self.layout.weights_h[0]
        self._hold_weights()
        workers = num_threads() if self._kept.size >= SHARED_WEIGHTS else 1
        self._weight_scale[0] = 1 / (1 - rate)
        for slot, value in (
            (dropconnect.HIDDEN, recurrent.rows),
            (dropconnect.PANELS, recurrent.panels),
            (dropconnect.GATES, recurrent.blocks),
            (dropconnect.UNITS, recurrent.units),
            (dropconnect.KEY, step_key(seed, step)),
            (dropconnect.THRESHOLD, round(rate * 2**THRESHOLD_BITS)),
            (dropconnect.NUMBERS_AT, self._weight_scale.ctypes.data),
            (dropconnect.LAYERS_AT, layout.layers.ctypes.data),
            (dropconnect.PARAMS_AT, self.model.flat.ctypes.data),
            (dropconnect.GRADS_AT, self.grads.ctypes.data),
            (dropconnect.KEPT_AT, self._kept.ctypes.data),
        ):
            table[slot] = value

        def run(items):
            run_items(
                items.address(self.model.config.dtype),
                table,
                layout.num_layers * recurrent.panels,
                workers,
                self._counter,
            )

        run(dropconnect.drop_weights)
        try:
            yield
        finally:
            run(dropconnect.restore_weights)

    def _hold_weights(self):
        """Hold the array that dropped weights are kept in."""
        size = sum(panels.size for panels in self.layout.weights_h)
        if self._kept.size < size:
            self._kept = aligned_zeros(size, self.model.config.dtype)

    def reserve(self, dropping=False, dropping_weights=False):
        """Take at once the memory that loss_and_grads of a whole chunk on one thread would take when it runs."""
        self._hold(self.seq_length, self._block(1, self.seq_length), True, dropping)
        if dropping_weights:
            self._hold_weights()

    def _block(self, shards, T):
        """Return how many steps a shard walks at a time."""
        return max(
            1, min(T, BLOCK_BYTES // (-(-self.batch_size // shards) * self.layout.stride * self.model.flat.itemsize))
        )

    def _hold(self, T, block, training, dropping):
        """Hold the arrays whose size depends on how a chunk is walked; kernels/chunk.py has their shapes."""
        layout, rows = self.layout, block * self.batch_size
        self._grow(chunk.XD_AT, dropping * layout.num_layers * T * self.batch_size * layout.stride)
        self._grow(chunk.DH_AT, training * rows * layout.stride)
        if self.model.config.zoneout > 0:
            self._grow(
                chunk.HG_AT,
                training * CELLS[layout.cell].reads_h * layout.num_layers * T * self.batch_size * layout.stride,
            )
            self._grow(chunk.DP_AT, training * 2 * self.batch_size * layout.stride)
        if self.training and CELLS[layout.cell].has_c:
            self._grow(chunk.CS_AT, (rows + self.batch_size) * layout.stride)
            self._grow(chunk.CK_AT, training * layout.num_layers * -(-T // block) * self.batch_size * layout.stride)
        if self._pack > 1:
            pairs = training * -(-T * self.batch_size // 2)
            self._grow(chunk.HW_AT, 2 * (rows + self.batch_size) * layout.stride_words)
            self._grow(chunk.XW_AT, rows * padded(layout.embedding_stride // 2, layout.lanes))
            self._grow(chunk.GW_AT, training * layout.panels * rows * 2 * layout.lanes)
            self._grow(
                chunk.ZW_AT,
                training * layout.out_panels * rows * padded(layout.out_width * layout.lanes // 2, layout.lanes),
            )
            self._grow(chunk.HP_AT, layout.num_layers * 2 * pairs * layout.stride)
            self._grow(chunk.XP_AT, pairs * layout.embedding_stride)

    def _grow(self, slot, size):
        """Give the table's slot an array of at least `size` zeros."""
        if slot not in self._grown or self._grown[slot].size < size:
            self._grown[slot] = aligned_zeros(size, self.model.config.dtype)
            self._table[slot] = self._grown[slot].ctypes.data

    def _take_ids(self, x, y):
        """Copy a chunk's ids to where the kernels read them; return its length. Raises ConfigError."""
        x = np.asarray(x)
        y = x if y is None else np.asarray(y)
        if x.ndim != 2 or x.shape[1] != self.batch_size or not 1 <= x.shape[0] <= self.seq_length or y.shape != x.shape:
            raise ConfigError(
                f"a chunk must be ids of shape (1..{self.seq_length}, {self.batch_size}), got {x.shape} and {y.shape}"
            )
        V = self.model.config.vocab_size
        for ids, place in ((x, self._ids), (y, self._targets)):
            if ids.dtype.kind not in "iub":
                raise ConfigError(f"ids must be integers, got {ids.dtype}")
            taken = place[: ids.size]
            taken.reshape(ids.shape)[:] = ids
            # Read as unsigned, what is negative is large: one pass finds both ends. Wider integers may not fit in 32 bits.
            if taken.view(np.uint32).max() >= V or ids.dtype != np.int32 and (ids.min() < 0 or ids.max() >= V):
                raise ConfigError(f"ids must be in 0..{V - 1}, got {ids.min()}..{ids.max()}")
        return len(x)

    def loss_and_grads(self, x, y, dropout=None, step=0):
        """Run a chunk forward and back; carry the state on.

        x, y       (T, B) integers, T <= seq_length: the characters read and the ones to predict
        dropout    a Dropout or None; step keys its masks. Of a model with zoneout, units keep their states by masks with a Dropout
                   (of rate 0 too), and in expectation with None
        Returns the mean loss in nats; the gradient of it is in `grads`. Raises ConfigError.
        """
        if self._clamps.size:
            raise ConfigError("units are held: a gradient would not know of it; let go by set_clamps(())")
        if not self.training:
            raise ConfigError("this workspace was made with training=False and holds no gradients")
        if dropout is not None and dropout.weight_rate > 0:
            with self._weights_dropped(dropout.weight_rate, dropout.seed, step):
                T = self._run(chunk.GRADIENTS, x, y, dropout, step)
        else:
            T = self._run(chunk.GRADIENTS, x, y, dropout, step)
        rows = T * self.batch_size
        return float(np.add.reduce(self._losses[:rows])) / rows

    def losses(self, x, y):
        """Run a chunk forward; carry the state on; return the loss of every character, (T, B) float64, nats."""
        self._run(chunk.LOSSES, x, y)
        return self.last_losses()

    def last_losses(self):
        """Return the loss of every character of the last chunk of losses or loss_and_grads, (T, B) float64, nats."""
        return self._losses[: self._steps * self.batch_size].reshape(self._steps, self.batch_size).copy()

    def logits(self, x):
        """Run a chunk forward; carry the state on; return the logits (T, B, V) of the model's dtype."""
        T = self._run(chunk.LOGITS, x, None)
        layout, R = self.model.layout, T * self.batch_size
        Z = self._Z[: layout.out_panels * R * layout.out_width * layout.lanes].reshape(layout.out_panels, R, -1)
        return Z.transpose(1, 0, 2).reshape(T, self.batch_size, -1)[:, :, : layout.vocab_size].copy()
