"""find_cells: one call that finds what `charrnn cells` shows; its records agree with each other."""

import json

import numpy as np
import pytest
from test_cells import make_text, plant

from charrnn.cells.record import AGAIN, record
from charrnn.cells.report import CellsOptions, find_cells
from charrnn.cells.search import costs_us, search
from charrnn.cells.signals import find_signals
from charrnn.errors import ConfigError
from charrnn.text.excerpt import Excerpt

pytestmark = pytest.mark.slow  # test_cells.py and test_cli_cells.py have the quick ones

TEXT = make_text(12_000, seed=8)
MODEL, VOCABULARY = plant()
SEARCH = {"reading the text", "untrained network reads", "scoring every unit"}
EXCERPT = Excerpt(np.array(VOCABULARY.encode(TEXT)), 1_000, 11_000, "planted.txt")


@pytest.fixture(scope="module")
def found():
    stages = []
    options = CellsOptions(signals=(("e", "e"),), clamp="mean", gates=True)
    return find_cells(MODEL, VOCABULARY, EXCERPT, options, lambda *stage: stages.append(stage)), stages


def test_the_planted_units_are_named_selected_and_held(found):
    findings, _ = found
    assert {finding.signal.name: finding.unit for finding in findings.named} == {"quotes": 5, "line-position": 11}
    assert [one.finding for one in findings.selected] == list(findings.named)
    assert [(one.signal, one.unit) for one in findings.ablations] == [
        (one.signal.name, one.unit) for one in findings.selected
    ]
    assert findings.wanted is findings.follows is None and set(findings.gates) == {"i", "f", "o"}
    assert "".join(findings.symbols) == TEXT[1_000:11_000]
    assert (findings.num_layers, findings.hidden_size, findings.quantity) == (1, 24, "tanh-c")
    assert "e" in {finding.signal.name for finding in findings.found}


def test_the_dictionary_and_the_rows_say_the_same(found):
    findings, _ = found
    result = findings.to_dict("a/best.safetensors", 2.5)
    json.dumps(result, allow_nan=False)
    assert (result["text"], result["split"], result["start"], result["characters"]) == (
        "planted.txt",
        None,
        1000,
        10000,
    )
    assert result["checkpoint"] == "a/best.safetensors" and result["validation_loss_nats"] == 2.5
    rows = [dict(zip(findings.columns(), row)) for row in findings.rows()]
    assert [row["signal"] for row in rows] == [one["signal"] for one in result["signals"]]
    (quotes,) = [row for row in rows if row["signal"] == "quotes"]
    (ablation,) = [one for one in result["ablation"] if one["signal"] == "quotes"]
    assert quotes["rise_on_nats"] == ablation["regions"]["on"]["rise_nats"] and quotes["named"] is True
    assert {row["rise_on_nats"] for row in rows if not row["named"]} == {None}


def test_every_stage_is_reported_from_its_beginning_on(found):
    _, stages = found
    for what in {what for what, _, _ in stages} - SEARCH - {AGAIN}:  # which may have to be done again
        shares = [done / of for one, done, of in stages if one == what]
        assert shares == sorted(shares) and shares[0] == 0 and shares[-1] <= 1
    assert len({what for what, _, _ in stages} - {AGAIN}) == 6


def test_reading_and_scoring_are_reported_as_one_piece_of_work_to_its_end(found):
    _, stages = found
    names = [what for what, _, _ in stages if what in SEARCH]
    assert sorted(set(names), key=names.index) == ["reading the text", "untrained network reads", "scoring every unit"]
    shares = [done / of for what, done, of in stages if what in SEARCH]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)
    for what in SEARCH:  # each has a part of it, and moves through its part
        of_stage = [done for one, done, _ in stages if one == what]
        assert of_stage[-1] - of_stage[0] > 0.05 and len(set(of_stage)) > 4


def test_no_part_of_scoring_is_left_out_of_what_is_reported():
    shares = []
    recording = record(MODEL, EXCERPT.ids, 1_000, 11_000, "tanh-c")
    search(recording, find_signals(TEXT[1_000:11_000]), recording, progress=shares.append)
    costs = costs_us(24, 8)
    bounds = np.cumsum([0, *costs]) / sum(costs)
    for low, high in zip(bounds[:-1], bounds[1:]):
        assert any(low < share <= high + 1e-9 for share in shares)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)


def test_a_unit_can_be_asked_for_by_its_place_or_by_its_signal():
    findings = find_cells(MODEL, VOCABULARY, EXCERPT, CellsOptions(unit=(0, 5)))
    assert findings.follows[0].signal.name == "quotes" and findings.selected[0][1:] == (
        findings.follows[0].signal,
        0,
        5,
    )
    assert findings.to_dict()["unit"]["follows"][0]["signal"] == "quotes" and findings.ablations is None
    findings = find_cells(MODEL, VOCABULARY, EXCERPT, CellsOptions(wanted="vowel"))
    assert [one.signal.name for one in findings.selected] == ["vowel"] and findings.wanted == "vowel"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"wanted": "nonsense"}, "unknown signal"),
        ({"quantity": "z"}, "got --quantity z"),
        ({"clamp": 2.0}, "-1..1"),
        ({"unit": (0, 24)}, "0:0 to 0:23"),
    ],
)
def test_what_cannot_be_found_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        find_cells(MODEL, VOCABULARY, EXCERPT, CellsOptions(**options))


def test_a_text_too_short_or_too_large_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="at least 4,000 characters"):
        find_cells(MODEL, VOCABULARY, Excerpt(EXCERPT.ids, 0, 3_999))
    monkeypatch.setattr("charrnn.cells.report.available_memory", lambda: 1_000_000)
    with pytest.raises(ConfigError, match="lower --characters to at most 4,629"):
        find_cells(MODEL, VOCABULARY, EXCERPT)
