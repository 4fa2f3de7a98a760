"""What came of the runs of a sweep: the rows of its table, and the files that hold it.

results.json adds to what the runs' own checkpoints say: the loss on the test split, and why a run failed.
"""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from charrnn.files.own import RESULTS_CSV, RESULTS_JSON
from charrnn.files.storage import atomic_write
from charrnn.runs.checkpoint import is_count, is_figure
from charrnn.text.sources import strange_sources_exist

WAITING, STOPPED, FINISHED, DIVERGED, FAILED = "waiting", "stopped", "finished", "diverged", "failed"
ENDED = (FINISHED, DIVERGED, FAILED)  # no worker goes on with it


@dataclass(frozen=True)
class Result:
    """A row of the table. A loss is in nats per character.

    returns : how often the run diverged and went back to its last good state, each time at half the rate
    """

    run: str
    state: str
    options: dict
    parameters: int | None = None
    memory_bytes: int | None = None
    step: int = 0
    elapsed_s: float = 0.0
    val_loss_nats: float | None = None
    best_step: int | None = None
    test_loss_nats: float | None = None
    returns: int = 0
    error: str | None = None


def sort_results(results):
    """Return the results, the lowest validation loss first; those without a validation loss come last."""
    return sorted(results, key=lambda one: math.inf if one.val_loss_nats is None else one.val_loss_nats)


def over_seeds(results):
    """Return what the results say over seeds: a dict for each combination of the other options, the lowest loss first.

    "runs", how many there are, and "finished" of them; "val_loss_nats" and "test_loss_nats" the means over the
    finished, and "val_spread", "test_spread" the standard deviations (n - 1), None where there are fewer than two.
    """
    groups = {}
    for result in results:
        options = {name: value for name, value in result.options.items() if name != "seed"}
        groups.setdefault(json.dumps(options, sort_keys=True), (options, []))[1].append(result)
    rows = []
    for options, alike in groups.values():
        finished = [one for one in alike if one.state == FINISHED]
        row = {"options": options, "runs": len(alike), "finished": len(finished)}
        for key, name in (("val", "val_loss_nats"), ("test", "test_loss_nats")):
            losses = [getattr(one, name) for one in finished if getattr(one, name) is not None]
            row[name] = statistics.fmean(losses) if losses else None
            row[f"{key}_spread"] = statistics.stdev(losses) if len(losses) > 1 else None
        rows.append(row)
    return sorted(rows, key=lambda row: math.inf if row["val_loss_nats"] is None else row["val_loss_nats"])


def to_csv(results, columns):
    """Return the results as CSV. columns : the options to have a column of their own."""
    names = [field.name for field in dataclasses.fields(Result) if field.name not in ("run", "state", "options")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "state", *columns, *names])
    for one in results:
        writer.writerow(
            [one.run, one.state, *(one.options.get(name) for name in columns), *(getattr(one, name) for name in names)]
        )
    return file.getvalue()


def write_results(folder, record, results):
    """Write results.json and results.csv. record : as results.json is to have it; results : its runs as Results."""
    atomic_write(Path(folder, RESULTS_JSON), json.dumps(record, indent=1) + "\n")
    atomic_write(Path(folder, RESULTS_CSV), to_csv(sort_results(results), record["columns"]))


def record_outcome(folder, run, outcome):
    """Put how a run ended into the results of a sweep folder. The caller holds the lock of the results.

    outcome : {field of Result: value}

    Returns False, and writes nothing, where the results that are there cannot be read or do not have the run.
    """
    record, results = read_results(folder), stored_results(folder)
    columns = record.get("columns")
    if run not in results or len(results) != len(record["runs"]) or not isinstance(columns, list):
        return False
    results[run] = dataclasses.replace(results[run], **{"error": None, **outcome})
    rows = sort_results(results.values())
    record["runs"] = [dataclasses.asdict(one) for one in rows]
    if "over_seeds" in record:
        record["over_seeds"] = over_seeds(rows)
    write_results(folder, record, rows)
    return True


def read_results(folder):
    """Return results.json of a sweep folder as a dict; {} if it is missing or cannot be read."""
    try:
        record = json.loads((Path(folder) / RESULTS_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def validation_texts(folder):
    """Return {as the specification names it: path} of the validation texts of a sweep that are still there."""
    known = read_results(folder).get("text")
    named = known.get("validation_from_sweep") if isinstance(known, dict) else None
    named = named if isinstance(named, dict) else {}
    found = {text: os.path.normpath(os.path.join(folder, str(path))) for text, path in named.items()}
    return {text: path for text, path in found.items() if strange_sources_exist([path])}


def stored_results(folder):
    """Return {run: Result} of results.json, without entries that cannot be read."""
    stored = {}
    rows = read_results(folder).get("runs")
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(TypeError, KeyError, AttributeError):
            result = Result(**row)
            figures = (result.val_loss_nats, result.test_loss_nats)
            counts = (result.step, result.returns, result.best_step, result.parameters, result.memory_bytes)
            if (
                all(value is None or is_figure(value) for value in figures)
                and all(value is None or is_count(value) for value in counts)
                and is_figure(result.elapsed_s)
                and isinstance(result.options, dict)
                and isinstance(result.state, str)
                and (result.error is None or isinstance(result.error, str))
            ):
                stored[row["run"]] = result
    return stored
