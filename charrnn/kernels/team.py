"""A team: workers of one parallel call that share the units of one phase after another, and meet after each.

A pool hands its items to threads as they come: all at once, or, where fewer threads are there than were asked for,
one after the other on one thread. A barrier among items that counts on all of them would then hang. Here the units of a
phase are claimed one at a time, and a worker waits only for units that somebody has claimed and is working on; so any
number of present workers, down to one, makes progress, and one that comes late finds the work done and leaves.

Each worker has a lot, a fixed range of a phase's units, and takes from it first: so the weights behind a unit stay in
the cache of one core. A worker without units left takes from the others' lots: at once where the owner has not come,
after PATIENCE turns of waiting where it has, since as a rule the owner is about to. A core that is taken away for a
while thus costs the unit that it held, not the phase.

The words of a team, int64, zero at the start of a call:

    CLAIMED(w)     the phase that a worker's lot is at, times 2**32, plus how many of its units are claimed
    OWED(w)        the worker's own: units finished and not yet told
    EAGER(w)       the worker's own: the phase in which its patience ran out
    PRESENT(w)     1 once the worker has come
    FINISHED(w)    units that it has finished and told since the start of the call; a phase is over when their sum says
                   so

The first three lie on a cache line that others touch only to take units, the last two on one that others read while
they wait. Phases are numbered from 1 and lots never go back, so a worker that fell behind cannot take a unit a second
time.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.kernels.compiled import inline
from charrnn.kernels.host import isa
from charrnn.kernels.records import LINE, TEAM_WORDS
from charrnn.kernels.simd import get, put
from charrnn.kernels.vector import data_pointer

CLAIMED, OWED, EAGER = range(3)
PRESENT, FINISHED = LINE, LINE + 1
# Turns of waiting, a few nanoseconds each, after which
PATIENCE = 128  # the units of the others are taken,
PAUSE_AFTER = (
    2048  # the core is told that it waits (in a virtual machine that may cost a microsecond: not for a short wait),
)
YIELD_AFTER = 4096  # and the core is offered to others: the one that is waited for may need it


@intrinsic
def atomic_load(typingctx, words, at):
    """words[at], and whatever its writer wrote before it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(
            builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]), "acquire", 8
        )

    return types.int64(words, types.int64), codegen


@intrinsic
def atomic_add(typingctx, words, at, amount):
    """Add to words[at]; return its value before. What was written before is seen by whoever sees the sum."""

    def codegen(context, builder, sig, args):
        p = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])
        return builder.atomic_rmw("add", p, args[2], "acq_rel")

    return types.int64(words, types.int64, types.int64), codegen


@intrinsic
def atomic_store(typingctx, words, at, value):
    """words[at] = value, for one writer. What was written before is seen by whoever sees the value."""

    def codegen(context, builder, sig, args):
        p = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])
        builder.store_atomic(args[2], p, "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), codegen


@intrinsic
def compare_swap(typingctx, words, at, seen, value):
    """Write words[at] = value if it still is `seen`; tell whether it was."""

    def codegen(context, builder, sig, args):
        p = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])
        return builder.extract_value(builder.cmpxchg(p, args[2], args[3], "acq_rel", "monotonic"), 1)

    return types.boolean(words, types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the core that it is waiting in a loop."""

    def codegen(context, builder, sig, args):
        x86 = isa() != "neon"
        kind = ir.FunctionType(ir.VoidType(), [] if x86 else [ir.IntType(32)])
        name = "llvm.x86.sse2.pause" if x86 else "llvm.aarch64.hint"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [] if x86 else [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_plain(typingctx, address):
    """Call the C function int f(void) at an address."""

    def codegen(context, builder, sig, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.IntType(32), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@inline
def join_team(words, me):
    """Say that worker `me` has come."""
    atomic_store(words, me * TEAM_WORDS + PRESENT, 1)


@inline
def _is_over(words, workers, target):
    """Tell whether `target` units are finished."""
    finished = 0
    for w in range(workers):
        finished += atomic_load(words, w * TEAM_WORDS + FINISHED)
    return finished >= target


@inline
def _claim(words, lot, phase, size):
    """Claim the next unit of a lot; return its number in the lot, or -1 where none is left."""
    at = lot * TEAM_WORDS + CLAIMED
    while True:
        seen = atomic_load(words, at)
        if seen >> 32 > phase:
            return -1
        index = seen & 0xFFFFFFFF if seen >> 32 == phase else 0
        if index >= size:
            return -1
        if compare_swap(words, at, seen, (phase << 32) + index + 1):
            return index


@inline
def next_unit(words, me, workers, phase, units, target, give_way):
    """Return the next unit, 0 .. units-1, of a phase for worker `me`, or -1 once all of them are finished.

    target     the units of all phases up to and including this one
    give_way   the address of sched_yield, or 0

    The unit returned before counts as finished.
    """
    mine = me * TEAM_WORDS
    lo = me * units // workers
    index = _claim(words, me, phase, (me + 1) * units // workers - lo)
    if index >= 0:
        put(words, mine + OWED, get(words, mine + OWED) + 1)
        return lo + index
    if get(words, mine + OWED) > 0:
        atomic_store(words, mine + FINISHED, get(words, mine + FINISHED) + get(words, mine + OWED))
        put(words, mine + OWED, 0)
    turns = 0
    while not _is_over(words, workers, target):
        eager = turns >= PATIENCE or get(words, mine + EAGER) == phase
        for other in range(1, workers):
            lot = (me + other) % workers
            if eager or atomic_load(words, lot * TEAM_WORDS + PRESENT) == 0:
                lo = lot * units // workers
                index = _claim(words, lot, phase, (lot + 1) * units // workers - lo)
                if index >= 0:
                    put(words, mine + OWED, 1)
                    if eager:
                        put(words, mine + EAGER, phase)
                    return lo + index
        turns += 1
        if turns > YIELD_AFTER and give_way != 0:
            call_plain(give_way)
        elif turns > PAUSE_AFTER:
            pause()
    return -1
