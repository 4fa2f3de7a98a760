"""Workers that share a sweep, of which random ones are killed and others come, to the same runs as one command makes.

python soak/soak.py --only sweeping
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from cuts import result
from kills import where
from scene import Broken

from charrnn.files import locks

TITLE = "Workers of a sweep"
PROMISES = [
    (
        "Several workers train every run of a sweep exactly once, and the runs have the same bits as with a single "
        "command",
        "tests/test_sweep_workers.py::test_three_workers_make_every_run_once_with_the_bits_of_one_command",
    ),
    (
        "If a worker is killed, another one resumes its run, and the run ends with the same bits",
        "tests/test_sweep_workers.py::test_what_a_killed_worker_was_at_another_goes_on_with",
    ),
    (
        "A sweep by a single command and a sweep by workers refuse to share a folder",
        "tests/test_sweep_workers.py::test_a_lone_sweep_and_workers_refuse_each_other",
    ),
]
KILLS, QUICK_KILLS, KILLS_A_SWEEP = 40, 2, 8
WORKERS = 3
WAIT_S = 180.0  # for a sweep: what takes longer hangs
LATER_S = 1.5  # a kill comes within so much time after the one before
SPEC = """text = ["{text}"]
hidden_size = 12
batch_size = 8
seq_length = 16
steps = {steps}
eval_every = 60
checkpoint_every = 20
log_every = 7
[grid]
cell = ["lstm", "gru"]
num_layers = [1, 2]
seed = [{seed}, {next}]
"""


def run(scene):
    rng, text = random.Random(1), scene.text(characters=20_000)
    kills = groups = left = sweeps = 0
    while kills < (QUICK_KILLS if scene.quick else KILLS):
        done = broken_sweep(scene, rng, text, sweeps, KILLS_A_SWEEP)
        kills, groups, left, sweeps = kills + done["kills"], groups + done["groups"], left + done["left"], sweeps + 1
        print(f"  {kills} kills in {sweeps} sweeps", file=sys.stderr, flush=True)
    return {"kills": kills, "with their children": groups, "left": left, "sweeps": sweeps}


def tell(figures):
    return (
        f"{WORKERS} workers together trained {figures['sweeps']} sweeps of 8 runs. A random worker was killed "
        "(SIGKILL) at "
        f"a random moment {figures['kills']} times, {figures['with their children']} of them together with its child "
        "process. Each time, a new worker took its place. In addition, a worker left the sweep after SIGTERM "
        f"{figures['left']} times. Every run ended with the same parameters, history and losses as in a sweep by a "
        "single command. The log of each run has every step exactly once."
    )


def write_spec(scene, text, number, steps):
    path = scene.folder / f"grid-{number}.toml"
    path.write_text(SPEC.format(text=text, steps=steps, seed=2 * number + 1, next=2 * number + 2))
    return path


def broken_sweep(scene, rng, text, number, most):
    """Make a sweep by one command, and by workers of which up to `most` are killed; return what was done to them."""
    spec = write_spec(scene, text, number, 120 if scene.quick else 600)
    whole, broken = scene.folder / f"whole-{number}", scene.folder / f"broken-{number}"
    done = scene.charrnn("sweep", spec, "-o", whole, "-q")
    if done.returncode:
        raise Broken(f"exit code {done.returncode}: {done.stderr}")
    tally = {"kills": 0, "groups": 0, "left": 0}
    until = time.monotonic() + WAIT_S * (1 if scene.quick else 5)
    workers = [start(scene, spec, broken) for _ in range(WORKERS)]
    try:
        while True:
            wait_for_a_checkpoint(broken, workers, until)
            time.sleep(rng.uniform(0, LATER_S))
            ended = [worker for worker in workers if worker.poll() is not None]
            if ended:  # there is nothing left to do: then all end
                break
            if tally["kills"] >= most:
                break
            hurt(rng, workers.pop(rng.randrange(len(workers))), tally)
            workers.append(start(scene, spec, broken))
        for worker in workers:
            if code := worker.wait(max(1.0, until - time.monotonic())):
                raise Broken(f"sweep {number}: a worker ended with exit code {code}: {said(worker)}")
    except subprocess.TimeoutExpired:
        raise Broken(f"sweep {number}: a worker hangs: {said(workers[0])}") from None
    finally:
        for worker in workers:
            with contextlib.suppress(OSError):
                os.killpg(worker.pid, signal.SIGKILL)
    compare(broken, whole, number)
    for path in (whole, broken):
        shutil.rmtree(path)
    return tally


def start(scene, spec, folder):
    """Start a worker with its children in a process group of their own."""
    log = open(scene.folder / f"said-{time.monotonic_ns()}", "w+", errors="replace")
    process = scene.start("sweep", spec, "-o", folder, "--workers", stdout=log, stderr=log, start_new_session=True)
    process.log = log
    return process


def said(worker):
    worker.log.seek(0)
    return worker.log.read()[-3000:]


def hurt(rng, worker, tally):
    """Kill a worker, alone or with its child, or ask it to leave; wait for its end."""
    kind = rng.choice(("alone", "alone", "group", "group", "leave"))
    with contextlib.suppress(ProcessLookupError):
        if kind == "group":
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.send_signal(signal.SIGTERM if kind == "leave" else signal.SIGKILL)
    code = worker.wait(WAIT_S)
    if kind == "leave":
        if code not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
            raise Broken(f"a worker that was to leave ended with exit code {code}: {said(worker)}")
        tally["left"] += 1
    elif code == -signal.SIGKILL:
        tally["kills"] += 1
        tally["groups"] += kind == "group"


def wait_for_a_checkpoint(folder, workers, until):
    """Wait until some run has begun and not all have ended, or a worker has ended."""
    while not any(folder.glob("*/last.safetensors")) and all(worker.poll() is None for worker in workers):
        if time.monotonic() > until:
            raise Broken(f"no checkpoint in {folder}: {said(workers[0])}")
        time.sleep(0.02)


def compare(broken, whole, number):
    """Raise Broken unless two sweeps hold the same runs, which have all ended, and their results say so."""
    tables = [
        {row.pop("run"): row for row in json.loads((folder / "results.json").read_text())["runs"]}
        for folder in (broken, whole)
    ]
    for table in tables:
        for row in table.values():
            row.pop("elapsed_s")
    if tables[0] != tables[1]:
        raise Broken(f"sweep {number}: other results: {tables[0]}, not {tables[1]}")
    for name in tables[1]:
        if not where(broken / name / "last.safetensors")[1]:
            raise Broken(f"sweep {number}: {name} is not finished")
        ends = [result(folder / name) for folder in (broken, whole)]
        for part, value in ends[1].items():
            if ends[0][part] != value:
                raise Broken(f"sweep {number}, {name}: another {part}")
    held = [path for path in (*broken.glob(".workers/*"), *broken.glob("*/lock")) if locks.is_locked(path)]
    if held:
        raise Broken(f"sweep {number}: still locked are {held}")
