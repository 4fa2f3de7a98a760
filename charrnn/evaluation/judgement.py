"""Records of what was measured for a model on a text, and their plain values as `charrnn eval --json` prints them.

They store the results of report.py and measure nothing themselves. n is the number of judged characters.
"""

import math
import os
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from charrnn.evaluation.answers import AnswersJudged
from charrnn.evaluation.baselines import Baseline
from charrnn.evaluation.dynamic import DynamicSettings
from charrnn.evaluation.items import ItemsJudged
from charrnn.evaluation.loss import Evaluation, mean_nats, standard_error
from charrnn.evaluation.memorised import Overlap
from charrnn.evaluation.mistakes import Mistakes
from charrnn.evaluation.mixing import MixedLosses
from charrnn.evaluation.ngram import NgramLosses
from charrnn.evaluation.parts import UnlikePart
from charrnn.evaluation.units import FEW, bits, perplexity_text
from charrnn.render.notebook import coloured_text, html_table
from charrnn.text.byte_text import read_symbols
from charrnn.text.corpus import Splits
from charrnn.text.excerpt import Excerpt
from charrnn.text.vocabulary import Vocabulary

KNOWN = 0.25  # of what xz writes of a text alone: a text that it writes in less after the training text stands in that
NOTEBOOK_CHARACTERS, NOTEBOOK_BITS = 600, 8


class TrainingText(NamedTuple):
    """The text that a model was trained on.

    ids       ndarray (N,) of integers: the whole text
    splits    Splits: where its training, validation and test splits begin and end
    """

    ids: np.ndarray
    splits: Splits


class StandardError(NamedTuple):
    """The standard error of a mean loss, computed from the mean losses of consecutive blocks of the text.

    nats                the standard error in nats per character; NaN if there are fewer than 2 blocks
    blocks              number of blocks
    block_characters    number of characters in a block
    """

    nats: float
    blocks: int
    block_characters: int


class Verdict(NamedTuple):
    """The comparison of a model with an n-gram that was trained on the same text.

    Attributes
    ----------
    kind : {"ahead", "behind", "level", "short", "known"}
        "ahead" or "behind": the model has a lower or a higher loss than the n-gram, by more than 2 standard errors of
        the difference. "level": the difference is smaller. "short": the text is too short to tell. "known": most of the
        text also occurs in the training text, so the losses do not tell how well new text is predicted.
    order : int
        Order of the n-gram: n.
    share : float
        Difference of the two losses divided by the larger one, 0 .. 1.
    """

    kind: str
    order: int
    share: float


class DynamicLosses(NamedTuple):
    """The losses of a copy of the model that kept learning from the text while reading it (dynamic evaluation).

    settings   DynamicSettings: how it learned
    losses     ndarray (n,) float64: the loss of every judged character, in nats
    counted    ndarray (n,) bool: the characters that count; None if all do
    """

    settings: DynamicSettings
    losses: np.ndarray
    counted: np.ndarray | None = None

    @property
    def loss_nats(self):
        """Mean loss of the characters that count, in nats per character."""
        return mean_nats(self.losses, self.counted)


class Guesses(NamedTuple):
    """The K characters that the model expected most at each of the first n places.

    ids    ndarray (n, K) int32: the most probable one first
    p      ndarray (n, K) float64: their probabilities
    """

    ids: np.ndarray
    p: np.ndarray


class Copies(NamedTuple):
    """How much of a text also occurs, word for word, in the training text.

    name       str: which text this is, such as "a sample of the model"
    ids        ndarray (n,) of integers: the text
    overlap    Overlap: how much of it occurs in the training text
    passage    str: the longest passage that occurs in the training text
    """

    name: str
    ids: np.ndarray
    overlap: Overlap
    passage: str

    def to_dict(self):
        """Return the numbers, without the ids, as a dict for JSON."""
        return {
            "characters": len(self.ids),
            "shares": [_finite(share) for share in self.overlap.shares],
            "longest": self.overlap.longest,
            "passage": self.passage,
        }


@dataclass(frozen=True, repr=False)
class Judgement:
    """How well a model predicts a text: the result of `charrnn.evaluate`. A notebook shows it as a table.

    What was not measured is None or empty. n is the number of judged characters: all that were read, except the first
    character of a text, because no character precedes it.

    Attributes
    ----------
    vocabulary : Vocabulary
        The vocabulary of the model.
    text : Excerpt
        The text that was read.
    losses : ndarray (n,), float64
        Loss of every judged character, in nats.
    evaluation : Evaluation
        Mean of the losses: `loss_nats`, `loss_bpc` (bits per character), `perplexity`.
    error : StandardError
        Standard error of this mean.
    size_bytes : int
        Size of the judged characters in UTF-8.
    baselines : tuple of Baseline
        Other models of the same text, each with `name`, `loss_nats` and `detail`; the highest loss first.
    ngram : NgramLosses
        Losses of the n-gram that was trained on the same text.
    training_used : int
        Number of characters of the training split from which n-gram, unigram and xz learned: at most the last
        20,000,000. None if they were not asked for or the training text is gone.
    unlike : UnlikePart
        Set if the judged split is clearly unlike the training split.
    mixed : MixedLosses
        Losses of a mixture of the model and the n-gram.
    dynamic : DynamicLosses
        Losses of a copy of the model that keeps learning as it reads.
    mistakes : Mistakes
        Wrong predictions, by kind.
    brackets : tuple of BracketLoss
        With `mistakes`: losses of closing brackets, by their distance from the opening one.
    sample, held_out : Copies
        How much of a sample from the model, and of a text it was not trained on, also occurs in the training text.
    guesses : Guesses
        The most probable characters at each place.
    counted : ndarray (n,), bool
        Which of the judged characters count in the mean; None if all do. For a model of items START does not count.
    items : ItemsJudged
        For a model of items: loss per item, and how long items become.
    answers : AnswersJudged
        For a model with labels or translations: how good its answers are.
    """

    vocabulary: Vocabulary
    text: Excerpt
    losses: np.ndarray
    evaluation: Evaluation
    error: StandardError
    size_bytes: int
    baselines: tuple[Baseline, ...] = ()
    ngram: NgramLosses | None = None
    training_used: int | None = None
    unlike: UnlikePart | None = None
    mixed: MixedLosses | None = None
    dynamic: DynamicLosses | None = None
    mistakes: Mistakes | None = None
    brackets: tuple = ()
    sample: Copies | None = None
    held_out: Copies | None = None
    guesses: Guesses | None = None
    counted: np.ndarray | None = None
    items: ItemsJudged | None = None
    answers: AnswersJudged | None = None

    @property
    def bits_per_byte(self):
        """Mean loss in bits per byte of UTF-8: compares models of characters with models of bytes."""
        return float(self.evaluation.loss_bpc * self.evaluation.characters / self.size_bytes)

    def of_counted(self, losses):
        """Return the losses, of an ndarray (n,), that count."""
        return losses if self.counted is None else losses[self.counted]

    @property
    def is_known(self):
        """Whether most of the text also occurs in the training text, judged by how well xz compresses it after that.

        Always False for a split of the training text, and if `baselines` were not measured.
        """
        if self.evaluation.characters < FEW:
            return False
        nats = {baseline.name: baseline.loss_nats for baseline in self.baselines}
        return self.text.split is None and nats.get("xz -9e", math.inf) < KNOWN * nats.get("xz -9e alone", 0)

    @property
    def verdict(self):
        """The Verdict: whether the model or the n-gram has the lower loss. None if no n-gram was trained."""
        if self.ngram is None:
            return None
        difference = self.evaluation.loss_nats - self.ngram.mean_nats
        error = standard_error(self.of_counted(self.losses - self.ngram.loss_nats))[0]
        share = abs(difference) / max(self.ngram.mean_nats, self.evaluation.loss_nats)
        if self.is_known:
            kind = "known"
        elif not math.isfinite(error):
            kind = "short"
        elif not abs(difference) > 2 * error:
            kind = "level"
        else:
            kind = "behind" if difference > 0 else "ahead"
        return Verdict(kind, self.ngram.order, share)

    def __repr__(self):
        return f"<Judgement: {self.evaluation.loss_nats:.4f} nats over {self.evaluation.characters:,} characters>"

    def _repr_html_(self):
        """Return HTML for a notebook: the losses of model and baselines, and the text coloured by its losses."""
        rows = [[one.name, *_figures(one.loss_nats)] for one in self.baselines]
        rows.append(["this model", *_figures(self.evaluation.loss_nats)])
        if self.dynamic is not None:
            rows.append(["this model, learning as it reads", *_figures(self.dynamic.loss_nats)])
        caption = f"{self.text.name or 'a text'}: {self.evaluation.characters:,} characters"
        ids = self.text.predicted_ids[:NOTEBOOK_CHARACTERS]
        symbols = read_symbols(self.vocabulary, ids, self.text.encoding)[1]
        shares = np.minimum(self.losses[: len(ids)] / math.log(2) / NOTEBOOK_BITS, 1)
        title = f"The redder a character, the more bits it needs; {NOTEBOOK_BITS} or more bits are fully red"
        return html_table(rows, ("", "nats", "bits", "perplexity"), caption) + coloured_text(
            symbols, shares, title=title
        )

    def records(self, count=None):
        """Yield a dict for each judged character.

        Keys: "at" (int, its place in the text), "character" (str, or int for a byte model), "bits" (its loss in bits),
        and if they were measured, "dynamic_bits", "mixed_bits" and "guesses" (list of [character, probability], the
        most probable first).

        count : number of guesses per character; None gives all
        """
        columns = {"bits": self.losses}
        if self.dynamic is not None:
            columns["dynamic_bits"] = self.dynamic.losses
        if self.mixed is not None:
            columns["mixed_bits"] = self.mixed.losses
        # A label by its name, since no terminal has to find room for it here.
        symbols = (*self.vocabulary.shown_symbols[: self.vocabulary.first_label], *self.vocabulary.labels)
        for at, number in enumerate(self.text.predicted_ids.tolist()):
            record = {
                "at": self.text.first - self.text.start + at,
                "character": symbols[number],
                **{name: bits(losses[at]) for name, losses in columns.items()},
            }
            if self.guesses is not None and at < len(self.guesses.ids):
                record["guesses"] = [
                    [symbols[guess], float(share)]
                    for guess, share in zip(self.guesses.ids[at, :count], self.guesses.p[at])
                ]
            yield record

    def to_dict(self, checkpoint=None):
        """Return everything but the losses of single characters as a dict for JSON, as `charrnn eval --json` prints it.

        Numbers that are not finite become None.

        checkpoint : path-like or None; the file of the model, to be included
        """
        result = {
            **self.evaluation.to_dict(),
            "bits_per_byte": self.bits_per_byte,
            "size_bytes": self.size_bytes,
            "standard_error_nats": _finite(self.error.nats),
            "error_blocks": self.error.blocks,
            "error_block_characters": self.error.block_characters,
            "unknown": self.text.unknown_to_dict(),
            "split": self.text.split,
            "text": self.text.name,
            "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
            "baselines": [one.to_dict() for one in self.baselines],
        }
        if self.items is not None:
            result["items"] = self.items.to_dict()
        if self.answers is not None:
            result |= self.answers.to_dict(self.vocabulary.labels)
        if self.ngram is not None:
            result["ngram"] = self.ngram.to_dict()
        if self.unlike is not None:
            result["unlike"] = self.unlike.to_dict()
        if self.mixed is not None:
            result["mixed"] = {"loss_nats": self.mixed.loss_nats, "model_share": self.mixed.model_share}
        if self.dynamic is not None:
            loss_nats = self.dynamic.loss_nats
            result["dynamic"] = {
                "loss_nats": loss_nats,
                "gain_nats": self.evaluation.loss_nats - loss_nats,
                **asdict(self.dynamic.settings),
            }
        if self.mistakes is not None:
            result["mistakes"] = self.mistakes.to_dict()
            result["brackets"] = [one.to_dict() for one in self.brackets]
        if self.sample is not None and self.held_out is not None:
            result["memorised"] = {"sample": self.sample.to_dict(), "held_out": self.held_out.to_dict()}
        return result


def _figures(loss_nats):
    return f"{loss_nats:.4f}", f"{bits(loss_nats):.4f}", perplexity_text(loss_nats, 2)


def _finite(value):
    return float(value) if math.isfinite(value) else None
