import errno
import os
import subprocess
import sys
import textwrap

import pytest

from charrnn.errors import StorageError
from charrnn.files import storage
from charrnn.files.storage import atomic_write, make_folder, remove_stale_temporaries


def test_text_bytes_and_pieces_are_written_as_they_are(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, "é\r\n")
    assert path.read_bytes() == b"\xc3\xa9\r\n"
    atomic_write(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    atomic_write(path, (piece for piece in (b"one ", bytearray(b"two "), memoryview(b"three"))))
    assert path.read_bytes() == b"one two three"
    atomic_write(path, b"")
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call, code", [("write", errno.ENOSPC), ("fsync", errno.ENOSPC), ("replace", errno.EACCES)])
def test_a_failing_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, call, code):
    path = tmp_path / "file"
    atomic_write(path, "old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(storage.os, call, fail)
    with pytest.raises(StorageError, match=os.strerror(code).lower()):
        atomic_write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_that_fills_up_halfway_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write(path, "old")
    real, room = os.write, 10

    def write(descriptor, data):
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(descriptor, data[:room])
        room -= count
        return count

    monkeypatch.setattr(storage.os, "write", write)
    with pytest.raises(StorageError, match="no space left"):
        atomic_write(path, b"x" * 100)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(storage.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    atomic_write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_an_interrupt_while_writing_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, "old")

    def pieces():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, pieces())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE is POSIX")
def test_a_real_limit_on_the_file_size_leaves_the_old_file_and_no_temporary(tmp_path):
    script = """
        import resource, sys
        from charrnn.errors import StorageError
        from charrnn.files.storage import atomic_write
        atomic_write(sys.argv[1], "old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            atomic_write(sys.argv[1], b"x" * 5000)
        except StorageError as error:
            print(error)
    """
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), path], capture_output=True, text=True)
    assert "file too large" in done.stdout, done.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named_with_the_remedy(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StorageError, match="choose a folder that you are allowed to write to"):
            atomic_write(tmp_path / "file", "new")
    finally:
        tmp_path.chmod(0o755)


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="create the folder first"):
        atomic_write(tmp_path / "none" / "file", "new")


def test_a_folder_cannot_be_made_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        make_folder(tmp_path / "file" / "folder")


@pytest.mark.skipif(os.name != "posix", reason="the umask is POSIX")
def test_the_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(storage.os, "fsync", lambda descriptor: (calls.append("fsync"), real_fsync(descriptor)))
    monkeypatch.setattr(storage.os, "replace", lambda *paths: (calls.append("rename"), real_replace(*paths)))
    atomic_write(tmp_path / "file", "x")
    assert calls == (["fsync", "rename", "fsync"] if os.name == "posix" else ["fsync", "rename"])


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_the_folders_above_a_new_one_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(storage, "fsync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]


def test_a_folder_that_may_be_written_in_and_not_read_is_good_enough(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *mode):
        if os.fspath(path) == os.fspath(tmp_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode)

    monkeypatch.setattr(storage.os, "open", refuse)
    atomic_write(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_only_charrnns_own_temporaries_count_as_stale(tmp_path):
    for name in (".charrnn-0123456789abcdef.tmp", ".charrnn-notes.tmp", "other.tmp", "last.safetensors"):
        (tmp_path / name).touch()
    remove_stale_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".charrnn-notes.tmp", "last.safetensors", "other.tmp"]
    remove_stale_temporaries(tmp_path / "none")
