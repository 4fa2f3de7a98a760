"""Until MPI begins, which it does once every process has come: a process that never comes leaves the others waiting.

It may lack charrnn, or be another program, and end without a word to the launcher. Knows nothing of mpi4py.
"""

import contextlib
import os
import signal
import subprocess
import sys

SAY_AFTER_S, END_AFTER_S = 10.0, 300.0  # Python itself may take minutes to start in hundreds of processes on one disk

# Waits for its parent, which cannot run Python meanwhile, to close stdin; says that it waits; ends all in the end.
_WATCHER = """
import os, select, signal, sys, time
begins, ends, parent, launcher, note, error = sys.argv[1:]
if not select.select([0], [], [], float(begins))[0]:
    os.write(2, note.encode())
    if not select.select([0], [], [], float(ends) - float(begins))[0]:
        os.write(2, error.encode())
        time.sleep(1)  # the launcher passes on what it has read when it is told to end all, and drops the rest
        if launcher:
            os.write(int(launcher), b"cmd=abort exitcode=2\\n")
            time.sleep(3)
        os.kill(int(parent), signal.SIGKILL)
"""


def end_all():
    """Have the launcher end all processes, which would wait for ever for one that has no MPI to come.

    By the wire protocol of MPICH's and Intel's launchers; Open MPI's ends all where one fails.
    """
    with contextlib.suppress(KeyError, ValueError, OSError):
        os.write(int(os.environ["PMI_FD"]), b"cmd=abort exitcode=2\n")


@contextlib.contextmanager
def waiting_for_all(rank, size):
    """Return a context in which MPI begins: what it waits for is said, and after minutes all processes are ended.

    A signal ends the process at once there: MPI does not let Python handle it.
    """
    if os.name != "posix":
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if callable(handler)}  # not what is ignored
    with _watched(rank, size):
        try:
            for number in before:
                signal.signal(number, signal.SIG_DFL)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _watched(rank, size):
    """Return a context that another process watches over."""
    who = f"process {rank} of {size}"
    note = (
        f"{who} waits for the others to start; if charrnn does not start on one of the machines, press Ctrl-C and try "
        "'charrnn doctor' there\n"
    )
    error = (
        f"Error: {who} has waited {END_AFTER_S:g} s for the others to start: try 'charrnn doctor' on every machine\n"
    )
    launcher = os.environ.get("PMI_FD", "")
    kept = [int(launcher)] if launcher.isdigit() else []
    if rank > 1:  # the first says it; the second, where the first is missing
        note = ""
    watcher = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WATCHER, *map(str, (SAY_AFTER_S, END_AFTER_S, os.getpid())), launcher]
        + [note, error],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=kept,
    )
    try:
        yield
    finally:
        watcher.communicate()
