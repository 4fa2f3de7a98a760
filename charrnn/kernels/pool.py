"""The threads that do the kernels' work: they take items until there are none left (work.py has the compiled half).

Which thread does which item is left to chance (a busy core takes fewer); no item reads what another of the same call
writes, so no result depends on it. Only the items of generate.py meet, by the rules of team.py.

The threads are Python's, and while they work or wait for the next piece of it they are in compiled code, without the
interpreter's lock. One that has had nothing to do for a moment goes to sleep, and is woken by the next call.
"""

import atexit
import ctypes
import os
import threading
from functools import cache, lru_cache

from charrnn.kernels import entries
from charrnn.kernels.records import ADDRESS, COUNT, GIVE_WAY, LIMIT, LINE, POOL_WORDS, TABLE

# Numba's own signature: where its result goes, where an exception goes, and the function's arguments.
_ITEM = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
)


@cache
def _function(items):
    """Return the ctypes function of Items that run items."""
    return _ITEM(items.address("float32"))


class _Own(threading.local):
    """What each thread has for its own calls: where their result goes, and the words of work that it does alone."""

    def __init__(self):
        self.result = ctypes.c_void_p()
        self.result_at = ctypes.addressof(self.result)
        self.words = (ctypes.c_int64 * POOL_WORDS)()
        self.words_at = ctypes.addressof(self.words)


_OWN = _Own()


def _call(items, words_at, item=0):
    _function(items)(_OWN.result_at, None, words_at, None, item)


@lru_cache(maxsize=1)
def give_way_address():
    """Return the address of the C function that offers this core to other threads, or 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (OSError, TypeError, AttributeError):
        return 0


class Pool:
    """Threads that wait for work together."""

    def __init__(self):
        # Never freed, since a thread may still look at it while the process ends.
        self._memory = (ctypes.c_int64 * (POOL_WORDS + LINE))()
        self._words_at = -(-ctypes.addressof(self._memory) // 64) * 64
        self._words = (ctypes.c_int64 * POOL_WORDS).from_address(self._words_at)
        self._words[GIVE_WAY] = give_way_address()
        self._leading = threading.Lock()  # whoever leads; a second caller works alone
        self._beds = []  # a lock for each thread: it sleeps while it waits to take it
        self._asleep = set()
        self._working = self._closing = False
        self._threads = []

    def run(self, address, table, count, workers):
        """Do the items 0..count-1 of the function at `address` on up to `workers` threads, this one among them.

        table    ndarray, int64: the function's table
        """
        words = self._words
        if not self._leading.acquire(blocking=False):
            run_alone(address, table, count)
            return
        try:
            self._start(workers - 1)
            words[ADDRESS], words[TABLE], words[COUNT], words[LIMIT] = address, table.ctypes.data, count, workers
            self._working = True
            for number in range(1, workers):
                if number in self._asleep:
                    self._wake(number)
            _call(entries.LEAD, self._words_at)
        finally:
            self._working = False
            self._leading.release()

    def _start(self, count):
        """Start threads until there are `count`, or as many as the system allows."""
        while len(self._threads) < count:
            number = len(self._threads) + 1
            _function(entries.SERVE)  # here: it may have to be compiled
            self._beds.append(threading.Lock())
            self._beds[-1].acquire()
            thread = threading.Thread(target=self._serve, args=(number,), name=f"charrnn-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # a limit on processes: those that are there do the work
                del self._beds[-1]
                break
            self._threads.append(thread)

    def _serve(self, number):
        while not self._closing:
            _call(entries.SERVE, self._words_at, number)
            self._asleep.add(number)
            if self._working or self._closing:  # begun since: whoever leads may have found this one awake
                self._asleep.discard(number)
            else:
                self._beds[number - 1].acquire()
                self._asleep.discard(number)

    def _wake(self, number):
        self._asleep.discard(number)
        try:
            self._beds[number - 1].release()
        except RuntimeError:  # it was about to lie down, and has seen that there is work
            pass

    def close(self):
        """End the threads."""
        self._closing = True
        for number in range(1, len(self._threads) + 1):
            self._wake(number)
        for thread in self._threads:
            thread.join()


_POOLS = [Pool()]


@atexit.register
def _close():
    _POOLS[0].close()


def _start_anew():
    """In a forked child none of the threads are there."""
    _POOLS[0] = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def run_alone(address, table, count):
    """Do the items one after the other on this thread."""
    words = _OWN.words
    words[ADDRESS], words[TABLE], words[COUNT] = address, table.ctypes.data, count
    _call(entries.ALONE, _OWN.words_at)


def run_items(address, table, count, workers=1):
    """Do the items 0..count-1 of the function at `address` (Items.address) on `workers` threads.

    table     ndarray, int64: the function's table; every address in it must stay good during the call
    """
    if workers > 1 and count > 1:
        _POOLS[0].run(address, table, count, min(workers, count))
    else:
        run_alone(address, table, count)
