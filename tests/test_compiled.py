"""The machine-code cache: found again by a second process, made anew when damaged or when a source changes."""
import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from charrnn.kernels import compiled
from charrnn.model import Model, ModelConfig, Workspace
built = []
compiled.COMPILE_LISTENERS.append(built.append)
model = Model(ModelConfig("rnn", 3, 2, 1, dtype="float64"))
model.flat[:] = np.arange(model.flat.size)
print(Workspace(model, 1, 1, training=False).logits([[2]]).sum(), len(built), compiled.cache_folder())
"""


def run(cache, script=SCRIPT):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "CHARRNN_CACHE_DIR": str(cache), "XDG_CACHE_HOME": str(cache / "second")})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing_and_a_damaged_file_is_compiled_again(tmp_path):
    total, built, folder = run(tmp_path)
    assert float(total) > 0 and built == "4"
    assert run(tmp_path)[1] == "0"
    for damage in (b"", b"not a pickle"):
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(damage)
        again, built, _ = run(tmp_path)
        assert again == total and built == "4"
        assert run(tmp_path)[1] == "0"


def test_a_folder_that_others_may_write_in_is_not_trusted(tmp_path):
    if not hasattr(os, "getuid"):
        pytest.skip("no owners of files here")
    folder = run(tmp_path)[2]
    os.chmod(folder, 0o777)
    assert run(tmp_path)[2] != folder


def test_the_digest_covers_every_kernel_source(tmp_path, monkeypatch):
    from charrnn.kernels import compiled
    before = compiled.kernel_digest()
    package = tmp_path / "kernels"
    package.mkdir()
    source = os.path.dirname(compiled.__file__)
    for name in os.listdir(source):
        if name.endswith(".py"):
            (package / name).write_bytes(open(os.path.join(source, name), "rb").read())
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    compiled.kernel_digest.cache_clear()
    assert compiled.kernel_digest() == before
    with open(package / "lstm.py", "a") as file:
        file.write("# changed\n")
    compiled.kernel_digest.cache_clear()
    assert compiled.kernel_digest() != before
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


def test_twins_that_were_compiled_in_two_processes_are_told_apart_in_a_third(tmp_path):
    script = tmp_path / "twins.py"
    script.write_text(TWINS)

    def results(names):
        done = subprocess.run([sys.executable, str(script), names], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "CHARRNN_CACHE_DIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        return done.stdout.split()
    plus, minus = results("plus"), results("minus")
    assert plus != minus
    assert results("plus,minus") == plus + minus
    assert results("minus,plus") == minus + plus
