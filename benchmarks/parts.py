"""A training step by part, and its weight gradients alone: the calls of the pool that a step makes, watched and timed.

shards             forward and back through all layers and steps, by shards of streams
weight gradients   all that is called after them, until the gradient is whole
update             the gradient's norm, and the optimiser
rest               what is before the shards (the weights transposed), Python, reading the chunk, waking threads
"""

import contextlib
import time
from typing import NamedTuple

from charrnn import bench
from charrnn.kernels import entries
from charrnn.kernels.pool import run_items
from charrnn.model import workspace
from charrnn.training import optimisers

PARTS = "shards", "weight gradients", "update", "rest"
STEP_S = 0.4  # a repetition of the profile is as many steps as take about so long


class Call(NamedTuple):
    """One call of the pool: what it was given, and the seconds it took."""

    caller: object
    arguments: tuple
    took_s: float


@contextlib.contextmanager
def watched():
    """Yield a list to which every call of the pool by a workspace or an optimiser is added meanwhile."""
    calls = []

    def watch(caller):
        def run(*arguments):
            begun = time.perf_counter()
            run_items(*arguments)
            calls.append(Call(caller, arguments, time.perf_counter() - begun))

        return run

    try:
        for caller in (workspace, optimisers):
            caller.run_items = watch(caller)
        yield calls
    finally:
        for caller in (workspace, optimisers):
            caller.run_items = run_items


def parts_of(calls, shards, update):
    """Return [(part, call)] of the calls of whole steps, in their order.

    shards    the address of the items that run the shards
    update    the caller that updates the model
    """
    found, part = [], "rest"
    for call in calls:
        if call.caller is update:
            found.append(("update", call))
            part = "rest"  # of the step after it
        elif call.arguments[0] == shards:
            found.append(("shards", call))
            part = "weight gradients"
        else:
            found.append((part, call))
    return found


def split_seconds(calls, shards, update, seconds):
    """Return {part: seconds} of `seconds` in which the calls were made."""
    parts = dict.fromkeys(PARTS, 0.0)
    for part, call in parts_of(calls, shards, update):
        parts[part] += call.took_s
    parts["rest"] += seconds - sum(parts.values())
    return parts


def shards_address(shape):
    """Return the address of the items that train a shard of a shape, in float32."""
    return entries.TRAIN[shape.cell, 1].address("float32")


class WeightGradients:
    """The weight gradients of a chunk alone, over and over on one thread, after one whole step. A run is one time.

    work    floating-point operations a run: a third of the step's products
    """

    def __init__(self, shape):
        training = bench.StepBench(shape, threads=1)
        self.work = training.flops // 3
        with watched() as calls:
            training.run(1)
        parts = parts_of(calls, shards_address(shape), optimisers)
        self._calls = [call.arguments for part, call in parts if part == "weight gradients"]
        self._training = training  # the arrays that the calls' tables point to
        self.run(1)

    def run(self, count):
        """Compute them `count` times; return the seconds they took."""
        begun = time.perf_counter()
        for _ in range(count):
            for arguments in self._calls:
                run_items(*arguments)
        return time.perf_counter() - begun


def profile(shape, threads, repeats, dropout=0.0):
    """Return what became of a step's time, float32, in repetitions that take turns with the peak.

    {"seconds": {part: [of a step]}, "peak_flops": [a second, of all threads], "flops": of a step's products}
    """
    training, peak = bench.StepBench(shape, dropout=dropout, threads=threads), bench.PeakBench(threads=threads)
    steps, rounds = bench.fit_count(training.run, STEP_S), bench.fit_count(peak.run, STEP_S / 4)
    found = {"seconds": {part: [] for part in PARTS}, "peak_flops": [], "flops": training.flops}
    for _ in range(repeats):
        with watched() as calls:
            seconds = training.run(steps)
        for part, spent in split_seconds(calls, shards_address(shape), optimisers, seconds).items():
            found["seconds"][part].append(spent / steps)
        found["peak_flops"].append(peak.work * rounds / peak.run(rounds))
    return found
