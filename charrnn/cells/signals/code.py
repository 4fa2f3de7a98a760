"""C and Python: comments, strings, and the conditions of ifs."""

import re

import numpy as np

from charrnn.cells.signals.scanning import MAX_QUOTATION, MAX_SPAN, Scan, is_in

C_TOKENS = re.compile(
    r"(?P<block>/\*)|(?P<comment>//(?:\\\n|[^\n])*)"
    r'|(?P<double>"(?:\\.|[^"\\\n])*")'
    r"|(?P<single>'(?:\\[^\n]{1,8}?|[^'\\\n])')",
    re.DOTALL,
)
PYTHON_TOKENS = re.compile(
    r"(?P<comment>\#[^\n]*)"
    rf'|(?P<triple>"""(?:\\.|.){{0,{MAX_SPAN}}}?(?:"""|\Z)|\'\'\'(?:\\.|.){{0,{MAX_SPAN}}}?(?:\'\'\'|\Z))'
    r'|(?P<double>"(?:\\.|[^"\\\n])*")'
    r"|(?P<single>'(?:\\.|[^'\\\n])*')",
    re.DOTALL,
)


def scan_tokens(text, tokens, code, start=0):
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
    """Yield (start, stop, kind) of tokens; the end of a block comment is sought apart: expressions seek it slowly."""
    while match := tokens.search(text, at):
        start, at, name = match.start(), match.end(), match.lastgroup
        if name == "block":
            closing = text.find("*/", at, at + MAX_SPAN + 2)
            if closing < 0 and len(text) - at > MAX_SPAN:
                at = start + 1
                continue
            at, name = len(text) if closing < 0 else closing + 2, "comment"
        yield start, at, name


def begin_inside(text, values, opening, closing):
    """A text that was cut in the middle of a comment begins inside it."""
    first = text.find(closing, 0, MAX_SPAN)
    if first >= 0 and text.find(opening, 0, first + 1) < 0:
        values[: first + len(closing) - 1] = True


def python_start(text):
    """Return where to begin: 0, or after the docstring that the text was cut in the middle of.

    Both are tried; where strings hold fewer lines that look like code is right.
    """
    tried = []
    for start in (0, *[match.end() for match in list(re.finditer(r'"""|\'\'\'', text[:MAX_SPAN]))[:1]]):
        code = Scan(*(np.zeros(len(text), bool) for _ in range(9)))
        scan_tokens(text, PYTHON_TOKENS, code, start)
        inside = sum(
            code.string[match.start()]
            for match in re.finditer(
                r"^[ \t]*(?:def \w+\(|class \w+|import \w+|from [\w.]+ import|return\b|@\w+|"
                r"(?:if|for|while) .*:$|self\.\w+ =)",
                text,
                re.MULTILINE,
            )
        )
        tried.append((inside, start))
    return min(tried)[1]  # the first where both hold as many


def scan_conditions(text, kind, skip, code):
    """Mark what stands between `if (` and its `)`, or between Python's `if` and its colon."""
    opening = re.compile(r"\bif\s*\(" if kind == "c" else r"^[ \t]*(?:el)?if\b", re.MULTILINE)
    depth = np.cumsum((is_in(text, "([{").astype(np.int32) - is_in(text, ")]}")) * ~skip)
    ends = is_in(text, "{;" if kind == "c" else ":") & ~skip
    for match in opening.finditer(text):
        if skip[match.end() - 1] or skip[match.start()]:
            continue
        at = match.end()
        stretch, before = slice(at, at + MAX_QUOTATION), depth[at - 1]
        closed = (depth[stretch] < before) | ends[stretch] & (kind == "c" or depth[stretch] == before)
        if closed.any():
            code.condition[at - 1 : at + int(closed.argmax())] = True
