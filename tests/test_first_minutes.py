"""What a new user meets first: a look before a training, what a training ends with, and the list of signals."""

import re

import pytest
from commands import charrnn, refused

from charrnn.cells.signals.signal import BUILT_IN
from charrnn.cli import after_training
from charrnn.cli.after_training import ngram_line, stalled_line
from charrnn.errors import CheckpointError, ConfigError, CorpusError, RunError
from charrnn.training import intervals

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(200))
SMALL = "--hidden-size 8 --num-layers 1 --batch-size 3 --seq-length 7 --steps 12"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(folder):
    shown = charrnn("train text.txt --hidden-size 8 --num-layers 1 --batch-size 3 --dry-run").output
    assert re.search(r"^text +3,866 characters", shown, re.M) and re.search(r"^model +3,974 parameters", shown, re.M)
    assert "--learning-rate 0.008" in shown and "--batch-size" not in shown  # what was left open, and nothing else
    assert "this was a dry run: nothing was trained or written" in shown
    assert sorted(one.name for one in folder.iterdir()) == ["text.txt"]


def test_a_mistyped_file_or_run_is_answered_with_the_one_beside_it(folder):
    charrnn(f"train text.txt {SMALL} -o checkpoints/poems-1")
    refused(CorpusError, "train texd.txt", "texd.txt does not exist (did you mean text.txt?): check the path")
    meant = "(did you mean checkpoints/poems-1?)"
    refused(CheckpointError, "sample checkpoints/poem-1", f"checkpoints/poem-1 does not exist {meant}: name a")
    refused(RunError, "train --resume checkpoints/poems1", f"is not a run folder {meant}: name the folder")
    refused(CorpusError, "train nothing-like-it", "nothing-like-it does not exist: check the path")


def test_a_dry_run_says_the_same_of_the_run_as_the_run(folder):
    planned, made = (charrnn(f"train text.txt {SMALL} {more}").output for more in ("--dry-run", "-o run"))
    about = re.compile(r"^(text|split|model|length|default)\b.*", re.M)
    assert about.findall(planned) and [one[0] for one in about.finditer(planned)] == [
        one[0] for one in about.finditer(made)
    ]


def test_a_dry_run_refuses_what_the_run_would_and_to_resume(folder):
    refused(ConfigError, "train text.txt --hidden-size 0 --dry-run", "--hidden-size must be")
    charrnn(f"train text.txt {SMALL} -q -o run")
    refused(ConfigError, "train --resume run --dry-run", "--dry-run shows what a new run would do, and --resume")


def test_a_training_ends_with_a_sample_how_good_it_is_and_commands_that_work(folder):
    shown = charrnn(f"train text.txt {SMALL} --sample-length 30 -o run").output
    end = shown[shown.index("\nvalidation ") :]
    assert re.search(r"^--- sample at step 12\n(.|\n)+^---$", end, re.M), end
    assert re.search(
        r"^How good is that\? The model needs [\d.]+ times as many bits per character as an? \d-gram", end, re.M
    )
    commands = re.findall(r"^(?:next: |      )charrnn (.+)$", end, re.M)
    assert [one.split()[0] for one in commands] == ["sample", "eval", "info"]  # too little is held out for cells
    for one in commands:
        charrnn(one)
    (folder / "longer.txt").write_text(TEXT * 11)
    shown = charrnn(f"train longer.txt {SMALL} --no-sample -o longer").output
    assert re.search(r"^      charrnn cells longer --highlight$", shown, re.M)
    charrnn("cells longer --highlight")


@pytest.mark.parametrize(
    "fractions, said",
    [
        ("--val-fraction 0.1 --test-fraction 0", r"nats on the validation split\)"),
        (
            "--val-fraction 0 --test-fraction 0",
            r"This run holds out too little text to compare the model with an n-gram\.",
        ),
    ],
)
def test_a_run_without_a_test_split_is_held_against_an_ngram_too_if_it_validates(folder, fractions, said):
    shown = charrnn(f"train text.txt {SMALL} --no-sample {fractions} -o run").output
    assert re.search(rf"^How good is that\? .*{said}", shown, re.M)


@pytest.mark.parametrize("bound", ["after_training.MAX_NGRAM", "intervals.MIN_VALIDATION"])
def test_a_long_text_and_one_of_which_only_a_part_is_validated_are_left_to_eval(bound, folder, monkeypatch):
    module, name = bound.split(".")
    monkeypatch.setattr({"after_training": after_training, "intervals": intervals}[module], name, 10)
    shown = charrnn(f"train text.txt {SMALL} --no-sample -o run").output
    assert "For a long text like this one, the command 'charrnn eval' below compares it with an n-gram" in shown


@pytest.mark.parametrize(
    "loss, ngram, said",
    [
        (1.0, 2.0, "50% fewer bits per character than a 5-gram"),
        (3.0, 2.0, "50% more bits per character than"),
        (4.5, 2.0, "2.2 times as many bits per character as a 5-gram"),
        (2.0, 2.001, "as many bits"),
    ],
)
def test_a_loss_is_held_against_an_ngram_in_words(loss, ngram, said):
    assert said in ngram_line(loss, ngram, 5)
    assert "(" + f"{loss:.2f} against {ngram:.2f} nats on the test split)" in ngram_line(loss, ngram, 5)


def test_an_ngram_is_explained_where_it_is_named():
    assert "a 5-gram of the same text, which only sees the last 4 characters (" in ngram_line(1.0, 1.2, 5)
    assert "an 8-gram of" in ngram_line(1.0, 1.2, 8) and "the last 1 character (" in ngram_line(1.0, 1.2, 2)
    assert "a 1-gram of the same text (" in ngram_line(1.0, 1.2, 1)


def test_a_loss_that_stays_where_it_was_is_not_called_overfitting():
    flat, risen = stalled_line(88, 0.0232, 0.0237), stalled_line(88, 1.5, 1.6)
    assert (
        flat
        == "the validation loss has not improved since step 88: longer training would hardly make this model better"
    )
    assert "since step 88: the model is overfitting; train for fewer epochs" in risen


def test_the_list_of_signals_has_them_all_with_their_meanings():
    lines = charrnn("cells --list-signals").output.splitlines()
    assert [line.split()[0] for line in lines] == list(BUILT_IN)
    assert all(phrase in line for line, (phrase, _) in zip(lines, BUILT_IN.values()))
    assert "quote" in charrnn("cells --list-signals").output
