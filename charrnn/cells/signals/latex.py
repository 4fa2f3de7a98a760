"""LaTeX: comments, mathematics and environments."""

import re
from bisect import bisect_left

import numpy as np

from charrnn.cells.signals.scanning import MAX_DEPTH, MAX_FORMULA, MAX_SPAN

_MATH_ENVIRONMENTS = "equation|align|alignat|eqnarray|displaymath|math|gather|multline|flalign"
_VERBATIM = "verbatim|Verbatim|lstlisting|alltt|comment"
_LATEX_TOKENS = re.compile(
    r"(?P<escape>\\[\\%$&#_{}])"
    r"|(?P<comment>%[^\n]*)"
    rf"|(?P<verbatim>\\begin\s*\{{(?:{_VERBATIM})\*?\}}(?P<listing>.{{0,{MAX_SPAN}}}?)"
    rf"(?=\\end\s*\{{(?:{_VERBATIM})\*?\}}))"
    r"|(?P<verb>\\verb\*?(?P<mark>[^\w\s*])[^\n]*?(?P=mark))"
    rf"|(?P<environment>\\begin\s*\{{(?P<of>(?:{_MATH_ENVIRONMENTS})\*?)\}}.{{0,{MAX_SPAN}}}?\\end\s*\{{(?P=of)\}})"
    r"|(?P<bracket>\\[\[(])"
    r"|(?P<display>\$\$(?:\\.|(?!\n[ \t\r]*\n)[^$\\])*\$\$)"
    r"|(?P<inline>\$(?:\\.|(?!\n[ \t\r]*\n)[^$\\])+\$)",
    re.DOTALL,
)
_BLANK_LINE = re.compile(r"(?=\n[ \t\r]*\n)")
_OPEN_OR_CLOSE = re.compile(r"\\(begin|end)\s*\{([A-Za-z*]{1,40})\}")


def scan_latex(text, code):
    """Mark comments, mathematics and environments; return where brackets and quotes are not what they seem."""
    skip, at = np.zeros(len(text), bool), 0
    breaks = [match.start() for match in _BLANK_LINE.finditer(text)]
    while match := _LATEX_TOKENS.search(text, at):
        a, b, name = match.start(), match.end(), match.lastgroup
        if name == "bracket":
            closing = text.find("\\]" if text[a + 1] == "[" else "\\)", b, b + MAX_FORMULA + 2)
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
            if len(open_ones) < MAX_DEPTH and name != "document":
                open_ones.append(name)
        elif name == "document":
            open_ones = []
        elif name in open_ones:
            while open_ones.pop() != name:
                pass
    depth[at:] = len(open_ones)
    return skip
