"""How far back a cell can learn to remember: a small network a distance k, trained on a task that only memory over k
characters solves.

copy      a capital, letters, a question mark: the capital again, k after it was shown           C b d a c ? -> C
bracket   one of ([{<, letters and whole little pairs, a question mark: the bracket that closes  [ a { b } ? -> ]

Episodes of k characters, each from an empty carry; before the question mark a full stop is to be answered. So the one
answer that counts can only be learned from a gradient that has come back over k - 1 steps: no shorter distance is there
to learn it from first.
"""

import numpy as np

from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
from charrnn.training.optimisers import Optimizer
from charrnn.training.schedules import Schedule

LETTERS, CAPITALS, OPENING, CLOSING = "abcd", "ABCDEFGH", "([{<", ")]}>"
SYMBOLS = LETTERS + CAPITALS + OPENING + CLOSING + "?."
TASKS = {"copy": (CAPITALS, CAPITALS), "bracket": (OPENING, CLOSING)}  # what is shown, and what is to be answered
PAIR_SHARE = 0.1  # of the places in a bracket where a little pair begins, if none is open
DISTANCES = (2, 5, 10, 15, 20, 30, 50)
BATCH_SIZE, LEARNING_RATE, WARMUP, MIN_RATIO, CLIP_NORM = 32, 8e-3, 0.05, 0.02, 1.0
ANSWERS = 1000  # measured at each distance


def ids_of(symbols):
    return np.array([SYMBOLS.index(symbol) for symbol in symbols], np.int32)


def write_episodes(task, distance, count, rng):
    """Return `count` episodes side by side, x and y (distance, count) int32: what is read, and what is to be answered
    after each character."""
    shown, answers = map(ids_of, TASKS[task])
    x = rng.choice(ids_of(LETTERS), (distance, count))
    if task == "bracket":
        free_from = np.zeros(count, int)
        for t in range(1, distance - 3):
            begins = (rng.random(count) < PAIR_SHARE) & (free_from <= t)
            kinds = rng.integers(0, len(shown), count)[begins]
            x[t, begins], x[t + 2, begins] = shown[kinds], answers[kinds]
            free_from[begins] = t + 3
    kinds = rng.integers(0, len(shown), count)
    x[-1] = SYMBOLS.index("?")
    x[0] = shown[kinds]
    y = np.full_like(x, SYMBOLS.index("."))
    y[-1] = answers[kinds]
    return x, y


def train(task, cell, distance, hidden_size, num_layers, steps, seed):
    """Return a Model trained on the task at one distance, at least 2, by `steps` updates."""
    rng = _generator(seed, task, distance)
    model = Model.initialise(ModelConfig(cell, len(SYMBOLS), hidden_size, num_layers), seed)
    workspace, optimizer = Workspace(model, BATCH_SIZE, distance), Optimizer("adam", model)
    schedule = Schedule("cosine", LEARNING_RATE, WARMUP, MIN_RATIO)
    for step in range(steps):
        workspace.reset_carry()
        workspace.loss_and_grads(*write_episodes(task, distance, BATCH_SIZE, rng))
        optimizer.step(workspace, schedule.learning_rate(progress=(step + 0.5) / steps, step=step, epoch=0), CLIP_NORM)
    return model


def measure(model, task, distance, seed):
    """Return the share of new episodes in which, of all possible answers, the right one is held the likeliest."""
    x, y = write_episodes(task, distance, ANSWERS, _generator(seed, task, distance, 1))
    answers = ids_of(TASKS[task][1])
    logits = Workspace(model, ANSWERS, distance, training=False).logits(x)[-1]
    return float((answers[logits[:, answers].argmax(axis=1)] == y[-1]).mean())


def _generator(seed, task, *more):
    return np.random.default_rng([seed, list(TASKS).index(task), *more])
