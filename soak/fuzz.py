"""Hostile files: mutation, guided by coverage, of everything that charrnn reads. See soak/soak.py.

    python soak/fuzz.py --only config --cases 5000 --seed 3      a part, to look for something
    python soak/fuzz.py --keep tests/fixtures/fuzz               keep what reached new lines, for tests/test_fuzz.py

The cases and their order are a function of target, seed and Python version. A finding names its number and is shown in
hex.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "soak")]

import fuzz_targets  # noqa: E402
import fuzzing  # noqa: E402
from scene import Broken  # noqa: E402

TITLE = "Files are hostile until shown otherwise"
PROMISES = [
    (
        "Whatever a checkpoint, config file, text or log contains, charrnn either reads it or refuses it in one "
        "sentence",
        "tests/test_fuzz.py::test_a_short_fuzz_finds_nothing",
    ),
    (
        "Files that once revealed a bug are kept, and charrnn reads or refuses each of them",
        "tests/test_fuzz.py::test_kept_cases_end_in_success_or_refusal",
    ),
    (
        "charrnn does not run what a file contains: it uses no pickle, does not evaluate code, and starts no shell",
        "tests/test_hostile.py::test_no_module_can_run_what_a_file_holds",
    ),
    (
        "To read a checkpoint, charrnn needs at most as much memory as the size of its file, plus a limited amount for "
        "its header",
        "tests/test_hostile.py::test_bombs_for_checkpoints_go_off_in_no_memory",
    ),
    (
        "charrnn reads a compressed text in small pieces, so that it never needs much memory, however large the text "
        "is",
        "tests/test_hostile.py::test_a_compressed_text_is_streamed_and_asks_for_no_memory_of_its_own",
    ),
    (
        "If a checkpoint names a path, charrnn opens it only as the text of the run, and never shows any other file",
        "tests/test_hostile.py::test_a_path_in_a_checkpoint_is_no_way_to_another_file",
    ),
    (
        "charrnn does not open pipes and devices that a checkpoint names",
        "tests/test_hostile.py::test_pipes_and_devices_that_a_checkpoint_names_are_not_opened",
    ),
    (
        "Folders and patterns in a checkpoint do not make charrnn search the disk",
        "tests/test_hostile.py::test_a_checkpoint_does_not_make_the_reader_wander",
    ),
    (
        "charrnn does not write through links in a run folder",
        "tests/test_hostile.py::test_a_run_folder_with_links_in_it_is_not_written_through",
    ),
    (
        "A checkpoint that contradicts itself is not resumed",
        "tests/test_hostile.py::test_options_that_contradict_the_model_are_not_believed",
    ),
    (
        "A script in a text does not run in the page that `charrnn cells` writes",
        "tests/test_hostile.py::test_the_page_of_a_hostile_text_runs_nothing_of_it",
    ),
    (
        "No command sends control sequences from a text, name or record to the terminal",
        "tests/test_hostile.py::test_no_command_sends_a_strangers_sequence_to_a_terminal",
    ),
    ("A sample goes into a pipe exactly as it is", "tests/test_hostile.py::test_a_sample_goes_into_a_pipe_as_it_is"),
]

SEED = 20
CASES = {
    "checkpointfile": 75_000,
    "checkpoints": 5_000,
    "config": 40_000,
    "corpus": 40_000,
    "log": 20_000,
    "render": 10_000,
    "signals": 12_000,
}
READS = {
    "checkpointfile": "the checkpoint reader",
    "checkpoints": "`info`, `sample`, `eval` and `--resume` of a checkpoint that loads",
    "config": "`--config`",
    "corpus": "the text reader, 12 encodings, .gz .bz2 .xz",
    "log": "the log reader and trimmer",
    "render": "terminal, page and drawing",
    "signals": "the scanners of `cells`",
}
KEPT, KEPT_BYTES = 10, 3_500  # cases of a target that are kept for the tests, and how long each may be
TEMPORARY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where fsync costs nothing


def run(scene):
    results = fuzz_all({name: max(20, cases // 200) if scene.quick else cases for name, cases in CASES.items()}, SEED)
    return {
        "seed": SEED,
        "total": sum(result.cases for result in results.values()),
        "cpu_s": round(sum(result.cpu_s for result in results.values())),
        "targets": [[name, result.cases, result.accepted, result.places] for name, result in results.items()],
    }


def tell(figures):
    rows = "".join(
        f"| {READS[name]} | {cases:,} | {accepted:,} | {places:,} |\n"
        for name, cases, accepted, places in figures["targets"]
    )
    return (
        f"A fuzzer made {figures['total']:,} inputs by random changes (seed {figures['seed']}), and charrnn read "
        "each of "
        f"them. This took {figures['cpu_s']:,} s of CPU time. Each time, charrnn either succeeded or ended with one "
        "sentence. An input counts as accepted if charrnn could use it. The last column shows how many different "
        "lines of "
        "charrnn's code were executed.\n\n| what reads the inputs | inputs | accepted | lines of charrnn executed "
        f"|\n|---|--:|--:|--:|\n{rows}"
    )


def fuzz_all(cases, seed):
    """Run {target: cases}; return {target: Result}. Raises Broken with all that was found."""
    results, found = {}, []
    with tempfile.TemporaryDirectory(prefix="charrnn-fuzz-", dir=TEMPORARY) as folder:
        targets = fuzz_targets.targets(folder)
        for name, count in cases.items():
            target = targets[name]
            result = results[name] = fuzzing.fuzz(target, count, seed, target.tokens)
            print(
                f"  {name}: {result.cases:,} cases, {result.accepted:,} accepted, {result.places:,} lines, "
                f"{result.cpu_s:.0f} s of CPU, seed {seed}",
                file=sys.stderr,
                flush=True,
            )
            for finding in result.findings[:10]:

                def same(case, target=target, kind=finding.kind):
                    return _raises(target, case) == kind

                short = fuzzing.shrink(target, finding.case, same, 200)
                found.append(f"{name}, seed {seed}, case {finding.number}: {finding.what}\n    {short.hex()}")
    if found:
        raise Broken("\n".join(found))
    return results


def keep(folder, cases, seed):
    """Write the fewest cases that reach what was reached, small ones first, to folder/TARGET."""
    with tempfile.TemporaryDirectory(prefix="charrnn-fuzz-", dir=TEMPORARY) as scratch:
        for name, target in fuzz_targets.targets(scratch).items():
            if name not in cases:
                continue
            result = fuzzing.fuzz(target, cases[name], seed, target.tokens)
            reached = {
                case: _places(target, case)
                for case in result.parents
                if len(case) <= KEPT_BYTES or name == "checkpoints"
            }
            (folder / name).mkdir(parents=True, exist_ok=True)
            seen = set()
            for _ in range(KEPT):
                case = max(reached, key=lambda case: (len(reached[case] - seen), -len(case)))
                if not reached[case] - seen:
                    break
                seen |= reached[case]
                (folder / name / hashlib.sha256(case).hexdigest()[:12]).write_bytes(case)


def _places(target, case):
    coverage = fuzzing.Coverage()
    with coverage.opened(), coverage:
        try:
            fuzzing.run_case(target, case)
        except Exception:  # told by `fuzz`
            pass
    return {(code.co_filename, line) for code, line in coverage.places}


def _raises(target, case):
    try:
        fuzzing.run_case(target, case)
    except Exception as error:
        return fuzzing.kind_of(error)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", metavar="TARGETS", default=",".join(CASES), help=f"some of {', '.join(CASES)}, with commas between"
    )
    parser.add_argument("--cases", type=int, default=2_000, help="cases of each (default: 2000)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write what is worth keeping to FOLDER/TARGET")
    options = parser.parse_args()
    cases = dict.fromkeys(options.only.split(","), options.cases)
    try:
        (keep(options.keep, cases, options.seed) if options.keep else fuzz_all(cases, options.seed))
    except Broken as error:
        sys.exit(f"FOUND:\n{error}")


if __name__ == "__main__":
    main()
