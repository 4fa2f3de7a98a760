"""Whether a held-out part of a text is like the rest of it: seen where it is not, and not where it is."""

import json

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.cli.words import unlike_line
from charrnn.evaluation.parts import MIN_CHARACTERS, UnlikePart, find_unlike_parts
from charrnn.text.corpus import Splits

V = 12


def make(n, seed, sharpness=1.0, scenes=0.0):
    """Draw n characters of a Markov chain; `scenes` lets stretches of a hundredth of it differ in their sharpness."""
    rng = np.random.default_rng(seed)
    logits = np.random.default_rng(7).normal(size=(V, V))  # the same language for every seed
    ids = np.empty(n, np.int32)
    at, length = 0, max(1, n // 100)
    for t in range(n):
        if t % length == 0:
            sharp = sharpness + scenes * rng.normal()
            p = np.exp(2 * sharp * logits)
            bounds = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
            draws = rng.random(length)
        at = min(V - 1, int(np.searchsorted(bounds[at], draws[t % length])))
        ids[t] = at
    return ids


def splits(n, val=0.05, test=0.05):
    train, stop = round(n * (1 - val - test)), round(n * (1 - test))
    return Splits((0, train), (train, stop), (stop, n))


@pytest.mark.parametrize("sharpness, harder", [(0.3, True), (2.5, False)])
def test_an_end_that_is_harder_or_easier_is_found_and_named(sharpness, harder):
    ids = make(30_000, 1, scenes=0.1)
    ids[-1500:] = make(1500, 2, sharpness)
    (part,) = find_unlike_parts(ids, splits(len(ids)), V)
    assert part.name == "test" and part.is_harder is harder
    assert part.low < part.high and part.stretches in (17, 18)
    ids = np.concatenate([ids[:-3000], ids[-1500:], ids[-3000:-1500]])
    (part,) = find_unlike_parts(ids, splits(len(ids)), V)
    assert part.name == "val" and part.is_harder is harder
    assert f"The validation split is {'harder' if harder else 'easier'} than" in unlike_line(part)
    assert unlike_line(part).endswith("--test-fraction 0.15'.")
    assert "; the order in which you name the texts" in unlike_line(part, 2)
    assert unlike_line(part, 2, "mine.txt").endswith("mine.txt is another kind of text.")


@pytest.mark.parametrize("scenes", [0.0, 0.3])
def test_a_text_whose_parts_differ_by_chance_or_everywhere_is_left_in_peace(scenes):
    # Of 12 parts, one in a hundred each by chance: with these seeds none.
    for seed in range(6):
        ids = make(12_000, seed + 10, scenes=scenes)
        assert find_unlike_parts(ids, splits(len(ids)), V) == []


def test_nothing_is_said_where_it_cannot_be_told():
    ids = make(12_000, 1)
    ids[-1200:] = 0
    assert find_unlike_parts(ids, splits(12_000, 0.05, 0.1), V) != []
    for few in (splits(12_000, 0.2, 0.2), splits(12_000, 0.0, 0.0), splits(12_000, 0.0, (MIN_CHARACTERS - 1) / 12_000)):
        assert find_unlike_parts(ids, few, V) == []
    assert [part.name for part in find_unlike_parts(ids, splits(12_000, 0.0, 0.1), V)] == ["test"]


@pytest.mark.slow
def test_train_and_eval_say_once_that_the_end_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    letters = np.array(list("abcdefgh klm"))
    ids = make(24_000, 3, 2.0)
    ids[-1200:] = make(1200, 4, 0.2)
    (tmp_path / "odd.txt").write_text("".join(letters[ids]))
    (tmp_path / "even.txt").write_text("".join(letters[make(24_000, 3, 2.0)]))
    tiny = ["--hidden-size", "16", "--num-layers", "1", "--steps", "60", "--no-sample"]
    said = {}
    for name in ("odd", "even"):
        assert main(["train", f"{name}.txt", *tiny, "-o", name]) == 0
        said[name] = capsys.readouterr().err
    line = "The test split is harder than the rest of the text"
    assert said["odd"].count(line) == 1 and "is harder" not in said["even"]
    assert main(["eval", "odd", "--split", "test"]) == 0
    assert " ".join(capsys.readouterr().out.split()).count(line) == 1
    assert main(["eval", "odd"]) == 0
    assert "split is" not in capsys.readouterr().out  # the validation split is like the rest
    assert main(["eval", "odd", "--split", "test", "--json"]) == 0
    unlike = json.loads(capsys.readouterr().out)["unlike"]
    assert UnlikePart(**unlike).is_harder and unlike["name"] == "test"
