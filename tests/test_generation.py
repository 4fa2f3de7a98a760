"""Compiled generation, held to the plain form: logits to Workspace's, ids to sampler.choose on those very logits.

The choice differs from NumPy's in the last bit of an exponential at most. That can turn an id only where a draw falls
within some 1e-15 of a boundary, so on millions of seeded draws the ids must be the same. The logits are sums in another
order than Workspace's; the tolerances are those of test_model.py.
"""

import numpy as np
import pytest

from charrnn.errors import ConfigError, DivergenceError
from charrnn.kernels.splitmix import splitmix64
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling import generation
from charrnn.sampling.generation import Generation
from charrnn.sampling.sampler import Sampler, Settings, choose, surprisal, uniforms
from charrnn.spec import CELLS, DTYPES, ModelConfig

TOLERANCE = {"float32": 1e-5, "float64": 2e-14}
B, N, H, V = 5, 6, 19, 17  # off every vector and tile
INPUTS = {"onehot": {}, "embedding": {"embedding_size": 4}, "tied": {"embedding_size": H, "tied": True}}
SETTINGS = [
    Settings(0.8), Settings(0), Settings(1.3, top_k=3), Settings(0.7, top_p=0.8), Settings(min_p=0.05),
    Settings(1.5, top_k=9, top_p=0.9, min_p=0.01), Settings(5e-324), Settings(1e308), Settings(top_k=1),
    Settings(top_p=1e-9), Settings(top_k=2**70),
]  # fmt: skip
SEED = 6


def make_model(cell="lstm", vocab_size=V, hidden_size=H, num_layers=2, dtype="float32", seed=1, scale=3, **options):
    """A model whose logits spread over some units."""
    model = Model.initialise(ModelConfig(cell, vocab_size, hidden_size, num_layers, dtype=dtype, **options), seed)
    model.set_parameters({name: value * scale for name, value in model.get_parameters().items()})
    return model


def make_generation(model, streams=B, **options):
    made = Generation(model, streams, **options)
    made.set_carry(None)
    return made


def draw(made, count=N, settings=SETTINGS[0], position=0, inputs=None):
    inputs = np.arange(made.streams) % made.model.config.vocab_size if inputs is None else inputs
    keys = splitmix64(np.uint64(SEED), np.arange(made.streams))
    return made.draw(inputs, count, keys, position, temperature=settings.temperature, top_k=settings.top_k,
                     top_p=settings.top_p, min_p=settings.min_p, with_losses=True, with_logits=True)  # fmt: skip


def assert_follow_the_rule(ids, logits, settings, position=0):
    draws = uniforms(SEED, np.arange(ids.shape[1]), np.arange(position, position + len(ids)))
    expected = np.array([choose(z, settings, u) for z, u in zip(logits, draws)])
    assert np.array_equal(ids, expected)


def assert_same(actual, expected):
    for a, b in zip(actual, expected):
        assert np.array_equal(a, b)


@pytest.mark.tile
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_logits_and_carry_equal_the_workspaces_and_ids_and_losses_follow_from_the_logits(cell, dtype, inputs):
    model = make_model(cell, dtype=dtype, **INPUTS[inputs])
    for streams in (1, B, 70):
        made = make_generation(model, streams)
        ids, losses, logits, finite = draw(made)
        assert finite and ids.dtype == np.int32 and len(np.unique(ids)) > 2
        workspace = Workspace(model, streams, N, training=False)
        expected = workspace.logits(np.concatenate([[np.arange(streams) % V], ids[:-1]]))
        bound = TOLERANCE[dtype] * max(1, np.abs(expected).max())
        np.testing.assert_allclose(logits, expected, rtol=0, atol=bound)
        for name, value in workspace.get_carry().items():
            np.testing.assert_allclose(made.get_carry()[name], value, rtol=0, atol=bound)
        assert_follow_the_rule(ids, logits, Settings(0.8))
        np.testing.assert_allclose(losses, [surprisal(z, i) for z, i in zip(logits, ids)], rtol=1e-13)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_chooses_as_the_plain_form_does(settings):
    made = make_generation(make_model(), 500)
    ids, _, logits, _ = draw(made, 20, settings)
    assert_follow_the_rule(ids, logits, settings)


@pytest.mark.slow
@pytest.mark.parametrize(("vocab_size", "blocks"), [(1, 1), (2, 1), (65, 32), (300, 1)])
def test_a_million_choices_are_those_of_the_plain_form(vocab_size, blocks):
    made = make_generation(make_model("rnn", vocab_size, 3, 1), 1 << 12)
    for n in range(blocks):
        for settings in (Settings(0.9), Settings(1.1, top_k=40, top_p=0.95, min_p=0.01))[: 1 + (n == 0)]:
            ids, _, logits, _ = draw(made, 8, settings, n << 40)
            assert_follow_the_rule(ids, logits, settings, n << 40)


def test_equal_logits_are_ranked_by_id():
    model = make_model(scale=0)
    for settings, possible in (
        (Settings(0), {0}),
        (Settings(top_k=3), {0, 1, 2}),
        (Settings(top_p=2.5 / V), {0, 1, 2}),
        (Settings(min_p=1.0), set(range(V))),
    ):
        ids, _, logits, _ = draw(make_generation(model, 200), 2, settings)
        assert set(ids.reshape(-1).tolist()) == possible
        assert_follow_the_rule(ids, logits, settings)


@pytest.mark.tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_streams_bits_do_not_depend_on_the_streams_beside_it(cell, dtype):
    model = make_model(cell, dtype=dtype)
    whole = draw(make_generation(model, 67))
    for streams in (1, 2, 9, 33):
        assert_same(draw(make_generation(model, streams))[:3], [array[:, :streams] for array in whole[:3]])


@pytest.mark.parametrize("streams", [1, 5, 40])
def test_the_bits_do_not_depend_on_the_number_of_workers(streams):
    """Five workers are more than the threads there are: some come late, and find everything done."""
    model = make_model(hidden_size=70)
    alone = make_generation(model, streams, workers=1)
    expected = draw(alone, 50)
    for workers in (2, 3, 5):
        made = make_generation(model, streams, workers=workers)
        assert_same(draw(made, 50), expected)
        assert_same(made.get_carry().values(), alone.get_carry().values())


def test_workers_that_come_one_after_the_other_do_not_wait_for_each_other(monkeypatch):
    model = make_model(hidden_size=70)
    expected = draw(make_generation(model, workers=1))
    run = generation.run_items
    monkeypatch.setattr(generation, "run_items", lambda *arguments: run(*arguments[:3], 1))
    assert_same(draw(make_generation(model, workers=4)), expected)


@pytest.mark.parametrize("inputs", INPUTS)
def test_blocks_of_any_size_equal_one_block(inputs):
    model = make_model(**INPUTS[inputs])
    whole = draw(make_generation(model), 12)[:3]
    made = make_generation(model)
    first = draw(made, 5)
    then = draw(made, 7, position=5, inputs=first[0][-1])
    assert_same([np.concatenate(parts) for parts in zip(first[:3], then[:3])], whole)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_reading_leaves_the_carry_that_drawing_the_same_leaves(cell, inputs):
    model = make_model(cell, **INPUTS[inputs])
    drawn, read = make_generation(model), make_generation(model)
    ids = draw(drawn, 9)[0]
    ids = np.concatenate([[np.arange(B)], ids[:-1]])
    read.read(ids[:4])
    read.read(ids[4:])
    assert_same(read.get_carry().values(), drawn.get_carry().values())


@pytest.mark.parametrize("streams", [1, 3, 40])
def test_the_carry_comes_back_as_it_was_set(streams):
    made = make_generation(make_model("lstm", dtype="float64"), streams)
    carry = {name: np.random.default_rng(i).normal(size=(2, streams, H)) for i, name in enumerate("hc")}
    made.set_carry(carry)
    assert_same(made.get_carry().values(), carry.values())
    one = {name: value[:, :1] for name, value in carry.items()}
    made.set_carry(one)
    assert_same(made.get_carry().values(), [np.repeat(value, streams, axis=1) for value in one.values()])
    made.set_carry(None)
    assert not any(value.any() for value in made.get_carry().values())


@pytest.mark.parametrize("options", [{}, {"embedding_size": 4}, {"zoneout": 0.2, "layer_norm": True}])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_that_begins_anew_draws_what_one_alone_does_and_no_other_notices(cell, options):
    """In 40 streams of two groups, between two blocks; as does one that reads its beginning among other ids."""
    model, streams = make_model(cell, **options), 40
    keys, inputs = splitmix64(np.uint64(SEED), np.arange(streams)), np.arange(streams) % V
    anew = np.arange(streams) % 3 == 1
    undisturbed = draw(make_generation(model, streams), 12)
    made = make_generation(model, streams)
    first = made.draw(inputs, 5, keys, 0, temperature=0.8, with_losses=True, with_logits=True)
    made.begin(anew)
    then = np.where(anew, inputs, first[0][-1])
    second = made.draw(then, 7, keys, np.where(anew, 0, 5), temperature=0.8, with_losses=True, with_logits=True)
    for found, whole in zip(second[:3], undisturbed[:3]):
        assert np.array_equal(found[:, anew], whole[:7, anew]) and np.array_equal(found[:, ~anew], whole[5:, ~anew])

    ids = np.concatenate([[inputs], undisturbed[0][:-1]])
    resets = np.random.default_rng(0).random(ids.shape) < 0.2
    made.set_carry({name: value * np.nan for name, value in made.get_carry().items()})
    resets[0] = True
    made.read(ids, resets)
    carry = made.get_carry()
    for j in range(streams):
        alone = make_generation(model, 1)
        alone.read(ids[np.flatnonzero(resets[:, j])[-1] :, j : j + 1])
        assert_same(alone.get_carry().values(), [value[:, j : j + 1] for value in carry.values()])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("settings", [Settings(), Settings(0), Settings(top_k=2)], ids=str)
def test_a_logit_that_is_not_finite_is_told_and_ends_a_generation(bad, settings):
    model = make_model()
    parameters = model.get_parameters()
    parameters["output.bias"][3] = bad
    model.set_parameters(parameters)
    assert not draw(make_generation(model), settings=settings)[3]
    sampler = Sampler(model, settings, num_samples=2)
    sampler.prime([1, 2])
    with pytest.raises(DivergenceError, match="earlier checkpoint"):
        list(sampler.generate(5))


def test_a_carry_of_nan_is_told_too():
    made = make_generation(make_model())
    made.set_carry({name: np.full((2, 1, H), np.nan, "f") for name in "hc"})
    assert not draw(made)[3]
    made.set_carry(None)
    assert_same(draw(made), draw(make_generation(make_model())))


@pytest.mark.parametrize("cell", CELLS)
def test_the_compiled_sampler_draws_what_the_plain_one_does(cell):
    """In float64, where the two orders of sums differ by too little to turn any of these draws."""
    texts = []
    for make_workspace in (None, Workspace):
        sampler = Sampler(
            make_model(cell, dtype="float64"),
            Settings(0.9, top_p=0.95),
            seed=3,
            num_samples=3,
            make_workspace=make_workspace,
        )
        sampler.prime([4, 1, 5])
        texts.append(
            [np.concatenate(pieces) for pieces in zip(*(block.ids for block in sampler.generate(200, block_size=30)))]
        )
    assert_same(*texts)


def test_without_a_prime_the_compiled_sampler_goes_on_from_its_first_character():
    sampler = Sampler(make_model(), seed=3, num_samples=2)
    whole = [block.ids for block in sampler.generate(10, with_losses=True)]
    other = Sampler(make_model(), seed=3, num_samples=2)
    parts = [block.ids for block in other.generate(10, block_size=1, with_losses=True)]
    for j in range(2):
        assert np.array_equal(np.concatenate([ids[j] for ids in whole]), np.concatenate([ids[j] for ids in parts]))


@pytest.mark.parametrize(
    ("inputs", "count", "keys", "named"),
    [([0, V], 3, [0, 0], f"ids must be in 0..{V - 1}"), ([-1, 0], 3, [0, 0], "ids must be"), ([0], 3, [0, 0], "shape"),
     ([0, 0], 3, [0], "shape"), ([0, 0], 0, [0, 0], "at least 1")],
)  # fmt: skip
def test_nonsense_is_refused(inputs, count, keys, named):
    made = make_generation(make_model(), 2)
    with pytest.raises(ConfigError, match=named):
        made.draw(np.array(inputs), count, np.array(keys, np.uint64), 0)


def test_a_wrong_carry_and_wrong_ids_are_refused():
    made = make_generation(make_model(), 2)
    for carry in ({"h": np.zeros((2, 2, H))}, {"h": np.zeros((2, 3, H)), "c": np.zeros((2, 2, H))}):
        with pytest.raises(ConfigError, match="carry"):
            made.set_carry(carry)
    with pytest.raises(ConfigError, match="streams must be bool"):
        made.begin(np.ones(3, bool))
    with pytest.raises(ConfigError, match="resets must be bool"):
        made.read(np.zeros((3, 2), int), np.zeros((3, 1), bool))
    for ids in (np.zeros((3, 1)), np.zeros((0, 2)), np.full((3, 2), V)):
        with pytest.raises(ConfigError, match="ids"):
            made.read(ids)
    with pytest.raises(ConfigError, match="streams"):
        Generation(make_model(), 0)


# ---- how many workers -------------------------------------------------------------------------------------------


def test_a_small_step_is_one_workers_and_a_large_one_is_shared():
    def workers(hidden_size, streams, threads):
        return Generation(Model(ModelConfig("lstm", 65, hidden_size, 2)), streams).count_workers(threads)

    assert workers(16, 1, 8) == 1
    assert workers(128, 1, 1) == 1
    assert workers(128, 1, 2) == 2
    assert workers(16, 500, 2) == 2


@pytest.mark.parametrize("ids", [[[2**32 + 3]], [[-(2**32) + 1]], [[-1]], [[5]]])
def test_ids_that_are_not_the_models_are_refused_before_they_are_cut_to_32_bits(ids):
    generation = Generation(Model.initialise(ModelConfig("rnn", 5, 8, 1), 0), 1)
    with pytest.raises(ConfigError, match="ids must be in 0..4"):
        generation.read(np.array(ids))
    with pytest.raises(ConfigError, match="ids must be in 0..4"):
        generation.draw(np.array(ids[0]), 1, np.array([1]), 0)
