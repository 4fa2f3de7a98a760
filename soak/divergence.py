"""Absurd learning rates: each run comes to learn, or ends with advice.

Killed on its way and resumed, it comes to the same bits.
"""

import itertools
import math
import random
import shutil

from dying import killed_at
from scene import Broken

from charrnn.errors import DivergenceError
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.folder import RunFolder, read_log
from charrnn.spec import CELLS
from charrnn.text.corpus import read_corpus
from charrnn.training.options import OPTIMIZERS, TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.records import Preflight
from charrnn.training.recovery import SOUND_NATS
from charrnn.training.trainer import Trainer

TITLE = "Divergence"

PROMISES = [
    (
        "If the loss or the gradient of a step is not finite (NaN or infinity), the step changes neither the "
        "parameters "
        "nor the optimiser state",
        "tests/test_divergence.py::test_a_step_whose_loss_is_not_finite_is_not_applied_and_the_run_goes_on",
    ),
    (
        "After three such steps in a row, the run returns to its last good state and halves the learning rate. It "
        "prints this and writes it to the log",
        "tests/test_divergence.py::test_three_bad_steps_in_a_row_go_back_to_the_last_validation_at_half_the_rate",
    ),
    (
        "After five returns without progress, the run ends and says what to change",
        "tests/test_divergence.py::test_after_five_futile_returns_it_ends_with_advice_and_again_when_resumed",
    ),
    (
        "A run that returns to a good state can be killed at any file operation and resumed. It ends with the same "
        "parameters, log and best checkpoint",
        "tests/test_divergence.py::test_killed_at_any_file_operation_and_resumed_it_ends_in_the_same_bits",
    ),
    (
        "A state that contains NaN or infinity is never saved",
        "tests/test_divergence.py::test_a_state_that_is_not_finite_is_never_saved_and_goes_back_at_the_next_anchor",
    ),
    (
        "With `--on-divergence stop`, the run ends at the first step whose loss or gradient is not finite. It can be "
        "resumed with `--on-divergence recover`",
        "tests/test_divergence.py::test_stop_ends_at_the_first_bad_step_and_the_run_can_be_resumed_to_recover",
    ),
]

RATES = (1e-2, 1.0, 10.0, 100.0, 1e4, 1e8, 1e20, 1e37)
CLIPS = (0.0, 5.0)
SCHEDULES = ("constant", "cosine")
VALIDATIONS = (0.1, 0.0)  # share of the text: with validations, and without
CLOCK = ("chars_per_s", "elapsed_s")


def run(scene):
    figures = {
        "runs": 0,
        "plain": 0,
        "recovered": 0,
        "stopped": 0,
        "returns": 0,
        "kills": 0,
        "worst_nats_above_guessing": -math.inf,
    }
    rng = random.Random(1)
    every = list(itertools.product(CELLS, OPTIMIZERS, RATES, CLIPS, SCHEDULES, VALIDATIONS))
    cases = rng.sample(every, 12) if scene.quick else every
    with read_corpus([scene.text(characters=4_000)]) as corpus:
        guessing = math.log(corpus.vocabulary.size)
        for cell, optimizer, rate, clip_norm, schedule, val_fraction in cases:
            config = TrainingConfig(
                cell=cell,
                optimizer=optimizer,
                learning_rate=rate,
                clip_norm=clip_norm,
                schedule=schedule,
                val_fraction=val_fraction,
                test_fraction=0.0,
                hidden_size=9,
                batch_size=3,
                seq_length=7,
                steps=60,
                eval_every=12,
            )
            whole, log, finished = train(scene.folder / "whole", config, corpus)
            record = whole.training["divergence"]
            figures["runs"] += 1
            figures["returns"] += len(record["returns"])
            if finished is None:
                figures["stopped"] += 1
            else:
                figures["recovered" if record["returns"] else "plain"] += 1
                if finished.best_loss_nats is not None:
                    above = finished.best_loss_nats - guessing
                    figures["worst_nats_above_guessing"] = round(max(figures["worst_nats_above_guessing"], above), 2)
                    if not above < SOUND_NATS:
                        raise Broken(f"{config} finished {above:.1f} nats above guessing")
            if finished is not None and record["returns"]:
                figures["kills"] += kill(scene.folder / "killed", config, corpus, rng, whole, log)
            shutil.rmtree(scene.folder / "whole")
    return figures


def train(path, config, corpus):
    """Return the run's last checkpoint, its log and its Finished, or None where it ended with advice.

    Any other end is an error.
    """
    finished = None
    with RunFolder.create(path) as folder:
        try:
            finished = list(Trainer(plan_run(config, corpus), corpus, folder, samples=False).run())[-1]
        except DivergenceError as error:
            if "start a new run with --learning-rate below" not in str(error):
                raise Broken(f"{config} ended without advice: {error}") from error
        return load_checkpoint(folder.last), read(folder), finished


def kill(path, config, corpus, rng, whole, log):
    """Train again, killed every now and then, and resumed; return the number of kills.

    Raise Broken unless it comes to the same.
    """
    with RunFolder.create(path) as folder:  # until it can be resumed
        next(
            record
            for record in Trainer(plan_run(config, corpus), corpus, folder, samples=False).run()
            if isinstance(record, Preflight)
        )
    kills = 0
    while True:
        with RunFolder.open(path) as folder:
            last = load_checkpoint(folder.last)
            if last.training["finished"]:
                break
            with killed_at(rng.randint(30, 300)) as count:
                for _ in Trainer(plan_resume(last, corpus), corpus, folder, samples=False).run():
                    pass
                count.append("finished")
            kills += len(count) == 1
    with RunFolder.open(path) as folder:
        same = all((last.parameters[name] == whole.parameters[name]).all() for name in whole.parameters)
        same = same and all((last.optimizer[name] == whole.optimizer[name]).all() for name in whole.optimizer)
        same = same and all((last.carry[name] == whole.carry[name]).all() for name in whole.carry)
        if not (same and last.training["best"] == whole.training["best"] and read(folder) == log):
            raise Broken(f"{config}, killed {kills} times and resumed, is another run than the one never interrupted")
    shutil.rmtree(path)
    return kills


def read(folder):
    return [{key: value for key, value in record.items() if key not in CLOCK} for record in read_log(folder.log_path)]


def tell(figures):
    return f"""
{figures["runs"]:,} small models were trained, with and without validation. They cover all cells, optimisers, clipping
settings and schedules, and learning rates from {RATES[0]:g} to {RATES[-1]:g}. Most of these learning rates are far
too high, so many of the runs must diverge:

- {figures["plain"]:,} trained to the end and never had to return to a good state.
- {figures["recovered"]:,} returned to a good state, and then trained to the end.
- {figures["stopped"]:,} ended with advice on what to change.
- None ended in another way.

There were {figures["returns"]:,} returns in total. That a run trained to its end does not mean that its model is good.
For the worst of these models, even the lowest validation loss was {figures["worst_nats_above_guessing"]:g} nats above
the loss of uniform guessing (the test fails at {SOUND_NATS:g} nats).

The runs that had returned to a good state and then trained to the end were repeated. This time they were killed at
{figures["kills"]:,} random file operations, some of them during a return, and resumed. Each time the parameters,
optimiser state, carry, best checkpoint and log were the same as without kills.
"""
