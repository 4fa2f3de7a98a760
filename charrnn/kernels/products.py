"""Matrix products as kernels call them: by address, with rows and weights by name.

An entry is compiled once for a width in vectors, of register tiles (tile.py) or on a matrix unit (amx.py). Linked into
every kernel instead, LLVM would optimise the large bodies again at each level of calls, and compiling took 25 s, not 6.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from charrnn.kernels.amx import make_amx, make_amx_t
from charrnn.kernels.compiled import compile_entry, inline
from charrnn.kernels.host import CACHE_LINE, GRADIENT_ROWS, PACKED_BLOCKS, PACKED_VECTORS, WIDTHS, has_amx, isa
from charrnn.kernels.simd import shifted
from charrnn.kernels.tile import const, make_product, make_product_t
from charrnn.kernels.vector import entry_arguments, vector_of


def compile_product(width, kind, dtype):
    """Return the Code (machine_code.py) of the product of `width` vectors for a dtype.

    kind     one of host.PRODUCTS
    dtype    "float32", "float64" or "bfloat16"

    With bfloat16, A and B hold words of two neighbours in k, K counts words, and C is float32.
    """
    bfloat16 = dtype == "bfloat16"
    amx = bfloat16 and has_amx()
    i, pointer = types.int64, types.CPointer(types.float32 if bfloat16 else getattr(types, dtype))
    if kind == "transposed":
        walk_t = make_amx_t(width) if amx else make_product_t(width, bfloat16)

        def entry_t(n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate):  # noqa: PLR0913  C has no structs here
            walk_t(n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate)

        return compile_entry(entry_t, i, pointer, pointer, i, i, pointer, i, pointer, i, i, i)
    walk = make_amx(width, kind == "ahead") if amx else make_product(width, bfloat16, kind == "ahead")

    def entry(n, a, lda, a_panel, b, ahead, c, ldc, K, panels, accumulate):  # noqa: PLR0913  C has no structs here
        walk(n, a, lda, a_panel, b, ahead, c, ldc, K, panels, accumulate)

    return compile_entry(entry, i, pointer, i, i, pointer, i, pointer, i, i, i, i)


def _call_entry(context, builder, args):
    """Emit the call of an entry by its address, the first of the values."""
    arguments = entry_arguments(builder, args[1:])
    kind = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), arguments)
    return context.get_dummy_value()


@intrinsic
def _call(typingctx, address, n, a, lda, a_panel, b, ahead, c, ldc, K, panels, accumulate):  # noqa: PLR0913  a tile's own
    """Call a product by its address."""

    def codegen(context, builder, sig, args):
        return _call_entry(context, builder, args)

    i = types.int64
    return types.void(i, i, a, i, i, b, i, c, i, i, i, i), codegen


@intrinsic
def _call_t(typingctx, address, n, a, b, ldb, ahead, x, ldx, c, ldc, K, accumulate):  # noqa: PLR0913  a tile's own
    """Call a transposed product by its address."""

    def codegen(context, builder, sig, args):
        return _call_entry(context, builder, args)

    i = types.int64
    return types.void(i, i, a, b, i, i, x, i, c, i, i, i), codegen


class Rows(NamedTuple):
    """Rows of numbers in a flat array: number k of row r of panel p is numbers[at + p*panel + r*stride + k]."""

    numbers: object
    at: int
    stride: int
    panel: int


class Weights(NamedTuple):
    """The right-hand side of a product: `panels` times K rows of width*lanes numbers, contiguous from words[at] on.

    ahead    how far from there the product begins that comes next, for products that fetch ahead
    """

    words: object
    at: int
    K: int
    panels: int
    ahead: int


class Upcoming(NamedTuple):
    """What is read after a product, and fetched during it: as many rows as it sums over.

    ahead    how many elements behind D its next rows begin
    X        Rows whose columns are packed next; a stride of 0 fetches none of them
    """

    ahead: int
    X: Rows


@intrinsic
def packed_columns(typingctx, array):
    """How many columns of A a packed block of them holds, a compile-time constant."""
    count = PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        return const(count)

    return types.int64(array), codegen


@intrinsic
def packed_group(typingctx, array):
    """How many columns an item packs at most, a compile-time constant."""
    count = PACKED_BLOCKS[isa()] * PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        return const(count)

    return types.int64(array), codegen


@intrinsic
def packed_scratch(typingctx, array):
    """A pointer to memory for GRADIENT_ROWS rows of a packed group, until the function returns."""
    numbers = GRADIENT_ROWS * PACKED_BLOCKS[isa()] * PACKED_VECTORS[isa()] * vector_of(array.dtype).lanes

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            place = builder.alloca(ir.IntType(8), const(numbers * array.dtype.bitwidth // 8))
        place.align = CACHE_LINE
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    return types.CPointer(array.dtype)(array), codegen


@inline
def product(tiles, width, n, X, W, Y, accumulate):
    """Y (+)= X W for n rows and `width` (3 to 5) vectors of columns.

    tiles         has been through entries.fill_tiles
    X             Rows; k runs over 0..K-1 of each of W's panels, in ascending order
    W             Weights
    Y             Rows, one panel of them
    accumulate    0: Y is written without being read

    All strides and offsets count elements, and nothing is checked.
    """
    a, b, c = shifted(X.numbers, X.at), shifted(W.words, W.at), shifted(Y.numbers, Y.at)
    _call(tiles[width - WIDTHS[0]], n, a, X.stride, X.panel, b, W.ahead, c, Y.stride, W.K, W.panels, accumulate)


@inline
def product_t(tiles, width, packed, D, upcoming, Y, shape, accumulate):  # noqa: PLR0913
    """Y (+)= X' D, for weight gradients: (n, width vectors), summed over R rows in ascending order; shape is (n, R).

    packed        a pointer to X: for each block of packed_columns columns, R rows of them; n columns in all
    D, Y          Rows of one panel: R and n of them
    upcoming      an Upcoming
    """
    n, R = shape
    X = upcoming.X
    b, x, c = shifted(D.numbers, D.at), shifted(X.numbers, X.at), shifted(Y.numbers, Y.at)
    address = tiles[width - WIDTHS[0] + len(WIDTHS)]
    _call_t(address, n, packed, b, D.stride, upcoming.ahead, x, X.stride, c, Y.stride, R, accumulate)
