"""Evaluation: one stream by definition, a few warmed-up streams to 0.001 nats, both deterministic."""

import math

import numpy as np
import oracle
import pytest

from charrnn.errors import CorpusError
from charrnn.evaluation import loss as evaluation
from charrnn.evaluation import reading
from charrnn.evaluation.loss import (
    Evaluation,
    count_streams,
    evaluate_split,
    evaluate_stream,
    read_guesses,
    read_losses,
    split_workspace,
    standard_error,
    sum_up,
)
from charrnn.evaluation.reading import TextMarks
from charrnn.kernels import num_threads, set_num_threads
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig
from charrnn.training.optimisers import Optimizer

V = 7


def make_ids(length, seed=0):
    """Characters that depend on the two before them, so that the carry matters."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(length, np.uint8)
    noise = rng.integers(0, V, length)
    for t in range(2, length):
        ids[t] = (ids[t - 1] + ids[t - 2] + 1) % V if noise[t] else rng.integers(0, V)
    return ids


@pytest.fixture(scope="module")
def model():
    """A model that has learned a little: a fresh one forgets too fast to show a missing warm-up."""
    model = Model.initialise(ModelConfig("lstm", V, 12, 2), seed=3)
    workspace, optimizer = Workspace(model, 8, 32), Optimizer("adam", model)
    ids = make_ids(8 * 33 * 40, seed=9).astype(np.int32)
    for step in range(40):
        chunk = ids[step * 8 * 33 : (step + 1) * 8 * 33].reshape(8, 33).T
        workspace.reset_carry()
        workspace.loss_and_grads(chunk[:-1], chunk[1:])
        optimizer.step(workspace, 0.02, 5.0)
    return model


def plain(model, ids, start, stop):
    """The definition: read everything before the split within the warm-up, then score one character at a time."""
    workspace = Workspace(model, 1, 1, training=False)
    first = max(start, 1)
    losses = []
    for t in range(max(0, first - 1 - evaluation.WARM_UP), stop - 1):
        loss = workspace.losses(ids[t : t + 1, None].astype(np.int32), ids[t + 1 : t + 2, None].astype(np.int32))
        if t >= first - 1:
            losses.append(float(loss[0, 0]))
    return Evaluation(math.fsum(losses) / len(losses), len(losses))


@pytest.mark.parametrize("start, stop", [(0, 2), (0, 700), (1, 700), (5, 6), (300, 801), (799, 800)])
def test_a_stream_is_the_plain_definition(model, start, stop):
    ids = make_ids(900)
    got, expected = evaluate_stream(model, ids, start, stop), plain(model, ids, start, stop)
    assert got.characters == expected.characters == stop - max(start, 1)
    assert got.loss_nats == pytest.approx(expected.loss_nats, abs=2e-6)  # float32 states, chunks of another length


@pytest.mark.parametrize("start, length", [(0, 5000), (0, 40), (3, 9001), (100, 4097), (2000, 17000), (1, 2500)])
def test_parallel_streams_agree_with_one_to_a_thousandth_of_a_nat(model, start, length):
    ids = make_ids(20000)
    one, several = evaluate_stream(model, ids, start, start + length), evaluate_split(model, ids, start, start + length)
    assert several.characters == one.characters
    assert several.loss_nats == pytest.approx(one.loss_nats, abs=1e-3)


# One unit that is open to what comes with 1 and 2, and keeps its state otherwise: {gate: (weight of the inputs, bias)}.
# For the vanilla RNN a recurrent weight does it.
LATCHED = np.array([0, 30, -30, 0, 0])
LATCHES = {
    "lstm": {"i": (abs(LATCHED), -15), "f": (-abs(LATCHED), 15), "g": (LATCHED, 0), "o": (0 * LATCHED, 15)},
    "gru": {"r": (0 * LATCHED, 0), "z": (-abs(LATCHED), 15), "n": (LATCHED, 0)},
    "rnn": {"h": (LATCHED, 0)},
}


def latch(cell, scale=3.0):
    """Return a model of one unit that holds what it was last set to by 1 or by 2, and expects 3 or 4 by it."""
    model = Model(ModelConfig(cell, vocab_size=5, hidden_size=1, num_layers=1, dtype="float64"))
    arrays = {name: np.zeros(shape) for name, shape in model.shapes().items()}
    arrays["output.weight"][:, 0] = [0, 0, 0, scale, -scale]
    for row, (weight, bias) in enumerate(LATCHES[cell].values()):
        arrays["rnn.weight_ih_l0"][row], arrays["rnn.bias_ih_l0"][row] = weight, bias
    if cell == "rnn":
        arrays["rnn.weight_hh_l0"][0] = 3
    model.set_parameters(arrays)
    return model


@pytest.mark.parametrize("cell", LATCHES)
def test_streams_that_began_in_a_wrong_state_are_read_again(cell, monkeypatch):
    ids = np.zeros(40000, np.uint8)
    ids[::3] = 3
    for at in (0, 9000, 31000):  # set, and then kept for longer than several streams
        ids[at] = 1 if at != 9000 else 2
    model = latch(cell)
    one, several = evaluate_stream(model, ids, 10, 39000), evaluate_split(model, ids, 10, 39000)
    assert several.characters == one.characters
    assert several.loss_nats == pytest.approx(one.loss_nats, abs=1e-5)
    monkeypatch.setattr(evaluation, "SETTLED_NATS", math.inf)  # as they were read first
    assert abs(evaluate_split(model, ids, 10, 39000).loss_nats - one.loss_nats) > 0.1


@pytest.mark.parametrize("scale", [0.02, 0.15])
def test_a_state_that_mends_one_stream_a_reading_is_followed_to_the_end(scale):
    ids = np.tile(np.array([3, 0, 0], np.uint8), 24000)
    ids[5] = 1
    model = latch("lstm", scale)
    one, several = evaluate_stream(model, ids, 10, 70000), evaluate_split(model, ids, 10, 70000)
    assert count_streams(69990) == 64
    assert several.loss_nats == pytest.approx(one.loss_nats, abs=1.5e-4)


def quiet_latch():
    """Return an LSTM of two units, one of which is always zero.

    The other holds 0.25 or -0.25, set by 1 or 2, and shows it at 3 only.
    """
    model = Model(ModelConfig("lstm", vocab_size=5, hidden_size=2, num_layers=1, dtype="float64"))
    arrays = {name: np.zeros(shape) for name, shape in model.shapes().items()}
    arrays["output.weight"][:, 0] = [0, 0, 0, 9, -9]
    set_by, shown_by = np.array([0, 30, 30, 0, 0]), np.array([0, 0, 0, 30, 0])
    for row, (weight, bias) in {
        0: (set_by, -15),
        2: (-set_by, 15),
        4: (np.arctanh([0, 0.25, -0.25, 0, 0]), 0),
        6: (shown_by, -15),
    }.items():
        arrays["rnn.weight_ih_l0"][row], arrays["rnn.bias_ih_l0"][row] = weight, bias
    model.set_parameters(arrays)
    return model


def test_a_cell_state_that_does_not_show_where_streams_meet_is_read_again_too():
    ids = np.zeros(40000, np.uint8)
    ids[::3] = 3
    for at, by in ((1, 1), (9001, 2), (31000, 1)):
        ids[at] = by
    model = quiet_latch()
    one, several = evaluate_stream(model, ids, 10, 39000), evaluate_split(model, ids, 10, 39000)
    assert several.loss_nats == pytest.approx(one.loss_nats, abs=1e-6)


def test_the_first_stream_begins_with_nothing_where_the_text_does():
    model = Model(ModelConfig("lstm", vocab_size=5, hidden_size=1, num_layers=1, dtype="float64"))
    arrays = {name: np.zeros(shape) for name, shape in model.shapes().items()}
    arrays["output.weight"][:, 0] = [5, -5, 0, 0, 0]
    for row, (weight, bias) in enumerate(
        (([-15, 15, 0, 0, 0], 0), ([0] * 5, 15), ([0, 0.1, 0, 0, 0], 0), ([0] * 5, 15))
    ):  # counts the 1s
        arrays["rnn.weight_ih_l0"][row], arrays["rnn.bias_ih_l0"][row] = weight, bias
    model.set_parameters(arrays)
    ids = np.zeros(9000, np.uint8)
    ids[0] = 1  # what the other streams are warmed up beside is this character, again and again
    assert evaluate_split(model, ids, 3, 9000).loss_nats == pytest.approx(
        evaluate_stream(model, ids, 3, 9000).loss_nats, abs=1e-6
    )


def test_what_is_not_a_number_is_read_once(model):
    arrays = model.get_parameters()
    arrays["rnn.bias_ih_l0"][0] = math.nan
    model = Model(model.config)
    model.set_parameters(arrays)
    chunks = []
    result = evaluate_split(
        model, make_ids(9000), 100, 9000, interrupted=lambda: len(chunks) > 1000 or bool(chunks.append(1))
    )
    assert result is not None and math.isnan(result.loss_nats)
    assert len(chunks) <= 8900 // count_streams(8900) // evaluation.SPLIT_CHUNK + 1


def test_streams_are_not_read_again_for_nothing(model, monkeypatch):
    # Two that do not meet, in a model that never settles; but the loss does not move by it.
    readings = []
    real = reading._fits
    monkeypatch.setattr(reading, "_fits", lambda out, into: real(out, into) and bool(readings.append(1)))
    assert evaluate_split(model, make_ids(9000), 100, 9000).loss_nats == pytest.approx(
        evaluate_stream(model, make_ids(9000), 100, 9000).loss_nats, abs=1e-3
    )
    assert len(readings) == 2 * (
        count_streams(8900) - 1
    )  # after the first reading, and after the one that changed nothing


def test_every_character_counts_once_whatever_the_number_of_streams(model, monkeypatch):
    ids = make_ids(2000)
    monkeypatch.setattr(evaluation, "MIN_STREAM", 100)
    for start in (0, 3, 300):
        for stop in (1999, 2000, 1907):
            assert count_streams(stop - start) == 16
            first, seen = max(start, 1), np.zeros(len(ids), int)
            workspace = split_workspace(model, stop - start)
            settling = reading.Settling(lambda left: True)
            for _, _, places in reading.read(workspace, ids, first - 1, stop - 1, settling=settling):
                for _, at, count in places:
                    seen[first + at : first + at + count] += 1
            assert seen.tolist() == [first <= at < stop for at in range(len(ids))]
            assert evaluate_split(model, ids, start, stop).characters == stop - first


def test_the_same_parameters_give_the_same_bits_on_any_number_of_threads(model):
    ids, before = make_ids(9000), num_threads()
    workspace = split_workspace(model, 8000)
    first = evaluate_split(model, ids, 1000, 9000, workspace)
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            assert evaluate_split(model, ids, 1000, 9000, workspace) == first
    finally:
        set_num_threads(before)
    assert evaluate_split(model, ids, 1000, 9000) == first


def test_the_number_of_streams_depends_on_the_length_alone_and_is_bounded():
    assert [count_streams(n) for n in (0, 1, 2047, 2048, 4095, 4096, 10**9)] == [1, 1, 1, 2, 2, 4, 64]


def test_the_characters_before_a_split_are_read_but_not_counted(model):
    ids = make_ids(600)
    ids[:300] = make_ids(300, seed=1)
    whole, after = evaluate_stream(model, ids, 300, 600), evaluate_stream(model, ids[300:], 0, 300)
    assert (whole.characters, after.characters) == (300, 299)
    assert whole.loss_nats != after.loss_nats


def test_nothing_to_predict_is_refused(model):
    for start, stop in ((0, 0), (0, 1), (5, 5)):
        with pytest.raises(CorpusError, match="needs at least 2 characters"):
            evaluate_split(model, make_ids(20), start, stop)


def test_an_interrupted_pass_gives_nothing(model):
    calls = []

    def interrupted():
        calls.append(1)
        return len(calls) > 40

    assert evaluate_split(model, make_ids(9000), 100, 9000, interrupted=interrupted) is None
    assert len(calls) == 41


def test_units_are_consistent_and_a_huge_loss_does_not_overflow():
    evaluated = Evaluation(math.log(16), 5)
    assert evaluated.loss_bpc == pytest.approx(4) and evaluated.perplexity == pytest.approx(16)
    assert set(evaluated.to_dict()) == {"loss_nats", "loss_bpc", "perplexity", "characters"}
    assert Evaluation(709, 5).perplexity == math.exp(709)
    for loss_nats in (710, 1e4):
        assert Evaluation(loss_nats, 5).perplexity == math.inf
        assert Evaluation(loss_nats, 5).to_dict()["perplexity"] is None


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("start", [0, 1, 40, 700])
def test_it_agrees_with_an_independent_computation_in_float64(cell, start):
    model, ids = Model.initialise(ModelConfig(cell, V, 10, 2, dtype="float64"), seed=5), make_ids(1300)
    losses = read_losses(model, ids, start, 1300)
    first = max(start, 1)
    begin = max(0, first - 1 - evaluation.WARM_UP)
    logits = oracle.forward(model.get_parameters(), cell, ids[begin:-1, None].astype(int)).logits
    expected = oracle.losses_nats(logits, ids[begin + 1 :, None])[first - 1 - begin :, 0]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)
    summed = sum_up(losses)
    assert summed.characters == 1300 - first and abs(summed.loss_nats - expected.mean()) < 1e-9
    assert summed == evaluate_stream(model, ids, start, 1300)
    assert summed.loss_bpc * math.log(2) == pytest.approx(summed.loss_nats, rel=1e-15)
    assert math.log(summed.perplexity) == pytest.approx(summed.loss_nats, rel=1e-14)

    guesses, shares = read_guesses(model, ids, start, 1300, 3)
    p = np.exp(logits[first - 1 - begin :, 0] - logits[first - 1 - begin :, 0].max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(guesses, np.argsort(-p, axis=1)[:, :3])
    np.testing.assert_allclose(shares, -np.sort(-p, axis=1)[:, :3], atol=1e-9)


def test_guesses_are_no_more_than_there_are_characters(model):
    guesses, shares = read_guesses(model, make_ids(50), 0, 50, 20)
    assert guesses.shape == (49, V) and shares.sum(axis=1) == pytest.approx(np.ones(49))


def test_the_standard_error_sees_that_neighbours_are_alike():
    rng = np.random.default_rng(0)
    means, errors, naive = [], [], []
    for _ in range(150):
        noise = rng.standard_normal(40_300)
        losses = np.convolve(noise, np.ones(40), "valid")[:40_000]  # each like the 40 around it
        error, blocks, length = standard_error(losses)
        assert (blocks, length) == (100, 400)
        means.append(losses.mean())
        errors.append(error)
        naive.append(losses.std() / math.sqrt(len(losses)))
    true = np.std(means)
    assert 0.8 < np.mean(errors) / true < 1.15  # the spread of 150 means is known to 6 %; blocks of 400 miss some 5 %
    assert np.mean(naive) < true / 4


def test_a_short_text_has_no_standard_error():
    assert math.isnan(standard_error(np.ones(399))[0])
    error, blocks, length = standard_error(np.r_[np.zeros(200), np.ones(201)])
    assert (error, blocks, length) == (pytest.approx(0.5), 2, 200)


def test_reading_reports_how_far_it_is(model):
    calls = []
    read_losses(model, make_ids(700), 100, 700, progress=lambda done, n: calls.append((done, n)))
    assert calls == [(256, 600), (512, 600), (600, 600)]


@pytest.mark.parametrize("cell", CELLS)
def test_items_of_a_text_are_read_as_each_by_itself(cell):
    """In one stream and in several: one that begins within an item is warmed up on the item's beginning."""
    model = Model.initialise(ModelConfig(cell, V, 12, 2), seed=3)
    ids, rng = make_ids(9000), np.random.default_rng(1)
    marks = TextMarks(rng.random(9000) < 1 / 7, rng.random(9000) < 0.8)
    marks.resets[0] = True
    starts = [*np.flatnonzero(marks.resets), len(ids)]
    alone, expected = Workspace(model, 1, max(np.diff(starts)), training=False), np.zeros(9000)
    guesses = []
    for start, stop in zip(starts, starts[1:]):
        alone.reset_carry()
        y = ids[start + 1 : stop + 1].astype(np.int32)[:, None]
        x = ids[start : start + len(y)].astype(np.int32)[:, None]
        if len(y):
            expected[start + 1 : start + 1 + len(y)] = alone.losses(x, y)[:, 0]
            alone.reset_carry()
            guesses.extend(alone.logits(x)[:, 0].argmax(axis=1))
    found = read_losses(model, ids, marks=marks)
    np.testing.assert_array_equal(found, np.where(marks.counts, expected, 0)[1:])
    counted = expected[700:8900][marks.counts[700:8900]]
    for evaluate in (evaluate_split, evaluate_stream):
        result = evaluate(model, ids, 700, 8900, marks=marks)
        assert result.characters == len(counted) and abs(result.loss_nats - counted.mean()) < 1e-12
    np.testing.assert_array_equal(read_guesses(model, ids, 0, 9000, 1, marks=marks)[0][:, 0], guesses)
    with pytest.raises(CorpusError, match="this text has no"):
        evaluate_split(model, ids, 700, 8900, marks=TextMarks(None, np.zeros(9000, bool)))
