"""Tables: how Python hands sizes, switches and arrays to compiled code by name.

A *record* is a NamedTuple class. Its annotations say what each field is, and their order where it stands in the
record's *table*, an array of int64:

    int            a size, an offset or a switch
    float          a float64, by its bits
    Numbers        the address of an array of the model's dtype
    Int16s, Int32s, Int64s, Float64s   the address of an array of that type
    Tiles          the addresses of the products (products.py), TILES words that stand in the table itself
    a record       that record's fields, in place

Python writes a table by the fields' names (Table). Compiled code opens a *view* of it, in which every field is an
attribute (view.py):

    open_chunk = opener(Chunk)
    v = open_chunk(table, like)      like: a pointer that is never read; its type is the model's dtype
    store(v.HS, v.T * v.plan.S, ...)

A view is one pointer, whatever the number of fields, so passing it on costs nothing. A field is read where it is named.
LLVM is told that it never changes while the item runs: so it may be kept in a register across stores, calls and loops.
"""

from functools import cache

import numpy as np

from charrnn.kernels.host import TILES


class Numbers:
    """The address of an array of the model's dtype."""


class Int16s:
    """The address of an array of int16."""


class Int32s:
    """The address of an array of int32."""


class Int64s:
    """The address of an array of int64."""


class Float64s:
    """The address of an array of float64."""


class Tiles:
    """The addresses of the products, in the table itself."""


@cache
def places(record):
    """Return {field: (first word, kind)} of a record, and how many words it takes."""
    found, at = {}, 0
    for name, kind in record.__annotations__.items():
        found[name] = at, kind
        at += TILES if kind is Tiles else places(kind)[1] if is_record(kind) else 1
    return found, at


def is_record(kind):
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
                if is_record(kind):
                    self.words[at : at + value.words.size] = value.words
                else:
                    self.words[at] = 0 if value is None else value.ctypes.data
