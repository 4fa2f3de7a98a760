"""How long a run is and how often it validates, logs and makes anchors, in steps: what the user leaves open.

Functions of options and text alone, never of the clock: an exact resume comes to the same numbers again. Under
--minutes nothing is known in steps, and budget.py's clock decides instead.
"""

import math

from charrnn.errors import ConfigError
from charrnn.evaluation.loss import count_streams
from charrnn.evaluation.reading import WARM_UP
from charrnn.training.options import MAX_STEPS

MAX_EVALUATIONS = 25
EVALUATION_SHARE = 0.05  # of the time, at most, by the default interval
FORWARD_SHARE = 1 / 3  # cost of a forward pass beside forward, backward and update
LOG_RECORDS = 1000  # about so many in a run, by the default interval

# Where validations do not make them: so many in a run, and so many steps between two.
MAX_ANCHORS, MIN_ANCHOR_STEPS = 25, 20

# No pass over the validation split may take more than this share of --minutes, or else of the training up to the next.
MAX_VALIDATION = 0.2
MIN_VALIDATION = 1_000_000  # characters that are not too many for any number of steps


def total_steps(config, steps_per_epoch):
    """Return the steps of a run, None where the clock says. Raises ConfigError where --epochs are too many."""
    if config.minutes is not None:
        return None
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


def default_intervals(config, validated, total):
    """Return the intervals, {option: steps}, that the user did not name.

    validated : (start, stop) of what is validated on
    total : the steps of the run; under --minutes, None, there are no intervals in steps
    """
    intervals = {}
    if total is None:
        return intervals
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
    """Return the steps between two anchors of a run of so many steps, where validations do not make them."""
    return max(MIN_ANCHOR_STEPS, math.ceil(total / MAX_ANCHORS))


def shorten_split(config, split, total):
    """Return the validation split, or as much of its beginning as may be validated on.

    split : (start, stop)
    total : the steps of the run; under --minutes, None, it is left whole here
    """
    if total is None:
        return split
    steps = min(config.eval_every or total, total)
    most = MAX_VALIDATION / FORWARD_SHARE * steps * config.batch_size * config.seq_length
    start, stop = split
    return start, min(stop, start + max(MIN_VALIDATION, int(most)))


def shortened_note(validated, split, of_what):
    """Say that a part of the split is validated on, since all of it would take too much `of_what`."""
    return (
        f"validating on the first {validated[1] - validated[0]:,} of {split[1] - split[0]:,} characters: a pass over "
        f"all would take more than {MAX_VALIDATION:.0%} of {of_what}"
    )
