"""Each side of a comparison lives in a process of its own and is told over a pipe to time one repetition.

Within one process two pools of threads disturb each other: one that waits may spin on the cores the other needs. A
worker that waits for its pipe does nothing at all.

    worker = Worker("torch", threads=2)
    side = Side("torch one-hot", worker, kind="training", cell="lstm", ...)
    side.run(3) -> seconds of three runs;  side.work: what a run does, mostly characters
    side.info: what it said of itself

The peers are peer_charrnn.py, peer_torch.py and peer_numpy.py: make(task) -> an object with `work`, `info`, run(count).
"""

import importlib
import itertools
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerError(RuntimeError):
    """A worker has failed; the message is its traceback."""


class Worker:
    """A process with one peer loaded."""

    def __init__(self, peer, threads, environment=None):
        paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            **{name: str(threads) for name in POOLS},
            **(environment or {}),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "workers.py"), peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._names = itertools.count()
        self.threads = threads
        self.versions = self._ask("versions")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def make(self, task):
        """Make what the task says; return (its name, {"work", ...})."""
        name = str(next(self._names))
        return name, self._ask("make", name, {"threads": self.threads, **task})

    def time(self, name, count):
        """Run it `count` times; return the seconds."""
        return self._ask("time", name, count)

    def drop(self, name):
        self._ask("drop", name)

    def memory(self):
        """Return {"now", "peak"}: the bytes that the process has in memory, and the most it ever had."""
        return self._ask("memory")

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, *request):
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise WorkerError(f"the worker has ended, with exit code {self._process.wait()}")
        answer = json.loads(answer)
        if "failed" in answer:
            raise WorkerError(answer["failed"])
        return answer["value"]


class Side:
    """One side of a comparison: something made in a worker, and what charrnn.bench.measure wants of a measurement."""

    def __init__(self, label, worker, **task):
        self.label, self._worker = label, worker
        self._name, self.info = worker.make(task)
        self.work = self.info.pop("work")

    def run(self, count):
        return self._worker.time(self._name, count)

    def drop(self):
        """Let its memory go."""
        self._worker.drop(self._name)


def process_memory():
    """Return {"now", "peak"} of this process in bytes."""
    try:
        fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return {"now": int(fields["VmRSS"].split()[0]) * 1024, "peak": int(fields["VmHWM"].split()[0]) * 1024}
    except (OSError, KeyError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"now": peak, "peak": peak}


def serve(peer_name):
    """Answer requests from stdin until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get in between
    made, peer = {}, importlib.import_module(f"peer_{peer_name}")
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            answer = {"value": _answer(peer, made, verb, *arguments)}
        except Exception:
            answer = {"failed": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(peer, made, verb, *arguments):
    if verb == "versions":
        return peer.versions()
    if verb == "memory":
        return process_memory()
    if verb == "make":
        name, task = arguments
        made[name] = peer.make(task)
        return {"work": made[name].work, **made[name].info}
    if verb == "time":
        name, count = arguments
        return made[name].run(count)
    if verb == "drop":
        del made[arguments[0]]
        return None
    raise ValueError(f"no such request: {verb}")


if __name__ == "__main__":
    serve(sys.argv[1])
