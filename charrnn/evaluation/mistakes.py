"""What kinds of characters a model gets wrong, and how far back it remembers brackets. Pure: texts and losses in,
counts out.

After "Visualizing and Understanding Recurrent Networks" (arXiv 1506.02078, section 4.4). A mistake is a character that
the model gave a probability below 0.5. Mistakes are peeled off in this order, each counted once, under the first kind
that has it:

    n-gram        an n-gram model of order 1 to 9, of the same training text, gave the character more than 0.5
    memory        the character is in a word, its first character excepted, and that whole word stands in the last 100,
                  500 or 1,000 characters before it
    rare word     the character is in a word that the training text has at most 5 times
    word start    the character comes after a space, a newline or a quote
    punctuation   the character is neither of a word nor blank
    the rest      by the probability it did get: what a model a little better would get right

Departures: n-grams are Kneser-Ney (charrnn/evaluation/ngram.py); a word is a run of letters, digits, underscores and
inner apostrophes, so that names in source code are words; of a vocabulary of bytes every byte above 127 counts as a
letter (`readable`).
"""

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

SURE = 0.5
ORDERS = 9
WINDOWS = (100, 500, 1000)
RARE = 5
REST = (0.4, 0.3, 0.2, 0.1, 0.0)
AFTER_OPENERS = " \t\r\n\"'\u00a0\u2018\u2019\u201c\u201d\u00ab\u00bb`"
BRACKETS = {")": "(", "]": "[", "}": "{"}
DISTANCES = (1, 5, 10, 20, 40, 80, 160, 320, 640)

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_HIGH_BYTES = {code: chr(0x100 + code) for code in range(0x80, 0x100)}  # U+0180 to U+01FF, all of them letters


@dataclass(frozen=True)
class Kind:
    """The mistakes of one kind.

    kind, detail    names of the kind and of its subdivision
    count           number of these mistakes
    loss_share      their share of the loss of the whole text, 0 .. 1
    """

    kind: str
    detail: str
    count: int
    loss_share: float


@dataclass(frozen=True)
class Mistakes:
    """All mistakes of a model on a text, by kind. A mistake is a character with a probability below 0.5.

    characters    number of judged characters
    count         number of mistakes
    loss_share    their share of the loss of the whole text, 0 .. 1
    kinds         tuple of Kind. A mistake belongs to the first kind whose definition it meets
    """

    characters: int
    count: int
    loss_share: float
    kinds: tuple

    def by_kind(self):
        """Return a list of (kind, count, loss_share), with the details of each kind added up."""
        sums = {}
        for one in self.kinds:
            count, share = sums.get(one.kind, (0, 0.0))
            sums[one.kind] = count + one.count, share + one.loss_share
        return [(kind, *of_kind) for kind, of_kind in sums.items()]

    def to_dict(self):
        """Return the fields as a dict for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BracketLoss:
    """The loss on closing brackets that are low .. high - 1 characters away from their opening brackets.

    low, high          the range of distances; high is None if it has no end
    count              number of these brackets
    loss_nats          mean loss of the model, in nats per bracket; NaN if there are none
    ngram_loss_nats    mean loss of the n-gram, likewise
    """

    low: int
    high: int | None
    count: int
    loss_nats: float
    ngram_loss_nats: float

    def to_dict(self):
        """Return the fields as a dict for JSON; None instead of NaN."""
        return {name: value if value is None or math.isfinite(value) else None for name, value in asdict(self).items()}


def readable(vocabulary, ids):
    """Return ids as a str with a character an id, fit to be looked at for words."""
    if vocabulary.mode == "bytes":
        return "".join(_HIGH_BYTES.get(symbol) or chr(symbol) for symbol in map(vocabulary.symbols.__getitem__, ids))
    return vocabulary.decode(ids)


def count_words(text):
    """Return how often each word occurs in a text, a Counter."""
    return Counter(_WORD.findall(text))


def find_mistakes(text, first, loss_nats, first_sure, words):
    """Return the Mistakes of a model in text[first:].

    text          str, a character an id; what stands before `first` is context
    loss_nats     ndarray (n,): of text[first:]
    first_sure    ndarray (n,): the lowest order of n-gram, up to ORDERS, that gave a character more than 0.5; 0 where
                  none did
    words         count_words of the training text
    """
    left = loss_nats > -np.log(SURE)
    count, total = int(left.sum()), float(loss_nats.sum())
    kinds = []

    def peel(kind, detail, members):
        found = left & members
        left[found] = False
        share = float(loss_nats[found].sum()) / total if total else 0.0
        kinds.append(Kind(kind, detail, int(found.sum()), share))

    loss_share = float(loss_nats[left].sum()) / total if total else 0.0
    for order in range(1, ORDERS + 1):
        peel("n-gram", f"order {order}", first_sure == order)
    distance, occurrences = _read_words(text, first, words)
    for low, window in zip((0, *WINDOWS), WINDOWS):
        peel("memory", f"within {window:,} characters", (distance > low) & (distance <= window))
    peel("rare word", "never in the training text", occurrences == 0)
    peel("rare word", f"1 to {RARE} times in it", (occurrences >= 1) & (occurrences <= RARE))
    characters = text[first:]
    befores = text[first - 1 : -1] if first else "\n" + text[:-1]
    peel(
        "word start",
        "after a space, a newline or a quote",
        np.array([before in AFTER_OPENERS for before in befores], bool),
    )
    peel("punctuation", "neither in a word nor blank", np.array([_is_punctuation(one) for one in characters], bool))
    probabilities = np.exp(-loss_nats)
    for high, low in zip((SURE, *REST), REST):
        peel("the rest", f"p {low:g} to {high:g}", (probabilities >= low) & (probabilities < high))
    return Mistakes(len(loss_nats), count, loss_share, tuple(kinds))


def bracket_losses(text, first, loss_nats, ngram_loss_nats):
    """Return the BracketLoss of every range of DISTANCES: loss at closing brackets of text[first:] against how far the
    opening one is.
    """
    opened, distances = {opener: [] for opener in BRACKETS.values()}, []
    for at, character in enumerate(text):
        if character in opened:
            opened[character].append(at)
        elif character in BRACKETS and opened[BRACKETS[character]]:
            begin = opened[BRACKETS[character]].pop()
            if at >= first:
                distances.append((at - begin, at - first))
    found = []
    for low, high in zip(DISTANCES, (*DISTANCES[1:], None)):
        places = [at for distance, at in distances if distance >= low and (high is None or distance < high)]
        means = [float(losses[places].mean()) if places else np.nan for losses in (loss_nats, ngram_loss_nats)]
        found.append(BracketLoss(low, high, len(places), *means))
    return found


def _is_punctuation(character):
    return not character.isspace() and not _WORD.fullmatch(character)


def _read_words(text, first, words):
    """Return, for every character of text[first:], two ndarrays (n,) int64, each -1 where it does not apply:

    distance       how far back the word it belongs to was last seen begin, were it in a window; not of a word's first
                   character
    occurrences    how often the training text has its word
    """
    distance, occurrences = np.full(len(text), -1), np.full(len(text), -1)
    for match in _WORD.finditer(text):
        begin, end = match.span()
        if end <= first:
            continue
        word = match.group()
        occurrences[begin:end] = words[word]
        if end - begin > 1:
            seen = text.rfind(word, max(0, begin - WINDOWS[-1]), begin)
            if seen >= 0:
                distance[begin + 1 : end] = begin - seen
    return distance[first:], occurrences[first:]
