"""compare_fresh, compare_run, measure_memory: what `charrnn gradients` shows, as records."""

import json

import numpy as np
import pytest

from charrnn.errors import ConfigError, DivergenceError
from charrnn.gradients import memory
from charrnn.gradients.distance import choose_times, measure_reach
from charrnn.gradients.report import (
    FreshOptions,
    MemoryOptions,
    MemoryReport,
    check_layer,
    compare_fresh,
    compare_run,
    measure_memory,
    random_excerpt,
)
from charrnn.model.parameters import Model
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.excerpt import Excerpt

EXCERPT = random_excerpt(1, 600)


def test_fresh_networks_are_compared_at_the_same_places():
    stages = []
    options = FreshOptions(hidden_size=5, singular_values=(1.2,), forget_biases=(0.0, 3.0))
    report = compare_fresh(EXCERPT, 65, 7, 4, options, lambda *stage: stages.append(stage))
    assert [(one.panel, one.name, one.states) for one in report.networks] == [
        *(("fresh, 1 x 5", cell.title, cell.states) for cell in reversed(CELLS.values())),
        ("vanilla RNN, orthogonal matrix", "singular value 1.2", ("h",)),
        ("LSTM's c, by its forget bias", "forget bias 0", ("c",)),
        ("LSTM's c, by its forget bias", "forget bias 3", ("c",)),
    ]
    assert (report.steps, report.times, report.text) == (7, 4, "random characters, 65 different")
    assert (
        len({what for what, _, _ in stages}) == len(CELLS) + 3 and stages[0][1:] == (0, 1) and stages[-1][1:] == (4, 4)
    )
    result = report.to_dict()
    json.dumps(result, allow_nan=False)
    curves = {network["name"]: len(network["curves"]) for network in result["networks"]}
    assert len(curves) == len(CELLS) + 3 and curves["LSTM"] == 4


def test_a_run_is_compared_with_fresh_networks_of_its_size():
    model = Model.initialise(ModelConfig("gru", 65, 6, 2, embedding_size=3, zoneout=0.1), 5)
    excerpt = Excerpt(EXCERPT.ids, 100, 400, "mine")
    report = compare_run(model, excerpt, 9, 5, trained_steps=1, seed=2)
    first, *others = report.networks
    assert (first.panel, first.name) == ("this GRU, 2 x 6, after 1 step", "this GRU")
    assert {one.panel for one in others} == {"fresh, 2 x 6, embedding 3, zoneout 0.1"}
    reach = measure_reach(model, EXCERPT.ids, choose_times(100, 400, 9, 5), 9)
    assert np.array_equal(first.reach.norms["h"], reach.norms["h"])
    assert [one.config.cell for one in others] == list(reversed(CELLS))
    assert np.array_equal(
        next(one for one in others if one.config.cell == "gru").reach.norms["h"],
        measure_reach(Model.initialise(model.config, 2), EXCERPT.ids, choose_times(100, 400, 9, 5), 9).norms["h"],
    )


def test_what_cannot_be_measured_is_refused():
    model = Model.initialise(ModelConfig("rnn", 65, 6, 1), 5)
    with pytest.raises(ConfigError, match="--steps"):
        compare_run(model, Excerpt(EXCERPT.ids, 0, 10), 9, 5)
    model.flat[:] = np.nan
    with pytest.raises(DivergenceError, match="gradient of this vanilla RNN"):
        compare_run(model, EXCERPT, 9, 5)
    check_layer(None, 1)
    with pytest.raises(ConfigError, match="--layer must be at most 1"):
        check_layer(2, 2)


def test_memory_comes_curve_by_curve(monkeypatch):
    monkeypatch.setattr(memory, "DISTANCES", (2, 5))
    options = MemoryOptions(cells=("lstm",), hidden_size=4, train_steps=2)
    curves = list(measure_memory(options))
    assert [(curve.task, curve.cell, tuple(curve.accuracy)) for curve in curves] == [
        ("copy", "lstm", (2, 5)),
        ("bracket", "lstm", (2, 5)),
    ]
    result = MemoryReport(options, tuple(curves)).to_dict()
    assert result["chance"] == {"copy": 1 / 8, "bracket": 1 / 4} and result["train_steps"] == 2
    assert result["accuracy"][0]["by_distance"].keys() == {"2", "5"}
