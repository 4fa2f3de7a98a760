"""`charrnn import`: a state_dict of PyTorch's becomes a run; names are told apart by rules, or the file is refused."""

import json
import pickle
import shlex
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import oracle
import pytest

from charrnn.cli import main
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.spec import CELLS
from charrnn.text.vocabulary import Vocabulary

safetensors = pytest.importorskip("safetensors.numpy")

V, H = 7, 5
SYMBOLS = "\n abcde"
TEXT = "abc dea\nbed cab\n" * 40


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("symbols.json").write_text(json.dumps(list(SYMBOLS)))
    Path("text.txt").write_text(TEXT)


def tensors(cell="lstm", E=0, tied=False, dtype="float32", rnn="lstm", ends=("encoder", "decoder"), V=V):  # noqa: PLR0913
    """Return a state_dict of PyTorch's, with two real biases."""
    rng = np.random.default_rng(5)
    state = {}
    for name, value in oracle.random_parameters(cell, V, H, 2, E, tied, dtype, 1).items():
        value = rng.standard_normal(value.shape).astype(dtype) / 4 if "bias_hh" in name else value
        state[
            name.replace("rnn.", f"{rnn}.").replace("embedding.", f"{ends[0]}.").replace("output.", f"{ends[1]}.")
        ] = value
    return state


def write(state, name="net.safetensors", metadata=None):
    safetensors.save_file(state, name, metadata)
    return name


def bring(state, *options, vocabulary=("--vocab-file", "symbols.json")):
    """Import a state_dict; return the Checkpoint."""
    out = f"out{len(list(Path().glob('out*')))}.safetensors"
    assert main(["import", write(state), *vocabulary, *options, "-o", out]) == 0
    return load_checkpoint(out)


def refused(capsys, state, *said, options=(), vocabulary=("--vocab-file", "symbols.json")):
    capsys.readouterr()
    file = state if isinstance(state, str) else write(state)
    assert main(["import", file, *vocabulary, *options, "-o", "no"]) == 2
    message = capsys.readouterr().err
    for part in said:
        assert part in message, message
    assert not Path("no").exists()


# ---- which tensor is what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_are_found_under_any_usual_names(cell, dtype):
    for E, tied, rnn, ends in (
        (0, False, "lstm", ("", "fc")),
        (3, False, "module.rnn", ("module.embedding", "module.output")),
        (H, False, "net.gru", ("net.emb", "net.linear")),
        (H, False, "a", ("encoder", "decoder")),
        (V, False, "r", ("embed", "head")),
        (3, False, "x", ("foo", "bar")),  # shapes alone tell
    ):
        state = tensors(cell, E, tied, dtype, rnn, ends)
        found = bring(state)
        assert found.model == {
            "cell": cell, "hidden_size": H, "num_layers": 2, "embedding_size": E, "tied": False, "dtype": dtype,
        }  # fmt: skip
        assert found.vocabulary == Vocabulary("chars", SYMBOLS)
        for name, value in tensors(cell, E, tied, dtype, "rnn", ("embedding", "output")).items():
            assert found.parameters[name].tobytes() == value.tobytes(), name


def test_tied_weights_are_known_stored_twice_or_once_under_either_name():
    state = tensors(E=H, tied=True)
    weights = state["encoder.weight"]
    twice = {**state, "decoder.weight": weights.copy()}
    other = {**state, "decoder.weight": weights}
    del other["encoder.weight"]
    for one in (state, twice, other):
        found = bring(one)
        assert found.model["tied"] and found.parameters["embedding.weight"].tobytes() == weights.tobytes()
        assert "output.weight" not in found.parameters


def test_missing_biases_are_zero_and_halves_become_float32(capsys):
    state = {name: value for name, value in tensors(E=3).items() if "bias" not in name}
    found = bring({name: value.astype(np.float16) for name, value in state.items()})
    assert not found.parameters["rnn.bias_ih_l1"].any() and not found.parameters["output.bias"].any()
    half = state["encoder.weight"].astype(np.float16).astype(np.float32)
    assert found.parameters["embedding.weight"].tobytes() == half.tobytes()
    assert "no biases; they are set to zero" in capsys.readouterr().err


def test_bfloat16_is_widened():
    words = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors().items()}
    data = Path(write(words)).read_bytes().replace(b'"U16"', b'"BF16"')
    length = int.from_bytes(data[:8], "little") + sum(data.count(b'"BF16"') for _ in "x")
    Path("net.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
    assert main(["import", "net.safetensors", "--vocab-file", "symbols.json", "-o", "b.safetensors"]) == 0
    found = load_checkpoint("b.safetensors").parameters["output.weight"]
    assert (found.view(np.uint32) >> 16 == words["decoder.weight"]).all() and not (found.view(np.uint32) & 0xFFFF).any()


def test_what_is_open_is_refused_with_what_was_found_and_the_option_that_decides(capsys):
    state = {name: value for name, value in tensors(E=H, ends=("a", "b")).items() if name != "b.bias"}
    refused(capsys, state, "2 matrices that could be the output, a.weight [7, 5], b.weight [7, 5]", "--output-layer a")
    found = bring(state, "--output-layer", "b")
    assert found.parameters["output.weight"].tobytes() == state["b.weight"].tobytes()
    assert found.parameters["embedding.weight"].tobytes() == state["a.weight"].tobytes()
    again = bring(state, "--embedding", "b.weight")
    assert again.parameters["embedding.weight"].tobytes() == state["b.weight"].tobytes()
    refused(capsys, state, "--output-layer c: no matrix with this name", options=["--output-layer", "c"])

    square = tensors(V=H)
    Path("five.json").write_text(json.dumps(list("abcde")))
    five = ("--vocab-file", "five.json")
    refused(capsys, square, "may also be the embedding: choose --embedding decoder", vocabulary=five)
    assert not bring(square, "--embedding", "none", vocabulary=five).model["tied"]
    assert bring(square, "--embedding", "decoder", vocabulary=five).model["tied"]

    both = {**tensors(), **{name: value for name, value in tensors(rnn="gru2").items() if "gru2" in name}}
    refused(capsys, both, "2 recurrent networks", "--rnn gru2 or --rnn lstm")
    refused(capsys, both, "--rnn x: there are no recurrent layers with this name", options=["--rnn", "x"])
    refused(
        capsys, both, "has 8 tensors that do not belong to an embedding, LSTM or nn.Linear, ", options=["--rnn", "lstm"]
    )


def test_what_charrnn_does_not_compute_is_refused_in_a_sentence(capsys):
    state = tensors()
    for more, said in (
        ({"lstm.weight_ih_l0_reverse": state["lstm.weight_ih_l0"]}, "lstm. is bidirectional"),
        ({"lstm.weight_hr_l0": np.zeros((3, H), np.float32)}, "has"),
        (
            {"attention.weight": np.zeros((3, 3), np.float32)},
            "1 tensor that do not belong to an embedding, LSTM or nn.Linear, ",
        ),
        ({"h0": np.zeros((2, 1, H), np.float32)}, "h0 [2, 1, 5]"),
        ({"step": np.zeros(1, np.int64)}, "F16 or BF16: save it as float32 if it is a weight"),
        ({"decoder.weight": np.zeros((9, H), np.float32)}, "has 9 rows, but the vocabulary has 7 symbols"),
        ({"decoder.bias": np.zeros(V, np.float64)}, "float32 and float64"),
        ({"decoder.bias": np.full(V, np.nan, np.float32)}, "not finite"),
        ({"lstm.weight_hh_l0": np.zeros((2 * H, H), np.float32)}, "a torch.nn.LSTM has (4 H, H) there"),
        ({"lstm.weight_hh_l0": np.zeros((4 * H, 0), np.float32)}, "a torch.nn.LSTM has (4 H, H) there"),
        (
            {"lstm.weight_hh_l1": np.zeros((3 * H, H), np.float32)},
            "has shape [15, 5], but its model needs [20, 5]: save the whole state_dict again",
        ),
        (
            {"lstm.weight_ih_l7": np.zeros((4 * H, H), np.float32)},
            "has no lstm.weight_ih_l2: save the whole state_dict",
        ),
    ):
        refused(capsys, {**state, **more}, said)
    for name, said in (
        ("lstm.bias_hh_l1", "has no lstm.bias_hh_l1"),
        ("lstm.weight_ih_l0", "has no lstm.weight_ih_l0"),
        ("decoder.weight", "has no output"),
    ):
        refused(capsys, {one: value for one, value in state.items() if one != name}, said)
    refused(capsys, {"fc.weight": state["decoder.weight"]}, "has no recurrent layer of PyTorch")


# ---- hostile files, and those of other kinds ---------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_with_the_lines_that_make_a_safetensors_file_of_it(protocol, capsys):
    state = {"a": np.ones(3, np.float32)}
    for value in (state, OrderedDict(state), [state], (1, state), 0x1950A86A20F9469CFC6C):  # the last is torch.save's
        Path("my net").write_bytes(pickle.dumps(value, protocol) + bytes(9))
        refused(capsys, "my net", "a Python pickle", "weights_only=True", "'my net' 'my net.safetensors'")
        refused(capsys, "my net", "then: charrnn import 'my net.safetensors'")


def test_a_file_of_pytorchs_in_a_zip_archive_is_refused_likewise(capsys):
    Path("net.pth").write_bytes(b"PK\x03\x04" + bytes(90))
    refused(capsys, "net.pth", "a zip archive", "weights_only=True", "net.pth net.safetensors")


def test_a_checkpoint_and_what_is_no_state_dict_are_refused(capsys):
    assert main(["import", write(tensors()), "--vocab-file", "symbols.json", "-o", "run"]) == 0
    refused(capsys, "run/last.safetensors", "is already a checkpoint of charrnn; use it as it is", vocabulary=())
    refused(capsys, "text.txt", "is not a safetensors file")
    refused(capsys, "gone.safetensors", "does not exist")
    refused(capsys, "run", "is a folder")
    capsys.readouterr()
    assert main(["sample", "net.safetensors"]) == 2
    assert "'charrnn import FILE'" in capsys.readouterr().err


def test_every_cut_and_every_lie_in_the_header_is_refused(capsys):
    data = Path(write(tensors())).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    for size in (0, 1, 7, 8, 9, 100, 8 + length, len(data) - 1):
        Path("cut.safetensors").write_bytes(data[:size])
        refused(capsys, "cut.safetensors", "cut.safetensors is ")

    def lie(old, new, said):
        changed = header.replace(old, new, 1)
        assert changed != header
        Path("lie.safetensors").write_bytes(len(changed).to_bytes(8, "little") + changed + data[8 + length :])
        refused(capsys, "lie.safetensors", said)

    lie(b"[7,5]", b"[7,500000000]", "its shape and dtype require")
    lie(b"[7,5]", b"[-7,5]", "not a list of whole numbers")
    lie(b'"F32"', b'"F99"', "has dtype 'F99'")
    lie(b'"data_offsets":[0,', b'"data_offsets":[4,', "begins at")
    lie(b'"decoder.bias"', b'"decoder.weight"', "the same key twice")
    lie(header, b"[" * 300 + b"]" * 300, "is not a safetensors file")
    lie(header, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "levels deep")
    lie(header, b'{"__metadata__":{"charrnn_model":"{}"}}', "bytes of tensors")


# ---- vocabularies ------------------------------------------------------------------------------------------------


def test_a_vocabulary_is_a_list_an_object_a_text_of_symbols_or_that_of_a_text():
    state, expected = tensors(), Vocabulary("chars", SYMBOLS)
    Path("ids.json").write_text(json.dumps({symbol: number for number, symbol in reversed(list(enumerate(SYMBOLS)))}))
    Path("ours.json").write_text(json.dumps(expected.to_json()))
    Path("symbols.txt").write_text(SYMBOLS)
    Path("edited.txt").write_text(SYMBOLS + "\n")  # as an editor ends it
    for name in ("ids.json", "ours.json", "symbols.txt", "edited.txt"):
        assert bring(state, vocabulary=("--vocab-file", name)).vocabulary == expected, name
    assert bring(state, vocabulary=("--vocab-text", "text.txt")).vocabulary == expected
    Path("bytes.json").write_text(json.dumps(list(range(V))))
    assert bring(state, vocabulary=("--vocab-file", "bytes.json")).vocabulary == Vocabulary("bytes", range(V))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("v.json", '["a", "a"]', "differ"),
        ("v.json", '["ab"]', "one character"),
        ("v.json", "[256]", "a byte, 0 to 255"),
        ("v.json", '{"a": 0, "b": 2}', "must be 0 to 1, each once"),
        ("v.json", '{"a": 0, "b": 0}', "must be 0 to 1, each once"),
        ("v.json", "[]", "at least 1 symbol"),
        ("v.json", "7", "a list of symbols, or an object of their ids"),
        ("v.json", "[" * 100_000, "it is not valid JSON"),
        ("v.json", "abc", "it is not valid JSON"),
        ("v.txt", TEXT, "use --vocab-text"),
        ("v.txt", "\xff", "is not UTF-8 at byte 0"),
        ("v.txt", "abc", "the vocabulary has 3 symbols"),
    ],
)
def test_what_is_no_vocabulary_is_refused(name, content, said, capsys):
    Path(name).write_bytes(content.encode("latin-1"))
    refused(capsys, tensors(), said, vocabulary=("--vocab-file", name))


def test_a_vocabulary_must_be_named_once(capsys):
    refused(capsys, tensors(), "does not contain its symbols: give", vocabulary=())
    options = ["--vocab-text", "text.txt"]
    refused(capsys, tensors(), "--vocab-file and --vocab-text both give the symbols", options=options)
    refused(capsys, tensors(), "not exist: name a file with", vocabulary=("--vocab-file", "gone"))


# ---- the run that comes of it ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_command_takes_an_imported_model_or_says_why_not(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["import", write(tensors("gru", 3)), "--vocab-file", "symbols.json"]) == 0
    run = "checkpoints/net-1"
    Path("long.txt").write_text(TEXT * 8)
    assert run in capsys.readouterr().err and sorted(path.name for path in Path(run).iterdir()) == ["last.safetensors"]
    for arguments in (
        f"info {run}", f"info {run} --json", f"sample {run} --length 20 --seed 1", f"eval {run} text.txt",
        f"eval {run} text.txt --dynamic", f"cells {run} long.txt", f"gradients {run} text.txt", "doctor",
        f"export {run} --torch again.py", f"import again.safetensors -o {run}-again",
        f"train text.txt --init-from {run} --steps 2 --batch-size 2 --seq-length 8 --no-sample --quiet -o more",
    ):  # fmt: skip
        assert main(shlex.split(arguments)) == 0, (arguments, capsys.readouterr().err)
    assert "imported from" in capsys.readouterr().out
    for arguments, said in (
        (f"eval {run}", "does not name the text that it was trained on"),
        (f"cells {run}", "does not name the text that it was trained on"),
        (
            f"train --resume {run}",
            "not a run that can be resumed: start a new run from its weights with: charrnn train TEXT --init-from "
            f"{run}",
        ),
        (f"import net.safetensors --vocab-file symbols.json -o {run}", "already contains a run"),
        (
            f"import net.safetensors --vocab-file symbols.json -o {run}/last.safetensors",
            "already exists, and a checkpoint is never replaced: name another file with -o",
        ),
        (f"predict {run} text.txt", "label"),
    ):
        capsys.readouterr()
        assert main(shlex.split(arguments)) == 2, arguments
        message = capsys.readouterr().err
        assert said in message, message


@pytest.mark.parametrize("cell", CELLS)
def test_an_imported_model_computes_what_its_two_biases_say(cell):
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace

    checkpoint = bring(tensors(cell, 3, dtype="float64"))
    x, _ = oracle.random_chunk(V, 6, 2)
    expected = oracle.forward(checkpoint.parameters, cell, x, oracle.random_carry(cell, 2, 2, H, "float64", seed=1))
    workspace = Workspace(Model.from_checkpoint(checkpoint), 2, 6, training=False)
    workspace.set_carry(oracle.random_carry(cell, 2, 2, H, "float64", seed=1))
    assert np.abs(workspace.logits(x) - expected.logits).max() < 1e-10


@pytest.mark.torch
@pytest.mark.parametrize("cell", CELLS)
def test_an_imported_model_has_the_logits_of_torchs(cell, capsys):
    torch = pytest.importorskip("torch")
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, 3)
            self.rnn = getattr(torch.nn, CELLS[cell].torch_class)(3, H, 3)
            self.fc = torch.nn.Linear(H, V)

    torch.manual_seed(1)
    net = Net()
    torch.save(net.state_dict(), "net.pt")
    assert main(["import", "net.pt", "--vocab-file", "symbols.json"]) == 2
    said = shlex.split(capsys.readouterr().err.split(" with: ")[1])  # what the message says to do
    assert said[0] == "python" and subprocess.run([sys.executable, *said[1:5]]).returncode == 0
    assert main(["import", "net.safetensors", "--vocab-file", "symbols.json", "-o", "x.safetensors"]) == 0
    x, _ = oracle.random_chunk(V, 6, 2)
    logits = Workspace(Model.from_checkpoint(load_checkpoint("x.safetensors")), 2, 6, training=False).logits(x)
    expected = net.fc(net.rnn(net.embedding(torch.tensor(x.astype(np.int64))))[0])
    assert np.abs(logits - expected.detach().numpy()).max() < 1e-5
