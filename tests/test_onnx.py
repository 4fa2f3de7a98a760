"""Models as ONNX graphs: what onnxruntime computes from them, and what stands beside it in the file."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import oracle
import pytest
from onnx.reference import ReferenceEvaluator
from test_cells import make_text

import charrnn
from charrnn.cli import main
from charrnn.errors import ConfigError
from charrnn.export.onnx_graph import OPSET, make_onnx, write_onnx
from charrnn.files.own import is_own_file
from charrnn.model.parameters import NEVER, Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.rewriting import Rewriting
from charrnn.text.vocabulary import Vocabulary

DOCUMENT = (Path(__file__).parent.parent / "docs" / "EXPORT.md").read_text(encoding="utf-8")

V, H, L = 11, 12, 2
STEPS = 200
INPUTS = {"onehot": {}, "embedding": {"E": 5}, "tied": {"E": H, "tied": True}}
LETTERS = Vocabulary("chars", "abcdefghijk")
ITEMS = Vocabulary("chars", "abcdef", special=("START", "SEP", "END"), labels=("x", "y"))
PLAIN = {"Add", "Concat", "Div", "Gather", "Gemm", "Mul", "ReduceMean", "Reshape", "Sigmoid", "Split", "Sqrt", "Sub"}
PLAIN |= {"Tanh", "Unsqueeze"}  # what docs/EXPORT.md promises


def make_checkpoint(config, vocabulary=LETTERS, training=None):
    """Return a Checkpoint of random parameters with both of PyTorch's biases."""
    parameters = oracle.random_parameters(
        config.cell, config.vocab_size, config.hidden_size, config.num_layers, config.embedding_size, config.tied,
        config.dtype, 1, config.layer_norm,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    for name in parameters:
        if "bias" in name:
            parameters[name] = rng.uniform(-0.4, 0.4, parameters[name].shape).astype(config.dtype)
    return Checkpoint(config.to_dict(), vocabulary, parameters, {}, {}, training or {})


def opened(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session, ids, carry):
    """Run a graph over ids (T, B), its own states carried; return logits (T, B, V), and {name: (T, L, B, H)}."""
    states, made = {name: value.astype(np.float32) for name, value in carry.items()}, []
    for row in ids.astype(np.int64):
        made.append(session.run(None, {"ids": row, **states}))
        states = dict(zip(states, made[-1][1:]))
    logits, *after = map(np.stack, zip(*made))
    return logits, dict(zip(carry, after))


def expected(checkpoint, ids, carry):
    """Return what charrnn computes of the same, in the same shapes."""
    T, B = ids.shape
    workspace = Workspace(Model.from_checkpoint(checkpoint), B, T, training=False)
    workspace.set_carry(carry)
    logits = workspace.logits(np.ascontiguousarray(ids, np.int32))
    return logits, {name: workspace.states(name).transpose(1, 0, 2, 3) for name in carry}


def told_by(model):
    """Return the metadata of a graph."""
    return {one.key: one.value for one in model.metadata_props}


def assert_agree(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-5)
    assert set(found[1]) == set(wanted[1])
    for name, states in found[1].items():
        np.testing.assert_allclose(states, wanted[1][name], rtol=0, atol=1e-5)


# ---- the graph -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zoneout", [0.0, 0.3])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_onnxruntime_computes_what_charrnn_computes(cell, layer_norm, zoneout):
    for name, sizes in INPUTS.items():
        dtype = "float64" if name == "embedding" and zoneout else "float32"
        E, tied = sizes.get("E", 0), sizes.get("tied", False)
        checkpoint = make_checkpoint(ModelConfig(cell, V, H, L, E, tied, dtype, zoneout, layer_norm))
        model = make_onnx(checkpoint)
        session = opened(model)
        assert {node.op_type for node in model.graph.node} <= PLAIN
        for B in (1, 7):
            ids = np.random.default_rng(B).integers(0, V, (STEPS, B))
            carry = oracle.random_carry(cell, L, B, H, dtype, seed=3)
            assert_agree(run(session, ids, carry), expected(checkpoint, ids, carry))


@pytest.mark.parametrize("cell", CELLS)
def test_a_runtime_that_knows_onnx_alone_computes_the_same(cell):
    checkpoint = make_checkpoint(ModelConfig(cell, V, H, 1, 5, False, "float32", 0.2, True))
    ids, carry = np.random.default_rng(0).integers(0, V, (4, 3)), oracle.random_carry(cell, 1, 3, H, seed=3)
    assert_agree(run(ReferenceEvaluator(make_onnx(checkpoint)), ids, carry), expected(checkpoint, ids, carry))


def test_the_graph_names_its_shapes_and_the_documented_opset():
    model = make_onnx(make_checkpoint(ModelConfig("lstm", V, H, L, layer_norm=True)))
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    shapes = {
        one.name: [each.dim_param or each.dim_value for each in one.type.tensor_type.shape.dim]
        for one in [*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info]
    }
    carried = [L, "batch", H]
    assert shapes["ids"] == ["batch"] and shapes["logits"] == ["batch", V]
    assert all(shapes[name] == carried for name in ("h", "c", "h_next", "c_next"))
    # Every number of rows is that of the batch: none is lost or made up on the way.
    assert all("batch" in shape for name, shape in shapes.items())
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    oldest = {version: ir for _, ir, version, *_ in reversed(onnx.helper.VERSION_TABLE)}
    assert model.ir_version == oldest[OPSET]
    assert f"**Opset {OPSET}, IR version {oldest[OPSET]}**" in DOCUMENT


def test_the_same_model_gives_the_same_bytes_and_a_tied_matrix_is_written_once(tmp_path):
    checkpoint = make_checkpoint(ModelConfig("gru", 500, H, L, H, True), Vocabulary("chars", map(chr, range(500))))
    for name in "ab":
        write_onnx(tmp_path / name, checkpoint)
    written = (tmp_path / "a").read_bytes()
    assert written == (tmp_path / "b").read_bytes() and is_own_file(tmp_path / "a")
    (tmp_path / "b").write_bytes(written.replace(b"charrnn", b"another", 1))  # as of another producer
    assert not is_own_file(tmp_path / "b")
    numbers = sum(parameter.size for parameter in checkpoint.parameters.values())
    assert len(written) < 4 * numbers + 20_000


def test_an_item_begins_from_zero_and_what_is_never_predicted_stays_so():
    training = {"config": {"task": "steer", "label_field": "kind"}}
    checkpoint = make_checkpoint(ModelConfig("lstm", V, H, L), ITEMS, training)
    never = [6, 7, 9, 10]  # START, SEP and the labels
    checkpoint.parameters["output.bias"][never] = NEVER
    model = make_onnx(checkpoint)
    ids, carry = np.random.default_rng(4).integers(0, V, (40, 3)), oracle.random_carry("lstm", L, 3, H, seed=3)
    assert (ids == 6).any(axis=0).all()  # in the midst of every stream
    found = run(opened(model), ids, carry)
    assert_agree(found, expected(checkpoint, ids, carry))
    assert (found[0][..., never] < NEVER / 2).all()
    told = told_by(model)
    ids_of_items = {"start_id": 6, "sep_id": 7, "end_id": 8}
    assert json.loads(told["items"]) == {"task": "steer", **ids_of_items, "never": never, "labels": {"x": 9, "y": 10}}
    assert all(word in told["sampling"] for word in (*ids_of_items, "never"))


@pytest.mark.parametrize("task", [None, "classify", "both", "translate"])
def test_how_to_use_a_model_of_items_is_said_of_each_task(task):
    training = {"config": {"task": task, "label_field": None}}
    model = make_onnx(make_checkpoint(ModelConfig("rnn", V, H, 1), ITEMS, training))
    told = told_by(model)
    said, items = told["sampling"], json.loads(told["items"])
    assert items.get("task") == task and ("draw an id" in said) == (task != "classify") and "start_id" in said
    assert ("the target" in said) == (task == "translate") and ("labels" in said) == (task == "classify")


# ---- what stands beside it ------------------------------------------------------------------------------------------


def test_the_metadata_hold_vocabulary_shape_and_training():
    vocabulary = Vocabulary("chars", 'a"\n\u00e9\U0001f600', Rewriting("nfc", True, "lf"))
    record = {"step": 7, "val_loss_nats": 1.25}
    training = {"step": 7, "epoch": 0.5, "best": record, "config": {"precision": "bfloat16"}, "corpus": {"a": "b"}}
    config = ModelConfig("gru", 5, H, 1, 3, False, "float32", 0.25)
    model = make_onnx(make_checkpoint(config, vocabulary, training))
    told = told_by(model)
    assert Vocabulary.from_json(json.loads(told["vocabulary"])) == vocabulary
    assert ModelConfig(**json.loads(told["model"])) == config
    assert json.loads(told["training"]) == {"step": 7, "epoch": 0.5, "val_loss_nats": 1.25, "precision": "bfloat16"}
    assert told["charrnn_version"] == charrnn.__version__ == model.producer_version and told["format_version"] == "1"
    assert "--normalize nfc --lowercase --newlines lf" in told["sampling"] and "items" not in told
    # Of a loss that is another step's, and of a run that says nothing, nothing is said.
    training["best"] = record | {"step": 3}
    told = told_by(make_onnx(make_checkpoint(config, vocabulary, training)))
    assert "val_loss_nats" not in json.loads(told["training"])
    told = told_by(make_onnx(make_checkpoint(config, vocabulary)))
    assert json.loads(told["training"]) == {}


def test_a_model_of_bytes_says_so():
    vocabulary = Vocabulary("bytes", [10, 32, 200])
    model = make_onnx(make_checkpoint(ModelConfig("rnn", 3, H, 1), vocabulary))
    told = told_by(model)
    assert json.loads(told["vocabulary"]) == {"mode": "bytes", "symbols": [10, 32, 200]} and "bytes" in told["sampling"]


def test_every_key_of_the_metadata_is_documented():
    model = make_onnx(make_checkpoint(ModelConfig("rnn", V, H, 1), ITEMS, {"config": {"task": "both"}}))
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENT.split("### Metadata")[1].split("\n#")[0], re.M)
    assert documented == [one.key for one in model.metadata_props]


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that has a run, briefly trained, and its text."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "text.txt").write_text(make_text(6_000, seed=8) + "ROMEO:\nno\n")
    sizes = {"hidden_size": 16, "num_layers": 2, "batch_size": 4, "seq_length": 16}
    list(charrnn.train(folder / "text.txt", output=folder / "run", steps=30, seed=1, **sizes))
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    (tmp_path / "run").symlink_to(folder / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_says_what_it_wrote(here, capsys):
    assert main(["export", "run", "--onnx", "model.onnx"]) == 0
    said, V = capsys.readouterr(), charrnn.load("run").vocabulary.size
    assert said.out == ""
    size = f"{Path('model.onnx').stat().st_size / 1e3:.1f} kB"
    assert f"wrote model.onnx: {size}, ONNX opset {OPSET}, float32\n" in said.err
    assert "inputs: ids (batch,) int64, h and c (2, batch, 16); outputs: " in said.err
    assert f"; outputs: logits (batch, {V}), h_next and c_next (2, batch, 16)\n" in said.err


def test_a_model_in_float64_is_written_in_float32_and_that_is_said(here, capsys):
    checkpoint = make_checkpoint(ModelConfig("rnn", V, H, 1, dtype="float64"))
    save_checkpoint("a.safetensors", checkpoint)
    assert main(["export", "a.safetensors", "--onnx", "a.onnx"]) == 0
    assert "float32, of a model in float64" in capsys.readouterr().err
    assert all(one.data_type != onnx.TensorProto.DOUBLE for one in onnx.load("a.onnx").graph.initializer)
    checkpoint.parameters["output.bias"][3] = 1e300
    with pytest.raises(ConfigError, match="output.bias has a number beyond the range of float32, .* --dtype float32"):
        make_onnx(checkpoint)


def test_without_the_package_one_sentence_says_how_to_get_it(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "run", "--onnx", "model.onnx"]) == 2
    said = capsys.readouterr().err
    assert "--onnx needs the package onnx, which is not installed: pip install onnx" in said
    assert said.count("\n") == 1 and not Path("model.onnx").exists()


def test_weights_beyond_what_a_file_holds_are_refused(monkeypatch):
    checkpoint = make_checkpoint(ModelConfig("rnn", V, H, 1))

    class Huge:
        size = 1 << 29

    huge = dataclasses.replace(checkpoint, parameters={"output.weight": Huge()})
    with pytest.raises(ConfigError, match="at most 2 GiB, but the weights of this model need 2.0 GiB"):
        make_onnx(huge)


def test_the_documented_example_samples_without_charrnn(here, capsys):
    assert main(["export", "run", "--onnx", "model.onnx"]) == 0
    capsys.readouterr()
    code = next(
        block for block in re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.S | re.M) if "onnxruntime" in block
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    exec(code, names)
    printed, model = capsys.readouterr().out, charrnn.load("run")
    assert printed.startswith("ROMEO:") and len(printed) == len("ROMEO:") + 300 + 1
    assert set(printed) <= set(model.vocabulary.symbols)
    # At a temperature that leaves the likeliest character alone it is charrnn's greedy text.
    greedy = charrnn.sample(model, 120, prime="no ", temperature=0)
    assert names["sample"]("model.onnx", "no ", 120, 1e-4) == "no " + greedy
