"""charrnn eval: one stream over a text, or over a split of the run's own text found again."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.evaluation.loss import evaluate_stream
from charrnn.model.parameters import Model
from charrnn.runs.checkpoint import load_checkpoint, newest_run, save_checkpoint
from charrnn.text.corpus import read_corpus

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for mode in ("chars", "bytes"):
            assert (
                main(
                    [
                        "train",
                        "text.txt",
                        "--vocab",
                        mode,
                        "--hidden-size",
                        "8",
                        "--steps",
                        "8",
                        "--batch-size",
                        "3",
                        "--seq-length",
                        "7",
                        "--val-fraction",
                        "0.1",
                        "--test-fraction",
                        "0.2",
                        "-q",
                        "-o",
                        f"checkpoints/{mode}",
                    ]
                )
                == 0
            )
    healthy = load_checkpoint(
        folder / "checkpoints/chars/best.safetensors"
    )  # finite numbers that go beyond float32 together:
    far = {**healthy.parameters, "output.weight": np.full_like(healthy.parameters["output.weight"], 3e38)}
    (folder / "damaged/far").mkdir(parents=True)
    save_checkpoint(folder / "damaged/far/best.safetensors", dataclasses.replace(healthy, parameters=far))
    sure = {**healthy.parameters, "output.bias": healthy.parameters["output.bias"].copy()}
    sure["output.bias"][0] = 3_000.0  # of a newline, always
    (folder / "sure").mkdir()
    save_checkpoint(folder / "sure/best.safetensors", dataclasses.replace(healthy, parameters=sure))
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def evaluate(capsys, *arguments, code=0):
    assert main(["eval", *arguments]) == code
    return capsys.readouterr()


def expected(folder, start, stop):
    checkpoint = load_checkpoint(folder / "checkpoints/chars/best.safetensors")
    model = Model.from_checkpoint(checkpoint)
    with read_corpus([folder / "text.txt"], vocabulary=checkpoint.vocabulary) as corpus:
        return evaluate_stream(model, corpus.ids, start, stop)


def test_a_text_is_one_stream_from_end_to_end(folder, capsys):
    result = json.loads(evaluate(capsys, "checkpoints/chars", "text.txt", "--json").out)
    assert {key: result[key] for key in ("loss_nats", "loss_bpc", "perplexity", "characters")} == expected(
        folder, 0, len(TEXT)
    ).to_dict()
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
    assert "checkpoints/bytes/best.safetensors" in captured.err and " characters of the val split of" in captured.out
    assert " nats = " in captured.out and f"over {len(TEXT) // 10} characters" in captured.out


def test_stdin_is_a_text(capsys, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    piped = json.loads(evaluate(capsys, "checkpoints/chars", "-", "--json").out)
    named = json.loads(evaluate(capsys, "checkpoints/chars", "text.txt", "--json").out)
    assert piped["loss_nats"] == named["loss_nats"]


@pytest.mark.parametrize("command", [["gradients", "--steps", "5"], ["cells"]])
def test_other_commands_leave_unknown_characters_out_as_eval_does(folder, capsys, command):
    (folder / "mixed.txt").write_text(TEXT * 4 + "ßß€")
    asked = [command[0], "checkpoints/chars", "mixed.txt", *command[1:], "--json"]
    assert main(asked) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "of the vocabulary: skip such characters with --unknown skip, " in said and "leave it out" not in said
    assert main([*asked, "--unknown", "skip"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unknown"] == {"characters": 3, "symbols": [["ß", 2], ["€", 1]]}
    assert "skipped 3 characters" in captured.err
    assert main([command[0], "checkpoints/chars", "--unknown", "skip"]) == 2
    assert "--unknown skip applies to a TEXT" in capsys.readouterr().err.replace("\n", " ")
    if command[0] == "gradients":
        assert main(["gradients", "--fresh", "mixed.txt", "--unknown", "skip"]) == 2
        assert "fresh networks know every character" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    "line, meant",
    [
        ("eval text.txt", "eval {run} text.txt"),
        ("cells text.txt", "cells {run} text.txt"),
        ("gradients text.txt", "gradients {run} text.txt"),
        ("eval -", "eval {run} -"),
        ("eval *.txt", "eval {run} '*.txt'"),
        ("eval text.txt checkpoints/chars", "eval checkpoints/chars text.txt"),
        ("eval text.txt unknown.txt", None),
        ("eval nowhere", None),
        ("eval checkpoints", None),
        ("sample text.txt", "sample {run} --prime-file text.txt"),
        ("sample ROMEO:", "sample {run} --prime ROMEO:"),
        ("sample checkpoints/nowhere", None),
        ("sample " + "x" * 300, "sample {run} --prime " + "x" * 300),
    ],
)
def test_a_text_in_the_place_of_a_run_is_told_its_own(folder, capsys, line, meant):
    assert main(line.split()) == 2
    said = capsys.readouterr().err.strip()
    if meant is None:
        assert re.search(": charrnn (eval|sample) ", said) is None
    else:
        assert said.endswith(f": charrnn {meant.format(run=newest_run())}")


def test_a_model_of_bytes_shows_a_text_in_its_encoding(folder, capsys):
    (folder / "latin.txt").write_bytes(("café\n" * 2000).encode("latin-1"))
    assert main("train latin.txt --vocab bytes --encoding latin-1 --hidden-size 4 --steps 1 -q -o latin".split()) == 0
    asked = ("latin", "latin.txt", "--surprisal", "--no-baselines")
    assert "é" in evaluate(capsys, *asked).out
    assert "\ufffd" in evaluate(capsys, *asked, "--encoding", "utf-8").out
    assert main(["cells", "latin", "latin.txt", "--unit", "0:1"]) == 0
    assert "é" in capsys.readouterr().out


def test_a_model_of_bytes_reads_any_file(folder, capsys):
    (folder / "other.bin").write_bytes(TEXT.encode()[::-1])
    assert json.loads(evaluate(capsys, "checkpoints/bytes", "other.bin", "--json").out)["characters"] == len(TEXT) - 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere"], ["nowhere", "does not exist"]),
        (["text.txt"], ["text.txt", "not a safetensors file"]),
        (["checkpoints/chars", "gone.txt"], ["gone.txt"]),
        (
            ["checkpoints/chars", "text.txt", "--split", "val"],
            ["--split val selects", "you gave text.txt: leave one of them out"],
        ),
        (["checkpoints/chars", "--split", "dev"], ["--split", "dev"]),
        (["checkpoints/chars", "--threads", "0"], ["--threads", "at least 1", "got 0"]),
        (["checkpoints/chars", "--encoding", "latin-1"], ["--encoding latin-1", "TEXT"]),
        (["checkpoints/chars", "unknown.txt"], ["'ß'", "--unknown skip"]),
        (["damaged/far", "text.txt"], ["not a finite number", "earlier checkpoint"]),
        (["checkpoints/chars", "one.txt"], ["got 1 character", "longer text"]),
        (["checkpoints/chars", "--unknown", "skip"], ["--unknown skip", "TEXT"]),
        (["checkpoints/chars", "--dynamic-rate", "1"], ["--dynamic-rate", "add --dynamic"]),
        (["checkpoints/chars", "--dynamic", "--dynamic-rate", "-1"], ["--dynamic-rate", "got -1", "0.0005"]),
        (["checkpoints/chars", "--seed", "1"], ["--seed", "add --memorised"]),
        (["checkpoints/chars", "--memorised", "--length", "0"], ["--length", "at least 1", "got 0"]),
        (["checkpoints/chars", "--top-k", "3"], ["--top-k 3", "add --surprisal"]),
        (["checkpoints/chars", "--surprisal", "--top-k", "99"], ["--top-k", "at most 20", "got 99"]),
        (["checkpoints/chars", "--surprisal", "--json", "--errors"], ["--surprisal --json", "--errors"]),
        (
            ["checkpoints/chars", "--html", "nowhere/page.html"],
            ["--html nowhere/page.html", "does not exist; create it first"],
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_sentence(folder, capsys, arguments, words):
    (folder / "unknown.txt").write_text("ß" * 20)
    (folder / "one.txt").write_text("a")
    captured = evaluate(capsys, *arguments, code=2)
    assert all(word in captured.err.splitlines()[-1] for word in words) and "Traceback" not in captured.err
    assert captured.err.splitlines()[-1].startswith("Error: ") and captured.out == ""


def test_a_changed_or_missing_text_is_refused(folder, capsys):
    try:
        (folder / "text.txt").write_text(TEXT + "ß")
        assert "has changed" in evaluate(capsys, "checkpoints/chars", code=2).err
        (folder / "text.txt").unlink()
        assert "is missing" in evaluate(capsys, "checkpoints/chars", code=2).err
    finally:
        (folder / "text.txt").write_text(TEXT)


def result_of(capsys, *arguments):
    return json.loads(evaluate(capsys, *arguments, "--json").out)


def test_the_figures_are_consistent_and_say_what_they_are_of(folder, capsys):
    (folder / "long.txt").write_text(TEXT * 3)
    result = result_of(capsys, "checkpoints/chars", "long.txt")
    assert result["bits_per_byte"] == pytest.approx(result["loss_bpc"])  # ASCII: a byte a character
    assert result["size_bytes"] == result["characters"] == 3 * len(TEXT) - 1
    assert result["error_blocks"] == result["characters"] // 200 and 0 < result["standard_error_nats"] < 1
    assert result["split"] is None and result["text"] == "long.txt"
    shown = evaluate(capsys, "checkpoints/chars", "long.txt").out
    assert f"{result['loss_nats']:.4f} nats = {result['loss_bpc']:.4f} bits" in shown
    assert f"standard error {result['standard_error_nats']:.4f} nats, from {result['error_blocks']} blocks" in shown
    assert "too short for a standard error" in evaluate(capsys, "checkpoints/chars", "--split", "val").out


def test_a_loss_whose_perplexity_no_float_holds_is_told_all_the_same(capsys):
    result = json.loads(evaluate(capsys, "sure", "text.txt", "--json").out)
    assert result["loss_nats"] > 709.8 and result["perplexity"] is None
    shown = evaluate(capsys, "sure", "text.txt").out
    assert "perplexity too large to show" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("this model")]
    assert row.split()[-1] == "inf"


def test_bits_a_byte_count_the_bytes_of_utf_8(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "umlauts.txt").write_text("äöü aou " * 30, encoding="utf-8")
    assert (
        main(
            [
                "train",
                "umlauts.txt",
                "--hidden-size",
                "4",
                "--steps",
                "2",
                "--batch-size",
                "2",
                "--seq-length",
                "5",
                "-q",
                "-o",
                "run",
            ]
        )
        == 0
    )
    capsys.readouterr()
    result = result_of(capsys, "run", "umlauts.txt")
    assert (
        result["characters"] == 239 and result["size_bytes"] == 240 + 90 - 2
    )  # the first character, an umlaut, is not judged
    assert result["bits_per_byte"] == pytest.approx(result["loss_bpc"] * 239 / 328)


def test_unknown_characters_are_counted_and_the_rest_is_judged(folder, capsys):
    (folder / "strange.txt").write_text("ßß" + TEXT[:100] + "ß€" + TEXT[100:], encoding="utf-8")
    captured = evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "skip", "--json")
    result = json.loads(captured.out)
    assert result["unknown"] == {"characters": 4, "symbols": [["ß", 3], ["€", 1]]}
    assert result["loss_nats"] == result_of(capsys, "checkpoints/chars", "text.txt")["loss_nats"]
    assert "skipped 4 characters" in captured.err and "'ß'" in captured.err
    evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "error", code=2)


def test_a_text_of_hardly_any_characters_is_judged_without_a_verdict_and_without_xz(folder, capsys):
    for count in (2, 7, 90, 300):
        (folder / "short.txt").write_text(TEXT[:count])
        captured = evaluate(capsys, "checkpoints/chars", "short.txt")
        (_, first), *rows = (line.split(maxsplit=1) for line in captured.out.split("perplexity\n")[1].splitlines()[:6])
        assert first and all(len(line) < 100 for line in captured.out.splitlines())
        said = " ".join(captured.out.split())
        assert "word for word" not in said or count == 300
        if count < 101:
            of = "1 character" if count == 2 else f"{count - 1} characters"
            assert f"A text of {of} is too short to judge a model" in said
            assert "xz" not in captured.out and "unigram" in captured.out
        else:
            assert "xz -9e alone" in captured.out
        assert "xz -9e" in {one["name"] for one in result_of(capsys, "checkpoints/chars", "short.txt")["baselines"]}


def test_a_text_of_which_hardly_a_character_is_known_is_told(folder, capsys):
    (folder / "strange.txt").write_text(TEXT[:20] + "ß" * 100, encoding="utf-8")
    captured = evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "skip")
    assert (
        "the model knows only 20 of the 120 characters of this text: these alone are not enough to judge the model"
        in captured.err
    )
    (folder / "strange.txt").write_text(TEXT[:200] + "ß" * 100, encoding="utf-8")
    assert "knows only" not in evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "skip").err
    (folder / "strange.txt").write_text("aß" * 3, encoding="utf-8")
    assert "over 2 characters" in evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "skip").out
    (folder / "strange.txt").write_text("aßßß", encoding="utf-8")
    assert "needs at least 2 characters, the second of which is predicted, got 1 character" in (
        evaluate(capsys, "checkpoints/chars", "strange.txt", "--unknown", "skip", code=2).err
    )


@pytest.mark.parametrize("text", [(), ("text.txt",)])
def test_baselines_stand_beside_the_loss(folder, capsys, text):
    result = result_of(capsys, "checkpoints/chars", *text)
    losses = {one["name"]: one["loss_nats"] for one in result["baselines"]}
    order = result["ngram"]["order"]
    assert set(losses) == {"uniform", "unigram", f"{order}-gram", "xz -9e", "xz -9e alone"}
    assert losses["uniform"] == pytest.approx(math.log(len(set(TEXT)))) and losses["unigram"] < losses["uniform"]
    assert losses[f"{order}-gram"] == pytest.approx(result["ngram"]["loss_nats_by_order"][order - 1])
    shown = evaluate(capsys, "checkpoints/chars", *text)
    assert f"{order}-gram" in shown.out and "xz -9e" in shown.out
    assert result_of(capsys, "checkpoints/chars", "--no-baselines")["baselines"] == []


@pytest.mark.parametrize("asked", [(), ("--errors",)])
def test_baselines_of_many_characters_are_left_to_be_asked_for_in_one_note(capsys, monkeypatch, asked):
    from charrnn.cli import evaluate as module

    monkeypatch.setattr(module, "AT_ONCE", 100)
    captured = evaluate(capsys, "checkpoints/chars", *asked)
    assert captured.err.count("--baselines") == 1 and "xz -9e" not in captured.out
    assert "--baselines" not in evaluate(capsys, "checkpoints/chars", "--no-baselines", *asked).err


def test_a_run_from_stdin_can_be_judged_on_a_text(folder, capsys, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert (
        main(
            [
                "train",
                "-",
                "--hidden-size",
                "8",
                "--steps",
                "4",
                "--batch-size",
                "3",
                "--seq-length",
                "7",
                "-q",
                "-o",
                "piped",
            ]
        )
        == 0
    )
    capsys.readouterr()
    captured = evaluate(capsys, "piped", "text.txt", "--json", "--dynamic")
    result = json.loads(captured.out)
    assert [one["name"] for one in result["baselines"]] in (["uniform", "xz -9e alone"], ["xz -9e alone", "uniform"])
    assert result["dynamic"]["rule"] == "sgd" and "ngram" not in result
    assert "the training text is missing, so" in captured.err and "stdin, which cannot be read again" in captured.err
    assert "--errors needs the text" in evaluate(capsys, "piped", "text.txt", "--errors", code=2).err
    assert "stdin" in evaluate(capsys, "piped", code=2).err


def test_dynamic_evaluation_states_its_gain_and_leaves_the_checkpoint_alone(folder, capsys):
    file = folder / "checkpoints/chars/best.safetensors"
    before = file.read_bytes()
    nothing = result_of(capsys, "checkpoints/chars", "text.txt", "--dynamic", "--dynamic-rate", "0")
    assert nothing["dynamic"]["gain_nats"] == 0
    result = result_of(
        capsys, "checkpoints/chars", "text.txt", "--dynamic", "--dynamic-rule", "sgd", "--dynamic-rate", "0.5"
    )
    assert result["dynamic"]["gain_nats"] == pytest.approx(result["loss_nats"] - result["dynamic"]["loss_nats"]) and (
        result["dynamic"]["gain_nats"] > 0.1
    )
    shown = evaluate(capsys, "checkpoints/chars", "--dynamic")
    assert "Learning as it reads" in shown.out and "rms, rate 0.0005" in shown.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", ["chars", "bytes"])
def test_surprisal_as_json_is_a_record_a_character(capsys, mode):
    captured = evaluate(capsys, f"checkpoints/{mode}", "text.txt", "--surprisal", "--json", "--top-k", "3")
    records = [json.loads(line) for line in captured.out.splitlines()]
    result = result_of(capsys, f"checkpoints/{mode}", "text.txt")
    symbols = [record["character"] for record in records]
    assert symbols == (list(TEXT[1:]) if mode == "chars" else list(TEXT[1:].encode()))
    assert [record["at"] for record in records] == list(range(1, len(TEXT)))
    assert sum(record["bits"] for record in records) / len(records) == pytest.approx(result["loss_bpc"])
    for record in records:
        assert len(record["guesses"]) == 3
        for guess, share in record["guesses"]:
            if guess == record["character"]:
                assert -math.log2(share) == pytest.approx(record["bits"], rel=1e-4)  # float32 logits


def test_surprisal_in_the_terminal_shows_the_text_and_the_guesses(folder, capsys):
    (folder / "twice.txt").write_text(TEXT * 2)
    captured = evaluate(
        capsys, "checkpoints/chars", "twice.txt", "--surprisal", "--top-k", "2", "--width", "60", "--no-baselines"
    )
    assert "bits per character" in captured.out and "ine 0 says ." in captured.out
    assert "what the model expected instead" in captured.out and captured.out.count(" bits   ") == 12
    assert f"the first 1,200 of {2 * len(TEXT) - 1:,} characters" in captured.err


def test_a_text_that_stands_in_the_training_text_is_told_from_a_new_one(folder, capsys):
    (folder / "known.txt").write_text(TEXT[100:700])
    (folder / "new.txt").write_text(TEXT[700:100:-1])
    assert "occurs word for word in the training text, so" in " ".join(
        evaluate(capsys, "checkpoints/chars", "known.txt").out.split()
    )
    for arguments in (["new.txt"], ["--split", "train"]):
        assert "word for word" not in evaluate(capsys, "checkpoints/chars", *arguments).out
    shown = evaluate(capsys, "checkpoints/chars", "known.txt", "--memorised", "--length", "300").out
    assert "held" not in shown.split("Share of all substrings")[1]


def test_mistakes_and_copies_are_said_and_counted(capsys):
    result = result_of(
        capsys, "checkpoints/chars", "text.txt", "--errors", "--memorised", "--length", "300", "--seed", "5"
    )
    assert "order 3: from the 2 characters before it" in " ".join(evaluate(capsys, "--errors").out.split())
    kinds = result["mistakes"]["kinds"]
    assert sum(one["count"] for one in kinds) == result["mistakes"]["count"] <= result["characters"]
    assert [one["detail"] for one in kinds if one["kind"] == "n-gram"] == [f"order {order}" for order in range(1, 10)]
    assert len(result["brackets"]) == 9 and {one["count"] for one in result["brackets"]} == {0}
    copies = result["memorised"]
    assert copies["sample"]["characters"] == copies["held_out"]["characters"] == 300
    assert (
        copies["held_out"]["shares"] == [1.0] * 50 and copies["held_out"]["longest"] == 300
    )  # TEXT begins as the training text does
    assert copies["sample"]["passage"] in TEXT and len(copies["sample"]["passage"]) == copies["sample"]["longest"]
    assert (
        result_of(capsys, "checkpoints/chars", "--memorised", "--length", "300", "--seed", "5")["memorised"]["sample"]
        == copies["sample"]
    )
    shown = evaluate(capsys, "checkpoints/chars", "--errors", "--memorised", "--length", "300").out
    assert (
        "got a probability below 0.5" in " ".join(shown.split())
        and "word start" in shown
        and "occurs in the training text" in shown
    )


def test_the_page_has_the_text_the_readers_and_the_tables(folder, capsys):
    evaluate(capsys, "checkpoints/bytes", "--split", "test", "--html", "page.html", "--errors", "--dynamic")
    page = (folder / "page.html").read_text()
    assert "Surprisal: test split of" in page and '"most_bits":8' in page and "learning as it reads" in page
    assert "-gram from the same training text" in page and "Closing brackets" in page and "Is it good?" in page


def test_the_page_shows_after_each_character_what_was_expected_next(folder, capsys, monkeypatch):
    pages = []
    monkeypatch.setattr("charrnn.render.page.write_page", lambda path, data: pages.append(data))
    records = [
        json.loads(line)
        for line in evaluate(
            capsys, "checkpoints/chars", "text.txt", "--surprisal", "--json", "--top-k", "5", "--html", "page.html"
        ).out.splitlines()
    ]
    (data,) = pages
    assert data.text == list(TEXT) and math.isnan(data.surprisal_bits[0])
    for at, record in enumerate(records):
        assert [data.vocabulary[guess] for guess in data.guesses_ids[at]] == [guess for guess, _ in record["guesses"]]
        assert data.surprisal_bits[at + 1] == pytest.approx(record["bits"])
        assert data.values[0, at + 1] == pytest.approx(min(1, record["bits"] / 8))
    assert not data.guesses_p[-1].any()


def test_an_interrupt_ends_it_with_the_shells_code(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("charrnn.evaluation.report.sum_up", interrupted)
    assert evaluate(capsys, "checkpoints/chars", code=130).out == ""


def test_the_columns_of_labels_stand_under_each_other_however_wide_their_characters_are(capsys):
    from rich.cells import cell_len

    from charrnn.cli.show_answers import print_table

    print_table(
        ["label", "items", "F1"],
        [["english", "12", "1.000"], ["日本語のラベル", "6", "0.500"], ["한국어🙂", "123", "0.1"]],
    )
    lines = capsys.readouterr().out.splitlines()
    assert len({cell_len(line) for line in lines}) == 1
    assert [
        cell_len(line[: line.index(figure) + len(figure)]) for line, figure in zip(lines, ("items", "12", "6", "123"))
    ] == [2 + 14 + 2 + 5] * 4


def test_long_names_of_labels_are_cut_by_columns_in_a_confusion_matrix():
    from types import SimpleNamespace

    from charrnn.cli.show_answers import _confusion

    names = ("short", "日本語のラベルです", "a name of many letters")
    heads, rows = _confusion(SimpleNamespace(confusion=[[1, 0, 0], [0, 2, 0], [0, 0, 3]]), names)
    assert heads == ["", "short", "日本語のラベ", "a name of ma"] and [row[0] for row in rows] == heads[1:]
