"""Words: what matrix products read. A word is a number, or two neighbours as bfloat16 where the CPU multiplies these.

Two bfloat16 are kept in the place of a float32, in buffers that nobody adds or multiplies.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.host import has_bfloat16
from charrnn.kernels.vector import data_pointer, llvm_vector, vector_constant, vector_of


class BFloatType(ir.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    def __str__(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, BFloatType)

    def __hash__(self):
        return hash(BFloatType)


def bfloat_pairs(builder, words):
    """Reinterpret a vector of float32 words as the pairs of bfloat16 they hold."""
    return builder.bitcast(words, ir.VectorType(BFloatType(), 2 * words.type.count))


def _narrowed(builder, value):
    """Round a vector of float32 to bfloat16 (to nearest, ties to even; NaN stays NaN), as i16."""
    half = ir.VectorType(BFloatType(), value.type.count)
    return builder.bitcast(builder.fptrunc(value, half), ir.VectorType(ir.IntType(16), value.type.count))


def _words(builder, a, b, order):
    """Join two narrowed vectors to one of float32 words; order: indices into a then b."""
    index = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
    return builder.bitcast(builder.shuffle_vector(a, b, index), ir.VectorType(ir.FloatType(), len(order) // 2))


def _make_narrow(interleaved):
    def narrow(typingctx, a, b):
        def codegen(context, builder, sig, args):
            if not has_bfloat16():  # compiled, never called
                return args[0]
            n = a.lanes
            order = [i // 2 + n * (i % 2) for i in range(2 * n)] if interleaved else list(range(2 * n))
            return _words(builder, *(_narrowed(builder, x) for x in args), order)

        return a(a, b), codegen

    return narrow


narrow_pairs = intrinsic(_make_narrow(True))  # words of (a[i], b[i])
narrow_row = intrinsic(_make_narrow(False))  # words of neighbours: (a[0], a[1]), ..., (b[0], b[1]), ...


def _make_transpose(narrowed):
    def transpose(typingctx, X, x, ldx, count, Y, y, ldy, stores):  # noqa: PLR0913  the first is Numba's
        vector = vector_of(X.dtype)
        n = vector.lanes

        def codegen(context, builder, sig, args):
            X, x, ldx, count, Y, y, ldy, stores = args
            kind, i64, align = llvm_vector(vector), ir.IntType(64), vector.dtype.bitwidth // 8
            source, target = (data_pointer(context, builder, sig.args[i], a) for i, a in ((0, X), (4, Y)))

            def place(pointer, offset, stride, m, v=0):
                p = builder.gep(pointer, [builder.add(offset, builder.mul(stride, ir.Constant(i64, m)))])
                return builder.bitcast(builder.gep(p, [ir.Constant(i64, v * n)]), kind.as_pointer())

            rows = []
            for m in range(n):
                row = cgutils.alloca_once_value(builder, vector_constant(vector, 0.0))
                builder.store(vector_constant(vector, 0.0), row)
                with builder.if_then(builder.icmp_signed("<", ir.Constant(i64, m), count)):
                    value = builder.load(place(source, x, ldx, m), align=align)
                    if narrowed and has_bfloat16():
                        second = builder.load(place(source, x, ldx, m, 1), align=align)
                        value = _words(
                            builder, _narrowed(builder, value), _narrowed(builder, second), list(range(2 * n))
                        )
                    builder.store(value, row)
                rows.append(builder.load(row))
            index = ir.VectorType(ir.IntType(32), n)
            low = ir.Constant(index, [i // 2 + n * (i % 2) for i in range(n)])
            high = ir.Constant(index, [n // 2 + i // 2 + n * (i % 2) for i in range(n)])
            step = n
            while step > 1:
                rows = [
                    builder.shuffle_vector(rows[i // 2], rows[i // 2 + n // 2], high if i % 2 else low)
                    for i in range(n)
                ]
                step //= 2
            for m in range(n):
                with builder.if_then(builder.icmp_signed("<", ir.Constant(i64, m), stores)):
                    builder.store(rows[m], place(target, y, ldy, m), align=align)
            return context.get_dummy_value()

        i = types.int64
        return types.void(X, i, i, i, Y, i, i, i), codegen

    return transpose


# Y = X' for one square block of `lanes` by `lanes` words: rows ldx apart from x on, to rows ldy apart from y on. Only
# the first `count` rows of X are read (none if it is not positive), the rest count as zeros; only the first `stores`
# rows of Y are written. Rows are interleaved with those half a block below, log2(lanes) times over. A word is a number,
# or with narrow_transpose_block two neighbours as bfloat16.
transpose_block, narrow_transpose_block = intrinsic(_make_transpose(False)), intrinsic(_make_transpose(True))
