"""Beam search for the most probable continuations of prompts. Knows ids, not text.

Sutskever, Vinyals & Le 2014, section 3.2. Each prompt has up to `beam` hypotheses. In each step all hypotheses of all
prompts, as one batch, are extended by one character. Among the `beam` best extensions of a prompt, those by the stop
symbol are complete; the `beam` best of the other extensions become the new hypotheses. Scores can only fall, so a
prompt is done when no hypothesis scores above the complete ones that were asked for. A beam of 1 is greedy decoding.

Promise: the result for a prompt depends on the model, the prompt and the settings alone, to the bit; not on the other
prompts, their order, or the number of threads.
"""

from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError
from charrnn.model.workspace import Workspace
from charrnn.sampling.reading import batches, log_softmax, pick, read_prompts

MAX_ROWS = 512  # hypotheses of a batch; no effect on what is found


class Hypothesis(NamedTuple):
    """A continuation of a prompt.

    ids          ndarray (n,), int32: the continuation, without the stop symbol
    score_nats   log probability of the ids in nats, with that of the stop symbol if it follows
    is_whole     bool: whether the stop symbol follows; otherwise the continuation was cut off at max_length
    """

    ids: np.ndarray
    score_nats: float
    is_whole: bool


class _Search:
    """The hypotheses of some prompts at one step.

    numbers   (n,) which prompts
    scores    (n, beam) nats, best first; -inf where there is no hypothesis
    ids       (n, beam, t) what they are so far
    log_p     (n, beam, V) of what follows them
    carry     {"h": (L, n*beam, H)}
    """

    def __init__(self, model, numbers, prompts, beam):
        log_p, carry = read_prompts(model, prompts)
        n = len(prompts)
        self.numbers = np.asarray(numbers)
        self.scores = np.full((n, beam), -np.inf)
        self.scores[:, 0] = 0
        self.ids = np.zeros((n, beam, 0), np.int32)
        self.log_p = np.repeat(log_p[:, None], beam, axis=1)
        self.carry = pick(carry, np.repeat(np.arange(n), beam))

    def keep(self, places):
        """Go on with the prompts at these places only."""
        rows = (places[:, None] * self.scores.shape[1] + np.arange(self.scores.shape[1])).ravel()
        self.numbers, self.scores, self.ids = self.numbers[places], self.scores[places], self.ids[places]
        self.carry = pick(self.carry, rows)

    def go_on(self, parents, chosen, scores):
        """Extend hypotheses `parents` (n, beam) by the ids `chosen` (n, beam)."""
        n, beam = parents.shape
        self.scores = scores
        self.ids = np.concatenate(
            [np.take_along_axis(self.ids, parents[:, :, None], axis=1), chosen[:, :, None].astype(np.int32)], axis=2
        )
        self.carry = pick(self.carry, (np.arange(n)[:, None] * beam + parents).ravel())

    def read(self, workspace):
        """Read the last id of each hypothesis."""
        n, beam = self.scores.shape
        workspace.set_carry(self.carry)
        logits = workspace.logits(self.ids[:, :, -1].reshape(1, n * beam))
        self.log_p = log_softmax(logits[0]).reshape(n, beam, -1)
        self.carry = workspace.get_carry()


def beam_search(model, prompts, beam, max_length, n_best=1, stop_id=None, allowed=None, report=None):  # noqa: PLR0913
    """Return the most probable continuations that a beam search finds for each prompt.

    Parameters
    ----------
    model : Model
        The model.
    prompts : sequence of sequences of int
        The ids of each prompt, at least one; each prompt is read from a state of zero.
    beam : int
        Number of hypotheses to keep per prompt, at least 1; 1 is greedy decoding.
    max_length : int
        Maximum number of characters of a continuation, not counting the stop symbol.
    n_best : int
        Number of continuations to return per prompt, at most `beam`. The result may have fewer.
    stop_id : int, optional
        The id of the symbol that ends a continuation. Without it, each continuation has `max_length` characters.
    allowed : sequence of int, optional
        The only ids that may be drawn, besides `stop_id`; None allows all. Probabilities are not renormalised.
    report : callable, optional
        Called as report(prompts done, number of prompts).

    Returns
    -------
    list of lists of Hypothesis
        For each prompt, the best one first. A continuation that was cut off is included only if there are fewer than
        `n_best` complete ones. Of equal scores, the extension of the better hypothesis comes first, then the lower id;
        of complete ones, the shorter.

    Raises
    ------
    ConfigError
        An argument has a value that is not allowed.
    DivergenceError
        The logits are not finite.
    """
    for name, value in (("beam", beam), ("max_length", max_length), ("n_best", n_best)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if n_best > beam:
        raise ConfigError(f"n_best must be at most the beam, {beam}, got {n_best}")
    V = model.config.vocab_size
    banned = np.zeros(V, bool)
    if allowed is not None:
        banned[:] = True
        banned[np.asarray(allowed, np.int64)] = False
    if stop_id is not None:
        banned[stop_id] = False
    found, done = [[] for _ in prompts], 0
    # Prompts of like length side by side: their answers end together too.
    for numbers in batches([len(prompt) for prompt in prompts], max(1, MAX_ROWS // beam)):
        search = _Search(model, numbers, [prompts[j] for j in numbers], beam)
        _pursue(model, search, found, (max_length, n_best, stop_id, banned))
        done += len(numbers)
        if report is not None:
            report(done, len(prompts))
    return found


def _pursue(model, search, found, settings):
    """Extend the hypotheses of a search until every prompt is done, and put what is found into `found`."""
    max_length, n_best, stop_id, banned = settings
    beam = search.scores.shape[1]
    workspace = None
    for length in range(max_length + 1):
        parents, ids, scores = _best_extensions(search, banned, 2 * beam)
        stops = (ids == stop_id) & np.isfinite(scores) if stop_id is not None else np.zeros(ids.shape, bool)
        for place, rank in zip(*np.nonzero(stops[:, :beam])):
            whole = Hypothesis(
                search.ids[place, parents[place, rank]].copy(), float(scores[place, rank]), is_whole=True
            )
            found[search.numbers[place]].append(whole)
        if length == max_length:
            _cut_off(search, parents[:, :beam], stops[:, :beam], found, n_best)
            return
        # Those that go on, in their order: a stable sort moves the ones that have ended behind them.
        going = np.argsort(stops, axis=1, kind="stable")[:, :beam]
        scores = np.where(stops, -np.inf, scores)
        search.go_on(*(np.take_along_axis(each, going, axis=1) for each in (parents, ids, scores)))
        is_open = np.zeros(len(search.numbers), bool)
        for place, number in enumerate(search.numbers):
            _settle(found[number], n_best)
            is_open[place] = _may_improve(found[number], search.scores[place, 0], n_best)
        search.scores[~is_open] = -np.inf
        if not is_open.any():
            return
        if is_open.sum() * 2 <= len(is_open):
            search.keep(np.flatnonzero(is_open))
        if workspace is None or workspace.batch_size != search.scores.size:
            workspace = Workspace(model, search.scores.size, 1, training=False)
        search.read(workspace)


def _best_extensions(search, banned, count):
    """Return parents, ids and scores, (n, count) each, of the best extensions of each prompt's hypotheses.

    There are fewer than `count` only where there are not so many at all.
    """
    n, beam, V = search.log_p.shape
    totals = (search.scores[:, :, None] + np.where(banned, -np.inf, search.log_p)).reshape(n, beam * V)
    if V == 1:  # so that as many go on as are pursued, whatever ends
        totals = np.concatenate([totals, np.full_like(totals, -np.inf)], axis=1)
    best = np.argsort(-totals, axis=1, kind="stable")[:, :count]
    return np.minimum(best // V, beam - 1), best % V, np.take_along_axis(totals, best, axis=1)


def _settle(whole, n_best):
    """Put the whole hypotheses of a prompt in order, and leave those that are asked for."""
    whole.sort(key=lambda hypothesis: -hypothesis.score_nats)
    del whole[n_best:]


def _may_improve(whole, best_score, n_best):
    """Return whether what goes on at `best_score` or below may still be among the best."""
    return best_score > -np.inf and (len(whole) < n_best or best_score > whole[-1].score_nats)


def _cut_off(search, parents, stops, found, n_best):
    """Add hypotheses that reached the greatest length, the best first, where too few are whole."""
    for place, number in enumerate(search.numbers):
        _settle(found[number], n_best)
        ended = set(parents[place][stops[place]].tolist())
        for rank, score in enumerate(search.scores[place].tolist()):
            if len(found[number]) < n_best and score > -np.inf and rank not in ended:
                found[number].append(Hypothesis(search.ids[place, rank].copy(), score, is_whole=False))
