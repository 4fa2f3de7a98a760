"""How long a run has waited for a lower validation loss, and the consequence: a lower learning rate, or its end.

    --patience N           the run ends N validations after the best one
    --schedule plateau     the learning rate is lowered by --plateau-factor after --plateau-wait validations that did
                           not improve the loss by MIN_GAIN, down to --min-learning-rate

Both depend on the validation losses alone, so a resumed run behaves as if it had never stopped. This module knows no
clock and no file.
"""

from dataclasses import asdict, dataclass

from charrnn.errors import counted

# The share of a loss by which a later one must be lower to count as an improvement for the plateau schedule.
MIN_GAIN = 0.001


@dataclass
class Waiting:
    """What a run keeps of its validations, also in its checkpoints. Losses are in nats."""

    since_best: int = 0  # validations since the best one
    factor: float = 1.0  # of the learning rate, where the plateau schedule has lowered it
    mark: float | None = None  # the last validation loss that was an improvement
    since_mark: int = 0  # validations since that one, or since the learning rate was lowered

    @classmethod
    def from_record(cls, training):
        """Return the Waiting of a checkpoint, from its training record, which `stored.check_record` has checked.

        If the record has no entry for it, the validations since the best one are counted in the history.
        """
        if training.get("waiting") is not None:
            return cls(**training["waiting"])
        best = training.get("best") or {"step": 0}
        later = [one for one in training.get("history", []) if "val_loss_nats" in one and one["step"] > best["step"]]
        return cls(since_best=len(later))

    def to_record(self, config):
        """Return {"waiting": dict} for the checkpoint; {} if neither --patience nor the plateau schedule is used."""
        return {"waiting": asdict(self)} if config.patience is not None or config.schedule == "plateau" else {}

    def validated(self, loss_nats, is_best, config):
        """Record a validation loss, in nats; return whether the plateau schedule lowers the learning rate now."""
        self.since_best = 0 if is_best else self.since_best + 1
        if config.schedule != "plateau":
            return False
        if self.mark is None or loss_nats < (1 - MIN_GAIN) * self.mark:
            self.mark, self.since_mark = loss_nats, 0
            return False
        self.since_mark += 1
        if self.since_mark < config.plateau_wait or self.factor <= config.min_learning_rate:
            return False
        self.factor = max(self.factor * config.plateau_factor, config.min_learning_rate)
        self.since_mark = 0
        return True

    def is_over(self, patience):
        """Return whether --patience ends the run now; patience : its value, or None if it is not used."""
        return patience is not None and self.since_best >= patience


def lowered_note(config, rate):
    """Return the message that the plateau schedule lowers the learning rate to `rate`."""
    return (
        f"the validation loss has improved by less than {MIN_GAIN:.1%} in "
        f"{counted(config.plateau_wait, 'validation')}: lowering the learning rate to {rate:.3g}"
    )


def ended_note(patience, best_step):
    """Return the message that --patience ended the run. best_step : int or None"""
    since = "" if best_step is None else f" since step {best_step:,}"
    return f"by --patience: {counted(patience, 'validation')}{since} brought no new best loss"
