"""The folder of a run that nobody named: ./checkpoints/<name>-<n>, with the next free number."""

import os
import re
from pathlib import Path

from charrnn.errors import RunError
from charrnn.files.storage import fsync_folder, make_folder, storage_error
from charrnn.runs.names import RUNS_FOLDER


def numbered_folder(name):
    """Return ./checkpoints/<name>-<n>, n one more than the highest there is; make nothing."""
    stem, root = _plain_name(name), Path(RUNS_FOLDER)
    if root.exists() and not root.is_dir():
        raise RunError(
            f"{root} is a file, but runs must be stored there: move the file away, or choose a folder with -o/--output"
        )
    numbered = re.compile(re.escape(stem) + r"-([0-9]{1,9})")
    try:
        others = os.listdir(root) if root.is_dir() else []
    except OSError as error:
        raise storage_error(error, root) from error
    taken = [int(found[1]) for other in others if (found := numbered.fullmatch(other))]
    return root / f"{stem}-{max(taken, default=0) + 1}"


def make_numbered_folder(name):
    """Make the numbered folder of a name and return it."""
    path = numbered_folder(name)
    make_folder(path.parent)
    try:
        while True:
            try:
                path.mkdir()
                fsync_folder(path.parent)
                return path
            except FileExistsError:  # another process was faster
                path = numbered_folder(name)
    except OSError as error:
        raise storage_error(error, path.parent) from error


def _plain_name(name):
    """Turn the name of a text into one that needs no quoting: 'Shakespeare (all).txt.gz' -> 'Shakespeare-all'."""
    name = re.split(r"[/\\]", str(name).rstrip("/\\"))[-1]
    name = re.sub(r"(\.[A-Za-z0-9]{1,5}){1,2}$", "", name) or name
    name = re.sub(r"[^\w.]+", "-", name).strip("-._")[:40].rstrip("-._")
    return name or "run"
