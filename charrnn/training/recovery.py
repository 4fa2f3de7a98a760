"""What counts as divergence, and what a run remembers of it.

    a step whose loss or gradient is not finite      is left out; MAX_SKIPPED in a row, and the run has diverged
    a loss that has exploded                         and it has diverged at once
    at an anchor: a state that is not finite, a loss far worse than guessing         likewise
    a run that has diverged                          goes back to its anchor, at half the learning rate
    MAX_RETURNS that did not get it further         end it

An anchor is a step whose state was seen to be sound, and is kept. All this follows from options, text and step, never
from the clock by which `last` is saved: a run that is killed anywhere goes the same way again. This module knows no
file and no model.
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
    """`what` became `value` at `step`; what follows from it is the trainer's to say."""

    def __init__(self, what, value, step):
        super().__init__(f"{what} became {value:.3g} at step {step:,}")
        self.step = step


def has_exploded(loss_nats):
    """Say whether a finite loss is one that nothing comes back from."""
    return EXPLODED_NATS <= loss_nats < math.inf


def fault_of_step(loss_nats, norm, step):
    """Return the Diverged of a step that is to be left out, None of one that has updated the model.

    norm : of its gradient; not looked at where the loss is not finite
    """
    if not math.isfinite(loss_nats):
        return Diverged("the training loss", loss_nats, step)
    return None if math.isfinite(norm) else Diverged("the gradient's norm", norm, step)


def is_sound(loss_nats, vocab_size):
    """Say whether a model of so many characters may have come to such a loss by learning."""
    return loss_nats < math.log(vocab_size) + SOUND_NATS


@dataclass
class Recovery:
    """What a run remembers of its divergence, from checkpoint to checkpoint."""

    anchor_step: int | None = None  # the step to go back to; None where a checkpoint does not say
    factor: float = 1.0  # of the learning rate: a half for every return
    returns: list = field(default_factory=list)  # the returns made, as the log has them
    futile: int = 0  # returns since the run last came further than it ever had
    failed_step: int = 0  # the furthest step at which the run diverged
    in_a_row: int = 0  # steps left out, up to now
    skipped: int = 0  # steps left out on the way to where the run stands

    @classmethod
    def from_dict(cls, record):
        """Make it from what `to_dict` gave, checked by `stored.check_record`; as new from None, of old checkpoints."""
        if record is None:
            return cls()
        return cls(**{one.name: copy.deepcopy(record[one.name]) for one in fields(cls)})

    def to_dict(self):
        """Return it as a checkpoint holds it."""
        return asdict(self)

    def anchored(self, step):
        """Take `step` for the anchor."""
        self.anchor_step = step
        if step >= self.failed_step:
            self.futile = 0

    def went_back(self, diverged, skipped):
        """Count a return to the anchor, on the way to which so many steps were skipped."""
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
        """Count a step that is left out; raise `diverged` where it is one too many in a row, or the run is to stop."""
        self.in_a_row += 1
        self.skipped += 1
        if self.in_a_row >= MAX_SKIPPED or on_divergence == "stop":
            raise diverged

    def why_it_ends(self, diverged, on_divergence, peak):
        """Say why the run ends and does not go back; None where it is to go back.

        peak : the highest learning rate that was asked for
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
    """Say what to do about a run that has ended by divergence.

    peak : the highest learning rate that it came to
    """
    remedy = f"--learning-rate below {peak:.3g}"
    remedy += f" or --clip-norm below {config.clip_norm:g}" if config.clip_norm else " or a --clip-norm such as 5"
    if config.on_divergence == "stop":
        remedy += "; --on-divergence recover does this automatically"
    return f"start a new run with {remedy}"
