"""--patience and the plateau schedule: when a run ends, what its learning rate does, and that both resume exactly."""

import math

import numpy as np
import pytest

from charrnn.cli.display import evaluated_line, preflight_lines
from charrnn.errors import CheckpointError, ConfigError
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.runs.folder import RunFolder, read_log
from charrnn.text.corpus import read_corpus
from charrnn.training import trainer as trainer_module
from charrnn.training.defaults import ENDLESS_STEPS
from charrnn.training.options import TrainingConfig
from charrnn.training.patience import MIN_GAIN, Waiting
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Step
from charrnn.training.stored import check_record
from charrnn.training.trainer import Trainer

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
TINY = {"hidden_size": 9, "num_layers": 1, "batch_size": 3, "seq_length": 7, "val_fraction": 0.1, "sample_every": 0}
# A learning rate at which the loss soon wavers, so that a run waits, falls and ends within a few steps.
ENDLESS = {**TINY, "patience": 5, "eval_every": 4, "learning_rate": 0.08, "plateau_wait": 1, "dropout": 0.0}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    with read_corpus([path]) as corpus:
        yield corpus


def train(folder, plan, corpus, stop_at=None):
    """Run a plan; stop it after a step. Return its records."""
    trainer, records = Trainer(plan, corpus, folder, samples=False), []
    for record in trainer.run():
        records.append(record)
        if isinstance(record, Step) and record.step == stop_at:
            trainer.stop()
    return records


def start(path, corpus, stop_at=None, **options):
    with RunFolder.create(path) as folder:
        return train(folder, plan_run(TrainingConfig(**options), corpus), corpus, stop_at)


def resume(path, corpus, stop_at=None, **asked):
    with RunFolder.open(path) as folder:
        return train(folder, plan_resume(load_checkpoint(folder.last), corpus, asked), corpus, stop_at)


def validations(path):
    return [one for one in read_log(path / "log.jsonl") if "val_loss_nats" in one]


def of(records, kind):
    return [one for one in records if isinstance(one, kind)]


def assert_same(one, other):
    """Two runs have the same bits, log and record of what they waited for."""
    a, b = (load_checkpoint(path / "last.safetensors") for path in (one, other))
    for arrays, others in ((a.parameters, b.parameters), (a.optimizer, b.optimizer), (a.carry, b.carry)):
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
    assert a.training["waiting"] == b.training["waiting"] and a.training["best"] == b.training["best"]
    timed = ("chars_per_s", "elapsed_s")
    logs = [
        [{key: value for key, value in record.items() if key not in timed} for record in read_log(path / "log.jsonl")]
        for path in (one, other)
    ]
    assert logs[0] == logs[1]


def test_a_run_ends_so_many_validations_after_its_best_and_says_why(tmp_path, corpus):
    records = start(tmp_path / "run", corpus, **ENDLESS)
    (finished,) = of(records, Finished)
    losses = [one["val_loss_nats"] for one in validations(tmp_path / "run")]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 5 and finished.step == 4 * len(losses) and not finished.resumable
    assert finished.because == f"by --patience: 5 validations since step {4 * (best + 1):,} brought no new best loss"
    assert finished.best_step == 4 * (best + 1) and finished.test is not None
    assert not (tmp_path / "run" / "good.safetensors").exists()


def test_with_nothing_but_patience_the_schedule_is_plateau_and_no_length_is_known(tmp_path, corpus):
    plan = plan_run(TrainingConfig(**{**TINY, "patience": 5}), corpus)
    config = plan.config
    assert config.schedule == "plateau" and config.length_kind is None and plan.total_steps is None
    assert config.eval_every == ENDLESS_STEPS[0] and config.log_every  # both in steps: a resume is exact
    # cosine needs an end, and has the usual one; with a length patience may end a run before it
    assert plan_run(TrainingConfig(**TINY, patience=5, schedule="cosine"), corpus).config.minutes == 5
    assert plan_run(TrainingConfig(**TINY, patience=5, steps=9), corpus).config.schedule == "cosine"
    assert plan_run(TrainingConfig(**TINY, patience=5, schedule="constant"), corpus).config.is_endless
    assert plan_run(TrainingConfig(**TINY), corpus).config.schedule == "cosine"


def test_the_learning_rate_falls_where_the_loss_has_not_improved_and_not_below_its_floor():
    config = TrainingConfig(schedule="plateau", plateau_wait=2, plateau_factor=0.5, min_learning_rate=0.2)
    waiting, factors = Waiting(), []
    just_less = 1 - MIN_GAIN / 2  # lower, and yet no improvement
    for loss in (2.0, 1.0, just_less, 1.1, 1.2, 1.2, 0.5, 0.6, 0.6, 0.6, 0.6):
        waiting.validated(loss, False, config)
        factors.append(waiting.factor)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_the_rate_of_the_steps_is_the_lowered_one_and_a_notice_says_so(tmp_path, corpus):
    records = start(tmp_path / "run", corpus, **ENDLESS)
    rates = [one.learning_rate for one in of(records, Step)]
    assert rates[0] == 0.08 and min(rates) < 0.03
    lowered = [one.text for one in of(records, Notice) if "lowering the learning rate to" in one.text]
    falls = [(a, b) for a, b in zip(rates, rates[1:]) if a != b]
    assert len(falls) in (len(lowered), len(lowered) - 1)  # the last one may come with the end
    assert lowered[0].endswith("lowering the learning rate to 0.04") and falls[0] == (0.08, 0.04)


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_a_run_that_waits_resumes_to_the_same_bits(tmp_path, corpus, schedule):
    options = {**ENDLESS, "schedule": schedule}
    (finished,) = of(start(tmp_path / "whole", corpus, **options), Finished)
    start(tmp_path / "parts", corpus, stop_at=9, **options)
    for stop_at in range(18, finished.step, 7):
        resume(tmp_path / "parts", corpus, stop_at=stop_at)
    resume(tmp_path / "parts", corpus)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_goes_on_with_more_patience_as_if_it_had_had_it_from_the_start(tmp_path, corpus):
    start(tmp_path / "patient", corpus, **{**ENDLESS, "patience": 8})
    start(tmp_path / "run", corpus, **ENDLESS)
    with pytest.raises(ConfigError, match="by --patience: 5 validations since .*give --patience a value above 5"):
        resume(tmp_path / "run", corpus)
    resume(tmp_path / "run", corpus, patience=8)
    assert_same(tmp_path / "patient", tmp_path / "run")


def test_a_run_with_a_length_is_ended_before_it_and_patience_can_be_added_on_resume(tmp_path, corpus):
    options = {**{name: value for name, value in ENDLESS.items() if name != "patience"}, "schedule": "constant"}
    start(tmp_path / "run", corpus, stop_at=100, steps=400, **options)
    assert "waiting" not in read_metadata(tmp_path / "run" / "last.safetensors")["training"]
    losses = [one["val_loss_nats"] for one in validations(tmp_path / "run")]
    since = len(losses) - 1 - int(np.argmin(losses))
    assert since >= 2
    (finished,) = of(resume(tmp_path / "run", corpus, patience=since + 1), Finished)
    best = finished.best_step
    assert finished.step < 400 and finished.because.startswith("by --patience")
    assert finished.step == best + 4 * (since + 1)


def test_an_endless_run_can_be_given_a_length_later(tmp_path, corpus):
    start(tmp_path / "run", corpus, stop_at=6, **ENDLESS)
    (finished,) = of(resume(tmp_path / "run", corpus, steps=10), Finished)
    assert finished.step == 10 and finished.because is None


def test_a_return_after_divergence_waits_on_from_its_anchor(tmp_path, corpus, monkeypatch):
    exploded, once = trainer_module.has_exploded, []

    def explodes(loss):
        return exploded(loss) or not once and seen() and once.append(True) is None

    steps = []

    def seen():
        steps.append(None)
        return len(steps) > 120

    monkeypatch.setattr(trainer_module, "has_exploded", explodes)
    (finished,) = of(start(tmp_path / "run", corpus, **{**ENDLESS, "patience": 12}), Finished)
    assert once and finished.because
    losses = [one["val_loss_nats"] for one in validations(tmp_path / "run")]
    assert len(losses) == int(np.argmin(losses)) + 1 + 12


@pytest.mark.parametrize(
    "options, said",
    [
        ({"patience": 3, "eval_every": 0}, "--patience 3 needs validations, but --eval-every 0 turns them off"),
        ({"patience": 3, "val_fraction": 0.0}, "--patience 3 needs validations, but --val-fraction 0 turns them off"),
        ({"schedule": "plateau", "eval_every": 0}, "--schedule plateau needs validations"),
        ({"patience": 3, "warmup": 0.1}, "--warmup 0.1 is a share of the run, but a run that only --patience"),
        ({"patience": 2}, "--patience 2 ends the run before the plateau schedule lowers .*use --patience 5 or"),
    ],
)
def test_what_contradicts_patience_is_refused_with_the_remedy(options, said):
    with pytest.raises(ConfigError, match=said):
        TrainingConfig(**options)
    TrainingConfig(patience=2, schedule="constant")
    TrainingConfig(patience=2, steps=9, warmup=0.1)


def test_a_text_without_a_validation_split_cannot_be_waited_on(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abcabcabcd")
    with read_corpus([path]) as corpus, pytest.raises(ConfigError, match="--patience 3 needs validations, but the tex"):
        plan_run(TrainingConfig(hidden_size=3, patience=3, val_fraction=0.01), corpus)


def test_a_damaged_record_of_what_a_run_waits_for_is_told(tmp_path, corpus):
    start(tmp_path / "run", corpus, stop_at=6, **ENDLESS)
    training = read_metadata(tmp_path / "run" / "last.safetensors")["training"]
    check_record(training, corpus.characters)
    for name, value in (("since_best", -1), ("factor", 0), ("mark", "x"), ("since_mark", None), ("more", 1)):
        damaged = {**training, "waiting": {**training["waiting"], name: value}}
        with pytest.raises(CheckpointError, match="waiting"):
            check_record(damaged, corpus.characters)


def test_the_display_tells_how_long_a_run_waits_and_promises_no_end(tmp_path, corpus):
    records = start(tmp_path / "run", corpus, **ENDLESS)
    (preflight,) = of(records, Preflight)
    lines = "\n".join(preflight_lines(preflight))
    assert "ends    at the latest 5 validations after the best one, one every 4 steps" in lines
    assert "until the validation loss stops improving" in lines
    last = of(records, Evaluated)[-1]
    assert evaluated_line(last).endswith("  not better (5 of 5)")
    step = of(records, Step)[0]
    assert step.remaining_s is None and step.progress is None and math.isfinite(step.train_loss_nats)


def test_what_was_left_open_is_told_with_its_value_and_nothing_else(tmp_path, corpus):
    chosen = plan_run(TrainingConfig(**TINY, optimizer="adamw"), corpus).chosen
    assert chosen == {
        "minutes": 5,
        "learning_rate": 0.008,
        "schedule": "cosine",
        "warmup": 0.02,
        "weight_decay": 0.05,
        "dropout": 0.2,
        "precision": "float32",
    }
    chosen = plan_run(TrainingConfig(**ENDLESS), corpus).chosen
    assert chosen == {"schedule": "plateau", "weight_decay": 0.05, "precision": "float32"}
    records = start(tmp_path / "run", corpus, stop_at=2, **{**TINY, "steps": 9, "learning_rate": 0.01})
    (preflight,) = of(records, Preflight)
    left_open = (
        "--schedule cosine, --warmup 0.02, --weight-decay 0.05, --dropout 0, --precision float32, --eval-every 9"
    )
    assert f"default {left_open}" in preflight_lines(preflight)
