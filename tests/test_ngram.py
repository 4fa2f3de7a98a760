"""Kneser-Ney n-grams: held to an oracle that counts all over again, for every order and context."""

import numpy as np
import pytest
from oracle import items_kneser_ney, kneser_ney

from charrnn.evaluation.ngram import Stretch, judge, judge_text

V = 4


def texts():
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, V, 70)
    return {
        "drawn": drawn,
        "repeating": np.array([0, 1, 2, 0, 1, 3] * 12),
        "skewed, so that the discounts are Chen and Goodman's": (rng.random(300) ** 3 * V).astype(int),
        "one character alone": np.array([2, 2, 2, 2, 2]),
        "shorter than the order": np.array([1, 0]),
    }


@pytest.mark.parametrize("name", texts())
def test_every_probability_of_every_order_is_the_oracles(name):
    training = texts()[name]
    rng = np.random.default_rng(5)
    judged = np.concatenate([training[-9:], rng.integers(0, V, 25)])
    stretches = [Stretch(judged, 3), Stretch(rng.integers(0, V, 12))]
    for result in judge(training, stretches, V, orders=7):
        for stretch, probabilities in zip(stretches, result.probabilities):
            expected = [
                kneser_ney(training, V, result.order, stretch.ids[:at])[stretch.ids[at]]
                for at in range(stretch.first, len(stretch.ids))
            ]
            np.testing.assert_allclose(probabilities, expected, rtol=1e-12)  # a few dozen operations a number


@pytest.mark.parametrize("name", texts())
def test_probabilities_sum_to_1_for_every_context(name):
    training, longest = texts()[name], 4
    contexts = [()]
    for _ in range(longest - 1):
        contexts += [(*context, w) for context in contexts for w in range(V)]
    contexts = sorted(set(contexts))
    stretches = [Stretch(np.array([*context, w]), len(context)) for context in contexts for w in range(V)]
    for result in judge(training, stretches, V, orders=longest):
        sums = np.array(result.probabilities).reshape(len(contexts), V).sum(axis=1)
        np.testing.assert_allclose(sums, 1, rtol=1e-12)
        assert np.array(result.probabilities).min() > 0


def test_no_n_gram_reaches_from_one_stretch_into_another():
    training = np.array([0, 1, 2, 3, 3, 2, 1, 0, 0, 2] * 3)
    alone = Stretch(np.array([3, 2, 1]))
    beside = [Stretch(np.array([0, 1, 2])), alone, Stretch(np.array([1, 1]))]
    for one, three in zip(judge(training, [alone], V, 5), judge(training, beside, V, 5)):
        assert one.probabilities[0].tolist() == three.probabilities[1].tolist()


def test_the_order_is_chosen_on_the_validation_text_and_the_loss_is_of_the_other():
    rng = np.random.default_rng(0)
    training = rng.permutation(np.tile(np.arange(V), 50))  # nothing to learn beyond a character
    order_3 = np.array([0, 0, 1, 1, 2, 2, 3, 3] * 30)
    like, unlike = Stretch(order_3[:60], 5), Stretch(training[:50])
    judged = judge_text(order_3, like, unlike, V, orders=6)
    by_order = [-np.log(result.probabilities[0]) for result in judge(order_3, [unlike], V, 6)]
    on_like = [-np.log(result.probabilities[0]).mean() for result in judge(order_3, [like], V, 6)]
    assert judged.order == 1 + int(np.argmin(on_like)) != 1 + int(np.argmin(judged.by_order))
    np.testing.assert_array_equal(judged.loss_nats, by_order[judged.order - 1])
    np.testing.assert_allclose(judged.by_order, [losses.mean() for losses in by_order], rtol=1e-12)
    sure = np.exp(-np.array(by_order)) > 0.5
    np.testing.assert_array_equal(judged.first_sure, np.where(sure.any(axis=0), 1 + sure.argmax(axis=0), 0))


def test_without_validation_text_the_order_is_chosen_on_the_end_of_the_training_text():
    training = np.array([0, 0, 1, 1, 2, 2, 3, 3] * 30)
    text = Stretch(np.random.default_rng(0).permutation(training[:40]))
    judged = judge_text(training, None, text, V, orders=6)
    held_out = Stretch(training[216 - 6 :], 6)
    losses = [-np.log(result.probabilities[0]).mean() for result in judge(training[:216], [held_out], V, 6)]
    assert judged.order == 1 + int(np.argmin(losses)) != 1 + int(np.argmin(judged.by_order))
    assert judged.loss_nats.mean() == judged.by_order[judged.order - 1] and len(judged.loss_nats) == 40


@pytest.mark.parametrize("names", [["ab", "abb", "b", "bab", "ab"], ["a"], None])
def test_no_n_gram_reaches_from_one_item_into_another(names):
    rng = np.random.default_rng(3)
    names = names or ["".join("abc"[int(3 * rng.random() ** 2)] for _ in range(rng.integers(1, 9))) for _ in range(90)]
    symbols, start = "abc$^", 4

    def ids(items):
        return np.array([symbols.index(letter) for item in items for letter in item])

    items = [list(f"^{name}$") for name in names]
    asked = [list(f"^{name}$") for name in ("ab", "cab", "a", "bbbb", "babab")]
    text = Stretch(
        ids([*items[-1:], *asked])[len(items[-1]) - 3 :], 3
    )  # the end of an item before them, which tells nothing
    for result in judge(ids(items), [text], 5, orders=6, start_id=start):
        expected = [
            items_kneser_ney(items, symbols[:4], result.order, item[:at])[item[at]] if at else None
            for item in asked
            for at in range(len(item))
        ]
        counts = [at for at, p in enumerate(expected) if p is not None]
        np.testing.assert_allclose(result.probabilities[0][counts], np.array(expected, float)[counts], rtol=1e-12)
    if len(names) > 1:  # START as an outcome is in no mean, neither of the text nor of what chooses the order
        counted = text.ids[3:] != start
        judged = judge_text(ids(items), None, Stretch(text.ids, 3, counted), 5, orders=6, start_id=start)
        assert judged.by_order[-1] == pytest.approx(-np.log(result.probabilities[0][counted]).mean())
