"""From a specification to points: the runs to be made, each once, and each with a name that tells it from the others.

Pure: knows no text, no folder and no process.
"""

import itertools
import math
import re
from dataclasses import dataclass, field

from charrnn.errors import ConfigError
from charrnn.text.item_kinds import inferred
from charrnn.training.options import DEFAULTS, LENGTHS, NAMES, TrainingConfig
from charrnn.training.spelling import spelt_in_file

MAX_POINTS = 10_000

# How a folder's name says an option: by its value alone, by a short name, or else by its own.
BY_VALUE = ("cell", "optimizer", "schedule")
SHORT_NAMES = {"learning_rate": "lr", "embedding_size": "embedding", "batch_size": "batch", "seq_length": "seq"}
SIZES = ("hidden_size", "num_layers")  # said together: 256x2


@dataclass(frozen=True)
class Spec:
    """What SPEC.toml says, its values typed.

    texts    what to train on
    common   {option: value} of all runs
    grid     {option: values} to be combined
    runs     [(name or None, {option: value})] picked by hand
    source   the file's bytes, kept with the sweep
    validation    {validation text as the file names it: where it was found}
    """

    name: str
    texts: tuple
    common: dict
    grid: dict
    runs: tuple = ()
    source: bytes = b""
    validation: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """A run to be made. options : what SPEC names of it; config : None where they contradict, and `error` says how."""

    name: str
    options: dict
    config: TrainingConfig | None
    error: str | None = None


def make_points(spec):
    """Return the points of a spec, the grid's before the runs picked by hand; those that are equal are made once.

    Raises ConfigError for a value that breaks a rule of its own, and for a run picked by hand that breaks any. Where a
    combination of the grid does, the point has an `error`.
    """
    asked = {}  # {the values of all options: _Asked}
    for one in _asked(spec):
        asked.setdefault(tuple(one.whole.values()), one)
    differ = _differing([one.whole for one in asked.values()])
    # A run with a name of its own makes no other's longer.
    names = _names([one.whole for one in asked.values() if one.name is None])
    points = [_point(one, one.name or next(names), differ) for one in asked.values()]
    _refuse_hopeless(spec, points)
    tasks = dict.fromkeys(point.config.task for point in points if point.config is not None)
    if len(tasks) > 1:
        named = " and ".join("no task" if task is None else f'task = "{task}"' for task in tasks)
        raise ConfigError(
            f"the runs have {named}, whose losses cannot be compared: write one specification for each", ["task"]
        )
    seen = set()
    for point in points:
        if point.name in seen:
            raise ConfigError(f"two runs would have the folder {point.name}: give a [[run]] another name")
        seen.add(point.name)
    return points


def differing(points):
    """Return the names of the options that not all points have alike, in the order of the options."""
    defaults = DEFAULTS.to_dict()
    return _differing([{**defaults, **point.options} for point in points])


@dataclass(frozen=True)
class _Asked:
    """A run as the spec asks for it. options : those that it names; whole : all of them; number : of a [[run]]."""

    options: dict
    whole: dict
    name: str | None = None
    number: int | None = None


def _asked(spec):
    """Yield what the spec asks for, in its order. Raises ConfigError where that is nothing, or too much."""
    count = math.prod(len(values) for values in spec.grid.values())
    if count + len(spec.runs) > MAX_POINTS:
        raise ConfigError(
            f"the grid has {count:,} runs, but at most {MAX_POINTS:,} are allowed: give its options fewer values"
        )
    if not spec.grid and not spec.runs:
        raise ConfigError("no grid and no runs: add a [grid] table with an option and its values, or [[run]] tables")
    defaults = DEFAULTS.to_dict()
    for values in itertools.product(*spec.grid.values()) if spec.grid else ():
        options = _over(spec, dict(zip(spec.grid, values)))
        yield _Asked(options, {**defaults, **options})
    for number, (name, own) in enumerate(spec.runs, 1):
        options = _over(spec, own)
        yield _Asked(options, {**defaults, **options}, name, number)


def _over(spec, own):
    """Return the common options with a run's own over them; a length takes the place of another kind.

    The kind of items is filled in where the texts' ending says it, as in `charrnn train`.
    """
    common = spec.common
    if any(name in LENGTHS for name in own):
        common = {name: value for name, value in common.items() if name not in LENGTHS}
    try:
        return inferred(spec.texts, {**common, **own})
    except ConfigError as error:
        raise ConfigError(spelt_in_file(str(error)), error.options) from None


def _point(asked, name, differ):
    """Make a point. differ : options to be named though the run does not: what others name, it has by default."""
    try:
        config, error = TrainingConfig(**asked.options), None
    except ConfigError as refused:
        if asked.number is not None:
            raise ConfigError(
                f"[[run]] {asked.name or asked.number}: {spelt_in_file(str(refused))}", refused.options
            ) from None
        config, error = None, spelt_in_file(str(refused))
    options = {key: value for key, value in asked.whole.items() if key in asked.options or key in differ}
    return Point(name, options, config, error)


def _refuse_hopeless(spec, points):
    """Raise ConfigError where no point stands, or a value of the grid breaks a rule of its own."""
    if all(point.config is None for point in points):
        raise ConfigError(points[0].error)
    for name, values in spec.grid.items():
        for value in values:
            try:
                TrainingConfig(**{name: value})
            except ConfigError as error:
                # One about other options too is about them together, and another point may have them right.
                if error.options == (name,):
                    raise ConfigError(f"[grid] {spelt_in_file(str(error))}", error.options) from None


def _differing(whole):
    return [name for name in NAMES if any(one[name] != whole[0][name] for one in whole)]


def _names(whole):
    """Yield a name for each of these dicts of all options, made of the values that differ between them."""
    differ = _differing(whole) or ["cell", "hidden_size"]
    taken, numbers = set(), {}
    for one in whole:
        name = stem = _stem(one, differ)
        while name in taken:
            numbers[stem] = numbers.get(stem, 1) + 1
            name = f"{stem}-{numbers[stem]}"
        taken.add(name)
        yield name


def _stem(one, names):
    """Return the values of these options as part of a folder's name."""
    parts = []
    for name in names:
        if name not in SIZES:
            parts.append(_name_part(name, one[name]))
        elif (size := f"{one['hidden_size']}x{one['num_layers']}") not in parts:
            parts.append(size)
    return "-".join(filter(None, parts)) or "default"


def _name_part(name, value):
    if value is None:
        return ""
    word = SHORT_NAMES.get(name, name.replace("_", "-"))
    if isinstance(value, bool):
        return word if value else f"no-{word}"
    value = re.sub(r"[^\w.+-]", "-", str(value).removesuffix(".0") if isinstance(value, float) else str(value))
    if name in BY_VALUE:
        return value
    return word + ("-" if value[:1].isalpha() else "") + value
