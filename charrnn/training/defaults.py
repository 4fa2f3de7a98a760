"""What a run does where its user names nothing: every default that depends on another option, the text or the length.

Plain numbers, and functions of options. Imports neither numpy nor numba.
"""

import math

# Used when no length is named.
DEFAULT_MINUTES = 5.0

# What the optimiser decides when the option is left out. Layer normalisation bears a higher rate, up to WIDE units (a
# larger model has as much less as it is wider), and a higher decay: it undoes the scale of the weights.
LEARNING_RATES = {"adam": 3e-3, "adamw": 3e-3, "rmsprop": 2e-3, "adagrad": 3e-2, "sgd": 0.5}
NORMALISED_RATES, WIDE = {"adam": 8e-3, "adamw": 8e-3}, 256
WEIGHT_DECAYS, NORMALISED_DECAYS = {"adamw": 0.01}, {"adamw": 0.05}

# What the length of the run decides when --dropout is left out: (epochs from which it holds, the share of units). What
# is read once or twice cannot be memorised.
DROPOUTS = (0.0, 0.0), (2.5, 0.1), (5.0, 0.2), (9.0, 0.3), (18.0, 0.4), (35.0, 0.5)
UNKNOWN_EPOCHS = 8.0  # assumed of a run that --patience ends

# Of a run by the clock, the share of the time that is spent forward and back: the rest goes into updates, validations,
# samples and saves. A step that is timed by itself would promise too many epochs.
STEPPING_SHARE = 0.85

# A run whose length is left open reads a short text at most so often: a model of the default size would memorise it.
# But it makes a number of steps, which are many epochs of a very short text.
MAX_EPOCHS, MIN_STEPS = 12, 500
SHORT_TEXT = 500_000  # characters to train on

# What the schedule decides when the option is left out: the share of the run over which the rate rises.
WARMUPS = {"cosine": 0.02}

# The share of the text to validate on, where no text of its own is named for that.
VAL_FRACTION = 0.05

# The schedule of a run that has a length, and of one that --patience alone ends.
SCHEDULE, ENDLESS_SCHEDULE = "cosine", "plateau"
NEEDS_AN_END = ("cosine",)  # of the schedules

# Shrunk to the text when it is too short for them, with a note; what the user names is not.
BATCH_SIZE, SEQ_LENGTH = 16, 64


# How often a run validates, logs and keeps a state to go back to (intervals.py and budget.py).
MAX_EVALUATIONS = 25
ENDLESS_STEPS = 200, 2000  # between two validations of a run without a known end: an epoch within these, or more
EVALUATION_SHARE = 0.05  # of the time, at most, by the default interval
FORWARD_SHARE = 1 / 3  # cost of a forward pass beside forward, backward and update
LOG_RECORDS = 1000  # about so many in a run, by the default interval

# States to go back to: where validations do not make them, so many in a run, and so many steps between two.
MAX_ANCHORS, MIN_ANCHOR_STEPS = 25, 20

# No pass over the validation split may take more than this share of --minutes, or else of the training up to the next.
MAX_VALIDATION = 0.2
MIN_VALIDATION = 1_000_000  # characters that are not too many for any number of steps


# Of the options that a user may leave open, those that a run is told of: in this order, where they have an effect.
TOLD = (
    "epochs",
    "steps",
    "minutes",
    "batch_size",
    "seq_length",
    "learning_rate",
    "schedule",
    "warmup",
    "weight_decay",
    "dropout",
    "precision",
    "eval_every",
)


def defaults_of(asked, config, validates):
    """Return {option: value} for the options that the user did not give, in the order of TOLD.

    asked        TrainingConfig as the user gave it
    config       the same with all options decided
    validates    whether the run has a text to validate on
    """
    names = [name for name in TOLD if validates or name != "eval_every"]
    left_open = {name: getattr(config, name) for name in names if getattr(asked, name) is None}
    return {name: value for name, value in left_open.items() if value or name == "dropout"}


def dropout_of(epochs):
    """Return the default dropout of a run of this many epochs."""
    return next(share for start, share in reversed(DROPOUTS) if epochs >= start)


def max_epochs(characters, steps_per_epoch):
    """Return the highest number of epochs of a run without a given length; characters : of the training split"""
    if characters > SHORT_TEXT:
        return math.inf
    return float(max(MAX_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch)))


def learning_rate_of(config):
    """Return the highest learning rate of a run: the one that was asked for, or the default."""
    if config.learning_rate is not None:
        return config.learning_rate
    if config.layer_norm and config.optimizer in NORMALISED_RATES:
        return NORMALISED_RATES[config.optimizer] * min(1.0, WIDE / config.hidden_size)
    return LEARNING_RATES[config.optimizer]


def weight_decay_of(config):
    """Return the weight decay of a run: the one that was asked for, or the default."""
    if config.weight_decay is not None:
        return config.weight_decay
    return (NORMALISED_DECAYS if config.layer_norm else WEIGHT_DECAYS).get(config.optimizer, 0.0)


def schedule_of(config, has_length):
    """Return the name of the schedule of a run. has_length : whether the user gave epochs, steps or minutes"""
    if config.schedule is not None:
        return config.schedule
    return ENDLESS_SCHEDULE if config.patience is not None and not has_length else SCHEDULE


def is_endless(config, has_length):
    """Return whether only --patience ends a run: no length is given, and the schedule needs none."""
    return config.patience is not None and not has_length and schedule_of(config, has_length) not in NEEDS_AN_END
