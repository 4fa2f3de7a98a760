"""The fused-multiply-add peak of this CPU: a kernel that touches nothing but registers, to measure the others against.

Each of ACCUMULATORS vectors x is taken through x = a x + b as often as asked; none waits for another, so the latency of
one is hidden behind the rest. What they end at is written back, so that nothing can be optimised away.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.host import isa
from charrnn.kernels.records import ACCUMULATORS, UNROLLED, PeakTable
from charrnn.kernels.vector import call_llvm, data_pointer, fma_name, llvm_vector, splat_value, vector_of
from charrnn.kernels.view import opener

open_peak = opener(PeakTable)


@intrinsic
def _recur(typingctx, numbers, offset, rounds):
    """Take the vectors at numbers[offset + 2:] through x = a x + b, rounds*UNROLLED times; a, b stand before them."""
    vector = vector_of(numbers.dtype)
    count, align = ACCUMULATORS[isa()], numbers.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        kind = llvm_vector(vector)
        start = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])

        def const(n):
            return ir.Constant(ir.IntType(64), n)

        a, b = (splat_value(builder, builder.load(builder.gep(start, [const(i)])), vector.lanes) for i in (0, 1))
        places = [
            builder.bitcast(builder.gep(start, [const(2 + i * vector.lanes)]), kind.as_pointer()) for i in range(count)
        ]
        sums = [cgutils.alloca_once(builder, kind) for _ in range(count)]
        for place, total in zip(places, sums):
            builder.store(builder.load(place, align=align), total)
        with cgutils.for_range(builder, args[2]):
            for _ in range(UNROLLED):
                for total in sums:
                    builder.store(call_llvm(builder, fma_name(vector), kind, [a, builder.load(total), b]), total)
        for place, total in zip(places, sums):
            builder.store(builder.load(total), place, align=align)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, types.int64), codegen


def peak(table, like, item):
    """Run the recurrence of one item."""
    v = open_peak(table, like)
    _recur(v.numbers, item * v.item_size, v.rounds)
