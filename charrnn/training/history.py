"""The losses that a run keeps: their smoothed average, and a history with a limited number of records.

Both depend on the steps alone, so that a resumed run has the same ones. This module knows numbers and records; no
model, clock or file.
"""

from dataclasses import dataclass, field

SMOOTHING = 0.98  # the smoothed training loss remembers about 50 steps
HISTORY_RECORDS = 512  # at most, in a checkpoint

_KEPT = ("step", "epoch", "train_loss_nats", "val_loss_nats", "learning_rate", "grad_norm")


@dataclass
class SmoothedLoss:
    """Exponential average of the training loss in nats, with bias correction for its start at zero, as in Adam."""

    total: float = 0.0  # not yet corrected
    count: int = 0

    def add(self, loss_nats):
        """Add the loss of a step, in nats."""
        self.total = SMOOTHING * self.total + (1 - SMOOTHING) * loss_nats
        self.count += 1

    @property
    def value(self):
        """The average in nats; None before the first loss."""
        return self.total / (1 - SMOOTHING**self.count) if self.count else None


@dataclass
class History:
    """Records of a run since its start: all validations, and other steps while there is room for them.

    Of the other steps, every `stride`-th is kept; the stride is doubled when the history is full (512 records).
    """

    entries: list = field(default_factory=list)
    stride: int = 1

    def remember(self, record, count):
        """Add a log record, with the smoothed training loss, if it is due.

        record : dict, as logged
        count : number of training losses so far; every `stride`-th is due
        """
        if "val_loss_nats" in record or "skipped" not in record and count % self.stride == 0:
            entry = {key: record[key] for key in _KEPT if record.get(key) is not None}
            if record["smoothed_loss_nats"] is not None:
                entry["train_loss_nats"] = record["smoothed_loss_nats"]
            self.entries.append(entry)
        while len(self.entries) > HISTORY_RECORDS:
            self.stride *= 2
            plain = [entry for entry in self.entries if "val_loss_nats" not in entry]
            # Validations alone fill it when there are very many of them: then they are thinned like the rest.
            thinned = plain if plain else self.entries
            gone = {entry["step"] for entry in thinned[::2]}
            self.entries = [entry for entry in self.entries if entry["step"] not in gone]
