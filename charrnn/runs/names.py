"""The names of what a training run keeps, for whoever looks for a run and need not load what reads it.

Their home is files/own.py, because a text must know them too.
"""

import os

from charrnn.files.own import BEST, CONFIG, GOOD, LAST, LOCK, LOG, RUNS_FOLDER, SNAPSHOT, SPEC

__all__ = [
    "BEST",
    "CONFIG",
    "GOOD",
    "LAST",
    "LOCK",
    "LOG",
    "RUNS_FOLDER",
    "SNAPSHOT",
    "SPEC",
    "snapshot_name",
    "snapshots_in",
]


def snapshot_name(step, returns=0):
    """Return the name of the snapshot of a step, on the way that follows so many returns after divergence."""
    return f"step-{step:06}{f'-r{returns}' if returns else ''}.safetensors"


def snapshots_in(folder):
    """Return the names of the snapshots in a run folder, the earliest first."""
    try:
        found = [match for match in map(SNAPSHOT.fullmatch, os.listdir(folder)) if match]
    except OSError:
        return []
    return [match[0] for match in sorted(found, key=lambda match: (int(match[1]), int(match[2] or 0)))]
