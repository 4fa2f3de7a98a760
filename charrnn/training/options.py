"""Every option of a training run: its default, its rule, and how it travels into a checkpoint and back.

The one place where defaults live. Imports neither numpy nor numba, so that `charrnn train --help` can show them.
"""

import dataclasses
import math
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.spec import CELLS, DTYPES, PRECISIONS
from charrnn.training.schedules import SCHEDULES, Schedule

OPTIMIZERS = ("adam", "adamw", "rmsprop", "adagrad", "sgd")
VOCABULARIES = ("chars", "bytes")
ON_DIVERGENCE = ("recover", "stop")

# Used when no length is named.
DEFAULT_MINUTES = 5.0

# What the optimiser decides, when the option is left out.
LEARNING_RATES = {"adam": 3e-3, "adamw": 3e-3, "rmsprop": 2e-3, "adagrad": 3e-2, "sgd": 0.5}
WEIGHT_DECAYS = {"adamw": 0.01}
MOMENTUM_OPTIMIZERS = ("sgd",)

# What the schedule decides, when the option is left out: the share of the run over which the rate rises.
WARMUPS = {"cosine": 0.02}

# Shrunk to the text when it is too short for them, and said so; what the user names is not.
BATCH_SIZE, SEQ_LENGTH = 16, 64

# Sizes beyond this are mistakes: they overflow before any memory is asked for.
LARGEST = {
    "hidden_size": 10**7,
    "embedding_size": 10**7,
    "num_layers": 1000,
    "batch_size": 10**7,
    "seq_length": 10**7,
    "steps": 10**15,
}

LENGTHS = ("epochs", "steps", "minutes")

# A resumed run may change these: they bear on what is shown and kept, not on any result; and on_divergence, so that a run that
# it stopped can go on. The lengths have a rule of their own: the same kind, and not shorter.
FREE_OPTIONS = ("sample_every", "sample_length", "checkpoint_every", "log_every", "on_divergence")

BEFORE = {"layer_norm": False}  # of a run from before the option was there


@dataclass(frozen=True)
class TrainingConfig:
    """The options of a training run.

    None stands for a choice that the text, the optimiser, the schedule or the clock makes. Of epochs, steps and minutes
    one at most is set.

    Raises ConfigError for a value outside its rule, or two that contradict.
    """

    # the model
    cell: str = "lstm"
    hidden_size: int = 256
    num_layers: int = 2
    embedding_size: int = 64
    tie_weights: bool = False
    layer_norm: bool = True
    dtype: str = "float32"
    precision: str = "float32"
    # the text
    vocab: str = "chars"
    encoding: str = "utf-8"
    val_fraction: float = 0.05
    test_fraction: float = 0.05
    batch_size: int | None = None
    seq_length: int | None = None
    # the length
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    # the update
    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup: float | None = None
    min_learning_rate: float = 0.02
    decay: float = 0.97
    decay_after: int = 10
    momentum: float = 0.0
    weight_decay: float | None = None
    clip_norm: float = 5.0
    clip_value: float = 0.0
    ema: float = 0.0
    dropout: float = 0.2
    variational_dropout: bool = False
    weight_dropout: float = 0.0
    zoneout: float = 0.0
    seed: int = 1
    on_divergence: str = "recover"
    # what is measured, shown and kept, and how often; in steps
    eval_every: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    sample_every: int | None = None
    sample_length: int = 300

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_type(field.name, field.type, getattr(self, field.name))
        _one_of("cell", self.cell, CELLS)
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("vocab", self.vocab, VOCABULARIES)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("on_divergence", self.on_divergence, ON_DIVERGENCE)
        for name in ("hidden_size", "num_layers", "batch_size", "seq_length", "steps", "log_every", "sample_length"):
            _at_least(name, getattr(self, name), 1)
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise ConfigError(f"{option(name)} must be at most {most:,}, got {shown(value)}")
        for name in ("embedding_size", "eval_every", "checkpoint_every", "sample_every", "decay_after"):
            _at_least(name, getattr(self, name), 0)
        for name in ("clip_norm", "clip_value", "weight_decay", "warmup"):
            _at_least(name, getattr(self, name), 0)
        for name in ("epochs", "minutes", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{option(name)} must be above 0, got {value:g}")
        for name in ("dropout", "weight_dropout", "zoneout", "momentum", "ema"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{option(name)} must be at least 0 and below 1, got {value:g}")
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{option(name)} must be at least 0 and below 1, got {value:g}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"--val-fraction {self.val_fraction:g} and --test-fraction {self.test_fraction:g} leave nothing to train "
                "on: together they must stay below 1"
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"--seed must be between 0 and 2**63 - 1, got {self.seed}")
        named = [option(name) for name in LENGTHS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} both say how long to train: leave one of them out")
        if self.tie_weights and self.embedding_size != self.hidden_size:
            raise ConfigError(
                f"--tie-weights needs --embedding-size equal to --hidden-size, got {self.embedding_size} and "
                f"{self.hidden_size}: add --embedding-size {self.hidden_size}"
            )
        if self.momentum and self.optimizer not in MOMENTUM_OPTIMIZERS:
            raise ConfigError(
                f"--momentum {self.momentum:g} has no effect with --optimizer {self.optimizer}: leave it out, or take sgd"
            )
        if self.weight_decay and self.optimizer not in WEIGHT_DECAYS:
            raise ConfigError(
                f"--weight-decay {self.weight_decay:g} has no effect with --optimizer {self.optimizer}: leave it out, or "
                f"take {' or '.join(WEIGHT_DECAYS)}"
            )
        self.make_schedule()

    def resolved(self):
        """Return the config with what optimiser and schedule decide filled in, and with a length."""
        changes = {}
        if self.learning_rate is None:
            changes["learning_rate"] = LEARNING_RATES[self.optimizer]
        if self.weight_decay is None:
            changes["weight_decay"] = WEIGHT_DECAYS.get(self.optimizer, 0.0)
        if self.warmup is None:
            changes["warmup"] = WARMUPS.get(self.schedule, 0.0)
        if self.length_kind is None:
            changes["minutes"] = DEFAULT_MINUTES
        return dataclasses.replace(self, **changes)

    @property
    def length_kind(self):
        """Return "epochs", "steps", "minutes", or None where no length is named."""
        return next((name for name in LENGTHS if getattr(self, name) is not None), None)

    def make_schedule(self):
        peak = LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate
        warmup = WARMUPS.get(self.schedule, 0.0) if self.warmup is None else self.warmup
        return Schedule(self.schedule, peak, warmup, self.min_learning_rate, self.decay, self.decay_after)

    def to_dict(self):
        """Return the options as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, options):
        """Make a config from `to_dict`'s dict, as a checkpoint holds it; ConfigError for a name that is no option.

        An option that came later, and is not its default in a run of before, is what it was then (BEFORE).
        """
        names = {field.name for field in dataclasses.fields(cls)}
        for name in options:
            if name not in names:
                raise ConfigError(
                    f"{short(repr(name))} is no training option that this charrnn knows: use the charrnn that wrote it"
                )
        return cls(**{**BEFORE, **options})


def option(name):
    """Spell an option as the command line does: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def shown(value):
    """Spell an option's value for a message."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)  # two that differ are to look different
    return "unset" if value is None else str(value)


def short(value, most=60):
    """Spell any value for a message: its text or its repr, cut to a length that leaves the message readable."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested too deep; an integer with too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def resume_config(stored, asked):
    """Return the config to resume with: the run's own, with what may change changed.

    stored : TrainingConfig of the run
    asked : {name: value}, the options named for the resumption

    Raises ConfigError for an option that contradicts the run, with both values.
    """
    changes = {}
    for name, value in asked.items():
        old = getattr(stored, name)
        if name in LENGTHS and value is not None:
            if old is None:
                kind = stored.length_kind
                raise ConfigError(
                    f"the run's length is {option(kind)} {shown(getattr(stored, kind))}, it cannot go on by "
                    f"{option(name)}: name a longer {option(kind)}"
                )
            if value < old:
                raise ConfigError(
                    f"the run's length is {option(name)} {shown(old)}, it can be made longer but not shorter, got "
                    f"{shown(value)}"
                )
            changes[name] = value
        elif name in FREE_OPTIONS:
            changes[name] = value
        elif value != old:
            raise ConfigError(
                f"the run was started with {option(name)} {shown(old)}, resuming it with {shown(value)} would make it "
                f"another run: leave {option(name)} out, or start a new run with --init-from"
            )
    return dataclasses.replace(stored, **changes)


def _check_type(name, kind, value):
    """Check a value against its annotation; a checkpoint or a caller may have given anything."""
    if value is None:
        if "None" in str(kind):
            return
    elif kind is bool:
        if isinstance(value, bool):
            return
    elif kind is str:
        if isinstance(value, str):
            return
    elif not isinstance(value, bool):
        if kind in (int, int | None) and isinstance(value, int) and abs(value) < 2**63:
            return
        if kind in (float, float | None) and isinstance(value, (int, float)) and math.isfinite(value):
            return
    what = "true or false" if kind is bool else "a text" if kind is str else "a whole number"
    if kind in (float, float | None):
        what = "a finite number"
    raise ConfigError(f"{option(name)} must be {what}, got {short(repr(value) if isinstance(value, str) else value)}")


def _one_of(name, value, allowed):
    if value not in allowed:
        raise ConfigError(f"{option(name)} must be one of {', '.join(allowed)}, got {short(repr(value))}")


def _at_least(name, value, least):
    if value is not None and not value >= least:
        raise ConfigError(f"{option(name)} must be at least {least}, got {shown(value)}")


DEFAULTS = TrainingConfig()
NAMES = tuple(field.name for field in dataclasses.fields(TrainingConfig))
