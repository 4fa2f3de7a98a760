"""Divergence: steps left out, the way back to the anchor at half the learning rate, and all of it resumed exactly."""

import math
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_trainer import TEXT, TINY, Session, assert_same, of

from charrnn.cli import main
from charrnn.errors import CheckpointError, DivergenceError, StorageError
from charrnn.evaluation.loss import Evaluation
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.corpus import read_corpus
from charrnn.training import intervals, validation
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.records import Evaluated, Notice, Step
from charrnn.training.recovery import Diverged, Recovery
from charrnn.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))
from dying import Killed, killed_at  # noqa: E402

SMALL = {
    "cell": "gru",
    "hidden_size": 5,
    "num_layers": 1,
    "schedule": "constant",
    "learning_rate": 0.02,
    "log_every": 1,
}


@pytest.fixture
def session(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    with read_corpus([path]) as corpus:
        yield Session(tmp_path, corpus)


@pytest.fixture
def nan_at(monkeypatch):
    """Return nan_at(bad): it makes the parameters NaN for the chunk of every step that bad(step, factor) names."""
    real = Trainer._next_chunk

    def poison(bad):
        def next_chunk(trainer):
            if not bad(trainer.state.step + 1, trainer.state.recovery.factor):
                return real(trainer)
            flat = trainer.state.learner.model.flat
            kept = flat.copy()
            flat[:] = math.nan
            try:
                return real(trainer)
            finally:
                flat[:] = kept

        monkeypatch.setattr(Trainer, "_next_chunk", next_chunk)

    return poison


def returns(session, name):
    return [(record["step"], record["returned_from"]) for record in session.log(name) if "returned_from" in record]


# ------------------------------------------------------------------------------------------------- a step is left out


def test_a_step_whose_loss_is_not_finite_is_not_applied_and_the_run_goes_on(session, nan_at):
    options = {**SMALL, "steps": 12, "eval_every": 4}
    session.run("eight", **{**options, "steps": 8})
    nan_at(lambda step, factor: step == 9)
    records = session.run("nine", **{**options, "steps": 9})
    for name, array in session.last("eight").parameters.items():
        assert np.array_equal(array, session.last("nine").parameters[name])
    for name, array in session.last("eight").optimizer.items():
        assert np.array_equal(array, session.last("nine").optimizer[name])
    assert not np.any(session.last("nine").carry["h"])
    assert session.last("nine").training["cursor"] != session.last("eight").training["cursor"]
    assert [step.step for step in of(records, Step)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "training loss became nan at step 9: skipping this step" in of(records, Notice)[-1].text

    session.run("whole", **options)
    record = session.log("whole")[8]
    assert record["step"] == 9 and record["skipped"] is True
    assert record["train_loss_nats"] is None and record["grad_norm"] is None and record["learning_rate"] == 0.02
    assert record["smoothed_loss_nats"] == session.log("whole")[7]["smoothed_loss_nats"]
    assert returns(session, "whole") == [] and session.last("whole").training["divergence"]["skipped"] == 1


def test_a_step_whose_gradient_is_not_finite_is_left_out_too_and_logged_whatever_the_interval(session, monkeypatch):
    real = Workspace.loss_and_grads

    def poisoned(self, x, y, dropout=None, step=0):
        loss = real(self, x, y, dropout, step)
        if step == 6:
            self.grads[5] = math.inf
        return loss

    monkeypatch.setattr(Workspace, "loss_and_grads", poisoned)
    records = session.run("run", **{**SMALL, "steps": 10, "log_every": 100})
    assert "the gradient's norm became inf at step 7" in of(records, Notice)[-1].text
    assert [record["step"] for record in session.log("run")] == [7, 10]
    assert session.last("run").training["optimizer_steps"] == 9


def test_two_bad_steps_then_a_good_one_begin_the_count_anew(session, nan_at):
    nan_at(lambda step, factor: step % 3 != 0)
    session.run("run", **SMALL, steps=12)
    assert returns(session, "run") == []
    assert session.last("run").training["divergence"]["skipped"] == 8


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_workspace_forgets_a_chunk_of_nan(cell, dtype):
    config = ModelConfig(cell, 7, 5, 2, 3, False, dtype)
    model, dropout = Model.initialise(config, 1), Dropout(0.3, False, 1)
    chunks = np.random.default_rng(0).integers(0, 7, (3, 2, 4, 3), np.int32)
    spoiled, fresh = Workspace(model, 3, 4), Workspace(model, 3, 4)
    kept = model.flat.copy()
    model.flat[:] = math.nan
    assert math.isnan(spoiled.loss_and_grads(*chunks[0], dropout, 0))
    model.flat[:] = kept
    spoiled.reset_carry()
    for step in (1, 2):
        assert spoiled.loss_and_grads(*chunks[step], dropout, step) == fresh.loss_and_grads(
            *chunks[step], dropout, step
        )
        assert np.array_equal(spoiled.grads, fresh.grads)


# ------------------------------------------------------------------------------------------------------- the way back


def test_three_bad_steps_in_a_row_go_back_to_the_last_validation_at_half_the_rate(session, nan_at):
    nan_at(lambda step, factor: 9 <= step <= 11 and factor == 1)
    records = session.run("run", **SMALL, steps=16, eval_every=4)
    assert [step.step for step in of(records, Step)] == [*range(1, 9), *range(9, 17)]
    (notice,) = [record for record in of(records, Notice) if record.important]
    assert notice.text == (
        "the training loss became nan at step 11: returned to step 8 and halved the learning rate to 0.01"
    )
    log = session.log("run")
    assert [record["step"] for record in log] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert log[8] == {
        "step": 8,
        "returned_from": 11,
        "because": "the training loss became nan at step 11",
        "learning_rate_factor": 0.5,
        "returns": 1,
    }
    assert [record["learning_rate"] for record in log if "learning_rate" in record] == [0.02] * 8 + [0.01] * 8
    assert "skipped" not in str(log)
    kept = session.last("run").training["divergence"]
    assert kept == {
        "anchor_step": 16,
        "factor": 0.5,
        "returns": [log[8]],
        "futile": 0,
        "failed_step": 11,
        "in_a_row": 0,
        "skipped": 0,
    }
    assert sorted(os.listdir(session.tmp_path / "run")) == [
        "best.safetensors",
        "config.toml",
        "last.safetensors",
        "log.jsonl",
    ]


def test_after_the_return_the_run_is_one_that_goes_on_from_the_anchor_at_half_the_rate(session, nan_at):
    # The same by hand: resumed at the anchor with a record that says so.
    options = {**SMALL, "steps": 16, "eval_every": 4}
    session.run("by hand", stop_at=8, **options)
    path = session.tmp_path / "by hand" / "last.safetensors"
    kept = load_checkpoint(path)
    kept.training["divergence"]["factor"] = 0.5
    save_checkpoint(path, kept)
    session.resume("by hand")
    nan_at(lambda step, factor: 9 <= step <= 11 and factor == 1)
    session.run("run", **options)
    for name, array in session.last("by hand").parameters.items():
        assert np.array_equal(array, session.last("run").parameters[name])


@pytest.mark.slow
def test_a_return_takes_the_average_back_too(session, nan_at, monkeypatch):
    options = {**SMALL, "steps": 20, "eval_every": 5}
    nan_at(lambda step, factor: factor == 1 and 12 <= step <= 14)
    session.run("plain", **options)
    session.run("averaged", ema=0.9, **options)
    session.run("parts", stop_at=17, ema=0.9, **options)
    session.resume("parts")
    assert returns(session, "averaged") == returns(session, "plain") == [(10, 14)]
    for name, array in session.last("plain").parameters.items():
        assert np.array_equal(session.last("averaged").optimizer["unaveraged/" + name], array)
    assert_same(session.last("averaged"), session.last("parts"))

    good, real = [], Trainer._go_back

    def go_back(trainer, diverged):
        notice = real(trainer, diverged)
        good.append(trainer.state.learner.optimizer.average.get_parameters())
        return notice

    monkeypatch.setattr(Trainer, "_go_back", go_back)
    session.run("again", ema=0.9, **options)
    session.run("anchor", stop_at=10, ema=0.9, **options)
    for name, array in session.last("anchor").parameters.items():
        assert np.array_equal(good[0][name], array)


@pytest.mark.parametrize("lost", [1e6, math.nan])
def test_weights_that_are_lost_under_a_sound_average_are_no_anchor(session, monkeypatch, lost):
    """At the validation of step 8 the average stands as at step 4, whatever the weights have become."""
    real = Trainer._evaluate

    def evaluate(trainer):
        if trainer.state.step == 8 and trainer.state.recovery.factor == 1:
            trainer.state.learner.model.flat[:] *= lost
        return real(trainer)

    monkeypatch.setattr(Trainer, "_evaluate", evaluate)
    session.run("run", ema=0.9, **{**SMALL, "steps": 12, "eval_every": 4})
    assert returns(session, "run") == [(4, 8)]


def test_an_exploded_loss_goes_back_at_once(session, monkeypatch):
    real = Trainer._next_chunk

    def exploded(trainer):
        size, loss = real(trainer)
        return size, 1e4 if trainer.state.step == 6 and trainer.state.recovery.factor == 1 else loss

    monkeypatch.setattr(Trainer, "_next_chunk", exploded)
    session.run("run", **SMALL, steps=10, eval_every=4)
    assert returns(session, "run") == [(4, 7)]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e4])
def test_a_bad_validation_goes_back_to_the_one_before(session, monkeypatch, value):
    real = validation.evaluate_split
    calls = []

    def bad(*arguments, **keywords):
        calls.append(1)
        evaluation = real(*arguments, **keywords)
        return Evaluation(value, evaluation.characters) if len(calls) == 2 else evaluation

    monkeypatch.setattr(validation, "evaluate_split", bad)
    records = session.run("run", **SMALL, steps=12, eval_every=4)
    assert returns(session, "run") == [(4, 8)]
    assert [record.step for record in of(records, Evaluated)] == [4, 8, 12]


def test_a_validation_far_worse_than_guessing_is_divergence_only_where_the_training_text_is_as_bad(
    session, monkeypatch
):
    real = validation.evaluate_split
    monkeypatch.setattr(
        validation,
        "evaluate_split",
        lambda *arguments, **keywords: Evaluation(50.0, real(*arguments, **keywords).characters),
    )
    records = session.run("unlike", **SMALL, steps=8, eval_every=4)
    assert returns(session, "unlike") == [] and len(of(records, Evaluated)) == 2
    monkeypatch.setattr(Trainer, "_try_next_chunk", lambda trainer: 20.0 if trainer.state.recovery.factor == 1 else 2.0)
    session.run("lost", **SMALL, steps=8, eval_every=4)
    assert returns(session, "lost") == [(0, 4)]


def test_a_state_that_is_not_finite_is_never_saved_and_goes_back_at_the_next_anchor(session, monkeypatch):
    real = Trainer._train_step

    def spoil(trainer):
        record = real(trainer)
        if trainer.state.step == 6 and trainer.state.recovery.factor == 1:
            trainer.state.learner.optimizer.state["exp_avg_sq"][:] = (
                math.inf
            )  # a second moment that overflows: no loss ever tells
        return record

    monkeypatch.setattr(Trainer, "_train_step", spoil)
    options = {**SMALL, "steps": 12, "eval_every": 4}
    session.run("parts", **options, checkpoint_every=1, stop_at=7)
    assert session.last("parts").training["step"] == 5  # saved neither at steps 6 and 7 nor at the stop
    session.resume("parts")
    session.run("whole", **options)
    assert returns(session, "whole") == [(4, 8)]
    assert_same(session.last("whole"), session.last("parts"))
    assert session.log("whole") == session.log("parts")


def test_a_run_that_is_stopped_where_nothing_can_be_saved_does_not_say_that_it_is(folder, monkeypatch, capsys):
    real = Trainer._train_step

    def spoil(trainer):
        record = real(trainer)
        if trainer.state.step == 6:
            trainer.state.learner.optimizer.state["exp_avg_sq"][:] = math.inf
        if trainer.state.step == 7:
            trainer.stop()
        return record

    monkeypatch.setattr(Trainer, "_train_step", spoil)
    with pytest.raises(SystemExit, match="1"):
        train_in(folder, "--checkpoint-every", "1")
    said = capsys.readouterr().err
    assert "stopped at step 7 after" in said and "saved; resume it" not in said
    assert "was not saved" in said and "resume the checkpoint of step 5" in said and "train --resume" in said
    assert load_checkpoint(folder / "run" / "last.safetensors").training["step"] == 5


def test_coming_further_counts_the_returns_anew_and_the_rate_stays_down(session, nan_at):
    nan_at(lambda step, factor: (9 <= step <= 11 and factor > 1 / 8) or (21 <= step <= 23 and factor > 1 / 64))
    session.run("run", **SMALL, steps=28, eval_every=4)
    assert returns(session, "run") == [(8, 11)] * 3 + [(20, 23)] * 3
    assert session.log("run")[-1]["learning_rate"] == 0.02 / 64
    assert session.last("run").training["divergence"]["futile"] == 0


def test_an_anchor_short_of_the_place_does_not_count_the_returns_anew(session, nan_at):
    # Back to 8; then 12 is validated, which is not beyond 15; and again from there.
    nan_at(lambda step, factor: 9 <= step <= 11 and factor == 1 or 13 <= step <= 15 and factor < 1)
    with pytest.raises(DivergenceError):
        session.run("run", **SMALL, steps=28, eval_every=4)
    assert returns(session, "run") == [(8, 11), *[(12, 15)] * 5]


def test_a_failure_before_the_furthest_does_not_bring_the_furthest_nearer():
    recovery = Recovery()
    recovery.anchored(4)
    for step in (19, 9):
        recovery.went_back(Diverged("a loss", math.nan, step), skipped=0)
    recovery.anchored(12)
    assert recovery.futile == 2
    recovery.anchored(19)
    assert recovery.futile == 0 and recovery.factor == 0.25


def test_after_five_futile_returns_it_ends_with_advice_and_again_when_resumed(session, nan_at):
    nan_at(lambda step, factor: 6 <= step <= 8)
    said = (
        r"training loss became nan at step 8, .*because returning to step 4 several times did not help. The learning "
        r"rates tried are 0\.02, 0\.01, 0\.005, 0\.0025, 0\.00125, 0\.000625: start a new run with --learning-rate "
        r"below 0\.000625 or --clip-norm below 5; the checkpoint of step 4 is kept"
    )
    with pytest.raises(DivergenceError, match=said):
        session.run("run", **SMALL, steps=12, eval_every=4)
    assert returns(session, "run") == [(4, 8)] * 5
    with pytest.raises(DivergenceError, match=said):
        session.resume("run")
    assert returns(session, "run") == [(4, 8)] * 5
    assert session.best("run").training["step"] == 4


def test_stop_ends_at_the_first_bad_step_and_the_run_can_be_resumed_to_recover(session, nan_at):
    options = {**SMALL, "steps": 16, "eval_every": 4}
    nan_at(lambda step, factor: 9 <= step <= 11 and factor == 1)
    with pytest.raises(
        DivergenceError,
        match="nan at step 9, and training stopped: .*--on-divergence recover.*the checkpoint of step 8 is kept",
    ):
        session.run("run", on_divergence="stop", **options)
    session.resume("run", on_divergence="recover")
    session.run("whole", **options)
    assert_same(session.last("run"), session.last("whole"))
    assert session.log("run") == session.log("whole")


# ---------------------------------------------------------------------------------------------- where nothing validates


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"val_fraction": 0.0, "test_fraction": 0.0}, {"eval_every": 0}], ids=str)
def test_without_validations_the_anchors_are_at_steps_that_options_alone_decide(session, nan_at, monkeypatch, options):
    monkeypatch.setattr(intervals, "MIN_ANCHOR_STEPS", 5)
    nan_at(lambda step, factor: 13 <= step <= 15 and factor == 1)
    options = {**SMALL, "steps": 22, **options, "log_every": 3}
    session.run("whole", **options)
    assert returns(session, "whole") == [(10, 15)]
    assert [record["step"] for record in session.log("whole")] == [3, 6, 9, 10, 12, 15, 18, 21, 22]
    for place, (stop, kill) in enumerate([(9, None), (10, None), (14, None), (None, 14), (None, 11)]):
        session.run(f"parts{place}", stop_at=stop, kill_at=kill, checkpoint_every=4, **options)
        session.resume(f"parts{place}", kill_at=21)
        session.resume(f"parts{place}")
        assert_same(session.last("whole"), session.last(f"parts{place}"))
        assert session.log("whole") == session.log(f"parts{place}")


def test_an_anchor_that_no_validation_tries_is_tried_on_the_next_chunk_without_a_trace(session, monkeypatch):
    monkeypatch.setattr(intervals, "MIN_ANCHOR_STEPS", 5)
    options = {**SMALL, "steps": 14, "eval_every": 0}
    tried = []
    real = Trainer._try_next_chunk
    monkeypatch.setattr(Trainer, "_try_next_chunk", lambda trainer: tried.append(trainer.state.step) or real(trainer))
    session.run("tried", **options)
    monkeypatch.setattr(Trainer, "_anchor_is_due", lambda trainer: False)
    session.run("untried", **options)
    assert tried == [5, 10]
    for name, array in session.last("tried").parameters.items():
        assert np.array_equal(array, session.last("untried").parameters[name])
    monkeypatch.undo()
    monkeypatch.setattr(intervals, "MIN_ANCHOR_STEPS", 5)
    monkeypatch.setattr(Trainer, "_try_next_chunk", lambda trainer: 40.0 if trainer.state.recovery.factor == 1 else 2.0)
    session.run("lost", **options)
    assert returns(session, "lost") == [(0, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"val_fraction": 0.0, "test_fraction": 0.0}], ids=str)
def test_by_minutes_it_goes_back_in_step_and_not_in_time(session, nan_at, options):
    nan_at(lambda step, factor: 90 <= step <= 92 and factor == 1)
    plan = plan_run(TrainingConfig(**{**TINY, **SMALL, "minutes": 2, **options}), session.corpus)
    ticks = iter(range(10**9))
    with RunFolder.create(session.tmp_path / "run") as folder:  # every look at the clock is 0.02 seconds later
        records = list(Trainer(plan, session.corpus, folder, clock=lambda: next(ticks) / 50, samples=False).run())
    (back,) = returns(session, "run")
    assert back[1] == 92 and 0 < back[0] < 90
    assert not records[-1].resumable and records[-1].elapsed_s == pytest.approx(120, abs=5)
    assert not (session.tmp_path / "run" / "good.safetensors").exists()


# --------------------------------------------------------------------------------------------- killed, and resumed


def go(session, name, operation, **options):
    """Start the run, or resume it where it has been started; kill it at an operation. Return how many were made."""
    path = session.tmp_path / name
    resumed = (path / "last.safetensors").exists()
    if not resumed:
        shutil.rmtree(path, ignore_errors=True)  # killed before there was anything to go on with
    elif session.last(name).training["finished"]:
        return 0
    with RunFolder.open(path) if resumed else RunFolder.create(path) as folder, killed_at(operation) as count:
        plan = (
            plan_resume(load_checkpoint(folder.last), session.corpus)
            if resumed
            else plan_run(TrainingConfig(**{**TINY, **options}), session.corpus)
        )
        for _ in Trainer(plan, session.corpus, folder, samples=False).run():
            pass
    return count[0]


KILL_OPTIONS = {**SMALL, "steps": 14, "eval_every": 4, "checkpoint_every": 3}


def fails_twice(step, factor):
    return step == 3 or 9 <= step <= 11 and factor > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "where, count", [("keep_last_as_good", 1), ("save", 1), ("save", 2), ("trim_log", 1), ("trim_log", 2)]
)
def test_killed_between_any_two_writes_of_an_anchor_or_a_return_it_ends_in_the_same_bits(
    session, nan_at, monkeypatch, where, count, after
):
    nan_at(fails_twice)
    options = {**KILL_OPTIONS, "checkpoint_every": 0}
    session.run("whole", **options)
    real, calls = getattr(RunFolder, where), []

    def die(folder, *arguments, **keywords):
        step = load_checkpoint(folder.last).training["step"] if where == "keep_last_as_good" else None
        if step in (None, 8) and (where != "save" or arguments[0].training["divergence"]["returns"]):
            calls.append(1)
        if len(calls) == count and not after:
            raise Killed
        real(folder, *arguments, **keywords)
        if len(calls) == count:
            raise Killed

    monkeypatch.setattr(RunFolder, where, die)
    with pytest.raises(Killed):
        session.run("killed", **options)
    monkeypatch.setattr(RunFolder, where, real)
    session.resume("killed")
    assert_ends_the_same(session, "killed")


@pytest.mark.slow
def test_killed_at_any_file_operation_and_resumed_it_ends_in_the_same_bits(session, nan_at):
    nan_at(fails_twice)
    total = go(session, "whole", None, **KILL_OPTIONS)
    assert returns(session, "whole") == [(8, 11), (8, 11)] and total > 200
    for operation in range(3, total + 1, 37):  # the soak kills at random ones
        go(session, "killed", operation, **KILL_OPTIONS)
        go(session, "killed", None, **KILL_OPTIONS)
        assert_ends_the_same(session, "killed")
        shutil.rmtree(session.tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"ema": 0.9, "weight_dropout": 0.3}], ids=str)
def test_killed_again_and_again_it_ends_in_the_same_bits(session, nan_at, more):
    nan_at(fails_twice)
    options = {**KILL_OPTIONS, **more}
    go(session, "whole", None, **options)
    rng = random.Random(5)
    for n in range(2):
        for _ in range(12):
            go(session, f"killed{n}", rng.randint(20, 150), **options)
        go(session, f"killed{n}", None, **options)
        assert_ends_the_same(session, f"killed{n}")


def assert_ends_the_same(session, name):
    assert_same(session.last("whole"), session.last(name))
    assert_same(session.best("whole"), session.best(name))
    assert session.log("whole") == session.log(name), name


def test_a_full_disk_in_the_midst_of_a_return_stops_with_a_sentence_and_resumes_to_the_same(
    session, nan_at, monkeypatch
):
    nan_at(fails_twice)
    session.run("whole", **KILL_OPTIONS)
    real = RunFolder.save

    def full(folder, checkpoint, **options):
        if checkpoint.training["divergence"]["returns"]:
            raise StorageError("cannot write: no space left")
        real(folder, checkpoint, **options)

    monkeypatch.setattr(RunFolder, "save", full)
    with pytest.raises(StorageError):
        session.run("full", **KILL_OPTIONS)
    monkeypatch.setattr(RunFolder, "save", real)
    session.resume("full")
    assert_ends_the_same(session, "full")


def test_a_run_of_before_anchors_existed_can_be_resumed_and_goes_back_to_where_it_was_resumed(session, nan_at):
    session.run("old", stop_at=6, **SMALL, steps=14, eval_every=4)
    path = session.tmp_path / "old" / "last.safetensors"
    old = load_checkpoint(path)
    training = {key: value for key, value in old.training.items() if key != "divergence"}
    del training["config"]["on_divergence"]
    save_checkpoint(path, Checkpoint(old.model, old.vocabulary, old.parameters, old.optimizer, old.carry, training))
    (session.tmp_path / "old" / "good.safetensors").unlink()
    nan_at(lambda step, factor: step in (7, 8, 9) and factor == 1)
    session.resume("old")
    assert returns(session, "old") == [(6, 9)]


@pytest.mark.parametrize("spoil", [lambda good: good.unlink(), lambda good: good.write_bytes(b"nonsense")])
def test_where_good_is_lost_a_resumed_run_goes_back_to_where_it_was_resumed(session, nan_at, spoil):
    session.run("run", stop_at=6, **SMALL, steps=14, eval_every=4)
    spoil(session.tmp_path / "run" / "good.safetensors")
    nan_at(lambda step, factor: step in (7, 8, 9) and factor == 1)
    session.resume("run")
    assert returns(session, "run") == [(6, 9)]


@pytest.mark.parametrize(
    "key, value",
    [
        ("factor", 0),
        ("factor", 3.0),
        ("factor", math.pi),
        ("futile", "5"),
        ("anchor_step", -1),
        ("returns", 7),
        ("returns", [3]),
        ("skipped", None),
        ("in_a_row", True),
    ],
)
def test_a_nonsense_record_of_divergence_is_refused(session, key, value):
    session.run("run", stop_at=2, **SMALL, steps=4)
    path = session.tmp_path / "run" / "last.safetensors"
    kept = load_checkpoint(path)
    kept.training["divergence"][key] = value
    save_checkpoint(path, kept)
    with pytest.raises(CheckpointError, match="record of its training is incomplete or damaged"):
        session.resume("run")


def test_where_there_are_no_links_good_is_a_copy(session, nan_at, monkeypatch):
    nan_at(fails_twice)
    session.run("whole", **KILL_OPTIONS)

    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    session.run("copied", **KILL_OPTIONS)
    assert_ends_the_same(session, "copied")


# ------------------------------------------------------------------------------------------------- for real, in the CLI


def train_in(folder, *arguments):
    return main(
        [
            "train",
            str(folder / "text.txt"),
            "--hidden-size",
            "9",
            "--batch-size",
            "3",
            "--seq-length",
            "7",
            "--schedule",
            "constant",
            "--steps",
            "60",
            "--eval-every",
            "10",
            "-o",
            str(folder / "run"),
            *map(str, arguments),
        ]
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def test_a_rate_that_is_too_high_by_far_ends_with_advice(folder, capsys):
    assert train_in(folder, "--optimizer", "sgd", "--learning-rate", "1e6") == 2
    lines = capsys.readouterr().err.splitlines()
    assert sum("returned to step 0 and halved the learning rate" in line for line in lines) == 5
    assert (
        lines[-1].startswith("Error: ")
        and "The learning rates tried are 1e+06, 5e+05, 2.5e+05, 1.25e+05, 6.25e+04, 3.12e+04" in lines[-1]
    )
    assert "Traceback" not in "\n".join(lines)


def test_a_rate_that_is_too_high_is_halved_until_it_learns_and_info_says_so(folder, capsys):
    assert train_in(folder, "--optimizer", "adam", "--learning-rate", "20", "--quiet") == 0
    out, err = capsys.readouterr()
    assert "returned to step" in err  # also where only the result is to be shown
    kept = load_checkpoint(folder / "run" / "last.safetensors").training
    count = len(kept["divergence"]["returns"])
    assert count >= 1 and kept["divergence"]["factor"] == 0.5**count
    assert (
        kept["best"]["val_loss_nats"]
        < math.log(load_checkpoint(folder / "run" / "last.safetensors").vocabulary.size) + 3
    )
    assert main(["info", str(folder / "run" / "last.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert (
        count > 1
        and f"  diverged              returned {count} times to an earlier state, most recently from step 10" in shown
    )
    assert f"the learning rate is now {0.5**count:g} times the one that was asked for" in shown
    assert "--on-divergence" in shown and "loss in nats" in shown


def test_stop_is_a_sentence_and_exit_code_2(folder, capsys):
    assert train_in(folder, "--optimizer", "sgd", "--learning-rate", "1e6", "--on-divergence", "stop") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("Error: the training loss became ") and "--on-divergence recover" in lines[-1]
    assert not any("returned to step" in line for line in lines)


def test_the_option_may_come_from_a_file_and_nonsense_is_refused(folder, capsys):
    (folder / "options.toml").write_text('on-divergence = "stop"\n')
    assert train_in(folder, "--config", folder / "options.toml", "--optimizer", "sgd", "--learning-rate", "1e6") == 2
    assert "--on-divergence recover" in capsys.readouterr().err
    assert train_in(folder, "--on-divergence", "shrug") == 2
    assert "--on-divergence" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["a bit", "another seed", "a nonsense record"])
def test_a_good_that_is_not_this_runs_own_or_is_damaged_is_not_gone_back_to(session, damage):
    options = {"steps": 30, "eval_every": 5}
    session.run("run", stop_at=13, **options)
    good = session.tmp_path / "run" / "good.safetensors"
    if damage == "another seed":
        session.run("other", stop_at=13, seed=2, **options)
        content = (session.tmp_path / "other" / "good.safetensors").read_bytes()
    else:
        content = bytearray(good.read_bytes())
        if damage == "a bit":
            content[-9] ^= 1
    good.unlink()
    if damage == "a nonsense record":
        checkpoint = session.last("run")
        checkpoint.training.update(step=10, smoothing=["a", 0])
        save_checkpoint(good, checkpoint)
    else:
        good.write_bytes(content)
    session.resume("run", stop_at=14)
    anchored = load_checkpoint(good).training
    assert anchored["config"]["seed"] == 1 and anchored["step"] == 13  # what `last` was
    assert type(anchored["smoothing"][0]) is float


def test_what_is_best_can_be_gone_back_to(session, monkeypatch):
    """A validation right after a step that was left out is no anchor, so its model is not kept as the best either."""
    real = Workspace.loss_and_grads

    def sick(self, x, y, dropout=None, step=0):
        loss = real(self, x, y, dropout, step)
        return math.nan if step == 9 else loss

    monkeypatch.setattr(Workspace, "loss_and_grads", sick)
    records = session.run("run", steps=10, eval_every=5)
    best = session.best("run").training
    assert [one.is_best for one in records if isinstance(one, Evaluated)] == [True, False]
    assert best["step"] == session.last("run").training["best"]["step"] == 5
