"""How a recipe tells its caller what it is doing: in lines, and by how many bytes are done."""

from collections.abc import Callable
from typing import NamedTuple


def ignore(*_said):
    """Hear a report that nobody waits for."""


class Reports(NamedTuple):
    """Where a recipe's reports go.

    say         called with a line about what is going on
    progress    called with (what is being done, bytes done, of), `of` None where it is not known
    """

    say: Callable = ignore
    progress: Callable = ignore
