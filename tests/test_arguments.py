"""Bad arguments of the calls from Python: an error of charrnn's own, which names the argument and its value."""

import numpy as np
import pytest

from charrnn import (
    CharRNNError,
    Clamp,
    ConfigError,
    CorpusError,
    Model,
    ModelConfig,
    Vocabulary,
    VocabularyError,
    Workspace,
)
from charrnn.cells.report import CellsOptions
from charrnn.evaluation.dynamic import DynamicSettings
from charrnn.evaluation.report import JudgeOptions
from charrnn.model.dropout import Dropout
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.training.spelling import spelt_in_python

B, T, H, V = 2, 3, 5, 7
CONFIG = ModelConfig("lstm", V, H, 1)
MODEL = Model.initialise(CONFIG, 1)
IDS = np.zeros((T, B), np.int32)
CHARS, BYTES = Vocabulary("chars", "abcdefg"), Vocabulary("bytes", b"abcdefg")


def workspace(**arguments):
    return Workspace(MODEL, **{"batch_size": B, "seq_length": T, **arguments})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Model.initialise(CONFIG, -1), "seed must be an integer of at least 0, got -1"),
        (lambda: Model.initialise(CONFIG, None), "seed must be an integer of at least 0, got None"),
        (lambda: Model.initialise(CONFIG, 1, forget_bias="x"), "forget_bias must be a finite number, got 'x'"),
        (lambda: ModelConfig(["gru"], V, H, 1), "cell must be one of"),
        (lambda: MODEL.set_parameters(3), "parameters must be a mapping"),
        (lambda: MODEL.set_parameters({**MODEL.get_parameters(), "output.bias": ["x"] * V}), "parameter output.bias"),
        (lambda: MODEL.unpack(np.zeros(3)), r"got \(3,\)"),
        (lambda: MODEL.view(np.zeros(3)), r"got \(3,\)"),
        (lambda: workspace(batch_size=2.5), "batch_size must be an integer, got 2.5"),
        (lambda: workspace(training=False).carry_grads(), "training=True"),
        (lambda: workspace().set_carry(None), "got None"),
        (lambda: workspace().set_carry({"h": [[1], [2, 3]], "c": 0}), "the carry h must be an array"),
        (lambda: workspace().logits([[0], [1, 2]]), "the ids of a chunk must be an array"),
        (lambda: workspace().loss_and_grads(IDS, IDS, dropout=0.5), "dropout must be a Dropout"),
        (lambda: workspace().set_clamps(Clamp(0, 0, 1)), "clamps must be a sequence of Clamp"),
        (lambda: workspace().set_clamps([Clamp(0, 0.5, 1)]), "got 0:0.5"),
        (lambda: workspace().set_clamps([Clamp(0, 0, None)]), "got None"),
        (lambda: Dropout(1), "rate of a Dropout must be at least 0 and below 1, got 1"),
        (lambda: Dropout(float("nan")), "got nan"),
        (lambda: Dropout(0, weight_rate=1), "weight_rate of a Dropout"),
        (lambda: Model(3), "config must be a ModelConfig, got 3"),
        (lambda: Model.initialise(3, 1), "config must be a ModelConfig, got 3"),
        (lambda: Workspace(3, B, T), "model must be a Model, got 3: load one with charrnn.load"),
        (lambda: workspace().losses(IDS, None), "y must be the ids of the characters to predict, got None"),
        (lambda: workspace().loss_and_grads(IDS, None), "y must be the ids"),
        (lambda: setattr(MODEL, "vocabulary", 3), f"vocabulary must be a Vocabulary of {V} symbols, got 3"),
        (lambda: setattr(MODEL, "vocabulary", Vocabulary("chars", "ab")), f"of {V} symbols"),
        (lambda: Settings(top_p=None), "top_p must be a number, got None"),
        (lambda: Settings(top_k=1.5), "top_k must be an integer, got 1.5"),
        (lambda: Sampler(MODEL, seed=None), "seed must be an integer, got None"),
        (lambda: DynamicSettings(rate="x"), "rate must be a number, got 'x'"),
        (lambda: DynamicSettings(segment=0), "^segment must be at least 1"),
        (lambda: JudgeOptions(dynamic=True), "dynamic must be DynamicSettings"),
        (lambda: JudgeOptions(after=3), "after must be a sequence of integers"),
        (lambda: JudgeOptions(guessed=-1), "guessed must be an integer of at least 1, got -1"),
        (lambda: CellsOptions(unit=5), r"unit must be \(layer, unit\)"),
        (lambda: CellsOptions(signals=["a"]), "signals must be a sequence of pairs"),
        (lambda: CellsOptions(clamp=[1]), "clamp must be"),
        (lambda: CHARS.encode(b"a"), "text must be a str, got b'a': decode it first"),
        (lambda: BYTES.encode_bytes("a"), "data must be bytes, got 'a'"),
    ],
)
def test_a_wrong_argument_is_a_config_error(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


@pytest.mark.parametrize("name", ["nope", "zip", 3, None, "idna"])
def test_an_unknown_encoding_is_a_corpus_error(name):
    for call in (lambda: BYTES.encode("a", name), lambda: BYTES.decode([0], name), lambda: BYTES.decoder(name)):
        with pytest.raises(CorpusError, match=f"encoding must be the name of a text encoding, .* got {name!r}"):
            call()


@pytest.mark.parametrize("ids", [[0.5], ["a"], "a", None, [True], [[1], [2, 3]], [7], [-1], [10**30]])
def test_what_is_no_id_is_a_vocabulary_error(ids):
    for call in (CHARS.decode, BYTES.decode, BYTES.decode_bytes):
        with pytest.raises(VocabularyError, match="ids must be"):
            call(ids)


@pytest.mark.parametrize(
    "arguments",
    [{"symbols": 3}, {"symbols": "a", "special": 3}, {"symbols": "a", "labels": 3}, {"symbols": "a", "rewriting": 3}],
)
def test_a_vocabulary_of_what_is_no_sequence_is_refused(arguments):
    with pytest.raises(VocabularyError, match="must be"):
        Vocabulary("chars", **arguments)


def test_integers_of_numpy_are_integers():
    assert Model.initialise(CONFIG, np.int64(1)).flat.tobytes() == MODEL.flat.tobytes()
    assert workspace(batch_size=np.int32(B)).logits(IDS).shape == (T, B, V)
    Sampler(MODEL, Settings(np.float32(0.5), np.int64(3)), seed=np.uint64(2**63), num_samples=np.int8(2))


def test_a_label_of_a_vocabulary_without_labels():
    with pytest.raises(VocabularyError, match="the model has no labels"):
        CHARS.label_id("x")


def test_messages_name_keywords_to_a_python_caller():
    assert spelt_in_python("lower --batch-size to 22 or --seq-length") == "lower batch_size to 22 or seq_length"
    assert spelt_in_python("use --seq-length 1,117, or --min-p 0.5") == "use seq_length=1117, or min_p=0.5"
    assert spelt_in_python("choose another with -o/--output: --find x") == "choose another with output: wanted x"
    for kept in ("train with 'charrnn train TEXT --vocab bytes'", "with: charrnn train --resume a", "xz --format=x"):
        assert spelt_in_python(kept) == kept


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("arguments") / "corpus.txt"
    path.write_text("to be or not to be\n" * 50, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seq_length": 0}, "^seq_length must be at least 1, got 0"),
        ({"batch_size": 100, "seq_length": 500}, "lower batch_size to"),
        ({"tie_weights": True}, "^tie_weights needs embedding_size equal to hidden_size"),
        ({"encoding": "nope"}, "^encoding 'nope' is unknown"),
        ({"output": 3}, "^output must be a path, got 3"),
        ({"resume": 3}, "^resume must be a path, got 3"),
        ({"texts": 3}, "^texts must be a path or a sequence of paths, got 3"),
    ],
)
def test_training_names_keywords(text, arguments, words):
    import charrnn

    with pytest.raises(CharRNNError, match=words) as caught:
        charrnn.train(**{"texts": text, **arguments})
    assert " --" not in str(caught.value).split(" '")[0]


def test_drawing_names_keywords():
    import charrnn

    model = Model.initialise(CONFIG, 1)
    model.vocabulary = CHARS
    for arguments, words in (
        ({"temperature": -1}, "^temperature must be 0"),
        ({"top_k": 0}, "^top_k must be at least 1"),
        ({"prime": b"a"}, "^prime must be a str, got b'a': decode it first"),
        ({"stop": None}, "^stop must be a sequence of str, got None"),
        ({"stop": [3]}, "^each string of stop must be a str, got 3"),
        ({"length": 2.5}, "^length must be an integer, got 2.5"),
    ):
        with pytest.raises(ConfigError, match=words):
            charrnn.sample(model, **arguments)
    for call in (charrnn.sample, charrnn.next_characters, charrnn.evaluate, charrnn.find_cells):
        with pytest.raises(ConfigError, match=r"model must be a Model, got 'run': load one with charrnn.load\('run'\)"):
            call("run")
