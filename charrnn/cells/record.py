"""Run a model over a text and keep what its units were: one array, a row a unit, a column a character.

The text is read in STREAMS streams side by side, and again where they do not meet (reading.py): what is kept is one
continuous reading. This room knows ids and units, not texts.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError
from charrnn.evaluation.loss import likeliest
from charrnn.evaluation.reading import Settling, read
from charrnn.model.clamps import Clamp, check_unit
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS

STREAMS = 32
CHUNK = 32
MIN_A_STREAM = 512  # shorter streams would cost more in warming up than they gain
SHOWN_GUESSES = 5
ONCE = Settling(lambda _left: True)  # whatever comes of it, no stream is read again
AGAIN = "reading passages again"  # which did not begin as the ones before them ended


def check_quantity(cell, quantity):
    """Raise ConfigError unless `quantity` can be recorded of a unit of this cell."""
    quantities = CELLS[cell].quantities
    if quantity not in quantities:
        raise ConfigError(
            f"a unit of this {cell} model has {', '.join(quantities)}, got --quantity {quantity}", ["quantity"]
        )


@dataclass(frozen=True)
class Recording:
    """What was recorded while a model read N characters.

    quantity    str: what was recorded of each unit, such as "h"
    values      ndarray (L, H, N) float16: the quantity of each unit after each character. Rounding to float16 changes a
                value by at most a share of 2**-11
    loss_nats   ndarray (N,) float64: the loss of predicting the next character after each one, in nats; NaN at the end
                of the text and at the end of an item
    """

    quantity: str
    values: np.ndarray
    loss_nats: np.ndarray

    @property
    def units(self):
        """The values as (L*H, N)."""
        return self.values.reshape(-1, self.values.shape[2])


def record(model, ids, start, stop, quantity, progress=None, once=False):
    """Return the Recording of ids[start:stop], warmed up on the characters before it.

    progress    called with (characters read, N) now and then; while streams are read again, with those of them, and
                AGAIN
    once        read every stream once, whether they meet or not: what is kept then is as many readings, each warmed up
                on 256 characters
    """
    config, N = model.config, stop - start
    check_quantity(config.cell, quantity)
    values = np.empty((config.num_layers, config.hidden_size, N), np.float16)
    loss_nats = np.full(N, np.nan)
    for workspace, losses, places in _read(model, ids, start, stop, progress=progress, once=once):
        states = workspace.states("c" if quantity == "tanh-c" else quantity)
        if quantity == "tanh-c":
            np.tanh(states, out=states)
        states = np.clip(states, -65504, 65504).astype(np.float16) if quantity == "c" else states.astype(np.float16)
        for b, (_, at, count) in enumerate(places):
            values[:, :, at : at + count] = states[:, :count, b].transpose(0, 2, 1)
            loss_nats[at : at + count] = losses[:count, b]
    _forget_unpredicted(loss_nats, model, ids, start)
    return Recording(quantity, values, loss_nats)


def read_losses(model, ids, start, stop, clamps=(), progress=None):
    """Return loss_nats as in Recording, ndarray (N,), while the model reads with the `clamps` held."""
    loss_nats = np.full(stop - start, np.nan)
    for _, losses, places in _read(model, ids, start, stop, clamps, progress):
        for b, (_, at, count) in enumerate(places):
            loss_nats[at : at + count] = losses[:count, b]
    _forget_unpredicted(loss_nats, model, ids, start)
    return loss_nats


def read_guesses(model, ids, start, stop, progress=None):
    """Return the most probable next characters after each of the N characters ids[start:stop].

    Returns ids, ndarray (N, 5) int32, the most probable first, and their probabilities, ndarray (N, 5) float32.

    progress    as for `record`
    """
    N, count = stop - start, min(SHOWN_GUESSES, model.config.vocab_size)
    guesses, p = np.zeros((N, SHOWN_GUESSES), np.int32), np.zeros((N, SHOWN_GUESSES), np.float32)
    for _, logits, places in _read(
        model, ids, start, stop, progress=progress, run=lambda workspace, x, y: workspace.logits(x)
    ):
        best, of_best = likeliest(logits, count)
        for b, (_, at, rows) in enumerate(places):
            guesses[at : at + rows, :count], p[at : at + rows, :count] = best[:rows, b], of_best[:rows, b]
    return guesses, p


def read_gates(model, ids, start, stop, gates, measure, progress=None):
    """Return {gate: sum of measure(values) over ids[start:stop]}; measure gets ndarrays (L, n, H) of the gate."""
    sums = {}  # a stream's own, since it may be read again
    for workspace, _, places in _read(model, ids, start, stop, progress=progress):
        states = {gate: workspace.states(gate) for gate in gates}
        for b, (stream, _, count) in enumerate(places):
            if stream.is_new:
                sums[stream.number] = dict.fromkeys(gates, 0)
            for gate in gates:
                sums[stream.number][gate] = sums[stream.number][gate] + measure(states[gate][:, :count, b])
    return {gate: sum(of_stream[gate] for of_stream in sums.values()) for gate in gates}


def parse_unit(text, config):
    """Return (layer, unit) of "LAYER:UNIT", both counted from 0. Raises ConfigError."""
    parts = text.split(":")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"a unit is written LAYER:UNIT, both counted from 0, such as 0:17, got {text!r}")
    layer, unit = map(int, parts)
    check_unit(config, layer, unit)
    return layer, unit


def clamp_at(config, layer, unit, value, quantity=None):
    """Return the Clamp that holds a unit at `value`; for None or a gate, it holds the default quantity of the cell."""
    cell = CELLS[config.cell]
    if quantity is None or quantity not in cell.holdable:
        quantity = cell.default_quantity
    return Clamp(layer, unit, float(value), quantity)


def _read(model, ids, start, stop, clamps=(), progress=None, run=Workspace.losses, once=False):  # noqa: PLR0913 - read's
    """Yield what reading.read does, in as many streams as the stretch is long enough for."""
    N = stop - start
    first = Workspace(model, max(1, min(STREAMS, N // MIN_A_STREAM)), CHUNK, training=False)
    told = None if progress is None else _Told(progress, N)
    for workspace, results, places in read(first, ids, start, stop, clamps, run, ONCE if once else None):
        yield workspace, results, places
        if told is not None:
            told.tell(places)


class _Told:
    """Whom to tell how far a reading is: N characters, and then those of each reading of streams that do not meet."""

    def __init__(self, progress, N):
        self.progress, self.N = progress, N
        self.done, self.of, self.again, self.in_one_go = 0, N, (), False

    def tell(self, places):
        """Count the columns of a chunk."""
        stream, at, count = places[0]
        if stream.is_new and self.done:
            self.again = (AGAIN,)
            if len(places) > 1:
                self.done, self.of = 0, sum(one.length for one, _, _ in places)
            elif not self.in_one_go:
                self.in_one_go, self.of = True, self.N - stream.first
        if self.in_one_go:
            self.done = self.of - (self.N - at - count)
        else:
            self.done += sum(count for _, _, count in places)
        self.progress(self.done, self.of, *self.again)


def _forget_unpredicted(loss_nats, model, ids, start):
    """Put NaN where nothing is predicted: after a text's last character, and of items before what does not count."""
    following = np.asarray(ids[start + 1 : start + 1 + len(loss_nats)])
    loss_nats[len(following) :] = np.nan
    if model.rule is not None:
        counts = model.rule.counts(ids, start + 1, start + 1 + len(following))
        loss_nats[: len(following)][~counts] = np.nan
