"""What was meant by a command, an option or a choice that there is not. Imports no command."""

import re

import click

from charrnn.errors import nearest

_NO_COMMAND = re.compile(r"No such command '(.*)'\.?$", re.DOTALL)
_NO_NUMBER = re.compile(r"('.*') is not a valid (float|integer)", re.DOTALL)
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
    if isinstance(error, click.BadParameter) and error.param is not None:
        error.message = refused_value(error.message, error.param.type)
    message = error.format_message().rstrip(".")
    takes_a_text = command is not None and any("--prime" in one.opts for one in command.get_params(error.ctx))
    if takes_a_text and message.startswith("Got unexpected extra argument"):
        return f"{message}; to continue a text, name it with --prime"
    return message


def refused_value(message, kind):
    """Return what click's `message` says of a value that is none of a type: the rule, or which choice was meant."""
    message = message.rstrip(".")
    if number := _NO_NUMBER.match(message):
        return f"must be a {'whole ' if number[2] == 'integer' else ''}number, got {number[1]}{message[number.end() :]}"
    unknown = _NO_CHOICE.match(message)
    return message + (_meant(unknown[1], kind.choices) if unknown and isinstance(kind, click.Choice) else "")


def _meant(name, names):
    near = nearest(name, names)
    return "" if near is None else f". Did you mean '{near}'?"


def _as_typed(option, words):
    """Return the word of an option: of -temperature click names -t alone."""
    if option.startswith("--"):
        return option
    longer = (word.partition("=")[0] for word in words if word.startswith(option) and not word.startswith("--"))
    return next(longer, option)
