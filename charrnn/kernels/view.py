"""Views: a record's table (table.py) as compiled code reads it, every field an attribute."""

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.extending import intrinsic, lower_getattr_generic, register_model
from numba.core.typing.templates import AttributeTemplate, infer_getattr

from charrnn.kernels.table import Float64s, Int16s, Int32s, Int64s, Numbers, Tiles, is_record, places
from charrnn.kernels.vector import data_pointer

POINTEES = {Int16s: types.int16, Int32s: types.int32, Int64s: types.int64, Float64s: types.float64}


class ViewType(types.Type):
    """A view of a record's table, in compiled code."""

    def __init__(self, record, dtype):
        self.record, self.dtype = record, dtype
        super().__init__(name=f"ViewType({record.__name__}, {dtype})")


@register_model(ViewType)
class _ViewModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.IntType(64).as_pointer())


def _field_type(view, kind):
    """Return the Numba type of a field."""
    if kind is int:
        return types.int64
    if kind is float:
        return types.float64
    if is_record(kind):
        return ViewType(kind, view.dtype)
    return types.CPointer(types.int64 if kind is Tiles else view.dtype if kind is Numbers else POINTEES[kind])


@infer_getattr
class _ViewAttributes(AttributeTemplate):
    key = ViewType

    def generic_resolve(self, view, name):
        fields, _ = places(view.record)
        return _field_type(view, fields[name][1]) if name in fields else None


@lower_getattr_generic(ViewType)
def _read_field(context, builder, view, value, name):
    at, kind = places(view.record)[0][name]
    place = builder.gep(value, [ir.Constant(ir.IntType(64), at)])
    if kind is Tiles or is_record(kind):
        return place
    if kind is float:
        place = builder.bitcast(place, ir.DoubleType().as_pointer())
    field = builder.load(place)
    field.set_metadata("invariant.load", builder.module.add_metadata([]))
    if kind is int or kind is float:
        return field
    return builder.inttoptr(field, context.get_value_type(_field_type(view, kind)))


def opener(record):
    """Return the compiled function open(table, like) that makes a view of the record's table."""

    def open_view(typingctx, table, like):
        def codegen(context, builder, sig, args):
            return data_pointer(context, builder, sig.args[0], args[0])

        return ViewType(record, like.dtype)(table, like), codegen

    return intrinsic(open_view)


def row_opener(record):
    """Return the compiled function open(rows, i): a view of the i-th of the record's tables, one after the other."""
    size = places(record)[1]

    def open_row(typingctx, rows, index):
        def codegen(context, builder, sig, args):
            at = builder.mul(args[1], ir.Constant(ir.IntType(64), size))
            return builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [at])

        return ViewType(record, rows.dtype)(rows, types.int64), codegen

    return intrinsic(open_row)
