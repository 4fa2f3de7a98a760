"""What a process takes of the machine, read from /proc while it runs. Linux only, as the rest of this folder."""

import os
import threading
import time
from pathlib import Path


class Watch:
    """Looks at a process every `interval_s` until it has ended.

    process    a Popen
    samples    [{"s", "rss_mb", "pss_mb", "anonymous_mb", "descriptors", "threads"}], where `details` says so;
               s is seconds since the start
    peak_mb    the highest resident memory so far as the system itself kept it, mapped files included
    anonymous_mb   the highest that is the process's own: without files that are mapped
    """

    def __init__(self, process, interval_s=0.05, details=False):
        self.samples, self.peak_mb, self.anonymous_mb = [], 0.0, 0.0
        self._folder, self._process = Path("/proc") / str(process.pid), process
        self._interval_s, self._details = interval_s, details
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def elapsed_s(self):
        """Return the seconds since the start, as the samples count them."""
        return time.monotonic() - self._begun

    def join(self):
        """Wait until the process has ended and was looked at for the last time."""
        self._thread.join()

    def _look_on(self):
        while self._process.poll() is None:
            try:
                self._look()
            except (OSError, ValueError, KeyError):  # it ended meanwhile
                pass
            time.sleep(self._interval_s)

    def _look(self):
        status = _kilobytes(self._folder / "status")
        self.peak_mb = max(self.peak_mb, status["VmHWM"] / 1024)
        self.anonymous_mb = max(self.anonymous_mb, status["RssAnon"] / 1024)
        if self._details:
            rollup = _kilobytes(self._folder / "smaps_rollup")
            self.samples.append(
                {
                    "s": self.elapsed_s(),
                    "rss_mb": status["VmRSS"] / 1024,
                    "pss_mb": rollup["Pss"] / 1024,
                    "anonymous_mb": status["RssAnon"] / 1024,
                    "threads": status["Threads"],
                    "descriptors": len(os.listdir(self._folder / "fd")),
                }
            )


def _kilobytes(path):
    """Return {name: number} of a file of `Name:  number kB` lines."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def slope(xs, ys):
    """Return the slope of the line of least squares."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return sum((one - x) * (other - y) for one, other in zip(xs, ys)) / spread if spread else 0.0
