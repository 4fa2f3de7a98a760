"""Dynamic evaluation: the same updates as a naive one in NumPy, nothing at rate 0, a gain where the text is unlike."""

import numpy as np
import oracle
import pytest

from charrnn.errors import ConfigError, DivergenceError
from charrnn.evaluation import dynamic
from charrnn.evaluation.dynamic import EPS, DynamicSettings, gradient_rms, read_losses_dynamic
from charrnn.evaluation.loss import read_losses
from charrnn.evaluation.reading import TextMarks
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
from charrnn.training.optimisers import Optimizer

V = 7


def make_model(cell="lstm", dtype="float64", hidden_size=9):
    return Model.initialise(ModelConfig(cell, V, hidden_size, 2, dtype=dtype), 3)


def ids_of(seed, size):
    return np.random.default_rng(seed).integers(0, V, size).astype(np.uint8)


def make_marks(size, seed):
    """An item of some 5 characters after another; some losses do not count."""
    rng = np.random.default_rng(seed)
    return TextMarks(rng.random(size) < 0.2, rng.random(size) < 0.8)


def naive_losses(cell, parameters, ids, first, settings, rms, resets, counts):
    """Krause et al. 2018, eq. 1 to 7, by name and without haste."""
    rate, decay, segment = settings.rate, settings.decay, settings.segment
    home, theta, losses, carry = parameters, {name: value.copy() for name, value in parameters.items()}, [], None
    if first > 1:
        before = ids[: first - 1, None].astype(int)
        carry = oracle.forward(theta, cell, before, resets=resets[: first - 1, None]).carry
    mean = np.concatenate([value[value > 0] for value in rms.values()]).mean() if rms else None
    for at in range(first, len(ids), segment):
        y = ids[at : at + segment, None].astype(int)
        x, own = ids[at - 1 : at - 1 + len(y), None].astype(int), counts[at : at + len(y), None]
        masks = {"resets": resets[at - 1 : at - 1 + len(y), None], "counts": own if own.any() else None}
        result = oracle.loss_and_grads(theta, cell, x, y, carry, **masks)
        losses.extend(result.losses[:, 0] * own[:, 0])
        carry = result.carry
        if not own.any():
            continue
        for name, grad in result.grads.items():
            if name.startswith("rnn.bias_hh"):  # charrnn trains one bias a gate
                continue
            here = theta[name].copy()
            if settings.rule == "sgd":
                theta[name] = here - rate * grad + decay * (home[name] - here)
            else:
                theta[name] = (
                    here
                    - rate * grad / (rms[name] + EPS)
                    + np.minimum(1, decay * rms[name] / mean) * (home[name] - here)
                )
    return np.array(losses)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("rule, rate, decay", [("sgd", 0.3, 0.05), ("rms", 0.02, 0.3)])
def test_every_loss_is_that_of_a_naive_learner(cell, rule, rate, decay, marked, monkeypatch):
    """Where it is marked what counts, there is a segment in which nothing does: it teaches nothing."""
    monkeypatch.setattr(dynamic, "PLACES", 2)
    model, ids, training = make_model(cell), ids_of(0, 60), ids_of(1, 4 * dynamic.SEGMENTS_A_PLACE)
    of_text, of_training = make_marks(60, 2), make_marks(len(training), 3)
    of_text.counts[19:23] = False  # a whole segment
    if not marked:
        for marks in (of_text, of_training):
            marks.resets[:], marks.counts[:] = False, True
    marks = (of_text, of_training) if marked else (None, None)
    rms = dict(model.unpack(gradient_rms(model, training, 4, marks[1])).items()) if rule == "rms" else None
    settings = DynamicSettings(rule, rate, decay, 4)
    found = read_losses_dynamic(model, ids, 11, 60, settings, training, marks=marks)
    expected = naive_losses(cell, model.get_parameters(), ids, 11, settings, rms, *of_text)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert abs(found.mean() - read_losses(model, ids, 11, 60, marks=marks[0]).mean()) > 1e-3


@pytest.mark.parametrize("marked", [False, True])
def test_the_gradients_root_mean_square_is_the_oracles(marked, monkeypatch):
    monkeypatch.setattr(dynamic, "PLACES", 2)  # both at the beginning of so short a text
    model, segment = make_model(), 3
    training = ids_of(1, 1 + segment * dynamic.SEGMENTS_A_PLACE)
    marks, masks = make_marks(len(training), 3), {}
    parameters, carry, squares = model.get_parameters(), None, []
    for at in range(0, len(training) - 1, segment):
        x, y = (training[at + k : at + k + segment, None].astype(int) for k in (0, 1))
        if marked:
            masks = {
                "resets": marks.resets[at : at + segment, None],
                "counts": marks.counts[at + 1 : at + 1 + segment, None],
            }
            assert masks["counts"].any()
        result = oracle.loss_and_grads(parameters, "lstm", x, y, carry, **masks)
        carry = result.carry
        squares.append({name: grad**2 for name, grad in result.grads.items()})
    found = model.unpack(gradient_rms(model, training, segment, marks if marked else None))
    for name in squares[0]:
        if not name.startswith("rnn.bias_hh"):
            np.testing.assert_allclose(
                found[name], np.sqrt(np.mean([one[name] for one in squares], axis=0)), rtol=1e-9, atol=1e-15
            )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("segment", [1, 20, 300])
def test_at_rate_0_it_is_the_static_model(dtype, segment):
    model, ids = make_model(dtype=dtype), ids_of(0, 700)
    static = read_losses(model, ids, 30, 700)
    for rule in ("rms", "sgd"):
        np.testing.assert_array_equal(
            read_losses_dynamic(model, ids, 30, 700, DynamicSettings(rule, 0.0, segment=segment), ids), static
        )


def test_it_gains_on_a_text_unlike_the_training_text_and_leaves_the_model_as_it_was():
    model, workspace = make_model(dtype="float32", hidden_size=16), None
    rng = np.random.default_rng(0)
    alike, unlike = np.tile([0, 1, 2, 3], 300), np.tile([6, 4, 5, 4, 1], 120)
    workspace, optimizer = Workspace(model, 1, 16), Optimizer("adam", model)
    for _ in range(60):
        at = int(rng.integers(0, 1000))
        workspace.loss_and_grads(alike[at : at + 16, None], alike[at + 1 : at + 17, None])
        optimizer.step(workspace, 0.01)
    before = model.flat.copy()
    static = read_losses(model, unlike).mean()
    for rule in ("rms", "sgd"):
        runs = [read_losses_dynamic(model, unlike, 0, len(unlike), DynamicSettings(rule), alike) for _ in range(2)]
        np.testing.assert_array_equal(*runs)
        assert runs[0].mean() < static - 0.5
        assert runs[0][-100:].mean() < runs[0][:100].mean()
    np.testing.assert_array_equal(model.flat, before)


def test_what_breaks_a_rule_is_refused_and_divergence_is_said():
    for options in ({"rule": "adam"}, {"rate": -1}, {"rate": float("nan")}, {"decay": 1.5}, {"segment": 0}):
        with pytest.raises(ConfigError):
            DynamicSettings(**options)
    model, ids = make_model(dtype="float32"), ids_of(0, 200)
    with pytest.raises(ConfigError, match="needs the text that the run was trained on"):
        read_losses_dynamic(model, ids, 0, 200, DynamicSettings("rms"))
    with pytest.raises(DivergenceError, match="lower --dynamic-rate"):
        read_losses_dynamic(model, ids, 0, 200, DynamicSettings("sgd", 1e38))
