"""The group of processes that `mpiexec` starts, by mpi4py.

MPI only moves data here and adds nothing up: the order in which it would do so depends on how many processes there are.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mpi4py import MPI

from charrnn.distributed.group import LEAVING_S, Elsewhere
from charrnn.distributed.tree import add_up, nodes_within, shards_of, slices
from charrnn.errors import CharRNNError

# Waits for whoever started it to say that it is alive, or to be no more.
_WATCHER = "import os, sys; os.read(0, 1) or os.write(2, sys.argv[1 + os.path.exists(sys.argv[3])].encode())"
GRAIN = 4096  # numbers: slices of the gradient are multiples of it
TRIED = 12  # steps that are exchanged in the one way and the other, by turns
IDLE_S = 0.0003  # between looks at messages that are waited for beside other work


class MPIGroup:
    """All processes of this program; see group.Alone for its methods.

    sent_bytes    that this process has sent of arrays
    """

    def __init__(self):
        self._comm = MPI.COMM_WORLD.Dup()
        self._arrays = MPI.COMM_WORLD.Dup()  # exchanges may go on in another thread
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        here = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
        self.neighbours = here.Get_size()
        here.Free()
        self.sent_bytes = 0
        self._received = {}
        self._trial = _Trial(self)
        self._beside = ThreadPoolExecutor(1)  # its thread starts with the first work
        self._is_leaving = False

    def agree(self, value):
        return self._comm.bcast(value)

    def gather(self, value):
        return self._comm.allgather(value)

    def any(self, flag):
        return bool(self._comm.allreduce(int(bool(flag)), MPI.MAX))

    @contextlib.contextmanager
    def last_words(self, before, after, path):
        if self.rank > 0:
            with _lost_silently():
                yield
            return
        # In a session of its own, since a launcher that sees a process die ends all that it has started.
        watcher = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _WATCHER, f"\n{before}\n", f"\n{after}\n", os.path.abspath(path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        alive = b"alive"
        try:
            with _lost_silently():
                yield
        except Elsewhere:
            alive = b""
            raise
        finally:
            watcher.communicate(alive)

    def run_beside(self, work, *arguments):
        """Run work(*arguments, wait) in a thread beside this one, after what it was given before; return its Future."""
        return self._beside.submit(work, *arguments, self._wait_idly)

    def _wait_idly(self, requests):
        """Wait for requests, and leave the CPU to whoever computes; a library that waits for messages keeps it busy."""
        while not MPI.Request.Testall(requests):
            if self._is_leaving:
                raise CharRNNError("stopped waiting for the other processes")
            time.sleep(IDLE_S)

    def leave(self, error):
        self._is_leaving = True
        if isinstance(error.__cause__, MPI.Exception):  # another process is gone already
            self._comm.Abort(2)
        leaving = self._comm.Ibarrier()
        until = time.monotonic() + LEAVING_S
        while time.monotonic() < until:
            if leaving.Test():
                return
            time.sleep(0.01)
        # The others wait for what this process will never do.
        code = 2
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else code
        elif isinstance(error, KeyboardInterrupt):
            code = 130
        else:
            print(f"Error: process {self.rank} of {self.size}: {_words(error)}", file=sys.stderr, flush=True)
        self._comm.Abort(code)

    def clock(self, own):
        shared = _SharedClock(self, own)
        return shared, shared.last

    def add_numbers(self, numbers, shards):
        mine = np.zeros(shards)
        for k, number in numbers.items():
            mine[k] = number
        counts = [hi - lo for lo, hi in (shards_of(rank, self.size, shards) for rank in range(self.size))]
        self._comm.Allgatherv(MPI.IN_PLACE, [mine, counts])
        return add_up({(k, k + 1): float(number) for k, number in enumerate(mine)}, (0, shards))

    def exchange(self, shards, out):
        return _Exchange(self, self._trial, shards, out)

    def overlap(self, is_wanted):
        """Exchange beside the computation from now on, or after it, without a trial; for measurements.

        Every process must call it alike. Raises CharRNNError where this build of MPI takes calls from one thread only.
        """
        if is_wanted and MPI.Query_thread() != MPI.THREAD_MULTIPLE:
            raise CharRNNError(
                "this build of MPI accepts calls from only one thread at a time, so exchanges cannot overlap"
            )
        self._trial.chosen = is_wanted

    def add_range(self, nodes, start, stop, shards, out, wait):
        """Write the sum over the tree of numbers start .. stop - 1 into `out`.

        nodes    {node: array}, as for an Exchange
        wait     a function that returns when all of a list of requests are done
        """
        bounds = [start + bound for bound in slices(stop - start, self.size, GRAIN)]
        here = slice(bounds[self.rank], bounds[self.rank + 1])
        sums = {node: array[here] for node, array in nodes.items()}
        waiting = self._send(nodes, bounds)
        for rank in range(self.size):
            if rank != self.rank:
                for node in nodes_within(*shards_of(rank, self.size, shards), shards):
                    sums[node] = self._room(node, here.stop - here.start, out.dtype)
                    waiting.append(self._arrays.Irecv(_bytes(sums[node]), rank, node[0]))
        wait(waiting)
        total = add_up(sums, (0, shards))
        if total.ctypes.data != out[here].ctypes.data:
            out[here] = total
        size = out.itemsize
        counts = [(hi - lo) * size for lo, hi in itertools.pairwise(bounds)]
        places = [at * size for at in bounds[:-1]]
        wait([self._arrays.Iallgatherv(MPI.IN_PLACE, [out.view(np.uint8), counts, places, MPI.BYTE])])
        self.sent_bytes += counts[self.rank] * (self.size - 1)

    def _send(self, nodes, bounds):
        """Send each process its slice of this one's nodes; return the requests."""
        requests = []
        for k in range(1, self.size):
            rank = (self.rank + k) % self.size  # not all to the same one at a time
            for node, array in nodes.items():
                part = array[bounds[rank] : bounds[rank + 1]]
                requests.append(self._arrays.Isend(_bytes(part), rank, node[0]))
                self.sent_bytes += part.nbytes
        return requests

    def _room(self, node, size, dtype):
        """Return an array for another process's slice of a node, kept from step to step."""
        room = self._received.get(node)
        if room is None or room.size < size or room.dtype != dtype:
            room = self._received[node] = np.empty(size, dtype)
        return room[:size]


class _Exchange:
    """An Exchange over MPI: of all numbers at once in the end, or of each range in a thread, beside what is computed.

    The trial says which.
    """

    def __init__(self, group, trial, shards, out):
        self._group, self._trial, self._shards, self._out = group, trial, shards, out
        self._is_beside, self._begun, self._futures, self._nodes = trial.next_way(), time.perf_counter(), [], {}

    def add(self, nodes, start, stop):
        self._nodes = nodes
        if self._is_beside:
            work = self._group.add_range, dict(nodes), start, stop, self._shards, self._out
            self._futures.append(self._group.run_beside(*work))

    def finish(self):
        for future in self._futures:
            future.result()
        if not self._is_beside:
            self._group.add_range(self._nodes, 0, self._out.size, self._shards, self._out, MPI.Request.Waitall)
        self._trial.note(time.perf_counter() - self._begun)


class _Trial:
    """Whether exchanges go on beside the computation: both ways are tried in turns, then all take the faster one."""

    def __init__(self, group):
        self._group, self._times = group, []
        # Some builds of MPI take calls from one thread at a time only.
        self.chosen = None if MPI.Query_thread() == MPI.THREAD_MULTIPLE else False

    def next_way(self):
        """Say whether the next exchange is to go on beside the computation; the same in all processes."""
        return len(self._times) % 2 == 1 if self.chosen is None else self.chosen

    def note(self, seconds):
        """Take down how long a step has taken, from the start of its shards to the end of its exchange."""
        if self.chosen is not None:
            return
        self._times.append(seconds)
        if len(self._times) == TRIED:
            after, beside = (np.median(self._times[way + 2 :: 2]) for way in (0, 1))  # without the first of each
            slowest = np.max(self._group.gather((after, beside)), axis=0)
            self.chosen = bool(slowest[1] < slowest[0])


class _SharedClock:
    """The first process's clock, read by all at once."""

    def __init__(self, group, own):
        self._group, self._own, self._now = group, own, 0.0

    def __call__(self):
        self._now = self._group.agree(self._own() if self._group.rank == 0 else None)
        return self._now

    def last(self):
        return self._now


@contextlib.contextmanager
def _lost_silently():
    """Return a context in which a message that fails, since another process has died, raises Elsewhere."""
    try:
        yield
    except MPI.Exception as error:
        raise Elsewhere from error


def _words(error):
    """Return what to say of an error: its sentence, or where it came from, if it is a fault of the program."""
    if isinstance(error, MemoryError):
        return f"this does not fit in memory ({error})" if str(error) else "this does not fit in memory"
    if isinstance(error, (CharRNNError, OSError)) or hasattr(error, "format_message"):  # click's
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


def _bytes(array):
    return [array.view(np.uint8), MPI.BYTE]
