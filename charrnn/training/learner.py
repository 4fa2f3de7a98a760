"""What learns: a model, its optimiser, the workspace with the carry, and the streams that feed them.

    x, y = learner.next_chunk()             a chunk; at an epoch's start the carry is zero
    loss = learner.backward(x, y, step)     forward, loss and back; the carry goes on to the next chunk
    norm = learner.update(rate)             clip and update

With --ema the average of the weights is the model: it is validated, sampled from and saved as the parameters, and the
weights that are trained stand beside it. All arrays keep their place, also when a checkpoint is restored into them.
Knows no clock and no folder.
"""

import contextlib
from collections.abc import Mapping

import numpy as np

from charrnn.distributed.group import ALONE
from charrnn.errors import ConfigError
from charrnn.model.parameters import Model
from charrnn.model.workspace import Dropout, Workspace
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
    """A model in training.

    model       the Model that is trained
    optimizer   its Optimizer, with the average of the weights under --ema
    workspace   the Workspace of a chunk, a ShardedWorkspace with --shards; holds the carry and the gradient
    streams     the Streams that it reads; hold the cursor
    dropout     what is dropped, a function of the seed and the step
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

    @property
    def result(self):
        """The Model that the run is for: the one that is trained, or the average of its weights."""
        return self.optimizer.average or self.model

    def next_chunk(self):
        """Return x and y of the next chunk, (T, B) each, and of items resets and counts; before an epoch's first the
        carry is reset.
        """
        if self.streams.at_epoch_start:
            self.workspace.reset_carry()
        return self.streams.next_chunk()

    def backward(self, x, y, step, resets=None, counts=None):
        """Run a chunk forward and back; return its mean loss in nats, over what counts.

        The workspace then holds the gradient, and the carry to the next chunk.
        """
        if resets is None:
            return float(self.workspace.loss_and_grads(x, y, self.dropout, step))
        return float(self.workspace.loss_and_grads(x, y, self.dropout, step, resets, counts))

    def run_next_chunk(self, step):
        """Run the next chunk forward and back, from carry to carry; return its number of characters and its loss."""
        x, y, *marks = self.next_chunk()
        return x.size, self.backward(x, y, step, *marks)

    @contextlib.contextmanager
    def place_kept(self):
        """Let the body run chunks, and then be where the learner was, with the carry that it had."""
        cursor, carry = self.streams.cursor(), self.workspace.get_carry()
        yield
        self.streams.seek(cursor)
        self.workspace.set_carry(carry)

    def update(self, learning_rate):
        """Clip the gradient and update the model; return the gradient's norm before clipping.

        A norm that is not finite changes nothing. Where nothing counts in the chunk there is nothing to learn, and even
        momentum and decay leave the model as it is.
        """
        if not self.workspace.counted:
            return 0.0
        config = self.config
        return float(self.optimizer.step(self.workspace, learning_rate, config.clip_norm, config.clip_value))

    def slots(self):
        """Return {slot: flat array} of what a checkpoint keeps beside the result's parameters."""
        averaging = self.optimizer.average is not None
        return {**self.optimizer.state, **({UNAVERAGED: self.model.flat} if averaging else {})}

    def named_slots(self):
        """Return the slots as a checkpoint has them: {"slot/name": array}, each array made when it is asked for."""
        return _NamedSlots({slot: self.model.view(flat) for slot, flat in self.slots().items()})

    def state_is_finite(self):
        """Say whether all that a checkpoint would hold is."""
        arrays = (self.result.flat, *self.slots().values(), *self.workspace.get_carry().values())
        return all(np.isfinite(array).all() for array in arrays)

    def gradient_is_finite(self):
        """Say whether the gradient in the workspace is."""
        return bool(np.isfinite(self.workspace.grads).all())

    def restore(self, checkpoint):
        """Make parameters, optimiser, carry and cursor what a checkpoint holds, in their own places.

        Raises ConfigError where it holds another optimiser's state, another carry, or a cursor of other streams.
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
    """Return the Learner of a Plan's run, which a group of processes trains.

    Its weights are drawn, or taken from an old model, or still to be restored from the checkpoint to go on from.
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
    """Return the Optimizer that the options ask for."""
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
