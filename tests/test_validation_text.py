"""--val-text: a validation text of one's own, of streams and of items."""

import shutil

import numpy as np
import pytest
from commands import charrnn, refused

from charrnn.errors import ConfigError, CorpusError, VocabularyError
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.runs.folder import read_log
from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading
from charrnn.training.options import TrainingConfig

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
OTHER = "".join(f"says line {n} abc.\n" for n in range(8))
OPTIONS = "--hidden-size 9 --num-layers 1 --batch-size 3 --seq-length 7 --eval-every 6 --steps 12 -q"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text(OTHER)
    return tmp_path


@pytest.mark.parametrize("mode", ["chars", "bytes"])
def test_its_ids_come_after_the_texts_and_are_the_validation_split(folder, mode):
    with (
        read_corpus(["text.txt"], mode=mode) as alone,
        read_corpus(["text.txt"], mode=mode, validation="other.txt") as c,
    ):
        assert (c.vocabulary, c.fingerprint) == (alone.vocabulary, alone.fingerprint)
        assert c.own_characters == alone.characters and c.characters == alone.characters + len(OTHER)
        splits, of_alone = c.split(0.05, 0.1), alone.split(0.0, 0.1)
        assert (splits.train, splits.test) == (of_alone.train, of_alone.test)
        assert c.text(*splits.val) == OTHER and c.text(0, splits.val[0]) == TEXT
        assert splits.held_out == (splits.test[0], c.characters) and of_alone.held_out == of_alone.test
        assert c.validation.fingerprint != c.fingerprint and c.ids.dtype == alone.ids.dtype
        assert len(c.files) == 2


def test_items_of_a_validation_text_are_its_split_in_the_order_of_the_file(folder):
    reading = ItemsReading("lines")
    with read_corpus(["text.txt"], items=reading) as alone:
        splits = alone.split(0.0, 0.2)
    with read_corpus(["text.txt"], items=reading, validation="other.txt") as c:
        found = c.split(0.05, 0.2)
        assert (found.train, found.test) == (splits.train, splits.test)
        starts = c.items.starts[c.items.first_of(found.val[0]) :]
        lines = [c.text(a + 1, b - 1) for a, b in zip(starts, starts[1:])]
        assert lines == OTHER.splitlines() and c.count_items(found)[1] == 8
        assert c.items.repeats() == alone.items.repeats() == ""
    (folder / "some.txt").write_text(2 * (TEXT.splitlines()[0] + "\n") + "abc\n")
    with read_corpus(["text.txt"], items=reading, validation="some.txt") as c:
        assert "--val-text: 2 of its 3 items are also in the training text" in c.notes
        assert c.items.repeats() == ""


@pytest.mark.parametrize("items", ["", "--items lines"])
def test_a_run_validates_on_it_resumes_exactly_and_eval_reads_it(folder, items):
    charrnn(f"train text.txt --val-text other.txt {items} {OPTIONS} -o whole")
    training = read_metadata("whole/last.safetensors")["training"]
    known = training["corpus"]["val"]
    assert (known["source"], known["source_from_run"]) == ("other.txt", "../other.txt")
    start, stop = training["validated"]
    assert stop - start == known["characters"] and training["config"]["val_fraction"] == 0
    charrnn(f"train text.txt --val-text other.txt {items} {OPTIONS.replace('--steps 12', '--steps 7')} -o parts")
    shutil.move("other.txt", "moved.txt")
    refused(CorpusError, "train --resume parts --steps 12 -q", "the run's validation text is missing: other.txt")
    charrnn("train --resume parts --steps 12 --schedule cosine --val-text moved.txt -q")
    losses = [
        {one["step"]: one["val_loss_nats"] for one in read_log(f"{run}/log.jsonl") if "val_loss_nats" in one}
        for run in ("whole", "parts")
    ]
    assert losses[0].keys() == {6, 12} and losses[1].keys() == {6, 7, 12}
    shutil.move("moved.txt", "other.txt")
    shown = charrnn("eval whole --split val --no-baselines" if not items else "eval whole --split val").stdout
    assert "validation" in shown.lower() or "val" in shown


def test_interrupted_runs_have_the_bits_of_whole_ones(folder):
    charrnn(f"train text.txt --val-text other.txt {OPTIONS} -o whole --schedule constant")
    charrnn(f"train text.txt --val-text other.txt {OPTIONS.replace('12', '9')} -o parts --schedule constant")
    charrnn("train --resume parts --steps 12 -q")
    one, other = load_checkpoint("whole/last.safetensors"), load_checkpoint("parts/last.safetensors")
    assert all(np.array_equal(one.parameters[name], other.parameters[name]) for name in one.parameters)


def test_another_validation_text_is_refused_on_resume(folder):
    charrnn(f"train text.txt --val-text other.txt {OPTIONS} -o run")
    (folder / "more.txt").write_text(OTHER + "abc\n")
    refused(
        CorpusError, "train --resume run --steps 20 --val-text more.txt -q", "is not the validation text that the run"
    )
    (folder / "other.txt").write_text(OTHER.replace("says", "line"))
    refused(CorpusError, "train --resume run --steps 20 -q", "is not the validation text that the run was started with")
    charrnn(f"train text.txt {OPTIONS} -o plain")
    refused(
        ConfigError, "train --resume plain --steps 20 --val-text more.txt -q", "the run was started with --val-text"
    )


def test_unknown_characters_are_refused_or_left_out_and_counted(folder):
    (folder / "strange.txt").write_text("abc \u03b1\u03b2\u03b1 line\n" * 9)
    refused(VocabularyError, f"train text.txt --val-text strange.txt {OPTIONS} -o run", "add --unknown skip to skip")
    assert not (folder / "run").exists()
    charrnn(f"train text.txt --val-text strange.txt --unknown skip {OPTIONS} -o run")
    assert read_metadata("run/last.safetensors")["training"]["corpus"]["val"]["characters"] == 9 * len("abc  line\n")
    with read_corpus(["text.txt"], validation="strange.txt", unknown="skip") as corpus:
        assert any(note.startswith("--val-text: skipped 27 characters") for note in corpus.notes)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"val_text": "a", "val_fraction": 0.1}, "--val-text a is the validation text, but --val-fraction 0.1 asks"),
        ({"unknown": "skip"}, "--unknown skip has no effect without --val-text or --keep"),
        ({"val_text": ""}, "--val-text must name a file"),
    ],
)
def test_what_contradicts_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        TrainingConfig(**options)


def test_a_file_of_options_names_it_beside_itself(folder):
    (folder / "inner").mkdir()
    shutil.move("other.txt", "inner/other.txt")
    (folder / "inner" / "options.toml").write_text(
        'val_text = "other.txt"\nhidden_size = 9\nnum_layers = 1\nsteps = 4\n'
    )
    charrnn("train text.txt --config inner/options.toml --batch-size 3 --seq-length 7 -q -o run")
    assert read_metadata("run/last.safetensors")["training"]["corpus"]["val"]["source"] == "inner/other.txt"


def test_the_options_of_a_run_name_it_from_anywhere(folder, monkeypatch):
    charrnn(f"train text.txt --val-text other.txt {OPTIONS} -o runs/one")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    charrnn("train --config ../runs/one/config.toml --steps 3 -q -o two")
    assert read_metadata("two/last.safetensors")["training"]["corpus"]["val"]["source"] == "../other.txt"


def test_a_sweep_finds_it_next_to_its_file_and_again_when_it_is_resumed_from_another_folder(folder, monkeypatch):
    (folder / "inner").mkdir()
    shutil.move("other.txt", "inner/other.txt")
    shutil.copy("text.txt", "inner/text.txt")
    spec = folder / "inner" / "grid.toml"
    spec.write_text(
        'text = "text.txt"\nval_text = "other.txt"\nhidden_size = 9\nnum_layers = 1\nsteps = 4\n[grid]\nseed = [1, 2]\n'
    )
    charrnn("sweep inner/grid.toml -q -o runs")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (folder / "runs" / "spec.toml").write_text(spec.read_text().replace("[1, 2]", "[1, 2, 3]"))
    charrnn("sweep --resume ../runs -q")
    for seed in (1, 2, 3):
        known = read_metadata(f"../runs/seed{seed}/last.safetensors")["training"]["corpus"]["val"]
        assert known["source_from_run"] == "../../inner/other.txt"


def test_a_sweep_tells_validation_texts_of_one_name_apart(folder, monkeypatch):
    for place in ("a", "b"):
        (folder / "inner" / place).mkdir(parents=True)
        (folder / "inner" / place / "other.txt").write_text(OTHER * (2 if place == "a" else 3))
    shutil.copy("text.txt", "inner/text.txt")
    spec = folder / "inner" / "grid.toml"
    spec.write_text(
        'text = "text.txt"\nhidden_size = 9\nnum_layers = 1\nsteps = 4\n[grid]\n'
        'val_text = ["a/other.txt", "b/other.txt"]\n'
    )
    charrnn("sweep inner/grid.toml -q -o runs")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    for _ in range(2):  # the second time nothing is left to do
        charrnn("sweep --resume ../runs -q")
        known = [
            read_metadata(path)["training"]["corpus"]["val"] for path in sorted((folder / "runs").glob("*/last.*"))
        ]
        assert sorted(one["characters"] for one in known) == [len(OTHER) * 2, len(OTHER) * 3]
