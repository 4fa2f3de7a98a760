"""One rule for characters, from training to every command: --normalize, --lowercase and --newlines."""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import charrnn
from charrnn.cli import main
from charrnn.errors import CharRNNError, ConfigError, CorpusError, VocabularyError
from charrnn.runs.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from charrnn.sweep.drafts import draft
from charrnn.sweep.points import Spec, make_points
from charrnn.text.corpus import read_corpus
from charrnn.text.rewriting import Rewriting
from tests.test_corpus import set_block_bytes

TINY = ["--hidden-size", "6", "--num-layers", "1", "--threads", "1", "--no-sample", "--quiet", "--steps", "4"]
RULE = ["--normalize", "nfkc", "--lowercase", "--newlines", "lf"]
LINE = "Un CAFE\u0301 a\u0300 la carte, ΟΔΟΣ \u1112\u1161\u11ab \ufb01n 12\u00bd\r\n"
AS_READ = "un caf\u00e9 \u00e0 la carte, οδος \ud55c fin 121\u20442\n"


def call(capsys, *arguments, code=0):
    try:
        left = main([str(each) for each in arguments])
    except SystemExit as ended:
        left = ended.code
    out, err = capsys.readouterr()
    assert (left or 0) == code, err
    return out, " ".join(err.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text as it comes, the same as the model reads it, and runs of both: one by the rule, one without."""
    folder = tmp_path_factory.mktemp("rewritten")
    (folder / "raw.txt").write_bytes((LINE * 150).encode())
    (folder / "read.txt").write_bytes((AS_READ * 150).encode())
    for name, text, options in (("rule", "raw.txt", RULE), ("plain", "read.txt", []), ("raw", "raw.txt", [])):
        assert not main(["train", str(folder / text), *TINY, *options, "-o", str(folder / name)])
    return folder


def numbers(folder, run):
    return load_checkpoint(folder / run / "last.safetensors")


def test_a_run_by_the_rule_is_the_run_on_the_text_rewritten(folder):
    by_rule, plain = numbers(folder, "rule"), numbers(folder, "plain")
    assert by_rule.vocabulary.symbols == plain.vocabulary.symbols == tuple(sorted(set(AS_READ)))
    assert all((by_rule.parameters[name] == plain.parameters[name]).all() for name in plain.parameters)
    assert by_rule.training["corpus"]["fingerprint"] == plain.training["corpus"]["fingerprint"]


def test_only_a_file_that_uses_the_rule_is_of_a_new_format_and_names_it(folder):
    stored = {name: read_metadata(folder / name / "best.safetensors") for name in ("rule", "plain")}
    rule = {"normalize": "nfkc", "lowercase": True, "newlines": "lf"}
    assert stored["rule"]["format_version"] == 3 and stored["plain"]["format_version"] == 2
    assert set(stored["plain"]["vocabulary"]) == {"mode", "symbols"}
    assert {name: stored["rule"]["vocabulary"][name] for name in rule} == rule
    assert stored["rule"]["training"]["config"] == stored["plain"]["training"]["config"] | rule
    assert not rule.keys() & stored["plain"]["training"]["config"].keys()


@pytest.mark.parametrize("text", ["raw.txt", "read.txt"])
@pytest.mark.parametrize("command", [["eval", "--json"], ["gradients", "--json", "--steps", "5", "--times", "4"]])
def test_eval_and_gradients_read_a_text_by_the_rule(folder, capsys, text, command):
    name, *options = command
    by_rule, err = call(capsys, name, folder / "rule", folder / text, *options)
    plain, _ = call(capsys, name, folder / "plain", folder / "read.txt", *options)
    assert "the text is rewritten as in training, with --normalize nfkc --lowercase --newlines lf" in err
    figures = [re.sub(r'"[^"]*(txt|safetensors)"', "", out) for out in (by_rule, plain)]
    assert json.loads(by_rule) and figures[0] == figures[1]


def test_a_runs_own_text_is_found_and_read_by_the_rule(folder, capsys):
    by_rule, plain = (
        json.loads(call(capsys, "eval", folder / run, "--json", "--no-baselines")[0]) for run in ("rule", "plain")
    )
    assert by_rule["loss_nats"] == plain["loss_nats"] and by_rule["characters"] == plain["characters"]


def test_cells_reads_by_the_rule(folder, capsys):
    by_rule, plain = (
        json.loads(call(capsys, "cells", folder / run, folder / text, "--json")[0])
        for run, text in (("rule", "raw.txt"), ("plain", "read.txt"))
    )
    for found in (by_rule, plain):
        del found["checkpoint"], found["text"], found["validation_loss_nats"]
    assert by_rule == plain and plain["characters"] == len(AS_READ) * 150


@pytest.mark.parametrize("prime", ["CAFE\u0301 \ufb01n\r\n", "caf\u00e9 fin\n"])
def test_sample_primes_and_stops_by_the_rule(folder, tmp_path, capsys, prime):
    (tmp_path / "prime.txt").write_bytes(prime.encode())
    expected = call(capsys, "sample", folder / "plain", "--prime", "caf\u00e9 fin\n", "--stop", "\u00e9", "--seed", 3)[
        0
    ]
    for primed in (["--prime", prime], ["--prime-file", tmp_path / "prime.txt"]):
        assert call(capsys, "sample", folder / "rule", *primed, "--stop", "E\u0301", "--seed", 3)[0] == expected
    model = charrnn.load(folder / "rule")
    text = charrnn.sample(model, 1000, prime=prime, stop=["E\u0301"], seed=3, temperature=1.0)
    assert "caf\u00e9 fin\n" + text == expected.removesuffix("\n") or "caf\u00e9 fin\n" + text == expected


def test_the_library_reads_by_the_rule(folder):
    by_rule, plain = charrnn.load(folder / "rule"), charrnn.load(folder / "plain")
    expected = charrnn.evaluate(plain, string=AS_READ * 3, baselines=False).evaluation
    assert charrnn.evaluate(by_rule, string=LINE * 3, baselines=False).evaluation == expected
    assert charrnn.evaluate(by_rule, folder / "raw.txt", baselines=False).evaluation == (
        charrnn.evaluate(plain, folder / "read.txt", baselines=False).evaluation
    )
    assert by_rule.vocabulary.rewriting == Rewriting("nfkc", True, "lf")
    assert "--lowercase" in by_rule._repr_html_() and "read with" not in plain._repr_html_()


def test_resumed_and_warm_started_runs_keep_the_rule(folder, tmp_path, capsys):
    for run in ("rule", "plain"):
        for name in ("last.safetensors", "best.safetensors", "log.jsonl", "config.toml"):
            (tmp_path / run).mkdir(exist_ok=True)
            (tmp_path / run / name).write_bytes((folder / run / name).read_bytes())
        text = folder / ("raw.txt" if run == "rule" else "read.txt")
        call(capsys, "train", text, "--resume", tmp_path / run, "--steps", 6, "--no-sample", "--quiet")
        call(capsys, "train", text, "--init-from", folder / run, *TINY, "-o", tmp_path / f"{run}-on")
    for suffix in ("", "-on"):
        by_rule, plain = numbers(tmp_path, f"rule{suffix}"), numbers(tmp_path, f"plain{suffix}")
        assert all((by_rule.parameters[name] == plain.parameters[name]).all() for name in plain.parameters)
        assert by_rule.vocabulary.rewriting == Rewriting("nfkc", True, "lf")
    err = call(capsys, "train", folder / "raw.txt", "--resume", tmp_path / "rule", "--normalize", "nfc", code=2)[1]
    assert "started with --normalize nfkc" in err
    asked = ["--init-from", folder / "rule", "--no-lowercase", *TINY]
    asked.remove("--quiet")
    err = call(capsys, "train", folder / "raw.txt", *asked, "-o", tmp_path / "other")[1]
    assert "its text with --normalize nfkc --lowercase --newlines lf, this run reads it with --normalize nfkc" in err


def test_the_options_stand_in_files_too(folder, tmp_path, capsys):
    (tmp_path / "c.toml").write_text('normalize = "nfkc"\nlowercase = true\nnewlines = "lf"\n')
    call(capsys, "train", folder / "raw.txt", "--config", tmp_path / "c.toml", *TINY, "-o", tmp_path / "run")
    assert numbers(tmp_path, "run").vocabulary == numbers(folder, "rule").vocabulary
    grid = {"lowercase": (True, False), "normalize": ("nfc", "none")}
    common = {"steps": 2, "hidden_size": 4, "num_layers": 1}
    drafts = draft(make_points(Spec("s", ("t",), common, grid, ())), [folder / "raw.txt"])
    told = {(one.config.normalize, one.config.lowercase): one.text.own_characters for one in drafts}
    assert told == {
        (form, lower): len(Rewriting(form, lower).apply(LINE)) * 150
        for form in ("nfc", "none")
        for lower in (True, False)
    }


@pytest.mark.slow
def test_the_runs_of_a_sweep_keep_the_rule_and_read_the_text_again_for_each(folder, tmp_path, capsys):
    (tmp_path / "sweep.toml").write_text(
        f"text = '{folder / 'raw.txt'}'\nsteps = 2\nhidden-size = 4\nnum-layers = 1\n"
        "[grid]\nlowercase = ['true', 'false']\nnormalize = ['nfc', 'none']\n"
    )
    call(capsys, "sweep", tmp_path / "sweep.toml", "-o", tmp_path / "sweep", "--jobs", 1)
    kept = [load_checkpoint(path).vocabulary for path in (tmp_path / "sweep").glob("*/last.safetensors")]
    assert len(kept) == 4
    assert all(one.symbols == tuple(sorted(set(one.rewriting.apply(LINE)))) for one in kept)


@pytest.mark.parametrize("option", [["--normalize", "nfc"], ["--lowercase"], ["--newlines", "lf"]])
def test_bytes_are_not_rewritten(folder, tmp_path, capsys, option):
    err = call(capsys, "train", folder / "raw.txt", "--vocab", "bytes", *option, *TINY, "-o", tmp_path / "run", code=2)[
        1
    ]
    assert (
        f"{' '.join(option)} rewrites characters, but --vocab bytes reads bytes as they are: leave one of them" in err
    )
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="leave it out"):
        read_corpus([folder / "raw.txt"], mode="bytes", rewriting=Rewriting(lowercase=True))


def test_an_unknown_character_is_named_where_it_stands_in_the_file(folder, tmp_path, capsys, monkeypatch):
    text = "\ufb01n\r\n" * 40 + "e\u0301\u1112\u1161\u11ab" + "XQ\r\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    for size in (1, 7, 1 << 17):
        set_block_bytes(monkeypatch, size)
        err = call(capsys, "eval", folder / "rule", tmp_path / "a.txt", code=2)[1]
        assert f"character 'x' at {tmp_path / 'a.txt'}, offset {text.index('X')} is not" in err
    err = call(capsys, "sample", folder / "rule", "--prime", text, code=2)[1]
    assert f"character 'x' at offset {text.index('X')} is not" in err


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 64, 1 << 17])
def test_files_in_blocks_are_the_rewritten_whole(tmp_path, monkeypatch, block_bytes):
    set_block_bytes(monkeypatch, block_bytes)
    texts = [LINE * 3 + "Σ", "\u0301\n" + LINE, "\r\n \r", "ΟΔΟΣ"]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_bytes(text.encode())
    rule = Rewriting("nfkc", True, "lf")
    with read_corpus(paths, rewriting=rule) as corpus:
        assert corpus.text(0, corpus.characters) == "".join(map(rule.apply, texts))
        assert corpus.vocabulary.rewriting == rule


def test_marks_without_end_are_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_text("a" + "\u0301" * 70_000, encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.txt: 65,536 characters in a row.*leave --normalize nfc out"):
        read_corpus([tmp_path / "a.txt"], rewriting=Rewriting("nfc"))


def test_a_prime_in_another_normal_form_gets_advice_that_can_be_pasted(folder, capsys):
    err = call(capsys, "sample", folder / "raw", "--prime", "\u00e0 la", code=2)[1]
    assert r"which has it as 'a' and '\u0300'" in err
    assert "'charrnn train --normalize nfc'" in err
    remedy = err.split("here, in bash: ")[1]
    option, quoted = remedy.split(" ", 1)
    pasted = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert option == "--prime" and pasted.stdout.decode() == "a\u0300 la"
    call(capsys, "sample", folder / "raw", option, pasted.stdout.decode(), "--length", 3)


def test_info_tells_the_rule(folder, capsys):
    assert "texts are read with  --normalize nfkc --lowercase --newlines lf" in call(capsys, "info", folder / "rule")[0]
    assert "texts are read with" not in call(capsys, "info", folder / "plain")[0]
    assert json.loads(call(capsys, "info", folder / "rule", "--json")[0])["vocabulary"]["normalize"] == "nfkc"


def test_a_checkpoint_whose_options_and_vocabulary_disagree_is_refused(folder, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("best.safetensors", "log.jsonl", "config.toml"):
        (run / name).write_bytes((folder / "rule" / name).read_bytes())
    old = numbers(folder, "rule")
    save_checkpoint(
        run / "last.safetensors", replace(old, vocabulary=replace(old.vocabulary, rewriting=Rewriting("nfc")))
    )
    err = call(capsys, "train", folder / "raw.txt", "--resume", run, "--steps", 9, code=2)[1]
    assert "contradicts itself" in err


def test_the_library_says_what_is_wrong(folder):
    with pytest.raises(VocabularyError, match="--normalize nfc"):
        charrnn.load(folder / "raw").vocabulary.encode("\u00e0")
    with pytest.raises(CharRNNError, match="one of none, nfc, nfkc"):
        charrnn.train(folder / "raw.txt", normalize="nfd")
    assert np.array_equal(
        charrnn.load(folder / "rule").vocabulary.encode(LINE), charrnn.load(folder / "plain").vocabulary.encode(AS_READ)
    )


def test_a_runs_files_are_parted_wherever_they_are_read_again_and_those_of_an_older_run_are_not(tmp_path, capsys):
    (tmp_path / "d").mkdir()
    for name in "abc":
        (tmp_path / "d" / name).write_text("to be or not\n" * 60 + name)
    err = call(capsys, "train", tmp_path / "d", *TINY[:-3], "--steps", 4, "-o", tmp_path / "plain")[1]
    assert "2 files do not end with a newline" in err and "train with --part-files" in err
    err = call(capsys, "train", tmp_path / "d", "--part-files", *TINY[:-3], "--steps", 4, "-o", tmp_path / "parted")[1]
    assert "inserted 2 newlines between files" in err
    sizes = {}
    for run in ("plain", "parted"):
        stored = read_metadata(tmp_path / run / "last.safetensors")["training"]
        assert stored["config"].get("part_files", "left out") == (True if run == "parted" else "left out")
        sizes[run] = stored["corpus"]["characters"]
        call(capsys, "eval", tmp_path / run, "--json", "--no-baselines")
        whole = json.loads(call(capsys, "eval", tmp_path / run, tmp_path / "d", "--json", "--no-baselines")[0])
        assert whole["characters"] == sizes[run] - 1
        assert charrnn.evaluate(
            charrnn.load(tmp_path / run), tmp_path / "d", baselines=False
        ).evaluation.characters == (sizes[run] - 1)
        call(capsys, "train", "--resume", tmp_path / run, "--steps", 6, "--quiet", "--no-sample")
    assert sizes["parted"] == sizes["plain"] + 2


def test_a_sweep_says_what_is_to_be_known_of_its_text_once(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(b"to be or not to be\r" * 200)
    (tmp_path / "sweep.toml").write_text(
        f"text = '{tmp_path / 'a.txt'}'\nsteps = 2\n[grid]\nencoding = ['utf-8', 'ascii']\n"
    )
    err = call(capsys, "sweep", tmp_path / "sweep.toml", "--dry-run")[1]
    assert err.count("old Macs") == 1
