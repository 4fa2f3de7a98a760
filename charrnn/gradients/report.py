"""Compare networks by how far back their gradients reach, or how far they learn to remember: what `charrnn gradients`
measures.

    report = compare_fresh(random_excerpt(seed=1), vocab_size=RANDOM_SYMBOLS, steps=100, count=64)
    {network.name: network.reach.curve("h")[1] for network in report.networks}

Knows models and ids; no file, no terminal.
"""

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np

from charrnn.errors import DAMAGED, ConfigError, DivergenceError, counted
from charrnn.gradients import memory
from charrnn.gradients.distance import Reach, choose_item_times, choose_times, item_depths, measure_reach
from charrnn.gradients.fresh import fresh_model
from charrnn.model.parameters import Model
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.excerpt import Excerpt

RANDOM_SYMBOLS, RANDOM_CHARACTERS = 65, 20_000
SINGULAR_VALUES, FORGET_BIASES = (0.8, 1.0, 1.5), (0.0, 1.0, 2.0)
MIN_DIFFERENCE = 0.02  # of the factors per step with layer norm and without: below it they are called alike
WEAKEST_FIRST = tuple(reversed(CELLS))  # the order in which cells are measured


@dataclass(frozen=True)
class NetworkReach:
    """How far back the gradients of one network reach.

    panel         the comparison that it belongs to; `name` is its name in this comparison
    config        its ModelConfig
    reach         its Reach
    states        the states that the comparison is about, such as ("c",) for forget biases
    is_trained    whether it is the trained network that the others are compared with
    """

    panel: str
    name: str
    config: ModelConfig
    reach: Reach
    states: tuple
    is_trained: bool = False

    def to_dict(self):
        """Return the quartiles of every state and layer as plain numbers, None for one that is not finite."""
        curves = []
        for state, norms in self.reach.norms.items():
            for layer in (None, *range(len(norms))):
                low, median, high = (
                    [value if math.isfinite(value) else None for value in line.tolist()]
                    for line in self.reach.curve(state, layer)
                )
                curves.append(
                    {
                        "state": state,
                        "layer": "all" if layer is None else layer,
                        "lower_quartile": low,
                        "median": median,
                        "upper_quartile": high,
                    }
                )
        return {
            "panel": self.panel,
            "name": self.name,
            "cell": self.config.cell,
            "hidden_size": self.config.hidden_size,
            "num_layers": self.config.num_layers,
            "layer_norm": self.config.layer_norm,
            "curves": curves,
        }

    def factor(self, state, layer=None):
        """Return what the median norm is multiplied by per step back, on average (the geometric mean); NaN where it
        begins at 0.
        """
        _, median, _ = self.reach.curve(state, layer)
        return float((median[-1] / median[0]) ** (1 / self.reach.steps)) if median[0] > 0 else math.nan


@dataclass(frozen=True)
class ReachReport:
    """The gradients of several networks, at the same places of the same text.

    steps       the greatest distance, in characters
    times       the places of the text whose losses were taken
    text        name of the text
    networks    a NetworkReach for each network
    unknown     characters that were left out of the text, as in Excerpt
    notes       explanations for the reader, a str for each paragraph
    """

    steps: int
    times: int
    text: str | None
    networks: tuple[NetworkReach, ...]
    unknown: dict
    notes: tuple[str, ...] = ()

    def to_dict(self):
        """Return it as plain numbers and words."""
        return {
            "steps": self.steps,
            "times": self.times,
            "text": self.text,
            "unknown": self.unknown,
            "notes": list(self.notes),
            "networks": [network.to_dict() for network in self.networks],
        }


@dataclass(frozen=True)
class FreshOptions:
    """Which fresh networks are compared: the cells, the vanilla RNN by its recurrent matrix, the LSTM by its forget
    bias.

    singular_values    of a vanilla RNN: the largest one of its recurrent matrix, a network each
    matrix             "orthogonal" or "uniform" (fresh.py)
    forget_biases      of an LSTM, a network each
    """

    cells: tuple = WEAKEST_FIRST
    hidden_size: int = 128
    num_layers: int = 1
    embedding_size: int = 0
    singular_values: tuple = SINGULAR_VALUES
    matrix: str = "orthogonal"
    forget_biases: tuple = FORGET_BIASES
    seed: int = 1


def random_excerpt(seed, characters=RANDOM_CHARACTERS):
    """Return an Excerpt of random characters, RANDOM_SYMBOLS different ones."""
    ids = np.random.default_rng(seed).integers(0, RANDOM_SYMBOLS, characters).astype(np.int32)
    return Excerpt.whole(ids, f"random characters from an alphabet of {RANDOM_SYMBOLS}")


def check_layer(layer, num_layers):
    """Raise ConfigError unless the network has this layer; None, which means all layers, is always allowed."""
    if layer is not None and not 0 <= layer < num_layers:
        raise ConfigError(
            f"--layer must be at most {num_layers - 1}, the last of {num_layers} counted from 0, got {layer}", ["layer"]
        )


def compare_fresh(excerpt, vocab_size, steps, count, options=FreshOptions(), progress=None):
    """Measure how far back gradients reach in fresh networks.

    Parameters
    ----------
    excerpt : Excerpt
        What they read, of ids below vocab_size.
    steps, count : int
        Go back so many characters, from up to so many places.
    options : FreshOptions
    progress : callable, optional
        Called with (what is being done, done, of) now and then.

    Returns
    -------
    ReachReport

    Raises
    ------
    ConfigError
        The excerpt is too short.
    DivergenceError
        A gradient is not a finite number even where it begins.
    """

    def config(cell):
        return ModelConfig(cell, vocab_size, options.hidden_size, options.num_layers, options.embedding_size)

    panel = f"fresh, {options.num_layers} x {options.hidden_size}"
    networks = [(panel, CELLS[cell].title, cell, {}, ("h", "c")) for cell in options.cells]
    for cell in options.cells:
        if not CELLS[cell].has_gates:
            panel = f"{CELLS[cell].title}, {options.matrix} matrix"
            networks += [
                (panel, f"singular value {value:g}", cell, {"singular_value": value, "matrix": options.matrix}, ("h",))
                for value in options.singular_values
            ]
    for cell in options.cells:
        if CELLS[cell].forget_gate:
            state = CELLS[cell].states[-1]
            panel = f"{CELLS[cell].title}'s {state}, by its forget bias"
            networks += [
                (panel, f"forget bias {bias:g}", cell, {"forget_bias": bias}, (state,))
                for bias in options.forget_biases
            ]
    measured = _Measured(excerpt, steps, count, progress)
    for at, (panel, name, cell, changes, states) in enumerate(networks):
        model = fresh_model(config(cell), options.seed, **changes)
        measured.add(panel, name, model, f"network {at + 1} of {len(networks)}", states)
    return measured.report()


def compare_run(model, excerpt, steps, count, trained_steps=None, seed=1, progress=None):
    """Measure how far back gradients reach in a trained network, beside fresh ones of its size that read the same text:
    as its own training began, and where that was with layer norm, also without.

    Parameters
    ----------
    model : Model
    excerpt : Excerpt
    steps, count : int
        Go back so many characters, from up to so many places; of a model of items within an item.
    trained_steps : int, optional
        How long it was trained, for its panel's name.
    seed : int
        Of the fresh networks.
    progress : callable, optional
        Called with (what is being done, done, of) now and then.

    Returns
    -------
    ReachReport

    Raises
    ------
    ConfigError, DivergenceError
        As `compare_fresh`.
    """
    config, name = model.config, f"this {CELLS[model.config.cell].title}"
    size = f"{config.num_layers} x {config.hidden_size}"
    after = "" if trained_steps is None else f", after {counted(trained_steps, 'step')}"
    measured = _Measured(excerpt, steps, count, progress, model.rule)
    measured.add(f"{name}, {size}{after}", name, model, "the run", is_trained=True)
    for layer_norm in (True, False) if config.layer_norm else (False,):
        without = " (no layer norm)" if config.layer_norm and not layer_norm else ""
        panel = f"fresh, {size}" + "".join(f", {word}" for word in _extras(config, layer_norm))
        for cell in WEAKEST_FIRST:
            like = dataclasses.replace(config, cell=cell, layer_norm=layer_norm)
            fresh = Model.initialise(like, seed, rule=model.rule)
            measured.add(panel, CELLS[cell].title + without, fresh, f"a fresh {CELLS[cell].title}{without}")
    report = measured.report()
    return dataclasses.replace(report, notes=(_layer_norm_note(report),)) if config.layer_norm else report


def _layer_norm_note(report):
    """Say what layer norm does to the picture of fresh networks, if anything; report : of a run with it."""
    run, *fresh = report.networks
    cell, state = CELLS[run.config.cell], CELLS[run.config.cell].states[-1]
    normed, plain = (
        next(one for one in fresh if one.config.cell == cell.name and one.config.layer_norm == layer_norm)
        for layer_norm in (True, False)
    )
    factors = (
        f"er step back, the gradient of {state} is multiplied by {normed.factor(state):.3f} in the fresh {cell.title} "
        f"with layer norm, by {plain.factor(state):.3f} in the one without it, and by {run.factor(state):.3f} in "
        "this one, trained."
    )
    if abs(normed.factor(state) - plain.factor(state)) < MIN_DIFFERENCE:
        return f"This run has layer norm, but here it hardly changes the result: p{factors}"
    said = (
        f"This run has layer norm, and that changes the result. P{factors} Textbooks describe fresh networks "
        "without layer norm. Layer norm divides the sums of each gate by their standard deviation sigma, and "
        "so it divides the gradient on its way back too. In a fresh network sigma is well below 1: the recurrent "
        "weights act 1/sigma times as strongly as they are stored."
    )
    if normed.factor(state) > 1:
        said += (
            " Such growth does not mean that the network remembers more: any small change to a state grows too, and "
            "changes everything after it."
        )
    return said


def _extras(config, layer_norm):
    """Name what a model has beside cells and sizes, which its fresh networks have too."""
    if config.embedding_size:
        yield f"embedding {config.embedding_size}"
    if config.layer_norm:
        yield "layer norm" if layer_norm else "no layer norm"
    if config.zoneout:
        yield f"zoneout {config.zoneout:g}"


class _Measured:
    """Networks measured so far, one by one, at the same places of the same text."""

    def __init__(self, excerpt, steps, count, progress, rule=None):
        self.excerpt, self.steps, self.progress = excerpt, steps, progress or (lambda what, done, of: None)
        if rule is None:
            self.times = choose_times(excerpt.start, excerpt.stop, steps, count)
        else:
            depths = item_depths(excerpt.ids, excerpt.start, excerpt.stop, rule)
            self.times = choose_item_times(depths, excerpt.start, steps, count)
        self.networks = []

    def add(self, panel, name, model, what, states=("h", "c"), is_trained=False):
        """Measure a network; what : what is being done, as it is reported."""
        self.progress(what, 0, 1)
        reach = measure_reach(
            model, self.excerpt.ids, self.times, self.steps, lambda done, of: self.progress(what, done, of)
        )
        if not all(math.isfinite(norm) for norms in reach.norms.values() for norm in norms[:, 0].ravel()):
            raise DivergenceError(f"a gradient of {name} is not a finite number even where it begins: {DAMAGED}")
        shown = tuple(state for state in reach.norms if state in states or len(reach.norms) == 1)
        self.networks.append(NetworkReach(panel, name, model.config, reach, shown, is_trained))

    def report(self):
        excerpt = self.excerpt
        return ReachReport(self.steps, len(self.times), excerpt.name, tuple(self.networks), excerpt.unknown_to_dict())


# Memory


@dataclass(frozen=True)
class MemoryOptions:
    """Which networks are trained on the tasks of memory.py, and how long."""

    cells: tuple = WEAKEST_FIRST
    hidden_size: int = 32
    num_layers: int = 1
    train_steps: int = 2_000
    seed: int = 1


@dataclass(frozen=True)
class MemoryCurve:
    """How often networks of one cell answer right, {characters back: share}, each trained at that distance."""

    task: str
    cell: str
    accuracy: dict
    elapsed_s: float

    def to_dict(self):
        """Return it as plain numbers and words."""
        by_distance = {str(k): share for k, share in self.accuracy.items()}
        return {"task": self.task, "cell": self.cell, "by_distance": by_distance}


@dataclass(frozen=True)
class MemoryReport:
    """The MemoryCurves of all tasks and cells."""

    options: MemoryOptions
    curves: tuple[MemoryCurve, ...]

    @property
    def chances(self):
        """The share of right answers that guessing has, {task: share}."""
        return {task: 1 / len(answers) for task, (_, answers) in memory.TASKS.items()}

    def to_dict(self):
        """Return it as plain numbers and words."""
        return {
            "train_steps": self.options.train_steps,
            "hidden_size": self.options.hidden_size,
            "num_layers": self.options.num_layers,
            "seed": self.options.seed,
            "chance": self.chances,
            "accuracy": [curve.to_dict() for curve in self.curves],
        }


def measure_memory(options=MemoryOptions(), progress=None):
    """Yield a MemoryCurve for every task and cell, as its networks have been trained.

    progress    called with (what is being done, done, of) after every network
    """
    size = options.hidden_size, options.num_layers, options.train_steps, options.seed
    progress = progress or (lambda what, done, of: None)
    for task in memory.TASKS:
        for cell in options.cells:
            begun, what, accuracy = time.perf_counter(), f"{task}, {CELLS[cell].title}", {}
            progress(what, 0, 1)
            for distance in memory.DISTANCES:
                model = memory.train(task, cell, distance, *size)
                accuracy[distance] = memory.measure(model, task, distance, options.seed)
                progress(what, sum(accuracy), sum(memory.DISTANCES))
            yield MemoryCurve(task, cell, accuracy, time.perf_counter() - begun)
