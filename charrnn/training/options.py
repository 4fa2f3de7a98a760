"""Every option of a training run: its default, its rule, its help, and how it travels into a checkpoint and back.

An option is one field of TrainingConfig, and all about it stands in that one place: the validator, the command line
and the rule of resumption read the field's `Setting`. Imports neither numpy nor numba, so that `charrnn train --help`
can show the options; knows nothing of click.
"""

import dataclasses
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.spec import CELLS, DTYPES, FORGET_BIAS, OPTIONAL_KEYS, PRECISIONS
from charrnn.text.item_kinds import KINDS, reading_of
from charrnn.text.item_kinds import SPLITS as ITEM_SPLITS
from charrnn.text.rewriting import NEWLINES, NORMALIZE, Rewriting
from charrnn.text.task_names import ASKED
from charrnn.training.contradictions import WEIGHT_DECAYS, check_together
from charrnn.training.schedules import SCHEDULES, Schedule
from charrnn.training.settings import FREE, LONGER, UNSET, setting, settings_of, short

OPTIMIZERS = ("adam", "adamw", "rmsprop", "adagrad", "sgd")
VOCABULARIES = ("chars", "bytes")
ON_DIVERGENCE = ("recover", "stop")

# Used when no length is named.
DEFAULT_MINUTES = 5.0

# What the optimiser decides when the option is left out.
LEARNING_RATES = {"adam": 3e-3, "adamw": 3e-3, "rmsprop": 2e-3, "adagrad": 3e-2, "sgd": 0.5}

# What the schedule decides when the option is left out: the share of the run over which the rate rises.
WARMUPS = {"cosine": 0.02}

# Shrunk to the text when it is too short for them, with a note; what the user names is not.
BATCH_SIZE, SEQ_LENGTH = 16, 64

# Sizes beyond this are mistakes: they overflow before any memory is asked for.
MAX_SIZE, MAX_LAYERS, MAX_STEPS = 10**7, 1000, 10**15
MAX_BIAS = 100.0

# The headings of `charrnn train --help`.
MODEL, LENGTH, OPTIMISER, REGULARISATION = "Model", "Length and batch", "Optimiser", "Regularisation"
TEXT, COMPUTING, WATCHING = "Text", "Computing", "Watching and saving"
HEADINGS = (MODEL, LENGTH, OPTIMISER, REGULARISATION, TEXT, COMPUTING, WATCHING)


def by_name(values):
    """Spell a table of defaults for the help: adam 0.003, sgd 0.5."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


@dataclass(frozen=True)
class TrainingConfig:
    """The options of a training run.

    None stands for a choice that the text, the optimiser, the schedule or the clock makes. Of epochs, steps and minutes
    one at most is set.

    The order of the fields is the order in which options are written to files; `heading` and `place` give the help's.

    Raises ConfigError for a value outside its rule, or two that contradict.
    """

    # the model
    cell: str = setting("lstm", MODEL, "Recurrent cell.", choices=tuple(CELLS))
    hidden_size: int = setting(256, MODEL, "Units a layer.", "N", minimum=1, maximum=MAX_SIZE)
    num_layers: int = setting(2, MODEL, "Layers.", "N", minimum=1, maximum=MAX_LAYERS)
    embedding_size: int = setting(
        64, MODEL, "Size of a learned embedding of each character; 0 is one-hot.", "N", minimum=0, maximum=MAX_SIZE
    )
    tie_weights: bool = setting(
        False, MODEL, "Share the embedding with the output layer (needs --embedding-size equal to --hidden-size)."
    )
    layer_norm: bool = setting(
        True,
        MODEL,
        "Normalise each gate's sums over the units of its layer.",
        before=OPTIONAL_KEYS["layer_norm"].default,
    )
    forget_bias: float | None = setting(
        None,
        MODEL,
        "Bias of an LSTM's forget gates when training begins: 1 lets it remember from the start, 0 has it learn to.",
        "X",
        shown=f"{FORGET_BIAS:g}",
        minimum=-MAX_BIAS,
        maximum=MAX_BIAS,
        is_terse=True,
    )
    dtype: str = setting("float32", COMPUTING, "Type of the numbers.", place=2, choices=DTYPES)
    precision: str = setting(
        "float32",
        COMPUTING,
        "What matrix products multiply; bfloat16 is faster on a CPU with AVX512-BF16 and refused elsewhere.",
        place=2,
        choices=PRECISIONS,
    )
    # the text
    vocab: str = setting("chars", TEXT, "Model characters or bytes.", choices=VOCABULARIES)
    encoding: str = setting(
        "utf-8", TEXT, "Encoding of the text; with --vocab bytes, only of the samples shown.", "NAME"
    )
    normalize: str = setting(
        "none",
        TEXT,
        "Bring the text into this Unicode normal form: nfc makes one character of a letter and its accents, nfkc also "
        "of ligatures, wide letters and the like. Kept with the model, as the next two, and done to every text it "
        "reads.",
        choices=NORMALIZE,
        is_terse=True,
    )
    lowercase: bool = setting(False, TEXT, "Turn all letters into lower case.", is_terse=True)
    newlines: str = setting(
        "keep",
        TEXT,
        "Keep line ends as they are, or make newlines (LF) of those of Windows (CR LF) and old Macs (CR).",
        choices=NEWLINES,
        is_terse=True,
    )
    part_files: bool = setting(
        False, TEXT, "Put a newline between two files where the first does not end in one.", is_terse=True
    )
    items: str | None = setting(
        None,
        TEXT,
        "Learn separate items instead of one long text: lines, paragraphs, files, or a field of records.",
        shown="one long text",
        choices=KINDS,
        is_terse=True,
    )
    text_field: str | None = setting(
        None, TEXT, "Field of csv, tsv or jsonl that holds the text.", "NAME", shown="the only one", is_terse=True
    )
    task: str | None = setting(
        None,
        TEXT,
        "Learn to predict a text's label (classify), text and label (both), or to translate.",
        shown="to write texts",
        choices=ASKED,
        is_terse=True,
    )
    label_field: str | None = setting(
        None,
        TEXT,
        "Field of the label: without --task the model writes texts for a label; with it, it predicts them.",
        "NAME",
        is_terse=True,
    )
    label_from: str | None = setting(
        None,
        TEXT,
        "Use the name of a file's folder as its label; each file is an item.",
        choices=("folder",),
        is_terse=True,
    )
    source_field: str | None = setting(
        None, TEXT, "With --task translate: the field to translate from.", "NAME", is_terse=True
    )
    target_field: str | None = setting(
        None, TEXT, "With --task translate: the field to translate to.", "NAME", is_terse=True
    )
    split: str | None = setting(
        None,
        TEXT,
        "Split items by a hash of their content (equal items stay together), or in the order of the files.",
        shown="hash",
        choices=ITEM_SPLITS,
        is_terse=True,
    )
    val_fraction: float = setting(
        0.05, TEXT, "Share of the text to validate on, before the test split.", "P", minimum=0, below=1
    )
    test_fraction: float = setting(0.05, TEXT, "Share of the text to test on, at its end.", "P", minimum=0, below=1)
    batch_size: int | None = setting(
        None,
        LENGTH,
        "Streams read in parallel.",
        "N",
        place=2,
        shown=f"{BATCH_SIZE}, fewer for a short text",
        minimum=1,
        maximum=MAX_SIZE,
    )
    seq_length: int | None = setting(
        None,
        LENGTH,
        "Truncate backpropagation after this many characters.",
        "N",
        place=2,
        shown=f"{SEQ_LENGTH}, fewer for a short text",
        minimum=1,
        maximum=MAX_SIZE,
    )
    shards: int = setting(
        1,
        LENGTH,
        "Sum the gradient by so many equal parts of the batch; needed to train in several processes (mpiexec).",
        "N",
        place=2,
        shown=None,
        minimum=1,
        maximum=MAX_SIZE,
        is_terse=True,
    )
    # the length
    epochs: float | None = setting(
        None, LENGTH, "Train for this many passes over the training split.", "N", place=1, above=0, on_resume=LONGER
    )
    steps: int | None = setting(
        None,
        LENGTH,
        "Train for this many optimiser steps.",
        "N",
        place=1,
        minimum=1,
        maximum=MAX_STEPS,
        on_resume=LONGER,
    )
    minutes: float | None = setting(
        None,
        LENGTH,
        "Train for this long, validation included; the schedule ends when the time does.",
        "M",
        shown=f"{DEFAULT_MINUTES:g}, where no length is named",
        above=0,
        on_resume=LONGER,
    )
    # the update
    optimizer: str = setting("adam", OPTIMISER, "Optimiser.", choices=OPTIMIZERS)
    learning_rate: float | None = setting(
        None, OPTIMISER, "Highest learning rate.", "X", shown=by_name(LEARNING_RATES), above=0
    )
    schedule: str = setting("cosine", OPTIMISER, "How the learning rate goes over the run.", choices=SCHEDULES)
    warmup: float | None = setting(
        None,
        OPTIMISER,
        "Let the learning rate rise first: below 1 a share of the run, from 1 on a number of steps.",
        "X",
        shown=f"{by_name(WARMUPS)}, others 0",
        minimum=0,
    )
    # The rules of min_learning_rate and decay are the Schedule's own.
    min_learning_rate: float = setting(
        0.02, OPTIMISER, "Where cosine ends, as a share of --learning-rate (0 to 1).", "X"
    )
    decay: float = setting(0.97, OPTIMISER, "Factor of the step schedule, an epoch.", "X")
    decay_after: int = setting(10, OPTIMISER, "Epochs before the step schedule begins to decay.", "N", minimum=0)
    momentum: float = setting(0.0, OPTIMISER, "Momentum, sgd only (0 to below 1).", "X", minimum=0, below=1)
    weight_decay: float | None = setting(
        None,
        REGULARISATION,
        "Decoupled weight decay of every parameter, adamw only.",
        "X",
        place=1,
        shown=by_name(WEIGHT_DECAYS),
        minimum=0,
    )
    clip_norm: float = setting(5.0, OPTIMISER, "Scale the gradient down to this L2 norm; 0 is off.", "X", minimum=0)
    clip_value: float = setting(
        0.0, OPTIMISER, "Clip each element of the gradient to this magnitude; 0 is off.", "X", minimum=0
    )
    ema: float = setting(
        0.0,
        REGULARISATION,
        "Decay of an average of the weights, which is what is validated, saved and sampled; 0 is off, 0.999 is usual.",
        "X",
        place=1,
        minimum=0,
        below=1,
    )
    dropout: float = setting(
        0.2,
        REGULARISATION,
        "Share of units dropped between layers and before the output (0 to below 1).",
        "P",
        minimum=0,
        below=1,
    )
    variational_dropout: bool = setting(False, REGULARISATION, "Drop the same units at every step of a chunk.")
    weight_dropout: float = setting(
        0.0,
        REGULARISATION,
        "Share of the recurrent weights dropped, anew each step (0 to below 1).",
        "P",
        minimum=0,
        below=1,
    )
    zoneout: float = setting(
        0.0,
        REGULARISATION,
        "Share of units that keep their state at a step, of h and of an LSTM's c (0 to below 1); used in expectation "
        "later.",
        "P",
        minimum=0,
        below=1,
    )
    seed: int = setting(
        1, COMPUTING, "Seed of initialisation, dropout and samples.", "N", minimum=0, rule="between 0 and 2**63 - 1"
    )
    on_divergence: str = setting(
        "recover",
        OPTIMISER,
        "When the loss is no longer a number: go back to the last good state at half the learning rate, or stop.",
        choices=ON_DIVERGENCE,
        on_resume=FREE,
    )
    # what is measured, shown and kept, and how often; in steps
    eval_every: int | None = setting(
        None,
        WATCHING,
        "Validate every N steps; 0 only at the end.",
        "N",
        shown="so often that it takes 5 % of the time at most",
        minimum=0,
    )
    log_every: int | None = setting(
        None,
        WATCHING,
        "Write a line to the log every N steps.",
        "N",
        place=2,
        shown="about 1000 lines a run",
        minimum=1,
        on_resume=FREE,
    )
    checkpoint_every: int | None = setting(
        None, WATCHING, "Save every N steps, beside once a minute or so.", "N", place=2, minimum=0, on_resume=FREE
    )
    sample_every: int | None = setting(
        None,
        WATCHING,
        "Show a sample every N steps; 0 never.",
        "N",
        place=1,
        shown="often at first, then less",
        minimum=0,
        on_resume=FREE,
    )
    sample_length: int = setting(300, WATCHING, "Characters a sample.", "N", place=1, minimum=1, on_resume=FREE)
    sample: bool = setting(True, WATCHING, "Show samples while training.", place=1, on_resume=FREE, is_terse=True)

    def __post_init__(self):
        for name, one in SETTINGS.items():
            one.check_type(name, getattr(self, name))
        for name, one in SETTINGS.items():
            one.check_rule(name, getattr(self, name))
        check_together(self, LENGTHS)
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
        """Return the Schedule of the learning rate, with the defaults that depend on optimiser and schedule."""
        peak = LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate
        warmup = WARMUPS.get(self.schedule, 0.0) if self.warmup is None else self.warmup
        return Schedule(self.schedule, peak, warmup, self.min_learning_rate, self.decay, self.decay_after)

    @property
    def rewriting(self):
        """What is done to the characters of the text, a Rewriting."""
        return Rewriting(self.normalize, self.lowercase, self.newlines)

    @property
    def items_reading(self):
        """How the text is read as items, an ItemsReading; None of one long text."""
        return reading_of(self)

    def reading(self):
        """Return how the text is read, as `read_corpus` takes it; two runs with the same have the same ids."""
        return {
            "mode": self.vocab,
            "encoding": self.encoding,
            "rewriting": self.rewriting,
            "part_files": self.part_files,
            "items": self.items_reading,
        }

    def to_dict(self):
        """Return the options as plain JSON values."""
        return dataclasses.asdict(self)

    def to_record(self):
        """Return the options as checkpoints and config.toml hold them: without what is terse and has its default."""
        return {
            name: value
            for name, value in self.to_dict().items()
            if not SETTINGS[name].is_terse or value != getattr(DEFAULTS, name)
        }

    @classmethod
    def from_dict(cls, options):
        """Make a config from `to_dict`'s dict, as a checkpoint holds it; ConfigError for a name that is no option.

        An option that the dict does not have came later. It takes its default, or its `before` where it has one.
        """
        for name in options:
            if name not in NAMES:
                raise ConfigError(
                    f"{short(repr(name))} is no training option that this charrnn knows: use the charrnn that wrote it"
                )
        before = {name: one.before for name, one in SETTINGS.items() if one.before is not UNSET}
        return cls(**{**before, **options})


# {option name: Setting}, in the order of the fields, and what is read off it.
SETTINGS = settings_of(TrainingConfig)
NAMES = tuple(SETTINGS)
LENGTHS = tuple(name for name, one in SETTINGS.items() if one.on_resume == LONGER)
FREE_OPTIONS = tuple(name for name, one in SETTINGS.items() if one.on_resume == FREE)
LARGEST = {name: one.maximum for name, one in SETTINGS.items() if one.maximum is not None}


DEFAULTS = TrainingConfig()
