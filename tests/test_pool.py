"""The pool: every item once, on any number of threads, from any number of callers, asleep or awake."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from charrnn.kernels import pool
from charrnn.kernels.compiled import inline
from charrnn.kernels.entries import Items
from charrnn.kernels.table import Int64s, Table
from charrnn.kernels.team import atomic_add
from charrnn.kernels.view import opener


class Tally(NamedTuple):
    turns: int
    done: Int64s


open_tally = opener(Tally)


@inline
def spend(turns, i):
    for _ in range(turns):
        i = i * 6364136223846793005 + 1442695040888963407
    return i


def count_item(table, like, item):
    """Count an item, after a while."""
    v = open_tally(table, like)
    atomic_add(v.done, item, 1 + (spend(v.turns, item) & 0))


COUNT = Items("count_item", f"{__name__}:count_item")


def tally(items, turns=0):
    table, done = Table(Tally), np.zeros(items + 1, np.int64)
    table.set(turns=turns, done=done)
    return table, done


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 2, 3, 100])
def test_every_item_is_done_once(items, workers):
    address = COUNT.address("float32")
    for turns in (0, 50, 3000):
        table, done = tally(items, turns)
        for _ in range(20):
            pool.run_items(address, table.words, items, workers)
        assert done.tolist() == [20] * items + [0]


def test_threads_that_went_to_sleep_are_woken():
    """Items that can end only together: each waits for the other."""
    address = MEET.address("float32")
    for pause in (0, 0, 0.02, 0, 0.02):
        time.sleep(pause)
        table, done = tally(2)
        pool.run_items(address, table.words, 2, 2)
        assert done[0] == 2


def meet_item(table, like, item):
    """Come, and wait until both items have come."""
    v = open_tally(table, like)
    atomic_add(v.done, 0, 1)
    while atomic_add(v.done, 0, 0) < 2:
        pass


MEET = Items("meet_item", f"{__name__}:meet_item")


def test_callers_on_several_threads_do_not_disturb_each_other():
    address, wrong = COUNT.address("float32"), []

    def call(seed):
        rng = np.random.default_rng(seed)
        for _ in range(300):
            items = int(rng.integers(1, 40))
            table, done = tally(items, int(rng.integers(0, 200)))
            pool.run_items(address, table.words, items, int(rng.integers(1, 5)))
            if done.tolist() != [1] * items + [0]:
                wrong.append((seed, items, done))

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_where_no_thread_can_be_started_the_caller_does_it_all(monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool.threading.Thread, "start", refuse)
    monkeypatch.setattr(pool, "_POOLS", [pool.Pool()])
    table, done = tally(9)
    pool.run_items(COUNT.address("float32"), table.words, 9, 3)
    assert done.tolist() == [1] * 9 + [0]


SCRIPT = """
import os, sys
from tests.test_pool import COUNT, pool, tally
def run():
    table, done = tally(30, 1000)
    pool.run_items(COUNT.address("float32"), table.words, 30, 3)
    assert done.tolist() == [1] * 30 + [0]
run()
"""


def run_script(script):
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.parametrize("end", ["", "sys.exit()", "run()", "import time; time.sleep(0.02)"])
def test_a_process_ends_in_peace(end):
    assert run_script(end) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_threads_of_its_own():
    assert run_script(
        "import warnings; warnings.simplefilter('ignore')\n"
        "child = os.fork()\nrun()\n"
        "if child == 0: print('child', flush=True); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\nprint('parent')"
    ).split() == ["child", "parent"]
