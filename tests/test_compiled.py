"""Machine code on disk: found again by a second process, made anew when damaged or when a source changes."""

import errno
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.files.places import is_private
from charrnn.kernels import machine_code
from charrnn.kernels.machine_code import Code

ROOT = Path(__file__).parents[1]
SCRIPT = """
import numpy as np
from charrnn.kernels import machine_code
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
built = []
machine_code.COMPILE_LISTENERS.append(built.append)
model = Model(ModelConfig("rnn", 3, 2, 1, dtype="float64"))
model.flat[:] = np.arange(model.flat.size)
print(Workspace(model, 1, 1, training=False).logits([[2]]).sum(), len(built), machine_code.cache_folder())
"""


LOADED = "import sys; print('numba' in sys.modules)\n"


def run(cache, script=SCRIPT):
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CHARRNN_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_a_damaged_file_is_compiled_again(tmp_path):
    total, built, folder = run(tmp_path)
    assert float(total) > 0 and built == "4"
    assert run(tmp_path)[1] == "0" and run(tmp_path, SCRIPT + LOADED)[3] == "False"
    # Two whole files in each other's place, one cut off, one with a bit flipped in its machine code.
    files = sorted(Path(folder).iterdir())
    contents = [path.read_bytes() for path in files]
    files[0].write_bytes(contents[1])
    files[1].write_bytes(contents[0])
    files[2].write_bytes(contents[2][:-1])
    files[3].write_bytes(contents[3][:-2000] + bytes([contents[3][-2000] ^ 1]) + contents[3][-1999:])
    assert run(tmp_path)[:2] == [total, "4"]
    assert run(tmp_path)[:2] == [total, "0"]


WITHOUT = """
import sys
from charrnn.cli import main
run, text = sys.argv[1:]
size = ("--hidden-size", "8", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7", "--steps", "3")
for command in (
    ["train", text, *size, "-o", run, "-q"],
    ["sample", run, "--length", "5"],
    ["eval", run],
    ["cells", run],
    ["info", run],
):
    assert main(command) == 0, command
    print(command[0], "numba" in sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_commands_whose_machine_code_is_kept_do_without_numba(tmp_path):
    """The first time may compile, the second may not."""
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question\n" * 1000)
    for name in ("one", "two"):
        command = [sys.executable, "-c", WITHOUT, tmp_path / name, tmp_path / "text.txt"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.endswith(("True", "False"))]
    assert said == [f"{name} False" for name in ("train", "sample", "eval", "cells", "info")]


AHEAD = """
import sys
from charrnn.kernels import ahead, entries
items, others, interpreter = entries.SUM_SQUARES, entries.COUNT_GRAMS, sys.argv[1]
here = []
compile_here = entries.Items._compile
entries.Items._compile = lambda self, dtype: here.append(self.name) or compile_here(self, dtype)
sys.executable = interpreter or sys.executable
ahead.compile_ahead([(items, "float32"), (others, "float64")], cores=int(sys.argv[2]))
items.address("float32"), others.address("float64")
print(*here)
"""


@pytest.mark.slow
def test_another_process_compiles_what_is_asked_for_ahead_of_time(tmp_path):
    """Both entries are there in the end. The first is compiled here only where no other process can do it."""

    (tmp_path / "ahead.py").write_text(AHEAD)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("import time; time.sleep(1000)")  # of the current folder: never run

    def compiled_here(name, interpreter="", cores=2):
        command = [sys.executable, tmp_path / "ahead.py", interpreter, str(cores)]
        environment = {**os.environ, "CHARRNN_CACHE_DIR": str(tmp_path / name), "PYTHONPATH": str(ROOT)}
        here = tmp_path / "here"
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=here)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert compiled_here("two") in ([], ["count_grams"])
    assert compiled_here("two") == []
    both = ["sum_squares", "count_grams"]
    assert compiled_here("the process fails", "/bin/false") == both
    assert compiled_here("no process starts", "/missing") == both
    assert compiled_here("one core", cores=1) == both


def test_every_damaged_file_counts_as_missing(tmp_path):
    def read(name):
        return machine_code.read_code(name, [tmp_path])

    codes = {"kernel-float32": Code("a", b"code"), "kernel-float64": Code("bb", b""), "other-float32": Code("", b"\0")}
    for name, code in codes.items():
        machine_code.keep_code(name, code, tmp_path)
    assert {name: read(name) for name in codes} == codes
    assert read("kernel-float16") is None
    path, *others = (tmp_path / machine_code._file_name(name) for name in codes)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [bytes(len(whole)), whole + b"\0", b"not a seal"]
    damaged += [one.read_bytes() for one in others]
    damaged += [whole[:n] + bytes([whole[n] ^ 16]) + whole[n + 1 :] for n in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        assert read("kernel-float32") is None
    path.unlink()
    path.mkdir()
    assert read("kernel-float32") is None
    path.rmdir()
    machine_code.keep_code("kernel-float32", codes["kernel-float32"], tmp_path)
    assert read("kernel-float32") == codes["kernel-float32"]


def test_processes_that_save_at_once_do_not_mix_their_entries_up(tmp_path):
    """There is no index to race for: an entry's file has a name of its own, whoever writes it, and in which order."""
    codes = {f"{kernel}-{dtype}": Code(kernel, dtype.encode()) for kernel in ("a", "b") for dtype in ("f32", "f64")}
    for name in (*codes, *reversed(codes)):
        machine_code.keep_code(name, codes[name], tmp_path)
    assert {name: machine_code.read_code(name, [tmp_path]) for name in codes} == codes
    assert len(os.listdir(tmp_path)) == len(codes)


def test_a_full_disk_costs_the_cache_and_leaves_no_temporary(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(machine_code.os, "replace", full)
    with pytest.raises(OSError):
        machine_code.keep_code("kernel", Code("a", b"code"), tmp_path)
    assert os.listdir(tmp_path) == []


def test_code_for_another_cpu_or_other_flags_has_another_name(monkeypatch):
    names = set()
    for features in ("avx2", "avx512f"):
        monkeypatch.setattr(machine_code.llvm, "get_host_cpu_features", lambda features=features: Features(features))
        for asked in ([], [("NUMBA_OPT", "1")]):
            monkeypatch.setattr(machine_code, "asked_of_numba", lambda asked=asked: asked)
            machine_code._target.cache_clear()
            names |= {machine_code._file_name("kernel"), machine_code._file_name("other")}
    machine_code._target.cache_clear()
    assert len(names) == 8


class Features(str):
    def flatten(self):
        return str(self)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_folder_in_which_others_may_have_written_is_not_trusted(tmp_path):
    folder = tmp_path / "root" / "kernels" / "digest"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "kernel.code").touch()
    assert is_private(folder)
    for place in (folder, folder.parent, tmp_path / "root"):  # a folder above it could be emptied and filled anew
        place.chmod(0o777)
        assert not is_private(folder)
        place.chmod(0o755)
    (tmp_path / "root").chmod(0o1777)  # as /tmp
    assert is_private(folder)
    (folder / "link").symlink_to(tmp_path)
    assert not is_private(folder)
    (folder / "link").unlink()
    assert is_private(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
@pytest.mark.parametrize("part", ["root", "root/kernels", "root/kernels/digest", "root/kernels/digest/kernel.code"])
def test_what_belongs_to_a_stranger_is_not_trusted(tmp_path, monkeypatch, part):
    folder = tmp_path / "root" / "kernels" / "digest"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "kernel.code").touch()
    real = {name: getattr(Path, name) for name in ("stat", "lstat")}

    def strange(self, *arguments, _name, **keywords):
        status = real[_name](self, *arguments, **keywords)
        if self != tmp_path / part:
            return status
        return os.stat_result([*status[:4], os.getuid() + 1, *status[5:]])

    for name in real:
        monkeypatch.setattr(Path, name, functools.partialmethod(strange, _name=name))
    assert not is_private(folder)


def test_what_killed_processes_left_is_removed_and_what_is_new_stays(tmp_path):
    folder = tmp_path / "digest"
    folder.mkdir()
    (folder / "old.tmp").touch()
    (folder / "new.tmp").touch()
    os.utime(folder / "old.tmp", (0, 0))
    machine_code._forget_old(folder)
    assert os.listdir(folder) == ["new.tmp"]


def test_the_digest_covers_every_kernel_source(tmp_path, monkeypatch):
    before = machine_code.kernel_digest()
    package = tmp_path / "kernels"
    package.mkdir()
    source = Path(machine_code.__file__).parent
    for path in source.rglob("*.py"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(machine_code, "__file__", str(package / "machine_code.py"))
    machine_code.kernel_digest.cache_clear()
    assert machine_code.kernel_digest() == before
    (package / "deeper").mkdir()
    for change in ("lstm.py", "deeper/lstm.py", "deeper/lstm.py"):
        with open(package / change, "a") as file:
            file.write("# changed\n")
        machine_code.kernel_digest.cache_clear()
        assert machine_code.kernel_digest() != before
        before = machine_code.kernel_digest()
    monkeypatch.undo()
    machine_code.kernel_digest.cache_clear()


TWINS = """
import sys
import numpy as np
from charrnn.kernels.compiled import inline
from charrnn.kernels.entries import Items
from charrnn.kernels.pool import run_items


@inline
def plus(a, i):
    return a * 3 + i


@inline
def minus(a, i):
    return a * 5 - i


def make(step):
    @inline
    def middle(table, n):    # long enough, and called often enough, not to be inlined: it stays a symbol of its own
        a = n
        for i in range(n):
            a = step(a, i) ^ (a >> 3)
            a = step(a, table[1]) ^ (a >> 5)
            for j in range(i):
                a = step(a, j) ^ (a >> 7)
                table[2] += step(a, table[2] & 255)
                for k in range(j):
                    a = step(a, table[2] & 15) ^ (a >> 9)
                    table[3] ^= step(a, k)
            for j in range(table[1]):
                a = step(a, j) ^ (a >> 11)
                table[4] ^= step(a, table[3] & 15)
        return a & 65535

    def entry(table, like, item):
        table[0] = middle(table, 5) + 3 * middle(table, 6) + 5 * middle(table, 7) + 7 * middle(table, table[1] + 2)
    return entry


made = {"plus": Items("plus_entry", "__main__:make", plus), "minus": Items("minus_entry", "__main__:make", minus)}
for name in sys.argv[1].split(","):
    table = np.array([0, 3, 0, 0, 0])
    run_items(made[name].address("float32"), table, 1)
    print(table[0])
"""


@pytest.mark.slow
def test_twins_that_were_compiled_in_two_processes_are_told_apart_in_a_third(tmp_path):
    script = tmp_path / "twins.py"
    script.write_text(TWINS)

    def results(names):
        done = subprocess.run(
            [sys.executable, str(script), names],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "CHARRNN_CACHE_DIR": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    plus, minus = results("plus"), results("minus")
    assert plus != minus
    assert results("plus,minus") == plus + minus
    assert results("minus,plus") == minus + plus
