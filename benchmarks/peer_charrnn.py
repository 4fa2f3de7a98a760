"""charrnn's side: its own bench room, and whole runs of its trainer and its command for text size and memory."""

import os
import platform
import tempfile
import time
from pathlib import Path

import parts
import provenance

import charrnn
from charrnn import bench


def versions():
    import llvmlite.binding
    import numba
    import numpy

    return {
        "python": platform.python_version(),
        "charrnn": charrnn.__version__,
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "machine": {
            **bench.machine(),
            "generation": os.environ.get("NUMBA_CPU_NAME") or llvmlite.binding.get_host_cpu_name(),
            "core_cache_kb": provenance.core_cache_kb(),
        },
        "precisions": list(bench.supported_precisions()),
    }


def make(task):
    task = dict(task)
    return KINDS[task.pop("kind")](**task)


class _Made:
    """A measurement of the bench room, with what it says of itself."""

    def __init__(self, measurement, **info):
        self.run, self._measurement, self.info = measurement.run, measurement, info

    @property
    def work(self):
        return self._measurement.work


def _shape(cell, size, model=None):
    """Return the Shape. model: {"embedding_size", "layer_norm", "dropout"}, of which the last is no shape's."""
    return bench.Shape(cell, *size, **{name: value for name, value in (model or {}).items() if name != "dropout"})


def make_training(
    threads, cell, size, optimizer="adam", clip_norm=5.0, clip_value=0.0, precision="float32", model=None
):
    shape, dropout = _shape(cell, size, model), (model or {}).get("dropout", 0.0)
    training = bench.StepBench(shape, optimizer, clip_norm, clip_value, dropout, precision, threads)
    return _Made(training, flops=training.flops, parameters=training.model.num_parameters)


def make_sampling(threads, cell, size, streams):
    return _Made(bench.Sampling(_shape(cell, size), streams, threads), threads=threads)


def make_peak(threads, dtype="float32"):
    return _Made(bench.PeakBench(dtype, threads))


def make_cache(threads, source):
    return _Made(bench.CacheBench(source, threads))


def make_weights(threads, cell, size):
    return _Made(parts.WeightGradients(_shape(cell, size)))


class Profile:
    """A step by part: all of it is measured when it is made, and said in `info`."""

    work = 1

    def __init__(self, threads, cell, size, repeats, model=None):
        dropout = (model or {}).get("dropout", 0.0)
        self.info = parts.profile(_shape(cell, size, model), threads, repeats, dropout)


class Run:
    """The steps of a real run of the trainer over a text file, taken a few at a time. A run is one step.

    info   {"characters", "read_s"}: of the text, and how long it took to become ids
    """

    def __init__(self, threads, path, cell, size):
        from charrnn.kernels import set_num_threads
        from charrnn.runs.folder import RunFolder
        from charrnn.text.corpus import read_corpus
        from charrnn.training.options import TrainingConfig
        from charrnn.training.plan import plan_run
        from charrnn.training.trainer import Trainer

        set_num_threads(threads)
        H, L, B, T = size
        begun = time.perf_counter()
        self._corpus = read_corpus([path])
        self.info = {
            "characters": self._corpus.characters,
            "read_s": time.perf_counter() - begun,
            "vocab_size": self._corpus.vocabulary.size,
        }
        self.work = B * T
        config = TrainingConfig(
            cell=cell,
            hidden_size=H,
            num_layers=L,
            batch_size=B,
            seq_length=T,
            steps=10**9,
            learning_rate=1e-5,
            schedule="constant",
            val_fraction=0.0,
            test_fraction=0.0,
            eval_every=0,
            sample_every=0,
            log_every=10**9,
        )
        self._scratch = tempfile.TemporaryDirectory()
        self._folder = RunFolder.create(Path(self._scratch.name) / "run")
        self._records = Trainer(plan_run(config, self._corpus), self._corpus, self._folder, [path], samples=False).run()
        self.run(5)

    def run(self, count):
        begun = time.perf_counter()
        while count:
            count -= type(next(self._records)).__name__ == "Step"
        return time.perf_counter() - begun


class Command:
    """The whole of `charrnn train`, in this process: for the memory it takes. A run is a run."""

    work, info = 1, {}

    def __init__(self, threads, arguments):
        self._arguments = arguments

    def run(self, count):
        from charrnn.cli import main

        begun = time.perf_counter()
        for _ in range(count):
            with tempfile.TemporaryDirectory() as scratch:
                code = main([*self._arguments, "-o", str(Path(scratch) / "run")])
                if code != 0:
                    raise RuntimeError(f"charrnn {' '.join(self._arguments)} ended with {code}")
        return time.perf_counter() - begun


KINDS = {
    "training": make_training,
    "sampling": make_sampling,
    "peak": make_peak,
    "cache": make_cache,
    "weights": make_weights,
    "profile": Profile,
    "run": Run,
    "command": Command,
}
