"""Prose: quotations in double and in single marks, which apostrophes are not."""

import re

from charrnn.cells.signals.scanning import MAX_QUOTATION
from charrnn.cells.signals.scripts import has_case

# English words that begin with an apostrophe, and those that end with one: neither opens or closes a quotation.
_ELISIONS = re.compile(
    r"(?:tis|twas|twere|twill|twould|twixt|tween|em|im|er|gainst|scape|pon|fore|cause|till?|bout|neath|mongst|"
    r"sblood|zounds|sdeath|ll|d|s|t|re|ve|a|o|n)(?![A-Za-z])",
    re.IGNORECASE,
)
_CLIPPED = re.compile(r"(?<![A-Za-z])(?:th|o|i|t|wi|ha|an|a|ta|gi|lov|mus|ol|tho|thro)$", re.IGNORECASE)
_PARAGRAPH_END = re.compile(r"\r?\n[ \t\r]*\n")
_SINGLE_MARKS = re.compile("['\u2018\u2019]")
_PAIRS = {
    "\u201c": "\u201d",
    "\u00ab": "\u00bb",
    "\u201e": "\u201c\u201d",
    "``": "''",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}


def scan_quotations(text, code, skip):
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
            if symbol == '"' and not _is_of_a_word(before) and not after.isspace():
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
            if t - opened <= MAX_QUOTATION:
                values[opened:t] = True
            opened = None
        t += 1
    if opened is not None and stop - opened <= MAX_QUOTATION:  # speech that goes on in the next paragraph
        values[opened:stop] = True


def _single_quotations_of(text, start, stop, values, skip):
    """Apostrophes are not quotes: an opening one comes before a word and after none, a closing one after its end."""
    opened = doubtful = None  # where a quotation opened, and where it may have closed already
    for match in _SINGLE_MARKS.finditer(text, start, stop):
        t = match.start()
        if skip[t]:
            continue
        before, after = text[t - 1] if t > start else "\n", text[t + 1] if t + 1 < stop else "\n"
        if before == "'" or after == "'":  # TeX's closing quotes, or an empty pair
            continue
        if opened is not None and t - opened > MAX_QUOTATION:
            if doubtful is not None:
                values[opened:doubtful] = True
            opened = doubtful = None
        opens = (
            match[0] != "\u2019"
            and not _is_of_a_word(before)
            and before not in ".,!?;:"
            and (after.isalnum() or after in '"\u201c`')
            and not _ELISIONS.match(text, t + 1, stop)
        )
        closes = match[0] != "\u2018" and not before.isspace() and not _is_of_a_word(after)
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


def _is_of_a_word(symbol):
    """Tell whether a mark beside it may be an apostrophe: letters without case, as of Hangul, stand beside quotes."""
    return symbol.isalnum() and (has_case(symbol) or not symbol.isalpha())
