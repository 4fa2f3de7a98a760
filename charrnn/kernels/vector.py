"""The Numba type of one machine vector, and helpers of code that emits LLVM IR. Its operations: simd.py, words.py."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.extending import register_model

from charrnn.kernels.host import has_fma, lanes_of


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


def entry_arguments(builder, arguments):
    """Return what an entry is called with (compiled.compile_entry): places for its result and an exception come first.

    No kernel raises, so the second is null, and the result, None, is of no interest.
    """
    byte = ir.IntType(8).as_pointer()
    return [cgutils.alloca_once(builder, byte), ir.Constant(byte.as_pointer(), None), *arguments]


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
