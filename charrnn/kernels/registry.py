"""The compiled parts of each cell, found by the cell's name: a cell is a file of cells/ (panel.py) and an entry in the table of cells."""

from importlib import import_module
from typing import Any, NamedTuple

from charrnn.kernels.layout import CELLS


class CellKernels(NamedTuple):
    """What a file of cells/ holds, and the cell's name."""

    name: str
    forward: Any
    backward: Any
    cell_state: Any  # None of a cell without c
    reads_h: bool
    passes_h: bool

    @property
    def has_c(self):
        return self.cell_state is not None


def _load(name):
    module = import_module(f"charrnn.kernels.cells.{name}")
    cell_state = getattr(module, "cell_state", None)
    return CellKernels(name, module.forward, module.backward, cell_state, module.READS_H, module.PASSES_H)


CELL_KERNELS = {name: _load(name) for name in CELLS}
