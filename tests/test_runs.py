import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib

import numpy as np
import pytest

from charrnn.errors import ConfigError, RunError, StorageError
from charrnn.files import locks, storage
from charrnn.runs import folder as runs
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint
from charrnn.runs.folder import RunFolder, read_log
from charrnn.runs.toml import to_toml
from charrnn.spec import ModelConfig, parameter_shapes
from charrnn.text.vocabulary import Vocabulary


def make(step):
    model = {"cell": "rnn", "hidden_size": 2, "num_layers": 1, "embedding_size": 0, "tied": False, "dtype": "float32"}
    parameters = {
        name: np.full(shape, step, "f4") for name, shape in parameter_shapes(ModelConfig(vocab_size=3, **model)).items()
    }
    return Checkpoint(model, Vocabulary("chars", ("a", "b", "c")), parameters, {}, {}, {"step": step})


def step_of(path):
    return load_checkpoint(path).training["step"]


def steps_in(path):
    return [record["step"] for record in read_log(path)]


# ---------------------------------------------------------------------------------------------------------- folders


def test_a_finished_run_leaves_four_files(tmp_path):
    with RunFolder.create(tmp_path / "run") as run:
        run.write_config({"hidden_size": 2})
        run.log({"step": 1, "train_loss_nats": 3.0})
        run.save(make(1), best=True)
        assert "lock" in os.listdir(run.path)
    assert sorted(os.listdir(run.path)) == ["best.safetensors", "config.toml", "last.safetensors", "log.jsonl"]


def test_runs_that_are_not_named_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "README.md").touch()  # as in a clone of charrnn
    names = []
    for _ in range(2):
        with RunFolder.create(None, "texts/shakespeare.txt") as run:
            names.append(run.path.as_posix())
    (tmp_path / "checkpoints" / "shakespeare-7").mkdir()
    with RunFolder.create(None, "shakespeare") as run:
        names.append(run.path.as_posix())
    assert names == ["checkpoints/shakespeare-1", "checkpoints/shakespeare-2", "checkpoints/shakespeare-8"]


@pytest.mark.parametrize(
    "name, folder",
    [
        ("Shakespeare (all).txt.gz", "Shakespeare-all-1"),
        ("/usr/src/linux/", "linux-1"),
        ("war_and_peace.txt", "war_and_peace-1"),
        ("Война и мир.txt", "Война-и-мир-1"),
        ("C:\\texts\\a b.txt", "a-b-1"),
        ("-", "run-1"),
        ("..", "run-1"),
        ("*.txt", "run-1"),
        ("", "run-1"),
        ("\x1b[31m\n\0.txt", "31m-1"),
        ("x" * 300, "x" * 40 + "-1"),
    ],
)
def test_a_folder_name_needs_no_quoting(tmp_path, monkeypatch, name, folder):
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(None, name) as run:
        assert run.path.name == folder


def test_a_folder_that_holds_a_run_is_refused_with_the_ways_out(tmp_path):
    with RunFolder.create(tmp_path / "run") as run:
        run.save(make(1))
    with pytest.raises(
        RunError,
        match=r"already contains a run: choose another folder .* resume the run with: charrnn train --resume .*run$",
    ):
        RunFolder.create(tmp_path / "run")
    assert step_of(run.last) == 1
    assert "lock" not in os.listdir(run.path)


def test_a_folder_with_a_log_but_no_checkpoint_is_refused(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.log({"step": 1})
    with pytest.raises(RunError, match="saved no checkpoint: remove the folder"):
        RunFolder.create(tmp_path)
    assert steps_in(run.log_path) == [1]


def test_a_folder_whose_run_never_began_is_taken_over(tmp_path):
    with RunFolder.create(tmp_path):
        pass
    (tmp_path / "notes.txt").touch()
    with RunFolder.create(tmp_path) as run:
        run.save(make(1))
    assert sorted(os.listdir(tmp_path)) == ["last.safetensors", "notes.txt"]


def test_a_config_of_the_users_own_is_not_overwritten(tmp_path):
    (tmp_path / "config.toml").write_text("# mine")
    with pytest.raises(RunError, match="would be overwritten"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "config.toml").read_text() == "# mine"


def test_a_folder_of_runs_is_not_taken_for_a_run(tmp_path):
    with RunFolder.create(tmp_path / "checkpoints" / "a") as run:
        run.save(make(1))
    with pytest.raises(RunError, match="contains other folders.*-o"):
        RunFolder.create(tmp_path / "checkpoints")


def test_places_that_cannot_be_run_folders_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(StorageError):
        RunFolder.create(tmp_path / "file" / "run")
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match="has no last.safetensors to resume from"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunError, match="no run under ./checkpoints to resume"):
        RunFolder.open(None)
    assert os.listdir(tmp_path) == ["file"]
    (tmp_path / "checkpoints").touch()
    with pytest.raises(RunError, match="is a file, but runs must be stored there: move the file"):
        RunFolder.create(None)


def test_the_newest_run_or_a_checkpoint_in_it_may_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(None, "text") as run:
        run.save(make(1))
    for where in (None, run.path, str(run.path), run.last):
        with RunFolder.open(where) as opened:
            assert opened.last == run.last


def test_opening_removes_what_a_killed_process_left_half_written(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.save(make(1))
    (tmp_path / ".charrnn-0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "lock").write_bytes(b"99999999\n")
    with RunFolder.open(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_a_folder_that_cannot_be_signed_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(locks, "write_all", full)
    for path in (None, "new", "there"):
        with pytest.raises(StorageError, match="lock: no space left on device; free some space"):
            RunFolder.create(path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["checkpoints", "there"]


# ----------------------------------------------------------------------------------------------------------- saving


def test_good_stays_what_last_was(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.save(make(1))
        for _ in range(2):  # again, as a resumed run does
            run.keep_last_as_good()
        run.save(make(2))
        assert (step_of(run.good), step_of(run.last)) == (1, 2)
        run.keep_last_as_good()
        assert step_of(run.good) == 2
        assert sorted(os.listdir(tmp_path)) == ["good.safetensors", "last.safetensors", "lock"]
        for _ in range(2):
            run.remove_good()
        assert sorted(os.listdir(tmp_path)) == ["last.safetensors", "lock"]


@pytest.mark.parametrize("fault", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_where_no_link_can_be_made_good_is_a_copy(tmp_path, monkeypatch, fault):
    def refuse(*_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "link", refuse)
    with RunFolder.create(tmp_path) as run:
        run.save(make(1))
        run.keep_last_as_good()
        assert run.good.read_bytes() == run.last.read_bytes()
        assert not os.path.samefile(run.good, run.last)


def test_best_is_written_before_the_last_that_tells_of_it(tmp_path, monkeypatch):
    with RunFolder.create(tmp_path) as run:
        run.save(make(1), best=True)
        run.save(make(2))
        assert (step_of(run.best), step_of(run.last)) == (1, 2)
        written = []
        monkeypatch.setattr(runs, "save_checkpoint", lambda path, _: written.append(path.name))
        run.save(make(3), best=True)
        assert written == ["best.safetensors", "last.safetensors"]


# -------------------------------------------------------------------------------------------------------------- log


def test_a_record_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.log({"step": 1, "train_loss_nats": float("nan"), "grad_norm": np.float64("inf"), "text": "é\n"})
        assert run.log_path.read_bytes() == (
            b'{"step": 1, "train_loss_nats": null, "grad_norm": null, "text": "\\u00e9\\n"}\n'
        )


def test_resuming_cuts_the_records_after_the_checkpoint(tmp_path):
    with RunFolder.create(tmp_path) as run:
        for step in (1, 2, 3, 4):
            run.log({"step": step})
        run.save(make(2))
    with RunFolder.open(tmp_path) as run:
        run.trim_log(2)
        run.log({"step": 3})
    assert steps_in(run.log_path) == [1, 2, 3]


def test_a_log_cut_at_any_byte_is_mended(tmp_path):
    with RunFolder.create(tmp_path) as run:
        for step in (1, 2, 3):
            run.log({"step": step, "note": "}\\n{"})
        run.save(make(9))
        whole = run.log_path.read_bytes()
        for length in range(len(whole) + 1):
            run.trim_log(0)
            run.log_path.write_bytes(whole[:length])
            run.trim_log(9)
            run.log({"step": 10})
            steps = [json.loads(line)["step"] for line in run.log_path.read_bytes().splitlines()]
            complete = (length + 1) // (len(whole) // 3)  # a record that lacks its newline alone is whole
            assert steps == [1, 2, 3][:complete] + [10]


def test_lines_that_are_no_records_go(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.save(make(9))
        run.log_path.write_bytes(
            b'{"step": 1}\n\0\0\0\0\n[1]\n"step"\n{"step": "2"}\n\xff\n' + b"[" * 5000 + b'\n{"step": 3}\n'
        )
        run.trim_log(9)
        assert run.log_path.read_bytes() == b'{"step": 1}\n{"step": 3}\n'


def test_the_log_holds_the_returns_of_the_checkpoint_and_no_other(tmp_path):
    first, second, third = ({"step": 2, "returned_from": 5, "returns": n} for n in (1, 2, 3))
    with RunFolder.create(tmp_path) as run:
        for record in ({"step": 1}, {"step": 2}, first, {"step": 3}, third):
            run.log(record)
        for _ in range(2):
            run.trim_log(2, [first, second])
            assert list(read_log(run.log_path)) == [{"step": 1}, {"step": 2}, first, second]
        run.trim_log(1)
        assert list(read_log(run.log_path)) == [{"step": 1}]
        run.log_path.unlink()
        run.trim_log(0, [first])
        assert list(read_log(run.log_path)) == [first]


def test_trimming_a_log_that_is_not_there_makes_none(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.trim_log(3)
        assert not run.log_path.exists()


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_the_name_of_a_new_log_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(runs, "fsync_folder", synced.append)
    with RunFolder.create(tmp_path) as run:
        run.log({"step": 1})
        run.log({"step": 2})
    assert synced == [tmp_path]


def test_a_full_disk_leaves_no_half_record(tmp_path, monkeypatch):
    with RunFolder.create(tmp_path) as run:
        run.log({"step": 1})
        real = os.write
        room = [5]

        def write(descriptor, data):
            if not room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data[: room.pop()])

        monkeypatch.setattr(storage.os, "write", write)
        with pytest.raises(StorageError, match="log.jsonl: no space left"):
            run.log({"step": 2})
        monkeypatch.undo()
        assert run.log_path.read_bytes() == b'{"step": 1}\n'


# ------------------------------------------------------------------------------------------------------------- lock

HOLD = """
import sys
from charrnn.runs.folder import RunFolder
run = RunFolder.create(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
run.close()
print("released", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def killed_after(process, seconds):
    """Kill `process` if the block takes longer: a read from its pipe then ends, and the test fails on what it lacks."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with killed_after(process, 120):
        assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_kept_out_until_the_first_lets_go(tmp_path):
    with hold(tmp_path) as process:
        try:
            with pytest.raises(
                RunError, match=rf"another process \(process {process.pid}\) is training in .*: wait for it"
            ):
                RunFolder.create(tmp_path)
            process.stdin.write("\n")
            process.stdin.flush()
            with killed_after(process, 120):
                assert process.stdout.readline() == "released\n"
            with RunFolder.create(tmp_path):
                pass
        finally:
            process.kill()


def test_of_many_that_begin_at_once_one_gets_the_folder(tmp_path):
    def race(take):
        barrier, got, refused = threading.Barrier(8), [], []

        def begin():
            barrier.wait()
            try:
                got.append(take(tmp_path / "run"))
            except RunError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (
            len(got) == 1
            and len(refused) == 7
            and all("another process" in said and "is training in" in said for said in refused)
        )
        return got[0]

    for _ in range(20):
        with race(RunFolder.create) as run:
            run.save(make(1))
        with race(RunFolder.open):
            pass
        shutil.rmtree(tmp_path / "run")


@pytest.mark.skipif(os.name != "posix", reason="flock is POSIX")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, code):
    def none(*_):
        raise OSError(code, os.strerror(code))

    with RunFolder.create(tmp_path / "old") as run:
        run.save(make(1))
    monkeypatch.setattr(locks.fcntl, "flock", none)
    for take, name in ((RunFolder.create, "new"), (RunFolder.open, "old")):
        with pytest.raises(
            RunError, match=f"{name} is on a file system without locks.*choose a folder on a disk of this machine"
        ):
            take(tmp_path / name)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with hold(tmp_path) as process:
        process.kill()
        process.wait()
    assert os.listdir(tmp_path) == ["lock"]
    with RunFolder.create(tmp_path) as run:
        run.save(make(1))
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_the_same_process_cannot_hold_a_folder_twice(tmp_path):
    with RunFolder.create(tmp_path):
        with pytest.raises(RunError, match=str(os.getpid())):
            RunFolder.create(tmp_path)
        assert "lock" in os.listdir(tmp_path)
    with RunFolder.create(tmp_path) as run:
        run.close()
        run.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no open file")
def test_a_lock_file_removed_before_it_was_locked_is_not_trusted(tmp_path, monkeypatch):
    real, raced = locks._try_lock, []

    def lose_the_race_once(descriptor, path):
        if not raced:
            raced.append(True)
            os.unlink(tmp_path / "lock")  # its holder lets go between our open and our lock
        return real(descriptor, path)

    monkeypatch.setattr(locks, "_try_lock", lose_the_race_once)
    with RunFolder.create(tmp_path):
        assert raced
        with pytest.raises(RunError):
            RunFolder.create(tmp_path)


# ------------------------------------------------------------------------------------------------------------- TOML


def test_options_are_read_back_equal(tmp_path):
    options = {
        "text": ["a.txt", 'quo"te\\'],
        "cell": "lstm",
        "hidden_size": 256,
        "learning_rate": 1e-05,
        "big": 1e16,
        "tied": True,
        "empty": [],
        "odd key": "\n\t\x00\x7f é \U0001f600",
        "negative": -3,
        "inf": float("inf"),
        "numpy": np.float64(0.25),
        "table": {"a": 1, "b.c": [1.5, 2.0]},
    }
    with RunFolder.create(tmp_path) as run:
        run.write_config(options | {"none": None})
        with open(run.config_path, "rb") as file:
            assert tomllib.load(file) == options


def test_every_string_and_number_is_read_back_equal():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    characters = st.characters(exclude_categories=["Cs"])
    value = (
        st.text(characters, max_size=8) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
    )
    tables = st.dictionaries(st.text(characters, max_size=5), value | st.lists(value, max_size=3), max_size=4)

    @hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @hypothesis.given(tables)
    def check(options):
        assert tomllib.loads(to_toml(options)) == options

    check()


def test_what_toml_has_no_form_for_is_named():
    with pytest.raises(ConfigError, match="option rate must be a string, number, boolean or list, got object"):
        to_toml({"rate": object()})
    assert tomllib.loads(to_toml({"path": "a\udcffb"})) == {"path": "a\ufffdb"}
