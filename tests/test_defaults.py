"""What a run does where its user names nothing: the defaults that its length in epochs decides."""

import math

import pytest

from charrnn.text.corpus import read_corpus
from charrnn.training.defaults import DROPOUTS, STEPPING_SHARE, max_epochs
from charrnn.training.launch import planned_run
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import has_to_be_paced, paced, plan_run
from charrnn.training.records import Preflight

TINY = {"hidden_size": 9, "num_layers": 1, "batch_size": 3, "seq_length": 7}


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"line {n * n % 97} of many.\n" for n in range(60)))
    with read_corpus([tmp_path / "text.txt"]) as corpus:
        yield corpus


@pytest.mark.parametrize("epochs, dropout", [(0.5, 0.0), (1.9, 0.0), (8.0, 0.2), (1000.0, 0.5)])
def test_dropout_is_by_the_length_in_epochs_however_that_is_given(corpus, epochs, dropout):
    by_epochs = plan_run(TrainingConfig(**TINY, epochs=epochs), corpus)
    assert by_epochs.config.dropout == by_epochs.chosen["dropout"] == dropout
    assert not has_to_be_paced(by_epochs)
    plan = plan_run(TrainingConfig(**TINY, minutes=2), corpus)
    assert has_to_be_paced(plan)
    plan = paced(plan, 120 * STEPPING_SHARE / plan.steps_per_epoch / epochs)
    assert plan.config.dropout == plan.chosen["dropout"] == dropout


def test_a_dropout_that_was_named_stands_whatever_the_length(corpus):
    plan = plan_run(TrainingConfig(**TINY, minutes=2, dropout=0.05), corpus)
    assert plan.config.dropout == 0.05 and "dropout" not in plan.chosen and not has_to_be_paced(plan)


def test_a_run_by_the_clock_is_paced_before_it_begins(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(
        "charrnn.training.launch.measure_plan_s", lambda plan, corpus: 60 * STEPPING_SHARE / plan.steps_per_epoch / 7
    )
    with planned_run([tmp_path / "text.txt"], {**TINY, "minutes": 1}) as trainer:
        assert trainer.plan.config.dropout == 0.2
    monkeypatch.undo()
    with planned_run([tmp_path / "text.txt"], {**TINY, "minutes": 1}) as trainer:  # some thousand epochs of a tiny text
        assert trainer.plan.config.dropout == DROPOUTS[-1][1]


def test_an_interval_of_validations_is_told_only_if_it_was_left_open_and_there_is_a_text_to_validate_on(corpus):
    for options in ({"eval_every": 0}, {"eval_every": 9}, {"val_fraction": 0.0}):
        plan = plan_run(TrainingConfig(**TINY, **options), corpus)
        assert "eval_every" not in plan.chosen and "eval_every" not in paced(plan, 1e-3).chosen
        assert "eval_every" not in plan_run(TrainingConfig(**TINY, **options, steps=50), corpus).chosen
    assert plan_run(TrainingConfig(**TINY, steps=50), corpus).chosen["eval_every"] > 0


def test_a_short_text_is_read_no_more_often_than_is_good_for_it_where_the_length_is_left_open(corpus):
    plan = paced(plan_run(TrainingConfig(**TINY), corpus), 1e-3)
    assert (plan.config.minutes, plan.config.epochs, plan.total_steps) == (None, 12.0, 12 * plan.steps_per_epoch)
    assert plan.config.eval_every and plan.config.log_every and plan.config.dropout == 0.3
    assert next(iter(plan.chosen)) == "epochs" and "minutes" not in plan.chosen and plan.chosen["eval_every"]
    same = plan_run(TrainingConfig(**TINY, epochs=12.0), corpus)
    assert (same.config, same.total_steps, same.validated) == (plan.config, plan.total_steps, plan.validated)
    assert [max_epochs(*text) for text in ((400_000, 390), (600_000, 586), (9000, 9))] == [12.0, math.inf, 56.0]
    slow = paced(plan_run(TrainingConfig(**TINY), corpus), 300 * STEPPING_SHARE / plan.steps_per_epoch / 4)
    assert (slow.config.minutes, slow.config.epochs, slow.config.dropout) == (5.0, None, 0.1)
    named = paced(plan_run(TrainingConfig(**TINY, minutes=5), corpus), 1e-3)
    assert named.config.minutes == 5 and named.config.epochs is None
    patient = plan_run(TrainingConfig(**TINY, patience=3), corpus)
    assert not has_to_be_paced(patient)


@pytest.mark.parametrize(
    "options, rate",
    [
        ({}, 0.008),
        ({"hidden_size": 64}, 0.008),
        ({"hidden_size": 512}, 0.004),
        ({"hidden_size": 1024, "optimizer": "adam"}, 0.002),
        ({"layer_norm": False, "hidden_size": 512}, 0.003),
        ({"optimizer": "sgd", "hidden_size": 512}, 0.5),
        ({"learning_rate": 0.1, "hidden_size": 512}, 0.1),
    ],
)
def test_the_learning_rate_is_by_optimiser_normalisation_and_width(options, rate):
    config = TrainingConfig(**options)
    decay = 0.05 if config.layer_norm else 0.01
    assert config.resolved().weight_decay == (decay if config.optimizer == "adamw" else 0)
    assert config.resolved().learning_rate == rate and config.make_schedule().peak == rate


def test_a_step_that_was_timed_to_plan_a_run_is_not_timed_again(tmp_path, corpus, monkeypatch):
    def refuse(*_):
        raise AssertionError("timed again")

    monkeypatch.setattr("charrnn.training.trainer.measure_step_s", refuse)
    with planned_run([tmp_path / "text.txt"], {**TINY, "minutes": 1}) as trainer:
        (preflight,) = (record for record in trainer.run() if isinstance(record, Preflight))
        assert preflight.step_s == trainer.plan.step_s > 0
    with planned_run([tmp_path / "text.txt"], {**TINY, "steps": 9}) as trainer, pytest.raises(AssertionError):
        list(trainer.run())
