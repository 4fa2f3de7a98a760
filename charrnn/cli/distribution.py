"""What `charrnn sample --distribution` shows: how likely each character is to come next, at three temperatures."""

import json
import math
import sys

import click

from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.words import bare_symbol, can_print, printable
from charrnn.errors import ConfigError

TEMPERATURES = (0.5, 1.0, 2.0)
MAX_SHOWN, DRAWN, SHOWN_PRIME = 12, 10, 30
OF_DRAWING = ("length", "temperature", "top_k", "top_p", "min_p", "greedy", "hide_prime", "stop", "num_samples", "seed")
OF_DRAWING += ("separator", "novel", "report")


def distribution_options(command):
    """Add the options of this module to a click command."""
    for option in (
        force_option("svg"),
        file_option("svg", "With --distribution: also write it as an SVG drawing."),
        click.option(
            "--distribution",
            is_flag=True,
            help="Instead of text, show how likely each next character is at temperatures 0.5, 1 and 2.",
        ),
    ):
        command = option(command)
    return command


def check_distribution(given, options):
    """Return the Outputs; ConfigError where options contradict each other.

    given    names of the parameters that the user gave
    """
    if options["distribution"]:
        for name in OF_DRAWING:
            if name in given:
                raise ConfigError(
                    "--distribution shows only the next character, at temperatures 0.5, 1 and 2: leave out "
                    f"--{name.replace('_', '-')}, or --distribution",
                    ["distribution"],
                )
        options["seed"] = 0  # nothing is drawn
    elif options["svg"] is not None:
        raise ConfigError(
            f"--svg {options['svg']} has no effect without --distribution: add --distribution", ["svg", "distribution"]
        )
    return Outputs(options, "svg")


def show_distribution(samples, as_json, outputs):
    """Print the distribution of the first new character, and write it as a drawing where that is asked for.

    samples : SampleTexts, primed
    """
    sampler = samples.sampler
    symbols = [bare_symbol(symbol) for symbol in sampler.model.vocabulary.shown_symbols]
    rows = sampler.distribution(TEMPERATURES)  # (temperatures, V)
    order = sorted(range(len(symbols)), key=lambda i: (-rows[1][i], i))
    if as_json:
        shares = [
            {"symbol": symbols[i], "probability": {f"{t:g}": float(row[i]) for t, row in zip(TEMPERATURES, rows)}}
            for i in order
        ]
        click.echo(json.dumps({"checkpoint": samples.checkpoint, "prime": samples.prime, "distribution": shares}))
    else:
        _print(samples.prime, symbols, rows, order)
    if outputs:
        from charrnn.render.figure import write_svg

        outputs.write("svg", write_svg, distribution_figure(samples.prime, symbols, rows, order))


def distribution_figure(prime, symbols, rows, order):
    """Return the Figure: a panel of bars for each temperature, over the likeliest characters at temperature 1."""
    from charrnn.render.figure import Curve, Figure, Panel

    drawn = order[:DRAWN]
    names = [_spelt(symbols[i]) for i in drawn]
    panels = [
        Panel(
            f"temperature {t:g}",
            [Curve(f"entropy {_entropy_bits(row):.2f} bits", list(range(len(drawn))), [float(row[i]) for i in drawn])],
            x_names=names,
        )
        for t, row in zip(TEMPERATURES, rows)
    ]
    highest = max(float(row[i]) for row in rows for i in drawn)
    left = len(symbols) - len(drawn)
    notes = (f"The {len(drawn)} most likely characters of {len(symbols):,}, at temperature 1.",) if left else ()
    title = f"The next character {_after(prime)}"
    return Figure(title, "character", "probability", panels, y_range=(0.0, highest), notes=notes, bars=True)


def _print(prime, symbols, rows, order):
    from shutil import get_terminal_size

    full = "█" if can_print("█", sys.stdout) else "#"
    names = {i: printable(_spelt(symbols[i]), sys.stdout) for i in order[:MAX_SHOWN]}
    label = max(9, *map(len, names.values()))
    longest = max(1, (min(get_terminal_size((80, 24)).columns, 100) - label) // len(rows) - 10)
    click.echo(f"{printable(f'The next character {_after(prime)}', sys.stdout)}\n")

    def line(name, words):
        click.echo((f"{name:{label}}" + "".join(f"{word:{longest + 10}}" for word in words)).rstrip())

    line("", [f"  temperature {t:g}" for t in TEMPERATURES])
    for i, name in names.items():
        line(name, [f"{row[i]:8.2%} {full * round(longest * float(row[i]))}" for row in rows])
    others = order[MAX_SHOWN:]
    if others:
        line(f"{len(others):,} more", [f"{sum(float(row[i]) for i in others):8.2%}" for row in rows])
    line("entropy", [f"{_entropy_bits(row):8.2f} bits" for row in rows])


def _after(prime):
    if not prime:
        return "at the start of a text"
    shown = prime if len(prime) <= SHOWN_PRIME else "..." + prime[-SHOWN_PRIME:]
    return "after " + json.dumps(shown, ensure_ascii=False)


def _spelt(symbol):
    """Return a symbol as it can be seen: a blank by its name, a newline as an escape."""
    return "space" if symbol == " " else symbol if symbol.isprintable() else repr(symbol)[1:-1]


def _entropy_bits(row):
    return -sum(p * math.log2(p) for p in map(float, row) if p > 0)
