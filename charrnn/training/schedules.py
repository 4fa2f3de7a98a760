"""Learning-rate schedules: how far a run has come -> the learning rate of its next step.

Pure functions of numbers. They know no clock and no optimiser: the trainer says how far the run has come, be it by
steps or by time, and gets the same bits back for the same arguments, which an exact resume needs.
"""

import math
from dataclasses import dataclass

from charrnn.errors import ConfigError

SCHEDULES = ("cosine", "step", "constant", "plateau")


@dataclass(frozen=True)
class Schedule:
    """A shape of the learning rate over a run.

    name         "cosine", "step", "constant", or "plateau": constant here, lowered by a factor that patience.py keeps
    peak         the highest learning rate
    warmup       linear rise from zero: below 1 a fraction of the run, from 1 on a number of steps; 0 for none
    min_ratio    cosine ends at min_ratio * peak, plateau falls no further
    decay        step: the factor an epoch
    decay_after  step: this many epochs run at the peak
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

            rising    peak * progress/warmup, or peak * (step + 1)/warmup when warmup is in steps
            cosine    peak * (m + (1 - m) (1 + cos(pi p)) / 2),  p = progress since the rise, m = min_ratio
            step      peak * decay^max(0, epoch - decay_after + 1)

        progress in [0, 1] (clamped), the share of the run that is done; step and epoch counted from 0.

        Cosine: Loshchilov & Hutter 2017, one cycle. Step: char-rnn's train.lua (0.97 an epoch after the tenth).
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
