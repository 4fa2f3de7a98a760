"""What a model is: its cells and their gates, its configuration, and the names, shapes and number of its parameters.

Pure Python, without NumPy or Numba: everything that lists cells, gates, dtypes or the keys of a model reads this
module, from the kernels' panels to the options of the command line. A new cell is an entry of CELLS, a kernel of its
name and an oracle in the tests.

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
    """A recurrent cell: what its stored weights make, and how the kernels lay that out. Everything else about it is
    derived.

    Stored weights are (G*H, K) in PyTorch's layout, G blocks of H rows. The kernels cut the units into panels. For the
    units of a panel they hold a workspace of PANEL_VECTORS vectors, each of which holds one sum, then what the cell
    makes of it.

    title         as prose writes it
    blocks        what the G blocks make, in PyTorch's order: gates, or the state itself for a cell without gates
    panel         what the vectors of a workspace hold. None: a vector left at zero, which makes both parts below as
                  wide as a tile of the kernels (3 to 5 vectors)
    x_part        the run of the panel that x Wx fills, from its first vector on
    h_part        the run of the panel that h Wh fills, its blocks in the order of `blocks`
    recurrent     {sum: block} for a block whose recurrent product is a sum of its own, with a bias of its own: m of a
                  gru is h Wh_n + b_hn, and n = tanh(x Wx_n + b_in + r*m)
    sigmoids      which gates are sigmoids, and so can be shut and open
    states        what is carried from step to step. A cell with c makes h = o*tanh(c)
    forget_gate   the gate whose bias begins at FORGET_BIAS, or None
    reads_h       whether the way back reads h as the gates made it (zoneout may have changed it since)
    passes_h      whether h_prev enters h directly too, beside its product with Wh; the kernel leaves that part of its
                  gradient
    unit_vectors  vectors of units that each of the panel's names stands for
    torch_class   the class of torch.nn that computes the same, or None
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
        """Whether the cell carries c beside h."""
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
        """Which stored block stands in each place of a panel of Wx; None for a place of zeros."""
        return tuple(self._stored(name) for name in self.x_part)

    @property
    def h_blocks(self):
        """Which stored block stands in each place of a panel of Wh; None for a place of zeros."""
        return tuple(self._stored(name) for name in self.h_part)

    @property
    def h_column(self):
        """Where in the panel h Wh begins."""
        return self.panel.index(self.h_part[0])

    @property
    def zeroed(self):
        """The places of the panel that x Wx does not fill: they are set to zero before h Wh is added."""
        return range(len(self.x_part), len(self.panel))

    @property
    def bias_blocks(self):
        """For each place of the panel its blocks of bias_ih and of bias_hh, which are summed; None: not of that one."""
        return tuple(
            (self._stored(name) if name in self.x_part else None, self._stored(name) if name in self.h_part else None)
            for name in self.panel
        )

    @property
    def has_gates(self):
        """Whether anything but the recurrent matrix alone decides what a state becomes."""
        return bool(self.gates)

    @property
    def sums(self):
        """The sums that have a bias and with layer normalisation a gain, in the order in which gains are stored."""
        return (*self.blocks, *self.recurrent)

    @property
    def gain_places(self):
        """Which of the stored gains stands in each place of the panel; None for a place of zeros."""
        return tuple(None if name is None else self.sums.index(name) for name in self.panel)

    def _stored(self, name):
        return None if name is None else self.blocks.index(self.recurrent.get(name, name))

    # What can be looked at and held in a unit.

    @property
    def readable(self):
        """What a workspace can tell of its units: the states, then the gates after activation."""
        return (*self.states, *self.gates)

    @property
    def holdable(self):
        """What can be held in a unit: h, or c and with it h = o*tanh(c)."""
        return ("h", "c", "tanh-c") if self.has_c else ("h",)

    @property
    def quantities(self):
        """What can be recorded of a unit over a text."""
        return ("tanh-c", *self.readable) if self.has_c else self.readable

    @property
    def default_quantity(self):
        """What a unit is looked at by: tanh-c of an LSTM, as in arXiv 1506.02078; h otherwise."""
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
    """A field of ModelConfig that a checkpoint names only where its value is not the default; a file with one is of
    format 2.

    is_value      tells whether a value keeps the rule
    rule          what a value must be, as a sentence ends
    stored_rule   likewise of a value in a file, where the default is left out
    """

    default: object
    is_value: Callable[[object], bool]
    rule: str
    stored_rule: str

    def is_stored_value(self, value):
        """Tell whether a value may stand in a file."""
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
        if self.cell not in CELLS:
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
    """Return {name: shape} of a model's parameters, in PyTorch's names, layout and order.

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
    """Count the numbers that are trained. Of a sum's two stored biases only their sum acts: it counts once.

    config : ModelConfig
    """
    cell = CELLS[config.cell]
    stored = sum(map(math.prod, parameter_shapes(config).values()))
    return stored - config.num_layers * config.hidden_size * (2 * len(cell.blocks) - len(cell.sums))


def largest_parameter(config):
    """Count the numbers of the largest stored parameter: the only one that is unpacked at a time when a checkpoint is
    written.

    config : ModelConfig
    """
    return max(map(math.prod, parameter_shapes(config).values()))
