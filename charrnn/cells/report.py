"""Search a text for what units follow, and look at the units found: all that `charrnn cells` finds.

    findings = find_cells(model, vocabulary, Excerpt.whole(vocabulary.encode(text)))
    [finding.signal.name for finding in findings.named]

Every unit is scored against every signal that occurs (search.py), beside an untrained network of the same shape. Knows
a model, a vocabulary and ids; no file, no terminal. findings.py has the records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.cells.ablate import ablate
from charrnn.cells.findings import Findings, Selected
from charrnn.cells.gates import gate_saturation
from charrnn.cells.record import check_quantity, clamp_at, record
from charrnn.cells.search import costs_us, halves, score_unit, search
from charrnn.cells.signals import BUILT_IN, Signal, find_signals, misfits, without_twins
from charrnn.errors import ConfigError, is_integer, is_number, nearest
from charrnn.evaluation.stages import Stages
from charrnn.files.machine import available_memory
from charrnn.model.clamps import check_unit
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS
from charrnn.text.byte_text import read_symbols

GATE_CHARACTERS, ABLATION_CHARACTERS = 40_000, 30_000  # of the excerpt, at most
UNTRAINED_SEED = 1_000_003
BYTES_A_VALUE = 9  # of a search: two recordings, ranks
READING, UNTRAINED, SCORING = "reading the text", "untrained network reads", "scoring every unit"
READING_US, PARAMETER_US = 8.0, 25e-6  # of reading a character, and of each parameter; measured as search.costs_us are


@dataclass(frozen=True)
class CellsOptions:
    """What to search for, and what to measure for the selected units.

    quantity    what to record of a unit, one of Cell.quantities (spec.py); None means "tanh-c" for an LSTM, else "h"
    signals     ((name, regular expression), ...): more signals than the built-in ones, each on inside every match
    wanted      name of a signal: select its best unit; None selects all units that are named
    unit        (layer, unit), counted from 0: select this unit instead
    clamp       hold each selected unit while the model reads, at "mean", "off", "zero" or a number (ablate.py), and
                measure how the loss rises; None holds no unit
    gates       measure how often each gate is nearly shut and nearly open

    Raises ConfigError for a value of the wrong type. `find_cells` checks whether the values fit the model.
    """

    quantity: str | None = None
    signals: tuple = ()
    wanted: str | None = None
    unit: tuple[int, int] | None = None
    clamp: str | float | None = None
    gates: bool = False

    def __post_init__(self):
        unit = self.unit
        if unit is not None and not (isinstance(unit, Sequence) and len(unit) == 2 and all(map(is_integer, unit))):
            raise ConfigError(f"unit must be (layer, unit), two integers such as (0, 17), got {unit!r}", ["unit"])
        pairs = self.signals if isinstance(self.signals, Sequence) else (self.signals,)
        if not all(isinstance(pair, Sequence) and list(map(type, pair)) == [str, str] for pair in pairs):
            raise ConfigError(
                "signals must be a sequence of pairs (name, regular expression), such as "
                f'[("digit", "[0-9]")], got {self.signals!r}',
                ["signals"],
            )
        if self.clamp is not None and not isinstance(self.clamp, str) and not is_number(self.clamp):
            raise ConfigError(f"clamp must be one of its words or a number, got {self.clamp!r}", ["clamp"])


def find_cells(model, vocabulary, excerpt, options=CellsOptions(), progress=None):
    """Find the units of a model that follow something in a text.

    Parameters
    ----------
    model : Model
    vocabulary : Vocabulary
        The model's own.
    excerpt : Excerpt
        Of 4,000 characters at least: one half chooses a unit, the other scores it.
    options : CellsOptions
    progress : callable, optional
        Called with (what is being done, done, of) now and then, `done` from 0 to `of`. Reading and scoring are one
        piece of work: `done` goes on from where the one before ended, in proportion to the time that they take.

    Returns
    -------
    Findings

    Raises
    ------
    ConfigError
        The excerpt is too short; the model does not have the unit, quantity or gates; a regular expression is invalid
        or hardly matches; `wanted` does not occur in the text; `clamp` is not allowed; or there is not enough memory.
    DivergenceError
        The model's units are not finite numbers.
    """
    return _Search(model, vocabulary, excerpt, options, Stages(progress)).find()


class _Search:
    """One search, and what is asked of the units found."""

    def __init__(self, model, vocabulary, excerpt, options, stages):
        self.model, self.vocabulary, self.excerpt = model, vocabulary, excerpt
        self.options, self.stages = options, stages
        self.quantity = options.quantity or CELLS[model.config.cell].default_quantity
        self.unfit = {}

    def find(self):
        options, excerpt = self.options, self.excerpt
        check_quantity(self.model.config.cell, self.quantity)
        if options.unit is not None:
            check_unit(self.model.config, *options.unit)
        _, scores = halves(excerpt.stop - excerpt.start)
        self._check_clamp()
        self._check_memory()
        symbols, signals, twins = self._find_signals()
        wanted = _check_wanted(options.wanted, signals, twins, self.unfit)
        recording, found = self._search(signals)
        follows = None if options.unit is None else tuple(score_unit(recording, signals, *options.unit))
        selected = self._select(found, wanted, follows)
        return Findings(
            excerpt=excerpt,
            vocabulary=self.vocabulary,
            symbols=symbols,
            scores=scores,
            quantity=self.quantity,
            recording=recording,
            signals=signals,
            twins=twins,
            found=found,
            wanted=wanted,
            selected=selected,
            follows=follows,
            ablations=None if options.clamp is None else self._ablate(recording, selected),
            gates=self._read_gates() if options.gates else None,
        )

    def _check_clamp(self):
        clamp = self.options.clamp
        if clamp is not None and not isinstance(clamp, str):
            # A workspace knows what a unit can be held at.
            Workspace(self.model, 1, 1, training=False).set_clamps(
                [clamp_at(self.model.config, 0, 0, clamp, self.quantity)]
            )

    def _check_memory(self):
        config, characters = self.model.config, self.excerpt.stop - self.excerpt.start
        units = config.num_layers * config.hidden_size
        need, free = BYTES_A_VALUE * units * characters, available_memory()
        if free is not None and need > free:
            raise ConfigError(
                f"{units:,} units over {characters:,} characters need {need / 1e9:.1f} GB of memory, but only "
                f"{free / 1e9:.1f} GB are free: lower --characters to at most {int(free / BYTES_A_VALUE / units):,}",
                ["characters"],
            )

    def _find_signals(self):
        """Return (symbols, the Signals that occur, {name: the one that is on where it is})."""
        excerpt = self.excerpt
        self.stages.begin("finding the signals")
        text, symbols, lengths = read_symbols(
            self.vocabulary, excerpt.ids[excerpt.start : excerpt.stop], excerpt.encoding
        )
        self.unfit = misfits(text)
        found, twins = without_twins(find_signals(text, list(self.options.signals)))
        return (
            symbols,
            tuple(Signal(one.name, one.phrase, one.kind, np.repeat(one.values, lengths)) for one in found),
            twins,
        )

    def _search(self, signals):
        """Return (Recording, Findings of the signals that can be scored, the surest first)."""
        excerpt = self.excerpt
        ids, start, stop = excerpt.ids, excerpt.start, excerpt.stop
        config = self.model.config
        reading_us = READING_US + PARAMETER_US * self.model.num_parameters
        scoring_us = sum(costs_us(config.num_layers * config.hidden_size, len(signals)))
        self.stages.plan({READING: reading_us, UNTRAINED: reading_us, SCORING: scoring_us})
        recording = record(self.model, ids, start, stop, self.quantity, self.stages.begin(READING))
        # Once: with layer normalisation a fresh network never forgets how it began, and no two streams meet. It is
        # read to be compared with, and streams of it are as good a sample of it as one long reading.
        fresh = Model.initialise(config, UNTRAINED_SEED, rule=self.model.rule)
        untrained = record(fresh, ids, start, stop, self.quantity, self.stages.begin(UNTRAINED), once=True)
        return recording, tuple(search(recording, signals, untrained, progress=self.stages.begin_share(SCORING)))

    def _select(self, found, wanted, follows):
        if self.options.unit is not None:
            return (Selected(None, follows[0].signal if follows else None, *self.options.unit),)
        if wanted is None:
            chosen = [finding for finding in found if finding.named]
        else:
            chosen = [finding for finding in found if finding.signal.name == wanted]
            if not chosen:
                raise ConfigError(
                    f"--find {wanted}: too rare in one half of the text to get a score: use a longer TEXT, or "
                    "raise --characters",
                    ["find", "characters"],
                )
        return tuple(map(Selected.of, chosen))

    def _ablate(self, recording, selected):
        found = [(one.signal, one.layer, one.unit) for one in selected if one.signal is not None]
        if not found:
            return ()
        return tuple(
            ablate(
                self.model,
                self.excerpt.ids,
                self.excerpt.start,
                recording,
                found,
                self.options.clamp,
                ABLATION_CHARACTERS,
                progress=self.stages.begin_share("reading with units held"),
            )
        )

    def _read_gates(self):
        excerpt = self.excerpt
        stop = min(excerpt.stop, excerpt.start + GATE_CHARACTERS)
        return gate_saturation(self.model, excerpt.ids, excerpt.start, stop, self.stages.begin("reading the gates"))


def _check_wanted(wanted, signals, twins, unfit):
    """Return the name of the signal that stands for the one wanted. Raises ConfigError where it does not occur."""
    wanted, names = twins.get(wanted, wanted), [signal.name for signal in signals]
    if wanted is not None and wanted not in names:
        why = "it does not occur often enough in this text" if wanted in BUILT_IN else "unknown signal"
        why = unfit.get(wanted, why)
        near = None if wanted in BUILT_IN else nearest(wanted, names)
        why += "" if near is None else f", did you mean {near!r}?"
        raise ConfigError(f"--find {wanted}: {why}; this text has {', '.join(names) or 'none'}", ["find"])
    return wanted
