"""Options as TOML, as a run folder keeps them."""

import re

import tomli_w

from charrnn.errors import ConfigError


def to_toml(options):
    """Write options as TOML that `tomllib` reads back equal.

    options : {name: str, int, float, bool or a list of these}; a dict as value becomes a table, after the plain
        values. None is left out, as TOML has none. A string's lone surrogates, which TOML cannot hold either, become
        U+FFFD.
    """
    return tomli_w.dumps(
        {
            _plain(name): _without_none(value) if isinstance(value, dict) else _toml_value(name, value)
            for name, value in options.items()
            if value is not None
        }
    )


def _without_none(table):
    return {_plain(name): _toml_value(name, value) for name, value in table.items() if value is not None}


def _toml_value(name, value):
    """Return a value of a type that TOML has; ConfigError naming the option for any other."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, (list, tuple)):
        return [_toml_value(name, each) for each in value]
    raise ConfigError(f"option {name} must be a string, number, boolean or list, got {type(value).__name__}")


def _plain(text):
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
