"""Runs of `charrnn train`, killed at random moments and resumed each time, to the same bits as one left alone.

    python soak/soak.py --only kills

A fifth of the moments is drawn from the time that a process takes until it trains. The others come some milliseconds
after a step drawn from the next two elevenths of the run, so that a run is killed some eleven times whatever else the
machine has to do; validation and saving fall into these milliseconds. What a process is at, and how many steps it has
made, it tells in five bytes of a shared file (`python kills.py FILE ARGUMENTS` is `charrnn ARGUMENTS` that does so).
"""

import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from cuts import result
from scene import ROOT, Broken

from charrnn import spec

TITLE = "Kills"
PROMISES = [
    (
        "A run that is killed at random moments, and resumed with another number of threads each time, ends with the "
        "same bits as a run that is never killed",
        "tests/test_kills.py::test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits",
    ),
    (
        "Runs with every combination of cell, optimiser and schedule resume exactly, even if the number of threads "
        "changes between 1 and 2",
        "tests/test_trainer.py::test_every_cell_optimizer_and_schedule_resumes_exactly",
    ),
    (
        "Runs with every other option that affects the result resume exactly, too",
        "tests/test_trainer.py::test_resume_is_exact_for_every_option_that_bears_on_the_result",
    ),
    (
        "On resume, charrnn refuses an option that contradicts the run, and shows both values. Any other option does "
        "not change a single bit of the result",
        "tests/test_options.py::test_every_option_is_refused_on_resume_or_free",
    ),
    (
        "If the text has changed, charrnn refuses to resume the run, and shows what has changed",
        "tests/test_trainer.py::test_a_changed_text_is_refused_with_the_difference",
    ),
    (
        "Ctrl-C, SIGTERM and SIGHUP save the run and show how to resume it",
        "tests/test_cli_train.py::test_a_signal_saves_and_says_how_to_go_on_and_the_end_is_the_same",
    ),
    (
        "The time during which a process is suspended does not count towards --minutes",
        "tests/test_pauses.py::test_a_run_that_is_stopped_for_longer_than_its_minutes_trains_on",
    ),
    (
        "Two processes cannot train in the same run folder",
        "tests/test_runs.py::test_of_many_that_begin_at_once_one_gets_the_folder",
    ),
    ("The lock of a killed process is free again", "tests/test_runs.py::test_the_lock_of_a_killed_process_is_free"),
]
KILLS, QUICK_KILLS = 500, 10
KILLS_A_RUN = 11
LATER_S = 0.02  # a few dozen steps, or a save
PHASES = ("start-up", "reading the text", "loading kernels", "training", "validating", "saving", "ending")
SIGNALS = (signal.SIGKILL,) * 9 + (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CELLS, SCHEDULES = tuple(spec.CELLS), ("cosine", "step", "constant")
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adagrad", "adamw")
EXTRAS = (
    (),
    ("--dropout", 0.3, "--embedding-size", 0, "--no-layer-norm"),
    ("--dropout", 0.3, "--variational-dropout"),
    ("--embedding-size", 7, "--zoneout", 0.2),
    ("--dtype", "float64", "--embedding-size", 0),
    ("--embedding-size", 12, "--tie-weights", "--no-layer-norm"),
    ("--decay-after", 1, "--warmup", 30),
    ("--clip-norm", 0, "--clip-value", 0.01),
    ("--patience", 30, "--keep-every", 9, "--min-count", 2),
)


def run(scene):
    wanted = QUICK_KILLS if scene.quick else KILLS
    rng, text, tally = random.Random(1), scene.text(characters=20_000), Tally()
    number = 0
    while tally.kills < wanted:
        broken_run(scene, rng, text, number, tally, wanted - tally.kills)
        number += 1
        print(f"  {tally.kills} kills in {number} runs", file=sys.stderr, flush=True)
    figures = {
        "kills": tally.kills,
        "runs": number,
        "combinations": min(number, 45),
        "phases": tally.phases,
        "signals": tally.signals,
        "most kills of one run": tally.most,
        "steps a run": tally.steps,
    }
    return figures


def tell(figures):
    phases = ", ".join(
        f"{count} while {phase}" if phase.endswith("ing") or " " in phase else f"{count} at {phase}"
        for phase, count in figures["phases"].items()
        if count
    )
    signals = ", ".join(f"{count} {name}" for name, count in figures["signals"].items())
    return (
        f"{figures['runs']} runs of `charrnn train` were killed {figures['kills']} times in total ({signals}), at "
        "random "
        f"moments. Each run was killed up to {figures['most kills of one run']} times. The kills came at these "
        "moments: "
        f"{phases}. After each kill, the run was resumed, alternately with 1 and with 2 threads.\n\nThe runs cover "
        f"{figures['combinations']} of the 45 combinations of cell, optimiser and schedule. Some of them have dropout, "
        "variational dropout, embeddings, tied weights, float64 or clipping by value. The length of one run in four is "
        "given in epochs.\n\nEvery run ended with the same parameters, optimiser state, carry, cursor, history, best "
        "checkpoint and log as an uninterrupted run with one thread. Everything was compared except the times "
        "(`elapsed_s`, `chars_per_s`) and the path of the text."
    )


class Tally:
    def __init__(self):
        self.kills = self.most = self.steps = 0
        self.phases = dict.fromkeys(PHASES, 0)
        self.signals = {}

    def count(self, number, phase):
        self.kills += 1
        self.phases[PHASES[phase]] += 1
        name = signal.Signals(number).name
        self.signals[name] = self.signals.get(name, 0) + 1


def broken_run(scene, rng, text, number, tally, most):
    """Make one run without a break and one with up to `most` kills; compare their ends."""
    steps = 300 if scene.quick else 5000
    options = [
        "--cell",
        CELLS[number % len(CELLS)],
        "--optimizer",
        OPTIMIZERS[number % 5],
        "--schedule",
        SCHEDULES[number // len(CELLS) % 3],
        "--hidden-size",
        12,
        "--num-layers",
        1 + number % 2,
        "--batch-size",
        4,
        "--seq-length",
        16,
        "--seed",
        number + 1,
        "--eval-every",
        60 if scene.quick else 250,
        "--log-every",
        7,
        "--checkpoint-every",
        50,
        *EXTRAS[number % len(EXTRAS)],
    ]
    # 18,000 characters of training in chunks of 4 x 16: 281 steps an epoch.
    options += ["--epochs", round(steps / 281, 3)] if number % 4 == 3 else ["--steps", steps]
    whole, broken = scene.folder / f"whole-{number}", scene.folder / f"broken-{number}"
    life = Life(scene, "train", text, *options, "-o", whole, "--threads", 1)
    ready_s = life.until_it_trains()
    life.end()
    tally.steps = steps
    kills, threads = 0, 1
    while True:
        threads = 3 - threads
        last = broken / "last.safetensors"
        step, finished = where(last)
        if finished:
            break
        how = ["--resume", broken] if last.exists() else [text, *options, "-o", broken]
        life = Life(scene, "train", *how, "--threads", threads)
        if kills >= most:
            life.end()
            continue
        early = rng.random() < 0.2
        if early:
            time.sleep(rng.uniform(0, ready_s))
        else:
            life.until_it_trains(rng.randint(1, 2 * steps // KILLS_A_RUN))
            time.sleep(rng.uniform(0, LATER_S))
        sent = rng.choice(SIGNALS)
        phase = life.kill(sent)
        if phase is not None:
            kills += 1
            tally.count(sent, phase)
    tally.most = max(tally.most, kills)
    ends = [result(path) for path in (broken, whole)]
    for part, value in ends[1].items():
        if ends[0][part] != value:
            raise Broken(
                f"run {number} ({' '.join(map(str, options))}), killed {kills} times: another {part} at the end"
            )
    for path in (whole, broken):
        shutil.rmtree(path)


def where(last):
    """Return the step of a `last` checkpoint and whether its run is finished."""
    from charrnn.runs.checkpoint import read_metadata

    if not last.exists():
        return 0, False
    training = read_metadata(last)["training"]
    return training["step"], training["finished"]


class Life:
    """A `charrnn` process that tells what it is at."""

    def __init__(self, scene, *arguments, environment=None):
        self.phases = scene.folder / "phase"
        self.phases.write_bytes(bytes(5))
        self.said = open(scene.folder / "said", "w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.phases), *map(str, arguments), "-q", "--no-sample"],
            cwd=scene.folder,
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=self.said,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )

    @property
    def phase(self):
        return self.phases.read_bytes()[0]

    def until_it_trains(self, steps=1):
        """Wait for so many steps of this process; return how long it took."""
        begun = time.monotonic()
        while int.from_bytes(self.phases.read_bytes()[1:], "little") < steps and self.process.poll() is None:
            time.sleep(0.001)
        return time.monotonic() - begun

    def kill(self, number):
        """Send the signal and wait for the end; return the phase it fell in, None where the process was faster."""
        self.process.send_signal(signal.SIGSTOP)  # so that the phase is the one that the signal falls in
        phase, ended = self.phase, self.process.poll()
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        code = self.process.wait()
        told = self.told()
        if ended is not None or code == 0 or phase == PHASES.index("ending"):
            if code not in (0, -number):
                raise Broken(f"exit code {code} at the end of a run: {told}")
            return None
        if code not in (-number, 128 + number):
            raise Broken(f"exit code {code} after signal {number} while {PHASES[phase]}: {told}")
        if phase > 0 and "Traceback" in told:
            raise Broken(f"a traceback after signal {number} while {PHASES[phase]}: {told}")
        return phase

    def end(self):
        code, told = self.process.wait(), self.told()
        if code:
            raise Broken(f"exit code {code}: {told}")

    def told(self):
        self.said.seek(0)
        with self.said as file:
            return file.read()


def main(phases, *arguments):
    """Be `charrnn ARGUMENTS`, and write in a file what it is at, one byte, and how many steps it has begun, four."""
    with open(phases, "r+b") as file:
        shown = mmap.mmap(file.fileno(), 5)

    def at(phase, function, back=None):
        def told(*positional, **keywords):
            before, shown[0] = shown[0], PHASES.index(phase)
            if phase == "training":
                shown[1:5] = (int.from_bytes(shown[1:5], "little") + 1).to_bytes(4, "little")
            try:
                return function(*positional, **keywords)
            finally:
                shown[0] = before if back is None else PHASES.index(back)

        return told

    from charrnn import cli
    from charrnn.runs import folder as runs
    from charrnn.text import corpus
    from charrnn.training import trainer

    corpus.read_corpus = at("reading the text", corpus.read_corpus)
    runs.RunFolder.save = at("saving", runs.RunFolder.save)
    kinds = trainer.Trainer
    kinds._build = at("loading kernels", kinds._build, "loading kernels")
    kinds._train_step = at("training", kinds._train_step, "training")
    kinds._evaluate = at("validating", kinds._evaluate, "training")
    kinds._finish = at("ending", kinds._finish, "ending")
    return cli.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
