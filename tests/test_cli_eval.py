"""charrnn eval: one stream over a text, or over a split of the run's own text found again."""

import json
import math

import pytest

from charrnn.checkpoint import load_checkpoint
from charrnn.cli import main
from charrnn.corpus import read_corpus
from charrnn.evaluation import evaluate_stream
from charrnn.model import Model, ModelConfig

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for mode in ("chars", "bytes"):
            assert main(["train", "text.txt", "--vocab", mode, "--hidden-size", "8", "--steps", "8", "--batch-size", "3",
                         "--seq-length", "7", "--val-fraction", "0.1", "--test-fraction", "0.2", "-q",
                         "-o", f"checkpoints/{mode}"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def evaluate(capsys, *arguments, code=0):
    assert main(["eval", *arguments]) == code
    return capsys.readouterr()


def expected(folder, start, stop):
    checkpoint = load_checkpoint(folder / "checkpoints/chars/best.safetensors")
    model = Model(ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model))
    model.set_parameters(checkpoint.parameters)
    with read_corpus([folder / "text.txt"], vocabulary=checkpoint.vocabulary) as corpus:
        return evaluate_stream(model, corpus.ids, start, stop)


def test_a_text_is_one_stream_from_end_to_end(folder, capsys):
    result = json.loads(evaluate(capsys, "checkpoints/chars", "text.txt", "--json").out)
    assert {key: result[key] for key in ("loss_nats", "loss_bpc", "perplexity", "characters")} == expected(
        folder, 0, len(TEXT)).to_dict()
    assert result["characters"] == len(TEXT) - 1  # nothing comes before the first
    assert result["loss_bpc"] == pytest.approx(result["loss_nats"] / math.log(2))
    assert result["perplexity"] == pytest.approx(math.exp(result["loss_nats"]))


@pytest.mark.parametrize("split, share", [("train", (0, 0.7)), ("val", (0.7, 0.8)), ("test", (0.8, 1))])
def test_without_a_text_it_is_a_split_of_the_runs_own(folder, capsys, split, share):
    captured = evaluate(capsys, "checkpoints/chars", "--split", split, "--json")
    result = json.loads(captured.out)
    start, stop = (int(part * len(TEXT)) for part in share)
    assert result["loss_nats"] == expected(folder, start, stop).loss_nats
    assert result["split"] == split


def test_left_out_the_checkpoint_is_the_newest_and_the_split_validation(capsys):
    captured = evaluate(capsys)
    assert "checkpoints/bytes/best.safetensors" in captured.err and "val split of" in captured.err
    assert " nats = " in captured.out and f"over {len(TEXT) // 10} characters" in captured.out


def test_stdin_is_a_text(capsys, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    piped = json.loads(evaluate(capsys, "checkpoints/chars", "-", "--json").out)
    named = json.loads(evaluate(capsys, "checkpoints/chars", "text.txt", "--json").out)
    assert piped["loss_nats"] == named["loss_nats"]


def test_a_model_of_bytes_reads_any_file(folder, capsys):
    (folder / "other.bin").write_bytes(TEXT.encode()[::-1])
    assert json.loads(evaluate(capsys, "checkpoints/bytes", "other.bin", "--json").out)["characters"] == len(TEXT) - 1


@pytest.mark.parametrize("arguments, said", [
    (["nowhere"], "nowhere does not exist"),
    (["text.txt"], "not a safetensors file"),
    (["checkpoints/chars", "gone.txt"], "gone.txt"),
    (["checkpoints/chars", "text.txt", "--split", "val"], "leave it out"),
    (["checkpoints/chars", "--split", "dev"], "dev"),
    (["checkpoints/chars", "--threads", "0"], "--threads must be at least 1"),
    (["checkpoints/chars", "--encoding", "latin-1"], "none is named"),
    (["checkpoints/chars", "unknown.txt"], "'ß'"),
    (["checkpoints/chars", "one.txt"], "needs a character to predict"),
])
def test_what_cannot_be_evaluated_is_refused_in_one_sentence(folder, capsys, arguments, said):
    (folder / "unknown.txt").write_text("ß" * 20)
    (folder / "one.txt").write_text("a")
    captured = evaluate(capsys, *arguments, code=2)
    assert said in captured.err and "Traceback" not in captured.err
    assert captured.err.splitlines()[-1].startswith("Error: ") and captured.out == ""


def test_a_changed_or_missing_text_is_refused(folder, capsys):
    try:
        (folder / "text.txt").write_text(TEXT + "ß")
        assert "has changed" in evaluate(capsys, "checkpoints/chars", code=2).err
        (folder / "text.txt").unlink()
        assert "is gone" in evaluate(capsys, "checkpoints/chars", code=2).err
    finally:
        (folder / "text.txt").write_text(TEXT)
