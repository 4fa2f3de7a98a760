"""Matrix products as register tiles of vector IR: C (+)= A B, a few rows by a few vectors at a time.

A tile keeps rows x vectors accumulators in registers and runs over K once: each step loads one row of vectors of B and
broadcasts one number of A per row. Numba would not keep such a block in registers; LLVM does when it is handed the IR.
Every product here sums over k in ascending order whatever the tile's rows, so an element's bits do not depend on how
rows were divided among tiles or threads. With bfloat16 a step of k is a word of two numbers, multiplied and added to
float32 sums by one instruction.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.compiled import compile_entry, inline
from charrnn.kernels.host import TILE_ROWS, WIDTHS, isa
from charrnn.kernels.simd import shifted
from charrnn.kernels.vector import Vector, call_llvm, entry_arguments, fma_name, llvm_vector, splat_value, vector_of
from charrnn.kernels.words import bfloat_pairs

I64 = ir.IntType(64)


class _Tile(NamedTuple):
    """Which tiles are emitted: `width` vectors wide, with A transposed or not, of numbers or of words of bfloat16."""

    vector: Vector
    width: int
    transposed: bool
    bfloat16: bool


class _Operands(NamedTuple):
    """The LLVM values of a product: pointers and int64."""

    a: object
    lda: object
    a_panel: object
    b: object
    ldb: object
    c: object
    ldc: object
    K: object
    panels: object


def _emit_tile(builder, tile, rows, operands, accumulate):
    """Emit one tile: c[rows, width*lanes] (+)= sum over panels and k of A(row, k) * B(k, :)."""
    vector, width, transposed, bfloat16 = tile
    a, lda, a_panel, b, ldb, c, ldc, K, panels = operands
    element, kind = llvm_vector(vector).element, llvm_vector(vector)
    align, lanes = vector.dtype.bitwidth // 8, vector.lanes

    def const(n):
        return ir.Constant(I64, n)

    def at(pointer, offset):
        return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

    sums = [[cgutils.alloca_once(builder, kind) for _ in range(width)] for _ in range(rows)]
    places = [
        [at(c, builder.add(builder.mul(ldc, const(m)), const(v * lanes))) for v in range(width)] for m in range(rows)
    ]
    zero = ir.Constant(kind, [ir.Constant(element, 0.0)] * lanes)
    with builder.if_else(accumulate) as (then, otherwise):
        with then:
            for m in range(rows):
                for v in range(width):
                    builder.store(builder.load(places[m][v], align=align), sums[m][v])
        with otherwise:
            for m in range(rows):
                for v in range(width):
                    builder.store(zero, sums[m][v])
    with cgutils.for_range(builder, panels) as outer:
        a_p = builder.gep(a, [builder.mul(a_panel, outer.index)])
        b_p = builder.gep(b, [builder.mul(builder.mul(K, outer.index), ldb)])
        a_rows = None if transposed else [builder.gep(a_p, [builder.mul(lda, const(m))]) for m in range(rows)]
        with cgutils.for_range(builder, K) as inner:
            k = inner.index
            b_k = builder.gep(b_p, [builder.mul(k, ldb)])
            b_row = [builder.load(at(b_k, const(v * lanes)), align=align) for v in range(width)]
            if transposed:
                a_k = builder.gep(a_p, [builder.mul(k, lda)])
            for m in range(rows):
                number = builder.load(builder.gep(a_k, [const(m)]) if transposed else builder.gep(a_rows[m], [k]))
                broadcast = splat_value(builder, number, lanes)
                for v in range(width):
                    total = builder.load(sums[m][v])
                    if bfloat16:
                        total = call_llvm(
                            builder,
                            "llvm.x86.avx512bf16.dpbf16ps.512",
                            kind,
                            [total, bfloat_pairs(builder, broadcast), bfloat_pairs(builder, b_row[v])],
                        )
                    else:
                        total = call_llvm(builder, fma_name(vector), kind, [broadcast, b_row[v], total])
                    builder.store(total, sums[m][v])
    for m in range(rows):
        for v in range(width):
            builder.store(builder.load(sums[m][v]), places[m][v], align=align)


def _make_product(width, transposed, bfloat16):
    """Return the intrinsic that walks n rows of C in tiles as even as can be, on raw pointers."""

    def walk(typingctx, n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate):  # noqa: PLR0913  as tile_address has
        tile = _Tile(vector_of(c.dtype), width, transposed, bfloat16)
        most = TILE_ROWS[isa()][width]

        def const(v):
            return ir.Constant(I64, v)

        def codegen(context, builder, sig, args):
            n, *pointers, accumulate = args
            whole = _Operands(*pointers)
            accumulate = builder.icmp_signed("!=", accumulate, const(0))
            tiles = builder.sdiv(builder.add(n, const(most - 1)), const(most))
            with builder.if_then(builder.icmp_signed(">", n, const(0))):
                base, extra = builder.sdiv(n, tiles), builder.srem(n, tiles)
                row = cgutils.alloca_once_value(builder, const(0))
                step = const(1) if transposed else whole.lda  # how far A moves for the next row of C
                if not transposed:
                    whole = whole._replace(ldb=const(width * tile.vector.lanes))
                with cgutils.for_range(builder, tiles) as loop:
                    rows = builder.add(base, builder.zext(builder.icmp_signed("<", loop.index, extra), I64))
                    first = builder.load(row)
                    a_tile = builder.gep(whole.a, [builder.mul(first, step)])
                    operands = whole._replace(a=a_tile, c=builder.gep(whole.c, [builder.mul(first, whole.ldc)]))
                    done = builder.append_basic_block("done")
                    switch = builder.switch(rows, done)
                    for count in range(1, most + 1):
                        block = builder.append_basic_block(f"rows{count}")
                        switch.add_case(const(count), block)
                        builder.position_at_end(block)
                        _emit_tile(builder, tile, count, operands, accumulate)
                        builder.branch(done)
                    builder.position_at_end(done)
                    builder.store(builder.add(first, rows), row)
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, integer, integer, b, integer, c, integer, integer, integer, integer), codegen

    return intrinsic(walk)


def compile_product(width, transposed, dtype):
    """Return the Code (machine_code.py) of the product of `width` vectors for a dtype.

    dtype    "float32", "float64" or "bfloat16"

    With bfloat16, A and B hold words of two neighbours in k, K counts words, and C is float32.

    It is called through its address, which kernels get in a table: linked into every kernel instead, LLVM would
    optimise the large bodies anew at each level of calls, and compiling took 25 s, not 6.
    """
    bfloat16 = dtype == "bfloat16"
    walk = _make_product(width, transposed, bfloat16)

    def entry(n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate):  # noqa: PLR0913  C has no structs here
        walk(n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate)

    i, pointer = types.int64, types.CPointer(types.float32 if bfloat16 else getattr(types, dtype))
    return compile_entry(entry, i, pointer, i, i, pointer, i, pointer, i, i, i, i)


@intrinsic
def _call(typingctx, address, n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate):  # noqa: PLR0913  a tile's own
    """Call a product by its address."""
    integer = types.int64

    def codegen(context, builder, sig, args):
        arguments = entry_arguments(builder, args[1:])
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    signature = integer, integer, a, integer, integer, b, integer, c, integer, integer, integer, integer
    return types.void(*signature), codegen


class Rows(NamedTuple):
    """Rows of numbers in a flat array: number k of row r of panel p is numbers[at + p*panel + r*stride + k]."""

    numbers: object
    at: int
    stride: int
    panel: int


class Weights(NamedTuple):
    """The right-hand side of a product: `panels` times K rows of width*lanes numbers, contiguous from words[at] on."""

    words: object
    at: int
    K: int
    panels: int


@inline
def product(tiles, width, n, X, W, Y, accumulate):
    """Y (+)= X W for n rows and `width` (3 to 5) vectors of columns.

    tiles         has been through entries.fill_tiles
    X             Rows; k runs over 0..K-1 of each of W's panels, in ascending order
    W             Weights
    Y             Rows, one panel of them
    accumulate    0: Y is written without being read

    All strides and offsets count elements, and nothing is checked.
    """
    a, b, c = shifted(X.numbers, X.at), shifted(W.words, W.at), shifted(Y.numbers, Y.at)
    _call(tiles[width - WIDTHS[0]], n, a, X.stride, X.panel, b, 0, c, Y.stride, W.K, W.panels, accumulate)


@inline
def product_t(tiles, width, X, D, Y, shape, accumulate):
    """Y (+)= X' D, for weight gradients: (n, width vectors), summed over R rows in ascending order; shape is (n, R).

    X, D, Y       Rows of one panel: R, R and n of them
    """
    n, R = shape
    a, b, c = shifted(X.numbers, X.at), shifted(D.numbers, D.at), shifted(Y.numbers, Y.at)
    _call(tiles[width - WIDTHS[0] + len(WIDTHS)], n, a, X.stride, 0, b, D.stride, c, Y.stride, R, 1, accumulate)
