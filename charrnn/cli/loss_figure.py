"""The curves of runs as a figure: what `info --svg` and `sweep --svg` draw."""

import math
from pathlib import Path

STEPS, NATS = "steps", "loss in nats per character"


def history_of(path, training):
    """Return the history to show, a list of dicts: for a run's `best` checkpoint that of the whole run, which `last`
    beside it has. What is no record is left out.
    """
    from charrnn.errors import CharRNNError
    from charrnn.runs.checkpoint import read_metadata
    from charrnn.runs.names import BEST, LAST

    history = training.get("history")
    if path.name == BEST and path.with_name(LAST).is_file():
        try:
            later = read_metadata(path.with_name(LAST))["training"]
        except CharRNNError:  # what is asked for is `best`
            later = {}
        if _fingerprint(later) == _fingerprint(training) and isinstance(later.get("history"), list):
            history = later["history"]
    return [record for record in history if isinstance(record, dict)] if isinstance(history, list) else []


def points(history, key):
    """Return [(step, value)] of the records that have a number there."""
    found = [(_number(record.get("step")), _number(record.get(key))) for record in history]
    return [(x, y) for x, y in found if x is not None and y is not None]


def run_figure(path, history):
    """Return the Figure of one run: its losses, and its learning rate beside them; None where there is no loss."""
    from charrnn.render.figure import Figure, Panel

    losses = [_curve("training, smoothed", history, "train_loss_nats"), _curve("validation", history, "val_loss_nats")]
    rate = _curve("learning rate", history, "learning_rate")
    losses = [one for one in losses if one.x]
    if not losses:
        return None
    panels = [Panel("Loss", losses), *([Panel("Learning rate", [rate], y_label="learning rate")] if rate.x else [])]
    run = Path(path)
    return Figure(f"Training of {run.resolve().parent.name}", STEPS, NATS, panels)


def sweep_figure(folder, runs):
    """Return the Figure of the best runs of a sweep beside one another; None where no run has a loss.

    folder    of the sweep
    runs      their names, the best one first
    """
    from charrnn.render.figure import MAX_CURVES, Figure, Panel
    from charrnn.sweep.folder import stored_run

    histories = {run: history_of(Path(), stored_run(folder / run) or {}) for run in runs}
    panels, most = [], 0
    for title, key in (("Validation", "val_loss_nats"), ("Training, smoothed", "train_loss_nats")):
        curves = [curve for run, history in histories.items() if (curve := _curve(run, history, key)).x]
        most = max(most, len(curves))
        if curves:
            panels.append(Panel(title, curves[:MAX_CURVES]))
    if not panels:
        return None
    notes = (f"The {MAX_CURVES} runs with the lowest validation loss, of {most:,}.",) if most > MAX_CURVES else ()
    return Figure(f"Sweep {folder.resolve().name}", STEPS, NATS, panels, notes=notes)


def _curve(name, history, key):
    from charrnn.render.figure import Curve

    found = points(history, key)
    return Curve(name, [x for x, _ in found], [y for _, y in found])


def _fingerprint(training):
    corpus = training.get("corpus")
    return corpus.get("fingerprint") if isinstance(corpus, dict) else None


def _number(value):
    """Return a number as a finite float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e100 else None
