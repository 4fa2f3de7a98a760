"""What a machine with more cores may do, estimated from runs on one and on two threads. Pure arithmetic."""

from typing import NamedTuple

CORES = 4, 8, 16


class Parts(NamedTuple):
    """The time of a step on n threads, shared + private/n, in units of its time on one: shared + private = 1."""

    shared: float
    private: float

    def times(self, threads):
        """Return how many times as fast as on one thread a step would be."""
        return 1 / (self.shared + self.private / threads)


def split(times):
    """Return the Parts of a step that is `times` as fast on two threads as on one.

        t(n) = shared + private/n,  so  private = 2 (t(1) - t(2)),  shared = 2 t(2) - t(1)

    What is measured as less than nothing is nothing: of two threads that are more than twice as fast, or slower, than
    one.
    """
    shared = min(1.0, max(0.0, 2 / times - 1))
    return Parts(shared, 1 - shared)
