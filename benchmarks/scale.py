"""What a training step costs in several processes, and what that comes to on many machines: docs/SCALE.md.

    python benchmarks/scale.py                                measure with 1 to 4 processes here, and print the tables
    mpiexec -n 2 python benchmarks/scale.py parts [NETWORK]   the parts of a step in these processes, JSON lines
    python benchmarks/scale.py predict                        the tables of what was measured before

A step is its rows (T*B characters, forward and back), the exchange of the gradient, a few short messages, and the
update, which every process makes by itself. `predict` adds up these parts for other numbers of processes and other
networks; the page shows how near that comes to what was measured. Lines that `parts` prints on another network, such as
two machines, may be added to benchmarks/scale.json by hand: `parts NAME >> benchmarks/scale.json`.
"""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

MEASURED = ROOT / "benchmarks" / "scale.json"
SHARDS, SEQ_LENGTH = 4, 64
SHAPES = {  # of an LSTM with layer normalisation and an embedding of 64
    "128 x 2": (128, 2),
    "256 x 2": (256, 2),
    "512 x 3": (512, 3),
}
BATCH = 32
STEPS = 12
MESSAGES = 4  # short ones that all wait for, a step: losses, clock (twice), whether to stop
NETWORKS = {  # bytes a second each way, seconds a message, of a typical one
    "1 gigabit": (1e9 / 8 * 0.95, 50e-6),
    "10 gigabit": (10e9 / 8 * 0.9, 20e-6),
    "100 gigabit": (100e9 / 8 * 0.8, 5e-6),
}
ADD_S_PER_BYTE = 1 / 4e9  # of the exchange: two numbers are read and one is written
MACHINES = 2, 4, 8, 16, 64, 256
PAYS = 0.8  # of the work of so many machines: what they should come to


class Timed:
    """A group that notes how long is waited for exchanges; before the end of each all wait for the slowest."""

    def __init__(self, group, barrier):
        self._group, self._barrier = group, barrier
        self.rank, self.size = group.rank, group.size
        self.arrays_s = self.numbers_s = 0.0

    def exchange(self, shards, out):
        return _TimedExchange(self, self._barrier, self._group.exchange(shards, out))

    def gather(self, value):
        return self._group.gather(value)

    def add_numbers(self, *arguments):
        begun = time.perf_counter()
        total = self._group.add_numbers(*arguments)
        self.numbers_s += time.perf_counter() - begun
        return total


class _TimedExchange:
    def __init__(self, timed, barrier, exchange):
        self._timed, self._barrier, self._exchange = timed, barrier, exchange
        self.add = exchange.add

    def finish(self):
        self._barrier()
        begun = time.perf_counter()
        self._exchange.finish()
        self._timed.arrays_s += time.perf_counter() - begun


def measure(network):
    """Print the parts of a step in these processes, a JSON line for each shape; medians over the steps."""
    from charrnn.distributed.group import find_group
    from charrnn.kernels import set_num_threads
    from charrnn.model.dropout import Dropout
    from charrnn.model.parameters import Model
    from charrnn.spec import ModelConfig
    from charrnn.training.optimisers import Optimizer
    from charrnn.training.sharded import ShardedWorkspace

    set_num_threads(1)
    group = find_group()
    if group.size > 1:
        group.overlap(False)
    barrier = (lambda: None) if group.size == 1 else (lambda: group.gather(None))
    alpha_s, bytes_per_s = link(group)
    for name, (hidden, layers) in SHAPES.items():
        model = Model.initialise(ModelConfig("lstm", 65, hidden, layers, 64, layer_norm=True), 1)
        timed, rng = Timed(group, barrier), np.random.default_rng(1)
        workspace = ShardedWorkspace(model, BATCH, SEQ_LENGTH, "float32", SHARDS, timed)
        plain = ShardedWorkspace(model, BATCH, SEQ_LENGTH, "float32", SHARDS, group)
        optimizer, dropout, rows = Optimizer("adam", model), Dropout(0.2, seed=1), []
        ways = {False: [], True: []}  # seconds of a step by whether its exchange overlaps with the computation
        for step in range(STEPS + 2):
            x, y = rng.integers(0, 65, (2, SEQ_LENGTH, BATCH), dtype=np.int32)
            timed.arrays_s = timed.numbers_s = 0.0
            sent = getattr(group, "sent_bytes", 0)
            barrier()
            begun = time.perf_counter()
            workspace.loss_and_grads(x, y, dropout, step)
            passed_s = time.perf_counter() - begun
            optimizer.step(workspace, 1e-3, 5.0)
            whole_s = time.perf_counter() - begun
            rows.append((whole_s, passed_s - timed.arrays_s - timed.numbers_s, timed.arrays_s, timed.numbers_s,
                         whole_s - passed_s, getattr(group, "sent_bytes", 0) - sent))  # fmt: skip
            for is_overlapped, times in ways.items() if group.size > 1 else ():
                group.overlap(is_overlapped)
                barrier()
                begun = time.perf_counter()
                plain.loss_and_grads(x, y, dropout, step)
                optimizer.step(plain, 1e-3, 5.0)
                times.append(time.perf_counter() - begun)
                group.overlap(False)
        after, beside = (float(np.median(times[2:])) if times else None for times in ways.values())
        whole, compute, arrays, numbers, update, sent = np.median(np.array(rows[2:]), axis=0).tolist()
        if group.rank == 0:
            record = {
                "network": network,
                "processes": group.size,
                "shape": name,
                "parameters": int(model.layout.size),
                "step_s": whole,
                "compute_s": compute,
                "exchange_s": arrays,
                "numbers_s": numbers,
                "update_s": update,
                "sent_bytes": int(sent),
                "after_s": after,
                "overlapped_s": beside,
                "alpha_s": alpha_s,
                "bytes_per_s": bytes_per_s,
                "cores": os.cpu_count(),
            }
            print(json.dumps(record), flush=True)


def link(group):
    """Return the seconds of a short message, and the bytes a second of a long one, between the first and the last."""
    if group.size == 1:
        return None, None
    from mpi4py import MPI

    comm, times = MPI.COMM_WORLD, []
    for size, count in ((8, 300), (1 << 22, 8)):
        data = np.zeros(size, np.uint8)
        comm.Barrier()
        begun = time.perf_counter()
        for _ in range(count):
            if group.rank == 0:
                comm.Send(data, group.size - 1)
                comm.Recv(data, group.size - 1)
            elif group.rank == group.size - 1:
                comm.Recv(data, 0)
                comm.Send(data, 0)
        times.append((time.perf_counter() - begun) / count / 2)
    return comm.bcast((times[0], (1 << 22) / times[1]))


# ------------------------------------------------------------------------------------------------------ the model


def exchange_s(size_bytes, processes, alpha_s, bytes_per_s, add_s_per_byte):
    """Return the seconds in which W processes add up a gradient: a slice of it from each to each, sums, slices back."""
    if processes == 1:
        return 0.0
    part = (processes - 1) / processes * size_bytes
    return 2 * (part / bytes_per_s + (processes - 1) * alpha_s) + part * add_s_per_byte


def short_s(processes, alpha_s):
    """Return the seconds of the short messages of a step, which go along a tree."""
    return MESSAGES * math.ceil(math.log2(processes)) * alpha_s


def predicted_s(one, processes, alpha_s, bytes_per_s, cores=None):
    """Return the seconds of a step in W processes, from the record `one` of the step in one.

    cores    that the processes share; None where each has its own
    """
    slower = 1.0 if cores is None else max(1.0, processes / cores)
    largest = math.ceil(SHARDS / processes) / SHARDS if processes <= SHARDS else 1 / processes
    computing = one["compute_s"] * largest * slower
    size = one["parameters"] * 4
    talking = exchange_s(size, processes, alpha_s, bytes_per_s, ADD_S_PER_BYTE) + short_s(processes, alpha_s)
    return computing + talking + one["update_s"] * slower


def main(arguments):
    if arguments[:1] == ["parts"]:
        measure(arguments[1] if len(arguments) > 1 else "shared memory")
        return
    if arguments and arguments[0] != "predict":
        sys.exit(__doc__)
    if not arguments:
        run_here()
    print(tables())


def run_here():
    """Measure in 1 to 4 processes, over shared memory and over TCP, into scale.json; what others measured stays."""
    kept = [one for one in load() if one["network"] not in ("shared memory", "TCP on one machine")]
    lines = [json.dumps(one) for one in kept]
    for network, more in (
        ("shared memory", {}),
        ("TCP on one machine", {"UCX_TLS": "tcp,self", "MPIR_CVAR_NOLOCAL": "1"}),
    ):
        for processes in (1, 2, 3, 4):
            start = [sys.executable, __file__, "parts", network]
            if processes > 1:
                start = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(processes), *start]
            done = subprocess.run(start, env={**os.environ, **more}, check=True, capture_output=True, text=True)
            lines += [line for line in done.stdout.splitlines() if line.startswith("{")]
            print(f"{network}, {processes} done", file=sys.stderr, flush=True)
    MEASURED.write_text("\n".join(lines) + "\n")


def load():
    return [json.loads(line) for line in MEASURED.read_text().splitlines()] if MEASURED.exists() else []


def tables():
    """Return the page's tables as Markdown."""
    measured = load()
    ones = {(one["network"], one["shape"]): one for one in measured if one["processes"] == 1}
    ones |= {(None, shape): one for (network, shape), one in ones.items() if network == "shared memory"}
    told = [
        "| network | processes | model | step, ms | rows | exchange | short messages | update | "
        "exchange's share | predicted step, ms | sent, MB | least, MB |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in measured:
        alone, W = ones.get((one["network"], one["shape"]), ones[None, one["shape"]]), one["processes"]
        least = (W - 1) / W * one["parameters"] * 4 * 2
        guess = predicted_s(alone, W, one["alpha_s"] or 0, one["bytes_per_s"] or 1, one["cores"])
        step_s = one.get("after_s") or one["step_s"]
        told.append(
            f"| {one['network']} | {W} | {one['shape']} | {step_s * 1e3:.1f} | {one['compute_s'] * 1e3:.1f} | "
            f"{one['exchange_s'] * 1e3:.2f} | {one['numbers_s'] * 1e3:.2f} | {one['update_s'] * 1e3:.2f} | "
            f"{one['exchange_s'] / one['step_s']:.0%} | {guess * 1e3:.1f} | {one['sent_bytes'] / 1e6:.2f} | "
            f"{least / 1e6:.2f} |"
        )
    told += ["", "| model | network | " + " | ".join(f"{W} machines" for W in MACHINES) + " |"]
    told += ["|---|---|" + "--:|" * len(MACHINES)]
    for shape in SHAPES:
        one = ones[None, shape]
        for network, (speed, alpha) in NETWORKS.items():
            cells = []
            for W in MACHINES:
                step = one["compute_s"] + one["update_s"] + short_s(W, alpha)
                step += exchange_s(one["parameters"] * 4, W, alpha, speed, ADD_S_PER_BYTE)
                share = (one["compute_s"] + one["update_s"]) / step
                cells.append(f"{W * share:.1f} ({share:.0%}), {pays(one, W, alpha, speed):,}")
            told.append(f"| {shape} | {network} | " + " | ".join(cells) + " |")
    return "\n".join(told)


def pays(one, processes, alpha_s, bytes_per_s):
    """Return the streams a machine from which W machines do PAYS of W times the work of one."""
    talking = exchange_s(one["parameters"] * 4, processes, alpha_s, bytes_per_s, ADD_S_PER_BYTE)
    talking += short_s(processes, alpha_s)
    a_stream = one["compute_s"] / BATCH
    # (n a + u) / (n a + u + talking) >= PAYS
    return max(1, math.ceil((talking * PAYS / (1 - PAYS) - one["update_s"]) / a_stream))


if __name__ == "__main__":
    main(sys.argv[1:])
