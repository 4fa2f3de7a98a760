"""charrnn sweep --workers: several commands share a sweep, each run is made once, and what a dead one left goes on."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.errors import ConfigError, RunError
from charrnn.files import locks
from charrnn.files.mounts import why_locks_are_local
from charrnn.runs.folder import FolderHeld, RunFolder
from charrnn.sweep import folder as sweeps
from charrnn.sweep import members, results
from charrnn.sweep.folder import join_sweep, open_sweep
from charrnn.sweep.members import live_workers

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))

import processes  # noqa: E402
import sweeping  # noqa: E402
from scene import Scene  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="flock")
SPEC = """text = ["text.txt"]
hidden-size = 3
num_layers = 1
batch-size = 3
seq-length = 7
steps = 6
[grid]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps, "ENTER_PATIENCE_S", 0.0)
    Path("text.txt").write_text("".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60)))
    return tmp_path


@pytest.fixture
def start(monkeypatch):
    """Start workers, of whom none outlives the test."""
    begun, real = [], sweeping.start

    def started(*arguments):
        begun.append(real(*arguments))
        return begun[-1]

    monkeypatch.setattr(sweeping, "start", started)
    yield started
    for one in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.mark.slow
def test_three_workers_make_every_run_once_with_the_bits_of_one_command(tmp_path, start):
    scene = Scene(tmp_path, quick=True)
    spec = sweeping.write_spec(scene, scene.text(), 0, steps=60)
    assert main(["sweep", str(spec), "-o", "whole", "-q"]) == 0
    made = [start(scene, spec, tmp_path / "shared") for _ in range(3)]
    assert [one.wait(120) for one in made] == [0, 0, 0]
    begun = [name for one in made for name in re.findall(r"run \d+/8 (\S+):", sweeping.said(one))]
    assert sorted(begun) == sorted(row["run"] for row in json.loads(Path("whole/results.json").read_text())["runs"])
    sweeping.compare(tmp_path / "shared", tmp_path / "whole", 0)


def wait_until_it_says(worker, pattern):
    """Return the groups of a pattern once a worker's output has it."""
    until = time.monotonic() + 60
    while not (found := re.search(pattern, sweeping.said(worker))):
        assert worker.poll() is None and time.monotonic() < until, sweeping.said(worker)
        time.sleep(0.02)
    return found.groups()


@pytest.mark.slow
def test_what_a_killed_worker_was_at_another_goes_on_with(tmp_path, start):
    scene = Scene(tmp_path, quick=True)
    spec = sweeping.write_spec(scene, scene.text(), 0, steps=100_000)
    first = start(scene, spec, tmp_path / "S")
    (name,) = wait_until_it_says(first, r"run \d/8 (\S+):")
    while not (tmp_path / "S" / name / "best.safetensors").exists():
        assert first.poll() is None, sweeping.said(first)
    second = start(scene, spec, tmp_path / "S")
    (other,) = wait_until_it_says(second, r"run \d/8 (\S+):")
    assert other != name
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 130
    states = {row["run"]: row["state"] for row in json.loads(Path("S/results.json").read_text())["runs"]}
    assert states[other] == "stopped" and states[name] in ("waiting", "stopped")
    third = start(scene, spec, tmp_path / "S")
    again, step = wait_until_it_says(third, r"run 1/8 (\S+): .*, from step ([\d,]+) on")
    assert again == name
    assert int(step.replace(",", "")) > 0
    third.terminate()
    assert third.wait(60) == 143 and not live_workers("S")


@pytest.mark.slow
def test_workers_that_are_killed_and_replaced_end_in_the_same_bits(tmp_path, start):
    scene = Scene(tmp_path, quick=True)
    sweeping.broken_sweep(scene, random.Random(5), scene.text(), 0, most=2)


def test_a_lone_sweep_and_workers_refuse_each_other(capsys):
    Path("grid.toml").write_text(SPEC + "seed = [1]")
    source = Path("grid.toml").read_bytes()
    with open_sweep("S", source=source):
        assert main(["sweep", "grid.toml", "-o", "S", "--workers"]) == 2
    assert "without --workers, so workers cannot join it" in capsys.readouterr().err
    with join_sweep("S", source) as member:
        member.settled()
        assert main(["sweep", "grid.toml", "-o", "S"]) == 2
        told = capsys.readouterr().err
        assert f"process {os.getpid()} on" in told and "charrnn sweep --resume S --workers" in told
    assert main(["sweep", "grid.toml", "--workers"]) == 2
    assert "give all of them" in capsys.readouterr().err


def test_a_worker_comes_while_the_first_one_writes_the_first_file():
    Path("S/.workers").mkdir(parents=True)
    Path("S/.charrnn-0123456789abcdef.tmp").touch()
    with join_sweep("S", b""):
        pass


def test_a_worker_of_another_version_or_spec_is_refused(monkeypatch, capsys):
    Path("grid.toml").write_text(SPEC + "seed = [1]")
    with join_sweep("S", b"another spec") as member:
        Path("S/spec.toml").write_bytes(b"another spec")
        Path("S/results.json").write_text('{"charrnn_version": "1"}')
        member.settled()
        assert main(["sweep", "grid.toml", "-o", "S", "--workers"]) == 2
        assert "with a different SPEC" in capsys.readouterr().err
        monkeypatch.setattr(members.charrnn, "__version__", "0.0.1")
        with pytest.raises(ConfigError, match="0.0.1"), join_sweep("S", b"another spec"):
            pass
        assert not list(Path("S/.workers").glob(".new*")) and len(live_workers("S")) == 1


@pytest.mark.slow
def test_what_failed_is_tried_again_by_the_first_worker_only(capsys):
    Path("grid.toml").write_text(SPEC + "seed = [1, 2]")
    source = Path("grid.toml").read_bytes()
    assert main(["sweep", "grid.toml", "-o", "S", "--workers", "-q"]) == 0

    def fail():
        with join_sweep("S", source) as member:
            assert member.is_first
            assert results.record_outcome(Path("S"), "seed2", {"state": "failed", "error": "no memory"})

    fail()
    with join_sweep("S", source) as member:
        member.settled()
        assert main(["sweep", "--resume", "S", "--workers", "-q"]) == 1
    assert main(["sweep", "--resume", "S", "--table", "--json"]) == 0
    capsys.readouterr()
    assert main(["sweep", "--resume", "S", "--workers", "-q"]) == 0
    assert main(["sweep", "--resume", "S", "-q"]) == 0  # the other form finds it finished as well


def test_a_worker_whose_lock_was_taken_away_stops_and_takes_no_other_ones(tmp_path):
    with join_sweep("S", b"") as member:
        member.settled()
        member.check()
        (path,) = Path("S/.workers").glob("*.lock")
        path.unlink()
        other = locks.acquire(path)
        with pytest.raises(RunError, match="lost its lock"):
            member.check()
    assert locks.is_locked(path)
    locks.release(path, other)
    assert not path.exists()


def test_a_claimed_run_is_saved_only_while_its_lock_is_ours(tmp_path):
    with RunFolder.claim(tmp_path / "run") as run:
        with pytest.raises(FolderHeld):
            RunFolder.claim(tmp_path / "run")
        (tmp_path / "run/lock").write_text("1\n")  # signed by another machine's process
        with pytest.raises(FolderHeld, match="another process now owns"):
            run.save(None)
    assert (tmp_path / "run/lock").read_text() == "1\n"


@pytest.mark.parametrize(
    "mount, told",
    [
        ("server:/x {} nfs4 rw,vers=4.2,local_lock=none 0 0", None),
        ("server:/x {} nfs rw,vers=3,local_lock=all 0 0", "local_lock=all"),
        ("x@tcp:/y {} lustre rw,flock 0 0", None),
        ("x@tcp:/y {} lustre rw,localflock 0 0", "localflock"),
        ("//s/x {} cifs rw,nobrl 0 0", "nobrl"),
        ("me@there: {} fuse.sshfs rw 0 0", "fuse.sshfs"),
    ],
)
def test_file_systems_that_keep_locks_to_one_machine_are_refused(tmp_path, monkeypatch, mount, told):
    place = tmp_path / "a b"
    place.mkdir()
    table = tmp_path / "mounts"
    table.write_text("/dev/x / ext4 rw 0 0\n" + mount.format(str(place).replace(" ", "\\040")) + "\n")
    reason = why_locks_are_local(place / "S", table)
    assert reason is None if told is None else told in reason
    if told is not None:
        monkeypatch.setattr(sweeps, "why_locks_are_local", lambda folder: reason)
        with pytest.raises(RunError, match="do not see this machine's locks"), join_sweep(place / "S", b""):
            pass


@pytest.mark.slow
@pytest.mark.skipif(processes.launcher() is None, reason="mpiexec")
def test_under_mpiexec_every_process_is_a_worker_and_one_table_is_shown(tmp_path):
    Path("grid.toml").write_text(SPEC + "seed = [1, 2, 3, 4]")
    start = [processes.launcher(), "-n", "2", *processes.command("sweep", "grid.toml", "-o", "S")]
    done = subprocess.run(start, capture_output=True, text=True, env=processes.environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("seed3 ") == 1 and "mean" in done.stdout
    assert {row["state"] for row in json.loads(Path("S/results.json").read_text())["runs"]} == {"finished"}
