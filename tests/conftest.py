"""What every test shares: a cache folder of its own, room for several threads, and the `tile` marker."""

import os
import shutil
import tempfile

# Before anything imports numba: tests of the thread count ask for up to 3, also on a machine of one core.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(3, os.cpu_count() or 1)))


def pytest_configure(config):
    config.addinivalue_line("markers", "tile: the selection that test_haswell.py repeats with the AVX2 tile shape")
    if "CHARRNN_CACHE_DIR" not in os.environ:    # set for the whole session, and for the processes that tests start
        config.stash_cache_dir = os.environ["CHARRNN_CACHE_DIR"] = tempfile.mkdtemp(prefix="charrnn-tests-")


def pytest_unconfigure(config):
    if hasattr(config, "stash_cache_dir"):
        shutil.rmtree(config.stash_cache_dir, ignore_errors=True)
        del os.environ["CHARRNN_CACHE_DIR"]
