"""Tables: what Python writes by name, compiled code reads by the same name."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from charrnn.kernels.host import TILES
from charrnn.kernels.table import Float64s, Int16s, Int32s, Int64s, Numbers, Table, Tiles
from charrnn.kernels.view import opener, row_opener


class Inner(NamedTuple):
    tiles: Tiles
    size: int


class Outer(NamedTuple):
    first: int
    inner: Inner
    rate: float
    numbers: Numbers
    ids: Int32s
    shorts: Int16s
    rows: Int64s
    losses: Float64s
    last: int


class Row(NamedTuple):
    a: int
    b: int


open_outer, open_row = opener(Outer), row_opener(Row)


@njit
def read(table, like, found):
    v = open_outer(table, like)
    found[0], found[1], found[2], found[3] = v.first, v.inner.size, v.rate, v.last
    found[4], found[5], found[6] = v.numbers[1], v.ids[1], v.losses[1]
    found[7], found[8] = open_row(v.rows, 1).a, open_row(v.rows, 2).b
    found[9], found[10] = v.inner.tiles[TILES - 1], v.shorts[1]
    v.numbers[0] = v.rate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kind_of_field_is_read_as_it_was_written(dtype):
    numbers = np.array([0, 1.5], dtype)
    inner, outer = Table(Inner), Table(Outer)
    inner.words[TILES - 1] = 77
    inner.set(size=-3)
    outer.set(first=2**40, inner=inner, rate=-0.1, numbers=numbers, ids=np.array([1, 2], np.int32), last=9)
    outer.set(shorts=np.array([5, -6], np.int16), rows=np.arange(6), losses=np.array([0.0, 2.25]))
    found = np.zeros(11)
    read(outer.words, numbers, found)
    assert found.tolist() == [2**40, -3, -0.1, 9, 1.5, 2, 2.25, 2, 5, 77, -6]
    assert numbers[0] == np.array(-0.1, dtype)


def test_a_table_holds_on_to_its_arrays_and_no_array_is_address_0():
    table = Table(Outer)
    address = table.words.copy()
    table.set(numbers=np.ones(3))
    assert table._held["numbers"].sum() == 3 and (table.words != address).sum() == 1
    table.set(numbers=None)
    assert (table.words == address).all()


def test_a_field_that_the_record_has_not_is_refused():
    with pytest.raises(KeyError):
        Table(Outer).set(second=1)
