"""A short form of soak/kills.py: a run of the command line is killed a few times and ends in the same bits."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))

import kills  # noqa: E402
from scene import Broken, Scene  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(tmp_path):
    scene, tally = Scene(tmp_path, quick=True), kills.Tally()
    kills.broken_run(scene, random.Random(3), scene.text(characters=20_000), 0, tally, most=3)
    assert tally.kills >= 1 and sum(tally.phases.values()) == tally.kills


@pytest.mark.slow
def test_a_run_that_is_not_resumed_as_it_was_is_noticed(tmp_path, monkeypatch):
    real, ends = kills.result, []

    def another_log(path):
        ends.append(real(path))
        return ends[-1] if len(ends) > 1 else {**ends[-1], "log": ends[-1]["log"][:-1]}

    monkeypatch.setattr(kills, "result", another_log)
    scene = Scene(tmp_path, quick=True)
    with pytest.raises(Broken, match="another log at the end"):
        kills.broken_run(scene, random.Random(3), scene.text(characters=20_000), 0, kills.Tally(), most=0)


@pytest.mark.slow
def test_a_signal_counts_in_the_phase_it_fell_in(tmp_path):
    scene = Scene(tmp_path, quick=True)
    options = [
        "--hidden-size",
        12,
        "--num-layers",
        1,
        "--batch-size",
        4,
        "--seq-length",
        16,
        "--steps",
        10**6,
        "--eval-every",
        0,
    ]
    life = kills.Life(scene, "train", scene.text(), *options, "-o", "run")
    life.until_it_trains()
    assert kills.PHASES[life.kill(signal.SIGKILL)] in ("training", "saving")
    assert kills.where(tmp_path / "run" / "last.safetensors") == (0, False)
