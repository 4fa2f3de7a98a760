"""Train a model by truncated backpropagation through time; validate, save, resume.

    plan = plan_run(config, corpus)                         every check that can be made before anything is written
    with RunFolder.create("run") as folder:
        for record in Trainer(plan, corpus, folder).run():  Preflight, then Step, Evaluated, Sampled, Saved, Notice, Finished
            ...

Yields records and prints nothing; knows neither terminal nor signals, `stop` may be called from a handler.

With --ema the average of the weights is the model: it is validated, sampled from and saved as the parameters, and the weights that are
trained stand beside it. What an exact resume rests on: everything that bears on a result is in the checkpoint (parameters, optimiser state and
step count, carry, cursor, schedule position, best so far), or is a function of the seed and the step (dropout masks).
The clock decides about results only under --minutes; otherwise only about when to save and to show a sample. A run that
diverges (divergence.py) goes back to its last anchor: step 0, or a validation since (without validations, a step of a fixed
interval). There `last` is saved, then becomes `good` as well; killed in between, the resumed run sees that `last` is the anchor.
"""

import contextlib
import dataclasses
import functools
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import charrnn
from charrnn.errors import CheckpointError, ConfigError, CorpusError, DivergenceError, VocabularyError, counted
from charrnn.evaluation.loss import Evaluation, count_streams, evaluate_split, split_workspace
from charrnn.evaluation.reading import WARM_UP
from charrnn.kernels import num_threads, set_num_threads
from charrnn.model.matrices import largest_singular_values, norms_by_layer
from charrnn.model.pace import StepPace
from charrnn.model.parameters import Model
from charrnn.model.workspace import Dropout, Workspace
from charrnn.runs.checkpoint import Checkpoint, is_count, is_figure, load_checkpoint
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.spec import OPTIONAL_KEYS, ModelConfig
from charrnn.text.corpus import strange_sources_exist
from charrnn.text.streams import Streams, fit_streams
from charrnn.training.optimisers import SLOTS, Optimizer
from charrnn.training.options import (
    BATCH_SIZE,
    FREE_OPTIONS,
    LARGEST,
    LENGTHS,
    MOMENTUM_OPTIMIZERS,
    NAMES,
    SEQ_LENGTH,
    WEIGHT_DECAYS,
    TrainingConfig,
    option,
    resume_config,
    short,
    shown,
)
from charrnn.training.recovery import EXPLODED_NATS, MOST_RETURNS, MOST_SKIPPED, SOUND_NATS, Diverged, Recovery

SMOOTHING = 0.98  # the smoothed training loss remembers about 50 steps
MOST_EVALUATIONS = 25
EVALUATION_SHARE = 0.05  # of the time, at most, by the default interval
MOST_ANCHORS, LEAST_ANCHOR_STEPS = (
    25,
    20,
)  # where validations do not make them: so many in a run, and so many steps between two
FORWARD_SHARE = 1 / 3  # cost of a forward pass beside forward, backward and update
LOG_RECORDS = 1000  # about so many in a run, by the default interval
HISTORY_RECORDS = 512  # at most, in a checkpoint
SAVE_SECONDS = 60  # between two saves of `last`, by default; more when saving is slow
SAMPLE_TEMPERATURE = 0.8

# Beside the optimiser's own slots in a checkpoint: the weights as the updates left them, where its parameters are their average.
UNAVERAGED = "unaveraged"

# No pass over the validation split may take more than this share of --minutes, or else of the training up to the next one.
LONGEST_VALIDATION = 0.2
SHORTEST_VALIDATION = 1_000_000  # characters that are not too many for any number of steps


# ---------------------------------------------------------------------------------------------------------- records


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
    total_steps: int | None  # None under --minutes
    step_s: float  # measured
    duration_s: float  # of what is left to do, estimated
    folder: Path


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
    progress: float
    remaining_s: float


@dataclass(frozen=True)
class Evaluated:
    step: int
    epoch: float
    evaluation: Evaluation
    is_best: bool
    took_s: float


@dataclass(frozen=True)
class Sampled:
    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    step: int
    path: Path
    is_best: bool


@dataclass(frozen=True)
class Notice:
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


# ------------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Plan:
    """A run in every detail that options and text decide."""

    config: TrainingConfig
    model_config: ModelConfig
    splits: object
    steps_per_epoch: int
    total_steps: int | None
    validated: tuple  # (start, stop): the validation split, or its beginning where a pass over all would take too long
    notes: tuple = ()
    resume: Checkpoint | None = None
    initial: Checkpoint | None = None

    def memory_needed(self):
        """Return the bytes that the arrays of a training step take."""
        config = self.config
        return memory_needed(
            self.model_config,
            config.batch_size,
            config.seq_length,
            config.precision,
            config.dropout > 0,
            config.optimizer,
            config.ema > 0,
            config.weight_dropout > 0,
        )


def plan_run(config, corpus, initial=None, must_fit=True):
    """Plan a new run.

    initial : Checkpoint to take the weights from, or None. Its model must be the config's: see `config_like`.
    must_fit : refuse what does not fit into the memory that is free now

    Raises ConfigError, CorpusError where options and text do not fit. Writes nothing.
    """
    config = config.resolved()
    splits = corpus.split(config.val_fraction, config.test_fraction)
    config, notes = _fit(config, splits)
    model_config = ModelConfig(
        config.cell,
        corpus.vocabulary.size,
        config.hidden_size,
        config.num_layers,
        config.embedding_size,
        config.tie_weights,
        config.dtype,
        config.zoneout,
        config.layer_norm,
    )
    if initial is not None:
        if initial.vocabulary.mode != corpus.vocabulary.mode:
            raise ConfigError(
                f"the weights to start from are of a model of {initial.vocabulary.mode}, the text is read as "
                f"{corpus.vocabulary.mode}: add --vocab {initial.vocabulary.mode}"
            )
        notes += _vocabulary_notes(corpus.vocabulary, initial.vocabulary)
        before = initial.model.get("zoneout", 0.0)
        if before != config.zoneout:
            notes += (
                f"the weights to start from were trained with --zoneout {shown(before)}, this run has {shown(config.zoneout)}",
            )
    steps_per_epoch = Streams(corpus.ids, *splits.train, config.batch_size, config.seq_length).chunks_per_epoch
    total_steps = _total_steps(config, steps_per_epoch)
    if splits.val[1] - splits.val[0] < 1:
        notes += ("no validation split: the best checkpoint cannot be told, the last one stands",)
    validated = _shorten_split(config, splits.val, total_steps)
    if validated != splits.val:
        notes += (_shortened(validated, splits.val, "the training up to the next one"),)
    config = dataclasses.replace(config, **_default_intervals(config, validated, total_steps))
    plan = Plan(config, model_config, splits, steps_per_epoch, total_steps, validated, tuple(notes), None, initial)
    if must_fit:
        check_memory(plan.memory_needed(), available_memory())
    return plan


def _training_record_is_read(function):
    """Turn what a missing or mistyped entry of a checkpoint's training record raises into a sentence."""

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError, OverflowError) as error:
            raise CheckpointError(
                f"the checkpoint's record of its training is incomplete or damaged ({type(error).__name__}: {error}): it "
                "cannot be gone on with; start a new run from its weights by --init-from"
            ) from error

    return guarded


@_training_record_is_read
def plan_resume(checkpoint, corpus, asked=None):
    """Plan to go on with the run of a `last` checkpoint.

    asked : {option name: value} named for the resumption; `resume_config` has the rule

    Raises ConfigError where an option contradicts the run or the run has nothing left to do, CorpusError where the text
    is not the one the run was started on.
    """
    training = checkpoint.training
    config = resume_config(stored_config(training), asked or {})
    if "step" not in training or "cursor" not in training:
        raise ConfigError("the checkpoint holds a model but no run to go on with: start one from it by --init-from")
    _check_agreement(config, checkpoint)
    check_corpus(training, corpus)
    _check_record(training, corpus.characters)
    splits = corpus.split(config.val_fraction, config.test_fraction)
    steps_per_epoch = Streams(corpus.ids, *splits.train, config.batch_size, config.seq_length).chunks_per_epoch
    total_steps = _total_steps(config, steps_per_epoch)
    step, kind = training["step"], config.length_kind
    done = training.get("finished") and getattr(config, kind) == training["config"].get(kind)
    if done or total_steps is not None and step >= total_steps and training.get("evaluated_step") == step:
        raise ConfigError(
            f"the run is finished, at step {step:,}: name a longer --{kind} than {getattr(config, kind):g} to extend it"
        )
    model_config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
    notes = _stretch_notes(stored_config(training), config, training, steps_per_epoch)
    return Plan(
        config, model_config, splits, steps_per_epoch, total_steps, tuple(training["validated"]), notes, checkpoint
    )


def _stretch_notes(before, after, training, steps_per_epoch):
    """Say what a longer length does to the learning rate: a schedule over the whole run is stretched, and the rate jumps."""
    step = training["step"]
    rates = []
    for config in (before, after):
        if config.minutes is None:
            progress = (step + 0.5) / _total_steps(config, steps_per_epoch)
        else:
            progress = training["elapsed_s"] / (config.minutes * 60)
        rate = config.make_schedule().learning_rate(progress=progress, step=step, epoch=step // steps_per_epoch)
        rates.append(f"{rate:.2g}")
    if rates[0] == rates[1]:
        return ()
    return (
        f"the longer run stretches its {after.schedule} schedule: the learning rate goes on at {rates[1]}, where it had "
        f"come to {rates[0]}",
    )


def _check_agreement(config, checkpoint):
    """Raise CheckpointError where the options that a checkpoint holds tell of another model than the one it holds."""
    model = {("tie_weights" if name == "tied" else name): value for name, value in checkpoint.model.items()}
    optional = {name: key.default for name, key in OPTIONAL_KEYS.items()}
    for name, value in {**optional, **model, "vocab": checkpoint.vocabulary.mode}.items():
        said = getattr(config, name)
        if said != value:
            raise CheckpointError(
                f"the checkpoint contradicts itself: its options say {option(name)} {shown(said)}, its model has {shown(value)}; "
                "start a new run from its weights by --init-from"
            )


def _check_record(training, characters):
    """Raise ValueError or KeyError where a value of a run's record is not what a run writes there."""

    def record(value, figures, absent=()):
        return (
            isinstance(value, dict)
            and is_count(value.get("step"))
            and all(is_figure(value.get(name)) or name in absent and value.get(name) is None for name in figures)
        )

    rules = dict.fromkeys(("step", "optimizer_steps", "logged_step", "evaluated_step"), is_count)
    rules["history_stride"] = lambda value: is_count(value, 1)
    rules["elapsed_s"] = lambda value: is_figure(value) and value >= 0
    rules["smoothing"] = lambda value: (
        isinstance(value, list) and len(value) == 2 and is_figure(value[0]) and is_count(value[1])
    )
    rules["best"] = lambda value: value is None or record(value, ["val_loss_nats"])
    rules["last"] = lambda value: (
        value is None
        or record(
            value,
            [
                "epoch",
                "train_loss_nats",
                "smoothed_loss_nats",
                "grad_norm",
                "learning_rate",
                "chars_per_s",
                "elapsed_s",
            ],
            ["train_loss_nats", "smoothed_loss_nats", "grad_norm"]
            if isinstance(value, dict) and value.get("skipped") is True
            else [],
        )
    )
    rules["history"] = lambda value: isinstance(value, list) and all(record(one, []) for one in value)
    if "clipped" in training:  # runs of before charrnn logged it have none
        rules["clipped"] = lambda value: (
            isinstance(value, list) and len(value) == 2 and is_count(value[1]) and is_count(value[0], 0, value[1])
        )
    rules["validated"] = lambda value: (
        isinstance(value, list) and len(value) == 2 and is_count(value[0]) and is_count(value[1], value[0], characters)
    )
    for name, rule in rules.items():
        if not rule(training[name]):
            raise ValueError(f"{name} is {short(training[name])}")


def config_like(checkpoint, asked):
    """Return the options of a new run from old weights: the model is the checkpoint's (its zoneout too, unless asked), the rest as asked.

    asked : {option name: value}; ConfigError where it wants another model
    """
    optional = {name: key.default for name, key in OPTIONAL_KEYS.items()}
    model = {**optional, **checkpoint.model}
    options = {
        "cell": model["cell"],
        "hidden_size": model["hidden_size"],
        "num_layers": model["num_layers"],
        "embedding_size": model["embedding_size"],
        "tie_weights": model["tied"],
        **{name: model[name] for name in optional},
    }
    free = {
        "dtype": model["dtype"],
        "vocab": checkpoint.vocabulary.mode,
        "zoneout": options.pop("zoneout"),
    }  # the weights are the same
    for name, value in options.items():
        if name in asked and asked[name] != value:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(
                f"the weights to start from have {flag} {shown(value)}, {shown(asked[name])} was asked for: leave {flag} out"
            )
    return TrainingConfig(**{**free, **asked, **options})


def stored_config(training):
    """Return the TrainingConfig that a checkpoint's training metadata holds."""
    options = training.get("config")
    if not isinstance(options, dict):
        raise ConfigError("the checkpoint holds no training options: start a new run from it by --init-from")
    return TrainingConfig.from_dict(options)


def stored_encoding(training):
    """Return the encoding of a checkpoint's text, UTF-8 where it does not say."""
    options = training.get("config")
    encoding = options.get("encoding") if isinstance(options, dict) else None
    return encoding if isinstance(encoding, str) else "utf-8"


def check_corpus(training, corpus):
    """Raise CorpusError unless `corpus` is the text of the run."""
    known = _corpus_record(training)
    # The bytes of a text have the fingerprint of its characters.
    if known["fingerprint"] != corpus.fingerprint or known["characters"] not in (0, corpus.characters):
        raise CorpusError(
            f"this is not the text the run was started on, or it has changed since: {_named(known['sources']) or 'an unnamed text'} had "
            f"{known['characters']:,} characters with fingerprint {known['fingerprint'][:12] or 'unknown'}, "
            f"{_named(corpus.sources)} has {corpus.characters:,} with {corpus.fingerprint[:12]}: "
            "bring the old text back, name the run that belongs to this one, or start a new run with --init-from"
        )


def _corpus_record(training):
    """Return what a checkpoint says of its text, each value of the type that it should have, and empty where it is not."""
    known = training.get("corpus")
    known = known if isinstance(known, dict) else {}
    kinds = {"fingerprint": str, "characters": int, "sources": list, "sources_from_run": list}
    record = {name: known[name] if type(known.get(name)) is kind else kind() for name, kind in kinds.items()}
    for name in ("sources", "sources_from_run"):
        record[name] = [text for text in record[name] if isinstance(text, str)]
    return record


def _named(texts, most=3):
    return ", ".join(short(text, 200) for text in texts[:most]) + (
        f" and {len(texts) - most:,} more" if len(texts) > most else ""
    )


def describe_texts(texts, folder):
    """Return how a checkpoint remembers its texts: as they were named, and as seen from the run folder."""
    described = {"sources": [str(text) for text in texts]}
    try:
        described["sources_from_run"] = ["-" if str(text) == "-" else os.path.relpath(text, folder) for text in texts]
    except ValueError:  # another drive
        pass
    return described


def find_texts(training, run):
    """Return the texts of a run, found again as they were named or from where the run folder stands.

    run : the run folder. Raises CorpusError where they are gone, were read from stdin, or are what is not opened because a
        checkpoint names it: `strange_sources_exist`. What they hold is to be shown to nobody before `check_corpus`.
    """
    known = _corpus_record(training)
    named = known["sources"]
    if not named:
        raise CorpusError("the checkpoint does not say which text it was trained on: name the TEXT")
    if "-" in named:
        raise CorpusError("the run read its text from stdin, which cannot be read again: name the TEXT")
    from_run = [os.path.normpath(os.path.join(run, text)) for text in known["sources_from_run"]]
    for texts in (from_run, named):
        texts = [os.path.expanduser(text) for text in texts]
        if texts and strange_sources_exist(texts):
            return texts
    raise CorpusError(f"the text of the run is gone: {_named(named)} does not exist; name the TEXT where it is now")


def _fit(config, splits):
    """Return the config with its batch and sequence, shrunk to the text where the user named none, and notes."""
    characters = splits.train[1] - splits.train[0]
    batch_size, seq_length = config.batch_size or BATCH_SIZE, config.seq_length or SEQ_LENGTH
    fixed = config.batch_size is not None or config.seq_length is not None
    notes = []
    if fixed and characters > 1 and batch_size * seq_length >= characters:
        # Of the two, only the one that was named is to be kept.
        if config.seq_length is None:
            seq_length = max(1, (characters - 1) // batch_size)
            notes.append(f"the text is short: seq_length is lowered to {seq_length}")
        elif config.batch_size is None:
            batch_size = max(1, (characters - 1) // seq_length)
            notes.append(f"the text is short: batch_size is lowered to {batch_size}")
    batch_size, seq_length, more = fit_streams(characters, batch_size, seq_length, fixed)
    return dataclasses.replace(config, batch_size=batch_size, seq_length=seq_length), (*notes, *more)


def memory_needed(
    model_config,
    batch_size,
    seq_length,
    precision="float32",
    dropping=False,
    optimizer="adam",
    averaging=False,
    dropping_weights=False,
):
    """Return the bytes that the arrays of a training step take, and the one that a checkpoint is written from."""
    # Arrays of zeros take no memory until they are written to.
    model = Model(model_config)
    workspace = Workspace(model, batch_size, seq_length, precision=precision)
    workspace.reserve(dropping, dropping_weights)
    return _array_bytes([workspace]) + model.flat.nbytes * (len(SLOTS[optimizer]) + averaging) + _saving_bytes(model)


def _saving_bytes(model):
    """Return the bytes of the largest array of a checkpoint: one at a time is unpacked as it is written."""
    return max(math.prod(shape) for shape in model.shapes().values()) * model.flat.itemsize


def check_memory(needed, available):
    """Raise ConfigError where `needed` bytes do not fit: a machine out of memory may kill any process it likes."""
    if available is not None and needed > available:
        raise ConfigError(
            f"training this needs {needed / 1e9:,.1f} GB of memory, {available / 1e9:,.1f} GB are free: lower "
            "--hidden-size, --num-layers, --batch-size or --seq-length"
        )


def available_memory():
    """Return the bytes of memory that can be had without pushing others out, or None where the system does not say."""
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _total_steps(config, steps_per_epoch):
    """Return the steps of a run, None where the clock says. Raises ConfigError where --epochs are too many."""
    if config.minutes is not None:
        return None
    if config.epochs is None:
        return config.steps
    steps, most = config.epochs * steps_per_epoch, LARGEST["steps"]
    if steps > most:
        raise ConfigError(
            f"--epochs must be at most {most / steps_per_epoch:,.0f} with this text, {most:,} steps in all, got {config.epochs:g}"
        )
    return max(1, round(steps))


def _shorten_split(config, split, total_steps):
    """Return the validation split, or as much of its beginning as may be validated on: a function of options and text alone, as an
    exact resume needs. Under --minutes it is the clock's, but not here."""
    if total_steps is None:
        return split
    steps = min(config.eval_every or total_steps, total_steps)
    most = LONGEST_VALIDATION / FORWARD_SHARE * steps * config.batch_size * config.seq_length
    start, stop = split
    return start, min(stop, start + max(SHORTEST_VALIDATION, int(most)))


def _shortened(validated, split, of_what):
    return (
        f"validating on the first {validated[1] - validated[0]:,} of {split[1] - split[0]:,} characters: a pass over all would take "
        f"more than {LONGEST_VALIDATION:.0%} of {of_what}"
    )


def _default_intervals(config, validated, total_steps):
    """Return the intervals, in steps, that the user did not name. Under --minutes they are the clock's, but not here:
    a function of options and text alone, as an exact resume needs."""
    intervals = {}
    if total_steps is None:
        return intervals
    if config.log_every is None:
        intervals["log_every"] = max(1, total_steps // LOG_RECORDS)
    if config.eval_every is None:
        val = validated[1] - validated[0]
        cost = (val + WARM_UP * count_streams(val)) * FORWARD_SHARE / EVALUATION_SHARE
        interval = max(1, math.ceil(cost / (config.batch_size * config.seq_length)))
        count = min(MOST_EVALUATIONS, max(1, total_steps // interval))
        intervals["eval_every"] = math.ceil(total_steps / count)
    return intervals


def _vocabulary_notes(new, old):
    mapping = new.mapping_from(old)
    added = [i for i in range(new.size) if mapping[i] < 0]
    kept = {int(i) for i in mapping if i >= 0}
    dropped = [i for i in range(old.size) if i not in kept]
    notes = []
    if added:
        notes.append(
            f"new to the weights, and untrained at first, {counted(len(added), 'character')}: {_listed(new, added)}"
        )
    if dropped:
        notes.append(
            f"known to the weights, but not in the text, and dropped, {counted(len(dropped), 'character')}: {_listed(old, dropped)}"
        )
    return tuple(notes)


def _listed(vocabulary, ids, most=40):
    text = " ".join(repr(vocabulary.decode(np.array([i], np.int32))) for i in ids[:most])
    return text + (f" and {len(ids) - most} more" if len(ids) > most else "")


# ---------------------------------------------------------------------------------------------------------- trainer


class Trainer:
    """A run in progress. `run` goes through it once; `stop` asks it to end after the step at hand, saved.

    texts   what the user named, remembered in the checkpoint so that it can be found again
    clock   seconds, monotonic
    """

    def __init__(self, plan, corpus, folder, texts=(), clock=time.perf_counter, samples=True):
        self.plan = plan
        self.config = plan.config
        self.corpus = corpus
        self.folder = folder
        self.texts = texts
        self.model = None
        self.step = 0
        self._clock = clock
        self._samples = samples
        self._stop = False
        self._step_pace = StepPace()

    def stop(self):
        """Ask the run to end: the step at hand is finished, `last` is saved, Finished says it can be resumed."""
        self._stop = True

    @property
    def stopping(self):
        return self._stop

    def run(self):
        """Yield the records of the run.

        Raises DivergenceError when the run diverges and is to stop then, or has gone back several times for nothing: the last
        good checkpoint stands.
        """
        for note in self.plan.notes:
            yield Notice(note)
        self._build()
        # Before the first step: from here on there is something to resume, with the options of this session.
        if self.plan.resume is None:
            self._save(is_anchor=True)
        elif self.config != stored_config(self.plan.resume.training):
            self._save()
        self.folder.write_config({"text": [str(text) for text in self.texts], **self.config.to_dict()})
        yield from self._prepare()
        self._started = self._last_save = self._clock()
        self._next_sample_s = self._elapsed() + 2
        while True:
            try:
                finished = yield from self._go_on()
                break
            except Diverged as diverged:
                yield self._go_back(diverged)
        if (
            finished
            and self._budget_s is not None
            and self.plan.resume
            and self.step == self.plan.resume.training["step"]
        ):
            yield Notice(
                f"no step was trained: of {counted(self.config.minutes, 'minute')} {self._elapsed_before_s / 60:.3g} were used "
                "before, and what is left goes to validation and saving; name a longer --minutes"
            )
        yield self._finish(finished)

    def _go_on(self):
        """Train until the run is finished (returns True), is asked to stop (False) or has diverged (raises Diverged)."""
        while True:
            is_best = is_anchor = False
            if self._evaluation_is_due():
                record, is_anchor = self._evaluate()
                if record is not None:
                    is_best = record.is_best
                    yield record
            elif self._anchor_is_due():
                is_anchor = self._stands_trial()
            finished = self._is_finished() and not self._evaluation_is_due()
            stopped = self._stop  # looked at once: a signal may come at any moment, and who stops has saved
            self._log(finished)
            if is_best or is_anchor or finished or stopped or self._save_is_due():
                record = self._save(is_best, is_anchor, finished)
                if record is not None:
                    yield record
            if finished or stopped:
                return finished
            if self._sample_is_due():
                with contextlib.suppress(
                    DivergenceError
                ):  # what cannot be drawn from is dealt with where the loss is looked at
                    yield self._sample()
            yield self._train_step()

    # ------------------------------------------------------------------------------------------------ start and end

    def _build(self):
        """Make the model, the optimiser and the streams, as new, from old weights, or as the checkpoint has them."""
        plan, config = self.plan, self.config
        self.vocabulary = self.corpus.vocabulary
        self.schedule = config.make_schedule()
        self._streams = Streams(self.corpus.ids, *plan.splits.train, config.batch_size, config.seq_length)
        self._val = tuple(plan.validated)
        self._best = None
        self._loss_sum, self._loss_count = 0.0, 0  # exponential average, its bias not yet corrected
        self._last = None  # log record of the last step
        self._gradient_step = None  # the step whose gradient the workspace holds
        self._clipped = [0, 0]  # steps since the last record: those that were clipped, and all
        self._logged_step = 0
        self._evaluated_step = 0
        self._val_loss_nats = None  # of this step
        self._elapsed_before_s = 0.0
        self._history, self._history_stride = [], 1
        self._started = None
        self._steps_here = 0  # made by this process, those that a return has undone among them
        self._recovery = Recovery()
        self._rate = [0.0, 0.0]  # characters and seconds, of the recent past
        self._saved_step = 0
        self._save_s = 0.0
        self._evaluation_s = 0.0
        self._next_evaluation_s = None
        self._next_log_s = self._next_anchor_s = 0.0

        if plan.resume is not None:
            self._restore(plan.resume)
        else:
            self.model = Model.initialise(plan.model_config, config.seed)
            if plan.initial is not None:
                self.model.set_parameters(map_parameters(self.model.get_parameters(), plan.initial, self.vocabulary))
            self.optimizer = self._make_optimizer(self.model)
            self._workspace = Workspace(self.model, config.batch_size, config.seq_length, precision=config.precision)
        self._dropout = Dropout(config.dropout, config.variational_dropout, config.seed, config.weight_dropout)
        self._val_workspace = split_workspace(self._result(), self._val_characters) if self._val_characters else None

    @_training_record_is_read
    def _restore(self, checkpoint):
        """Make everything as it was when the checkpoint was saved, log and anchor too."""
        training, config = checkpoint.training, self.config
        self.vocabulary = checkpoint.vocabulary
        self.model = Model(self.plan.model_config)
        self.optimizer = self._make_optimizer(self.model)
        self._workspace = Workspace(self.model, config.batch_size, config.seq_length, precision=config.precision)
        self._set_state(checkpoint)
        for arrays in (checkpoint.parameters, checkpoint.optimizer, checkpoint.carry):
            arrays.clear()  # the model has them now; the checkpoint itself stays with the plan for as long as the run
        self._recovery = Recovery.from_dict(training.get("divergence"))
        self._elapsed_before_s = training["elapsed_s"]
        self._next_log_s = self._elapsed_before_s
        self._saved_step = self.step
        self.folder.trim_log(self._logged_step, self._recovery.returns)
        if not self._anchor_stands():
            self._recovery.anchored(self.step)
            self.folder.keep_last_as_good()

    def _anchor_stands(self):
        """Say whether `good` is what the record of `last` says. If not, the run was killed when `last` was to become `good`, is
        of an older charrnn, or has lost the file: `last` is the anchor then."""
        try:
            good = self._load_good()
            config = stored_config(good.training)
        except (CheckpointError, ConfigError):
            return False
        of_this_run = all(
            getattr(config, name) == getattr(self.config, name)
            for name in NAMES
            if name not in (*FREE_OPTIONS, *LENGTHS)
        )
        return (
            of_this_run
            and good.model == self.plan.model_config.to_dict()
            and good.training.get("step") == self._recovery.anchor_step
            and _corpus_record(good.training)["fingerprint"] == self.corpus.fingerprint
        )

    @_training_record_is_read
    def _set_state(self, checkpoint):
        """Set what a step of training changes, as the checkpoint has it."""
        training, config = checkpoint.training, self.config
        self._result().set_parameters(checkpoint.parameters)
        slots, places = {}, self._slots()
        for name, array in checkpoint.optimizer.items():
            slot, _, parameter = name.partition("/")
            slots.setdefault(slot, {})[parameter] = array
        if set(slots) != set(places):
            raise ConfigError(
                f"the checkpoint's optimiser state has {', '.join(sorted(slots)) or 'nothing'}, {config.optimizer} needs "
                f"{', '.join(sorted(places)) or 'nothing'}: start a new run from it by --init-from"
            )
        for slot, arrays in slots.items():
            places[slot][...] = self.model.pack(arrays)
        self.optimizer.steps = training["optimizer_steps"]
        self._workspace.set_carry(checkpoint.carry)
        self._streams.seek(training["cursor"])
        self.step = training["step"]
        self._best = training["best"]
        self._loss_sum, self._loss_count = training["smoothing"]
        self._last = training["last"]
        clipped, steps = training.get("clipped", (0, 0))
        self._clipped = [int(clipped), int(steps)]
        self._gradient_step = None
        self._logged_step = training["logged_step"]
        self._evaluated_step = training["evaluated_step"]
        self._val_loss_nats = None
        self._history, self._history_stride = list(training["history"]), training["history_stride"]
        self._recovery.skipped = Recovery.from_dict(training.get("divergence")).skipped

    def _make_optimizer(self, model):
        config, hyperparameters = self.config, {}
        if config.optimizer in MOMENTUM_OPTIMIZERS:
            hyperparameters["momentum"] = config.momentum
        if config.optimizer in WEIGHT_DECAYS:
            hyperparameters["weight_decay"] = config.weight_decay
        return Optimizer(config.optimizer, model, ema=config.ema, **hyperparameters)

    def _result(self):
        """Return the Model that the run is for: the one that is trained, or the average of its weights."""
        return self.optimizer.average or self.model

    def _slots(self):
        """Return {slot: flat array} of what a checkpoint keeps beside the result's parameters."""
        averaging = self.optimizer.average is not None
        return {**self.optimizer.state, **({UNAVERAGED: self.model.flat} if averaging else {})}

    def _prepare(self):
        """Compile or load every kernel and measure the speed, before the clock starts and without a trace."""
        config = self.config
        rng = np.random.default_rng(0)
        carry = self._workspace.get_carry()

        def chunk(workspace):
            return rng.integers(
                0, self.vocabulary.size, (2, workspace.seq_length, workspace.batch_size), dtype=np.int32
            )

        # The optimiser on a model of one unit: a step on the real one could not be taken back.
        tiny = Model(
            dataclasses.replace(
                self.plan.model_config, vocab_size=2, hidden_size=1, num_layers=1, embedding_size=0, tied=False
            )
        )
        tiny_workspace = Workspace(tiny, 1, 1, precision=config.precision)
        tiny_workspace.loss_and_grads(*np.zeros((2, 1, 1), np.int32))
        self._make_optimizer(tiny).step(tiny_workspace, 0.0, config.clip_norm, config.clip_value)

        self._workspace.loss_and_grads(*chunk(self._workspace), self._dropout, self.step)
        self._step_s = self._measure(
            lambda: self._workspace.loss_and_grads(*chunk(self._workspace), self._dropout, self.step)
        )
        self._workspace.set_carry(carry)

        if self._val_workspace is not None:
            self._val_workspace.losses(*chunk(self._val_workspace))
            chunk_s = self._measure(lambda: self._val_workspace.losses(*chunk(self._val_workspace)))
            per_stream = self._val_characters / self._val_workspace.batch_size + WARM_UP
            self._evaluation_s = chunk_s * per_stream / self._val_workspace.seq_length
        if self._samples:
            with contextlib.suppress(DivergenceError):
                self._make_sample(1)
        if config.minutes is not None and self.plan.resume is None:
            yield from self._shorten_validation()
        self._budget_s = None if config.minutes is None else config.minutes * 60
        self._set_reserve()

        if self._budget_s is None:
            left = self.plan.total_steps - self.step
            duration_s = left * self._step_s
            if config.eval_every:
                duration_s += (left // config.eval_every + 1) * self._evaluation_s
        else:
            duration_s = max(0.0, self._budget_s - self._elapsed_before_s)
        train, val, test = (b - a for a, b in (self.plan.splits.train, self.plan.splits.val, self.plan.splits.test))
        yield Preflight(
            self.corpus.characters,
            self.vocabulary.size,
            train,
            val,
            test,
            self.model.num_parameters,
            self._memory(),
            num_threads(),
            config.batch_size,
            config.seq_length,
            self.plan.steps_per_epoch,
            self.step,
            self.plan.total_steps,
            self._step_s,
            duration_s,
            self.folder.path,
        )

    def _measure(self, function, budget_s=0.3):
        """Return the shortest time of a few calls."""
        shortest, begun = math.inf, self._clock()
        for _ in range(5):
            start = self._clock()
            function()
            shortest = min(shortest, self._clock() - start)
            if self._clock() - begun > budget_s:
                break
        return shortest

    def _memory(self):
        """Return the bytes of the arrays that training holds, a save included."""
        owners = [self.model, self._workspace, self.optimizer]
        if self._val_workspace is not None:
            owners.append(self._val_workspace)
        return _array_bytes(owners) + _saving_bytes(self.model)

    def _finish(self, finished):
        """Say how it ended; where it is done, with the loss of the best checkpoint on the test split."""
        test = None
        if finished and not self._stop:
            model = self._result()
            if self._best is not None and self._best["step"] != self.step:
                model = None  # the best checkpoint's
            test = evaluate_test(self.folder, self.corpus, self.plan.splits, self._val, model, lambda: self._stop)
        best = self._best or {}
        return Finished(
            self.step,
            self._epoch(),
            self._elapsed(),
            not finished,
            self._smoothed(),
            best.get("val_loss_nats"),
            best.get("step"),
            self._val_characters,
            self._val == tuple(self.plan.splits.val),
            test,
            self.folder.path,
            self.folder.best if best else self.folder.last,
        )

    # ------------------------------------------------------------------------------------------------------ one step

    def _train_step(self):
        """Make a step; return its Step, or the Notice that it was left out."""
        threads = num_threads()
        set_num_threads(self._step_pace.count_workers(threads))
        begun = time.perf_counter()
        try:
            return self._make_step()
        finally:
            self._step_pace.record(time.perf_counter() - begun)
            set_num_threads(threads)

    def _make_step(self):
        config, step = self.config, self.step
        begun = self._clock()
        epoch = self._streams.epoch
        characters, loss = self._next_chunk()
        if EXPLODED_NATS <= loss < math.inf:
            raise Diverged("the training loss", loss, step + 1)
        learning_rate = (
            self.schedule.learning_rate(progress=self._progress(), step=step, epoch=epoch) * self._recovery.factor
        )
        norm = None
        if math.isfinite(loss):  # where the norm is not, the optimiser changes nothing
            norm = float(self.optimizer.step(self._workspace, learning_rate, config.clip_norm, config.clip_value))
        skipped = norm is None or not math.isfinite(norm)
        if skipped:
            bad = ("the training loss", loss) if norm is None else ("the gradient's norm", norm)
            self._leave_out(Diverged(*bad, step + 1))
        else:
            self._recovery.in_a_row = 0
            self._gradient_step = step + 1
            self._clipped = [self._clipped[0] + self.optimizer.clipped, self._clipped[1] + 1]
            self._loss_sum = SMOOTHING * self._loss_sum + (1 - SMOOTHING) * loss
            self._loss_count += 1
        self.step += 1
        self._steps_here += 1
        self._val_loss_nats = None
        now = self._clock()
        step_s = now - begun
        fade = math.exp(-step_s / 3)  # speed over the last seconds, validation and saving left out
        self._rate = [self._rate[0] * fade + characters, self._rate[1] * fade + step_s]
        self._step_s = self._rate[1] / self._rate[0] * characters if self._rate[1] > 0 else step_s
        self._last = {
            "step": self.step,
            "epoch": round(self._epoch(), 4),
            "train_loss_nats": loss if math.isfinite(loss) else None,
            "smoothed_loss_nats": self._smoothed(),
            "grad_norm": None if skipped else norm,
            "learning_rate": learning_rate,
            "chars_per_s": round(self._rate[0] / max(self._rate[1], 1e-9), 1),
            "elapsed_s": round(self._elapsed(), 3),
        }
        if skipped:
            self._last["skipped"] = True
            return Notice(f"{Diverged(*bad, self.step)}: the step is left out")
        return Step(
            self.step,
            self.plan.total_steps,
            self._epoch(),
            loss,
            self._last["smoothed_loss_nats"],
            norm,
            learning_rate,
            self._last["chars_per_s"],
            self._elapsed(),
            self._share_done(),
            self._remaining(),
        )

    def _next_chunk(self):
        """Run the next chunk forward and back; return its number of characters and its loss."""
        if self._streams.at_epoch_start:
            self._workspace.reset_carry()
        x, y = self._streams.next_chunk()
        return x.size, float(self._workspace.loss_and_grads(x, y, self._dropout, self.step))

    # ------------------------------------------------------------------------------------------------------ divergence

    def _leave_out(self, diverged):
        """Leave the step at hand out, unless it is one too many in a row: then raise `diverged`.

        Parameters and optimiser have not been touched. The carry becomes zero, as at an epoch's start: one that is not finite would
        spoil all that follows, and the one from before the chunk is of another place in the text.
        """
        recovery = self._recovery
        recovery.in_a_row += 1
        recovery.skipped += 1
        if recovery.in_a_row >= MOST_SKIPPED or self.config.on_divergence == "stop":
            raise diverged
        self._workspace.reset_carry()

    def _go_back(self, diverged):
        """Go back to the anchor at half the learning rate; return the Notice. DivergenceError where that is not to be, or did not help.

        `last` is saved before the log is cut: killed in between, the resumed run cuts it.
        """
        recovery = self._recovery
        if self.config.on_divergence == "stop":
            raise self._end(f"{diverged}, and training stopped", "; --on-divergence recover goes back by itself")
        if recovery.futile >= MOST_RETURNS:
            rates = ", ".join(f"{rate:.3g}" for rate in recovery.rates_tried(self.schedule.peak))
            raise self._end(
                f"{diverged}, and training stopped, since going back to step {recovery.anchor_step:,} again and again "
                f"did not help: the learning rates tried are {rates}"
            )
        self._set_state(self._load_good())
        recovery.went_back(diverged)
        self._save()
        self.folder.trim_log(self._logged_step, recovery.returns)
        return Notice(
            f"{diverged}: gone back to step {self.step:,} at half the learning rate, {self._peak():.3g} at most",
            important=True,
        )

    @_training_record_is_read
    def _load_good(self):
        good = load_checkpoint(self.folder.good)
        _check_record(good.training, self.corpus.characters)
        return good

    def _end(self, what, other=""):
        clip_norm = self.config.clip_norm
        remedy = f"--learning-rate below {self._peak():.3g}"
        remedy += f" or --clip-norm below {clip_norm:g}" if clip_norm else " or a --clip-norm such as 5"
        return DivergenceError(
            f"{what}: start again with {remedy}{other}; the checkpoint of step {self._saved_step:,} stands in "
            f"{self.folder.path}"
        )

    def _peak(self):
        return self.schedule.peak * self._recovery.factor

    def _anchor_is_due(self):
        """Say whether this step is an anchor, of those that are made where validations come late or not at all."""
        if self.step in (0, self._recovery.anchor_step):
            return False
        every = self.config.eval_every
        if self._budget_s is not None:
            by_validations = self._val_workspace is not None and every is None
            return not by_validations and (self._elapsed() >= self._next_anchor_s or self._is_finished())
        if self._val_workspace is not None and 0 < every < self.plan.total_steps:
            return False
        interval = max(LEAST_ANCHOR_STEPS, math.ceil(self.plan.total_steps / MOST_ANCHORS))
        return self.step % interval == 0 or self._is_finished()

    def _stands_trial(self):
        """Say whether the state is one to go back to, where no validation has tried the weights as they are; raise Diverged where it is lost."""
        self._check_state()
        if self._budget_s is not None:
            self._next_anchor_s = self._elapsed() + self._budget_s / MOST_ANCHORS
        loss = self._try_next_chunk()
        if math.isfinite(loss) and not self._is_sound(loss):
            raise Diverged("the training loss", loss, self.step)
        return not self._recovery.in_a_row and math.isfinite(loss) and bool(np.isfinite(self._workspace.grads).all())

    def _try_next_chunk(self):
        """Return the loss of the next chunk and leave no trace but a gradient, in the place of the last step's."""
        self._add_gradient_norms()
        cursor, carry = self._streams.cursor(), self._workspace.get_carry()
        _, loss = self._next_chunk()
        self._streams.seek(cursor)
        self._workspace.set_carry(carry)
        return loss

    def _is_sound(self, loss):
        return loss < math.log(self.vocabulary.size) + SOUND_NATS

    def _check_state(self):
        """Raise Diverged where a number that would be saved is not finite. At anchors only: elsewhere the clock decides who looks."""
        if not self._state_is_finite():
            raise Diverged("a parameter or the optimiser's state", math.nan, self.step)

    def _state_is_finite(self):
        arrays = (self._result().flat, *self._slots().values(), *self._workspace.get_carry().values())
        return all(np.isfinite(array).all() for array in arrays)

    def _smoothed(self):
        """Exponential average of the training loss, corrected for its start at zero (as Adam's moments are)."""
        return self._loss_sum / (1 - SMOOTHING**self._loss_count) if self._loss_count else None

    # --------------------------------------------------------------------------------------------- time and progress

    def _elapsed(self):
        """Seconds of training, all of it but the preparation, earlier sessions included."""
        return self._elapsed_before_s + (self._clock() - self._started if self._started is not None else 0.0)

    def _epoch(self):
        return self.step / self.plan.steps_per_epoch

    def _progress(self):
        """Share of the run at the middle of the next step, for the schedule."""
        if self._budget_s is None:
            return (self.step + 0.5) / self.plan.total_steps
        return min(1.0, (self._elapsed() + self._step_s / 2) / self._end_s)

    def _set_reserve(self):
        """Under --minutes: set when the last step must be done, so that the final validation, test and save fit in."""
        if self._budget_s is None:
            return
        test = min(self.plan.splits.test[1] - self.plan.splits.test[0], self._val_characters)
        passes = 1 + test / self._val_characters if self._val_characters else 0
        reserve = 1.1 * passes * self._evaluation_s + 2 * self._save_s
        self._end_s = max(self._budget_s - reserve, self._budget_s / 2)

    def _is_finished(self):
        if self._budget_s is None:
            return self.step >= self.plan.total_steps
        return self.step > 0 and self._elapsed() + self._step_s / 2 >= self._end_s

    def _share_done(self):
        if self._budget_s is None:
            return self.step / self.plan.total_steps
        return min(1.0, self._elapsed() / self._budget_s)

    def _remaining(self):
        if self._budget_s is not None:
            return max(0.0, self._budget_s - self._elapsed())
        return (self._clock() - self._started) / self._steps_here * (self.plan.total_steps - self.step)

    # ---------------------------------------------------------------------------------------------------- validation

    @property
    def _val_characters(self):
        return self._val[1] - self._val[0]

    def _shorten_validation(self):
        """Under --minutes: see that one pass over the validation split is a small part of the time."""
        longest_s = LONGEST_VALIDATION * self.config.minutes * 60
        if self._evaluation_s <= longest_s:
            return
        characters = max(1, int(self._val_characters * longest_s / self._evaluation_s))
        self._evaluation_s = longest_s
        self._val = (self._val[0], self._val[0] + characters)
        self._val_workspace = split_workspace(self._result(), characters)
        yield Notice(_shortened(self._val, self.plan.splits.val, counted(self.config.minutes, "minute")))

    def _evaluation_is_due(self):
        if self._val_workspace is None or self.step == 0 or self._evaluated_step == self.step:
            return False
        if self._is_finished():
            return True
        if self.config.eval_every is not None:
            return self.config.eval_every > 0 and self.step % self.config.eval_every == 0
        if self._next_evaluation_s is None:
            self._next_evaluation_s = self._elapsed() + self._evaluation_interval()
        # One that the final validation is soon to follow is left out.
        soon = self._elapsed() + self._evaluation_interval() / 2 > self._end_s
        return self._elapsed() >= self._next_evaluation_s and not soon

    def _evaluation_interval(self):
        """Seconds between two validations under --minutes."""
        return max(self._budget_s / MOST_EVALUATIONS, (self._evaluation_s + self._save_s) / EVALUATION_SHARE)

    def _evaluate(self):
        """Validate; return its Evaluated and whether the state is an anchor.

        None and False when asked to stop meanwhile: the resumed run then makes up for it. What is no anchor is not the best either:
        a run that goes back would leave the file of a best that it has not had.
        """
        self._check_state()
        begun = self._clock()
        evaluation = evaluate_split(
            self._result(), self.corpus.ids, *self._val, self._val_workspace, lambda: self._stop
        )
        if evaluation is None:
            return None, False
        # A validation split unlike the training split may cost any number of nats and mean nothing.
        loss = evaluation.loss_nats
        if not loss < EXPLODED_NATS or not self._is_sound(loss) and not self._is_sound(self._try_next_chunk()):
            raise Diverged("the validation loss", evaluation.loss_nats, self.step)
        self._evaluated_step = self.step
        self._val_loss_nats = evaluation.loss_nats
        self._last["val_loss_nats"] = evaluation.loss_nats
        self._last["singular_values"] = [_five_digits(value) for value in largest_singular_values(self.model)]
        # An average can be sound for a while after the weights that it follows are lost.
        is_anchor = not self._recovery.in_a_row if self.optimizer.average is None else self._stands_trial()
        is_best = is_anchor and (self._best is None or evaluation.loss_nats < self._best["val_loss_nats"])
        if is_best:
            self._best = {"val_loss_nats": evaluation.loss_nats, "step": self.step, "epoch": round(self._epoch(), 4)}
        self._evaluation_s = self._clock() - begun
        self._set_reserve()
        if self._budget_s is not None:
            self._next_evaluation_s = self._elapsed() + self._evaluation_interval()
        return Evaluated(self.step, self._epoch(), evaluation, is_best, self._evaluation_s), is_anchor

    # ---------------------------------------------------------------------------------------- log, checkpoint, sample

    def _log(self, finished):
        """Log the last step where that is due: at the interval, where it was validated, and at the end."""
        if self._last is None or self._logged_step >= self.step or self._evaluation_is_due():
            return
        due = finished or self._val_loss_nats is not None or "skipped" in self._last
        if self.config.log_every is not None:
            due = due or self.step % self.config.log_every == 0
        elif self._elapsed() >= self._next_log_s:
            due, self._next_log_s = True, self._elapsed() + self._budget_s / LOG_RECORDS
        if not due:
            return
        self._add_gradient_norms()
        clipped, steps = self._clipped
        self._last["clipped_share"] = _five_digits(clipped / steps) if steps else None
        self._clipped = [0, 0]
        self.folder.log(self._last)
        self._logged_step = self.step
        self._remember(self._last)

    def _add_gradient_norms(self):
        """Add the last gradient's norm by layer to the record of its step, while the workspace still holds it."""
        if self._gradient_step == self.step:
            self._last["grad_norms"] = {
                part: _five_digits(norm) for part, norm in norms_by_layer(self.model, self._workspace.grads).items()
            }
            self._gradient_step = None

    def _remember(self, record):
        """Keep the record in the history: every validation, and of the others as many as there is room for."""
        if "val_loss_nats" in record or "skipped" not in record and self._loss_count % self._history_stride == 0:
            kept = ("step", "epoch", "train_loss_nats", "val_loss_nats", "learning_rate", "grad_norm")
            entry = {key: record[key] for key in kept if record.get(key) is not None}
            if record["smoothed_loss_nats"] is not None:
                entry["train_loss_nats"] = record["smoothed_loss_nats"]
            self._history.append(entry)
        while len(self._history) > HISTORY_RECORDS:
            self._history_stride *= 2
            plain = [entry for entry in self._history if "val_loss_nats" not in entry]
            # Validations alone fill it when there are very many of them: then they are thinned like the rest.
            thinned = plain if plain else self._history
            gone = {entry["step"] for entry in thinned[::2]}
            self._history = [entry for entry in self._history if entry["step"] not in gone]

    def _save_is_due(self):
        if self.step == self._saved_step:
            return False
        if self.config.checkpoint_every:
            if self.step % self.config.checkpoint_every == 0:
                return True
        return self._clock() - self._last_save >= max(SAVE_SECONDS, 20 * self._save_s)

    def _save(self, is_best=False, is_anchor=False, finished=False):
        """Save `last`, `best` when this is it, and `good` at an anchor.

        None, and nothing saved, where a number is not finite: `last` stands, and the next anchor tells what comes of it.
        """
        begun = self._clock()
        self._add_gradient_norms()  # a resumed run may log this step, and has its gradient no more
        if not self._state_is_finite():
            return None
        if is_anchor:
            self._recovery.anchored(self.step)
        splits = {name: list(getattr(self.plan.splits, name)) for name in ("train", "val", "test")}
        checkpoint = Checkpoint(
            model=self.plan.model_config.to_dict(),
            vocabulary=self.vocabulary,
            parameters=self.model.view(self._result().flat),
            optimizer=_Slots({slot: self.model.view(flat) for slot, flat in self._slots().items()}),
            carry=self._workspace.get_carry(),
            training={
                "charrnn_version": charrnn.__version__,
                "config": self.config.to_dict(),
                "corpus": {
                    **describe_texts(self.texts, self.folder.path),
                    "characters": int(self.corpus.characters),
                    "fingerprint": self.corpus.fingerprint,
                    "splits": splits,
                },
                "step": self.step,
                "optimizer_steps": int(self.optimizer.steps),
                "epoch": round(self._epoch(), 4),
                "cursor": self._streams.cursor(),
                "best": self._best,
                "smoothing": [self._loss_sum, self._loss_count],
                "last": self._last,
                "clipped": self._clipped,
                "logged_step": self._logged_step,
                "evaluated_step": self._evaluated_step,
                "validated": list(self._val),
                "elapsed_s": round(self._elapsed(), 3),
                "finished": finished,
                "divergence": self._recovery.to_dict(),
                "history": self._history,
                "history_stride": self._history_stride,
            },
        )
        self.folder.save(checkpoint, best=is_best)
        if finished:
            self.folder.remove_good()
        elif is_anchor:
            self.folder.keep_last_as_good()
        self._saved_step = self.step
        self._last_save = self._clock()
        self._save_s = self._last_save - begun
        return Saved(self.step, self.folder.best if is_best else self.folder.last, is_best)

    def _sample_is_due(self):
        if not self._samples or self.step == 0 or self.config.sample_every == 0:
            return False
        if self.config.sample_every:
            return self.step % self.config.sample_every == 0
        # Often while much changes, later less.
        if self._elapsed() < self._next_sample_s:
            return False
        self._next_sample_s = self._elapsed() + min(max(8.0, 0.9 * self._elapsed()), 600.0)
        return True

    def _sample(self):
        return Sampled(self.step, self._make_sample(self.config.sample_length))

    def _make_sample(self, length):
        """Draw a text from the model as it is, in a workspace of its own: no state of the training is touched."""
        sampler = Sampler(self._result(), Settings(temperature=SAMPLE_TEMPERATURE), seed=self.config.seed + self.step)
        try:
            sampler.prime(self.vocabulary.encode("\n"))
        except VocabularyError:
            sampler.prime(())
        decoder, text = self.vocabulary.decoder(), []
        for block in sampler.generate(length):
            text += [decoder.feed(int(i)) for i in block.ids[0]]
        return "".join(text) + decoder.flush()


def evaluate_test(folder, corpus, splits, validated, model=None, interrupted=None):
    """Return the Evaluation of a run on its test split, or None where there is none or `interrupted()` became true.

    validated : (start, stop) that the run validates on; shortened for want of time, it shortens the test too
    model : the Model of the best checkpoint (without validations, of the last one), or None to load it
    """
    start, stop = splits.test
    if stop - start < 1:
        return None
    if model is None:
        checkpoint = load_checkpoint(folder.best if folder.best.exists() else folder.last)
        model = Model.from_checkpoint(checkpoint)
    if tuple(validated) != tuple(splits.val):
        stop = min(stop, start + validated[1] - validated[0])
    return evaluate_split(model, corpus.ids, start, stop, interrupted=interrupted)


def map_parameters(fresh, checkpoint, vocabulary):
    """Return the parameters of a model for `vocabulary` that knows what the checkpoint's knows.

    fresh : {name: array} of the new model as initialised, with rows for every character of `vocabulary`

    Rows that stand for a character (of the embedding, the output and its bias; columns of a one-hot input) are taken
    from the same character's of the old vocabulary, fresh where it had none; everything else is the old model's.
    """
    old_of_new = np.asarray(vocabulary.mapping_from(checkpoint.vocabulary))
    known = np.flatnonzero(old_of_new >= 0)
    one_hot = "embedding.weight" not in fresh
    mapped = {}
    for name, array in fresh.items():
        old = checkpoint.parameters[name].astype(array.dtype)
        if name in ("embedding.weight", "output.weight", "output.bias"):
            array = array.copy()
            array[known] = old[old_of_new[known]]
        elif name == "rnn.weight_ih_l0" and one_hot:
            array = array.copy()
            array[:, known] = old[:, old_of_new[known]]
        else:
            array = old
        mapped[name] = array
    return mapped


class _Slots(Mapping):
    """An optimiser's state as {"slot/name": array}, over a mapping for each slot."""

    def __init__(self, slots):
        self._slots = slots

    def __getitem__(self, key):
        slot, _, name = key.partition("/")
        return self._slots[slot][name]

    def __iter__(self):
        return (f"{slot}/{name}" for slot, arrays in self._slots.items() for name in arrays)

    def __len__(self):
        return sum(map(len, self._slots.values()))


def _five_digits(value):
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _array_bytes(owners):
    """Return the bytes of all arrays that hang on objects, each counted once."""
    seen, total, todo = set(), 0, list(owners)
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            if thing.base is not None and isinstance(thing.base, np.ndarray):
                todo.append(thing.base)
            else:
                total += thing.nbytes
        elif isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            todo.extend(thing)
        elif type(thing).__module__.startswith("charrnn.") and hasattr(thing, "__dict__"):
            todo.extend(vars(thing).values())
    return total
