"""Matrix products as register tiles of vector IR: C (+)= A B, a few rows by a few vectors at a time.

A tile keeps rows x vectors accumulators in registers and runs over K once: each step loads one row of vectors of B and
broadcasts one number of A per row. Numba would not keep such a block in registers; LLVM does when it is handed the IR.
Every product here sums over k in ascending order whatever the tile's rows, so an element's bits do not depend on how
rows were divided among tiles or threads. With bfloat16 a step of k is a word of two numbers, multiplied and added to float32
sums by one instruction.
"""

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.compiled import entry_address, inline
from charrnn.kernels.host import TILE_ROWS, WIDTHS, isa
from charrnn.kernels.vector import call_llvm, data_pointer, fma_name, llvm_vector, splat_value, vector_of
from charrnn.kernels.words import bfloat_pairs

I64 = ir.IntType(64)


def _emit_tile(
    builder, vector, bfloat16, rows, width, transposed, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate
):
    """Emit one tile: c[rows, width*lanes] (+)= sum over panels and k of A(row, k) * B(k, :)."""
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
            operands = [builder.load(at(b_k, const(v * lanes)), align=align) for v in range(width)]
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
                            [total, bfloat_pairs(builder, broadcast), bfloat_pairs(builder, operands[v])],
                        )
                    else:
                        total = call_llvm(builder, fma_name(vector), kind, [broadcast, operands[v], total])
                    builder.store(total, sums[m][v])
    for m in range(rows):
        for v in range(width):
            builder.store(builder.load(sums[m][v]), places[m][v], align=align)


def _make_product(width, transposed, bfloat16):
    """Return the intrinsic that walks n rows of C in tiles as even as can be, on raw pointers."""

    def walk(typingctx, n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate):
        vector = vector_of(c.dtype)
        most = TILE_ROWS[isa()][width]

        def const(v):
            return ir.Constant(I64, v)

        def codegen(context, builder, sig, args):
            n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, const(0))
            tiles = builder.sdiv(builder.add(n, const(most - 1)), const(most))
            with builder.if_then(builder.icmp_signed(">", n, const(0))):
                base, extra = builder.sdiv(n, tiles), builder.srem(n, tiles)
                row = cgutils.alloca_once_value(builder, const(0))
                step = const(1) if transposed else lda  # how far A moves for the next row of C
                if not transposed:
                    ldb = const(width * vector.lanes)
                with cgutils.for_range(builder, tiles) as loop:
                    rows = builder.add(base, builder.zext(builder.icmp_signed("<", loop.index, extra), I64))
                    first = builder.load(row)
                    a_tile = builder.gep(a, [builder.mul(first, step)])
                    c_tile = builder.gep(c, [builder.mul(first, ldc)])
                    done = builder.append_basic_block("done")
                    switch = builder.switch(rows, done)
                    for count in range(1, most + 1):
                        block = builder.append_basic_block(f"rows{count}")
                        switch.add_case(const(count), block)
                        builder.position_at_end(block)
                        _emit_tile(
                            builder,
                            vector,
                            bfloat16,
                            count,
                            width,
                            transposed,
                            a_tile,
                            lda,
                            a_panel,
                            b,
                            ldb,
                            c_tile,
                            ldc,
                            K,
                            panels,
                            accumulate,
                        )
                        builder.branch(done)
                    builder.position_at_end(done)
                    builder.store(builder.add(first, rows), row)
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, integer, integer, b, integer, c, integer, integer, integer, integer), codegen

    return intrinsic(walk)


@cache
def tile_address(width, transposed, dtype):
    """Return the address of the product of `width` vectors for "float32", "float64" or "bfloat16", compiled on first use.

    With bfloat16, A and B hold words of two neighbours in k, K counts words, and C is float32.

    It is called through its address, which kernels get in a table: linked into every kernel instead, LLVM would optimise
    the large bodies anew at each level of calls, and compiling took 25 s, not 6.
    """
    bfloat16 = dtype == "bfloat16"
    walk = _make_product(width, transposed, bfloat16)

    def entry(n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate):
        walk(n, a, lda, a_panel, b, ldb, c, ldc, K, panels, accumulate)

    entry.__name__ = entry.__qualname__ = f"product{width}{'t' if transposed else ''}{'_bfloat16' if bfloat16 else ''}"
    i, pointer = types.int64, types.CPointer(types.float32 if bfloat16 else getattr(types, dtype))
    return entry_address(entry, types.void(i, pointer, i, i, pointer, i, pointer, i, i, i, i))


def fill_tiles(tiles, widths, transposed_widths, dtype):
    """Put the addresses of the products of these widths where `product` and `product_t` look for them in a table."""
    for width in widths:
        tiles[width - WIDTHS[0]] = tile_address(width, False, dtype)
    for width in transposed_widths:
        tiles[width - WIDTHS[0] + len(WIDTHS)] = tile_address(width, True, dtype)


@intrinsic
def _call(typingctx, address, n, A, a, lda, a_panel, B, b, ldb, C, c, ldc, K, panels, accumulate):
    """Call a product by its address with pointers into flat arrays."""
    integer = types.int64

    def codegen(context, builder, sig, args):
        address, n, A, a, lda, a_panel, B, b, ldb, C, c, ldc, K, panels, accumulate = args
        pointers = [
            builder.gep(data_pointer(context, builder, sig.args[i], array), [offset])
            for i, array, offset in ((2, A, a), (6, B, b), (9, C, c))
        ]
        p = pointers[0].type
        kind = ir.FunctionType(ir.VoidType(), [I64, p, I64, I64, p, I64, p, I64, I64, I64, I64])
        function = builder.inttoptr(address, kind.as_pointer())
        builder.call(
            function, [n, pointers[0], lda, a_panel, pointers[1], ldb, pointers[2], ldc, K, panels, accumulate]
        )
        return context.get_dummy_value()

    return types.void(
        integer,
        integer,
        A,
        integer,
        integer,
        integer,
        B,
        integer,
        integer,
        C,
        integer,
        integer,
        integer,
        integer,
        integer,
    ), codegen


@inline
def product(tiles, width, n, A, a, lda, a_panel, B, b, C, c, ldc, K, panels, accumulate):
    """C (+)= A B for n rows and `width` (3 to 5) vectors of columns: C(row, :) at c + row*ldc.

    A(row, k) of panel p is A[a + p*a_panel + row*lda + k]; B(k, :) is the k-th row of width*lanes numbers from b on, and
    goes on contiguously from panel to panel. All arrays are flat, all offsets and strides count elements, nothing is
    checked. With accumulate 0, C is written without being read. k runs over 0..K-1 of each of the `panels`.
    tiles has been through fill_tiles.
    """
    _call(tiles[width - WIDTHS[0]], n, A, a, lda, a_panel, B, b, 0, C, c, ldc, K, panels, accumulate)


@inline
def product_t(tiles, width, n, A, a, lda, B, b, ldb, C, c, ldc, K, accumulate):
    """C (+)= A' B: as `product` with A(row, k) = A[a + k*lda + row], and B(k, :) at b + k*ldb. For weight gradients."""
    _call(tiles[width - WIDTHS[0] + len(WIDTHS)], n, A, a, lda, 0, B, b, ldb, C, c, ldc, K, 1, accumulate)
