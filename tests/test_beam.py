"""The beam, held to a search of all short sequences and to repeated argmax; and that no prompt knows of another."""

import itertools

import numpy as np
import pytest
from test_model import restore_threads

from charrnn.errors import ConfigError, DivergenceError
from charrnn.kernels import set_num_threads
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling import beam as module
from charrnn.sampling import reading
from charrnn.sampling.beam import beam_search
from charrnn.sampling.reading import log_softmax, read_prompts
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.tasks import ItemRule

__all__ = ["restore_threads"]  # the fixture

V, H, STOP = 5, 9, 4
KINDS = {
    "plain": {},
    "layer norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.3},
    "embedding": {"embedding_size": 3},
}


def make_model(cell="lstm", vocab_size=V, hidden_size=H, seed=1, scale=2, lift=0, start_id=None, **options):  # noqa: PLR0913
    """A model whose probabilities differ much, at every step anew; `lift` makes the stop symbol likelier."""
    model = Model.initialise(
        ModelConfig(cell, vocab_size, hidden_size, 2, **options),
        seed,
        rule=None if start_id is None else ItemRule(start_id),
    )
    rng = np.random.default_rng(seed)
    arrays = {name: scale * rng.normal(0, 0.5, value.shape) for name, value in model.get_parameters().items()}
    arrays["output.bias"][min(STOP, vocab_size - 1)] += lift
    model.set_parameters(arrays)
    return model


def log_probabilities(model, ids):
    """Return log p of what follows each beginning of ids, (len(ids), V), the plain way."""
    workspace = Workspace(model, 1, 1, training=False)
    return np.array([log_softmax(workspace.logits(np.array([[i]]))[0, 0]) for i in ids])


def every_continuation(model, prompt, max_length):
    """Return [(score, ids)] of all that end within max_length, best first."""
    found = []
    for length in range(max_length + 1):
        for ids in itertools.product([i for i in range(V) if i != STOP], repeat=length):
            log_p = log_probabilities(model, [*prompt, *ids])[len(prompt) - 1 :]
            found.append((sum(row[i] for row, i in zip(log_p, [*ids, STOP])), ids))
    return sorted(found, key=lambda each: -each[0])


def assert_same(actual, expected):
    for some, others in zip(actual, expected, strict=True):
        for one, other in zip(some, others, strict=True):
            assert one.ids.tolist() == other.ids.tolist() and one.score_nats == other.score_nats
            assert one.is_whole == other.is_whole


@pytest.mark.parametrize("cell", CELLS)
def test_a_beam_as_wide_as_all_finds_the_best_of_all(cell):
    model = make_model(cell, scale=2)
    prompts = [[0], [1, 3, 2], [2, 2]]
    found = beam_search(model, prompts, beam=5 * 4**3, max_length=3, n_best=20, stop_id=STOP)
    for prompt, several in zip(prompts, found):
        expected = every_continuation(model, prompt, 3)[:20]
        assert [tuple(each.ids.tolist()) for each in several] == [ids for _, ids in expected]
        np.testing.assert_allclose([each.score_nats for each in several], [score for score, _ in expected], rtol=1e-5)
        assert all(each.is_whole for each in several)


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_one_takes_the_likeliest_each_time(kind):
    """Until it is the stop symbol, or the length is reached: both happen."""
    model = make_model(vocab_size=23, hidden_size=37, seed=2, scale=1.5, lift=6, **KINDS[kind])
    rng = np.random.default_rng(5)
    prompts = [rng.integers(0, 23, n).tolist() for n in (1, 4, 2, 9, 1, 3, 70, 5, 2, 6, 8, 7)]
    ends = set()
    for prompt, (found,) in zip(prompts, beam_search(model, prompts, 1, 6, stop_id=STOP)):
        ids, score = [], 0.0
        while True:
            log_p = log_probabilities(model, [*prompt, *ids])[-1]
            if len(ids) == 6 and log_p.argmax() != STOP:
                break
            score += log_p.max()
            if log_p.argmax() == STOP:
                break
            ids.append(int(log_p.argmax()))
        assert found.ids.tolist() == ids and found.score_nats == score
        assert found.is_whole == (log_p.argmax() == STOP)
        ends.add(found.is_whole)
    assert kind != "plain" or ends == {True, False}


@pytest.mark.parametrize("cell", CELLS)
def test_a_prompt_knows_nothing_of_the_others_nor_of_threads(cell, monkeypatch, restore_threads):
    model = make_model(cell, vocab_size=23, hidden_size=37, seed=2, scale=1.5, lift=6)
    rng = np.random.default_rng(6)
    prompts = [rng.integers(0, 23, n).tolist() for n in rng.integers(1, 30, 40)]
    settings = {"beam": 3, "max_length": 9, "n_best": 3, "stop_id": STOP}
    whole = beam_search(model, prompts, **settings)
    assert_same([beam_search(model, [prompt], **settings)[0] for prompt in prompts], whole)
    set_num_threads(1)
    monkeypatch.setattr(module, "MAX_ROWS", 21)
    monkeypatch.setattr(reading, "CHUNK", 5)
    assert_same(beam_search(model, prompts[::-1], **settings)[::-1], whole)
    assert len({len(each.ids) for several in whole for each in several}) > 4


def test_a_wider_beam_finds_what_greed_misses_and_scores_are_the_models():
    model = make_model(vocab_size=23, hidden_size=37, seed=2, scale=1.5, lift=6)
    prompts = [[a, b] for a in range(5) for b in range(7)]
    one, five = (beam_search(model, prompts, beam, 5, stop_id=STOP) for beam in (1, 5))
    both = [(a.score_nats, b.score_nats) for (a,), (b,) in zip(one, five) if a.is_whole and b.is_whole]
    assert any(b > a for a, b in both)
    for prompt, (found,) in zip(prompts, five):
        if found.is_whole:
            log_p = log_probabilities(model, [*prompt, *found.ids])[len(prompt) - 1 :]
            assert found.score_nats == pytest.approx(sum(log_p[range(len(log_p)), [*found.ids, STOP]]), rel=1e-5)


def test_what_is_not_allowed_is_not_produced_and_keeps_its_share():
    model = make_model(seed=3)
    free = beam_search(model, [[0]], 4, 4, 4, STOP)[0]
    bound = beam_search(model, [[0]], 4, 4, 4, STOP, allowed=[1, 2])[0]
    assert any(set(each.ids.tolist()) - {1, 2} for each in free)
    for each in bound:
        assert set(each.ids.tolist()) <= {1, 2}
        log_p = log_probabilities(model, [0, *each.ids])
        path = [*each.ids, STOP] if each.is_whole else each.ids
        assert each.score_nats == pytest.approx(sum(log_p[range(len(path)), path]), rel=1e-5)


def test_without_a_stop_symbol_all_are_as_long_as_can_be_and_ties_go_by_id():
    model = Model(ModelConfig("gru", 6, 4, 1))  # all zero: every character is as likely
    found = beam_search(model, [[0], [3]], 3, 4, 3)
    assert [each.ids.tolist() for each in found[1]] == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
    assert not any(each.is_whole for each in found[0]) and found[0][0].score_nats == pytest.approx(4 * np.log(1 / 6))
    assert beam_search(Model(ModelConfig("rnn", 1, 4, 1)), [[0]], 2, 3, 2)[0][0].ids.tolist() == [0, 0, 0]


def test_a_prompt_of_items_begins_at_its_last_start():
    model = make_model("gru", seed=3, start_id=0)
    log_p, _ = read_prompts(model, [[1, 2, 0, 3], [0, 3], [3]])
    assert np.array_equal(log_p[0], log_p[1]) and np.array_equal(log_p[1][1:], log_probabilities(model, [0, 3])[-1][1:])
    assert not np.array_equal(log_p[1], log_p[2])


def test_nonsense_and_a_damaged_model_are_refused():
    model = make_model()
    for arguments, named in (
        ({"beam": 0}, "beam must be at least 1, got 0"),
        ({"max_length": 0}, "max_length"),
        ({"n_best": 3}, "n_best must be at most the beam, 2, got 3"),
        ({"prompts": [[1], []]}, "empty"),
    ):
        with pytest.raises(ConfigError, match=named):
            beam_search(model, **{"prompts": [[1]], "beam": 2, "max_length": 3, **arguments})
    assert beam_search(model, [], 2, 3) == []
    model.flat[:] = np.nan
    with pytest.raises(DivergenceError, match="output is not finite, so no .*: .* use an earlier checkpoint"):
        beam_search(model, [[1]], 2, 3)
