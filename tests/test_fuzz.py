"""soak/fuzz.py in short, and the cases that it kept: what once was a finding, and what reaches most of the readers."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "tests" / "fixtures" / "fuzz"
sys.path.insert(0, str(ROOT / "soak"))

import fuzz  # noqa: E402
import fuzz_targets  # noqa: E402
import fuzzing  # noqa: E402

SHORT = {
    "checkpointfile": 250,
    "checkpoints": 15,
    "config": 120,
    "corpus": 150,
    "log": 100,
    "render": 40,
    "signals": 100,
}


@pytest.fixture
def targets(tmp_path):
    return fuzz_targets.targets(tmp_path)


@pytest.mark.parametrize("name", sorted(fuzz.CASES))
def test_kept_cases_end_in_success_or_refusal(targets, name):
    cases = sorted((KEPT / name).iterdir())
    assert cases
    for path in cases:
        try:
            fuzzing.run_case(targets[name], path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name}: {fuzzing.kind_of(error)}") from error


@pytest.mark.slow
def test_a_short_fuzz_finds_nothing():
    results = fuzz.fuzz_all(SHORT, seed=1)
    assert all(0 < result.accepted and len(result.parents) > 2 for result in results.values())


class Weak:
    """Accepts digits, refuses what is empty, and breaks on a letter after a 7."""

    refusals, longest = (LookupError,), 100

    def seeds(self):
        return [b"123"]

    def mutate(self, mutator, case):
        return mutator.bytes(case)

    def run(self, case):
        if not case:
            raise LookupError
        at = case.find(b"7")
        if at >= 0 and case[at + 1 : at + 2].isalpha():
            raise ValueError("found")
        return True


def test_a_defect_is_found_shown_and_found_again_by_its_seed():
    first, second = (fuzzing.fuzz(Weak(), 3_000, seed=2) for _ in range(2))
    (finding,), (again,) = first.findings, second.findings
    assert finding.kind[0] == "ValueError" and (finding.number, finding.case) == (again.number, again.case)
    short = fuzzing.shrink(Weak(), finding.case, lambda case: fuzz._raises(Weak(), case) == finding.kind)
    assert len(short) == 2 and short[:1] == b"7"


def test_a_case_that_does_not_end_is_a_finding(monkeypatch):
    class Endless(Weak):
        def run(self, case):
            while True:
                pass

    monkeypatch.setattr(fuzzing, "PATIENCE_S", 0.05)
    assert fuzzing.fuzz(Endless(), 1, seed=1).findings[0].kind[0] == "TookTooLong"


def test_coverage_tells_new_lines_of_charrnn_from_known_ones(tmp_path):
    log = fuzz_targets.targets(tmp_path)["log"]
    coverage = fuzzing.Coverage()
    with coverage.opened():
        for case, is_new in ((b"{}\n", True), (b"{}\n", False), (b"[[\n", True), (b"[[\n", False)):
            with coverage:
                log.run(case)
            assert bool(coverage.take_new()) is is_new
    assert all("charrnn" in code.co_filename for code, _ in coverage.places)
