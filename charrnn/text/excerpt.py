"""Some of a text, as ids: what an evaluation or a search reads of it, and what that is called where it is reported."""

from dataclasses import dataclass

import numpy as np

MAX_UNKNOWN = 20  # symbols left out of a text that are named


@dataclass(frozen=True)
class Excerpt:
    """The characters start .. stop - 1 of a text; those before them lead in.

    ids        ndarray (N,), any integer type: the whole text
    name       what it is called where it is reported, such as a file's name
    split      which part of the training text it is, such as "val"; None for another text
    encoding   of the text that a model of bytes reads, for it to be shown
    unknown    ((symbol, count), ...) left out of the text because the model does not know them, the most common first
    """

    ids: np.ndarray
    start: int
    stop: int
    name: str | None = None
    split: str | None = None
    unknown: tuple = ()
    encoding: str = "utf-8"

    @classmethod
    def whole(cls, ids, name=None, encoding="utf-8"):
        """Return all of a text that is no part of the training text."""
        return cls(ids, 0, len(ids), name, encoding=encoding)

    @property
    def first(self):
        """The place of the first character that can be predicted: nothing comes before a text's very first one."""
        return max(self.start, 1)

    def unknown_to_dict(self):
        """Return how many characters were left out, and the most common of them, as plain numbers and words."""
        return {"characters": sum(count for _, count in self.unknown), "symbols": self.unknown[:MAX_UNKNOWN]}

    @property
    def predicted_ids(self):
        """The ids of the characters that can be predicted."""
        return self.ids[self.first : self.stop]
