"""What is measured, a function a section of docs/BENCHMARKS.md: each makes its rows with a run.Bench."""

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workers import Side, Worker

from charrnn.bench import DEFAULT_DROPOUT, DEFAULT_MODEL, DEFAULT_SHAPE, MIN_CHAR_RNN, SHAPES

ROOT = Path(__file__).resolve().parent.parent
INPUTS = "one-hot", "embedding"  # of PyTorch
STREAMS = 1, 64


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
    model = {**DEFAULT_MODEL, "dropout": DEFAULT_DROPOUT}
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
    default = {**DEFAULT_MODEL, "dropout": DEFAULT_DROPOUT}
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
