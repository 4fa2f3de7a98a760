"""What is said of a judgement, in the terminal and on the page alike: sentences and rows of words."""

import math

from charrnn.errors import counted
from charrnn.evaluation.units import FEW, bits

MAX_BITS = 8  # of a character: what costs more is shown in the strongest colour
PAGE_CHARACTERS = 40_000


def unit_of(judgement):
    """Return what a loss is the mean over: a label, where nothing else counts, or a character."""
    answers = judgement.answers
    return "label" if answers is not None and answers.labels is not None and not answers.with_text else "character"


def figure(judgement):
    """Say the loss."""
    error = f" (standard error {judgement.error.nats:.4f})" if math.isfinite(judgement.error.nats) else ""
    evaluation = judgement.evaluation
    return f"{evaluation.loss_nats:.4f} nats{error} = {evaluation.loss_bpc:.4f} bits per {unit_of(judgement)}"


def loss_rows(judgement):
    """Return [(name, nats, detail)] of the baselines and the model, the worst first."""
    unit = unit_of(judgement)
    rows = [
        (baseline.name, baseline.loss_nats, _detail(baseline, unit))
        for baseline in judgement.baselines
        if judgement.evaluation.characters >= FEW or not baseline.name.startswith("xz")
    ]
    rows.append(("this model", judgement.evaluation.loss_nats, ""))
    if judgement.mixed is not None:
        share = f"{judgement.mixed.model_share:.0%} model, {1 - judgement.mixed.model_share:.0%} n-gram: --mix-ngram"
        rows.append((f"model + {judgement.mixed.order}-gram", judgement.mixed.loss_nats, share))
    if judgement.dynamic is not None:
        rows.append(("this model, learning", judgement.dynamic.loss_nats, "as it reads: --dynamic"))
    return sorted(rows, key=lambda row: -row[1])


def _detail(baseline, unit):
    """Say what a baseline knows; those that know no text count what is judged."""
    return baseline.detail.replace("character", unit) if baseline.name in ("uniform", "unigram") else baseline.detail


def verdict_line(judgement):
    """Say how the model stands to the n-gram, "" where none was trained."""
    verdict = judgement.verdict
    if verdict is None:
        return ""
    if verdict.kind == "short" and unit_of(judgement) == "label":
        return (
            f"A text with {counted(judgement.evaluation.characters, 'label')} is too short to compare the model with "
            "the n-gram; the interval of the accuracy shows how certain it is."
        )
    if verdict.kind == "short":
        return (
            f"A text of {counted(judgement.evaluation.characters, 'character')} is too short to judge a model: use "
            "one of several thousand characters."
        )
    name, sees = f"{verdict.order}-gram", _context_of(verdict.order)
    if verdict.kind == "known":
        return (
            "Most of this text occurs word for word in the training text, so these figures do not show how good the "
            "model is on new text."
        )
    if verdict.kind == "level":
        return f"The model is about as good as the {name}, which {sees}."
    if verdict.kind == "ahead":
        return (
            f"The model needs {verdict.share:.1%} fewer bits than the {name}, which {sees}: it has learned more than "
            "that."
        )
    if judgement.text.split is None:
        return (
            f"The {name} of the same training text needs {verdict.share:.1%} fewer bits for this text than the model."
        )
    return f"The {name} needs {verdict.share:.1%} fewer bits than the model: train longer, or train a larger model."


def _context_of(order):
    """Say what an n-gram of an order knows of a text: its context is one character shorter than its order."""
    if order == 1:
        return "knows only how often each character occurs"
    return f"sees only the last {counted(order - 1, 'character') if order > 2 else 'character'}"


MISTAKE_KINDS = (
    "n-gram: an n-gram of the training text gave the character more than 0.5 (order 3: from the 2 characters before "
    "it). memory: the whole word also occurs in the 100, 500 or 1,000 characters before it. p: the probability that "
    "the model gave. of all: the share of all mistakes. of loss: the share of the loss of the whole text."
)


def mistakes_line(mistakes):
    """Say how many mistakes there are."""
    return (
        f"{mistakes.count:,} of {mistakes.characters:,} characters ({mistakes.count / mistakes.characters:.1%}) got a "
        f"probability below 0.5. They cause {mistakes.loss_share:.1%} of the loss. Each is counted once, under the "
        "first kind that fits."
    )


def bracket_rows(brackets):
    """Return [(distance, brackets, the model's bits, the n-gram's bits)] as words."""

    def in_bits(nats):
        return f"{bits(nats):.2f}" if math.isfinite(nats) else "-"

    return [
        (
            f"{one.low}-{one.high - 1}" if one.high else f"{one.low}+",
            f"{one.count:,}",
            in_bits(one.loss_nats),
            in_bits(one.ngram_loss_nats),
        )
        for one in brackets
    ]
