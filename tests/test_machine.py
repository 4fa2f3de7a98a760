"""The memory of a container, as both versions of control groups tell it."""

import pytest

from charrnn.files import machine
from charrnn.files.machine import ContainerMemory, available_memory, container_memory

MB = 1 << 20


def lay_out(folder, own, files):
    for name, content in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (folder / "own").write_text(own)
    return container_memory(folder / "groups", folder / "own")


def v2(group, limit, used, cache=0):
    return {
        f"{group}memory.max": limit,
        f"{group}memory.current": used,
        f"{group}memory.stat": f"anon 1\ninactive_file {cache}\nfile 7",
    }


def v1(group, limit, used, cache=0):
    return {
        f"{group}memory.limit_in_bytes": limit,
        f"{group}memory.usage_in_bytes": used,
        f"{group}memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}",
    }


@pytest.mark.parametrize(
    "own, files, limit, left",
    [
        ("0::/\n", v2("", 512 * MB, 112 * MB, 12 * MB), 512, 412),
        ("0::/a/b\n", v2("a/", 512 * MB, 500 * MB) | v2("a/b/", 900 * MB, 100 * MB), 512, 12),
        ("0::/not/here\n", v2("", 512 * MB, 600 * MB), 512, 0),
        ("9:memory:/x\n", v1("memory/x/", 256 * MB, 100 * MB, 50 * MB), 256, 206),
        ("9:memory:/x\n", v1("memory/", 256 * MB, 100 * MB), 256, 156),
    ],
)
def test_the_memory_of_a_container_is_what_its_tightest_group_allows(tmp_path, own, files, limit, left):
    assert lay_out(tmp_path, own, files) == ContainerMemory(limit * MB, left * MB)


@pytest.mark.parametrize(
    "own, files",
    [
        ("0::/\n", v2("", "max", 112 * MB)),
        ("0::/\n", {"memory.max": "nonsense"}),
        ("0::/\n", {}),
        ("", v2("", 512 * MB, 0)),
        ("nonsense\n", v2("", 512 * MB, 0)),
        ("9:memory:/\n0::/\n", v1("memory/", 9223372036854771712, 100 * MB)),
        ("9:memory:/\n", v1("memory/", -1, 100 * MB)),
    ],
)
def test_without_a_limit_there_is_none(tmp_path, own, files):
    assert lay_out(tmp_path, own, files) is None
    assert container_memory(tmp_path / "none", tmp_path / "none") is None


def test_what_is_left_is_no_more_than_what_the_container_has_left(monkeypatch):
    assert available_memory() is None or available_memory() > MB
    monkeypatch.setattr(machine, "container_memory", lambda: ContainerMemory(2 * MB, MB))
    assert available_memory() == MB
