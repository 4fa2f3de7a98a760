"""What a training run shows while it goes on. tests/test_cli_train.py has how it looks; here is what it may be told."""

import contextlib
import os
import re
import sys
from pathlib import Path

import pytest

from charrnn.cli import display
from charrnn.evaluation.loss import Evaluation
from charrnn.training.records import Evaluated, Preflight, Step

PREFLIGHT = Preflight(1000, 9, 900, 50, 50, 99, 10**6, 2, 3, 7, 44, 40, 88, 0.02, 1.0, Path("checkpoints/run"))
STEP = Step(51, 88, 1.2, 1.61, 1.6, 0.45, 2.9e-3, 89123.4, 3.2, 0.6, 70.0)


def live_foot(monkeypatch, width, *records):
    """Return what the live display of a terminal showed at its foot, escapes left out."""
    pty = pytest.importorskip("pty")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = display.make_display(quiet=False)
        for record in records:
            shown.show(record)
        shown.close()
    pieces = []
    with os.fdopen(reader, "rb", buffering=0) as file, contextlib.suppress(OSError):  # a closed terminal ends in one
        while piece := file.read(1 << 16):
            pieces.append(piece)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(pieces).decode())
    return [line for line in plain.splitlines() if "norm" in line][-1]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_resumed_run_whose_first_validation_is_not_a_new_best_shows_the_best_of_before(monkeypatch, width):
    evaluated = Evaluated(50, 1.1, Evaluation(1.5, 50), False, 0.5, 1.25)
    foot = live_foot(monkeypatch, width, PREFLIGHT, STEP, evaluated)
    assert "val 1.500" in foot and ("best 1.250" in foot) == (width >= 100)


def test_a_validation_of_a_run_that_has_no_best_yet_is_shown_alone(monkeypatch):
    """Right after a step that was left out, a validation is no anchor and so not the best."""
    foot = live_foot(monkeypatch, 140, PREFLIGHT, STEP, Evaluated(50, 1.1, Evaluation(1.5, 50), False, 0.5, None))
    assert "val 1.500" in foot and "best" not in foot
