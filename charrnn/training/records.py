"""What a run yields: Preflight, then Step, Evaluated, Sampled, Saved and Notice as they come, and Finished at the end.

Plain frozen values for a display, a sweep or a notebook. They know neither the trainer that makes them nor who shows
them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from charrnn.evaluation.loss import Evaluation


@dataclass(frozen=True)
class Preflight:
    """What is about to happen, known before the first step."""

    characters: int
    vocab_size: int
    train_characters: int
    val_characters: int
    test_characters: int
    parameters: int
    memory_bytes: int
    threads: int
    batch_size: int
    seq_length: int
    steps_per_epoch: int
    step: int  # where the run stands: 0, or more when it is resumed
    total_steps: int | None  # None under --minutes, and where --patience alone ends the run
    step_s: float  # measured
    duration_s: float | None  # of what is left to do, estimated; None where --patience alone ends the run
    folder: Path
    items: tuple | None = None  # how many to train on, to validate and to test on; None of one long text
    unit: str = "char"  # what a loss is the mean over: "char", or "label" where only labels count
    patience: int | None = None  # of --patience
    eval_every: int | None = None  # steps between two validations; None where the clock says
    chosen: dict = field(default_factory=dict)  # the options that the user left open, and what they came to


@dataclass(frozen=True)
class Step:
    """One optimiser update."""

    step: int
    total_steps: int | None
    epoch: float
    train_loss_nats: float  # of this step's chunk
    smoothed_loss_nats: float
    grad_norm: float  # before clipping
    learning_rate: float
    chars_per_s: float
    elapsed_s: float
    progress: float | None  # None where --patience alone ends the run, as the next
    remaining_s: float | None


@dataclass(frozen=True)
class Evaluated:
    """One pass over the validation split."""

    step: int
    epoch: float
    evaluation: Evaluation
    is_best: bool
    took_s: float
    best_loss_nats: float | None  # the lowest of the run so far, this one included; None where none counts yet
    waited: int = 0  # validations since the best one
    patience: int | None = None  # after how many of them the run ends


@dataclass(frozen=True)
class Sampled:
    """A text drawn from the model as it is."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint on the disk."""

    step: int
    path: Path
    is_best: bool


@dataclass(frozen=True)
class Notice:
    """Something that the user should know."""

    text: str
    important: bool = False  # it bears on the result


@dataclass(frozen=True)
class Finished:
    """The end of a run: done, or stopped on request, when `resumable` says that --resume goes on."""

    step: int
    epoch: float
    elapsed_s: float
    resumable: bool
    smoothed_loss_nats: float | None
    best_loss_nats: float | None
    best_step: int | None
    val_characters: int  # validated on
    val_is_whole: bool  # False where the split was shortened for want of time
    test: Evaluation | None  # of the best checkpoint
    folder: Path
    checkpoint: Path  # the one to use: best, or last where nothing was validated
    saved_step: int  # of last: an earlier one where a number of the state is not finite, which is never saved
    because: str | None = None  # what ended it before its length did
