"""Labels after texts and their beginnings: as if each were read alone."""

import numpy as np
import pytest
from test_beam import log_probabilities, make_model

from charrnn.errors import ConfigError
from charrnn.evaluation import labels as module
from charrnn.evaluation.labels import label_probabilities
from charrnn.sampling.reading import MAX_PLACES, batches
from charrnn.spec import CELLS

V = 13
START, END, LABELS = 8, 9, [10, 11, 12]


@pytest.mark.parametrize("kind", [{}, {"layer_norm": True, "zoneout": 0.2}])
@pytest.mark.parametrize("cell", CELLS)
def test_labels_after_beginnings_are_those_of_the_beginnings_alone(cell, kind, monkeypatch):
    model = make_model(cell, V, scale=2, start_id=START, **kind)
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, 8, n).astype(np.int32) for n in (3, 0, 41, 1, 7, 12, 33, 2)]
    after = [2, 40, 0, 32]
    found = label_probabilities(model, texts, END, LABELS, after)
    assert found.shape == (4, 8, 3) and np.abs(found.sum(axis=2) - 1).max() < 1e-12
    for place, count in enumerate(after):
        for j, text in enumerate(texts):
            p = np.exp(log_probabilities(model, [START, *text[:count], END])[-1][LABELS])
            np.testing.assert_allclose(found[place, j], p / p.sum(), rtol=1e-5)
    whole = label_probabilities(model, texts, END, LABELS)
    assert np.array_equal(whole[0], found[1, 0]) and not np.array_equal(whole[2], found[1, 2])
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    monkeypatch.setattr(module, "CHUNK", 5)
    assert np.array_equal(label_probabilities(model, texts[::-1], END, LABELS, after)[:, ::-1], found)


def test_what_has_no_labels_is_refused():
    items = make_model(start_id=0)
    for model, labels, after in ((make_model(), [1], None), (items, [], None), (items, [1], []), (items, [1], [3, -1])):
        with pytest.raises(ConfigError):
            label_probabilities(model, [[1]], 2, labels, after)


def test_a_very_long_text_is_read_beside_few():
    lengths = [5] * 300 + [1_000_000, 0, 60]
    found = list(batches(lengths, 256))
    assert sorted(number for batch in found for number in batch) == list(range(303))
    assert [300] in found and max(map(len, found)) == 256
    assert all(len(batch) == 1 for batch in batches([MAX_PLACES] * 3, 256))
    assert list(batches([], 256)) == []
