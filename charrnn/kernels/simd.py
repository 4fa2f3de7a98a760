"""Vectors as values: loads, stores, arithmetic and comparisons of the type that is one machine vector (vector.py).

Kernels written with it look like the scalar formula and compile to exactly the vector code that is meant, with no
auto-vectoriser, no fast-math and no remainder loop: buffers are padded to whole vectors, so every element takes the
same path whatever thread computes it. `load(a, i)` and `store(a, i, v)` take a flat array and an element offset,
unchecked. A Python float beside a vector becomes a vector of the vector's own dtype, so one source serves float32 and
float64.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic, lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from charrnn.kernels.host import lanes_of
from charrnn.kernels.vector import (
    Vector,
    call_llvm,
    data_pointer,
    fma_name,
    llvm_vector,
    splat_value,
    suffix,
    vector_constant,
    vector_of,
)

# Memory


@intrinsic
def lanes(typingctx, array):
    """How many of the array's elements one vector holds, a compile-time constant."""
    count = lanes_of(array.dtype.bitwidth // 8)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), count)

    return types.int64(array), codegen


@intrinsic
def load(typingctx, array, offset):
    """The vector array[offset : offset + lanes]."""
    vector = vector_of(array.dtype)

    def codegen(context, builder, sig, args):
        p = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])
        return builder.load(builder.bitcast(p, llvm_vector(vector).as_pointer()), align=array.dtype.bitwidth // 8)

    return vector(array, types.int64), codegen


@intrinsic
def store(typingctx, array, offset, value):
    """array[offset : offset + lanes] = value."""

    def codegen(context, builder, sig, args):
        p = builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])
        builder.store(args[2], builder.bitcast(p, args[2].type.as_pointer()), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), codegen


@intrinsic
def get(typingctx, array, offset):
    """array[offset] with neither bounds check nor negative indices."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]))

    return array.dtype(array, types.int64), codegen


@intrinsic
def put(typingctx, array, offset, value):
    """array[offset] = value with neither bounds check nor negative indices."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), codegen


@intrinsic
def shifted(typingctx, array, offset):
    """A pointer to array[offset]."""

    def codegen(context, builder, sig, args):
        return builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])

    return types.CPointer(array.dtype)(array, types.int64), codegen


# Arithmetic


@intrinsic
def splat(typingctx, array, value):
    """A vector of the array's dtype with every lane `value`."""
    vector = vector_of(array.dtype)

    def codegen(context, builder, sig, args):
        return splat_value(builder, context.cast(builder, args[1], sig.args[1], vector.dtype), vector.lanes)

    return vector(array, value), codegen


@intrinsic
def zeros(typingctx, array):
    """A vector of zeros of the array's dtype."""
    vector = vector_of(array.dtype)

    def codegen(context, builder, sig, args):
        return vector_constant(vector, 0.0)

    return vector(array), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a*b + c with one rounding; a float among them becomes a vector."""
    vector = next(t for t in (a, b, c) if isinstance(t, Vector))

    def codegen(context, builder, sig, args):
        values = [
            x
            if isinstance(t, Vector)
            else splat_value(builder, context.cast(builder, x, t, vector.dtype), vector.lanes)
            for x, t in zip(args, sig.args)
        ]
        return call_llvm(builder, fma_name(vector), llvm_vector(vector), values)

    return vector(a, b, c), codegen


@intrinsic
def sqrt(typingctx, x):
    """The square root of each lane."""

    def codegen(context, builder, sig, args):
        return call_llvm(builder, f"llvm.sqrt.{suffix(x)}", llvm_vector(x), args)

    return x(x), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """a where the mask is set, b elsewhere; a float becomes a vector. (A NaN compares false: it takes b.)"""
    vector = a if isinstance(a, Vector) else b

    def codegen(context, builder, sig, args):
        values = [
            x
            if isinstance(t, Vector)
            else splat_value(builder, context.cast(builder, x, t, vector.dtype), vector.lanes)
            for x, t in zip(args[1:], sig.args[1:])
        ]
        return builder.select(args[0], *values)

    return vector(mask, a, b), codegen


@intrinsic
def lane_below(typingctx, array, limit):
    """A mask that is set in the lanes whose index is below `limit`."""
    vector = vector_of(array.dtype)

    def codegen(context, builder, sig, args):
        i64 = ir.IntType(64)
        index = ir.Constant(ir.VectorType(i64, vector.lanes), [ir.Constant(i64, i) for i in range(vector.lanes)])
        return builder.icmp_signed("<", index, splat_value(builder, args[1], vector.lanes))

    return Vector(types.boolean, vector.lanes)(array, types.int64), codegen


@intrinsic
def exp2(typingctx, shifted):
    """2**n where `shifted` is n + 1.5*2**23 (float32) or n + 1.5*2**52 (float64): n sits in its low bits.

    The integer is had by reinterpreting bits, not by a conversion, since converting a NaN is undefined in LLVM.
    """
    bits, bias, mantissa = (32, 127, 23) if shifted.dtype == types.float32 else (64, 1023, 52)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(ir.IntType(bits), shifted.lanes)

        def constant(v):
            return ir.Constant(kind, [ir.Constant(ir.IntType(bits), v)] * shifted.lanes)

        n = builder.shl(builder.bitcast(args[0], kind), constant(mantissa))
        return builder.bitcast(builder.add(n, constant(bias << mantissa)), llvm_vector(shifted))

    return shifted(shifted), codegen


def _reduce(builder, value, lanes, combine):
    """Fold halves onto each other: the order is fixed, so the bits are too."""
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(
                value, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(start, start + lanes)))
            )
            for start in (0, lanes)
        )
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


@intrinsic
def reduce_add(typingctx, x):
    """The sum of the lanes, by halves."""

    def codegen(context, builder, sig, args):
        return _reduce(builder, args[0], x.lanes, builder.fadd)

    return x.dtype(x), codegen


@intrinsic
def reduce_max(typingctx, x):
    """The largest lane, by halves (NaN may be lost: look for it in a sum)."""

    def codegen(context, builder, sig, args):
        return _reduce(builder, args[0], x.lanes, lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return x.dtype(x), codegen


def _binary(operation, emit, result_dtype=None):
    """Teach Numba `operation` between vectors, and between a vector and a number."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) != 2 or not any(isinstance(a, Vector) for a in args):
                return None
            vector = args[0] if isinstance(args[0], Vector) else args[1]
            if not all(a == vector or isinstance(a, types.Number) for a in args):
                return None
            result = vector if result_dtype is None else Vector(result_dtype, vector.lanes)
            return signature(result, *args)

    def lower(context, builder, sig, args):
        vector = next(t for t in sig.args if isinstance(t, Vector))
        values = [
            x
            if isinstance(t, Vector)
            else splat_value(builder, context.cast(builder, x, t, vector.dtype), vector.lanes)
            for x, t in zip(args, sig.args)
        ]
        return emit(builder, *values)

    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(operation, *pair)(lower)


_binary(operator.add, lambda builder, a, b: builder.fadd(a, b))
_binary(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_binary(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_binary(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_binary(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), types.boolean)
_binary(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), types.boolean)
