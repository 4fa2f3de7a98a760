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
import shlex
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import provenance  # noqa: E402
import report  # noqa: E402
from results import CELLS, Results  # noqa: E402
from sections import INPUTS, SECTIONS  # noqa: E402
from workers import Side, Worker, WorkerError  # noqa: E402

from charrnn.bench import CACHES, SHAPES, caches_now, measure, peak_now  # noqa: E402

NARROW_VECTORS = {"NUMBA_CPU_NAME": "haswell"}  # the environment in which kernels use vectors of 256 bits


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
        self._caches = [Side(source, self.charrnn, kind="cache", source=source) for source in CACHES]
        self.run = {
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": "python benchmarks/run.py"
            + "".join(f" {shlex.quote(a)}" for a in what_is_measured(options.arguments)),
            "commit": provenance.commit(ROOT),
            "machine": {**self.machine, "threads": self.threads},
            "versions": versions,
            "quick": self.quick,
            "peaks": [],
            "caches": {source: [] for source in CACHES},
        }
        self.probe()

    def _wide_over_narrow(self):
        """Return how many times as fast multiply-adds are on vectors of 512 bits as on those of 256, on one thread."""
        with Worker("charrnn", 1, NARROW_VECTORS) as narrow:
            peaks = [Side("peak", worker, kind="peak", threads=1) for worker in (self.charrnn, narrow)]
            wide, narrow = measure(peaks, self.repeats, target_s=0.1)
            peaks[0].drop()
        return round(statistics.median(a / b for a, b in zip(wide.rates, narrow.rates)), 3)

    def probe(self):
        """Measure the peak and what the caches bring at this moment, and keep it for the run.

        Returns {"peak": GFLOP/s, source of CACHES: work a second}.
        """
        found = {"peak": peak_now(self._peak), **caches_now(self._caches)}
        found = {name: float(f"{value:.6g}") for name, value in found.items()}
        self.run["peaks"].append(found["peak"])
        for source in CACHES:
            self.run["caches"][source].append(found[source])
        return found

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
        """Yield a dict to fill; keep it as a row, with the peaks before and after, and what the caches brought."""
        row = {}
        before = self.probe()
        yield row
        after = self.probe()
        row["peak"] = {"before": before["peak"], "after": after["peak"]}
        row["caches"] = {source: {"before": before[source], "after": after[source]} for source in CACHES}
        self.results.put(self.run, section, key, row)

    def end(self):
        """Measure the peak and the caches a last time, and keep what the run knows now."""
        self.probe()
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
