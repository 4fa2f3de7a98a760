"""Character n-grams with interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999), every order from one sorting
of the text.

Of a context h, the k - 1 characters before w, in a model whose highest order is k:

    P_k(w | h) = (c(hw) - D(c(hw))) / c(h.)  +  (D_1 N_1(h.) + D_2 N_2(h.) + D_3 N_3+(h.)) / c(h.)  *  P_k-1(w | h')

c counts occurrences in the highest order and, in every order below it, the different characters that stand before (the
beginning of the text being one more); N_r(h.) are the characters that follow h with a count of r; h' is h without its
first character; P_0 is uniform over the vocabulary. A context that does not occur leaves P as the order below has it,
and so do places with fewer than k - 1 characters before them. D comes from how many k-grams have a count of 1, 2, 3 and
4; where these allow no such D, it is 0.5, 1, 1.5.

Of items, an n-gram stays within one: START begins a context and is never an outcome, so P_0 is uniform over the others.
What begins with START has nothing before it, so that its count is the plain one in every order (Heafield et al. 2013,
"Scalable Modified Kneser-Ney Language Model Estimation").

Nothing is looked up: the texts to be judged are sorted together with the training text, so that each stands beside what
it is to be judged by. All orders up to the highest are models of their own and come out of the same walk. This room
knows ids.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.evaluation.suffixes import sort_suffixes
from charrnn.kernels.entries import COUNT_GRAMS, INTERPOLATE

MAX_ORDERS = 20
FALLBACK = (0.0, 0.5, 1.0, 1.5, 0.0)
BYTES_A_CHARACTER = 48  # of the training text and the judged ones together, at the peak


@dataclass(frozen=True)
class Stretch:
    """Characters ids[first:] to be judged; those before `first` are context.

    counted    ndarray bool, of the judged ones those whose loss counts; None where all do
    """

    ids: np.ndarray
    first: int = 0
    counted: np.ndarray | None = None


@dataclass(frozen=True)
class Order:
    """What the model of one order gives: probabilities, an ndarray for each stretch, of every judged character."""

    order: int
    probabilities: tuple


def judge(training_ids, stretches, vocab_size, orders=MAX_ORDERS, discounts=None, progress=None, start_id=None):
    """Yield the Order of the n-grams of order 1, 2, ... `orders`, trained on training_ids.

    The arrays are good until the next one is asked for.

    discounts   (k, counts of counts (2, 5)) -> (2, 4) float64 in the place of Chen & Goodman's: for comparisons
    progress    called with a share 0..1 now and then
    start_id    of items, the id that begins one; what it is given as an outcome means nothing
    """
    report = progress or (lambda share: None)
    text = sort_suffixes(
        [training_ids, *(stretch.ids for stretch in stretches)], vocab_size, orders, lambda share: report(0.5 * share)
    )
    N, stop = len(text.codes), len(training_ids)
    slots = np.full(N, -1, np.int32)
    bounds = np.cumsum([0, *(len(stretch.ids) - stretch.first for stretch in stretches)])
    for begin, stretch, at, end in zip(text.begins[1:], stretches, bounds[:-1], bounds[1:]):
        slots[begin + stretch.first : begin + len(stretch.ids)] = np.arange(at, end)
    left = np.where(text.order > 0, text.codes[text.order - 1], 0).astype(np.int32)
    seen, counts, lefts = np.empty(vocab_size + 2, np.int64), np.empty(N, np.int32), np.empty(N, np.int32)
    counts_of_counts = np.empty((2, 5), np.int64)
    low = np.full(bounds[-1], 1.0 / (vocab_size if start_id is None else vocab_size - 1))
    start_code = 0 if start_id is None else start_id + 1
    top = np.empty_like(low)
    for k in range(1, orders + 1):
        report(0.5 + 0.5 * k / orders)
        grams = {"k": k, "stop": stop, "counts": counts, "lefts": lefts}
        text.walk(
            COUNT_GRAMS, **grams, left=left, seen=seen, num_codes=len(seen), counts_of_counts=counts_of_counts,
            start_code=start_code,
        )  # fmt: skip
        lowered = np.ascontiguousarray((discounts or _discounts)(k, counts_of_counts), np.float64)
        top[:] = low
        text.walk(INTERPOLATE, **grams, discounts=lowered, slots=slots, low=low, top=top)
        yield Order(k, tuple(top[at:end] for at, end in zip(bounds[:-1], bounds[1:])))


@dataclass(frozen=True)
class NgramLosses:
    """The losses of an n-gram on a text.

    order         the order of the n-gram: the one with the lowest loss on the validation text
    loss_nats     ndarray (n,) float64: the loss of every judged character, in nats; 0 for one that does not count
    first_sure    ndarray (n,) uint8: the lowest order (up to `sure_orders`) whose n-gram gave the character a
                  probability above 0.5; 0 if there is none
    by_order      tuple of float: mean loss of n-grams of order 1, 2, ..., in nats per character
    counted       ndarray (n,) bool: the characters that count; None if all do
    """

    order: int
    loss_nats: np.ndarray
    first_sure: np.ndarray
    by_order: tuple
    counted: np.ndarray | None = None

    @property
    def mean_nats(self):
        """Mean loss of the characters that count, in nats per character."""
        return float(self.loss_nats.mean() if self.counted is None else self.loss_nats[self.counted].mean())

    def to_dict(self):
        """Return order and mean losses as a dict for JSON."""
        return {"order": self.order, "loss_nats_by_order": list(self.by_order)}


def judge_text(
    training_ids, validation, text, vocab_size, orders=MAX_ORDERS, sure_orders=9, progress=None, start_id=None
):
    """Return the NgramLosses of `text`, the order chosen on `validation`; both are a Stretch, and may be the same one.

    validation    None where the run has none: then the order is chosen on the last tenth of the training text, with
                  n-grams of the rest
    start_id      of items, the id that begins one: no n-gram reaches from an item into the next
    """
    report = progress or (lambda share: None)
    chosen, share = None, 0.0
    if validation is None:
        share = 0.5
        cut = len(training_ids) - len(training_ids) // 10
        counted = None if start_id is None else training_ids[cut:] != start_id
        held_out = Stretch(training_ids[max(0, cut - orders) :], min(cut, orders), counted)
        losses = [
            _mean_nats(result.probabilities[0], counted)
            for result in judge(
                training_ids[:cut], [held_out], vocab_size, orders, None, lambda done: report(0.5 * done), start_id
            )
        ]
        chosen = 1 + int(np.argmin(losses))
    stretches = [text] if validation is None or validation is text else [text, validation]
    least, kept, by_order = np.inf, None, []
    first_sure = np.zeros(len(text.ids) - text.first, np.uint8)
    for result in judge(
        training_ids, stretches, vocab_size, orders, None, lambda done: report(share + (1 - share) * done), start_id
    ):
        of_text = result.probabilities[0]
        if text.counted is not None:
            of_text = np.where(text.counted, of_text, 1.0)
        by_order.append(_mean_nats(of_text, text.counted))
        if result.order <= sure_orders:
            first_sure[(first_sure == 0) & (of_text > 0.5)] = result.order
        loss = _mean_nats(result.probabilities[-1], stretches[-1].counted)
        if result.order == chosen or chosen is None and loss < least:
            least, kept = loss, (result.order, -np.log(of_text))
    assert kept is not None  # one of the orders is the best
    return NgramLosses(kept[0], kept[1], first_sure, tuple(by_order), text.counted)


def _mean_nats(probabilities, counted=None):
    return float(-np.log(probabilities if counted is None else probabilities[counted]).mean())


def _discounts(_, counts_of_counts):
    """Return Chen & Goodman's discounts of an order: (2, 4), from column 1 on."""
    return np.array([_of_one_kind(row) for row in counts_of_counts])[:, :4]


def _of_one_kind(n):
    if n[1:].all():
        Y = n[1] / (n[1] + 2 * n[2])
        D = [0.0] + [r - (r + 1) * Y * n[r + 1] / n[r] for r in (1, 2, 3)] + [0.0]
        if all(0 < D[r] <= r for r in (1, 2, 3)):
            return D
    return FALLBACK
