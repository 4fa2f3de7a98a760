"""benchmarks/: the workers, what is kept of a run, the ratios, the page, and the peers' own mathematics.

Nothing is timed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import estimate  # noqa: E402
import parts  # noqa: E402
import peer_numpy  # noqa: E402
import provenance  # noqa: E402
import report  # noqa: E402
import run as benchmark  # noqa: E402
import sections  # noqa: E402
from results import Results, best, migrate, rate, ratio, share  # noqa: E402
from targets import targets, vector_rate  # noqa: E402
from workers import Side, Worker, WorkerError  # noqa: E402

from charrnn.spec import CELLS  # noqa: E402

KIND = "A CPU, avx512"


def run_record(date="2026-01-02T03:04:05+00:00", isa="avx512", quick=False, machine=(), **more):
    return {
        **more,
        "date": date,
        "command": f"python benchmarks/run.py --only {date[:4]}",
        "quick": quick,
        "versions": {"torch": "2.13.0"},
        "machine": {
            **{"cpu": "A CPU", "isa": isa, "cores": 2, "threads": 2, "memory_gb": 8.0, "system": "Linux"},
            **dict(machine),
        },
    }


def sides(**rates):
    """charrnn=[...], torch_one_hot=[...] -> the sides of a row; a side's labels have blanks where the names have _."""
    return {name.replace("_", " "): {"rates": values, "work": 100, "flops": 400} for name, values in rates.items()}


ROW = {
    "repeats": 3,
    "sides": sides(
        charrnn=[10.0, 20.0, 40.0], peak=[100.0, 100.0, 160.0], torch_a=[5.0, 5.0, 40.0], torch_b=[6.0, 4.0, 2.0]
    ),
}


# Results


def test_results_come_back_from_the_file_and_rows_replace_only_their_like(tmp_path):
    path = tmp_path / "results.json"
    results = Results(path)
    results.put(run_record("2026-01-01"), "training", "a", ROW)
    results.put(run_record("2026-01-01"), "training", "b", ROW)
    kind, again = results.kinds[KIND], Results(path)
    assert list(again.kinds) == [KIND]
    assert (again.kinds[KIND].rows, again.kinds[KIND].runs) == (kind.rows, kind.runs)
    again.put(run_record("2027-01-01"), "training", "b", {**ROW, "repeats": 9})
    assert set(again.kinds[KIND].runs) == {"2026-01-01", "2027-01-01"}
    assert Results(path).kinds[KIND].section("training")["a"]["repeats"] == 3
    again.put(run_record("2027-01-01"), "training", "a", ROW)
    assert set(Results(path).kinds[KIND].runs) == {"2027-01-01"}  # no row is of the first any more
    assert Results(path).kinds[KIND].section("sampling") == {}


def test_a_run_on_another_kind_of_cpu_replaces_nothing(tmp_path):
    path = tmp_path / "results.json"
    row = {**ROW, "cell": "gru", "size": [128, 2, 50, 50]}
    Results(path).put(run_record("2026-01-01"), "training", "a", row)
    zen5 = run_record("2027-01-01", machine={"generation": "znver5", "core_cache_kb": 1024})
    Results(path).put(zen5, "training", "a", {**row, "repeats": 9})
    kinds = Results(path).kinds
    assert {name: kind.section("training")["a"]["repeats"] for name, kind in kinds.items()} == {
        KIND: 3,
        "A CPU (znver5), avx512, 1 MB of L2 per core": 9,
    }
    page = report.page(Results(path))
    assert all(f"\n## {name}\n" in page for name in kinds) and page.count("### Training") == 2


@pytest.mark.parametrize(
    "more, name",
    [
        ({}, "A CPU, avx2"),
        ({"generation": "zen", "core_cache_kb": None}, "A CPU (zen), avx2"),
        ({"generation": None, "core_cache_kb": 512}, "A CPU, avx2, 512 KB of L2 per core"),
        ({"generation": "zen", "core_cache_kb": 1280}, "A CPU (zen), avx2, 1.25 MB of L2 per core"),
    ],
)
def test_a_kind_of_cpu_is_its_model_generation_vectors_and_core_cache(more, name):
    assert provenance.kind({"cpu": "A CPU", "isa": "avx2", "cores": 99, **more}) == name


def test_the_second_level_cache_is_read_in_kb(tmp_path):
    for index, level, size in ((0, "1", "48K"), (1, "2", "2M"), (2, "3", "300M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "level").write_text(level + "\n")
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert provenance.core_cache_kb(tmp_path) == 2048
    (tmp_path / "index1" / "size").write_text("1280K\n")
    assert provenance.core_cache_kb(tmp_path) == 1280
    assert provenance.core_cache_kb(tmp_path / "index0") is None


def test_a_commit_is_named_with_changes_but_those_of_the_run_itself(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert provenance.commit(tmp_path / "nowhere") is None
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/BENCHMARKS.md"):
        (tmp_path / name).write_text("a")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    head = provenance.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", head)
    (tmp_path / "docs/BENCHMARKS.md").write_text("b")
    assert provenance.commit(tmp_path) == head
    (tmp_path / "code.py").write_text("b")
    assert provenance.commit(tmp_path) == head + " + changes"


def test_rows_stand_in_the_order_of_cells_and_sizes_and_tuples_are_read_back_as_lists():
    results = Results()
    for cell, size in (("rnn", (9, 1)), ("lstm", (9, 1)), ("lstm", (8, 2)), ("gru", (8, 1))):
        results.put(run_record(), "training", f"{cell} {size[0]}", {"cell": cell, "size": size})
    section = results.kinds[KIND].section("training")
    assert list(section) == ["lstm 8", "lstm 9", "gru 8", "rnn 9"]
    assert section["gru 8"]["size"] == [8, 1]


def test_results_of_another_format_are_refused(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="has format 99, this program knows 2"):
        Results(tmp_path / "results.json")


def test_results_of_format_1_become_those_of_their_kinds_of_cpu():
    old = {
        "format": 1,
        "runs": {"2026-01-01": run_record("2026-01-01"), "2026-02-01": run_record("2026-02-01", isa="avx2")},
        "rows": {
            "training": {"a": {"run": "2026-01-01", **ROW}, "b": {"run": "2026-02-01", **ROW}},
            "sampling": {"c": {"run": "2026-02-01", **ROW}},
        },
    }
    kinds = migrate(old)["kinds"]
    assert {name: {s: list(rows) for s, rows in kind["rows"].items()} for name, kind in kinds.items()} == {
        KIND: {"training": ["a"]},
        "A CPU, avx2": {"training": ["b"], "sampling": ["c"]},
    }
    assert [list(kind["runs"]) for kind in kinds.values()] == [["2026-01-01"], ["2026-02-01"]]


def test_what_is_kept_of_zen_4_is_there_with_its_figures():
    kept = Results(ROOT / "benchmarks" / "results.json").kinds["AMD EPYC (znver4), avx512, 1 MB of L2 per core"]
    assert set(kept.rows) >= {"training", "minchar", "sampling", "startup", "memory", "threads", "busy", "bfloat16"}
    assert share(kept.section("training")["lstm 512x3, 100, 100"], "charrnn", "peak") > 0.85


# How disturbed a run was


def peaked(before, after, during=None):
    row = {**ROW, "peak": {"before": before, "after": after}}
    if during:
        row["sides"] = {**ROW["sides"], "peak": {"rates": [during * 1e9] * 3, "work": 1}}
    else:
        row["sides"] = {name: side for name, side in ROW["sides"].items() if name != "peak"}
    return row


def test_rows_are_marked_where_the_peak_was_more_than_a_tenth_below_what_a_quarter_of_the_run_reached(tmp_path):
    results, run = Results(tmp_path / "results.json"), run_record(peaks=[80.0])
    for key, row, peaks in (
        ("quiet", peaked(80.0, 85.0, 84.0), [80.0, 85.0]),
        ("during", peaked(85.0, 99.0, 70.0), [80.0, 85.0, 99.0]),
        ("after", peaked(99.0, 60.0), [80.0, 85.0, 99.0, 60.0]),
    ):
        run["peaks"] = peaks
        results.put(run, "training", key, row)
    results.put(run_record("2027-01-01", peaks=[60.0]), "training", "slow machine", peaked(60.0, 58.0))
    results.put(run_record("2025-01-01"), "training", "old", ROW)

    def marks():
        rows = Results(tmp_path / "results.json").kinds[KIND].section("training")
        return {key: row.get("disturbed") for key, row in rows.items()}

    assert marks() == {"quiet": True, "during": True, "after": True, "slow machine": False, "old": None}
    kept = results.kinds[KIND].rows["training"]
    kept["quiet"]["peak"] = {"before": 95.0, "after": 95.0}
    kept["quiet"]["sides"].pop("peak")
    run["peaks"].append(100.0)
    results.end(run)
    assert marks()["quiet"] is False
    run["peaks"] += [106.0]
    results.end(run)
    assert marks()["quiet"] is False  # one may be a burst of a higher clock
    run["peaks"] += [107.0]  # two of seven: the machine can do more than it did then
    results.end(run)
    assert marks()["quiet"] is True


def test_rows_are_marked_where_a_cache_was_down(tmp_path):
    results, run = Results(tmp_path / "results.json"), run_record(peaks=[80.0], caches={"l2": [60.0], "memory": [9.0]})
    for key, l2, memory in (("quiet", 57.0, 9.0), ("l2", 50.0, 9.0), ("memory", 57.0, 8.0)):
        row = {**peaked(80.0, 80.0), "caches": {"l2": {"before": 60.0, "after": l2}}}
        row["caches"]["memory"] = {"before": memory, "after": 9.0}
        results.put(run, "training", key, row)
    rows = Results(tmp_path / "results.json").kinds[KIND].section("training")
    assert {key: row["disturbed"] for key, row in rows.items()} == {"quiet": False, "l2": True, "memory": True}


def test_the_head_of_a_section_says_how_disturbed_its_runs_were():
    results = full_results()
    assert "\nHow disturbed the machine was: not recorded. So compare speeds only within" in report.page(results)
    caches = {"l2": [60.0, 45.0], "memory": [9.0, 9.9]}
    run = run_record("2026-05-06T07:08:09+00:00", peaks=[100.0, 88.0, 99.0], caches=caches)
    row = {
        **only(results).rows["training"]["lstm 512x2, 50, 50"],
        "run": run["date"],
        "peak": {"before": 100.0, "after": 88.0},
        "sides": sides(charrnn=[10.0] * 3, peak=[95e9] * 3, torch_a=[5.0] * 3),
    }
    results.put(run, "training", "lstm 512x2, 50, 50", row)
    page = report.page(results)
    assert (
        "2026-05-06 07:08: the peak fell by 12% at most, from 100 GFLOP/s, products of weights in the L2 by 25%" in page
    )
    assert ", reading beyond it by 9%; 1 of 1 rows marked" in page
    assert "2026-01-02 03:04: not recorded; 2026-05-06 07:08: " in page
    assert "| lstm 512 x 2 † | 50 | 50 |" in page and "| lstm 512x2 training, times PyTorch † |" in page
    assert page.count(" † |") == 3  # the row, and the two targets that it is judged by
    assert "A row marked † was measured while the machine was disturbed" in page.split("### Training")[0]


def test_a_ratio_is_the_median_of_neighbours_and_the_better_input_counts():
    assert rate(ROW, "charrnn") == 20.0
    assert best(ROW, "torch") == "torch a"  # medians 5 and 4
    assert best(ROW, "numpy") is None
    assert ratio(ROW, "charrnn", "torch a") == 2.0  # of 2, 4, 1; the ratio of the medians is 4
    assert share(ROW, "charrnn", "peak") == 0.2 * 400 / 100


# The page


def full_results(isa="avx512", **machine):
    """Return results in which every section has a row."""
    results = Results()
    torch = {"torch_one-hot": [5.0] * 3, "torch_embedding": [4.0] * 3}

    def put(section, key, **row):
        results.put(run_record(isa=isa, machine=machine), section, key, {"repeats": 3, **row})

    put(
        "training",
        "lstm 512x2, 50, 50",
        cell="lstm",
        size=[512, 2, 50, 50],
        sides=sides(charrnn=[10.0] * 3, peak=[50.0] * 3, **torch),
    )
    put(
        "default",
        "lstm",
        cell="lstm",
        size=[256, 2, 16, 64],
        model={"embedding_size": 64, "layer_norm": True, "dropout": 0.2},
        sides=sides(charrnn=[9.0] * 3, peak=[50.0] * 3),
    )
    put(
        "weights",
        "lstm 512x2, 50, 50",
        cell="lstm",
        size=[512, 2, 50, 50],
        sides=sides(**{"charrnn": [45e9] * 3, "peak, 1 thread": [50e9] * 3}),
    )
    put(
        "parts",
        "lstm 512x2, 50, 50, 2 threads",
        cell="lstm",
        size=[512, 2, 50, 50],
        seconds={"shards": [0.06] * 3, "weight gradients": [0.03] * 3, "update": [0.008] * 3, "rest": [0.002] * 3},
        peak_flops=[1e12] * 3,
        flops=72e9,
    )
    put(
        "minchar",
        "rnn, Adagrad",
        cell="rnn",
        size=[100, 1, 1, 25],
        sides=sides(**{"charrnn": [9.0] * 3, "charrnn, 1 thread": [8.0] * 3, "numpy": [1.0] * 3}, **torch),
    )
    put(
        "sampling",
        "lstm 128x2, 1",
        cell="lstm",
        size=[128, 2, 50, 50],
        streams=1,
        sides=sides(charrnn=[80.0] * 3, **torch),
    )
    put(
        "sampling",
        "lstm 128x2, 64",
        cell="lstm",
        size=[128, 2, 50, 50],
        streams=64,
        sides=sides(charrnn=[4.0] * 3, **torch),
    )
    for key, seconds in (
        ("charrnn --help", 0.1),
        ("charrnn sample --length 1", 0.9),
        ("charrnn sample --length 1, empty cache", 9),
    ):
        put("startup", key, seconds=[seconds] * 3, says_it_compiles="empty" in key)
    put(
        "memory",
        "lstm 512x3, 100, 100",
        cell="lstm",
        size=[512, 3, 100, 100],
        bytes={
            label: {"imports": 10**8, "peak": peak * 10**6}
            for label, peak in (
                ("charrnn", 400),
                ("charrnn train", 500),
                ("torch one-hot", 1000),
                ("torch embedding", 1100),
            )
        },
    )
    put(
        "threads",
        "lstm 512x2, 50, 50",
        cell="lstm",
        size=[512, 2, 50, 50],
        sides=sides(
            **{
                "charrnn 1": [10.0] * 3,
                "charrnn 2": [16.0] * 3,
                "torch 1": [5.0] * 3,
                "torch 2": [8.0] * 3,
                "peak 1": [1.0] * 3,
                "peak 2": [2.0] * 3,
            }
        ),
    )
    for state in ("idle", "busy"):
        put(
            "busy",
            f"lstm 128x2, 50, 50, {state}",
            cell="lstm",
            size=[128, 2, 50, 50],
            state=state,
            sides=sides(charrnn=[10.0] * 3, **torch),
        )
    put(
        "scaling",
        "lstm T",
        cell="lstm",
        letter="T",
        base=[256, 2, 64, 64],
        sides=sides(**{"16": [9.0] * 3, "32": [10.0] * 3, "peak": [50.0] * 3}),
    )
    corpus = sides(**{"1 MB": [100.0] * 3, "1000 MB": [98.0] * 3})
    put(
        "corpus", "lstm", cell="lstm", size=[256, 2, 16, 64], sides={k: {**v, "read_s": 1.0} for k, v in corpus.items()}
    )
    put(
        "bfloat16",
        "lstm 512x3, 100, 100",
        cell="lstm",
        size=[512, 3, 100, 100],
        sides=sides(
            **{"charrnn float32": [10.0] * 3, "charrnn bfloat16": [16.0] * 3, "torch one-hot, autocast": [15.0] * 3}
        ),
    )
    return results


def test_every_section_has_its_table_and_its_command():
    page = report.page(full_results())
    assert "Not measured yet" not in page
    assert "| lstm 512 x 2 | 50 | 50 | 10 | 0 | 80% | 5 (one-hot) | 40% | **2.00** |" in page
    assert "| rnn, Adagrad | 9 | 8 | 5 (one-hot) | **1.80** | 1 | **9.0** |" in page
    assert "| lstm 128 x 2 | 64 | 4 | 5 (one-hot) | **0.80** |" in page
    assert "| `charrnn sample --length 1`, empty cache | 9.00 | yes |" in page
    assert "| lstm 512x2, 50, 50 | 2 | 16 | 1.60 | 1.60 | 2.00 |" in page
    # t(2) = 0.625 t(1), so 0.25 of t(1) is shared: 1/(0.25 + 0.75/4) = 2.29 times
    assert "| lstm 512x2, 50, 50 | 25.0% | 4000% | 23 (2.00) | 29 (2.00) | 34 (2.00) | 842% |" in page
    assert "**This is an estimate, not a measurement.**" in page
    assert "| lstm | 9 | 0 | 72% |" in page and "| lstm 512x2, 50, 50 | 45 | 90% |" in page
    assert "| lstm 512x2, 50, 50, 2 threads | 100.00 | 60.0% (80%) | 30.0% (80%) | 8.0% | 2.0% |" in page
    assert "| 32 | 10 | 80% |" in page and "| 1000 MB | 98 | 0.980 | 1.00 s |" in page
    assert "| lstm 512x3, 100, 100 | 16 | 10 | 1.60 | 15 (one-hot) | **1.07** |" in page
    assert "A CPU, 2 cores, avx512, 8 GB, Linux; 2 threads. torch 2.13.0." in page
    said = "3 repetitions. 2026-01-02 03:04, A CPU, 2 of 2 cores, commit not recorded: `python benchmarks/run.py "
    assert page.count(said + "--only 2026`.") == len(report.SECTIONS)
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1  # as many cells in every row


def only(results):
    """Return the one Kind of results."""
    (kind,) = results.kinds.values()
    return kind


def test_targets_are_judged():
    judged = {
        target.what: (round(target.value, 2), target.bound, target.reached) for target in targets(only(full_results()))
    }
    assert judged == {
        "lstm 512x2 training, times PyTorch": (2.0, 1.5, True),
        "lstm 512x2 whole step, share of the peak": (0.8, 0.75, True),
        "charrnn train's default model, whole step, share of the peak": (0.72, 0.75, False),
        "min-char-rnn shape, rnn, Adagrad, times PyTorch": (1.8, 3.0, False),
        "min-char-rnn shape, rnn, Adagrad, times the NumPy loop": (9.0, 10.0, False),
        "lstm 128x2 sampling one stream, times PyTorch": (16.0, 15.0, True),
        "lstm 128x2 sampling 64 streams, times PyTorch": (0.8, 1.0, False),
        "lstm 512x2 training, 2 threads, times 1 thread": (1.6, 1.85, False),
        "peak memory of `charrnn train`, times that of PyTorch's training step": (0.5, 0.6, True),
        "`charrnn --help`, seconds": (0.1, 0.15, True),
        "`charrnn sample --length 1`, seconds": (0.9, 0.3, False),
        "`charrnn sample --length 1`, empty cache, seconds": (9.0, 15.0, True),
        "characters/s on 1 GB of text, times those on 1 MB": (0.98, 0.97, True),
        "bfloat16 512x3 training, times charrnn's float32": (1.6, 1.5, True),
        "bfloat16 512x3 training, times PyTorch's autocast": (1.07, 1.25, False),
    }
    page = report.page(full_results())
    assert "| lstm 512x2 training, times PyTorch | 2.00 | 1.50 (60% of the peak) | yes |" in page
    assert "`charrnn train`, times that of PyTorch's training step | 0.50 | at most 0.60 | yes |" in page
    assert "empty cache, seconds | 9.00, and says that it compiles | at most 15.00 | yes |" in page
    assert "| lstm 128x2 sampling 64 streams, times PyTorch | 0.80 | 1.00 | **no** |" in page


def test_without_avx512_pytorch_is_to_be_passed():
    bounds = {target.what: target.bound for target in targets(only(full_results("avx2")))}
    assert (
        bounds["lstm 512x2 training, times PyTorch"] == bounds["lstm 128x2 sampling one stream, times PyTorch"] == 1.0
    )
    assert not any("share of the peak" in what for what in bounds)


@pytest.mark.parametrize(
    "times, rate, bounds",
    [
        (1.97, "full", (1.4, 0.82, 0.92, 1.8)),
        (1.5, "full", (1.4, 0.82, 0.92, 1.8)),
        (1.02, "half", (1.5, 0.88, None, 1.5)),
        (None, None, (1.5, 0.75, None, 1.5)),
    ],
)
def test_where_512_bit_vectors_run_at_full_rate_the_shares_of_such_cpus_are_asked(times, rate, bounds):
    machine = {} if times is None else {"wide_over_narrow": times}
    assert vector_rate({"isa": "avx512", **machine}) == rate
    results = full_results(**machine)
    asked = {target.what: target.bound for target in targets(only(results))}
    whats = (
        "lstm 512x2 training, times PyTorch",
        "lstm 512x2 whole step, share of the peak",
        "lstm 512x2 weight gradients alone, 1 thread, share of the peak",
        "bfloat16 512x3 training, times charrnn's float32",
    )
    assert tuple(asked.get(what) for what in whats) == bounds
    assert (f"vectors run at {rate} rate" if rate else "these targets are left out") in report.page(results)
    assert vector_rate({"isa": "avx2", "wide_over_narrow": 2.0}) is None


def test_what_is_not_measured_is_said_and_a_short_form_is_marked():
    assert "Nothing is measured yet" in report.page(Results())
    results = Results()
    results.put(run_record(quick=True), "training", "a", {"cell": "gru", "size": [128, 2, 50, 50], **ROW})
    missing = report.page(results).count("Not measured yet: `python benchmarks/run.py --only ")
    assert missing == len(report.SECTIONS) - 1
    assert "`python benchmarks/run.py --only 2026` (short form)." in report.page(results)
    assert "stand in until the whole is measured" in report.page(results)


def test_bfloat16_that_is_not_there_yet_is_said():
    results = Results()
    results.put(
        run_record(),
        "bfloat16",
        "lstm 512x3, 100, 100",
        {
            "repeats": 3,
            "size": [512, 3, 100, 100],
            "sides": sides(**{"charrnn float32": [1.0], "torch one-hot, autocast": [2.0]}),
        },
    )
    assert "| lstm 512x3, 100, 100 | not there yet | 1 |  | 2 (one-hot) |  |" in report.page(results)
    assert targets(only(results)) == []


# More cores, and parts of a step


@pytest.mark.parametrize(
    "times, shared, on_8",
    [
        (2.0, 0.0, 8.0),
        (1.6, 0.25, 1 / (0.25 + 0.75 / 8)),
        (1.0, 1.0, 1.0),
        (2.2, 0.0, 8.0),  # less than nothing is nothing
        (0.8, 1.0, 1.0),
    ],
)
def test_the_time_on_more_threads_follows_from_that_on_one_and_two(times, shared, on_8):
    parts = estimate.split(times)
    assert parts == pytest.approx((shared, 1 - shared)) and parts.times(8) == pytest.approx(on_8)
    if 1 <= times <= 2:
        assert parts.times(1) == 1 and parts.times(2) == pytest.approx(times)


def test_the_calls_of_a_step_are_told_apart_by_what_stands_before_them():
    def call(caller, address, seconds):
        return parts.Call(caller, (address,), seconds)

    one = [call("w", 1, 1.0), call("w", 7, 10.0), call("w", 2, 3.0), call("w", 3, 2.0), call("o", 4, 1.5)]
    found = parts.split_seconds([*one, *one], shards=7, update="o", seconds=40.0)
    assert found == {"shards": 20.0, "weight gradients": 10.0, "update": 3.0, "rest": 7.0}


def test_weight_gradients_alone_give_what_the_step_gave():
    from charrnn import bench

    alone = parts.WeightGradients(bench.Shape("gru", 5, 2, 2, 3, vocab_size=7))
    grads = alone._training._workspace.grads
    alone.run(1)
    given = grads.copy()
    grads[:] = np.nan
    alone.run(1)
    assert np.array_equal(given, grads) and np.isfinite(given).all() and (given != 0).any()
    assert alone.work == bench.step_flops(bench.Shape("gru", 5, 2, 2, 3, vocab_size=7)) / 3
    assert parts.workspace.run_items is parts.run_items  # nobody watches any more


# Workers and peers


def test_a_worker_makes_times_and_drops_and_survives_a_task_that_fails():
    with Worker("numpy", 1) as worker:
        side = Side("numpy", worker, kind="training", size=[5, 1, 1, 3], vocab_size=4)
        assert (side.work, side.info) == (3, {})
        assert side.run(2) > 0
        with pytest.raises(WorkerError, match="one layer and one stream, got 2 and 1"):
            worker.make({"kind": "training", "size": [5, 2, 1, 3]})
        memory = worker.memory()
        assert 0 < memory["now"] <= memory["peak"]
        side.drop()
        with pytest.raises(WorkerError, match="KeyError"):
            side.run(1)
        assert worker.versions == {"numpy": np.__version__}


def test_a_worker_that_has_died_is_an_error():
    with Worker("numpy", 1) as worker:
        worker._process.kill()
        with pytest.raises(WorkerError, match="has ended, with exit code -9"):
            worker.memory()


@pytest.mark.slow
def test_charrnns_peer_makes_every_kind_there_is(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    with Worker("charrnn", 2) as worker:
        assert worker.versions["precisions"][0] == "float32"
        shape = {"cell": "rnn", "size": [5, 1, 2, 3]}
        for task, work in (
            ({"kind": "training", **shape, "optimizer": "adagrad", "clip_norm": 0.0, "clip_value": 5.0}, 6),
            ({"kind": "sampling", **shape, "streams": 3}, 3),
            ({"kind": "peak"}, None),
            ({"kind": "cache", "source": "l2"}, None),
            ({"kind": "weights", **shape}, (25 + 5 * 65) * 12),
            ({"kind": "profile", **shape, "repeats": 1, "model": {"layer_norm": True, "dropout": 0.5}}, 1),
            ({"kind": "run", "path": str(text), **shape}, 6),
        ):
            side = Side("charrnn", worker, **task)
            assert work in (None, side.work)
            if task["kind"] == "profile":
                assert all(spent[0] > 0 for spent in side.info["seconds"].values())
            else:
                assert side.run(2) > 0
        assert side.info["characters"] == 1800 and side.info["vocab_size"] == 28
        assert Side("charrnn", worker, kind="training", **shape).info["flops"] == (25 + 5 * 65) * 36


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["training", "sampling"])
@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.torch_class])
def test_pytorchs_peer_does_a_whole_step_and_draws(cell, kind):
    torch = pytest.importorskip("torch")
    import peer_torch

    threads = torch.get_num_threads()
    try:
        for name in ("one-hot", "embedding"):
            task = {"kind": kind, "cell": cell, "size": [5, 2, 2, 3], "input": name, "threads": 1, "vocab_size": 7}
            made = peer_torch.make({**task, "streams": 4} if kind == "sampling" else task)
            assert made.work == (4 if kind == "sampling" else 6)
            before = [p.detach().clone() for p in made._network.parameters()]
            assert made.run(2) > 0
            moved = [not torch.equal(a, b) for a, b in zip(before, made._network.parameters())]
            assert all(moved) if kind == "training" else not any(moved)
            if kind == "sampling":
                assert made._ids.shape == (1, 4) and 0 <= made._ids.min() and made._ids.max() < 7
            else:
                assert made.info["update"] in ("fused", "foreach", "single")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.torch
def test_pytorchs_step_in_bfloat16_and_as_min_char_rnn_does_it():
    pytest.importorskip("torch")
    import peer_torch

    task = {"kind": "training", "cell": "lstm", "size": [5, 1, 1, 3], "input": "one-hot", "threads": 1}
    assert peer_torch.make({**task, "precision": "bfloat16"}).run(1) > 0
    made = peer_torch.make({**task, "optimizer": "adagrad", "clip_norm": 0.0, "clip_value": 1e-9})
    made.run(1)
    assert max(p.grad.abs().max() for p in made._parameters) <= 1.0001e-9


def test_the_numpy_loops_gradients_are_the_losss():
    made = peer_numpy.make({"kind": "training", "threads": 1, "size": [5, 1, 1, 4], "vocab_size": 3})
    h = np.random.default_rng(1).standard_normal((5, 1))
    inputs, targets = [0, 2, 1, 1], [2, 1, 1, 0]
    _, grads, _ = made.gradients(inputs, targets, h)
    for name, parameter in made._parameters.items():
        numeric = np.zeros_like(parameter)
        for index in np.ndindex(parameter.shape):
            kept, losses = parameter[index], []
            for moved in (1e-5, -1e-5):
                parameter[index] = kept + moved
                losses.append(made.gradients(inputs, targets, h)[0])
            parameter[index] = kept
            numeric[index] = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(grads[name], numeric, atol=1e-8)  # the error of a central difference


# The program


def test_the_text_of_any_size_has_the_same_characters(tmp_path):
    for size in (1_000_000, 2_500_000):
        sections.write_text(tmp_path / "text.txt", size)
        text = (tmp_path / "text.txt").read_text()
        assert len(text) == size
        assert len(set(text)) == 65


def test_the_command_that_is_kept_says_what_was_measured_not_where_it_went():
    arguments = ["--only", "training", "--results", "a.json", "--quick", "--page=b.md"]
    assert benchmark.what_is_measured(arguments) == ["--only", "training", "--quick"]


def test_quick_writes_nothing_unless_told_to():
    assert benchmark.parse(["--quick"]).results is None and benchmark.parse(["--quick"]).page is None
    assert benchmark.parse([]).page == ROOT / "docs" / "BENCHMARKS.md"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--only", "traning"], "must be of training, default, weights"),
        (["--cells", "lstm,tcn"], "got 'tcn'"),
        (["--shapes", "3x3"], "got '3x3'"),
        (["--threads", "0"], "--threads must be between 1 and"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
    ],
)
def test_nonsense_is_refused(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.parse(arguments)
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


def test_threads_are_powers_of_two_and_all():
    assert [sections._powers(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
