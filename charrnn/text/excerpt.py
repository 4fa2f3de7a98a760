"""Some of a text, as ids: what an evaluation or a search reads of it, and what that is called where it is reported."""

from dataclasses import dataclass

import numpy as np


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

    @property
    def predicted_ids(self):
        """The ids of the characters that can be predicted."""
        return self.ids[self.first : self.stop]
