"""Vectors as values: a Numba type that is one machine vector, with loads, stores, arithmetic and comparisons.

Kernels written with it look like the scalar formula and compile to exactly the vector code that is meant, with no
auto-vectoriser, no fast-math and no remainder loop: buffers are padded to whole vectors, so every element takes the same
path whatever thread computes it. `load(a, i)` and `store(a, i, v)` take a flat array and an element offset, unchecked.
A Python float beside a vector becomes a vector of the vector's own dtype, so one source serves float32 and float64.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.extending import intrinsic, lower_builtin, register_model
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from charrnn.kernels.host import has_bfloat16, has_fma, lanes_of


class Vector(types.Type):
    """`lanes` numbers of `dtype`; a mask has dtype boolean."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")


def _element(dtype):
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}[dtype]


def llvm_vector(vector):
    return ir.VectorType(_element(vector.dtype), vector.lanes)


def vector_of(dtype):
    """Return the Vector type that this host uses for float32 or float64."""
    return Vector(dtype, lanes_of(dtype.bitwidth // 8))


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_vector(fe_type))


def data_pointer(context, builder, array_type, array):
    """Return the LLVM pointer to the first element of an array, or of what a pointer points to."""
    if isinstance(array_type, types.CPointer):
        return array
    return context.make_array(array_type)(context, builder, value=array).data


def splat_value(builder, scalar, lanes):
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def vector_constant(vector, value):
    """Return the LLVM constant with every lane `value`."""
    kind = llvm_vector(vector)
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * vector.lanes)


def call_llvm(builder, name, result, args):
    """Call an LLVM intrinsic such as llvm.fma.v16f32."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def suffix(vector):
    """Return the name LLVM's intrinsics give a vector type: v16f32."""
    return f"v{vector.lanes}f{vector.dtype.bitwidth}"


def fma_name(vector):
    return f"llvm.{'fma' if has_fma() else 'fmuladd'}.{suffix(vector)}"


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


def _pointer_at(dtype):
    """Make the intrinsic that reads an address from a table of int64, as a pointer to `dtype` (None: to like's)."""
    if dtype is None:

        def pointer_like(typingctx, table, slot, like):
            def codegen(context, builder, sig, args):
                address = builder.load(builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]))
                return builder.inttoptr(address, context.get_value_type(sig.return_type))

            return types.CPointer(like.dtype)(table, types.int64, like), codegen

        return intrinsic(pointer_like)

    def pointer_to(typingctx, table, slot):
        def codegen(context, builder, sig, args):
            address = builder.load(builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]))
            return builder.inttoptr(address, context.get_value_type(sig.return_type))

        return types.CPointer(dtype)(table, types.int64), codegen

    return intrinsic(pointer_to)


pointer = _pointer_at(None)
pointer_int32, pointer_int64, pointer_float64 = (_pointer_at(t) for t in (types.int32, types.int64, types.float64))


@intrinsic
def fetch_add(typingctx, counter, amount):
    """Add to counter[0] atomically; return its value before. Threads take work items by it."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", data_pointer(context, builder, sig.args[0], args[0]), args[1], "monotonic")

    return types.int64(counter, types.int64), codegen


# bfloat16, where the CPU multiplies it: two numbers make a word, kept in buffers of float32 that nobody adds or multiplies


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
    def transpose(typingctx, X, x, ldx, count, Y, y, ldy, stores):
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


# Y = X' for one square block of `lanes` by `lanes` words: rows ldx apart from x on, to rows ldy apart from y on. Only the first
# `count` rows of X are read (none if it is not positive), the rest count as zeros; only the first `stores` rows of Y are
# written. Rows are interleaved with those half a block below, log2(lanes) times over. A word is a number, or with
# narrow_transpose_block two neighbours as bfloat16.
transpose_block, narrow_transpose_block = intrinsic(_make_transpose(False)), intrinsic(_make_transpose(True))


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
def exp2_scale(typingctx, x, shifted):
    """x * 2**n where `shifted` is n + 1.5*2**23 (float32) or n + 1.5*2**52 (float64): n sits in its low bits.

    The integer is had by reinterpreting bits, not by a conversion, since converting a NaN is undefined in LLVM.
    """
    bits, bias, mantissa = (32, 127, 23) if x.dtype == types.float32 else (64, 1023, 52)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(ir.IntType(bits), x.lanes)

        def constant(v):
            return ir.Constant(kind, [ir.Constant(ir.IntType(bits), v)] * x.lanes)

        n = builder.shl(builder.bitcast(args[1], kind), constant(mantissa))
        scale = builder.bitcast(builder.add(n, constant(bias << mantissa)), llvm_vector(x))
        return builder.fmul(args[0], scale)

    return x(x, shifted), codegen


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


def padded(count, multiple):
    """Round `count` up to a multiple."""
    return -(-count // multiple) * multiple


def lanes_of_dtype(dtype):
    """Return how many numbers of a NumPy dtype one vector holds here."""
    return lanes_of(np.dtype(dtype).itemsize)
