"""Train a batch in shards, with the same bits for any number of processes.

A shard is a contiguous part of the streams of the batch. It runs as a separate batch, with two exceptions: its dropout
masks are those of the whole batch, and its losses are divided by the number of losses that count in the whole batch.
The gradients and the summed losses of the shards are added in the order of a tree (distributed/tree.py).
"""

import numpy as np

from charrnn.distributed.tree import halves, nodes_within, shards_of
from charrnn.errors import ConfigError
from charrnn.model.buffers import aligned_zeros
from charrnn.model.marks import Masks, item_masks
from charrnn.model.workspace import Workspace


class ShardedWorkspace:
    """A Workspace for training that is divided into shards. All processes of the group must make the same calls.

    model                    Model, the same in every process
    batch_size, seq_length   B and the maximum of T, of the whole batch
    precision                as for Workspace
    shards                   number of shards, a divisor of batch_size
    group                    the group of processes; this one runs shards_of(rank, size, shards)
    grads                    ndarray (N,): the gradient of the whole batch
    counted                  number of losses of the whole batch that count

    Raises ConfigError if the batch cannot be divided into the shards, or there are more processes than shards.
    """

    def __init__(self, model, batch_size, seq_length, precision, shards, group):
        if batch_size % shards:
            raise ConfigError(
                f"--batch-size {batch_size} cannot be divided into {shards} equal shards: use a multiple of {shards}",
                ["batch_size", "shards"],
            )
        if group.size > shards:
            raise ConfigError(
                f"{group.size} processes cannot share {shards} shards: start at most {shards}", ["shards"]
            )
        self.model, self.batch_size, self.seq_length = model, batch_size, seq_length
        self.counted, self._shards, self._group = 0, shards, group
        self._lo, self._hi = shards_of(group.rank, group.size, shards)
        self._streams = batch_size // shards  # of a shard
        self._workspace = Workspace(model, self._streams, seq_length, precision=precision)
        self._carries = {k: self._workspace.get_carry() for k in range(self._lo, self._hi)}
        self._nodes = nodes_within(self._lo, self._hi, shards)
        self._parts = self._workspace.layout.gradient_parts
        self._spare = []  # arrays for sums of shards that are not in use
        self.grads = self._workspace.grads

    # The carry

    def reset_carry(self):
        """Set the carry to zero."""
        for carry in self._carries.values():
            for state in carry.values():
                state[:] = 0

    def get_carry(self):
        """Return the carry of the whole batch, as Workspace does; gathered from all processes."""
        everywhere = {k: carry for carries in self._group.gather(self._carries) for k, carry in carries.items()}
        return {
            name: np.concatenate([everywhere[k][name] for k in range(self._shards)], axis=1) for name in everywhere[0]
        }

    def set_carry(self, carry):
        """Set the carry of the whole batch. Raises ConfigError for wrong names or shapes."""
        for k in self._carries:
            self._workspace.set_carry({name: state[:, self._part(k)] for name, state in carry.items()})
            self._carries[k] = self._workspace.get_carry()

    # A step

    def loss_and_grads(self, x, y, dropout=None, step=0, resets=None, counts=None):
        """Run a chunk of the whole batch forward and backward, and advance the carry.

        Arguments and result are as for Workspace. This process runs its own shards; every process returns the mean loss
        and has the gradient of the whole batch.
        """
        masks = Masks(resets, counts)
        if self.model.start_id is not None:
            masks = item_masks(self.model.start_id, x, y, masks)
        self.counted = x.size if masks.counts is None else int(np.count_nonzero(masks.counts))
        totals = {}

        def run(k, done):
            """Run a shard; its gradient is then in the workspace. done(part) is called as its parts are whole."""
            part, workspace = self._part(k), self._workspace
            own = Masks(_columns(masks.resets, part), _columns(masks.counts, part), max(1, self.counted))
            workspace.stand_in_batch(self.batch_size, part.start)
            workspace.set_carry(self._carries[k])
            totals[k] = workspace.sum_and_grads(x[:, part], y[:, part], dropout, step, own, done)
            self._carries[k] = workspace.get_carry()

        def add_up(lo, hi, done):
            """Return the sum of shards in an array of its own, but for a single one: that is the workspace's.

            done    called with the sum and the number of each of its parts, once that is whole
            """
            if hi - lo == 1:
                run(lo, lambda part: done(self.grads, part))
                return self.grads
            middle = halves(lo, hi)
            left = self._own(add_up(lo, middle, _wait_for_all))

            def add(right, part):
                for start, stop in self._parts[part]:
                    left[start:stop] += right[start:stop]
                done(left, part)

            self._give_back(add_up(middle, hi, add))
            return left

        exchange = self._group.exchange(self._shards, self.grads)
        *earlier, last = self._nodes
        sums = {(lo, hi): self._own(add_up(lo, hi, _wait_for_all)) for lo, hi in earlier}

        def add_to_others(total, part):
            sums[last] = total
            for start, stop in self._parts[part]:
                exchange.add(sums, start, stop)

        add_up(last[0], last[1], add_to_others)
        exchange.finish()
        for array in sums.values():
            self._give_back(array)
        total = self._group.add_numbers(totals, self._shards)
        return total / self.counted if self.counted else 0.0

    def _part(self, k):
        return slice(k * self._streams, (k + 1) * self._streams)

    def _own(self, array):
        """Return a sum in an array that the next shard leaves alone."""
        if array is not self.grads:
            return array
        own = self._spare.pop() if self._spare else aligned_zeros(array.size, array.dtype)
        own[:] = array
        return own

    def _give_back(self, array):
        if array is not self.grads:
            self._spare.append(array)


def _wait_for_all(total, part):
    """Do nothing with a part of a sum; it is wanted as a whole."""


def _columns(mask, part):
    return None if mask is None else np.ascontiguousarray(mask[:, part])
