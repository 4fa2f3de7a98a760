"""Whether the held-out parts of a text are like the rest of it: asked of n-grams, which know no model.

A loss on the last part of a text says how well a model does only where that part is like the others. Chapters
differ by more than the standard error of a mean, which sees nothing longer than its blocks: by that, nearly every part
would be unlike. So a part is held against stretches of the training text, each as long as the part and
judged, as the part is, by n-grams that have read neither. This module knows ids and splits, no models.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from charrnn.evaluation.ngram import BYTES_A_CHARACTER, Stretch, judge
from charrnn.files.machine import available_memory

ORDER = 5  # of the n-grams: higher ones cost time, and tell parts apart no better
CONTEXT = 8  # characters before a stretch that an n-gram is told of
MIN_STRETCHES, MAX_STRETCHES = 8, 18
MIN_CHARACTERS = 500  # of a part
MAX_CHARACTERS = 8_000_000  # of a text: the n-grams of more take long

# Student's t at 0.995, by degrees of freedom from MIN_STRETCHES - 1 on: by chance one part in a hundred is beyond.
T_995 = (3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898)


@dataclass(frozen=True)
class UnlikePart:
    """A held-out split that is unlike the training split: n-grams predict it much better or much worse.

    name          "val" or "test"
    loss_nats     loss of n-grams on the split, in nats per character
    low, high     lowest and highest loss of the same n-grams on equally long parts of the training split
    stretches     number of these parts
    """

    name: str
    loss_nats: float
    low: float
    high: float
    stretches: int

    @property
    def is_harder(self):
        """Whether the split is harder to predict than the training split; otherwise it is easier."""
        return self.loss_nats > self.high

    def to_dict(self):
        """Return the fields as a dict for JSON."""
        return asdict(self)


def find_unlike_parts(ids, splits, vocab_size, progress=None, start_id=None):
    """Return an UnlikePart for each of the validation and test split that is unlike the training split.

    Unlike is what costs more, or less, than every stretch of the training split, and so much that it would be seen in
    one part of a hundred, were the losses of stretches normally distributed. Empty too where the text is too long, or
    the parts too short or too large a share of it, to tell.

    ids         ndarray (N,)
    progress    called with the share done, 0 to 1
    start_id    of items, the id that begins one
    """
    parts = {name: span for name in ("val", "test") if _size(span := getattr(splits, name))}
    length = min(map(_size, parts.values()), default=0)  # a longer part varies less: it is rather called alike
    start, stop = splits.train
    count = min(MAX_STRETCHES, (stop - start) // length) if length >= MIN_CHARACTERS else 0
    free = available_memory()
    if count < MIN_STRETCHES or len(ids) > MAX_CHARACTERS or free is not None and BYTES_A_CHARACTER * len(ids) > free:
        return []
    spans, report = (splits.train, list(parts.values())), progress or (lambda share: None)
    losses = _measure(ids, vocab_size, spans, (length, count), report, start_id)
    of_parts, of_training = losses[: len(parts)], losses[len(parts) :]
    unlike = []
    for name, loss in zip(parts, of_parts):
        error = of_training.std(ddof=1) * math.sqrt(1 + 1 / count)
        far = abs(loss - of_training.mean()) > T_995[count - MIN_STRETCHES] * error
        if far and not of_training.min() <= loss <= of_training.max():
            unlike.append(UnlikePart(name, float(loss), float(of_training.min()), float(of_training.max()), count))
    return unlike


def _measure(ids, vocab_size, spans, stretching, report, start_id):
    """Return the mean losses (parts + count,) of the parts and of stretches spread over the training split.

    Every other stretch is left out of the n-grams that judge it, in two readings; the parts are judged in both.
    """
    ((start, stop), parts), (length, count) = spans, stretching
    firsts = [start + (stop - start) * number // count for number in range(count)]
    stretches = [(first, first + length) for first in firsts]
    losses = np.zeros((2, len(parts) + count))
    for turn in (0, 1):
        numbers = range(turn, count, 2)
        # What lies between the stretches that are left out, and before and after them.
        bounds = [start, *(bound for number in numbers for bound in stretches[number]), stop]
        read = np.concatenate([np.asarray(ids[a:b]) for a, b in zip(bounds[::2], bounds[1::2])])
        spans = [*parts, *(stretches[number] for number in numbers)]
        judged = [Stretch(np.asarray(ids[max(0, a - CONTEXT) : b]), min(CONTEXT, a)) for a, b in spans]
        *_, last = judge(
            read, judged, vocab_size, ORDER, None, lambda done, turn=turn: report((turn + done) / 2), start_id
        )
        found = [
            -np.log(p if start_id is None else p[one.ids[one.first :] != start_id]).mean()
            for p, one in zip(last.probabilities, judged)
        ]
        losses[turn, [*range(len(parts)), *(len(parts) + number for number in numbers)]] = found
    return np.concatenate([losses[:, : len(parts)].mean(axis=0), losses[:, len(parts) :].sum(axis=0)])


def _size(span):
    return span[1] - span[0]
