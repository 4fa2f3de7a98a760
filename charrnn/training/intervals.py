"""The length of a run in steps, and the default intervals of validations, log records and anchors.

All are functions of options and text alone, never of the clock, so that a resumed run gets the same numbers. With
--minutes nothing is known in steps; then the clock decides (budget.py).
"""

import math

from charrnn.errors import ConfigError
from charrnn.evaluation.loss import count_streams
from charrnn.evaluation.reading import WARM_UP
from charrnn.training.defaults import (
    ENDLESS_STEPS,
    EVALUATION_SHARE,
    FORWARD_SHARE,
    LOG_RECORDS,
    MAX_ANCHORS,
    MAX_EVALUATIONS,
    MAX_VALIDATION,
    MIN_ANCHOR_STEPS,
    MIN_VALIDATION,
)
from charrnn.training.model_options import MAX_STEPS


def total_steps(config, steps_per_epoch):
    """Return the number of steps of a run; None if the clock or only --patience ends it.

    Raises ConfigError if --epochs asks for too many steps.
    """
    if config.epochs is None:
        return config.steps
    steps = config.epochs * steps_per_epoch
    if steps > MAX_STEPS:
        raise ConfigError(
            f"--epochs must be at most {MAX_STEPS / steps_per_epoch:,.0f} with this text, {MAX_STEPS:,} steps in all, "
            f"got {config.epochs:g}",
            options=["epochs"],
        )
    return max(1, round(steps))


def default_intervals(config, validated, total, steps_per_epoch):
    """Return {option: number of steps} for log_every and eval_every, if the user did not give them; {} with --minutes.

    validated : (start, stop), the ids that each validation reads
    total : number of steps of the run; None if unknown
    """
    intervals = {}
    if config.minutes is not None:
        return intervals
    if config.is_endless:
        # As many steps as the run would have if it ended after its usual number of validations.
        total = MAX_EVALUATIONS * (config.eval_every or min(max(steps_per_epoch, ENDLESS_STEPS[0]), ENDLESS_STEPS[1]))
    if config.log_every is None:
        intervals["log_every"] = max(1, total // LOG_RECORDS)
    if config.eval_every is None:
        val = validated[1] - validated[0]
        cost = (val + WARM_UP * count_streams(val)) * FORWARD_SHARE / EVALUATION_SHARE
        interval = max(1, math.ceil(cost / (config.batch_size * config.seq_length)))
        count = min(MAX_EVALUATIONS, max(1, total // interval))
        intervals["eval_every"] = math.ceil(total / count)
    return intervals


def anchor_interval(total):
    """Return the number of steps between two anchors in a run of `total` steps, if validations do not make anchors."""
    return max(MIN_ANCHOR_STEPS, math.ceil(total / MAX_ANCHORS))


def shorten_split(config, split, total):
    """Return the part (start, stop) of the validation split that each validation reads.

    It is the beginning of the split if reading all of it would take too long compared with the training between two
    validations. With --minutes it is all of the split.

    split : (start, stop)
    total : number of steps of the run; None if unknown
    """
    if config.minutes is not None:
        return split
    total = total or ENDLESS_STEPS[1]
    steps = min(config.eval_every or total, total)
    most = MAX_VALIDATION / FORWARD_SHARE * steps * config.batch_size * config.seq_length
    start, stop = split
    return start, min(stop, start + max(MIN_VALIDATION, int(most)))


def shortened_note(validated, split, of_what):
    """Return the message that validations read only a part of the split.

    of_what : str; more than a fixed share of this would be needed to read all of the split
    """
    return (
        f"validating on the first {validated[1] - validated[0]:,} of {split[1] - split[0]:,} characters: reading all "
        f"of them would take more than {MAX_VALIDATION:.0%} of {of_what}"
    )
