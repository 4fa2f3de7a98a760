"""A clock that stands still while this process does: stopped by Ctrl-Z or SIGSTOP, frozen, or in a laptop that sleeps.

Where the system tells of it, its clocks stand still by themselves; for the rest the gap is noticed. Knows no run.
"""

import contextlib
import threading
import time

BEAT_S = 0.25
PAUSE_S = 2.0  # a shorter gap is a busy machine
IDLE_SHARE = 0.1  # of a gap: a process that computed for longer was not stopped, however late its clock was read


class RunningClock:
    """Returns seconds when it is called, monotonic, without the pauses that fall between `start` and `stop`.

    A thread reads it four times a second, so that waiting, for a slow disk say, is no pause: others run meanwhile.
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
        """Begin to notice pauses."""
        self()
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, args=(self._stopped,), daemon=True).start()

    def stop(self):
        """Notice no more, and let the thread end."""
        self()
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    def _beat(self, stopped):
        while not stopped.wait(BEAT_S):
            self()


@contextlib.contextmanager
def pauses_noticed(clock):
    """Let a clock notice pauses in this context, if it is one that can."""
    if not isinstance(clock, RunningClock):
        yield
        return
    clock.start()
    try:
        yield
    finally:
        clock.stop()
