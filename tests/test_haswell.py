"""The kernels again, in a process of its own that compiles for AVX2: other tiles, other widths, other remainders."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Numba takes the processor's name and, unless told otherwise, the host's features with it: so it is told both.
HASWELL = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+fma,+f16c,+lzcnt,+movbe",
}
TESTS = Path(__file__).parent


def run_as_haswell(*arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=os.environ | HASWELL, cwd=TESTS.parent, capture_output=True, text=True)


def has_avx2():
    from llvmlite.binding import get_host_cpu_features

    return platform.machine().lower() in ("x86_64", "amd64") and get_host_cpu_features().get("avx2", False)


@pytest.mark.slow
@pytest.mark.skipif(not has_avx2(), reason="this machine cannot run AVX2 code")
def test_the_tile_selection_passes_with_avx2_tiles():
    """All cells in float32, the RNN in float64 as well: what is compiled here is what this test costs."""
    shape = run_as_haswell("-c", "from charrnn.kernels.host import isa; print(isa())")
    assert shape.stdout.strip() == "avx2", shape.stderr
    done = run_as_haswell(
        "-m",
        "pytest",
        "-m",
        "tile",
        "-k",
        "float32 or rnn",
        "-p",
        "no:cacheprovider",
        str(TESTS / "test_model.py"),
        str(TESTS / "test_generation.py"),
        str(TESTS / "test_zoneout.py"),
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
