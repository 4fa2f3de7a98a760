"""Re-runs the notebooks of docs/notebooks and saves them with what their cells show.

    python pages/notebooks.py            # each in a fresh folder; needs the extra "test" (nbclient, ipykernel)

A notebook's training is STEPS long; the tests put a smaller number in its place.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
TIMEOUT_S = 900  # of a cell


def execute(path, folder, steps=None):
    """Return a notebook as it is after its cells have run in `folder`, where a run is `steps` long if that is given.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    if steps is not None:
        for cell in notebook.cells:
            cell.source = re.sub(r"^STEPS = \d+", f"STEPS = {steps}", cell.source, flags=re.M)
    os.environ["PYTHONPATH"] = str(ROOT)  # the kernel imports the charrnn of this source tree
    nbclient.NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell, source in zip(notebook.cells, sources):
        cell.source = source
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def joined(outputs):
    """Return a cell's outputs with neighbours of one stream as one: how they came in depends on the clock."""
    new = []
    for output in outputs:
        if new and output.output_type == new[-1].output_type == "stream" and output.name == new[-1].name:
            new[-1].text += output.text
        else:
            new.append(output)
    return new


def main():
    """Re-run all notebooks in place."""
    import nbformat

    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory(prefix="charrnn-notebook-") as folder:
            nbformat.write(execute(path, folder), path)
        print(path.relative_to(ROOT), flush=True)


if __name__ == "__main__":
    sys.exit(main())
