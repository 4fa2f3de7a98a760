"""Reading the units of a chunk and holding some of them, against the naive oracle. Tolerances as in test_model.py."""

import numpy as np
import oracle
import pytest

from charrnn.errors import ConfigError
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig

PARITY = {"float32": 1e-5, "float64": 2e-14}
SIZES = [(2, 3, 5, 7, 2), (3, 9, 33, 17, 3), (14, 5, 17, 65, 1)]  # B, T, H, V, L


def make(cell, size, dtype):
    B, T, H, V, L = size
    parameters = oracle.random_parameters(cell, V, H, L, dtype=dtype, seed=1)
    model = Model(ModelConfig(cell, V, H, L, dtype=dtype))
    model.set_parameters(parameters)
    carry = oracle.random_carry(cell, L, B, H, dtype, seed=3)
    return model, {name: value.astype("float64") for name, value in parameters.items()}, carry


def naive(parameters, cell, x, carry, clamps=()):
    """Read x (T, B) a step at a time, hold units as they are written: ({quantity: (L, T, B, H)}, logits (T, B, V))."""
    L, T = oracle.num_layers(parameters), len(x)
    carry = {part: value.astype("float64") for part, value in carry.items()}
    seen = {name: [[None] * T for _ in range(L)] for name in CELLS[cell].readable}
    logits = []
    for t in range(T):
        up = oracle.input_table(parameters)[x[t : t + 1]]
        for l in range(L):
            parts = oracle.CELLS[cell].carried
            _, state, tape = oracle.CELLS[cell].forward(
                oracle.layer_weights(parameters, l), up, [carry[p][l] for p in parts]
            )
            state = [value.copy() for value in state]
            for clamp in clamps:
                if clamp.layer == l:
                    h = state[0]
                    if clamp.quantity == "h":
                        h[:, clamp.unit] = clamp.value
                    else:
                        c = np.arctanh(clamp.value) if clamp.quantity == "tanh-c" else clamp.value
                        state[1][:, clamp.unit] = c
                        h[:, clamp.unit] = tape[0][oracle.CELLS[cell].gates["o"]][:, clamp.unit] * np.tanh(c)
            for part, value in zip(parts, state):
                carry[part][l] = value
                seen[part][l][t] = value
            for name, place in oracle.CELLS[cell].gates.items():
                seen[name][l][t] = tape[0][place]
            up = state[0][None]
        logits.append(up[0] @ oracle.output_weight(parameters).T + parameters["output.bias"])
    return {name: np.array(value) for name, value in seen.items()}, np.array(logits)


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_quantity_of_every_unit_equals_the_oracle(cell, size, dtype):
    model, parameters, carry = make(cell, size, dtype)
    x, y = oracle.random_chunk(size[3], size[1], size[0], seed=2)
    workspace = Workspace(model, size[0], size[1] + 2, training=False)
    workspace.losses(
        np.zeros((size[1] + 2, size[0]), int), np.zeros((size[1] + 2, size[0]), int)
    )  # a longer chunk before
    workspace.set_carry(carry)
    workspace.losses(x, y)
    expected, _ = naive(parameters, cell, x, carry)
    for name in CELLS[cell].readable:
        np.testing.assert_allclose(workspace.states(name), expected[name], rtol=0, atol=PARITY[dtype], err_msg=name)


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_held_units_act_on_the_layer_above_and_on_the_next_step(cell, size, dtype):
    model, parameters, carry = make(cell, size, dtype)
    B, T, H, V, L = size
    clamps = [Clamp(0, H - 1, 0.75), Clamp(L - 1, 0, -1.5)]
    if CELLS[cell].has_c:
        clamps += [Clamp(0, 1, -0.875, "tanh-c"), Clamp(L - 1, H - 2, 2.5, "c")]
    x, y = oracle.random_chunk(V, T, B, seed=2)
    expected, logits = naive(parameters, cell, x, carry, clamps)
    free, _ = naive(parameters, cell, x, carry)
    workspace = Workspace(model, B, T, training=False)
    workspace.set_clamps(clamps)
    workspace.set_carry(carry)
    actual = workspace.logits(x)
    np.testing.assert_allclose(actual, logits, rtol=0, atol=10 * PARITY[dtype])
    for name in CELLS[cell].readable:
        np.testing.assert_allclose(workspace.states(name), expected[name], rtol=0, atol=PARITY[dtype], err_msg=name)
    assert np.abs(expected["h"] - free["h"])[:, 1:, :, 2 % H].max() > 1e-3  # neighbours feel it

    workspace.set_clamps(())
    workspace.set_carry(carry)
    workspace.losses(x, y)
    np.testing.assert_allclose(workspace.states("h"), free["h"], rtol=0, atol=PARITY[dtype])


@pytest.mark.parametrize("cell", CELLS)
def test_holding_is_the_same_step_by_step_and_for_any_cut_into_chunks(cell):
    model, _, carry = make(cell, SIZES[1], "float32")
    B, T, H, V, L = SIZES[1]
    x, _ = oracle.random_chunk(V, T, B, seed=2)
    clamps = [Clamp(1, 7, 0.5), Clamp(0, 32, -0.25, CELLS[cell].default_quantity)]
    whole, single = Workspace(model, B, T, training=False), Workspace(model, B, 1, training=False)
    results = []
    for workspace, pieces in ((whole, [x]), (single, [x[t : t + 1] for t in range(T)])):
        workspace.set_clamps(clamps)
        workspace.set_carry(carry)
        results.append(np.concatenate([workspace.logits(piece) for piece in pieces]))
    np.testing.assert_array_equal(*results)


def test_a_cell_held_at_the_end_of_tanh_stays_finite():
    model, _, _ = make("lstm", SIZES[0], "float32")
    workspace = Workspace(model, 2, 3, training=False)
    workspace.set_clamps([Clamp(0, 0, 1.0, "tanh-c"), Clamp(0, 1, -1.0, "tanh-c")])
    assert np.isfinite(workspace.logits(np.zeros((3, 2), int))).all()
    np.testing.assert_allclose(np.tanh(workspace.states("c"))[0, :, :, :2], [[[1, -1]] * 2] * 3, atol=1e-5)


@pytest.mark.parametrize(
    "cell, clamps, words",
    [
        ("lstm", [Clamp(2, 0, 0.0)], "0:0 to 1:4"),
        ("lstm", [Clamp(0, 5, 0.0)], "0:0 to 1:4"),
        ("lstm", [Clamp(-1, 0, 0.0)], "0:0 to 1:4"),
        ("lstm", [Clamp(0, 0, 1.5, "tanh-c")], "-1..1, got 1.5"),
        ("lstm", [Clamp(0, 0, float("nan"))], "finite"),
        ("lstm", [Clamp(0, 0, 0.1, "i")], "h, c or tanh-c, got 'i'"),
        ("gru", [Clamp(0, 0, 0.1, "c")], "is h, got 'c'"),
        ("rnn", [Clamp(0, 1, 0.1), Clamp(0, 1, 0.2)], "twice"),
    ],
)
def test_a_clamp_that_cannot_be_is_refused(cell, clamps, words):
    model, _, _ = make(cell, SIZES[0], "float32")
    with pytest.raises(ConfigError, match=words):
        Workspace(model, 2, 3, training=False).set_clamps(clamps)


def test_no_gradient_is_taken_while_units_are_held():
    model, _, _ = make("gru", SIZES[0], "float32")
    workspace = Workspace(model, 2, 3)
    workspace.set_clamps([Clamp(0, 0, 0.0)])
    with pytest.raises(ConfigError, match="held"):
        workspace.loss_and_grads(np.zeros((3, 2), int), np.zeros((3, 2), int))


def test_a_quantity_the_cell_lacks_is_refused():
    model, _, _ = make("gru", SIZES[0], "float32")
    with pytest.raises(ConfigError, match="h, r, z, n, got 'c'"):
        Workspace(model, 2, 3, training=False).states("c")
