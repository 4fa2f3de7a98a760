"""Dropout masks from a counter: the mask of a unit is a function of (seed, step, layer, row, unit) and nothing else.

No generator state is kept, so a resumed run draws the masks that an uninterrupted one would have, and the backward pass
draws again what the forward pass drew. A row is the stream's place in the chunk, t*B + b, or the stream alone, b, for
the variational form (one mask for all steps of a chunk: Gal & Ghahramani 2016).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from charrnn.kernels.compiled import inline
from charrnn.kernels.keyed import mix_uint64
from charrnn.kernels.simd import lanes, load, select, store
from charrnn.kernels.vector import Vector, splat_value, vector_of


@inline
def row_base(key, layer, row):
    """Return what the draws of one row begin from: 32 bits, for keep_lanes."""
    return np.int64(mix_uint64(key + (np.uint64(layer) << np.uint64(32)) + np.uint64(row)) & np.uint64(0xFFFFFFFF))


@intrinsic
def keep_lanes(typingctx, array, base, unit, threshold):
    """The dropout mask of the units unit .. unit+lanes of a row: set where the unit is kept.

    x = base + unit*0x9E3779B9, then two rounds of xor-shift and multiply; kept iff (x >> 8) >= threshold. All uint32.
    """
    vector = vector_of(array.dtype)

    def codegen(context, builder, sig, args):
        i32 = ir.IntType(32)
        kind = ir.VectorType(i32, vector.lanes)

        def constant(v):
            return ir.Constant(kind, [ir.Constant(i32, v)] * vector.lanes)

        def narrow(v):
            return splat_value(builder, builder.trunc(v, i32), vector.lanes)

        index = builder.add(narrow(args[2]), ir.Constant(kind, [ir.Constant(i32, i) for i in range(vector.lanes)]))
        x = builder.add(narrow(args[1]), builder.mul(index, constant(0x9E3779B9)))
        x = builder.xor(x, builder.lshr(x, constant(16)))
        x = builder.mul(x, constant(0x7FEB352D))
        x = builder.xor(x, builder.lshr(x, constant(15)))
        x = builder.mul(x, constant(0x846CA68B))
        x = builder.xor(x, builder.lshr(x, constant(16)))
        return builder.icmp_unsigned(">=", builder.lshr(x, constant(8)), narrow(args[3]))

    return Vector(types.boolean, vector.lanes)(array, types.int64, types.int64, types.int64), codegen


@inline
def drop_row(v, X, x, Y, y, layer, row):
    """Y = X * mask * scale for one row of states, v a view of a chunk; X and Y may be the same."""
    base = row_base(np.uint64(v.key), layer, row)
    for u in range(0, v.plan.S, lanes(X)):
        kept = keep_lanes(X, base, u, v.threshold)
        store(Y, y + u, select(kept, load(X, x + u) * v.scale, 0.0))
