"""What every test shares: a cache folder of its own, room for two threads, and the `tile` marker.

The suite must leave the user's cache of texts alone, but compiled kernels are worth keeping between runs: so the cache
folder is a temporary one, in which `kernels` leads to the user's. Processes that tests start inherit it.
"""

import os
import shutil
import tempfile
from pathlib import Path

# Before anything imports numba: two threads are compared with one also on a machine of one core.
if os.cpu_count() == 1:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")

_TEMPORARY_CACHE = None


def pytest_configure(config):
    global _TEMPORARY_CACHE
    config.addinivalue_line("markers", "tile: the selection that test_haswell.py repeats with the AVX2 tile shape")
    if "CHARRNN_CACHE_DIR" in os.environ:
        return
    _TEMPORARY_CACHE = tempfile.mkdtemp(prefix="charrnn-tests-")
    os.environ["CHARRNN_CACHE_DIR"] = _TEMPORARY_CACHE
    try:
        user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kernels = user_cache / "charrnn" / "kernels"
        kernels.mkdir(parents=True, exist_ok=True, mode=0o700)
        (Path(_TEMPORARY_CACHE) / "kernels").symlink_to(kernels, target_is_directory=True)
    except (OSError, RuntimeError):    # no home, read-only, no symlinks: the kernels are compiled anew in each run
        pass


def pytest_unconfigure(config):
    if _TEMPORARY_CACHE is not None:
        os.environ.pop("CHARRNN_CACHE_DIR", None)
        shutil.rmtree(_TEMPORARY_CACHE, ignore_errors=True)    # removes the link, never what it leads to
