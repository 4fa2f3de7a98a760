"""Characters that may stand for one another: what to write where a vocabulary does not have a character."""

import unicodedata

# What a keyboard or a word processor puts in the place of what a text has, and the other way round.
_LOOKALIKES = (
    "'\u2019\u2018`\u00b4\u2032\u201b\u02bc",
    '"\u201c\u201d\u201e\u00ab\u00bb\u2033',
    "-\u2013\u2014\u2010\u2011\u2212\u2015",
    " \t\u00a0\u2009\u202f\u3000",
    "\n\r\u2028\u2029\u0085",
)


def relatives(character):
    """Yield the characters that may stand for `character`, the nearest first."""
    for other in (character.swapcase(), character.casefold()):
        if len(other) == 1 and other != character:
            yield other
    for form in ("NFD", "NFKD"):  # without its accent; then without its width or ligature
        base = unicodedata.normalize(form, character)[:1]
        if base != character:
            yield base
            yield base.swapcase()
    for family in _LOOKALIKES:
        if character in family:
            yield from (other for other in family if other != character)
