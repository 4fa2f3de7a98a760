"""The register tiles against NumPy's matmul: every row count, odd K, several panels, strided places."""

import platform
import re

import numpy as np
import pytest
from llvmlite.binding import TargetMachine
from numba import njit

from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.host import AMX_WORDS, PACKED_VECTORS, TILE_ROWS, TILES, isa, lanes_of
from charrnn.kernels.products import Rows, Upcoming, Weights, compile_product, product, product_t
from charrnn.kernels.simd import shifted

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}  # sums of up to 3*67 products of unit normals, rounding apart


@njit
def run(tiles, width, n, A, lda, a_panel, B, C, ldc, K, panels, accumulate):  # noqa: PLR0913  as many as a product has
    product(tiles, width, n, Rows(A, 0, lda, a_panel), Weights(B, 0, K, panels, 0), Rows(C, 0, ldc, 0), accumulate)


@njit
def run_packed(tiles, width, n, packed, B, ldb, C, ldc, K, accumulate):  # noqa: PLR0913  likewise
    upcoming = Upcoming(0, Rows(B, 0, 0, 0))
    product_t(tiles, width, shifted(packed, 0), Rows(B, 0, ldb, 0), upcoming, Rows(C, 0, ldc, 0), (n, K), accumulate)


def run_t(tiles, width, n, A, lda, B, ldb, C, ldc, K, accumulate, amx=False):  # noqa: PLR0913  likewise
    """Run a transposed product of A (K, lda), its columns packed as chunk/weight_gradients.py does."""
    columns = PACKED_VECTORS[isa()] * lanes_of(A.itemsize)
    runs, blocks = -(-K // AMX_WORDS) if amx else 1, -(-n // columns)
    packed = np.zeros((blocks, runs * AMX_WORDS if amx else K, columns), A.dtype)
    for block in range(blocks):
        part = A[: K * lda].reshape(K, lda)[:, block * columns : min(n, (block + 1) * columns)]
        packed[block, :K, : part.shape[1]] = part
    if amx:
        packed = packed.reshape(blocks, runs, AMX_WORDS, columns).swapaxes(2, 3)
    run_packed(tiles, width, n, np.ascontiguousarray(packed).reshape(-1), B, ldb, C, ldc, K, accumulate)


def all_tiles(dtype):
    tiles, widths = np.zeros(TILES, np.int64), TILE_ROWS[isa()]
    fill_tiles(tiles, widths, widths, dtype)
    return tiles


def cases():
    for width in TILE_ROWS[isa()]:
        most = TILE_ROWS[isa()][width]
        for n in {1, 2, most - 1, most, most + 1, 2 * most + 1, 25}:
            for K in (1, 5, 67):
                yield width, n, K


def test_what_is_fetched_ahead_changes_no_bit():
    rng = np.random.default_rng(3)
    tiles, ahead, widths = all_tiles("float32"), np.zeros(TILES, np.int64), TILE_ROWS[isa()]
    fill_tiles(ahead, widths, (), "float32", ahead=True)
    for width, n, K in cases():
        columns = width * lanes_of(4)
        A, B = rng.standard_normal((3, n, K)).astype("f"), rng.standard_normal((3, K, columns)).astype("f")
        got = np.zeros((2, n, columns), "f")
        for which, C in zip((tiles, ahead), got):
            run(which, width, n, A.reshape(-1), K, n * K, B.reshape(-1), C.reshape(-1), columns, K, 3, 0)
        assert np.array_equal(*got) and got.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_equal_matmul_and_touch_nothing_else(dtype):
    rng = np.random.default_rng(0)
    tiles = all_tiles(dtype)
    lanes = lanes_of(np.dtype(dtype).itemsize)
    for width, n, K in cases():
        columns, panels = width * lanes, 3
        A = rng.standard_normal((panels, n + 2, K + 3)).astype(dtype)  # rows and K read with gaps around them
        B = rng.standard_normal((panels, K, columns)).astype(dtype)
        C = rng.standard_normal((n + 1, columns + 5)).astype(dtype)
        exact = np.einsum("pnk,pkc->nc", A[:, :n, :K].astype(float), B.astype(float))
        for accumulate in (0, 1):
            got = C.copy()
            run(
                tiles,
                width,
                n,
                A.reshape(-1),
                K + 3,
                (n + 2) * (K + 3),
                B.reshape(-1),
                got.reshape(-1),
                columns + 5,
                K,
                panels,
                accumulate,
            )
            want = exact + accumulate * C[:n, :columns]
            np.testing.assert_allclose(got[:n, :columns], want, atol=TOLERANCE[dtype] * K**0.5 * 3)
            assert np.array_equal(got[n:], C[n:]) and np.array_equal(got[:, columns:], C[:, columns:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transposed_products_equal_matmul(dtype):
    rng = np.random.default_rng(1)
    tiles = all_tiles(dtype)
    lanes = lanes_of(np.dtype(dtype).itemsize)
    for width, n, K in cases():
        columns = width * lanes
        A = rng.standard_normal((K, n + 3)).astype(dtype)
        B = rng.standard_normal((K, columns + 7)).astype(dtype)
        C = rng.standard_normal((n, columns)).astype(dtype)
        exact = A[:, :n].astype(float).T @ B[:, :columns].astype(float)
        for accumulate in (0, 1):
            got = C.copy()
            run_t(
                tiles,
                width,
                n,
                A.reshape(-1),
                n + 3,
                B.reshape(-1),
                columns + 7,
                got.reshape(-1),
                columns,
                K,
                accumulate,
            )
            np.testing.assert_allclose(got, exact + accumulate * C, atol=TOLERANCE[dtype] * K**0.5 * 2)


def test_a_rows_bits_do_not_depend_on_the_rows_beside_it():
    rng = np.random.default_rng(2)
    tiles = all_tiles("float32")
    lanes = lanes_of(4)
    A = rng.standard_normal((25, 67)).astype("f")
    B = rng.standard_normal((67, 4 * lanes)).astype("f")
    whole = np.zeros((25, 4 * lanes), "f")
    run(tiles, 4, 25, A.reshape(-1), 67, 0, B.reshape(-1), whole.reshape(-1), 4 * lanes, 67, 1, 0)
    for lo, hi in ((0, 1), (3, 7), (12, 25)):
        part = np.zeros((hi - lo, 4 * lanes), "f")
        run(tiles, 4, hi - lo, A[lo:hi].reshape(-1).copy(), 67, 0, B.reshape(-1), part.reshape(-1), 4 * lanes, 67, 1, 0)
        assert np.array_equal(part, whole[lo:hi])


def test_not_a_number_comes_through():
    tiles = all_tiles("float32")
    columns = 3 * lanes_of(4)
    A, B, C = np.ones((2, 4), "f"), np.ones((4, columns), "f"), np.zeros((2, columns), "f")
    A[1, 2] = np.nan
    run(tiles, 3, 2, A.reshape(-1), 4, 0, B.reshape(-1), C.reshape(-1), columns, 4, 1, 0)
    assert np.array_equal(C[0], np.full(columns, 4)) and np.isnan(C[1]).all()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("kind", ["ahead", "transposed"])
def test_the_sums_of_a_tile_stay_in_registers(kind, monkeypatch):
    monkeypatch.setattr(TargetMachine, "emit_object", lambda self, module: self.emit_assembly(module).encode())
    for width in TILE_ROWS[isa()]:
        lines = compile_product(width, kind, "float32").data.decode().splitlines()
        labels = {line.split(":")[0]: n for n, line in enumerate(lines) if re.match(r"\.L\w+:", line)}
        loops = 0
        for n, line in enumerate(lines):
            jump = re.match(r"\s+j\w+\s+(\.L\w+)", line)
            body = lines[labels[jump[1]] : n] if jump and labels.get(jump[1], n) < n else []
            if sum("vfmadd" in one for one in body) >= width and not any(re.match(r"\s+j", one) for one in body):
                loops += 1
                assert not [one for one in body if re.search(r"[xyz]mm\d+, .*\(%rsp\)|\(%rsp\), %[xyz]mm", one)]
        assert loops >= TILE_ROWS[isa()][width], (width, loops)
