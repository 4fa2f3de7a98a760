"""Zoneout through Model, Workspace and Generation: held to the oracle, finite differences and PyTorch; masks, bits.

The tolerances are those of test_model.py.
"""

import numpy as np
import oracle
import pytest
from test_model import (
    INPUTS,
    PARITY,
    SIZES,
    TORCH_CELLS,
    as_float64,
    assert_all_close,
    assert_same_bits,
    central_difference,
    everything,
    movable_loss,
    new_workspace,
    read_whole_and_in_parts,
    restore_threads,
)

from charrnn.errors import ConfigError
from charrnn.kernels import set_num_threads
from charrnn.kernels.host import has_bfloat16
from charrnn.model import workspace as model_module
from charrnn.model.clamps import Clamp
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.sampling.generation import Generation
from charrnn.spec import CELLS, DTYPES, ModelConfig

__all__ = ["restore_threads"]  # the fixture

B, T, H, V = 2, 3, 5, 7
DROPOUTS = {"expectation": None, "masks": Dropout(0.0, False, 11), "masks and dropout": Dropout(0.4, False, 11, 0.3)}


def make_model(cell, V=V, H=H, L=2, E=0, tied=False, dtype="float64", seed=1, zoneout=0.3, layer_norm=False):  # noqa: PLR0913
    """A model with zoneout and random parameters, and those parameters."""
    parameters = oracle.random_parameters(cell, V, H, L, E, tied, dtype, seed, layer_norm)
    model = Model(ModelConfig(cell, V, H, L, E, tied, dtype, zoneout, layer_norm))
    model.set_parameters(parameters)
    return model, parameters


# ---- the mathematics ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("size", SIZES[::3])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_equal_the_oracle(cell, size, dropout, dtype):
    """Masks are equal to the bit: one unit that keeps its state too much would move the loss beyond the tolerance."""
    b, t, h, v, layers, e = size
    dropout = DROPOUTS[dropout]
    for zoneout, step in ((0.05, 0), (0.5, 123_456), (0.9, 3)):
        model, parameters = make_model(cell, v, h, layers, h if e < 0 else e, e < 0, dtype, zoneout=zoneout)
        x, y = oracle.random_chunk(v, t, b, seed=2)
        carry = oracle.random_carry(cell, layers, b, h, dtype, seed=3)
        expected = oracle.loss_and_grads(as_float64(parameters), cell, x, y, as_float64(carry), dropout, step, zoneout)
        tolerance = PARITY[dtype] * (1 if dropout is None else 1 / (1 - dropout.rate) / (1 - dropout.weight_rate))
        workspace = new_workspace(model, b, t, carry)
        loss = workspace.loss_and_grads(x, y, dropout, step)
        assert abs(loss - expected.loss) < tolerance * max(1, expected.loss)
        assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
        assert_all_close(workspace.get_carry(), expected.carry, tolerance)
        assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)
        reader = new_workspace(model, b, t, carry, training=False)
        of_reader = oracle.forward(as_float64(parameters), cell, x, as_float64(carry), zoneout=zoneout)
        assert_all_close(
            {"logits": reader.logits(x)} | reader.get_carry(),
            {"logits": of_reader.logits} | of_reader.carry,
            PARITY[dtype],
        )


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_with_layer_normalisation_all_equals_the_oracle_too(cell, dropout):
    dropout, b, h = DROPOUTS[dropout], 5, 21
    model, parameters = make_model(cell, H=h, layer_norm=True)
    x, y = oracle.random_chunk(V, T, b, seed=2)
    carry = oracle.random_carry(cell, 2, b, h, seed=3)
    expected = oracle.loss_and_grads(parameters, cell, x, y, carry, dropout, 7, 0.3)
    workspace = new_workspace(model, b, T, carry)
    assert abs(workspace.loss_and_grads(x, y, dropout, 7) - expected.loss) < 1e-10
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), 1e-10)
    assert_all_close(workspace.carry_grads(), expected.carry_grads, 1e-10)
    generation = Generation(model, b)
    generation.set_carry(carry)
    generation.read(x)
    assert_all_close(generation.get_carry(), oracle.forward(parameters, cell, x, carry, zoneout=0.3).carry, 1e-10)


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(cell, inputs, dropout):
    """With the masks of one step held fixed, and in expectation: the bounds and their reasons are test_model.py's."""
    dropout = DROPOUTS[dropout]
    model, parameters = make_model(cell, **INPUTS[inputs])
    loss, workspace, carry = movable_loss(model, parameters, dropout)
    loss()
    grads, carry_grads = model.unpack(workspace.grads), workspace.carry_grads()
    rng = np.random.default_rng(4)
    for tensors, analytic in ((parameters, grads), (carry, carry_grads)):
        for name, value in tensors.items():
            free = oracle.one_bias({name: np.ones_like(value)}, cell)[name]
            if not free.any():
                continue
            direction = rng.standard_normal(value.shape) * free
            direction /= np.linalg.norm(direction)
            expected, derivative = central_difference(loss, value, direction), (analytic[name] * direction).sum()
            size = max(abs(expected), abs(derivative))
            assert abs(derivative - expected) < 1e-6 * size + 1e-12, (name, derivative, expected)
            assert size > 1e-6, f"{name}: the direction chosen tests nothing"


@pytest.mark.torch
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_a_loop_over_pytorchs_cells_gives_the_same(cell, masked):
    torch = pytest.importorskip("torch")
    zoneout, dropout, L = 0.3, Dropout(0.0, False, 5) if masked else None, 2
    model, parameters = make_model(cell, zoneout=zoneout)
    x, y = oracle.random_chunk(V, 9, 6)
    carry = oracle.random_carry(cell, L, 6, H)
    workspace = new_workspace(model, 6, 9, carry)
    loss = workspace.loss_and_grads(x, y, dropout, step=4)

    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    starts = {part: torch.tensor(value, requires_grad=True) for part, value in carry.items()}
    up = torch.nn.functional.one_hot(torch.tensor(x, dtype=torch.long), V).double()
    kind = getattr(torch.nn, CELLS[cell].torch_class + "Cell")
    for l in range(L):
        module = kind(up.shape[2], H, dtype=torch.float64)
        own = {kind: leaves[f"rnn.{kind}_l{l}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        kept = [
            torch.tensor(oracle.zone_shares(zoneout, dropout, 4, l, part, 9, 6, H))
            for part in oracle.CELLS[cell].carried
        ]
        state, outputs = [starts[part][l] for part in oracle.CELLS[cell].carried], []
        for t in range(9):
            made = torch.func.functional_call(module, own, (up[t], tuple(state) if len(state) > 1 else state[0]))
            made = made if len(state) > 1 else (made,)
            state = [k[t] * before + (1 - k[t]) * after for k, before, after in zip(kept, state, made)]
            outputs.append(state[0])
        up = torch.stack(outputs)
    logits = up @ leaves["output.weight"].T + leaves["output.bias"]
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(y, dtype=torch.long).reshape(-1))
    expected.backward()

    assert abs(loss - expected.item()) < 1e-13
    grads = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(grads, cell), 2e-14)
    assert_all_close(workspace.carry_grads(), {part: leaf.grad.numpy() for part, leaf in starts.items()}, 2e-14)


# ---- the masks ---------------------------------------------------------------------------------------------------


def kept_units(seed, step, rate=0.3, dropout=0.0):
    """Masks of h and of c, (2, L, B, H), of a chunk of one step: where the carry is as it was."""
    model = Model.initialise(ModelConfig("lstm", V, 64, 2, zoneout=rate), 1)
    before = oracle.random_carry("lstm", 2, 40, 64, "float32")
    workspace = new_workspace(model, 40, 1, before)
    workspace.loss_and_grads(*oracle.random_chunk(V, 1, 40), Dropout(dropout, False, seed), step)
    after = workspace.get_carry()
    return np.array([after[part] == before[part] for part in "hc"])


def test_the_share_of_units_that_keep_their_state_is_the_rate_and_no_two_masks_are_alike():
    """2,560 units a mask: the share has a deviation of 0.009; independent ones agree in 0.58, to 0.01; 4 allowed."""
    masks = [mask for seed, step in ((1, 0), (1, 1), (2, 0)) for states in kept_units(seed, step) for mask in states]
    dropped = [
        ~np.array([[oracle.dropout_bit(0.3, 1, 0, l, b, unit) for unit in range(64)] for b in range(40)])
        for l in range(2)
    ]
    of_weights = oracle.weight_mask(oracle.Dropout(0.0, False, 1, 0.3), 0, 0, (64, 64))[:40] == 0
    for n, mask in enumerate(masks):
        assert abs(mask.mean() - 0.3) < 0.037
        for other in (*masks[:n], *dropped, of_weights):
            assert abs((mask == other).mean() - 0.58) < 0.04
    assert abs((masks[0][1:] == masks[0][:-1]).mean() - 0.58) < 0.04  # nor two streams


def test_masks_are_the_same_with_and_without_dropout():
    """Of the lower layer, whose states dropout does not reach."""
    assert_same_bits(kept_units(1, 0)[:, 0], kept_units(1, 0, dropout=0.5)[:, 0])


def test_units_keep_their_states_at_each_step_anew():
    model = Model.initialise(ModelConfig("gru", V, 64, 1, zoneout=0.3), 1)
    workspace = new_workspace(model, 10, 20)
    workspace.loss_and_grads(*oracle.random_chunk(V, 20, 10), Dropout(0.0, True, 3), 0)
    h = workspace.states("h")[0]
    kept = h[1:] == h[:-1]
    assert abs(kept.mean() - 0.3) < 0.02 and abs((kept[1:] == kept[:-1]).mean() - 0.58) < 0.02


def test_a_mask_holds_a_state_to_the_bit_and_passes_its_gradient_by():
    """At a rate of almost 1 nothing moves, and the gradient at the top goes back to the carry whole."""
    for cell in CELLS:
        model, _ = make_model(cell, L=1, zoneout=1 - 1e-12)
        carry = oracle.random_carry(cell, 1, B, H)
        workspace = new_workspace(model, carry=carry)
        x, y = oracle.random_chunk(V, T, B)
        workspace.loss_and_grads(x, y, Dropout(0.0))
        assert_same_bits(workspace.get_carry(), carry)
        grads = model.unpack(workspace.grads)
        assert (
            not grads["rnn.weight_hh_l0"].any() and not grads["rnn.weight_ih_l0"].any() and grads["output.weight"].any()
        )
        assert workspace.carry_grads()["h"].all()


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gates_that_are_shut_for_good_leave_every_number_finite(cell, dtype, dropout):
    """An output gate of e^-87 beside an h that was kept: h/o is beyond all numbers, and must not be asked for."""
    model, parameters = make_model(cell, dtype=dtype)
    model.set_parameters({name: value * (300 if "rnn" in name else 1) for name, value in parameters.items()})
    workspace = new_workspace(model, carry=oracle.random_carry(cell, 2, B, H, dtype))
    for step in range(5):
        assert np.isfinite(workspace.loss_and_grads(*oracle.random_chunk(V, T, B, seed=step), DROPOUTS[dropout], step))
        assert np.isfinite(workspace.grads).all() and all(
            np.isfinite(value).all() for value in workspace.carry_grads().values()
        )


# ---- the same bits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_rate_of_zero_is_no_zoneout(cell):
    found = []
    for zoneout in (0.0, 0, None):
        model = Model.initialise(ModelConfig(cell, V, H, 2, **({} if zoneout is None else {"zoneout": zoneout})), 1)
        found.append(everything(new_workspace(model), *oracle.random_chunk(V, T, B), Dropout(0.3)))
    assert_same_bits(found[0], found[2])
    assert_same_bits(found[1], found[2])


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_three_carried_chunks_and_single_steps_equal_one_long_chunk(cell, dtype):
    model, _ = make_model(cell, 17, 17, 2, 4, dtype=dtype)
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 2, 7, 17, dtype)
    whole, _ = read_whole_and_in_parts(model, x, carry)
    whole.set_carry(carry)
    losses = whole.losses(x, y)
    whole.set_carry(carry)
    assert whole.loss_and_grads(x, y) == pytest.approx(losses.mean(), rel=1e-12)
    assert_same_bits(whole.last_losses(), losses)


@pytest.mark.tile
@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_threads_shards_and_blocks_of_steps_change_no_bit(cell, dropout, monkeypatch, restore_threads):
    model, _ = make_model(cell, 17, 17, 3, 17, tied=True, dtype="float32")
    x, y = oracle.random_chunk(17, 9, 7)
    carry = oracle.random_carry(cell, 3, 7, 17, "float32")
    row = model.layout.stride * model.flat.itemsize
    found = []
    for threads, shards, block in ((1, None, 9), (1, 1, 4), (1, 1, 1), (2, 2, 9), (2, 7, 3), (1, 3, 2)):
        monkeypatch.setattr(model_module, "SHARED_PRODUCTS", 0)
        monkeypatch.setattr(model_module, "BLOCK_BYTES", block * row * -(-7 // (shards or 1)))
        set_num_threads(threads)
        workspace = new_workspace(model, 7, 9, carry)
        workspace.shards = shards
        workspace.logits(x)  # what it leaves is nobody's
        workspace.set_carry(carry)
        found.append(everything(workspace, x, y, DROPOUTS[dropout], 3))
        workspace.set_carry(carry)
        found[-1] |= {"losses": workspace.losses(x, y)}
    for one in found[1:]:
        assert_same_bits(one, found[0])


@pytest.mark.parametrize("cell", CELLS)
def test_a_longer_chunk_that_is_read_after_a_shorter_one_was_learned_from_finds_its_place(cell):
    """What the way back reads is as long as the chunks that go back; a chunk that is only read must not write there."""
    model, _ = make_model(cell, 17, 17, 2)
    x, y = oracle.random_chunk(17, 40, 3)
    used, fresh = new_workspace(model, 3, 40), new_workspace(model, 3, 40)
    used.loss_and_grads(x[:1], y[:1], Dropout(0.1))
    used.reset_carry()
    assert_same_bits(used.logits(x), fresh.logits(x))
    for workspace in (used, fresh):
        workspace.reset_carry()
    assert_same_bits(everything(used, x, y, Dropout(0.1), 2), everything(fresh, x, y, Dropout(0.1), 2))


@pytest.mark.parametrize("cell", CELLS)
def test_padding_stays_zero_and_a_chunk_of_nan_is_recovered_from(cell):
    model, parameters = make_model(cell, E=4)
    padding = model.pack({name: np.ones(shape) for name, shape in model.shapes().items()}) == 0
    workspace, fresh = new_workspace(model), new_workspace(model)
    x, y = oracle.random_chunk(V, T, B)
    model.set_parameters({name: np.full_like(value, np.nan) for name, value in parameters.items()})
    assert np.isnan(workspace.loss_and_grads(x, y, Dropout(0.2)))
    model.set_parameters(parameters)
    workspace.reset_carry()
    for dropout in (Dropout(0.2), None):
        found, expected = (everything(one, x, y, dropout) for one in (workspace, fresh))
        assert_same_bits(found, expected)
        assert not found["grads"][padding].any()


# ---- bfloat16 ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512-BF16")
@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_float32_but_for_rounding_and_the_same_bits_in_any_shards(cell, dropout):
    model = Model.initialise(ModelConfig(cell, 65, 48, 2, zoneout=0.3), 1)
    x, y = oracle.random_chunk(65, 9, 7)
    carry = oracle.random_carry(cell, 2, 7, 48, "float32")
    found = []
    for precision, shards in (("float32", 1), ("bfloat16", 1), ("bfloat16", 5)):
        workspace = new_workspace(model, 7, 9, carry, precision=precision)
        workspace.shards = shards
        found.append(everything(workspace, x, y, DROPOUTS[dropout], 3))
    exact, narrowed, in_shards = found
    assert_same_bits(in_shards, narrowed)
    assert narrowed["loss"] == pytest.approx(exact["loss"], abs=4e-3)
    for name in exact:
        assert np.linalg.norm(exact[name] - narrowed[name]) <= 0.03 * np.linalg.norm(exact[name]) + 1e-4, name
    assert not np.array_equal(exact["grads"], narrowed["grads"])


# ---- what is drawn and held --------------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_drawing_computes_what_reading_does(cell, dtype, inputs):
    """At the tolerances of test_generation.py: the sums are in another order. To the bit with any number of workers."""
    model, parameters = make_model(
        cell, 17, 37, 2, dtype=dtype, **({"E": 37, "tied": True} if inputs == "tied" else INPUTS[inputs])
    )
    model.set_parameters({name: value * 2 for name, value in parameters.items()})
    for streams in (1, 5, 70):
        carry = oracle.random_carry(cell, 2, streams, 37, dtype)
        drawn = []
        for workers in (1, 3):
            made = Generation(model, streams, workers)
            made.set_carry(carry)
            drawn.append(
                made.draw(np.arange(streams) % 17, 6, np.arange(streams, dtype=np.uint64), 0, with_logits=True)
            )
        ids, _, logits, finite = drawn[0]
        assert finite and np.array_equal(ids, drawn[1][0]) and np.array_equal(logits, drawn[1][2])
        workspace = new_workspace(model, streams, 6, carry, training=False)
        expected = workspace.logits(np.concatenate([[np.arange(streams) % 17], ids[:-1]]))
        bound = PARITY[dtype] * max(1, np.abs(expected).max())
        np.testing.assert_allclose(logits, expected, rtol=0, atol=bound)
        read = Generation(model, streams)
        read.set_carry(carry)
        read.read(np.concatenate([[np.arange(streams) % 17], ids[:-1]]))
        for name, value in workspace.get_carry().items():
            np.testing.assert_allclose(made.get_carry()[name], value, rtol=0, atol=bound)
            np.testing.assert_allclose(read.get_carry()[name], value, rtol=0, atol=bound)


def test_a_unit_that_is_held_does_not_zone_out():
    model, _ = make_model("lstm", L=1)
    workspace = new_workspace(model, carry=oracle.random_carry("lstm", 1, B, H), training=False)
    workspace.set_clamps([Clamp(0, 1, 0.25, "h"), Clamp(0, 2, -0.5, "c")])
    workspace.logits(oracle.random_chunk(V, T, B)[0])
    assert (workspace.states("h")[..., 1] == 0.25).all() and (workspace.states("c")[..., 2] == -0.5).all()
    np.testing.assert_array_equal(workspace.states("h")[..., 2], workspace.states("o")[..., 2] * np.tanh(-0.5))


@pytest.mark.parametrize("zoneout", [1.0, 1.5, -0.1, float("nan"), float("inf"), "x", None, True])
def test_a_rate_outside_its_rule_is_refused(zoneout):
    with pytest.raises(ConfigError, match="zoneout must be a number of at least 0 and below 1, got "):
        ModelConfig("lstm", V, H, 1, zoneout=zoneout)


def test_a_model_without_zoneout_does_not_say_so():
    assert "zoneout" not in ModelConfig("lstm", V, H, 1).to_dict()
    config = ModelConfig("lstm", V, H, 1, zoneout=0.1)
    assert config.to_dict()["zoneout"] == 0.1 and ModelConfig(vocab_size=V, **config.to_dict()) == config
