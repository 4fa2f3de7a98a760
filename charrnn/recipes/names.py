"""First names of many languages, from the wheel faker 40.63.0: one a line, as makemore takes them.

The wheel keeps its names in Python source. They are read from there, and nothing of it is run.
"""

import ast
import re
import unicodedata

from charrnn.recipes.wheels import Wheel, open_wheel

WHEEL = Wheel(
    "faker==40.63.0",
    "faker-40.63.0-py3-none-any.whl",
    "36627c20b575b4138f54b6c21f8703e9ab122fd487aca11319beec2aa6ca7232",
    2_074_417,
)
SOURCE = WHEEL.source
LICENCE = "MIT"
CLEANING = "first names of all its languages that are one word in Latin letters, each once, sorted"
SHA256 = "f138fa2733864ae9bd820a7f266813c4a120bf8e4fd954a3be60280ae8a74f27"
SIZE_BYTES = 156_102

_MODULE = re.compile(r"faker/providers/person/\w+/__init__\.py")


def make(source, work_folder, limit_bytes, reports):
    """Return the names, one a line."""
    names = set()
    with open_wheel(WHEEL, source, work_folder, reports) as archive:
        modules = [path for path in archive.namelist() if _MODULE.fullmatch(path)]
        reports.say(f"reading the names of {len(modules)} languages")
        for path in modules:
            names.update(_first_names(archive.read(path).decode("utf-8")))
    return "".join(f"{name}\n" for name in sorted(filter(_is_wanted, names))).encode()


def _first_names(source):
    """Yield the strings that a module assigns to first_names, first_names_female and the like."""
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id.startswith("first_name") for target in targets):
            for part in ast.walk(getattr(node, "value", None) or node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield unicodedata.normalize("NFC", part.value)


def _is_wanted(name):
    return len(name) > 1 and all(unicodedata.name(character, "").startswith("LATIN ") for character in name)
