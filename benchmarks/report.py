"""The page docs/BENCHMARKS.md from what was measured: for each kind of CPU what must be reached, then every table.

Pure functions of results.Results; runs nothing.
"""

from results import lowest_peak, usual_best
from tables import MARK, SECTIONS, table
from targets import FULL_RATE, targets, vector_rate

INTRODUCTION = """# Benchmarks

`make bench` (`python benchmarks/run.py`) writes this page from `benchmarks/results.json`. Do not edit it by hand.

## How it is measured

- **Processes.** charrnn and PyTorch each run in a process of their own, and one waits while the other is timed.
  Before the first timing, each has compiled and warmed up. They take turns; one repetition takes about half a second.
- **Letters.** B is the number of streams, T the number of characters in a chunk; H x L is the number of units in a
  layer times the number of layers. So `lstm 512x3, 100, 100` is an LSTM with H = 512, L = 3, B = 100 and T = 100.
- **Speeds and ratios.** A speed is the median over the repetitions. A ratio is the median of the ratios of
  neighbouring repetitions, because the clock of a shared machine changes over time. So it is not always the ratio of
  the two speeds beside it.
- **A step** is one complete training step: it takes a chunk, runs forward, computes the loss, runs backward, clips by
  the global norm, updates with Adam, and carries the state on. The vocabulary has 65 characters.
- **PyTorch** gets its faster input (one-hot by a lookup in the identity matrix, or an embedding of size H), its
  fastest forms of Adam and of clipping, and the same number of threads. Where one thread may be faster (one stream),
  it is also timed with one.
- **Share of the peak** is the rate of the floating-point operations in the step's matrix products (none for a one-hot
  input), divided by the rate of a kernel that only does multiply-adds on registers, in the same run.
- **Disturbance.** Other programs may use the CPU during a run. So three probes are taken at the start, between the
  rows and at the end: that peak; products with weights in a core's L2 cache; and the speed of reading weights of four
  times the size of that cache, from the L3 cache or from memory. A row is marked † if a probe just before or after it
  was more than 10 % below the speed that a quarter of this probe's measurements in the run reached, or if the peak was
  so during the row. (The very best measurement may be a short burst of a higher clock.) Measure such a row again.
- **CPUs.** Each kind of CPU has a section of its own. A run replaces only rows that were measured on the same kind.
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
            f"{_minute(date)}: the peak fell by {1 - min(peaks) / usual_best(run['peaks']):.0%} at most, from "
            f"{usual_best(run['peaks']):,.0f} GFLOP/s{_caches(run)}; {marked} of {len(rows)} rows marked"
        )
    unknown = all(one.endswith("not recorded") for one in said)
    return (
        "How disturbed the machine was: "
        + (
            "not recorded. So compare speeds only within a table: in another one, the same model may be a third slower"
            if unknown
            else "; ".join(said)
        )
        + ".\n"
    )


def _caches(run):
    """Return how far what the caches bring fell in a run, as the end of a sentence; "" where it was not measured."""
    falls = [1 - min(seen) / usual_best(seen) for seen in map(run.get("caches", {}).get, ("l2", "memory")) if seen]
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
            + (f"commit {commit}" if commit else "commit unknown" if "commit" in run else "commit not recorded")
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
        what = target.what + (MARK if target.disturbed else "")
        rows.append((what, shown, bound, "yes" if target.reached else "**no**"))
    said = (
        "These targets were set before this machine was measured, as multiples of PyTorch's speed or as shares of the "
        "CPU's multiply-add peak. The percentage behind a multiple is the share of the peak that it requires. A "
        "target above 100 % cannot be reached by any float32 program, because PyTorch itself is already too close to "
        f"the peak. {_vectors(kind)}\n\n"
    )
    if any(what.endswith(MARK) for what, *_ in rows):
        said += (
            "A row marked † was measured while the machine was disturbed. Do not rely on its figures; its share of the "
            "peak may be too high.\n\n"
        )
    return "### Targets\n\n" + said + table(("", "measured", "target", "reached"), rows)


def _vectors(kind):
    """Say at which rate this kind's 512-bit vectors run, on which some bounds depend."""
    newest = max(kind.runs)
    known = [run["machine"] for _, run in sorted(kind.runs.items()) if vector_rate(run["machine"])]
    if kind.runs[newest]["machine"]["isa"] != "avx512":
        return "Without 512-bit vectors, the target is to be faster than PyTorch."
    if not known:
        return (
            "Some targets depend on whether 512-bit vectors run at full rate. These runs did not measure that, so "
            "these "
            "targets are left out."
        )
    times, full = known[-1]["wide_over_narrow"], vector_rate(known[-1]) == "full"
    return (
        f"On one thread, the peak with 512-bit vectors is {times:.2f} times the peak with 256-bit vectors, so 512-bit "
        f"vectors run at {'full' if full else 'half'} rate ({FULL_RATE} or more counts as full). "
        + ("The targets below are those for full rate." if full else "The targets are the shares of 2026-11-21.")
    )
