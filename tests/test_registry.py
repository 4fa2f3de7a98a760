"""The kernels of the cells: a file for each entry of the table, told apart from the others."""

from pathlib import Path

import pytest

from charrnn.kernels import cells
from charrnn.kernels.chunk.backward import make_backward
from charrnn.kernels.chunk.forward import make_forward
from charrnn.kernels.entries import GENERATE, READ, SUFFIX, TRAIN
from charrnn.kernels.registry import CELL_KERNELS
from charrnn.spec import CELLS


def test_each_cell_of_the_table_has_its_file_and_its_items():
    files = {path.stem for path in Path(cells.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(CELLS) == set(CELL_KERNELS) == set(GENERATE)
    assert set(TRAIN) == set(READ) == {(name, pack) for name in CELLS for pack in SUFFIX}
    for name, kernels in CELL_KERNELS.items():
        assert kernels.cell is CELLS[name] and (kernels.cell_state is not None) == CELLS[name].has_c


@pytest.mark.parametrize("make", [make_forward, make_backward])
def test_functions_made_over_two_cells_have_two_names(make):
    """Also where the cells' entries say the same: one linked in the place of the other would compute the other cell."""
    ours = CELL_KERNELS["gru"]
    theirs = ours._replace(forward=CELL_KERNELS["rnn"].forward, backward=CELL_KERNELS["rnn"].backward)
    assert make(ours, 1).__qualname__ != make(theirs, 1).__qualname__
    assert make(ours, 1).__qualname__ != make(ours, 2).__qualname__
