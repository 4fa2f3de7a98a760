"""What was measured: rows by kind of CPU, section and key in one JSON file, each with its run. Shares and ratios.

    {"format": 2, "kinds": {kind: {"runs": {id: {"date", "command", "commit", "machine", "versions", "peaks", ...}},
                                   "rows": {section: {key: row}}}}}

A row holds "run", "repeats", and "sides": {label: {"rates": [...], ...}}, work per second in each repetition; or, where
it is no race, figures of its own. Sections, and rows of one, can be measured again alone: the others stay, under their
date. What was measured on another kind of CPU (provenance.kind) is never touched.

"peaks" of a run are the multiply-add peaks in GFLOP/s at its start, between its rows and at its end; "peak" of a row
{"before", "after"}, and "disturbed" tells whether the peak was down meanwhile. "caches" of a run and of a row hold the
same for each source of bench.CACHES, in what bench.CacheBench does a second: where they are down, so is the row.
"""

import json
import statistics
from pathlib import Path

import provenance

from charrnn import spec
from charrnn.bench import is_down

FORMAT = 2
CELLS = tuple(name for name, cell in spec.CELLS.items() if cell.torch_class)  # those that PyTorch has too


class Kind:
    """The results of one kind of CPU."""

    def __init__(self, runs=None, rows=None):
        self.runs, self.rows = runs or {}, rows or {}

    def put(self, run, section, key, row):
        """Keep a row, in the place of an older one. run: the record that all rows of a run share."""
        self.runs[run["date"]] = json.loads(json.dumps(run))  # as it will be read
        self.rows.setdefault(section, {})[key] = json.loads(json.dumps({"run": run["date"], **row}))
        used = {row["run"] for rows in self.rows.values() for row in rows.values()}
        self.runs = {date: run for date, run in self.runs.items() if date in used}
        self.mark(run["date"])

    def mark(self, date):
        """Write into each row of a run whether it was disturbed, by the peaks that the run has seen so far.

        Rows of memory are not: what other programs do to the CPU changes no size.
        """
        run = self.runs[date]
        usual = usual_best(run["peaks"]) if run.get("peaks") else None
        timed = Kind(rows={name: rows for name, rows in self.rows.items() if name != "memory"})
        for row in timed.of_run(date):
            if usual is not None and "peak" in row:
                caches = row.get("caches", {})
                row["disturbed"] = is_down(lowest_peak(row), usual) or any(
                    is_down(min(seen.values()), usual_best(run["caches"][source])) for source, seen in caches.items()
                )

    def of_run(self, date):
        """Return all rows of a run."""
        return [row for rows in self.rows.values() for row in rows.values() if row["run"] == date]

    def section(self, name):
        """Return {key: row}, in the order of cells and sizes however they came to be measured."""

        def place(item):
            row = item[1]
            return CELLS.index(row["cell"]) if "cell" in row else 0, row.get("size", [])

        return dict(sorted(self.rows.get(name, {}).items(), key=place))


class Results:
    """The file's content; `path` None keeps it in memory.

    kinds    {name: Kind}
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.kinds = {}
        if self.path is not None and self.path.exists():
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content.get("format") == 1:
                content = migrate(content)
            if content.get("format") != FORMAT:
                raise ValueError(
                    f"{self.path} has format {content.get('format')}, this program knows {FORMAT}: move it away"
                )
            self.kinds = {name: Kind(**kind) for name, kind in content["kinds"].items()}

    def put(self, run, section, key, row):
        """Keep a row among those of its kind of CPU, and save."""
        self.kinds.setdefault(provenance.kind(run["machine"]), Kind()).put(run, section, key, row)
        self.save()

    def end(self, run):
        """Keep what a run knows at its end, and save. A run that has no row is not kept."""
        kind = self.kinds.get(provenance.kind(run["machine"]))
        if kind is not None and run["date"] in kind.runs:
            kind.runs[run["date"]] = json.loads(json.dumps(run))
            kind.mark(run["date"])
            self.save()

    def save(self):
        if self.path is not None:
            kinds = {name: {"runs": kind.runs, "rows": kind.rows} for name, kind in self.kinds.items()}
            content = {"format": FORMAT, "kinds": kinds}
            self.path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def migrate(content):
    """Return the content of a file of format 1, which knew one kind of CPU and no commits, in format 2."""
    kinds = {}
    names = {date: provenance.kind(run["machine"]) for date, run in content["runs"].items()}
    for date, run in content["runs"].items():
        kinds.setdefault(names[date], {"runs": {}, "rows": {}})["runs"][date] = run
    for section, rows in content["rows"].items():
        for key, row in rows.items():
            kinds[names[row["run"]]]["rows"].setdefault(section, {})[key] = row
    return {"format": 2, "kinds": kinds}


def usual_best(speeds):
    """Return the speed that a quarter of the measurements of a run reach: that of an undisturbed machine.

    The highest one may be a burst: a CPU whose other cores happen to be idle runs at a higher clock for some seconds,
    and beside that every other row of the run would count as disturbed.
    """
    return sorted(speeds)[len(speeds) * 3 // 4]


def lowest_peak(row):
    """Return the lowest GFLOP/s of the peak before a row, after it and, where it was a side, during it."""
    peaks = list(row["peak"].values())
    if "peak" in row.get("sides", {}):
        peaks.append(rate(row, "peak") / 1e9)
    return min(peaks)


def rate(row, label):
    """Return the median rate of a side."""
    return statistics.median(row["sides"][label]["rates"])


def best(row, prefix):
    """Return the label of the fastest side whose label begins with `prefix`, or None where there is none."""
    return max(
        (label for label in row["sides"] if label.startswith(prefix)), key=lambda label: rate(row, label), default=None
    )


def ratio(row, label, other):
    """Return how many times as fast a side is as another.

    That is the median over the repetitions, each compared with its own neighbour.
    """
    pairs = zip(row["sides"][label]["rates"], row["sides"][other]["rates"])
    return statistics.median(a / b for a, b in pairs)


def share(row, label, peak):
    """Return the share of the peak that a side's products reach: "flops" and "work" are of a run of it."""
    side = row["sides"][label]
    return ratio(row, label, peak) * side["flops"] / side["work"]
