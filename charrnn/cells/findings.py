"""Records of what a search for cells found, and their plain values as `charrnn cells` prints them for programs.

They store the results of report.py and search nothing themselves.
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
    """A unit that was chosen for a closer look, with the signal that it is compared with.

    finding        Finding of the unit; None if the unit was chosen by its position (option `unit`)
    signal         Signal that the unit follows; for a unit chosen by its position, the one it follows best, or None
    layer, unit    position of the unit, counted from 0
    """

    finding: Finding | None
    signal: Signal | None
    layer: int
    unit: int

    @classmethod
    def of(cls, finding):
        """Return the Selected for a Finding."""
        return cls(finding, finding.signal, finding.layer, finding.unit)


@dataclass(frozen=True, repr=False)
class Findings:
    """The units that follow signals of a text: the result of `charrnn.find_cells`. A notebook shows it as a table.

    A signal is a property of each character, such as being inside quotes (on/off) or the position in the line
    (graded). The search read N characters. One half of them chose the best unit for each signal, the other half scored
    it. An on/off signal is scored by AUROC (0.5 is chance, 1 perfect), a graded one by the absolute value of Pearson's
    correlation.

    Attributes
    ----------
    excerpt : Excerpt
        The text that was read.
    vocabulary : Vocabulary
        The vocabulary of the model.
    symbols : list of N str
        The characters, as they are shown.
    scores : ndarray of int64
        Indices of the characters that were used for scoring.
    quantity : str
        What was recorded of each unit, such as "h" or "tanh-c".
    recording : Recording
        `values`, ndarray (L, H, N) float16: the recorded quantity of every unit after each character.
    signals : tuple of Signal
        The signals that occur in the text, each with N `values`.
    twins : dict
        {name: other name} of signals that are on at the same characters as another one, which represents both.
    found : tuple of Finding
        The best unit for each signal that could be scored, the most certain first.
    wanted : str or None
        The signal that the search was asked for.
    selected : tuple of Selected
        The units chosen for a closer look.
    follows : tuple of Follows, or None
        With option `unit`: how well this unit follows each signal, the highest score first.
    ablations : tuple of Ablation, or None
        With option `clamp`: how the loss rises while a selected unit is held.
    gates : dict or None
        With option `gates`: {gate: ndarray (L, H, 2)}, the shares of characters at which the gate of a unit is nearly
        shut and nearly open.
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
        """Those of `found` whose unit follows its signal clearly better than chance and than an untrained network."""
        return tuple(finding for finding in self.found if finding.named)

    @property
    def loss_nats(self):
        """Mean loss of the model on the excerpt, in nats per character."""
        return float(np.nanmean(self.recording.loss_nats))

    @property
    def num_layers(self):
        """L, the number of layers of the model."""
        return self.recording.values.shape[0]

    @property
    def hidden_size(self):
        """H, the number of units in a layer."""
        return self.recording.values.shape[1]

    def passage(self, one, length):
        """Return the part of the text that shows the signal of a unit best, with the values of the unit there.

        Parameters
        ----------
        one : Selected
            The unit and its signal.
        length : int
            Length of the part, in characters.

        Returns
        -------
        symbols : list of str
            The characters.
        values : ndarray of float32, of the same length
            The values of the unit, in -1 .. 1. A gate is shown as 2 * gate - 1.
        factor : float
            The factor by which small values (for "c", also large ones) were multiplied; otherwise 1.0.
        """
        allowed = np.zeros(len(self.symbols), bool)
        allowed[self.scores] = True
        start, stop = choose_passage(self.symbols, one.signal, allowed, length)
        values, factor = shown_values(self.recording.values[one.layer, one.unit], self.quantity)
        return self.symbols[start:stop], values[start:stop], factor

    def levels(self, one):
        """Return the median value of a unit where its signal is off, and where it is on: two floats.

        The values are scaled as in `passage`. For a graded signal, off and on mean its lower and its upper third.

        one : Selected, with a signal
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
        """Return HTML for a notebook: a table of the `named` units, and text coloured by the first selected ones."""
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
        """Return the results as a dict for JSON, as `charrnn cells` prints them.

        checkpoint : path-like or None; the file of the model, to be included
        validation_loss_nats : float or None; the validation loss of its run, to be included for comparison
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
        """Return the names of the columns of `rows`: a tuple of str."""
        regions = () if self.ablations is None else REGIONS
        return (*COLUMNS, *(f"rise_{name}_nats" for name in regions), *(f"random_{name}_nats" for name in regions))

    def rows(self):
        """Yield a list of values for each Finding in `found`, in the order of `columns`; unknown values are None.

        With option `clamp`, the last columns are the rises of the loss while the unit, and random units, are held.
        """
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
    """Return "pearson" for a graded signal and "auroc" for an on/off one: how it is scored."""
    return "pearson" if signal.kind == GRADED else "auroc"
