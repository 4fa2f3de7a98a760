"""What a model is: its cells and their gates, its configuration, and the names, shapes and number of its parameters.

Pure Python, without NumPy or Numba. All code that lists cells, gates, dtypes or the keys of a model reads this module,
from the panels of the kernels to the options of the command line. A new cell needs an entry in CELLS, a kernel of the
same name, and a naive oracle in the tests.

    V  vocabulary size      D  input size of a layer      H  hidden size      L  layers
    G  blocks of a cell's stored weights: lstm 4, gru 3, rnn 1
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from charrnn.errors import ConfigError

PANEL_VECTORS = 4  # of the workspace of a panel, for every cell
DTYPES = ("float32", "float64")
FORGET_BIAS = 1.0  # of a fresh cell with a forget gate (Jozefowicz et al. 2015)
PRECISIONS = ("float32", "bfloat16")  # what the operands of products are rounded to


# ------------------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True, eq=False, kw_only=True)
class Cell:
    """A recurrent cell: what its stored weights compute, and how the kernels arrange this. All else is derived.

    Stored weights are (G*H, K) in PyTorch's layout: G blocks of H rows. The kernels divide the units into panels. For
    the units of a panel they have a workspace of PANEL_VECTORS vectors. Each vector contains one sum, and later what
    the cell computes from it.

    name          as options and checkpoints write it
    title         as prose writes it
    blocks        what the G blocks compute, in PyTorch's order: gates, or the state itself for a cell without gates
    panel         what the vectors of a workspace contain. None is a vector of zeros, which makes both parts below as
                  wide as a tile of the kernels (3 to 5 vectors)
    x_part        the part of the panel that x Wx fills, beginning with the first vector
    h_part        the part of the panel that h Wh fills, its blocks in the order of `blocks`
    recurrent     {sum: block} for a block whose recurrent product is a separate sum with a separate bias: m of a gru is
                  h Wh_n + b_hn, and n = tanh(x Wx_n + b_in + r*m)
    sigmoids      the gates that are sigmoids, so that they can be shut and open
    states        what is carried from step to step; a cell with c computes h = o*tanh(c)
    forget_gate   the gate whose bias is initialised to FORGET_BIAS, or None
    reads_h       whether the backward pass needs h as the gates computed it (before zoneout)
    passes_h      whether h_prev also enters h directly, not only through Wh; the kernel writes that part of its
                  gradient
    unit_vectors  number of vectors of units for which each name in the panel stands
    torch_class   name of the class in torch.nn that computes the same, or None
    """

    name: str
    title: str
    blocks: tuple[str, ...]
    panel: tuple[str | None, ...]
    x_part: tuple[str | None, ...]
    h_part: tuple[str | None, ...]
    recurrent: dict[str, str] = field(default_factory=dict)
    sigmoids: tuple[str, ...] = ()
    states: tuple[str, ...] = ("h",)
    forget_gate: str | None = None
    reads_h: bool
    passes_h: bool
    unit_vectors: int = 1
    torch_class: str | None = None

    @property
    def has_c(self):
        """Whether the cell carries a cell state c in addition to h."""
        return "c" in self.states

    @property
    def gates(self):
        """The blocks that are gates, in PyTorch's order."""
        return tuple(name for name in self.blocks if name not in self.states)

    def rows(self, gate, hidden_size):
        """Return the slice of a gate's rows in the stored weights and biases."""
        at = self.blocks.index(gate) * hidden_size
        return slice(at, at + hidden_size)

    # What the kernels' layout needs. Columns and widths are in names of the panel: times unit_vectors, they are in
    # vectors.

    @property
    def x_blocks(self):
        """The index of the stored block in each place of a panel of Wx; None for a place of zeros."""
        return tuple(self._stored(name) for name in self.x_part)

    @property
    def h_blocks(self):
        """The index of the stored block in each place of a panel of Wh; None for a place of zeros."""
        return tuple(self._stored(name) for name in self.h_part)

    @property
    def h_column(self):
        """The place of the panel where h Wh begins."""
        return self.panel.index(self.h_part[0])

    @property
    def zeroed(self):
        """The places of the panel that x Wx does not fill. They are set to zero before h Wh is added."""
        return range(len(self.x_part), len(self.panel))

    @property
    def bias_blocks(self):
        """For each place of the panel, the indices of its blocks of bias_ih and bias_hh, which are added; or None."""
        return tuple(
            (self._stored(name) if name in self.x_part else None, self._stored(name) if name in self.h_part else None)
            for name in self.panel
        )

    @property
    def has_gates(self):
        """Whether the cell has gates."""
        return bool(self.gates)

    @property
    def sums(self):
        """The sums that have a bias (and, with layer normalisation, a gain), in the order of the stored gains."""
        return (*self.blocks, *self.recurrent)

    @property
    def gain_places(self):
        """The index of the stored gain in each place of the panel; None for a place of zeros."""
        return tuple(None if name is None else self.sums.index(name) for name in self.panel)

    def _stored(self, name):
        return None if name is None else self.blocks.index(self.recurrent.get(name, name))

    # What can be looked at and held in a unit.

    @property
    def readable(self):
        """The names that Workspace.states accepts: the states, then the gates (after activation)."""
        return (*self.states, *self.gates)

    @property
    def holdable(self):
        """The quantities of a unit that a Clamp can hold: h; or, with a cell state, also c and tanh-c."""
        return ("h", "c", "tanh-c") if self.has_c else ("h",)

    @property
    def quantities(self):
        """The quantities of a unit that `find_cells` can record over a text."""
        return ("tanh-c", *self.readable) if self.has_c else self.readable

    @property
    def default_quantity(self):
        """What `find_cells` records by default: tanh-c for an LSTM, as in arXiv 1506.02078; otherwise h."""
        return "tanh-c" if self.has_c else "h"


CELLS = {
    cell.name: cell
    for cell in (
        Cell(
            name="lstm",
            title="LSTM",
            blocks=("i", "f", "g", "o"),
            panel=("i", "f", "g", "o"),
            x_part=("i", "f", "g", "o"),
            h_part=("i", "f", "g", "o"),
            sigmoids=("i", "f", "o"),
            states=("h", "c"),
            forget_gate="f",
            reads_h=True,  # tanh(c) is h/o
            passes_h=False,
            torch_class="LSTM",
        ),
        Cell(
            name="gru",
            title="GRU",
            blocks=("r", "z", "n"),
            panel=("n", "r", "z", "m"),
            x_part=("n", "r", "z"),
            h_part=("r", "z", "m"),
            recurrent={"m": "n"},
            sigmoids=("r", "z"),
            reads_h=False,
            passes_h=True,  # h = (1-z)*n + z*h_prev
            torch_class="GRU",
        ),
        Cell(
            name="rnn",
            title="vanilla RNN",
            blocks=("h",),
            panel=("h",),
            x_part=("h",),
            h_part=("h",),
            reads_h=True,  # the derivative of tanh is 1 - h*h
            passes_h=False,
            unit_vectors=4,
            torch_class="RNN",
        ),
    )
}
QUANTITIES = tuple(dict.fromkeys(name for cell in CELLS.values() for name in cell.quantities))  # of any cell


# ------------------------------------------------------------------------------------------------- the configuration


@dataclass(frozen=True)
class OptionalKey:
    """A field of ModelConfig that a checkpoint stores only if its value is not the default. A file with such a field
    has format 2.

    default       the default value
    is_value      function: whether a value is allowed
    rule          what a value must be, in words, as the end of a sentence
    stored_rule   the same for a value in a file, where the default is left out
    """

    default: object
    is_value: Callable[[object], bool]
    rule: str
    stored_rule: str

    def is_stored_value(self, value):
        """Return whether a value is allowed in a file."""
        return self.is_value(value) and value != self.default


def _optional(default, is_value, rule, stored_rule):
    return field(default=default, metadata={"optional": OptionalKey(default, is_value, rule, stored_rule)})


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model.

    Attributes
    ----------
    cell : {"lstm", "gru", "rnn"}
        The recurrent cell.
    vocab_size : int
        V, number of symbols in the vocabulary, at least 1.
    hidden_size : int
        H, number of units in each layer, at least 1.
    num_layers : int
        L, number of recurrent layers, at least 1.
    embedding_size : int
        Size of the vector that stands for each input character; 0 means one-hot vectors of size V.
    tied : bool
        Use the embedding matrix as the weights of the output layer too. Needs embedding_size == hidden_size.
    dtype : {"float32", "float64"}
        Type of the parameters and of all computations.
    zoneout : float
        Probability P, 0 <= P < 1, with which a unit keeps its previous h at a training step; likewise its c (Krueger et
        al. 2017, arXiv 1606.01305). Outside training, the expected value P * previous + (1 - P) * new is used.
    layer_norm : bool
        Normalise the sum of each gate over the units of a layer (Ba et al. 2016, arXiv 1607.06450).

    Raises
    ------
    ConfigError
        A value is not allowed, or `tied` does not fit the sizes.

    Examples
    --------
    >>> import charrnn
    >>> config = charrnn.ModelConfig("gru", vocab_size=65, hidden_size=128, num_layers=2)
    >>> charrnn.Model.initialise(config, seed=1)
    <Model gru 128 x 2, 65 characters, 181,825 parameters>
    """

    cell: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    embedding_size: int = 0
    tied: bool = False
    dtype: str = "float32"
    zoneout: float = _optional(
        0.0,
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1,
        "a number of at least 0 and below 1",
        "a number above 0 and below 1, or left out",
    )
    layer_norm: bool = _optional(False, lambda value: isinstance(value, bool), "true or false", "true, or left out")

    def __post_init__(self):
        if not isinstance(self.cell, str) or self.cell not in CELLS:
            raise ConfigError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        for name, least in (("vocab_size", 1), ("hidden_size", 1), ("num_layers", 1), ("embedding_size", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
        for name, key in OPTIONAL_KEYS.items():
            if not key.is_value(getattr(self, name)):
                raise ConfigError(f"{name} must be {key.rule}, got {getattr(self, name)!r}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise ConfigError(
                f"tied weights need embedding_size equal to hidden_size ({self.hidden_size}), got "
                f"{self.embedding_size}: set embedding_size to {self.hidden_size}, or tied to false"
            )

    def to_dict(self):
        """Return {field: value} as a checkpoint stores it.

        `vocab_size` is left out, because the checkpoint contains the vocabulary; `zoneout` and `layer_norm` are left
        out if they have their default values.
        """
        stored = {name: getattr(self, name) for name in (*STORED_KEYS, *OPTIONAL_KEYS)}
        return {
            name: value
            for name, value in stored.items()
            if name not in OPTIONAL_KEYS or value != OPTIONAL_KEYS[name].default
        }


# The keys of a checkpoint's `model`, which is a ModelConfig but for vocab_size: those that every file has, and the
# others.
OPTIONAL_KEYS = {
    each.name: each.metadata["optional"] for each in dataclasses.fields(ModelConfig) if "optional" in each.metadata
}
STORED_KEYS = tuple(
    each.name
    for each in dataclasses.fields(ModelConfig)
    if each.name != "vocab_size" and each.name not in OPTIONAL_KEYS
)


# --------------------------------------------------------------------------------------------------- the parameters


def parameter_shapes(config):
    """Return {name: shape} of all parameters of a model, with PyTorch's names, layout and order.

    config : ModelConfig
    """
    cell, H, V, E = CELLS[config.cell], config.hidden_size, config.vocab_size, config.embedding_size
    rows = len(cell.blocks) * H
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (V, E)} if E else {}
    for layer in range(config.num_layers):
        D = H if layer else E or V
        shapes[f"rnn.weight_ih_l{layer}"] = (rows, D)
        shapes[f"rnn.weight_hh_l{layer}"] = (rows, H)
        shapes[f"rnn.bias_ih_l{layer}"] = (rows,)
        shapes[f"rnn.bias_hh_l{layer}"] = (rows,)
        if config.layer_norm:
            shapes[f"rnn.norm_gain_l{layer}"] = (len(cell.sums) * H,)
    if not config.tied:
        shapes["output.weight"] = (V, H)
    shapes["output.bias"] = (V,)
    return shapes


def num_parameters(config):
    """Return the number of trained parameters. Two stored biases of which only the sum matters count as one.

    config : ModelConfig
    """
    cell = CELLS[config.cell]
    stored = sum(map(math.prod, parameter_shapes(config).values()))
    return stored - config.num_layers * config.hidden_size * (2 * len(cell.blocks) - len(cell.sums))


def largest_parameter(config):
    """Return the size of the largest stored array of parameters. Writing a checkpoint unpacks one array at a time.

    config : ModelConfig
    """
    return max(map(math.prod, parameter_shapes(config).values()))
