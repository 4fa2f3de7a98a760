"""A part of a text, as ids, that an evaluation or a search reads, with the name that its reports use."""

from dataclasses import dataclass

import numpy as np

MAX_UNKNOWN = 20  # symbols left out of a text that are named


@dataclass(frozen=True)
class Excerpt:
    """Characters start .. stop - 1 of a text. The characters before them are context, which a model may read first.

    ids        ndarray (N,), any integer type: the whole text
    name       its name in reports, such as the name of a file
    split      "train", "val" or "test" for a split of the training text; None for another text
    unknown    ((symbol, count), ...): characters that were left out because the model does not know them, the most
               common first
    encoding   for a byte model: the encoding in which the text is shown
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
        """Return an Excerpt of a whole text, given by its ids."""
        return cls(ids, 0, len(ids), name, encoding=encoding)

    @property
    def first(self):
        """The index of the first character that can be predicted; the first character of a text cannot."""
        return max(self.start, 1)

    def unknown_to_dict(self):
        """Return how many characters were left out, and the 20 most common ones, as a dict for JSON."""
        return {"characters": sum(count for _, count in self.unknown), "symbols": self.unknown[:MAX_UNKNOWN]}

    @property
    def predicted_ids(self):
        """The ids of the characters that can be predicted: ndarray (stop - first,)."""
        return self.ids[self.first : self.stop]
