"""A model and an n-gram as one: the same as a naive loop, a probability, and no worse than the better of the two."""

import json
import math

import numpy as np
import pytest
from commands import charrnn, refused

from charrnn.errors import ConfigError
from charrnn.evaluation.mixing import BLOCK, KEPT, START, mix

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(200))


def naive(losses, other):
    explained, found = [START, START], []
    for at in range(0, len(losses), BLOCK):
        share = explained[0] / sum(explained)
        explained = [KEPT * one for one in explained]
        for a, b in zip(losses[at : at + BLOCK], other[at : at + BLOCK]):
            parts = share * math.exp(-a), (1 - share) * math.exp(-b)
            found.append(-math.log(sum(parts)))
            explained = [one + part / sum(parts) for one, part in zip(explained, parts)]
    return found


def test_it_is_the_naive_loop():
    losses, other = np.random.default_rng(1).exponential(1.5, (2, 5 * BLOCK + 7))
    assert mix(losses, other, 5).losses == pytest.approx(naive(losses, other), rel=1e-12)


def test_the_probabilities_of_all_that_may_come_next_sum_to_one():
    before = np.random.default_rng(2).exponential(1.5, (2, 3 * BLOCK))
    p, q = np.random.default_rng(3).dirichlet(np.ones(6), 2)
    nexts = [
        mix(*(np.append(known, -np.log(one[k])) for known, one in zip(before, (p, q))), 5).losses for k in range(6)
    ]
    assert np.exp([-losses[-1] for losses in nexts]).sum() == pytest.approx(1, abs=1e-12)
    assert all(np.array_equal(losses[:-1], nexts[0][:-1]) for losses in nexts)  # nothing looks ahead


def test_it_follows_the_better_one_and_two_that_know_different_things_are_better_than_either():
    rng = np.random.default_rng(4)
    good, bad = np.full(4000, 1.0), np.full(4000, 4.0)
    assert mix(good, bad, 5).loss_nats < 1.05 and mix(good, bad, 5).model_share > 0.9
    assert mix(bad, good, 5).loss_nats < 1.05 and mix(bad, good, 5).model_share < 0.1
    knows = rng.random(4000) < 0.5
    one, other = np.where(knows, 0.2, 3.0), np.where(knows, 3.0, 0.2)
    assert mix(one, other, 5).loss_nats < 0.9 < 1.55 < one.mean()


def test_what_does_not_count_costs_nothing_and_moves_no_weight():
    losses, other = np.random.default_rng(5).exponential(1.5, (2, 900))
    counted = np.random.default_rng(6).random(900) < 0.7
    mixed, alone = mix(losses, other, 5, counted), mix(losses[counted], other[counted], 5)
    assert np.array_equal(mixed.losses[counted], alone.losses) and not mixed.losses[~counted].any()
    assert mixed.loss_nats == alone.loss_nats and mixed.model_share == alone.model_share


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixing")
    (folder / "text.txt").write_text(TEXT)
    charrnn(
        f"train {folder}/text.txt --hidden-size 8 --num-layers 1 --batch-size 3 --seq-length 7 --steps 12 -q "
        f"-o {folder}/run"
    )
    return folder / "run"


def test_eval_shows_and_tells_it(run):
    found = json.loads(charrnn(f"eval {run} --mix-ngram --json").stdout)
    model, ngram = found["loss_nats"], min(found["ngram"]["loss_nats_by_order"])
    assert found["mixed"]["loss_nats"] < (model + ngram) / 3 and 0 < found["mixed"]["model_share"] < 1
    shown = charrnn(f"eval {run} --mix-ngram --no-baselines").stdout
    share = found["mixed"]["model_share"]
    assert f"{found['mixed']['loss_nats']:.4f}" in shown and f"{share:.0%} model, {1 - share:.0%} n-gram" in shown
    assert "mixed" not in json.loads(charrnn(f"eval {run} --json").stdout)


def test_without_the_training_text_it_is_refused(run, tmp_path):
    (tmp_path / "other.txt").write_text(TEXT[:200])
    (run.parent / "text.txt").rename(tmp_path / "gone.txt")
    try:
        refused(ConfigError, f"eval {run} {tmp_path}/other.txt --mix-ngram", "--mix-ngram needs the text")
    finally:
        (tmp_path / "gone.txt").rename(run.parent / "text.txt")
