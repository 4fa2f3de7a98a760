"""The state of a run: everything that a step changes and a checkpoint stores.

Exact resuming relies on this: all that affects the result is either here (parameters, optimiser state and step count,
carry, cursor, best loss so far), or is a function of the seed and the step (dropout masks) or of the progress of the
run (the learning rate). This module knows the learner and records; no plan, clock or file.
"""

import math
from dataclasses import dataclass, field

from charrnn.model.matrices import norms_by_layer
from charrnn.runs.checkpoint import Checkpoint
from charrnn.training.history import History, SmoothedLoss
from charrnn.training.learner import Learner
from charrnn.training.patience import Waiting
from charrnn.training.recovery import Recovery


@dataclass
class TrainState:
    """The state of a run after `step` steps.

    The arrays of the learner are updated in place. A run that returns to an earlier step gets a new TrainState with the
    same learner.
    """

    learner: Learner  # parameters, optimiser, carry, cursor
    recovery: Recovery = field(default_factory=Recovery)
    waiting: Waiting = field(default_factory=Waiting)
    step: int = 0
    smoothed: SmoothedLoss = field(default_factory=SmoothedLoss)
    clipped_updates: int = 0  # since the last log record
    updates: int = 0  # likewise, clipped or not
    best: dict | None = None  # {"val_loss_nats", "step", "epoch"} of the lowest validation loss
    last: dict | None = None  # log record of the last step, None before the first
    logged_step: int = 0
    evaluated_step: int = 0
    history: History = field(default_factory=History)
    gradient_step: int | None = None  # the step whose gradient the workspace holds; not kept in a checkpoint

    @classmethod
    def from_checkpoint(cls, checkpoint, learner):
        """Return the state that a checkpoint stores, and copy its arrays into the learner's.

        checkpoint : Checkpoint, whose training record `stored.check_record` has checked

        Raises ConfigError if its arrays belong to another optimiser or have other shapes.
        """
        training = checkpoint.training
        learner.restore(checkpoint)
        clipped_updates, updates = training.get("clipped", (0, 0))
        return cls(
            learner=learner,
            recovery=Recovery.from_dict(training.get("divergence")),
            waiting=Waiting.from_record(training),
            step=training["step"],
            smoothed=SmoothedLoss(*training["smoothing"]),
            clipped_updates=clipped_updates,
            updates=updates,
            best=training["best"],
            last=training["last"],
            logged_step=training["logged_step"],
            evaluated_step=training["evaluated_step"],
            history=History(list(training["history"]), training["history_stride"]),
        )

    def to_checkpoint(self, vocabulary, run):
        """Return this state as a Checkpoint.

        run : dict with the other entries of the training record: options, text, time and so on
        """
        learner = self.learner
        return Checkpoint(
            model=learner.model.config.to_dict(),
            vocabulary=vocabulary,
            parameters=learner.model.view(learner.result.flat),
            optimizer=learner.named_slots(),
            carry=learner.workspace.get_carry(),
            training={
                **run,
                "step": self.step,
                "optimizer_steps": int(learner.optimizer.steps),
                "epoch": round(self.epoch, 4),
                "cursor": learner.streams.cursor(),
                "best": self.best,
                "smoothing": [self.smoothed.total, self.smoothed.count],
                "last": self.last,
                "clipped": [self.clipped_updates, self.updates],
                "logged_step": self.logged_step,
                "evaluated_step": self.evaluated_step,
                "divergence": self.recovery.to_dict(),
                **self.waiting.to_record(learner.config),
                "history": list(self.history.entries),
                "history_stride": self.history.stride,
            },
        )

    @property
    def epoch(self):
        """How often the steps so far have read the training split, such as 1.5."""
        return self.step / self.learner.streams.chunks_per_epoch

    def update_made(self, loss_nats):
        """Record that the gradient of the next step has updated the model. loss_nats : the loss of its chunk"""
        self.recovery.in_a_row = 0
        self.gradient_step = self.step + 1
        self.clipped_updates += self.learner.optimizer.clipped
        self.updates += 1
        if self.learner.workspace.counted:
            self.smoothed.add(loss_nats)

    def add_gradient_norms(self):
        """Add the gradient's norm by layer to the log record of the last step, if the workspace still holds it."""
        if self.gradient_step == self.step:
            norms = norms_by_layer(self.learner.model, self.learner.workspace.grads)
            self.last["grad_norms"] = {part: five_digits(norm) for part, norm in norms.items()}
            self.gradient_step = None

    def log_record(self):
        """Return the log record of the last step as a dict, and restart the counts of clipped updates."""
        self.add_gradient_norms()
        self.last["clipped_share"] = five_digits(self.clipped_updates / self.updates) if self.updates else None
        self.clipped_updates = self.updates = 0
        self.logged_step = self.step
        self.history.remember(self.last, self.smoothed.count)
        return self.last


def five_digits(value):
    """Return a number rounded to five significant digits, for the log; None if it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
