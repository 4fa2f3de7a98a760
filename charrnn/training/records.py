"""The records that a run yields: Preflight, then Step, Evaluated, Sampled, Saved and Notice, and Finished at the end.

Plain frozen dataclasses for a display, a sweep or a notebook. They do not depend on the trainer that makes them or on
the code that shows them. Losses are means in nats per character (per label if only labels count), times in seconds.
"""

from dataclasses import dataclass, field
from pathlib import Path

from charrnn.evaluation.loss import Evaluation


@dataclass(frozen=True)
class Preflight:
    """What the run will do, as known before its first step.

    Attributes
    ----------
    characters : int
        Size of the whole text, in characters (bytes for a byte model); likewise `train_characters`, `val_characters`
        and `test_characters` for its three splits.
    vocab_size : int
        Number of symbols in the vocabulary.
    parameters : int
        Number of trained parameters.
    memory_bytes : int
        Size of all arrays that training holds, in bytes.
    threads : int
        Number of threads that training uses.
    batch_size, seq_length : int
        Number of parallel streams, and number of characters in a chunk of each.
    steps_per_epoch : int
        Number of steps in which the training split is read once.
    step : int
        Number of steps done before this session: 0 for a new run.
    total_steps : int or None
        Number of steps after which the run ends; None if its length is in minutes, or if only `patience` ends it.
    step_s : float
        Measured time per step, in seconds.
    duration_s : float or None
        Estimate of the remaining time of the run, in seconds; None if only `patience` ends it.
    folder : Path
        The run folder.
    items : tuple of 3 int, or None
        Number of items for training, validation and test; None for a run on one long text.
    unit : {"char", "label"}
        What losses are a mean over: characters, or labels if only labels count.
    patience : int or None
        Number of validations without a new lowest loss after which the run ends; None if there is no such limit.
    eval_every : int or None
        Number of steps between two validations; None if the clock decides.
    chosen : dict
        {option: value} of the options that were left open and that charrnn chose.
    """

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
    step: int
    total_steps: int | None
    step_s: float
    duration_s: float | None
    folder: Path
    items: tuple | None = None
    unit: str = "char"
    patience: int | None = None
    eval_every: int | None = None
    chosen: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One optimiser update.

    Attributes
    ----------
    step : int
        Number of steps done, this one included.
    total_steps : int or None
        Number of steps after which the run ends; None if its length is in minutes, or if only `patience` ends it.
    epoch : float
        How often the training split has been read, such as 1.5.
    train_loss_nats : float
        Mean loss of this step's chunk, in nats, before the update.
    smoothed_loss_nats : float
        Exponential average of `train_loss_nats` over about the last 50 steps.
    grad_norm : float
        Euclidean norm of the gradient, before clipping.
    learning_rate : float
        Learning rate of this update.
    chars_per_s : float
        Current training speed, in characters per second.
    elapsed_s : float
        Training time of the run, in seconds, over all sessions.
    progress : float or None
        Share of the run that is done, 0 .. 1; None if only `patience` ends the run.
    remaining_s : float or None
        Estimate of the remaining time, in seconds; None if only `patience` ends the run.
    """

    step: int
    total_steps: int | None
    epoch: float
    train_loss_nats: float
    smoothed_loss_nats: float
    grad_norm: float
    learning_rate: float
    chars_per_s: float
    elapsed_s: float
    progress: float | None
    remaining_s: float | None


@dataclass(frozen=True)
class Evaluated:
    """One pass over the validation split.

    Attributes
    ----------
    step, epoch
        When it was made, as in Step.
    evaluation : Evaluation
        `loss_nats`, `loss_bpc` (bits per character), `perplexity` and `characters` of the validation split.
    is_best : bool
        Whether this is the lowest validation loss of the run so far.
    took_s : float
        Time of this validation, in seconds.
    best_loss_nats : float or None
        Lowest validation loss of the run so far, this one included; None if none counts yet.
    waited : int
        Number of validations since the best one; 0 if this is the best.
    patience : int or None
        Number of validations without a new lowest loss after which the run ends; None if there is no such limit.
    """

    step: int
    epoch: float
    evaluation: Evaluation
    is_best: bool
    took_s: float
    best_loss_nats: float | None
    waited: int = 0
    patience: int | None = None


@dataclass(frozen=True)
class Sampled:
    """A text that was drawn from the model during training.

    Attributes
    ----------
    step : int
        Number of steps done when it was drawn.
    text : str
        The drawn text.
    """

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was written.

    Attributes
    ----------
    step : int
        Number of steps done when it was written.
    path : Path
        The checkpoint file.
    is_best : bool
        Whether it is the checkpoint with the lowest validation loss so far (best.safetensors).
    """

    step: int
    path: Path
    is_best: bool


@dataclass(frozen=True)
class Notice:
    """A message that the user should see.

    Attributes
    ----------
    text : str
        The message.
    important : bool
        True if the run diverged and returned to an earlier step, because this changes the trained model.
    """

    text: str
    important: bool = False


@dataclass(frozen=True)
class Finished:
    """The end of a session: the run is finished, or it was stopped and can be resumed.

    Attributes
    ----------
    step, epoch, elapsed_s
        How far the run came, as in Step.
    resumable : bool
        True if the run was stopped before its end: `charrnn.train(resume=folder)` continues it.
    smoothed_loss_nats : float or None
        Smoothed training loss, as in Step; None if no step was made.
    best_loss_nats, best_step : float, int, or None
        Lowest validation loss of the run, in nats, and its step; None if the run has not validated.
    val_characters : int
        Number of characters that each validation reads.
    val_is_whole : bool
        Whether that is the whole validation split; False if there was time for a part of it only.
    test : Evaluation or None
        Result of the best checkpoint on the test split; None if the run was stopped or has no test split.
    folder : Path
        The run folder.
    checkpoint : Path
        The checkpoint to use: best.safetensors, or last.safetensors if the run has not validated.
    saved_step : int
        Step of last.safetensors. It is less than `step` if the current state contains numbers that are not finite,
        because such a state is never saved.
    because : str or None
        Why the run ended before its full length; None if it did not.
    """

    step: int
    epoch: float
    elapsed_s: float
    resumable: bool
    smoothed_loss_nats: float | None
    best_loss_nats: float | None
    best_step: int | None
    val_characters: int
    val_is_whole: bool
    test: Evaluation | None
    folder: Path
    checkpoint: Path
    saved_step: int
    because: str | None = None
