"""What a model answers: the label of a text, or a text for another; and how well it does where the answer is known.

Knows models, vocabularies and ids, not files.
"""

from typing import NamedTuple

import numpy as np

from charrnn.evaluation.labels import label_probabilities
from charrnn.evaluation.metrics import LabelsJudged, TargetsJudged, judge_labels, judge_targets
from charrnn.sampling.beam import beam_search
from charrnn.text.task_names import BOTH, CLASSIFY, STEER, TRANSLATE

MAX_TARGET = 200  # characters of a text that answers another


class LabelLoss(NamedTuple):
    """The loss on the texts of one label.

    label         name of the label
    items         number of its texts
    characters    number of their characters that count
    loss_nats     mean loss, in nats per character
    """

    label: str
    items: int
    characters: int
    loss_nats: float


class AnswersJudged(NamedTuple):
    """How good the answers of a model are: labels or translations. What does not apply to its task is None.

    labels      LabelsJudged: labels that were predicted after the whole text
    after       {number of characters: LabelsJudged}: labels that were predicted after the beginning of the text
    targets     TargetsJudged: translations, found by a beam search
    beam        width of this beam search
    by_label    tuple of LabelLoss, for a model that writes texts for a label
    with_text   bool: whether the characters of the text count in the loss, in addition to the label
    """

    labels: LabelsJudged | None = None
    after: dict | None = None
    targets: TargetsJudged | None = None
    beam: int | None = None
    by_label: tuple[LabelLoss, ...] | None = None
    with_text: bool = False

    def to_dict(self, names):
        """Return the results as a dict for JSON. names : the names of the labels"""
        result = {}
        if self.labels is not None:
            result["labels"] = {"names": list(names), **self.labels.to_dict()}
        if self.after:
            result["after"] = {str(count): judged.to_dict() for count, judged in self.after.items()}
        if self.targets is not None:
            result["targets"] = {**self.targets.to_dict(), "beam": self.beam}
        if self.by_label is not None:
            result["by_label"] = [one._asdict() for one in self.by_label]
        return result


def tell_labels(model, vocabulary, texts, after=None, report=None):
    """Return the probability of each label after each text: ndarray (N, K) float64; texts : ids, no START or END"""
    labels = np.arange(vocabulary.first_label, vocabulary.size)
    return label_probabilities(model, texts, vocabulary.end_id, labels, after, report)


def translate(model, vocabulary, sources, beam=1, max_length=MAX_TARGET, n_best=1, report=None):  # noqa: PLR0913
    """Return a list of Hypotheses for each source, the most probable first. sources : ids without START and SEP"""
    prompts = [[vocabulary.start_id, *source, vocabulary.special_id("SEP")] for source in sources]
    characters = np.array([n for n in range(len(vocabulary.symbols)) if n != vocabulary.unknown_id])
    return beam_search(model, prompts, beam, max_length, n_best, vocabulary.end_id, characters, report)


def judge_answers(model, vocabulary, excerpt, losses, after=(), beam=1, report=None):  # noqa: PLR0913
    """Return the AnswersJudged of an Excerpt of complete items; None if the model has no labels or translations.

    losses    ndarray (n,): loss of each predicted character, in nats
    after     numbers of characters: labels are also predicted after the first so many characters of each text
    """
    rule = model.rule
    if rule is None or rule.task is None:
        return None
    ids = np.asarray(excerpt.ids[excerpt.start : excerpt.stop])
    items = np.split(ids, np.flatnonzero(ids == rule.start_id))[1:]
    if rule.task in (CLASSIFY, BOTH):
        texts = [item[1:-2] for item in items]
        truth = np.array([int(item[-1]) for item in items]) - rule.labels[0]
        places = [max(map(len, texts), default=0), *after]
        found = tell_labels(model, vocabulary, texts, places, report)
        judged = [judge_labels(truth, p) for p in found]
        return AnswersJudged(labels=judged[0], after=dict(zip(after, judged[1:])), with_text=rule.task == BOTH)
    if rule.task == TRANSLATE:
        references = {}  # of each source, all that it may be translated to
        for item in items:
            place = int(np.flatnonzero(item == rule.sep_id)[0])
            references.setdefault(item[1:place].tobytes(), []).append((item[1:place], item[place + 1 : -1]))
        sources = [pairs[0][0] for pairs in references.values()]
        longest = max(len(target) for pairs in references.values() for _, target in pairs)
        best = translate(model, vocabulary, sources, beam, 2 * longest + 8, report=report)
        texts = [vocabulary.decode(found[0].ids) for found in best]
        known = [[vocabulary.decode(target) for _, target in pairs] for pairs in references.values()]
        return AnswersJudged(targets=judge_targets(texts, known), beam=beam)
    assert rule.task == STEER
    return AnswersJudged(by_label=_losses_by_label(vocabulary, rule, excerpt, losses))


def _losses_by_label(vocabulary, rule, excerpt, losses):
    """Return a LabelLoss of each label of an Excerpt, the hardest first."""
    ids = np.asarray(excerpt.predicted_ids)
    counted = rule.counts(excerpt.ids, excerpt.first, excerpt.stop)
    places = np.flatnonzero((ids >= rule.labels[0]) & (ids < rule.labels[1]))
    labels = ids[places].astype(np.int64) - rule.labels[0]
    lengths = np.diff(np.append(places, len(ids)))
    of_each = np.repeat(labels, lengths)
    from_first = slice(places[0] if len(places) else 0, None)
    counts, K = counted[from_first], len(vocabulary.labels)
    sums = np.bincount(of_each, losses[from_first] * counts, K)
    characters, items = np.bincount(of_each, counts, K), np.bincount(labels, minlength=K)
    found = [
        LabelLoss(vocabulary.labels[k], int(items[k]), int(characters[k]), float(sums[k] / characters[k]))
        for k in np.flatnonzero(items)
    ]
    return tuple(sorted(found, key=lambda one: -one.loss_nats))
