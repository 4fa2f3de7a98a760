"""What was measured: rows by section and key in one JSON file, each with the run that it is of. Shares and ratios.

    {"format": 1, "runs": {id: {"date", "command", "machine", "versions", ...}}, "rows": {section: {key: row}}}

A row holds "run", "repeats", and "sides": {label: {"rates": [...], ...}}, work per second in each repetition; or, where
it is no race, figures of its own. Sections, and rows of one, can be measured again alone: the others stay, under their
date.
"""

import json
import statistics
from pathlib import Path

from charrnn import spec

FORMAT = 1
CELLS = tuple(name for name, cell in spec.CELLS.items() if cell.torch_class)  # those that PyTorch has too


class Results:
    """The file's content; `path` None keeps it in memory."""

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.runs, self.rows = {}, {}
        if self.path is not None and self.path.exists():
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content.get("format") != FORMAT:
                raise ValueError(
                    f"{self.path} has format {content.get('format')}, this program knows {FORMAT}: move it away"
                )
            self.runs, self.rows = content["runs"], content["rows"]

    def put(self, run, section, key, row):
        """Keep a row, in the place of an older one, and save. run: the record that all rows of a run share."""
        self.runs[run["date"]] = run
        row = json.loads(json.dumps({"run": run["date"], **row}))  # as it will be read
        self.rows.setdefault(section, {})[key] = row
        used = {row["run"] for rows in self.rows.values() for row in rows.values()}
        self.runs = {date: run for date, run in self.runs.items() if date in used}
        self.save()

    def section(self, name):
        """Return {key: row}, in the order of cells and sizes however they came to be measured."""

        def place(item):
            row = item[1]
            return CELLS.index(row["cell"]) if "cell" in row else 0, row.get("size", [])

        return dict(sorted(self.rows.get(name, {}).items(), key=place))

    def save(self):
        if self.path is not None:
            content = {"format": FORMAT, "runs": self.runs, "rows": self.rows}
            self.path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


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
