"""What a unit may follow: a text -> signals, an array of values a character. Pure; knows no model and no file.

Alignment. values[t] describes the text once character t has been read, as a unit's state at t does: it is on *at* an
opening quote, and off *at* the closing one; at a newline the position in line is 0. Two kinds of signal ask more than
has been read: those that predict ("next is a newline", "characters to the line's end"), and spans whose beginning is
known for what it is only later (a word in capitals is on from its first letter, a URL from its h).

Scanners decide with the whole text in hand what opens and closes; nothing unbalanced reaches far. In prose a quotation
ends with its paragraph, and a bracket too; in code a string ends with its line, a comment within LONGEST characters, and
braces begin anew where a definition starts in the first column. Code is read as C (and what looks like it), Python or
LaTeX by what the text itself looks like: `language`.
"""

import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, counted

LONGEST = 20_000  # characters of a comment, a docstring or an environment's mathematics at most: longer is a stray mark
LONGEST_QUOTATION = 2_000
LONGEST_FORMULA = 5_000
DEEPEST = 16
LANGUAGES = ("prose", "c", "python", "latex")

# An on/off signal occurs when it was on and off in so many places; with fewer its score would be luck.
FEWEST_RUNS = 8
FEWEST_CHARACTERS = 40
FEWEST_CHANGES = 40  # of a graded signal
TWIN_SHARE = 0.99  # of where either of two signals is on

ON_OFF, GRADED = "on/off", "graded"
_VOWELS = frozenset("aeiouаеёиоуыэюяієїαεηιουω")
# English words that begin with an apostrophe, and those that end with one: neither opens or closes a quotation.
_ELISIONS = re.compile(
    r"(?:tis|twas|twere|twill|twould|twixt|tween|em|im|er|gainst|scape|pon|fore|cause|till?|bout|neath|mongst|"
    r"sblood|zounds|sdeath|ll|d|s|t|re|ve|a|o|n)(?![A-Za-z])",
    re.IGNORECASE,
)
_CLIPPED = re.compile(r"(?<![A-Za-z])(?:th|o|i|t|wi|ha|an|a|ta|gi|lov|mus|ol|tho|thro)$", re.IGNORECASE)


@dataclass(frozen=True)
class Signal:
    """One value a character.

    name      as a user types it: "quotes"
    phrase    as a user reads it: "inside double quotes"
    kind      ON_OFF or GRADED
    values    ndarray (N,), bool or float32
    """

    name: str
    phrase: str
    kind: str
    values: np.ndarray

    @property
    def on(self):
        """The share of characters where it is on, or the mean of a graded one."""
        return float(self.values.mean())

    def occurs(self, keep=slice(None)):
        """Tell whether values[keep] say enough to score a unit by."""
        values = self.values[keep]
        changes = int(np.count_nonzero(values[1:] != values[:-1]))
        if self.kind == GRADED:
            return changes >= FEWEST_CHANGES and len(np.unique(values)) > 2
        on = int(np.count_nonzero(values))
        return changes >= 2 * FEWEST_RUNS and min(on, len(values) - on) >= FEWEST_CHARACTERS


# name: (phrase, kind). In the order they are shown in where nothing else orders them.
BUILT_IN = {
    "quotes": ("inside double quotes", ON_OFF),
    "single-quotes": ("inside single quotes", ON_OFF),
    "line-position": ("position in line", GRADED),
    "to-line-end": ("characters to line's end", GRADED),
    "brackets": ("nesting depth of () [] {}", GRADED),
    "parentheses": ("inside parentheses", ON_OFF),
    "comment": ("inside a comment", ON_OFF),
    "string": ("inside a string literal", ON_OFF),
    "if": ("inside an if's condition", ON_OFF),
    "indentation": ("indentation depth", GRADED),
    "math": ("inside LaTeX math", ON_OFF),
    "environments": ("LaTeX environment depth", GRADED),
    "capital": ("a capital letter", ON_OFF),
    "all-capitals": ("in a word in capitals", ON_OFF),
    "digit": ("a digit", ON_OFF),
    "word-position": ("position in word", GRADED),
    "word-start": ("first letter of a word", ON_OFF),
    "before-newline": ("next is a newline", ON_OFF),
    "before-space": ("next is a space", ON_OFF),
    "vowel": ("a vowel", ON_OFF),
    "url": ("inside a URL", ON_OFF),
}

OF_CHARACTERS = ("capital", "digit", "word-position", "word-start", "before-newline", "before-space", "vowel")


def find_signals(text, custom=()):
    """Return every Signal that occurs in `text`, the user's own last.

    custom    pairs (name, regular expression): on inside each match; ^ and $ match at every line

    Raises ConfigError for a name that is taken, an expression that is none, or one that says too little about this text.
    """
    signals = [signal for signal in built_in_signals(text) if signal.occurs()]
    taken = set(BUILT_IN)
    for name, expression in custom:
        if not name or name in taken:
            raise ConfigError(
                f"a signal needs a name of its own, got {name!r}" + (": it is built in" if name in BUILT_IN else "")
            )
        taken.add(name)
        signal = custom_signal(text, name, expression)
        if not signal.occurs():
            runs = int(np.count_nonzero(signal.values[1:] & ~signal.values[:-1])) + int(signal.values[:1].sum())
            raise ConfigError(
                f"signal {name} is on in {counted(runs, 'place')} and {int(signal.values.sum()):,} of {len(text):,} characters: "
                f"it needs {FEWEST_RUNS} places, {FEWEST_CHARACTERS} characters on and as many off; loosen {expression!r}, "
                "or read a longer text"
            )
        signals.append(signal)
    return signals


def without_twins(signals):
    """Return (the signals but those that another stands for, {name left out: name of the other}).

    Of two built-in on/off signals that are on together in TWIN_SHARE of where either is on, the later of BUILT_IN stays, which
    says more: in code `string` stands for `quotes`.
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
    lines = _Lines(text)
    letters = np.fromiter(map(str.isalpha, text), bool, len(text))
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
        "indentation": _indentation(text, code, kind),
        "brackets": code.depth,
        "parentheses": code.parentheses,
        "capital": np.fromiter(map(str.isupper, text), bool, len(text)),
        "all-capitals": _capitals(text),
        "digit": np.fromiter(map(str.isdigit, text), bool, len(text)),
        "word-position": _run_position(letters),
        "word-start": letters & ~np.concatenate([[False], letters[:-1]]) if len(text) else letters,
        "before-newline": _before(text, "\r\n"),
        "before-space": _before(text, " "),
        "vowel": np.fromiter(map(_is_vowel, text), bool, len(text)),
        "url": _spans(text, _URL.finditer(text)),
    }
    return [Signal(name, phrase, kind, values[name]) for name, (phrase, kind) in BUILT_IN.items()]


_URL = re.compile(r"(?:(?:https?|ftp)://|(?<![\w.])www\.)[^\s<>\"'{}|\\^`]+(?<![.,;:!?)\]])")
_WORD = re.compile(r"[^\W\d_]+")
_BETWEEN_NAMES = re.compile(r"[ '.-]+")


def custom_signal(text, name, expression):
    """Return the signal that is on inside each match of a regular expression. Raises ConfigError."""
    try:
        pattern = re.compile(expression, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"signal {name} is no regular expression: {error} in {expression!r}") from None
    return Signal(name, f"{name}: /{expression}/", ON_OFF, _spans(text, pattern.finditer(text)))


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
        r"^\s*(?:def|class|import|from|if|elif|else|for|while|try|except|finally|with|return|raise)\b[^;{]*[:\w)\]'\"]\s*$|^\s*(?:self|cls)\.|"
        r"^\s*@\w+|^\s*\w[\w.]* = [^;]*[^;{]$"
    ),
}


@dataclass
class Scan:
    """What the scanners make of a text: an array (N,) each."""

    quotes: np.ndarray
    single_quotes: np.ndarray
    comment: np.ndarray
    string: np.ndarray
    condition: np.ndarray
    math: np.ndarray
    environments: np.ndarray
    depth: np.ndarray
    parentheses: np.ndarray


def scan(text, kind):
    """Scan a text as one of LANGUAGES."""
    N = len(text)
    off = lambda: np.zeros(N, bool)  # noqa: E731
    code = Scan(off(), off(), off(), off(), off(), off(), np.zeros(N, np.float32), np.zeros(N, np.float32), off())
    skip = off()  # characters whose brackets are not brackets
    if kind == "c":
        _scan_tokens(text, _C_TOKENS, code)
        _begin_inside(text, code.comment, "/*", "*/")
        skip = code.comment | code.string
    elif kind == "python":
        _scan_tokens(text, _PYTHON_TOKENS, code, start=_python_start(text))
        skip = code.comment | code.string
    else:
        if kind == "latex":
            skip = _scan_latex(text, code)
        _scan_quotations(text, code, skip)
    _scan_brackets(text, kind, skip, code)
    if kind in ("c", "python"):
        _scan_conditions(text, kind, skip, code)
    return code


# ---- code ------------------------------------------------------------------------------------------------------------

_C_TOKENS = re.compile(
    r"(?P<block>/\*)|(?P<comment>//(?:\\\n|[^\n])*)"
    r'|(?P<double>"(?:\\.|[^"\\\n])*")'
    r"|(?P<single>'(?:\\[^\n]{1,8}?|[^'\\\n])')",
    re.DOTALL,
)
_PYTHON_TOKENS = re.compile(
    r"(?P<comment>\#[^\n]*)"
    rf'|(?P<triple>"""(?:\\.|.){{0,{LONGEST}}}?(?:"""|\Z)|\'\'\'(?:\\.|.){{0,{LONGEST}}}?(?:\'\'\'|\Z))'
    r'|(?P<double>"(?:\\.|[^"\\\n])*")'
    r"|(?P<single>'(?:\\.|[^'\\\n])*')",
    re.DOTALL,
)


def _scan_tokens(text, tokens, code, start=0):
    """Mark comments and literals, each on from its opening mark until its closing one has been read."""
    if start:
        code.string[: start - 1] = True
    for a, b, name in _tokens(text, tokens, start):
        if name == "comment":
            # `/` alone may be a division: a comment is known once its second character is read. One that ends with its
            # line is on until the newline is read; one that the text ends inside stays on.
            line = not text.startswith("/*", a)
            code.comment[a + (text[a] == "/") : b if line or text[b - 2 : b] != "*/" else b - 1] = True
            continue
        stop = b - 1 if b < len(text) or text[b - 1] in "\"'" else b
        code.string[a:stop] = True
        if name == "double":
            code.quotes[a:stop] = True
        elif name == "single":
            code.single_quotes[a:stop] = True


def _tokens(text, tokens, at):
    """Yield (start, stop, kind) of tokens; what closes a block comment is sought apart, as expressions seek it slowly."""
    while match := tokens.search(text, at):
        start, at, name = match.start(), match.end(), match.lastgroup
        if name == "block":
            closing = text.find("*/", at, at + LONGEST + 2)
            if closing < 0 and len(text) - at > LONGEST:
                at = start + 1
                continue
            at, name = len(text) if closing < 0 else closing + 2, "comment"
        yield start, at, name


def _begin_inside(text, values, opening, closing):
    """A text that was cut in the middle of a comment begins inside it."""
    first = text.find(closing, 0, LONGEST)
    if first >= 0 and text.find(opening, 0, first + 1) < 0:
        values[: first + len(closing) - 1] = True


def _python_start(text):
    """Return where to begin: 0, or after the docstring that the text was cut in the middle of.

    Both are tried; where strings hold fewer lines that look like code is right.
    """
    best = None
    for start in (0, *[match.end() for match in list(re.finditer(r'"""|\'\'\'', text[:LONGEST]))[:1]]):
        code = Scan(*(np.zeros(len(text), bool) for _ in range(9)))
        _scan_tokens(text, _PYTHON_TOKENS, code, start)
        inside = sum(
            code.string[match.start()]
            for match in re.finditer(
                r"^[ \t]*(?:def \w+\(|class \w+|import \w+|from [\w.]+ import|return\b|@\w+|(?:if|for|while) .*:$|self\.\w+ =)",
                text,
                re.MULTILINE,
            )
        )
        if best is None or inside < best[0]:
            best = inside, start
    return best[1]


def _scan_conditions(text, kind, skip, code):
    """Mark what stands between `if (` and its `)`, or between Python's `if` and its colon."""
    opening = re.compile(r"\bif\s*\(" if kind == "c" else r"^[ \t]*(?:el)?if\b", re.MULTILINE)
    depth = np.cumsum((_is_in(text, "([{").astype(np.int32) - _is_in(text, ")]}")) * ~skip)
    ends = _is_in(text, "{;" if kind == "c" else ":") & ~skip
    for match in opening.finditer(text):
        if skip[match.end() - 1] or skip[match.start()]:
            continue
        at = match.end()
        stretch, before = slice(at, at + LONGEST_QUOTATION), depth[at - 1]
        closed = (depth[stretch] < before) | ends[stretch] & (kind == "c" or depth[stretch] == before)
        if closed.any():
            code.condition[at - 1 : at + int(closed.argmax())] = True


def _is_in(text, symbols):
    return np.fromiter((symbol in symbols for symbol in text), bool, len(text))


def _scan_brackets(text, kind, skip, code):
    """Follow () [] {}: depth and whether a parenthesis is open, at each character.

    A closing bracket without an opening one is none; one that closes over others closes them as well.
    """
    # Where all brackets are forgotten: at blank lines; in code where a definition begins in the first column.
    if kind == "c":
        anew = re.compile(
            r"^\}|^\{|^#\s*(?:include|define)\b|^(?:static|struct|enum|union|typedef|extern|int|void|const|unsigned|bool|long|char)\b",
            re.MULTILINE,
        )
    elif kind == "python":
        anew = re.compile(r"^(?:def|class|import|from|async def|@\w|if|for|while|with|try)\b", re.MULTILINE)
    else:
        anew = re.compile(r"\n[ \t\r]*\n")
    forgotten = {match.start() for match in anew.finditer(text)}
    code_text = kind in ("c", "python")
    open_ones, closes = [], {")": "(", "]": "[", "}": "{"}
    depth, inside = code.depth, code.parentheses
    parens = 0
    for t, symbol in enumerate(text):
        if t in forgotten and not (code_text and skip[t]):
            open_ones, parens = (["{"] if code_text and symbol == "}" and open_ones else []), 0
        if not skip[t]:
            if symbol in "([{":
                if len(open_ones) < DEEPEST:
                    open_ones.append(symbol)
                    parens += symbol == "("
            elif symbol in closes and closes[symbol] in open_ones:
                while True:
                    last = open_ones.pop()
                    parens -= last == "("
                    if last == closes[symbol]:
                        break
        depth[t], inside[t] = len(open_ones), parens > 0


# ---- LaTeX -----------------------------------------------------------------------------------------------------------

_MATH_ENVIRONMENTS = "equation|align|alignat|eqnarray|displaymath|math|gather|multline|flalign"
_VERBATIM = "verbatim|Verbatim|lstlisting|alltt|comment"
_LATEX_TOKENS = re.compile(
    r"(?P<escape>\\[\\%$&#_{}])"
    r"|(?P<comment>%[^\n]*)"
    rf"|(?P<verbatim>\\begin\s*\{{(?:{_VERBATIM})\*?\}}(?P<listing>.{{0,{LONGEST}}}?)(?=\\end\s*\{{(?:{_VERBATIM})\*?\}}))"
    r"|(?P<verb>\\verb\*?(?P<mark>[^\w\s*])[^\n]*?(?P=mark))"
    rf"|(?P<environment>\\begin\s*\{{(?P<of>(?:{_MATH_ENVIRONMENTS})\*?)\}}.{{0,{LONGEST}}}?\\end\s*\{{(?P=of)\}})"
    r"|(?P<bracket>\\[\[(])"
    r"|(?P<display>\$\$(?:\\.|(?!\n[ \t\r]*\n)[^$\\])*\$\$)"
    r"|(?P<inline>\$(?:\\.|(?!\n[ \t\r]*\n)[^$\\])+\$)",
    re.DOTALL,
)
_BLANK_LINE = re.compile(r"(?=\n[ \t\r]*\n)")
_OPEN_OR_CLOSE = re.compile(r"\\(begin|end)\s*\{([A-Za-z*]{1,40})\}")


def _scan_latex(text, code):
    """Mark comments, mathematics and environments; return where brackets and quotes are not what they seem."""
    skip, at = np.zeros(len(text), bool), 0
    breaks = [match.start() for match in _BLANK_LINE.finditer(text)]
    while match := _LATEX_TOKENS.search(text, at):
        a, b, name = match.start(), match.end(), match.lastgroup
        if name == "bracket":
            closing = text.find("\\]" if text[a + 1] == "[" else "\\)", b, b + LONGEST_FORMULA + 2)
            at = closing + 2 if closing >= 0 and bisect_left(breaks, b) == bisect_left(breaks, closing) else a + 1
            code.math[a + 1 : at - 1] = True
            continue
        at = b
        if name == "escape":
            skip[a:b] = True
        elif name == "comment":
            code.comment[a:b] = skip[a:b] = True
        elif name in ("verbatim", "listing"):
            skip[match.start("listing") : b] = True
        elif name in ("verb", "mark"):
            skip[a:b] = True
        elif name in ("environment", "of"):
            code.math[text.index("}", a) : b - 1] = True
        elif name == "display":
            code.math[a + 1 : b - 1] = True
        else:
            code.math[a : b - 1] = True
    depth, open_ones = code.environments, []
    at = 0
    for match in _OPEN_OR_CLOSE.finditer(text):
        if code.comment[match.start()] or (skip[match.start()] and match[1] == "begin"):
            continue
        depth[at : match.end() - 1] = len(open_ones)
        at = match.end() - 1  # known when the closing brace of the name is read
        name = match[2]
        if match[1] == "begin":
            if len(open_ones) < DEEPEST and name != "document":
                open_ones.append(name)
        elif name == "document":
            open_ones = []
        elif name in open_ones:
            while open_ones.pop() != name:
                pass
    depth[at:] = len(open_ones)
    return skip


# ---- prose -----------------------------------------------------------------------------------------------------------

_PARAGRAPH_END = re.compile(r"\r?\n[ \t\r]*\n")
_SINGLE_MARKS = re.compile("['\u2018\u2019]")
_PAIRS = {"\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c\u201d", "``": "''"}


def _scan_quotations(text, code, skip):
    """Mark quotations, a paragraph at a time: an unclosed one ends with its paragraph, and is bounded."""
    at = 0
    for match in [*_PARAGRAPH_END.finditer(text), None]:
        stop = match.start() if match else len(text)
        _quotations_of(text, at, stop, code.quotes, skip)
        _single_quotations_of(text, at, stop, code.single_quotes, skip)
        at = stop


def _quotations_of(text, start, stop, values, skip):
    t, opened, closings = start, None, ""
    while t < stop:
        symbol = text[t]
        if skip[t]:
            t += 1
            continue
        pair = text[t : t + 2]
        if opened is None:
            before, after = text[t - 1] if t else "\n", text[t + 1] if t + 1 < len(text) else "\n"
            if symbol == '"' and not before.isalnum() and not after.isspace():
                opened, closings = t, '"'
            elif pair in _PAIRS:
                opened, closings = t + 1, _PAIRS[pair]
                t += 1
            elif symbol in _PAIRS:
                opened, closings = t, _PAIRS[symbol]
        elif symbol == '"' == closings and text[t - 1].isspace() and text[t + 1 : t + 2].isalnum():
            opened = t  # this one opens, so the one before was a stray mark
        elif pair == closings if closings == "''" else symbol in closings:
            t += len(closings) - 1 if closings == "''" else 0
            if t - opened <= LONGEST_QUOTATION:
                values[opened:t] = True
            opened = None
        t += 1
    if opened is not None and stop - opened <= LONGEST_QUOTATION:  # speech that goes on in the next paragraph
        values[opened:stop] = True


def _single_quotations_of(text, start, stop, values, skip):
    """Apostrophes are not quotes: an opening one stands before a word and after none, a closing one after a word's end."""
    opened = doubtful = None  # where a quotation opened, and where it may have closed already
    for match in _SINGLE_MARKS.finditer(text, start, stop):
        t = match.start()
        if skip[t]:
            continue
        before, after = text[t - 1] if t > start else "\n", text[t + 1] if t + 1 < stop else "\n"
        if before == "'" or after == "'":  # TeX's closing quotes, or an empty pair
            continue
        if opened is not None and t - opened > LONGEST_QUOTATION:
            if doubtful is not None:
                values[opened:doubtful] = True
            opened = doubtful = None
        opens = (
            match[0] != "\u2019"
            and not before.isalnum()
            and before not in ".,!?;:"
            and (after.isalnum() or after in '"\u201c`')
            and not _ELISIONS.match(text, t + 1, stop)
        )
        closes = match[0] != "\u2018" and not before.isspace() and not after.isalnum()
        if opened is not None and closes:
            # th' or the dogs' supper: if nothing closes it later, this did.
            if before.isalnum() and (_CLIPPED.search(text, max(start, t - 8), t) or before in "sS" and after == " "):
                doubtful = doubtful or t
                continue
            values[opened:t] = True
            opened = doubtful = None
        elif opens:
            if opened is not None and doubtful is not None:
                values[opened:doubtful] = True
            opened, doubtful = t, None
    if opened is not None and doubtful is not None:
        values[opened:doubtful] = True


# ---- lines, words, characters ----------------------------------------------------------------------------------------


class _Lines:
    """What a character's line says of it: a newline belongs to the line after it, of which nothing is read yet."""

    def __init__(self, text):
        N = len(text)
        self.position, self.to_end = np.zeros(N, np.float32), np.zeros(N, np.float32)
        at = 0
        while at < N:
            stop = text.find("\n", at)
            stop = N if stop < 0 else stop
            end = stop - 1 if stop > at and text[stop - 1] == "\r" else stop
            self.position[at:stop] = np.arange(1, stop - at + 1)
            self.to_end[at:end] = np.arange(end - at - 1, -1, -1)
            if stop < N:  # having read the newline: the next line's whole length is to come
                following = text.find("\n", stop + 1)
                following = N if following < 0 else following
                self.to_end[stop] = following - stop - 1 - (text[following - 1] == "\r" and following > stop + 1)
            at = stop + 1


_LABEL = re.compile(r"\w+:")


def _indentation(text, code, kind):
    """Return how many levels the statement is indented by, as Python's tokenizer counts them: ndarray (N,).

    A level holds until a line's first character that is not blank says another. What a person would not call a level keeps
    the one before: lines that go on inside parentheses, a comment or a string, and in C labels and preprocessor lines.
    """
    values, stack, at = np.zeros(len(text), np.float32), [0], 0
    goes_on = code.parentheses | code.comment | code.string
    while at < len(text):
        newline = text.find("\n", at)
        stop = len(text) if newline < 0 else newline + 1
        first, columns = at, 0
        while first < stop and text[first] in " \t":
            columns += 1 if text[first] == " " else 8 - columns % 8
            first += 1
        values[at:first] = len(stack) - 1
        is_blank = first == stop or text[first] in "\r\n"
        no_statement = kind == "c" and (text[first : first + 1] == "#" or columns == 0 and _LABEL.match(text, first))
        if not (is_blank or no_statement or at and goes_on[at - 1]):
            while stack[-1] > columns:
                stack.pop()
            if stack[-1] < columns:
                stack.append(columns)
        values[first:stop] = len(stack) - 1
        at = stop
    return values


def _run_position(inside):
    """Return 1, 2, 3 ... along each run of True, 0 elsewhere."""
    count = np.arange(1, len(inside) + 1, dtype=np.float32)
    last_off = np.maximum.accumulate(np.where(inside, 0, count)) if len(inside) else count
    return np.where(inside, count - last_off, 0).astype(np.float32)


def _before(text, symbols):
    values = np.zeros(len(text), bool)
    values[:-1] = np.fromiter((symbol in symbols for symbol in text[1:]), bool, max(0, len(text) - 1))
    return values


def _spans(text, matches):
    """Return True inside each match, from its first character to its last."""
    values = np.zeros(len(text), bool)
    for match in matches:
        values[match.start() : match.end()] = True
    return values


def _capitals(text):
    """Return True in words of two capitals or more, and between two such words: in KING RICHARD as a whole."""
    values, last = np.zeros(len(text), bool), None
    for match in _WORD.finditer(text):
        a, b = match.span()
        if b - a > 1 and match[0].isupper():
            if last is not None and _BETWEEN_NAMES.fullmatch(text, last, a):
                a = last
            values[a:b], last = True, b
        else:
            last = None
    return values


def _is_vowel(symbol):
    base = unicodedata.normalize("NFD", symbol)[:1] if symbol > "\x7f" else symbol
    return base.lower() in _VOWELS
