"""Tables: how Python hands sizes, switches and arrays to compiled code by name.

A *record* is a NamedTuple class. Its annotations say what each field is, and their order where it stands in the
record's *table*, an array of int64:

    int            a size, an offset or a switch
    float          a float64, by its bits
    Numbers        the address of an array of the model's dtype
    Int32s, Int64s, Float64s     the address of an array of that type
    Tiles          the addresses of the products (tile.py), TILES words that stand in the table itself
    a record       that record's fields, in place

Python writes a table by the fields' names (Table). Compiled code opens a *view* of it, in which every field is an
attribute:

    open_chunk = opener(Chunk)
    v = open_chunk(table, like)      like: a pointer that is never read; its type is the model's dtype
    store(v.HS, v.T * v.plan.S, ...)

A view is one pointer, whatever the number of fields, so passing it on costs nothing. A field is read where it is named.
LLVM is told that it never changes while the item runs: so it may be kept in a register across stores, calls and loops.
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.extending import intrinsic, lower_getattr_generic, register_model
from numba.core.typing.templates import AttributeTemplate, infer_getattr

from charrnn.kernels.host import TILES
from charrnn.kernels.vector import data_pointer


class Numbers:
    """The address of an array of the model's dtype."""


class Int32s:
    """The address of an array of int32."""


class Int64s:
    """The address of an array of int64."""


class Float64s:
    """The address of an array of float64."""


class Tiles:
    """The addresses of the products, in the table itself."""


POINTEES = {Int32s: types.int32, Int64s: types.int64, Float64s: types.float64}


@cache
def places(record):
    """Return {field: (first word, kind)} of a record, and how many words it takes."""
    found, at = {}, 0
    for name, kind in record.__annotations__.items():
        found[name] = at, kind
        at += TILES if kind is Tiles else places(kind)[1] if _is_record(kind) else 1
    return found, at


def _is_record(kind):
    return hasattr(kind, "_fields")


class Table:
    """A record's table, written by name; it holds on to the arrays whose addresses it has.

    words   int64, what compiled code gets
    """

    def __init__(self, record):
        self._places, size = places(record)
        self.words = np.zeros(size, np.int64)
        self._floats, self._held = self.words.view(np.float64), {}

    def set(self, **fields):
        """Write fields: numbers, arrays (None: address 0), or for a record in place its Table."""
        for name, value in fields.items():
            at, kind = self._places[name]
            if kind is int:
                self.words[at] = value
            elif kind is float:
                self._floats[at] = value
            elif self._held.get(name) is not value or value is None:
                self._held[name] = value
                if _is_record(kind):
                    self.words[at : at + value.words.size] = value.words
                else:
                    self.words[at] = 0 if value is None else value.ctypes.data


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
    if _is_record(kind):
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
    if kind is Tiles or _is_record(kind):
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
