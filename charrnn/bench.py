"""Measure this machine: its multiply-add peak, whole training steps, sampling, and what a user may expect of them.

A measurement is an object that is made once (everything compiled and warm) and then timed in repetitions, `run(count)`,
so that several can take turns: clocks wander on shared machines, and only what was measured side by side is compared.
Knows models and clocks; knows no file, no terminal and no other program: those are benchmarks/.
"""

import contextlib
import math
import os
import platform
import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from charrnn.files.machine import available_memory, core_cache_bytes, cpu_name, total_memory
from charrnn.kernels import max_threads, num_threads, set_num_threads
from charrnn.kernels.entries import PEAK, READ_WEIGHTS, fill_tiles
from charrnn.kernels.host import TILE_ROWS, has_bfloat16, isa, lanes_of_dtype
from charrnn.kernels.layout import USUAL_CACHE_BYTES
from charrnn.kernels.pool import run_items
from charrnn.kernels.records import READ_WIDTH, UNROLLED, PeakTable, ReadTable, numbers_per_item
from charrnn.kernels.table import Table
from charrnn.model.buffers import aligned_zeros
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.spec import CELLS, PRECISIONS, ModelConfig
from charrnn.text.streams import Streams
from charrnn.training import memory
from charrnn.training.defaults import BATCH_SIZE, DEFAULT_MINUTES, LEARNING_RATES, SEQ_LENGTH
from charrnn.training.optimisers import Optimizer
from charrnn.training.options import DEFAULTS

VOCAB_SIZE = 65  # of tinyshakespeare
TEMPERATURE = 0.8
REPEATS = 7
REPETITION_S = 0.25  # a repetition is as many runs as take about so long
STREAM_CHUNKS = 50  # of the text that is trained on: it is read again and again
MAX_FALL = 0.1  # of a peak, or of what caches bring, below the best of a run: then others have a part of the machine
CACHES = "l2", "memory"  # what a CacheBench reads from


@dataclass(frozen=True)
class Shape:
    """What is trained: a model and a batch. Raises ConfigError through ModelConfig and Streams."""

    cell: str
    hidden_size: int
    num_layers: int
    batch_size: int
    seq_length: int
    vocab_size: int = VOCAB_SIZE
    embedding_size: int = 0
    layer_norm: bool = False

    def model_config(self):
        return ModelConfig(
            self.cell,
            self.vocab_size,
            self.hidden_size,
            self.num_layers,
            self.embedding_size,
            layer_norm=self.layer_norm,
        )


# H x L, B, T of the published comparison, and of a run with nothing asked for but the cell.
SHAPES = ((128, 2, 50, 50), (256, 2, 64, 64), (512, 2, 50, 50), (512, 3, 100, 100))
MIN_CHAR_RNN = (100, 1, 1, 25)
DEFAULT_SHAPE = (DEFAULTS.hidden_size, DEFAULTS.num_layers, BATCH_SIZE, SEQ_LENGTH)
# What the published comparison has not.
DEFAULT_MODEL = {"embedding_size": DEFAULTS.embedding_size, "layer_norm": DEFAULTS.layer_norm}
DEFAULT_DROPOUT = 0.2  # of a run over some epochs


def step_flops(shape):
    """Count the floating-point operations of a training step's matrix products: two a multiply-add.

        forward    a row reads H through G H x H recurrent weights in every layer, through as many input weights in
                   every layer but the first, there with an embedding of D through G H x D, and through V x H output
                   weights
        backward   as many again for the gradient of what was read, and as many again for that of the weights

    The first layer looks a one-hot character up: no product, neither forward nor back. Gates, softmax, clipping and the
    update are not counted, though they are timed: a share of the peak is a share for the products alone.
    """
    H, G = shape.hidden_size, len(CELLS[shape.cell].blocks)
    products = G * H * (H * (2 * shape.num_layers - 1) + shape.embedding_size) + H * shape.vocab_size
    return 3 * 2 * products * shape.batch_size * shape.seq_length


def supported_precisions():
    """Return the precisions that this CPU can train in."""
    return PRECISIONS if has_bfloat16() else ("float32",)


@contextlib.contextmanager
def on_threads(threads):
    """Let the kernels use so many threads meanwhile."""
    before = num_threads()
    set_num_threads(threads)
    try:
        yield
    finally:
        set_num_threads(before)


def multiply_adds(numbers, rounds, workers=1):
    """Take every item's vectors through x = a x + b, rounds*UNROLLED times, on `workers` threads.

    numbers   (items, numbers_per_item(dtype)) float32 or float64, contiguous: a, b, then the vectors, written
    Returns the floating-point operations done: two a multiply-add and lane.
    """
    table = Table(PeakTable)
    table.set(rounds=rounds, item_size=numbers.shape[1], numbers=numbers)
    run_items(PEAK.address(numbers.dtype.name), table.words, len(numbers), workers)
    return 2 * rounds * UNROLLED * len(numbers) * (numbers.shape[1] - 2)


class StepBench:
    """Whole training steps: read a chunk, forward, loss, backward, clip, update.

    optimizer, clip_norm, clip_value, dropout   as in TrainingConfig
    work       characters a run (of one step)
    flops      of a run
    """

    def __init__(
        self, shape, optimizer="adam", clip_norm=5.0, clip_value=0.0, dropout=0.0, precision="float32", threads=None
    ):
        rng = np.random.default_rng(0)
        B, T = shape.batch_size, shape.seq_length
        text = rng.integers(0, shape.vocab_size, B * T * STREAM_CHUNKS + 1).astype(
            np.uint8 if shape.vocab_size <= 256 else np.uint32
        )
        self.work, self.flops, self.threads = B * T, step_flops(shape), threads or num_threads()
        self._streams = Streams(text, 0, len(text), B, T)
        # Small steps: the loss stays where an untrained model's is, however long it is timed.
        self._rate = LEARNING_RATES[optimizer] / 100
        self._clip_norm, self._clip_value = clip_norm, clip_value
        self._dropout = Dropout(dropout) if dropout else None
        self.model = Model.initialise(shape.model_config(), 0)
        self._workspace = Workspace(self.model, B, T, precision=precision)
        self._optimizer = Optimizer(optimizer, self.model)
        self._step = 0
        self.run(2)

    def run(self, count):
        """Make `count` steps; return the seconds they took."""
        with on_threads(self.threads):
            begun = time.perf_counter()
            for _ in range(count):
                if self._streams.at_epoch_start:
                    self._workspace.reset_carry()
                x, y = self._streams.next_chunk()
                loss = self._workspace.loss_and_grads(x, y, self._dropout, self._step)
                norm = self._optimizer.step(self._workspace, self._rate, self._clip_norm, self._clip_value)
                self._step += 1
            took = time.perf_counter() - begun
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ArithmeticError("the measured training diverged, so its speed has no meaning")
        return took


class Sampling:
    """Draw characters at temperature 0.8 for `streams` streams.

    work   characters a run: one of every stream
    """

    def __init__(self, shape, streams=1, threads=1, model=None):
        self.work, self.threads = streams, threads
        self._sampler = Sampler(
            model or Model.initialise(shape.model_config(), 0), Settings(temperature=TEMPERATURE), num_samples=streams
        )
        self._sampler.prime(np.zeros(1, np.int32))
        self.run(8)

    def run(self, count):
        """Draw `count` characters of every stream; return the seconds it took."""
        with on_threads(self.threads):
            begun = time.perf_counter()
            for _ in self._sampler.generate(count):
                pass
            return time.perf_counter() - begun


class PeakBench:
    """Multiply-adds on registers, on every one of `threads` at once.

    work   floating-point operations a run
    """

    ROUNDS = 5000  # a run: 5 ms where 118 GFLOP/s are done with 20 vectors of 16

    def __init__(self, dtype="float32", threads=None):
        self.threads = threads or num_threads()
        # a = b = x/2 = 0.5 is the fixed point 1: no number grows or fades however long it goes on.
        self._numbers = np.full((self.threads, numbers_per_item(dtype)), 0.5, dtype)
        self.run(1)

    def run(self, count):
        """Do `count` runs; return the seconds they took."""
        with on_threads(self.threads):
            begun = time.perf_counter()
            flops = multiply_adds(self._numbers, count * self.ROUNDS, self.threads)
            took = time.perf_counter() - begun
        self.work = flops // count
        return took


class CacheBench:
    """Products of weights that lie in a core's second cache, or beyond it, on every one of `threads` at once.

    source  "l2": tiles as training has them, of weights that fill half of that cache; work: operations a run
            "memory": one row, of weights four times its size; work: bytes of weights a run
    """

    K = 128

    def __init__(self, source, threads=None):
        self.threads, inside = threads or num_threads(), source == "l2"
        rows, width = TILE_ROWS[isa()][READ_WIDTH] if inside else 1, READ_WIDTH * lanes_of_dtype("float32")
        weights = int((0.5 if inside else 4) * (core_cache_bytes() or USUAL_CACHE_BYTES)) // 4
        panels = weights // (self.K * width)
        size = rows * (self.K + width) + panels * self.K * width
        numbers = aligned_zeros(self.threads * size, "float32")
        numbers += np.float32(1)  # pages that were only reserved would all be one page of zeros
        self._table = Table(ReadTable)
        self._table.set(rows=rows, K=self.K, panels=panels, item_size=size, numbers=numbers)
        fill_tiles(self._table.words, (READ_WIDTH,), (), "float32")
        self.work = self.threads * panels * self.K * width * (2 * rows if inside else 4)
        self.run(1)

    def run(self, count):
        """Do `count` runs; return the seconds they took."""
        self._table.set(rounds=count)
        with on_threads(self.threads):
            begun = time.perf_counter()
            run_items(READ_WEIGHTS.address("float32"), self._table.words, self.threads, self.threads)
            return time.perf_counter() - begun


@dataclass(frozen=True)
class Timing:
    """What came of one measurement: the work a second of each repetition, `rates`, and their median, `rate`."""

    rates: tuple

    @property
    def rate(self):
        return statistics.median(self.rates)


def fit_count(run, target_s=REPETITION_S):
    """Return how many runs take about target_s, at least 1, by trying: run(count) returns seconds."""
    count, took = 1, run(1)
    while took < target_s / 4 and count < 1 << 40:
        count = max(2 * count, int(count * min(50, target_s / 2 / max(took, 1e-9))))
        took = run(count)
    return max(1, round(count * target_s / took))


def _nobody(_share):
    """Take no notice of how far a measurement is."""


def measure(
    measurements, repeats=REPEATS, budget_s=math.inf, target_s=REPETITION_S, clock=time.perf_counter, progress=_nobody
):
    """Time measurements in turns; return a Timing for each.

    budget_s   no repetition, beyond the third, is begun after so many seconds
    clock      returns seconds; the budget goes by it
    progress   called with a share from 0 to 1 between two repetitions
    """
    counts = [fit_count(measurement.run, target_s) for measurement in measurements]
    rates = [[] for _ in measurements]
    begun = clock()
    for repetition in range(repeats):
        elapsed_s = clock() - begun
        if repetition >= 3 and elapsed_s > budget_s:
            break
        progress(max(repetition / repeats, min(repetition / 3, elapsed_s / max(budget_s, 1e-9), 1.0)))
        for measurement, count, row in zip(measurements, counts, rates):
            row.append(measurement.work * count / measurement.run(count))
    return [Timing(tuple(row)) for row in rates]


def check_memory(shape):
    """Raise ConfigError where a shape does not fit into the memory that is free."""
    memory.check_memory(
        memory.memory_needed(shape.model_config(), shape.batch_size, shape.seq_length), available_memory()
    )


@dataclass(frozen=True)
class ShapeResult:
    """What was measured of one shape, and the peak of the machine before, meanwhile and after.

    caches_before, caches_after    {source: what a CacheBench did a second}
    """

    shape: Shape
    parameters: int
    training_chars_per_s: float
    peak_share: float
    peak_gflops: float
    sampling_chars_per_s: float
    training_repeats: int
    peak_before_gflops: float
    peak_after_gflops: float
    caches_before: dict = field(default_factory=dict)
    caches_after: dict = field(default_factory=dict)


def measure_shape(shape, repeats=REPEATS, budget_s=5.0, threads=None, dropout=0.0, progress=_nobody):
    """Measure training and sampling of one shape beside the peak, in turns.

    progress    called with a share from 0 to 1 now and then
    """
    check_memory(shape)
    training = StepBench(shape, dropout=dropout, threads=threads)
    both = [training, PeakBench(threads=training.threads)]
    probes = [CacheBench(source, training.threads) for source in CACHES]
    before, caches_before = peak_now(both[1]), caches_now(probes)
    trained, peak = measure(both, repeats, budget_s, progress=lambda share: progress(0.8 * share))
    (sampled,) = measure(
        [Sampling(shape, model=training.model)],
        repeats,
        budget_s / 4,
        target_s=0.1,
        progress=lambda share: progress(0.8 + 0.2 * share),
    )
    share = statistics.median(t / p for t, p in zip(trained.rates, peak.rates)) * training.flops / training.work
    return ShapeResult(
        shape,
        training.model.num_parameters,
        trained.rate,
        share,
        peak.rate / 1e9,
        sampled.rate,
        len(trained.rates),
        before,
        peak_now(both[1]),
        caches_before,
        caches_now(probes),
    )


def caches_now(probes):
    """Return {source: what one of `probes`, of CACHES, does a second at this moment}."""
    timings = [measure([probe], 3, target_s=0.05)[0] for probe in probes]
    return {source: timing.rate for source, timing in zip(CACHES, timings)}


def peak_now(peak):
    """Return the GFLOP/s that a PeakBench does at this moment: the median of three short repetitions."""
    (timing,) = measure([peak], 3, target_s=0.05)
    return timing.rate / 1e9


def measure_peaks(repeats=REPEATS):
    """Return {threads: GFLOP/s in float32} for one thread and as many as are set."""
    threads = num_threads()
    peaks = [PeakBench(threads=n) for n in sorted({1, threads})]
    return {peak.threads: timing.rate / 1e9 for peak, timing in zip(peaks, measure(peaks, repeats, target_s=0.1))}


def is_down(peak, best):
    """Tell whether a peak is so far below the best of its run that other processes must have had a part of the CPU."""
    return peak < (1 - MAX_FALL) * best


@dataclass(frozen=True)
class Disturbance:
    """How disturbed the machine was while shapes were measured, by its peak and its caches beside each and between.

    falls   {"peak" or source: the share of its best that was missing at worst}; the peak at the start counts too
    rows    for each shape whether one of them was down while it was measured
    """

    best_gflops: float
    lowest_gflops: float
    falls: dict
    rows: tuple

    @property
    def fall(self):
        """The share of the best peak that was missing at worst."""
        return self.falls["peak"]

    @property
    def disturbed(self):
        return any(is_down(1 - fall, 1) for fall in self.falls.values())


def disturbance(peaks, results):
    """Return the Disturbance of a run. peaks: as measure_peaks gave them at its start; results: ShapeResults."""
    start = peaks[max(peaks)]
    seen = {"peak": [(r.peak_before_gflops, r.peak_gflops, r.peak_after_gflops) for r in results]}
    if all(r.caches_before for r in results):
        seen |= {source: [(r.caches_before[source], r.caches_after[source]) for r in results] for source in CACHES}
    best = {name: max(map(max, rows)) for name, rows in seen.items()}
    lowest = {name: min(map(min, rows)) for name, rows in seen.items()}
    best["peak"], lowest["peak"] = max(start, best["peak"]), min(start, lowest["peak"])
    falls = {name: 1 - lowest[name] / best[name] for name in seen}
    down = [any(is_down(min(rows[r]), best[name]) for name, rows in seen.items()) for r in range(len(results))]
    return Disturbance(best["peak"], lowest["peak"], falls, tuple(down))


def expectation(cell, precision, chars_per_s):
    """Say in a sentence what `charrnn train` with its own settings does at this speed."""
    read = chars_per_s * DEFAULT_MINUTES * 60
    H, L, B, T = DEFAULT_SHAPE
    option = "" if cell == DEFAULTS.cell else f" --cell {cell}"
    return (
        f"charrnn train{option} with its own settings ({L} x {H}, {B} streams of {T}, {precision}) reads about "
        f"{rounded(chars_per_s):,} characters/s here: {rounded(read):,} in {DEFAULT_MINUTES:g} minutes, that is "
        f"{_passes(read / 1e6)} over 1 MB of text, or {_passes(read / 1e7)} over 10 MB."
    )


def rounded(value):
    """Round to two significant digits: more would be noise."""
    if value <= 0:
        return 0
    digits = math.floor(math.log10(value)) - 1
    return int(round(value / 10**digits) * 10**digits) if digits >= 0 else round(value)


def _passes(number):
    shown = f"{number:.0f}" if number >= 9.5 else f"{number:.1f}"
    return f"{shown} {'pass' if shown == '1.0' else 'passes'}"


def machine():
    """Return what a figure is worth nothing without: {"cpu", "isa", "cores", "threads", "memory_gb", "system"}."""
    return {
        "cpu": cpu_name(),
        "isa": isa(),
        "cores": os.cpu_count(),
        "threads": max_threads(),
        "memory_gb": round((total_memory() or 0) / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }
