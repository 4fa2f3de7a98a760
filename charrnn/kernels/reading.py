"""Products of a few rows by weights that are read again and again, to see what a core's caches bring at the moment."""

from charrnn.kernels.products import Rows, Weights, product
from charrnn.kernels.records import READ_WIDTH, ReadTable
from charrnn.kernels.simd import lanes
from charrnn.kernels.view import opener

open_read = opener(ReadTable)


def read_weights(table, like, item):
    """Multiply an item's rows by all of its panels of weights, one after the other, `rounds` times.

    An item's numbers: (rows, K) that are multiplied, (rows, width) for the results, the panels (panels, K, width).
    """
    v = open_read(table, like)
    width, at = READ_WIDTH * lanes(v.numbers), item * v.item_size
    result = at + v.rows * v.K
    weights = result + v.rows * width
    for _ in range(v.rounds):
        for panel in range(v.panels):
            W = Weights(v.numbers, weights + panel * v.K * width, v.K, 1, 0)
            product(v.tiles, READ_WIDTH, v.rows, Rows(v.numbers, at, v.K, 0), W, Rows(v.numbers, result, width, 0), 0)
