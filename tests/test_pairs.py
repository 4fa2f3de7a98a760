"""Items with labels and pairs: what is read, what counts, what a run keeps of it, and what its model answers."""

import bz2
import dataclasses
import gzip
import itertools
import json
import lzma
import os
import re
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from test_rewritten_runs import call
from test_trainer import Session, assert_same, of

import charrnn
from charrnn.cells.record import read_losses as read_unpredicted
from charrnn.cli import display, main
from charrnn.errors import ConfigError, CorpusError, VocabularyError
from charrnn.evaluation.answers import tell_labels, translate
from charrnn.evaluation.loss import evaluate_split, read_losses
from charrnn.model.parameters import NEVER, Model
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading
from charrnn.text.item_streams import ItemStreams
from charrnn.text.special import SEP
from charrnn.text.tasks import ItemRule
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import plan_run
from charrnn.training.records import Step
from charrnn.training.samples import Samples

NAMES = {
    "Irish": "o'con nor mac kel ly".split(),
    "Polish": "ski wicz ko wal no".split(),
    "Thai": "ra shi ta mu".split(),
}
READINGS = {
    "steer": ItemsReading("csv", "name", "hash", "steer", "lang"),
    "classify": ItemsReading("csv", "name", "hash", "classify", "lang"),
    "both": ItemsReading("csv", "name", "hash", "both", "lang"),
    "translate": ItemsReading("csv", None, "hash", "translate", source_field="name", target_field="back"),
}
OPTIONS = {
    "steer": {"label_field": "lang"},
    "classify": {"task": "classify", "label_field": "lang"},
    "both": {"task": "both", "label_field": "lang"},
    "translate": {"task": "translate", "source_field": "name", "target_field": "back"},
}


def rows(count=150, seed=0):
    """Return (name, language, the name backwards) of so many names."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        lang = list(NAMES)[n % 3]
        name = "".join(rng.choice(NAMES[lang], rng.integers(1, 4)))
        found.append((name, lang, name[::-1].upper()))
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("pairs") / "names.csv", rows())


def write_table(path, records):
    path.write_text("name,lang,back\n" + "".join(f"{','.join(row)}\n" for row in records))
    return path


def plain_losses(model, ids):
    """Return the loss of ids[1:] by the oracle, which reads one stream that begins anew at each START."""
    parameters = {name: array.astype("float64") for name, array in model.get_parameters().items()}
    x, y = ids[:-1, None].astype(np.int64), ids[1:, None].astype(np.int64)
    logits = oracle.forward(parameters, model.config.cell, x, resets=x == model.start_id)[0]
    return oracle.losses_nats(logits, y)[:, 0]


def arguments(task):
    return [part for name, value in OPTIONS[task].items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture(scope="module")
def runs(table):
    """Runs of each task on the table, and of one long text."""
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--embedding-size", "5", "--threads", "1", "--quiet"]
    shares = ["--val-fraction", "0.2", "--test-fraction", "0.1", "--steps", "30"]
    for task in OPTIONS:
        fields = [] if task == "translate" else ["--text-field", "name"]
        more = [*tiny, *shares, *fields, *arguments(task), "-o", str(table.parent / task)]
        assert not main(["train", str(table), *more])
    assert not main(["train", str(table), *tiny, "--steps", "2", "-o", str(table.parent / "stream")])
    return table.parent


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, shape", [("steer", "␂◆␟ab␃␂◆␟ba␃"), ("classify", "␂ab␃◆␂ba␃◆"), ("translate", "␂ab␟BA␃␂ba␟AB␃")]
)
def test_a_label_is_one_symbol_and_a_pair_has_its_parts(tmp_path, task, shape):
    path = tmp_path / "a.csv"
    path.write_text("name,lang,back\nab, zulu,BA\n,x,y\nba,irish,AB\nab,,\n")
    with read_corpus(path, items=dataclasses.replace(READINGS[task], split="order")) as corpus:
        assert corpus.text(0, None) == shape and len(corpus.items) == 2
        assert "skipped 2 items with an empty part" in corpus.notes
        vocabulary = corpus.vocabulary
        if task == "translate":
            assert vocabulary.labels == () and corpus.count_labels(corpus.split(0, 0)) is None
        else:
            assert vocabulary.labels == ("irish", "zulu")
            assert vocabulary.label_id("zulu") == vocabulary.size - 1
            assert corpus.count_labels(corpus.split(0, 0)) == {"irish": [1, 0, 0], "zulu": [1, 0, 0]}
            with pytest.raises(VocabularyError, match="no label 'Zuul': did you mean 'zulu'"):
                vocabulary.label_id("Zuul")
        assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_files_have_the_label_of_their_folder_and_records_of_json_any_order(tmp_path):
    for name in ("b/1.txt", "a/1.txt", "a/2.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(f"text {name[0]}\n")
    reading = ItemsReading("files", split="order", task="classify", label_from="folder")
    with read_corpus(tmp_path / "texts", items=reading) as corpus:
        assert corpus.count_labels(corpus.split(0, 0)) == {"a": [2, 0, 0], "b": [1, 0, 0]}
    (tmp_path / "a.jsonl").write_text('{"lang": true, "n": "x"}\n{"n": "y", "lang": 3}\n')
    with read_corpus(tmp_path / "a.jsonl", items=ItemsReading("jsonl", None, "order", "steer", "lang")) as corpus:
        assert corpus.vocabulary.labels == ("3", "true") and corpus.text(0, None) == "␂◆␟x␃␂◆␟y␃"


def test_equal_texts_are_in_one_split_whatever_their_label_or_target(tmp_path):
    path = tmp_path / "a.csv"
    some = rows(300)
    path.write_text("name,lang,back\n" + "".join(f"{name},{n % 7},{n % 5}\n" for n, (name, _, _) in enumerate(some)))
    for task in ("classify", "translate"):
        with read_corpus(path, items=READINGS[task]) as corpus:
            found = {}
            for name, (start, stop) in corpus.split(0.3, 0.2)._asdict().items():
                for item in corpus.text(start, stop).split("␂")[1:]:
                    found.setdefault(item.split("␃" if task == "classify" else "␟")[0], set()).add(name)
        assert len(found) > 30 and all(len(splits) == 1 for splits in found.values())


# ---- what counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", READINGS)
def test_what_counts_is_the_same_for_streams_and_for_any_stretch(table, task):
    with read_corpus(table, items=READINGS[task]) as corpus:
        vocabulary, ids = corpus.vocabulary, np.asarray(corpus.ids)
        rule = ItemRule.of(vocabulary, task)
        expected = np.zeros(len(ids), bool)  # item by item, in plain words
        for start, stop in zip(corpus.items.starts[:-1], corpus.items.starts[1:]):
            text = corpus.text(start, stop)
            first = {"steer": 3, "classify": len(text) - 1, "both": 1, "translate": text.find("␟") + 1}[task]
            expected[start + first : stop] = True
        assert (rule.counts(ids, 0, len(ids)) == expected).all()
        for first, stop in ((1, 2), (7, 40), (11, len(ids)), (5, 5)):
            assert (rule.counts(ids, first, stop) == expected[first:stop]).all()
        silent = rule.silent(ids, corpus.items.starts)
        streams = ItemStreams(ids, corpus.items, 0, len(ids), 3, 5, 1, silent)
        chunks = [streams.next_chunk() for _ in range(streams.chunks_per_epoch)]
        predicted = np.concatenate([y[counts] for _, y, _, counts in chunks])
        assert np.bincount(predicted, minlength=99).tolist() == np.bincount(ids[expected], minlength=99).tolist()
        assert not set(predicted.tolist()) & set(rule.never().tolist())


@pytest.mark.parametrize("task", READINGS)
def test_a_run_counts_what_the_oracle_counts_and_is_resumed_exactly(tmp_path, table, task):
    with read_corpus(table, items=READINGS[task]) as corpus:
        session = Session(tmp_path, corpus)
        fields = {} if task == "translate" else {"text_field": "name"}
        options = {"items": "csv", **fields, **OPTIONS[task], "steps": 24, "eval_every": 8, "dropout": 0.2}
        session.run("whole", **options)
        session.run("cut", stop_at=5, **options)
        session.resume("cut", kill_at=17)
        session.resume("cut")
        assert_same(session.last("whole"), session.last("cut"))
        assert session.log("whole") == session.log("cut")
        model = Model.from_checkpoint(session.last("whole"))
        assert model.rule.task == task
        start, stop = corpus.split(0.1, 0.1).val
        ids, counts = np.asarray(corpus.ids), model.rule.counts(corpus.ids, 0, corpus.characters)
        expected = plain_losses(model, ids[start:stop])[counts[start + 1 : stop]]
        assert evaluate_split(model, ids, start, stop).loss_nats == pytest.approx(expected.mean(), rel=1e-4)
        read = read_losses(model, ids, start, stop)
        assert (read[~counts[start:stop]] == 0).all()
        bias = session.last("whole").parameters["output.bias"]
        assert (bias[model.rule.never()] == NEVER).all() and (bias > NEVER).sum() == len(bias) - len(model.rule.never())


def test_the_loss_of_a_step_is_that_of_the_targets_alone(tmp_path, table):
    with read_corpus(table, items=READINGS["translate"]) as corpus:
        session = Session(tmp_path, corpus)
        options = {"items": "csv", **OPTIONS["translate"], "epochs": 1, "dropout": 0.0, "learning_rate": 1e-12}
        losses = [step.train_loss_nats for step in of(session.run("run", **options), Step)]
        model = Model.from_checkpoint(session.last("run"))
        start, stop = corpus.split(0.1, 0.1).train
        assert np.mean(losses) == pytest.approx(evaluate_split(model, corpus.ids, start, stop).loss_nats, abs=0.03)


def test_weights_go_over_to_another_task_and_what_it_predicts_begins_anew(tmp_path, table):
    with read_corpus(table, items=READINGS["classify"]) as corpus:
        session = Session(tmp_path, corpus)
        session.run("classify", items="csv", text_field="name", **OPTIONS["classify"], steps=2)
    with read_corpus(table, items=READINGS["steer"]) as corpus:
        other = Session(tmp_path, corpus)
        initial = session.last("classify")
        other.run("steer", items="csv", text_field="name", **OPTIONS["steer"], steps=2, initial=initial)
        bias, vocabulary = other.last("steer").parameters["output.bias"], corpus.vocabulary
        assert (bias[vocabulary.first_label :] == NEVER).all()
        assert (np.abs(bias[: len(vocabulary.symbols)]) < 1).all()


# ---- checkpoints, samples, answers -----------------------------------------------------------------------------------


def test_a_checkpoint_has_labels_and_info_counts_them(runs, capsys):
    metadata = read_metadata(runs / "steer" / "last.safetensors")
    assert metadata["format_version"] == 4 and metadata["vocabulary"]["labels"] == ["Irish", "Polish", "Thai"]
    assert sum(map(sum, metadata["training"]["corpus"]["labels"].values())) == 150
    assert "labels" not in read_metadata(runs / "translate" / "last.safetensors")["vocabulary"]
    stream = read_metadata(runs / "stream" / "last.safetensors")
    assert stream["format_version"] == 2 and not set(OPTIONS["both"]) & set(stream["training"]["config"])
    out, _ = call(capsys, "info", runs / "steer")
    assert "write texts for a label, field lang" in out and "Irish 50, Polish 50, Thai 50" in out


def test_a_label_steers_samples(runs, capsys):
    out, _ = call(capsys, "sample", runs / "steer", "--given", "Thai", "--num-samples", 4, "--seed", 1, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert {record["given"] for record in records} == {"Thai"} and not set("◆␟␂") & set(out)
    lines, _ = call(capsys, "sample", runs / "steer", "--given", "Thai", "--num-samples", 4, "--seed", 1)
    assert lines.splitlines() == [record["text"] for record in records]
    other, _ = call(capsys, "sample", runs / "steer", "--given", "Irish", "--num-samples", 4, "--seed", 1)
    assert other != lines
    model = charrnn.load(runs / "steer")
    assert charrnn.sample(model, 1000, num_samples=4, seed=1, given="Thai") == lines.splitlines()
    with pytest.raises(ConfigError, match="give one of Irish, Polish, Thai"):
        charrnn.sample(model, 10)
    with pytest.raises(ConfigError, match="a string has neither"):
        charrnn.evaluate(model, string="ra")
    out, _ = call(capsys, "eval", runs / "steer", "--json")
    result = json.loads(out)
    total = sum(one["loss_nats"] * one["characters"] for one in result["by_label"])
    assert total == pytest.approx(result["loss_nats"] * result["characters"])
    assert {one["label"] for one in result["by_label"]} == set(NAMES)


def test_labels_are_told_for_texts_of_any_length_in_one_batch(runs, capsys, tmp_path):
    texts = ["ski", "", "o'conkelly" * 9, "ra"]
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n")
    for task in ("classify", "both"):
        out, _ = call(capsys, "predict", runs / task, "--file", tmp_path / "a.txt", "--json", "--top-k", 3)
        records = [json.loads(line) for line in out.splitlines()]
        assert [record["text"] for record in records] == texts and records[1]["labels"] == []
        checkpoint = load_checkpoint(runs / task / "best.safetensors")
        model = Model.from_checkpoint(checkpoint)
        for record in records[:1] + records[2:]:
            (alone,) = tell_labels(model, checkpoint.vocabulary, [checkpoint.vocabulary.encode(record["text"])])
            told = {one["label"]: one["probability"] for one in record["labels"]}
            assert [told[name] for name in checkpoint.vocabulary.labels] == alone.tolist()
            assert sum(told.values()) == pytest.approx(1)
    (tmp_path / "b.csv").write_text("lang,name\n?,ski\n?,ra\n")
    told, _ = call(capsys, "predict", runs / "classify", "--file", tmp_path / "b.csv")
    assert told.splitlines()[0] == call(capsys, "predict", runs / "classify", "ski")[0].rstrip("\n")
    out, _ = call(capsys, "predict", runs / "classify", "kowalski", "--top-k", 2)
    assert len(out.splitlines()) == 2 and all(len(line.split("\t")) == 2 for line in out.splitlines())
    out, _ = call(capsys, "predict", runs / "classify", "--file", tmp_path / "a.txt")
    assert [len(line.split("\t")) for line in out.split("\n")[:4]] == [2, 1, 2, 2]
    out, _ = call(capsys, "eval", runs / "classify", "--json", "--after", 2)
    result = json.loads(out)
    assert result["labels"]["names"] == list(NAMES) and 0 <= result["after"]["2"]["accuracy"]["value"] <= 1
    assert result["loss_nats"] == pytest.approx(result["labels"]["loss_nats"], abs=1e-4)
    out, _ = call(capsys, "eval", runs / "classify")
    assert "95 % interval" in out and "macro-F1" in out and "nats per label\nover 27 labels of" in out
    call(capsys, "eval", runs / "classify", "--html", tmp_path / "eval.html")
    page = (tmp_path / "eval.html").read_text()
    assert "Rows: the true label." in page and "bits per label" in page
    assert f'[{list(NAMES)[0]}]\\n"' in page  # a label by its name, and an item a line
    assert '"text":["\\u2402"' in page and "marks: \\u2402 START, \\u2403 END" in page  # no end of an item not shown


def test_texts_are_translated_greedily_and_by_a_beam(runs, capsys, tmp_path):
    (tmp_path / "a.csv").write_text("name,other\nski,1\nra,2\n")
    checkpoint = load_checkpoint(runs / "translate" / "best.safetensors")
    model, vocabulary = Model.from_checkpoint(checkpoint), checkpoint.vocabulary
    out, _ = call(capsys, "predict", runs / "translate", "--file", tmp_path / "a.csv")
    sources = [vocabulary.encode(text) for text in ("ski", "ra")]
    assert out.splitlines() == [vocabulary.decode(best.ids) for (best,) in translate(model, vocabulary, sources)]
    out, _ = call(capsys, "predict", runs / "translate", "ski", "--beam", 3, "--n-best", 2, "--json")
    answers = json.loads(out)["answers"]
    assert len(answers) == 2 and answers[0]["score_nats"] >= answers[1]["score_nats"]
    out, _ = call(capsys, "eval", runs / "translate", "--json", "--beam", 2)
    targets = json.loads(out)["targets"]
    assert targets["beam"] == 2 and targets["exact"]["cases"] > 5 and targets["error_rate"] > 0


def test_a_line_of_predict_stays_a_line_and_json_is_exact_whatever_labels_and_texts_hold(tmp_path, capsys):
    lines = [{"name": name, "lang": label} for name in ("ab", "c\nd\te\\") for label in ("new\nline", "tab\there") * 9]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tiny = ["--hidden-size", "4", "--num-layers", "1", "--steps", "1", "--quiet", "-o", tmp_path / "run"]
    call(capsys, "train", tmp_path / "a.jsonl", "--task", "classify", "--text-field", "name", "--label-field", "lang",
         "--val-fraction", "0", "--test-fraction", "0", *tiny)  # fmt: skip
    out, _ = call(capsys, "predict", tmp_path / "run", "--file", tmp_path / "a.jsonl", "--top-k", 2)
    rows = [line.split("\t") for line in out.splitlines()]
    assert {tuple(row[:2]) for row in rows} == {
        (text, label) for text in ("ab", r"c\nd\te\\") for label in (r"new\nline", r"tab\there")
    }
    # Half of a character, as JSON can have it, is none of the vocabulary, and no encoding has it.
    (tmp_path / "b.jsonl").write_text('{"name": "a\\ud800b"}\n{"name": "ab"}\n')
    skip = ["--file", tmp_path / "b.jsonl", "--unknown", "skip"]
    out, _ = call(capsys, "predict", tmp_path / "run", *skip, "--top-k", 2)
    assert [line.split("\t")[0] for line in out.splitlines()] == [r"a\ud800b"] * 2 + ["ab"] * 2
    out, _ = call(capsys, "predict", tmp_path / "run", *skip, "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a\ud800b", "ab"]
    for encoding, said in (("hex", "is unknown"), ("idna", "is not IDNA"), ("ascii", "byte 0xc3 at offset 1")):
        (tmp_path / "c.txt").write_text("a\u00e4..b")
        _, err = call(capsys, "predict", tmp_path / "run", "--file", tmp_path / "c.txt", "--encoding", encoding, code=2)
        assert said in err, err


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_what_a_model_cannot_do_is_refused_with_what_it_can(runs, capsys):
    for arguments, said in (
        (["predict", runs / "stream", "a"], "learned one long text and does not"),
        (["predict", runs / "steer", "a"], "--given Irish"),
        (["predict", runs / "classify"], "no text given"),
        (["predict", runs / "classify", ""], "the text is empty"),
        (["predict", runs / "classify", "a", "b c"], "takes one TEXT, got 2: if they are one text, quote it, 'a b c'"),
        (["sample", runs / "steer", "--given", "Irish", "--given", "Thai"], "got 2 labels: Irish, Thai; give one"),
        (
            ["predict", runs / "classify", "a", "--beam", 2],
            "--beam 2 has no effect, because this model predicts labels",
        ),
        (["predict", runs / "translate", "a", "--n-best", 2], "add --beam 2"),
        (["predict", runs / "translate", "a", "--top-k", 2], "--top-k 2 has no effect"),
        (["predict", runs / "classify", "Ω"], "'Ω' at offset 0 is not among"),
        (["sample", runs / "stream", "--given", "Irish"], "this one has none"),
        (["sample", runs / "steer", "--given", "Irsh"], "no label 'Irsh': did you mean 'Irish'"),
        (["sample", runs / "steer"], "one of Irish, Polish, Thai"),
        (["sample", runs / "classify"], "does not write texts"),
        (["eval", runs / "steer", "--after", 3], "--after 3 needs a model that predicts labels"),
        (["eval", runs / "steer", "--beam", 3], "--beam 3 needs a model that translates"),
    ):
        _, err = call(capsys, *arguments, code=2)
        assert said in err, err


@pytest.mark.parametrize(
    "task, text, said",
    [
        ("classify", "name,lung\na,b\n", "has no field 'lang': it has name, lung; train with --label-field lung"),
        ("translate", "name,back\na,\nb, \n", "no target: the field 'back' is empty in every record"),
        ("classify", "name,lang\na,b\nc\n", "line 3: 1 field, but the first row has 2"),
        ("classify", f"name,lang\na,{'x' * 300}\n", "a label has 300 characters"),
    ],
)
def test_pairs_that_are_not_there_are_refused_with_their_place(tmp_path, task, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(CorpusError, match=said):
        read_corpus(tmp_path / "a.csv", items=READINGS[task])


@pytest.mark.parametrize(
    "labels, said",
    [
        ("aab", "the label 'b' has only one example"),
        ("aaaa", "all items have the same label, 'a'"),
        ("aaabb", "the label 'b' has 2 examples, but none in the training split"),
    ],
)
def test_a_label_needs_examples_to_learn_from(tmp_path, capsys, labels, said):
    (tmp_path / "a.csv").write_text("t,l\n" + "".join(f"text{n},{label}\n" for n, label in enumerate(labels)))
    arguments = ["--label-field", "l", "--split", "order", "--test-fraction", "0.4", "--val-fraction", "0"]
    _, err = call(capsys, "train", tmp_path / "a.csv", *arguments, "-o", tmp_path / "run", code=2)
    assert said in err and not (tmp_path / "run").exists()


def test_a_file_that_predict_cannot_read_is_refused_without_advice_to_who_trains(runs, capsys, tmp_path):
    for ending, text, said in (
        ("csv", "a,b\nc,d\n", "has no field 'name': it has a, b; the run learned from 'name'"),
        ("jsonl", "{\n", "correct that line"),
    ):
        path = tmp_path / f"a.{ending}"
        path.write_text(text)
        _, err = call(capsys, "predict", runs / "classify", "--file", path, code=2)
        assert said in err and "train" not in err.split(path.name)[-1], err


def test_guesses_of_labels_are_told_by_their_names(runs, capsys):
    out, _ = call(capsys, "eval", runs / "classify", "--split", "test", "--surprisal", "--top-k", 2)
    assert "Polish " in out.partition("bits   ")[2], out


def test_an_unknown_label_of_another_text_is_refused(runs, capsys, tmp_path):
    (tmp_path / "a.csv").write_text("name,lang\nski,polish\nra,Tha\n")
    _, err = call(capsys, "eval", runs / "classify", tmp_path / "a.csv", code=2)
    assert "line 2: the model has no label 'polish': did you mean 'Polish'" in err


@pytest.mark.parametrize(
    "options, said",
    [
        ({"items": "csv", "task": "classify"}, "--task classify needs a label: add --label-field NAME"),
        ({"items": "csv", "task": "translate", "source_field": "a"}, "add --target-field NAME"),
        ({"items": "csv", "source_field": "a"}, "add --task translate"),
        ({"items": "csv", "label_field": "a", "text_field": "a"}, "name the same field"),
        ({"items": "lines", "label_field": "a"}, "names a field, but lines have no fields"),
        ({"items": "csv", "label_from": "folder"}, "use --items files"),
        ({"label_field": "a"}, "add --items csv or tsv or jsonl"),
        ({"items": "csv", "task": "translate", "label_field": "a", "source_field": "b", "target_field": "c"}, "leave"),
    ],
)
def test_options_of_pairs_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        TrainingConfig(**options)


@pytest.mark.parametrize(
    "command, text, said",
    [
        ("eval", "nam;land\na;b\n", "t.csv has no field 'lang': it has nam;land; its fields seem to be separated by"),
        (
            "eval",
            "city,land\na,b\n",
            "it has city, land; the run learned from 'lang' and 'name': give the fields these",
        ),
        (
            "cells",
            "city,land\na,b\n",
            "it has city, land; the run learned from 'lang' and 'name': give the fields these",
        ),
    ],
)
def test_another_text_without_the_fields_of_the_run_gets_no_advice_to_who_trains(
    runs, capsys, tmp_path, command, text, said
):
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert main([command, str(runs / "steer"), str(path)]) == 2
    message = capsys.readouterr().err
    assert said in message and "train with" not in message


def test_what_is_of_one_long_text_is_refused_with_what_tells_the_same_of_items(runs, capsys):
    for task in OPTIONS:
        run = runs / task
        for option in ("--errors", "--memorised"):
            assert main(["eval", str(run), option]) == 2
            message = capsys.readouterr().err
            assert option in message and f"{run}/best.safetensors" in message and " RUN" not in message
            verb = "sample" if option == "--memorised" and task in ("steer", "both") else "eval"
            assert f"charrnn {verb} " in message


def test_bytes_are_no_remedy_where_items_are_read(tmp_path, capsys):
    for name, data in (("t.txt", b"a\xe9b\n" * 50), ("u.txt", bytes(range(256)) * 9)):
        path = tmp_path / name
        path.write_bytes(data)
        assert main(["train", str(path), "--items", "lines"]) == 2
        assert "--vocab bytes" not in capsys.readouterr().err


def test_the_loss_that_cells_reports_is_of_what_counts(runs, capsys):
    for task in OPTIONS:
        checkpoint = load_checkpoint(runs / task / "best.safetensors")
        model, vocabulary = Model.from_checkpoint(checkpoint), checkpoint.vocabulary
        middle = [vocabulary.special_id("SEP")] if "SEP" in vocabulary.special else []
        ids = np.array([vocabulary.start_id, 0, *middle, 1, vocabulary.end_id, vocabulary.size - 1], np.int32)
        found, counts = read_unpredicted(model, ids, 0, len(ids)), model.rule.counts(ids, 1, len(ids))
        assert np.array_equal(np.isnan(found[:-1]), ~counts) and np.isnan(found[-1])
        np.testing.assert_allclose(found[:-1][counts], read_losses(model, ids, 0, len(ids))[counts], rtol=1e-5)


def test_eval_tells_of_a_label_that_steers_whether_texts_end_in_time(runs, capsys):
    out, _ = call(capsys, "eval", runs / "steer", "--json", "--no-baselines")
    result = json.loads(out)
    items, by_label = result["items"], result["by_label"]
    assert items["count"] == sum(one["items"] for one in by_label) and items["drawn"] == 1000
    assert items["loss_nats"] == pytest.approx(result["loss_nats"] * result["characters"] / items["count"])
    assert 2 <= items["bounds"][0] <= items["bounds"][1] <= 12  # of the names alone, without label and SEP
    assert 0 <= items["early"] <= 1 and 0 <= items["late"] <= 1
    out, _ = call(capsys, "eval", runs / "steer", "--no-baselines")
    assert "nats per item" in out and "share of items      of 1,000 drawn  of " in out
    source = load_checkpoint(runs / "steer" / "best.safetensors").training["corpus"]["sources"][0]
    assert max(map(len, out.replace(source, os.path.basename(source)).splitlines())) <= 80


@pytest.mark.parametrize("ending, pack", [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_predict_reads_compressed_files_as_training_does(runs, capsys, tmp_path, ending, pack):
    text = b"name,lang\no'mac,?\nkowal,?\n"
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / f"a.csv.{ending}").write_bytes(pack(text))
    plain, _ = call(capsys, "predict", runs / "classify", "--file", tmp_path / "a.csv")
    packed, _ = call(capsys, "predict", runs / "classify", "--file", tmp_path / f"a.csv.{ending}")
    assert plain == packed and plain.count("\n") == 2


def test_a_text_that_memory_cannot_hold_is_refused_before_it_is_read(runs, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.files.machine.available_memory", lambda: 100)
    _, err = call(capsys, "predict", runs / "translate", "o'mac", code=2)
    assert "text 1 has 5 characters, which need 0.0 GB of memory" in err and "split it into shorter texts" in err
    (tmp_path / "long.txt").write_text("o'mac" * 10)
    _, err = call(capsys, "predict", runs / "translate", "--file", tmp_path / "long.txt", code=2)
    assert "long.txt is longer than 0.0 GB, but only 0.0 GB of memory are free: split it into smaller files" in err


def test_the_speed_of_a_run_that_tells_labels_is_in_items():
    Record = SimpleNamespace
    step = Record(chars_per_s=1100.0)
    labels = Record(unit="label", items=(10, 1, 1), train_characters=120)
    assert display.speed_of(labels)(step) == "100 items/s"
    assert display.speed_of(Record(unit="char", items=(10, 1, 1), train_characters=120))(step) == "1,100 chars/s"


@pytest.mark.parametrize("task", ["classify", "translate"])
def test_answers_to_held_out_items_are_shown_meanwhile_and_change_nothing(tmp_path, task):
    table = write_table(tmp_path / "thrice.csv", rows() * 3)
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--embedding-size", "5", "--threads", "1", "--quiet"]
    fields = [] if task == "translate" else ["--text-field", "name"]
    common = ["train", str(table), *tiny, *fields, *arguments(task), "--steps", "4", "--val-fraction", "0.3"]
    assert not main([*common, "--sample-every", "2", "-o", str(tmp_path / "a")])
    assert not main([*common, "--no-sample", "-o", str(tmp_path / "b")])
    one, other = (load_checkpoint(tmp_path / name / "last.safetensors").parameters for name in "ab")
    assert all(np.array_equal(one[name], other[name]) for name in one)
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    samples = [record for record in log if "sample" in record]
    assert samples and all("temperature" not in record for record in samples)
    expected = {(name, lang if task == "classify" else back) for name, lang, back in rows()}
    for line in samples[0]["sample"].splitlines():
        name, _, said = line.partition(" -> ")
        told, _, right = said.partition(" (right: ")
        assert (name, right.removesuffix(")") or told) in expected
    asked = [line.partition(" -> ")[0] for line in samples[0]["sample"].splitlines()]
    assert len(set(asked)) == len(asked) == 8  # each once, however often the text has it


def test_an_answer_that_is_one_of_several_targets_is_not_shown_as_wrong(tmp_path, monkeypatch):
    path = write_table(tmp_path / "a.csv", [(word, "x", target) for word in ("ab", "cd") for target in ("b", "c")])
    model = SimpleNamespace(rule=SimpleNamespace(task="translate", sep_id=None))
    model.for_drawing = lambda: model
    config = SimpleNamespace(sample_every=1, seed=1, encoding="utf-8")
    with read_corpus(path, items=READINGS["translate"]) as corpus:
        model.rule.sep_id = corpus.vocabulary.special_id(SEP)
        samples = Samples(config, corpus.vocabulary, SimpleNamespace(before_s=0), corpus, (0, len(corpus.ids)))
        for answer, shown in (("c", "ab -> c\ncd -> c"), ("d", "ab -> d (right: b)\ncd -> d (right: b)")):
            told = SimpleNamespace(ids=corpus.vocabulary.encode(answer))
            monkeypatch.setattr("charrnn.training.samples.translate", lambda *_, told=told: [[told], [told]])
            assert sorted(samples.draw(model, 1, 100).text.splitlines()) == shown.splitlines()


def test_samples_of_a_run_that_follows_labels_are_of_several_labels(tmp_path, table):
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--embedding-size", "5", "--threads", "1", "--quiet"]
    common = ["train", str(table), *tiny, "--text-field", "name", *arguments("steer"), "--steps", "2"]
    assert not main([*common, "--sample-every", "1", "--sample-length", "5000", "-o", str(tmp_path / "a")])
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    (sample,) = [record["sample"] for record in log if "sample" in record]
    named = re.findall("^(Irish|Polish|Thai): ", sample, re.M)
    assert sorted(named) == ["Irish"] * 5 + ["Polish"] * 5 + ["Thai"] * 5
    assert [name for name, _ in itertools.groupby(named)] in (
        ["Irish", "Polish", "Thai"],
        ["Polish", "Thai", "Irish"],
        ["Thai", "Irish", "Polish"],
    )


@pytest.mark.parametrize("task", ["steer", "classify", "translate"])
def test_a_sweep_trains_models_of_labels_and_of_pairs_and_reads_the_kind_off_the_ending(table, capsys, tmp_path, task):
    options = OPTIONS[task] if task == "translate" else OPTIONS[task] | {"text_field": "name"}
    spec = f'text = "{table}"\nnum-layers = 1\nembedding-size = 5\nsteps = 2\n'
    spec += "".join(f'{name.replace("_", "-")} = "{value}"\n' for name, value in options.items())
    (tmp_path / "sweep.toml").write_text(f"{spec}[grid]\nhidden-size = [4]\n")
    _, err = call(capsys, "sweep", tmp_path / "sweep.toml", "-o", tmp_path / "out")
    (trained,) = (tmp_path / "out").glob("*/last.safetensors")
    verb, more = ("sample", "--given Irish --num-samples 20") if task == "steer" else ("predict", "TEXT")
    assert f"next: charrnn {verb} {trained.parent} {more}" in err
    config = read_metadata(trained)["training"]["config"]
    assert config["items"] == "csv" and config.get("task") == OPTIONS[task].get("task")
    for changed, said in (
        (f"{spec.replace('.csv', '.txt')}[grid]\nhidden-size = [4]\n", "add items csv, tsv or jsonl"),
        (f'{spec}[grid]\nhidden-size = [4]\n[[run]]\ntask = "both"\nlabel-field = "lang"\n', "cannot be compared"),
    ):
        (tmp_path / "sweep.toml").write_text(changed)
        if task != "translate" or "both" not in changed:
            _, err = call(capsys, "sweep", tmp_path / "sweep.toml", "-o", tmp_path / "no", "-q", code=2)
            assert said in err and not (tmp_path / "no").exists()


def test_training_that_memory_cannot_hold_with_its_items_is_refused_before_a_folder_is_made(
    table, capsys, tmp_path, monkeypatch
):
    config = TrainingConfig(steps=2, hidden_size=8, num_layers=1, items="csv", **OPTIONS["translate"])
    with read_corpus([table], **config.reading()) as corpus:
        plan = plan_run(config, corpus)
    of_stream = dataclasses.replace(plan, items=0).memory_needed()
    assert plan.items == 150 and plan.memory_needed() > of_stream + 150 * 56  # and the states set aside at a START
    options = ["--steps", "2", "--hidden-size", "8", "--num-layers", "1", "-o", tmp_path / "run"]
    fields = ["--task", "translate", "--source-field", "name", "--target-field", "back"]
    monkeypatch.setattr("charrnn.training.plan.available_memory", lambda: of_stream)
    _, err = call(capsys, "train", table, *options, *fields, code=2)
    assert "GB of memory" in err and not (tmp_path / "run").exists()
