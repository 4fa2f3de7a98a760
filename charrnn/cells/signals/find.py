"""What a unit may follow: a text -> signals, an array of values per character. Pure; knows no model and no file.

Alignment. values[t] describes the text once character t has been read, as a unit's state at t does: it is on *at* an
opening quote, and off *at* the closing one; at a newline the position in line is 0. Two kinds of signal ask more than
has been read: those that predict ("next is a newline", "characters to the line's end"), and spans whose beginning is
known for what it is only later (a word in capitals is on from its first letter, a URL from its h).

Scanners decide with the whole text in hand what opens and closes; nothing unbalanced reaches far. In prose a quotation
ends with its paragraph, and a bracket too; in code a string ends with its line, a comment within MAX_SPAN characters,
and braces begin anew where a definition starts in the first column. Code is read as C (and what looks like it), Python
or LaTeX by what the text itself looks like: `language`.
"""

import re

import numpy as np

from charrnn.cells.signals.code import C_TOKENS, PYTHON_TOKENS, begin_inside, python_start, scan_conditions, scan_tokens
from charrnn.cells.signals.latex import scan_latex
from charrnn.cells.signals.lines import URL, Lines, capitals, indentation, is_vowel, next_is, run_position, spans
from charrnn.cells.signals.prose import scan_quotations
from charrnn.cells.signals.scanning import Scan, scan_brackets
from charrnn.cells.signals.scripts import final_consonants, letters_of, misfits, particles, script_switches
from charrnn.cells.signals.signal import BUILT_IN, MIN_CHARACTERS, MIN_RUNS, ON_OFF, Signal
from charrnn.errors import ConfigError, counted

LANGUAGES = ("prose", "c", "python", "latex")
TWIN_SHARE = 0.99  # of where either of two signals is on


def find_signals(text, custom=()):
    """Return every Signal that occurs in `text` and says something about it (scripts.misfits), the user's own last.

    custom    pairs (name, regular expression): on inside each match; ^ and $ match at every line

    Raises ConfigError for a name that is taken, an expression that is none, or one that says too little about this
    text.
    """
    unfit = misfits(text)
    signals = [signal for signal in built_in_signals(text) if signal.name not in unfit and signal.occurs()]
    taken = set(BUILT_IN)
    for name, expression in custom:
        if not name or name in taken:
            raise ConfigError(
                f"a signal needs its own name, got {name!r}" + (": it is built in" if name in BUILT_IN else "")
            )
        taken.add(name)
        signal = custom_signal(text, name, expression)
        if not signal.occurs():
            runs = int(np.count_nonzero(signal.values[1:] & ~signal.values[:-1])) + int(signal.values[:1].sum())
            raise ConfigError(
                f"signal {name} is on in {counted(runs, 'place')} and {int(signal.values.sum()):,} of {len(text):,} "
                f"characters, but it needs {MIN_RUNS} places, {MIN_CHARACTERS} characters on and as many off: "
                f"write a wider {expression!r}, or use a longer text"
            )
        signals.append(signal)
    return signals


def without_twins(signals):
    """Return (the signals but those that another stands for, {name left out: name of the other}).

    Of two built-in on/off signals that are on together in TWIN_SHARE of where either is on, the later of BUILT_IN
    stays, which says more: in code `string` stands for `quotes`.
    """
    kept, twins = [], {}
    for signal in reversed([signal for signal in signals if signal.kind == ON_OFF and signal.name in BUILT_IN]):
        for other in kept:
            both, either = (
                np.count_nonzero(signal.values & other.values),
                np.count_nonzero(signal.values | other.values),
            )
            if both >= TWIN_SHARE * either:
                twins[signal.name] = other.name
                break
        else:
            kept.append(signal)
    return [signal for signal in signals if signal.name not in twins], twins


def built_in_signals(text):
    """Return all of BUILT_IN for `text`, whether they occur or not."""
    kind = language(text)
    code = scan(text, kind)
    lines = Lines(text)
    letters = letters_of(text)
    values = {
        "quotes": code.quotes,
        "single-quotes": code.single_quotes,
        "comment": code.comment,
        "string": code.string,
        "if": code.condition,
        "math": code.math,
        "environments": code.environments,
        "line-position": lines.position,
        "to-line-end": lines.to_end,
        "indentation": indentation(text, code, kind),
        "brackets": code.depth,
        "parentheses": code.parentheses,
        "capital": np.fromiter(map(str.isupper, text), bool, len(text)),
        "all-capitals": capitals(text),
        "digit": np.fromiter(map(str.isdigit, text), bool, len(text)),
        "word-position": run_position(letters),
        "word-start": letters & ~np.concatenate([[False], letters[:-1]]) if len(text) else letters,
        "before-newline": next_is(text, "\r\n"),
        "before-space": next_is(text, " "),
        "vowel": np.fromiter(map(is_vowel, text), bool, len(text)),
        "url": spans(text, URL.finditer(text)),
        "final-consonant": final_consonants(text),
        "particle": particles(text),
        "script-switch": script_switches(text),
    }
    return [Signal(name, phrase, kind, values[name]) for name, (phrase, kind) in BUILT_IN.items()]


def custom_signal(text, name, expression):
    """Return the signal that is on inside each match of a regular expression. Raises ConfigError."""
    try:
        pattern = re.compile(expression, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"signal {name} is not a valid regular expression: {error} in {expression!r}") from None
    return Signal(name, f"{name}: /{expression}/", ON_OFF, spans(text, pattern.finditer(text)))


def language(text):
    """Return which of LANGUAGES a text looks like, by what ends and begins its lines."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    share = {name: sum(map(bool, map(pattern.search, lines))) / len(lines) for name, pattern in _LOOKS.items()}
    if share["latex"] > 0.08 and share["latex"] > share["c"]:
        return "latex"
    if share["c"] > 0.2 and share["c"] > share["python"] and share["braces"] > 0.02:
        return "c"
    return "python" if share["python"] > 0.12 else "prose"


_LOOKS = {
    "latex": re.compile(r"\\(?:begin|end|[a-zA-Z]+)\s*[{\[]|\\(?:item|par|noindent|bigskip|label|ref|cite)\b"),
    "c": re.compile(
        r"[;{}]\s*(?:/[*/].*|\\)?$|^\s*#\s*(?:include|define|if|ifdef|ifndef|endif|else)\b|^\s*(?:/\*| \*[ /\n]|\*/|//)"
    ),
    "braces": re.compile(
        r"[{}]\s*;?\s*$|^\s*#\s*(?:include|define)\b|^\s*/\*"
    ),  # verse ends its lines with semicolons too
    "python": re.compile(
        r"^\s*(?:def|class|import|from|if|elif|else|for|while|try|except|finally|with|return|raise)\b"
        r"[^;{]*[:\w)\]'\"]\s*$|^\s*(?:self|cls)\.|^\s*@\w+|^\s*\w[\w.]* = [^;]*[^;{]$"
    ),
}


def scan(text, kind):
    """Scan a text as one of LANGUAGES."""
    N = len(text)
    off = lambda: np.zeros(N, bool)  # noqa: E731
    code = Scan(off(), off(), off(), off(), off(), off(), np.zeros(N, np.float32), np.zeros(N, np.float32), off())
    skip = off()  # characters whose brackets are not brackets
    if kind == "c":
        scan_tokens(text, C_TOKENS, code)
        begin_inside(text, code.comment, "/*", "*/")
        skip = code.comment | code.string
    elif kind == "python":
        scan_tokens(text, PYTHON_TOKENS, code, start=python_start(text))
        skip = code.comment | code.string
    else:
        if kind == "latex":
            skip = scan_latex(text, code)
        scan_quotations(text, code, skip)
    scan_brackets(text, kind, skip, code)
    if kind in ("c", "python"):
        scan_conditions(text, kind, skip, code)
    return code
