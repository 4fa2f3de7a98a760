"""Little room: no folder that can be written at all, or a cache of compiled kernels that can only be read."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.files import places
from charrnn.files.places import find_places

ROOT = Path(__file__).parent.parent
TINY = ("--hidden-size", "8", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7", "--steps", "2", "-q")
# Turns every mount read-only, in a name space of its own, goes into the folder $1 and runs the rest.
READ_ONLY = """
mount --make-rprivate / || exit 77
awk '{print $5}' /proc/self/mountinfo | sort -r | while read place; do
    mount -o remount,ro,bind "$place" 2>/dev/null
done
cd "$1" || exit 77
for place in . /tmp /var/tmp /dev/shm; do [ ! -w $place ] || exit 77; done
shift
exec "$@"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confined")
    (folder / "a.txt").write_text("to be or not to be, that is the question\n" * 60)
    assert main(["train", str(folder / "a.txt"), *TINY, "-o", str(folder / "run")]) == 0
    return folder


def confined(folder, *arguments, **environment):
    """Run a command where nothing can be written; skip the test where no such place can be made."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh", str(folder), sys.executable, "-m", "charrnn", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no read-only place can be made here: {done.stderr.strip()}")
    return done


def test_kernels_that_were_kept_before_are_used_where_nothing_can_be_written(folder, capfd):
    arguments = ["sample", str(folder / "run"), "--length", "60", "--seed", "1"]
    assert main(arguments) == 0
    expected = capfd.readouterr().out
    done = confined(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected and "compiling" not in done.stderr


def test_a_text_is_read_in_memory_where_nothing_can_be_written(folder):
    done = confined(folder, "eval", "run", "a.txt", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")
    assert done.stderr.count("can be written to (read-only file system); they are kept in memory") == 1


def test_training_says_that_its_run_can_be_kept_nowhere(folder):
    done = confined(folder, "train", "a.txt", *TINY)
    assert done.returncode == 2 and "cannot write checkpoints: read-only file system; choose a fold" in done.stderr


@pytest.mark.slow
def test_without_a_kept_kernel_and_without_a_folder_kernels_are_compiled_in_memory(folder, tmp_path, capfd):
    arguments = ["sample", str(folder / "run"), "--length", "60", "--seed", "1"]
    assert main(arguments) == 0
    expected = capfd.readouterr().out
    done = confined(folder, *arguments, CHARRNN_CACHE_DIR="/nowhere/cache")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    assert "no cache folder can be written, so every start compiles: set CHARRNN_CACHE_DIR to a folder" in done.stderr
    assert "they are kept" not in done.stderr


# ----------------------------------------------------------------------------------- which folders are read and written


@pytest.fixture
def unwritable(monkeypatch):
    """Roots in which nothing can be made or written, whoever asks: root may write where no bit allows it."""
    closed, real = [], places._make_writable

    def make_writable(root, name):
        if root in closed:
            raise OSError(30, "Read-only file system")
        real(root, name)

    monkeypatch.setattr(places, "_make_writable", make_writable)
    return closed


def make(root):
    folder = root / "kernels" / "digest"
    folder.mkdir(parents=True, mode=0o755)
    for place in (root, root / "kernels", folder):
        place.chmod(0o755)
    return folder.resolve()


def test_a_folder_that_can_only_be_read_is_read_first_and_the_next_is_written(tmp_path, unwritable):
    image, own = tmp_path / "image", tmp_path / "own"
    filled = make(image)
    unwritable.append(image)
    found = find_places([image, own], "kernels/digest")
    assert found.readable == (filled, (own / "kernels" / "digest").resolve())
    assert found.writable == found.readable[1]
    assert found.refused == ((filled, "read-only file system"),)
    unwritable.append(own)
    assert find_places([image, tmp_path / "none"], "kernels/digest").readable[0] == filled
    assert find_places([image], "kernels/digest") == ((filled,), None, ((filled, "read-only file system"),))


def test_where_nothing_is_there_and_nothing_can_be_made_there_is_no_place(tmp_path, unwritable):
    unwritable.append(tmp_path / "image")
    found = find_places([tmp_path / "image"], "kernels/digest")
    assert found.readable == () and found.writable is None and found.refused[0][1] == "read-only file system"
    assert find_places([], "kernels/digest") == ((), None, ())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
@pytest.mark.parametrize("readonly", [True, False])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(tmp_path, unwritable, readonly):
    filled = make(tmp_path / "image")
    filled.chmod(0o777)
    if readonly:
        unwritable.append(tmp_path / "image")
    found = find_places([tmp_path / "image"], "kernels/digest")
    assert found == ((), None, ((filled, places.STRANGERS),))
    filled.chmod(0o755)
    (filled / "one.code").touch(0o666)
    (filled / "one.code").chmod(0o666)
    assert find_places([tmp_path / "image"], "kernels/digest").readable == ()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_another_user_reads_what_root_filled_and_nobody_else_can_write():
    try:
        root = Path(tempfile.mkdtemp(dir="/opt")).resolve()
    except OSError:
        pytest.skip("no /opt to write in")
    try:
        filled = make(root)
        (filled / "one.code").touch()
        (filled / "one.code").chmod(0o644)
        assert as_nobody(root) == f"({str(filled)!r},) None"
        (filled / "one.code").chmod(0o664)
        assert as_nobody(root) == "() None"
        (filled / "one.code").chmod(0o644)
        os.chown(filled, 65533, 65533)  # a third user's
        assert as_nobody(root) == "() None"
    finally:
        shutil.rmtree(root)


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from charrnn.files.places import find_places
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = find_places([Path(sys.argv[1])], "kernels/digest")
print(tuple(map(str, found.readable)), found.writable)
"""


def as_nobody(root):
    """Return what find_places finds for a user who has no folder."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(root), str(ROOT)], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
