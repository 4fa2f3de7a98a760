"""One `.safetensors` file that holds everything a run needs to go on, and everything a reader needs to use the model.

docs/CHECKPOINT.md tells the format. What the rest of charrnn uses is named here; nothing of it imports numba, so that
`charrnn info` starts at once.
"""

from charrnn.runs.checkpoint.format import (
    BEST,
    GAINS,
    GATES,
    GOOD,
    LAST,
    OPTIONAL_MODEL_KEYS,
    RUNS_FOLDER,
    Checkpoint,
    find_checkpoint,
    is_count,
    is_figure,
    load_checkpoint,
    newest_run,
    parameter_shapes,
    read_metadata,
    save_checkpoint,
)

__all__ = [
    "BEST",
    "GAINS",
    "GATES",
    "GOOD",
    "LAST",
    "OPTIONAL_MODEL_KEYS",
    "RUNS_FOLDER",
    "Checkpoint",
    "find_checkpoint",
    "is_count",
    "is_figure",
    "load_checkpoint",
    "newest_run",
    "parameter_shapes",
    "read_metadata",
    "save_checkpoint",
]
