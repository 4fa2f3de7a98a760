"""What a checkpoint's record of its training says."""

import functools

from charrnn.errors import CheckpointError, ConfigError
from charrnn.runs.checkpoint import OPTIONAL_MODEL_KEYS, is_count, is_figure
from charrnn.training.options import TrainingConfig, option, short, shown


def training_record_is_read(function):
    """Turn what a missing or mistyped entry of a checkpoint's training record raises into a sentence."""

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError, OverflowError) as error:
            raise CheckpointError(
                f"the checkpoint's record of its training is incomplete or damaged ({type(error).__name__}: {error}): "
                "it cannot be gone on with; start a new run from its weights by --init-from"
            ) from error

    return guarded


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


def check_agreement(config, checkpoint):
    """Raise CheckpointError where the options that a checkpoint holds tell of another model than the one it holds."""
    model = {("tie_weights" if name == "tied" else name): value for name, value in checkpoint.model.items()}
    optional = {name: key.default for name, key in OPTIONAL_MODEL_KEYS.items()}
    for name, value in {**optional, **model, "vocab": checkpoint.vocabulary.mode}.items():
        said = getattr(config, name)
        if said != value:
            raise CheckpointError(
                f"the checkpoint contradicts itself: its options say {option(name)} {shown(said)}, its model has "
                f"{shown(value)}; start a new run from its weights by --init-from"
            )


def check_record(training, characters):
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
