"""The options of `charrnn train`, as click has them; `charrnn sweep` takes those of the training from here too.

A training option is made from its Setting in training/options.py: name, kind, default, help and heading stand there.
The options of the command itself, such as --threads, stand here.
"""

from pathlib import Path

import click

from charrnn.cli.config import config_values, read_toml
from charrnn.cli.near import refused_value
from charrnn.errors import ConfigError
from charrnn.training.model_options import COMPUTING, HEADINGS, WATCHING
from charrnn.training.options import DEFAULTS, NAMES, SETTINGS
from charrnn.training.settings import option

NEWEST = ""  # the value of --resume without a RUN
THE_RUN, UNSORTED = "The run", "Help"  # the last headings of --help


class HeadedOption(click.Option):
    """An option that knows where in the help it stands: under which heading, and at which place there."""

    def __init__(self, *arguments, heading, place=0, **settings):
        super().__init__(*arguments, **settings)
        self.heading, self.place = heading, place


class SectionedCommand(click.Command):
    """A command whose help lists its options under their headings; those without one, such as --help, come last."""

    def format_options(self, ctx, formatter):
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        for heading in (*HEADINGS, THE_RUN, UNSORTED):
            here = [one for one in options if getattr(one, "heading", UNSORTED) == heading]
            if here:
                here.sort(key=lambda one: getattr(one, "place", 0))
                with formatter.section(heading):
                    formatter.write_dl([one.get_help_record(ctx) for one in here])


class OutputPath(click.Path):
    """A folder to be made; the empty name, which would be the current folder, is refused."""

    def convert(self, value, param, ctx):
        if str(value) == "":
            raise ConfigError("-o/--output must name a folder, got ''", ["output"])
        if str(value) == "-":
            raise ConfigError("-o/--output must name a folder, got '-': nothing of it can go to stdout", ["output"])
        return Path(super().convert(value, param, ctx))


def training_option(name):
    """Make the click option of a training option."""
    one, default = SETTINGS[name], getattr(DEFAULTS, name)
    flag = option(name)
    told = {"help": one.help, "default": default, "heading": one.heading, "place": one.place}
    if one.kind is bool:
        return HeadedOption([f"{flag}/--no-{flag[2:]}", name], show_default=default, **told)
    return HeadedOption(
        [flag, name],
        type=click.Choice(one.choices, case_sensitive=False) if one.choices else one.kind,
        metavar=one.metavar,
        show_default=one.shown or default is not None,
        **told,
    )


def read_config(ctx, _parameter, path):
    """Put the options of a TOML file in the place of the defaults; the command line wins over them."""
    if path is None:
        return None
    known = [parameter.name for parameter in ctx.command.params if parameter.name != "config"]
    # Runs from before it was stored know `no-sample` as an option of the command.
    values = config_values(read_toml(path, f"--config {path}"), [*known, "no_sample"], f"--config {path}")
    if "no_sample" in values:
        values["sample"] = not click.BOOL.convert(values.pop("no_sample"), None, ctx)
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return path


TRAINING_OPTIONS = {name: training_option(name) for name in NAMES}
RUN_OPTIONS = (
    HeadedOption(
        ["--threads"],
        heading=COMPUTING,
        place=1,
        type=int,
        metavar="N",
        show_default="all cores",
        help="Threads to compute with; the result does not depend on it.",
    ),
    HeadedOption(
        ["-o", "--output"],
        heading=THE_RUN,
        type=OutputPath(),
        metavar="RUN",
        show_default="checkpoints/NAME-N",
        help="Folder of the run, to be made.",
    ),
    HeadedOption(
        ["--resume"],
        heading=THE_RUN,
        is_flag=False,
        flag_value=NEWEST,
        metavar="[RUN]",
        help="Go on with a run; without RUN the newest under ./checkpoints; from a snapshot (--keep-every) in a new "
        "folder. A longer --epochs, --steps or --minutes "
        "extends it, also when it is finished; cosine and a --warmup by share are then stretched over the new length.",
    ),
    HeadedOption(
        ["--init-from"],
        heading=THE_RUN,
        type=click.Path(path_type=Path),
        metavar="CHECKPOINT",
        help="Start a new run from the weights of a checkpoint; the vocabularies are matched by character "
        "(--keep-vocabulary keeps the old one).",
    ),
    HeadedOption(
        ["--config"],
        heading=THE_RUN,
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=read_config,
        is_eager=True,
        help="TOML file with any of these options; the command line wins.",
    ),
    HeadedOption(["-q", "--quiet"], heading=WATCHING, place=3, is_flag=True, help="Show the result only."),
)
PARAMETERS = (click.Argument(["text"], nargs=-1), *TRAINING_OPTIONS.values(), *RUN_OPTIONS)


def typed_options(options, where):
    """Return {name: value} of training options as a TOML file has them, each of the type the command line gives it."""
    of_command = {parameter.name for parameter in PARAMETERS} - set(NAMES)
    own = [key for key in options if key.replace("-", "_") in of_command]
    if own:
        raise ConfigError(f"{where} has the option {own[0]!r}, which is no option of the training itself: leave it out")
    typed = {}
    for name, value in config_values(options, NAMES, where).items():
        try:
            typed[name] = TRAINING_OPTIONS[name].type_cast_value(click.get_current_context(), value)
        except click.BadParameter as error:
            raise ConfigError(
                f"{where} gives {name.replace('_', '-')!r} a value that it cannot have: "
                f"{refused_value(error.message, TRAINING_OPTIONS[name].type)}"
            ) from None
    return typed
