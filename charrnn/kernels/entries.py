"""Everything that Python runs of the kernels: work items, and the products that they call, by name.

Nothing here is compiled: an entry is found on disk as machine code (machine_code.py), or made from the source that is
named here, which is imported only then.
"""

from functools import cache

from charrnn.kernels import machine_code
from charrnn.kernels.host import WIDTHS, has_amx
from charrnn.spec import CELLS


class Items:
    """Work cut into independent items, function(table, like, item), for threads to take in turn (pool.py).

    table   int64: a record's table (table.py); whoever writes it keeps the arrays whose addresses it has
    like    a pointer that is never read: its type is the dtype that the function is compiled for
    item    which piece of the work to do
    """

    def __init__(self, name, source, *arguments):
        """name: of the machine code. source: "module:function", which makes the function where there are arguments."""
        self.name, self.source, self.arguments = name, source, arguments
        self._addresses = {}

    def entry_name(self, dtype):
        """Return the name of the machine code of the function for "float32" or "float64"."""
        return f"{self.name}-{dtype}"

    def address(self, dtype):
        """Return the address of the function for "float32" or "float64", compiled on first use."""
        if dtype not in self._addresses:
            self._addresses[dtype] = machine_code.entry_address(self.entry_name(dtype), self._compile, dtype)
        return self._addresses[dtype]

    def _compile(self, dtype):
        from charrnn.kernels.compiled import compile_items

        return compile_items(self.source, self.arguments, dtype)


def _items(module, function, *arguments, name=None):
    return Items(name or function, f"charrnn.kernels.{module}:{function}", *arguments)


SUFFIX = {1: "", 2: "_bfloat16"}  # of the items' names, by the numbers in a word

# For each (cell, pack) the items of a chunk, a shard each: with the gradients, and without.
TRAIN = {
    (cell, pack): _items("chunk.items", "make_train", cell, pack, name=f"{cell}_train{SUFFIX[pack]}")
    for cell in CELLS
    for pack in SUFFIX
}
READ = {
    (cell, pack): _items("chunk.items", "make_read", cell, pack, name=f"{cell}_read{SUFFIX[pack]}")
    for cell in CELLS
    for pack in SUFFIX
}
# For each cell the items that take a shard of places back through all their steps, after READ.
REACH = {cell: _items("chunk.items", "make_reach", cell, name=f"{cell}_reach") for cell in CELLS}
# For each cell the items of generation, a worker each.
GENERATE = {cell: _items("generate", "make_generate", cell, name=f"{cell}_generate") for cell in CELLS}

PAIR_GRADIENTS = _items("chunk.weight_gradients", "pair_gradients")  # item: 0 .. layout.count_pair_items(), of bfloat16
WEIGHT_GRADIENTS = _items("chunk.weight_gradients", "weight_gradients")  # item: 0 .. those of layout.gradient_items()
TIED_GRADIENTS = _items("chunk.weight_gradients", "tied_gradients")  # item: a panel of the output layer, after those

DROP_WEIGHTS = _items("dropconnect", "drop_weights")  # item: a panel of a layer's Wh, before the weights are read
RESTORE_WEIGHTS = _items("dropconnect", "restore_weights")  # the same, after the weight gradients

SUM_SQUARES = _items("updates", "sum_squares")  # item: a block of GRADIENT_BLOCK numbers of the gradient
UPDATE = _items("updates", "update")  # item: a block of GRADIENT_BLOCK parameters
TRANSPOSE = _items("updates", "transpose")  # item: a panel of a matrix that has a transpose
NARROW = _items("updates", "narrow")  # the same, for products of bfloat16

PEAK = _items("peak", "peak")  # item: one thread's share
READ_WEIGHTS = _items("reading", "read_weights")  # the same

# One item each: walks along sorted suffixes
SHARE_PREFIXES = _items("suffixes", "share_prefixes")
COUNT_GRAMS = _items("suffixes", "count_grams")
INTERPOLATE = _items("suffixes", "interpolate")
LONGEST_MATCHES = _items("suffixes", "longest_matches")

# How items are run (pool.py)
ALONE = _items("work", "alone")
LEAD = _items("work", "lead")
SERVE = _items("work", "serve")


@cache
def product_address(width, kind, dtype):
    """Return the address of the product (products.py) of `width` vectors for a dtype, compiled on first use.

    kind     one of PRODUCTS
    dtype    "float32", "float64" or "bfloat16"
    """
    mark = {"plain": "", "ahead": "a", "transposed": "t"}[kind]
    unit = "-amx" if dtype == "bfloat16" and has_amx() else ""
    return machine_code.entry_address(f"product{width}{mark}-{dtype}{unit}", _compile_product, width, kind, dtype)


def _compile_product(width, kind, dtype):
    from charrnn.kernels.products import compile_product

    return compile_product(width, kind, dtype)


def fill_tiles(tiles, widths, transposed_widths, dtype, ahead=False):
    """Put the addresses of the products of these widths where `product` and `product_t` look for them in a table.

    ahead    whether `product` fetches the panel behind the one that it reads
    """
    for width in widths:
        tiles[width - WIDTHS[0]] = product_address(width, "ahead" if ahead else "plain", dtype)
    for width in transposed_widths:
        tiles[width - WIDTHS[0] + len(WIDTHS)] = product_address(width, "transposed", dtype)
