"""Drop recurrent weights while a chunk runs, and restore them afterwards (kernels/dropconnect.py)."""

import contextlib

import numpy as np

from charrnn.kernels import entries
from charrnn.kernels.pool import run_items
from charrnn.kernels.records import THRESHOLD_BITS, Connections
from charrnn.kernels.splitmix import step_key
from charrnn.kernels.table import Table
from charrnn.kernels.threads import num_threads
from charrnn.model.buffers import aligned_zeros
from charrnn.spec import CELLS

SHARED_WEIGHTS = 1 << 17  # recurrent weights, some 60 us of one core, from which other threads are woken to drop them


class DroppedWeights:
    """Sets some recurrent weights of a model to zero for the time of a chunk, and their gradients too, in place.

    layout           Layout of the flat arrays
    params, grads    ndarray (N,), model's dtype: parameters and gradient
    """

    def __init__(self, layout, params, grads):
        self._layout, self._params, self._grads = layout, params, grads
        self._table, self._kept = Table(Connections), np.zeros(0, layout.dtype)

    def reserve(self):
        """Allocate the array in which the weights are saved."""
        size = sum(panels.size for panels in self._layout.weights_h)
        if self._kept.size < size:
            self._kept = aligned_zeros(size, self._layout.dtype)

    @contextlib.contextmanager
    def dropped(self, rate, seed, step):
        """Drop weights within a `with` block; at its end, restore them and zero the gradients of dropped weights.

        rate : share of the weights, 0 <= rate < 1; seed and step determine which ones
        """
        self.reserve()
        panels, blocks = self._layout.weights_h[0], CELLS[self._layout.cell].h_blocks
        self._table.set(
            H=panels.rows,
            P=panels.panels,
            gates=sum(1 << place for place, block in enumerate(blocks) if block is not None),
            units=panels.units,
            key=step_key(seed, step),
            threshold=round(rate * 2**THRESHOLD_BITS),
            scale=1 / (1 - rate),
            layers=self._layout.layers,
            params=self._params,
            grads=self._grads,
            kept=self._kept,
        )
        workers = num_threads() if self._kept.size >= SHARED_WEIGHTS else 1
        self._run(entries.DROP_WEIGHTS, workers)
        try:
            yield
        finally:
            self._run(entries.RESTORE_WEIGHTS, workers)

    def _run(self, items, workers):
        count = self._layout.num_layers * self._layout.panels
        run_items(items.address(self._layout.dtype.name), self._table.words, count, workers)
