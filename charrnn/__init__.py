"""charrnn: train, sample and look inside character-level RNN, LSTM and GRU language models on a CPU.

    import charrnn

    model = charrnn.load("checkpoints/demo")
    print(charrnn.sample(model, 300, prime="ROMEO:", temperature=0.8, seed=1))

Names are loaded when they are first used, so that `import charrnn` is quick.
"""

import importlib
from typing import TYPE_CHECKING

from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    CorpusError,
    DivergenceError,
    RecipeError,
    RunError,
    StorageError,
    VocabularyError,
)

if TYPE_CHECKING:
    from charrnn.cells.findings import Findings
    from charrnn.evaluation.dynamic import DynamicSettings
    from charrnn.evaluation.judgement import Judgement
    from charrnn.library import Training, evaluate, find_cells, load, train
    from charrnn.library.drawing import next_characters, sample
    from charrnn.model.clamps import Clamp
    from charrnn.model.dropout import Dropout
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace
    from charrnn.sampling.following import NextCharacter
    from charrnn.spec import ModelConfig
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Sampled, Saved, Step

__version__ = "0.2.0"

__all__ = [
    "CharRNNError",
    "CheckpointError",
    "Clamp",
    "ConfigError",
    "CorpusError",
    "DivergenceError",
    "Dropout",
    "DynamicSettings",
    "Evaluated",
    "Findings",
    "Finished",
    "Judgement",
    "Model",
    "ModelConfig",
    "NextCharacter",
    "Notice",
    "Preflight",
    "RecipeError",
    "RunError",
    "Sampled",
    "Saved",
    "Step",
    "StorageError",
    "Training",
    "Vocabulary",
    "VocabularyError",
    "Workspace",
    "__version__",
    "evaluate",
    "find_cells",
    "load",
    "next_characters",
    "sample",
    "train",
]

_HOMES = {
    "charrnn.cells.findings": ("Findings",),
    "charrnn.evaluation.dynamic": ("DynamicSettings",),
    "charrnn.evaluation.judgement": ("Judgement",),
    "charrnn.library": ("Training", "evaluate", "find_cells", "load", "train"),
    "charrnn.library.drawing": ("next_characters", "sample"),
    "charrnn.model.clamps": ("Clamp",),
    "charrnn.model.dropout": ("Dropout",),
    "charrnn.model.parameters": ("Model",),
    "charrnn.model.workspace": ("Workspace",),
    "charrnn.sampling.following": ("NextCharacter",),
    "charrnn.spec": ("ModelConfig",),
    "charrnn.text.vocabulary": ("Vocabulary",),
    "charrnn.training.records": ("Evaluated", "Finished", "Notice", "Preflight", "Sampled", "Saved", "Step"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
