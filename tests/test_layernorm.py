"""Layer normalisation through Model, Workspace and Generation: held to the oracle, finite differences and PyTorch.

Tolerances are those of test_model.py, times AMPLIFIED: a sum's rounding is divided by its layer's deviation, about 0.1
here.
"""

import numpy as np
import oracle
import pytest
from test_generation import draw, make_generation
from test_model import (
    DROPOUTS,
    INPUTS,
    OPTIMIZERS,
    PARITY,
    SIZES,
    TORCH_CELLS,
    B,
    H,
    T,
    V,
    as_float64,
    assert_all_close,
    assert_same_bits,
    central_difference,
    check_every_entry,
    everything,
    movable_loss,
    new_workspace,
    read_whole_and_in_parts,
    restore_threads,
)

from charrnn.errors import ConfigError
from charrnn.kernels import max_threads, set_num_threads
from charrnn.kernels.host import has_bfloat16
from charrnn.model import dropped
from charrnn.model import workspace as model_module
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, DTYPES, ModelConfig
from charrnn.training import optimisers as optim
from charrnn.training.optimisers import Optimizer

AMPLIFIED = 10
__all__ = ["restore_threads"]  # the fixture


def make_model(cell, V=V, H=H, L=2, E=0, tied=False, dtype="float64", seed=1):
    """A model with random parameters, gains in 0.2..0.6, and those parameters."""
    parameters = oracle.random_parameters(cell, V, H, L, E, tied, dtype, seed, layer_norm=True)
    model = Model(ModelConfig(cell, V, H, L, E, tied, dtype, layer_norm=True))
    model.set_parameters(parameters)
    return model, parameters


def make_sized(cell, size, dtype):
    b, t, h, v, layers, e = size
    model, parameters = make_model(cell, v, h, layers, h if e < 0 else e, e < 0, dtype)
    return (
        model,
        as_float64(parameters),
        *oracle.random_chunk(v, t, b, seed=2),
        oracle.random_carry(cell, layers, b, h, dtype, seed=3),
    )


# ---- the parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_table_of_parameters_has_the_gains_and_they_survive_packing(cell, inputs):
    model, parameters = make_model(cell, L=3, **INPUTS[inputs])
    assert list(model.shapes().items()) == list(oracle.shapes(cell, V, H, 3, layer_norm=True, **INPUTS[inputs]).items())
    assert_same_bits(model.get_parameters(), parameters)
    assert_same_bits(model.unpack(model.flat), parameters)
    free = oracle.one_bias({name: np.ones_like(value) for name, value in parameters.items()}, cell)
    assert model.num_parameters == sum(int(value.sum()) for value in free.values())


@pytest.mark.parametrize("cell", CELLS)
def test_gains_begin_at_one_and_change_no_other_draw(cell):
    with_it, without = (
        Model.initialise(ModelConfig(cell, V, H, 2, layer_norm=on), 1).get_parameters() for on in (True, False)
    )
    gains = {name: value for name, value in with_it.items() if name not in without}
    assert set(gains) == {"rnn.norm_gain_l0", "rnn.norm_gain_l1"} and all(
        (value == 1).all() for value in gains.values()
    )
    assert_same_bits({name: with_it[name] for name in without}, without)


def test_what_is_no_truth_value_is_refused():
    for value in (1, 0, "x", None):
        with pytest.raises(ConfigError, match="layer_norm must be true or false"):
            ModelConfig("lstm", V, H, 1, layer_norm=value)


# ---- against the oracle, finite differences and PyTorch ----------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [SIZES[k] for k in (0, 1, 2, 4, 5, 7, 8, 10)])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_equal_the_oracle(cell, size, dtype):
    model, parameters, x, y, carry = make_sized(cell, size, dtype)
    workspace = new_workspace(model, x.shape[1], x.shape[0], carry)
    for dropout in (None, Dropout(0.3, False, 3, 0.2)):
        expected = oracle.loss_and_grads(parameters, cell, x, y, as_float64(carry), dropout, 5)
        tolerance = AMPLIFIED * PARITY[dtype] * (1 if dropout is None else 2)
        if dropout is None:
            workspace.set_carry(carry)
            assert_all_close(
                {"logits": workspace.logits(x)} | workspace.get_carry(),
                {"logits": expected.logits} | expected.carry,
                tolerance,
            )
        workspace.set_carry(carry)
        loss = workspace.loss_and_grads(x, y, dropout, 5)
        assert abs(loss - expected.loss) < tolerance * max(1, expected.loss)
        assert_all_close(workspace.get_carry(), expected.carry, tolerance)
        assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
        assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_of_one_unit_is_its_biases(cell):
    """One number less its mean is 0: neither what enters nor the state nor the gain has an effect, or a gradient."""
    model, parameters = make_model(cell, V, 1, 1)
    x, y = oracle.random_chunk(V, T, B)
    workspace = new_workspace(model)
    logits = workspace.logits(x)
    workspace.reset_carry()
    assert_same_bits(workspace.logits(x[::-1].copy()), logits)
    workspace.loss_and_grads(x, y)
    for name, value in model.unpack(workspace.grads).items():
        still = any(kind in name for kind in ("weight_ih", "weight_hh", "norm_gain"))
        assert value.any() != still or "bias_hh" in name, name


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_of_every_single_parameter_equals_its_central_difference(cell):
    """Two layers with an embedding, dropout between them; bounds as below."""
    model, parameters = make_model(cell, H=5, L=2, E=4)
    check_every_entry(model, parameters, DROPOUTS["on"], 2e-4, 1e-11)


@pytest.mark.parametrize("dropout", ["off", "on"])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(cell, layers, inputs, dropout):
    """One random direction through every parameter tensor and the carry in; bounds as in test_model.py, with eps 2e-4.

    (The loss bends more: 1e-3 would leave an error of the differences of 1e-9. Its rounding over 2e-4 is 1e-12.)
    """
    model, parameters = make_model(cell, H=5, L=layers, **INPUTS[inputs])
    loss, workspace, carry = movable_loss(model, parameters, DROPOUTS[dropout])
    loss()
    grads = {name: value.copy() for name, value in (model.unpack(workspace.grads) | workspace.carry_grads()).items()}
    rng = np.random.default_rng(4)
    for name, value in (parameters | carry).items():
        direction = rng.standard_normal(value.shape) * oracle.one_bias({name: np.ones_like(value)}, cell)[name]
        if not direction.any():
            continue
        direction /= np.linalg.norm(direction)
        expected, derivative = central_difference(loss, value, direction, 2e-4), (grads[name] * direction).sum()
        assert abs(derivative) > 1e-6, f"{name}: the direction chosen tests nothing"
        assert abs(derivative - expected) < 1e-6 * abs(expected) + 1e-11, (name, derivative, expected)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorchs_layer_norm_and_autograd_agree(cell, dtype):
    """A loop over steps written with torch.nn.functional.layer_norm; gradients by autograd, in float64."""
    torch = pytest.importorskip("torch")
    model, _ = make_model(cell, 17, H, 2, dtype=dtype)
    x, y = oracle.random_chunk(17, 9, 6)
    carry = oracle.random_carry(cell, 2, 6, H, dtype)
    workspace = new_workspace(model, 6, 9, carry)
    loss = workspace.loss_and_grads(x, y)
    p = {
        name: torch.tensor(value, dtype=torch.float64).requires_grad_()
        for name, value in model.get_parameters().items()
    }
    starts = {part: torch.tensor(value, dtype=torch.float64).requires_grad_() for part, value in carry.items()}
    up = torch.nn.functional.one_hot(torch.tensor(x, dtype=torch.long), 17).to(torch.float64)
    for l in range(2):
        Wx, Wh, bx, bh, gain = (
            p[f"rnn.{kind}_l{l}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_gain")
        )

        def norm(s, k, gain=gain):
            return torch.nn.functional.layer_norm(s, (H,), gain[k * H : (k + 1) * H], eps=1e-5)

        h, hs = starts["h"][l], []
        c = starts["c"][l] if cell == "lstm" else None
        for t in range(9):
            a, m = up[t] @ Wx.T, h @ Wh.T
            if cell == "gru":
                a_r, a_z, a_n = a.split(H, 1)
                m_r, m_z, m_n = m.split(H, 1)
                b_r, b_z, b_n = bx.split(H)
                r, z = torch.sigmoid(norm(a_r + m_r, 0) + b_r), torch.sigmoid(norm(a_z + m_z, 1) + b_z)
                n = torch.tanh(norm(a_n, 2) + b_n + r * (norm(m_n, 3) + bh[2 * H :]))
                h = (1 - z) * n + z * h
            elif cell == "rnn":
                h = torch.tanh(norm(a + m, 0) + bx)
            else:
                i, f, g, o = (norm(s, k) + b for k, (s, b) in enumerate(zip((a + m).split(H, 1), bx.split(H))))
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
        up = torch.stack(hs)
    logits = up @ p["output.weight"].T + p["output.bias"]
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 17), torch.tensor(y, dtype=torch.long).reshape(-1))
    expected.backward()
    tolerance = AMPLIFIED * PARITY[dtype]
    assert abs(loss - expected.item()) < tolerance
    grads = {name: np.zeros(value.shape) if value.grad is None else value.grad.numpy() for name, value in p.items()}
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(grads, cell), tolerance)
    assert_all_close(workspace.carry_grads(), {part: value.grad.numpy() for part, value in starts.items()}, tolerance)


# ---- the same bits -----------------------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_and_single_steps_and_streams_alone_give_the_bits_of_the_whole(cell):
    model, _ = make_model(cell, 17, 17, 2, 4, dtype="float32")
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 2, 7, 17, "float32")
    whole, logits = read_whole_and_in_parts(model, x, carry)
    one = new_workspace(model, 1, 9, {part: value[:, 3:4] for part, value in carry.items()})
    assert_same_bits(one.logits(x[:, 3:4].copy()), logits[:, 3:4])
    trained = new_workspace(model, 7, 9, carry)
    trained.loss_and_grads(x, y)
    assert_same_bits(trained.get_carry(), whole.get_carry())


@pytest.mark.slow
@pytest.mark.tile
@pytest.mark.parametrize(
    "precision",
    [
        "float32",
        pytest.param("bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512-BF16")),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_threads_shards_and_blocks_change_no_bit(cell, precision, restore_threads, monkeypatch):
    """The gradient's parts are summed by stream, whoever walks it; the parameters after three steps are the same."""
    for module, name in ((model_module, "SHARED_PRODUCTS"), (dropped, "SHARED_WEIGHTS"), (optim, "SHARED_BLOCKS")):
        monkeypatch.setattr(module, name, 0)
    chunks = [oracle.random_chunk(49, 9, 13, seed) for seed in range(3)]

    def run(threads, shards, block_bytes):
        set_num_threads(threads)
        monkeypatch.setattr(model_module, "BLOCK_BYTES", block_bytes)
        model, _ = make_model(cell, 49, 33, 2, 15, dtype="float32")
        workspace, optimizer = Workspace(model, 13, 9, precision=precision), Optimizer("adam", model)
        workspace.shards = shards
        found = {}
        for step, (x, y) in enumerate(chunks):
            result = everything(workspace, x[: 9 - step], y[: 9 - step], Dropout(0.3, False, 5, 0.2), step)
            result["norm"] = np.float64(optimizer.step(workspace, 0.01, clip_norm=0.5))
            found |= {f"{step} {name}": value for name, value in result.items()}
        return found | {"parameters": model.flat.copy()}

    whole = 1 << 30
    alone = run(1, 1, whole)
    for threads, shards, block_bytes in (
        (1, 5, whole),
        (1, 13, 1),
        (min(2, max_threads()), 3, 4000),
        (min(2, max_threads()), None, whole),
    ):
        assert_same_bits(run(threads, shards, block_bytes), alone)


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_is_written_whole_and_a_chunk_of_nan_leaves_nothing(cell):
    model, parameters = make_model(cell, 21, 17, 2)
    x, y = oracle.random_chunk(21, 9, 7)
    fresh, used = new_workspace(model, 7, 9), new_workspace(model, 7, 9)
    used.grads[:] = np.nan
    model.set_parameters({name: np.full_like(value, np.nan) for name, value in parameters.items()})
    assert np.isnan(used.loss_and_grads(x, y, dropout=DROPOUTS["on"]))
    used.reset_carry()
    model.set_parameters(parameters)
    found = everything(used, x, y)
    assert_same_bits(found, everything(fresh, x, y))
    assert_same_bits(model.pack(model.unpack(found["grads"])), found["grads"])  # nothing in the padding


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_padding_stays_zero_through_training_and_gains_move(optimizer):
    for cell in CELLS:
        model, parameters, x, y, _ = make_sized(cell, SIZES[7], "float32")
        padding = model.pack({name: np.ones(shape) for name, shape in model.shapes().items()}) == 0
        workspace, rule = new_workspace(model, x.shape[1], x.shape[0]), Optimizer(optimizer, model)
        for step in range(3):
            workspace.loss_and_grads(x, y, Dropout(0.2, False, 1, 0.2), step)
            assert not workspace.grads[padding].any()
            rule.step(workspace, 0.01, clip_norm=1.0)
            assert not model.flat[padding].any()
        for name in ("rnn.norm_gain_l0", "rnn.norm_gain_l1"):
            assert (model.get_parameters()[name] != parameters[name]).mean() > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_a_gain_is_seen_in_the_loss(cell, dtype):
    model, parameters = make_model(cell, dtype=dtype)
    x, y = oracle.random_chunk(V, T, B, seed=2)
    workspace = new_workspace(model)
    for where in (0, -1):
        broken = {name: value.copy() for name, value in parameters.items()}
        broken["rnn.norm_gain_l0"][where] = np.nan
        model.set_parameters(broken)
        workspace.reset_carry()
        assert np.isnan(workspace.loss_and_grads(x, y))


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512-BF16")
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_float32_but_for_rounding(cell):
    model, _ = make_model(cell, 65, 100, 2, 20, dtype="float32")
    x, y = oracle.random_chunk(65, 9, 7)
    found = []
    for precision in ("float32", "bfloat16"):
        workspace = Workspace(model, 7, 9, precision=precision)
        found.append((workspace.loss_and_grads(x, y), model.unpack(workspace.grads)))
    (loss, exact), (narrowed_loss, narrowed) = found
    assert 0 < abs(narrowed_loss - loss) < 4e-3
    for name, array in exact.items():
        assert np.linalg.norm(narrowed[name] - array) <= 0.03 * np.linalg.norm(array) + 1e-4, name


# ---- generation --------------------------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_drawing_equals_reading_what_was_drawn_and_no_stream_or_worker_changes_a_bit(cell, dtype, inputs):
    model, _ = make_model(
        cell,
        17,
        19,
        2,
        dtype=dtype,
        **{**INPUTS[inputs], "E": min(INPUTS[inputs]["E"], 4) or 0} if inputs != "tied" else {"E": 19, "tied": True},
    )
    whole, count = None, 6
    for streams, workers in ((67, None), (67, 5), (1, 1), (1, 5), (9, 2)):
        made = make_generation(model, streams, workers=workers)
        ids, losses, logits, finite = draw(made, count)
        whole = (ids, losses, logits) if whole is None else whole
        for array, all_streams in zip((ids, losses, logits), whole):
            assert_same_bits(array, all_streams[:, :streams])
        read = make_generation(model, streams, workers=workers)
        read.read(np.concatenate([[np.arange(streams) % 17], ids[:-1]]))
        assert_same_bits(read.get_carry(), made.get_carry())
    workspace = Workspace(model, 9, count, training=False)
    expected = workspace.logits(np.concatenate([[np.arange(9) % 17], ids[:-1]]))
    bound = AMPLIFIED * PARITY[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=bound)
    for name, value in workspace.get_carry().items():
        np.testing.assert_allclose(made.get_carry()[name], value, rtol=0, atol=bound)


def test_many_blocks_on_a_large_layer_are_one_workers_bits():
    """Several panels and groups a phase, over 60 steps: every group's last panel must find all the others' sums."""
    model, _ = make_model("lstm", 17, 150, 2, dtype="float32")
    expected = draw(make_generation(model, 40, workers=1), 60)
    for workers in (2, 3):
        found = draw(make_generation(model, 40, workers=workers), 60)
        for one, other in zip(found[:3], expected[:3]):
            assert_same_bits(one, other)
