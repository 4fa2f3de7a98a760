"""Chunks whose streams are reset and whose losses count or not, held to the oracle, to finite differences, to bits.

The tolerances are those of test_model.py, times AMPLIFIED with layer normalisation: right after a reset a GRU's sums
have no variance, and rounding is divided by sqrt(EPSILON).
"""

import numpy as np
import oracle
import pytest
from test_layernorm import AMPLIFIED
from test_model import (
    PARITY,
    as_float64,
    assert_all_close,
    assert_same_bits,
    central_difference,
    everything,
    new_workspace,
    restore_threads,
)

from charrnn.errors import ConfigError
from charrnn.kernels import set_num_threads
from charrnn.kernels.host import has_bfloat16
from charrnn.model import workspace as model_module
from charrnn.model.clamps import Clamp
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, DTYPES, ModelConfig

__all__ = ["restore_threads"]  # the fixture

B, T, H, V, L = 5, 9, 17, 19, 2
KINDS = {  # what a model is made of, and what its steps drop
    "plain": ({}, None),
    "layer norm": ({"layer_norm": True}, None),
    "zoneout": ({"zoneout": 0.3}, Dropout(0.0, False, 11)),
    "expected zoneout": ({"zoneout": 0.3}, None),
    "embedding": ({"embedding_size": 7}, None),
    "tied, all dropped": ({"embedding_size": H, "tied": True}, Dropout(0.4, False, 11, 0.3)),
    "all at once": ({"layer_norm": True, "zoneout": 0.2}, Dropout(0.3, True, 11)),
}


def make_model(cell, kind, dtype="float64", hidden_size=H, vocab_size=V):
    options = dict(KINDS[kind][0])
    if options.get("tied"):
        options["embedding_size"] = hidden_size
    config = ModelConfig(cell, vocab_size, hidden_size, L, dtype=dtype, **options)
    parameters = oracle.random_parameters(
        cell, vocab_size, hidden_size, L, config.embedding_size, config.tied, dtype, 1, config.layer_norm
    )
    model = Model(config)
    model.set_parameters(parameters)
    return model, parameters


def make_masks(T=T, B=B, seed=4):
    """Resets of a third of the rows, the first and the last step of some streams among them; three in four count."""
    rng = np.random.default_rng(seed)
    resets, counts = rng.random((T, B)) < 1 / 3, rng.random((T, B)) < 3 / 4
    resets[0, 0] = resets[-1, -1] = True
    resets[0, -1] = False
    return {"resets": resets, "counts": counts}


def walk_in_blocks(monkeypatch, model, steps, streams=B):
    size = steps * streams * model.layout.stride * model.flat.itemsize
    monkeypatch.setattr(model_module, "BLOCK_BYTES", size)


# ---- the mathematics ---------------------------------------------------------------------------------------------


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_equal_the_oracle(cell, kind, dtype, monkeypatch, restore_threads):
    """In blocks of two steps, so that resets fall within one and on its ends."""
    model, parameters = make_model(cell, kind, dtype)
    dropout, masks = KINDS[kind][1], make_masks()
    set_num_threads(1)
    walk_in_blocks(monkeypatch, model, 2)
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry = oracle.random_carry(cell, L, B, H, dtype, seed=3)
    options = {"zoneout": model.config.zoneout}
    tolerance = PARITY[dtype] * (AMPLIFIED if model.config.layer_norm else 1)

    expected = oracle.loss_and_grads(
        as_float64(parameters), cell, x, y, as_float64(carry), dropout, 5, **options, **masks
    )
    workspace = new_workspace(model, B, T, carry)
    loss = workspace.loss_and_grads(x, y, dropout, 5, **masks)
    assert workspace.counted == masks["counts"].sum() and abs(loss - expected.loss) < tolerance * expected.loss
    assert_all_close({"losses": workspace.last_losses()}, {"losses": expected.losses}, tolerance)
    assert_all_close(workspace.get_carry(), expected.carry, tolerance)
    assert_all_close(model.unpack(workspace.grads), oracle.one_bias(expected.grads, cell), tolerance)
    assert_all_close(workspace.carry_grads(), expected.carry_grads, tolerance)
    for gradient in workspace.carry_grads().values():
        assert not gradient[:, masks["resets"][0]].any() and gradient[:, ~masks["resets"][0]].any()

    expected = oracle.forward(as_float64(parameters), cell, x, as_float64(carry), resets=masks["resets"], **options)
    for training in (True, False):
        workspace = new_workspace(model, B, T, carry, training=training)
        logits = workspace.logits(x, masks["resets"])
        assert_all_close(
            {"logits": logits} | workspace.get_carry(), {"logits": expected.logits} | expected.carry, tolerance
        )
        workspace.set_carry(carry)
        losses = workspace.losses(x, y, **masks)
        found = {"losses": oracle.losses_nats(expected.logits, y) * masks["counts"]}
        assert_all_close({"losses": losses}, found, tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(cell, kind):
    """Of every parameter tensor and the carry in, one random direction; test_model.py derives the bound."""
    model, parameters = make_model(cell, kind, hidden_size=5, vocab_size=7)
    dropout, masks = KINDS[kind][1], make_masks(4, 3)
    x, y = oracle.random_chunk(7, 4, 3, seed=2)
    carry = oracle.random_carry(cell, L, 3, 5, seed=3)
    workspace = new_workspace(model, 3, 4)

    def loss():
        model.set_parameters(parameters)
        workspace.set_carry(carry)
        return workspace.loss_and_grads(x, y, dropout, 7, **masks)

    loss()
    grads = model.unpack(workspace.grads) | workspace.carry_grads()
    rng = np.random.default_rng(4)
    # A deviation may be sqrt(1e-5): the fifth derivative, and with it the error of the difference, is then large.
    floor, relative = (1e-9, 1e-5) if model.config.layer_norm else (1e-12, 1e-6)
    for name, value in (parameters | carry).items():
        free = oracle.one_bias({name: np.ones_like(value)}, cell)[name]
        if free.any():
            direction = rng.standard_normal(value.shape) * free
            direction /= np.linalg.norm(direction)
            derivative, expected = (grads[name] * direction).sum(), central_difference(loss, value, direction)
            assert abs(derivative - expected) < relative * abs(expected) + floor, (name, derivative, expected)
            assert abs(expected) > 1e-6, f"{name}: the direction chosen tests nothing"


# ---- items -------------------------------------------------------------------------------------------------------


def pack_items(lengths, streams, seed=0):
    """Return items, each ids (n + 1,), and where they stand end to end in streams: x, y, resets, [(t, b)] of each."""
    rng = np.random.default_rng(seed)
    items = [rng.integers(0, V, length + 1).astype(np.int32) for length in lengths]
    columns, places = [[] for _ in range(streams)], []
    for item in items:
        b = min(range(streams), key=lambda b: len(columns[b]))
        places.append((len(columns[b]), b))
        columns[b] += [(x, y, k == 0) for k, (x, y) in enumerate(zip(item[:-1], item[1:]))]
    steps = max(map(len, columns))
    packed = np.array([column + [(0, 0, False)] * (steps - len(column)) for column in columns])
    x, y = packed[..., 0].T.astype(np.int32), packed[..., 1].T.astype(np.int32)
    return items, x, y, packed[..., 2].T.astype(bool), places


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "layer norm", "expected zoneout", "embedding"])
@pytest.mark.parametrize("cell", CELLS)
def test_items_in_one_batch_equal_items_one_by_one_to_the_bit(cell, kind, dtype):
    """Cut into chunks at any place, beside any neighbours, after whatever stood before."""
    model, _ = make_model(cell, kind, dtype)
    lengths = [1, 7, 3, 12, 2, 1, 5, 9, 4, 6, 1, 8]
    items, x, y, resets, places = pack_items(lengths, 3)
    carry = {name: state * np.nan for name, state in oracle.random_carry(cell, L, 3, H, dtype).items()}
    for training, steps in ((True, 5), (False, 8)):
        together = new_workspace(model, 3, steps, carry, training=training)
        losses = np.concatenate(
            [
                together.losses(x[t : t + steps], y[t : t + steps], resets[t : t + steps])
                for t in range(0, len(x), steps)
            ]
        )
        alone = Workspace(model, 1, max(lengths), training=False)
        for item, (t, b) in zip(items, places):
            alone.reset_carry()
            own = alone.losses(item[:-1, None], item[1:, None])[:, 0]
            assert_same_bits(losses[t : t + len(own), b], own)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_an_item_depends_on_no_neighbour_by_one_bit(cell, kind):
    """Losses and gradient of the middle item, when those around it are others; only its losses count."""
    model, _ = make_model(cell, kind, "float32")
    x, y = oracle.random_chunk(V, T, B, seed=2)
    resets, counts = np.zeros((T, B), bool), np.zeros((T, B), bool)
    resets[3, 2] = resets[7, 2] = counts[3:7, 2] = True
    found = []
    for seed in (5, 6):
        other_x, other_y = oracle.random_chunk(V, T, B, seed=seed)
        for other, own in ((other_x, x), (other_y, y)):
            other[3:7, 2] = own[3:7, 2]
        workspace = new_workspace(model, B, T, oracle.random_carry(cell, L, B, H, "float32", seed))
        result = everything(workspace, other_x, other_y, KINDS[kind][1], 3, resets=resets, counts=counts)
        found.append({name: value for name, value in result.items() if name.split()[0] != "carry"})
        assert workspace.last_losses()[3:7, 2].all() and workspace.counted == 4
    assert_same_bits(*found)


# ---- bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_no_reset_and_all_that_count_are_no_masks_to_the_bit(cell, kind):
    """Also where resets ran before, and where one loss does not count: those before it stay as they were."""
    model, _ = make_model(cell, kind, "float32")
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry, dropout = oracle.random_carry(cell, L, B, H, "float32", seed=3), KINDS[kind][1]
    plain = everything(new_workspace(model, B, T, carry), x, y, dropout, 3)
    workspace = new_workspace(model, B, T)
    everything(workspace, y, x, dropout, 2, **make_masks())
    workspace.set_carry(carry)
    ones = {"resets": np.zeros((T, B), bool), "counts": np.ones((T, B), bool)}
    assert_same_bits(everything(workspace, x, y, dropout, 3, **ones), plain)
    losses = workspace.last_losses()
    workspace.set_carry(carry)
    ones["counts"][T - 1, 1] = False
    loss = workspace.loss_and_grads(x, y, dropout, 3, **ones)
    losses[T - 1, 1] = 0
    assert_same_bits(workspace.last_losses(), losses)
    assert loss == pytest.approx(losses.sum() / (T * B - 1), rel=1e-14)


@pytest.mark.parametrize(
    "precision",
    ["float32", pytest.param("bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="no AVX512-BF16"))],
)
@pytest.mark.parametrize("kind", ["plain", "layer norm", "zoneout", "tied, all dropped"])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_shards_and_blocks_change_no_bit(cell, kind, precision, monkeypatch, restore_threads):
    monkeypatch.setattr(model_module, "SHARED_PRODUCTS", 0)
    model, _ = make_model(cell, kind, "float32")
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry, masks = oracle.random_carry(cell, L, B, H, "float32", seed=3), make_masks()
    found = []
    for threads, shards, steps in ((1, 1, T), (1, 1, 2), (2, 2, 4), (2, 5, 1)):
        set_num_threads(threads)
        walk_in_blocks(monkeypatch, model, steps, -(-B // shards))
        workspace = new_workspace(model, B, T, carry, precision=precision)
        workspace.shards = shards
        found.append(everything(workspace, x, y, KINDS[kind][1], 3, **masks))
    for other in found[1:]:
        assert_same_bits(other, found[0])


@pytest.mark.skipif(not has_bfloat16(), reason="no AVX512-BF16")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_near_the_oracle(cell, kind):
    """A gradient is a sum of products of operands rounded by 2**-9: within a few percent of its norm."""
    model, parameters = make_model(cell, kind, "float32")
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry, masks, dropout = oracle.random_carry(cell, L, B, H, "float32", seed=3), make_masks(), KINDS[kind][1]
    want = oracle.loss_and_grads(
        as_float64(parameters), cell, x, y, as_float64(carry), dropout, 3, model.config.zoneout, **masks
    )
    workspace = new_workspace(model, B, T, carry, precision="bfloat16")
    loss = workspace.loss_and_grads(x, y, dropout, 3, **masks)
    assert loss == pytest.approx(want.loss, rel=0.01)
    grads = model.unpack(workspace.grads)
    for name, expected in oracle.one_bias(want.grads, cell).items():
        assert np.linalg.norm(grads[name] - expected) <= 0.05 * np.linalg.norm(expected), name


# ---- edges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "tied, all dropped"])
@pytest.mark.parametrize("cell", CELLS)
def test_where_nothing_counts_the_gradient_is_zero_even_after_nan(cell, kind):
    model, _ = make_model(cell, kind, "float32")
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry = oracle.random_carry(cell, L, B, H, "float32", seed=3)
    workspace, none = new_workspace(model, B, T, carry), np.zeros((T, B), bool)
    before, expected = model.flat.copy(), new_workspace(model, B, T, carry)
    expected.loss_and_grads(x, y, KINDS[kind][1], 3)
    workspace.loss_and_grads(x, y)
    workspace.set_carry(carry)
    assert workspace.loss_and_grads(x, y, KINDS[kind][1], 3, counts=none) == 0 and workspace.counted == 0
    assert_same_bits(workspace.get_carry(), expected.get_carry())
    assert not workspace.grads.any() and not any(gradient.any() for gradient in workspace.carry_grads().values())
    assert not workspace.last_losses().any() and not workspace.losses(x, y, counts=none).any()
    workspace.set_carry({name: state * np.nan for name, state in carry.items()})
    assert workspace.loss_and_grads(x, y, KINDS[kind][1], 3, counts=none) == 0 and not workspace.grads.any()
    assert_same_bits(model.flat, before)


@pytest.mark.parametrize("clamps", [(), (Clamp(0, 3, 0.7), Clamp(1, 2, -0.4))], ids=["free", "held"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_states_of_a_chunk_are_those_after_each_step_also_before_a_reset(cell, clamps):
    """A unit that is held is zero before an item's first step, as it is at a text's beginning."""
    model, _ = make_model(cell, "plain")
    x, _ = oracle.random_chunk(V, T, B, seed=2)
    resets = make_masks()["resets"]
    whole, single = (Workspace(model, B, steps, training=False) for steps in (T, 1))
    for workspace in (whole, single):
        workspace.set_clamps(clamps)
    logits = whole.logits(x, resets)
    for t in range(T):
        carry = single.get_carry()
        for state in carry.values():
            state[:, resets[t]] = 0
        single.set_carry(carry)
        assert_same_bits(logits[t : t + 1], single.logits(x[t : t + 1]))
        for name in CELLS[cell].readable:
            assert_same_bits(whole.states(name)[:, t], single.states(name)[:, 0])
    whole.logits(x)
    assert_same_bits(whole.states("h")[:, -1], whole.get_carry()["h"])


@pytest.mark.parametrize("kind", ["plain", "layer norm", "expected zoneout"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_reach_ends_at_a_reset(cell, kind):
    """Of 3 places over 4 times, where all begin anew at the third."""
    model, _ = make_model(cell, kind)
    x, y = (ids.reshape(1, -1) for ids in oracle.random_chunk(V, 4, 3, seed=2))
    carry = oracle.random_carry(cell, L, 12, H, seed=3)
    resets = np.arange(12)[None] // 3 == 2
    found = new_workspace(model, 12, 1, carry).measure_reach(x, y, 3, resets)
    later = {name: state[:, 6:].copy() for name, state in carry.items()}
    for state in later.values():
        state[:, :3] = 0
    expected = new_workspace(model, 6, 1, later).measure_reach(x[:, 6:], y[:, 6:], 3)
    for name, norms in found.items():
        assert not norms[:, :2].any() and expected[name].all()
        np.testing.assert_allclose(norms[:, 2:], expected[name], rtol=1e-12)


@pytest.mark.parametrize("masks", [{"resets": np.zeros((T, B), int)}, {"counts": np.ones((B, T), bool)}])
def test_masks_that_do_not_fit_are_refused(masks):
    model, _ = make_model("rnn", "plain")
    x, y = oracle.random_chunk(V, T, B)
    name = next(iter(masks))
    with pytest.raises(ConfigError, match=rf"{name} must be bool of the ids' shape \(9, 5\), got "):
        Workspace(model, B, T).loss_and_grads(x, y, **masks)
