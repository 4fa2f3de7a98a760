"""The group of processes that `mpiexec` starts, by mpi4py. Only data is moved by MPI: it adds nothing up, since the order
in which it would do so depends on how many processes there are.
"""

import numpy as np
from mpi4py import MPI

from charrnn.distributed.tree import add_up, nodes_within, shards_of, slices

GRAIN = 4096  # numbers: slices of the gradient are multiples of it


class MPIGroup:
    """All processes of this program; see group.Alone for its methods.

    sent_bytes    that this process has sent of arrays
    """

    def __init__(self):
        self._comm = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.sent_bytes = 0
        self._received = {}

    def agree(self, value):
        return self._comm.bcast(value)

    def gather(self, value):
        return self._comm.allgather(value)

    def any(self, flag):
        return bool(self._comm.allreduce(int(bool(flag)), MPI.MAX))

    def add_numbers(self, numbers, shards):
        mine = np.zeros(shards)
        for k, number in numbers.items():
            mine[k] = number
        counts = [hi - lo for lo, hi in (shards_of(rank, self.size, shards) for rank in range(self.size))]
        self._comm.Allgatherv(MPI.IN_PLACE, [mine, counts])
        return add_up({(k, k + 1): float(number) for k, number in enumerate(mine)}, (0, shards))

    def add_arrays(self, nodes, shards, out):
        bounds = slices(out.size, self.size, GRAIN)
        here = slice(bounds[self.rank], bounds[self.rank + 1])
        sums = {node: array[here] for node, array in nodes.items()}
        waiting = self._send(nodes, bounds)
        for rank in range(self.size):
            if rank != self.rank:
                for node in nodes_within(*shards_of(rank, self.size, shards), shards):
                    sums[node] = self._room(node, here.stop - here.start, out.dtype)
                    waiting.append(self._comm.Irecv(_bytes(sums[node]), rank, node[0]))
        MPI.Request.Waitall(waiting)
        total = add_up(sums, (0, shards))
        if total.ctypes.data != out[here].ctypes.data:
            out[here] = total
        size = out.itemsize
        counts = [(stop - start) * size for start, stop in zip(bounds[:-1], bounds[1:])]
        self._comm.Allgatherv(MPI.IN_PLACE, [out.view(np.uint8), counts, [at * size for at in bounds[:-1]], MPI.BYTE])
        self.sent_bytes += counts[self.rank] * (self.size - 1)

    def _send(self, nodes, bounds):
        """Send each process its slice of this one's nodes; return the requests."""
        requests = []
        for k in range(1, self.size):
            rank = (self.rank + k) % self.size  # not all to the same one at a time
            for node, array in nodes.items():
                part = array[bounds[rank] : bounds[rank + 1]]
                requests.append(self._comm.Isend(_bytes(part), rank, node[0]))
                self.sent_bytes += part.nbytes
        return requests

    def _room(self, node, size, dtype):
        """Return an array for another process's slice of a node, kept from step to step."""
        room = self._received.get(node)
        if room is None or room.size < size or room.dtype != dtype:
            room = self._received[node] = np.empty(size, dtype)
        return room[:size]


def _bytes(array):
    return [array.view(np.uint8), MPI.BYTE]
