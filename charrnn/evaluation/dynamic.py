"""Dynamic evaluation: a model that goes on learning from the text it is judged on, each character after it was
predicted.

Krause et al. 2018 (arXiv 1709.07432). After every segment of the text, the parameters theta take one step down the
gradient g of that segment's loss and one step back to what they were in training, theta_0:

    rms    theta += -rate g / (RMS + eps)  +  min(1, decay RMS / mean(RMS)) (theta_0 - theta)
    sgd    theta += -rate g                +  decay (theta_0 - theta)

RMS is the root of the mean square of each parameter's gradient over segments of the training text: a parameter that
moved much in training may move much now. Knows ids and a model, of which it makes a copy; nothing is random.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, DivergenceError, check_integer, check_number, counted
from charrnn.evaluation.loss import STREAM_CHUNK, first_predicted
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace

RULES = ("rms", "sgd")
RATES = {"rms": 5e-4, "sgd": 0.1}
EPS = 2e-5
PLACES, SEGMENTS_A_PLACE = 16, 25  # of the training text, that RMS is taken over


@dataclass(frozen=True)
class DynamicSettings:
    """How a model learns while it reads a text (dynamic evaluation).

    Raises ConfigError if a value is not allowed.

    Attributes
    ----------
    rule : {"rms", "sgd"}
        How the parameters are updated.
    rate : float or None
        Learning rate, at least 0; None means the default of the rule.
    decay : float
        Share, 0 .. 1, by which the parameters return towards the trained ones after each segment.
    segment : int
        Number of characters between two updates.
    """

    rule: str = "rms"
    rate: float | None = None
    decay: float = 0.001
    segment: int = 20

    def __post_init__(self):
        if self.rule not in RULES:
            raise ConfigError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}", ["rule"])
        rate = RATES[self.rule] if self.rate is None else self.rate
        object.__setattr__(self, "rate", rate)
        check_number("rate", rate)
        check_number("decay", self.decay)
        check_integer("segment", self.segment)
        if not 0 <= rate < math.inf:
            raise ConfigError(
                f"rate must be a finite number of 0 or more, got {rate:g}: leave it out for {RATES[self.rule]:g}",
                ["rate"],
            )
        if not 0 <= self.decay <= 1:
            raise ConfigError(
                f"decay must be between 0 and 1, got {self.decay:g}: leave it out for {DynamicSettings.decay:g}",
                ["decay"],
            )
        if self.segment < 1:
            raise ConfigError(f"segment must be at least 1 character, got {self.segment}", ["segment"])


def read_losses_dynamic(model, ids, start, stop, settings, training_ids=None, progress=None, marks=(None, None)):
    """Return the loss of each character of ids[start:stop] that can be predicted: ndarray (n,) float64, in nats.

    A copy of the model reads the text, and learns after each segment from the characters before.

    training_ids    ndarray: the text that the model was trained on; the rule "rms" needs it
    progress        called as progress(characters read, n) after every segment
    marks           the TextMarks of ids and of training_ids; nothing is learned from a segment in which nothing counts

    Raises ConfigError if "rms" has no training_ids, DivergenceError if a loss is not finite.
    """
    first, own = first_predicted(start, stop)
    learner = Model(model.config, model.rule)
    learner.flat[:] = model.flat
    of_text, of_training = marks
    scale, pull = _pace(model, training_ids, settings, of_training)
    workspace = Workspace(learner, 1, max(settings.segment, STREAM_CHUNK))
    for at in range(first - 1 - own, first - 1, STREAM_CHUNK):
        end = min(first - 1, at + STREAM_CHUNK)
        workspace.logits(_chunk(ids, at, end), _masks(of_text, at, end).get("resets"))
    n = stop - first
    losses, home = np.empty(n), np.empty_like(learner.flat)
    for at in range(0, n, settings.segment):
        end = min(n, at + settings.segment)
        here = first + at
        masks = _masks(of_text, here - 1, first + end - 1) or _of_rule(model, ids, here, end - at)
        loss = workspace.loss_and_grads(
            _chunk(ids, here - 1, stop - 1, settings.segment), _chunk(ids, here, stop, settings.segment), **masks
        )
        if not math.isfinite(loss):
            raise DivergenceError(
                f"dynamic evaluation diverged after {counted(at, 'character')}: lower --dynamic-rate, which is "
                f"{settings.rate:g}"
            )
        losses[at:end] = workspace.last_losses()[:, 0]
        if workspace.counted:
            np.subtract(model.flat, learner.flat, out=home)
            home *= pull
            np.multiply(workspace.grads, scale, out=workspace.grads)
            learner.flat += home
            learner.flat -= workspace.grads
        if progress is not None:
            progress(end, n)
    return losses


def _pace(model, training_ids, settings, marks):
    """Return what a gradient and the way home are multiplied by, each (N,) or a number."""
    dtype = model.flat.dtype.type
    if settings.rule == "sgd":
        return dtype(settings.rate), dtype(settings.decay)
    if training_ids is None:
        raise ConfigError(
            "--dynamic-rule rms needs the text that the run was trained on: use --dynamic-rule sgd", ["dynamic_rule"]
        )
    rms = gradient_rms(model, training_ids, settings.segment, marks)
    mean = rms[rms > 0].mean() if rms.any() else 1.0
    return (
        (settings.rate / (rms + EPS)).astype(model.flat.dtype),
        np.minimum(1, settings.decay * rms / mean).astype(model.flat.dtype),
    )


def gradient_rms(model, ids, segment, marks=None):
    """Return the root mean square of the gradient of a segment's loss, (N,) in the layout of model.flat, over PLACES in
    ids, whose TextMarks are `marks`.
    """
    segment = min(segment, len(ids) - 1)
    workspace = Workspace(model, 1, max(segment, STREAM_CHUNK))
    run = segment * SEGMENTS_A_PLACE
    squares, count = np.zeros(model.flat.size), 0
    for place in range(PLACES):
        begin = max(0, len(ids) - 1 - run) * place // (PLACES - 1)
        workspace.reset_carry()
        if begin:
            before = max(0, begin - STREAM_CHUNK)
            workspace.logits(_chunk(ids, before, begin), _masks(marks, before, begin).get("resets"))
        for at in range(begin, min(begin + run, len(ids) - 1), segment):
            end = min(len(ids) - 1, at + segment)
            masks = _masks(marks, at, end) or _of_rule(model, ids, at + 1, end - at)
            workspace.loss_and_grads(_chunk(ids, at, end), _chunk(ids, at + 1, end + 1), **masks)
            if workspace.counted:
                squares += np.square(workspace.grads, dtype=np.float64)
                count += 1
    return np.sqrt(squares / max(1, count))


def _masks(marks, start, stop):
    """Return the masks of a chunk that reads start .. stop - 1, by name."""
    return {} if marks is None else marks.read(np.arange(start, stop + 1)[:, None])


def _of_rule(model, ids, first, length):
    """Return the mask of what counts of ids[first : first + length] by a model's own rule, by name."""
    return {} if model.rule is None else {"counts": model.rule.counts(ids, first, first + length)[:, None]}


def _chunk(ids, start, stop, most=None):
    """Return ids[start:stop], the first `most` of them, as (T, 1)."""
    stop = stop if most is None else min(stop, start + most)
    return np.asarray(ids[start:stop]).astype(np.int32)[:, None]
