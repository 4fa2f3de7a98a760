"""What was meant by a command, an option or a choice that there is not. Imports no command."""

import re

import click

from charrnn.errors import nearest

_NO_COMMAND = re.compile(r"No such command '(.*)'\.?$", re.DOTALL)
_NO_CHOICE = re.compile(r"'(.*)' is not one of ", re.DOTALL)


def usage_message(error, words):
    """Return what a click.UsageError says, with the name that was meant where one is near.

    words    of the command line
    """
    command = None if error.ctx is None else error.ctx.command
    if isinstance(error, click.NoSuchOption) and command is not None:
        given = _as_typed(error.option_name, words)
        names = [name for one in command.get_params(error.ctx) for name in (*one.opts, *one.secondary_opts)]
        return f"No such option '{given}'{_meant(given, [name for name in names if name.startswith('-')])}"
    unknown = _NO_COMMAND.match(error.message)
    if unknown and isinstance(command, click.Group):
        names = command.list_commands(error.ctx)
        return f"No such command '{unknown[1]}'" + (_meant(unknown[1], names) or f": there are {', '.join(names)}")
    said = error.format_message().rstrip(".")
    if isinstance(error, click.BadParameter) and error.param is not None:
        said += choice_meant(error.message, error.param.type)
    return said


def choice_meant(message, kind):
    """Return which choice was meant where click's `message` refuses one of a type, "" where none is near."""
    unknown = _NO_CHOICE.match(message)
    return _meant(unknown[1], kind.choices) if unknown and isinstance(kind, click.Choice) else ""


def _meant(name, names):
    near = nearest(name, names)
    return "" if near is None else f". Did you mean '{near}'?"


def _as_typed(option, words):
    """Return the word of an option: of -temperature click names -t alone."""
    if option.startswith("--"):
        return option
    longer = (word.partition("=")[0] for word in words if word.startswith(option) and not word.startswith("--"))
    return next(longer, option)
