"""Matrix products as register tiles of vector IR: C (+)= A B, a few rows by a few vectors at a time.

A tile keeps rows x vectors accumulators in registers and runs over K once: each step loads one row of vectors of B and
broadcasts one number of A per row. Numba would not keep such a block in registers; LLVM does when it is handed the IR.
Every product here sums over k in ascending order whatever the tile's rows, so an element's bits do not depend on how
rows were divided among tiles or threads. With bfloat16 a step of k is a word of two numbers, multiplied and added to
float32 sums by one instruction.

While a tile runs it can fetch what the next ones will read from a slower cache into the L2: the next panel of weights
where a layer's weights are too large to stay there, the next rows of a weight gradient always.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.host import CACHE_LINE, PACKED_VECTORS, TILE_ROWS, isa
from charrnn.kernels.vector import Vector, call_llvm, fma_name, llvm_vector, splat_value, vector_of
from charrnn.kernels.words import bfloat_pairs

I64 = ir.IntType(64)
L1, L2 = 3, 2  # LLVM's localities of a prefetch into the first cache and the second


class _Tile(NamedTuple):
    """Which tiles are emitted: `width` vectors wide, with A transposed or not, of numbers or of words of bfloat16."""

    vector: Vector
    width: int
    transposed: bool
    bfloat16: bool


class Ahead(NamedTuple):
    """LLVM values: where a tile begins to fetch ahead, and how many elements it moves on with each k."""

    at: object
    step: object


class Operands(NamedTuple):
    """The LLVM values of a product: pointers and int64.

    ahead     an Ahead: each tile goes on where the last ended; or None
    beside    an Ahead that every tile fetches from the beginning; or None
    """

    a: object
    lda: object
    a_panel: object
    b: object
    ldb: object
    c: object
    ldc: object
    K: object
    panels: object
    ahead: object = None
    beside: object = None


def const(n):
    return ir.Constant(I64, n)


def prefetch(builder, pointer, cache):
    """Emit the fetch of a line into a cache; on x86 as an instruction of its own.

    LLVM moves no load across its own intrinsic. So it loaded all that two steps of k need first, and a tile of 8 x 3
    lived on the stack: GRUs ran at three quarters of their speed on Zen 4.
    """
    if isa() != "neon":
        name = {L1: "prefetcht0", L2: "prefetcht1"}[cache]
        kind = ir.FunctionType(ir.VoidType(), [pointer.type])
        builder.call(ir.InlineAsm(kind, f"{name} ($0)", "r", side_effect=True), [pointer])
        return
    byte = ir.IntType(8).as_pointer()
    arguments = [byte, *[ir.IntType(32)] * 3]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), arguments), "llvm.prefetch.p0i8"
    )
    read, data = 0, 1
    builder.call(
        function, [builder.bitcast(pointer, byte), *(ir.Constant(ir.IntType(32), n) for n in (read, cache, data))]
    )


def _emit_tile(builder, tile, rows, operands, accumulate):
    """Emit one tile: c[rows, width*lanes] (+)= sum over panels and k of A(row, k) * B(k, :)."""
    vector, width, transposed, bfloat16 = tile
    a, lda, a_panel, b, ldb, c, ldc, K, panels, ahead, beside = operands
    element, kind = llvm_vector(vector).element, llvm_vector(vector)
    align, lanes = vector.dtype.bitwidth // 8, vector.lanes

    def at(pointer, offset):
        return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

    sums = [[cgutils.alloca_once(builder, kind) for _ in range(width)] for _ in range(rows)]
    places = [
        [at(c, builder.add(builder.mul(ldc, const(m)), const(v * lanes))) for v in range(width)] for m in range(rows)
    ]
    next_c = builder.sdiv(builder.mul(ldc, const(rows)), const(lanes))
    zero = ir.Constant(kind, [ir.Constant(element, 0.0)] * lanes)
    with builder.if_else(accumulate) as (then, otherwise):
        with then:
            for m in range(rows):
                for v in range(width):
                    builder.store(builder.load(places[m][v], align=align), sums[m][v])
            for m in range(rows if ahead is not None else 0):
                for v in range(width):
                    prefetch(builder, builder.gep(places[m][v], [next_c]), L1)
        with otherwise:
            for m in range(rows):
                for v in range(width):
                    builder.store(zero, sums[m][v])
    with cgutils.for_range(builder, panels) as outer:
        a_p = builder.gep(a, [builder.mul(a_panel, outer.index)])
        b_p = builder.gep(b, [builder.mul(builder.mul(K, outer.index), ldb)])
        a_rows = None if transposed else [builder.gep(a_p, [builder.mul(lda, const(m))]) for m in range(rows)]
        if not transposed and ahead is not None:
            for m in range(rows):
                for line in range(4):
                    there = builder.gep(
                        a_rows[m], [builder.add(a_panel, const(line * CACHE_LINE // (vector.dtype.bitwidth // 8)))]
                    )
                    prefetch(builder, there, L1)
        with cgutils.for_range(builder, K) as inner:
            k = inner.index
            b_k = builder.gep(b_p, [builder.mul(k, ldb)])
            b_row = [builder.load(at(b_k, const(v * lanes)), align=align) for v in range(width)]
            if ahead is not None:
                index = builder.add(builder.mul(K, outer.index), k)
                prefetch(builder, builder.gep(ahead.at, [builder.mul(index, ahead.step)]), L2)
            if beside is not None:
                prefetch(builder, builder.gep(beside.at, [builder.mul(k, beside.step)]), L2)
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


def _emit_rows(builder, tile, most, rows, operands, accumulate):
    """Emit a tile of 1 to `most` rows, by how many there are when it runs."""
    done = builder.append_basic_block("done")
    switch = builder.switch(rows, done)
    for count in range(1, most + 1):
        block = builder.append_basic_block(f"rows{count}")
        switch.add_case(const(count), block)
        builder.position_at_end(block)
        _emit_tile(builder, tile, count, operands, accumulate)
        builder.branch(done)
    builder.position_at_end(done)


def divide_up(builder, n, by):
    """Return n / by, rounded up."""
    return builder.sdiv(builder.add(n, builder.sub(by, const(1))), by)


def _walk_rows(builder, tile, n, operands, accumulate, ahead):
    """Emit the walk over n rows of C in tiles as even as can be.

    ahead    an Ahead: where the first tile begins to fetch, and the step of all; each goes on where the last ended
    """
    most = TILE_ROWS[isa()][tile.width]
    tiles = divide_up(builder, n, const(most))
    with builder.if_then(builder.icmp_signed(">", n, const(0))):
        base, extra = builder.sdiv(n, tiles), builder.srem(n, tiles)
        row = cgutils.alloca_once(builder, I64)
        builder.store(const(0), row)
        step = const(1) if tile.transposed else operands.lda  # how far A moves for the next row of C
        with cgutils.for_range(builder, tiles) as loop:
            rows = builder.add(base, builder.zext(builder.icmp_signed("<", loop.index, extra), I64))
            first = builder.load(row)
            if ahead is not None:
                done = builder.mul(loop.index, builder.mul(operands.K, operands.panels))
                at = builder.gep(ahead.at, [builder.mul(done, ahead.step)])
                operands = operands._replace(ahead=Ahead(at, ahead.step))
            a_tile = builder.gep(operands.a, [builder.mul(first, step)])
            c_tile = builder.gep(operands.c, [builder.mul(first, operands.ldc)])
            _emit_rows(builder, tile, most, rows, operands._replace(a=a_tile, c=c_tile), accumulate)
            builder.store(builder.add(first, rows), row)


def make_product(width, bfloat16, ahead):
    """Return the intrinsic that computes n rows of C, on raw pointers.

    ahead    Fetch as much from next_b elements behind b on, evenly while the tiles run
    """

    def walk(typingctx, n, a, lda, a_panel, b, next_b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  an entry has
        tile = _Tile(vector_of(c.dtype), width, False, bfloat16)

        def codegen(context, builder, sig, args):
            n, a, lda, a_panel, b, next_b, c, ldc, K, panels, accumulate = args
            ldb = const(width * tile.vector.lanes)
            operands = Operands(a, lda, a_panel, b, ldb, c, ldc, K, panels)
            fetched = None
            if ahead:
                tiles = divide_up(builder, n, const(TILE_ROWS[isa()][width]))
                tiles = builder.select(builder.icmp_signed(">", tiles, const(0)), tiles, const(1))
                fetched = Ahead(builder.gep(b, [next_b]), divide_up(builder, ldb, tiles))
            _walk_rows(builder, tile, n, operands, builder.icmp_signed("!=", accumulate, const(0)), fetched)
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, integer, integer, b, integer, c, integer, integer, integer, integer), codegen

    return intrinsic(walk)


def make_product_t(width, bfloat16):
    """Return the intrinsic that computes n rows of C from columns of A that are packed in blocks, on raw pointers.

    Meanwhile K rows of B `ahead` elements further on are fetched, and n columns of K rows at x, ldx elements apart.
    """

    def walk(typingctx, n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate):  # noqa: PLR0913  as product_t has
        tile = _Tile(vector_of(c.dtype), width, True, bfloat16)

        def codegen(context, builder, sig, args):
            n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, const(0))
            columns, most = PACKED_VECTORS[isa()] * tile.vector.lanes, TILE_ROWS[isa()][width]
            tiles_a_block, blocks = -(-columns // most), divide_up(builder, n, const(columns))
            step = divide_up(builder, ldb, builder.mul(blocks, const(tiles_a_block)))
            with cgutils.for_range(builder, blocks) as loop:
                first = builder.mul(loop.index, const(columns))
                left = builder.sub(n, first)
                rows = builder.select(builder.icmp_signed("<", left, const(columns)), left, const(columns))
                operands = Operands(
                    builder.gep(a, [builder.mul(first, K)]),
                    const(columns),
                    const(0),
                    b,
                    ldb,
                    builder.gep(c, [builder.mul(first, ldc)]),
                    ldc,
                    K,
                    const(1),
                    beside=Ahead(builder.gep(x, [first]), ldx),
                )
                done = builder.mul(loop.index, builder.mul(const(tiles_a_block), K))
                at = builder.gep(b, [builder.add(ahead, builder.mul(done, step))])
                _walk_rows(builder, tile, rows, operands, accumulate, Ahead(at, step))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, b, integer, integer, x, integer, c, integer, integer, integer), codegen

    return intrinsic(walk)
