"""Entries compiled by other processes, while this one reads its text or compiles what it needs first.

Numba compiles in Python code, one function at a time, so another core is of use only to another process. What such a
process makes is kept on disk, where this one finds it (machine_code.py). Nothing depends on it: what it fails to make
is compiled here.
"""

import atexit
import contextlib
import json
import sys
import threading
import time

from charrnn.kernels import machine_code
from charrnn.kernels.entries import Items
from charrnn.kernels.threads import default_threads

POLL_S = 0.02
PATIENCE_S = 300  # a process that takes longer hangs

_WANTED = []  # (Items, dtype) that nobody has begun
_PROCESSES = {}  # {name of an entry: the process that compiles it}; also those that have ended
_LOCK = threading.Lock()  # for both


def compile_ahead(wanted, cores=None):
    """Start to compile what will be needed soon and is not on disk yet.

    wanted    (Items, dtype) pairs, the most work first
    cores     how many processes may work at a time, this one among them; by default, as many as there are threads
    """
    places = machine_code.cache_places()
    if places.writable is None:  # then no process can hand its code to another
        return
    _WANTED[:] = [pair for pair in wanted if machine_code.read_code(_name(pair), places.readable) is None]
    machine_code.elsewhere = _compiled_elsewhere
    with contextlib.suppress(RuntimeError):  # a limit on threads: what nobody begins is compiled where it is needed
        for _ in range(min((default_threads() if cores is None else cores) - 1, len(_WANTED))):
            threading.Thread(target=_serve, daemon=True).start()


def _name(pair):
    items, dtype = pair
    return items.entry_name(dtype)


def _serve():
    """Have what is wanted compiled, a process for each entry, one after the other."""
    while (process := _begin()) is not None:
        process.wait()


def _begin():
    with _LOCK:
        if not _WANTED:
            return None
        pair = _WANTED.pop(0)
        try:
            process = _PROCESSES[_name(pair)] = _start(*pair)
        except OSError:  # a limit on processes, or an interpreter that is no file
            return None
        return process


def _start(items, dtype):
    import subprocess  # here: a start that finds all its code has no use for it

    # The modules of this process, not those that lie in the current folder. A session of its own: Ctrl-C is for us.
    script = f"import sys; sys.path[:] = {sys.path!r}; from charrnn.kernels.ahead import main; main(sys.argv[1])"
    command = [sys.executable, "-c", script, json.dumps([items.name, items.source, items.arguments, dtype])]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)


def main(entry):
    """Compile one entry and keep its code on disk: what a started process does."""
    name, source, arguments, dtype = json.loads(entry)
    Items(name, source, *arguments).address(dtype)


def _compiled_elsewhere(name):
    """Return whether another process has compiled an entry. If one has begun, wait for its end and be useful meanwhile.

    An entry that nobody has begun is the caller's from now on.
    """
    with _LOCK:
        _WANTED[:] = [pair for pair in _WANTED if _name(pair) != name]
        process = _PROCESSES.get(name)
    begun = time.monotonic()
    while process is not None and process.poll() is None and time.monotonic() < begun + PATIENCE_S:
        with _LOCK:
            pair = _WANTED.pop(0) if _WANTED else None
        if pair is None:
            time.sleep(POLL_S)
        else:
            items, dtype = pair
            items.address(dtype)
    return process is not None


@atexit.register
def _end():
    with _LOCK:
        _WANTED.clear()
    for process in _PROCESSES.values():
        process.kill()
