"""What a search for cells has found: records, and the plain numbers and words of them that `charrnn cells` prints for
programs.

They hold what report.py found, and search nothing themselves.
"""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.cells.ablate import REGIONS, Ablation
from charrnn.cells.passages import choose_passage, shown_values
from charrnn.cells.record import Recording
from charrnn.cells.search import Finding, Follows
from charrnn.cells.signals import GRADED, Signal
from charrnn.render.notebook import coloured_text, html_table

NOTEBOOK_PASSAGES, NOTEBOOK_CHARACTERS = 3, 420

COLUMNS = (
    "signal",
    "phrase",
    "kind",
    "on",
    "layer",
    "unit",
    "sign",
    "measure",
    "score",
    "spearman",
    "null",
    "null_max",
    "untrained",
    "probe",
    "probe_layer",
    "named",
)


class Selected(NamedTuple):
    """A unit to be shown, held and drawn, and the signal that it is to be seen with.

    finding    None where the unit was asked for by its place; then `signal` is what it follows best, or None
    """

    finding: Finding | None
    signal: Signal | None
    layer: int
    unit: int

    @classmethod
    def of(cls, finding):
        """Return the unit of a Finding."""
        return cls(finding, finding.signal, finding.layer, finding.unit)


@dataclass(frozen=True, repr=False)
class Findings:
    """One search over an excerpt of N characters, and what was asked of the units found.

    excerpt       an Excerpt
    symbols       list of N str, one a character, as it is shown
    scores        ndarray of the characters (indices) of the half that scored
    quantity      what was looked at in a unit
    recording     a Recording
    signals       the Signals that occur in the text, of N values each
    twins         {name: name of the signal that is on where it is, which stands for both}
    found         a Finding for every signal that could be scored, the surest first
    wanted        the signal that was asked for, None where none was
    selected      the units to be looked at
    follows       Follows of the one unit that was asked for, the highest score first; None where none was
    ablations     of the selected units, None where they were not held
    gates         {gate: ndarray (L, H, 2)}: the share of characters at which it is nearly shut and nearly open; None
                  where not asked
    """

    excerpt: Any
    vocabulary: Any
    symbols: list
    scores: np.ndarray
    quantity: str
    recording: Recording
    signals: tuple[Signal, ...]
    twins: dict
    found: tuple[Finding, ...]
    wanted: str | None
    selected: tuple[Selected, ...]
    follows: tuple[Follows, ...] | None = None
    ablations: tuple[Ablation, ...] | None = None
    gates: dict | None = None

    @property
    def named(self):
        """The Findings of units that are clearly better than chance and than an untrained network."""
        return tuple(finding for finding in self.found if finding.named)

    @property
    def loss_nats(self):
        """Mean loss in nats per character of the excerpt."""
        return float(np.nanmean(self.recording.loss_nats))

    @property
    def num_layers(self):
        return self.recording.values.shape[0]

    @property
    def hidden_size(self):
        return self.recording.values.shape[1]

    def passage(self, one, length):
        """Return (symbols, values in -1..1, enlarged by what factor) of the stretch that shows a unit's signal best.

        one       a Selected
        length    of the stretch, in characters
        """
        allowed = np.zeros(len(self.symbols), bool)
        allowed[self.scores] = True
        start, stop = choose_passage(self.symbols, one.signal, allowed, length)
        values, factor = shown_values(self.recording.values[one.layer, one.unit], self.quantity)
        return self.symbols[start:stop], values[start:stop], factor

    def levels(self, one):
        """Return a unit's medians, as `passage` shows it: (where its signal is off, where it is on); of a graded signal
        (where it is in its lower third, where in its upper third).

        one       a Selected that has a signal
        """
        values, _ = shown_values(self.recording.values[one.layer, one.unit], self.quantity)
        signal = one.signal.values
        if one.signal.kind == GRADED:
            low, high = np.quantile(signal, [1 / 3, 2 / 3])
            on = signal >= high if high > low or low == signal.max() else signal > low
            off = signal <= low if low < signal.max() else ~on
        else:
            on = signal.astype(bool)
            off = ~on
        return tuple(float(np.median(values[where])) for where in (off, on))

    def __repr__(self):
        return f"<Findings: {len(self.named)} of {len(self.found)} signals are followed by a unit>"

    def _repr_html_(self):
        """Show a notebook the units that are named, and the text coloured by the first few."""
        rows = [
            [
                one.signal.phrase,
                f"{one.layer}:{one.unit}",
                f"{one.score:.3f}",
                f"{one.null:.3f}",
                "" if one.untrained is None else f"{one.untrained:.3f}",
                f"{one.probe:.3f}",
            ]
            for one in self.named
        ]
        headings = ("signal", "unit", "score", "null", "untrained", "probe")
        caption = f"{len(self.named)} of {len(self.found)} signals are followed by a unit"
        parts = [html_table(rows, headings, caption)]
        for one in self.selected[:NOTEBOOK_PASSAGES]:
            symbols, values, _ = self.passage(one, NOTEBOOK_CHARACTERS)
            follows = "" if one.signal is None else f": {one.signal.phrase}"
            parts.append(coloured_text(symbols, values, title=f"unit {one.layer}:{one.unit}{follows}"))
        return "".join(parts)

    def to_dict(self, checkpoint=None, validation_loss_nats=None):
        """Return all that was asked for as plain numbers and words.

        checkpoint              the file that the model is from
        validation_loss_nats    of its run, to stand beside the loss
        """
        excerpt = self.excerpt
        result = {
            "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
            "text": excerpt.name,
            "split": excerpt.split,
            "characters": excerpt.stop - excerpt.start,
            "start": excerpt.start,
            "unknown": excerpt.unknown_to_dict(),
            "quantity": self.quantity,
            "layers": self.num_layers,
            "units": self.hidden_size,
            "loss_nats": self.loss_nats,
            "validation_loss_nats": validation_loss_nats,
            "signals": [finding.to_dict() for finding in self.found],
            "twins": self.twins,
        }
        if self.follows is not None:
            result["unit"] = {
                "layer": self.selected[0].layer,
                "unit": self.selected[0].unit,
                "follows": [
                    {
                        "signal": one.signal.name,
                        "measure": measure(one.signal),
                        "score": one.score,
                        "spearman": one.spearman,
                    }
                    for one in self.follows
                ],
            }
        if self.ablations is not None:
            result["ablation"] = [ablation.to_dict() for ablation in self.ablations]
        if self.gates is not None:
            result["gates"] = {
                gate: {"left": shares[:, :, 0].tolist(), "right": shares[:, :, 1].tolist()}
                for gate, shares in self.gates.items()
            }
        return result

    def columns(self):
        """Return the names of the columns of `rows`."""
        regions = () if self.ablations is None else REGIONS
        return (*COLUMNS, *(f"rise_{name}_nats" for name in regions), *(f"random_{name}_nats" for name in regions))

    def rows(self):
        """Yield a row for every signal that could be scored, with what its ablation gave; what is not known is None."""
        ablated = {(one.signal, one.layer, one.unit): one for one in self.ablations or ()}
        for finding in self.found:
            values = finding.to_dict()
            row = [values[name] for name in COLUMNS]
            if self.ablations is not None:
                one = ablated.get((finding.signal.name, finding.layer, finding.unit))
                row += [None if one is None else one.rises[name].nats for name in REGIONS]
                row += [None if one is None else one.random[name][0] for name in REGIONS]
            yield [None if value != value else value for value in row]


def measure(signal):
    """Return the name of what a signal's score is."""
    return "pearson" if signal.kind == GRADED else "auroc"
