"""Several processes train one model to the same bits as one: the tree of shards, and real runs under mpiexec."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.distributed.group import ALONE
from charrnn.distributed.tree import add_up, halves, nodes_within, shards_of, slices
from charrnn.errors import ConfigError
from charrnn.evaluation.loss import count_streams, evaluate_split
from charrnn.model.parameters import Model
from charrnn.model.workspace import Dropout, Workspace
from charrnn.spec import ModelConfig
from charrnn.training.sharded import ShardedWorkspace


class Threadless:
    """One of several processes that are played one after the other: what it is to be given was found out before."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def whole_tree(leaves):
    """Return the sum over the tree, written out."""
    if len(leaves) == 1:
        return leaves[0]
    middle = halves(0, len(leaves))
    return whole_tree(leaves[:middle]) + whole_tree(leaves[middle:])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 24), st.data())
def test_any_contiguous_division_of_the_shards_adds_up_to_the_same_bits(shards, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    leaves = [rng.standard_normal(5).astype(np.float32) * 10.0 ** rng.integers(-6, 7) for _ in range(shards)]
    cuts = sorted(data.draw(st.lists(st.integers(0, shards), max_size=6)))
    sums = {}
    for lo, hi in itertools.pairwise([0, *cuts, shards]):
        for a, b in nodes_within(lo, hi, shards):
            sums[a, b] = add_up({(k, k + 1): leaves[k].copy() for k in range(a, b)}, (a, b))
    assert add_up(sums, (0, shards)).tobytes() == whole_tree(leaves).tobytes()


@given(st.integers(1, 64), st.integers(1, 64))
def test_processes_share_all_shards_in_order_and_evenly(processes, shards):
    parts = [shards_of(rank, processes, shards) for rank in range(processes)]
    assert [k for lo, hi in parts for k in range(lo, hi)] == list(range(shards))
    sizes = {hi - lo for lo, hi in parts}
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from((1, 16, 4096)))
def test_slices_cover_an_array(size, processes, grain):
    bounds = slices(size, processes, grain)
    assert bounds[0] == 0 and bounds[-1] == size and bounds == sorted(bounds) and len(bounds) == processes + 1
    assert all(bound % grain == 0 for bound in bounds[:-1] if bound < size)
