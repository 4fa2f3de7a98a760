"""What was measured of a model on a text: records, and the plain numbers and words of them that `charrnn eval --json`
prints.

They hold what report.py found, and measure nothing themselves.
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
    """The text that a model was trained on: all of its ids, ndarray (N,), and its Splits."""

    ids: np.ndarray
    splits: Splits


class StandardError(NamedTuple):
    """The standard error of a mean loss in nats, NaN below two blocks, from the means of blocks side by side."""

    nats: float
    blocks: int
    block_characters: int


class Verdict(NamedTuple):
    """How a model stands to the n-gram of the same training text, by the standard error of their difference.

    kind     "short": the text is too short to tell anything; "known": most of it stands in the training text, so that
             the figures say nothing of a new one; "level": no difference that two standard errors would show; "behind"
             or "ahead" of the n-gram
    order    of the n-gram
    share    of the worse one's bits that the better one saves
    """

    kind: str
    order: int
    share: float


class DynamicLosses(NamedTuple):
    """The loss of every judged character, ndarray (n,), in nats, while a copy of the model learned from those before
    it.

    counted    those that count, ndarray (n,) bool; None for all
    """

    settings: DynamicSettings
    losses: np.ndarray
    counted: np.ndarray | None = None

    @property
    def loss_nats(self):
        """Mean loss in nats per character that counts."""
        return mean_nats(self.losses, self.counted)


class Guesses(NamedTuple):
    """What the model expected in the place of each of the first n judged characters.

    ids    ndarray (n, K) int32, the likeliest first
    p      ndarray (n, K) float64, their probabilities
    """

    ids: np.ndarray
    p: np.ndarray


class Copies(NamedTuple):
    """How much of a text stands word for word in the training text.

    name       what the text is
    ids        ndarray (n,) of the text
    overlap    an Overlap
    passage    the longest passage that stands in the training text, as text
    """

    name: str
    ids: np.ndarray
    overlap: Overlap
    passage: str

    def to_dict(self):
        """Return it as plain numbers and words."""
        return {
            "characters": len(self.ids),
            "shares": [_finite(share) for share in self.overlap.shares],
            "longest": self.overlap.longest,
            "passage": self.passage,
        }


@dataclass(frozen=True, repr=False)
class Judgement:
    """One reading of a text by a model, and what it is held against. What was not asked for is None, or empty.

    text               an Excerpt, n characters of which are judged
    losses             ndarray (n,) float64, of every judged character, in nats
    evaluation         their mean, in three units
    error              its StandardError
    size_bytes         of the judged characters, in UTF-8
    baselines          Baselines, the worst first
    ngram              NgramLosses of the n-gram trained on the same text
    training_used      characters of the training split that n-gram, unigram and xz know: its last ones, where it is
                       very long; None where the training text was not at hand, or not asked
    unlike             an UnlikePart, where the judged split is unlike the training split
    mixed              MixedLosses of the model with the n-gram
    dynamic            DynamicLosses
    mistakes           Mistakes by kind
    brackets           BracketLoss of every range of distances, with `mistakes`
    sample, held_out   Copies of the training text in a sample of the model's, and beside it in a text it never saw
    guesses            Guesses
    counted            ndarray (n,) bool, the characters that count: of items no START; None where all do
    items              ItemsJudged, of a model of items
    answers            AnswersJudged, of a model that is asked for labels or texts, or follows labels
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
        """Bits per byte of UTF-8, by which models of characters and of bytes can be compared."""
        return float(self.evaluation.loss_bpc * self.evaluation.characters / self.size_bytes)

    def of_counted(self, losses):
        """Return those of losses, ndarray (n,), that count."""
        return losses if self.counted is None else losses[self.counted]

    @property
    def is_known(self):
        """Whether a text that is no split stands in the training text: xz, which has read that, hardly writes it."""
        if self.evaluation.characters < FEW:
            return False
        nats = {baseline.name: baseline.loss_nats for baseline in self.baselines}
        return self.text.split is None and nats.get("xz -9e", math.inf) < KNOWN * nats.get("xz -9e alone", 0)

    @property
    def verdict(self):
        """The Verdict, None where no n-gram was trained."""
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
        """Show a notebook the loss beside the baselines, and the text coloured by what each character cost."""
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
        """Yield a dict for each judged character: its place, what it is and its bits; guesses where they were read.

        count    guesses each, all that were read where None
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
        """Return everything but the single characters as plain numbers and words; what is no finite number is None.

        checkpoint    the file that the model is from
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
