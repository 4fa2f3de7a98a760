"""The compiled parts of each cell, by its name: a cell is an entry of spec.CELLS and a file of cells/ (panel.py)."""

from importlib import import_module
from typing import Any, NamedTuple

from charrnn.spec import CELLS, Cell


class CellKernels(NamedTuple):
    """A cell, and what its file of cells/ holds."""

    cell: Cell
    forward: Any
    backward: Any
    cell_state: Any  # None of a cell without c


def _load(cell):
    module = import_module(f"charrnn.kernels.cells.{cell.name}")
    return CellKernels(cell, module.forward, module.backward, module.cell_state if cell.has_c else None)


CELL_KERNELS = {name: _load(cell) for name, cell in CELLS.items()}
