"""The fused-multiply-add peak of this CPU: a kernel that touches nothing but registers, to measure the others against.

Each of ACCUMULATORS vectors x is taken through x = a x + b as often as asked; none waits for another, so the latency of
one is hidden behind the rest. What they end at is written back, so that nothing can be optimised away.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from charrnn.kernels.compiled import Items
from charrnn.kernels.host import isa
from charrnn.kernels.items import run_items
from charrnn.kernels.table import Numbers, Table, opener
from charrnn.kernels.vector import (
    call_llvm,
    data_pointer,
    fma_name,
    lanes_of_dtype,
    llvm_vector,
    splat_value,
    vector_of,
)

# A multiply-add takes 4 or 5 cycles and up to 4 begin in one. With a and b they must fit in the 32 vector registers of
# AVX-512 and NEON, the 16 of AVX2.
ACCUMULATORS = {"avx512": 20, "neon": 20, "avx2": 12}
UNROLLED = 4  # steps of the recurrence between two looks at the loop's counter


class PeakTable(NamedTuple):
    """The table: how often to go round the loop, how many numbers an item has, and all of them."""

    rounds: int
    item_size: int
    numbers: Numbers


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


def numbers_per_item(dtype):
    """Return how many numbers one item takes: a, b and the vectors."""
    return 2 + ACCUMULATORS[isa()] * lanes_of_dtype(dtype)


def _peak(table, like, item):
    """Run the recurrence of one item."""
    v = open_peak(table, like)
    _recur(v.numbers, item * v.item_size, v.rounds)


peak = Items(_peak)  # item: one thread's share


def multiply_adds(numbers, rounds, workers=1):
    """Take every item's vectors through x = a x + b, rounds*UNROLLED times, on `workers` threads.

    numbers   (items, numbers_per_item(dtype)) float32 or float64, contiguous: a, b, then the vectors, written
    Returns the floating-point operations done: two a multiply-add and lane.
    """
    table = Table(PeakTable)
    table.set(rounds=rounds, item_size=numbers.shape[1], numbers=numbers)
    run_items(peak.address(numbers.dtype.name), table.words, len(numbers), workers, np.zeros(8, np.int64))
    return 2 * rounds * UNROLLED * len(numbers) * (numbers.shape[1] - 2)
