"""The tasks that need memory: what their texts are, and that a network which knows is told from one which guesses."""

import numpy as np
import pytest

from charrnn.diagnostics import memory
from charrnn.diagnostics.memory import CLOSING, DISTANCES, OPENING, SYMBOLS, TASKS, measure, train, write_text
from charrnn.model import Model, ModelConfig


def text_of(task, distances, seed=0):
    text = write_text(task, distances, np.random.default_rng(seed))
    return "".join(SYMBOLS[i] for i in text.ids), text


def test_a_copy_comes_k_after_the_capital_and_is_announced():
    string, text = text_of("copy", [2, 3, 9, 50])
    assert len(string) == 2 + 3 + 9 + 50 + 4 and list(text.distances) == [2, 3, 9, 50]
    for place, k in zip(text.places, text.distances):
        assert string[place] == string[place - k] and string[place].isupper() and string[place - 1] == "?"
        assert set(string[place - k + 1:place - 1]) <= set("abcd")


@pytest.mark.parametrize("seed", range(5))
def test_brackets_are_balanced_and_close_what_was_opened_k_before(seed):
    string, text = text_of("bracket", list(range(2, 60)), seed)
    open_ = []
    for symbol in string:
        if symbol in OPENING:
            open_.append(symbol)
        elif symbol in CLOSING:
            assert OPENING.index(open_.pop()) == CLOSING.index(symbol)
    assert not open_
    for place, k in zip(text.places, text.distances):
        assert OPENING.index(string[place - k]) == CLOSING.index(string[place])
    assert sum(string.count(symbol) for symbol in OPENING) > 58 + 20  # pairs inside


class Oracle:
    """Stands for a workspace whose model knows the text by heart, but only for distances up to `reach`."""

    def __init__(self, text, reach):
        self.next, self.at = np.append(text.ids[1:], 0), 0
        self.next[text.places[text.distances > reach] - 1] = SYMBOLS.index("a")

    def logits(self, x):
        logits = np.eye(len(SYMBOLS))[self.next[self.at:self.at + len(x)]][:, None]
        self.at += len(x)
        return logits


@pytest.mark.parametrize("task", TASKS)
def test_accuracy_is_counted_by_distance_among_the_choices(task, monkeypatch):
    written = []
    monkeypatch.setattr(memory, "write_text", lambda *args: written.append(write_text(*args)) or written[-1])
    monkeypatch.setattr(memory, "Workspace", lambda *args, **kwargs: Oracle(written[-1], reach=20))
    shares = measure(None, task, seed=3)
    assert list(shares) == list(DISTANCES)
    assert all(shares[k] == 1 for k in DISTANCES if k <= 20)
    assert all(abs(shares[k] - 1 / len(TASKS[task])) < 0.12 for k in DISTANCES if k > 20)


def test_training_is_a_function_of_the_seed_and_learns(monkeypatch):
    monkeypatch.setattr(memory, "TEXT_CHARACTERS", 60_000)
    monkeypatch.setattr(memory, "DISTANCES", (2, 3))
    calls = []
    one, same, other = (train("copy", "gru", 12, 1, steps, seed, lambda *done: calls.append(done))
                        for steps, seed in ((60, 1), (60, 1), (60, 2)))
    assert (one.flat == same.flat).all() and (one.flat != other.flat).any() and calls[-1] == (60, 60)
    fresh = measure(Model.initialise(ModelConfig("gru", len(SYMBOLS), 12, 1), 1), "copy", 1)
    assert measure(one, "copy", 1)[2] > 0.5 > fresh[2]
