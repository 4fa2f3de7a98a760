"""Prepare a run before its clock starts: compile or load all kernels and measure their speed, without side effects.

This module knows plan, learner and validation; it decides nothing.
"""

import dataclasses
import math
import time

import numpy as np

from charrnn.kernels import entries, num_threads
from charrnn.kernels.ahead import compile_ahead
from charrnn.model.parameters import Model
from charrnn.model.precision import pack_of
from charrnn.model.workspace import Workspace
from charrnn.text.task_names import CLASSIFY
from charrnn.training.learner import make_learner, make_optimizer
from charrnn.training.records import Preflight

MEASURING_S = 0.3  # no call is begun after so long
MAX_CALLS = 5


def compile_kernels_ahead(config, group):
    """Start to compile on other cores what takes longest of a run's kernels, where it is not on disk yet."""
    if group.size > 1:  # the cores have a process each
        return
    cell, pack = config.cell, pack_of(config.precision)
    wanted = [entries.TRAIN[cell, pack], entries.GENERATE[cell], entries.READ[cell, 1], entries.WEIGHT_GRADIENTS]
    if pack > 1:
        wanted.append(entries.PAIR_GRADIENTS)
    compile_ahead([(items, config.dtype) for items in wanted])


def load_update_kernels(plan):
    """Compile or load the optimiser's kernels on a model of one unit: a step of the real one could not be undone."""
    config = plan.config
    tiny = Model(
        dataclasses.replace(plan.model_config, vocab_size=2, hidden_size=1, num_layers=1, embedding_size=0, tied=False)
    )
    workspace = Workspace(tiny, 1, 1, precision=config.precision)
    x = y = np.zeros((1, 1), np.int32)
    workspace.loss_and_grads(x, y)
    make_optimizer(config, tiny).step(workspace, 0.0, config.clip_norm, config.clip_value)


def measure_plan_s(plan, corpus):
    """Return the seconds of a step of a Plan's run forward and back, in one process."""
    learner = make_learner(plan, corpus)
    return measure_step_s(learner, 0, np.random.default_rng(0), time.perf_counter)


def measure_step_s(learner, step, rng, clock):
    """Return the seconds of a step forward and back; the carry is as before, the gradient is not."""
    carry = learner.workspace.get_carry()

    def run():
        learner.backward(*_random_chunk(rng, learner.workspace), step)

    run()
    step_s = _shortest_s(run, clock)
    learner.workspace.set_carry(carry)
    return step_s


def measure_validation_s(validation, model, rng, clock):
    """Return an estimate of the seconds of a validation, from the measured time of a chunk; 0.0 without a split."""
    workspace = validation.workspace(model)
    if workspace is None:
        return 0.0

    def run():
        workspace.losses(*_random_chunk(rng, workspace))

    run()
    return validation.estimate_s(_shortest_s(run, clock))


def make_preflight(plan, corpus, state, memory_bytes, step_s, duration_s, folder):
    """Return the Preflight for a Plan. The arguments after `state` are measured values, in bytes and seconds."""
    config, learner = plan.config, state.learner
    train, val, test = (stop - start for start, stop in plan.splits)
    return Preflight(
        corpus.own_characters,
        learner.model.config.vocab_size,
        train,
        val,
        test,
        learner.model.num_parameters,
        memory_bytes,
        num_threads(),
        config.batch_size,
        config.seq_length,
        plan.steps_per_epoch,
        state.step,
        plan.total_steps,
        step_s,
        duration_s,
        folder,
        corpus.count_items(plan.splits),
        unit="label" if config.task == CLASSIFY else "char",
        patience=config.patience,
        eval_every=config.eval_every,
        chosen=plan.chosen,
    )


def _random_chunk(rng, workspace):
    shape = 2, workspace.seq_length, workspace.batch_size
    return rng.integers(0, workspace.model.config.vocab_size, shape, dtype=np.int32)


def _shortest_s(function, clock):
    """Return the shortest time of a few calls."""
    shortest, begun = math.inf, clock()
    for _ in range(MAX_CALLS):
        start = clock()
        function()
        shortest = min(shortest, clock() - start)
        if clock() - begun > MEASURING_S:
            break
    return shortest
