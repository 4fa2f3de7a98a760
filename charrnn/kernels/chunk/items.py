"""The items that a chunk is made of: shards. (The weight gradients are weight_gradients.py's.)

Streams are dealt to shards, and a thread carries its shard through all steps and layers, forward and back, meeting the
others only at the weight gradients; there each panel is one thread's and its rows are summed in ascending order. So no
result depends on the number of threads.
"""

from charrnn.kernels.chunk.backward import make_backward
from charrnn.kernels.chunk.forward import make_forward
from charrnn.kernels.chunk.views import open_chunk, open_reach
from charrnn.kernels.registry import CELL_KERNELS


def make_train(cell, pack):
    """Return the items that run a shard of a cell, by its name, forward and back."""
    run_forward, run_backward = make_forward(CELL_KERNELS[cell], pack), make_backward(CELL_KERNELS[cell], pack)

    def train(table, like, item):
        """Run one shard forward and back."""
        v = open_chunk(table, like)
        lo = item * v.B // v.shards
        n = (item + 1) * v.B // v.shards - lo
        run_forward(v, lo, n)
        run_backward(v, lo, n)

    return train


def make_read(cell, pack):
    """Return the items that run a shard of a cell forward."""
    run_forward = make_forward(CELL_KERNELS[cell], pack)

    def read(table, like, item):
        """Run one shard forward."""
        v = open_chunk(table, like)
        lo = item * v.B // v.shards
        run_forward(v, lo, (item + 1) * v.B // v.shards - lo)

    return read


def make_reach(cell):
    """Return the items that take a shard of places back through all their steps, after those of make_read."""
    run_reach = make_backward(CELL_KERNELS[cell], 1, measures_reach=True)

    def reach(table, like, item):
        """Take the places of one shard back."""
        v = open_reach(table, like)
        lo = item * v.places // v.shards
        run_reach(v, lo, (item + 1) * v.places // v.shards - lo)

    return reach
