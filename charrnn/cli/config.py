"""TOML files of options: what they hold, as click takes it.

Knows no option by name; the caller says which there are.
"""

from charrnn.errors import ConfigError, nearest
from charrnn.training.settings import short

MAX_BYTES = 1 << 18  # of a file of options


def read_toml(path, where):
    """Return a TOML file as a dict. `where` is what a message calls it."""
    import tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{where} must be of at most {MAX_BYTES:,} bytes, it is longer: name a file of options")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {where}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:  # beside what is no TOML and no UTF-8: a number of too many digits
        raise ConfigError(f"{where} is not TOML: {short(str(error), 200)}") from None
    except RecursionError:
        raise ConfigError(f"{where} is nested too deep: an option is a text, a number, true or false") from None


def config_values(options, known, where):
    """Return {name: value as click takes it} of options as a TOML file has them.

    known : the names of the options that there are; ConfigError for another one
    """
    values = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            near = nearest(name, known)
            remedy = "see charrnn train --help" if near is None else f"did you mean {near.replace('_', '-')!r}?"
            raise ConfigError(f"{where} has the option {short(repr(key))}, which there is not: {remedy}")
        values[name] = _config_value(where, key, value, name == "text")
    return values


def _config_value(where, key, value, is_list):
    """Return a TOML value as click takes it: as text, so that 1.5 is no whole number and `true` no number at all."""
    if is_list:
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
    elif (
        isinstance(value, (str, float)) or isinstance(value, int) and abs(value) < 2**64
    ):  # str() refuses thousands of digits
        return str(value)
    raise ConfigError(f"{where} gives {key!r} a value that it cannot have: {short(value)}")
