"""Read the training record of a checkpoint, and check it field by field before a run is resumed.

A record may be damaged, or come from a stranger. It is checked only here, with a separate message for each fault; all
other code trusts it, so that an exception there is a bug in charrnn. This module knows records and options; no text,
model or file.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.errors import CheckpointError, ConfigError
from charrnn.runs.checkpoint import is_count, is_figure
from charrnn.spec import OPTIONAL_KEYS, PRECISIONS
from charrnn.text.decoding import stored_encoding_of_bytes
from charrnn.text.item_kinds import WITH_FIELDS, ItemsReading, kind_by_ending
from charrnn.training.options import TrainingConfig
from charrnn.training.recovery import MAX_RETURNS
from charrnn.training.resuming import resume_config
from charrnn.training.settings import option, short, shown
from charrnn.training.spelling import spelt_in_file

# What is left to do with a checkpoint that no run can go on from.
START_ANEW = "start a new run from its weights with 'charrnn train TEXT --init-from RUN'"

# What a run by steps, or of any length, writes resolved: `TrainingConfig.resolved`, `plan_run`.
RESOLVED = ("batch_size", "seq_length", "learning_rate", "weight_decay", "warmup", "dropout", "precision")
RESOLVED_BY_STEPS = ("eval_every", "log_every")

_FIGURES_OF_LAST = ("epoch", "learning_rate", "chars_per_s", "elapsed_s")
_FIGURES_OF_LOSS = ("train_loss_nats", "smoothed_loss_nats", "grad_norm")  # may be None where the step was left out


def stored_config(training):
    """Return the TrainingConfig in the training record of a checkpoint.

    Raises ConfigError if there is none, or a value is not allowed.
    """
    options = training.get("config")
    if not isinstance(options, dict):
        raise ConfigError(f"the checkpoint has no training options: {START_ANEW}")
    try:
        return TrainingConfig.from_dict(options)
    except ConfigError as error:
        raise ConfigError(f"the checkpoint's options: {spelt_in_file(str(error))}", error.options) from None


def stored_encoding(training):
    """Return the encoding of the text of a run; "utf-8" if the record does not contain it."""
    options = training.get("config")
    encoding = options.get("encoding") if isinstance(options, dict) else None
    return encoding if isinstance(encoding, str) else "utf-8"


def shown_encoding(training):
    """Return the encoding in which the text of a byte model is shown: that of its run, by the name Python uses."""
    return stored_encoding_of_bytes(stored_encoding(training))


def stored_parting(training):
    """Return whether newlines were inserted between files (--part-files); False if the record does not contain it."""
    options = training.get("config")
    return isinstance(options, dict) and options.get("part_files") is True


def stored_precision(training):
    """Return the precision of a run, one of PRECISIONS; None if the record does not contain it."""
    options = training.get("config")
    precision = options.get("precision") if isinstance(options, dict) else None
    return precision if precision in PRECISIONS else None


def stored_validation_loss(training):
    """Return the validation loss at the step of a checkpoint, in nats; None if the record does not contain it."""
    history = training.get("history")
    for record in (training.get("best"), history[-1] if isinstance(history, list) and history else None):
        if isinstance(record, dict) and record.get("step") == training.get("step"):
            loss_nats = record.get("val_loss_nats")
            if isinstance(loss_nats, float) and math.isfinite(loss_nats):
                return loss_nats
    return None


def stored_items(training, text=None):
    """Return the ItemsReading of a run: how its text is divided into items; None for a run on one long text.

    text    name of another text to be read, or None. If the text of the run consists of records (csv, tsv or jsonl) and
            the other file has no such extension, it is read line by line
    """
    options = training.get("config")
    if not isinstance(options, dict) or options.get("items") is None:
        return None
    reading = stored_config(training).items_reading
    if reading is None or text is None or reading.kind not in WITH_FIELDS:
        return reading
    if reading.task is not None:  # which needs its fields
        return dataclasses.replace(reading, kind=kind_by_ending(str(text)) or reading.kind)
    kind = kind_by_ending(str(text)) or "lines"
    return ItemsReading(kind, reading.text_field if kind in WITH_FIELDS else None, reading.split)


def resumed_config(training, asked):
    """Return the TrainingConfig of a run that is resumed: that of the run, with the changes that are allowed.

    Parameters
    ----------
    training : dict
        The training record of a checkpoint.
    asked : dict
        {option name: value}, the options given for resuming.

    Raises
    ------
    ConfigError
        An option contradicts the run.
    CheckpointError
        An option that every run decides has no value in the record.
    """
    config = stored_config(training)
    if config.length_kind is None and not config.is_endless:
        raise _damaged("its options give no length")
    for name in RESOLVED + (() if config.minutes is not None else RESOLVED_BY_STEPS):
        if getattr(config, name) is None:
            raise _damaged(f"its options have no value for {option(name)}")
    return resume_config(config, asked)


def check_agreement(config, checkpoint):
    """Raise CheckpointError if the options in a checkpoint do not describe the model that it contains."""
    model = {("tie_weights" if name == "tied" else name): value for name, value in checkpoint.model.items()}
    optional = {name: key.default for name, key in OPTIONAL_KEYS.items()}
    vocabulary = checkpoint.vocabulary
    if (config.items is None) != (vocabulary.start_id is None):
        raise CheckpointError(
            f"the checkpoint contradicts itself: its options say --items {shown(config.items)}, but its vocabulary has "
            f"{'START' if vocabulary.special else 'no START'}; {START_ANEW}"
        )
    has_labels = config.label_field is not None or config.label_from is not None
    if has_labels != bool(vocabulary.labels):
        raise CheckpointError(
            f"the checkpoint contradicts itself: its options name {'labels' if has_labels else 'no label'}, but its "
            f"vocabulary has {len(vocabulary.labels) or 'none'}; {START_ANEW}"
        )
    text = {"vocab": vocabulary.mode, **vars(vocabulary.rewriting)}
    for name, value in {**optional, **model, **text}.items():
        said = getattr(config, name)
        if said != value:
            raise CheckpointError(
                f"the checkpoint contradicts itself: its options say {option(name)} {shown(said)}, but its model has "
                f"{shown(value)}; {START_ANEW}"
            )


def check_record(training, characters):
    """Raise CheckpointError if a value in a training record is not what a run would write.

    The options are checked by `resumed_config`, the cursor by `Streams.seek`.

    Parameters
    ----------
    training : dict
        The training record of a checkpoint.
    characters : int
        Number of characters of the text.
    """
    for name, field in _FIELDS.items():
        _check(name, field, training)
    start, stop = training["validated"]
    if stop > characters:
        raise _damaged(f"validated must be within the {characters:,} characters of the text, got {[start, stop]}")
    if training["last"] is None and training["step"] > 0:
        raise _damaged(f"last must be the record of step {training['step']:,}, got None")
    waiting = training.get("waiting")
    if waiting is not None:  # runs that wait for nothing have none
        for name, field in _WAITING_FIELDS.items():
            _check(name, field, waiting, "waiting.")
        if len(waiting) > len(_WAITING_FIELDS):
            raise _damaged(f"waiting must have {', '.join(_WAITING_FIELDS)} alone, got {short(repr(waiting))}")
    divergence = training.get("divergence")
    if divergence is not None:  # runs of before it was recorded have none
        for name, field in _DIVERGENCE_FIELDS.items():
            _check(name, field, divergence, "divergence.")


@dataclass(frozen=True)
class _Field:
    """What stands in a field: `rule` completes "it must be ...", `holds` tells whether a value does."""

    rule: str
    holds: Callable
    is_optional: bool = False


def _check(name, field, record, prefix=""):
    if name not in record:
        if field.is_optional:
            return
        raise _damaged(f"{prefix}{name} is missing")
    if not field.holds(record[name]):
        raise _damaged(f"{prefix}{name} must be {field.rule}, got {short(repr(record[name]))}")


def _damaged(fault):
    return CheckpointError(
        f"the checkpoint's record of its training is incomplete or damaged ({fault}), so it cannot be resumed; "
        f"{START_ANEW}"
    )


def _is_record(value, figures=(), absent=()):
    """Say whether a value is a dict with a step and these figures, of which those in `absent` may be None."""
    return (
        isinstance(value, dict)
        and is_count(value.get("step"))
        and all(is_figure(value.get(name)) or name in absent and value.get(name) is None for name in figures)
    )


def _is_last(value):
    skipped = isinstance(value, dict) and value.get("skipped") is True
    return _is_record(value, _FIGURES_OF_LAST + _FIGURES_OF_LOSS, _FIGURES_OF_LOSS if skipped else ())


def _is_pair(value):
    return isinstance(value, list) and len(value) == 2


_COUNT = _Field("a whole number from 0", is_count)

_FIELDS = {
    "step": _COUNT,
    "optimizer_steps": _COUNT,
    "logged_step": _COUNT,
    "evaluated_step": _COUNT,
    "history_stride": _Field("a whole number from 1", lambda value: is_count(value, 1)),
    "elapsed_s": _Field("a number of seconds", lambda value: is_figure(value) and value >= 0),
    "smoothing": _Field(
        "a sum and the count of its losses",
        lambda value: _is_pair(value) and is_figure(value[0]) and is_count(value[1]),
    ),
    "best": _Field(
        "null or a step and its val_loss_nats", lambda value: value is None or _is_record(value, ("val_loss_nats",))
    ),
    "last": _Field("null or the log record of a step", lambda value: value is None or _is_last(value)),
    "history": _Field(
        "a list of records, each with its step", lambda value: isinstance(value, list) and all(map(_is_record, value))
    ),
    "clipped": _Field(
        "the count of clipped steps and that of all",
        lambda value: _is_pair(value) and is_count(value[1]) and is_count(value[0], 0, value[1]),
        is_optional=True,  # runs of before charrnn logged it have none
    ),
    "validated": _Field(
        "where a stretch begins and where it ends",
        lambda value: _is_pair(value) and is_count(value[0]) and is_count(value[1], value[0]),
    ),
    "waiting": _Field(
        "null or a record of validations", lambda value: value is None or isinstance(value, dict), is_optional=True
    ),
    "divergence": _Field(
        "null or a record of divergence", lambda value: value is None or isinstance(value, dict), is_optional=True
    ),
}

_WAITING_FIELDS = {
    "since_best": _COUNT,
    "factor": _Field("above 0 and at most 1", lambda value: type(value) is float and 0 < value <= 1),
    "mark": _Field("null or a validation loss", lambda value: value is None or is_figure(value)),
    "since_mark": _COUNT,
}

_DIVERGENCE_FIELDS = {
    "anchor_step": _COUNT,
    "factor": _Field("above 0 and at most 1", lambda value: type(value) is float and 0 < value <= 1),
    "returns": _Field(
        "a list of records", lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value)
    ),
    "futile": _Field(f"a whole number from 0 to {MAX_RETURNS}", lambda value: is_count(value, 0, MAX_RETURNS)),
    "failed_step": _COUNT,
    "in_a_row": _COUNT,
    "skipped": _COUNT,
}
