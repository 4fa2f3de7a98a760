"""The parameters of a model: the numbers that are trained, in one flat array and by their PyTorch names.

Knows neither a file nor a batch: what runs a model is workspace.py.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.layout import Layout
from charrnn.model.buffers import aligned_zeros
from charrnn.render.notebook import html_table
from charrnn.spec import CELLS, FORGET_BIAS, ModelConfig
from charrnn.text.tasks import ItemRule, stored_task
from charrnn.text.vocabulary import Vocabulary

# The output's bias of what is never predicted: its probability is 0, so no gradient ever moves it, and it costs the
# others nothing.
NEVER = -1e4


def uniform_bound(config):
    """Return the bound of the uniform initialisation, 1/sqrt(hidden_size), as PyTorch's recurrent layers have it."""
    return 1 / math.sqrt(config.hidden_size)


class Model:
    """The parameters of a recurrent language model.

    flat        (N,) of config.dtype: every parameter, in panels (kernels/layout.py); Optimizer updates it in place
    vocabulary  the Vocabulary of its ids; ConfigError where it was given none
    training    the record of the run that it is from, as its checkpoint has it; empty where it is of none
    path        the file that it was loaded from, or None
    rule        of a model of items, the ItemRule of what counts: what never does is never predicted; None of a model of
                one long text
    start_id    of a model of items, the id that begins one: the state is zero before it is read
    unknown_id  the id that all characters have which it does not know, and which is never drawn; None where it has none
    """

    def __init__(self, config, rule=None):
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
        """Return the layout of the parameters, with the tables for operands of `pack` numbers a word."""
        return Layout(self.config, pack)

    @classmethod
    def initialise(cls, config, seed, forget_bias=FORGET_BIAS, rule=None):
        """Return a model with fresh parameters.

        Weights and biases of the recurrent layers are uniform in +-1/sqrt(H), the LSTM's forget biases `forget_bias`
        (1: Jozefowicz et al. 2015), gains 1; the output layer is uniform in +-1/sqrt(H) with zero bias, embeddings are
        normal with deviation 1 (tied: 1/sqrt(H)). The same seed gives the same parameters in either dtype, up to
        rounding. The output's biases of what the rule never counts are NEVER.
        """
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
        """Return the model of a Checkpoint (runs/checkpoint/)."""
        config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
        model = cls(config, ItemRule.of(checkpoint.vocabulary, stored_task(checkpoint.training)))
        model.set_parameters(checkpoint.parameters)
        model.vocabulary, model.training = checkpoint.vocabulary, checkpoint.training
        model.unknown_id = checkpoint.vocabulary.unknown_id
        return model

    @property
    def vocabulary(self) -> Vocabulary:
        """The Vocabulary of the model's ids. Raises ConfigError where the model was given none."""
        if self._vocabulary is None:
            raise ConfigError("the model has no vocabulary: load it with charrnn.load, or set its .vocabulary")
        return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary

    def __repr__(self):
        config = self.config
        return (
            f"<Model {config.cell} {config.hidden_size} x {config.num_layers}, {config.vocab_size} characters, "
            f"{self.num_parameters:,} parameters>"
        )

    def _repr_html_(self):
        """Show a notebook what the model is and how it was trained."""
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

    def for_drawing(self):
        """Return the model to draw from: itself, or a copy that never predicts the unknown symbol."""
        if self.unknown_id is None:
            return self
        model = Model(self.config, self.rule)
        model._vocabulary, model.training, model.path = self._vocabulary, self.training, self.path
        arrays = self.get_parameters()
        arrays["output.bias"][self.unknown_id] = NEVER
        model.set_parameters(arrays)
        return model

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
        """Return a flat array of this layout as {PyTorch name: array}; each is made when it is asked for."""
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
