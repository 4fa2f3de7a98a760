"""What the environment asks of Numba: understood, or refused in one sentence; and how many threads that gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.errors import ConfigError
from charrnn.kernels import threads
from charrnn.kernels.threads import cpu_quota

ROOT = Path(__file__).parent.parent
LOAD = "from charrnn.kernels.environment import check_numba; check_numba()"
COMMANDS = """
import contextlib, io, os, sys
from charrnn.cli import main
open("grid.toml", "w").write('text = "a.txt"\\nsteps = 1\\n[grid]\\nhidden_size = [4, 8]\\n')
open("a.txt", "w").write("to be or not to be\\n" * 99)
before = sorted(os.listdir())
for command in (
    ["train", "a.txt", "--steps", "1"],
    ["train", "a.txt", "--steps", "1", "-o", "run"],
    ["sweep", "grid.toml", "-q"],
    ["bench"],
    ["gradients", "--memory"],
):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(command)
    print(code, err.getvalue().strip())
assert sorted(os.listdir()) == before, os.listdir()
"""


def run(code, folder, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=folder, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, value, said",
    [
        ("NUMBA_DISABLE_JIT", "1", "charrnn needs Numba's compiler, but NUMBA_DISABLE_JIT=1 turned it off: unset NUMB"),
        ("NUMBA_NUM_THREADS", "two", "NUMBA_NUM_THREADS must be a whole number between 1 and 1024, got 'two': unset N"),
        ("NUMBA_NUM_THREADS", "0", "NUMBA_NUM_THREADS must be a whole number between 1 and 1024, got '0': unset N"),
        ("NUMBA_NUM_THREADS", "99999999", "a whole number between 1 and 1024, got '99999999': unset NUMBA_NUM_THREADS"),
        ("NUMBA_OPT", "fast", "Numba cannot read the environment variable NUMBA_OPT, which is 'fast': unset NUMBA_OPT"),
    ],
)
def test_what_numba_cannot_work_with_is_one_sentence_and_leaves_nothing(tmp_path, name, value, said):
    done = run(COMMANDS, tmp_path, **{name: value})
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert line.startswith("2 Error: ") and said in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "NUMBA_DISABLE_JIT", "NUMBA_THREADING_LAYER", "NUMBA_DEBUG"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_one_that_is_not_set(tmp_path, name, value):
    code = (
        "from charrnn.kernels.threads import num_threads, max_threads; assert num_threads() <= max_threads(); " + LOAD
    )
    done = run(code, tmp_path, **{name: value})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_numba_that_cannot_be_loaded_is_a_sentence(tmp_path):
    (tmp_path / "numba.py").write_text('raise ImportError("Numba needs NumPy 2.4 or less.\\nGot NumPy 9.1.")')
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {LOAD}"
    done = run(code, tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "charrnn.errors.ConfigError: charrnn needs Numba, which cannot be loaded (Numba needs NumPy 2.4 or less. Got "
        "NumPy 9.1): python -m pip install --upgrade numba llvmlite numpy"
    )


def test_more_threads_than_the_environment_allows_name_the_environment(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads.max_threads()))
    more = threads.max_threads() + 1
    with pytest.raises(ConfigError, match=f"--threads {more} is more than NUMBA_NUM_THREADS={more - 1} allows: "):
        threads.set_num_threads(more)
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    with pytest.raises(ConfigError, match=f"must be between 1 and {more - 1} on this machine, got {more}"):
        threads.set_num_threads(more)


def make_groups(folder, own, **files):
    """Lay out a cgroup file system: a name is the path of a file with __ for /, and the value what is in it."""
    for name, content in files.items():
        path = folder / "groups" / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (folder / "own").write_text(own)
    return cpu_quota(folder / "groups", folder / "own")


V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n"


@pytest.mark.parametrize(
    "own, files, quota",
    [
        ("0::/\n", {"cpu_max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu_max": "max 100000"}, None),
        ("0::/a/b\n", {"a__cpu_max": "50000 100000", "a__b__cpu_max": "max 100000"}, 0.5),
        ("0::/a/b\n", {"cpu_max": "200000 100000", "a__b__cpu_max": "400000 100000"}, 2),
        ("0::/not/in/this/container\n", {"cpu_max": "300000 100000"}, 3),
        ("0::/../..\n", {"cpu_max": "300000 100000"}, 3),
        ("0::/\n", {"cpu_max": "what is this"}, None),
        ("0::/\n", {"cpu_max": "0 0"}, None),
        ("0::/\n", {}, None),
        ("", {"cpu_max": "300000 100000"}, None),
        ("nonsense\n", {"cpu_max": "300000 100000"}, None),
        ("1:cpu:/\n0::/\n", {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}, None),
        ("1:cpu:/\n0::/\n", {"cpu__cfs_quota_us": "50000", "cpu__cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu__docker__abc__cfs_quota_us": "250000", "cpu__docker__abc__cfs_period_us": "100000"}, 2.5),
        (V1, {"cpu,cpuacct__cfs_quota_us": "250000", "cpu,cpuacct__cfs_period_us": "100000"}, 2.5),
        ("1:cpu:/\n0::/x\n", {"unified__x__cpu_max": "100000 100000"}, 1),
    ],
)
def test_the_quota_of_a_container_is_found_in_both_versions(tmp_path, own, files, quota):
    assert make_groups(tmp_path, own, **files) == quota


def test_where_there_are_no_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "groups", tmp_path / "own") is None


@pytest.mark.parametrize("quota, expected", [(None, 8), (0.1, 1), (1, 1), (1.5, 2), (7.9, 8), (64, 8)])
def test_as_many_threads_as_cpus_of_the_quota(monkeypatch, quota, expected):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(threads, "max_threads", lambda: 8)
    assert threads.default_threads() == expected
    monkeypatch.setenv("NUMBA_NUM_THREADS", "8")  # who sets it knows better
    assert threads.default_threads() == 8 and threads.explain_threads() == "NUMBA_NUM_THREADS=8"


def test_why_so_many_threads_is_said(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 8)
    said = []
    for quota, most in ((None, 8), (None, 2), (1.5, 8), (16, 8)):
        monkeypatch.setattr(threads, "cpu_quota", lambda quota=quota: quota)
        monkeypatch.setattr(threads, "max_threads", lambda most=most: most)
        said.append(threads.explain_threads())
    assert said == [
        "one per CPU",
        "this process may use 2 of 8 CPUs",
        "the container's quota is 1.5 CPUs of 8",
        "one per CPU",
    ]


def test_the_quota_counts_until_a_number_is_asked_for(tmp_path):
    code = (
        "from charrnn.kernels import threads\n"
        "threads.cpu_quota = lambda: 1.0\n"
        "import threading\n"
        "found = []\n"
        "def look(): found.append(threads.num_threads())\n"
        "look(); other = threading.Thread(target=look); other.start(); other.join()\n"
        "threads.set_num_threads(2); look()\n"
        "print(found)"
    )
    if threads.max_threads() == 1 or "NUMBA_NUM_THREADS" in os.environ:
        pytest.skip("one CPU, or a number of threads that was asked for")
    done = run(code, tmp_path)
    assert done.stdout == "[1, 1, 2]\n", done.stderr
