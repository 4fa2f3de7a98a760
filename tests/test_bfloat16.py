"""Training with bfloat16 operands: against the oracle, to rounding; the same bits for any threads, refusals."""

import numpy as np
import oracle
import pytest
from numba import njit
from test_tile import run, run_t

from charrnn.errors import ConfigError
from charrnn.kernels import entries, host, num_threads, products, set_num_threads
from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.host import TILES, has_amx, has_bfloat16
from charrnn.kernels.simd import load, store
from charrnn.kernels.words import narrow_pairs, narrow_row
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.precision import check_precision, default_precision
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig
from charrnn.training.optimisers import Optimizer

here = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512-BF16")


def rounded(x):
    """float32 -> the nearest bfloat16, ties to even, as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def unpacked(words):
    """Words of two bfloat16 -> float32 (..., 2), the low half first."""
    bits = words.view(np.uint32)
    return np.stack([(bits << 16).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)], -1)


@njit
def narrow(a, b, pairs, row):
    store(pairs, 0, narrow_pairs(load(a, 0), load(b, 0)))
    store(row, 0, narrow_row(load(a, 0), load(b, 0)))


@here
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_numbers_are_rounded_to_nearest_ties_to_even(scale):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((2, 16)) * scale).astype(np.float32)
    a[0], b[0], a[1], b[1] = 1 + 2**-8, 1 + 3 * 2**-8, np.inf, -np.inf  # halfway: down to even, up to even
    pairs, row = np.zeros(16, np.float32), np.zeros(16, np.float32)
    narrow(a, b, pairs, row)
    assert np.array_equal(unpacked(pairs), np.stack([rounded(a), rounded(b)], -1))
    assert np.array_equal(unpacked(row).reshape(-1), np.concatenate([rounded(a), rounded(b)]))
    assert unpacked(pairs)[0].tolist() == [1.0, 1.015625]


@here
def test_nan_stays_nan_even_if_its_upper_half_alone_would_be_infinity():
    a, b = np.zeros((2, 16), np.float32)
    a[0], a[1:2].view(np.uint32)[0], a[2:3].view(np.uint32)[0] = np.nan, 0x7F800001, 0xFFFFFFFF
    pairs, row = np.zeros(16, np.float32), np.zeros(16, np.float32)
    narrow(a, b, pairs, row)
    assert (
        np.isnan(unpacked(pairs)[:, 0]).tolist() == [True] * 3 + [False] * 13
        and not np.isnan(unpacked(pairs)[:, 1]).any()
    )


def words(x, axis):
    """Join neighbours along an axis to words of bfloat16."""
    x = np.moveaxis(rounded(x), axis, -1)
    bits = x.view(np.uint32) >> 16
    return np.moveaxis((bits[..., ::2] | bits[..., 1::2] << 16).view(np.float32), -1, axis)


@here
@pytest.mark.parametrize("width, amx", [*((width, has_amx()) for width in (3, 4, 5)), (4, False)])
def test_products_of_words_equal_matmul_of_rounded_numbers(width, amx, monkeypatch):
    for module in (entries, products):
        monkeypatch.setattr(module, "has_amx", lambda: amx)
    monkeypatch.setattr(entries, "product_address", entries.product_address.__wrapped__)
    rng = np.random.default_rng(width)
    tiles = np.zeros(TILES, np.int64)
    fill_tiles(tiles, [width], [width], "bfloat16")
    columns, K = 16 * width, 76  # two runs of 16 words, and 6 words over
    for n in (*range(1, 14), 16, 17, 35):
        for accumulate in (0, 1):
            A, B = rng.standard_normal((n, K)).astype(np.float32), rng.standard_normal((K, columns)).astype(np.float32)
            start = rng.standard_normal((n, columns)).astype(np.float32)
            want = rounded(A).astype(float) @ rounded(B).astype(float) + accumulate * start
            got = start.copy()
            run(
                tiles,
                width,
                n,
                words(A, 1).reshape(-1),
                K // 2,
                0,
                words(B, 0).reshape(-1),
                got.reshape(-1),
                columns,
                K // 2,
                1,
                accumulate,
            )
            np.testing.assert_allclose(got, want, atol=1e-4)
            got = start.copy()
            run_t(
                tiles,
                width,
                n,
                np.ascontiguousarray(words(A, 1).T).reshape(-1),
                n,
                words(B, 0).reshape(-1),
                columns,
                got.reshape(-1),
                columns,
                K // 2,
                accumulate,
                amx,
            )
            np.testing.assert_allclose(got, want, atol=1e-4)


CASES = [  # V, H, L, E, tied, B, T: odd and even everywhere, one panel of logits and several
    (65, 128, 2, 0, False, 7, 9),
    (17, 33, 3, 0, False, 5, 3),
    (200, 48, 2, 20, False, 6, 5),
    (97, 40, 2, 40, True, 3, 5),
    (3, 1, 1, 0, False, 1, 1),
    (30, 100, 2, 7, False, 2, 40),
]
DROPOUTS = {"none": None, "dropout": Dropout(0.3, False, 1), "variational": Dropout(0.3, True, 1)}


def both(cell, case, dropout=None):
    V, H, L, E, tied, B, T = case
    model = Model.initialise(ModelConfig(cell, V, H, L, E, tied), 1)
    model.set_parameters({name: array * 2 for name, array in model.get_parameters().items()})
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, V, (2, T, B))
    carry = oracle.random_carry(cell, L, B, H, "float32")
    found = []
    for precision in ("float32", "bfloat16"):
        workspace = Workspace(model, B, T, precision=precision)
        workspace.set_carry(carry)
        loss = workspace.loss_and_grads(x, y, dropout, 3)
        found.append((loss, model.unpack(workspace.grads), workspace.get_carry(), workspace.grads.copy()))
    return model, found


@here
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dropout", DROPOUTS)
def test_loss_gradients_and_carry_are_those_of_float32_but_for_rounding(cell, case, dropout):
    _, (exact, narrowed) = both(cell, case, DROPOUTS[dropout])
    assert narrowed[0] == pytest.approx(exact[0], abs=4e-3)
    for name, array in exact[1].items():
        size = np.linalg.norm(array)
        assert np.linalg.norm(array - narrowed[1][name]) <= 0.03 * size + 1e-4, name
    for name, array in exact[2].items():
        assert np.linalg.norm(array - narrowed[2][name]) <= 0.02 * np.linalg.norm(array)
    assert not np.array_equal(exact[3], narrowed[3])  # it was another arithmetic


@here
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("case", CASES[1:4])
def test_dropping_weights_is_training_without_them_to_the_bit(cell, case):
    V, H, L, E, tied, B, T = case
    model, other = (Model.initialise(ModelConfig(cell, V, H, L, E, tied), 1) for _ in range(2))
    dropout = oracle.Dropout(0.0, False, 9, 0.25)
    arrays = other.get_parameters()
    masks = {
        f"rnn.weight_hh_l{l}": oracle.weight_mask(dropout, 4, l, (oracle.blocks(cell) * H, H)).astype("float32")
        for l in range(L)
    }
    other.set_parameters(arrays | {name: arrays[name] * mask for name, mask in masks.items()})
    x, y = oracle.random_chunk(V, T, B)
    dropped, plain = (Workspace(one, B, T, precision="bfloat16") for one in (model, other))
    assert dropped.loss_and_grads(x, y, Dropout(0.0, False, 9, 0.25), 4) == plain.loss_and_grads(x, y)
    found, expected = model.unpack(dropped.grads), other.unpack(plain.grads)
    for name, array in expected.items():
        assert np.array_equal(found[name], array * masks.get(name, np.float32(1))), name
    assert np.array_equal(model.get_parameters()["rnn.weight_hh_l0"], arrays["rnn.weight_hh_l0"])


@here
@pytest.mark.parametrize("cell", CELLS)
def test_padding_gets_no_gradient(cell):
    model, found = both(cell, CASES[1])
    flat = found[1][3]
    assert np.array_equal(model.pack(found[1][1]) != 0, flat != 0) or CELLS[cell].recurrent
    assert np.isclose(np.linalg.norm(model.pack(found[1][1])), np.linalg.norm(flat), rtol=1e-6)


@here
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_bits_for_any_threads_shards_and_order_of_calls(cell):
    model = Model.initialise(ModelConfig(cell, 65, 64, 2), 1)
    rng = np.random.default_rng(0)
    chunks = rng.integers(0, 65, (3, 2, 20, 16))
    before, results = num_threads(), []
    try:
        for threads, shards in ((1, None), (2, None), (2, 5), (1, 16)):
            set_num_threads(threads)
            workspace = Workspace(model, 16, 24, precision="bfloat16")
            workspace.shards = shards
            found = []
            for n, (x, y) in enumerate(chunks):
                loss = workspace.loss_and_grads(x[: 20 - 7 * n], y[: 20 - 7 * n], Dropout(0.2, weight_rate=0.1), n)
                found += [np.float64(loss), workspace.grads.copy(), *workspace.get_carry().values()]
            results.append(found)
    finally:
        set_num_threads(before)
    for found in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found, results[0]))


@here
def test_training_follows_float32(tmp_path):
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.integers(0, 3, (21, 8)), axis=0) % 11  # something to learn
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = Model.initialise(ModelConfig("lstm", 11, 32, 2), 1)
        workspace, optimizer = Workspace(model, 8, 20, precision=precision), Optimizer("adam", model)
        for _ in range(120):
            workspace.reset_carry()
            losses[precision] = workspace.loss_and_grads(x[:-1], x[1:])
            optimizer.step(workspace, 5e-3, 5)
    assert losses["float32"] < 1.2 and losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


def test_what_cannot_be_is_refused_with_the_reason(monkeypatch):
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16, got 'half'"):
        check_precision("half")
    with pytest.raises(ConfigError, match="needs --dtype float32, got float64"):
        check_precision("bfloat16", "float64")
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: False)
    with pytest.raises(
        ConfigError, match="needs a CPU with AVX512-BF16, which this CPU does not have: use --precision float32"
    ):
        check_precision("bfloat16")
    assert check_precision("float32", "float64") == "float64"


@pytest.mark.parametrize(
    "amx, bfloat16, features, faster",
    [
        (True, True, {"amx-bf16": True}, True),
        (False, True, {"amx-bf16": True}, False),  # the system refuses AMX, and the other instruction is slow there
        (False, True, {}, True),
        (False, False, {}, False),
    ],
)
def test_a_run_is_in_bfloat16_by_default_where_that_is_faster(monkeypatch, amx, bfloat16, features, faster):
    monkeypatch.delenv("CHARRNN_PRECISION")
    monkeypatch.setattr(host, "has_amx", lambda: amx)
    monkeypatch.setattr(host, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(host.llvm, "get_host_cpu_features", lambda: features)
    host.is_faster_in_bfloat16.cache_clear()
    try:
        assert host.is_faster_in_bfloat16() is faster
        assert default_precision("float32") == ("bfloat16" if faster else "float32")
        assert default_precision("float64") == "float32"
    finally:
        monkeypatch.undo()
        host.is_faster_in_bfloat16.cache_clear()


def test_an_environment_variable_names_the_precision_of_runs_that_name_none(monkeypatch):
    monkeypatch.setenv("CHARRNN_PRECISION", "float32")
    assert default_precision("float32") == "float32"
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: True)
    monkeypatch.setenv("CHARRNN_PRECISION", "bfloat16")
    assert default_precision("float32") == "bfloat16" and default_precision("float64") == "float32"
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="use --precision float32"):
        default_precision("float32")
    monkeypatch.setenv("CHARRNN_PRECISION", "half")
    with pytest.raises(ConfigError, match="CHARRNN_PRECISION must be one of float32, bfloat16, got 'half'"):
        default_precision("float32")
