"""Every option of a training run: its default, its rule, its help, and how it travels into a checkpoint and back.

An option is one field of TrainingConfig, and all about it stands in that one place: the validator, the command line
and the rule of resumption read the field's `Setting`. Imports neither numpy nor numba, so that `charrnn train --help`
can show the options; knows nothing of click.
"""

import dataclasses
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.text.item_kinds import reading_of
from charrnn.text.rewriting import Rewriting
from charrnn.training.contradictions import check_together
from charrnn.training.defaults import (
    BATCH_SIZE,
    DEFAULT_MINUTES,
    DROPOUTS,
    ENDLESS_SCHEDULE,
    LEARNING_RATES,
    NORMALISED_DECAYS,
    NORMALISED_RATES,
    SCHEDULE,
    SEQ_LENGTH,
    WARMUPS,
    WEIGHT_DECAYS,
    WIDE,
    is_endless,
    learning_rate_of,
    schedule_of,
    weight_decay_of,
)
from charrnn.training.model_options import (
    COMPUTING,
    LENGTH,
    MAX_SIZE,
    MAX_STEPS,
    OPTIMISER,
    REGULARISATION,
    WATCHING,
    ModelAndText,
)
from charrnn.training.schedules import SCHEDULES, Schedule
from charrnn.training.settings import CHECKED, ENDING, FREE, LONGER, ROUNDING, UNSET, setting, settings_of, short

OPTIMIZERS = ("adam", "adamw", "rmsprop", "adagrad", "sgd")
ON_DIVERGENCE = ("recover", "stop")


def by_name(values):
    """Return a table of defaults as the help shows it: "adam 0.003, sgd 0.5"."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


@dataclass(frozen=True)
class TrainingConfig(ModelAndText):
    """The options of a training run.

    None means that the default depends on the text, the optimiser, the schedule or the length of the run. At most one
    of epochs, steps and minutes is set. If none is set, the run takes five minutes, unless only `patience` ends it.

    Options are written to files in the order of the fields; the help is ordered by `heading` and `place`.

    Raises ConfigError if a value has the wrong type or is not allowed, or two values contradict each other.
    """

    batch_size: int | None = setting(
        None,
        LENGTH,
        "Number of places in the text (streams) that are read in parallel.",
        "N",
        place=2,
        shown=f"{BATCH_SIZE}, fewer for a short text",
        minimum=1,
        maximum=MAX_SIZE,
    )
    seq_length: int | None = setting(
        None,
        LENGTH,
        "Length of the chunks that the model learns from: while training, the gradient is cut off after N characters "
        "(truncated backpropagation).",
        "N",
        place=2,
        shown=f"{SEQ_LENGTH}, fewer for a short text",
        minimum=1,
        maximum=MAX_SIZE,
    )
    shards: int = setting(
        1,
        LENGTH,
        "Divide the batch into N equal parts and sum their gradients; needed to train in several processes (mpiexec).",
        "N",
        place=2,
        shown="1; under mpiexec the smallest power of two that is at least the number of processes",
        minimum=1,
        maximum=MAX_SIZE,
        is_terse=True,
    )
    # the length
    epochs: float | None = setting(
        None, LENGTH, "Train for this many passes over the training text.", "N", place=1, above=0, on_resume=LONGER
    )
    steps: int | None = setting(
        None,
        LENGTH,
        "Train for this many steps (updates of the weights).",
        "N",
        place=1,
        minimum=1,
        maximum=MAX_STEPS,
        on_resume=LONGER,
    )
    minutes: float | None = setting(
        None,
        LENGTH,
        "Train for this many minutes, including validation. The learning-rate schedule is spread over this time.",
        "M",
        shown=f"{DEFAULT_MINUTES:g}, less for a short text; no limit if another option, such as --epochs, ends the run",
        above=0,
        on_resume=LONGER,
    )
    patience: int | None = setting(
        None,
        LENGTH,
        "Stop when this many validations in a row have brought no new best loss. If you also give --epochs, --steps or "
        "--minutes, the run ends at the earlier of the two. If you give none of them, only --patience ends the run, "
        f"and the schedule is {ENDLESS_SCHEDULE}. But if you choose --schedule cosine yourself, the "
        "run ends after the default length (see --minutes) at the latest.",
        "N",
        shown="no early stop",
        place=1,
        minimum=1,
        maximum=MAX_STEPS,
        on_resume=ENDING,
        is_terse=True,
    )
    # the update
    optimizer: str = setting("adamw", OPTIMISER, "Optimiser.", choices=OPTIMIZERS)
    learning_rate: float | None = setting(
        None,
        OPTIMISER,
        "Highest learning rate: how far a step moves the weights.",
        "X",
        shown=f"{by_name({**LEARNING_RATES, **NORMALISED_RATES})}; less for adam and adamw with more than {WIDE} units "
        "per layer, or without layer normalisation",
        above=0,
    )
    schedule: str | None = setting(
        None,
        OPTIMISER,
        "How the learning rate changes over the run; plateau lowers it when the validation loss stops improving.",
        shown=f"{SCHEDULE}; {ENDLESS_SCHEDULE} if only --patience ends the run",
        choices=SCHEDULES,
    )
    warmup: float | None = setting(
        None,
        OPTIMISER,
        "At the start, raise the learning rate slowly from 0. If X is below 1, this takes X times the length of the "
        "run; if X is 1 or more, it takes X steps.",
        "X",
        shown=f"{by_name(WARMUPS)}, others 0",
        minimum=0,
    )
    # The rules of min_learning_rate and decay are the Schedule's own.
    min_learning_rate: float = setting(
        0.02,
        OPTIMISER,
        "Lowest learning rate of the cosine and plateau schedules, as a share of --learning-rate (0 to 1).",
        "X",
    )
    decay: float = setting(0.97, OPTIMISER, "Step schedule: multiply the learning rate by X after every epoch.", "X")
    decay_after: int = setting(
        10, OPTIMISER, "Step schedule: keep the learning rate constant for the first N epochs.", "N", minimum=0
    )
    plateau_factor: float = setting(
        0.5,
        OPTIMISER,
        "Plateau schedule: multiply the learning rate by X each time it is lowered.",
        "X",
        minimum=0.01,
        below=1,
        is_terse=True,
    )
    plateau_wait: int = setting(
        2,
        OPTIMISER,
        "Plateau schedule: number of validations without improvement before the learning rate is lowered.",
        "N",
        minimum=1,
        maximum=MAX_STEPS,
        is_terse=True,
    )
    momentum: float = setting(0.0, OPTIMISER, "Momentum, for sgd only (at least 0, below 1).", "X", minimum=0, below=1)
    weight_decay: float | None = setting(
        None,
        REGULARISATION,
        "For adamw only: make every weight a little smaller at each step (decoupled weight decay).",
        "X",
        place=1,
        shown=f"{by_name(NORMALISED_DECAYS)}, without layer normalisation {WEIGHT_DECAYS['adamw']:g}",
        minimum=0,
    )
    clip_norm: float = setting(5.0, OPTIMISER, "Limit the gradient's L2 norm; 0 means no limit.", "X", minimum=0)
    clip_value: float = setting(
        0.0, OPTIMISER, "Limit the magnitude of each element of the gradient; 0 means no limit.", "X", minimum=0
    )
    ema: float = setting(
        0.0,
        REGULARISATION,
        "Use an average of the weights of the last steps (an exponential moving average with decay X) for validation, "
        "for samples and for the saved model. 0.999 is a usual value; 0 turns this off.",
        "X",
        place=1,
        minimum=0,
        below=1,
    )
    dropout: float | None = setting(
        None,
        REGULARISATION,
        "Share of units to drop between layers and before the output (at least 0, below 1).",
        "P",
        shown=f"{DROPOUTS[0][1]:g} to {DROPOUTS[-1][1]:g}, more for more epochs",
        minimum=0,
        below=1,
    )
    variational_dropout: bool = setting(False, REGULARISATION, "Drop the same units for all characters of a chunk.")
    weight_dropout: float = setting(
        0.0,
        REGULARISATION,
        "Share of the recurrent weights to drop (at least 0, below 1): the same weights for all characters of a chunk, "
        "chosen again for each chunk.",
        "P",
        minimum=0,
        below=1,
    )
    zoneout: float = setting(
        0.0,
        REGULARISATION,
        "Zoneout: at each character, this share of the units keeps its old state (h, and c of an LSTM). At least 0, "
        "below 1. Outside the training, the new state of each unit is a mean of its old state (weight P) and of what "
        "its gates compute (weight 1 - P).",
        "P",
        minimum=0,
        below=1,
    )
    seed: int = setting(
        1, COMPUTING, "Seed of initial weights, dropout and samples.", "N", minimum=0, rule="between 0 and 2**63 - 1"
    )
    on_divergence: str = setting(
        "recover",
        OPTIMISER,
        "What to do when the loss becomes NaN, infinite or far too high: return to the last good state with half the "
        "learning rate (recover), or stop.",
        choices=ON_DIVERGENCE,
        on_resume=FREE,
    )
    # what is measured, shown and kept, and how often; in steps
    eval_every: int | None = setting(
        None,
        WATCHING,
        "Validate every N steps; 0 means only at the end.",
        "N",
        shown="25 validations per run, fewer if they would take more than 5 % of the time",
        minimum=0,
    )
    log_every: int | None = setting(
        None,
        WATCHING,
        "Write a line to log.jsonl every N steps.",
        "N",
        place=2,
        shown="about 1000 lines per run",
        minimum=1,
        on_resume=FREE,
    )
    checkpoint_every: int | None = setting(
        None,
        WATCHING,
        "Also save every N steps; charrnn always saves about once a minute.",
        "N",
        place=2,
        minimum=0,
        on_resume=FREE,
    )
    keep_every: int | None = setting(
        None,
        WATCHING,
        "Keep a snapshot every N steps, such as step-001000.safetensors, in the run folder.",
        "N",
        place=2,
        minimum=1,
        maximum=MAX_STEPS,
        on_resume=FREE,
        is_terse=True,
    )
    sample_every: int | None = setting(
        None,
        WATCHING,
        "Show a sample every N steps; 0 means never.",
        "N",
        place=1,
        shown="often at first, then less often",
        minimum=0,
        on_resume=FREE,
    )
    sample_length: int = setting(300, WATCHING, "Characters per sample.", "N", place=1, minimum=1, on_resume=FREE)
    sample: bool = setting(True, WATCHING, "Show samples during the training.", place=1, on_resume=FREE, is_terse=True)

    def __post_init__(self):
        for name, one in SETTINGS.items():
            one.check_type(name, getattr(self, name))
        for name, one in SETTINGS.items():
            one.check_rule(name, getattr(self, name))
        check_together(self, LENGTHS)
        self.make_schedule()

    def resolved(self):
        """Return the config with the defaults that depend on optimiser, schedule and length filled in."""
        changes: dict = {"schedule": self.schedule_name}
        changes["learning_rate"] = learning_rate_of(self)
        changes["weight_decay"] = weight_decay_of(self)
        if self.warmup is None:
            changes["warmup"] = WARMUPS.get(self.schedule_name, 0.0)
        if self.val_text is not None:
            changes["val_fraction"] = 0.0
        if self.length_kind is None and not self.is_endless:
            changes["minutes"] = DEFAULT_MINUTES
        return dataclasses.replace(self, **changes)

    @property
    def length_kind(self):
        """The option that sets the length: "epochs", "steps" or "minutes"; None if none does."""
        return next((name for name in LENGTHS if getattr(self, name) is not None), None)

    @property
    def schedule_name(self):
        """The name of the learning-rate schedule: the one that was asked for, or the default."""
        return schedule_of(self, self.length_kind is not None)

    @property
    def is_endless(self):
        """Whether --patience alone ends the run."""
        return is_endless(self, self.length_kind is not None)

    def make_schedule(self):
        """Return the Schedule of the learning rate, with the defaults that depend on optimiser and schedule."""
        name = self.schedule_name
        peak = learning_rate_of(self)
        warmup = WARMUPS.get(name, 0.0) if self.warmup is None else self.warmup
        return Schedule(name, peak, warmup, self.min_learning_rate, self.decay, self.decay_after)

    @property
    def rewriting(self):
        """The Rewriting: how the characters of the text are converted when it is read."""
        return Rewriting(self.normalize, self.lowercase, self.newlines)

    @property
    def items_reading(self):
        """The ItemsReading: how the text is divided into items; None for one long text."""
        return reading_of(self)

    def reading(self):
        """Return the keyword arguments of `read_corpus` for this run; equal ones give equal ids of the same text."""
        return {
            "mode": self.vocab,
            "encoding": self.encoding,
            "rewriting": self.rewriting,
            "part_files": self.part_files,
            "items": self.items_reading,
            "unknown": self.unknown,
            "validation": self.val_text,
            "min_count": self.min_count,
        }

    def to_dict(self):
        """Return {option: value} of all options, for JSON."""
        return dataclasses.asdict(self)

    def to_record(self):
        """Return {option: value} as checkpoints and config.toml store it: without terse options at their default."""
        return {
            name: value
            for name, value in self.to_dict().items()
            if not SETTINGS[name].is_terse or value != getattr(DEFAULTS, name)
        }

    @classmethod
    def from_dict(cls, options):
        """Return the config that `to_dict` or `to_record` described.

        An option that is missing, because the record is older, gets the `before` of its Setting, or its default.
        Raises ConfigError for an unknown option or a value that is not allowed.
        """
        for name in options:
            if name not in NAMES:
                raise ConfigError(
                    f"{short(repr(name))} is not a training option of this version: use the charrnn that wrote it"
                )
        before = {name: one.before for name, one in SETTINGS.items() if one.before is not UNSET}
        return cls(**{**before, **options})


# {option name: Setting}, in the order of the fields, and what is read off it.
SETTINGS = settings_of(TrainingConfig)
NAMES = tuple(SETTINGS)
LENGTHS = tuple(name for name, one in SETTINGS.items() if one.on_resume == LONGER)
FREE_OPTIONS = tuple(name for name, one in SETTINGS.items() if one.on_resume == FREE)
OPEN_OPTIONS = tuple(name for name, one in SETTINGS.items() if one.on_resume in (ENDING, CHECKED, ROUNDING))
LARGEST = {name: one.maximum for name, one in SETTINGS.items() if one.maximum is not None}


DEFAULTS = TrainingConfig()
