"""How the command line writes what a unit is held at: of `cells --clamp` a word or a number, of `sample --clamp` a unit
too.
"""

import math

import click

from charrnn.errors import ConfigError

clamp_option = click.option(
    "--clamp",
    multiple=True,
    metavar="LAYER:UNIT=VALUE",
    help="Hold a unit at VALUE to see what it does (layers and units are counted from 0; for an LSTM the value is "
    "that of tanh(c), -1 to 1). May be repeated.",
)


def parse_clamp_of_ablation(text):
    """Return what --ablate holds a unit at: "mean", which it is where text is None, "off", "zero" or a number."""
    if text in (None, "mean", "off", "zero"):
        return text or "mean"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--clamp must be mean, off, zero or a number, got {text!r}", ["clamp"])
    return value


def parse_clamps(texts, model):
    """Return the Clamps of LAYER:UNIT=VALUE; ConfigError says what is wrong with one."""
    if not texts:
        return []
    from charrnn.cells.record import clamp_at, parse_unit
    from charrnn.model.workspace import Workspace

    clamps, config = [], model.config
    for text in texts:
        unit, equals, value = text.partition("=")
        try:
            value = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"--clamp is written LAYER:UNIT=VALUE, such as 0:17=1, got {text!r}", ["clamp"])
        clamps.append(clamp_at(config, *parse_unit(unit, config), value))
    Workspace(model, 1, 1, training=False).set_clamps(clamps)  # it knows what a unit can be held at
    return clamps
