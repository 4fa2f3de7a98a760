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
