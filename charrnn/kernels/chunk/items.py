"""The items that a chunk is made of, for run_items: shards, and panels of the weight gradients.

Streams are dealt to shards, and a thread carries its shard through all steps and layers, forward and back, meeting the
others only at the weight gradients; there each panel is one thread's and its rows are summed in ascending order. So no
result depends on the number of threads.
"""

from charrnn.kernels.chunk.backward import make_backward
from charrnn.kernels.chunk.forward import make_forward
from charrnn.kernels.chunk.views import open_chunk, open_reach
from charrnn.kernels.chunk.weight_gradients import pair_gradients, tied_gradients, weight_gradients
from charrnn.kernels.compiled import Items
from charrnn.kernels.registry import CELL_KERNELS

SUFFIX = {1: "", 2: "_bfloat16"}  # of the items' names, by the numbers in a word


def _make_shards(kernels, pack):
    """Return the items that run a shard of one cell: with the gradients, and without."""
    run_forward, run_backward = make_forward(kernels, pack), make_backward(kernels, pack)

    def train(table, like, item):
        """Run one shard forward and back."""
        v = open_chunk(table, like)
        lo = item * v.B // v.shards
        n = (item + 1) * v.B // v.shards - lo
        run_forward(v, lo, n)
        run_backward(v, lo, n)

    def read(table, like, item):
        """Run one shard forward."""
        v = open_chunk(table, like)
        lo = item * v.B // v.shards
        run_forward(v, lo, (item + 1) * v.B // v.shards - lo)

    name = kernels.cell.name
    return Items(train, f"{name}_train{SUFFIX[pack]}"), Items(read, f"{name}_read{SUFFIX[pack]}")


def _make_reach(kernels):
    """Return the items that take a shard of places back through all their steps, after READ."""
    run_reach = make_backward(kernels, 1, measures_reach=True)

    def reach(table, like, item):
        """Take the places of one shard back."""
        v = open_reach(table, like)
        lo = item * v.places // v.shards
        run_reach(v, lo, (item + 1) * v.places // v.shards - lo)

    return Items(reach, f"{kernels.cell.name}_reach")


# For each (cell, pack) the items of a chunk, a shard each: with the gradients, and without. REACH: for each cell.
TRAIN, READ, REACH = {}, {}, {}
for _name, _kernels in CELL_KERNELS.items():
    REACH[_name] = _make_reach(_kernels)
    for _pack in SUFFIX:
        TRAIN[_name, _pack], READ[_name, _pack] = _make_shards(_kernels, _pack)

WEIGHT_GRADIENTS = Items(weight_gradients)  # item: 0 .. count_gradient_items(layout)
PAIR_GRADIENTS = Items(pair_gradients)  # item: 0 .. count_pair_items(layout), before the weight gradients of bfloat16
TIED_GRADIENTS = Items(tied_gradients)  # item: a panel of the output layer, after the weight gradients
