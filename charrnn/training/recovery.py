"""What counts as divergence, and what a run keeps of it.

    A step is skipped if its loss or gradient is not finite. A run has diverged
      - after MAX_SKIPPED skipped steps in a row,
      - at once if a loss has exploded,
      - at an anchor if the state is not finite, or the loss is far worse than guessing.
    Then it returns to its last anchor and halves the learning rate. It ends after MAX_RETURNS returns without progress.

An anchor is a step whose state was checked and saved. All this depends on options, text and step only, never on the
clock: a run that is killed anywhere and resumed takes the same course. This module knows no file and no model.
"""

import copy
import math
from dataclasses import asdict, dataclass, field, fields

MAX_SKIPPED = 3  # steps in a row
MAX_RETURNS = 5

# Parameters that have exploded saturate every gate, and the loss can stay finite at any height. A character costs a few
# nats, a bad step some tens: from here nothing comes back.
EXPLODED_NATS = 1000.0

# And a model that costs so much more a character than guessing does has not learned, whatever a single step may cost.
SOUND_NATS = 10.0


class Diverged(Exception):
    """Raised when a run diverges: `what` became `value` at `step`. The trainer handles it."""

    def __init__(self, what, value, step):
        super().__init__(f"{what} became {value:.3g} at step {step:,}")
        self.step = step


def has_exploded(loss_nats):
    """Return whether a finite loss, in nats, is so high (1,000 or more) that training cannot recover."""
    return EXPLODED_NATS <= loss_nats < math.inf


def fault_of_step(loss_nats, norm, step):
    """Return a Diverged if the step must be skipped, because its loss or gradient is not finite; otherwise None.

    norm : norm of the gradient; ignored if the loss is not finite
    """
    if not math.isfinite(loss_nats):
        return Diverged("the training loss", loss_nats, step)
    return None if math.isfinite(norm) else Diverged("the gradient's norm", norm, step)


def is_sound(loss_nats, vocab_size):
    """Return whether a loss is less than 10 nats above that of guessing, log(vocab_size): the model is not lost."""
    return loss_nats < math.log(vocab_size) + SOUND_NATS


@dataclass
class Recovery:
    """What a run keeps of its skipped steps and returns, also in its checkpoints."""

    anchor_step: int | None = None  # the step to go back to; None where a checkpoint does not say
    factor: float = 1.0  # of the learning rate: a half for every return
    returns: list = field(default_factory=list)  # the returns made, as the log has them
    futile: int = 0  # returns since the run last came further than it ever had
    failed_step: int = 0  # the furthest step at which the run diverged
    in_a_row: int = 0  # steps left out, up to now
    skipped: int = 0  # steps left out on the way to where the run stands

    @classmethod
    def from_dict(cls, record):
        """Return the Recovery that `to_dict` described, after `stored.check_record`; a new one for None."""
        if record is None:
            return cls()
        return cls(**{one.name: copy.deepcopy(record[one.name]) for one in fields(cls)})

    def to_dict(self):
        """Return the fields as a dict, for the checkpoint."""
        return asdict(self)

    def anchored(self, step):
        """Record that `step` is the anchor now."""
        self.anchor_step = step
        if step >= self.failed_step:
            self.futile = 0

    def went_back(self, diverged, skipped):
        """Record a return to the anchor. skipped : number of steps that were skipped before the anchor"""
        self.factor /= 2
        self.futile += 1
        self.failed_step = max(self.failed_step, diverged.step)
        self.in_a_row, self.skipped = 0, skipped
        self.returns.append(
            {
                "step": self.anchor_step,
                "returned_from": diverged.step,
                "because": str(diverged),
                "learning_rate_factor": self.factor,
                "returns": len(self.returns) + 1,
            }
        )

    def leave_out(self, diverged, on_divergence):
        """Count a skipped step. Raises `diverged` if it is one too many in a row, or on_divergence is "stop"."""
        self.in_a_row += 1
        self.skipped += 1
        if self.in_a_row >= MAX_SKIPPED or on_divergence == "stop":
            raise diverged

    def why_it_ends(self, diverged, on_divergence, peak):
        """Return why the run must end, as a message; None if it should return to its anchor.

        peak : highest learning rate of the schedule
        """
        if on_divergence == "stop":
            return f"{diverged}, and training stopped"
        if self.futile < MAX_RETURNS:
            return None
        # The highest rates of the futile returns, the one before them first.
        rates = [peak * self.factor * 2**back for back in range(self.futile, -1, -1)]
        return (
            f"{diverged}, and training stopped, because returning to step {self.anchor_step:,} several times did not "
            f"help. The learning rates tried are {', '.join(f'{rate:.3g}' for rate in rates)}"
        )


def advice(config, peak):
    """Return what the user can do after a run ended by divergence, as a message.

    config : TrainingConfig
    peak : highest learning rate that the run last used
    """
    remedy = f"--learning-rate below {peak:.3g}"
    remedy += f" or --clip-norm below {config.clip_norm:g}" if config.clip_norm else " or a --clip-norm such as 5"
    if config.on_divergence == "stop":
        remedy += "; --on-divergence recover does this automatically"
    return f"start a new run with {remedy}"
