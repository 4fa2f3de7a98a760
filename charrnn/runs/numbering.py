"""The folder of a run that nobody named: ./checkpoints/<name>-<n>, with the next free number."""

import os
import re
from pathlib import Path

from charrnn.errors import RunError
from charrnn.files.storage import fsync_folder, make_folder, storage_error
from charrnn.runs.names import RUNS_FOLDER


def make_numbered_folder(name):
    """Make ./checkpoints/<name>-<n>, n one more than the highest there is, and return it."""
    stem = _plain_name(name)
    root = Path(RUNS_FOLDER)
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file where the runs should go: move it away, or choose a folder with -o/--output")
    make_folder(root)
    numbered = re.compile(re.escape(stem) + r"-([0-9]{1,9})")
    try:
        taken = [int(found[1]) for other in os.listdir(root) if (found := numbered.fullmatch(other))]
        number = max(taken, default=0)
        while True:
            number += 1
            path = root / f"{stem}-{number}"
            try:
                path.mkdir()
                fsync_folder(root)
                return path
            except FileExistsError:  # another process was faster
                pass
    except OSError as error:
        raise storage_error(error, root) from error


def _plain_name(name):
    """Turn the name of a text into one that needs no quoting: 'Shakespeare (all).txt.gz' -> 'Shakespeare-all'."""
    name = re.split(r"[/\\]", str(name).rstrip("/\\"))[-1]
    name = re.sub(r"(\.[A-Za-z0-9]{1,5}){1,2}$", "", name) or name
    name = re.sub(r"[^\w.]+", "-", name).strip("-._")[:40].rstrip("-._")
    return name or "run"
