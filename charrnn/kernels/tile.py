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

from charrnn.kernels.amx import emit_release, emit_rows, emit_walk
from charrnn.kernels.compiled import compile_entry, inline
from charrnn.kernels.host import (
    AMX_ROWS,
    AMX_WORDS,
    CACHE_LINE,
    GRADIENT_ROWS,
    PACKED_BLOCKS,
    PACKED_VECTORS,
    TILE_ROWS,
    WIDTHS,
    has_amx,
    isa,
)
from charrnn.kernels.simd import shifted
from charrnn.kernels.vector import Vector, call_llvm, entry_arguments, fma_name, llvm_vector, splat_value, vector_of
from charrnn.kernels.words import bfloat_pairs

I64 = ir.IntType(64)
L1, L2 = 3, 2  # LLVM's localities of a prefetch into the first cache and the second


class _Tile(NamedTuple):
    """Which tiles are emitted: `width` vectors wide, with A transposed or not, of numbers or of words of bfloat16."""

    vector: Vector
    width: int
    transposed: bool
    bfloat16: bool


class _Ahead(NamedTuple):
    """LLVM values: where a tile begins to fetch ahead, and how many elements it moves on with each k."""

    at: object
    step: object


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
    ahead: object  # an _Ahead, or None


def _const(n):
    return ir.Constant(I64, n)


def _prefetch(builder, pointer, cache):
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
    a, lda, a_panel, b, ldb, c, ldc, K, panels, ahead = operands
    element, kind = llvm_vector(vector).element, llvm_vector(vector)
    align, lanes = vector.dtype.bitwidth // 8, vector.lanes

    def at(pointer, offset):
        return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

    sums = [[cgutils.alloca_once(builder, kind) for _ in range(width)] for _ in range(rows)]
    places = [
        [at(c, builder.add(builder.mul(ldc, _const(m)), _const(v * lanes))) for v in range(width)] for m in range(rows)
    ]
    next_c = builder.sdiv(builder.mul(ldc, _const(rows)), _const(lanes))
    zero = ir.Constant(kind, [ir.Constant(element, 0.0)] * lanes)
    with builder.if_else(accumulate) as (then, otherwise):
        with then:
            for m in range(rows):
                for v in range(width):
                    builder.store(builder.load(places[m][v], align=align), sums[m][v])
            for m in range(rows if ahead is not None else 0):
                for v in range(width):
                    _prefetch(builder, builder.gep(places[m][v], [next_c]), L1)
        with otherwise:
            for m in range(rows):
                for v in range(width):
                    builder.store(zero, sums[m][v])
    with cgutils.for_range(builder, panels) as outer:
        a_p = builder.gep(a, [builder.mul(a_panel, outer.index)])
        b_p = builder.gep(b, [builder.mul(builder.mul(K, outer.index), ldb)])
        a_rows = None if transposed else [builder.gep(a_p, [builder.mul(lda, _const(m))]) for m in range(rows)]
        if not transposed and ahead is not None:
            for m in range(rows):
                for line in range(4):
                    there = builder.gep(
                        a_rows[m], [builder.add(a_panel, _const(line * CACHE_LINE // (vector.dtype.bitwidth // 8)))]
                    )
                    _prefetch(builder, there, L1)
        with cgutils.for_range(builder, K) as inner:
            k = inner.index
            b_k = builder.gep(b_p, [builder.mul(k, ldb)])
            b_row = [builder.load(at(b_k, _const(v * lanes)), align=align) for v in range(width)]
            if ahead is not None:
                index = builder.add(builder.mul(K, outer.index), k)
                _prefetch(builder, builder.gep(ahead.at, [builder.mul(index, ahead.step)]), L2)
            if transposed:
                a_k = builder.gep(a_p, [builder.mul(k, lda)])
            for m in range(rows):
                number = builder.load(builder.gep(a_k, [_const(m)]) if transposed else builder.gep(a_rows[m], [k]))
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
        switch.add_case(_const(count), block)
        builder.position_at_end(block)
        _emit_tile(builder, tile, count, operands, accumulate)
        builder.branch(done)
    builder.position_at_end(done)


def _divide_up(builder, n, by):
    """Return n / by, rounded up."""
    return builder.sdiv(builder.add(n, builder.sub(by, _const(1))), by)


def _walk_rows(builder, tile, n, operands, accumulate, ahead):
    """Emit the walk over n rows of C in tiles as even as can be.

    ahead    an _Ahead: where the first tile begins to fetch, and the step of all; each goes on where the last ended
    """
    most = TILE_ROWS[isa()][tile.width]
    tiles = _divide_up(builder, n, _const(most))
    with builder.if_then(builder.icmp_signed(">", n, _const(0))):
        base, extra = builder.sdiv(n, tiles), builder.srem(n, tiles)
        row = cgutils.alloca_once(builder, I64)
        builder.store(_const(0), row)
        step = _const(1) if tile.transposed else operands.lda  # how far A moves for the next row of C
        with cgutils.for_range(builder, tiles) as loop:
            rows = builder.add(base, builder.zext(builder.icmp_signed("<", loop.index, extra), I64))
            first = builder.load(row)
            if ahead is not None:
                done = builder.mul(loop.index, builder.mul(operands.K, operands.panels))
                at = builder.gep(ahead.at, [builder.mul(done, ahead.step)])
                operands = operands._replace(ahead=_Ahead(at, ahead.step))
            a_tile = builder.gep(operands.a, [builder.mul(first, step)])
            c_tile = builder.gep(operands.c, [builder.mul(first, operands.ldc)])
            _emit_rows(builder, tile, most, rows, operands._replace(a=a_tile, c=c_tile), accumulate)
            builder.store(builder.add(first, rows), row)


def _make_product(width, bfloat16, ahead):
    """Return the intrinsic that computes n rows of C, on raw pointers.

    ahead    Fetch the panel behind the one that is read, evenly while the tiles run
    """

    def walk(typingctx, n, a, lda, a_panel, b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  as tile_address has
        tile = _Tile(vector_of(c.dtype), width, False, bfloat16)

        def codegen(context, builder, sig, args):
            n, a, lda, a_panel, b, c, ldc, K, panels, accumulate = args
            ldb = _const(width * tile.vector.lanes)
            operands = _Operands(a, lda, a_panel, b, ldb, c, ldc, K, panels, None)
            fetched = None
            if ahead:
                behind = builder.gep(b, [builder.mul(builder.mul(panels, K), ldb)])
                tiles = _divide_up(builder, n, _const(TILE_ROWS[isa()][width]))
                tiles = builder.select(builder.icmp_signed(">", tiles, _const(0)), tiles, _const(1))
                fetched = _Ahead(behind, _divide_up(builder, ldb, tiles))
            _walk_rows(builder, tile, n, operands, builder.icmp_signed("!=", accumulate, _const(0)), fetched)
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, integer, integer, b, c, integer, integer, integer, integer), codegen

    return intrinsic(walk)


@intrinsic
def packed_columns(typingctx, array):
    """How many columns of A a packed block of them holds, a compile-time constant."""
    count = PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        return _const(count)

    return types.int64(array), codegen


@intrinsic
def packed_group(typingctx, array):
    """How many columns an item packs at most, a compile-time constant."""
    count = PACKED_BLOCKS[isa()] * PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        return _const(count)

    return types.int64(array), codegen


@intrinsic
def packed_scratch(typingctx, array):
    """A pointer to memory for GRADIENT_ROWS rows of a packed group, until the function returns."""
    numbers = GRADIENT_ROWS * PACKED_BLOCKS[isa()] * PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            place = builder.alloca(ir.IntType(8), _const(numbers * array.dtype.bitwidth // 8))
        place.align = CACHE_LINE
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    return types.CPointer(array.dtype)(array), codegen


def _make_product_t(width, bfloat16):
    """Return the intrinsic that computes n rows of C from columns of A that are packed in blocks, on raw pointers.

    Meanwhile K rows of B `ahead` elements further on are fetched.
    """

    def walk(typingctx, n, a, b, ldb, ahead, c, ldc, K, accumulate):  # noqa: PLR0913  as product_t has
        tile = _Tile(vector_of(c.dtype), width, True, bfloat16)

        def codegen(context, builder, sig, args):
            n, a, b, ldb, ahead, c, ldc, K, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, _const(0))
            columns, most = PACKED_VECTORS[isa()] * tile.vector.lanes, TILE_ROWS[isa()][width]
            tiles_a_block, blocks = -(-columns // most), _divide_up(builder, n, _const(columns))
            step = _divide_up(builder, ldb, builder.mul(blocks, _const(tiles_a_block)))
            with cgutils.for_range(builder, blocks) as loop:
                first = builder.mul(loop.index, _const(columns))
                left = builder.sub(n, first)
                rows = builder.select(builder.icmp_signed("<", left, _const(columns)), left, _const(columns))
                operands = _Operands(
                    builder.gep(a, [builder.mul(first, K)]),
                    _const(columns),
                    _const(0),
                    b,
                    ldb,
                    builder.gep(c, [builder.mul(first, ldc)]),
                    ldc,
                    K,
                    _const(1),
                    None,
                )
                done = builder.mul(loop.index, builder.mul(_const(tiles_a_block), K))
                at = builder.gep(b, [builder.add(ahead, builder.mul(done, step))])
                _walk_rows(builder, tile, rows, operands, accumulate, _Ahead(at, step))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(integer, a, b, integer, integer, c, integer, integer, integer), codegen

    return intrinsic(walk)


def _make_amx(width, ahead):
    """Return the intrinsic that computes n rows of C as _make_product's does, of bfloat16, on AMX."""

    def walk(typingctx, n, a, lda, a_panel, b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  as _make_product has
        def codegen(context, builder, sig, args):
            n, a, lda, a_panel, b, c, ldc, K, panels, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, _const(0))
            ldb = _const(width * AMX_WORDS)
            behind = builder.gep(b, [builder.mul(builder.mul(panels, K), ldb)])

            def body(first, rows, number, tiles):
                a_tile = builder.gep(a, [builder.mul(first, lda)])
                operands = _Operands(
                    a_tile, lda, a_panel, b, ldb, builder.gep(c, [builder.mul(first, ldc)]), ldc, K, panels, None
                )

                def a_place(panel, run):
                    offset = builder.add(builder.mul(a_panel, panel), builder.mul(run, _const(AMX_WORDS)))
                    return builder.gep(a_tile, [offset]), builder.mul(lda, _const(4))

                def fetch(run):  # a tile two of the `width` lines of each row; the tiles together, all of them
                    at = builder.gep(behind, [builder.mul(run, _const(AMX_WORDS * width * AMX_WORDS))])
                    for line in (number, builder.add(number, tiles)):
                        first = builder.mul(builder.urem(line, _const(width)), _const(AMX_WORDS))
                        for row in range(AMX_WORDS):
                            there = builder.add(first, _const(row * width * AMX_WORDS))
                            _prefetch(builder, builder.gep(at, [there]), L2)

                emit_rows(builder, width, rows, operands, a_place, accumulate, fetch if ahead else None)

            emit_walk(builder, n, body)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, a, i, i, b, c, i, i, i, i), codegen

    return intrinsic(walk)


def _make_amx_t(width):
    """Return the intrinsic that computes n rows of C as _make_product_t's does, of bfloat16, on AMX.

    A block of A's columns is packed transposed: for each run of 16 of the K words, 16 columns of 16 words.
    """

    def walk(typingctx, n, a, b, ldb, ahead, c, ldc, K, accumulate):  # noqa: PLR0913  as _make_product_t has
        def codegen(context, builder, sig, args):
            n, a, b, ldb, ahead, c, ldc, K, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, _const(0))
            square = _const(AMX_WORDS * AMX_WORDS)
            block = builder.mul(_divide_up(builder, K, _const(AMX_WORDS)), square)
            blocks = _divide_up(builder, n, _const(AMX_ROWS))
            with cgutils.for_range(builder, blocks) as loop:
                first = builder.mul(loop.index, _const(AMX_ROWS))
                left = builder.sub(n, first)
                rows = builder.select(builder.icmp_signed("<", left, _const(AMX_ROWS)), left, _const(AMX_ROWS))
                a_block = builder.gep(a, [builder.mul(loop.index, block)])
                c_block = builder.gep(c, [builder.mul(first, ldc)])
                operands = _Operands(a_block, None, None, b, ldb, c_block, ldc, K, _const(1), None)

                def a_place(panel, run, a_block=a_block):
                    return builder.gep(a_block, [builder.mul(run, square)]), _const(4 * AMX_WORDS)

                emit_rows(builder, width, rows, operands, a_place, accumulate, None)
            emit_release(builder)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, a, b, i, i, c, i, i, i), codegen

    return intrinsic(walk)


def compile_product(width, kind, dtype):
    """Return the Code (machine_code.py) of the product of `width` vectors for a dtype.

    kind     one of host.PRODUCTS
    dtype    "float32", "float64" or "bfloat16"

    With bfloat16, A and B hold words of two neighbours in k, K counts words, and C is float32.

    It is called through its address, which kernels get in a table: linked into every kernel instead, LLVM would
    optimise the large bodies anew at each level of calls, and compiling took 25 s, not 6.
    """
    bfloat16 = dtype == "bfloat16"
    amx = bfloat16 and has_amx()
    i, pointer = types.int64, types.CPointer(types.float32 if bfloat16 else getattr(types, dtype))
    if kind == "transposed":
        walk_t = _make_amx_t(width) if amx else _make_product_t(width, bfloat16)

        def entry_t(n, a, b, ldb, ahead, c, ldc, K, accumulate):  # noqa: PLR0913  C has no structs here
            walk_t(n, a, b, ldb, ahead, c, ldc, K, accumulate)

        return compile_entry(entry_t, i, pointer, pointer, i, i, pointer, i, i, i)
    walk = _make_amx(width, kind == "ahead") if amx else _make_product(width, bfloat16, kind == "ahead")

    def entry(n, a, lda, a_panel, b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  C has no structs here
        walk(n, a, lda, a_panel, b, c, ldc, K, panels, accumulate)

    return compile_entry(entry, i, pointer, i, i, pointer, pointer, i, i, i, i)


def _call_entry(context, builder, args):
    """Emit the call of an entry by its address, the first of the values."""
    arguments = entry_arguments(builder, args[1:])
    kind = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), arguments)
    return context.get_dummy_value()


@intrinsic
def _call(typingctx, address, n, a, lda, a_panel, b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  a tile's own
    """Call a product by its address."""

    def codegen(context, builder, sig, args):
        return _call_entry(context, builder, args)

    i = types.int64
    return types.void(i, i, a, i, i, b, c, i, i, i, i), codegen


@intrinsic
def _call_t(typingctx, address, n, a, b, ldb, ahead, c, ldc, K, accumulate):  # noqa: PLR0913  a tile's own
    """Call a transposed product by its address."""

    def codegen(context, builder, sig, args):
        return _call_entry(context, builder, args)

    i = types.int64
    return types.void(i, i, a, b, i, i, c, i, i, i), codegen


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
    _call(tiles[width - WIDTHS[0]], n, a, X.stride, X.panel, b, c, Y.stride, W.K, W.panels, accumulate)


@inline
def product_t(tiles, width, packed, D, ahead, Y, shape, accumulate):  # noqa: PLR0913
    """Y (+)= X' D, for weight gradients: (n, width vectors), summed over R rows in ascending order; shape is (n, R).

    packed        a pointer to X: for each block of packed_columns columns, R rows of them; n columns in all
    D, Y          Rows of one panel: R and n of them
    ahead         how many elements behind D those rows begin that are read next
    """
    n, R = shape
    b, c = shifted(D.numbers, D.at), shifted(Y.numbers, Y.at)
    _call_t(tiles[width - WIDTHS[0] + len(WIDTHS)], n, packed, b, D.stride, ahead, c, Y.stride, R, accumulate)
