"""charrnn doctor: what charrnn sees here, on one screen, with a remedy at each thing that is wrong."""

import json
import sys

import click

from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.words import printable, say
from charrnn.errors import counted

WRONG, INDENT = "  ! ", 14


@click.command(name="doctor", cls=PlainCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(as_json):
    """Check this installation, and show how to fix problems.

    \b
    Example: charrnn doctor

    Checks the CPU and its vector units, the number of threads, the caches, versions, memory, disk, the newest run and
    the terminal. Each problem is marked with ! and followed by a command that fixes it. The exit code is 0 if
    everything is fine, otherwise 1. Please include the output when you report a bug.
    """
    from charrnn.cli.probes import examine

    facts = list(examine())
    wrong = [fact for fact in facts if fact.problem is not None]
    if as_json:
        seen = {fact.name: fact.shown if fact.value is None else fact.value for fact in facts}
        problems = [{"about": fact.name, "problem": fact.problem, "remedy": fact.remedy} for fact in wrong]
        click.echo(json.dumps({"ok": not wrong, "seen": seen, "problems": problems}, indent=2))
        return 1 if wrong else 0
    for fact in facts:
        say(f"{fact.name:<{INDENT}}{printable(fact.shown, sys.stdout)}")
        if fact.problem is not None:
            say(f"{WRONG:<{INDENT}}{printable(fact.problem, sys.stdout)}")
            if fact.remedy is not None:
                say(f"{'':<{INDENT}}{printable(fact.remedy, sys.stdout)}")
    say(f"\n{counted(len(wrong), 'problem')} found, marked with !" if wrong else "\neverything is fine")
    return 1 if wrong else 0
