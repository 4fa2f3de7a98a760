"""--keep-every: snapshots of a run at stages, kept as they are, and gone on from in a folder of their own."""

import json

import numpy as np
import pytest
from commands import charrnn

from charrnn.errors import CheckpointError, RunError
from charrnn.files.own import is_own_file
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.runs.folder import RunFolder, read_log
from charrnn.runs.names import snapshot_name, snapshots_in
from charrnn.runs.snapshots import run_from_snapshot
from charrnn.training import trainer as trainer_module

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
OPTIONS = "--hidden-size 9 --num-layers 1 --batch-size 3 --seq-length 7 --val-fraction 0.1 --eval-every 6 -q"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def arrays(path):
    checkpoint = load_checkpoint(path)
    return {**checkpoint.parameters, **checkpoint.optimizer, **checkpoint.carry}


def assert_same(one, other):
    a, b = arrays(one), arrays(other)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def without_times(path):
    timed = ("chars_per_s", "elapsed_s")
    return [{key: value for key, value in one.items() if key not in timed} for one in read_log(path)]


def test_snapshots_are_named_by_step_and_each_goes_on_to_the_same_bits(folder):
    charrnn(f"train text.txt --steps 30 --keep-every 8 {OPTIONS} -o run")
    assert snapshots_in("run") == [f"step-0000{step:02}.safetensors" for step in (8, 16, 24)]
    assert read_metadata("run/step-000016.safetensors")["training"]["step"] == 16
    before = (folder / "run" / "last.safetensors").read_bytes()
    charrnn("train --resume run/step-000016.safetensors -o again -q")
    assert_same("run/last.safetensors", "again/last.safetensors")
    assert without_times("run/log.jsonl") == without_times("again/log.jsonl")
    assert (folder / "run" / "last.safetensors").read_bytes() == before and snapshots_in("again") == [
        "step-000024.safetensors"
    ]
    # Its text is found again from the new folder, wherever that is.
    told = charrnn("train --resume run/step-000008.safetensors -q")
    assert_same("run/last.safetensors", "checkpoints/text-1/last.safetensors")
    assert "step 30" not in told.stderr


def test_a_snapshot_changes_no_bit_and_is_never_replaced(folder):
    charrnn(f"train text.txt --steps 20 {OPTIONS} -o plain")
    charrnn(f"train text.txt --steps 20 --keep-every 5 {OPTIONS} -o kept")
    assert_same("plain/last.safetensors", "kept/last.safetensors")
    assert (folder / "kept/step-000010.safetensors").read_bytes() != b""
    (folder / "kept/step-000025.safetensors").write_bytes(b"mine")
    charrnn("train --resume kept --steps 30 -q")
    assert (folder / "kept/step-000025.safetensors").read_bytes() == b"mine"
    assert snapshots_in("kept")[-1] == "step-000030.safetensors"


def test_the_best_of_a_run_from_a_snapshot_is_the_one_of_its_step_or_chosen_anew(folder, capsys):
    charrnn(f"train text.txt --steps 30 --keep-every 6 {OPTIONS} --learning-rate 0.01 -o run")
    said = []
    with run_from_snapshot("run/step-000012.safetensors", folder / "a", said.append) as made:
        # The validation of step 12 was the best one then, and the snapshot is it.
        assert load_checkpoint(made.best).training["step"] == load_checkpoint(made.last).training["best"]["step"] == 12
    assert len(said) == 1 and "resuming from step 12 in the new folder" in said[0]
    charrnn(f"train text.txt --steps 30 --keep-every 8 {OPTIONS} --learning-rate 0.01 -o other")
    said.clear()
    with run_from_snapshot("other/step-000008.safetensors", folder / "b", said.append) as made:
        assert not made.best.exists() and load_checkpoint(made.last).training["best"] is None
    assert "of step 6, no longer exists" in said[0]
    charrnn("train --resume b -q")
    assert (folder / "b/best.safetensors").exists()


def test_a_run_that_went_back_keeps_the_snapshots_of_both_ways(folder, monkeypatch):
    exploded, losses = trainer_module.has_exploded, []

    def explodes(loss):
        losses.append(loss)
        return exploded(loss) or len(losses) == 15

    monkeypatch.setattr(trainer_module, "has_exploded", explodes)
    charrnn(f"train text.txt --steps 20 --keep-every 5 {OPTIONS} --eval-every 8 -o run")
    assert snapshots_in("run") == [
        snapshot_name(step, returns) for step, returns in ((5, 0), (10, 0), (10, 1), (15, 1), (20, 1))
    ]


def test_what_is_wrong_with_a_snapshot_is_told_before_anything_is_made(folder):
    charrnn(f"train text.txt --steps 10 --keep-every 5 {OPTIONS} -o run")
    with pytest.raises(CheckpointError, match="of a run: run has step-000005.safetensors, step-000010.safetensors"):
        run_from_snapshot("run/step-000007.safetensors", folder / "new", print)
    with pytest.raises(RunError, match="already contains a run"):
        run_from_snapshot("run/step-000005.safetensors", folder / "run", print)
    data = bytearray((folder / "run/step-000005.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "run/step-000005.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError):
        run_from_snapshot("run/step-000005.safetensors", folder / "new", print)
    assert not (folder / "new").exists()
    # A folder with nothing but a snapshot is still a run's.
    for name in ("last", "best"):
        (folder / "run" / f"{name}.safetensors").unlink()
    with pytest.raises(RunError, match="already contains a run"):
        RunFolder.create(folder / "run")
    assert is_own_file(str(folder / "run/step-000010.safetensors"))


def test_info_lists_the_snapshots(folder):
    charrnn(f"train text.txt --steps 22 --keep-every 2 {OPTIONS} -o run")
    shown = " ".join(charrnn("info run").stdout.split())
    assert "step-000014.safetensors, 3 more, step-000022.safetensors" in shown
    assert json.loads(charrnn("info run --json").stdout)["snapshots"] == snapshots_in("run")
