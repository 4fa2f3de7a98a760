"""The norms of d loss_t / d state_{t-k}, held to the oracle's backward step by step, and to central differences."""

import numpy as np
import oracle
import pytest

from charrnn.errors import ConfigError
from charrnn.gradients import distance
from charrnn.gradients.distance import choose_times, measure_reach
from charrnn.kernels import max_threads, num_threads, set_num_threads
from charrnn.model import workspace as workspace_module
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig

H, V, STEPS = 5, 7, 6
TIMES = np.array([9, 14, 23])
LEAD = TIMES.min() - STEPS  # what is read before each stretch
SHAPES = {
    "one layer": (1, 0, False),
    "two layers": (2, 0, False),
    "embedding": (2, 4, False),
    "tied": (1, H, True),
    "layer norm": (2, 0, False, True),
    "embedding, layer norm": (2, 4, False, True),
}


def make(cell, L=1, E=0, tied=False, layer_norm=False, dtype="float64", zoneout=0.0):
    model = Model(ModelConfig(cell, V, H, L, E, tied, dtype, zoneout, layer_norm))
    model.set_parameters(oracle.random_parameters(cell, V, H, L, E, tied, layer_norm=layer_norm))
    ids = np.random.default_rng(3).integers(0, V, 26).astype(np.int32)
    return model, model.get_parameters(), ids


def shares(cell, zoneout):
    """What each unit keeps of its states at a step, in expectation, as the oracle takes it."""
    return [np.full((1, 1, H), zoneout)] * len(oracle.CELLS[cell].carried)


def read(parameters, cell, ids, t, change=lambda *place: 0.0, zoneout=0.0):
    """Read up to t a step at a time; return the logits and each layer's tape.

    `change(layer, k, state)` is added to a state as it arises.
    """
    x = ids[t - STEPS - LEAD : t + 1]
    L = oracle.num_layers(parameters)
    carry = [[np.zeros((1, H)) for _ in oracle.CELLS[cell].carried] for _ in range(L)]
    tapes = [[] for _ in range(L)]
    for at, symbol in enumerate(x):
        k = len(x) - 1 - at
        up = oracle.input_table(parameters)[symbol][None, None]
        for l in range(L):
            _, state, tape = oracle.CELLS[cell].forward(
                oracle.layer_weights(parameters, l), up, carry[l], shares(cell, zoneout)
            )
            tapes[l] += tape
            h = state[0]
            if CELLS[cell].has_c:
                made = tape[0][oracle.CELLS[cell].made_c] + change(l, k, "c")
                c = zoneout * carry[l][1] + (1 - zoneout) * made
                h = zoneout * carry[l][0] + (1 - zoneout) * tape[0][oracle.CELLS[cell].gates["o"]] * np.tanh(made)
            h = h + change(l, k, "h")
            carry[l] = (h, c) if CELLS[cell].has_c else (h,)
            up = h[None]
    return up[0] @ oracle.output_weight(parameters).T + parameters["output.bias"], tapes


def naive_norms(parameters, cell, ids, t, zoneout=0.0):
    """Return {state: (L, STEPS + 1)} by the oracle's backward of one layer and step at a time."""
    logits, tapes = read(parameters, cell, ids, t, zoneout=zoneout)
    dlogits = np.exp(logits) / np.exp(logits).sum()
    dlogits[0, ids[t + 1]] -= 1
    L, T = len(tapes), STEPS + 1
    norms = {state: np.zeros((L, T)) for state in oracle.CELLS[cell].carried}
    above = [np.zeros((1, H)) for _ in range(T)]
    above[0] = dlogits @ oracle.output_weight(parameters)
    for l in reversed(range(L)):
        dcarry, below = [np.zeros((1, H)) for _ in oracle.CELLS[cell].carried], []
        for k in range(T):
            tape = tapes[l][-1 - k]
            dh = above[k] + dcarry[0]
            norms["h"][l, k] = np.linalg.norm(dh)
            if CELLS[cell].has_c:
                o, made = tape[oracle.CELLS[cell].gates["o"]], tape[oracle.CELLS[cell].made_c]
                norms["c"][l, k] = np.linalg.norm((1 - zoneout) * (dcarry[1] + dh * o * (1 - np.tanh(made) ** 2)))
            dx, _, dcarry = oracle.CELLS[cell].backward(
                oracle.layer_weights(parameters, l), [tape], above[k][None], dcarry
            )
            below.append(dx[0])
        above = below
    return norms


@pytest.mark.parametrize("zoneout", [0.0, 0.4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_norms_agree_with_the_oracle(cell, shape, zoneout, monkeypatch):
    monkeypatch.setattr(distance, "STREAMS", 2)  # so that the last walk has fewer places
    monkeypatch.setattr(distance, "WARM_UP", LEAD)
    model, parameters, ids = make(cell, *SHAPES[shape], zoneout=zoneout)
    reach = measure_reach(model, ids, TIMES, STEPS)
    assert set(reach.norms) == set(oracle.CELLS[cell].carried) and reach.steps == STEPS
    for n, t in enumerate(TIMES):
        expected = naive_norms(parameters, cell, ids, t, zoneout)
        for state, norms in reach.norms.items():
            np.testing.assert_allclose(norms[:, :, n], expected[state], rtol=1e-10, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("zoneout", [0.0, 0.4])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_agree_with_central_differences(cell, zoneout):
    model, parameters, ids = make(cell, L=2, zoneout=zoneout)
    t, eps = TIMES[0], 1e-5
    reach = measure_reach(model, ids, TIMES[:1], STEPS)

    def loss(*place):
        def change(*at):
            return place[1] * np.eye(H)[place[2]] if at == place[0] else 0.0

        logits, _ = read(parameters, cell, ids, t, change, zoneout)
        return oracle.losses_nats(logits[None], ids[t + 1].reshape(1, 1))[0, 0]

    for state, norms in reach.norms.items():
        for l in range(2):
            for k in range(STEPS + 1):
                slopes = [(loss((l, k, state), eps, u) - loss((l, k, state), -eps, u)) / (2 * eps) for u in range(H)]
                np.testing.assert_allclose(norms[l, k, 0], np.linalg.norm(slopes), rtol=1e-5, atol=1e-10)


def test_a_gradient_below_what_float32_holds_is_told():
    model, parameters, _ = make("rnn", dtype="float32")
    parameters["rnn.weight_hh_l0"] = 0.01 * np.eye(H)
    model.set_parameters(parameters)
    reach = measure_reach(model, np.arange(100) % V, np.array([90]), 60)
    assert 0 < reach.norms["h"][0, 60, 0] < 1e-110


def test_a_curve_is_quartiles_of_a_layer_or_of_the_whole_state():
    model, _, ids = make("lstm", L=2)
    reach = measure_reach(model, ids, np.arange(8, 24), STEPS)
    low, median, high = reach.curve("c", layer=1)
    assert (low <= median).all() and (median <= high).all() and (low < high).all()
    np.testing.assert_allclose(median, np.median(reach.norms["c"][1], axis=1))
    np.testing.assert_allclose(reach.curve("h")[1], np.median(np.hypot(*reach.norms["h"]), axis=1))


def test_times_leave_room_for_the_way_back_and_the_next_character():
    times = choose_times(100, 1000, 50, 8)
    assert times[0] >= 150 and times[-1] == 998 and len(times) == 8
    assert list(choose_times(0, 8, 6, 10)) == [6]
    assert len(choose_times(0, 20, 6, 100)) == len(set(choose_times(0, 20, 6, 100))) <= 13
    with pytest.raises(ConfigError, match=r"6 steps back needs 8 characters of text, got 7"):
        choose_times(0, 7, 6, 10)


@pytest.mark.parametrize("cell", CELLS)
def test_norms_have_the_same_bits_for_any_number_of_threads(cell, monkeypatch):
    monkeypatch.setattr(workspace_module, "SHARED_PRODUCTS", 1)
    model, _, ids = make(cell, L=2, layer_norm=True)
    before, found = num_threads(), []
    try:
        for threads in (1, max_threads()):
            set_num_threads(threads)
            found.append(measure_reach(model, ids, TIMES, STEPS).norms)
    finally:
        set_num_threads(before)
    for state, norms in found[0].items():
        np.testing.assert_array_equal(found[1][state], norms)


def test_a_reach_of_streams_that_are_no_steps_of_places_is_refused():
    model, _, _ = make("gru")
    x = np.zeros((1, 6), int)
    workspace = Workspace(model, 6, 2)
    assert workspace.measure_reach(x, x, 3)["h"].shape == (1, 2, 3)
    for ids, places in ((x, 4), (x, 7), (x, 0), (np.zeros((2, 6), int), 3)):
        with pytest.raises(ConfigError, match="`places` must divide 6"):
            workspace.measure_reach(ids, ids, places)
    with pytest.raises(ConfigError, match="make one with training=True"):
        Workspace(model, 6, 1, training=False).measure_reach(x, x, 3)
    workspace.set_clamps([Clamp(0, 0, 0.0)])
    with pytest.raises(ConfigError, match="held"):
        workspace.measure_reach(x, x, 3)
