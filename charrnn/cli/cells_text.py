"""What is said of the units found, in the terminal, on the page and in pictures alike: which text, which passage, which
words.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import counted
from charrnn.spec import CELLS

PASSAGE, LONG_PASSAGE = 420, 800  # characters
STRONG = 0.5  # from here on a terminal without colours shows a sign (render/terminal.py)


@dataclass(frozen=True)
class Shown:
    """Findings, and where they are from.

    findings                a Findings
    of                      what the excerpt is of: "held out from shakespeare.txt", "of other.txt"
    end                     where that ends: the excerpt may be its beginning
    config                  of the model
    path                    its checkpoint
    validation_loss_nats    of its run, None where the checkpoint does not say
    """

    findings: Any
    of: str
    end: int
    config: Any
    path: Path
    validation_loss_nats: float | None = None

    @property
    def told(self):
        """Say which characters these are."""
        excerpt = self.findings.excerpt
        characters, whole = excerpt.stop - excerpt.start, self.end - excerpt.start
        if characters == whole:
            return f"all {counted(characters, 'character')} {self.of}"
        return f"the first {characters:,} of {whole:,} characters {self.of}"

    @property
    def model_line(self):
        """Say which model this is."""
        config = self.config
        layers, units = counted(config.num_layers, "layer"), counted(config.hidden_size, "unit")
        return f"{CELLS[config.cell].title}, {layers} of {units}"

    @property
    def values_line(self):
        """Say which values of the units are shown."""
        title, quantity = CELLS[self.config.cell].title, self.findings.quantity
        meaning = {
            "tanh-c": f"tanh(c), the {title}'s cell state",
            "c": f"c, the {title}'s cell state before tanh",
            "h": f"h, the output of each unit of the {title}",
        }
        return meaning.get(quantity, f"{quantity}, a gate of the {title}")

    @property
    def title(self):
        """Name the run."""
        return f"Cells of {self.path.parent.name or self.path.name}"

    def to_dict(self):
        """Return the findings as plain numbers and words."""
        return self.findings.to_dict(os.fspath(self.path), self.validation_loss_nats)


def units_of(findings):
    """Return Findings as units that can be shown."""
    from charrnn.cells.findings import Selected

    return [Selected.of(finding) for finding in findings]


def telling(selected):
    """Order units: those of simple signals (the kind of a character, its place in the word, what follows) come last."""
    from charrnn.cells.signals import OF_CHARACTERS

    return sorted(selected, key=lambda one: one.signal is not None and one.signal.name in OF_CHARACTERS)


def each_once(selected):
    """Leave out units that were there before."""
    first = {}
    for one in selected:
        first.setdefault((one.layer, one.unit), one)
    return list(first.values())


def heading(findings, one, factor, high, low):
    """Return the lines over a passage: what the unit follows, how it shows it, and how surely.

    findings     the Findings that `one` is of
    high, low    what +1 and -1 look like
    """
    enlarged, finding, signal = [f"values multiplied by {factor:.3g}"] if factor != 1 else [], one.finding, one.signal
    if finding is None:
        return [f"unit {one.layer}:{one.unit}, {findings.quantity}", *enlarged]
    untrained = "" if finding.untrained is None else f", untrained {finding.untrained:.3f}"
    score = f"r {finding.score:.3f}, rank {finding.spearman:.3f}" if is_graded(signal) else f"AUROC {finding.score:.3f}"
    return [
        f"{signal.phrase}: unit {one.layer}:{one.unit} {_how_it_shows(findings.levels(one), one, high, low)}",
        f"{score} (null {finding.null:.3f}{untrained})",
        *enlarged,
    ]


def _how_it_shows(levels, one, high, low):
    """Say what a unit looks like where its signal is on, or how it changes as a graded one grows.

    levels    its medians where the signal is off or low, and where it is on or high

    A score says that the unit is lower there, not that it is below 0: only what is drawn most of the time is promised.
    """
    sign, (off, on) = one.finding.sign, levels
    end, begin = (high, low) if sign > 0 else (low, high)
    if is_graded(one.signal):
        if sign * on >= STRONG and sign * off <= -STRONG:
            return f"goes from {begin} to {end} as the signal grows"
        change = "higher" if sign > 0 else "lower"
        return f"is {change} as the signal grows (typically {off:+.2f} where low, {on:+.2f} where high)"
    if sign * on >= STRONG:
        return f"is {end} where the signal is on"
    return f"is {'higher' if sign > 0 else 'lower'} where the signal is on (typically {on:+.2f}, elsewhere {off:+.2f})"


def is_graded(signal):
    return signal.kind == "graded"


def mille(nats):
    """Say thousandths of a nat."""
    return f"{1000 * nats:.1f}" if math.isfinite(nats) else "-"
