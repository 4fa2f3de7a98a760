"""How far back a cell remembers: small networks trained on texts whose next character is known only to who remembers one k before.

copy      a capital, k - 2 letters, a question mark, and the capital again: `Cbdacadb?C`
bracket   one of ([{<, k - 1 characters, among them whole little pairs, and the bracket that closes it: `[adb{c}a]`

Distances k are drawn log-uniformly while training, so that what helps at a small k can be carried on to a large one. What is measured on
a text that was not trained on is how often, of the eight capitals or the four closing brackets, the right one is held the likeliest.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.model import Model, ModelConfig, Workspace
from charrnn.optim import Optimizer
from charrnn.schedules import Schedule
from charrnn.streams import Streams

LETTERS = "abcd"
CAPITALS = "ABCDEFGH"
OPENING, CLOSING = "([{<", ")]}>"
PAIR_SHARE = 0.1  # of a bracket's inside, the places where a little pair begins
TASKS = {"copy": CAPITALS, "bracket": CLOSING}  # and what is to be chosen from
DISTANCES = (2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
ANSWERS = 200  # measured at each distance
BATCH_SIZE, SEQ_LENGTH, LEARNING_RATE, CLIP_NORM = 32, 128, 5e-3, 1.0
TEXT_CHARACTERS = 2_000_000
SYMBOLS = LETTERS + CAPITALS + "?" + OPENING + CLOSING + "."


@dataclass(frozen=True)
class Text:
    """A text of a task: ids into SYMBOLS, and for each answer in it its place and its distance from what it repeats or closes."""

    ids: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    distances: np.ndarray


def write_text(task, distances, rng):
    """Return a Text of one episode after another, one for each of `distances` (at least 2), in their order."""
    starts = np.concatenate([[0], np.cumsum(np.asarray(distances) + 1)])
    ids = rng.integers(0, len(LETTERS), starts[-1]).astype(np.int32)
    of = rng.integers(0, len(TASKS[task]), len(distances))
    places = starts[1:] - 1
    if task == "copy":
        ids[starts[:-1]] = ids[places] = SYMBOLS.index(CAPITALS[0]) + of
        ids[places - 1] = SYMBOLS.index("?")
        return Text(ids, _targets(ids, places), places, np.asarray(distances))
    inside = np.ones(len(ids), bool)
    inside[starts[:-1]] = inside[places] = False
    pairs = np.flatnonzero(rng.random(len(ids) - 2) < PAIR_SHARE) if len(ids) > 2 else np.zeros(0, int)
    free = -1
    kept = []
    for at in pairs:  # whole pairs, none in another
        if at > free and inside[at:at + 3].all():
            kept.append(at)
            free = at + 2
    kept = np.array(kept, int)
    kinds = rng.integers(0, len(OPENING), len(kept))
    ids[kept], ids[kept + 2] = SYMBOLS.index(OPENING[0]) + kinds, SYMBOLS.index(CLOSING[0]) + kinds
    ids[starts[:-1]], ids[places] = SYMBOLS.index(OPENING[0]) + of, SYMBOLS.index(CLOSING[0]) + of
    return Text(ids, _targets(ids, places), places, np.asarray(distances))


def _targets(ids, places):
    """Return what is to be predicted after each character: the answer where one follows, a full stop elsewhere."""
    targets = np.full(len(ids), SYMBOLS.index("."), np.int32)
    targets[places - 1] = ids[places]
    return targets


def train(task, cell, hidden_size, num_layers, steps, seed, progress=None):
    """Return a Model trained on the task for `steps` steps. progress is called with (steps done, of)."""
    rng = np.random.default_rng([seed, list(TASKS).index(task)])
    longest = DISTANCES[-1]
    count = int(TEXT_CHARACTERS / ((longest - 2) / math.log(longest / 2) + 1))
    distances = np.floor(2 * ((longest + 1) / 2) ** rng.random(count)).astype(int)
    text = write_text(task, distances, rng)
    model = Model.initialise(ModelConfig(cell, len(SYMBOLS), hidden_size, num_layers), seed)
    workspace, optimizer = Workspace(model, BATCH_SIZE, SEQ_LENGTH), Optimizer("adam", model)
    schedule = Schedule("cosine", LEARNING_RATE, 0.05, 0.02)
    length = len(text.ids) // BATCH_SIZE
    x, y = (array[:BATCH_SIZE * length].reshape(BATCH_SIZE, length).T for array in (text.ids, text.targets))
    for step in range(steps):
        at = step * SEQ_LENGTH % (length - SEQ_LENGTH)
        workspace.loss_and_grads(x[at:at + SEQ_LENGTH], y[at:at + SEQ_LENGTH])
        optimizer.step(workspace, schedule.learning_rate(progress=(step + 0.5) / steps, step=step, epoch=0), CLIP_NORM)
        if progress is not None:
            progress(step + 1, steps)
    return model


def measure(model, task, seed):
    """Return {distance: share of right answers} on a new text of the task."""
    rng = np.random.default_rng([seed, list(TASKS).index(task), 1])
    text = write_text(task, rng.permutation(np.repeat(DISTANCES, ANSWERS)), rng)
    choices = np.array([SYMBOLS.index(symbol) for symbol in TASKS[task]])
    workspace = Workspace(model, 1, 1024, training=False)
    guesses = np.empty(len(text.ids), np.int32)
    for at in range(0, len(text.ids), 1024):
        logits = workspace.logits(text.ids[at:at + 1024, None])[:, 0, choices]
        guesses[at:at + 1024] = choices[logits.argmax(axis=1)]
    right = guesses[text.places - 1] == text.ids[text.places]
    return {int(k): float(right[text.distances == k].mean()) for k in DISTANCES}
