"""A clock that does not count the time in which this process is paused: by Ctrl-Z, SIGSTOP or the sleep of a laptop.

Some clocks of the system already leave out some of these pauses; the others are detected as gaps.
"""

import contextlib
import threading
import time

BEAT_S = 0.25
PAUSE_S = 2.0  # a shorter gap is a busy machine
IDLE_SHARE = 0.1  # of a gap: a process that computed for longer was not stopped, however late its clock was read


class RunningClock:
    """A monotonic clock: a call returns seconds, without the pauses between `start` and `stop`.

    A thread reads the clock four times per second. So waiting, for example for a slow disk, does not count as a pause,
    because this thread continues to run.
    """

    def __init__(self, clock=time.perf_counter, computed=time.process_time):
        self._clock, self._computed = clock, computed
        self._lock, self._stopped = threading.Lock(), None
        self._paused_s = self._last_s = self._last_computed_s = 0.0

    def __call__(self):
        with self._lock:
            now, computed = self._clock(), self._computed()
            gap = now - self._last_s
            if self._stopped is not None and gap > PAUSE_S and computed - self._last_computed_s < IDLE_SHARE * gap:
                self._paused_s += gap
            self._last_s, self._last_computed_s = now, computed
            return now - self._paused_s

    def start(self):
        """Begin to detect pauses."""
        self()
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, args=(self._stopped,), daemon=True).start()

    def stop(self):
        """Stop detecting pauses, and end the thread."""
        self()
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    def _beat(self, stopped):
        while not stopped.wait(BEAT_S):
            self()


@contextlib.contextmanager
def pauses_noticed(clock):
    """A context in which a RunningClock detects pauses. Other clocks are not changed."""
    if not isinstance(clock, RunningClock):
        yield
        return
    clock.start()
    try:
        yield
    finally:
        clock.stop()
