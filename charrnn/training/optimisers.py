"""Optimisers for the flat parameters of a model: sgd, adagrad, rmsprop, adam, adamw.

They also clip the gradient, by value and by its L2 norm, and keep an average of the parameters over the updates.

The state consists of named flat arrays, ordered like the parameters. Definitions and names are those of PyTorch, so
that runs can be compared step by step; the arithmetic is one fused pass in kernels/updates.py.
"""

import math

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels import entries, records
from charrnn.kernels.pool import run_items
from charrnn.kernels.table import Table
from charrnn.kernels.threads import num_threads
from charrnn.model.buffers import aligned_zeros
from charrnn.model.parameters import Model

RULES = {
    "sgd": records.SGD,
    "adagrad": records.ADAGRAD,
    "rmsprop": records.RMSPROP,
    "adam": records.ADAM,
    "adamw": records.ADAMW,
}
DEFAULTS = {
    "sgd": {"momentum": 0.0},
    "adagrad": {"eps": 1e-10},
    "rmsprop": {"alpha": 0.95, "eps": 1e-8},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
}
SHARED_BLOCKS = 48  # blocks of parameters, some 60 us of one core, from which other threads are woken for them
SLOTS = {
    "sgd": ("momentum_buffer",),
    "adagrad": ("sum",),
    "rmsprop": ("square_avg",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}


class Optimizer:
    """Updates the parameters of a model with the gradient of a workspace.

    name              "sgd", "adagrad", "rmsprop", "adam" or "adamw"
    model             Model
    ema               decay of the average of the parameters, 0 <= ema < 1; 0 keeps no average
    hyperparameters   as in DEFAULTS[name]
    state             {slot: ndarray (N,), model's dtype}; empty for sgd without momentum
    steps             number of updates so far (Adam needs it for its bias correction)
    clipped           bool: whether the last gradient was clipped, by value or by norm
    average           Model whose parameters are the average if ema > 0; otherwise None

    The average starts equal to the model. With update k it moves by a share max(1 - ema, 10 / (k + 9)) of the distance
    to the model: at first it averages over the last tenth of the updates only, so that it forgets the beginning of the
    run.

    Raises ConfigError for an unknown name or hyperparameter.

    Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019; averages: Polyak & Juditsky
    1992, Shamir & Zhang 2013.
    """

    def __init__(self, name, model, ema=0.0, **hyperparameters):
        if name not in RULES:
            raise ConfigError(f"optimizer must be one of {', '.join(RULES)}, got {name!r}")
        unknown = set(hyperparameters) - set(DEFAULTS[name])
        if unknown:
            raise ConfigError(
                f"optimizer {name} has no {', '.join(sorted(unknown))}; it takes {', '.join(DEFAULTS[name])}"
            )
        self.name, self.model, self.steps, self.clipped = name, model, 0, False
        self.hyperparameters = {**DEFAULTS[name], **hyperparameters}
        keeps = name != "sgd" or self.hyperparameters["momentum"] > 0
        self.state = {slot: aligned_zeros(model.layout.size, model.config.dtype) for slot in SLOTS[name] if keeps}
        self.ema, self.average = ema, None
        if ema > 0:
            self.average = Model(model.config, model.rule)
            self.average.flat[:] = model.flat
        self._blocks = -(-model.layout.size // records.GRADIENT_BLOCK)
        self._partial = np.zeros(self._blocks)
        slots = list(self.state.values())
        self._table = Table(records.Update)
        self._table.set(
            rule=RULES[name],
            size=model.layout.size,
            params=model.flat,
            moment=slots[0] if self.name in ("sgd", "adam", "adamw") and slots else None,
            square=slots[-1] if slots else None,
            average=self.average and self.average.flat,
            partial=self._partial,
        )

    def step(self, workspace, learning_rate, clip_norm: float = 0, clip_value: float = 0):
        """Clip the gradient and update the model; return the L2 norm of the gradient before clipping.

        If the norm is not finite, the parameters and the state are not changed.

        workspace      Workspace whose `grads` is used; clipping changes it
        clip_value     above 0: first clamp every element to -clip_value .. clip_value
        clip_norm      above 0: then scale the gradient down if its L2 norm is larger than this
        """
        h = self.hyperparameters
        self._table.set(grads=workspace.grads)
        norm = self._norm(0.0)
        if not math.isfinite(norm):
            return norm
        clipped = self._norm(clip_value) if clip_value > 0 else norm
        self.steps += 1
        scale = min(1.0, clip_norm / (clipped + 1e-6)) if clip_norm > 0 else 1.0
        self.clipped = bool(clipped != norm or scale < 1)
        self._table.set(
            scale=scale,
            rate=learning_rate,
            correction=1.0,
            eps=h.get("eps", 0.0),
            weight_decay=learning_rate * h.get("weight_decay", 0.0),
            decay_1=h.get("momentum", h.get("alpha", 0.0)),
            newest=max(1 - self.ema, 10 / (self.steps + 9)) if self.average else 0.0,
        )
        if "betas" in h:
            a, b = h["betas"]
            rate, correction = learning_rate / (1 - a**self.steps), 1 / math.sqrt(1 - b**self.steps)
            self._table.set(decay_1=a, decay_2=b, rate=rate, correction=correction)
        self._run(entries.UPDATE)
        return norm

    def _norm(self, clip_value):
        """Return the norm of the gradient, its elements clamped first where clip_value > 0."""
        self._table.set(clip_value=clip_value)
        self._run(entries.SUM_SQUARES)
        return math.sqrt(self._partial.sum())

    def _run(self, items):
        workers = num_threads() if self._blocks >= SHARED_BLOCKS else 1
        run_items(items.address(self.model.config.dtype), self._table.words, self._blocks, workers)
