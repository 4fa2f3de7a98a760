"""Learning-rate schedules: from the progress of a run to the learning rate of its next step.

Pure functions of numbers that know no clock and no optimiser. The trainer gives the progress, measured in steps or in
time. The same arguments give the same bits, which an exact resume needs.
"""

import math
from dataclasses import dataclass

from charrnn.errors import ConfigError

SCHEDULES = ("cosine", "step", "constant", "plateau")


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the course of a run.

    name         "cosine", "step", "constant" or "plateau" (constant here; patience.py lowers it by a factor)
    peak         the highest learning rate
    warmup       length of the linear rise from zero: below 1, a share of the run; from 1 on, a number of steps
    min_ratio    for cosine and plateau: the lowest learning rate is min_ratio * peak
    decay        for step: factor per epoch
    decay_after  for step: number of epochs at the peak before the decay begins

    Raises ConfigError if a value is not allowed.
    """

    name: str
    peak: float
    warmup: float = 0.0
    min_ratio: float = 0.0
    decay: float = 0.97
    decay_after: int = 10

    def __post_init__(self):
        if self.name not in SCHEDULES:
            raise ConfigError(f"--schedule must be one of {', '.join(SCHEDULES)}, got {self.name!r}", ["schedule"])
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise ConfigError(f"--learning-rate must be a finite number above 0, got {self.peak}", ["learning_rate"])
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise ConfigError(
                f"--warmup must be 0 or more (below 1: a share of the run, otherwise steps), got {self.warmup}",
                ["warmup"],
            )
        if not 0 <= self.min_ratio <= 1:
            raise ConfigError(
                f"--min-learning-rate must be between 0 and 1 (a share of --learning-rate), got {self.min_ratio:g}",
                ["min_learning_rate"],
            )
        if not 0 < self.decay <= 1:
            raise ConfigError(f"--decay must be above 0 and at most 1, got {self.decay:g}", ["decay"])
        if self.decay_after < 0:
            raise ConfigError(f"--decay-after must be 0 or more epochs, got {self.decay_after}", ["decay_after"])

    def learning_rate(self, *, progress, step, epoch):
        """Return the learning rate of the next step.

            warm-up   peak * progress/warmup, or peak * (step + 1)/warmup if warmup is a number of steps
            cosine    peak * (m + (1 - m) (1 + cos(pi p)) / 2),  p = progress since the warm-up, m = min_ratio
            step      peak * decay^max(0, epoch - decay_after + 1)

        progress : share of the run that is done, clamped to 0 .. 1; step and epoch count from 0

        Cosine: Loshchilov & Hutter 2017, one cycle. Step: train.lua of char-rnn (0.97 per epoch after the tenth).
        """
        progress = min(max(progress, 0.0), 1.0)
        rise = self._rise(progress, step)
        if rise < 1:
            return self.peak * rise
        if self.name == "cosine":
            # The rise takes its share of the run when it is a fraction; steps have no known share, and are few.
            start = self.warmup if self.warmup < 1 else 0.0
            p = (progress - start) / (1 - start)
            return self.peak * (self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * p)))
        if self.name == "step":
            return self.peak * self.decay ** max(0, epoch - self.decay_after + 1)
        return self.peak

    def _rise(self, progress, step):
        """Share of the warm-up that is done, 1 when it is over."""
        if self.warmup == 0:
            return 1.0
        if self.warmup < 1:
            return min(1.0, progress / self.warmup)
        return min(1.0, (step + 1) / self.warmup)
