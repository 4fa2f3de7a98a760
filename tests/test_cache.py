"""One folder for everything cached, by one rule, whoever asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.files import cache
from charrnn.files.cache import cache_root, cache_roots, temporary_root
from charrnn.text import ids

NAMES = ("CHARRNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG folders")


def set_only(monkeypatch, environment):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


CASES = [
    ({"CHARRNN_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
    ({"CHARRNN_CACHE_DIR": "~/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/h/c"),
    ({"CHARRNN_CACHE_DIR": "~nobody-like-this/c", "HOME": "/h"}, "/h/.cache/charrnn"),
    ({"XDG_CACHE_HOME": "~/x", "HOME": "/h"}, "/h/.cache/charrnn"),
    ({"CHARRNN_CACHE_DIR": "a/../c", "HOME": "/h"}, "{here}/c"),
    ({"CHARRNN_CACHE_DIR": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/charrnn"),
    ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/charrnn"),
    ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/charrnn"),
    ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/charrnn"),
    ({"HOME": "/h"}, "/h/.cache/charrnn"),
]


@linux
@pytest.mark.parametrize("environment, expected", CASES)
def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch, environment, expected):
    monkeypatch.chdir(tmp_path)
    set_only(monkeypatch, environment)
    assert cache_root() == Path(expected.format(here=tmp_path))


@linux
@pytest.mark.parametrize("environment, expected", CASES)
def test_kernels_and_ids_are_kept_under_the_same_root(tmp_path, monkeypatch, environment, expected):
    monkeypatch.chdir(tmp_path)
    set_only(monkeypatch, environment)
    expected = Path(expected.format(here=tmp_path))
    assert next(iter(cache_roots())) == expected
    assert next(iter(ids._folders())) == expected


def test_where_no_folder_is_named_the_temporary_one_serves(monkeypatch):
    def none(*_, **__):
        raise RuntimeError("no home")

    set_only(monkeypatch, {})
    monkeypatch.setattr("platformdirs.user_cache_dir", none)
    assert cache_root() is None
    assert ids._folders() == [temporary_root()]
    assert [root.parent for root in cache_roots()] == [temporary_root()]


def test_without_any_folder_kernels_are_not_kept_and_ids_are_where_we_are(tmp_path, monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.chdir(tmp_path)
    set_only(monkeypatch, {})
    monkeypatch.setattr("tempfile.gettempdir", none)
    assert temporary_root() is None
    for module in (ids, cache):
        monkeypatch.setattr(module, "cache_root", lambda: None)
    assert ids._folders() == [tmp_path]
    assert list(cache_roots()) == []


def test_asking_for_the_cache_creates_nothing_and_imports_little(tmp_path):
    code = (
        "import sys; from charrnn.files.cache import cache_root; print(cache_root());"
        "assert not {'numpy', 'numba', 'asyncio', 'ctypes', 'subprocess'} & set(sys.modules)"
    )
    environment = {**os.environ, "CHARRNN_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == f"{tmp_path / 'cache'}\n", done.stderr
    assert not list(tmp_path.iterdir())
