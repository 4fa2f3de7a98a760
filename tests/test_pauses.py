"""A process that is stopped meanwhile spends none of its --minutes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.training.pauses import BEAT_S, PAUSE_S, RunningClock, pauses_noticed

ROOT = Path(__file__).parent.parent


class Hands:
    """Two clocks that are moved by hand: of the wall, and of what the process has computed."""

    def __init__(self):
        self.wall = self.cpu = 0.0
        self.clock = RunningClock(lambda: self.wall, lambda: self.cpu)
        self.clock._stopped = object()  # as between start and stop, without the thread

    def move(self, wall, cpu):
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        return self.clock()


def test_a_long_gap_in_which_nothing_was_computed_is_no_time():
    hands = Hands()
    assert hands.move(1.0, 1.0) == 1.0
    assert hands.move(3600.0, 0.01) == 1.0
    assert hands.move(0.5, 0.5) == 1.5
    assert hands.move(60.0, 0.0) == 1.5
    assert hands.move(1.0, 0.0) == 2.5


def test_what_was_computed_or_short_is_time():
    hands = Hands()
    assert hands.move(600.0, 90.0) == 600.0  # a long compilation on a busy machine
    assert hands.move(PAUSE_S, 0.0) == 600.0 + PAUSE_S


def test_outside_a_run_a_gap_is_time_and_the_thread_ends_with_the_run():
    hands = Hands()
    hands.clock._stopped = None
    assert hands.move(60.0, 0.0) == 60.0
    with pauses_noticed(hands.clock):
        stopped = hands.clock._stopped
        assert not stopped.is_set()
    assert stopped.is_set() and hands.clock._stopped is None
    with pauses_noticed(time.perf_counter):
        pass


def test_the_beat_leaves_room_for_a_busy_machine():
    assert 4 * BEAT_S < PAUSE_S


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to stop a process")
def test_a_run_that_is_stopped_for_longer_than_its_minutes_trains_on(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be, that is the question\n" * 200)
    shape = ["--hidden-size", "8", "--num-layers", "1", "--threads", "1", "--no-sample"]
    command = [sys.executable, "-m", "charrnn", "train", "a.txt", *shape, "--minutes", "0.06", "-o", "run"]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as process:
        while not process.stderr.readline().startswith("step "):
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        process.send_signal(signal.SIGCONT)
        process.stderr.read()
    assert process.returncode == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    times = [record["elapsed_s"] for record in log if "elapsed_s" in record]
    assert max(times) < 4.5 and sum(time_s > 1.8 for time_s in times) > 1
