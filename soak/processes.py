"""Runs of `mpiexec charrnn train`, of which random processes are killed, each time resumed by another number of them.

    python soak/soak.py --only processes

Every run ends in the bits of one process that was left alone. And processes that differ, in text, options or version,
refuse to train together, and none of them hangs.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cuts import result
from kills import EXTRAS, OPTIMIZERS, where
from scene import ROOT, Broken

from charrnn import spec

TITLE = "Several processes"
PROMISES = [
    (
        "A run has the same bits with any number of processes, for every cell, dtype and option",
        "tests/test_distributed.py::test_three_processes_train_every_kind_of_run_to_the_bits_of_one",
    ),
    (
        "If one process is killed, the others end within seconds. Any number of processes can then resume the run, "
        "and it ends with the same bits",
        "tests/test_distributed.py::test_a_run_of_which_a_process_is_killed_goes_on_with_another_number_of_them",
    ),
    (
        "If the processes have different texts, options or versions, charrnn refuses to train, and no process hangs",
        "tests/test_distributed.py::test_processes_that_differ_are_refused_and_none_hangs",
    ),
]
KILLS, QUICK_KILLS, KILLS_A_RUN = 100, 2, 8
REFUSALS, QUICK_REFUSALS = 200, 4
SHARDS = 4
LONGEST_S = 10.0  # from the death of a process to the end of the others
WAIT_S = 120.0  # for anything: what takes longer hangs


def run(scene):
    rng, text = random.Random(1), scene.text(characters=20_000)
    kills = most = number = 0
    slowest = 0.0
    while kills < (QUICK_KILLS if scene.quick else KILLS):
        done, longest = broken_run(scene, rng, text, number, KILLS_A_RUN)
        kills, most, number, slowest = kills + done, max(most, done), number + 1, max(slowest, longest)
        print(f"  {kills} kills in {number} runs", file=sys.stderr, flush=True)
    refusals = QUICK_REFUSALS if scene.quick else REFUSALS
    for k in range(refusals):
        refused(scene, text, rng, k)
    return {"kills": kills, "runs": number, "most kills of one run": most, "slowest end": slowest, "refusals": refusals}


def tell(figures):
    return (
        f"{figures['runs']} runs of `mpiexec charrnn train` with 1 to {SHARDS} processes were killed "
        f"{figures['kills']} "
        "times in total. Each time, a random process got SIGKILL at a random moment. One run was killed up to "
        f"{figures['most kills of one run']} times. After each kill, the run was resumed with a random number of "
        "processes, sometimes without mpiexec. Every run ended with the same bits as an uninterrupted run in one "
        f"process. After each kill, the other processes ended within {figures['slowest end']:.1f} s.\n\nIn "
        f"{figures['refusals']} more runs, one process had a different text, option or version, or it had no text. "
        "Every "
        "time charrnn refused in one sentence with exit code 2, and no process kept running."
    )


def is_possible():
    """Say whether mpi4py and its launcher are here."""
    return importlib.util.find_spec("mpi4py") is not None and launcher() is not None


def launcher():
    """Return the mpiexec beside this Python, else the one on the PATH."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def command(*arguments):
    return [sys.executable, "-m", "charrnn", *map(str, arguments)]


def broken_run(scene, rng, text, number, most):
    """Make a run in one process, and one in several, killed up to `most` times; return the kills and slowest end."""
    steps = 120 if scene.quick else 1200
    options = ["--cell", tuple(spec.CELLS)[number % len(spec.CELLS)], "--optimizer", OPTIMIZERS[number % 5]]
    options += ["--hidden-size", 12, "--num-layers", 1 + number % 2, "--batch-size", 8, "--seq-length", 16]
    options += ["--shards", SHARDS, "--seed", number + 1, "--steps", steps, "--eval-every", 60, "--log-every", 7]
    options += ["--checkpoint-every", 20, "--threads", 1, "-q", "--no-sample", *EXTRAS[number % len(EXTRAS)]]
    whole, broken = scene.folder / f"whole-{number}", scene.folder / f"broken-{number}"
    done = scene.charrnn("train", text, *options, "-o", whole)
    if done.returncode:
        raise Broken(f"exit code {done.returncode}: {done.stderr}")
    kills, slowest = 0, 0.0
    while not where(broken / "last.safetensors")[1]:
        last = broken / "last.safetensors"
        how = ["--resume", broken, "--threads", 1, "-q"] if last.exists() else [text, *options, "-o", broken]
        processes = rng.randint(1, SHARDS)
        group = Group(scene, processes, command("train", *how))
        if kills >= most:
            group.end()
            continue
        group.wait_for(last)
        time.sleep(rng.uniform(0, 0.3 if scene.quick else 1.0))
        trains = group.has_written(broken)
        took_s = group.kill_one(rng)
        if took_s is not None:
            kills, slowest = kills + 1, max(slowest, took_s)
            if took_s > LONGEST_S:
                raise Broken(f"run {number}: its processes ended {took_s:.1f} s after one was killed")
            # Before it trains, a process is known to its launcher alone, which has words of its own.
            if processes > 1 and trains and "has died" not in group.told():
                raise Broken(f"run {number}: no word of a process that was killed: {group.told()}")
    ends = [result(path) for path in (broken, whole)]
    for part, value in ends[1].items():
        if ends[0][part] != value:
            raise Broken(f"run {number} ({' '.join(map(str, options))}), killed {kills} times: another {part}")
    for path in (whole, broken):
        shutil.rmtree(path)
    return kills, slowest


def refused(scene, text, rng, number):
    """Start processes of which one differs; see that they refuse, leave nothing, and end."""
    processes, folder = rng.randint(2, SHARDS), scene.folder / f"refused-{number}"
    odd, kind = rng.randrange(processes), ("text", "no text", "option", "version")[number % 4]
    other = scene.text("other.txt", seed=2) if kind == "text" else scene.folder / "missing.txt"
    options = ["-o", folder, "--hidden-size", 8, "--num-layers", 1, "--steps", 50, "--threads", 1, "-q"]
    parts = []
    for rank in range(processes):
        named = other if rank == odd and "text" in kind else text
        more = ["--seed", 7] if rank == odd and kind == "option" else []
        start = command("train", named, *options, *more)
        if rank == odd and kind == "version":
            code = (
                "import charrnn; charrnn.__version__ = '0.0.1'; from charrnn import cli; raise SystemExit(cli.main())"
            )
            start = [sys.executable, "-c", code, *start[3:]]
        parts += [":", "-n", "1", *start] if parts else ["-n", "1", *start]
    group = Group(scene, None, parts)
    code = group.wait()
    told = group.told()
    wanted = {"text": "a different text", "no text": "missing.txt", "option": "(seed): ", "version": "0.0.1"}[kind]
    lines = [line for line in told.splitlines() if line.strip()]
    if code != 2 or wanted not in told or "Traceback" in told or sum("Error" in line for line in lines) != 1:
        raise Broken(f"process {odd} of {processes} with another {kind}: exit code {code}, {told}")
    if folder.exists():
        raise Broken(f"process {odd} of {processes} with another {kind}: {folder} was made")


class Group:
    """Processes that mpiexec has started; of one process it may be left out."""

    def __init__(self, scene, processes, start):
        self._said = open(scene.folder / "said", "w+", errors="replace")
        if processes is None:
            start = [launcher(), *start]
        elif processes > 1:
            start = [launcher(), "-n", str(processes), *start]
        self._processes, self._begun_ns = processes or 0, time.time_ns()
        self._process = subprocess.Popen(
            start,
            cwd=scene.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env=environment(),
            start_new_session=True,
        )

    def has_written(self, folder):
        """Say whether the processes have saved or logged in a run folder."""
        files = (folder / name for name in ("last.safetensors", "log.jsonl"))
        return any(path.stat().st_mtime_ns > self._begun_ns for path in files if path.exists())

    def wait_for(self, path):
        """Wait until a file is there, or all have ended."""
        until = time.monotonic() + WAIT_S
        while not path.exists() and self._process.poll() is None:
            if time.monotonic() > until:
                self._give_up("no checkpoint")
            time.sleep(0.01)

    def kill_one(self, rng):
        """Kill a process of them; return the seconds until all had ended, None where they had before."""
        ranks = self.ranks()
        if not ranks or self._process.poll() is not None:
            self.end()
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(ranks), signal.SIGKILL)
        begun = time.monotonic()
        code = self.wait()
        return None if code == 0 else time.monotonic() - begun

    def ranks(self):
        """Return the numbers of the processes that train: the descendants of ours that run Python.

        For some milliseconds there is a process with mpiexec's own arguments, the launcher's helper before it becomes
        itself; where that is killed, no process of charrnn has begun, and mpiexec waits for its helper for ever.
        """
        if self._processes == 1:
            return [self._process.pid]
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        found = []
        for number in parents:
            above, is_ours = parents.get(number), False
            while above in parents and not is_ours:
                is_ours, above = above == self._process.pid, parents[above]
            if is_ours:
                with contextlib.suppress(OSError):
                    arguments = Path(f"/proc/{number}/cmdline").read_bytes()
                    if arguments.startswith(f"{sys.executable}\0-m\0charrnn\0train\0".encode()):
                        found.append(number)
        return sorted(found)

    def wait(self):
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._give_up("it hangs")

    def end(self):
        if code := self.wait():
            raise Broken(f"exit code {code}: {self.told()}")

    def told(self):
        self._said.flush()
        self._said.seek(0)
        return self._said.read()

    def _give_up(self, why):
        os.killpg(self._process.pid, signal.SIGKILL)
        raise Broken(f"after {WAIT_S:.0f} s: {why}: {self.told()}")
