"""Where a run stands: everything that a step changes and a checkpoint keeps.

What an exact resume rests on: all that bears on a result is here (parameters, optimiser state and step count, carry,
cursor, best so far), or is a function of the seed and the step (dropout masks) or of the share of the run that is done
(the learning rate). Knows the learner and records; no plan, clock or file.
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
    """Where a run stands.

    The learner's arrays are changed in their places; a run that goes back gets a new TrainState over the same learner.
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
        """Return the state that a checkpoint holds, its arrays restored into the learner's.

        checkpoint : Checkpoint, its record checked by `stored.check_record`

        Raises ConfigError where its arrays are another optimiser's or of another shape.
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
        """Return the Checkpoint of this state.

        run : dict of what the record of the training holds beside the state: options, text, time, ...
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
        """Passes over the training split, made by the steps so far."""
        return self.step / self.learner.streams.chunks_per_epoch

    def update_made(self, loss_nats):
        """Take in that the next step's gradient has updated the model."""
        self.recovery.in_a_row = 0
        self.gradient_step = self.step + 1
        self.clipped_updates += self.learner.optimizer.clipped
        self.updates += 1
        if self.learner.workspace.counted:
            self.smoothed.add(loss_nats)

    def add_gradient_norms(self):
        """Add the last gradient's norm by layer to the record of its step, while the workspace still holds it."""
        if self.gradient_step == self.step:
            norms = norms_by_layer(self.learner.model, self.learner.workspace.grads)
            self.last["grad_norms"] = {part: five_digits(norm) for part, norm in norms.items()}
            self.gradient_step = None

    def log_record(self):
        """Return the last step's record, completed for the log, and begin to count anew."""
        self.add_gradient_norms()
        self.last["clipped_share"] = five_digits(self.clipped_updates / self.updates) if self.updates else None
        self.clipped_updates = self.updates = 0
        self.logged_step = self.step
        self.history.remember(self.last, self.smoothed.count)
        return self.last


def five_digits(value):
    """Round a figure for the log; None where it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
