"""A short form of soak/cuts.py: power cuts, deaths after a byte and full disks, simulated on the record of a run."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))

import cuts  # noqa: E402
from scene import Broken, Scene  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the file system's rules are those of POSIX")


@pytest.fixture
def desk(tmp_path):
    desk = cuts.Desk(tmp_path / "desk", Scene(tmp_path, True).text(characters=1200), cuts.OPTIONS)
    yield desk
    desk.close()


@pytest.mark.slow
def test_a_power_cut_at_any_moment_costs_nothing(desk):
    states = cuts.power_cuts(desk.recorded_run())
    anew = desk.check_all(states)
    assert len(states) > 40 and 0 < anew < 8


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", ["file", "folder", "log"])
def test_the_simulation_sees_what_was_not_synced(desk, forgotten):
    states = cuts.power_cuts(desk.recorded_run(forget=[forgotten]), most=200)
    with pytest.raises(Broken):
        desk.check_all(cuts.thinned(states, 150))


@pytest.mark.slow
def test_a_death_after_any_byte_costs_nothing(desk):
    states = cuts.byte_cuts(desk.recorded_run(), extra=10)
    assert len(states) > 300
    desk.check_all(cuts.thinned(states, 25))


@pytest.mark.slow
def test_a_full_disk_at_any_operation_costs_nothing(desk):
    assert desk.full_disks(every=7) > 20


@pytest.mark.slow
def test_a_file_size_limit_stops_a_run_with_what_to_do_next(tmp_path):
    assert cuts.file_size_limits(Scene(tmp_path, True), 1) == 1


def test_a_file_may_hold_after_a_cut_what_was_synced_and_any_part_of_the_rest():
    forms = cuts._forms(b"old", [("write", 0, b"12"), ("write", 0, b"34")])
    assert set(forms) == {b"old", b"old1234", b"old12", b"old123", b"old\0\0\0\0", b"old\0\00034"}
    assert cuts._forms(b"old", [("truncate", 0, 0)]) == [b"", b"old"]


def test_names_change_each_for_itself():
    journal = cuts.Journal("/nowhere")
    journal.operations = [
        ("create", "a", 0),
        ("syncdir",),
        ("create", "b", 1),
        ("rename", "a", "c", 0),
        ("unlink", "b", 1),
    ]
    found = {frozenset(state.files) for state in cuts.power_cuts(journal)}
    assert found == {frozenset(names.split()) for names in ("", "a", "a b", "c", "b c")}
