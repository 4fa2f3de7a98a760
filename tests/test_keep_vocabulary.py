"""--keep-vocabulary: a new run from old weights that goes on with their vocabulary."""

import numpy as np
import pytest
from commands import charrnn, refused

from charrnn.errors import ConfigError, VocabularyError
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.training.options import TrainingConfig

OLD = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
NEW = "".join(f"says line {n} abc\n" for n in range(40))
OPTIONS = "--hidden-size 9 --num-layers 1 --batch-size 3 --seq-length 7 --steps 6 -q"
ANEW = "--batch-size 3 --seq-length 7 --steps 6 --schedule constant -q"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text(OLD)
    (tmp_path / "new.txt").write_text(NEW)
    (tmp_path / "strange.txt").write_text(NEW + "\u00e9 \u6f22\n" + NEW)
    return tmp_path


def vocabulary(run):
    return load_checkpoint(f"{run}/last.safetensors").vocabulary


@pytest.mark.parametrize("items", ["", "--items lines"])
def test_the_vocabulary_stays_and_such_a_run_resumes_exactly_and_is_evaluated(folder, items):
    charrnn(f"train old.txt {items} {OPTIONS} -o old")
    charrnn(f"train new.txt --init-from old --keep-vocabulary {items} {ANEW} -o whole")
    assert vocabulary("whole") == vocabulary("old")
    charrnn(f"train new.txt --init-from old --keep-vocabulary {items} {ANEW.replace('6', '4')} -o parts")
    charrnn("train --resume parts --steps 6 -q")
    one, other = load_checkpoint("whole/last.safetensors"), load_checkpoint("parts/last.safetensors")
    assert all(np.array_equal(one.parameters[name], other.parameters[name]) for name in one.parameters)
    charrnn("eval whole --split test --json")
    charrnn(f"train new.txt --init-from old {items} {ANEW} -o anew")
    assert len(vocabulary("anew").symbols) < len(vocabulary("old").symbols)


def test_items_are_still_split_by_their_hash(folder):
    lines = [f"says {'abc' * (n % 5)} {n}" for n in range(90)]
    (folder / "more.txt").write_text("\n".join(lines))
    charrnn(f"train old.txt --items lines {OPTIONS} -o old")
    charrnn(f"train more.txt --items lines {ANEW} -o fresh --hidden-size 9 --num-layers 1")
    charrnn(f"train more.txt --items lines --init-from old --keep-vocabulary {ANEW} -o kept")
    corpora = [load_checkpoint(f"{run}/last.safetensors").training["corpus"] for run in ("fresh", "kept")]
    assert corpora[0]["items"] == corpora[1]["items"] and corpora[0]["splits"] == corpora[1]["splits"]


def test_characters_that_the_old_model_does_not_know_are_refused_skipped_or_mapped(folder):
    charrnn(f"train old.txt {OPTIONS} -o old")
    command = f"train strange.txt --init-from old --keep-vocabulary {ANEW} -o run"
    refused(VocabularyError, command, f"character '\u00e9' at strange.txt, offset {len(NEW)} is not among")
    refused(VocabularyError, command, "add --unknown skip to skip such characters, or leave --keep-vocabulary out")
    assert not (folder / "run").exists()
    charrnn(f"{command} --unknown skip")
    assert load_checkpoint("run/last.safetensors").training["corpus"]["characters"] == 2 * len(NEW) + 2
    charrnn("train --resume run --steps 8 -q")
    (folder / "rare.txt").write_text(OLD + "\u03b1\n")
    charrnn(f"train rare.txt --min-count 2 {OPTIONS} -o unknown")
    charrnn(f"train strange.txt --init-from unknown --keep-vocabulary {ANEW} -o mapped")
    assert load_checkpoint("mapped/last.safetensors").training["corpus"]["characters"] == 2 * len(NEW) + 4
    assert vocabulary("mapped") == vocabulary("unknown")
    charrnn("train --resume mapped --steps 8 -q")


def test_what_contradicts_is_refused(folder):
    charrnn(f"train old.txt {OPTIONS} -o old")
    refused(
        ConfigError, f"train new.txt --keep-vocabulary {ANEW} -o run", "needs weights to start from: leave it out, or"
    )
    kept = f"train new.txt --init-from old --keep-vocabulary {ANEW} -o run"
    refused(ConfigError, f"{kept} --items lines", "learned one long text, and so did their vocabulary: leave --it")
    refused(ConfigError, f"{kept} --lowercase", "the old model has --lowercase off, got on")
    refused(ConfigError, f"{kept} --vocab bytes", "the old model has --vocab chars, got bytes")
    with pytest.raises(
        ConfigError, match="--min-count 2 builds the vocabulary from the text, but --keep-vocabulary keeps"
    ):
        TrainingConfig(min_count=2, keep_vocabulary=True)
    assert not (folder / "run").exists()
