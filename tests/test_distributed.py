"""Several processes train one model to the same bits as one: the tree of shards, and real runs under mpiexec."""

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.distributed.group import ALONE
from charrnn.distributed.tree import add_up, halves, nodes_within, shards_of, slices
from charrnn.errors import ConfigError
from charrnn.model.dropout import Dropout
from charrnn.model.marks import Masks
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
from charrnn.training.sharded import ShardedWorkspace
from charrnn.training.trainer import Trainer
from charrnn.training.validation import Validation

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))

import processes  # noqa: E402
from scene import Scene  # noqa: E402


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


# ------------------------------------------------------------------------------------------------- a batch in shards


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_shards_drop_and_keep_the_units_that_the_whole_batch_does(cell):
    config = ModelConfig(cell, 13, 24, 2, 8, dtype="float64", zoneout=0.2, layer_norm=True)
    model, rng = Model.initialise(config, 1), np.random.default_rng(2)
    dropout = Dropout(0.3, False, 5, 0.2)
    whole = Workspace(model, 8, 6)
    sharded = {shards: ShardedWorkspace(model, 8, 6, "float32", shards, ALONE) for shards in (1, 2, 8)}
    for step in range(3):
        x, y = rng.integers(0, 13, (2, 6, 8), dtype=np.int32)
        resets, counts = rng.random((2, 6, 8)) < [[[0.1]], [[0.8]]]
        loss = whole.loss_and_grads(x, y, dropout, step, resets, counts)
        for workspace in sharded.values():
            assert workspace.loss_and_grads(x, y, dropout, step, resets, counts) == pytest.approx(loss, rel=1e-14)
            assert workspace.counted == whole.counted
            np.testing.assert_allclose(workspace.grads, whole.grads, rtol=0, atol=1e-14)
            for name, state in whole.get_carry().items():
                assert workspace.get_carry()[name].tobytes() == state.tobytes()
        assert sharded[1].grads.tobytes() == whole.grads.tobytes()


@pytest.mark.parametrize("weight_dropout", [0.0, 0.3])
@pytest.mark.parametrize("more", [{}, {"embedding_size": 8}, {"embedding_size": 24, "tied": True, "layer_norm": True}])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_part_of_the_gradient_is_whole_when_it_is_told(layers, more, weight_dropout):
    model, rng = Model.initialise(ModelConfig("gru", 13, 24, layers, **more), 1), np.random.default_rng(2)
    workspace, told = Workspace(model, 4, 6), []
    parts = workspace.layout.gradient_parts

    def done(part):
        assert part == len(told)
        told.append([workspace.grads[start:stop].copy() for start, stop in parts[part]])

    def run(counts, done):
        masks = Masks(None, np.full((6, 4), counts))
        workspace.reset_carry()
        return workspace.sum_and_grads(x, y, Dropout(0.2, False, 5, weight_dropout), 3, masks, done)

    x, y = rng.integers(0, 13, (2, 6, 4), dtype=np.int32)
    assert run(True, None) > 0
    whole = workspace.grads.copy()
    for counts in (True, False):
        told.clear()
        run(counts, done)
        assert len(told) == layers
        for ranges, arrays in zip(parts, told):
            for (start, stop), array in zip(ranges, arrays):
                np.testing.assert_array_equal(array, whole[start:stop] * counts)
    covered = sorted(each for ranges in parts for each in ranges)
    assert [start for start, _ in covered] == [0, *(stop for _, stop in covered[:-1])]
    assert covered[-1][1] == workspace.grads.size


def test_a_batch_that_does_not_divide_and_too_many_processes_are_refused():
    model = Model.initialise(ModelConfig("rnn", 5, 8, 1, 0), 1)
    with pytest.raises(ConfigError, match="--batch-size 6 cannot be divided into 4 equal shards: use a multiple of 4"):
        ShardedWorkspace(model, 6, 4, "float32", 4, ALONE)


# ---------------------------------------------------------------------------------------------------- real processes

needs_mpi = pytest.mark.skipif(not processes.is_possible(), reason="no mpi4py with an mpiexec beside it")
RUNS = Path(__file__).parent / "distributed_runs.py"


@needs_mpi
@pytest.mark.slow
def test_three_processes_train_every_kind_of_run_to_the_bits_of_one(tmp_path):
    text = Scene(tmp_path, quick=True).text(characters=6000)
    told = []
    for start in ([], [processes.launcher(), "-n", "3"]):
        done = subprocess.run(
            [*start, sys.executable, RUNS, text],
            cwd=tmp_path,
            env=processes.environment(),
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1]
    digests = [line.split("\t")[1] for line in told[0].splitlines()]
    assert len(digests) == len(set(digests)) == 9


@needs_mpi
@pytest.mark.slow
def test_a_run_of_which_a_process_is_killed_goes_on_with_another_number_of_them(tmp_path):
    scene = Scene(tmp_path, quick=True)
    kills, slowest = processes.broken_run(scene, random.Random(2), scene.text(), 0, most=1)
    assert kills == 1 and slowest < processes.LONGEST_S


@needs_mpi
@pytest.mark.slow
def test_processes_that_differ_are_refused_and_none_hangs(tmp_path):
    scene, rng = Scene(tmp_path, quick=True), random.Random(1)
    text = scene.text()
    for number in range(4):
        processes.refused(scene, text, rng, number)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    "odd, why",
    [
        (["--hiden-size", "3"], "No such option '--hiden-size'"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--resume", "a"], "process 1 resumes a run (--resume) and process 0 starts a new one"),
    ],
)
def test_a_process_with_a_command_line_of_its_own_leaves_none_waiting(tmp_path, odd, why):
    text = Scene(tmp_path, quick=True).text(characters=2000)
    start = ["-n", "1", *processes.command("train", text, "--hidden-size", 8, "-o", tmp_path / "run")]
    done = subprocess.run(
        [processes.launcher(), *start, ":", *start, *odd],
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("Error: ") == 1, done.stderr
    assert not (tmp_path / "run").exists()


@needs_mpi
@pytest.mark.slow
def test_a_signal_to_one_process_is_the_exit_code_of_all_and_the_resumption_is_named_with_mpiexec(tmp_path):
    scene = Scene(tmp_path, quick=True)
    options = ["--hidden-size", 8, "--batch-size", 8, "--seq-length", 8, "--steps", 10**6, "--threads", 1, "-q"]
    group = processes.Group(scene, 2, processes.command("train", scene.text(), *options, "-o", tmp_path / "run"))
    group.wait_for(tmp_path / "run" / "last.safetensors")
    os.kill(group.ranks()[1], signal.SIGTERM)
    assert group.wait() == 128 + signal.SIGTERM, group.told()
    assert f"mpiexec -n 2 charrnn train --resume {tmp_path / 'run'}" in group.told()


@needs_mpi
@pytest.mark.parametrize("saved, said", [(False, "BEFORE"), (True, "AFTER")])
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise MPI.Exception(1)"])
def test_the_last_words_name_a_checkpoint_only_where_there_is_one(tmp_path, end, saved, said):
    dies = f"""import os
from charrnn.distributed.mpi import MPI, Elsewhere, MPIGroup
group = MPIGroup()
try:
    with group.last_words('BEFORE', 'AFTER', 'last'): {end}
except Elsewhere as error:  # a message to another process that has died
    group.leave(error)
"""
    if saved:
        (tmp_path / "last").touch()
    done = subprocess.run(
        [sys.executable, "-c", dies],
        cwd=tmp_path,
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,  # until the watcher has ended too
        text=True,
        timeout=30,
    )
    assert said in done.stderr.split() and done.stderr.count("FORE") + done.stderr.count("AFTER") == 1, done.stderr
    assert "Traceback" not in done.stderr and done.returncode in (-9, 2)


@needs_mpi
@pytest.mark.parametrize("missing", [0, 1])
def test_a_process_that_ends_before_mpi_begins_leaves_none_waiting_without_a_word(missing):
    waits = (
        "from charrnn.distributed import group, starting; starting.SAY_AFTER_S, starting.END_AFTER_S = 0.2, 0.4; "
        "group.find_group()"
    )
    parts = [["-n", "1", sys.executable, "-c", waits], ["-n", "1", sys.executable, "-c", "raise SystemExit(1)"]]
    first, second = parts if missing == 1 else reversed(parts)
    done = subprocess.run(
        [processes.launcher(), *first, ":", *second],
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"process {1 - missing} of 2 waits for the others to start" in done.stderr
    assert f"Error: process {1 - missing} of 2 has waited 0.4 s for the others to start" in done.stderr
    assert done.returncode & 2, done.stderr


def test_the_time_of_a_validation_is_the_same_in_processes_with_unequal_parts_of_it():
    class Group(type(ALONE)):
        size = 3

        def agree(self, value):
            return 22

    validation = Validation(np.zeros(100, np.int32), (0, 100), (0, 100), Group())
    took_s = []
    for streams in (21, 22):
        validation._workspace = SimpleNamespace(batch_size=streams, seq_length=8)
        took_s.append(validation.estimate_s(1.0))
    assert took_s[0] == took_s[1]


def test_a_signal_that_comes_while_the_others_are_asked_is_not_lost():
    trainer = Trainer.__new__(Trainer)
    trainer._stop = False

    class Group:
        def any(self, flag):
            trainer.stop()  # too late for this time
            return flag

    trainer._group = Group()
    assert not trainer._is_stopped()
    assert trainer._is_stopped()
