"""The parameters of a model: the numbers that are trained, in one flat array and by their PyTorch names.

This module knows neither files nor batches; workspace.py runs a model.
"""

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from charrnn.errors import ConfigError, check_integer, is_number
from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.layout import Layout
from charrnn.model.buffers import aligned_zeros, as_array
from charrnn.render.notebook import html_table
from charrnn.spec import CELLS, FORGET_BIAS, ModelConfig
from charrnn.text.tasks import ItemRule, stored_task
from charrnn.text.vocabulary import Vocabulary

# The output's bias of what is never predicted: its probability is 0, so no gradient ever moves it, and it costs the
# others nothing.
NEVER = -1e4


def uniform_bound(config):
    """Return the bound of the uniform initialisation, 1/sqrt(hidden_size), as in PyTorch's recurrent layers."""
    return 1 / math.sqrt(config.hidden_size)


class Model:
    """The parameters of a recurrent language model, with its vocabulary and the record of its training.

    `charrnn.load` returns a trained model, `Model.initialise` a new one. `Model(config)` has parameters of zero.

    Parameters
    ----------
    config : ModelConfig
        The architecture.
    rule : ItemRule, optional
        For a model of items (see Attributes).

    Attributes
    ----------
    config : ModelConfig
        The architecture.
    flat : ndarray (N,), config.dtype
        All parameters, in the order in which the kernels read them, with padding (N is at least `num_parameters`). An
        optimiser updates it in place. `get_parameters` returns the same numbers by name.
    vocabulary : Vocabulary
        The symbols of the model's ids.
    training : dict
        The record of the training run, as stored in the checkpoint; empty for a model that was not loaded.
    path : Path or None
        The file that the model was loaded from.
    rule : ItemRule or None
        For a model that was trained on separate items rather than on one long text: which symbols of an item it
        predicts. None for a model of one long text.
    start_id : int or None
        For a model of items: the id of START, which begins an item; the state is zero before it is read.
    unknown_id : int or None
        Id that stands for all characters the model does not know; it is never drawn. None if there is no such id.
    """

    def __init__(self, config, rule=None):
        if not isinstance(config, ModelConfig):
            raise ConfigError(f"config must be a ModelConfig, got {config!r}")
        self.config = config
        self.unknown_id: int | None = None
        self.rule: ItemRule | None = rule
        self.start_id: int | None = None if rule is None else rule.start_id
        self._vocabulary: Vocabulary | None = None
        self.training: dict = {}
        self.path: Path | None = None
        self.layout = self.new_layout()
        fill_tiles(self.layout.plan.words, self.layout.forward_widths, (), config.dtype)
        self.flat = aligned_zeros(self.layout.size, config.dtype)

    def new_layout(self, pack=1):
        """Return a Layout, the order of the parameters in `flat`; `pack` is 2 for products of bfloat16, otherwise 1."""
        return Layout(self.config, pack)

    @classmethod
    def initialise(cls, config, seed, forget_bias=FORGET_BIAS, rule=None):
        """Return a model with random initial parameters.

        Weights and input biases (bias_ih) of the recurrent layers are uniform in -1/sqrt(H) .. 1/sqrt(H); recurrent
        biases (bias_hh) are 0 and gains of layer normalisation 1. Output weights are uniform in the same range, with
        biases 0. Embeddings are normal with standard deviation 1, or 1/sqrt(H) if they are tied to the output weights.

        Parameters
        ----------
        config : ModelConfig
            The architecture.
        seed : int
            At least 0. The same seed gives the same parameters in both dtypes, up to rounding.
        forget_bias : float
            Initial bias of the forget gates of an LSTM (default 1: Jozefowicz et al. 2015).
        rule : ItemRule, optional
            For a model of items: the output biases of symbols that are never predicted are set to -10,000.

        Returns
        -------
        Model
            It has no vocabulary yet; set its `vocabulary` before you sample from it.

        Raises
        ------
        ConfigError
            `seed` or `forget_bias` is not allowed.
        """
        check_integer("seed", seed, 0)
        if not is_number(forget_bias) or not math.isfinite(forget_bias):
            raise ConfigError(f"forget_bias must be a finite number, got {forget_bias!r}", ["forget_bias"])
        model = cls(config, rule)
        bound, forget_gate = uniform_bound(config), CELLS[config.cell].forget_gate
        arrays = {}
        for name, shape in model.shapes().items():
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *name.encode()])))
            if name == "embedding.weight":
                arrays[name] = rng.standard_normal(shape) * (bound if config.tied else 1)
            elif name == "output.bias" or name.startswith("rnn.bias_hh"):
                arrays[name] = np.zeros(shape)
                if rule is not None and name == "output.bias":
                    arrays[name][rule.never()] = NEVER
            elif name.startswith("rnn.norm_gain"):
                arrays[name] = np.ones(shape)
            else:
                arrays[name] = rng.uniform(-bound, bound, shape)
            if name.startswith("rnn.bias_ih") and forget_gate:
                arrays[name][CELLS[config.cell].rows(forget_gate, config.hidden_size)] = forget_bias
        model.set_parameters(arrays)
        return model

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """Return the model of a checkpoint that was read by charrnn.runs.checkpoint.load_checkpoint.

        `charrnn.load` does both, and sets `path` too.
        """
        config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
        model = cls(config, ItemRule.of(checkpoint.vocabulary, stored_task(checkpoint.training)))
        model.set_parameters(checkpoint.parameters)
        model.vocabulary, model.training = checkpoint.vocabulary, checkpoint.training
        model.unknown_id = checkpoint.vocabulary.unknown_id
        return model

    @property
    def vocabulary(self) -> Vocabulary:
        """The Vocabulary of the model's ids. Raises ConfigError if it was never set."""
        if self._vocabulary is None:
            raise ConfigError("the model has no vocabulary: load it with charrnn.load, or set its .vocabulary")
        return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary):
        size = self.config.vocab_size
        if not isinstance(vocabulary, Vocabulary) or vocabulary.size != size:
            raise ConfigError(f"vocabulary must be a Vocabulary of {size} symbols, got {vocabulary!r}")
        self._vocabulary = vocabulary

    def __repr__(self):
        config = self.config
        return (
            f"<Model {config.cell} {config.hidden_size} x {config.num_layers}, {config.vocab_size} characters, "
            f"{self.num_parameters:,} parameters>"
        )

    def _repr_html_(self):
        """Return an HTML table for a notebook: the architecture of the model and how it was trained."""
        config = self.config
        rows = [
            ("cell", f"{CELLS[config.cell].title}, {config.num_layers} x {config.hidden_size} units"),
            ("parameters", f"{self.num_parameters:,}"),
            ("vocabulary", f"{config.vocab_size:,} symbols"),
            ("input", f"embedding of {config.embedding_size}" if config.embedding_size else "one-hot characters"),
            ("layer normalisation", "yes" if config.layer_norm else "no"),
        ]
        if self._vocabulary is not None and self._vocabulary.rewriting:
            rows.append(("texts are read with", str(self._vocabulary.rewriting)))
        step, best = self.training.get("step"), self.training.get("best")
        if isinstance(step, int):
            rows.append(("trained", f"{step:,} steps"))
        if isinstance(best, dict) and isinstance(best.get("val_loss_nats"), float):
            rows.append(("validation loss", f"{best['val_loss_nats']:.4f} nats per character"))
        return html_table(rows, caption=str(self.path or "a model"))

    @property
    def num_parameters(self):
        """Number of trained parameters. A gate's two biases (bias_ih, bias_hh) count once: only their sum matters."""
        return self.layout.num_parameters()

    def shapes(self):
        """Return {name: shape} of all parameters, with PyTorch's names, such as "rnn.weight_hh_l0"."""
        return self.layout.shapes()

    def get_parameters(self):
        """Return {name: ndarray} of all parameters, with the names of `shapes`; copies, of config.dtype."""
        return self.unpack(self.flat)

    def set_parameters(self, arrays):
        """Set all parameters from {name: array}. Raises ConfigError if names or shapes are not those of `shapes`."""
        self.flat[:] = self.pack(arrays)

    def for_drawing(self):
        """Return a model that never draws the unknown symbol: this model, or a copy if it has such a symbol."""
        if self.unknown_id is None:
            return self
        model = Model(self.config, self.rule)
        model._vocabulary, model.training, model.path = self._vocabulary, self.training, self.path
        arrays = self.get_parameters()
        arrays["output.bias"][self.unknown_id] = NEVER
        model.set_parameters(arrays)
        return model

    def pack(self, arrays):
        """Return {name: array} as one array (N,), ordered like `flat`. Raises ConfigError as `set_parameters` does."""
        shapes = self.shapes()
        if not isinstance(arrays, Mapping):
            raise ConfigError(f"parameters must be a mapping {{name: array}}, got {type(arrays).__name__}")
        if set(arrays) != set(shapes):
            missing, unknown = sorted(set(shapes) - set(arrays)), sorted(set(arrays) - set(shapes))
            raise ConfigError(f"parameters do not fit the model: missing {missing}, unknown {unknown}")
        for name, shape in shapes.items():
            given = as_array(f"parameter {name}", arrays[name])
            if given.shape != shape:
                raise ConfigError(f"parameter {name} must have shape {shape}, got {given.shape}")
        flat = aligned_zeros(self.layout.size, self.config.dtype)
        dtype = self.config.dtype
        self.layout.pack({name: as_array(f"parameter {name}", arrays[name], dtype) for name in shapes}, flat)
        return flat

    def unpack(self, flat):
        """Return an array (N,) ordered like `flat`, such as Workspace.grads, as {name: ndarray}; copies.

        Raises ConfigError for another shape.
        """
        self._check_flat(flat)
        return self.layout.unpack(flat)

    def view(self, flat):
        """Return an array (N,) ordered like `flat` as a mapping {name: ndarray}; an array is copied when it is read.

        Raises ConfigError for another shape.
        """
        self._check_flat(flat)
        return NamedArrays(self.layout, flat)

    def _check_flat(self, flat):
        if np.shape(flat) != self.flat.shape:
            raise ConfigError(f"a flat array of this model must have shape {self.flat.shape}, got {np.shape(flat)}")


def places_of_never(model):
    """Return the places in `model.flat` of the output biases that are NEVER."""
    if model.rule is None:
        return np.empty(0, np.int64)
    marks = {name: np.zeros(shape) for name, shape in model.shapes().items()}
    marks["output.bias"][model.rule.never()] = 1
    return np.flatnonzero(model.pack(marks))


class NamedArrays(Mapping):
    """A mapping {name: ndarray} of a flat array of parameters. Each access returns a new copy, so memory stays low."""

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


def check_model(model):
    """Raise ConfigError unless an argument is a Model."""
    if not isinstance(model, Model):
        name = repr(str(model)) if isinstance(model, (str, PathLike)) else "path"
        raise ConfigError(f"model must be a Model, got {model!r}: load one with charrnn.load({name})")
