"""Schedules: how far the run has come -> learning rate."""

import math

import pytest

from charrnn.errors import ConfigError
from charrnn.training.schedules import SCHEDULES, Schedule


def rate(schedule, progress=0.5, step=100, epoch=0):
    return schedule.learning_rate(progress=progress, step=step, epoch=epoch)


def test_constant_stays_at_its_peak():
    schedule = Schedule("constant", 0.5)
    assert [rate(schedule, p) for p in (0, 0.3, 1)] == [0.5, 0.5, 0.5]


def test_step_decays_once_an_epoch_after_the_tenth_as_char_rnn_does():
    # train.lua multiplies by 0.97 at the end of every epoch from the tenth on: the eleventh (index 10) is the first
    # lower.
    schedule = Schedule("step", 2e-3)
    assert rate(schedule, epoch=9) == 2e-3
    assert rate(schedule, epoch=10) == pytest.approx(2e-3 * 0.97)
    assert rate(schedule, epoch=12) == pytest.approx(2e-3 * 0.97**3)


def test_step_takes_its_own_factor_and_first_epoch():
    schedule = Schedule("step", 1.0, decay=0.5, decay_after=2)
    assert [rate(schedule, epoch=e) for e in range(5)] == [1, 1, 0.5, 0.25, 0.125]


def test_cosine_falls_from_peak_to_min_ratio_and_never_rises():
    schedule = Schedule("cosine", 1.0, min_ratio=0.1)
    rates = [rate(schedule, p / 100) for p in range(101)]
    assert rates[0] == 1 and rates[-1] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.55)
    assert all(a >= b for a, b in zip(rates, rates[1:]))


def test_cosine_warms_up_over_a_fraction_of_the_run():
    schedule = Schedule("cosine", 1.0, warmup=0.1)
    assert rate(schedule, 0.05) == pytest.approx(0.5)
    assert rate(schedule, 0.1) == pytest.approx(1.0)
    assert rate(schedule, 0.55) == pytest.approx(0.5)
    assert rate(schedule, 1.0) == pytest.approx(0.0, abs=1e-15)


def test_warm_up_in_steps_rises_whatever_the_schedule():
    for name in SCHEDULES:
        schedule = Schedule(name, 1.0, warmup=4)
        assert [rate(schedule, 0, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_progress_outside_the_run_is_clamped():
    schedule = Schedule("cosine", 1.0, min_ratio=0.25)
    assert rate(schedule, 1.7) == pytest.approx(0.25)
    assert rate(schedule, -1) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "linear"},
        {"peak": 0},
        {"peak": -1},
        {"peak": math.nan},
        {"peak": math.inf},
        {"warmup": -1},
        {"warmup": math.nan},
        {"min_ratio": 2},
        {"min_ratio": -0.1},
        {"decay": 0},
        {"decay": 1.5},
        {"decay_after": -1},
    ],
)
def test_nonsense_is_refused_with_the_value_in_the_message(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=str(value)) as refused:
        Schedule(**{"name": "cosine", "peak": 1.0, **wrong})
    option = {"name": "schedule", "peak": "learning_rate", "min_ratio": "min_learning_rate"}.get(name, name)
    assert refused.value.options == (option,)
