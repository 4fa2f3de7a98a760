"""The one parallel loop: threads take items of work until there are none left.

Which thread does which item is left to chance (a busy core takes fewer); no item reads what another of the same call
writes, so no result depends on it. Only the items of generate.py meet, by the rules of team.py.
"""

from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from charrnn.kernels.compiled import kernel
from charrnn.kernels.simd import fetch_add
from charrnn.kernels.vector import data_pointer


@intrinsic
def _call_item(typingctx, address, table, item):
    """Call the item function at an address; `like` is passed as a null pointer."""

    def codegen(context, builder, sig, args):
        i64, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [i64.as_pointer(), byte, i64])
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [data_pointer(context, builder, sig.args[1], args[1]), ir.Constant(byte, None), args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, table, types.int64), codegen


@kernel(parallel=True)
def _run_parallel(address, table, items, workers, counter):
    counter[0] = 0
    for _ in prange(workers):
        i = fetch_add(counter, 1)
        while i < items:
            _call_item(address, table, i)
            i = fetch_add(counter, 1)


@kernel
def _run_alone(address, table, items):
    for i in range(items):
        _call_item(address, table, i)


def run_items(address, table, items, workers, counter):
    """Do the items 0..items-1 of the function at `address` (Items.address) on `workers` threads.

    table     the function's int64 table; every address in it must stay good during the call
    counter   int64 (1,) or more, for this call alone
    """
    if workers > 1 and items > 1:
        _run_parallel(address, table, items, min(workers, items), counter)
    else:
        _run_alone(address, table, items)
