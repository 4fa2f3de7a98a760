"""What comes next, as a table with bars and as a JSON record: for `charrnn next` and for /next at a prompt."""

import json
import math
import sys

from charrnn.cli.words import bare_symbol, can_print, columns_of, printable

SHOWN_PRIME = 40  # characters of a text that a heading quotes
BAR_COLUMNS = 40
EIGHTHS = " ▏▎▍▌▋▊▉█"
NAMED = {" ": "space", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\u00a0": "\\xa0"}


def print_next(vocabulary, log_p, top_k, text, ends=True):
    """Print the likeliest symbols to come next, the rest in one line, and the entropy.

    log_p    ndarray (V,), nats
    text     what they come after
    ends     whether to say how likely an item ends here, where END is not among those shown
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from charrnn.sampling.following import likeliest

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    width = columns_of(sys.stdout) or 80
    found = likeliest(vocabulary, log_p)
    shown, rest = found[:top_k], found[top_k:]
    if ends:
        shown += [one for one in rest if one.id == vocabulary.end_id]
    rest = [one for one in rest if not (ends and one.id == vocabulary.end_id)]
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    bar = min(BAR_COLUMNS, max(4, width - 30))
    for one in shown:
        table.add_row(
            Text(printable(spelt(vocabulary, one.id), sys.stdout), style="bold"),
            f"{one.probability:.2%}",
            Text(_bar(one.probability, bar), style="cyan"),
        )
    if rest:
        table.add_row(f"{len(rest):,} more", f"{sum(one.probability for one in rest):.2%}", "")
    table.add_row("entropy", f"{entropy_bits(found):.2f}", "bits")
    console.print(printable(f"The next character {after(text, vocabulary)}:", sys.stdout), soft_wrap=True)
    with console.capture() as captured:
        console.print(table, width=width)
    for line in captured.get().splitlines():  # rich fills each up to the longest
        sys.stdout.write(line.rstrip() + "\n")


def next_record(vocabulary, log_p, top_k):
    """Return the fields of a JSON record of what comes next."""
    from charrnn.sampling.following import likeliest

    found = likeliest(vocabulary, log_p)
    rest = found[top_k:]
    record = {
        "next": [
            {
                "symbol": bare_symbol(one.symbol),
                "id": one.id,
                "probability": one.probability,
                "loss_nats": one.loss_nats,
            }
            for one in found[:top_k]
        ],
        "rest": {"symbols": len(rest), "probability": sum(one.probability for one in rest)},
        "entropy_bits": entropy_bits(found),
    }
    if vocabulary.end_id is not None:
        record["end_probability"] = next(one.probability for one in found if one.id == vocabulary.end_id)
    return record


def entropy_bits(found):
    """Return the entropy of all NextCharacters of a distribution."""
    return sum(one.probability * one.loss_nats for one in found if one.probability > 0) / math.log(2)


def spelt(vocabulary, number):
    """Return the symbol of an id as it can be seen: blanks by name, others that cannot be seen as escapes, and what is
    no character in brackets.
    """
    if number >= len(vocabulary.symbols):
        return f"<{vocabulary.names[number]}>"
    symbol = bare_symbol(vocabulary.names[number])
    if symbol in NAMED:
        return NAMED[symbol]
    return symbol if symbol.isprintable() else repr(symbol)[1:-1]


def after(text, vocabulary):
    """Say after what: a quoted end of a text, or its beginning."""
    if not text:
        return "at the start of an item" if vocabulary.start_id is not None else "at the start of a text"
    shown = text if len(text) <= SHOWN_PRIME else "..." + text[-SHOWN_PRIME:]
    return f"after {json.dumps(shown, ensure_ascii=False)}"


def _bar(share, columns):
    if not can_print(EIGHTHS, sys.stdout):
        return "#" * round(share * columns)
    eighths = round(share * columns * 8)
    return EIGHTHS[8] * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
