import dataclasses
import errno
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.errors import CheckpointError, StorageError
from charrnn.files import storage
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    newest_run,
    read_metadata,
    save_checkpoint,
)
from charrnn.spec import CELLS, OPTIONAL_KEYS, STORED_KEYS, ModelConfig, parameter_shapes
from charrnn.text.rewriting import Rewriting
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.optimisers import DEFAULTS, Optimizer

V, H, L, B, E = 7, 5, 2, 3, 4


def make(
    cell="lstm",
    dtype="float32",
    embedding_size=E,
    tied=False,
    slots=("m", "v"),
    carry=True,
    training=None,
    seed=0,
    **optional,
):
    """A small checkpoint with every part filled with numbers of its own."""
    rng = np.random.default_rng(seed)
    model = {
        "cell": cell,
        "hidden_size": H,
        "num_layers": L,
        "embedding_size": embedding_size,
        "tied": tied,
        "dtype": dtype,
        **optional,
    }
    shapes = parameter_shapes(ModelConfig(vocab_size=V, **model))

    def filled():
        return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}

    names = CELLS[cell].states
    return Checkpoint(
        model=model,
        vocabulary=Vocabulary("chars", ("\n", " ", '"', "\\", "a", "é", "\U0001f600")),
        parameters=filled(),
        optimizer={f"{slot}/{name}": array for slot in slots for name, array in filled().items()},
        carry={name: rng.standard_normal((L, B, H)).astype(dtype) for name in names} if carry else {},
        training={"step": 12, "rng": {"state": 2**127 + 1}} if training is None else training,
    )


def assert_same(one, other):
    assert one.model == other.model
    assert one.vocabulary.to_json() == other.vocabulary.to_json()
    assert one.training == other.training
    for part in ("parameters", "optimizer", "carry"):
        assert_same_arrays(getattr(one, part), getattr(other, part))


def assert_same_arrays(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])


# The smallest file there is, as docs/CHECKPOINT.md tells it, with no help from charrnn.
MINIMAL_METADATA = (
    '{"format_version":1,"model":{"cell":"rnn","hidden_size":1,"num_layers":1,"embedding_size":0,"tied":false,'
    '"dtype":"float32"},"vocabulary":{"mode":"chars","symbols":["a","b"]},"training":{}}'
)
MINIMAL_TENSORS = (
    b'"param/rnn.weight_ih_l0":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},'
    b'"param/rnn.weight_hh_l0":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},'
    b'"param/rnn.bias_ih_l0":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},'
    b'"param/rnn.bias_hh_l0":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},'
    b'"param/output.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[20,28]},'
    b'"param/output.bias":{"dtype":"F32","shape":[2],"data_offsets":[28,36]}'
)
MINIMAL_DATA = (
    b"\x00\x00\x80\x3f"
    b"\x00\x00\x00\x40"  # 1, 2
    b"\x00\x00\x40\x40"  # 3
    b"\x00\x00\x80\x40"  # 4
    b"\x00\x00\x00\x00"  # 0
    b"\x00\x00\x80\xbf"
    b"\x00\x00\x00\xc0"  # -1, -2
    b"\x00\x00\x00\x3f"
    b"\x00\x00\x80\x3e"  # 0.5, 0.25
)


def minimal(metadata=MINIMAL_METADATA, tensors=MINIMAL_TENSORS, data=MINIMAL_DATA):
    header = b'{"__metadata__":{"charrnn":' + json.dumps(metadata).encode() + b"}," + tensors + b"}"
    return len(header).to_bytes(8, "little") + header + data


def with_metadata(**changes):
    return minimal(json.dumps(json.loads(MINIMAL_METADATA) | changes))


def with_model(version=1, **changes):
    return with_metadata(format_version=version, model=json.loads(MINIMAL_METADATA)["model"] | changes)


def with_rewriting(version, **keys):
    return with_metadata(format_version=version, vocabulary=json.loads(MINIMAL_METADATA)["vocabulary"] | keys)


MINIMAL_GAIN = MINIMAL_TENSORS + b',"param/rnn.norm_gain_l0":{"dtype":"F32","shape":[1],"data_offsets":[36,40]}'


def with_norm(value, tensors=MINIMAL_GAIN):
    """A file of format 2 with this layer_norm."""
    model = json.loads(MINIMAL_METADATA)["model"] | {"layer_norm": value}
    data = MINIMAL_DATA + (b"\x00\x00\x00\x40" if tensors != MINIMAL_TENSORS else b"")  # 2
    return minimal(json.dumps(json.loads(MINIMAL_METADATA) | {"format_version": 2, "model": model}), tensors, data)


def refusal(tmp_path, content, read=load_checkpoint):
    """The message with which a file of this content is refused."""
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 300
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("embedding_size, tied", [(0, False), (E, False), (H, True)])
def test_what_is_saved_is_loaded(tmp_path, cell, dtype, embedding_size, tied):
    saved = make(cell, dtype, embedding_size, tied)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert_same(loaded, saved)
    assert all(array.flags.writeable and array.flags.c_contiguous for array in loaded.parameters.values())
    assert ("output.weight" in loaded.parameters) != tied


def test_a_model_with_an_optional_key_is_of_format_2_and_one_without_is_of_format_1(tmp_path):
    """So that a charrnn that knows no zoneout refuses the one, and reads the other as ever."""
    path = tmp_path / "a.safetensors"
    for more, version in (({}, 1), ({"zoneout": 0.1}, 2), ({"zoneout": 5e-324}, 2)):
        saved = make()
        saved.model.update(more)
        save_checkpoint(path, saved)
        assert read_metadata(path)["format_version"] == version and read_metadata(path)["model"] == saved.model
        assert_same(load_checkpoint(path), saved)
    path.write_bytes(with_metadata(format_version=2))
    assert load_checkpoint(path).model == json.loads(MINIMAL_METADATA)["model"]


@pytest.mark.parametrize("zoneout", [0.0, 1.0, -0.1, True, "0.1", float("nan")])
def test_an_optional_key_that_breaks_its_rule_is_not_written(tmp_path, zoneout):
    saved = make()
    saved.model["zoneout"] = zoneout
    with pytest.raises(CheckpointError, match="nothing was written"):
        save_checkpoint(tmp_path / "a.safetensors", saved)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cell", CELLS)
def test_an_optional_key_of_the_model_raises_the_version_and_none_leaves_it(tmp_path, cell):
    path = tmp_path / "a.safetensors"
    saved = make(cell, layer_norm=True)
    save_checkpoint(path, saved)
    assert_same(load_checkpoint(path), saved)
    assert read_metadata(path)["format_version"] == 2 and read_metadata(path)["model"]["layer_norm"] is True
    gains = {name: array.shape for name, array in saved.parameters.items() if "norm_gain" in name}
    assert gains == {f"rnn.norm_gain_l{layer}": (len(CELLS[cell].sums) * H,) for layer in range(L)}
    save_checkpoint(path, make(cell))
    assert read_metadata(path)["format_version"] == 1 and "layer_norm" not in read_metadata(path)["model"]


def test_a_file_of_the_newer_format_without_an_optional_key_is_read(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(with_metadata(format_version=2))
    assert load_checkpoint(tmp_path / "a.safetensors").parameters["output.bias"].tolist() == [0.5, 0.25]
    (tmp_path / "a.safetensors").write_bytes(with_norm(True))
    assert load_checkpoint(tmp_path / "a.safetensors").parameters["rnn.norm_gain_l0"].tolist() == [2]


@pytest.mark.parametrize("more", [{"normalize": "nfc"}, {"lowercase": True, "newlines": "lf"}])
def test_a_vocabulary_that_rewrites_texts_is_of_format_3(tmp_path, more):
    path = tmp_path / "a.safetensors"
    saved = make()
    saved = dataclasses.replace(saved, vocabulary=dataclasses.replace(saved.vocabulary, rewriting=Rewriting(**more)))
    save_checkpoint(path, saved)
    metadata = read_metadata(path)
    assert metadata["format_version"] == 3 and set(metadata["vocabulary"]) == {"mode", "symbols", *more}
    assert_same(load_checkpoint(path), saved)
    path.write_bytes(with_rewriting(3, **more))
    assert load_checkpoint(path).vocabulary.rewriting == Rewriting(**more)


def test_a_vocabulary_with_special_symbols_is_of_format_4(tmp_path):
    path, saved = tmp_path / "a.safetensors", make()
    vocabulary = dataclasses.replace(saved.vocabulary, symbols=saved.vocabulary.symbols[:-2], special=("START", "END"))
    saved = dataclasses.replace(saved, vocabulary=vocabulary)
    save_checkpoint(path, saved)
    metadata = read_metadata(path)
    assert metadata["format_version"] == 4 and metadata["vocabulary"]["special"] == ["START", "END"]
    assert_same(load_checkpoint(path), saved)
    assert (vocabulary.start_id, vocabulary.end_id) == (vocabulary.size - 2, vocabulary.size - 1)
    path.write_bytes(with_rewriting(3, special=["START", "END"]))
    with pytest.raises(CheckpointError, match="has the key special, which format 3 does not have"):
        load_checkpoint(path)
    for wrong in ([], ["END", "START"], ["START"], ["START", "SEP"], ["START", "START"], [1], "START", ["BEGIN"]):
        path.write_bytes(with_rewriting(4, special=wrong))
        with pytest.raises(
            CheckpointError, match="its vocabulary is malformed .special symbols|a vocabulary's special"
        ):
            load_checkpoint(path)


def test_the_models_optional_fields_are_the_formats():
    assert all(getattr(ModelConfig, name) == key.default for name, key in OPTIONAL_KEYS.items())
    assert set(ModelConfig("lstm", V, H, L).to_dict()) == set(make().model) == set(STORED_KEYS)
    assert ModelConfig("lstm", V, H, L, layer_norm=True).to_dict() == make(embedding_size=0, layer_norm=True).model


def test_a_checkpoint_without_optimiser_and_carry_is_loaded(tmp_path):
    saved = make(slots=(), carry=False)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    assert_same(load_checkpoint(tmp_path / "a.safetensors"), saved)


def test_the_same_content_gives_the_same_bytes_in_any_order(tmp_path):
    one = make(training={"b": 1, "a": 2})
    other = make(training={"a": 2, "b": 1})
    other = Checkpoint(
        model=dict(reversed(other.model.items())),
        vocabulary=other.vocabulary,
        parameters=dict(reversed(other.parameters.items())),
        optimizer=dict(reversed(other.optimizer.items())),
        carry={name: np.asfortranarray(array) for name, array in other.carry.items()},
        training=other.training,
    )
    save_checkpoint(tmp_path / "one.safetensors", one)
    save_checkpoint(tmp_path / "other.safetensors", other)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_big_endian_and_strided_arrays_are_stored_as_their_numbers(tmp_path):
    plain = make()
    parameters = {name: np.repeat(array, 2, axis=0)[::2].astype(">f4") for name, array in plain.parameters.items()}
    odd = Checkpoint(plain.model, plain.vocabulary, parameters, plain.optimizer, plain.carry, plain.training)
    save_checkpoint(tmp_path / "odd.safetensors", odd)
    assert_same(load_checkpoint(tmp_path / "odd.safetensors"), plain)


def test_the_safetensors_library_reads_what_charrnn_wrote(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    from safetensors.numpy import load_file

    saved = make()
    save_checkpoint(tmp_path / "a.safetensors", saved)
    arrays = load_file(tmp_path / "a.safetensors")
    expected = {f"param/{name}": array for name, array in saved.parameters.items()}
    expected |= {f"optim/{name}": array for name, array in saved.optimizer.items()}
    expected |= {f"carry/{name}": array for name, array in saved.carry.items()}
    assert_same_arrays(arrays, expected)
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["charrnn"]) == read_metadata(tmp_path / "a.safetensors")


def test_charrnn_reads_what_the_safetensors_library_wrote(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    saved = make()
    metadata = {
        "format_version": 1,
        "model": saved.model,
        "vocabulary": saved.vocabulary.to_json(),
        "training": saved.training,
    }
    arrays = {f"param/{name}": array for name, array in saved.parameters.items()}
    save_file(arrays, tmp_path / "a.safetensors", {"charrnn": json.dumps(metadata), "format": "np"})
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert_same_arrays(loaded.parameters, saved.parameters)
    assert loaded.optimizer == {} and loaded.carry == {}


def test_a_file_written_by_hand_is_read(tmp_path):
    path = tmp_path / "hand.safetensors"
    path.write_bytes(minimal())
    checkpoint = load_checkpoint(path)
    assert checkpoint.vocabulary.to_json() == {"mode": "chars", "symbols": ["a", "b"]}
    assert {name: array.tolist() for name, array in checkpoint.parameters.items()} == {
        "rnn.weight_ih_l0": [[1, 2]],
        "rnn.weight_hh_l0": [[3]],
        "rnn.bias_ih_l0": [4],
        "rnn.bias_hh_l0": [0],
        "output.weight": [[-1], [-2]],
        "output.bias": [0.5, 0.25],
    }
    assert read_metadata(path) == json.loads(MINIMAL_METADATA)


def test_reading_metadata_reads_no_tensor_and_imports_no_numba(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", make(training={"step": 12}))
    script = (
        "import sys; from charrnn.runs.checkpoint import read_metadata; "
        "print(read_metadata(sys.argv[1])['training']['step'], 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.safetensors"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["12", "False"]


# ------------------------------------------------------------------------------------------------------ broken files


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = minimal()
    messages = {refusal(tmp_path, whole[:length]) for length in range(len(whole))}
    assert any("is empty" in message for message in messages)
    assert any("cut off inside its header" in message for message in messages)
    assert any(
        f"according to its header it has {len(whole):,} bytes, but the file has {len(whole) - 1:,}" in message
        for message in messages
    )


def test_a_file_that_runs_on_is_refused(tmp_path):
    assert "is too long" in refusal(tmp_path, minimal() + b"\0")


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_a_flipped_byte_anywhere_changes_nothing_or_is_refused(tmp_path, flip):
    model = {"cell": "gru", "hidden_size": 1, "num_layers": 1, "embedding_size": 0, "tied": False, "dtype": "float32"}
    parameters = {
        name: np.arange(1, 1 + np.prod(shape), dtype="f4").reshape(shape)
        for name, shape in parameter_shapes(ModelConfig(vocab_size=2, **model)).items()
    }
    carry = {"h": np.ones((1, 1, 1), "f4")}
    saved = Checkpoint(model, Vocabulary("chars", ("a", "b")), parameters, {}, carry, {"step": 7})
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, saved)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= flip
        path.write_bytes(broken)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert_same(loaded, saved)
    assert refused > 0.98 * len(whole)  # all but the name of the digest and the blanks that pad the header


def test_a_changed_number_is_told_by_the_digest(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, make())
    whole = bytearray(path.read_bytes())
    whole[-4] ^= 1
    assert "sha256 differs" in refusal(tmp_path, bytes(whole))


@pytest.mark.parametrize(
    "content, reason",
    [
        (
            with_metadata(format_version=6),
            "has checkpoint format 6, but this charrnn reads formats up to 5: upgrade charrnn",
        ),
        (with_rewriting(2, normalize="nfc"), "its vocabulary has the key normalize, which format 2 does not have"),
        (with_rewriting(3, normalize="none"), "must leave out what is not done"),
        (with_rewriting(3, normalize="nfd"), "normalize must be none, nfc or nfkc"),
        (with_rewriting(3, lowercase=1), "lowercase must be true or false"),
        (with_rewriting(3, uppercase=True), "vocabulary is malformed"),
        (with_rewriting(3, mode="bytes", symbols=[1, 2], newlines="lf"), "cannot rewrite them"),
        (with_metadata(format_version=0), "format version is 0"),
        (with_metadata(format_version=True), "format version is True"),
        (with_metadata(format_version="1"), "format version is '1'"),
        (with_metadata(model=[]), "no object 'model'"),
        (with_metadata(training=None), "no object 'training'"),
        (with_metadata(vocabulary={"mode": "words", "symbols": ["a", "b"]}), "vocabulary is malformed"),
        (with_metadata(vocabulary={"mode": "chars", "symbols": ["a", "a"]}), "vocabulary is malformed"),
        (with_metadata(vocabulary={"mode": "chars", "symbols": ["a"]}), "shape"),
        (with_metadata(vocabulary={"mode": "chars", "symbols": "ab"}), "vocabulary is malformed"),
        (with_metadata(vocabulary={"mode": "chars", "symbols": [["a"], {}]}), "vocabulary is malformed"),
        (with_metadata(vocabulary={"mode": [], "symbols": ["a", "b"]}), "vocabulary is malformed"),
        (with_metadata(vocabulary={"mode": "bytes", "symbols": [True, 2.0]}), "vocabulary is malformed"),
        (with_metadata(vocabulary={}), "vocabulary is malformed"),
        (with_model(cell="gru"), "(3, 2)"),
        (with_model(cell="transformer"), "got 'transformer'"),
        (with_model(cell=["rnn"]), "cell must be"),
        (with_model(dtype="float16"), "dtype must be"),
        (with_model(dtype="float64"), "has dtype 'F32'"),
        (with_model(hidden_size=True), "hidden_size must be a whole number"),
        (with_model(hidden_size=1.0), "hidden_size must be a whole number"),
        (with_model(hidden_size=2**40), "hidden_size must be"),
        (with_model(hidden_size=0), "hidden_size must be"),
        (with_model(num_layers=2**30), "num_layers must be at most 1,000, got 1,073,741,824"),
        (with_model(num_layers=1000), "too few for 1,000 layers"),
        (with_model(num_layers=-1), "num_layers must be"),
        (with_model(embedding_size=2), "the tensor 'param/embedding.weight'"),
        (with_model(tied=1), "tied must be true or false"),
        (with_model(tied=True), "tied, which needs embedding_size = hidden_size"),
        (with_model(zoneout=0.1), "its model has the key zoneout, which format 1 does not have"),
        (with_model(2, zoneout=1.5), "its zoneout must be a number above 0 and below 1, or left out, got 1.5"),
        (with_model(2, zoneout=0.0), "or left out, got 0.0"),
        (with_model(2, zoneout="x"), "its zoneout must be a number above 0 and below 1, or left out, got 'x'"),
        (with_model(2, zoneout=True), "got True"),
        (with_model(2, zoneout=None), "got None"),
        (with_model(2, zoneout=[0.1]), "got [0.1]"),
        (with_model(2, zoneout=10**60), "its zoneout must be"),
        (with_model(2, zoneout=float("nan")), "the number NaN, which is not JSON"),
        (with_model(2, zoneout=0.1, elbow=1), "must have the keys"),
        (with_model(peepholes=True), "must have the keys"),
        (with_model(layer_norm=True), "its model has the key layer_norm, which format 1 does not have"),
        *(
            (with_norm(value), f"its layer_norm must be true, or left out, got {value!r}")
            for value in (False, 1, 0, "x", None, [], 1e300)
        ),
        (with_norm(True, MINIMAL_TENSORS), "the tensor 'param/rnn.norm_gain_l0'"),
        (
            with_norm(True, MINIMAL_GAIN.replace(b'[1],"data_offsets":[36', b'[1,1],"data_offsets":[36')),
            "has shape (1, 1), but its model needs (1,)",
        ),
        (
            minimal(tensors=MINIMAL_GAIN, data=MINIMAL_DATA + bytes(4)),
            "'param/rnn.norm_gain_l0' that its model does not use",
        ),
        (minimal("[]"), "not a JSON object"),
        (minimal("no JSON"), "not valid JSON"),
        (minimal("[" * 100_000), "nested"),
        (minimal('{"a":' * 80 + "1" + "}" * 80), "nested"),
        (minimal(MINIMAL_METADATA.replace('"training":{}', '"training":{"a":NaN}')), "NaN"),
        (minimal(MINIMAL_METADATA.replace('"training":{}', '"training":{"a":1e999}')), "not finite"),
        (
            minimal(MINIMAL_METADATA.replace('"training":{}', '"training":{"a":' + "9" * 100_000 + "}")),
            "100,000 digits",
        ),
        (minimal(MINIMAL_METADATA.replace('"training":{}', '"training":{"a":1,"a":2}')), "the same key twice"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[0,8]", b"[0,9]")), "ends at 9, but its shape and dtype require 8"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[9,12]")), "begins at 9"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[4,8]")), "begins at 4"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[8,9007199254740993]")), "damaged"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[8.0,12]")), "not a list of whole numbers"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[-8,12]")), "not a list of whole numbers"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[8,12]", b"[8,12,16]")), "wrong length"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[1,1]", b"[1]")), "has shape (1,), but its model needs (1, 1)"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"[1,1]", b"[1,1,1,1,1]")), "wrong length"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"F32", b"I32")), "has dtype 'I32', but a float32 model needs F32"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b'"F32"', b"32")), "is not a string"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"dtype", b"dtyp")), "is not a tensor"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"output.bias", b"output.gain")), "the tensor 'param/output.bias'"),
        (minimal(tensors=MINIMAL_TENSORS.replace(b"output.bias", b"rnn.bias_hh_l0")), "the same key twice"),
        (minimal(tensors=MINIMAL_TENSORS + b',"x":{"dtype":"F32","shape":[0],"data_offsets":[36,36]}'), "not use"),
        (
            minimal(tensors=MINIMAL_TENSORS + b',"optim/m":{"dtype":"F32","shape":[0],"data_offsets":[36,36]}'),
            "1 tensor, not 6",
        ),
        (
            minimal(tensors=MINIMAL_TENSORS + b',"optim/":{"dtype":"F32","shape":[0],"data_offsets":[36,36]}'),
            "optimiser",
        ),
        (
            minimal(tensors=MINIMAL_TENSORS + b',"carry/h":{"dtype":"F32","shape":[1,0,1],"data_offsets":[36,36]}'),
            "B of at least 1",
        ),
        (
            minimal(
                tensors=MINIMAL_TENSORS + b',"carry/c":{"dtype":"F32","shape":[1,1,1],"data_offsets":[36,40]}',
                data=MINIMAL_DATA + bytes(4),
            ),
            "not use",
        ),
        (
            minimal(data=MINIMAL_DATA[:-4] + b"\x00\x00\xc0\x7f"),
            "'param/output.bias' contains numbers that are not finite",
        ),
        (
            minimal(data=MINIMAL_DATA[:-4] + b"\x00\x00\x80\xff"),
            "'param/output.bias' contains numbers that are not finite",
        ),
        (minimal().replace(b'"charrnn"', b'"torchar"'), "a safetensors file, but not charrnn's"),
        (b"\2\0\0\0\0\0\0\0{}", "a safetensors file, but not charrnn's"),
        (b"\2\0\0\0\0\0\0\0[]", "not a safetensors file"),
        (b"\xff" * 8 + b"{}", "its header claims to have 18,446,744,073,709,551,615 bytes"),
        (b"\2\0\0\0\0\0\0\0{\xff", "not UTF-8 at byte 9"),
        (b"First Citizen:\nBefore we proceed any further", "not a safetensors file"),
        (b"PK\x03\x04" + bytes(40), "a zip archive, like PyTorch's .pt"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a Python pickle"),
        (b"", "is empty"),
        (b"abc", "cut off"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path, content, reason):
    message = refusal(tmp_path, content)
    assert reason in message
    assert message.startswith("FILE ")


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    whole = minimal()
    header = whole[8 : -len(MINIMAL_DATA)].ljust(0x480)  # little-endian 80 04, as a pickle of protocol 4
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + MINIMAL_DATA)
    assert path.read_bytes()[:2] == b"\x80\x04"
    load_checkpoint(path)


def test_many_slots_and_layers_cost_no_more_than_the_file_is_long(tmp_path):
    entries = b"".join(
        b',"optim/s%d/x":{"dtype":"F32","shape":[0],"data_offsets":[36,36]}' % number for number in range(20_000)
    )
    assert "20,000 tensors, not 6 for each of 20,000 slots" in refusal(
        tmp_path, minimal(tensors=MINIMAL_TENSORS + entries)
    )


def test_no_memory_is_taken_for_tensors_that_are_not_there(tmp_path, monkeypatch):
    huge = MINIMAL_TENSORS.replace(b"[1,2]", b"[1,1000000000000]").replace(b"[0,8]", b"[0,4000000000000]")
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory was taken"))
    refusal(tmp_path, minimal(tensors=huge))
    refusal(tmp_path, minimal()[:-1])


@pytest.mark.slow
def test_random_damage_to_the_header_never_ends_in_anything_else(tmp_path):
    rng = random.Random(0)
    tokens = [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"null",
        b"-1",
        b"1e400",
        b"NaN",
        b"\\ud800",
        b"\xff",
        b"99999999999999999999",
        b"F64",
        b"true",
        b"param/",
        b"optim/m/",
        b"carry/h",
        b"__metadata__",
        b"charrnn",
    ]
    path = tmp_path / "a.safetensors"
    header = minimal()[8 : -len(MINIMAL_DATA)]
    for _ in range(1500):
        broken = bytearray(header)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(broken))
            broken[start : start + rng.choice((0, 1, 1, 2, 8))] = rng.choice(tokens) * rng.choice((1, 1, 1, 3))
        path.write_bytes(len(broken).to_bytes(8, "little") + broken + MINIMAL_DATA)
        try:
            load_checkpoint(path)
        except CheckpointError:
            pass


@pytest.mark.slow
def test_any_json_in_place_of_any_part_ends_in_success_or_a_refusal(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    anything = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    metadata = json.loads(MINIMAL_METADATA)
    tensors = json.loads(b"{" + MINIMAL_TENSORS + b"}")
    places = [
        ("format_version",),
        ("model",),
        ("vocabulary",),
        ("training",),
        ("vocabulary", "mode"),
        ("vocabulary", "symbols"),
        ("vocabulary", "normalize"),
        ("vocabulary", "lowercase"),
        ("vocabulary", "newlines"),
    ]
    places += [("model", key) for key in (*metadata["model"], "zoneout")]
    places += [("tensor", name, key) for name in tensors for key in ("dtype", "shape", "data_offsets", None)]
    path = tmp_path / "a.safetensors"

    @hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.sampled_from(places), anything)
    def check(place, value):
        broken = json.loads(MINIMAL_METADATA)
        header = json.loads(b"{" + MINIMAL_TENSORS + b"}")
        if place[0] == "tensor" and place[2] is None:
            header[place[1]] = value
        elif place[0] == "tensor":
            header[place[1]][place[2]] = value
        elif len(place) == 1:
            broken[place[0]] = value
        else:
            broken[place[0]][place[1]] = value
        encoded = json.dumps({"__metadata__": {"charrnn": json.dumps(broken)}, **header}).encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + MINIMAL_DATA)
        try:
            load_checkpoint(path)
        except CheckpointError:
            pass

    check()


# ------------------------------------------------------------------------------------------------------------ saving


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, call):
    path = tmp_path / "last.safetensors"
    good = make(seed=1)
    save_checkpoint(path, good)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, call, fail)
    with pytest.raises(StorageError, match="no space left on device; free some space"):
        save_checkpoint(path, make(seed=2))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["last.safetensors"]
    assert_same(load_checkpoint(path), good)


def changed(checkpoint, **changes):
    return Checkpoint(
        **{name: changes.get(name, getattr(checkpoint, name)) for name in checkpoint.__dataclass_fields__}
    )


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"parameters": make().parameters | {"output.bias": np.full(V, np.nan, "f4")}}, "not finite"),
        ({"parameters": make().parameters | {"output.bias": np.zeros(V)}}, "has dtype 'F64'"),
        ({"parameters": make().parameters | {"output.bias": np.zeros(V, "i4")}}, "has dtype 'int32'"),
        ({"parameters": make().parameters | {"output.bias": np.zeros(V + 1, "f4")}}, "has shape"),
        ({"parameters": make().parameters | {"extra": np.zeros(V, "f4")}}, "not use"),
        ({"optimizer": {"m/output.bias": np.zeros(V, "f4")}}, "1 tensor, not 11 for each"),
        ({"carry": {"h": np.zeros((L, B, H), "f4")}}, "the tensor 'carry/c'"),
        ({"model": make().model | {"cell": "gru"}, "carry": {}}, "shape"),
        ({"model": make().model | {"layer_norm": True}}, "not 13 for each"),
        ({"model": make().model | {"layer_norm": False}}, "its layer_norm must be true, or left out"),
        ({"training": {"loss": float("nan")}}, "cannot be stored as JSON"),
        ({"training": {"config": {1, 2}}}, "cannot be stored as JSON"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, changes, reason):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, make())
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=re.escape(reason)):
        save_checkpoint(path, changed(make(), **changes))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.safetensors"]


# ----------------------------------------------------------------------------------------------------------- finding


def test_places_without_a_checkpoint_are_named(tmp_path):
    for read in (load_checkpoint, read_metadata):
        with pytest.raises(
            CheckpointError, match="none.safetensors does not exist: name a checkpoint file or a run folder"
        ):
            read(tmp_path / "none.safetensors")
        with pytest.raises(CheckpointError, match="is a folder"):
            read(tmp_path)
    with pytest.raises(CheckpointError, match="contains no checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_checkpoint(tmp_path / "pipe")


def test_a_run_folder_gives_its_best_or_its_last(tmp_path):
    (tmp_path / "last.safetensors").touch()
    assert find_checkpoint(tmp_path) == tmp_path / "last.safetensors"
    (tmp_path / "best.safetensors").touch()
    assert find_checkpoint(str(tmp_path)) == tmp_path / "best.safetensors"
    assert find_checkpoint(tmp_path, prefer="last") == tmp_path / "last.safetensors"
    assert find_checkpoint(tmp_path / "last.safetensors") == tmp_path / "last.safetensors"


def test_nothing_named_takes_the_newest_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run under ./checkpoints: train one with 'charrnn train TEXT'"):
        find_checkpoint(None)
    for age, name in ((30, "b"), (10, "a"), (20, "c")):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "last.safetensors").touch()
        os.utime(tmp_path / "checkpoints" / name / "last.safetensors", (10**9 - age, 10**9 - age))
    (tmp_path / "checkpoints" / "newest-but-empty").mkdir()
    (tmp_path / "checkpoints" / "README.md").touch()
    assert newest_run().name == "a"
    assert find_checkpoint() == find_checkpoint(None) == newest_run() / "last.safetensors"
    with pytest.raises(CheckpointError, match="name one of the runs in it, such as .*a"):
        find_checkpoint("checkpoints")


# --------------------------------------------------------------------------------------------------- docs/CHECKPOINT.md

DOCUMENT = (Path(__file__).parent.parent / "docs" / "CHECKPOINT.md").read_text(encoding="utf-8")


def programs():
    """The namespaces of the programs in docs/CHECKPOINT.md: the reader, the way into PyTorch."""
    return re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def documented_slots():
    """Return {optimiser: its slots} as the table of docs/CHECKPOINT.md says."""
    table = DOCUMENT.split("| optimiser | slots |\n|---|---|\n")[1].split("\n\n")[0]
    rows = [[re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {name: tuple(slots) for names, slots in rows for name in names}


def test_the_documented_slots_are_those_of_the_optimisers():
    config = ModelConfig("rnn", V, H, 1)
    slots = {}
    for name in DEFAULTS:
        options = {"momentum": 0.9} if name == "sgd" else {}
        slots[name] = tuple(Optimizer(name, Model(config), **options).state)
    assert documented_slots() == slots


def test_a_run_writes_the_documented_slots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("abc " * 100)
    sizes = ["--hidden-size", "8", "--num-layers", "1", "--batch-size", "2", "--seq-length", "8"]
    options = [*sizes, "--optimizer", "adam", "--ema", "0.9", "--steps", "1", "-o", "run", "-q"]
    assert main(["train", "text.txt", *options, "--no-sample"]) == 0
    names = load_checkpoint(Path("run", "last.safetensors")).optimizer
    assert {name.split("/")[0] for name in names} == {*documented_slots()["adam"], "unaveraged"}


def test_the_documented_reader_reads(tmp_path):
    namespace = {}
    exec(programs()[0], namespace)
    saved = make("gru", "float64", H, tied=True)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    metadata, arrays = namespace["read"](tmp_path / "a.safetensors")
    assert metadata == read_metadata(tmp_path / "a.safetensors")
    for prefix, part in (("param/", saved.parameters), ("optim/", saved.optimizer), ("carry/", saved.carry)):
        found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        assert_same_arrays(found, part)


@pytest.mark.torch
def test_the_documented_way_into_pytorch_refuses_what_pytorch_has_no_module_for(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    namespace, saved = {}, make("lstm")
    exec(programs()[1], namespace)
    saved.model["zoneout"] = 0.1
    save_checkpoint(tmp_path / "a.safetensors", saved)
    with pytest.raises(ValueError, match="zoneout"):
        namespace["load_into_torch"](tmp_path / "a.safetensors")


@pytest.mark.torch
def test_the_documented_way_into_pytorch_gives_charrnns_logits(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    namespace = {}
    exec(programs()[1], namespace)
    ids = np.random.default_rng(0).integers(0, V, (6, B))
    for cell in (name for name, cell in CELLS.items() if cell.torch_class):
        for embedding_size, tied in ((0, False), (E, False), (H, True)):
            # Both biases are random: charrnn sums them, PyTorch adds them.
            saved = make(cell, "float64", embedding_size, tied)
            save_checkpoint(tmp_path / "a.safetensors", saved)
            net, _ = namespace["load_into_torch"](tmp_path / "a.safetensors")
            carry = {name: torch.from_numpy(array) for name, array in saved.carry.items()}
            carry = tuple(carry.values()) if len(carry) > 1 else carry["h"]
            expected = namespace["logits"](net, torch.from_numpy(ids), carry)[0].detach().numpy()

            model = Model(ModelConfig(vocab_size=V, **saved.model))
            model.set_parameters(load_checkpoint(tmp_path / "a.safetensors").parameters)
            workspace = Workspace(model, B, 6, training=False)
            workspace.set_carry(saved.carry)
            # Sums of a few tens of products of order 1, in float64.
            np.testing.assert_allclose(workspace.logits(ids.astype(np.int32)), expected, rtol=0, atol=1e-12)
