"""The options of `charrnn train`, as click has them; `charrnn sweep` takes those of the training from here too.

A training option is made from its Setting in training/options.py: name, kind, default, help and heading stand there.
The options of the command itself, such as --threads, stand here.
"""

from pathlib import Path

import click

from charrnn.cli.config import config_values, read_toml
from charrnn.cli.near import refused_value
from charrnn.cli.plain_help import plain_record
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


# What --help lists; --help-all lists all.
FIRST = {
    *("cell", "hidden_size", "num_layers", "minutes", "epochs", "learning_rate", "dropout"),
    *("output", "resume", "init_from", "dry_run", "help_all"),
}
_ALL = "charrnn.help_all"


class SectionedCommand(click.Command):
    """A command whose help lists its options under their headings; those without one, such as --help, come last.

    --help has the FIRST of them, --help-all has all.
    """

    def format_options(self, ctx, formatter):
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        if not ctx.meta.get(_ALL):
            options = [one for one in options if one.name in FIRST or "--help" in one.opts]
        for heading in (*HEADINGS, THE_RUN, UNSORTED):
            here = [one for one in options if getattr(one, "heading", UNSORTED) == heading]
            if here:
                here.sort(key=lambda one: getattr(one, "place", 0))
                with formatter.section(heading):
                    formatter.write_dl([plain_record(one.get_help_record(ctx)) for one in here])


def show_all_help(ctx, _parameter, wanted):
    """Print the help with all options, and end."""
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


class OutputPath(click.Path):
    """A folder to be made; the empty name, which would be the current folder, is refused."""

    def convert(self, value, param, ctx):
        if str(value) == "":
            raise ConfigError("-o/--output must name a folder, got ''", ["output"])
        if str(value) == "-":
            raise ConfigError("-o/--output must name a folder, got '-': a run folder cannot go to stdout", ["output"])
        return Path(super().convert(value, param, ctx))


def training_option(name):
    """Make the click option of a training option."""
    one, default = SETTINGS[name], getattr(DEFAULTS, name)
    flag = option(name)
    told = {"help": one.help, "default": default, "heading": one.heading, "place": one.place}
    if one.kind is bool:
        return HeadedOption([f"{flag}/--no-{flag[2:]}", name], show_default=True, **told)
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
        help="Number of threads; the result does not depend on it.",
    ),
    HeadedOption(
        ["-o", "--output"],
        heading=THE_RUN,
        type=OutputPath(),
        metavar="RUN",
        show_default="checkpoints/NAME-N",
        help="Folder to create for the run.",
    ),
    HeadedOption(
        ["--resume"],
        heading=THE_RUN,
        is_flag=False,
        flag_value=NEWEST,
        metavar="[RUN]",
        help="Resume a run; without RUN, the newest one under ./checkpoints. A snapshot (a checkpoint of an earlier "
        "step, kept by --keep-every) is resumed in a new folder, so that the old run stays as it is. To make a run "
        "longer, even a finished one, give a larger --epochs, --steps or --minutes. The learning rate then follows the "
        "plan for the new length.",
    ),
    HeadedOption(
        ["--init-from"],
        heading=THE_RUN,
        type=click.Path(path_type=Path),
        metavar="CHECKPOINT",
        help="Start a new run from the weights of a checkpoint. Characters that are in the old and in the new text "
        "keep their weights. With --keep-vocabulary, all characters of the old model keep theirs.",
    ),
    HeadedOption(
        ["--dry-run"],
        heading=THE_RUN,
        is_flag=True,
        help="Show what the run would do (splits, size, memory, length), and do not train.",
    ),
    HeadedOption(
        ["--config"],
        heading=THE_RUN,
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=read_config,
        is_eager=True,
        help="TOML file with any of these options; options on the command line take precedence.",
    ),
    HeadedOption(["-q", "--quiet"], heading=WATCHING, place=3, is_flag=True, help="Show only the result."),
    HeadedOption(
        ["--help-all"],
        heading=UNSORTED,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show_all_help,
        help="Show all options and exit, also those for items, labels and tasks; --help shows the most important ones.",
    ),
)
PARAMETERS = (click.Argument(["text"], nargs=-1), *TRAINING_OPTIONS.values(), *RUN_OPTIONS)


def typed_options(options, where):
    """Return {name: value} of training options as a TOML file has them, each of the type the command line gives it."""
    of_command = {parameter.name for parameter in PARAMETERS} - set(NAMES)
    own = [key for key in options if key.replace("-", "_") in of_command]
    if own:
        raise ConfigError(f"{where}: {own[0]!r} is an option of the command, not of the training: leave it out")
    typed = {}
    for name, value in config_values(options, NAMES, where).items():
        try:
            typed[name] = TRAINING_OPTIONS[name].type_cast_value(click.get_current_context(), value)
        except click.BadParameter as error:
            raise ConfigError(
                f"{where}: wrong value for {name.replace('_', '-')!r}: "
                f"{refused_value(error.message, TRAINING_OPTIONS[name].type)}"
            ) from None
    return typed
