"""Products of bfloat16 words on AMX, the matrix unit of Intel's server CPUs since 2023, as LLVM IR.

A tile register holds 16 rows of 64 bytes. One instruction multiplies a tile of A (rows x 16 words) by a tile of B (16
words x 16 columns), words being pairs of neighbours in k, and adds to a tile of float32 sums: 16,384 multiply-adds in
16 cycles, where the vector unit of these CPUs does 512, and with bfloat16 only 256. The operands lie in memory as the
other products of words have them; only the columns of a weight gradient are packed transposed (weight_gradients.py).

K is cut into runs of 16 words and what is left, whatever the rows: an element's bits do not depend on how rows were
divided. Subnormal numbers count as zero here, in and out, as the other products of bfloat16 have it.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.host import AMX_ROWS, AMX_WORDS
from charrnn.kernels.tile import L2, Operands, const, divide_up, prefetch

I8, I16, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(64)
SUMS = 4  # tile registers of sums: as many vectors of columns at a time
A, B, A_LEFT, B_LEFT = 4, 5, 6, 7  # the others; two for what 16 words leave over
ROW_BYTES, CONFIG_BYTES = 64, 64


def _call(builder, name, *arguments):
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _tile(n):
    return ir.Constant(I8, n)


def _bytes(builder, pointer):
    return builder.bitcast(pointer, I8.as_pointer())


def _configure(builder, config, rows, left):
    """Load the shapes of the tile registers: `rows` rows of C and A, and `left` words over."""
    left = builder.select(builder.icmp_signed("==", left, const(0)), const(AMX_WORDS), left)
    full, left_bytes = const(ROW_BYTES), builder.mul(left, const(4))
    shapes = [(rows, full)] * SUMS + [(rows, full), (const(AMX_WORDS), full), (rows, left_bytes), (left, full)]
    builder.store(ir.Constant(I8, 1), config)
    for register, (height, width) in enumerate(shapes):
        at = builder.gep(config, [const(16 + 2 * register)])
        builder.store(builder.trunc(width, I16), builder.bitcast(at, I16.as_pointer()), align=2)
        builder.store(builder.trunc(height, I8), builder.gep(config, [const(48 + register)]))
    _call(builder, "ldtilecfg", config)


def _emit_rows(builder, width, rows, operands, a_place, accumulate, fetch):  # noqa: PLR0913  what a product is made of
    """Emit up to 16 rows of a product: c (rows, width vectors) (+)= A B, summed over panels and k.

    rows       how many, an LLVM value
    operands   tile.Operands; a is not read
    a_place    a_place(panel, run) -> pointer to A's 16 words from 16 run on, and the bytes between its rows
    fetch      fetch(number) emits what is fetched beside run `number` of all panels' runs, or None
    """
    _, _, _, b, ldb, c, ldc, K, panels, *_ = operands
    with builder.goto_entry_block():
        config = builder.alloca(I8, const(CONFIG_BYTES))
        config.align = ROW_BYTES
        for word in range(CONFIG_BYTES // 8):
            builder.store(const(0), builder.bitcast(builder.gep(config, [const(8 * word)]), I64.as_pointer()))
    runs, left = builder.sdiv(K, const(AMX_WORDS)), builder.srem(K, const(AMX_WORDS))
    _configure(builder, config, rows, left)
    ldc_bytes, ldb_bytes = builder.mul(ldc, const(4)), builder.mul(ldb, const(4))
    for first in range(0, width, SUMS):
        vectors = range(first, min(width, first + SUMS))
        places = [_bytes(builder, builder.gep(c, [const(v * AMX_WORDS)])) for v in vectors]
        with builder.if_else(accumulate) as (then, otherwise):
            with then:
                for s, place in enumerate(places):
                    _call(builder, "tileloadd64", _tile(s), place, ldc_bytes)
            with otherwise:
                for s in range(len(places)):
                    _call(builder, "tilezero", _tile(s))
        with cgutils.for_range(builder, panels) as outer:
            b_panel = builder.gep(b, [builder.mul(builder.mul(K, outer.index), ldb)])

            def add(run, a_tile, b_tile, vectors=vectors, panel=outer.index, b_panel=b_panel):
                a_at, a_bytes = a_place(panel, run)
                _call(builder, "tileloadd64", _tile(a_tile), _bytes(builder, a_at), a_bytes)
                b_run = builder.gep(b_panel, [builder.mul(builder.mul(run, const(AMX_WORDS)), ldb)])
                for s, v in enumerate(vectors):
                    b_at = _bytes(builder, builder.gep(b_run, [const(v * AMX_WORDS)]))
                    _call(builder, "tileloadd64", _tile(b_tile), b_at, ldb_bytes)
                    _call(builder, "tdpbf16ps", _tile(s), _tile(a_tile), _tile(b_tile))

            with cgutils.for_range(builder, runs) as inner:
                if fetch is not None and first == 0:
                    fetch(builder.add(builder.mul(runs, outer.index), inner.index))
                add(inner.index, A, B)
            with builder.if_then(builder.icmp_signed(">", left, const(0))):
                add(runs, A_LEFT, B_LEFT)
        for s, place in enumerate(places):
            _call(builder, "tilestored64", _tile(s), place, ldc_bytes)


def _emit_release(builder):
    """Give the tile registers back, so that a change of threads need not save them."""
    _call(builder, "tilerelease")


def _emit_walk(builder, n, body):
    """Emit body(first, rows, number, tiles) for tiles of at most 16 of n rows, as even as can be."""
    tiles = builder.sdiv(builder.add(n, const(AMX_ROWS - 1)), const(AMX_ROWS))
    with builder.if_then(builder.icmp_signed(">", n, const(0))):
        base, extra = builder.sdiv(n, tiles), builder.srem(n, tiles)
        with cgutils.for_range(builder, tiles) as loop:
            longer = builder.icmp_signed("<", loop.index, extra)
            rows = builder.add(base, builder.zext(longer, I64))
            ahead = builder.select(longer, loop.index, extra)
            body(builder.add(builder.mul(base, loop.index), ahead), rows, loop.index, tiles)
        _emit_release(builder)


def make_amx(width, ahead):
    """Return the intrinsic that computes n rows of C as make_product's does, of bfloat16, on AMX."""

    def walk(typingctx, n, a, lda, a_panel, b, next_b, c, ldc, K, panels, accumulate):  # noqa: PLR0913  as make_product has
        def codegen(context, builder, sig, args):
            n, a, lda, a_panel, b, next_b, c, ldc, K, panels, accumulate = args
            accumulate = builder.icmp_signed("!=", accumulate, const(0))
            ldb = const(width * AMX_WORDS)
            behind = builder.gep(b, [next_b])

            def body(first, rows, number, tiles):
                a_tile = builder.gep(a, [builder.mul(first, lda)])
                operands = Operands(
                    a_tile, lda, a_panel, b, ldb, builder.gep(c, [builder.mul(first, ldc)]), ldc, K, panels
                )

                def a_place(panel, run):
                    offset = builder.add(builder.mul(a_panel, panel), builder.mul(run, const(AMX_WORDS)))
                    return builder.gep(a_tile, [offset]), builder.mul(lda, const(4))

                def fetch(run):  # a tile two of the `width` lines of each row; the tiles together, all of them
                    at = builder.gep(behind, [builder.mul(run, const(AMX_WORDS * width * AMX_WORDS))])
                    for line in (number, builder.add(number, tiles)):
                        first = builder.mul(builder.urem(line, const(width)), const(AMX_WORDS))
                        for row in range(AMX_WORDS):
                            there = builder.add(first, const(row * width * AMX_WORDS))
                            prefetch(builder, builder.gep(at, [there]), L2)

                _emit_rows(builder, width, rows, operands, a_place, accumulate, fetch if ahead else None)

            _emit_walk(builder, n, body)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, a, i, i, b, i, c, i, i, i, i), codegen

    return intrinsic(walk)


def make_amx_t(width):
    """Return the intrinsic that computes n rows of C as make_product_t's does, of bfloat16, on AMX.

    A block of A's columns is packed transposed: for each run of 16 of the K words, 16 columns of 16 words.
    """

    def walk(typingctx, n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate):  # noqa: PLR0913  as make_product_t has
        def codegen(context, builder, sig, args):
            n, a, b, ldb, _, _, _, c, ldc, K, accumulate = args  # nothing is fetched ahead
            accumulate = builder.icmp_signed("!=", accumulate, const(0))
            square = const(AMX_WORDS * AMX_WORDS)
            block = builder.mul(divide_up(builder, K, const(AMX_WORDS)), square)
            blocks = divide_up(builder, n, const(AMX_ROWS))
            with cgutils.for_range(builder, blocks) as loop:
                first = builder.mul(loop.index, const(AMX_ROWS))
                left = builder.sub(n, first)
                rows = builder.select(builder.icmp_signed("<", left, const(AMX_ROWS)), left, const(AMX_ROWS))
                a_block = builder.gep(a, [builder.mul(loop.index, block)])
                c_block = builder.gep(c, [builder.mul(first, ldc)])
                operands = Operands(a_block, None, None, b, ldb, c_block, ldc, K, const(1))

                def a_place(panel, run, a_block=a_block):
                    return builder.gep(a_block, [builder.mul(run, square)]), const(4 * AMX_WORDS)

                _emit_rows(builder, width, rows, operands, a_place, accumulate, None)
            _emit_release(builder)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, a, b, i, i, x, i, c, i, i, i), codegen

    return intrinsic(walk)
