"""Score every unit against every signal, and say how much of a score is luck.

On/off signals are scored by AUROC: the probability that the unit is higher at a random character where the signal is on
than at one where it is off (0.5 is nothing, 1 is perfect). A unit that is low where the signal is on counts as well,
with sign -1. Graded signals are scored by |Pearson|, with |Spearman| of the same unit beside it.

Honesty. The text is cut into blocks, dealt in turn to two halves, and a margin at every cut is left out. One half
chooses the unit and its sign, the other scores it. Beside each score stand
    null       the same search, choice and score, on the signal shifted circularly by thousands of characters, which
               keeps its rhythm and breaks its tie to the text: the 95th percentile of many shifts, and their maximum
    untrained  the same search in a fresh network of the same shape: what any random projection of the last characters
               has
    probe      a linear readout of all units of the best layer (ridge): what is known there, by one unit or by many
A unit is *named* for a signal when its score is above every shift's and at most half as far from 1 as an untrained
one's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.cells.signals import GRADED, Signal
from charrnn.errors import DAMAGED, ConfigError, DivergenceError

BLOCK = 2_500  # characters dealt to a half at a time; of each, half of MARGIN_SHARE is left out at either end
MARGIN_SHARE = 0.04
MIN_BLOCKS = 16
MIN_CHARACTERS = 4_000  # to search in at all
MIN_IN_A_HALF = 10
SHIFTS = 39  # so that to beat them all by luck is a matter of one in forty
NULL_PERCENTILE = 95
NAMED_GAP = 0.5  # share of an untrained network's distance from 1 that a named unit may have
OUTLIER = 5.0  # deviations: a unit that hardly ever moves would else rule a readout on the day it does
RIDGE = 1e-3  # of the number of characters: units are standardised
UNIT_NUMBERS, COLUMN_NUMBERS = 20_000_000, 5_000_000  # of units and of signals made ready at a time
RUNNERS_UP = 4


@dataclass(frozen=True)
class Finding:
    """The unit that follows a signal best, its score, and the scores that it must be compared with.

    Attributes
    ----------
    signal : Signal
        Its `name`, `phrase` (in words), `kind` ("on/off" or "graded") and `values`, ndarray (N,).
    layer, unit : int
        The unit, counted from 0.
    sign : int
        +1; or -1 if the unit is low where the signal is on or high.
    score : float
        AUROC (on/off) or |Pearson| (graded) on the half of the text that did not choose the unit; 1 is perfect.
    spearman : float or None
        |Spearman| of the same unit; None for an on/off signal.
    null, null_max : float
        95th percentile and maximum of the scores for shifted signals, which any unit follows only by chance.
    untrained : float or None
        Score of the best unit of an untrained network; None if it was not measured.
    probe, probe_layer : float, int
        Score of a linear readout of all units of one layer, and the layer for which it is best.
    others : tuple
        The next best units, each as (layer, unit, sign, score).
    """

    signal: Signal
    layer: int
    unit: int
    sign: int
    score: float
    spearman: float | None
    null: float
    null_max: float
    untrained: float | None
    probe: float
    probe_layer: int
    others: tuple

    @property
    def named(self):
        """Whether the score is clearly better than chance and than an untrained network.

        It must exceed null_max, and be at most half as far from 1 as the score of the untrained network (or as chance,
        if no untrained network was measured).
        """
        chance = (0.0 if self.signal.kind == GRADED else 0.5) if self.untrained is None else self.untrained
        return self.score > self.null_max and 1 - self.score <= NAMED_GAP * (1 - chance)

    def to_dict(self):
        """Return the fields, and how the signal is scored, as a dict for JSON."""
        return {
            "signal": self.signal.name,
            "phrase": self.signal.phrase,
            "kind": self.signal.kind,
            "on": self.signal.on,
            "layer": self.layer,
            "unit": self.unit,
            "sign": self.sign,
            "measure": "pearson" if self.signal.kind == GRADED else "auroc",
            "score": self.score,
            "spearman": self.spearman,
            "null": self.null,
            "null_max": self.null_max,
            "untrained": self.untrained,
            "probe": self.probe,
            "probe_layer": self.probe_layer,
            "named": self.named,
            "others": [dict(zip(("layer", "unit", "sign", "score"), other)) for other in self.others],
        }


class Follows(NamedTuple):
    """How well one unit follows a signal over the whole text.

    signal      Signal
    score       AUROC (on/off signal) or Pearson's r (graded), negative if the unit is low where the signal is on or
                high: -0.9 for an on/off signal is an AUROC of 0.9 for being low where the signal is on
    spearman    |Spearman|; None for an on/off signal
    """

    signal: Signal
    score: float
    spearman: float | None


def _nobody(_share):
    """Take no notice of how far a search is."""


def search(recording, signals, untrained=None, shifts=SHIFTS, progress=None):
    """Return a Finding for every signal that can be scored, the surest first.

    recording   a Recording of N characters; signals of N values each
    untrained   a Recording of a fresh model of the same shape over the first characters of the same text
    shifts      circular shifts for the null
    progress    called with a share from 0 to 1 now and then

    A signal that is too rare in either half is left out. Raises ConfigError for a text too short, DivergenceError.
    """
    L, H, N = recording.values.shape
    chooses, scores = halves(N)
    usable = [signal for signal in signals if _is_usable(signal, chooses) and _is_usable(signal, scores)]
    if not usable:
        return []
    _check_finite(recording)
    offsets = [0, *shift_offsets(N, shifts)]
    choosing, scoring, probing, comparing = _shares(progress or _nobody, costs_us(L * H, len(usable), shifts))
    associations = _Half(usable, offsets, chooses).associations(recording.units, choosing)
    best = np.argmax(np.abs(associations), axis=1)
    signs = np.where(associations[np.arange(len(best)), best] < 0, -1, 1)
    order = np.argsort(-np.abs(associations[:: 1 + shifts]), axis=1, kind="stable")[:, : 1 + RUNNERS_UP]
    extra = [(row * (1 + shifts), unit) for row, units in enumerate(order) for unit in units[1:]]

    values, spearman = _Half(usable, offsets, scores).pairs(
        recording.units, [*zip(range(len(best)), best), *extra], scoring
    )
    oriented = values[: len(best)] * signs
    others = {}
    for (column, unit), value in zip(extra, values[len(best) :]):
        sign = -1 if associations[column, unit] < 0 else 1
        others.setdefault(column // (1 + shifts), []).append((*divmod(int(unit), H), sign, value * sign))

    probes = _probe(recording, usable, chooses, scores, probing)
    fresh = _untrained_scores(untrained, usable, comparing)
    findings = []
    for s, signal in enumerate(usable):
        at = s * (1 + shifts)
        scale = (lambda value: float(value)) if signal.kind == GRADED else (lambda value: 0.5 + float(value))
        null = np.array([scale(value) for value in oriented[at + 1 : at + 1 + shifts]] or [scale(0.0)])
        layer, unit = divmod(int(best[at]), H)
        findings.append(
            Finding(
                signal=signal,
                layer=layer,
                unit=unit,
                sign=int(signs[at]),
                score=scale(oriented[at]),
                spearman=abs(float(spearman[at])) if signal.kind == GRADED else None,
                null=float(np.percentile(null, NULL_PERCENTILE)),
                null_max=float(null.max()),
                untrained=fresh.get(signal.name),
                probe=probes[s][0],
                probe_layer=probes[s][1],
                others=tuple((l, u, sign, scale(value)) for l, u, sign, value in others.get(s, ())),
            )
        )
    return sorted(findings, key=lambda f: (not f.named, -_certainty(f)))


def costs_us(units, signals, shifts=SHIFTS):
    """Return about how long choosing, scoring, the probes and the untrained network take: microseconds a character.

    Measured on 2 cores of an AMD EPYC, of 64 to 1,536 units; what is told of how far a search is, is weighed by them.
    """
    columns = signals * (1 + shifts)
    return 0.025 * columns + 0.035 * units, 0.06 * columns, 0.04 * units, 2 + 0.03 * units


def _shares(progress, costs):
    """Return a function for each of `costs`, of the share of it that is done: `progress` gets that of all of them."""
    total, at, functions = sum(costs), 0.0, []
    for cost in costs:
        functions.append(lambda share, at=at, cost=cost: progress(min(1.0, (at + cost * share) / total)))
        at += cost
    return functions


def score_unit(recording, signals, layer, unit):
    """Return [Follows] of one unit, the highest score first."""
    _check_finite(recording)
    N = recording.values.shape[2]
    keep = np.arange(N)
    usable = [signal for signal in signals if _is_usable(signal, keep)]
    if not usable:
        return []
    place = layer * recording.values.shape[1] + unit
    values, spearman = _Half(usable, [0], keep).pairs(recording.units, [(s, place) for s in range(len(usable))])
    rows = []
    for signal, value, rho in zip(usable, values, spearman):
        sign = -1 if value < 0 else 1
        graded = signal.kind == GRADED
        rows.append(
            Follows(
                signal,
                sign * (abs(float(value)) if graded else 0.5 + abs(float(value))),
                abs(float(rho)) if graded else None,
            )
        )
    return sorted(rows, key=lambda row: -abs(row.score))


def halves(N):
    """Return the characters (indices) of the half that chooses and of the half that scores. Raises ConfigError."""
    if N < MIN_CHARACTERS:
        raise ConfigError(
            f"a search needs at least {MIN_CHARACTERS:,} characters, half of them to choose units and half to score "
            f"them, got {N:,}: use a longer TEXT, or raise --characters",
            ["characters"],
        )
    block = min(BLOCK, N // MIN_BLOCKS)
    margin = max(1, int(block * MARGIN_SHARE / 2))
    place = np.arange(N) % block
    inside = (place >= margin) & (place < block - margin)
    turn = np.arange(N) // block % 2
    return np.flatnonzero(inside & (turn == 0)), np.flatnonzero(inside & (turn == 1))


def shift_offsets(N, count):
    """Return `count` circular shifts, spread over the text, none shorter than a thousand characters where there is
    room.
    """
    least = min(max(1000, N // 50), N // 4)
    places = np.linspace(least, N - least, count + 2)[1:-1]
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, count) * (N - 2 * least) / (count + 1)
    return [int(offset) for offset in places + jitter]


def midranks(values):
    """Return the ranks of each row of float16 values (U, n), equal values sharing theirs, as float32 in -0.5 .. 0.5,
    sum 0.
    """
    values = np.ascontiguousarray(values) + np.float16(0)  # -0 is 0
    bits = values.view(np.uint16)
    keys = np.where(bits & 0x8000, ~bits, bits | 0x8000)  # in the order of the values
    n = values.shape[1]
    ranks = np.empty(values.shape, np.float32)
    for row, key in zip(ranks, keys):
        low, high = int(key.min()), int(key.max())
        count = np.bincount(key - np.uint16(low), minlength=high - low + 1)
        middle = np.cumsum(count) - count / 2
        row[:] = ((middle / n) - 0.5).astype(np.float32)[key - np.uint16(low)]
    return ranks


class _Half:
    """Signals and their shifts on one half of the text, as columns: number s * len(offsets) + k is signal s shifted by
    offsets[k].

    A column's product with a unit's ranks or standardised values is their association: AUROC - 0.5 of an on/off column,
    Pearson's r of a graded one. Ranks are centred and in units of the number n of characters, so
    AUROC - 0.5 = sum of the ranks where it is on * n / (n_on * n_off). Columns are made when they are needed: all at
    once would be the largest thing in memory.
    """

    def __init__(self, signals, offsets, keep):
        self.signals, self.offsets, self.keep = signals, offsets, keep
        self.graded = np.repeat([signal.kind == GRADED for signal in signals], len(offsets))
        n = len(keep)
        self.scale = np.zeros(len(self.graded))  # a column that never changes is associated with nothing
        for c, graded in enumerate(self.graded):
            column = self._shifted(c)
            if graded:
                deviation = column.std(dtype=np.float64)
                self.scale[c] = 1 / (n * deviation) if deviation > 0 else 0
            else:
                on = int(np.count_nonzero(column))
                self.scale[c] = n / (on * (n - on)) if 0 < on < n else 0

    def _shifted(self, c):
        s, k = divmod(int(c), len(self.offsets))
        return np.roll(self.signals[s].values, self.offsets[k])[self.keep]

    def _columns(self, numbers):
        columns = np.empty((len(numbers), len(self.keep)), np.float32)
        for column, c in zip(columns, numbers):
            column[:] = self._shifted(c)
        return columns

    def associations(self, units, progress=_nobody):
        """Return (C, U) for all units (U, N)."""
        result = np.zeros((len(self.graded), len(units)), np.float32)
        kinds = [(np.flatnonzero(~self.graded), midranks), (np.flatnonzero(self.graded), standardised)]
        step, together = (max(1, size // len(self.keep)) for size in (UNIT_NUMBERS, COLUMN_NUMBERS))
        for at in range(0, len(units), step):
            values = units[at : at + step, self.keep]
            done = 0
            for numbers, prepare in kinds:
                if not len(numbers):
                    continue
                prepared = prepare(values).T
                for first in range(0, len(numbers), together):
                    some = numbers[first : first + together]
                    result[some, at : at + len(values)] = self._columns(some) @ prepared
                    done += len(some)
                    progress((at + len(values) * done / len(result)) / len(units))
        return result * self.scale[:, None]

    def pairs(self, units, pairs, progress=_nobody):
        """Return the association of each (column, unit), and Spearman's rho where the column is graded."""
        result, spearman = np.zeros(len(pairs)), np.zeros(len(pairs))
        by_unit = {}
        for k, (_, unit) in enumerate(pairs):
            by_unit.setdefault(int(unit), []).append(k)
        column_ranks = {}
        for done, (unit, places) in enumerate(by_unit.items()):
            progress(done / len(by_unit))
            values = units[unit : unit + 1, self.keep]
            ranks, standard = midranks(values)[0].astype(np.float64), standardised(values)[0]
            spread = np.sqrt(np.dot(ranks, ranks))
            for k in places:
                c = pairs[k][0]
                column = self._shifted(c)
                if not self.graded[c]:
                    result[k] = self.scale[c] * np.dot(column, ranks)
                    continue
                result[k] = self.scale[c] * np.dot(column, standard)
                if c % len(self.offsets):
                    continue  # of the null Spearman is not asked for
                if c not in column_ranks:
                    other = exact_midranks(column)
                    column_ranks[c] = other / max(1e-30, np.sqrt(np.dot(other, other)))
                spearman[k] = np.dot(column_ranks[c], ranks) / max(spread, 1e-30)
        return result, spearman


def standardised(values):
    """Return each row less its mean, over its deviation, float32; a row that never changes is 0."""
    values = values.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.einsum("un,un->u", values, values, dtype=np.float64) / values.shape[1])
    values *= np.where(deviation > 1e-7, 1 / np.maximum(deviation, 1e-7), 0).astype(np.float32)[:, None]
    return values


def exact_midranks(values):
    """Return the centred ranks of values (n,), equal ones sharing theirs, float64, in units of n."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(count) - count / 2) / len(values) - 0.5)[place]


def _probe(recording, signals, chooses, scores, progress=_nobody):
    """Return [(score, layer)] of a ridge readout of each layer's units, the layer chosen by the choosing half."""
    T = np.array([signal.values[chooses] for signal in signals], np.float32)
    T = T - T.mean(axis=1, keepdims=True)
    best = [(-1.0, 0.0, 0)] * len(signals)
    for layer, units in enumerate(recording.values):
        X = units[:, chooses].astype(np.float32)
        mean, deviation = X.mean(axis=1, keepdims=True), np.maximum(X.std(axis=1, keepdims=True), 1e-6)
        X = np.clip((X - mean) / deviation, -OUTLIER, OUTLIER)
        gram = (X @ X.T).astype(np.float64)
        gram[np.diag_indices_from(gram)] += RIDGE * X.shape[1]
        weights = np.linalg.solve(gram, (X @ T.T).astype(np.float64)).astype(np.float32)
        on_chosen = weights.T @ X
        X = np.clip((units[:, scores].astype(np.float32) - mean) / deviation, -OUTLIER, OUTLIER)
        on_scored = weights.T @ X
        for s, signal in enumerate(signals):
            choice = _readout_score(on_chosen[s], signal, chooses)
            if choice > best[s][0]:
                best[s] = choice, _readout_score(on_scored[s], signal, scores), layer
        progress((layer + 1) / len(recording.values))
    return [(score, layer) for _, score, layer in best]


def _readout_score(predicted, signal, keep):
    target = signal.values[keep].astype(np.float64)
    if signal.kind == GRADED:
        predicted = predicted - predicted.mean(dtype=np.float64)
        spread = np.sqrt(np.dot(predicted, predicted)) * target.std() * np.sqrt(len(target))
        return max(0.0, float(np.dot(predicted, target - target.mean()) / spread)) if spread > 0 else 0.0
    on = target.sum()
    return 0.5 + float(np.dot(exact_midranks(predicted), target)) * len(target) / (on * (len(target) - on))


def _untrained_scores(untrained, signals, progress=_nobody):
    """Return {signal name: score} of the best unit of an untrained network, chosen and scored alike."""
    if untrained is None:
        return {}
    N = untrained.values.shape[2]
    shorter = [Signal(signal.name, signal.phrase, signal.kind, signal.values[:N]) for signal in signals]
    chooses, scores = halves(N)
    shorter = [signal for signal in shorter if _is_usable(signal, chooses) and _is_usable(signal, scores)]
    if not shorter:
        return {}
    associations = _Half(shorter, [0], chooses).associations(untrained.units, progress)
    best = np.argmax(np.abs(associations), axis=1)
    values, _ = _Half(shorter, [0], scores).pairs(untrained.units, list(enumerate(best)))
    values = values * np.sign(associations[np.arange(len(best)), best])
    return {
        signal.name: float(value) if signal.kind == GRADED else 0.5 + float(value)
        for signal, value in zip(shorter, values)
    }


def _is_usable(signal, keep):
    values = signal.values[keep]
    if signal.kind == GRADED:
        return len(np.unique(values)) > 2
    on = int(np.count_nonzero(values))
    return min(on, len(values) - on) >= MIN_IN_A_HALF


def _certainty(finding):
    """Order findings of both kinds: how far from luck to perfect, as luck is now."""
    return (finding.score - finding.null) / max(1e-9, 1 - finding.null)


def _check_finite(recording):
    if not np.isfinite(recording.values).all():
        raise DivergenceError(f"the values of the model's units are not finite: {DAMAGED}")
