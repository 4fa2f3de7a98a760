"""How well labels and targets are met: accuracy, F1, calibration, exact matches, edit distances.

Arrays and sequences in, records of plain numbers out, which a command shows and writes as JSON. Knows no model.
"""

import math
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from charrnn.errors import ConfigError

Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations
BINS = 15  # of confidences: Guo, Pleiss, Sun & Weinberger 2017


class Proportion(NamedTuple):
    """A share of cases, with a 95 % confidence interval.

    value        hits / cases, 0 .. 1; NaN if there are no cases
    low, high    the ends of the interval; NaN if there are no cases
    """

    value: float
    low: float
    high: float
    hits: int
    cases: int

    def to_dict(self):
        """Return the fields as a dict for JSON; None instead of NaN."""
        return {name: None if value != value else value for name, value in self._asdict().items()}


class LabelScore(NamedTuple):
    """How well one label is predicted.

    number       index of the label
    cases        number of cases that have the label
    precision    share of correct ones among the cases that were predicted to have the label; 0 if there are none
    recall       share of the cases with this label that were predicted to have it; 0 if there are none
    f1           harmonic mean of precision and recall
    """

    number: int
    cases: int
    precision: float
    recall: float
    f1: float


class CalibrationBin(NamedTuple):
    """The cases whose predicted label has a probability in (low, high].

    cases         number of these cases
    confidence    mean of the probabilities
    accuracy      share of the predicted labels that are right
    """

    low: float
    high: float
    cases: int
    confidence: float
    accuracy: float


class LabelsJudged(NamedTuple):
    """How well labels are predicted, over all cases.

    accuracy            Proportion of cases whose predicted label is right
    macro_f1            mean F1 of all labels that occur or were predicted
    labels              list of LabelScore, one for each of these labels
    confusion           list (K, K) of counts; rows: the true label; columns: the predicted one
    calibration_error   mean over the cases of |confidence - accuracy| of their bin, 0 .. 1
    bins                list of CalibrationBin; bins without cases are left out
    loss_nats           mean of -log p of the right label, in nats per case
    """

    accuracy: Proportion
    macro_f1: float
    labels: list[LabelScore]
    confusion: list[list[int]]
    calibration_error: float
    bins: list[CalibrationBin]
    loss_nats: float

    def to_dict(self):
        """Return the fields as a dict for JSON."""
        return {
            **self._asdict(),
            "accuracy": self.accuracy.to_dict(),
            "labels": [score._asdict() for score in self.labels],
            "bins": [each._asdict() for each in self.bins],
        }


class TargetsJudged(NamedTuple):
    """How well texts match their references.

    exact            Proportion of texts that equal one of their references
    word_error       1 - exact; if each text is a word, this is the word error rate
    edits            number of insertions, deletions and substitutions between the texts and the nearest references
    symbols          total length of these references, in characters (or other elements)
    error_rate       edits / symbols; for characters, this is the character error rate
    """

    exact: Proportion
    word_error: float
    edits: int
    symbols: int
    error_rate: float

    def to_dict(self):
        """Return the fields as a dict for JSON."""
        return {**self._asdict(), "exact": self.exact.to_dict()}


def proportion(hits, cases):
    """Return the Proportion of `hits` among `cases`, by Wilson's interval (1927).

    Unlike the usual +-1.96 standard errors, it stays within 0 and 1, and is not empty where all or none are hits.

    >>> [round(value, 4) for value in proportion(8, 10)[:3]]
    [0.8, 0.4902, 0.9433]
    """
    if not 0 <= hits <= cases:
        raise ConfigError(f"hits must be from 0 to the {cases:,} cases, got {hits:,}")
    if cases == 0:
        return Proportion(math.nan, math.nan, math.nan, 0, 0)
    share, n = hits / cases, cases
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == cases else min(1.0, middle + half)
    return Proportion(share, low, high, int(hits), int(cases))


def judge_labels(truth, probabilities, bins=BINS):
    """Return the LabelsJudged of the likeliest label of each case, of equals the first.

    truth            ndarray (N,), integers: the number of each case's label
    probabilities    ndarray (N, K) of each label
    bins             equal intervals of the confidence, from 0 to 1

    Raises ConfigError.
    """
    truth, p = np.asarray(truth), np.asarray(probabilities, np.float64)
    if p.ndim != 2 or truth.shape != p.shape[:1] or not len(truth):
        raise ConfigError(f"truth and probabilities must be (N,) and (N, K), got {truth.shape} and {p.shape}")
    N, K = p.shape
    if truth.min() < 0 or truth.max() >= K:
        raise ConfigError(f"labels must be in 0..{K - 1}, got {truth.min()}..{truth.max()}")
    given = p.argmax(axis=1)
    confusion = np.bincount(truth * K + given, minlength=K * K).reshape(K, K)
    labels = [_score_label(confusion, k) for k in range(K) if confusion[k].any() or confusion[:, k].any()]
    found = _calibration_bins(p[np.arange(N), given], given == truth, bins)
    with np.errstate(divide="ignore"):
        loss = -np.log(p[np.arange(N), truth]).mean()
    return LabelsJudged(
        proportion(int(np.trace(confusion)), N),
        math.fsum(score.f1 for score in labels) / len(labels),
        labels,
        confusion.tolist(),
        math.fsum(each.cases * abs(each.confidence - each.accuracy) for each in found) / N,
        found,
        float(loss),
    )


def judge_targets(texts, references):
    """Return the TargetsJudged of texts, each of which has one reference or several and is right where it meets any.

    texts         sequence of str, or of sequences of symbols: ("HH", "AH", "L", "OW") is judged phoneme by phoneme
    references    sequence of sequences of the same; of references that are equally near the first is taken

    >>> judge_targets(["cat", "do"], [["cat"], ["dog", "dig"]]).error_rate
    0.16666666666666666
    """
    if len(texts) != len(references):
        raise ConfigError(f"each text needs its references, got {len(texts):,} texts and {len(references):,} of them")
    exact = edits = symbols = 0
    for text, several in zip(texts, references):
        if not len(several):
            raise ConfigError("a text needs at least 1 reference, got none")
        distances = [Levenshtein.distance(text, reference) for reference in several]
        nearest = min(range(len(several)), key=distances.__getitem__)
        exact += distances[nearest] == 0
        edits += distances[nearest]
        symbols += len(several[nearest])
    share = proportion(exact, len(texts))
    return TargetsJudged(share, 1 - share.value, edits, symbols, edits / symbols if symbols else math.nan)


def _score_label(confusion, k):
    """Return the LabelScore of label k."""
    right, cases, given = (int(value) for value in (confusion[k, k], confusion[k].sum(), confusion[:, k].sum()))
    return LabelScore(
        k, cases, right / given if given else 0.0, right / cases if cases else 0.0, 2 * right / (cases + given)
    )


def _calibration_bins(confidences, is_right, count):
    """Return the CalibrationBins that hold a case."""
    numbers = np.clip(np.ceil(confidences * count).astype(int) - 1, 0, count - 1)
    found = []
    for k in np.unique(numbers).tolist():
        here = numbers == k
        found.append(
            CalibrationBin(
                k / count,
                (k + 1) / count,
                int(here.sum()),
                float(confidences[here].mean()),
                float(is_right[here].mean()),
            )
        )
    return found
