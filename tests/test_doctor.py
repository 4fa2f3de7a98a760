"""charrnn doctor: what it says where all is in order, and whatever is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.cli import main, probes
from charrnn.errors import ConfigError
from charrnn.files import machine
from charrnn.files.machine import ContainerMemory

ROOT = Path(__file__).parent.parent
OWN_CACHE = 'export CHARRNN_CACHE_DIR="$HOME/.charrnn-cache"'
NAMES = [
    *("folder", "charrnn", "Python", "numpy", "numba", "llvmlite", "system", "CPU", "compiler", "vectors", "threads"),
    *("cache", "kernels", "texts in use", "temporary", "memory", "newest run", "terminal", "environment"),
]


@pytest.fixture
def healthy(monkeypatch, tmp_path):
    """A machine on which nothing is wrong, whatever the one is that the tests run on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probes, "MIN_MEMORY", 0)
    monkeypatch.setattr(probes, "MIN_DISK", 0)
    monkeypatch.setattr(machine, "usable_cores", lambda: 1 << 20)
    monkeypatch.setattr(probes, "_home_is_writable", lambda: True)
    monkeypatch.setattr(probes, "can_print", lambda text, stream: True)
    return tmp_path


def doctor(capsys, code):
    """Return what `doctor --json` prints; it and the screen must end with the exit code."""
    assert main(["doctor"]) == code
    screen = capsys.readouterr().out
    assert main(["doctor", "--json"]) == code
    seen = json.loads(capsys.readouterr().out)
    assert seen["ok"] == (code == 0) == (seen["problems"] == [])
    assert screen.count("\n  ! ") + screen.startswith("  ! ") == len(seen["problems"])
    return seen, screen


def test_on_a_healthy_machine_all_is_told_and_nothing_is_wrong(healthy, capsys):
    seen, screen = doctor(capsys, 0)
    assert list(seen["seen"]) == NAMES
    assert screen.endswith("\neverything is fine\n") and screen.count("\n") <= 24
    assert [line.split("  ")[0] for line in screen.splitlines()[: len(NAMES)]] == NAMES
    assert seen["seen"]["threads"]["threads"] >= 1 and seen["seen"]["memory"]["free"] > 0
    assert os.listdir() == []


def only_problem(capsys):
    seen, screen = doctor(capsys, 1)
    (problem,) = seen["problems"]
    assert problem["problem"] in screen and (problem["remedy"] or "") in screen
    assert screen.endswith("1 problem found, marked with !\n")
    return problem["about"], problem["problem"], problem["remedy"]


def test_little_memory_and_little_disk_are_told(healthy, monkeypatch, capsys):
    monkeypatch.setattr(probes, "MIN_MEMORY", 300 << 20)
    monkeypatch.setattr(machine, "container_memory", lambda: ContainerMemory(256 << 20, 100 << 20))
    about, problem, _ = only_problem(capsys)
    assert about == "memory" and problem.startswith("only 100 MB are free")
    monkeypatch.setattr(probes, "MIN_MEMORY", 0)
    monkeypatch.setattr(probes, "MIN_DISK", 1 << 60)
    assert only_problem(capsys)[::2] == ("folder", "df -h")


def test_more_threads_than_cores_are_told(healthy, monkeypatch, capsys):
    monkeypatch.setattr(machine, "usable_cores", lambda: 0)
    assert only_problem(capsys)[::2] == ("threads", "unset NUMBA_NUM_THREADS")


def test_a_terminal_without_the_characters_is_told(healthy, monkeypatch, capsys):
    monkeypatch.setattr(probes, "can_print", lambda text, stream: False)
    assert only_problem(capsys)[::2] == ("terminal", "export PYTHONUTF8=1")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory here")
@pytest.mark.parametrize("writable, remedy", [(True, OWN_CACHE), (False, None)])
def test_texts_that_are_kept_in_memory_are_told(healthy, monkeypatch, capsys, writable, remedy):
    monkeypatch.setattr("charrnn.text.ids._folders", lambda: [healthy / "none"])
    monkeypatch.setattr("charrnn.text.ids.os.makedirs", lambda *_, **__: None)
    monkeypatch.setattr(probes, "_home_is_writable", lambda: writable)
    about, problem, found = only_problem(capsys)
    assert about == "texts in use" and "they are kept in memory" in problem and found == remedy


def test_a_damaged_newest_run_is_told_with_what_still_works(healthy, capsys):
    run = healthy / "checkpoints" / "one"
    run.mkdir(parents=True)
    (run / "last.safetensors").write_bytes(b"nonsense")
    about, problem, remedy = only_problem(capsys)
    assert about == "newest run" and "last.safetensors" in problem
    assert remedy == "mv -n checkpoints/one damaged-one"
    (run / "best.safetensors").write_bytes(b"nonsense")
    assert only_problem(capsys)[2] == "charrnn info checkpoints/one/best.safetensors"


def test_a_folder_of_runs_that_is_none_is_told(healthy, capsys):
    (healthy / "checkpoints").touch()
    assert only_problem(capsys)[1:] == (
        "./checkpoints is a file, but runs must be stored there",
        "mv -n checkpoints checkpoints.old",
    )
    (healthy / "checkpoints").unlink()
    (healthy / "checkpoints").symlink_to(healthy / "nowhere")
    assert "a link to a file that does not exist" in only_problem(capsys)[1]


@pytest.mark.skipif(os.name != "posix", reason="such names are of POSIX")
def test_hostile_names_do_no_harm(healthy, monkeypatch, capsys):
    run = healthy / "checkpoints" / os.fsdecode(b"a\xff\x1b[2J\nb")
    run.mkdir(parents=True)
    (run / "last.safetensors").write_bytes(b"nonsense")
    monkeypatch.setenv("CHARRNN_X", "\x1b]52;c;aGk\x07")
    _, screen = doctor(capsys, 1)
    assert "\x1b" not in screen and "\x07" not in screen and "\\x1b" in screen


def test_a_package_that_is_missing_is_told(healthy, monkeypatch, capsys):
    monkeypatch.setattr(probes, "PACKAGES", ("numpy", "numba", "no-such-package"))
    assert only_problem(capsys)[1:] == ("no-such-package is not installed", "python -m pip install no-such-package")


@pytest.mark.parametrize(
    "error, problem, remedy",
    [
        (ConfigError("x must be y, got z: unset Z"), "x must be y, got z", "unset Z"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error", None),
        (RuntimeError(), "RuntimeError", None),
        (ImportError("libgomp.so: no such file"), "libgomp.so: no such file", probes.REINSTALL),
    ],
)
@pytest.mark.parametrize("name", NAMES[8:])
def test_whatever_a_probe_meets_the_others_are_made(healthy, monkeypatch, capsys, name, error, problem, remedy):
    def broken():
        raise error
        yield

    monkeypatch.setitem(probes.PROBES, name, broken)
    assert only_problem(capsys) == (name, problem, remedy)


def test_what_hinders_several_probes_is_one_problem(healthy, monkeypatch, capsys):
    def broken():
        raise ConfigError("no Numba: install it")
        yield

    for name in ("compiler", "vectors", "kernels"):
        monkeypatch.setitem(probes.PROBES, name, broken)
    assert only_problem(capsys)[0] == "compiler"


def test_a_defect_of_a_probe_is_seen(healthy, monkeypatch):
    def defect():
        raise KeyError("oops")
        yield

    monkeypatch.setitem(probes.PROBES, "CPU", defect)
    with pytest.raises(KeyError):
        main(["doctor"])


def run(folder, before="pass", **environment):
    code = f"import os, sys; {before}; from charrnn.cli import main; sys.exit(main(['doctor', '--json']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.stderr == "" and done.returncode in (0, 1)
    return {one["about"]: (one["problem"], one["remedy"]) for one in json.loads(done.stdout)["problems"]}


@pytest.mark.slow
def test_broken_surroundings_are_told_with_what_mends_them(tmp_path):
    tmp_path = tmp_path.resolve()
    assert run(tmp_path, NUMBA_DISABLE_JIT="1")["compiler"][1] == "unset NUMBA_DISABLE_JIT"
    assert run(tmp_path, NUMBA_NUM_THREADS="two")["compiler"][1] == "unset NUMBA_NUM_THREADS"
    (tmp_path / "file").touch()
    home = {"HOME": str(tmp_path)}
    found = run(tmp_path, CHARRNN_CACHE_DIR=str(tmp_path / "file"), **home)
    assert found["cache"] == (f"{tmp_path}/file is a file, not a folder", OWN_CACHE)
    found = run(tmp_path, CHARRNN_CACHE_DIR="~nobody-like-this/cache", **home)
    assert "a user who does not exist" in found["cache"][0] and found["cache"][1] == OWN_CACHE
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    found = run(tmp_path, before="sys.path.insert(0, os.getcwd())")
    assert found["compiler"][1] == "python -m pip install --upgrade numba llvmlite numpy"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_cache_that_others_can_write_is_told_and_mended(tmp_path):
    cache = tmp_path.resolve() / "cache"
    run(tmp_path, CHARRNN_CACHE_DIR=str(cache))
    (digest,) = (cache / "kernels").iterdir()
    digest.chmod(0o777)
    problem, remedy = run(tmp_path, CHARRNN_CACHE_DIR=str(cache))["kernels"]
    assert (
        problem.startswith(f"{digest} is not used: users other than you and root can write to it")
        and remedy == f"chmod -R go-w {digest}"
    )
    subprocess.run(remedy, shell=True, check=True)
    assert "kernels" not in run(tmp_path, CHARRNN_CACHE_DIR=str(cache))
    for place in (cache, cache / "kernels", digest):
        place.chmod(0o777)
    problem, remedy = run(tmp_path, CHARRNN_CACHE_DIR=str(cache))["kernels"]
    assert remedy == f"chmod -R go-w {cache}"
    subprocess.run(remedy, shell=True, check=True)
    assert "kernels" not in run(tmp_path, CHARRNN_CACHE_DIR=str(cache))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed")
def test_a_current_folder_that_is_gone_is_told_by_every_command_that_needs_one(tmp_path):
    before = "os.mkdir('gone'); os.chdir('gone'); os.rmdir(os.getcwd())"
    assert run(tmp_path, before=before)["folder"] == ("the current folder has been removed", 'cd "$HOME"')
    code = f"import os, sys; {before}; from charrnn.cli import main; sys.exit(main(['sample']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert said.startswith('Error: the current folder no longer exists: change to another one, for example: cd "$HOME"')


def test_the_default_precision_is_the_one_that_train_takes(healthy, capsys, monkeypatch):
    monkeypatch.setenv("CHARRNN_PRECISION", "float32")
    main(["doctor"])
    assert "CHARRNN_PRECISION makes float32 the default" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("CHARRNN_PRECISION", "nonsense")
    assert main(["doctor"]) == 1
    assert "CHARRNN_PRECISION must be one of" in " ".join(capsys.readouterr().out.split())
