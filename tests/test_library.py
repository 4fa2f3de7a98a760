"""The calls of `import charrnn`."""

import doctest
import importlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parent.parent
LINE = "to be or not to be, that is the question:\n"
TINY = {"hidden_size": 12, "num_layers": 1, "batch_size": 4, "seq_length": 16, "dropout": 0.0, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with corpus.txt and demo, a run that was trained on it."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "corpus.txt").write_text(LINE * 600, encoding="utf-8")
    records = list(charrnn.train(folder / "corpus.txt", output=folder / "demo", steps=60, learning_rate=0.02, **TINY))
    assert isinstance(records[-1], charrnn.Finished) and not records[-1].resumable
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """Work in a folder of one's own that has the text and the run."""
    for name in ("corpus.txt", "demo"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(folder):
    return charrnn.load(folder / "demo")


@pytest.mark.parametrize(
    "name", ["charrnn", "charrnn.library", "charrnn.library.drawing", "charrnn.spec", "charrnn.text.vocabulary"]
)
def test_the_examples_of_the_docstrings_run(name, here):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0 and (results.attempted or name == "charrnn")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, charrnn; loaded = set(sys.modules) & {'numpy', 'numba', 'click', 'rich', 'charrnn.library'};"
        "assert not loaded, loaded; charrnn.ModelConfig; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_name_is_there_and_listed():
    for name in charrnn.__all__:
        assert getattr(charrnn, name) is not None
    assert set(charrnn.__all__) <= set(dir(charrnn))
    with pytest.raises(AttributeError):
        getattr(charrnn, "nothing")  # noqa: B009 - the attribute is the test


def test_a_model_knows_where_it_is_from(model, folder):
    assert model.path == folder / "demo" / "best.safetensors"
    assert model.training["step"] == 60 and model.vocabulary.size == len(set(LINE))


def test_a_sample_is_what_the_command_draws(model, folder, capfd):
    from charrnn.cli import main

    text = charrnn.sample(model, 50, prime="to be", temperature=0.7, seed=3)
    assert main(["sample", str(folder / "demo"), "--length", "50", "--prime", "to be", "--temperature", "0.7",
                 "--seed", "3", "--hide-prime"]) == 0  # fmt: skip
    assert capfd.readouterr().out.rstrip("\n") == text.rstrip("\n")
    assert charrnn.sample(model, 50, prime="to be", temperature=0.7, seed=3, num_samples=2)[0] == text
    assert "q" not in charrnn.sample(model, 100, stop=["q"], seed=1)


def test_a_model_without_a_vocabulary_is_refused():
    config = charrnn.ModelConfig("gru", vocab_size=5, hidden_size=4, num_layers=1)
    with pytest.raises(charrnn.ConfigError, match="vocabulary"):
        charrnn.sample(charrnn.Model.initialise(config, seed=1))


def test_an_evaluation_is_what_the_command_prints(model, folder, capfd):
    import json

    from charrnn.cli import main

    assert main(["eval", str(folder / "demo"), "--split", "test", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    judgement = charrnn.evaluate(model, split="test")
    assert json.loads(json.dumps(judgement.to_dict(model.path))) == printed
    assert charrnn.evaluate(model, folder / "corpus.txt").baselines  # by the model's own text


def test_findings_show_themselves_in_a_notebook(model, folder):
    findings = charrnn.find_cells(model, folder / "corpus.txt", characters=20_000)
    html = findings._repr_html_()
    assert html.count("<tr>") == 1 + len(findings.named)
    judged = charrnn.evaluate(model, string=LINE)._repr_html_()
    assert "this model" in judged and "the more bits it needs" in judged
    assert "LSTM" in model._repr_html_()


@pytest.mark.slow
def test_a_notebook_shows_the_model_the_findings_and_the_loss(here):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    sources = [
        "import charrnn\nmodel = charrnn.load('demo')\nmodel",
        "charrnn.find_cells(model, 'corpus.txt', characters=20_000)",
        "charrnn.evaluate(model, string='to be or not to be')",
        "charrnn.sample(model, 20, seed=1)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(here)}}).execute()
    shown = [cell.outputs[-1].data for cell in notebook.cells]
    assert all("<table" in data["text/html"] for data in shown[:3])
    assert "text/html" not in shown[3] and len(eval(shown[3]["text/plain"])) == 20


def test_a_run_is_stopped_and_resumed_to_the_same_end(folder, tmp_path):
    text = folder / "corpus.txt"
    whole = list(charrnn.train(text, output=tmp_path / "whole", steps=8, **TINY))[-1]
    run = charrnn.train(text, output=tmp_path / "parts", steps=8, **TINY)
    for record in run:
        if isinstance(record, charrnn.Step) and record.step == 3:
            run.stop()
    assert record.resumable and record.step == 3
    ended = list(charrnn.train(resume=tmp_path / "parts"))[-1]
    assert ended.best_loss_nats == whole.best_loss_nats and ended.step == 8
    one, other = (charrnn.load(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert one.flat.tobytes() == other.flat.tobytes()


def test_leaving_the_loop_lets_go_of_the_folder(folder, tmp_path):
    for record in charrnn.train(folder / "corpus.txt", output=tmp_path / "run", steps=8, **TINY):
        if isinstance(record, charrnn.Step):
            break
    del record
    assert list(charrnn.train(resume=tmp_path / "run"))[-1].step == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hiden_size": 3}, ["hiden_size", "hidden_size"]),
        ({"hidden_size": 0}, ["hidden_size", "0"]),
        ({"resume": "x", "output": "y"}, ["resume", "output"]),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(arguments, words, here):
    with pytest.raises(charrnn.ConfigError) as caught:
        charrnn.train("corpus.txt", **arguments)
    assert all(word in str(caught.value) for word in words)
    assert sorted(path.name for path in here.iterdir()) == ["corpus.txt", "demo"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"split": "all"}, "split"), ({"texts": "corpus.txt", "string": "to"}, "string"), ({"string": "~"}, "'~'")],
)
def test_a_wrong_text_is_refused(model, arguments, word, here):
    with pytest.raises(charrnn.CharRNNError, match=word):
        charrnn.evaluate(model, **arguments)


def test_the_example_of_the_page_about_python_runs(tmp_path, monkeypatch, capsys):
    block = re.search(
        r"    import charrnn\n.*?\n\n(?=- )", (ROOT / "docs/howto/python.md").read_text(encoding="utf-8"), re.S
    ).group(0)
    code = textwrap.dedent(block).replace("steps=500", "steps=2, hidden_size=16")
    assert "hidden_size=16" in code
    (tmp_path / "corpus.txt").write_text("ROMEO: To be, or not to be?\n" * 3_500, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["logits"].shape == (5, 1, names["model"].vocabulary.size)
    assert "Finished(step=2" in capsys.readouterr().out


def test_errors_of_the_plan_carry_the_options_that_they_are_about(here):
    def refused(**arguments):
        with pytest.raises(charrnn.ConfigError) as caught:
            charrnn.train(**arguments)
        return caught.value.options

    assert refused(texts="corpus.txt", epochs=1e18) == ("epochs",)
    assert refused(texts="corpus.txt", init_from="demo", hidden_size=13) == ("hidden_size",)
    assert refused(texts="corpus.txt", init_from="demo", vocab="bytes") == ("vocab",)
    assert refused(texts="corpus.txt", hidden_size=10**6, num_layers=100)[0] == "hidden_size"
    assert refused(resume="demo") == ("steps",)
