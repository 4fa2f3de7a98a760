"""A model: its configuration, its parameters by name, and the workspace that runs it over chunks of one batch shape.

Model holds the numbers that are trained; Workspace holds everything that one batch shape needs beside them: states, gates,
gradients, and the carry from chunk to chunk. Neither knows a file, a character or an option of the command line.
"""
import math
from dataclasses import asdict, dataclass

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels import chunk
from charrnn.kernels.dropout import THRESHOLD_BITS, step_key
from charrnn.kernels.layout import Layout
from charrnn.kernels.threads import num_threads
from charrnn.kernels.tile import tile_addresses
from charrnn.kernels.updates import rebuild_transposes

CELL_NAMES = ("lstm", "gru", "rnn")
DTYPES = ("float32", "float64")
BLOCK_BYTES = 384 * 1024  # states of one layer that a shard keeps warm while it walks a block of steps
_RUN = {"lstm": chunk.lstm_chunk, "gru": chunk.gru_chunk, "rnn": chunk.rnn_chunk}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. embedding_size 0 means one-hot characters; tied needs embedding_size == hidden_size."""

    cell: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    embedding_size: int = 0
    tied: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        if self.cell not in CELL_NAMES:
            raise ConfigError(f"cell must be one of {', '.join(CELL_NAMES)}, got {self.cell!r}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        for name, least in (("vocab_size", 1), ("hidden_size", 1), ("num_layers", 1), ("embedding_size", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise ConfigError(f"tied weights need embedding_size equal to hidden_size ({self.hidden_size}), got "
                              f"{self.embedding_size}: set --embedding-size {self.hidden_size} or drop --tie-weights")

    def to_dict(self):
        """Return the fields but vocab_size, as checkpoints store them."""
        fields = asdict(self)
        del fields["vocab_size"]
        return fields


@dataclass(frozen=True)
class Dropout:
    """Dropout in depth: on what each layer gives upward, never along time. variational: one mask a stream and chunk."""

    rate: float
    variational: bool = False
    seed: int = 0


def aligned_zeros(size, dtype, alignment=64):
    """Return a zeroed 1-D array whose first element sits on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start:start + size * dtype.itemsize].view(dtype)


def uniform_bound(config):
    """Return the bound of the uniform initialisation, 1/sqrt(hidden_size), as PyTorch's recurrent layers have it."""
    return 1 / math.sqrt(config.hidden_size)


class Model:
    """The parameters of a recurrent language model.

    flat   (N,) of config.dtype: every parameter, in panels (kernels/layout.py); Optimizer updates it in place. Whoever
           else writes to it calls parameters_changed() afterwards.
    """

    def __init__(self, config):
        self.config = config
        self.layout = Layout(config.cell, config.vocab_size, config.hidden_size, config.num_layers, config.embedding_size,
                             config.tied, config.dtype)
        self.layout.plan[:4] = tile_addresses(config.dtype)
        self.flat = aligned_zeros(self.layout.size, config.dtype)
        self.derived = aligned_zeros(self.layout.derived_size, config.dtype)
        self.derived_is_current = False
        self._counter = np.zeros(8, np.int64)

    @classmethod
    def initialise(cls, config, seed):
        """Return a model with fresh parameters.

        Weights and biases of the recurrent layers are uniform in +-1/sqrt(H), the LSTM's forget biases 1 (Jozefowicz et al.
        2015); the output layer is uniform in +-1/sqrt(H) with zero bias, embeddings are normal with deviation 1 (tied:
        1/sqrt(H)). The same seed gives the same parameters in either dtype, up to rounding.
        """
        model = cls(config)
        bound, H = uniform_bound(config), config.hidden_size
        arrays = {}
        for name, shape in model.shapes().items():
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *name.encode()])))
            if name == "embedding.weight":
                arrays[name] = rng.standard_normal(shape) * (bound if config.tied else 1)
            elif name == "output.bias" or name.startswith("rnn.bias_hh"):
                arrays[name] = np.zeros(shape)
            else:
                arrays[name] = rng.uniform(-bound, bound, shape)
            if name.startswith("rnn.bias_ih") and config.cell == "lstm":
                arrays[name][H:2 * H] = 1
        model.set_parameters(arrays)
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
        self.parameters_changed()

    def parameters_changed(self):
        """Say that `flat` was written: what is derived from it is rebuilt before the next use."""
        self.derived_is_current = False

    def refresh(self):
        """Rebuild the transposed weights if the parameters have changed."""
        if not self.derived_is_current:
            rebuild_transposes(self.layout.transposes, self.flat, self.derived, self._counter, num_threads())
            self.derived_is_current = True

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


class Workspace:
    """Runs a model over chunks of at most seq_length steps of batch_size streams, and keeps the carry between them.

    model        a Model; its parameters are read at every call, so updates are seen
    training     False leaves out what only gradients need
    grads        (N,) the gradient of the last loss_and_grads, in the layout of model.flat
    """

    def __init__(self, model, batch_size, seq_length, training=True):
        for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self.model, self.batch_size, self.seq_length, self.training = model, batch_size, seq_length, training
        layout, dtype = model.layout, model.config.dtype
        self._sizes = self.sizes(layout, batch_size, seq_length, training)
        for name, size in self._sizes.items():
            setattr(self, name, aligned_zeros(size, dtype))
        self._losses = np.zeros(batch_size * seq_length)
        self._counter = np.zeros(8, np.int64)
        self._dropped = aligned_zeros(0, dtype)
        self._row_bytes = layout.stride * np.dtype(dtype).itemsize
        self._T = 0

    @staticmethod
    def sizes(layout, batch_size, seq_length, training):
        """Return {buffer: numbers}; sum them for the memory a workspace takes."""
        B, T, L, S = batch_size, seq_length, layout.num_layers, layout.stride
        R = B * T
        return {
            "grads": layout.size if training else 0,
            "_h0": L * B * S, "_c0": L * B * S,
            "_HS": L * (T + 1) * B * S,
            "_CS": L * (T + 1) * B * S,
            "_G": L * layout.panels * R * 4 * layout.lanes,
            "_X0": R * layout.embedding_stride,
            "_Z": layout.out_panels * R * layout.out_width * layout.lanes,
            "_DX0": R * layout.embedding_stride if training else 0,
            "_DH": R * S if training else 0,
            "_DR": L * B * S if training else 0,
            "_DC": L * B * S if training else 0,
            "_DE": layout.vocab_size * layout.embedding_stride if training and layout.tied else 0,
        }

    def parameters_changed(self):
        """Say that model.flat was written by other hands than an Optimizer's."""
        self.model.parameters_changed()

    # The carry

    def _carry_arrays(self, h, c):
        config, S = self.model.config, self.model.layout.stride
        shape = config.num_layers, self.batch_size, S
        arrays = {"h": h.reshape(shape)[:, :, :config.hidden_size]}
        if config.cell == "lstm":
            arrays["c"] = c.reshape(shape)[:, :, :config.hidden_size]
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
            place[:] = carry[name]

    def carry_grads(self):
        """Return the gradient of the last loss_and_grads with respect to the carry that went in, like get_carry."""
        return {name: array.copy() for name, array in self._carry_arrays(self._DR, self._DC).items()}

    # Running

    def _run(self, mode, x, y, dropout=None, step=0):
        model, B = self.model, self.batch_size
        x = np.ascontiguousarray(x, np.int32)
        y = x if y is None else np.ascontiguousarray(y, np.int32)
        V = model.config.vocab_size
        if x.ndim != 2 or x.shape[1] != B or not 1 <= x.shape[0] <= self.seq_length or y.shape != x.shape:
            raise ConfigError(f"a chunk must be ids of shape (1..{self.seq_length}, {B}), got {x.shape} and {y.shape}")
        if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) >= V:
            raise ConfigError(f"ids must be in 0..{V - 1}, got {min(x.min(), y.min())}..{max(x.max(), y.max())}")
        T = x.shape[0]
        threshold, scale, key, per_step = 0, 1.0, step_key(0, 0), 1
        if dropout is not None and dropout.rate > 0:
            threshold, scale = round(dropout.rate * 2**THRESHOLD_BITS), 1 / (1 - dropout.rate)
            key, per_step = step_key(dropout.seed, step), 0 if dropout.variational else 1
            if not self._dropped.size:
                layout = model.layout
                self._dropped = aligned_zeros(layout.num_layers * self.seq_length * B * layout.stride, model.config.dtype)
        model.refresh()
        workers = num_threads()
        shards = min(workers, B)
        block = max(1, min(T, BLOCK_BYTES // (-(-B // shards) * self._row_bytes)))
        plan = model.layout.plan
        _RUN[model.config.cell](
            plan, model.layout.layers, model.flat, model.derived, self.grads, x.reshape(-1), y.reshape(-1), self._h0, self._c0,
            self._HS, self._CS, self._dropped, self._X0, self._DX0, self._G, self._Z, self._DH, self._DR, self._DC,
            self._losses, self._counter, T, B, shards, min(workers, shards), block, mode, key, per_step, threshold, scale)
        if mode == chunk.GRADIENTS:
            chunk.weight_gradients(
                plan, model.layout.layers, x.reshape(-1), self._HS, self._dropped, self._X0, self._DX0, self._G, self._Z,
                self.grads, self._DE, self._counter, T, B, workers, threshold > 0)
        self._T = T
        return T

    def loss_and_grads(self, x, y, dropout=None, step=0):
        """Run a chunk forward and back; carry the state on.

        x, y       (T, B) integers, T <= seq_length: the characters read and the ones to predict
        dropout    a Dropout or None; step keys its masks
        Returns the mean loss in nats; the gradient of it is in `grads`. Raises ConfigError.
        """
        if not self.training:
            raise ConfigError("this workspace was made with training=False and holds no gradients")
        T = self._run(chunk.GRADIENTS, x, y, dropout, step)
        return float(self._losses[:T * self.batch_size].mean())

    def losses(self, x, y):
        """Run a chunk forward; carry the state on; return the loss of every character, (T, B) float64, nats."""
        T = self._run(chunk.LOSSES, x, y)
        return self._losses[:T * self.batch_size].reshape(T, self.batch_size).copy()

    def logits(self, x):
        """Run a chunk forward; carry the state on; return the logits (T, B, V) of the model's dtype."""
        T = self._run(chunk.LOGITS, x, None)
        layout, R = self.model.layout, T * self.batch_size
        Z = self._Z[:layout.out_panels * R * layout.out_width * layout.lanes].reshape(layout.out_panels, R, -1)
        return Z.transpose(1, 0, 2).reshape(T, self.batch_size, -1)[:, :, :layout.vocab_size].copy()
