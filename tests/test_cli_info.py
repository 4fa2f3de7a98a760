import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from charrnn.cli.info import command
from charrnn.cli.words import duration, loss_text, printable
from charrnn.errors import CheckpointError, ConfigError
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, read_metadata, save_checkpoint
from charrnn.spec import ModelConfig, parameter_shapes
from charrnn.text.vocabulary import Vocabulary

HISTORY = [
    {"step": step, "epoch": step / 500, "train_loss_nats": 1.5 + 2.5 * math.exp(-step / 200), "learning_rate": 0.002}
    | ({"val_loss_nats": 1.6 + 2.5 * math.exp(-step / 200)} if step % 250 == 0 else {})
    for step in range(10, 1001, 10)
]
TRAINING = {
    "config": {
        "learning_rate": 0.003,
        "dropout": 0.1,
        "seed": 17,
        "batch_size": 32,
        "schedule": "cosine",
        "steps": None,
    },
    "step": 1000,
    "epoch": 2.0,
    "best": {"step": 1000, "val_loss_nats": 1.6168},
    "history": HISTORY,
    "corpus": {"fingerprint": "ab12", "sources": ["texts/shakespeare.txt"], "characters": 1115394},
    "elapsed_s": 125.2,
    "last": {
        "step": 1000,
        "grad_norms": {"layer 0": 0.25, "output": 0.125},
        "clipped_share": 0.5,
        "singular_values": [1.75, 2.5],
    },
    "charrnn_version": "0.1.0",
}

VOCABULARY = Vocabulary("chars", ("\n", " ", "\\", "a", "é", "\u0301", "\U0001f600"))


def save(path, training=TRAINING, vocabulary=VOCABULARY, **optional):
    model = {
        "cell": "gru",
        "hidden_size": 5,
        "num_layers": 2,
        "embedding_size": 5,
        "tied": True,
        "dtype": "float32",
        **optional,
    }
    parameters = {
        name: np.ones(shape, "f4")
        for name, shape in parameter_shapes(ModelConfig(vocab_size=vocabulary.size, **model)).items()
    }
    save_checkpoint(path, Checkpoint(model, vocabulary, parameters, {}, {}, training))
    return path


def info(*arguments, env=None, **options):
    result = CliRunner(env={"COLUMNS": "80"} | (env or {}), **options).invoke(
        command, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


def test_a_checkpoint_is_told_in_full(tmp_path):
    output = info(save(tmp_path / "last.safetensors")).stdout
    for line in (
        "  cell         gru",
        "  hidden size  5",
        "  embedding    5, shared with the output layer",
        "  mode  chars",
        "  size  7",
        "  \\n \\x20 \\\\ a é \\u0301 \U0001f600",
        "  rnn.weight_hh_l1   75  15 x 5",
        "  embedding.weight   35  7 x 5",
        "  total             382  trainable (the two biases of a gate count as one)",
        "  steps                 1,000",
        "  time                  2 min 05 s",
        "  best validation loss  1.6168 nats = 2.3325 bits per character, perplexity 5.037, at step 1,000",
        "  learning rate         0.003",
        "  dropout               0.1",
        "  seed                  17",
        "  corpus                texts/shakespeare.txt",
        "  characters            1,115,394",
        "  --batch-size  32",
        "  ⠤ training  ● validation",
    ):
        assert line in output.splitlines(), line
    assert "\x1b" not in output
    assert output.count("●") == 4 + 1
    assert max(map(len, output.splitlines()[-16:])) <= 80


def test_zoneout_is_told_where_it_is_on(tmp_path):
    path = save(tmp_path / "a.safetensors")
    assert "  zoneout" not in info(path).stdout
    saved = load_checkpoint(path)
    saved.model["zoneout"] = 0.05
    save_checkpoint(path, saved)
    assert "  zoneout      0.05 (the expected value is used after training)" in info(path).stdout.splitlines()


def test_layer_normalisation_is_told_where_there_is_one(tmp_path):
    assert "\n  normalisation" not in info(save(tmp_path / "last.safetensors")).stdout
    output = info(save(tmp_path / "last.safetensors", layer_norm=True)).stdout
    assert "  normalisation  yes, of each gate's sums\n" in output and "rnn.norm_gain_l1   20  20" in output
    assert "  total             422  trainable" in output  # four gains a unit and layer


def test_colour_comes_with_a_terminal_only(tmp_path):
    path = save(tmp_path / "a.safetensors")
    assert "\x1b[" in info(path, env={"FORCE_COLOR": "1", "NO_COLOR": None, "TERM": "xterm-256color"}).stdout
    assert "\x1b[3" not in info(path, env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm-256color"}).stdout


def test_a_stream_that_has_no_unicode_gets_ascii(tmp_path):
    output = info(save(tmp_path / "a.safetensors"), charset="ascii").stdout
    assert output.isascii()
    assert "\\n \\x20 \\\\ a \\xe9 \\u0301 \\U0001f600" in output
    assert ". training  o validation" in output


def test_the_losses_and_the_learning_rate_are_drawn(tmp_path):
    path, drawing = save(tmp_path / "last.safetensors"), tmp_path / "loss.svg"
    result = info(path, "--svg", drawing)
    text = drawing.read_text(encoding="utf-8")
    assert f"wrote {drawing}" in result.stderr and result.stdout == info(path).stdout
    for word in ("training, smoothed", "validation", "loss in nats per character", "steps", "learning rate"):
        assert f">{word}<" in text
    assert json.loads(info(path, "--json", "--svg", drawing).stdout)  # its own file may be replaced
    empty = save(tmp_path / "empty.safetensors", {**TRAINING, "history": []})
    with pytest.raises(ConfigError, match="no losses to draw"):
        info(empty, "--svg", tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_json_is_the_metadata_with_the_file_and_its_parameters(tmp_path):
    path = save(tmp_path / "a.safetensors")
    data = json.loads(info(path, "--json").stdout)
    assert data.pop("file") == str(path)
    assert data.pop("parameters") == {
        "total": 382,
        "shapes": {
            name: list(shape) for name, shape in parameter_shapes(ModelConfig(vocab_size=7, **data["model"])).items()
        },
    }
    assert data == read_metadata(path)


def test_the_newest_run_is_taken_and_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run under ./checkpoints"):
        CliRunner().invoke(command, [], catch_exceptions=False)
    (tmp_path / "checkpoints" / "text-1").mkdir(parents=True)
    save(tmp_path / "checkpoints" / "text-1" / "best.safetensors")
    result = info("--json")
    named = os.path.join("checkpoints", "text-1", "best.safetensors")
    assert result.stderr == f"checkpoint {named}\n"
    assert json.loads(result.stdout)["file"] == named
    assert info("checkpoints/text-1").stderr == ""
    page = info()
    assert page.stdout.splitlines()[0] == named and page.stderr == ""


def test_bytes_are_shown_as_characters_or_codes(tmp_path):
    output = info(save(tmp_path / "a.safetensors", vocabulary=Vocabulary("bytes", (0, 10, 32, 65, 127, 255)))).stdout
    assert "\n  \\x00 \\n \\x20 A \\x7f \\xff\n" in output


def test_the_last_records_gradient_and_singular_values_are_shown(tmp_path):
    output = info(save(tmp_path / "a.safetensors")).stdout
    assert (
        "layer 0: 0.25, output: 0.125" in output
        and "50.000% recently" in output
        and "layer 0: 1.75, layer 1: 2.5" in output
    )
    odd = {"grad_norms": {"\x1b": 1.0, "output": "x"}, "clipped_share": [], "singular_values": [None, 3.0]}
    output = info(save(tmp_path / "a.safetensors", TRAINING | {"last": odd})).stdout
    assert "\\x1b: 1" in output and "layer 1: 3" in output and "recently" not in output


def test_a_large_vocabulary_is_cut_short(tmp_path):
    vocabulary = Vocabulary("chars", tuple(chr(0x4E00 + number) for number in range(2000)))
    output = info(save(tmp_path / "a.safetensors", vocabulary=vocabulary)).stdout
    assert "and 1,488 more (--json shows all)" in output


def test_escape_sequences_in_a_checkpoint_do_not_reach_the_terminal(tmp_path):
    evil = "\x1b]0;owned\x07\x9b31m\u202e\ud800[red]"
    training = TRAINING | {
        "config": {evil: evil, "seed": evil, "list": [evil]},
        "charrnn_version": evil,
        "epoch": {evil: evil},
        "corpus": {"sources": [evil], "fingerprint": evil},
    }
    output = info(save(tmp_path / "a.safetensors", training, Vocabulary("chars", ("\x1b", "\x9b", "\u202e")))).stdout
    assert not set("\x1b\x07\x9b\u202e\ud800") & set(output)
    assert "\\x1b]0;owned\\x07\\x9b31m\\u202e\\ud800[red]" in output
    assert printable("a\tb", sys.stdout) == "a\\tb"


@pytest.mark.parametrize(
    "odd", [None, 5, -1e300, 10**60, "text", True, [], [5], [[]], [None], {}, {"step": []}, [{"step": {}}]]
)
@pytest.mark.parametrize("key", [*TRAINING, None])
def test_odd_or_missing_entries_are_no_reason_to_fail(tmp_path, key, odd):
    training = dict.fromkeys(TRAINING, odd) if key is None else TRAINING | {key: odd}
    if isinstance(odd, dict) and key == "config":
        training["config"] = dict.fromkeys(TRAINING["config"], odd)
    path = save(tmp_path / "a.safetensors", training)
    assert "total" in info(path).stdout
    info(path, "--json")


def test_odd_numbers_in_the_history_are_left_out(tmp_path):
    history = [{"step": 10**60, "train_loss_nats": 1.0}, {"step": 1, "train_loss_nats": 1e308}, {"step": "1"}]
    assert (
        "total" in info(save(tmp_path / "a.safetensors", {"history": history, "best": {"val_loss_nats": 1e308}})).stdout
    )


def test_a_checkpoint_with_no_history_has_no_plot(tmp_path):
    output = info(save(tmp_path / "a.safetensors", {})).stdout
    assert "Loss" not in output and "training  " not in output


def test_units_of_loss_and_time():
    assert loss_text(math.log(2)) == "0.6931 nats = 1.0000 bits per character, perplexity 2.000"
    assert loss_text(600).endswith("perplexity 3.773e+260") and "too large to show" in loss_text(1e4)
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 7260, 90000)] == [
        "0 s",
        "1 min 00 s",
        "59 min 59 s",
        "2 h 01 min",
        "1 d 1 h",
    ]


def test_info_imports_no_numba(tmp_path):
    path = save(tmp_path / "a.safetensors")
    script = (
        "import sys; from charrnn.cli.info import command; before = 'numpy' in sys.modules or 'rich' in sys.modules; "
        "command([sys.argv[1]], standalone_mode=False); print(before, 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    assert done.stdout.splitlines()[-1] == "False False"
