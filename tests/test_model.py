"""The kernels through Model and Workspace, held to the naive oracle, to finite differences and to PyTorch.

Tolerances. The oracle runs in float64 on the very numbers that charrnn got, so what is compared with it is charrnn's
rounding alone: sums of at most a few hundred products of order one, through at most 27 applications of contracting
layers. That is some tens of roundings of 1.2e-7 or 2.2e-16; PARITY allows about a hundred. Where the same sums are done
in the same order the bits must be the same, and no tolerance is allowed.
"""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import oracle
import pytest
from safetensors.numpy import load_file

from charrnn.errors import ConfigError
from charrnn.kernels import max_threads, num_threads, set_num_threads
from charrnn.model import dropped
from charrnn.model import workspace as model_module
from charrnn.model.dropout import Dropout
from charrnn.model.pace import ShardPace
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, DTYPES, ModelConfig
from charrnn.training import optimisers as optim
from charrnn.training.optimisers import Optimizer

TORCH_CELLS = [name for name, cell in CELLS.items() if cell.torch_class]
PARITY = {"float32": 1e-5, "float64": 2e-14}
B, T, E, H, V = 2, 3, 4, 5, 7
INPUTS = {"onehot": {"E": 0}, "embedding": {"E": E}, "tied": {"E": H, "tied": True}}
DROPOUTS = {
    "off": None,
    "on": Dropout(0.4, False, 11),
    "variational": Dropout(0.4, True, 11),
    "weights": Dropout(0.1, False, 11, 0.4),
}
OPTIMIZERS = ("sgd", "adagrad", "rmsprop", "adam", "adamw")

# Off every tile: a lane or a row more, less, or none of it, for tiles of 4, 8 and 16 lanes and of 4 to 13 rows.
SIZES = [  # B, T, H, V, L, E (-1: tied)
    (2, 3, 5, 7, 2, 4),
    (1, 1, 1, 2, 1, 0),
    (1, 9, 33, 17, 1, 33),
    (5, 9, 15, 16, 2, -1),
    (6, 1, 15, 65, 3, 1),
    (6, 2, 16, 17, 3, 17),
    (7, 9, 17, 49, 1, 0),
    (13, 2, 33, 65, 2, -1),
    (14, 9, 16, 65, 2, 0),
    (27, 2, 33, 49, 3, 15),
    (27, 9, 17, 16, 1, -1),
    (29, 11, 16, 17, 2, 4),  # more rows than a weight gradient takes at once
]


def make_model(cell, V=V, H=H, L=2, E=0, tied=False, dtype="float64", seed=1):
    """A model with random parameters, and those parameters."""
    parameters = oracle.random_parameters(cell, V, H, L, E, tied, dtype, seed)
    model = Model(ModelConfig(cell, V, H, L, E, tied, dtype))
    model.set_parameters(parameters)
    return model, parameters


def make_sized(cell, size, dtype):
    """A model, its parameters in float64, a chunk and a carry for a row of SIZES."""
    b, t, h, v, layers, e = size
    model, parameters = make_model(cell, v, h, layers, h if e < 0 else e, e < 0, dtype)
    x, y = oracle.random_chunk(v, t, b, seed=2)
    carry = oracle.random_carry(cell, layers, b, h, dtype, seed=3)
    return model, as_float64(parameters), x, y, carry


def as_float64(arrays):
    return {name: np.asarray(value, np.float64) for name, value in arrays.items()}


def movable_loss(model, parameters, dropout):
    """Return (loss, workspace, carry): loss() is that of a chunk by `parameters` and `carry` as they stand then."""
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry = oracle.random_carry(model.config.cell, model.config.num_layers, B, H, seed=3)
    workspace = new_workspace(model, carry=carry)

    def loss():
        model.set_parameters(parameters)
        workspace.set_carry(carry)
        return workspace.loss_and_grads(x, y, dropout=dropout, step=7)

    return loss, workspace, carry


def new_workspace(model, batch_size=B, seq_length=T, carry=None, **options):
    workspace = Workspace(model, batch_size, seq_length, **options)
    if carry is not None:
        workspace.set_carry(carry)
    return workspace


def read_whole_and_in_parts(model, x, carry):
    """Read 9 steps of 7 streams at once, in three chunks and step by step, to the same bits.

    Returns the workspace of the first way, and its logits.
    """
    whole = new_workspace(model, 7, 9, carry)
    logits = whole.logits(x)
    for steps, training in ((3, True), (1, False)):
        parts = new_workspace(model, 7, steps, carry, training=training)
        assert_same_bits(np.concatenate([parts.logits(x[t : t + steps]) for t in range(0, 9, steps)]), logits)
        assert_same_bits(parts.get_carry(), whole.get_carry())
    return whole, logits


def assert_all_close(actual, expected, tolerance):
    """Within `tolerance` absolutely, and relative to the largest entry where that is above one."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        bound = tolerance * max(1, np.abs(value).max())
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=bound, err_msg=name)


def assert_same_bits(actual, expected):
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for name in expected:
            np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
    else:
        np.testing.assert_array_equal(actual, expected)


# ---- the configuration and the parameter table -------------------------------------------------------------------


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_parameters_have_pytorch_names_and_shapes(cell, inputs):
    model, parameters = make_model(cell, L=3, **INPUTS[inputs])
    expected = oracle.shapes(cell, V, H, 3, **INPUTS[inputs])
    assert dict(model.shapes()) == expected
    assert {name: value.shape for name, value in model.get_parameters().items()} == expected


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_count_of_parameters_holds_one_bias_a_gate(cell, inputs):
    model, parameters = make_model(cell, L=3, **INPUTS[inputs])
    free = oracle.one_bias({name: np.ones_like(value) for name, value in parameters.items()}, cell)
    assert model.num_parameters == sum(int(value.sum()) for value in free.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_parameters_survive_packing_to_the_bit(cell, size, dtype):
    model, parameters, *_ = make_sized(cell, size, dtype)
    assert model.flat.dtype == dtype
    assert_same_bits(model.get_parameters(), parameters)
    assert all(value.dtype == dtype for value in model.get_parameters().values())
    assert_same_bits(model.unpack(model.flat), parameters)
    assert_same_bits(model.pack(parameters), model.flat)


@pytest.mark.parametrize("cell", CELLS)
def test_setting_parameters_sums_the_two_biases_of_a_gate(cell):
    model, parameters = make_model(cell)
    theirs = {name: value.copy() for name, value in parameters.items()}
    for layer in range(2):
        theirs[f"rnn.bias_hh_l{layer}"] = np.linspace(-1, 1, oracle.blocks(cell) * H)
    model.set_parameters(theirs)
    ours = model.get_parameters()
    for layer in range(2):
        summed = theirs[f"rnn.bias_ih_l{layer}"] + theirs[f"rnn.bias_hh_l{layer}"]
        one = oracle.one_bias_rows(cell, len(summed))  # the n gate of a GRU keeps its two
        np.testing.assert_array_equal(ours[f"rnn.bias_ih_l{layer}"][one], summed[one])
        np.testing.assert_array_equal(ours[f"rnn.bias_hh_l{layer}"][one], 0)
        for kind in ("bias_ih", "bias_hh"):
            name = f"rnn.{kind}_l{layer}"
            np.testing.assert_array_equal(ours[name][~one], theirs[name][~one])
    x, y = oracle.random_chunk(V, T, B)
    assert abs(new_workspace(model).loss_and_grads(x, y) - oracle.loss_and_grads(theirs, cell, x, y).loss) < 1e-14


@pytest.mark.parametrize("cell", CELLS)
def test_new_model_is_all_zero_and_predicts_every_symbol_alike(cell):
    model = Model(ModelConfig(cell, V, H, 2))
    assert not model.flat.any()
    x, _ = oracle.random_chunk(V, T, B)
    assert not new_workspace(model).logits(x).any()


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_initialisation_follows_its_seed_and_opens_the_forget_gate(cell, inputs):
    options = INPUTS[inputs]
    config = ModelConfig(cell, V, H, 2, options["E"], options.get("tied", False))
    one, again, other = (Model.initialise(config, seed) for seed in (1, 1, 2))
    assert_same_bits(one.flat, again.flat)
    assert (one.flat != other.flat).any()
    named = one.get_parameters()
    assert_same_bits(one.pack(named), one.flat)
    for name, value in named.items():
        assert np.isfinite(value).all()
        if "weight" in name:
            assert len(np.unique(value)) > 0.9 * value.size, name
    for layer in range(2 if CELLS[cell].forget_gate else 0):
        at = CELLS[cell].blocks.index(CELLS[cell].forget_gate) * H
        assert (named[f"rnn.bias_ih_l{layer}"][at : at + H] == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell": "elman"},
        {"vocab_size": 0},
        {"hidden_size": 0},
        {"num_layers": 0},
        {"embedding_size": -1},
        {"tied": True},
        {"tied": True, "embedding_size": H + 1},
        {"dtype": "float16"},
    ],
)
def test_configuration_refuses(wrong):
    right = {"cell": "lstm", "vocab_size": V, "hidden_size": H, "num_layers": 1}
    with pytest.raises(ConfigError):
        ModelConfig(**(right | wrong))


def test_configuration_is_frozen():
    config = ModelConfig("lstm", V, H, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 6


# ---- parity with the oracle --------------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_equal_the_oracle(cell, size, dtype):
    model, parameters, x, y, carry = make_sized(cell, size, dtype)
    expected = oracle.loss_and_grads(parameters, cell, x, y, as_float64(carry))
    tolerance = PARITY[dtype]

    workspace = new_workspace(model, x.shape[1], x.shape[0], carry)
    logits = workspace.logits(x)
    assert logits.dtype == dtype
    assert_all_close(
        {"logits": logits} | workspace.get_carry(), {"logits": expected.logits} | expected.carry, tolerance
    )
    workspace.set_carry(carry)
    losses = workspace.losses(x, y)
    assert_all_close(
        {"losses": losses} | workspace.get_carry(), {"losses": expected.losses} | expected.carry, tolerance
    )
    workspace.set_carry(carry)
    loss = workspace.loss_and_grads(x, y)
    assert abs(loss - expected.loss) < tolerance * max(1, expected.loss)
    assert_all_close(workspace.get_carry(), expected.carry, tolerance)
    assert workspace.grads.dtype == dtype and workspace.grads.shape == model.flat.shape
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
    assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("size", SIZES[::3])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_equals_the_oracle(cell, size, variational, dtype):
    """Masks are equal to the bit: one unit kept too much would move the loss by far more than the tolerance."""
    model, parameters, x, y, carry = make_sized(cell, size, dtype)
    workspace = new_workspace(model, x.shape[1], x.shape[0])
    for rate, seed, step in [(0.5, 3, 0), (0.1, 2**31 + 7, 1), (0.75, 2**63 + 1, 123_456)]:
        dropout = Dropout(rate, variational, seed)
        expected = oracle.loss_and_grads(parameters, cell, x, y, as_float64(carry), dropout, step)
        workspace.set_carry(carry)
        loss = workspace.loss_and_grads(x, y, dropout=dropout, step=step)
        tolerance = PARITY[dtype] / (1 - rate)  # what is kept is scaled by that, and its error with it
        assert abs(loss - expected.loss) < tolerance * max(1, expected.loss)
        assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
        assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)
        assert_all_close(workspace.get_carry(), expected.carry, tolerance)


@pytest.mark.slow
@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("size", SIZES[::3])
@pytest.mark.parametrize("cell", CELLS)
def test_dropped_recurrent_weights_equal_the_oracle(cell, size, rate, dtype):
    """With and without dropped units; a chunk after it, from which nothing is dropped, has the same weights."""
    model, parameters, x, y, carry = make_sized(cell, size, dtype)
    before = model.flat.copy()
    workspace = new_workspace(model, x.shape[1], x.shape[0])
    for weight_rate, seed, step in [(0.5, 3, 0), (0.1, 2**63 + 1, 123_456), (0.0, 3, 1)]:
        dropout = Dropout(rate, False, seed, weight_rate)
        expected = oracle.loss_and_grads(parameters, cell, x, y, as_float64(carry), dropout, step)
        workspace.set_carry(carry)
        loss = workspace.loss_and_grads(x, y, dropout=dropout, step=step)
        tolerance = PARITY[dtype] / (1 - rate) / (1 - weight_rate)
        assert abs(loss - expected.loss) < tolerance * max(1, expected.loss)
        assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
        assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)
        assert_all_close(workspace.get_carry(), expected.carry, tolerance)
        assert_same_bits(model.flat, before)


def test_the_share_of_dropped_weights_is_the_rate_and_no_two_masks_are_alike():
    """2 x 4 x 64 x 64 weights: the share has a deviation of 0.0025; independent masks agree in 0.58, to 0.0027."""
    model = Model.initialise(ModelConfig("lstm", V, 64, 2), 1)
    x, y = oracle.random_chunk(V, T, B)
    workspace, masks = new_workspace(model), []
    for seed, step in ((1, 0), (1, 1), (2, 0)):
        workspace.loss_and_grads(x, y, Dropout(0.0, False, seed, 0.3), step)
        masks += [grads == 0 for name, grads in model.unpack(workspace.grads).items() if "weight_hh" in name]
    for n, mask in enumerate(masks):
        assert abs(mask.mean() - 0.3) < 0.015
        for other in masks[:n]:
            assert abs((mask == other).mean() - 0.58) < 0.02
        assert (
            abs((mask[:64] == mask[64:128]).mean() - 0.58) < 0.04
            and abs((mask[:64] == mask[:64].T).mean() - 0.58) < 0.04
        )
    units = np.array([[oracle.dropout_bit(0.3, 1, 0, 0, k, unit) for k in range(64)] for unit in range(64)])
    assert abs((masks[0][:64] != units).mean() - 0.58) < 0.04  # and not those of the units that --dropout drops


def test_a_chunk_that_is_refused_leaves_the_weights_as_they_were():
    model, _ = make_model("gru")
    before = model.flat.copy()
    with pytest.raises(ConfigError):
        new_workspace(model).loss_and_grads(np.full((T, B), V), np.zeros((T, B), int), Dropout(0.0, weight_rate=0.5))
    assert_same_bits(model.flat, before)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_rate_zero_is_no_dropout(cell):
    model, _ = make_model(cell)
    x, y = oracle.random_chunk(V, T, B)
    workspace = new_workspace(model)
    loss = workspace.loss_and_grads(x, y)
    grads = workspace.grads.copy()
    workspace.reset_carry()
    assert workspace.loss_and_grads(x, y, dropout=Dropout(0.0, False, 1), step=3) == loss
    assert_same_bits(workspace.grads, grads)


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates_and_huge_logits_stay_exact(cell, dtype):
    """Pre-activations in the hundreds and logits in the tens of thousands: no overflow, no NaN, the right limit.

    Logits near 1e4 carry an absolute rounding of 1e4 eps, which is the tolerance here.
    """
    model, parameters = make_model(cell, dtype=dtype)
    parameters = {name: value * (300 if "rnn" in name else 10_000) for name, value in parameters.items()}
    model.set_parameters(parameters)
    x, y = oracle.random_chunk(V, T, B, seed=5)
    workspace = new_workspace(model)
    losses = workspace.losses(x, y)
    logits = oracle.forward(as_float64(parameters), cell, x).logits
    expected = oracle.losses_nats(logits, y)
    assert expected.max() > 1000
    np.testing.assert_allclose(losses, expected, rtol=PARITY[dtype], atol=PARITY[dtype] * np.abs(logits).max())
    workspace.reset_carry()
    assert np.isfinite(workspace.loss_and_grads(x, y)) and np.isfinite(workspace.grads).all()


# ---- the gradient check ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(cell, layers, inputs, dropout):
    """Of every parameter tensor and the carry in: one random direction through it, and two single entries.

    Central differences at four points, error 1e-3**4/30 of the fifth derivative: about 1e-13, as much as the rounding
    of the loss (2e-16 * 2 / 1e-3). FLOOR is ten of those. The relative bound is the promise made to users, 1e-6; it
    bites for every derivative above 1e-6, and every random direction is checked to be so.
    """
    FLOOR = 1e-12
    dropout = DROPOUTS[dropout]
    model, parameters = make_model(cell, L=layers, **INPUTS[inputs])
    loss, workspace, carry = movable_loss(model, parameters, dropout)
    loss()
    grads = {name: value.copy() for name, value in model.unpack(workspace.grads).items()}
    carry_grads = {part: value.copy() for part, value in workspace.carry_grads().items()}
    rng = np.random.default_rng(4)
    for tensors, analytic in ((parameters, grads), (carry, carry_grads)):
        for name, value in tensors.items():
            free = oracle.one_bias({name: np.ones_like(value)}, cell)[name]  # not the bias that charrnn has not
            assert not analytic[name][free == 0].any(), name
            if not free.any():
                continue
            whole = rng.standard_normal(value.shape) * free
            directions = [whole / np.linalg.norm(whole)]
            for where in rng.choice(np.flatnonzero(free), 2, replace=False):
                directions.append(np.zeros_like(value))
                directions[-1].flat[where] = 1
            for k, direction in enumerate(directions):
                expected = central_difference(loss, value, direction)
                derivative = (analytic[name] * direction).sum()
                size = max(abs(expected), abs(derivative))
                assert abs(derivative - expected) < 1e-6 * size + FLOOR, (name, k, derivative, expected)
                assert k > 0 or size > 1e-6, f"{name}: the direction chosen tests nothing"


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_of_every_single_parameter_equals_its_central_difference(cell):
    """Two layers with an embedding, dropout between them; bounds as above."""
    model, parameters = make_model(cell, L=2, E=E)
    check_every_entry(model, parameters, DROPOUTS["on"], 1e-3, 1e-12)


def check_every_entry(model, parameters, dropout, eps, floor):
    """Compare every entry of the gradient, of parameters and of the carry in, with its central difference."""
    loss, workspace, carry = movable_loss(model, parameters, dropout)
    loss()
    grads = {name: value.copy() for name, value in (model.unpack(workspace.grads) | workspace.carry_grads()).items()}
    counted = 0
    for name, value in (parameters | carry).items():
        free = oracle.one_bias({name: np.ones_like(value)}, model.config.cell)[name]
        assert not grads[name][free == 0].any(), name
        for where in np.flatnonzero(free):
            direction = np.zeros_like(value)
            direction.flat[where] = 1
            expected, derivative = central_difference(loss, value, direction, eps), grads[name].flat[where]
            counted += abs(derivative) > floor
            close = abs(derivative - expected) < 1e-6 * max(abs(expected), abs(derivative)) + floor
            assert close, (name, where, derivative, expected)
    assert counted > 0.5 * sum(value.size for value in parameters.values()), "most derivatives test nothing"


def central_difference(loss, value, direction, eps=1e-3):
    """The derivative of loss() as `value`, which it reads, moves along `direction`."""
    kept, at = value.copy(), {}
    for k in (-2, -1, 1, 2):
        value[...] = kept + k * eps * direction
        at[k] = loss()
    value[...] = kept
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * eps)


# ---- chunks, steps and the carry ---------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seq_length", [3, 4, 9])
@pytest.mark.parametrize("cell", CELLS)
def test_three_carried_chunks_equal_one_long_chunk(cell, seq_length, dtype):
    """To the bit: each row's sums are done in the same order wherever the row lies."""
    model, _ = make_model(cell, 17, 17, 2, 4, dtype=dtype)
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 2, 7, 17, dtype)
    whole = new_workspace(model, 7, 9, carry)
    parts = new_workspace(model, 7, seq_length, carry)
    logits = whole.logits(x)
    assert_same_bits(np.concatenate([parts.logits(x[t : t + 3]) for t in (0, 3, 6)]), logits)
    assert_same_bits(parts.get_carry(), whole.get_carry())
    whole.set_carry(carry)
    parts.set_carry(carry)
    losses = whole.losses(x, y)
    assert_same_bits(np.concatenate([parts.losses(x[t : t + 3], y[t : t + 3]) for t in (0, 3, 6)]), losses)
    parts.set_carry(carry)
    means = [parts.loss_and_grads(x[t : t + 3], y[t : t + 3]) for t in (0, 3, 6)]
    assert_same_bits(parts.get_carry(), whole.get_carry())
    assert abs(np.mean(means) - losses.mean(dtype=np.float64)) < PARITY[dtype]  # another order of summing


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 6, 14])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_single_steps_equal_a_chunk(cell, inputs, batch_size, dtype):
    """To the bit, also in a workspace that cannot train, as the sampler has."""
    options = INPUTS[inputs]
    model, _ = make_model(cell, L=3, dtype=dtype, **options)
    x, _ = oracle.random_chunk(V, 9, batch_size)
    chunk = new_workspace(model, batch_size, 9)
    single = new_workspace(model, batch_size, 1, training=False)
    assert_same_bits(np.concatenate([single.logits(x[t : t + 1]) for t in range(9)]), chunk.logits(x))
    assert_same_bits(single.get_carry(), chunk.get_carry())


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_does_not_depend_on_its_neighbours(cell):
    """The logits and the carry of one stream, alone and as the fourth of 13: the same bits."""
    model, _ = make_model(cell, 17, 17, 2)
    x, _ = oracle.random_chunk(17, 5, 13)
    many, one = new_workspace(model, 13, 5), new_workspace(model, 1, 5)
    assert_same_bits(one.logits(x[:, 3:4].copy()), many.logits(x)[:, 3:4])
    for part, value in one.get_carry().items():
        assert_same_bits(value, many.get_carry()[part][:, 3:4])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_chunk_shorter_than_the_workspace_ignores_what_a_longer_one_left(cell, dtype):
    model, _ = make_model(cell, 17, 17, 2, 4, dtype=dtype)
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 2, 7, 17, dtype)
    used, fresh = new_workspace(model, 7, 9), new_workspace(model, 7, 2)
    for dropout in DROPOUTS.values():
        used.loss_and_grads(x, y, dropout=dropout, step=1)
        results = []
        for workspace in (used, fresh):
            workspace.set_carry(carry)
            results.append(everything(workspace, x[:2], y[:2], dropout, 2))
        assert_same_bits(*results)


@pytest.mark.tile
@pytest.mark.parametrize("steps_a_block", [1, 4])
@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_walking_a_chunk_in_blocks_of_steps_changes_no_bit(cell, dropout, steps_a_block, monkeypatch, restore_threads):
    """The cut is made for the cache, at sizes that no test here reaches: so the cache is made small."""
    model, _ = make_model(cell, 17, 17, 3, 17, tied=True, dtype="float32")
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 3, 7, 17, "float32")
    set_num_threads(1)  # one shard: its rows are all B
    found = []
    for small in (False, True):
        if small:
            state_bytes = model.layout.stride * model.flat.itemsize * 7
            monkeypatch.setattr("charrnn.model.workspace.BLOCK_BYTES", steps_a_block * state_bytes)
        workspace = new_workspace(model, 7, 9, carry)
        found.append(everything(workspace, x, y, DROPOUTS[dropout], 3))
        workspace.set_carry(carry)
        found[-1] |= {"logits": workspace.logits(x).copy(), "losses": workspace.losses(x, y).copy()}
    assert_same_bits(*found)


def everything(workspace, x, y, dropout=None, step=0, **masks):
    """All that one loss_and_grads gives, as a dict of arrays of their own."""
    loss = workspace.loss_and_grads(x, y, dropout=dropout, step=step, **masks)
    found = {"loss": np.float64(loss), "grads": workspace.grads.copy()}
    found |= {"carry " + part: value.copy() for part, value in workspace.get_carry().items()}
    found |= {"carry_grads " + part: value.copy() for part, value in workspace.carry_grads().items()}
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_the_order_of_calls(cell):
    """Nothing but the carry passes from one call to the next."""
    model, _ = make_model(cell, 17, 17, 2, 17, tied=True)
    chunks = [oracle.random_chunk(17, length, 7, seed) for seed, length in enumerate((9, 3, 1, 9, 4))]
    carries = [oracle.random_carry(cell, 2, 7, 17, seed=seed) for seed in range(5)]
    dropouts = [None, Dropout(0.5, False, 1), Dropout(0.5, True, 2), Dropout(0.2, False, 1), None]

    def run(order, disturb):
        workspace, found = new_workspace(model, 7, 9), {}
        for k in order:
            if disturb:
                workspace.logits(chunks[(k + 1) % 5][0])
                workspace.losses(*chunks[(k + 2) % 5])
            workspace.set_carry(carries[k])
            found[k] = everything(workspace, *chunks[k], dropouts[k], step=k)
        return found

    expected = run(range(5), disturb=False)
    for order in ([4, 2, 0, 3, 1], [1, 1, 0, 4, 3, 2]):
        found = run(order, disturb=True)
        for k in range(5):
            assert_same_bits(found[k], expected[k])


@pytest.mark.parametrize("cell", CELLS)
def test_carry_starts_at_zero_is_reset_and_belongs_to_the_caller(cell):
    model, _ = make_model(cell)
    x, y = oracle.random_chunk(V, T, B)
    workspace = new_workspace(model)
    assert set(workspace.get_carry()) == set(oracle.CELLS[cell].carried)
    assert all(value.shape == (2, B, H) and not value.any() for value in workspace.get_carry().values())
    first = workspace.logits(x).copy()
    taken = workspace.get_carry()
    kept = {part: value.copy() for part, value in taken.items()}
    assert all(value.any() for value in kept.values())
    assert (workspace.logits(x) != first).any()
    assert_same_bits(taken, kept)
    workspace.set_carry(taken)
    for value in taken.values():
        value[...] = 9
    assert_same_bits(workspace.get_carry(), kept)
    workspace.reset_carry()
    assert_same_bits(workspace.logits(x), first)


@pytest.mark.parametrize(
    "x, y",
    [
        (np.zeros((T + 1, B)), None),
        (np.zeros((0, B)), None),
        (np.zeros((T, B + 1)), None),
        (np.zeros((T * B,)), None),
        (np.zeros((T, B)), np.zeros((T - 1, B))),
        (np.full((T, B), V), np.zeros((T, B))),
        (np.zeros((T, B)), np.full((T, B), V)),
        (np.full((T, B), -1), np.zeros((T, B))),
        (np.zeros((T, B)), np.full((T, B), -1)),
    ],
)
def test_chunk_that_does_not_fit_is_refused_before_any_kernel_sees_it(x, y):
    """Kernels trust their ids: one out of range would read, or write, memory that is not theirs."""
    workspace = new_workspace(make_model("lstm")[0])
    x = x.astype(np.int32)
    y = x if y is None else y.astype(np.int32)
    for run in (workspace.loss_and_grads, workspace.losses):
        with pytest.raises(ConfigError):
            run(x, y)
    assert not workspace.get_carry()["h"].any()


def test_workspace_that_cannot_train_says_so():
    workspace = new_workspace(make_model("lstm")[0], training=False)
    with pytest.raises(ConfigError):
        workspace.loss_and_grads(*oracle.random_chunk(V, T, B))


@pytest.mark.parametrize("cell", CELLS)
def test_carry_of_another_shape_is_refused(cell):
    workspace = new_workspace(make_model(cell)[0])
    for carry in (
        oracle.random_carry(cell, 3, B, H),
        oracle.random_carry(cell, 2, B + 1, H),
        oracle.random_carry(cell, 2, B, H + 1),
        {},
        oracle.random_carry("gru" if CELLS[cell].has_c else "lstm", 2, B, H),
    ):
        with pytest.raises(ConfigError):
            workspace.set_carry(carry)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_parameters_that_do_not_fit_are_refused(change):
    model, parameters = make_model("gru")
    before = model.flat.copy()
    if change == "missing":
        del parameters["rnn.weight_hh_l1"]
    elif change == "unknown":
        parameters["rnn.weight_hh_l2"] = parameters["rnn.weight_hh_l1"]
    else:
        parameters["rnn.weight_hh_l1"] = parameters["rnn.weight_hh_l1"].T.copy()
    with pytest.raises(ConfigError):
        model.set_parameters(parameters)
    assert_same_bits(model.flat, before)


# ---- threads -----------------------------------------------------------------------------------------------------


@pytest.fixture
def restore_threads():
    before = num_threads()
    yield
    set_num_threads(before)


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 2, 14])
@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_gives_the_same_bits(cell, batch_size, dtype, restore_threads, monkeypatch):
    """Losses, gradients, carry, and the parameters after four Adam steps with clipping and dropout; all shared."""
    for module, name in ((model_module, "SHARED_PRODUCTS"), (dropped, "SHARED_WEIGHTS"), (optim, "SHARED_BLOCKS")):
        monkeypatch.setattr(module, name, 0)
    chunks = [oracle.random_chunk(49, 9, batch_size, seed) for seed in range(4)]

    def run(threads):
        set_num_threads(threads)
        assert num_threads() == threads
        model, _ = make_model(cell, 49, 33, 2, 15, dtype=dtype)
        workspace = new_workspace(model, batch_size, 9)
        optimizer = Optimizer("adam", model)
        found = {}
        for step, (x, y) in enumerate(chunks):
            result = everything(workspace, x, y, Dropout(0.3, False, 5, 0.2), step)
            result["norm"] = np.float64(optimizer.step(workspace, 0.01, clip_norm=0.5))
            found |= {f"{step} {name}": value for name, value in result.items()}
        return found | {"parameters": model.flat.copy(), "losses": workspace.losses(*chunks[0]).copy()}

    alone = run(1)
    for threads in range(2, min(max_threads(), 4) + 1):
        assert_same_bits(run(threads), alone)


# ---- padding and NaN ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZES[0], SIZES[4], SIZES[7]])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_padding_stays_zero_through_training(cell, optimizer, size):
    """Of the flat buffers: parameters, gradients, optimiser state. Padding is what packing ones leaves at zero."""
    model, parameters, x, y, _ = make_sized(cell, size, "float32")
    padding = model.pack({name: np.ones(shape) for name, shape in model.shapes().items()}) == 0
    workspace = new_workspace(model, x.shape[1], x.shape[0])
    optimizer = Optimizer(optimizer, model)
    for step in range(4):
        workspace.loss_and_grads(x, y, dropout=Dropout(0.2, False, 1, 0.2), step=step)
        assert not workspace.grads[padding].any()
        optimizer.step(workspace, 0.01, clip_norm=1.0, clip_value=0.5)
        assert not model.flat[padding].any()
        for name, slot in optimizer.state.items():
            assert not slot[padding].any(), name
    assert_same_bits(model.pack(model.get_parameters()), model.flat)
    assert_same_bits(model.pack(model.unpack(workspace.grads)), workspace.grads)
    assert any((model.get_parameters()[name] != value).any() for name, value in parameters.items())


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_any_parameter_is_seen_in_the_loss(cell, inputs, dtype):
    """Clamps, maxima and vector selects must pass NaN on: a divergence that hides would go on training."""
    model, parameters = make_model(cell, dtype=dtype, **INPUTS[inputs])
    x, y = oracle.random_chunk(V, T, B, seed=2)
    workspace = new_workspace(model)
    optimizer = Optimizer("adam", model)
    for name, value in parameters.items():
        if not oracle.one_bias({name: np.ones_like(value)}, cell)[name].any():
            continue
        for where in (0, -1):
            broken = {name: value.copy() for name, value in parameters.items()}
            if name == "embedding.weight":
                broken[name][x[0, 0], where] = np.nan
            elif name == "rnn.weight_ih_l0" and inputs == "onehot":
                broken[name][where, x[0, 0]] = np.nan
            else:
                broken[name].flat[where] = np.nan
            model.set_parameters(broken)
            workspace.reset_carry()
            if name == "rnn.weight_hh_l0":  # zero times NaN is NaN, but let no shortcut for a zero carry decide
                workspace.logits(x)
            assert np.isnan(workspace.losses(x, y)).any(), name
            workspace.reset_carry()
            assert np.isnan(workspace.loss_and_grads(x, y)), name
            assert np.isnan(optimizer.step(workspace, 0.01, clip_norm=1.0)), name


@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_the_carry_is_seen_in_the_loss(cell):
    model, _ = make_model(cell)
    x, y = oracle.random_chunk(V, T, B, seed=2)
    workspace = new_workspace(model)
    for part in oracle.CELLS[cell].carried:
        carry = oracle.random_carry(cell, 2, B, H)
        carry[part][0, -1, -1] = np.nan
        workspace.set_carry(carry)
        assert np.isnan(workspace.loss_and_grads(x, y)), part


@pytest.mark.parametrize("restore", ["reset_carry", "set_carry"])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_workspace_recovers_from_a_chunk_of_nan(cell, inputs, restore):
    """With good parameters and a good carry again nothing of the NaN is left, not in the padding either."""
    model, parameters = make_model(cell, **INPUTS[inputs])
    x, y = oracle.random_chunk(V, T, B, seed=2)
    workspace, fresh = new_workspace(model), new_workspace(model)
    model.set_parameters({name: np.full_like(value, np.nan) for name, value in parameters.items()})
    assert np.isnan(workspace.loss_and_grads(x, y, dropout=DROPOUTS["on"]))
    model.set_parameters(parameters)
    if restore == "reset_carry":
        workspace.reset_carry()
    else:
        carry = oracle.random_carry(cell, 2, B, H)
        workspace.set_carry(carry)
        fresh.set_carry(carry)
    assert_same_bits(everything(workspace, x, y), everything(fresh, x, y))


# ---- PyTorch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_frozen_pytorch_numbers(cell, inputs, dtype_and_tolerance):
    """Numbers that PyTorch gave in float64, kept by fixtures/make_torch_fixtures.py; the tolerances are promises."""
    dtype, tolerance = dtype_and_tolerance
    frozen = read_fixture(cell, inputs)
    parameters = {name: value.astype(dtype) for name, value in frozen["param"].items()}
    options = INPUTS[inputs]
    model = Model(ModelConfig(cell, V, H, 2, options["E"], options.get("tied", False), dtype))
    model.set_parameters(parameters)
    x, y = frozen["chunk"]["x"], frozen["chunk"]["y"]
    carry = {part: value.astype(dtype) for part, value in frozen["carry_in"].items()}
    workspace = new_workspace(model, x.shape[1], x.shape[0], carry)
    assert_all_close({"logits": workspace.logits(x)}, {"logits": frozen["chunk"]["logits"]}, tolerance)
    workspace.set_carry(carry)
    assert abs(workspace.loss_and_grads(x, y) - frozen["chunk"]["loss"]) < tolerance
    assert_all_close(workspace.get_carry(), frozen["carry_out"], tolerance)
    assert_all_close(workspace.carry_grads(), frozen["carry_grad"], tolerance)
    assert_all_close(model.unpack(workspace.grads), frozen["grad"], tolerance)


@pytest.fixture(params=[("float32", 1e-5), ("float64", 1e-10)], ids=DTYPES)
def dtype_and_tolerance(request):
    return request.param


def read_fixture(cell, inputs):
    """{group: {name: array}} of one cell and kind of input."""
    groups = {}
    for key, value in load_file(Path(__file__).parent / "fixtures" / f"torch_{cell}.safetensors").items():
        kind, group, name = key.split("/")
        if kind == inputs:
            groups.setdefault(group, {})[name] = value
    return groups


@pytest.mark.torch
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_live_pytorch(cell, inputs, dtype_and_tolerance):
    """torch.nn.LSTM, GRU and RNN load get_parameters() after dropping the prefix, and agree with what we compute."""
    torch = pytest.importorskip("torch")
    dtype, tolerance = dtype_and_tolerance
    model, parameters = make_model(cell, V=17, L=3, dtype=dtype, **INPUTS[inputs])
    x, y = oracle.random_chunk(17, 9, 6)
    carry = oracle.random_carry(cell, 3, 6, H, dtype)
    workspace = new_workspace(model, 6, 9, carry)
    loss = workspace.loss_and_grads(x, y)

    ours = {name: torch.tensor(value, dtype=torch.float64) for name, value in model.get_parameters().items()}
    kind = getattr(torch.nn, CELLS[cell].torch_class)
    rnn = kind(INPUTS[inputs]["E"] or 17, H, num_layers=3, dtype=torch.float64)
    rnn.load_state_dict({name.removeprefix("rnn."): value for name, value in ours.items() if name.startswith("rnn.")})
    other = {name: value.requires_grad_() for name, value in ours.items() if not name.startswith("rnn.")}
    table = other.get("embedding.weight", torch.eye(17, dtype=torch.float64))
    starts = {part: torch.tensor(value, dtype=torch.float64).requires_grad_() for part, value in carry.items()}
    state = tuple(starts.values()) if len(starts) > 1 else starts["h"]
    h, _ = rnn(torch.nn.functional.embedding(torch.tensor(x, dtype=torch.long), table), state)
    logits = h @ other[oracle.output_name(other)].T + other["output.bias"]
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 17), torch.tensor(y, dtype=torch.long).reshape(-1))
    expected.backward()

    assert abs(loss - expected.item()) < tolerance
    grads = {name: value.grad.numpy() for name, value in other.items()}
    grads |= {"rnn." + name: value.grad.numpy() for name, value in rnn.named_parameters()}
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(grads, cell), tolerance)
    assert_all_close(workspace.carry_grads(), {part: value.grad.numpy() for part, value in starts.items()}, tolerance)


@pytest.mark.torch
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_twenty_training_steps_follow_pytorch(cell):
    """Adam, clipping, carried state, float32. Both round; over 20 steps the losses part by less than 1e-5 nats."""
    pytest.importorskip("torch")
    path = Path(__file__).parent.parent / "benchmarks" / "torch_parity.py"
    spec = importlib.util.spec_from_file_location("torch_parity", path)
    torch_parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(torch_parity)
    ours, theirs, norms, torch_norms = torch_parity.train_both(
        cell, steps=20, hidden_size=17, batch_size=7, seq_length=9
    )
    assert theirs[0] - theirs[-1] > 0.05  # something was learned
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(norms, torch_norms, rtol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding, tied", [(0, False), (9, False), (17, True)])
def test_every_number_of_the_gradient_is_written_and_none_is_read(cell, embedding, tied):
    """The gradient's memory held the transposed weights before: nothing of them may be left in it."""
    model, _ = make_model(cell, 21, 17, 2, embedding, tied=tied)
    x, y = oracle.random_chunk(21, 9, 7)
    found = []
    for left in (0, np.nan):
        workspace = new_workspace(model, 7, 9)
        workspace.grads[:] = left
        found.append(everything(workspace, x, y))
    assert_same_bits(*found)
    packed = model.pack(model.unpack(found[0]["grads"]))
    assert np.array_equal(packed != 0, found[0]["grads"] != 0)


@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_shards_changes_no_bit(cell):
    model, _ = make_model(cell, 17, 40, 2, dtype="float32")
    x, y = oracle.random_chunk(17, 9, 13)
    found = []
    for shards in (None, 1, 2, 5, 13, 40):
        workspace = new_workspace(model, 13, 9)
        workspace.shards = shards
        found.append(everything(workspace, x, y, Dropout(0.5)))
    for one in found[1:]:
        assert_same_bits(one, found[0])


def test_streams_are_dealt_to_more_shards_while_something_disturbs():
    pace = ShardPace()
    for seconds in (5.0, 1.0, 1.1, 1.2):  # the first step compiles
        pace.note(seconds)
        assert pace.shards(2, 50) == 2
    pace.note(1.9)
    assert pace.shards(2, 50) == 6 and pace.shards(2, 16) == 4 and pace.shards(2, 3) == 2
    for _ in range(ShardPace.PATIENCE):
        assert pace.shards(2, 50) == 6
        pace.note(1.0)
    assert pace.shards(2, 50) == 2
