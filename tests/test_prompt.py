"""`charrnn sample --interactive` and `charrnn next`, on tiny models with random weights."""

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import charrnn
from charrnn.cli import line_editor
from charrnn.cli.following import command as next_command
from charrnn.cli.sample import command as sample_command
from charrnn.errors import ConfigError, VocabularyError
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
from charrnn.sampling.priming import first_ids
from charrnn.sampling.sampler import Settings
from charrnn.sampling.standing import StandingText
from charrnn.spec import ModelConfig
from charrnn.text.vocabulary import Vocabulary

ROOT = Path(charrnn.__file__).parents[1]
VOCABULARIES = {
    "chars": Vocabulary("chars", tuple("\n abcdefghij\u00e9")),
    "bytes": Vocabulary("bytes", tuple(range(256))),
    "items": Vocabulary("chars", tuple("abcdefghij"), special=("START", "END")),
    "labels": Vocabulary("chars", tuple("abcdefghij"), special=("START", "SEP", "END"), labels=("Irish", "Thai")),
}
STEERED = {"config": {"items": "csv", "text_field": "name", "label_field": "lang"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with a checkpoint for each vocabulary."""
    folder = tmp_path_factory.mktemp("prompt")
    for name, vocabulary in VOCABULARIES.items():
        config = ModelConfig("gru", vocab_size=vocabulary.size, hidden_size=9, num_layers=2)
        model = Model.initialise(config, seed=1)
        parameters = {key: value * 2 for key, value in model.get_parameters().items()}
        training = STEERED if name == "labels" else {}
        (folder / name).mkdir()
        path = folder / name / "best.safetensors"
        save_checkpoint(path, Checkpoint(config.to_dict(), vocabulary, parameters, {}, {}, training))
    return folder


@pytest.fixture
def at(runs, monkeypatch):
    """Return a function that types lines at a prompt: its Result."""
    monkeypatch.chdir(runs)

    def at(run, *lines, options=()):
        typed = "".join(f"{line}\n" for line in lines)
        return CliRunner().invoke(
            sample_command, [run, "--interactive", *map(str, options)], input=typed.encode("utf-8", "surrogateescape"),
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip

    return at


@pytest.fixture
def sample(runs, monkeypatch):
    monkeypatch.chdir(runs)
    return lambda *args: CliRunner().invoke(sample_command, [*map(str, args)], catch_exceptions=False).stdout_bytes


@pytest.fixture
def following(runs, monkeypatch):
    monkeypatch.chdir(runs)
    return lambda *args, **kwargs: CliRunner().invoke(next_command, [*map(str, args)], **kwargs)


# ---- a text that is left and continued ------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["chars", "items"])
def test_a_text_that_is_left_anywhere_and_continued_is_the_text_that_is_drawn_at_once(runs, run):
    model = charrnn.load(runs / run)
    first, settings = first_ids(model.vocabulary, model.vocabulary.encode("abc")), Settings(0.9)
    whole = StandingText(model, first, seed=5, stream=2)
    [*whole.draw(400, settings)]
    assert whole.ended == ("length" if run == "chars" else "end") and len(whole.drawn) == whole.position > 9
    stop = whole.drawn[-5:-2]
    for clamps in ((), (Clamp(0, 3, 0.5),)):
        whole = StandingText(model, first, seed=5, stream=2)
        [*whole.draw(400, settings, clamps)]
        parts, pieces = StandingText(model, first, seed=5, stream=2), []
        for n in range(1000):
            if len(parts.drawn) == len(whole.drawn):
                break
            for ids in parts.draw(min(70, len(whole.drawn) - len(parts.drawn)), settings, clamps, [stop] if n else ()):
                pieces.append(ids)
                if n % 2:  # left as Ctrl-C leaves it
                    break
        assert parts.drawn == whole.drawn == np.concatenate(pieces).tolist()


def test_what_stands_is_read_again_where_a_unit_is_held(runs):
    model = charrnn.load(runs / "chars")
    text, held = StandingText(model, [3], seed=1), [Clamp(1, 2, 0.9)]
    [*text.draw(20, Settings())]
    ids, before = [3, *text.drawn], text.log_probabilities()
    workspace = Workspace(model, 1, len(ids), training=False)
    workspace.set_clamps(held)
    logits = workspace.logits(np.array(ids)[:, None])[-1, 0].astype(float)
    np.testing.assert_allclose(np.exp(text.log_probabilities(held)), np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    assert not np.allclose(before, text.log_probabilities(held))


# ---- at a prompt ----------------------------------------------------------------------------------------------------


def test_a_line_is_continued_as_sample_continues_it_with_what_is_set(at, sample):
    lines = ["abc", "/temperature 0.5", "abc", "/length 30", "/seed 9", "/top-k 3", "/unknown skip", "//bc",
             "/clamp 0:3=0.5 1:2=-0.2", "/stop e", "ab", "/stop", "/clamp", "/min-p 0.2", "/top-p", "/temperature",
             "/top-k", r"a\nb", "/escapes on", r"a\nb"]  # fmt: skip
    found = at("chars", *lines, options=("--seed", 4, "--length", 80))
    asked = ("chars", "--seed", 4, "--length", 80)
    nine = ("chars", "--seed", 9, "--length", 30)
    expected = [
        sample(*asked, "--prime", "abc"),
        sample(*asked, "--prime", "abc", "--temperature", 0.5),
        sample(*nine, "--prime", "bc", "--temperature", 0.5, "--top-k", 3),
        sample(*nine, "--prime", "ab", "--temperature", 0.5, "--top-k", 3, "--stop", "e", "--clamp", "0:3=0.5",
               "--clamp", "1:2=-0.2"),
        sample(*nine, "--prime", "ab", "--min-p", 0.2),
        sample(*nine, "--prime", "a\nb", "--min-p", 0.2),
    ]  # fmt: skip
    assert found.stdout_bytes == b"".join(one.removesuffix(b"\n") + b"\n" for one in expected)
    assert found.return_value == 0 and "skipped 1 character" in found.stderr
    assert "held: 0:3=0.5 1:2=-0.2" in found.stderr and "no unit is held; to hold again: /clamp 0:3=" in found.stderr


def test_an_empty_line_continues_also_where_a_stop_has_ended_the_text(at, sample):
    whole = sample("chars", "--seed", 4, "--length", 90, "--prime", "abc").decode()
    pieces = at("chars", "abc", "", "/go", options=("--seed", 4, "--length", 30)).stdout
    assert pieces.replace("\n", "") == whole.replace("\n", "")
    stop = whole[20:22]
    pieces = at("chars", "abc", "", options=("--seed", 4, "--length", 60, "--stop", stop)).stdout
    cut = whole[: whole.index(stop, 3)]
    assert pieces.startswith(cut) and whole.replace("\n", "").startswith(pieces.replace("\n", ""))
    assert len(pieces) > len(cut) + 2


def test_an_item_that_has_ended_is_followed_by_the_next_one_that_begins_alike(at, sample):
    items = sample("items", "--seed", 4, "--num-samples", 3, "--prime", "ab").decode()
    found = at("items", "ab", "", "/go", options=("--seed", 4, "--length", 1000))
    assert found.stdout == items and "seed 4, sample 3" in found.stderr
    different = at("items", "ab", "").stderr
    assert len(set(re.findall(r"seed (\d+)", different))) == 2 and different.count("reproduce this text)") == 1


def test_bytes_are_written_as_they_are_and_a_character_may_be_completed_later(at, sample):
    whole = sample("bytes", "--seed", 2, "--length", 60, "--prime", "\udcff\u00e9")
    pieces = at("bytes", "\udcff\u00e9", "", options=("--seed", 2, "--length", 30)).stdout_bytes
    assert pieces.replace(b"\n", b"") == whole.replace(b"\n", b"") and pieces.startswith(b"\xff\xc3\xa9")


def test_a_label_is_given_at_the_prompt(at, sample):
    found = at("labels", "ab", "/given Iris", "/given Thai", "ab", "/given", "/next", options=("--seed", 4))
    refused, near, *_ = found.stderr.splitlines()[1:]
    assert refused.endswith("one, such as /given Irish") and "did you mean 'Irish'?" in near
    assert found.stdout.startswith(sample("labels", "--given", "Thai", "--seed", 4, "--prime", "ab").decode())
    assert "labels: Irish, Thai" in found.stderr and "<END>" in found.stdout and found.return_value == 2


@pytest.mark.parametrize(
    "line, words",
    [
        ("/temprature 3", "unknown command /temprature: did you mean /temperature?"),
        ("/xyzzy", "/help lists the commands; to begin a text with a slash, type //xyzzy"),
        ("/temperature -1", "/temperature must be 0 (greedy) or a positive number, got -1"),
        ("/temperature warm", "/temperature': must be a number, got 'warm'"),
        ("/top-k 0", "/top-k must be at least 1, got 0"),
        ("/escapes maybe", "Invalid value for '/escapes': 'maybe'"),
        ("/top-p 2", "/top-p must be above 0 and at most 1"),
        ("/length 0", "/length must be at least 1 character, got 0"),
        ("/seed -1", "/seed must be between 0 and 2**64 - 1"),
        ("/clamp 0:3", "/clamp is written LAYER:UNIT=VALUE"),
        ("/clamp 7:3=1", "the units of this model are 0:0 to 1:8"),
        ("/unknown ignore", "'ignore' is not one of"),
        ("/given Thai", "this one has none"),
        ("ab\u00fc", "the line: character '\u00fc' at offset 2"),
        ("ab\u00fc", "; /unknown skip skips such characters"),
        ("/next X", "/next: character 'X'"),
    ],
)
def test_what_is_refused_is_said_as_for_the_option_and_the_prompt_goes_on(at, line, words):
    found = at("chars", line, "/temperature 0.5", "/seed 1", "abc")
    assert words in found.stderr.replace("\n", " ") and found.stdout.startswith("abc")
    assert found.return_value == 2  # for a script


def test_settings_name_the_command_that_writes_the_text_again(at, sample):
    lines = ("/temperature 0.5", "/seed 7", "/clamp 0:3=0.5", "/stop e", "a\u00e9 b", "", "/settings")
    found = at("chars", *lines, options=("--length", 25))
    shown, again = found.stdout.split("To reproduce this text:\n")
    import shlex

    words = shlex.split(again)
    assert words[:2] == ["charrnn", "sample"]
    text = sample(*words[2:]).decode()
    assert shown.replace("\n", "").startswith(text.replace("\n", ""))
    assert re.search(r"^temperature +0.5$", shown, re.M) and re.search(r"^stop +'e'$", shown, re.M)
    changed = at("chars", "abc", "/temperature 0.5", "", "/settings")
    assert "again:" not in changed.stdout  # no single command has two temperatures


def test_next_at_a_prompt_is_what_the_command_shows(at, following):
    first, _, rest = at("chars", "/next", "/next abc", "/clamp 0:3=0.5", "/next abc").stdout.partition("The next")
    shown = at("chars", "/next", "/next abc", "/clamp 0:3=0.5", "/next abc").stdout
    expected = [following("chars", *options).stdout for options in
                ((), ("--prime", "abc"), ("--prime", "abc", "--clamp", "0:3=0.5"))]  # fmt: skip
    assert first == "" and rest and shown == "".join(expected)
    text = at("chars", "abc", "/next", options=("--seed", 1, "--length", 30, "--hide-prime")).stdout
    drawn = text.partition("The next character")[0].removesuffix("\n")
    assert text.endswith(following("chars", "--prime", f"abc{drawn}").stdout)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("has_editor", [True, False])
def test_at_a_terminal_a_text_streams_ctrl_c_stops_it_and_ctrl_d_ends(runs, tmp_path, has_editor):
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        + ("" if has_editor else "sys.modules['readline'] = None;")
        + "from charrnn.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    cache = Path(os.environ["CHARRNN_CACHE_DIR"])
    (tmp_path / "kernels").symlink_to((cache / "kernels").resolve())
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CHARRNN_CACHE_DIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "200"}
    main, other = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "sample", str(runs / "chars"), "--interactive", "--length", "100000000"],
        stdin=other, stdout=other, stderr=other, env=env, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(other)
    seen = b""

    def until(words, since=0):
        nonlocal seen
        deadline = time.monotonic() + 60
        while words not in seen[since:] and select.select([main], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                seen += os.read(main, 65536)
            except OSError:  # Linux: the other end is closed
                break
        assert words in seen[since:], seen[-400:]
        return seen.index(words, since) + len(words)

    try:
        at = until(b"Ctrl-D leaves.\r\n")
        assert b"GRU, 2 x 9 units, 13 characters" in seen
        until(b"> ", at)
        os.write(main, b"abc\n")
        at = until(b"\x1b[2mabc\x1b[0m", at)
        while len(seen) < at + 3000:  # it streams: the text is far from its end
            seen += os.read(main, 65536)
        os.write(main, b"\x03")
        at = until(b"and the same line reproduce this text)\r\n", at)
        until(b"> ", at)
        for _ in range(30):  # one that comes between the prompt and the reading of a line is not heard
            os.write(main, b"\x03")
            pause = time.monotonic() + 1
            while b"Ctrl-D or" not in seen[at:] and select.select([main], [], [], max(0, pause - time.monotonic()))[0]:
                seen += os.read(main, 65536)
            if b"press Ctrl-D or type /quit to leave" in seen[at:]:
                break
        at = until(b"press Ctrl-D or type /quit to leave", at)
        until(b"> ", at)
        os.write(main, b"/see\t11\n" if has_editor else b"/seed 11\n")  # Tab completes
        at = until(b"\r\nseed 11\r\n", at)
        until(b"> ", at)
        os.write(main, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(main)
    assert b"Traceback" not in seen
    history = tmp_path / "history"
    assert history.exists() == has_editor
    if has_editor:
        assert history.read_text().splitlines()[0] == "abc" and history.stat().st_mode & 0o777 == 0o600


def test_a_history_that_cannot_be_kept_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHARRNN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert line_editor._history_file() is None


# ---- the next character ---------------------------------------------------------------------------------------------


def softmax(model, ids, clamps=()):
    workspace = Workspace(model, 1, len(ids), training=False)
    workspace.set_clamps(clamps)
    z = workspace.logits(np.asarray(ids)[:, None].astype(np.int32))[-1, 0].astype(np.float64)
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


@pytest.mark.parametrize(
    "run, options, clamps", [("chars", ("--clamp", "1:2=0.5"), [Clamp(1, 2, 0.5)]), ("items", (), ()),
                             ("labels", ("--given", "Thai"), ()), ("bytes", (), ())]
)  # fmt: skip
def test_what_comes_next_is_the_softmax_of_the_logits(runs, following, run, options, clamps):
    model = charrnn.load(runs / run)
    vocabulary = model.vocabulary
    label = vocabulary.label_id("Thai") if run == "labels" else None
    expected = softmax(model, first_ids(vocabulary, vocabulary.encode("abc"), label), clamps)
    record = json.loads(following(run, "--prime", "abc", "--json", "--top-k", 4, *options).stdout)
    order = np.argsort(-expected, kind="stable")
    assert [one["id"] for one in record["next"]] == order[:4].tolist() and record["prime"] == "abc"
    found = np.array([(one["probability"], one["loss_nats"]) for one in record["next"]])
    np.testing.assert_allclose(found, np.stack([expected, -np.log(expected)], 1)[order[:4]], rtol=1e-6)
    assert record["rest"]["symbols"] == vocabulary.size - 4
    assert record["rest"]["probability"] == pytest.approx(expected[order[4:]].sum(), rel=1e-6)
    assert record["entropy_bits"] == pytest.approx(-(expected * np.log2(expected)).sum(), rel=1e-6)
    if vocabulary.end_id is not None:
        assert record["end_probability"] == pytest.approx(expected[vocabulary.end_id], rel=1e-6)
    given = {"clamps": clamps, "given": "Thai" if run == "labels" else None}
    [several] = charrnn.next_characters(model, ["abc"], 4, **given)
    assert several == charrnn.next_characters(model, "abc", 4, **given)
    assert [one.probability for one in several] == found[:, 0].tolist()


def test_what_follows_each_line_does_not_depend_on_the_others(following, tmp_path):
    lines = ["abc", "", "a" * 200, "\u00e9", "abc"]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    asked = ("--prime-file", tmp_path / "lines.txt", "--each-line")
    records = [json.loads(line) for line in following("chars", *asked, "--json").stdout.splitlines()]
    assert [one.pop("line") for one in records] == [1, 2, 3, 4, 5]
    assert records == [json.loads(following("chars", "--prime", line, "--json").stdout) for line in lines]
    shown = following("chars", *asked, "--top-k", 2).stdout.split("\n\n")
    assert len(shown) == 5 and shown[0] == following("chars", "--prime", "abc", "--top-k", 2).stdout.removesuffix("\n")


def test_the_table_shows_every_symbol_what_is_left_and_the_end_of_an_item(following):
    lines = following("chars", "--prime", "a\nb", "--top-k", 20).stdout.splitlines()
    assert lines[0] == 'The next character after "a\\nb":' and lines[-1].split()[2:] == ["bits"]
    assert sorted(line.split()[0] for line in lines[1:-1]) == sorted([*"abcdefghij\u00e9", "space", "\\n"])
    cut = following("items", "--prime", "ab", "--top-k", 2).stdout.splitlines()
    assert [line.split()[0] for line in cut[-2:]] == ["9", "entropy"] or "<END>" in cut[1] + cut[2]
    assert sum("<END>" in line for line in cut) == 1
    assert "at the start of an item" in following("items").stdout


def test_what_next_refuses(following):
    for options, kind, words in (
        (("chars", "--top-k", 0), ConfigError, "--top-k must be at least 1"),
        (("labels",), ConfigError, "charrnn next labels/best.safetensors --given Irish"),
        (("chars", "--prime", "X"), VocabularyError, "--unknown skip"),
        (("chars", "--each-line"), ConfigError, "add --prime-file FILE"),
    ):
        error = following(*options).exception
        assert isinstance(error, kind) and words in str(error)
