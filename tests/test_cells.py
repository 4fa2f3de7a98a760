"""Units planted by hand are found and named, scores are what their definitions say, and chance is seen as chance."""

import json
import math

import numpy as np
import pytest

from charrnn.cells import report
from charrnn.cells.ablate import ablate, regions
from charrnn.cells.gates import gate_saturation
from charrnn.cells.passages import choose_passage, first_whole, shown_values
from charrnn.cells.record import clamp_at, parse_unit, read_guesses, read_losses, record
from charrnn.cells.search import exact_midranks, halves, midranks, score_unit, search, shift_offsets, standardised
from charrnn.cells.signals import GRADED, ON_OFF, Signal, find_signals
from charrnn.errors import ConfigError, DivergenceError
from charrnn.evaluation.loss import evaluate_stream
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.byte_text import read_symbols
from charrnn.text.excerpt import Excerpt
from charrnn.text.vocabulary import Vocabulary

SYMBOLS = '\n "abcdefghijklmnopqrstuvwxyz.,'


def make_text(characters, seed=0):
    """Lines of words with quotations: both of many lengths, so that neither follows from the last few characters."""
    rng = np.random.default_rng(seed)
    parts, size, inside = [], 0, False
    while size < characters:
        line = []
        for _ in range(rng.integers(2, 14)):
            word = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(1, 9)))
            if not inside and rng.random() < 0.12:
                word, inside = '"' + word, True
            elif inside and rng.random() < 0.15:
                word, inside = word + '"', False
            line.append(word)
        parts.append(" ".join(line) + "\n")
        size += len(parts[-1])
    return "".join(parts)[:characters]


def plant(hidden_size=24, seed=3, quotes=5, counter=11):
    """An LSTM of random weights in which two units of layer 0 are made by hand.

    `quotes` stands at -tanh(1) inside quotes and at +tanh(1) outside: a quote shuts its forget gate, opens its input
    gate, and writes the opposite of what it holds. `counter` adds 0.008 a character and forgets at a newline.
    """
    vocabulary = Vocabulary("chars", SYMBOLS)
    model = Model.initialise(ModelConfig("lstm", vocabulary.size, hidden_size, 1), seed)
    arrays = model.get_parameters()
    Wx, Wh, b = (arrays[f"rnn.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih"))
    quote, newline = vocabulary.symbols.index('"'), vocabulary.symbols.index("\n")
    H = hidden_size
    for unit in (quotes, counter):
        for gate in range(4):
            Wx[gate * H + unit] = Wh[gate * H + unit] = b[gate * H + unit] = 0
        b[3 * H + unit] = 20  # its output gate is open
    i, f, g = (gate * H + quotes for gate in range(3))
    b[i], b[f], Wx[i, quote], Wx[f, quote] = -20, 20, 40, -40
    b[g], Wh[g, quotes] = -4, -20  # the first quote finds nothing and writes -1
    i, f, g = (gate * H + counter for gate in range(3))
    b[i], b[f], Wx[i, newline], Wx[f, newline] = 20, 20, -40, -40
    b[g] = math.atanh(0.008)
    model.set_parameters(arrays)
    return model, vocabulary


@pytest.fixture(scope="module")
def planted():
    model, vocabulary = plant()
    text = make_text(24_000)
    ids = vocabulary.encode(text)
    recording = record(model, ids, 0, len(ids), "tanh-c")
    untrained = record(Model.initialise(model.config, 99), ids, 0, 12_000, "tanh-c")
    return model, vocabulary, text, ids, recording, untrained


@pytest.fixture(scope="module")
def findings(planted):
    _, _, text, _, recording, untrained = planted
    return {finding.signal.name: finding for finding in search(recording, find_signals(text), untrained)}


# ---- planted truth ---------------------------------------------------------------------------------------------------


def test_a_unit_built_to_track_quotes_is_named(findings):
    found = findings["quotes"]
    assert (found.layer, found.unit, found.sign) == (0, 5, -1)
    assert found.score > 0.99 and found.named
    assert found.null < 0.8 and found.null_max < found.score and found.untrained < 0.9
    assert found.probe > 0.99


def test_a_unit_built_to_count_the_line_is_named(findings):
    found = findings["line-position"]
    assert (found.layer, found.unit, found.sign) == (0, 11, 1)
    assert found.score > 0.99 and found.spearman > 0.99 and found.named
    assert found.null < 0.3 and found.untrained < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_is_named_in_a_random_network(cell, seed, planted):
    _, vocabulary, text, ids, _, _ = planted
    config = ModelConfig(cell, vocabulary.size, 32, 2)
    quantity = CELLS[cell].default_quantity
    recording = record(Model.initialise(config, seed), ids, 0, len(ids), quantity)
    untrained = record(Model.initialise(config, 1000 + seed), ids, 0, len(ids), quantity)
    found = search(recording, find_signals(text), untrained)
    assert len(found) > 5 and not any(finding.named for finding in found)


@pytest.mark.slow
def test_units_of_noise_do_not_beat_their_null(planted):
    """Slow random walks, which follow nothing: among 400 one always looks good where it was chosen."""
    _, _, text, _, recording, _ = planted
    rng = np.random.default_rng(5)
    steps = rng.standard_normal((1, 400, len(text)))
    walks = np.tanh(np.cumsum(steps, axis=2) * 0.03).astype(np.float16)
    noise = type(recording)("h", walks, recording.loss_nats)
    found = search(noise, find_signals(text))
    assert not any(finding.named for finding in found)
    graded = {finding.signal.name: finding for finding in found}
    assert sum(finding.score > finding.null for finding in found) <= len(found) / 3
    assert abs(graded["quotes"].score - 0.5) < 0.2


def test_one_unit_can_be_asked_what_it_follows(planted):
    _, _, text, _, recording, _ = planted
    rows = score_unit(recording, find_signals(text), 0, 5)
    assert rows[0][0].name == "quotes" and rows[0][1] < -0.99
    scores = [abs(score) for _, score, _ in rows]
    assert scores == sorted(scores, reverse=True)


def test_the_planted_unit_is_missed_when_the_output_listens_to_it_and_only_there(planted):
    """Teach the output alone that `a` is likely inside quotes: holding the unit then hurts, a random one does not."""
    _, vocabulary, text, _, _, _ = planted
    text = text[:8_000]
    model, _ = plant()
    arrays = model.get_parameters()
    arrays["output.weight"][:] = 0
    arrays["output.weight"][vocabulary.symbols.index("a"), 5] = -3
    model.set_parameters(arrays)
    rng = np.random.default_rng(1)
    quotes = {signal.name: signal for signal in find_signals(text)}["quotes"]
    letters = np.array(list(text))
    told = (
        (letters != '"')
        & (letters != "\n")
        & np.concatenate([[False], quotes.values[:-1]])
        & (rng.random(len(text)) < 0.4)
    )
    letters[told] = "a"
    ids = vocabulary.encode("".join(letters))
    recording = record(model, ids, 0, len(ids), "tanh-c")
    (result,) = ablate(model, ids, 0, recording, [(quotes, 0, 5)], "zero")
    assert result.rises["on"].nats > 0.1 and result.rises["on"].nats > 10 * result.rises["on"].error
    assert abs(result.random["on"][0]) < 1e-6 and abs(result.random["on"][1]) < 1e-6
    assert result.rises["off"].nats < 0
    assert result.missed == "only there"
    assert sum(rise.characters for rise in result.rises.values()) == len(ids) - 1  # nothing follows the last
    assert json.loads(json.dumps(result.to_dict()))["regions"]["on"]["rise_nats"] == result.rises["on"].nats


# ---- the definitions, by brute force ---------------------------------------------------------------------------------


def naive_auroc(values, on):
    high, low = values[on][:, None].astype(float), values[~on][None].astype(float)
    return float((high > low).mean() + 0.5 * (high == low).mean())


def naive_ranks(values):
    return np.array([(values < v).sum() + 0.5 * (values == v).sum() for v in values])


def test_midranks_share_ties_whatever_the_sign():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.standard_normal((3, 90)).round(1),
            np.zeros((1, 90)),
            rng.standard_normal((1, 90)) * 1e-7,
            np.full((1, 90), -2.0),
        ]
    ).astype(np.float16)
    values[0, :2] = [0.0, -0.0]
    for row, ranks in zip(values, midranks(values)):
        np.testing.assert_allclose(ranks, naive_ranks(row.astype(float)) / 90 - 0.5, atol=1e-6)
        np.testing.assert_allclose(exact_midranks(row.astype(float)), ranks, atol=1e-6)
        assert abs(ranks.sum()) < 1e-4


def test_scores_are_what_their_definitions_say():
    rng = np.random.default_rng(1)
    N, H = 6_000, 7
    on = np.repeat(rng.random(N // 20) < 0.4, 20)
    graded = np.cumsum(rng.standard_normal(N)).round().astype(np.float32)
    values = rng.standard_normal((2, H, N)).astype(np.float16)
    values[1, 3] -= 2 * on
    values[0, 2] += graded / graded.std()
    signals = [Signal("x", "x", ON_OFF, on), Signal("y", "y", GRADED, graded)]
    recording = make_recording(values)
    found = {finding.signal.name: finding for finding in search(recording, signals, shifts=5)}
    chooses, scores = halves(N)
    assert not set(chooses) & set(scores) and min(np.abs(chooses[:, None] - scores[None]).min(axis=1)) >= 2

    x, y = found["x"], found["y"]
    assert (x.layer, x.unit, x.sign) == (1, 3, -1) and (y.layer, y.unit, y.sign) == (0, 2, 1)
    assert x.score == pytest.approx(1 - naive_auroc(values[1, 3][scores], on[scores]), abs=1e-6)
    v, s = values[0, 2][scores].astype(float), graded[scores].astype(float)
    assert y.score == pytest.approx(np.corrcoef(v, s)[0, 1], abs=1e-5)
    assert y.spearman == pytest.approx(np.corrcoef(naive_ranks(v), naive_ranks(s))[0, 1], abs=1e-5)

    units = values.reshape(-1, N)
    nulls = []
    for offset in shift_offsets(N, 5):
        shifted = np.roll(on, offset)
        chosen = [naive_auroc(unit[chooses], shifted[chooses]) for unit in units]
        best = int(np.argmax(np.abs(np.array(chosen) - 0.5)))
        score = naive_auroc(units[best][scores], shifted[scores])
        nulls.append(score if chosen[best] > 0.5 else 1 - score)
    assert x.null_max == pytest.approx(max(nulls), abs=1e-6)
    assert x.null == pytest.approx(np.percentile(nulls, 95), abs=1e-6)
    assert x.others[0][2:] != () and len(x.others) == 4

    # The probe of layer 1 by least squares with the same penalty.
    X = values[1].astype(float)
    mean, deviation = X[:, chooses].mean(axis=1, keepdims=True), X[:, chooses].std(axis=1, keepdims=True)
    A = ((X - mean) / deviation)[:, chooses]
    w = np.linalg.solve(A @ A.T + 1e-3 * len(chooses) * np.eye(H), A @ (on[chooses] - on[chooses].mean()))
    assert x.probe_layer == 1
    assert x.probe == pytest.approx(naive_auroc(w @ ((X - mean) / deviation)[:, scores], on[scores]), abs=1e-4)


def make_recording(values):
    from charrnn.cells.record import Recording

    return Recording("h", values, np.full(values.shape[2], np.nan))


def test_a_signal_in_many_units_is_seen_by_the_probe_alone():
    rng = np.random.default_rng(2)
    N, H = 8_000, 40
    on = np.repeat(rng.random(N // 10) < 0.5, 10)
    values = (rng.standard_normal((1, H, N)) + 0.5 * (2 * on - 1)).astype(np.float16)
    (found,) = search(make_recording(values), [Signal("x", "x", ON_OFF, on)])
    assert found.score < 0.8 and found.probe > 0.99


def test_a_unit_that_woke_up_late_does_not_rule_the_probe():
    rng = np.random.default_rng(3)
    N, H = 8_000, 6
    depth = np.repeat(rng.integers(0, 5, N // 10), 10).astype(np.float32)
    values = (0.1 * rng.standard_normal((1, H, N)) + depth / 5).astype(np.float16)
    chooses, scores = halves(N)
    values[0, 0] = 1
    values[0, 0, chooses[:3]] = 0.99  # three characters of the choosing half, in which it seems to say something
    values[0, 0, scores[::9]] = -1
    (found,) = search(make_recording(values), [Signal("x", "x", GRADED, depth)])
    assert found.probe > 0.98


def test_standardising_a_unit_that_never_changes_gives_nothing():
    assert not standardised(np.full((2, 9), 0.25, np.float16)).any()


def test_shifts_are_long_distinct_and_always_the_same():
    for N in (4_000, 100_000):
        offsets = shift_offsets(N, 39)
        assert len(set(offsets)) == 39 and offsets == shift_offsets(N, 39)
        assert min(offsets) >= min(1_000, N // 4) * 0.9 and max(offsets) <= N - min(1_000, N // 4) * 0.9


def test_too_short_a_text_and_broken_numbers_are_refused(planted):
    _, _, text, _, recording, _ = planted
    with pytest.raises(ConfigError, match="at least 4,000 characters"):
        halves(3_999)
    values = recording.values.copy()
    values[0, 0, 0] = np.nan
    with pytest.raises(DivergenceError):
        search(make_recording(values), find_signals(text))


def test_signals_too_rare_for_a_half_are_left_out():
    values = np.random.default_rng(0).standard_normal((1, 3, 5_000)).astype(np.float16)
    on = np.zeros(5_000, bool)
    on[:300:3] = True  # in the first block alone
    assert search(make_recording(values), [Signal("x", "x", ON_OFF, on)]) == []


# ---- recordings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_recording_in_streams_is_that_of_one_continuous_reading(cell):
    rng = np.random.default_rng(4)
    ids = rng.integers(0, 9, 5_200).astype(np.uint8)
    model = Model.initialise(ModelConfig(cell, 9, 6, 2), 1)
    start, stop = 700, 4_901
    for quantity in CELLS[cell].quantities:
        recording = record(model, ids, start, stop, quantity)
        assert recording.values.shape == (2, 6, stop - start) and recording.values.dtype == np.float16
        workspace = Workspace(model, 1, stop, training=False)
        losses = workspace.losses(ids[:stop, None], ids[1 : stop + 1, None])[start:, 0]
        expected = workspace.states("c" if quantity == "tanh-c" else quantity)[:, start:, 0].transpose(0, 2, 1)
        expected = np.tanh(expected) if quantity == "tanh-c" else expected
        np.testing.assert_allclose(recording.values, expected, rtol=2**-11, atol=1e-4)
        np.testing.assert_allclose(recording.loss_nats, losses, atol=1e-5)


def forgetless():
    """Return (model, ids): a fresh network with layer normalisation, in which no two beginnings ever meet."""
    ids = np.random.default_rng(4).integers(0, 9, 5_200).astype(np.uint8)
    return Model.initialise(ModelConfig("lstm", 9, 32, 2, layer_norm=True), 1), ids


def read_whole(model, ids, start, stop):
    """Return tanh(c) of ids[start:stop] of one stream, warmed up on 256 characters: (L, H, N)."""
    begin = max(0, start - 256)
    workspace = Workspace(model, 1, stop - begin, training=False)
    workspace.losses(ids[begin:stop, None], ids[begin + 1 : stop + 1, None])
    return np.tanh(workspace.states("c"))[:, start - begin :, 0].transpose(0, 2, 1)


@pytest.mark.parametrize("start", [0, 300])
def test_a_model_that_never_forgets_is_recorded_as_one_continuous_reading_and_in_one_go(start):
    model, ids = forgetless()
    told = []
    values = record(model, ids, start, 4_901, "tanh-c", lambda *how_far: told.append(how_far)).values
    # Where rounding alone grew apart, nothing would be near.
    np.testing.assert_allclose(values, read_whole(model, ids, start, 4_901), rtol=2**-10, atol=1e-6)
    N = 4_901 - start
    assert told[0][1] == N and (N, N) in told and (2 * N, N) not in told
    again = [(done, of) for done, of, *again in told if again == ["reading passages again"]]
    assert again and all(0 < done <= of < N for done, of in again)
    in_one_go = [(done, of) for done, of in again if of == again[-1][1]]
    assert in_one_go == sorted(in_one_go) and in_one_go[-1][0] == in_one_go[-1][1]
    assert sum({of for _, of in again}) < 3 * N  # not once for every stream


def test_read_once_every_stream_is_what_it_is_after_its_warm_up():
    model, ids = forgetless()
    told = []
    values = record(model, ids, 300, 4_901, "tanh-c", lambda *how_far: told.append(how_far), once=True).values
    length = -(-4_601 // 8)
    for k in range(8):
        first, stop = k * length, min(4_601, (k + 1) * length)
        expected = read_whole(model, ids, 300 + first, 300 + stop)
        np.testing.assert_allclose(values[:, :, first:stop], expected, rtol=2**-10, atol=1e-6)
    assert all(len(how_far) == 2 for how_far in told) and told[-1] == (4_601, 4_601)


def test_a_model_that_forgets_is_the_same_bits_read_once():
    ids = np.random.default_rng(4).integers(0, 9, 5_200).astype(np.uint8)
    model = Model.initialise(ModelConfig("lstm", 9, 6, 2), 1)
    whole, once = record(model, ids, 0, 5_200, "h"), record(model, ids, 0, 5_200, "h", once=True)
    np.testing.assert_array_equal(whole.values, once.values)


def test_an_untrained_network_is_read_once_and_a_trained_one_until_its_streams_meet(monkeypatch):
    model, ids = forgetless()
    asked = []
    real = report.record

    def recorded(*arguments, **options):
        asked.append(options.get("once", False))
        return real(*arguments, **options)

    monkeypatch.setattr(report, "record", recorded)
    report.find_cells(model, Vocabulary("chars", "abcdefgh "), Excerpt(ids, 0, 5_000))
    assert asked == [False, True]


def test_the_state_at_a_character_has_read_it():
    model, vocabulary = plant()
    text = make_text(6_000)
    quotes = {signal.name: signal for signal in find_signals(text)}["quotes"].values
    values = record(model, vocabulary.encode(text), 0, len(text), "tanh-c").values[0, 5].astype(float)
    after_first = np.flatnonzero(quotes)[0]
    np.testing.assert_array_equal(values[after_first:] < 0, quotes[after_first:])


def test_losses_are_those_of_an_evaluation_and_the_last_has_none(planted):
    model, _, _, ids, recording, _ = planted
    assert np.isnan(recording.loss_nats[-1])
    assert np.nanmean(recording.loss_nats) == pytest.approx(evaluate_stream(model, ids).loss_nats, abs=1e-5)
    inner = read_losses(model, ids, 100, 2_000)
    assert np.isfinite(inner).all()


def test_guesses_are_the_likeliest_characters_after_each(planted):
    model, _, _, ids, _, _ = planted
    guesses, p = read_guesses(model, ids, 0, 700)
    workspace = Workspace(model, 1, 700, training=False)
    logits = workspace.logits(ids[:700, None])[:, 0].astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.take_along_axis(expected, guesses, axis=1), p, atol=1e-5)
    assert (np.diff(p, axis=1) <= 0).all() and guesses[350, 0] == expected[350].argmax()


def test_fewer_symbols_than_guesses_leave_the_rest_at_zero():
    model = Model.initialise(ModelConfig("gru", 3, 4, 1), 1)
    guesses, p = read_guesses(model, np.array([0, 1, 2] * 5, np.uint8), 0, 15)
    assert guesses.shape == p.shape == (15, 5) and not p[:, 3:].any()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)


def test_a_held_unit_changes_the_losses_as_a_workspace_with_it_held(planted):
    model, _, _, ids, _, _ = planted
    clamp = clamp_at(model.config, 0, 5, 0.5, "i")
    assert clamp.quantity == "tanh-c"  # a gate cannot be held
    workspace = Workspace(model, 1, 900, training=False)
    workspace.set_clamps([clamp])
    expected = workspace.losses(ids[:900, None], ids[1:901, None])[:, 0]
    np.testing.assert_allclose(read_losses(model, ids, 0, 900, [clamp]), expected, atol=1e-6)
    assert np.abs(expected - read_losses(model, ids, 0, 900)).max() > 1e-4


@pytest.mark.parametrize("text", ["", "1", "a:b", "0:", "0:99", "3:0", "-1:0", "0:1:2"])
def test_a_unit_is_written_layer_colon_unit(text):
    config = ModelConfig("lstm", 5, 8, 2)
    assert parse_unit("1:7", config) == (1, 7)
    with pytest.raises(ConfigError, match="layer:unit|LAYER:UNIT"):
        parse_unit(text, config)


# ---- ablation, gates, passages ---------------------------------------------------------------------------------------


def test_regions_are_disjoint_and_the_switch_begins_with_its_prediction():
    on = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    masks = regions(on, ON_OFF)
    #                                     the 4th character predicts the switch; it and 2 more follow
    assert ["".join(map(str, mask.astype(int))) for mask in masks] == [
        "000000011000000",
        "111000000000011",
        "000111100111100",
    ]
    saw = np.tile(np.arange(10, dtype=np.float32), 6)
    high, low, switch = regions(saw, GRADED)
    assert not (high & low | high & switch | low & switch).any()
    assert switch[9] and switch[10] and not switch[5] and high[8] and low[13]
    steps = np.repeat(np.float32([0, 1, 2, 1]), 25)
    assert regions(steps, GRADED)[2].sum() == 3 * 4


def test_gate_saturation_counts_what_a_continuous_reading_shows(planted):
    model, _, _, ids, _, _ = planted
    saturation = gate_saturation(model, ids, 0, 3_000)
    workspace = Workspace(model, 1, 3_000, training=False)
    workspace.losses(ids[:3_000, None], ids[1:3_001, None])
    assert set(saturation) == {"i", "f", "o"}
    for gate, shares in saturation.items():
        values = workspace.states(gate)[:, :, 0]
        np.testing.assert_allclose(shares[..., 0], (values < 0.1).mean(axis=1), atol=2e-3)
        np.testing.assert_allclose(shares[..., 1], (values > 0.9).mean(axis=1), atol=2e-3)
    assert saturation["o"][0, 5, 1] == 1 and saturation["f"][0, 5, 0] > 0.01 and saturation["i"][0, 11, 1] > 0.9
    with pytest.raises(ConfigError, match="lstm or gru"):
        gate_saturation(Model.initialise(ModelConfig("rnn", 31, 4, 1), 1), ids, 0, 100)


def test_bytes_of_one_character_have_what_holds_when_it_is_read():
    vocabulary = Vocabulary("bytes", range(256))
    text, symbols, lengths = read_symbols(vocabulary, np.frombuffer("aé€".encode() + b"\xff\xc3" + b"b", np.uint8))
    assert symbols == ["a", "", "é", "", "", "€", "\ufffd", "\ufffd", "b"]
    assert lengths.tolist() == [1, 2, 3, 1, 1, 1] and len(text) == 6
    for encoding, shown in (
        ("latin-1", ["a", *"Ã©â", "\x82", *"¬ÿÃb"]),
        ("utf-16-le", ["", "\uc361", "", "\ue2a9", "", "\uac82", "", "\uc3ff", "\ufffd"]),
    ):
        text, symbols, lengths = read_symbols(
            vocabulary, np.frombuffer("aé€".encode() + b"\xff\xc3b", np.uint8), encoding
        )
        assert symbols == shown and lengths.sum() == 9 and len(text) == len(lengths)
    chars = Vocabulary("chars", "ab")
    assert read_symbols(chars, [0, 1, 0])[1:2] == (["a", "b", "a"],)


def test_a_passage_begins_with_a_line_shows_the_signal_and_lies_where_it_may():
    text = list("0123456789\n" * 200)
    on = np.zeros(len(text), bool)
    on[1_320:1_340] = on[1_350:1_360] = True
    allowed = np.ones(len(text), bool)
    signal = Signal("x", "x", ON_OFF, on)
    start, stop = choose_passage(text, signal, allowed, 60)
    assert stop - start == 55 and text[start - 1] == text[stop - 1] == "\n" and on[start:stop].sum() == 30
    allowed[1_300:1_370] = False
    start, stop = choose_passage(text, signal, allowed, 60)
    assert allowed[start:stop].all()
    assert choose_passage(list("ab"), None, np.ones(2, bool), 400) == (0, 2)


@pytest.mark.parametrize(
    "text, before, begin",
    [
        ("ing on\nA line", "", 0),
        ("A line\n", "\n", 0),
        ("ing on\n\n  A line", "d", 8),
        ("ing on", "d", 4),
        ("\r\nA line", "d", 2),
        ("ing " + "on " * 200 + "\nA line", "d", 4),
        ("endlessly", "d", 0),
        ("d\n", "d", 0),
    ],
)
def test_a_page_begins_with_a_whole_line_or_word(text, before, begin):
    assert first_whole(list(text), before) == begin


@pytest.mark.parametrize(
    "text, length, expected",
    [
        ("ord one\n\n  two three\nfour five six\n\nseven\n" * 3, 30, "  two three\nfour five six\n"),
        ("ord one two three four five six seven eight nine ten " * 50, 32, "one two three four five six "),
        ("x" * 500, 30, "x" * 30),
        ("ord one two", 400, "ord one two"),
    ],
)
def test_a_passage_is_of_whole_lines_or_of_whole_words(text, length, expected):
    start, stop = choose_passage(list(text), None, np.ones(len(text), bool), length)
    assert text[start:stop] == expected


def test_values_become_colours_between_minus_one_and_one():
    np.testing.assert_allclose(shown_values([0, 0.5, 1], "f")[0], [-1, 0, 1])
    np.testing.assert_allclose(shown_values([-3, 0, 6], "c")[0][:2], [-0.5, 0], atol=0.01)
    values, factor = shown_values([0.1, -0.05], "h")
    assert factor == pytest.approx(10, rel=0.01) and values[1] == pytest.approx(-0.5, rel=0.01)
    assert shown_values([0.9, -1.0], "tanh-c")[1] == 1
