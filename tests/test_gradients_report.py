"""compare_fresh, compare_run, measure_memory: what `charrnn gradients` shows, as records."""

import dataclasses
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
    NetworkReach,
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
    assert (report.steps, report.times, report.text) == (7, 4, "random characters from an alphabet of 65")
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


def test_a_run_with_layer_norm_stands_beside_the_plain_network_too():
    model = Model.initialise(ModelConfig("lstm", 65, 32, 1, layer_norm=True), 5)
    report = compare_run(model, EXCERPT, 30, 5, seed=2)
    panels = list(dict.fromkeys(one.panel for one in report.networks))
    assert panels == ["this LSTM, 1 x 32", "fresh, 1 x 32, layer norm", "fresh, 1 x 32, no layer norm"]
    plain = {one.name: one for one in report.networks if one.panel == panels[2]}
    assert list(plain) == [f"{cell.title} (no layer norm)" for cell in reversed(CELLS.values())]
    fresh = Model.initialise(ModelConfig("lstm", 65, 32, 1), 2)
    reach = measure_reach(fresh, EXCERPT.ids, choose_times(0, 600, 30, 5), 30)
    assert np.array_equal(plain["LSTM (no layer norm)"].reach.norms["c"], reach.norms["c"])
    (said,) = report.notes
    factors = [one.factor("c") for one in report.networks if one.config.cell == "lstm"]
    assert all(f"{factor:.3f}" in said for factor in factors) and factors[1] > factors[2] + 0.05
    assert "that changes the result" in said and "1/sigma" in said
    result = report.to_dict()
    assert result["notes"] == [said] and [one["layer_norm"] for one in result["networks"]] == [True] * 4 + [False] * 3
    assert not compare_run(fresh, EXCERPT, 9, 5).notes


@pytest.mark.parametrize("plain, changed", [(0.805, False), (0.78, False), (0.85, True), (0.74, True)])
def test_layer_norm_is_said_to_change_the_picture_only_where_it_does(monkeypatch, plain, changed):
    factors = {True: 0.795, False: plain}
    monkeypatch.setattr(NetworkReach, "factor", lambda one, state: factors[one.config.layer_norm])
    model = Model.initialise(ModelConfig("gru", 65, 6, 1, layer_norm=True), 5)
    (said,) = compare_run(model, EXCERPT, 5, 2, seed=2).notes
    assert "0.795 in the fresh GRU" in said and f"{plain:.3f} in the one without it" in said
    assert ("that changes the result" in said, "1/sigma" in said) == (changed, changed)
    assert changed or "here it hardly changes the result: per step back" in said and ". " not in said


def test_one_over_sigma_is_what_layer_norm_does_to_a_fresh_lstm():
    """The plain network whose weights are divided by the sigma of the normalised one has that one's gradients."""
    config = ModelConfig("lstm", 65, 64, 1)
    normed = Model.initialise(dataclasses.replace(config, layer_norm=True), 1)
    sigma = deviations(normed, EXCERPT.ids[:300])
    scaled = {}
    for names in (("ih", "hh"), ("hh",), ("ih",), ()):
        model = Model.initialise(config, 1)
        parameters = model.get_parameters()
        for name in names:
            parameters[f"rnn.weight_{name}_l0"] /= np.repeat(sigma, 64)[:, None]
        model.set_parameters(parameters)
        scaled[names] = factor_of_c(model)
    assert scaled[("ih", "hh")] == pytest.approx(factor_of_c(normed), abs=0.02)
    assert scaled[()] == pytest.approx(scaled[("ih",)], abs=0.03) and scaled[()] < 0.9
    assert scaled[("hh",)] > scaled[()] + 0.06 and factor_of_c(normed) > scaled[()] + 0.06


def factor_of_c(model):
    norms = measure_reach(model, EXCERPT.ids, choose_times(0, 600, 100, 16), 100).norms["c"][0]
    return (np.median(norms[100]) / np.median(norms[0])) ** 0.01


def deviations(model, ids):
    """The median standard deviation of each gate's sums, i, f, g, o, over the units, as the text is read."""
    parameters, H = model.get_parameters(), model.config.hidden_size
    bias = parameters["rnn.bias_ih_l0"].reshape(4, H)
    h, c, found = np.zeros(H), np.zeros(H), []
    for symbol in ids:
        sums = (parameters["rnn.weight_ih_l0"][:, symbol] + parameters["rnn.weight_hh_l0"] @ h).reshape(4, H)
        found.append(sums.std(axis=1))
        a = (sums - sums.mean(axis=1, keepdims=True)) / found[-1][:, None] + bias
        i, f, o = 1 / (1 + np.exp(-a[[0, 1, 3]]))
        c = f * c + i * np.tanh(a[2])
        h = o * np.tanh(c)
    return np.median(found[20:], axis=0)


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
