"""`charrnn export --torch` and `charrnn import`: the text and the weights, and what comes back; with PyTorch, parity.

PyTorch sums in another order than charrnn, so logits of float32 agree to 1e-5, those of float64 to 1e-10.
"""

import ast
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import oracle
import pytest

from charrnn.cli import main
from charrnn.export.torch_module import example_text, module_text, select
from charrnn.files import storage
from charrnn.files.marks import has_mark
from charrnn.files.storage import atomic_write_all
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.spec import CELLS
from charrnn.text.rewriting import Rewriting
from charrnn.text.vocabulary import Vocabulary

H = 5
CHARS = Vocabulary("chars", "\nThe abc")
ITEMS = ("START", "END")
PARTED = {"special": ("START", "SEP", "END"), "labels": ("en", "fr")}
INPUTS = {"one-hot": (0, False), "embedding": (3, False), "tied": (H, True)}
VOCABULARIES = {
    "chars": (CHARS, None),
    "bytes": (Vocabulary("bytes", range(256)), None),
    "rewritten": (Vocabulary("chars", "the\n\u00e9", Rewriting("nfc", True, "lf")), None),
    "lowercase": (Vocabulary("chars", "the\U0001f600", Rewriting("none", True)), None),
    "items": (Vocabulary("chars", "The ", special=ITEMS), None),
    **{task: (Vocabulary("chars", "The ", **PARTED), task) for task in ("steer", "classify", "both")},
    "translate": (Vocabulary("chars", "The ", special=PARTED["special"]), "translate"),
}

LABELLED = {"items": "jsonl", "text_field": "text", "label_field": "language"}
READING = {
    None: {"items": "lines"},
    "steer": LABELLED,  # which has no name of its own
    "classify": {**LABELLED, "task": "classify"},
    "both": {**LABELLED, "task": "both"},
    "translate": {"items": "jsonl", "task": "translate", "source_field": "a", "target_field": "b"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def make(cell="lstm", inputs="one-hot", dtype="float32", zoneout=0.0, layer_norm=False, vocabulary="chars"):  # noqa: PLR0913
    """Return a Checkpoint with random parameters."""
    (E, tied), (known, task) = INPUTS[inputs], VOCABULARIES[vocabulary]
    model = {"cell": cell, "hidden_size": H, "num_layers": 2, "embedding_size": E, "tied": tied, "dtype": dtype}
    model |= {"zoneout": zoneout} if zoneout else {}
    model |= {"layer_norm": True} if layer_norm else {}
    parameters = oracle.random_parameters(cell, known.size, H, 2, E, tied, dtype, 1, layer_norm)
    training = {"config": READING[task]} if known.special else {}
    return Checkpoint(model, known, parameters, {}, {}, training)


def every_model():
    """Yield a checkpoint of each shape of text: cells with normalisation and zoneout and inputs, and vocabularies."""
    for cell, layer_norm, zoneout, inputs in itertools.product(CELLS, (False, True), (0.0, 0.1), INPUTS):
        yield make(cell, inputs, "float64" if zoneout else "float32", zoneout, layer_norm)
    for vocabulary in VOCABULARIES:
        yield make(vocabulary=vocabulary)
        yield make("gru", zoneout=0.2, vocabulary=vocabulary)


def export(checkpoint, name="model.py"):
    save_checkpoint("run.safetensors", checkpoint)
    assert main(["export", "run.safetensors", "--torch", name]) == 0


def refused(capsys, arguments, *said):
    capsys.readouterr()
    assert main(arguments) == 2
    message = capsys.readouterr().err
    for part in said:
        assert part in message, message


# ---- the text and the files --------------------------------------------------------------------------------------


def test_every_text_is_python_that_imports_what_it_uses_and_no_more():
    for checkpoint in every_model():
        text = module_text(checkpoint, "model.py", "model.safetensors")
        tree = ast.parse(text)
        imported = {
            (alias.asname or alias.name).split(".")[0]
            for node in tree.body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert imported <= used and "charrnn" not in imported
        assert "#:" not in text and not [name for name in used if name.startswith("__") and name.isupper()]
        assert max(map(len, text.splitlines())) <= 120
        assert text.startswith("# generator: charrnn\n") and len(text.splitlines()) < 230


def test_every_text_is_as_ruff_has_it(tmp_path):
    ruff = pytest.importorskip("ruff").find_ruff_bin()
    for number, checkpoint in enumerate(every_model()):
        Path(f"m{number}.py").write_text(module_text(checkpoint, f"m{number}.py", "model.safetensors"))
    settings = Path(__file__).parent.parent / "pyproject.toml"
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *arguments, "--no-cache", "--config", settings, "."], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_torchs_own_layers_are_used_where_they_compute_the_same():
    for cell, name in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "RNN")):
        assert f"nn.{name}(V, H, L, batch_first=True)" in module_text(make(cell), "m.py", "m.safetensors")
        assert "class Layers" in module_text(make(cell, zoneout=0.1), "m.py", "m.safetensors")
        assert "F.layer_norm" in module_text(make(cell, layer_norm=True), "m.py", "m.safetensors")


def test_a_name_never_breaks_out_of_the_text():
    for name in ('a"b.py', "a\\.py", 'x"""y.py', "ä b.py", "my-model.py"):
        text = module_text(make(), name, name.replace(".py", ".safetensors"))
        weights = next(
            node.value.args[0].value
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WEIGHTS"
        )
        assert weights == name.replace(".py", ".safetensors")


def test_conditions_of_the_template_nest():
    flags = {"a": True, "b": False, "c": True}
    text = "1|#: if b|2|#: if a|3|#: end|#: elif a and not c or c|4|  #: if not a|5|#: else|6|#: end|#: end|7"
    text = text.replace("|", "\n")
    assert select(text, flags) == "1\n4\n6\n7\n"


def test_both_files_are_known_again_and_replaced_and_no_others(capsys):
    export(make())
    before = [Path(name).read_bytes() for name in ("model.py", "model.safetensors")]
    assert has_mark("model.py") and has_mark("model.safetensors") and not has_mark("run.safetensors")
    export(make())  # again, unasked; the same content gives the same bytes
    assert [Path(name).read_bytes() for name in ("model.py", "model.safetensors")] == before
    Path("mine.safetensors").write_bytes(Path("run.safetensors").read_bytes())
    Path("own.py").write_text("print()\n")
    for name, said in (
        ("mine.py", "--torch mine.py also writes mine.safetensors, which is a checkpoint: choose another file"),
        ("own.py", "--torch own.py exists, and charrnn did not write it: add --force"),
        ("run.py", "--torch run.py also writes run.safetensors, which is a checkpoint"),
        ("new.safetensors", "is the name of a file that is written with it"),
    ):
        refused(capsys, ["export", "run.safetensors", "--torch", name], said)
    assert Path("own.py").read_text() == "print()\n" and not Path("own.safetensors").exists()
    assert main(["export", "run.safetensors", "--torch", "own.py", "--force"]) == 0
    refused(capsys, ["export", "run.safetensors", "--torch", "mine.py", "--force"], "is a checkpoint")


def test_several_files_are_written_all_or_none(monkeypatch):
    Path("a").write_text("old")
    with pytest.raises(ZeroDivisionError):
        atomic_write_all({Path("a"): "new", Path("b"): (bytes(1 // (3 - n)) for n in range(5))})
    assert Path("a").read_text() == "old" and os.listdir() == ["a"]
    replace = os.replace

    def fails_on_c(source, target):
        if Path(target).name == "c" and Path(source).suffix == ".tmp":
            raise OSError(30, "Read-only file system")
        return replace(source, target)

    monkeypatch.setattr(storage.os, "replace", fails_on_c)
    with pytest.raises(storage.StorageError, match="cannot write c: read-only"):
        atomic_write_all({Path("a"): "new", Path("b"): "new", Path("c"): "new"})
    assert Path("a").read_text() == "old" and os.listdir() == ["a"]
    monkeypatch.setattr(storage.os, "replace", replace)
    atomic_write_all({Path("a"): "new", Path("b"): b"new"})
    assert [Path(name).read_text() for name in sorted(os.listdir())] == ["new", "new"]


# ---- there and back ----------------------------------------------------------------------------------------------


def test_what_is_exported_comes_back_as_it_is():
    "Bits of every tensor, the model and the vocabulary; of the options those that say how items are read."
    for number, checkpoint in enumerate(every_model()):
        save_checkpoint("run.safetensors", checkpoint)
        assert main(["export", "run.safetensors", "--torch", "m.py"]) == 0
        assert main(["import", "m.safetensors", "-o", f"back{number}.safetensors"]) == 0
        back = load_checkpoint(f"back{number}.safetensors")
        assert back.model == checkpoint.model and back.vocabulary == checkpoint.vocabulary
        assert {name: array.tobytes() for name, array in back.parameters.items()} == {
            name: array.tobytes() for name, array in checkpoint.parameters.items()
        }
        config = {name: value for name, value in checkpoint.training.get("config", {}).items() if value is not None}
        assert back.training.get("config", {}) == config


def test_nothing_of_the_run_but_how_it_reads_goes_with_the_weights():
    checkpoint = make()
    training = {"config": {"encoding": "latin-1", "seed": 7}, "corpus": {"sources": ["/home/me/secret.txt"]}, "step": 3}
    export(Checkpoint(checkpoint.model, checkpoint.vocabulary, checkpoint.parameters, {}, {}, training))
    told = Path("model.safetensors").read_bytes()
    assert b"secret" not in told and b"latin-1" in told and b"seed" not in told


def test_a_damaged_export_is_refused(capsys):
    safetensors = pytest.importorskip("safetensors.numpy")
    export(make())
    from safetensors import safe_open

    with safe_open("model.safetensors", "np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    told = json.loads(metadata["charrnn_model"])
    for model, said in (
        ({**told["model"], "hidden_size": 6}, "has shape [20, 8], but its model needs [24, 8]: export it again"),
        (
            {**told["model"], "num_layers": 3},
            "'rnn.bias_hh_l2' is missing; export it again: charrnn export RUN --torch FILE",
        ),
        ({**told["model"], "cell": "lsm"}, "its cell must be"),
        ({**told["model"], "num_layers": 10**9}, "num_layers must be"),
    ):
        description = json.dumps({**told, "model": model})
        safetensors.save_file(tensors, "bad.safetensors", {"charrnn_model": description})
        refused(capsys, ["import", "bad.safetensors", "-o", "x"], said)
        assert not Path("x").exists()
    refused(capsys, ["import", "model.safetensors", "--vocab-text", "t.txt"], "leave --vocab-text out")


# ---- beside PyTorch ----------------------------------------------------------------------------------------------


def load_module(name="model"):
    spec = importlib.util.spec_from_file_location(name, f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_module_computes_the_models_logits_and_gradients(cell, inputs):
    torch = pytest.importorskip("torch")
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace

    for layer_norm, zoneout, dtype in itertools.product((False, True), (0.0, 0.3), ("float32", "float64")):
        checkpoint = make(cell, inputs, dtype, zoneout, layer_norm)
        export(checkpoint)
        net, model = load_module().load(), Model.from_checkpoint(checkpoint)
        tolerance = 1e-5 if dtype == "float32" else 1e-10
        x, y = oracle.random_chunk(CHARS.size, 9, 4, seed=2)
        workspace = Workspace(model, 4, 9, training=True)
        expected = workspace.logits(x)
        ids = torch.tensor(x.T.astype(np.int64))
        found, states = net(ids[:, :5])
        more, states = net(ids[:, 5:], states)
        logits = torch.cat([found, more], dim=1)
        assert np.abs(logits.detach().numpy().transpose(1, 0, 2) - expected).max() < tolerance
        states = states if CELLS[cell].has_c else (states,)
        for name, state in zip("hc", states):
            assert np.abs(state.detach().numpy() - workspace.get_carry()[name]).max() < tolerance

        workspace.reset_carry()
        workspace.loss_and_grads(x, y)
        targets = torch.tensor(y.T.astype(np.int64))
        torch.nn.functional.cross_entropy(net(ids)[0].flatten(0, 1), targets.flatten()).backward()
        grads = {name: parameter.grad.numpy() for name, parameter in net.named_parameters()}
        assert grads.keys() == model.shapes().keys()
        ours = model.unpack(workspace.grads)
        for name, grad in oracle.one_bias(ours, cell).items():
            if "bias_hh" in name and cell != "gru":
                continue  # its gradient is that of bias_ih, and charrnn has one bias
            rows = slice(2 * H, None) if "bias_hh" in name else slice(None)
            assert np.abs(grads[name][rows] - grad[rows]).max() < 10 * tolerance, name


@pytest.mark.torch
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_module_reads_and_writes_text_as_charrnn_does(vocabulary, capsys):
    torch = pytest.importorskip("torch")
    checkpoint = make("gru", vocabulary=vocabulary, dtype="float64")
    export(checkpoint)
    net, known = load_module().load(), checkpoint.vocabulary
    text = "THE\r\ne\u0301" if vocabulary == "rewritten" else "the" if vocabulary == "lowercase" else "The "
    assert net.encode(text).tolist() == known.encode(text).tolist()
    assert net.decode(known.encode(text)) == known.decode(known.encode(text))
    if vocabulary not in ("bytes",):
        with pytest.raises(ValueError, match="not in the model's vocabulary"):
            net.encode("Q~")
    if known.special:
        with pytest.raises(ValueError, match="a row of its own"):
            net(torch.tensor([[0, known.start_id]]))
    capsys.readouterr()
    if vocabulary in ("classify", "both"):
        from charrnn.evaluation.labels import label_probabilities
        from charrnn.model.parameters import Model

        labels = [known.label_id(name) for name in known.labels]
        expected = label_probabilities(Model.from_checkpoint(checkpoint), [known.encode("The ")], known.end_id, labels)
        assert np.allclose(list(net.label_probabilities("The ").values()), expected[0], atol=1e-9)
    if vocabulary in ("classify", "translate", "bytes"):
        assert vocabulary == "classify" or net.write(net.encode(text), 5)
        return
    given = ["--given", "fr"] if vocabulary == "steer" else []
    options = ["--temperature", "0.7", "--seed", "3", "--length", "60"]
    for filters, more in ({}, []), ({"top_k": 3}, ["--top-k", "3"]), ({"top_p": 0.6}, ["--top-p", "0.6"]):
        assert main(["sample", "run.safetensors", "--prime", "the", "--unknown", "skip", *options, *given, *more]) == 0
        expected = capsys.readouterr().out.rstrip("\n")
        expected = json.loads(expected)["text"] if known.labels else expected  # a record, as those of the run
        arguments = (["fr"] if given else []) + ["he" if "t" not in known.symbols else "the"]
        found = net.sample(*arguments, length=60, temperature=0.7, seed=3, **filters)
        assert (arguments[-1] + found).rstrip("\n") == expected


def test_the_example_is_a_text_that_the_model_can_read():
    for symbols, example in ((CHARS.symbols, "The "), ("\n .\u3131", "\u3131"), ("\n.", "\n")):
        assert example_text(Vocabulary("chars", symbols)) == example
    assert example_text(Vocabulary("bytes", [0x0A, 0x61, 0xEA])) == "a"


@pytest.mark.torch
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_example_in_the_docstring_runs(vocabulary, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(".")
    export(make("gru", vocabulary=vocabulary), f"of_{vocabulary}.py")
    lines = load_module(f"of_{vocabulary}").__doc__.splitlines()
    first = next(n for n, line in enumerate(lines) if line.lstrip().startswith("from "))
    last = max(n for n, line in enumerate(lines) if line.startswith("    "))
    exec(textwrap.dedent("\n".join(lines[first : last + 1])), {})


@pytest.mark.torch
def test_the_file_is_a_program_and_a_tuned_model_comes_back(capsys):
    torch = pytest.importorskip("torch")
    export(make(layer_norm=True, inputs="tied"), "net.py")
    done = subprocess.run([sys.executable, "net.py", "The", "--length", "40"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("The") and len(done.stdout) == 44, done.stderr
    net = load_module("net").load()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    ids = net.encode("The abc\nThe")[None]
    torch.nn.functional.cross_entropy(net(ids[:, :-1])[0].flatten(0, 1), ids[0, 1:]).backward()
    optimiser.step()
    net.save("tuned.safetensors")
    assert not has_mark("tuned.safetensors")  # it is the user's work, and never replaced
    assert main(["import", "tuned.safetensors", "-o", "tuned"]) == 0
    back = load_checkpoint("tuned/last.safetensors")
    for name, parameter in net.named_parameters():
        assert back.parameters[name].tobytes() == parameter.detach().numpy().tobytes()
