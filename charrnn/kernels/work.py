"""How threads take items of work until there are none left: the compiled half of pool.py.

The words of a pool, int64, each group on a cache line of its own:

    STATE      2**32 times a count that grows by one when a piece of work is opened and by one when it is closed, so
               that it is odd while threads may come in; plus how many are in
    NEXT       the next item
    ADDRESS, TABLE, COUNT, LIMIT    the work at hand: its function and table, the number of its items, and how many
               threads may take part, the leader among them. Written only while nobody is in.
    GIVE_WAY   the address of sched_yield, or 0

The leader opens the work, takes items like everybody else, closes it, and waits until nobody is in. It waits for
threads that came, never for one that did not: one that is late finds the work closed, or done by the others.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.kernels.compiled import inline
from charrnn.kernels.records import ADDRESS, COUNT, GIVE_WAY, LIMIT, NEXT, STATE, TABLE
from charrnn.kernels.simd import get
from charrnn.kernels.team import (
    PAUSE_AFTER,
    YIELD_AFTER,
    atomic_add,
    atomic_load,
    atomic_store,
    call_plain,
    compare_swap,
    pause,
)
from charrnn.kernels.vector import entry_arguments

SERVED = 1 << 12  # turns of waiting, of which most are pauses, after which a thread goes to sleep


@intrinsic
def _call_item(typingctx, address, table, item):
    """Call the item function at an address with a table by its address; `like` is passed as a null pointer."""

    def codegen(context, builder, sig, args):
        i64, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        own = [builder.inttoptr(args[1], i64.as_pointer()), ir.Constant(byte, None), args[2]]
        arguments = entry_arguments(builder, own)
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def alone(words, like, item):
    """Do all items one after the other."""
    for i in range(words[COUNT]):
        _call_item(words[ADDRESS], words[TABLE], i)


@inline
def take_items(words):
    """Do items until there are none left."""
    i = atomic_add(words, NEXT, 1)
    while i < words[COUNT]:
        _call_item(words[ADDRESS], words[TABLE], i)
        i = atomic_add(words, NEXT, 1)


def lead(words, like, item):
    """Do all items with whoever comes."""
    atomic_store(words, NEXT, 0)
    atomic_add(words, STATE, 1 << 32)
    take_items(words)
    atomic_add(words, STATE, 1 << 32)
    turns = 0
    while atomic_load(words, STATE) & 0xFFFFFFFF != 0:
        turns += 1
        if turns > YIELD_AFTER and words[GIVE_WAY] != 0:
            call_plain(words[GIVE_WAY])
        elif turns > PAUSE_AFTER:
            pause()


def serve(words, like, item):
    """Take part, as thread number `item`, in all work that is opened; return when there has been none for a while."""
    done, turns = -1, 0
    while turns < SERVED:
        state = atomic_load(words, STATE)
        opened = state >> 32
        if opened & 1 == 1 and opened != done:
            if compare_swap(words, STATE, state, state + 1):
                if item < get(words, LIMIT):
                    take_items(words)
                atomic_add(words, STATE, -1)
                done, turns = opened, 0
        else:
            turns += 1
            if turns > PAUSE_AFTER:
                pause()
