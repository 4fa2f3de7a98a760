"""The machine-code cache: found again by a second process, made anew when damaged or when a source changes."""

import errno
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.files.places import is_private
from charrnn.kernels import compiled

SCRIPT = """
import numpy as np
from charrnn.kernels import compiled
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
built = []
compiled.COMPILE_LISTENERS.append(built.append)
model = Model(ModelConfig("rnn", 3, 2, 1, dtype="float64"))
model.flat[:] = np.arange(model.flat.size)
print(Workspace(model, 1, 1, training=False).logits([[2]]).sum(), len(built), compiled.cache_folder())
"""


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
    assert run(tmp_path)[1] == "0"
    # Two whole files in each other's place, one cut off, one with a bit flipped in its machine code.
    files = sorted(Path(folder).iterdir())
    contents = [path.read_bytes() for path in files]
    files[0].write_bytes(contents[1])
    files[1].write_bytes(contents[0])
    files[2].write_bytes(contents[2][:-1])
    files[3].write_bytes(contents[3][:-2000] + bytes([contents[3][-2000] ^ 1]) + contents[3][-1999:])
    assert run(tmp_path)[:2] == [total, "4"]
    assert run(tmp_path)[:2] == [total, "0"]


def test_every_damaged_file_counts_as_missing(tmp_path):
    files, other = compiled._Files(tmp_path, "kernel"), compiled._Files(tmp_path, "other")
    files.save(("float32",), "code")
    files.save(("float64",), "other code")
    other.save(("float32",), "third code")
    assert files.load(("float32",)) == "code" and other.load(("float32",)) == "third code"
    assert files.load(("float16",)) is None
    path, *others = (one._path((kind,)) for one, kind in ((files, "float32"), (files, "float64"), (other, "float32")))
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [bytes(len(whole)), whole + b"\0", b"not a pickle"]
    damaged += [one.read_bytes() for one in others]
    damaged += [whole[:n] + bytes([whole[n] ^ 16]) + whole[n + 1 :] for n in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        assert files.load(("float32",)) is None
    path.unlink()
    path.mkdir()
    assert files.load(("float32",)) is None
    path.rmdir()
    files.save(("float32",), "code")
    assert files.load(("float32",)) == "code"


def test_processes_that_save_at_once_do_not_mix_their_entries_up(tmp_path):
    one, two = compiled._Files(tmp_path, "kernel"), compiled._Files(tmp_path, "kernel")
    assert one.load("float32") is two.load("float64") is None
    one.save("float32", "code 32")
    two.save("float64", "code 64")
    one.save("float32", "code 32")
    assert [files.load(key) for files in (one, two) for key in ("float32", "float64")] == ["code 32", "code 64"] * 2
    assert len(os.listdir(tmp_path)) == 2


def test_a_full_disk_costs_the_cache_and_leaves_no_temporary(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = compiled._Files(tmp_path, "kernel")
    monkeypatch.setattr(compiled.os, "replace", full)
    with pytest.raises(OSError):
        files.save("float32", "code")
    assert os.listdir(tmp_path) == []


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
    compiled._forget_old(folder)
    assert os.listdir(folder) == ["new.tmp"]


def test_the_digest_covers_every_kernel_source(tmp_path, monkeypatch):
    before = compiled.kernel_digest()
    package = tmp_path / "kernels"
    package.mkdir()
    source = Path(compiled.__file__).parent
    for path in source.rglob("*.py"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    compiled.kernel_digest.cache_clear()
    assert compiled.kernel_digest() == before
    (package / "deeper").mkdir()
    for change in ("lstm.py", "deeper/lstm.py", "deeper/lstm.py"):
        with open(package / change, "a") as file:
            file.write("# changed\n")
        compiled.kernel_digest.cache_clear()
        assert compiled.kernel_digest() != before
        before = compiled.kernel_digest()
    monkeypatch.undo()
    compiled.kernel_digest.cache_clear()


TWINS = """
import sys
import numpy as np
from charrnn.kernels.compiled import Items, inline
from charrnn.kernels.items import run_items


@inline
def plus(a, i):
    return a * 3 + i


@inline
def minus(a, i):
    return a * 5 - i


def make(name, step):
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
    return Items(entry, name)


made = {"plus": make("plus_entry", plus), "minus": make("minus_entry", minus)}
for name in sys.argv[1].split(","):
    table = np.array([0, 3, 0, 0, 0])
    run_items(made[name].address("float32"), table, 1, 1, np.zeros(8, np.int64))
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
