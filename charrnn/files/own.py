"""What charrnn writes itself, and how it is known again, so that a text never holds it.

A run folder and a sweep's folder are known by what is in them, whatever they are called; the folder of runs by its
name; a page, a picture or an exported model by its mark (marks.py). Nothing is opened but regular files, and of them
only the beginning is read.
"""

import os
import re
import stat

from charrnn.files.cache import cache_root
from charrnn.files.marks import has_mark

RUNS_FOLDER = "checkpoints"  # in the current folder; the runs that are not named with -o/--output

LAST, BEST = "last.safetensors", "best.safetensors"
GOOD = "good.safetensors"  # where a run that diverges goes back to; nobody else is led to it
# Snapshots of a run, by --keep-every: of a step, and where the run went back after divergence, after how many returns.
SNAPSHOT = re.compile(r"step-([0-9]{6,16})(?:-r([0-9]{1,4}))?\.safetensors")
LOG, CONFIG, LOCK = "log.jsonl", "config.toml", "lock"

SPEC, RESULTS_JSON, RESULTS_CSV = "spec.toml", "results.json", "results.csv"  # of a sweep

_CHECKPOINTS = (LAST, BEST, GOOD)
_HEADER = b'{"__metadata__":{"charrnn":'  # of a checkpoint, after its first 8 bytes
_RUN_FILES = frozenset((*_CHECKPOINTS, LOG, CONFIG, LOCK))
_SWEEP_FILES = frozenset((SPEC, RESULTS_JSON, RESULTS_CSV, LOCK))


def is_own_folder(path):
    """Say whether charrnn alone writes into the folder at `path`: a run's, a sweep's, that of runs, its cache."""
    if os.path.basename(path) == RUNS_FOLDER or _is_cache(path):
        return True
    return bool(own_files(path))


def is_own_file(path):
    """Say whether a file, or what a link leads to, has charrnn's mark, or is kept in a run or a sweep."""
    if has_mark(path):
        return True
    folder, name = os.path.split(os.path.realpath(path))
    is_one = name in _RUN_FILES | _SWEEP_FILES or SNAPSHOT.fullmatch(name) is not None
    return is_one and name in own_files(folder)


def own_files(folder):
    """Return the names of charrnn's files in a folder that is a run's or a sweep's; none of any other folder."""
    try:
        names = set(os.listdir(folder))
    except OSError:
        return frozenset()
    if _is_run(folder, names):
        return _RUN_FILES.union(filter(SNAPSHOT.fullmatch, names))
    if _is_sweep(folder, names):
        return _SWEEP_FILES
    return frozenset()


def _is_run(folder, names):
    checkpoints = [*_CHECKPOINTS, *filter(SNAPSHOT.fullmatch, names)]
    if any(name in names and _head(os.path.join(folder, name), 64)[8:].startswith(_HEADER) for name in checkpoints):
        return True
    # Before the first checkpoint, or with damaged ones. A config.toml alone may be the user's own.
    if CONFIG not in names or not names & {LOG, LOCK, *_CHECKPOINTS}:
        return False
    lines = _head(os.path.join(folder, CONFIG), 1 << 16).split(b"\n")
    return all(
        any(line.startswith(word) for line in lines) for word in (b"cell =", b"hidden_size =", b"val_fraction =")
    )


def _is_sweep(folder, names):
    if SPEC not in names:
        return False
    if RESULTS_JSON in names:
        return _head(os.path.join(folder, RESULTS_JSON), 1).startswith(b"{")
    for name in names:
        inner = os.path.join(folder, name)
        if os.path.isdir(inner) and _is_run(inner, set(_names(inner))):
            return True
    return False


def _is_cache(folder):
    root = cache_root()
    try:
        return root is not None and os.path.samefile(folder, root)
    except OSError:
        return False


def _names(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _head(path, size_bytes):
    """Return the beginning of a regular file, nothing of anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(size_bytes)
    except OSError:
        return b""
