"""One `.safetensors` file that holds everything a run needs to go on, and everything a reader needs to use the model.

docs/CHECKPOINT.md tells the format. What the rest of charrnn uses is named here; nothing of it imports numba, so that
`charrnn info` starts at once.
"""

from charrnn.runs.checkpoint.finding import find_checkpoint, instead_of_last, lacking_run, newest_run, newest_sweep
from charrnn.runs.checkpoint.format import Checkpoint, load_checkpoint, oldest_format, read_metadata, save_checkpoint
from charrnn.runs.checkpoint.refusals import DamagedCheckpoint
from charrnn.runs.checkpoint.rules import is_count, is_figure
from charrnn.runs.names import BEST, GOOD, LAST, RUNS_FOLDER

__all__ = [
    "BEST",
    "GOOD",
    "LAST",
    "RUNS_FOLDER",
    "Checkpoint",
    "DamagedCheckpoint",
    "find_checkpoint",
    "instead_of_last",
    "is_count",
    "is_figure",
    "lacking_run",
    "load_checkpoint",
    "newest_run",
    "newest_sweep",
    "oldest_format",
    "read_metadata",
    "save_checkpoint",
]
