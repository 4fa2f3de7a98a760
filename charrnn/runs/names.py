"""The names of what a training run keeps, for whoever looks for a run and need not load what reads it.

Their home is files/own.py, because a text must know them too.
"""

from charrnn.files.own import BEST, CONFIG, GOOD, LAST, LOCK, LOG, RUNS_FOLDER, SPEC

__all__ = ["BEST", "CONFIG", "GOOD", "LAST", "LOCK", "LOG", "RUNS_FOLDER", "SPEC"]
