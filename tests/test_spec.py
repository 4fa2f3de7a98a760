"""The table of cells keeps its own rules, whatever knows cells agrees with it, and what is counted from it is right."""

import importlib
from pathlib import Path

import numpy as np
import oracle
import pytest

from charrnn import spec
from charrnn.errors import ConfigError
from charrnn.kernels.entries import GENERATE, READ, TRAIN
from charrnn.kernels.host import WIDTHS
from charrnn.kernels.layout import Layout
from charrnn.model.parameters import Model
from charrnn.spec import CELLS, Cell, ModelConfig, largest_parameter, num_parameters, parameter_shapes

KINDS = [
    {"embedding_size": embedding_size, "tied": tied, "layer_norm": layer_norm}
    for embedding_size, tied in ((0, False), (4, False), (5, True))
    for layer_norm in (False, True)
]
# The minimal gated unit of Zhou et al. 2016, with the recurrent part of n apart; it has no kernel here.
MGU = Cell(
    name="mgu",
    title="MGU",
    blocks=("f", "n"),
    panel=("n", "f", None, "m"),
    x_part=("n", "f", None),
    h_part=("f", None, "m"),
    recurrent={"m": "n"},
    sigmoids=("f",),
    reads_h=False,
    passes_h=True,
)


# ---- the table itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [*CELLS.values(), MGU], ids=lambda cell: cell.name)
def test_a_cells_entry_keeps_the_rules_of_the_panels(cell):
    assert len(cell.panel) * cell.unit_vectors == spec.PANEL_VECTORS
    assert cell.panel[: len(cell.x_part)] == cell.x_part
    assert cell.panel[cell.h_column :][: len(cell.h_part)] == cell.h_part
    assert all(len(part) * cell.unit_vectors in WIDTHS for part in (cell.x_part, cell.h_part))
    named = [name for name in cell.panel if name is not None]
    assert sorted(named) == sorted(cell.sums) and len(set(named)) == len(named)
    # Every block is a product with x, and with h: its own, or that of the sum which stands apart.
    assert sorted(name for name in cell.x_part if name) == sorted(cell.blocks)
    with_h = [cell.recurrent.get(name, name) for name in cell.h_part if name]
    assert with_h == list(cell.blocks)  # in this order: dropped weights are drawn by it
    assert not set(cell.recurrent) & set(cell.blocks)


@pytest.mark.parametrize("cell", [*CELLS.values(), MGU], ids=lambda cell: cell.name)
def test_a_cells_entry_names_gates_and_states_that_it_has(cell):
    assert set(cell.sigmoids) <= set(cell.gates)
    assert cell.forget_gate is None or cell.forget_gate in cell.sigmoids
    assert cell.states in (("h",), ("h", "c"))
    assert not cell.has_c or "o" in cell.sigmoids  # h = o*tanh(c)
    assert len(cell.title) > 1 and cell.name == cell.name.lower()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_cell_with_an_empty_place_in_its_panels_keeps_its_parameters(kind, monkeypatch):
    monkeypatch.setitem(CELLS, "mgu", MGU)
    config = ModelConfig("mgu", 7, 5, 2, dtype="float64", **kind)
    layout, rng = Layout(config), np.random.default_rng(0)
    arrays = {name: rng.uniform(1, 2, shape) for name, shape in parameter_shapes(config).items()}
    flat = np.full(layout.size, np.nan)
    layout.pack(arrays, flat)
    assert np.count_nonzero(flat) == num_parameters(config)
    for name, found in layout.unpack(flat).items():
        expected = arrays[name]
        if name.startswith("rnn.bias_ih"):  # f has one bias, n two
            expected = expected + np.where(np.arange(10) < 5, arrays[name.replace("_ih", "_hh")], 0)
        elif name.startswith("rnn.bias_hh"):
            expected = np.where(np.arange(10) < 5, 0, expected)
        np.testing.assert_array_equal(found, expected, err_msg=name)


# ---- everything that knows cells -----------------------------------------------------------------------------------


def test_every_cell_has_kernels():
    assert {cell for cell, _ in TRAIN} == {cell for cell, _ in READ} == set(GENERATE) == set(CELLS)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_has_an_oracle_that_agrees_on_what_it_is(cell):
    assert cell in oracle.CELLS, f"tests/oracle.py has no {cell}"
    ours, theirs = CELLS[cell], oracle.CELLS[cell]
    assert ours.states == theirs.carried and ours.gates == tuple(theirs.gates)
    assert set(ours.recurrent.values()) == set(theirs.apart)
    assert len(ours.blocks) == oracle.blocks(cell) and ours.has_c == (theirs.made_c is not None)


def test_the_oracle_has_no_cell_that_charrnn_has_not():
    assert set(oracle.CELLS) == set(CELLS)


@pytest.mark.parametrize("command", ["train", "bench", "gradients"])
def test_every_cell_is_a_choice_on_the_command_line(command):
    found = importlib.import_module(f"charrnn.cli.{command}").command
    (option,) = (each for each in found.params if each.name == "cell")
    assert tuple(option.type.choices) == tuple(CELLS)


def test_what_pytorch_has_too_is_held_to_its_frozen_numbers():
    frozen = {
        path.stem.removeprefix("torch_") for path in (Path(__file__).parent / "fixtures").glob("torch_*.safetensors")
    }
    assert frozen == {name for name, cell in CELLS.items() if cell.torch_class} == {"lstm", "gru", "rnn"}


def test_the_forget_gate_is_f_of_the_lstm():
    """Its bias begins at 1 (Jozefowicz et al. 2015); of no other cell does a bias."""
    assert {name: cell.forget_gate for name, cell in CELLS.items() if cell.forget_gate} == {"lstm": "f"}


# ---- what is counted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_counted_is_what_a_model_trains(cell, kind):
    config = ModelConfig(cell, 7, 5, 2, **kind)
    model = Model(config)
    ones = {name: np.ones(shape, "f4") for name, shape in parameter_shapes(config).items()}
    model.set_parameters(ones)
    assert num_parameters(config) == model.num_parameters == np.count_nonzero(model.flat)
    assert largest_parameter(config) == max(each.size for each in ones.values())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_parameters_have_the_oracles_names_and_shapes(cell, kind):
    shapes = oracle.shapes(cell, 7, 5, 2, kind["embedding_size"], kind["tied"], kind["layer_norm"])
    assert list(parameter_shapes(ModelConfig(cell, 7, 5, 2, **kind)).items()) == list(shapes.items())


@pytest.mark.parametrize("name, value", [("zoneout", True), ("zoneout", 1), ("zoneout", -0.1), ("layer_norm", 1)])
def test_an_optional_field_has_a_rule(name, value):
    with pytest.raises(ConfigError, match=name):
        ModelConfig("gru", 7, 5, 1, **{name: value})


def test_an_optional_field_is_stored_where_it_is_not_the_default():
    assert "zoneout" not in ModelConfig("gru", 7, 5, 1).to_dict()
    assert ModelConfig("gru", 7, 5, 1, zoneout=0.5, layer_norm=True).to_dict() == {
        "cell": "gru", "hidden_size": 5, "num_layers": 1, "embedding_size": 0, "tied": False, "dtype": "float32",
        "zoneout": 0.5, "layer_norm": True,
    }  # fmt: skip
    stored = {name: key.is_stored_value for name, key in spec.OPTIONAL_KEYS.items()}
    assert stored["zoneout"](0.5) and not stored["zoneout"](0.0) and not stored["zoneout"]("0.5")
    assert stored["layer_norm"](True) and not stored["layer_norm"](False) and not stored["layer_norm"](1)
