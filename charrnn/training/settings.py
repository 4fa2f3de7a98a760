"""A setting: what is known of an option beside its value, and the check of a value against it.

Knows no option by name: options.py has those. Imports neither numpy nor numba.
"""

import dataclasses
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any

from charrnn.errors import ConfigError, nearest

# What a resumed run may do with an option. FIXED: it must keep its value. FREE: it may change, because it bears on what
# is shown and kept, not on any result. LONGER: a length of the run; it may grow, but neither shrink nor become another
# kind. ENDING: it may change, because it decides only when the run ends, not how it goes until then. CHECKED: a file,
# which may have moved: what it holds is checked. ROUNDING: it may change, because another CPU may not have it; it
# decides how numbers are rounded, as the CPU itself does.
FIXED, FREE, LONGER, ENDING, CHECKED, ROUNDING = "fixed", "free", "longer", "ending", "checked", "rounding"

UNSET = object()  # where None is a value


@dataclass(frozen=True)
class Setting:
    """The description of an option, apart from its name and default.

    heading    heading of the help under which the option is listed
    help       help text, a sentence
    metavar    name of its value in the help, such as "N"
    shown      text that the help shows instead of the default
    place      position under the heading, ascending; options with the same place keep the order of the fields
    choices    tuple of the allowed values; None allows every value of the kind
    minimum, maximum   inclusive bounds
    above, below       exclusive bounds; `below` needs a minimum
    rule       the bounds in words, if a message should not be made from the numbers
    on_resume  FIXED, FREE, LONGER, ENDING, CHECKED or ROUNDING
    before     value in runs that are older than the option, if that is not the default
    is_terse   whether checkpoints and config.toml omit the option if it has its default, so that a version of charrnn
               that does not know the option can resume the run
    kind       type of its values: bool, str, int or float; from the annotation of the field
    optional   whether None is allowed too; from the annotation of the field
    """

    heading: str
    help: str
    metavar: str | None = None
    shown: str | None = None
    place: int = 0
    choices: tuple | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    rule: str | None = None
    on_resume: str = FIXED
    before: object = UNSET
    is_terse: bool = False
    kind: type = str
    optional: bool = False

    def check_type(self, name, value):
        """Raise ConfigError unless a value has the right type."""
        what, is_one = _KINDS[self.kind]
        if is_one(value) or value is None and self.optional:
            return
        got = short(repr(value) if isinstance(value, str) else value)
        raise ConfigError(f"{option(name)} must be {what}, got {got}", [name])

    def check_rule(self, name, value):
        """Raise ConfigError unless a value of the right type is one of the choices and within the bounds."""
        wrong = None
        if value is None:
            return
        if self.choices is not None:
            if value not in self.choices:
                near = nearest(value, self.choices)
                hint = "" if near is None else f": did you mean {near!r}?"
                wrong = f"one of {', '.join(self.choices)}, got {short(repr(value))}{hint}"
        elif self.above is not None and not value > self.above:
            wrong = f"above {self.above}, got {value:g}"
        elif self.below is not None and not self.minimum <= value < self.below:
            wrong = f"at least {self.minimum} and below {self.below}, got {value:g}"
        elif self.minimum is not None and not value >= self.minimum:
            wrong = f"{self.rule or f'at least {self.minimum}'}, got {shown(value)}"
        elif self.maximum is not None and not value <= self.maximum:
            wrong = f"at most {self.maximum:,}, got {shown(value)}"
        if wrong is not None:
            raise ConfigError(f"{option(name)} must be {wrong}", [name])


def setting(default, heading, help, metavar=None, **facts) -> Any:
    """Return a dataclass field that is an option. facts : other fields of its Setting"""
    return dataclasses.field(default=default, metadata={"setting": Setting(heading, help, metavar, **facts)})


def settings_of(config):
    """Return {name: Setting} of a dataclass whose fields were made by `setting`, in their order."""
    settings = {}
    for field in dataclasses.fields(config):
        kinds = typing.get_args(field.type) or (field.type,)  # of `int | None`, or of `int`
        (kind,) = [one for one in kinds if one is not types.NoneType]
        settings[field.name] = dataclasses.replace(
            field.metadata["setting"], kind=kind, optional=types.NoneType in kinds
        )
    return settings


def _is_number(value, kinds):
    return isinstance(value, kinds) and not isinstance(value, bool)  # which Python counts among them


# {kind: (what a message calls its values, whether a value is one)}
_KINDS = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a text", lambda value: isinstance(value, str)),
    int: ("a whole number", lambda value: _is_number(value, int) and abs(value) < 2**63),
    float: ("a finite number", lambda value: _is_number(value, int | float) and abs(value) <= sys.float_info.max),
}


def option(name):
    """Return an option as the command line spells it: "batch_size" -> "--batch-size"."""
    return "--" + name.replace("_", "-")


def shown(value):
    """Return the value of an option as a message shows it: True is "on", None is "unset"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)  # two that differ are to look different
    return "unset" if value is None else str(value)


def short(value, most=60):
    """Return any value as a message shows it: a str itself, otherwise its repr, cut to `most` characters."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested too deep; an integer with too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."
