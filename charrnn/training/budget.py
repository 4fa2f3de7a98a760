"""The length of a run, in steps or in minutes: its progress, what is due, and when it is finished.

StepBudget, ClockBudget and EndlessBudget have the same methods, so that other code need not know which one a run has.
`step` is the number of steps done so far:

    progress(step)             share of the run at the middle of the next step, 0 .. 1, for the learning-rate schedule
    share_done(step)           share of the run that is done, for the display; None if no end is known
    remaining_s(step)          estimate of the seconds to the end, during training; None if no end is known
    duration_s(step)           the same before the first step, from measured speeds
    is_finished(step)          whether the run is finished
    evaluation_is_due(step)    whether to validate now, in addition to the validation at the end
    log_is_due(step)           whether to log this step
    anchor_is_due(step)        whether this step becomes an anchor, to which the run returns if it diverges; only where
                               validations do not make enough anchors
    evaluated() tried()        to be called after a validation, or after the test of an anchor
    reserve(seconds)           keep so much time for the end of the run

With a length in steps, all that affects the result is a function of options, text and step. With a length in minutes,
the clock decides, but intervals that the user gave in steps still hold. This module knows no model, text or file.
"""

import math
from dataclasses import dataclass

from charrnn.training.defaults import EVALUATION_SHARE, LOG_RECORDS, MAX_ANCHORS, MAX_EVALUATIONS
from charrnn.training.intervals import anchor_interval

FADE_S = 3.0  # the speed that is shown is that of the last seconds


def make_budget(plan, stopwatch, costs):
    """Return the budget for a Plan: a StepBudget, ClockBudget or EndlessBudget."""
    config = plan.config
    validates = plan.validated[1] > plan.validated[0]
    if config.is_endless:
        return EndlessBudget(None, config.eval_every, config.log_every, validates, stopwatch, costs)
    if config.minutes is None:
        return StepBudget(plan.total_steps, config.eval_every, config.log_every, validates, stopwatch, costs)
    return ClockBudget(config.minutes * 60, config.eval_every, config.log_every, validates, stopwatch, costs)


class Stopwatch:
    """Measures the time of a run over all its sessions. It does not run before `start`, while the run is prepared.

    clock : callable that returns a monotonic time in seconds
    before_s : time of the earlier sessions, in seconds
    steady : clock to read instead of `clock`, if reading `clock` is expensive
    """

    def __init__(self, clock, before_s=0.0, steady=None):
        self.clock, self._steady = clock, steady or clock
        self.before_s = before_s
        self._started = None

    def start(self):
        """Start to measure this session."""
        self._started = self.clock()

    def session_s(self):
        """Return the time of this session, in seconds; 0 before `start`."""
        return 0.0 if self._started is None else self._steady() - self._started

    def elapsed_s(self):
        """Return the time of the run over all sessions, in seconds."""
        return self.before_s + self.session_s()


@dataclass
class Costs:
    """The latest measured times of a step, a validation and a save, in seconds, and the training speed."""

    step_s: float = 0.0
    evaluation_s: float = 0.0
    save_s: float = 0.0
    steps: int = 0  # made in this session, those that a return has undone among them
    recent_characters: float = 0.0
    recent_s: float = 0.0

    def step_made(self, characters, seconds):
        """Record that a step read so many characters in so many seconds."""
        fade = math.exp(-seconds / FADE_S)
        self.recent_characters = self.recent_characters * fade + characters
        self.recent_s = self.recent_s * fade + seconds
        self.step_s = self.recent_s / self.recent_characters * characters if self.recent_s > 0 else seconds
        self.steps += 1

    @property
    def chars_per_s(self):
        """Current training speed in characters per second, without validations and saves."""
        return round(self.recent_characters / max(self.recent_s, 1e-9), 1)


class StepBudget:
    """The budget of a run of `total_steps` steps. eval_every and log_every are numbers of steps; 0 means never."""

    def __init__(self, total_steps, eval_every, log_every, validates, stopwatch, costs):
        self.total_steps = total_steps
        self._eval_every, self._log_every, self._validates = eval_every, log_every, validates
        self._stopwatch, self._costs = stopwatch, costs

    def progress(self, step):
        return (step + 0.5) / self.total_steps

    def share_done(self, step):
        return step / self.total_steps

    def remaining_s(self, step):
        return self._stopwatch.session_s() / self._costs.steps * (self.total_steps - step)

    def duration_s(self, step):
        left = self.total_steps - step
        evaluations = left // self._eval_every + 1 if self._eval_every else 0
        return left * self._costs.step_s + evaluations * self._costs.evaluation_s

    def is_finished(self, step):
        return step >= self.total_steps

    def evaluation_is_due(self, step):
        return _falls_on(step, self._eval_every)

    def log_is_due(self, step):
        return _falls_on(step, self._log_every)

    def anchor_is_due(self, step):
        if self._validates and 0 < self._eval_every < self.total_steps:
            return False
        return step % anchor_interval(self.total_steps) == 0 or self.is_finished(step)

    def evaluated(self):
        """Do nothing: the next validation is due at a fixed step."""

    def tried(self):
        """Do nothing: the next anchor is due at a fixed step."""

    def reserve(self, seconds):
        """Do nothing: this run has no time limit."""


class EndlessBudget(StepBudget):
    """The budget of a run that ends only by --patience: it validates, but has no last step."""

    def progress(self, step):
        return 0.0

    def share_done(self, step):
        return None

    def remaining_s(self, step):
        return None

    def duration_s(self, step):
        return None

    def is_finished(self, step):
        return False

    def anchor_is_due(self, step):
        return False


class ClockBudget:
    """The budget of a run of `budget_s` seconds, including the final validation, test and save."""

    total_steps = None

    def __init__(self, budget_s, eval_every, log_every, validates, stopwatch, costs):
        self._budget_s = budget_s
        self._eval_every, self._log_every, self._validates = eval_every, log_every, validates
        self._stopwatch, self._costs = stopwatch, costs
        self._end_s = budget_s  # when the last step must be done
        self._next_evaluation_s = None  # known from the first step on
        self._next_log_s = stopwatch.before_s
        self._next_anchor_s = 0.0

    def progress(self, step):
        return min(1.0, (self._stopwatch.elapsed_s() + self._costs.step_s / 2) / self._end_s)

    def share_done(self, step):
        return min(1.0, self._stopwatch.elapsed_s() / self._budget_s)

    def remaining_s(self, step):
        return max(0.0, self._budget_s - self._stopwatch.elapsed_s())

    def duration_s(self, step):
        return self.remaining_s(step)

    def is_finished(self, step):
        return step > 0 and self._stopwatch.elapsed_s() + self._costs.step_s / 2 >= self._end_s

    def evaluation_is_due(self, step):
        if self._eval_every is not None:
            return _falls_on(step, self._eval_every)
        now, interval = self._stopwatch.elapsed_s(), self._evaluation_interval_s()
        if self._next_evaluation_s is None:
            self._next_evaluation_s = now + interval
        # One that the final validation is soon to follow is left out.
        soon = now + interval / 2 > self._end_s
        return now >= self._next_evaluation_s and not soon

    def log_is_due(self, step):
        if self._log_every is not None:
            return _falls_on(step, self._log_every)
        now = self._stopwatch.elapsed_s()
        if now < self._next_log_s:
            return False
        self._next_log_s = now + self._budget_s / LOG_RECORDS
        return True

    def anchor_is_due(self, step):
        if self._validates and self._eval_every is None:
            return False
        return self._stopwatch.elapsed_s() >= self._next_anchor_s or self.is_finished(step)

    def evaluated(self):
        self._next_evaluation_s = self._stopwatch.elapsed_s() + self._evaluation_interval_s()

    def tried(self):
        self._next_anchor_s = self._stopwatch.elapsed_s() + self._budget_s / MAX_ANCHORS

    def reserve(self, seconds):
        self._end_s = max(self._budget_s - seconds, self._budget_s / 2)

    def _evaluation_interval_s(self):
        costs = self._costs
        return max(self._budget_s / MAX_EVALUATIONS, (costs.evaluation_s + costs.save_s) / EVALUATION_SHARE)


def _falls_on(step, every):
    return every > 0 and step % every == 0
