"""The learner: a model, its optimiser, the workspace with the carry, and the streams of text.

    x, y = learner.next_chunk()             the next chunk; the carry is reset to zero at the start of an epoch
    loss = learner.backward(x, y, step)     forward, loss and backward; the carry advances to the next chunk
    norm = learner.update(rate)             clip and update

With --ema, the average of the weights is the result: it is validated, sampled from and saved as the parameters; the
trained weights are saved in addition. All arrays stay where they are, also when a checkpoint is restored into them.
This module knows no clock and no folder.
"""

import contextlib
from collections.abc import Mapping

import numpy as np

from charrnn.distributed.group import ALONE
from charrnn.errors import ConfigError
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import NEVER, Model, places_of_never
from charrnn.model.workspace import Workspace
from charrnn.spec import FORGET_BIAS
from charrnn.training.contradictions import MOMENTUM_OPTIMIZERS
from charrnn.training.defaults import WEIGHT_DECAYS
from charrnn.training.feeding import make_rule, make_streams
from charrnn.training.optimisers import Optimizer
from charrnn.training.sharded import ShardedWorkspace
from charrnn.training.warm_start import map_parameters

# Beside the optimiser's own slots in a checkpoint: the weights as the updates left them, where its parameters are their
# average.
UNAVERAGED = "unaveraged"


class Learner:
    """A model in training, with all that a step changes.

    config      TrainingConfig
    model       Model: the weights that are updated
    optimizer   Optimizer of the model, with the average of the weights if --ema is used
    workspace   Workspace, or ShardedWorkspace with --shards; it holds the carry and the gradient
    streams     Streams or ItemStreams: the text; they hold the position in it, the cursor
    dropout     Dropout
    """

    def __init__(self, config, model, streams, group=ALONE):
        self.config = config
        self.model = model
        self.optimizer = make_optimizer(config, model)
        if config.shards == 1:
            self.workspace = Workspace(model, config.batch_size, config.seq_length, precision=config.precision)
        else:
            self.workspace = ShardedWorkspace(
                model, config.batch_size, config.seq_length, config.precision, config.shards, group
            )
        self.streams = streams
        self.dropout = Dropout(config.dropout, config.variational_dropout, config.seed, config.weight_dropout)
        self._never = places_of_never(model)

    @property
    def result(self):
        """The Model that the run produces: the trained one, or the average of its weights with --ema."""
        return self.optimizer.average or self.model

    def next_chunk(self):
        """Return the next chunk: x and y, ndarrays (T, B) of ids, and for items also resets and counts, (T, B) bool.

        At the start of an epoch, the carry is reset to zero first.
        """
        if self.streams.at_epoch_start:
            self.workspace.reset_carry()
        return self.streams.next_chunk()

    def backward(self, x, y, step, resets=None, counts=None):
        """Run a chunk forward and backward; return the mean of the losses that count, in nats.

        The arguments are those of Workspace.loss_and_grads. The workspace then holds the gradient and the new carry.
        """
        if resets is None:
            return float(self.workspace.loss_and_grads(x, y, self.dropout, step))
        return float(self.workspace.loss_and_grads(x, y, self.dropout, step, resets, counts))

    def run_next_chunk(self, step):
        """Run the next chunk forward and backward; return its number of characters, T*B, and its loss in nats."""
        x, y, *marks = self.next_chunk()
        return x.size, self.backward(x, y, step, *marks)

    @contextlib.contextmanager
    def place_kept(self):
        """A context in which chunks may be run; at its end, the cursor and the carry are restored."""
        cursor, carry = self.streams.cursor(), self.workspace.get_carry()
        yield
        self.streams.seek(cursor)
        self.workspace.set_carry(carry)

    def update(self, learning_rate):
        """Clip the gradient and update the model; return the Euclidean norm of the gradient before clipping.

        If the norm is not finite, or no loss of the chunk counts (then 0.0 is returned), nothing changes: not even
        momentum and weight decay are applied.
        """
        if not self.workspace.counted:
            return 0.0
        config = self.config
        norm = self.optimizer.step(self.workspace, learning_rate, config.clip_norm, config.clip_value)
        if len(self._never):  # which weight decay would bring back, little by little
            self.model.flat[self._never] = NEVER
            self.result.flat[self._never] = NEVER
        return float(norm)

    def slots(self):
        """Return {slot: ndarray (N,)} of all that a checkpoint stores besides the parameters of `result`."""
        averaging = self.optimizer.average is not None
        return {**self.optimizer.state, **({UNAVERAGED: self.model.flat} if averaging else {})}

    def named_slots(self):
        """Return the slots as a checkpoint stores them: a mapping {"slot/name": ndarray}; reading an item copies it."""
        return _NamedSlots({slot: self.model.view(flat) for slot, flat in self.slots().items()})

    def state_is_finite(self):
        """Return whether all numbers that a checkpoint would store are finite."""
        arrays = (self.result.flat, *self.slots().values(), *self.workspace.get_carry().values())
        return all(np.isfinite(array).all() for array in arrays)

    def gradient_is_finite(self):
        """Return whether the gradient in the workspace is finite."""
        return bool(np.isfinite(self.workspace.grads).all())

    def restore(self, checkpoint):
        """Copy parameters, optimiser state, carry and cursor from a Checkpoint into this learner's arrays.

        Raises ConfigError if the checkpoint is from another optimiser or has arrays or a cursor that do not fit.
        """
        self.result.set_parameters(checkpoint.parameters)
        slots, places = {}, self.slots()
        for name, array in checkpoint.optimizer.items():
            slot, _, parameter = name.partition("/")
            slots.setdefault(slot, {})[parameter] = array
        if set(slots) != set(places):
            raise ConfigError(
                f"the checkpoint's optimiser state has {', '.join(sorted(slots)) or 'nothing'}, "
                f"{self.config.optimizer} needs {', '.join(sorted(places)) or 'nothing'}: start a new run from its "
                "weights with 'charrnn train TEXT --init-from RUN'"
            )
        for slot, arrays in slots.items():
            places[slot][...] = self.model.pack(arrays)
        self.optimizer.steps = checkpoint.training["optimizer_steps"]
        self.workspace.set_carry(checkpoint.carry)
        self.streams.seek(checkpoint.training["cursor"])


def make_learner(plan, corpus, group=ALONE):
    """Return the Learner for a Plan.

    Its weights are random, or those of `plan.initial`. For a run that is resumed, call `restore` next.

    plan      Plan
    corpus    Corpus
    group     the processes that train together
    """
    config, rule = plan.config, make_rule(plan.config, corpus.vocabulary)
    streams = make_streams(config, corpus, plan.splits)
    if plan.resume is not None:
        return _knowing(Learner(config, Model(plan.model_config, rule), streams, group), corpus)
    forget_bias = FORGET_BIAS if config.forget_bias is None else config.forget_bias
    model = Model.initialise(plan.model_config, config.seed, forget_bias, rule)
    if plan.initial is not None:
        model.set_parameters(map_parameters(model.get_parameters(), plan.initial, corpus.vocabulary, rule))
    return _knowing(Learner(config, model, streams, group), corpus)


def _knowing(learner, corpus):
    """Return the learner, its models told which symbol is the unknown one."""
    for model in (learner.model, learner.result):
        model.unknown_id = corpus.vocabulary.unknown_id
    return learner


def make_optimizer(config, model):
    """Return the Optimizer that a TrainingConfig describes, for a Model."""
    hyperparameters = {}
    if config.optimizer in MOMENTUM_OPTIMIZERS:
        hyperparameters["momentum"] = config.momentum
    if config.optimizer in WEIGHT_DECAYS:
        hyperparameters["weight_decay"] = config.weight_decay
    return Optimizer(config.optimizer, model, ema=config.ema, **hyperparameters)


class _NamedSlots(Mapping):
    """An optimiser's state as {"slot/name": array}, over a mapping for each slot."""

    def __init__(self, slots):
        self._slots = slots

    def __getitem__(self, key):
        slot, _, name = key.partition("/")
        return self._slots[slot][name]

    def __iter__(self):
        return (f"{slot}/{name}" for slot, arrays in self._slots.items() for name in arrays)

    def __len__(self):
        return sum(map(len, self._slots.values()))
