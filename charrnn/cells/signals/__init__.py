"""What a unit may follow: a text -> signals, an array of values per character. Pure; knows no model and no file.

What the rest of charrnn uses is named here; `find` says how signals are aligned with a text.
"""

from charrnn.cells.signals.find import (
    LANGUAGES,
    built_in_signals,
    custom_signal,
    find_signals,
    language,
    scan,
    without_twins,
)
from charrnn.cells.signals.scripts import misfits
from charrnn.cells.signals.signal import BUILT_IN, GRADED, OF_CHARACTERS, ON_OFF, Signal

__all__ = [
    "BUILT_IN",
    "GRADED",
    "LANGUAGES",
    "OF_CHARACTERS",
    "ON_OFF",
    "Signal",
    "built_in_signals",
    "custom_signal",
    "find_signals",
    "language",
    "misfits",
    "scan",
    "without_twins",
]
