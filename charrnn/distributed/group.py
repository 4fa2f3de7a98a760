"""A group of processes that run the same program side by side, each with a part of the work.

Every method of a group is called by all of its processes, in the same order. The first one (rank 0) owns the clock and
the files. `Alone` is the group of one process; mpi.py has the group that MPI starts.
"""

import atexit
import contextlib
import os
import sys
import time
from typing import Any, Protocol

from charrnn.distributed.tree import add_up
from charrnn.errors import CharRNNError, ConfigError

# What says how many processes a launcher has started, and which of them this one is: MPICH and Intel MPI, Open MPI, and
# srun with either.
_LAUNCHERS = (("PMI_SIZE", "PMI_RANK"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMIX_SIZE", "PMIX_RANK"))
LEAVING_S = 3.0  # for the others to come too, where a process ends early


class Alone:
    """A group of one process.

    rank, size    this process's number, and how many there are
    neighbours    how many of them run on this machine, this one among them
    """

    rank, size, neighbours = 0, 1, 1

    def agree(self, value):
        """Return the value of the first process."""
        return value

    def gather(self, value):
        """Return the values of all processes, by rank."""
        return [value]

    def any(self, flag):
        """Say whether a flag is set in any process."""
        return bool(flag)

    def last_words(self, before, after, path):
        """Return a context in which a sentence is said if the first process dies, or the launcher ends it.

        before, after    the sentence while there is no file at `path`, and once there is one
        """
        return contextlib.nullcontext()

    def leave(self, error):
        """End this process's part because of an error, with the others if they come, else ending them too."""

    def clock(self, own):
        """Return two clocks that all processes read alike; of their own clocks only the first process's is asked.

        The one is read now, by all; the other says what the first one said last.
        """
        return own, own

    def add_numbers(self, numbers, shards):
        """Return the sum of all shards' numbers over their tree.

        numbers    {shard: float} of this process's shards
        """
        return add_up({(k, k + 1): number for k, number in numbers.items()}, (0, shards))

    def exchange(self, shards, out):
        """Return an Exchange, by which the sum of all shards over their tree is written into the array `out`.

        It is asked for before the shards are run.
        """
        return _Whole(out)


class Exchange(Protocol):
    """An exchange of the sums of shards, range by range; all processes add the same ranges in the same order."""

    def add(self, nodes, start, stop):
        """Add numbers start .. stop - 1, which are whole in all of this process's nodes.

        nodes    {node: array} of the largest nodes within this process's shards; these numbers are spoilt
        """

    def finish(self):
        """Return when `out` has the sum of all numbers."""


class _Whole:
    """The exchange of a process that has all shards: there is one node."""

    def __init__(self, out):
        self._out = out

    def add(self, nodes, start, stop):
        (total,) = nodes.values()
        if total is not self._out:
            self._out[start:stop] = total[start:stop]

    def finish(self):
        pass


ALONE = Alone()

# How many of them run on this machine: MPICH and Intel MPI, Open MPI.
_HERE = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")


def launched():
    """Return (rank, size) as the launcher of this process says, (0, 1) where none has started it."""
    for size, rank in _LAUNCHERS:
        try:
            number = int(os.environ.get(rank, "")), int(os.environ.get(size, ""))
        except ValueError:
            continue
        return number
    return 0, 1


def launched_here():
    """Return how many processes of this program the launcher says that it has started on this machine, at least 1."""
    for name in _HERE:
        if (number := os.environ.get(name, "")).isdigit():
            return max(1, int(number))
    return 1


def find_group():
    """Return the group that this process belongs to; MPI is imported only where several were started.

    Raises ConfigError where mpi4py is missing, or its MPI is not the launcher's.
    """
    rank, size = launched()
    if size == 1:
        return ALONE
    from charrnn.distributed.starting import end_all, waiting_for_all

    try:
        with waiting_for_all(rank, size):
            from charrnn.distributed.mpi import MPIGroup

            group = MPIGroup()
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no library
        why = (
            f"{size} processes were started, but mpi4py, which connects them, cannot be used here "
            f"({str(error).splitlines()[0]}): pip install mpi4py mpich"
        )
        if rank == 0:
            atexit.register(end_all)  # when it is said
        else:
            time.sleep(LEAVING_S)  # where none has mpi4py, the first process says so and ends all
            print(f"Error: process {rank} of {size}: {why}", file=sys.stderr, flush=True)
            end_all()
        raise ConfigError(why) from error
    if group.size != size:
        raise ConfigError(
            f"the launcher started {size} processes, but mpi4py sees {group.size}, because its MPI is not the "
            "launcher's: start them with the mpiexec of the same package (pip install mpi4py mpich brings both)"
        )
    return group


def leave_early(error):
    """End this process's part, as a group's `leave` does, where an error comes before the group was looked for."""
    if launched()[1] > 1:
        with contextlib.suppress(CharRNNError):
            find_group().leave(error)


def together(group, work) -> Any:
    """Return what `work()` returns, unless it fails in any process: then all of them raise, and none waits for it.

    The first process says what was wrong, and in which process; the others fail silently (Elsewhere).
    """
    result = fault = None
    try:
        result = work()
    except (CharRNNError, MemoryError, OSError) as error:
        fault = error
    faults = group.gather(None if fault is None else f"{fault}")
    if not any(each is not None for each in faults):
        return result
    if group.rank > 0:
        raise Elsewhere
    if fault is not None:
        raise fault
    rank = next(rank for rank, each in enumerate(faults) if each is not None)
    raise ConfigError(f"process {rank} of {group.size}: {faults[rank]}")


def from_first(group, work):
    """Return in every process what `work()` returns in the first, or raise in every process what it raised there."""
    if group.size == 1:
        return work()
    result = fault = None
    if group.rank == 0:
        try:
            result = work()
        except (CharRNNError, MemoryError, OSError) as error:
            fault = type(error), error.__reduce__()[1], error.__dict__  # of an OSError, its file too
    result, fault = group.agree((result, fault))
    if fault is not None:
        kind, args, fields = fault
        error = kind.__new__(kind, *args)
        error.__dict__.update(fields)
        raise error
    return result


class Elsewhere(CharRNNError):
    """Another process says what was wrong."""
