"""What the scanners of prose, code and LaTeX share: the record that they fill, its bounds, and how brackets nest."""

import re
from dataclasses import dataclass

import numpy as np

# Characters, above which what was taken for an opening mark is a stray one.
MAX_SPAN = 20_000  # of a comment, a docstring or an environment's mathematics
MAX_QUOTATION = 2_000
MAX_FORMULA = 5_000

MAX_DEPTH = 16  # of brackets, and of environments


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


def is_in(text, symbols):
    """Return True at each character that is one of `symbols`: ndarray (N,)."""
    return np.fromiter((symbol in symbols for symbol in text), bool, len(text))


def scan_brackets(text, kind, skip, code):
    """Follow () [] {}: depth and whether a parenthesis is open, at each character.

    A closing bracket without an opening one is none; one that closes over others closes them as well.
    """
    # Where all brackets are forgotten: at blank lines; in code where a definition begins in the first column.
    if kind == "c":
        anew = re.compile(
            r"^\}|^\{|^#\s*(?:include|define)\b|"
            r"^(?:static|struct|enum|union|typedef|extern|int|void|const|unsigned|bool|long|char)\b",
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
                if len(open_ones) < MAX_DEPTH:
                    open_ones.append(symbol)
                    parens += symbol == "("
            elif symbol in closes and closes[symbol] in open_ones:
                while True:
                    last = open_ones.pop()
                    parens -= last == "("
                    if last == closes[symbol]:
                        break
        depth[t], inside[t] = len(open_ones), parens > 0
