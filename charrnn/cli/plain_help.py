"""Help as charrnn prints it: click's, but a default in words stands without parentheses."""

import re

import click


def plain_record(record):
    """Return the (flags, help) of an option without the parentheses that click puts around a default in words."""
    return record and (record[0], re.sub(r"\[default: \((.*)\)\]$", r"[default: \1]", record[1]))


class PlainCommand(click.Command):
    """A command with such help."""

    def format_options(self, ctx, formatter):
        """Write the options under their heading."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        records = [record for one in options if (record := plain_record(one.get_help_record(ctx)))]
        if records:
            with formatter.section("Options"):
                formatter.write_dl(records)
