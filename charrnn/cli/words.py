"""How the commands speak: what a terminal may be given, and how losses, times, symbols and paths are spelled. Imports
no command.
"""

import contextlib
import math
import os
import re
import shlex
import shutil
import sys
import textwrap

import click

from charrnn.errors import StorageError
from charrnn.evaluation.units import bits, perplexity, perplexity_text

# C0 as the pictures of their names, DEL likewise; C1 and the characters that reorder a line as escapes.
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE[0x7F] = 0x2421
_VISIBLE.update({code: f"\\x{code:02x}" for code in range(0x80, 0xA0)})
_VISIBLE.update(
    {
        code: f"\\u{code:04x}"
        for code in (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    }
)

# A line that is a command, or ends in one, is for pasting: it stays whole. So does a command quoted in a sentence.
_COMMAND_LINE = re.compile(r"((\S+ ){0,2}\S+:)?\s*charrnn ")
_QUOTED_COMMAND = re.compile(r"'charrnn [^']*'|python -c '[^']*'(?: \S+){2}")
MIN_HANGING = 24  # columns beside an indentation: with fewer, lines begin further to the left

# Of the progress bars on the terminal: functions that return a context in which a bar is hidden.
BARS = []


@contextlib.contextmanager
def bars_hidden():
    """Write in this context what stands on a terminal beside a progress bar."""
    with contextlib.ExitStack() as stack:
        for hidden in BARS:
            stack.enter_context(hidden())
        yield


@contextlib.contextmanager
def kept_in(where):
    """Print in this context a result that is kept, too: where stdout refuses it, the error says so.

    where : a sentence on where it is
    """
    try:
        yield
    except BrokenPipeError:  # the reader has enough
        raise
    except OSError as error:
        raise StorageError(f"cannot write to stdout: {(error.strerror or str(error)).lower()}; {where}") from error


def note(text):
    """Say something on stderr, after all that was written to stdout: both may go into one file."""
    with contextlib.suppress(OSError, ValueError):  # a stdout that is full or closed is told at the end
        sys.stdout.flush()
    with bars_hidden():
        click.echo(wrapped(printable(text, sys.stderr), sys.stderr), err=True)


def tell(text, hang=0):
    """Write sentences to stdout, broken between words on a terminal; `hang` columns stand before all but the first."""
    with bars_hidden():
        click.echo(wrapped(text, sys.stdout, hang))


def columns_of(stream):
    """Return how many columns a terminal has; None where the stream is none."""
    if not stream.isatty():
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if "COLUMNS" not in os.environ and (columns := os.get_terminal_size(stream.fileno()).columns):
            return columns
    return shutil.get_terminal_size().columns


def wrapped(text, stream, hang=0):
    """Break the lines of a text between words where they are too long for a terminal; for anything else, none.

    hang    columns before all lines of a broken one but the first
    """
    columns = columns_of(stream)
    return text if columns is None else broken_at(text, columns, hang)


def broken_at(text, columns, hang=0):
    """Break the lines of a text that are longer than `columns` between words, a quoted command never."""
    lines = []
    for line in text.split("\n"):
        if len(line) <= columns or _COMMAND_LINE.match(line):
            lines.append(line)
            continue
        whole = _QUOTED_COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line)
        longest = max(map(len, whole.split(" ")))
        before = hang if columns - hang >= max(MIN_HANGING, longest) else min(hang, 4)
        broken = textwrap.wrap(
            whole,
            columns,
            subsequent_indent=" " * before,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
        lines += [part.replace("\0", " ") for part in broken]
    return "\n".join(lines)


def note_once(text):
    """Say something on stderr, unless this command has said it before."""
    context = click.get_current_context(silent=True)
    said = set() if context is None else context.meta.setdefault("charrnn.said", set())
    if text not in said:
        said.add(text)
        note(text)


def say(text):
    """Write lines to stdout with their colours, whatever characters the stream lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    with bars_hidden():
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), color=True)


def printable(text, stream):
    """Escape what would act on a terminal instead of being seen on it, and what the stream's encoding has not."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def neutralise(text):
    """Make every character visible that a terminal would act on, but newline and tab."""
    return text.translate(_VISIBLE)


def can_print(text, stream):
    """Say whether a stream's encoding has every character of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def bare_symbol(symbol):
    """Return a vocabulary's symbol as one text: a character is itself, a byte beyond ASCII its escape."""
    return symbol if isinstance(symbol, str) else chr(symbol) if symbol < 0x80 else f"\\x{symbol:02x}"


def loss_text(loss_nats, per="character"):
    """Say a loss in its three units; per : what it is the mean over."""
    shown = "too large to show" if math.isinf(perplexity(loss_nats)) else perplexity_text(loss_nats, 3, "")
    return f"{loss_nats:.4f} nats = {bits(loss_nats):.4f} bits per {per}, perplexity {shown}"


def unlike_line(part, texts=1, val_text=None):
    """Say that a held-out split is unlike the training split, and what to do about it.

    part        an UnlikePart
    texts       how many were named for training
    val_text    the name of the text that is the validation split, None where it is a part of the training text
    """
    name = {"val": "validation"}.get(part.name, part.name)
    said = (
        f"The {name} split is {'harder' if part.is_harder else 'easier'} than the rest of the text for any model: "
        f"5-grams need {part.loss_nats:.2f} nats per character on the {name} split, but {part.low:.2f} to "
        f"{part.high:.2f} on {part.stretches} parts of the training split, each measured with 5-grams that had not "
        "read it."
    )
    if part.name == "val" and val_text is not None:
        return f"{said} {quoted(val_text)} is another kind of text."
    if val_text is not None:
        return f"{said} A larger split differs less: 'charrnn train TEXT --val-text FILE --test-fraction 0.15'."
    said += " Larger splits differ less: 'charrnn train TEXT --val-fraction 0.15 --test-fraction 0.15'"
    order = "; the order in which you name the texts decides which of them are held out"
    return f"{said}{order if texts > 1 else ''}."


def duration(seconds):
    """Say a time in its two largest units."""
    seconds = round(seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:,} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    if minutes:
        return f"{minutes} min {seconds % 60:02} s"
    return f"{seconds} s"


def shorter(path):
    """Return a path as it was named, or from the current folder where that is shorter."""
    try:
        return min(os.fspath(path), os.path.relpath(path), key=len)
    except ValueError:  # another drive
        return os.fspath(path)


def quoted(path):
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))
