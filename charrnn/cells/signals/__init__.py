"""What a unit may follow: a text -> signals, an array of values per character. Pure; knows no model and no file."""

from charrnn.cells.signals.find import (
    BUILT_IN,
    GRADED,
    LANGUAGES,
    LONGEST,
    LONGEST_FORMULA,
    LONGEST_QUOTATION,
    OF_CHARACTERS,
    ON_OFF,
    Signal,
    built_in_signals,
    custom_signal,
    find_signals,
    language,
    scan,
    without_twins,
)

__all__ = [
    "BUILT_IN",
    "GRADED",
    "LANGUAGES",
    "LONGEST",
    "LONGEST_FORMULA",
    "LONGEST_QUOTATION",
    "OF_CHARACTERS",
    "ON_OFF",
    "Signal",
    "built_in_signals",
    "custom_signal",
    "find_signals",
    "language",
    "scan",
    "without_twins",
]
