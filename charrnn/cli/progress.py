"""How far something is, on stderr: a tqdm bar for every call that reports it, and a word before kernels are compiled.

Only for what takes a while. A bar leaves nothing behind: it is gone before a result is written, and steps aside for a
note. Where stderr is no terminal, a line says every so often how far it is. The live displays of `train` and `sweep`
are display.py's and sweep_display.py's.
"""

import contextlib
import functools
import sys
import threading
import time

from charrnn.cli.display import PLAIN_SECONDS, shows_live
from charrnn.cli.words import BARS, duration, note, printable

DELAY_S = 0.5  # what is over sooner shows no bar
TICK_S = 0.5  # between two drawings while nothing is reported
MIN_COLUMNS, MAX_COLUMNS = 60, 100  # of a line with a bar in it: a narrower terminal has the figures alone
WHAT_COLUMNS, BAR_COLUMNS = 24, 4  # of what is being done, so that bars begin below one another; of a bar at least
TIMES = "{elapsed}<{remaining}"
COMPILING = "compiling the kernels for this CPU and kind of model, about 10 s; "
KEPT = "they are stored, and the next start takes about a second"
NOT_KEPT = "no cache folder can be written, so every start compiles: set CHARRNN_CACHE_DIR to a folder of your own"
UNKEPT = (
    "the compiled kernels cannot be stored in {folder} ({why}), so the next start compiles again: free some space "
    "there, or set CHARRNN_CACHE_DIR to another folder"
)


@contextlib.contextmanager
def progress_bar(in_bytes=False):
    """Yield a function of (what is being done, done, of), `of` None where it is not known: one bar on a terminal,
    a line every PLAIN_SECONDS elsewhere. One bar at a time: do not nest them.

    What is reported on from where something else ended is one piece of work with it: its bar goes on.

    in_bytes    `done` and `of` are bytes, and are shown
    """
    if not shows_live():
        yield _Lines(in_bytes).report
        return
    bar = _Bar(in_bytes)
    BARS.append(bar.hidden)
    try:
        yield bar.report
    finally:
        BARS.remove(bar.hidden)
        bar.close()


@contextlib.contextmanager
def reading_bar():
    """Yield a function of (bytes done, of), for `read_corpus`: a bar on a terminal, else a line now and then."""
    with progress_bar(in_bytes=True) as progress:
        yield lambda done, of: progress("reading the text", done, of)


def _is_another(what, done, of, what_before, done_before, of_before):
    """Tell whether what is reported is another piece of work than what was reported before."""
    return done < done_before or what != what_before and not (of == of_before and 0 < done_before)


class _Lines:
    """A line on stderr now and then, for a file or a pipe: nothing of what is over soon."""

    def __init__(self, in_bytes):
        self._in_bytes = in_bytes
        self._next_s = time.monotonic() + PLAIN_SECONDS
        self._begun_s = self._begun_at = self._last = None

    def report(self, what, done, of):
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if self._last is None or _is_another(what, done, of, *self._last):
            self._begun_s, self._begun_at = now, done
        self._last = what, done, of
        if now < self._next_s:
            return
        self._next_s = now + PLAIN_SECONDS
        with contextlib.suppress(OSError):  # the pipe is gone: what is measured goes on
            note(f"{what}: {self._how_far(now, done, of)}")

    def _how_far(self, now, done, of):
        if not of:
            return f"{done / 1e6:,.0f} MB" if self._in_bytes else f"{done:,}"
        share, moved = f"{done / of:.0%}", done - self._begun_at
        if moved <= 0 or done >= of:
            return share
        return f"{share}, about {duration((of - done) * (now - self._begun_s) / moved)} left"


class _Bar:
    """The bar of one context: a tqdm for each stage, and a thread that keeps its clock going. The lock is for both."""

    def __init__(self, in_bytes):
        self._in_bytes = in_bytes
        self._begun_s = time.monotonic()
        self._lock, self._closed = threading.RLock(), threading.Event()
        self._stage = self._what = self._ticker = None

    def report(self, what, done, of):
        """Draw how far it is, if it is time to."""
        with self._lock:
            if self._stage is None or _is_another(what, done, of, self._what, self._stage.n, self._stage.total):
                self._begin(what, done, of)
            elif what != self._what:
                self._what = what
                self._stage.set_description_str(printable(what, sys.stderr), refresh=False)
            self._stage.total = of
            self._stage.update(done - self._stage.n)
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    @contextlib.contextmanager
    def hidden(self):
        """Leave the bar's line to something else meanwhile."""
        with self._lock:
            drawn = self._stage is not None and self._stage.is_drawn()
            if drawn:
                self._stage.display(msg="")
            yield
            if drawn:
                self._stage.refresh()

    def close(self):
        """Take the bar off the terminal for good."""
        self._closed.set()
        with self._lock:
            if self._stage is not None:
                self._stage.close()
        if self._ticker is not None:
            self._ticker.join()

    def _begin(self, what, done, of):
        if self._stage is not None:
            self._stage.close()
        self._what = what
        self._stage = _tqdm()(
            desc=printable(what, sys.stderr),
            total=of,
            initial=done,  # so that the remaining time is by what is done from here on
            unit="B" if self._in_bytes else "it",
            unit_scale=self._in_bytes,
            file=sys.stderr,
            leave=False,
            delay=max(0.0, DELAY_S - (time.monotonic() - self._begun_s)),
            dynamic_ncols=True,
            miniters=0,
            smoothing=0,  # the remaining time by the mean rate of the stage, which also allows for `update(0)`
        )

    def _tick(self):
        while not self._closed.wait(TICK_S):
            with self._lock:
                if not self._closed.is_set():
                    self._stage.update(0)


@functools.cache
def _tqdm():
    """Return tqdm with our layout. It is made when it is first needed: `charrnn --help` does not import tqdm."""
    from tqdm import tqdm

    class Tqdm(tqdm):
        monitor_interval = 0  # no thread of its own beside ours

        def __str__(self):
            figures = self.format_dict
            known = figures["ncols"] is not None and figures["ncols"] > 0  # some terminals do not say
            columns = min(figures["ncols"] if known else 80, MAX_COLUMNS)
            wide = columns >= MIN_COLUMNS
            layout = _layout(figures["total"] is not None, figures["unit_scale"], wide)
            what = figures["prefix"].ljust(WHAT_COLUMNS) if wide else figures["prefix"]
            # What is being done has the room that the figures leave, and the bar what is left then.
            bare = {"prefix": "", "ncols": None, "bar_format": layout.replace("{bar}", " " * BAR_COLUMNS)}
            room = max(0, columns - len(self.format_meter(**figures | bare)))
            figures |= {"prefix": what[:room], "ncols": columns, "bar_format": layout}
            return self.format_meter(**figures)[:columns]

        @staticmethod
        def status_printer(file):
            """Return what draws a line over the one before it.

            It leaves the cursor at the line's beginning: a narrower window breaks the line in two, and the next drawing
            then begins at the first half and clears what is below.
            """

            def draw(text):
                with contextlib.suppress(OSError):  # the terminal is gone: what is measured goes on
                    # The space is for tmux, which keeps a whole screen that is cleared from its very first place on.
                    file.write(f"\r \x1b[J\r{text}\r")
                    file.flush()

            return draw

        def close(self):
            with contextlib.suppress(OSError):
                super().close()

        def is_drawn(self):
            return not self.disable and self.last_print_t >= self.start_t + self.delay

    # tqdm's own lock is one of processes, for which Python may start a helper process.
    Tqdm.set_lock(threading.RLock())
    return Tqdm


def _layout(of_known, in_bytes, wide):
    if not of_known:
        return "{desc} {n_fmt}B {elapsed}" if in_bytes else "{desc} {elapsed}"
    if not wide:
        return "{desc} {percentage:.0f}% " + ("{n_fmt}B " if in_bytes else "") + TIMES
    return "{desc} {percentage:3.0f}%|{bar}| " + ("{n_fmt}B/{total_fmt}B {rate_fmt} " if in_bytes else "") + TIMES


def announce_compilation(say):
    """Call `say` with a sentence, once, when a kernel must be compiled: the one thing that makes a start take long; and
    with another if it cannot be kept then.

    Return a function that takes it back.
    """
    from charrnn.kernels.machine_code import COMPILE_LISTENERS, UNKEPT_LISTENERS, cache_folder

    def compiles(_name):
        _withdraw(COMPILE_LISTENERS, compiles)
        say(COMPILING + (NOT_KEPT if cache_folder() is None else KEPT))

    def unkept(error):
        _withdraw(UNKEPT_LISTENERS, unkept)
        say(UNKEPT.format(folder=cache_folder(), why=(error.strerror or str(error)).lower()))

    def forget():
        _withdraw(COMPILE_LISTENERS, compiles)
        _withdraw(UNKEPT_LISTENERS, unkept)

    COMPILE_LISTENERS.append(compiles)
    UNKEPT_LISTENERS.append(unkept)
    return forget


def _withdraw(listeners, listener):
    if listener in listeners:
        listeners.remove(listener)
