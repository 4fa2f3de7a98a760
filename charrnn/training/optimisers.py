"""Optimisers over a model's flat parameters: sgd, adagrad, rmsprop, adam, adamw.

With them clipping, by value and by global L2 norm, and the average of the parameters over the records.

State is named flat arrays of the parameters' own layout. The definitions and names are PyTorch's, so that a run can be
compared step by step; the arithmetic is one fused pass in kernels/updates.py.
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
    """Updates a model's parameters from a workspace's gradient.

    name              sgd, adagrad, rmsprop, adam or adamw
    hyperparameters   as in DEFAULTS[name]
    state             {slot: (N,) array}; sgd without momentum keeps none
    steps             updates made so far (Adam's bias correction needs it)
    clipped           whether the last step's gradient was clipped, by value or by norm
    average           a Model whose parameters are the average of the model's, with `ema` > 0; otherwise None

    The average begins as the model is, and moves with update k by max(1 - ema, 10 / (k + 9)) of the way to it: an
    exponential average that while it is young looks back over a tenth of the updates made, and forgets how the run
    began.

    Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019; averages: Polyak & Juditsky
    1992, Shamir & Zhang 2013. Raises ConfigError.
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
        """Clip the workspace's gradient and update the model.

        clip_value   > 0 clamps every element to +-clip_value first;  clip_norm > 0 scales the whole to that L2 norm
        Returns the L2 norm of the gradient before clipping. A norm that is not finite changes nothing but the gradient.
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
