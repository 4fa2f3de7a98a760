"""What a signal is: its record, the names of the built-in ones, and when one occurs often enough to score a unit by."""

from dataclasses import dataclass

import numpy as np

# An on/off signal occurs when it was on and off in so many places; with fewer its score would be luck.
MIN_RUNS = 8
MIN_CHARACTERS = 40
MIN_CHANGES = 40  # of a graded signal

ON_OFF, GRADED = "on/off", "graded"


@dataclass(frozen=True)
class Signal:
    """A property of each character of a text, such as being inside quotes.

    name      short name, as in options: "quotes"
    phrase    description, as in reports: "inside double quotes"
    kind      ON_OFF ("on/off") or GRADED ("graded")
    values    ndarray (N,): one value for each character, bool (on/off) or float32 (graded)
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
            return changes >= MIN_CHANGES and len(np.unique(values)) > 2
        on = int(np.count_nonzero(values))
        return changes >= 2 * MIN_RUNS and min(on, len(values) - on) >= MIN_CHARACTERS


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
    "final-consonant": ("a Hangul syllable with a final consonant", ON_OFF),
    "particle": ("in a Korean particle, by its spelling", ON_OFF),
    "script-switch": ("first Latin letter after Hangul, or vice versa", ON_OFF),
}

OF_CHARACTERS = (
    "capital",
    "digit",
    "word-position",
    "word-start",
    "before-newline",
    "before-space",
    "vowel",
    "final-consonant",
    "script-switch",
)
