"""A run's budget: steps and the clock answer the same questions."""

import math

import pytest

from charrnn.training.budget import ClockBudget, Costs, StepBudget, Stopwatch
from charrnn.training.defaults import MAX_ANCHORS, MAX_EVALUATIONS, MIN_ANCHOR_STEPS


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def by_steps(clock, total=100, eval_every=0, log_every=1, validates=True, **costs):
    stopwatch = Stopwatch(clock)
    stopwatch.start()
    return StepBudget(total, eval_every, log_every, validates, stopwatch, Costs(**costs))


def by_clock(clock, seconds=100.0, eval_every=None, log_every=None, validates=True, before_s=0.0, **costs):
    stopwatch = Stopwatch(clock, before_s)
    stopwatch.start()
    return ClockBudget(seconds, eval_every, log_every, validates, stopwatch, Costs(**costs))


def test_the_two_answer_the_same_questions(clock):
    names = [{name for name in dir(budget(clock)) if not name.startswith("_")} for budget in (by_steps, by_clock)]
    assert names[0] == names[1]


def test_the_stopwatch_stands_still_until_it_is_started_and_counts_earlier_sessions(clock):
    stopwatch = Stopwatch(clock, before_s=7.0)
    clock.now += 5
    assert (stopwatch.session_s(), stopwatch.elapsed_s()) == (0.0, 7.0)
    stopwatch.start()
    clock.now += 3
    assert (stopwatch.session_s(), stopwatch.elapsed_s()) == (3.0, 10.0)


def test_the_speed_is_that_of_the_last_seconds():
    costs = Costs()
    for _ in range(50):
        costs.step_made(10, 1.0)
    assert costs.chars_per_s == 10 and costs.step_s == pytest.approx(1.0)
    for _ in range(50):
        costs.step_made(10, 0.5)
    assert costs.chars_per_s == pytest.approx(20, rel=0.01) and costs.steps == 100


def test_a_run_by_steps_ends_at_its_last_step_whatever_the_time(clock):
    budget = by_steps(clock, total=4, steps=2)
    clock.now += 10_000
    assert [budget.progress(step) for step in range(4)] == [0.125, 0.375, 0.625, 0.875]
    assert [budget.is_finished(step) for step in (0, 3, 4, 5)] == [False, False, True, True]
    assert budget.share_done(1) == 0.25 and budget.remaining_s(1) == 15_000


def test_a_run_by_steps_expects_its_steps_and_its_validations(clock):
    assert by_steps(clock, total=10, eval_every=4, step_s=2.0, evaluation_s=1.0).duration_s(2) == 8 * 2 + 3
    assert by_steps(clock, total=10, eval_every=0, step_s=2.0, evaluation_s=1.0).duration_s(2) == 8 * 2


def test_a_run_by_steps_makes_anchors_only_where_validations_do_not(clock):
    for validates, eval_every in ((True, 0), (True, 100), (False, 0)):
        budget = by_steps(clock, total=100, eval_every=eval_every, validates=validates)
        due = [step for step in range(1, 101) if budget.anchor_is_due(step)]
        assert due == list(range(MIN_ANCHOR_STEPS, 101, MIN_ANCHOR_STEPS))
    assert not any(by_steps(clock, eval_every=10).anchor_is_due(step) for step in range(1, 101))
    assert by_steps(clock, total=100 * MAX_ANCHORS).anchor_is_due(100)


def test_a_run_by_the_clock_leaves_time_for_its_end_but_not_more_than_half(clock):
    budget = by_clock(clock, step_s=2.0)
    budget.reserve(10.0)
    clock.now += 88
    assert not budget.is_finished(5)
    clock.now += 1
    assert budget.is_finished(5) and not budget.is_finished(0)  # a run makes a step
    assert budget.progress(5) == 1.0 and budget.share_done(5) == 0.89 and budget.remaining_s(5) == 11
    budget.reserve(90.0)
    assert by_clock(clock).progress(0) == 0.0 and budget.progress(5) == 1.0
    clock.now -= 49
    assert budget.progress(5) == 41 / 50


def test_by_the_clock_a_resumed_run_has_what_is_left(clock):
    budget = by_clock(clock, before_s=60.0)
    assert budget.remaining_s(9) == budget.duration_s(9) == 40 and budget.share_done(9) == 0.6


def test_by_the_clock_validations_are_apart_by_a_share_of_the_run_or_by_what_they_take(clock):
    def places(**costs):
        budget, due, begun = by_clock(clock, **costs), [], clock.now
        while clock.now - begun < 100:
            if budget.evaluation_is_due(1):
                due.append(clock.now - begun)
                budget.evaluated()
            clock.now += 0.25
        return due

    apart = 100 / MAX_EVALUATIONS
    assert places() == [apart * (n + 1) for n in range(MAX_EVALUATIONS - 1)]
    assert places(evaluation_s=0.75, save_s=0.25) == [20.0, 40.0, 60.0, 80.0]


def test_what_was_asked_for_in_steps_is_due_in_steps_by_the_clock_too(clock):
    budget = by_clock(clock, eval_every=3, log_every=2)
    assert [step for step in range(1, 8) if budget.evaluation_is_due(step)] == [3, 6]
    assert [step for step in range(1, 8) if budget.log_is_due(step)] == [2, 4, 6]
    assert not by_clock(clock, eval_every=0).evaluation_is_due(7)


def test_by_the_clock_lines_of_the_log_and_anchors_are_apart_in_time(clock):
    budget = by_clock(clock, validates=False)
    logged, anchors, begun = 0, [], clock.now
    for _ in range(10_000):
        logged += budget.log_is_due(1)
        if budget.anchor_is_due(1):
            anchors.append(clock.now - begun)
            budget.tried()
        clock.now += 1 / 128
    assert 700 < logged <= 1000
    assert anchors[:3] == [0.0, 4.0, 8.0] and math.isclose(anchors[-1], 76.0)
    assert not by_clock(clock).anchor_is_due(1)  # validations make them
