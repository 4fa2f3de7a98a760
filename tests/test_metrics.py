"""Labels and targets judged, on cases worked out by hand."""

import json
import math

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.evaluation.metrics import judge_labels, judge_targets, proportion


def test_wilsons_interval_is_that_of_the_tables():
    assert proportion(8, 10)[:3] == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-7)
    assert proportion(15, 148)[:3] == pytest.approx((15 / 148, 0.0624, 0.1605), abs=1e-4)  # Newcombe 1998, table I
    assert proportion(0, 20)[:3] == pytest.approx((0, 0, 0.1611), abs=1e-4)  # likewise
    assert proportion(29, 29)[:3] == pytest.approx((1, 0.8830, 1), abs=1e-4)  # likewise, by symmetry
    nothing = proportion(0, 0)
    assert math.isnan(nothing.low) and nothing.to_dict()["value"] is None
    with pytest.raises(ConfigError, match="got 3"):
        proportion(3, 2)


def test_labels_are_judged_as_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2])
    given = [
        (0.8, 0.1, 0.1, 0),
        (0.55, 0.45, 0, 0),
        (0.3, 0.7, 0, 0),
        (0.1, 0.9, 0, 0),
        (0.6, 0.4, 0, 0),
        (0.5, 0.5, 0, 0),
    ]
    judged = judge_labels(truth, given, bins=5)
    assert judged.accuracy.value == 0.5 and (judged.accuracy.hits, judged.accuracy.cases) == (3, 6)
    assert judged.confusion == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # precision 2/4, 1/2, 0; recall 2/3, 1/2, 0; the fourth label is in no case and was given to none
    assert [tuple(score) for score in judged.labels] == [
        (0, 3, 0.5, pytest.approx(2 / 3), pytest.approx(4 / 7)), (1, 2, 0.5, 0.5, 0.5), (2, 1, 0.0, 0.0, 0.0)
    ]  # fmt: skip
    assert judged.macro_f1 == pytest.approx((4 / 7 + 0.5) / 3)
    # (0.4, 0.6]: 0.55 right, 0.6 and 0.5 wrong; (0.6, 0.8]: 0.8 right, 0.7 wrong; (0.8, 1]: 0.9 right
    assert [(each.low, each.high, each.cases) for each in judged.bins] == [(0.4, 0.6, 3), (0.6, 0.8, 2), (0.8, 1, 1)]
    assert [each.accuracy for each in judged.bins] == pytest.approx([1 / 3, 1 / 2, 1])
    expected = (3 * abs(1.65 / 3 - 1 / 3) + 2 * abs(0.75 - 0.5) + 0.1) / 6
    assert judged.calibration_error == pytest.approx(expected)
    assert judged.loss_nats == math.inf
    assert judge_labels(truth[:5], given[:5]).loss_nats == pytest.approx(-np.log([0.8, 0.55, 0.3, 0.9, 0.4]).mean())
    assert json.loads(json.dumps(judged.to_dict()))["labels"][1]["f1"] == 0.5


def test_labels_that_are_all_right_and_sure_have_no_error():
    judged = judge_labels([1, 0], np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert judged.macro_f1 == 1 and judged.calibration_error == 0 and judged.accuracy.high == 1
    assert [(each.low, each.high) for each in judged.bins] == [(14 / 15, 1)]
    for truth, probabilities in (([0, 2], np.ones((2, 2))), ([0], np.ones((2, 2))), ([], np.ones((0, 2)))):
        with pytest.raises(ConfigError):
            judge_labels(truth, probabilities)


def test_a_target_is_right_where_it_meets_any_of_its_references():
    judged = judge_targets(
        ["kitten", "read", "", "tomato"], [["sitting"], ["red", "reed", "read"], ["a"], ["tomate", "potato"]]
    )
    assert judged.exact[3:] == (1, 4) and judged.word_error == 0.75
    assert (judged.edits, judged.symbols) == (3 + 0 + 1 + 1, 7 + 4 + 1 + 6)
    assert judged.error_rate == 5 / 18 and judged.to_dict()["exact"]["hits"] == 1
    # of equally near references the first: its length is what counts
    assert judge_targets(["ab"], [["abc", "a"]]).symbols == 3
    assert judge_targets(["ab"], [["a", "abc"]]).symbols == 1
    phonemes = judge_targets([("HH", "AH", "L", "OW")], [[("HH", "EH", "L", "OW"), ("HH", "AH", "L", "OW", "Z")]])
    assert (phonemes.edits, phonemes.symbols) == (1, 4)
    assert judge_targets(["\U0001f600b"], [["\U0001f601b"]]).error_rate == 0.5
    assert math.isnan(judge_targets([], []).error_rate)
    for texts, references in ((["a"], []), (["a"], [[]])):
        with pytest.raises(ConfigError):
            judge_targets(texts, references)
