"""The sampler: the choice of one character, the random numbers behind it, stop sequences, and whole generations.

Logic is tested on a small fake model in plain NumPy, without kernels; the tests at the end use a real one.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.errors import CharRNNError, ConfigError, DivergenceError, VocabularyError
from charrnn.kernels.splitmix import splitmix64
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling.sampler import Sampler, Settings, choose, surprisal, uniforms
from charrnn.sampling.stops import StopMatcher
from charrnn.spec import ModelConfig

V, H, L = 7, 5, 1
PLAIN = Settings()


class FakeModel:
    config = SimpleNamespace(vocab_size=V)


class FakeWorkspace:
    """A tanh network whose rows are computed one by one, so that a stream's bits cannot depend on the batch."""

    calls = []

    def __init__(self, model, batch_size, seq_length, training=True):
        assert training is False
        rng = np.random.default_rng(5)
        self.E, self.W, self.O = rng.normal(size=(V, H)), rng.normal(size=(H, H)), 2 * rng.normal(size=(H, V))
        self.batch_size, self.seq_length = batch_size, seq_length
        self.h = None

    def reset_carry(self):
        self.h = np.zeros((L, self.batch_size, H))

    def get_carry(self):
        return {"h": self.h.copy()}

    def set_carry(self, carry):
        assert carry["h"].shape == (L, self.batch_size, H)
        self.h = carry["h"].copy()

    def logits(self, x):
        assert x.dtype == np.int32 and x.shape[1] == self.batch_size and 1 <= len(x) <= self.seq_length
        type(self).calls.append(x.shape)
        out = np.empty((*x.shape, V))
        for t, b in np.ndindex(*x.shape):
            self.h[0, b] = np.tanh(self.E[x[t, b]] + (self.h[0, b, :, None] * self.W).sum(axis=0))
            out[t, b] = (self.h[0, b, :, None] * self.O).sum(axis=0)
        return out


def fake_sampler(settings=PLAIN, **kwargs):
    return Sampler(FakeModel(), settings, make_workspace=FakeWorkspace, **kwargs)


def run(sampler, length, stop=(), **kwargs):
    """Return [(ids, reason)] a stream."""
    ids = [[] for _ in range(sampler.num_samples)]
    reasons = [None] * sampler.num_samples
    for block in sampler.generate(length, stop, **kwargs):
        for j in range(sampler.num_samples):
            assert reasons[j] is None or not len(block.ids[j])
            ids[j] += block.ids[j].tolist()
            reasons[j] = reasons[j] or block.finished[j]
    return list(zip(ids, reasons))


def generated(length=60, stop=(), prime=(1, 2), settings=PLAIN, **kwargs):
    sampler = fake_sampler(settings, **kwargs)
    sampler.prime(prime)
    return run(sampler, length, stop)


def one_row(probabilities):
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.array([probabilities], dtype=np.float64)), -1e4)


def possible(logits, settings):
    """Return the ids that any draw can give, and the width of the draws that give each."""
    draws = (np.arange(10_000) + 0.5) / 10_000
    ids = choose(np.repeat(logits, len(draws), axis=0), settings, draws)
    return {int(i): (ids == i).mean() for i in np.unique(ids)}


# ---- the choice of one character --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_choices_follow_the_softmax_by_chi_square(temperature):
    logits = np.random.default_rng(3).normal(size=V) * 2
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    n = 200_000
    ids = choose(np.tile(logits, (n, 1)), Settings(temperature), uniforms(11, [0], np.arange(n))[:, 0])
    counts = np.bincount(ids, minlength=V)
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum()
    assert chi_square < 22.46  # the 99.9 % point of chi-square with V - 1 = 6 degrees of freedom


def test_a_float32_and_a_float64_model_are_chosen_from_in_float64():
    logits = np.random.default_rng(3).normal(size=(50, V)).astype(np.float32)
    draws = uniforms(1, np.arange(50), [0])[0]
    ids = choose(logits, Settings(), draws)
    assert ids.dtype == np.int32
    assert (ids == choose(logits.astype(np.float64), Settings(), draws)).all()


def test_temperature_zero_takes_the_likeliest_and_of_equals_the_lowest_id():
    logits = np.array([[0, 3, 1, 3], [5, 5, 5, 5], [-9, -8, -7, -7]], dtype=np.float32)
    assert choose(logits, Settings(temperature=0), np.array([0.99, 0.99, 0.99])).tolist() == [1, 0, 2]


def test_the_smallest_temperature_is_greedy_and_the_largest_uniform():
    logits = np.array([[1.0, 2.0, 3.0, 0.0]])
    assert possible(logits, Settings(temperature=5e-324)) == {2: 1.0}
    assert possible(logits, Settings(temperature=1e308)) == pytest.approx({0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25})


def test_huge_logits_do_not_overflow():
    assert possible(np.array([[1e308, -1e308, 1e308]]), Settings()) == {0: 0.5, 2: 0.5}


def test_top_k_keeps_k_and_of_equals_the_lowest_ids():
    logits = one_row([0.1, 0.3, 0.3, 0.3])
    assert possible(logits, Settings(top_k=2)) == {1: 0.5, 2: 0.5}
    assert possible(logits, Settings(top_k=1)) == {1: 1.0}


def test_top_k_of_the_vocabulary_or_more_keeps_everything():
    logits = np.random.default_rng(3).normal(size=(1, V))
    assert (
        possible(logits, Settings(top_k=V)) == possible(logits, Settings(top_k=V + 1)) == possible(logits, Settings())
    )


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1e-9, {1}), (0.49, {1}), (0.5, {1}), (0.51, {1, 3}), (0.75, {1, 3}), (0.76, {0, 1, 3}), (1.0, {0, 1, 2, 3})],
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, kept):
    logits = np.log(np.array([[0.125, 0.5, 0.125, 0.25]]))
    assert set(possible(logits, Settings(top_p=top_p))) == kept


def test_top_p_works_after_temperature_and_on_what_top_k_left():
    logits = one_row([0.4, 0.3, 0.2, 0.1])
    assert set(possible(logits, Settings(top_p=0.5))) == {0, 1}
    assert set(possible(logits, Settings(top_p=0.5, top_k=2))) == {0}  # 0.4 of the 0.7 left reaches half
    assert set(possible(logits, Settings(top_p=0.5, temperature=0.1))) == {0}
    assert set(possible(logits, Settings(top_p=0.5, temperature=10.0))) == {0, 1}


def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest():
    logits = np.log(np.array([[0.5, 0.26, 0.24]]))
    assert set(possible(logits, Settings(min_p=0.5))) == {0, 1}
    assert set(possible(logits, Settings(min_p=1.0))) == {0}
    assert possible(logits, Settings(min_p=0.0)) == possible(logits, Settings())


def test_filtered_probabilities_keep_their_proportions():
    assert possible(one_row([0.1, 0.6, 0.1, 0.2]), Settings(top_k=2)) == pytest.approx({1: 0.75, 3: 0.25}, abs=2e-4)


@pytest.mark.parametrize("settings", [Settings(), Settings(top_k=2), Settings(top_p=0.9), Settings(min_p=0.01)])
def test_a_character_of_probability_zero_is_never_chosen_at_either_end_of_the_draws(settings):
    logits = np.array([[-1e4, 0.0, -1e4, 0.3, -1e4]])
    assert choose(logits, settings, np.array([0.0])).tolist() == [1]
    assert choose(logits, settings, np.array([1 - 2.0**-53])).tolist() == [3]


def test_the_largest_draw_stays_inside_any_vocabulary():
    rng = np.random.default_rng(0)
    for size in (1, 2, 65, 1000):
        ids = choose(rng.normal(size=(200, size)) * 3, Settings(), np.full(200, 1 - 2.0**-53))
        assert ids.max() < size


def test_a_vocabulary_of_one_symbol_gives_that_symbol():
    for settings in (Settings(), Settings(0), Settings(top_k=1, top_p=0.1, min_p=1)):
        assert choose(np.zeros((3, 1)), settings, np.array([0, 0.5, 0.9])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_logit_that_is_not_finite_is_one_clear_error(bad, temperature):
    logits = np.zeros((2, V))
    logits[1, 3] = bad
    with pytest.raises(DivergenceError, match="output is not finite, .*; use an earlier checkpoint$"):
        choose(logits, Settings(temperature), np.zeros(2))


def test_choose_leaves_its_arguments_as_they_were():
    logits = np.random.default_rng(3).normal(size=(4, V))
    before = logits.copy()
    choose(logits, Settings(0.7, top_k=3, top_p=0.8, min_p=0.1), np.full(4, 0.5))
    assert (logits == before).all()


def test_a_distribution_is_the_softmax_at_each_temperature_and_draws_nothing():
    model = Model.initialise(ModelConfig("lstm", 7, 5, 2), 3)
    logits = Workspace(model, 1, 4, training=False).logits(np.array([[1], [2], [5], [3]]))[-1, 0].astype(np.float64)
    for clamps in ((), (Clamp(0, 1, 0.0),)):
        sampler, untouched = (Sampler(model, seed=1, num_samples=2, clamps=clamps) for _ in range(2))
        for each in (sampler, untouched):
            each.prime([1, 2, 5, 3])
        rows = sampler.distribution((0.5, 1, 2))
        assert rows.shape == (3, 7) and rows.sum(axis=1) == pytest.approx(1)
        if not clamps:
            expected = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
            np.testing.assert_allclose(rows[0], expected, rtol=1e-5)
        one, other = (np.concatenate([block.ids[0] for block in each.generate(9)]) for each in (sampler, untouched))
        assert np.array_equal(one, other)
    assert Sampler(model).distribution((1.0,)) == pytest.approx(np.full((1, 7), 1 / 7))
    model.flat[:] = np.nan
    broken = Sampler(model)
    broken.prime([1])
    with pytest.raises(DivergenceError):
        broken.distribution((1.0,))


def test_surprisal_is_the_cross_entropy_in_nats():
    logits = one_row([0.5, 0.3, 0.2])
    assert surprisal(logits, [1]) == pytest.approx([-np.log(0.3)])
    assert surprisal(np.array([[1e4, 0.0]]), [1]) == pytest.approx([1e4])


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("temperature", np.nan), ("temperature", np.inf), ("top_k", 0), ("top_k", -3),
     ("top_p", 0), ("top_p", 1.01), ("top_p", -1), ("top_p", np.nan),
     ("min_p", -0.1), ("min_p", 1.5), ("min_p", np.nan)],
)  # fmt: skip
def test_a_nonsense_setting_is_refused_with_its_name_and_value(field, value):
    with pytest.raises(ConfigError, match=field.replace("_", "[-_]")) as caught:
        Settings(**{field: value})
    assert f"{value:g}" in str(caught.value)


# ---- random numbers ---------------------------------------------------------------------------------------------


def test_splitmix64_gives_the_published_numbers():
    # The first five outputs for seed 1234567, as in the test vectors of the reference implementation.
    assert splitmix64(1234567, np.arange(5)).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_the_draws_are_the_documented_ones():
    key = splitmix64(splitmix64(42, 3), 1000)
    assert uniforms(42, [3], [1000]).tolist() == [[int(key >> np.uint64(11)) / 2**53]]


def test_the_draws_are_uniform_and_differ_between_seeds_streams_and_positions():
    draws = uniforms(0, np.arange(20), np.arange(5000))
    assert draws.shape == (5000, 20) and draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, bins=50, range=(0, 1))[0]
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert chi_square < 85.35  # the 99.9 % point of chi-square with 49 degrees of freedom
    assert len(np.unique(draws)) == draws.size
    assert abs(np.corrcoef(draws.T) - np.eye(20)).max() < 0.06  # 4 standard deviations of 1/sqrt(5000)
    assert not np.isin(uniforms(1, np.arange(20), np.arange(5000)), draws).any()


def test_the_largest_seed_and_position_work():
    assert 0 <= uniforms(2**64 - 1, [2**20], [2**62])[0, 0] < 1


# ---- stop sequences ---------------------------------------------------------------------------------------------


def naive_stop(text, stops):
    """Return (text before the first stop, ids read), the longest of those that end first; or None."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - len(max(ending, key=len))], end
    return None


def test_the_matcher_agrees_with_a_naive_search_on_random_texts():
    rng = np.random.default_rng(8)
    for _ in range(500):
        stops = ["".join(rng.choice(list("ab"), size=rng.integers(1, 6))) for _ in range(rng.integers(1, 5))]
        text = "".join(rng.choice(list("abc"), size=30, p=[0.45, 0.45, 0.1]))
        matcher = StopMatcher([list(map(ord, stop)) for stop in stops])
        state, read, stopped = matcher.run(0, list(map(ord, text)))
        expected = naive_stop(text, stops)
        assert stopped == (expected is not None), (text, stops)
        if stopped:
            assert (text[: read - matcher.match[state]], read) == expected, (text, stops)
        else:
            held = text[len(text) - matcher.depth[state] :]
            assert any(stop.startswith(held) for stop in stops)


def test_a_stop_sequence_ends_the_text_and_is_left_out():
    [(whole, _)] = generated(60)
    stop = whole[20:23]
    at = next(i for i in range(60) if whole[i : i + 3] == stop)
    assert generated(60, [stop]) == [(whole[:at], "stop")]


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 60, 1000])
def test_a_stop_sequence_may_span_blocks_of_any_size(block_size):
    [(whole, _)] = generated(60)
    for length in (1, 2, 4, 7):
        stop = whole[30 : 30 + length]
        at = next(i for i in range(60) if whole[i : i + length] == stop)
        sampler = fake_sampler()
        sampler.prime([1, 2])
        assert run(sampler, 60, [stop, [0] * 50], block_size=block_size) == [(whole[:at], "stop")]


def test_ids_are_held_back_only_while_they_may_become_a_stop():
    [(whole, _)] = generated(60)
    sampler = fake_sampler()
    sampler.prime([1, 2])
    yielded = 0
    for n, block in enumerate(sampler.generate(60, [[whole[3], whole[4], V + 1]], block_size=1), start=1):
        yielded += len(block.ids[0])
        if not block.finished[0]:
            ends = whole[:n][-1:] == [whole[3]] or whole[:n][-2:] == whole[3:5]
            assert (yielded < n) == ends
    assert yielded == 60


def test_a_stop_that_is_only_begun_when_the_length_is_reached_stays_in_the_text():
    [(whole, _)] = generated(60)
    assert generated(60, [[*whole[-2:], V + 1]]) == [(whole, "length")]


def test_a_stop_completed_by_the_last_character_is_a_stop():
    [(whole, _)] = generated(60)
    at = next(n for n in range(1, 61) if whole[n - 3 : n] not in [whole[i : i + 3] for i in range(n - 3)] and n > 20)
    assert generated(at, [whole[at - 3 : at]]) == [(whole[: at - 3], "stop")]


def test_a_stop_does_not_begin_in_the_prime():
    [(whole, _)] = generated(60, prime=(1, 2))
    [(text, _)] = generated(60, [[2, whole[0]]], prime=(1, 2))
    assert text[:1] == whole[:1]


def test_a_finished_stream_stops_while_the_others_go_on():
    whole = [ids for ids, _ in generated(60, num_samples=3)]
    stop = whole[1][5:8]
    results = generated(60, [stop], num_samples=3)
    for (ids, reason), full in zip(results, whole):
        at = next((i for i in range(58) if full[i : i + 3] == stop), None)
        assert (ids, reason) == ((full, "length") if at is None else (full[:at], "stop"))
    assert results[1][1] == "stop"
    assert len({len(ids) for ids, _ in results}) > 1


def test_generation_ends_when_every_stream_has_stopped():
    FakeWorkspace.calls = []
    generated(10_000, [[i] for i in range(V)], num_samples=3)
    assert len(FakeWorkspace.calls) < 200


# ---- whole generations ------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_ids_and_another_seed_others():
    assert generated(seed=4) == generated(seed=4)
    assert generated(seed=4) != generated(seed=5)


def test_a_stream_does_not_depend_on_how_many_streams_there_are():
    five = generated(num_samples=5, seed=2)
    assert generated(num_samples=1, seed=2) == five[:1]
    assert generated(num_samples=3, seed=2) == five[:3]
    assert len({tuple(ids) for ids, _ in five}) == 5


@pytest.mark.parametrize("block_size", [1, 7, 60, 61])
def test_the_size_of_blocks_has_no_effect(block_size):
    sampler = fake_sampler(num_samples=2)
    sampler.prime([1, 2])
    assert run(sampler, 60, block_size=block_size) == generated(60, num_samples=2)


def test_every_block_but_the_last_has_the_block_size_and_the_length_is_exact():
    sampler = fake_sampler()
    sampler.prime([3])
    blocks = list(sampler.generate(10, block_size=4))
    assert [len(block.ids[0]) for block in blocks] == [4, 4, 2]
    assert [block.finished for block in blocks] == [(None,), (None,), ("length",)]


def test_two_generations_in_a_row_equal_one_long_one():
    sampler = fake_sampler(num_samples=2)
    sampler.prime([3, 1])
    first, second = run(sampler, 25), run(sampler, 35)
    assert [a + b for (a, _), (b, _) in zip(first, second)] == [
        ids for ids, _ in generated(60, prime=[3, 1], num_samples=2)
    ]


def test_greedy_generation_is_the_argmax_of_every_step():
    workspace = FakeWorkspace(FakeModel(), 1, 1, training=False)
    workspace.reset_carry()
    expected, symbol = [], 2
    for _ in range(30):
        symbol = int(workspace.logits(np.array([[symbol]], dtype=np.int32)).argmax())
        expected.append(symbol)
    assert generated(30, prime=[2], settings=Settings(0), seed=1, num_samples=2) == [(expected, "length")] * 2


@pytest.mark.parametrize("length", [1, 2, 128, 129, 130, 300])
def test_a_primed_generation_equals_the_continuation_from_the_same_carry(length):
    prime = np.random.default_rng(length).integers(0, V, size=length)
    workspace = FakeWorkspace(FakeModel(), 1, 300, training=False)
    workspace.reset_carry()
    if length > 1:
        workspace.logits(prime[:-1, None].astype(np.int32))
    sampler = fake_sampler(num_samples=2)
    sampler.prime(prime[-1:], carry=workspace.get_carry())
    assert run(sampler, 40) == generated(40, prime=prime, num_samples=2)


def test_priming_is_one_chunked_pass_over_one_stream():
    FakeWorkspace.calls = []
    fake_sampler(num_samples=4).prime(np.zeros(300, dtype=np.uint8))
    assert FakeWorkspace.calls == [(128, 1), (128, 1), (43, 1)]


def test_priming_anew_forgets_what_was_generated():
    sampler = fake_sampler()
    sampler.prime([1, 2])
    first = run(sampler, 20)
    sampler.prime([1, 2])
    assert run(sampler, 20) == first


def test_without_a_prime_the_first_character_is_uniform_and_the_filters_wait_for_the_model():
    for settings in (Settings(), Settings(top_k=1, top_p=0.01, min_p=1.0)):
        sampler = fake_sampler(settings, num_samples=700)
        [block] = sampler.generate(1, with_losses=True)
        counts = np.bincount([ids[0] for ids in block.ids], minlength=V)
        assert ((counts - 100) ** 2 / 100).sum() < 22.46  # chi-square, 6 degrees of freedom, 99.9 %
        assert block.loss_nats == pytest.approx(np.log(V))


def test_without_a_prime_greedy_begins_at_id_0_and_goes_on_as_if_primed_with_it():
    [(ids, _)] = generated(20, prime=(), settings=Settings(0))
    assert ids == [0] + generated(19, prime=[0], settings=Settings(0))[0][0]


def test_the_loss_is_that_of_the_drawn_characters_under_the_model_whatever_the_settings():
    sampler = fake_sampler(Settings(0.6, top_k=3), num_samples=2)
    sampler.prime([3])
    blocks = list(sampler.generate(50, with_losses=True, block_size=8))
    for j in range(2):
        ids = np.concatenate([block.ids[j] for block in blocks])
        workspace = FakeWorkspace(FakeModel(), 1, 50, training=False)
        workspace.reset_carry()
        logits = workspace.logits(np.concatenate([[3], ids[:-1]]).astype(np.int32)[:, None])[:, 0]
        assert sum(block.loss_nats[j] for block in blocks) == pytest.approx(surprisal(logits, ids).sum(), rel=1e-12)
    assert all(block.loss_nats is None for block in sampler.generate(5))


def test_the_loss_and_the_count_include_the_stop_and_nothing_after_it():
    [(whole, _)] = generated(60)
    at = next(i for i in range(60) if whole[i : i + 3] == whole[20:23])
    sampler = fake_sampler()
    sampler.prime([1, 2])
    blocks = list(sampler.generate(60, [whole[20:23]], with_losses=True))
    assert sum(block.drawn[0] for block in blocks) == at + 3
    sampler.prime([1, 2])
    [block] = sampler.generate(at + 3, with_losses=True, block_size=100)
    assert sum(b.loss_nats[0] for b in blocks) == pytest.approx(block.loss_nats[0], rel=1e-12)


def test_a_model_that_has_diverged_is_one_clear_error():
    class Diverged(FakeWorkspace):
        def logits(self, x):
            return np.full((*x.shape, V), np.nan)

    sampler = Sampler(FakeModel(), make_workspace=Diverged)
    sampler.prime([1])
    with pytest.raises(CharRNNError, match="earlier checkpoint"):
        list(sampler.generate(5))


@pytest.mark.parametrize("arguments", [{"num_samples": 0}, {"seed": -1}, {"seed": 2**64}])
def test_a_nonsense_sampler_is_refused(arguments):
    with pytest.raises(ConfigError):
        fake_sampler(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"length": 0}, {"length": -1}, {"length": 5, "block_size": 0}, {"length": 5, "stop": [[]]}]
)
def test_a_nonsense_generation_is_refused_before_anything_is_drawn(arguments):
    sampler = fake_sampler()
    with pytest.raises(ConfigError):
        sampler.generate(**arguments)


@pytest.mark.parametrize("ids", [[0, V], [-1]])
def test_a_priming_id_outside_the_vocabulary_is_refused_with_its_offset(ids):
    with pytest.raises(VocabularyError, match=f"id {ids[-1]} at offset {len(ids) - 1}"):
        fake_sampler().prime(ids)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length():
    class Cheap(FakeWorkspace):
        def logits(self, x):
            return np.zeros((*x.shape, V))

    def peak_bytes(length):
        sampler = Sampler(FakeModel(), make_workspace=Cheap)
        sampler.prime([1])
        tracemalloc.start()
        for _ in sampler.generate(length, [[0] * 30], with_losses=True):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(100)  # what is allocated once
    assert peak_bytes(20_000) < peak_bytes(1_000) + 2_000


# ---- a real model -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    from charrnn.model.parameters import Model
    from charrnn.spec import ModelConfig

    return Model.initialise(ModelConfig("lstm", vocab_size=V, hidden_size=5, num_layers=2), seed=3)


def real(model, length, prime, **kwargs):
    sampler = Sampler(model, **kwargs)
    sampler.prime(prime)
    return [ids for ids, _ in run(sampler, length)]


def test_a_real_models_stream_does_not_depend_on_how_many_streams_there_are(model):
    thirty = real(model, 300, [1, 2, 3], num_samples=30, seed=6)
    for count in (1, 2, 7):
        assert real(model, 300, [1, 2, 3], num_samples=count, seed=6) == thirty[:count]


def test_a_real_models_text_does_not_depend_on_the_number_of_threads(model):
    from charrnn.kernels.threads import num_threads, set_num_threads

    before = num_threads()
    try:
        set_num_threads(1)
        one = real(model, 200, [1, 2, 3], num_samples=5)
        set_num_threads(2)
        assert real(model, 200, [1, 2, 3], num_samples=5) == one
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("clamps", [(), (Clamp(0, 1, 0.5),)])
def test_what_follows_a_prompt_does_not_depend_on_the_prompts_beside_it(model, clamps):
    """Nor does it on where a stream stands: number 3 draws the same wherever it is."""
    rng = np.random.default_rng(2)
    prompts = [rng.integers(0, model.config.vocab_size, n) for n in (1, 2, 7, 130, 7, 300, 1, 129)]
    streams = [0, 1, 2, 0, 3, 0, 5, 3]
    together = Sampler(model, Settings(0.9), seed=4, num_samples=8, clamps=clamps, streams=streams)
    together.prime_each(prompts)
    for prompt, stream, found in zip(prompts, streams, run(together, 90)):
        alone = Sampler(model, Settings(0.9), seed=4, num_samples=1, clamps=clamps, streams=[stream])
        alone.prime(prompt)
        assert run(alone, 90) == [found]


def test_a_text_that_is_read_again_continues_as_if_it_had_not_stopped(model):
    whole, again = (Sampler(model, Settings(0.9), seed=4) for _ in range(2))
    whole.prime([1, 2])
    [(ids, _)] = run(whole, 90)
    again.prime([1, 2, *ids[:40]], position=40)
    assert run(again, 50) == [(ids[40:], "length")]


def test_prompts_that_do_not_fit_are_refused(model):
    for prompts, words in (
        ([[1]], "2 prompts"),
        ([[1], []], "none of them may be empty"),
        ([[1], [10_000]], "outside"),
    ):
        with pytest.raises((ConfigError, VocabularyError), match=words):
            Sampler(model, PLAIN, num_samples=2).prime_each(prompts)
    with pytest.raises(ConfigError, match="streams must be 2 numbers"):
        Sampler(model, PLAIN, num_samples=2, streams=[1])


@pytest.mark.parametrize("length", [2, 128, 129, 300])
def test_a_real_models_primed_generation_equals_the_continuation_from_the_same_carry(model, length):
    from charrnn.model.workspace import Workspace

    prime = np.random.default_rng(length).integers(0, V, size=length)
    workspace = Workspace(model, 1, length, training=False)
    workspace.reset_carry()
    workspace.logits(prime[:-1, None].astype(np.int32))
    sampler = Sampler(model, num_samples=2)
    sampler.prime(prime[-1:], carry=workspace.get_carry())
    assert [ids for ids, _ in run(sampler, 100)] == real(model, 100, prime, num_samples=2)


def test_a_real_models_losses_are_those_of_its_evaluation(model):
    from charrnn.model.workspace import Workspace

    sampler = Sampler(model, Settings(0.5), seed=9)
    sampler.prime([4])
    blocks = list(sampler.generate(100, with_losses=True))
    ids = np.concatenate([[4], *(block.ids[0] for block in blocks)]).astype(np.int32)[:, None]
    workspace = Workspace(model, 1, 100, training=False)
    workspace.reset_carry()
    expected = workspace.losses(ids[:-1], ids[1:]).sum()
    assert sum(block.loss_nats[0] for block in blocks) == pytest.approx(expected, rel=1e-5)  # float32 logits
