"""What several commands ask in the same words, and refuse before anything is read."""

import importlib.util

import click

from charrnn.errors import ConfigError

unknown_option = click.option(
    "--unknown",
    type=click.Choice(("error", "skip"), case_sensitive=False),
    show_default="error",
    help="What to do with characters of TEXT that the model does not know: stop with an error, or skip and count them.",
)

MAX_BEAM = 1_000
beam_option = click.option(
    "--beam",
    type=int,
    metavar="N",
    show_default="1: only the most likely character at each step",
    help="For a model that translates: follow the N best beginnings of an answer at the same time (beam search). This "
    "is slower, but often finds better answers.",
)


def skip_first(error):
    """Return what a VocabularyError says of a file, in which there may be many such characters."""
    if not error.remedies:
        return f"{error}; --unknown skip skips such characters"
    *others, last = error.remedies
    ways = ", ".join(["skip such characters with --unknown skip", *others])
    return f"{error.missing}: {ways}, or {last}"


def check_bounds(options, *bounds):
    """Raise ConfigError unless each option that was given lies within its bounds.

    options    {name: number or None}
    bounds     (name, lowest, highest or None), each
    """
    for name, lowest, highest in bounds:
        value = options[name]
        if value is not None and (value < lowest or highest is not None and value > highest):
            most = f" and at most {highest:,}" if highest else ""
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {lowest:,}{most}, got {value:,}", [name])


def check_pillow(path):
    """Raise ConfigError where --png asks for what only Pillow draws, and it is not installed."""
    if path is not None and importlib.util.find_spec("PIL") is None:
        raise ConfigError(
            "--png needs Pillow, which is not installed: pip install pillow, or use --svg, which needs nothing",
            ["png", "svg"],
        )
