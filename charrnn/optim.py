"""Optimisers over a model's flat parameters: sgd, adagrad, rmsprop, adam, adamw; clipping by value and by global L2 norm.

State is named flat arrays of the parameters' own layout. The definitions and names are PyTorch's, so that a run can be
compared step by step; the arithmetic is one fused pass in kernels/updates.py.
"""
import math

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels import updates
from charrnn.kernels.threads import num_threads
from charrnn.model import aligned_zeros

RULES = {"sgd": updates.SGD, "adagrad": updates.ADAGRAD, "rmsprop": updates.RMSPROP, "adam": updates.ADAM,
         "adamw": updates.ADAMW}
DEFAULTS = {
    "sgd": {"momentum": 0.0},
    "adagrad": {"eps": 1e-10},
    "rmsprop": {"alpha": 0.95, "eps": 1e-8},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
}
SLOTS = {"sgd": ("momentum_buffer",), "adagrad": ("sum",), "rmsprop": ("square_avg",), "adam": ("exp_avg", "exp_avg_sq"),
         "adamw": ("exp_avg", "exp_avg_sq")}


class Optimizer:
    """Updates a model's parameters from a workspace's gradient.

    name              sgd, adagrad, rmsprop, adam or adamw
    hyperparameters   as in DEFAULTS[name]
    state             {slot: (N,) array}; sgd without momentum keeps none
    steps             updates made so far (Adam's bias correction needs it)

    Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba 2015; Loshchilov & Hutter 2019. Raises ConfigError.
    """

    def __init__(self, name, model, **hyperparameters):
        if name not in RULES:
            raise ConfigError(f"optimizer must be one of {', '.join(RULES)}, got {name!r}")
        unknown = set(hyperparameters) - set(DEFAULTS[name])
        if unknown:
            raise ConfigError(f"optimizer {name} has no {', '.join(sorted(unknown))}; it takes {', '.join(DEFAULTS[name])}")
        self.name, self.model, self.steps = name, model, 0
        self.hyperparameters = {**DEFAULTS[name], **hyperparameters}
        keeps = name != "sgd" or self.hyperparameters["momentum"] > 0
        self.state = {slot: aligned_zeros(model.layout.size, model.config.dtype) for slot in SLOTS[name] if keeps}
        self._partial = np.zeros(-(-model.layout.size // updates.BLOCK))
        self._counter = np.zeros(8, np.int64)

    def step(self, workspace, learning_rate, clip_norm=0, clip_value=0):
        """Clip the workspace's gradient and update the model.

        clip_value   > 0 clamps every element to +-clip_value first;  clip_norm > 0 scales the whole to that L2 norm
        Returns the L2 norm of the gradient before clipping. A norm that is not finite changes nothing but the gradient.
        """
        grads, workers = workspace.grads, num_threads()
        norm = updates.gradient_norm(grads, self._partial, 0.0, self._counter, workers)
        if not math.isfinite(norm):
            return norm
        clipped = norm
        if clip_value > 0:
            clipped = updates.gradient_norm(grads, self._partial, float(clip_value), self._counter, workers)
        scale = min(1.0, clip_norm / (clipped + 1e-6)) if clip_norm > 0 else 1.0
        self.steps += 1
        h = self.hyperparameters
        first, second, rate, a, b, decay, correction = workspace.grads, workspace.grads, float(learning_rate), 0.0, 0.0, 0.0, 1.0
        if self.name == "sgd":
            a, first = h["momentum"], self.state.get("momentum_buffer", grads)
        elif self.name == "adagrad":
            second = self.state["sum"]
        elif self.name == "rmsprop":
            a, second = h["alpha"], self.state["square_avg"]
        else:
            (a, b), first, second = h["betas"], self.state["exp_avg"], self.state["exp_avg_sq"]
            decay = learning_rate * h.get("weight_decay", 0.0)
            rate = learning_rate / (1 - a**self.steps)
            correction = 1 / math.sqrt(1 - b**self.steps)
        updates.apply_update(RULES[self.name], self.model.flat, grads, first, second, scale, rate, a, b, h.get("eps", 0.0),
                             decay, correction, self._counter, workers)
        self.model.parameters_changed()
        return norm
