"""The page docs/BENCHMARKS.md from what was measured: for each kind of CPU what must be reached, then every table.

Pure functions of results.Results; runs nothing.
"""

from results import lowest_peak
from tables import SECTIONS, table
from targets import FULL_RATE, targets, vector_rate

INTRODUCTION = """# Benchmarks

Written by `make bench` (`python benchmarks/run.py`) from `benchmarks/results.json`; not by hand.

Every side lives in a process of its own and waits at a pipe while others are timed. Before anything is timed it is
compiled and warm, and a repetition is set to about half a second. Then the sides take turns, repetition by
repetition. Speeds are medians over the repetitions; a ratio is the median of the repetitions' own ratios, each of
neighbours in time, since these machines are shared and their clocks wander. A step is everything a step does: taking
the chunk, forward, loss, backward, clipping by the global norm, Adam's update, with the state carried on. PyTorch is
given its faster input (one-hot by a lookup in the identity, or an embedding of size H), its fastest form of Adam and
of clipping, and the same number of threads; where one thread may be faster for it (one stream), also one. The
vocabulary has 65 characters. Share of the peak: floating-point operations of the step's matrix products alone (a
one-hot input is none) over what a kernel of nothing but multiply-adds on registers does in the same run.

That peak is also measured at the start of a run, between its rows and at its end: where it falls, other processes have
a part of the CPU. So are, which that peak does not see, products of weights in a core's L2 cache, and how fast weights
of four times its size are read, from the L3 or from memory. A row is marked † if one of the three was more than 10 %
below the best of its run before or after it, or the peak during it: measure it again.

Each kind of CPU has a section of its own; a run replaces nothing that was measured on another kind.
"""


def page(results):
    """Return the page as Markdown."""
    kinds = dict(sorted(results.kinds.items()))
    if not kinds:
        return INTRODUCTION + "\nNothing is measured yet: `python benchmarks/run.py`.\n"
    parts = [INTRODUCTION]
    for name, kind in kinds.items():
        parts += [f"## {name}\n", _runs(kind), _disturbance(kind), _targets(kind)]
        for title, section, render in SECTIONS:
            rows = kind.section(section)
            body = render(rows) if rows else f"Not measured yet: `python benchmarks/run.py --only {section}`.\n"
            parts.append(f"### {title}\n\n{body}{_provenance(kind, rows)}")
    return "\n".join(parts)


def _runs(kind):
    """Return the lines that say on which machines the runs were made, and with what."""
    machines = {}
    for date, run in sorted(kind.runs.items(), reverse=True):
        machine, versions = run["machine"], run["versions"]
        said = (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}, {machine['memory_gb']:.0f} GB, "
            f"{machine['system']}; {machine['threads']} thread{'s' if machine['threads'] != 1 else ''}. "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
        )
        machines.setdefault(said, []).append(_minute(date))
    if len(machines) == 1:
        text = f"Machine: {next(iter(machines))}.\n"
    else:
        text = "".join(f"- Machine of {', '.join(reversed(dates))}: {said}.\n" for said, dates in machines.items())
    if any(run["quick"] for run in kind.runs.values()):
        text += (
            "\nSections marked as a short form (3 repetitions of a tenth of a second) stand in until the whole is "
            "measured.\n"
        )
    return text


def _disturbance(kind):
    """Return the line that says how disturbed the runs were."""
    said = []
    for date, run in sorted(kind.runs.items()):
        rows = kind.of_run(date)
        peaks = [*run.get("peaks", ()), *(lowest_peak(row) for row in rows if "peak" in row)]
        if not peaks:
            said.append(f"{_minute(date)}: not recorded")
            continue
        marked = sum(row.get("disturbed", False) for row in rows)
        said.append(
            f"{_minute(date)}: the peak fell by {1 - min(peaks) / max(run['peaks']):.0%} at most, from "
            f"{max(run['peaks']):,.0f} GFLOP/s{_caches(run)}; {marked} of {len(rows)} rows marked"
        )
    unknown = all(one.endswith("not recorded") for one in said)
    return "How disturbed the machine was: " + ("not recorded" if unknown else "; ".join(said)) + ".\n"


def _caches(run):
    """Return how far what the caches bring fell in a run, as the end of a sentence; "" where it was not measured."""
    falls = [1 - min(seen) / max(seen) for seen in map(run.get("caches", {}).get, ("l2", "memory")) if seen]
    return ", products of weights in the L2 by {:.0%}, reading beyond it by {:.0%}".format(*falls) if falls else ""


def _minute(date):
    return date[:16].replace("T", " ")


def _provenance(kind, rows):
    """Return the line that says when, on which machine, of which commit and by which commands a table was measured."""
    runs = sorted({row["run"] for row in rows.values()})
    if not runs:
        return ""
    said = []
    for date in runs:
        run = kind.runs[date]
        machine, commit = run["machine"], run.get("commit")
        said.append(
            f"{_minute(date)}, {machine['cpu']}, {machine['threads']} of {machine['cores']} cores, "
            + (
                f"commit {commit}"
                if commit
                else "commit unknown"
                if "commit" in run
                else "before commits were recorded"
            )
            + f": `{run['command']}`{' (short form)' if run['quick'] else ''}"
        )
    repeats = sorted({row["repeats"] for row in rows.values()})
    count = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    return f"\n{count} repetition{'s' if count != '1' else ''}. {'; '.join(said)}.\n"


def _targets(kind):
    rows = []
    for target in targets(kind):
        shown = target.form.format(target.value) + target.note
        bound = ("at most " if target.most else "") + target.form.format(target.bound) + target.meaning
        rows.append((target.what, shown, bound, "yes" if target.reached else "**no**"))
    said = (
        "The bounds were set before this machine was measured, as multiples of PyTorch or shares of the CPU's "
        "multiply-add peak. Behind a multiple stands what share of the peak it would ask for: above 100 % no float32 "
        f"program can reach it here, since PyTorch itself comes too near the peak. {_vectors(kind)}\n\n"
    )
    return "### What must be reached\n\n" + said + table(("", "measured", "must be", "reached"), rows)


def _vectors(kind):
    """Say at which rate this kind's 512-bit vectors run, on which some bounds depend."""
    newest = max(kind.runs)
    known = [run["machine"] for _, run in sorted(kind.runs.items()) if vector_rate(run["machine"])]
    if kind.runs[newest]["machine"]["isa"] != "avx512":
        return "Without 512-bit vectors PyTorch is to be passed."
    if not known:
        return (
            "Some bounds depend on whether 512-bit vectors run at full rate, which was not measured in these runs: "
            "those bounds are not judged."
        )
    times, full = known[-1]["wide_over_narrow"], vector_rate(known[-1]) == "full"
    return (
        f"The peak on one thread with 512-bit vectors is {times:.2f} times that with 256-bit vectors: they run at "
        f"{'full' if full else 'half'} rate ({FULL_RATE} or more counts as full), for which the shares "
        + ("of training and of the weight gradients are asked." if full else "of 2026-11-21 must be kept.")
    )
