"""Processes that tests talk to, and that may not make them wait for ever."""

import contextlib
import threading


@contextlib.contextmanager
def killed_after(process, seconds):
    """Kill `process` if the block takes longer: a read from its pipe then ends, and the test fails on what it lacks."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
