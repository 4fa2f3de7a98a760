"""The standard library of the running Python as source code: always there, without a network."""

import io
import sys
import sysconfig
import tokenize

from charrnn.errors import RecipeError
from charrnn.recipes.trees import in_hash_order, joined, read_tree

SOURCE = "the standard library of the Python that runs charrnn, or --from a folder of .py files"
LICENCE = "PSF-2.0; your own folder: yours"
CLEANING = "**/*.py without tests and installed packages, ordered by the sha256 of the path"

_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def make(source, work_folder, limit_bytes, reports):
    """Return the .py files, one after the other."""
    if source is None:
        source = sysconfig.get_paths()["stdlib"]
        reports.say(f"reading the standard library of Python {sys.version.split()[0]}")
    files = read_tree(source, _is_wanted, reports.progress)
    texts = (_as_utf8(files[path]) for path in in_hash_order(files))
    text = joined(text for text in texts if text is not None)
    if not text:
        raise RecipeError(f"{source} contains no .py file with text: give a folder of Python source with --from")
    return text


def _is_wanted(path):
    return path.endswith(".py") and not _SKIPPED.intersection(path.split("/"))


def _as_utf8(data):
    """Return the source as UTF-8 by the encoding it declares, None where that is wrong."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding).encode("utf-8")
    except (SyntaxError, UnicodeError, LookupError):
        return None
