"""Optimisers and clipping, held to the oracle's formulas and to torch.optim.

Gradients are put into `workspace.grads` by hand, so that what is tested is the update alone. In float64 both sides do
the same few operations and may differ by their rounding, which a division by a small root can raise a little: 1e-13.
"""

import numpy as np
import oracle
import pytest

from charrnn.errors import CharRNNError
from charrnn.kernels import max_threads, num_threads, set_num_threads
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig
from charrnn.training.optimisers import Optimizer

B, T, E, H, V = 2, 3, 4, 5, 7
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
CASES = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("adagrad", {}),
    ("adagrad", {"eps": 1e-4}),
    ("rmsprop", {}),
    ("rmsprop", {"alpha": 0.99, "eps": 1e-4}),
    ("adam", {}),
    ("adam", {"betas": (0.8, 0.95), "eps": 1e-4}),
    ("adamw", {}),
    ("adamw", {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.2}),
]
SLOTS = {  # torch.optim's names
    "sgd": {"momentum_buffer"},
    "adagrad": {"sum"},
    "rmsprop": {"square_avg"},
    "adam": {"exp_avg", "exp_avg_sq"},
    "adamw": {"exp_avg", "exp_avg_sq"},
}
NAMES = ("sgd", "adagrad", "rmsprop", "adam", "adamw")


def make(cell="gru", dtype="float64", tied=False):
    """A model, its parameters, a workspace."""
    options = (H, True) if tied else (E, False)
    parameters = oracle.random_parameters(cell, V, H, 2, *options, dtype, seed=1)
    model = Model(ModelConfig(cell, V, H, 2, *options, dtype))
    model.set_parameters(parameters)
    return model, parameters, Workspace(model, B, T)


def random_grads(parameters, cell, seed, scale=1.0):
    """Gradients of very different sizes from tensor to tensor, with some entries exactly zero."""
    rng = np.random.default_rng(seed)
    grads = {}
    for name, value in parameters.items():
        grads[name] = scale * 10 ** rng.uniform(-2, 0) * rng.standard_normal(value.shape)
        grads[name][rng.random(value.shape) < 0.1] = 0
    return {name: value.astype(parameters[name].dtype) for name, value in oracle.one_bias(grads, cell).items()}


def assert_parameters_close(model, parameters, tolerance):
    for name, value in model.get_parameters().items():
        np.testing.assert_allclose(value, parameters[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "clipping", [{}, {"clip_norm": 0.7}, {"clip_value": 0.05}, {"clip_norm": 0.2, "clip_value": 0.05}]
)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name, hyperparameters", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_updates_equal_the_oracle(cell, name, hyperparameters, dtype, clipping):
    model, parameters, workspace = make(cell, dtype)
    parameters = {key: value.astype(np.float64) for key, value in parameters.items()}
    ours, theirs = Optimizer(name, model, **hyperparameters), oracle.Optimizer(name, **hyperparameters)
    for step in range(6):
        grads = random_grads(model.get_parameters(), cell, step)
        workspace.grads[...] = model.pack(grads)
        learning_rate = 0.01 / (1 + step)
        norm = ours.step(workspace, learning_rate, **clipping)
        grads = {key: value.astype(np.float64) for key, value in grads.items()}
        expected = theirs.step(parameters, grads, learning_rate, **clipping)
        assert abs(norm - expected) < TOLERANCE[dtype] * expected
    assert ours.steps == 6
    assert_parameters_close(model, parameters, TOLERANCE[dtype])


@pytest.mark.torch
@pytest.mark.parametrize("name, hyperparameters", CASES)
def test_updates_equal_pytorch(name, hyperparameters):
    """torch.optim with clip_grad_value_ and clip_grad_norm_ before it; the defaults are torch's, rmsprop's apart."""
    torch = pytest.importorskip("torch")
    model, parameters, workspace = make("lstm")
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in parameters.items()}
    kind = {"sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}[name]
    named = {"alpha": 0.95} | hyperparameters if name == "rmsprop" else dict(hyperparameters)
    theirs = getattr(torch.optim, kind)(leaves.values(), lr=0.01, **named)
    ours = Optimizer(name, model, **hyperparameters)
    for step in range(6):
        grads = random_grads(parameters, "lstm", step)
        workspace.grads[...] = model.pack(grads)
        ours.step(workspace, 0.01, clip_norm=0.3, clip_value=0.2)
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(grads[key])
        torch.nn.utils.clip_grad_value_(leaves.values(), 0.2)
        torch.nn.utils.clip_grad_norm_(leaves.values(), 0.3)
        theirs.step()
    assert_parameters_close(model, {key: leaf.detach().numpy() for key, leaf in leaves.items()}, 1e-13)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_training_steps_follow_the_oracle(cell, name, tied):
    """Loss, norm and parameters, carried state, float64: what the workspace derives from them is renewed each step.

    An adaptive step divides by the size of the gradient, so a rounding of 1e-16 in a gradient of 1e-6 shows as 1e-10.
    """
    model, parameters, workspace = make(cell, tied=tied)
    ours, theirs = Optimizer(name, model), oracle.Optimizer(name)
    carry = None
    for step in range(10):
        x, y = oracle.random_chunk(V, T, B, seed=step)
        expected = oracle.loss_and_grads(parameters, cell, x, y, carry)
        carry = expected.carry
        assert abs(workspace.loss_and_grads(x, y) - expected.loss) < 1e-9
        norm = theirs.step(parameters, oracle.one_bias(expected.grads, cell), 0.02, clip_norm=0.5)
        assert abs(ours.step(workspace, 0.02, clip_norm=0.5) - norm) < 1e-9 * norm
    assert_parameters_close(model, parameters, 1e-9)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_norm_is_that_of_the_parameters_gradient_before_clipping(dtype):
    """Not of any second copy that a tied matrix or a packed layout may keep."""
    for cell in CELLS:
        for tied in (False, True):
            model, parameters, workspace = make(cell, dtype, tied)
            x, y = oracle.random_chunk(V, T, B)
            workspace.loss_and_grads(x, y)
            expected = oracle.global_norm(model.unpack(workspace.grads))
            optimizer = Optimizer("sgd", model)
            for clipping in ({}, {"clip_norm": 0.01}, {"clip_value": 0.001}, {"clip_norm": 0.01, "clip_value": 0.001}):
                workspace.reset_carry()
                model.set_parameters(parameters)
                workspace.loss_and_grads(x, y)
                assert abs(optimizer.step(workspace, 0.01, **clipping) - expected) < TOLERANCE[dtype] * expected


def test_norm_clipping_leaves_a_small_gradient_alone_and_shortens_a_large_one():
    model, parameters, workspace = make()
    for scale, clip_norm in ((0.001, 5.0), (100.0, 5.0)):
        model.set_parameters(parameters)
        grads = random_grads(parameters, "gru", 0, scale)
        workspace.grads[...] = model.pack(grads)
        norm = Optimizer("sgd", model).step(workspace, 1.0, clip_norm=clip_norm)
        moved = {name: value - model.get_parameters()[name] for name, value in parameters.items()}
        assert (norm > clip_norm) == (scale == 100.0)
        assert abs(oracle.global_norm(moved) - min(norm, clip_norm)) < 2e-6  # torch's 1e-6 in the denominator
    assert abs(norm - oracle.global_norm(grads)) < 1e-12 * norm


@pytest.mark.parametrize("name", NAMES)
def test_zero_gradients_move_nothing_but_the_weight_decay(name):
    model, parameters, workspace = make()
    optimizer = Optimizer(name, model)
    for _ in range(3):
        workspace.grads[...] = 0
        assert optimizer.step(workspace, 0.01, clip_norm=1.0, clip_value=1.0) == 0
    decayed = (1 - 0.01 * 0.01) ** 3 if name == "adamw" else 1.0
    assert_parameters_close(model, {key: decayed * value for key, value in parameters.items()}, 1e-15)
    if name != "adamw":
        np.testing.assert_array_equal(model.flat, model.pack(parameters))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "clipping", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}, {"clip_norm": 1.0, "clip_value": 1.0}]
)
@pytest.mark.parametrize("name", NAMES)
def test_non_finite_norm_is_returned_and_changes_nothing(name, clipping, bad):
    model, parameters, workspace = make()
    optimizer = Optimizer(name, model)
    workspace.grads[...] = model.pack(random_grads(parameters, "gru", 0))
    optimizer.step(workspace, 0.01)
    before, slots = model.flat.copy(), {key: value.copy() for key, value in optimizer.state.items()}
    grads = random_grads(parameters, "gru", 1)
    grads["rnn.weight_hh_l1"][3, 2] = bad
    workspace.grads[...] = model.pack(grads)
    assert not np.isfinite(optimizer.step(workspace, 0.01, **clipping))
    np.testing.assert_array_equal(model.flat, before)
    assert optimizer.steps == 1 and set(optimizer.state) == set(slots)
    for key, value in slots.items():
        np.testing.assert_array_equal(optimizer.state[key], value, err_msg=key)


@pytest.mark.parametrize("name, hyperparameters", CASES)
def test_state_is_named_flat_arrays_from_which_training_goes_on(name, hyperparameters):
    """As a checkpoint does it: copy parameters, slots and steps into new objects, go on, arrive at the same bits."""
    model, parameters, workspace = make()
    optimizer = Optimizer(name, model, **hyperparameters)
    assert optimizer.steps == 0
    slots = SLOTS[name] if name != "sgd" or hyperparameters else set()
    assert set(optimizer.state) == slots
    for value in optimizer.state.values():
        assert value.shape == model.flat.shape and value.dtype == model.flat.dtype

    def go_on(model, workspace, optimizer, steps):
        for step in steps:
            workspace.grads[...] = model.pack(random_grads(parameters, "gru", step))
            optimizer.step(workspace, 0.01, clip_norm=0.5)

    go_on(model, workspace, optimizer, range(3))
    other = Model(model.config)
    other.set_parameters(model.get_parameters())
    resumed = Optimizer(name, other, **hyperparameters)
    for key, value in optimizer.state.items():
        resumed.state[key][...] = other.pack(model.unpack(value))
    resumed.steps = optimizer.steps
    go_on(other, Workspace(other, B, T), resumed, range(3, 6))
    go_on(model, workspace, optimizer, range(3, 6))
    np.testing.assert_array_equal(other.flat, model.flat)
    for key, value in optimizer.state.items():
        np.testing.assert_array_equal(resumed.state[key], value, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_updates_give_the_same_bits_for_any_number_of_threads(name):
    """With enough parameters that the threads have something to share: 3 x 100 x 100 and more."""
    before = num_threads()
    found = []
    try:
        for threads in range(1, min(max_threads(), 4) + 1):
            set_num_threads(threads)
            model = Model.initialise(ModelConfig("gru", 50, 100, 2), 1)
            workspace = Workspace(model, B, T)
            optimizer = Optimizer(name, model)
            norms = []
            for step in range(3):
                workspace.loss_and_grads(*oracle.random_chunk(50, T, B, seed=step))
                norms.append(optimizer.step(workspace, 0.01, clip_norm=0.5))
            found.append((norms, model.flat.copy()))
    finally:
        set_num_threads(before)
    for norms, flat in found[1:]:
        assert norms == found[0][0]
        np.testing.assert_array_equal(flat, found[0][1])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NAMES)
def test_the_average_equals_its_formula_and_the_updates_know_nothing_of_it(name, dtype):
    model, parameters, workspace = make(dtype=dtype)
    plain = Model(model.config)
    plain.set_parameters(parameters)
    ours, theirs, average = Optimizer(name, model, ema=0.6), Optimizer(name, plain), None
    assert_same = np.testing.assert_array_equal
    assert_same(ours.average.flat, model.flat)
    for k in range(1, 31):  # 10 / (k + 9) reaches 0.4 at 16
        workspace.grads[...] = model.pack(random_grads(parameters, "gru", k))
        ours.step(workspace, 0.01, clip_norm=0.5)
        theirs.step(workspace, 0.01, clip_norm=0.5)
        assert_same(model.flat, plain.flat)
        average = oracle.average(
            average, {key: value.astype(np.float64) for key, value in model.get_parameters().items()}, k, 0.6
        )
    assert_parameters_close(ours.average, average, TOLERANCE[dtype])
    before = ours.average.flat.copy()
    workspace.grads[...] = np.nan
    ours.step(workspace, 0.01)
    assert_same(ours.average.flat, before)
    assert theirs.average is None


def test_the_average_gives_the_same_bits_for_any_number_of_threads():
    before, found = num_threads(), []
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            model = Model.initialise(ModelConfig("gru", 50, 100, 2), 1)
            workspace, optimizer = Workspace(model, B, T), Optimizer("adam", model, ema=0.9)
            for step in range(3):
                workspace.loss_and_grads(*oracle.random_chunk(50, T, B, seed=step))
                optimizer.step(workspace, 0.01)
            found.append(optimizer.average.flat)
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != model.flat).any()


def test_unknown_names_are_refused():
    model, *_ = make()
    with pytest.raises(CharRNNError):
        Optimizer("lbfgs", model)
    with pytest.raises((CharRNNError, TypeError)):
        Optimizer("adam", model, momentum=0.9)
