"""charrnn gradients on fresh networks and on a run; tables, JSON, figures; and what it refuses."""

import json
import math
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.cli.show_gradients import reach_verdict, run_answer
from charrnn.gradients import memory
from charrnn.gradients.distance import choose_times, measure_reach
from charrnn.gradients.fresh import fresh_model
from charrnn.spec import CELLS, ModelConfig

TEXT = "the quick brown fox jumps over the lazy dog\n" * 40
TINY = ("--steps", "5", "--times", "4")
FRESH = ("--fresh", "--hidden-size", "6", *TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(
                [
                    "train",
                    "text.txt",
                    "--steps",
                    "2",
                    "--batch-size",
                    "3",
                    "--seq-length",
                    "7",
                    "-q",
                    "--hidden-size",
                    "6",
                    "--num-layers",
                    "2",
                    "--val-fraction",
                    "0.1",
                    "-o",
                    "runs/tiny",
                ]
            )
            == 0
        )
    (folder / "elsewhere").mkdir()
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("NO_COLOR", "1")


def gradients(capsys, *arguments, code=0):
    assert main(["gradients", *map(str, arguments)]) == code
    return capsys.readouterr()


@pytest.mark.slow
def test_without_a_run_fresh_networks_are_shown(capsys, folder):
    captured = gradients(capsys, *TINY)
    assert "no run under ./checkpoints" in captured.err
    for word in (
        "vanilla RNN",
        "GRU",
        "LSTM, h",
        "LSTM, c",
        "singular value 0.8",
        "singular value 1.5",
        "forget bias 2",
        "per step",
        "factor per step: by how much the median is multiplied from one k to the next",
    ):
        assert word in captured.out
    assert max(map(len, captured.out.splitlines())) <= 90
    assert captured.out.count("k, characters back") == captured.out.count("loss in nats") == 3  # the axes of each plot
    assert "where two curves lie on each other, their marks alternate" in " ".join(captured.out.split())


def test_json_holds_the_quartiles_of_every_layer_and_state(capsys):
    result = json.loads(
        gradients(capsys, *FRESH, "--num-layers", 2, "--cell", "lstm", "--forget-bias", 3, "--json").out
    )
    assert result["steps"] == 5 and result["times"] == 4
    plain, biased = result["networks"]
    assert plain["name"] == "LSTM" and biased["name"] == "forget bias 3" and plain["num_layers"] == 2
    assert [(curve["state"], curve["layer"]) for curve in plain["curves"]] == [
        (s, layer) for s in "hc" for layer in ("all", 0, 1)
    ]

    model = fresh_model(ModelConfig("lstm", 65, 6, 2), 1, forget_bias=3)
    ids = np.random.default_rng(1).integers(0, 65, 20_000).astype(np.int32)
    low, median, high = measure_reach(model, ids, choose_times(0, len(ids), 5, 4), 5).curve("c", 1)
    curve = biased["curves"][-1]
    assert (curve["lower_quartile"], curve["median"], curve["upper_quartile"]) == (
        low.tolist(),
        median.tolist(),
        high.tolist(),
    )


def test_the_changed_networks_are_what_they_are_called():
    config = ModelConfig("rnn", 7, 9, 2)
    for matrix in ("orthogonal", "uniform"):
        model = fresh_model(config, 1, singular_value=1.5, matrix=matrix)
        for layer in range(2):
            values = np.linalg.svd(model.get_parameters()[f"rnn.weight_hh_l{layer}"])[1]
            assert values[0] == pytest.approx(1.5, rel=1e-5) and (values[-1] == pytest.approx(1.5, rel=1e-5)) == (
                matrix == "orthogonal"
            )
    bias = fresh_model(ModelConfig("lstm", 7, 9, 2), 1, forget_bias=2.0).get_parameters()["rnn.bias_ih_l1"]
    assert (bias[9:18] == 2).all() and (bias[:9] != 2).all()


def test_a_run_stands_beside_fresh_networks_of_its_size(capsys, folder):
    captured = gradients(capsys, "runs/tiny", *TINY, "--layer", 1)
    shown = " ".join(captured.out.split())
    assert "this LSTM, 2 x 6, after 2 steps" in shown and "fresh, 2 x 6" in shown
    assert "this run has layer norm" in shown.lower() and "fresh, 2 x 6, embedding 64, no layer norm" in shown
    assert "LSTM (no layer norm), c" in shown and max(map(len, captured.out.splitlines())) <= 90
    assert shown.count("in short, the gradient of this LSTM: ") == 1
    assert "the state of layer 1" in shown and "the held-out text of text.txt" in shown
    captured = gradients(capsys, "runs/tiny", "text.txt", *TINY, "--json")
    result = json.loads(captured.out)
    assert [network["cell"] for network in result["networks"]] == ["lstm", *reversed(CELLS), *reversed(CELLS)]
    assert result["notes"][0].startswith("This run has layer norm")


def test_a_narrow_terminal_shows_every_figure_whole(capsys, folder):
    shown = gradients(capsys, "runs/tiny", *TINY, "--width", 44).out
    assert max(map(len, shown.splitlines())) <= 44 and "…" not in shown
    words = " ".join(shown.split())
    assert words.count("factor per step: 0.") + words.count("factor per step: 1.") == 2 + 2 * 4  # h and c of an LSTM
    assert "loss in nats, median and quartiles (powers of ten)" in words


def test_fresh_networks_read_a_text(capsys, folder):
    result = json.loads(gradients(capsys, "text.txt", *FRESH, "--cell", "gru", "--json").out)
    assert result["text"] == "text.txt" and len(result["networks"]) == 1


def test_figures_are_written(capsys, folder):
    gradients(capsys, *FRESH, "--svg", "figure.svg")
    words = [text.text for text in ElementTree.parse("figure.svg").getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert {"vanilla RNN, orthogonal matrix", "singular value 1", "k, characters back"} <= set(words)


def test_memory_shows_accuracy_by_distance(capsys, monkeypatch):
    monkeypatch.setattr(memory, "DISTANCES", (2, 5))
    result = json.loads(
        gradients(capsys, "--memory", "--train-steps", 2, "--hidden-size", 8, "--cell", "gru", "--json").out
    )
    assert [row["task"] for row in result["accuracy"]] == ["copy", "bracket"] and set(
        result["accuracy"][0]["by_distance"]
    ) == {"2", "5"}
    assert result["chance"] == {"copy": 1 / 8, "bracket": 1 / 4}
    captured = gradients(
        capsys, "--memory", "--train-steps", 2, "--hidden-size", 8, "--cell", "gru", "--svg", "memory.svg"
    )
    assert "chance, 12.5%" in captured.out and "bracket, GRU" in captured.out
    assert captured.out.count("share of correct answers\n") == captured.out.count("its answer") == 2
    assert "chance, 25.0%" in open("memory.svg", encoding="utf-8").read()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--steps", 0), ("--steps", " 1 ", " 100,000,", "got 0")),
        (("--times", -1), ("--times", "at least 1", "got -1")),
        (("--seed", -1), ("--seed", "at least 0", "got -1")),
        (("--width", 3), ("--width", "at least 40", "got 3")),
        (("--fresh", "--layer", 1), ("--layer", "at most 0", "got 1")),
        (("runs/tiny", "--layer", 2, *TINY), ("--layer", "at most 1", "got 2")),
        (("--fresh", "--singular-value", "nan"), ("--singular-value", "between 0 and 100", "nan")),
        (("--fresh", "--forget-bias", 1e9), ("--forget-bias", "between -100 and 100", "1e+09")),
        (("--fresh", "a", "b"), ("--fresh", "got a and b")),
        (("--memory", "runs/tiny"), ("--memory", "leave out runs/tiny")),
        (("--memory", "--forget-bias", 1), ("--forget-bias", "leave out --memory")),
        (("--memory", "--steps", 9), ("--steps", "--memory", "leave one of them out")),
        (("--memory", "--layer", 0), ("--layer", "--memory", "leave one of them out")),
        (("--cell", "rnn", "--forget-bias", 1), ("--forget-bias", "LSTM", "add --cell lstm")),
        (("--cell", "lstm", "--matrix", "uniform"), ("--matrix", "vanilla RNN", "add --cell rnn")),
        (("--train-steps", 5), ("--train-steps", "add --memory")),
        (("runs/tiny", "--cell", "rnn"), ("--cell", "add --fresh")),
        (("--svg", "nowhere/a.svg"), ("--svg nowhere/a.svg", "does not exist; create it first")),
        (("--encoding", "latin-1"), ("--encoding latin-1", "TEXT", "leave it out")),
        (("runs/tiny", "--steps", 5000), ("5,002 characters", "got 264", "lower --steps")),
        (("--fresh", "missing.txt"), ("missing.txt",)),
        (("missing",), ("missing", "does not exist")),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, words):
    captured = gradients(capsys, *arguments, code=2)
    *notes, error = captured.err.splitlines()
    assert all(word in error for word in words) and error.startswith("Error: ") and not captured.out
    assert all(note.startswith(("checkpoint ", "no run under")) for note in notes)


def test_one_sentence_says_how_far_back_the_gradient_of_a_run_reaches():
    def answer(*norms, is_trained=True):
        reach = SimpleNamespace(curve=lambda state, layer: (np.zeros(4), np.array(norms), np.zeros(4)))
        return run_answer(SimpleNamespace(reach=reach, states=("h",), name="this GRU", is_trained=is_trained))

    begin = "in short, the gradient of this GRU: "
    assert answer(2.0, 1.0, 1e-3, 1e-6) == [
        f"{begin}2 characters back it has less than 0.001 times its size at k = 0, so what is further back hardly "
        "teaches the network"
    ]
    assert answer(2.0, 1.0, 0.5, 0.25) == [f"{begin}3 characters back it still has 0.12 times its size at k = 0"]
    assert answer(2.0, 1.0, 1e-4, 30) == [
        f"{begin}it grows on its way back: 3 characters back it has 15 times its size at k = 0"
    ]
    assert answer(2.0, 1.0, 0.5, 0.25, is_trained=False) == [] == answer(0.0, 0.0, 0.0, 0.0)
    assert answer(2.0, math.inf, 1.0, 1.0) == []


def test_the_verdict_groups_gradients_by_what_becomes_of_them():
    norms = {"a": (1.0, 1e-9), "b": (2.0, 30.0), "c": (1.0, 0.5), "d": (1e-3, 1e-7), "e": (1.0, math.inf)}
    assert reach_verdict(norms, 50) == [
        "the gradient vanishes (at k = 50 its norm is less than 0.001 times that at k = 0): a; d",
        "the gradient explodes (at k = 50 its norm is more than 10 times that at k = 0): b",
        "the gradient neither vanishes nor explodes (at k = 50 its norm is 0.001 to 10 times that at k = 0): c",
        "the gradient is not finite: e",
    ]
