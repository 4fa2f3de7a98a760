"""How a message spells options to whoever gave them in a file. Imports neither numpy nor numba."""

import re

from charrnn.training.options import NAMES
from charrnn.training.settings import option


def spelt_in_file(message):
    """Spell the training options of a message as a file has them, for whoever did not give them on the command line.

    `--hidden-size 8` becomes `hidden-size 8`; what a command that is advised consists of stays.
    """
    parts = re.split(r"('charrnn [^']*')", message)
    pattern = rf"(?<![\w-])--({'|'.join(map(_flag, sorted(NAMES, key=len, reverse=True)))})(?![\w-])"
    parts[::2] = [re.sub(pattern, r"\1", part) for part in parts[::2]]
    return "".join(parts)


def _flag(name):
    return option(name)[2:]
