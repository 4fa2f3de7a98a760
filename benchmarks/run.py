"""Measure charrnn beside PyTorch and a plain NumPy loop, and write docs/BENCHMARKS.md.

    python benchmarks/run.py                                  everything, about an hour
    python benchmarks/run.py --only training --cells lstm     a part; what was measured before stays
    python benchmarks/run.py --only sampling,startup --quick  short, to see that it works: shown, nothing is written

Every side lives in a process of its own (workers.py), is compiled and warm, and takes its turn in every repetition; the
figures are medians of at least 7. Between the rows the multiply-add peak tells whether the machine is disturbed. Needs
torch (pip install torch==2.13.0, the CPU build).
"""

import argparse
import contextlib
import datetime
import importlib.util
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import provenance  # noqa: E402
import report  # noqa: E402
from results import CELLS, Results  # noqa: E402
from workers import Side, Worker, WorkerError  # noqa: E402

from charrnn.bench import DEFAULT_MODEL, DEFAULT_SHAPE, MIN_CHAR_RNN, SHAPES, measure, peak_now  # noqa: E402
from charrnn.training.options import DEFAULTS  # noqa: E402

NARROW_VECTORS = {"NUMBA_CPU_NAME": "haswell"}  # the environment in which kernels use vectors of 256 bits
INPUTS = ("one-hot", "embedding")
STREAMS = (1, 64)


class Bench:
    """What every section needs: the workers, the settings, and where results go."""

    def __init__(self, options, results):
        self.options, self.results, self.quick = options, results, options.quick
        self.threads, self.cells = options.threads, options.cells
        self.repeats = options.repeats or (3 if options.quick else 7)
        self.target_s = 0.1 if options.quick else 0.5
        self.charrnn = Worker("charrnn", self.threads)
        self.torch = Worker("torch", self.threads)
        versions = {**self.charrnn.versions, **self.torch.versions}
        self.machine, self.precisions = versions.pop("machine"), versions.pop("precisions")
        if self.machine["isa"] == "avx512":
            self.machine["wide_over_narrow"] = self._wide_over_narrow()
        self._peak = Side("peak", self.charrnn, kind="peak")
        self.run = {
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": "python benchmarks/run.py"
            + "".join(f" {shlex.quote(a)}" for a in what_is_measured(options.arguments)),
            "commit": provenance.commit(ROOT),
            "machine": {**self.machine, "threads": self.threads},
            "versions": versions,
            "quick": self.quick,
            "peaks": [],
        }
        self.peak()

    def _wide_over_narrow(self):
        """Return how many times as fast multiply-adds are on vectors of 512 bits as on those of 256, on one thread."""
        with Worker("charrnn", 1, NARROW_VECTORS) as narrow:
            peaks = [Side("peak", worker, kind="peak", threads=1) for worker in (self.charrnn, narrow)]
            wide, narrow = measure(peaks, self.repeats, target_s=0.1)
            peaks[0].drop()
        return round(statistics.median(a / b for a, b in zip(wide.rates, narrow.rates)), 3)

    def peak(self):
        """Measure the peak at this moment, and keep it for the run; return GFLOP/s."""
        self.run["peaks"].append(float(f"{peak_now(self._peak):.6g}"))
        return self.run["peaks"][-1]

    def close(self):
        self.charrnn.close()
        self.torch.close()

    def shapes(self, shapes=SHAPES):
        """Return {name: (H, L, B, T)} of the shapes that were asked for."""
        named = {f"{H}x{L}, {B}, {T}": (H, L, B, T) for H, L, B, T in shapes}
        wanted = self.options.shapes
        return {name: size for name, size in named.items() if not wanted or name.split(",")[0] in wanted}

    def race(self, section, key, makers, meanwhile=None, **more):
        """Time sides in turns and keep the row.

        makers       {label: (worker, task)}
        meanwhile    a context in which they are timed; the peaks before and after are measured outside
        """
        self.say(section, key)
        sides = []
        try:
            for label, (worker, task) in makers.items():
                sides.append(Side(label, worker, **task))
            with self.row(section, key) as row:
                with meanwhile or contextlib.nullcontext():
                    timings = measure(sides, self.repeats, target_s=self.target_s)
                row.update(
                    repeats=self.repeats,
                    **more,
                    sides={
                        side.label: {
                            "rates": [float(f"{rate:.6g}") for rate in timing.rates],
                            "work": side.work,
                            **side.info,
                        }
                        for side, timing in zip(sides, timings)
                    },
                )
        finally:
            for side in sides:
                side.drop()

    @contextlib.contextmanager
    def row(self, section, key):
        """Yield a dict to fill; keep it as a row, with the peaks before and after."""
        row = {}
        before = self.peak()
        yield row
        row["peak"] = {"before": before, "after": self.peak()}
        self.results.put(self.run, section, key, row)

    def end(self):
        """Measure the peak a last time, and keep what the run knows now."""
        self.peak()
        self.results.end(self.run)

    def say(self, section, what):
        print(f"{section}: {what}", file=sys.stderr, flush=True)

    def torch_sides(self, task, threads=None):
        """Return PyTorch's makers for a task: its two natural inputs, on as many threads as asked."""
        makers = {}
        for count in threads or (self.threads,):
            for name in INPUTS:
                label = f"torch {name}" + ("" if count == self.threads else f", {count} thread")
                makers[label] = self.torch, {**task, "input": name, "threads": count}
        return makers


def training(bench):
    """Whole steps at the published shapes, beside the peak and PyTorch."""
    for cell in bench.cells:
        for name, size in bench.shapes().items():
            task = {"kind": "training", "cell": cell, "size": size}
            bench.race(
                "training",
                f"{cell} {name}",
                {
                    "charrnn": (bench.charrnn, task),
                    "peak": (bench.charrnn, {"kind": "peak"}),
                    **bench.torch_sides(task),
                },
                cell=cell,
                size=size,
            )


def default(bench):
    """Whole steps of the model that `charrnn train` trains of itself, with its dropout, beside the peak."""
    model = {**DEFAULT_MODEL, "dropout": DEFAULTS.dropout}
    for cell in bench.cells:
        task = {"kind": "training", "cell": cell, "size": DEFAULT_SHAPE, "model": model}
        makers = {"charrnn": (bench.charrnn, task), "peak": (bench.charrnn, {"kind": "peak"})}
        bench.race("default", cell, makers, cell=cell, size=DEFAULT_SHAPE, model=model)


def weights(bench):
    """Time the weight gradients alone, on one thread, beside its peak."""
    for cell in bench.cells:
        for name, size in bench.shapes().items():
            makers = {
                "charrnn": (bench.charrnn, {"kind": "weights", "cell": cell, "size": size}),
                "peak, 1 thread": (bench.charrnn, {"kind": "peak", "threads": 1}),
            }
            bench.race("weights", f"{cell} {name}", makers, cell=cell, size=size)


def parts(bench):
    """Split the time of an LSTM's step by part: two published shapes and the default model, on all threads and one."""
    default = {**DEFAULT_MODEL, "dropout": DEFAULTS.dropout}
    tasks = [(name, {"size": size}) for name, size in bench.shapes([SHAPES[0], SHAPES[2]]).items()]
    tasks.append(("default model", {"size": DEFAULT_SHAPE, "model": default}))
    for name, task in tasks:
        for count in sorted({1, bench.threads}, reverse=True):
            key = f"lstm {name}, {count} thread{'s' if count > 1 else ''}"
            bench.say("parts", key)
            with bench.row("parts", key) as row:
                profile = {"kind": "profile", "cell": "lstm", "threads": count, "repeats": bench.repeats, **task}
                made = Side("parts", bench.charrnn, **profile)
                row.update(repeats=bench.repeats, cell="lstm", threads=count, **task, **made.info)
                made.drop()


def minchar(bench):
    """Time the min-char-rnn shape: every cell with Adam beside PyTorch.

    The vanilla cell is timed as min-char-rnn trains it too, beside NumPy.
    """
    size = MIN_CHAR_RNN
    threads = sorted({1, bench.threads}, reverse=True)
    adagrad = {"optimizer": "adagrad", "clip_norm": 0.0, "clip_value": 5.0}
    for cell in bench.cells:
        task = {"kind": "training", "cell": cell, "size": size}
        bench.race(
            "minchar",
            f"{cell}, Adam",
            {**_on_threads(bench, task, threads), **bench.torch_sides(task, threads)},
            cell=cell,
            size=size,
        )
    if "rnn" in bench.cells:
        task = {"kind": "training", "cell": "rnn", "size": size, **adagrad}
        with Worker("numpy", bench.threads) as numpy:
            bench.race(
                "minchar",
                "rnn, Adagrad",
                {
                    **_on_threads(bench, task, threads),
                    **bench.torch_sides(task, threads),
                    "numpy": (numpy, {"kind": "training", "size": size}),
                },
                cell="rnn",
                size=size,
            )


def _on_threads(bench, task, threads):
    return {
        "charrnn" if count == bench.threads else f"charrnn, {count} thread": (bench.charrnn, {**task, "threads": count})
        for count in threads
    }


def sampling(bench):
    """Drawing characters at temperature 0.8: one stream, and 64 as a batch."""
    for cell in bench.cells:
        for name, size in bench.shapes().items():
            for streams in STREAMS:
                task = {"kind": "sampling", "cell": cell, "size": size, "streams": streams}
                threads = sorted({1, bench.threads}, reverse=True) if streams == 1 else None
                without = {
                    f"no oneDNN, {label}": (worker, {**kind, "onednn": False})
                    for label, (worker, kind) in bench.torch_sides(task, threads).items()
                }
                bench.race(
                    "sampling",
                    f"{cell} {name.split(',')[0]}, {streams}",
                    {"charrnn": (bench.charrnn, task), **bench.torch_sides(task, threads), **without},
                    cell=cell,
                    size=size,
                    streams=streams,
                )


def startup(bench):
    """Starting: the help, a first character from a warm cache and from an empty one."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "text.txt").write_text(
            "All happy families are alike; each unhappy family is unhappy in its own way.\n" * 60
        )
        environment = _environment(bench, scratch / "warm")
        charrnn = [sys.executable, "-m", "charrnn"]
        run = scratch / "run"
        bench.say("startup", "making a checkpoint")
        subprocess.run(
            [*charrnn, "train", "text.txt", "--steps", "1", "--no-sample", "-q", "-o", run],
            cwd=scratch,
            env=environment,
            check=True,
            capture_output=True,
        )
        sample = [*charrnn, "sample", run, "--length", "1", "--seed", "1"]
        subprocess.run(sample, cwd=scratch, env=environment, check=True, capture_output=True)

        def timed(arguments, environment):
            begun = time.perf_counter()
            done = subprocess.run(arguments, cwd=scratch, env=environment, check=True, capture_output=True, text=True)
            return time.perf_counter() - begun, "compiling" in done.stderr

        for key, arguments, cache in (
            ("charrnn --help", [*charrnn, "--help"], "warm"),
            ("charrnn sample --length 1", sample, "warm"),
            ("charrnn sample --length 1, empty cache", sample, "empty"),
        ):
            bench.say("startup", key)
            seconds, said = [], []
            with bench.row("startup", key) as row:
                for _ in range(bench.repeats if cache == "warm" or not bench.quick else 1):
                    folder = scratch / cache
                    if cache == "empty":
                        shutil.rmtree(folder, ignore_errors=True)
                    took, compiles = timed(arguments, _environment(bench, folder))
                    seconds.append(took)
                    said.append(compiles)
                row.update(repeats=len(seconds), seconds=seconds, says_it_compiles=all(said))


def _environment(bench, cache):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CHARRNN_CACHE_DIR": str(cache),
        "NUMBA_NUM_THREADS": str(bench.threads),
    }


def memory(bench):
    """The most memory that a process training 512x3, 100, 100 ever has; what its imports take of that."""
    size, cell = SHAPES[-1], "lstm"
    if bench.quick:
        size = SHAPES[0]
    with Worker("charrnn", bench.threads) as warm:  # what is compiled here is only loaded below
        warm.make({"kind": "training", "cell": cell, "size": [8, 1, 2, 3]})
    row = {"repeats": 1, "cell": cell, "size": size, "bytes": {}}
    tasks = {"charrnn": ("charrnn", {"kind": "training"})}
    tasks.update(
        {f"torch {name}": ("torch", {"kind": "training", "input": name, "update": "fused"}) for name in INPUTS}
    )
    for label, (peer, task) in tasks.items():
        bench.say("memory", label)
        with Worker(peer, bench.threads) as worker:
            imports = worker.memory()["now"]
            name, _ = worker.make({**task, "cell": cell, "size": size})
            worker.time(name, 2)
            row["bytes"][label] = {"imports": imports, "peak": worker.memory()["peak"]}
    bench.say("memory", "charrnn train")
    with tempfile.TemporaryDirectory() as scratch, Worker("charrnn", bench.threads) as worker:
        text = Path(scratch) / "text.txt"
        write_text(text, 2 << 20)
        H, L, B, T = size
        name, _ = worker.make(
            {
                "kind": "command",
                "arguments": [
                    "train",
                    str(text),
                    "--hidden-size",
                    str(H),
                    "--num-layers",
                    str(L),
                    "--batch-size",
                    str(B),
                    "--seq-length",
                    str(T),
                    "--embedding-size",
                    "0",
                    "--no-layer-norm",
                    "--steps",
                    "3",
                    "--dropout",
                    "0",
                    "--val-fraction",
                    "0.01",
                    "--test-fraction",
                    "0.01",
                    "--no-sample",
                    "-q",
                ],
            }
        )
        imports = worker.memory()["now"]
        worker.time(name, 1)
        row["bytes"]["charrnn train"] = {"imports": imports, "peak": worker.memory()["peak"]}
    with bench.row("memory", f"{cell} {size[0]}x{size[1]}, {size[2]}, {size[3]}") as kept:
        kept.update(row)  # bytes, which no other process disturbs


def threads(bench):
    """One thread against two and all; report.py estimates from them what more cores would do."""
    if bench.threads == 1:
        return bench.say("threads", "there is one thread only: nothing to compare")
    for cell in bench.cells:
        for name, size in bench.shapes([SHAPES[2]] if bench.quick else SHAPES).items():
            makers = {}
            for count in _powers(bench.threads):
                task = {"kind": "training", "cell": cell, "size": size, "threads": count}
                makers[f"charrnn {count}"] = bench.charrnn, task
                makers[f"peak {count}"] = bench.charrnn, {"kind": "peak", "threads": count}
                makers[f"torch {count}"] = bench.torch, {**task, "input": "one-hot"}
            bench.race("threads", f"{cell} {name}", makers, cell=cell, size=size)


def _powers(most):
    """Return 1, 2, 4, ... and `most`."""
    return sorted({most, *(2**n for n in range(most.bit_length()) if 2**n <= most)})


def busy(bench):
    """While another process keeps one core busy, and without it."""
    for cell in bench.cells:
        for name, size in bench.shapes([SHAPES[0]] if bench.quick else [SHAPES[0], SHAPES[2]]).items():
            task = {"kind": "training", "cell": cell, "size": size}
            for state in ("idle", "busy"):
                bench.race(
                    "busy",
                    f"{cell} {name}, {state}",
                    {"charrnn": (bench.charrnn, task), **bench.torch_sides(task)},
                    meanwhile=spinner() if state == "busy" else None,
                    cell=cell,
                    size=size,
                    state=state,
                )


@contextlib.contextmanager
def spinner():
    """Keep one core busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def scaling(bench):
    """How cost grows with T, B, H: charrnn's default model with one size changed."""
    H, L, B, T = 256, 2, 64, 64
    series = {
        "T": [(H, L, B, t) for t in (16, 32, 64, 128, 256)],
        "B": [(H, L, b, T) for b in (1, 4, 16, 64, 256)],
        "H": [(h, L, B, T) for h in (64, 128, 256, 512, 1024)],
    }
    for cell in bench.cells[:1]:
        for letter, sizes in series.items():
            sizes = sizes[:3] if bench.quick else sizes
            place = "HLBT".index(letter)
            makers = {
                str(size[place]): (bench.charrnn, {"kind": "training", "cell": cell, "size": size}) for size in sizes
            }
            bench.race(
                "scaling",
                f"{cell} {letter}",
                {**makers, "peak": (bench.charrnn, {"kind": "peak"})},
                cell=cell,
                letter=letter,
                base=(H, L, B, T),
            )


def corpus(bench):
    """Characters a second against the size of the text, through the trainer that `charrnn train` runs."""
    megabytes = (1, 10) if bench.quick else (1, 10, 100, 1000)
    with tempfile.TemporaryDirectory() as scratch:
        free = shutil.disk_usage(scratch).free
        megabytes = [size for size in megabytes if 2.5e6 * size < free]  # the text, and its ids
        makers = {}
        for size in megabytes:
            path = Path(scratch) / f"{size}.txt"
            bench.say("corpus", f"writing {size} MB")
            write_text(path, size * 10**6)
            makers[f"{size} MB"] = (
                bench.charrnn,
                {"kind": "run", "path": str(path), "cell": "lstm", "size": DEFAULT_SHAPE},
            )
        bench.race("corpus", "lstm", makers, cell="lstm", size=DEFAULT_SHAPE)


def bfloat16(bench):
    """Training in bfloat16, where charrnn knows it, beside its own float32 and PyTorch's autocast."""
    for name, size in bench.shapes([SHAPES[0]] if bench.quick else SHAPES).items():
        task = {"kind": "training", "cell": "lstm", "size": size}
        half = {**task, "precision": "bfloat16"}
        makers = {"charrnn float32": (bench.charrnn, task)}
        if "bfloat16" in bench.precisions:
            makers["charrnn bfloat16"] = bench.charrnn, half
        else:
            bench.say("bfloat16", "this charrnn trains in float32 only")
        for key, maker in bench.torch_sides(half).items():
            makers[f"{key}, autocast"] = maker
        bench.race("bfloat16", f"lstm {name}", makers, cell="lstm", size=size)


SECTIONS = {
    section.__name__: section
    for section in (
        training,
        default,
        weights,
        parts,
        minchar,
        sampling,
        startup,
        memory,
        threads,
        busy,
        scaling,
        corpus,
        bfloat16,
    )
}


def write_text(path, size):
    """Write `size` characters of invented words, always of the same 65 different characters."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    symbols = letters + letters.upper() + " \n.,;:!?'-&$3"
    words = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(5000)]
    words += [word.capitalize() for word in words[:1500]]

    def block():
        text = " ".join(rng.choices(words, k=170_000))
        return (
            re.sub("(.{40,70}?) ", lambda m: m[1] + rng.choice(",;:!?.-'") + "\n", text)[: 1_000_000 - len(symbols)]
            + symbols
        )

    blocks = [block() for _ in range(min(8, -(-size // 1_000_000)))]
    with open(path, "w", encoding="ascii", newline="\n") as file:
        while size > 0:
            file.write(rng.choice(blocks)[-size:])  # its end has every character
            size -= len(blocks[0])


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])

    def listed(allowed):
        def convert(text):
            values = text.split(",")
            for value in values:
                if value not in allowed:
                    raise argparse.ArgumentTypeError(f"must be of {', '.join(allowed)}, got {value!r}")
            return values

        return convert

    shapes = tuple(f"{H}x{L}" for H, L, _, _ in SHAPES)
    parser.add_argument(
        "--only", type=listed(tuple(SECTIONS)), default=list(SECTIONS), metavar="SECTION,...", help=", ".join(SECTIONS)
    )
    parser.add_argument("--cells", type=listed(CELLS), default=list(CELLS), metavar="CELL,...")
    parser.add_argument("--shapes", type=listed(shapes), default=[], metavar="HxL,...", help=", ".join(shapes))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--repeats", type=int, metavar="N", help="repetitions a median is of; 7, or 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="short: 3 repetitions, small cases; shown, not written")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON; benchmarks/results.json, with --quick none")
    parser.add_argument("--page", type=Path, metavar="FILE", help="docs/BENCHMARKS.md, with --quick none")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    if not 1 <= options.threads <= os.cpu_count():
        parser.error(f"--threads must be between 1 and {os.cpu_count()} on this machine, got {options.threads}")
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    if not options.quick:
        options.results = options.results or ROOT / "benchmarks" / "results.json"
        options.page = options.page or ROOT / "docs" / "BENCHMARKS.md"
    return options


def what_is_measured(arguments):
    """Return the arguments without those that only say where to write."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("--results", "--page")):
            kept.append(argument)
        skip = argument in ("--results", "--page")
    return kept


def main(arguments=None):
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if importlib.util.find_spec("torch") is None:
        print(
            "PyTorch is not installed, and it is what charrnn is compared with: pip install torch==2.13.0",
            file=sys.stderr,
        )
        return 2
    results = Results(options.results)
    bench = Bench(options, results)
    failed = []
    try:
        for name in options.only:
            try:
                SECTIONS[name](bench)
            except WorkerError as error:
                failed.append(name)
                print(f"{name} failed: {error}", file=sys.stderr)
                break
        else:
            bench.end()
    finally:
        bench.close()
    page = report.page(results)
    if options.page:
        options.page.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
