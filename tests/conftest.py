"""What every test shares: a cache folder of its own, room for two threads, and signals that reach what it starts.

The suite must leave the user's cache of texts alone, but compiled kernels are worth keeping between runs: so the cache
folder is a temporary one, in which `kernels` leads to the user's. Processes that tests start inherit it; pytest-xdist's
have one each.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from charrnn.files.cache import cache_root

# Before anything imports numba: two threads are compared with one also on a machine of one core.
if os.cpu_count() == 1:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")

# Where a test names no precision, runs are in float32, whatever this CPU is fastest in: bits are compared with those of
# other code in float32, and kernels of a second kind take time to compile.
os.environ["CHARRNN_PRECISION"] = "float32"

_TEMPORARY_CACHE = None
LONGEST = ("test_haswell.py", "test_zoneout.py")  # of several processes none is left alone with one of these at the end


def pytest_configure(config):
    global _TEMPORARY_CACHE
    given = os.environ.get("CHARRNN_CACHE_DIR")
    if given and not hasattr(config, "workerinput"):
        return
    cache = cache_root()
    _TEMPORARY_CACHE = tempfile.mkdtemp(prefix="charrnn-tests-")
    os.environ["CHARRNN_CACHE_DIR"] = _TEMPORARY_CACHE
    if cache is None:
        return
    try:
        kernels = (cache / "kernels").resolve()
        kernels.mkdir(parents=True, exist_ok=True, mode=0o700)
        (Path(_TEMPORARY_CACHE) / "kernels").symlink_to(kernels, target_is_directory=True)
    except OSError:  # read-only, no symlinks: the kernels are compiled anew in each run
        pass


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="session")
def _signals_reach_what_tests_start():
    """Let what tests start hear every signal, also where this process ignores some: under nohup, in the background.

    An ignored signal is inherited as ignored, a handled one as the default, so a handler that does nothing stands here.
    """
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def _errors_name_options_of_their_command(monkeypatch):
    """Hold every error that a command of this process ends with to the options that this command has.

    tests/test_advice.py holds the texts of the sources to that; here values are in them.
    """
    from charrnn import cli

    fail = cli._fail

    def fail_checked(message):
        import advice

        args = sys._getframe(1).f_locals.get("args") or []
        verb = next((one for one in args if one in cli.COMMANDS), None)
        if verb is not None and "(see charrnn" not in message:  # click's own name what there is not
            loose = advice.OPTION.findall(advice.advised_commands(message)[1])
            assert set(loose) <= advice.options_of(verb), f"charrnn {verb} lacks what this names: {message}"
        return fail(message)

    monkeypatch.setattr(cli, "_fail", fail_checked)


def pytest_unconfigure(config):
    if _TEMPORARY_CACHE is not None:
        os.environ.pop("CHARRNN_CACHE_DIR", None)
        shutil.rmtree(_TEMPORARY_CACHE, ignore_errors=True)  # removes the link, never what it leads to
