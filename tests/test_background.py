"""The tests may run in the background and under nohup, where SIGINT or SIGHUP is ignored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are otherwise elsewhere")


def test_what_a_test_starts_hears_every_signal():
    code = "import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGHUP)])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[False, False]\n"


@pytest.mark.slow
def test_it_does_so_too_where_pytest_itself_ignores_some():
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    test = f"{__file__}::test_what_a_test_starts_hears_every_signal"
    command = [sys.executable, "-c", ignoring, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
