"""charrnn export --html: what it says, what it needs, and that no text of a model breaks out of its place."""

import datetime
import json
import re

import pytest

from charrnn.cli import main
from charrnn.errors import ConfigError
from charrnn.export.page import page_pieces
from charrnn.export.payload import PageFacts, found_units, make_payload, run_facts
from charrnn.export.weights import pack_model
from charrnn.model.parameters import Model
from charrnn.spec import ModelConfig
from charrnn.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat\n" * 120)
    options = ["--steps", "2", "--hidden-size", "8", "--no-sample", "-q", "-o", str(folder / "run")]
    assert main(["train", str(text), *options]) == 0
    return folder / "run"


def header_of(page):
    text = page.read_text(encoding="ascii")
    return json.loads(re.search(r'<script[^>]*id="header"[^>]*>(.*?)</script>', text, re.S)[1])


def test_the_command_says_size_weights_and_cost_and_the_page_has_them(run, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["export", str(run), "--html", str(page), "--weights", "int8"]) == 0
    said = capsys.readouterr().err
    assert "MB, weights int8" in said and "nats per character" in said and "0 units named" in said
    header = header_of(page)
    assert header["weights"]["kind"] == "int8" and header["weights"]["cost_nats"] == pytest.approx(
        header["weights"]["loss_nats"] - header["weights"]["full_loss_nats"]
    )
    assert "4,000" in header["found_note"]  # the held-out text is too short to search in
    facts = header["run"]
    assert datetime.date.fromisoformat(facts.pop("date")) and facts.pop("minutes") >= 0
    command = facts.pop("command")
    assert command.startswith("charrnn train text.txt --") and "--steps 2" in command and str(run.parent) not in command
    assert facts == {
        "name": run.name,
        "text": ["text.txt"],
        "steps": 2,
        "validation_loss_nats": facts["validation_loss_nats"],
    }
    assert facts["validation_loss_nats"] == pytest.approx(2.5, abs=1.5)
    assert main(["export", str(run), "--html", str(page), "--no-cells"]) == 0  # its own page is replaced unasked


def test_the_page_tells_the_validation_loss_of_its_own_checkpoint_not_of_the_runs_best():
    of_best = {"step": 2, "val_loss_nats": 1.5}
    assert run_facts({"step": 2, "best": of_best})["validation_loss_nats"] == 1.5
    later = {"step": 4, "best": of_best, "history": [of_best, {"step": 4, "val_loss_nats": 1.75}]}
    assert run_facts(later)["validation_loss_nats"] == 1.75
    assert run_facts({**later, "step": 5})["validation_loss_nats"] is None  # not measured at this step


def test_without_the_runs_text_the_page_is_written_and_says_what_it_lacks(run, tmp_path, capsys):
    page, text = tmp_path / "page.html", run.parent / "text.txt"
    content = text.read_bytes()
    text.unlink()
    try:
        assert main(["export", str(run), "--html", str(page)]) == 0
    finally:
        text.write_bytes(content)
    assert "neither the effect of --weights float16 nor any units" in capsys.readouterr().err
    header = header_of(page)
    assert header["weights"]["cost_nats"] is None and header["weights"]["note"] and header["found_note"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "int8"], "nothing to write"),
        (["--html", "x.html", "--no-cells", "--cells", "x.json"], "contradict"),
        (["--html", "x.html", "--cells", "missing.json"], "cannot be read"),
    ],
)
def test_options_that_make_no_page_are_refused(run, arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_units_come_from_a_report_of_the_same_model_only():
    config = ModelConfig("lstm", 5, 8, 2)
    one = {
        "signal": "quotes", "phrase": "inside quotes", "layer": 1, "unit": 7, "measure": "auroc", "sign": -1,
        "score": 0.9, "null": 0.6, "untrained": None, "named": True,
    }  # fmt: skip
    report = {"layers": 2, "units": 8, "quantity": "tanh-c", "signals": [one, {**one, "named": False}]}
    (found,) = found_units(config, report, {("quotes", 1, 7): (0.1, -0.9)})
    assert (found["name"], found["layer"], found["unit"], found["sign"], found["on"]) == ("quotes", 1, 7, -1, -0.9)
    for wrong in ({**report, "units": 9}, {"a": 1}, [], None, {**report, "signals": [{**one, "unit": 8}]}):
        with pytest.raises(ConfigError):
            found_units(config, wrong)


def test_no_text_of_a_model_ends_its_script():
    hostile = "</script><script>alert(1)</script><!--&\u2028"
    vocabulary = Vocabulary("chars", sorted(set(hostile)), special=("START", "END"), labels=(hostile,))
    model = Model.initialise(ModelConfig("rnn", vocabulary.size, 4, 1), 1)
    model.vocabulary = vocabulary
    facts = PageFacts(hostile, hostile, {"text": [hostile]}, found_note=hostile)
    payload = make_payload(model, pack_model(model, "float16"), "float16", facts)
    page = b"".join(page_pieces(payload.header, payload.weights)).decode("ascii")
    assert "<script>alert" not in page and "alert(1)</script>" not in page
    header = re.search(r'<script[^>]*id="header"[^>]*>(.*?)</script>', page, re.S)[1]
    assert json.loads(header)["vocabulary"]["labels"] == [hostile]
