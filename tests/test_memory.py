"""The tasks that need memory: what their episodes are, and how a network that knows is told from one that guesses."""

import numpy as np
import pytest

from charrnn.gradients import memory
from charrnn.gradients.memory import CLOSING, OPENING, SYMBOLS, TASKS, measure, train, write_episodes
from charrnn.model.parameters import Model
from charrnn.spec import ModelConfig


def episodes(task, distance, count=50, seed=0):
    """Yield each episode as (what is read, what is to be answered)."""
    x, y = write_episodes(task, distance, count, np.random.default_rng(seed))
    assert x.shape == y.shape == (distance, count) and x.dtype == y.dtype == np.int32
    for b in range(count):
        yield "".join(SYMBOLS[i] for i in x[:, b]), "".join(SYMBOLS[i] for i in y[:, b])


@pytest.mark.parametrize("distance", [2, 3, 9, 50])
def test_a_capital_is_asked_for_k_after_it_was_shown(distance):
    shown = set()
    for x, y in episodes("copy", distance):
        assert x[0].isupper() and x[-1] == "?" and set(x[1:-1]) <= set("abcd")
        assert y == "." * (distance - 1) + x[0]
        shown.add(x[0])
    assert len(shown) == 8


@pytest.mark.parametrize("distance", [2, 4, 5, 6, 40])
def test_the_bracket_that_was_opened_k_before_is_to_be_closed_and_pairs_between_are_whole(distance):
    pairs = 0
    for x, y in episodes("bracket", distance):
        open_ = []
        for symbol in x[:-1]:
            if symbol in OPENING:
                open_.append(symbol)
            elif symbol in CLOSING:
                assert OPENING.index(open_.pop()) == CLOSING.index(symbol)
                pairs += 1
        assert open_ == [x[0]] and x[-1] == "?"
        assert y == "." * (distance - 1) + CLOSING[OPENING.index(x[0])]
    assert (pairs > 0) == (distance >= 5)


@pytest.mark.parametrize("task", TASKS)
def test_accuracy_is_counted_among_the_possible_answers(task, monkeypatch):
    """A network that never says anything but a full stop, and knows the rest or not."""

    class Knows:
        def __init__(self, knows):
            self.knows = knows

        def __call__(self, model, count, distance, training):
            return self

        def logits(self, x):
            shown, answers = TASKS[task]
            logits = np.zeros((*x.shape, len(SYMBOLS)))
            logits[:, :, SYMBOLS.index(".")] = 9
            for b, i in enumerate(x[0]):
                logits[-1, b, SYMBOLS.index(answers[shown.index(SYMBOLS[i]) if self.knows else 0])] = 5
            return logits

    monkeypatch.setattr(memory, "Workspace", Knows(True))
    assert measure(None, task, 7, seed=3) == 1
    monkeypatch.setattr(memory, "Workspace", Knows(False))
    assert abs(measure(None, task, 7, seed=3) - 1 / len(TASKS[task][1])) < 0.05


def test_training_is_a_function_of_the_seed_and_learns():
    one, same, other = (train("bracket", "rnn", 2, 12, 1, 150, seed) for seed in (1, 1, 2))
    assert (one.flat == same.flat).all() and (one.flat != other.flat).any()
    fresh = Model.initialise(ModelConfig("rnn", len(SYMBOLS), 12, 1), 1)
    assert measure(one, "bracket", 2, 1) > 0.95 and measure(fresh, "bracket", 2, 1) < 0.6
