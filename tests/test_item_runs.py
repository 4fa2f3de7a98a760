"""Models of items, from the command line: trained, resumed, drawn from, judged and looked into."""

import dataclasses
import json
import re

import numpy as np
import pytest
from test_rewritten_runs import call
from test_trainer import Session, assert_same, of

import charrnn
from charrnn.cli import main
from charrnn.errors import ConfigError
from charrnn.evaluation.items import judge_items
from charrnn.evaluation.loss import evaluate_split, read_losses, sum_up
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.runs.folder import read_log
from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading
from charrnn.text.items import text_ids
from charrnn.training.plan import plan_run
from charrnn.training.records import Notice, Preflight, Step
from tests.test_items import END, START, names

TINY = ["--hidden-size", "8", "--num-layers", "1", "--embedding-size", "5", "--threads", "1", "--no-sample", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text of 500 short names, most of which come once, and runs on it: in lines, and as records."""
    folder = tmp_path_factory.mktemp("items")
    some = names(500)
    (folder / "names.txt").write_text("\n".join(some) + "\n")
    (folder / "names.jsonl").write_text(
        "".join(json.dumps({"n": n, "name": f"{one}\n"}) + "\n" for n, one in enumerate(some))
    )
    lines = ["--items", "lines", "--steps", "60", "--val-fraction", "0.2"]
    assert not main(["train", str(folder / "names.txt"), *TINY, *lines, "-o", str(folder / "lines")])
    records = ["--text-field", "name", "--steps", "3"]
    assert not main(["train", str(folder / "names.jsonl"), *TINY, *records, "-o", str(folder / "records")])
    assert not main(["train", str(folder / "names.txt"), *TINY, "--steps", "3", "-o", str(folder / "stream")])
    return folder


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names(120)))
    with read_corpus([path], items=ItemsReading("lines")) as corpus:
        yield corpus


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_run_is_resumed_exactly_in_the_midst_of_any_epoch(tmp_path, corpus):
    session = Session(tmp_path, corpus)
    options = {"items": "lines", "steps": 50, "eval_every": 10, "dropout": 0.2, "ema": 0.9, "zoneout": 0.1}
    records = session.run("whole", **options)
    (preflight,) = of(records, Preflight)
    assert sum(preflight.items) == 120 and 20 < preflight.steps_per_epoch < 45
    session.run("cut", stop_at=3, **options)
    session.resume("cut", stop_at=17)
    session.resume("cut", kill_at=40)
    session.resume("cut")
    assert_same(session.last("whole"), session.last("cut"))
    assert session.log("whole") == session.log("cut")
    assert session.last("cut").training["corpus"]["items"]["train"] == preflight.items[0]
    with pytest.raises(ConfigError, match="--items lines and cannot be resumed with paragraphs"):
        session.resume("cut", items="paragraphs", steps=60)


def test_the_loss_of_a_step_is_the_mean_over_what_counts_and_the_last_chunk_is_shorter(tmp_path, corpus):
    session = Session(tmp_path, corpus)
    records = session.run("run", items="lines", epochs=1, dropout=0.0, learning_rate=1e-12, eval_every=0)
    plan = plan_run(dataclasses.replace(session.last("run") and _config(session)), corpus)
    model = Model.from_checkpoint(session.last("run"))
    losses = [step.train_loss_nats for step in of(records, Step)]
    start, stop = plan.splits.train
    read = read_losses(model, corpus.ids, start, stop)
    counted = corpus.ids[1:stop] != corpus.vocabulary.start_id
    # The last chunk has fewer steps than the others, so the mean of the means is only near the mean.
    assert np.mean(losses) == pytest.approx(sum_up(read, counted).loss_nats, abs=0.02)
    assert read[~counted].tolist() == [0.0] * (corpus.count_items(plan.splits)[0] - 1)


def _config(session):
    from charrnn.training.stored import stored_config

    return stored_config(session.last("run").training)


def test_a_chunk_in_which_nothing_counts_changes_nothing(tmp_path, corpus):
    from charrnn.training.learner import make_learner

    session = Session(tmp_path, corpus)
    session.run("run", items="lines", steps=1, optimizer="adamw")
    learner = make_learner(plan_run(_config(session), corpus), corpus)
    x, y, resets, counts = learner.next_chunk()
    assert learner.backward(x, y, 0, resets, counts) > 0 and learner.update(0.1) > 0
    before = learner.model.flat.copy()
    assert learner.backward(x, y, 1, resets, np.zeros_like(counts)) == 0
    assert learner.update(0.1) == 0 and (learner.model.flat == before).all() and learner.optimizer.steps == 1


def test_an_item_model_begins_from_the_weights_of_a_stream_and_the_other_way_round(tmp_path, corpus):
    session = Session(tmp_path, corpus)
    session.run("items", items="lines", steps=2)
    with read_corpus([tmp_path / "names.txt"]) as text:
        other = Session(tmp_path, text)
        records = other.run("stream", steps=2, initial=session.last("items"))
        assert any(
            "the old model learned items, this run learns one long text" in note.text for note in of(records, Notice)
        )
    records = session.run("again", items="lines", steps=2, initial=other.last("stream"))
    assert any("this run learns items (--items lines)" in note.text for note in of(records, Notice))
    assert session.last("again").parameters["output.bias"][corpus.vocabulary.start_id] == -1e4


def test_only_a_model_of_items_is_of_format_4_and_says_what_it_learned(folder, capsys):
    assert read_metadata(folder / "lines" / "last.safetensors")["format_version"] == 4
    stream = read_metadata(folder / "stream" / "last.safetensors")
    assert stream["format_version"] == 2 and "special" not in stream["vocabulary"]
    assert not {"items", "text_field", "split"} & stream["training"]["config"].keys()
    assert "items" not in stream["training"]["corpus"]
    out, _ = call(capsys, "info", folder / "lines")
    assert f"START {START}, END {END}" in out and "items                 lines: " in out
    out, _ = call(capsys, "info", folder / "records", "--json")
    assert json.loads(out)["training"]["config"]["items"] == "jsonl"


def test_samples_meanwhile_are_items_a_line_each(folder, tmp_path):
    more = [
        "--items",
        "lines",
        "--steps",
        "4",
        "--sample-every",
        "2",
        "--sample-length",
        "40",
        "-o",
        str(tmp_path / "run"),
    ]
    assert not main(["train", str(folder / "names.txt"), *TINY, "--sample", *more])
    samples = [record["sample"] for record in read_log(tmp_path / "run" / "log.jsonl") if "sample" in record]
    assert len(samples) >= 1 and all(not set(sample) & {START, END} for sample in samples)


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_samples_are_an_item_a_line_with_their_prime_and_end_at_their_end(folder, capsys):
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 20, "--seed", 1, "--prime", "ab")
    lines = out.splitlines()
    assert len(lines) == 20 and all(line.startswith("ab") for line in lines) and len(set(map(len, lines))) > 3
    assert not set(out) - set("abcdefgh\n")
    hidden, _ = call(
        capsys, "sample", folder / "lines", "--num-samples", 20, "--seed", 1, "--prime", "ab", "--hide-prime"
    )
    assert [f"ab{line}" for line in hidden.splitlines()] == lines
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 40, "--seed", 1, "--length", 2)
    assert max(map(len, out.splitlines())) == 2 and "did not end within 2 characters" in err
    first, _ = call(capsys, "sample", folder / "lines", "--seed", 1, "--prime", "ab")
    assert first.splitlines() == lines[:1]
    out, _ = call(capsys, "sample", folder / "lines", "--num-samples", 2, "--seed", 1, "--separator", "|")
    assert out.count("|") == 1 and "\n" not in out.rstrip("\n")


def test_records_are_drawn_as_records_and_json_tells_all(folder, capsys):
    out, _ = call(capsys, "sample", folder / "records", "--num-samples", 5, "--seed", 1, "--length", 30)
    assert all(set(json.loads(line)) == {"name"} for line in out.splitlines()) and out.count("\n") == 5
    out, _ = call(capsys, "sample", folder / "lines", "--num-samples", 5, "--seed", 1, "--json", "--report")
    records = [json.loads(line) for line in out.splitlines()]
    lines, _ = call(capsys, "sample", folder / "lines", "--num-samples", 5, "--seed", 1)
    assert [record["text"] for record in records] == lines.splitlines()
    model = charrnn.load(folder / "lines")
    known = set((folder / "names.txt").read_text().split())
    for record in records:
        assert record["stop_reason"] == "stop" and record["characters_drawn"] == len(record["text"]) + 1
        loss = charrnn.evaluate(model, string=record["text"], baselines=False).evaluation
        assert record["loss_nats"] == pytest.approx(loss.loss_nats, abs=1e-5)
        assert (record["split"] is not None) == (record["text"] in known)
    assert charrnn.sample(model, 100, num_samples=5, seed=1) == [record["text"] for record in records]


def test_novel_items_are_not_in_the_text_and_a_report_counts(folder, capsys):
    known = set((folder / "names.txt").read_text().split())
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 200, "--seed", 3, "--novel", "--report")
    found = out.splitlines()
    assert len(set(found)) == 200 and not set(found) & known and "new;" in err and "distinct" in err
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 300, "--seed", 3, "--report")
    drawn = out.splitlines()
    in_text = sum(one in known for one in drawn)
    assert in_text and f"{300 - in_text:,} new; {len(set(drawn)):,} distinct" in err
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 3, "--novel", "--greedy", "--prime", "a")
    assert len(out.splitlines()) <= 1 and "are new" in err.replace("is new", "are new")
    # However many are asked for, the search ends where nothing new has come for 5,000 items.
    out, err = call(capsys, "sample", folder / "lines", "--num-samples", 3000, "--novel", "--greedy", "--seed", 1)
    assert len(out.splitlines()) <= 1 and int(re.search(r"of ([\d,]+) drawn", err)[1].replace(",", "")) < 10_000
    for option in ("--novel", "--report"):
        _, err = call(capsys, "sample", folder / "stream", option, code=2)
        assert f"{option} applies to items, but this model writes one long text" in err


# ---- evaluation ------------------------------------------------------------------------------------------------------


def test_a_split_is_judged_item_by_item_whatever_stands_beside_them(folder):
    model = Model.from_checkpoint(load_checkpoint(folder / "lines" / "best.safetensors"))
    vocabulary = load_checkpoint(folder / "lines" / "best.safetensors").vocabulary
    texts = names(70, seed=9)
    ids = np.concatenate([text_ids(vocabulary, text) for text in texts])
    losses = read_losses(model, ids)
    alone = []
    for text in texts:
        one = text_ids(vocabulary, text)
        alone.append(Workspace(model, 1, 32, training=False).losses(one[:-1, None], one[1:, None])[:, 0])
    counted = ids[1:] != vocabulary.start_id
    assert (losses[counted] == np.concatenate(alone)).all() and not losses[~counted].any()
    assert evaluate_split(model, ids, 0, len(ids)).loss_nats == pytest.approx(losses[counted].mean(), rel=1e-6)
    assert evaluate_split(model, ids, 0, len(ids)).characters == counted.sum()
    judged = judge_items(model, vocabulary, ids[1:], losses)
    assert judged.count == 70 and judged.loss_nats == pytest.approx(np.mean([sum(one) for one in alone]))
    lengths = np.array(list(map(len, texts)))
    assert judged.held_early == (lengths < judged.bounds[0]).mean() <= 0.02
    assert judged.held_late == (lengths > judged.bounds[1]).mean() <= 0.02
    assert judged.drawn == 1000 and 0 <= judged.early < 0.5 and 0 <= judged.late < 0.5


def test_eval_tells_nats_an_item_and_whether_items_end_in_time(folder, capsys):
    out, _ = call(capsys, "eval", folder / "lines", "--json")
    result = json.loads(out)
    items = result["items"]
    assert items["loss_nats"] == pytest.approx(result["loss_nats"] * result["characters"] / items["count"])
    assert {"uniform", "unigram", "xz -9e"} <= {one["name"] for one in result["baselines"]}
    uniform = next(one["loss_nats"] for one in result["baselines"] if one["name"] == "uniform")
    assert uniform == pytest.approx(np.log(9))  # a to h, and END: START is never predicted
    out, err = call(capsys, "eval", folder / "lines", "--surprisal", "--width", 60)
    assert f"nats per item, over {items['count']} items" in out and f"{END}{START}" in out
    out, _ = call(capsys, "eval", folder / "lines", "--surprisal", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert all(record["bits"] == 0 for record in records if record["character"] == START)
    assert sum(record["character"] == END for record in records) == items["count"]
    other = folder / "other.txt"
    other.write_text("abc\nhgf\n")
    out, _ = call(capsys, "eval", folder / "lines", other, "--json")
    assert json.loads(out)["items"]["count"] == 2 and json.loads(out)["characters"] == 8
    _, err = call(capsys, "eval", folder / "lines", "--memorised", code=2)
    assert "--num-samples 1000 --report" in err
    _, err = call(capsys, "eval", folder / "lines", "--errors", code=2)
    assert "--errors needs a model" in err


def test_pages_cells_and_gradients_show_items(folder, capsys, tmp_path):
    call(capsys, "eval", folder / "lines", "--html", tmp_path / "eval.html")
    assert "\\u2402" in (tmp_path / "eval.html").read_text()
    (tmp_path / "more.txt").write_text("\n".join(names(1200, seed=4)))
    call(capsys, "cells", folder / "lines", tmp_path / "more.txt", "--html", tmp_path / "cells.html")
    out, _ = call(capsys, "cells", folder / "lines", tmp_path / "more.txt")
    cost = charrnn.evaluate(charrnn.load(folder / "lines"), tmp_path / "more.txt", baselines=False).evaluation.loss_nats
    assert f"loss    {cost:.4f} nats" in out
    assert (tmp_path / "cells.html").exists() and "AUROC" in out
    out, err = call(capsys, "gradients", folder / "lines", "--json", "--times", 20)
    steps = json.loads(out)["steps"]
    assert 3 < steps < 9 and f"using --steps {steps}" in err
    _, err = call(capsys, "gradients", folder / "lines", "--steps", 50, code=2)
    assert "no item of this text is 50 characters long: --steps 8 reaches as far" in err
    out, _ = call(capsys, "eval", folder / "lines", "--dynamic", "--json")
    assert abs(json.loads(out)["dynamic"]["gain_nats"]) < 1


def test_a_sweep_trains_models_of_items(folder, capsys, tmp_path):
    spec = f'text = "{folder / "names.txt"}"\nitems = "lines"\nnum-layers = 1\nembedding-size = 5\nsteps = 2\n'
    (tmp_path / "sweep.toml").write_text(f"{spec}[grid]\nhidden-size = [4]\n")
    call(capsys, "sweep", tmp_path / "sweep.toml", "--dry-run")
    call(capsys, "sweep", tmp_path / "sweep.toml", "-o", tmp_path / "out", "-q")
    (trained,) = (tmp_path / "out").glob("*/last.safetensors")
    assert read_metadata(trained)["vocabulary"]["special"] == ["START", "END"]
