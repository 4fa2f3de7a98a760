"""The rooms import one way: the table of docs/ARCHITECTURE.md, held to the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "charrnn"
MAX_LINES = 450  # of a module

HEAVY = {"numba", "numpy", "llvmlite", "rich", "tqdm"}


def table():
    """Return {room: set of rooms it may import, or None for every one} as the document says."""
    allowed, above = {}, set()
    for line in (ROOT / "docs" / "ARCHITECTURE.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3 or not cells[0].startswith("`"):
            continue
        for room in re.findall(r"`(\w+)(?:\.py|/)`", cells[0]):
            if cells[2] == "everything":
                allowed[room] = None
            elif cells[2] == "all above":
                allowed[room] = set(above)
            else:
                allowed[room] = set(re.findall(r"\w+", cells[2])) - {"nothing", "and"}
            above.add(room)
    return allowed


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(path):
    """Yield (line, dotted name) of every import, also those inside functions; relative ones made absolute."""
    package = ("charrnn", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module in ("charrnn", "charrnn.cli"):
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"
            else:
                yield node.lineno, module


def top_level_imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        name
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_table_allows(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    allowed = table()
    assert room in allowed, f"docs/ARCHITECTURE.md has no row for {room}"
    if allowed[room] is None:
        return
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] != "charrnn" or len(parts) == 1:
            continue
        other = parts[1]
        if not (PACKAGE / other).is_dir() and not (PACKAGE / f"{other}.py").exists():
            continue  # a name of the package itself, such as __version__
        assert other == room or other in allowed[room], f"{path}:{line}: {room} may not import {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_holds_one_thing(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, f"{path} is too long: it holds two things"


def test_a_name_is_one_class():
    homes = {}
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_no_room_has_a_permission_that_it_does_not_use():
    used = {}
    for path in modules():
        for _, name in imported(path):
            parts = name.split(".")
            if parts[0] == "charrnn" and len(parts) > 1:
                used.setdefault(room_of(path), set()).add(parts[1])
    unused = {room: sorted(others - used.get(room, set())) for room, others in table().items() if others}
    assert not {room: others for room, others in unused.items() if others}


def test_the_drawing_of_the_house_shows_every_room():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawing = "\n".join(line for line in text.splitlines() if line.startswith("    |"))
    assert table().keys() - set(re.findall(r"\w+", drawing)) == set()


def test_the_table_has_no_cycle():
    allowed = {room: others for room, others in table().items() if others is not None}
    done = set()
    while len(done) < len(allowed):
        free = {room for room, others in allowed.items() if room not in done and others & set(allowed) <= done}
        assert free, f"these rooms import each other: {sorted(set(allowed) - done)}"
        done |= free


def test_only_the_command_line_knows_click_and_tqdm_and_only_what_is_seen_knows_rich():
    for path in modules():
        room = room_of(path)
        for line, name in imported(path):
            top = name.split(".")[0]
            assert top != "click" or room in ("cli", "__main__"), f"{path}:{line} imports click"
            assert top != "rich" or room in ("cli", "render"), f"{path}:{line} imports rich"
            assert top != "tqdm" or path == PACKAGE / "cli" / "progress.py", f"{path}:{line} imports tqdm"
            assert top not in {"starlette", "uvicorn"} or room == "server", f"{path}:{line} imports {top}"
            assert top not in {"llm", "pydantic"} or room == "llm_plugin", f"{path}:{line} imports {top}"
            assert top not in {"pickle", "marshal", "shelve", "torch", "scipy"}, f"{path}:{line} imports {top}"


def test_only_kernels_know_numba():
    for path in modules():
        for line, name in imported(path):
            assert name.split(".")[0] not in ("numba", "llvmlite") or room_of(path) == "kernels", f"{path}:{line}"


# The modules of the kernels that Python runs: with these alone, machine code that is kept on disk runs without Numba.
NOT_COMPILED = {
    "ahead",
    "entries",
    "environment",
    "host",
    "layout",
    "machine_code",
    "pool",
    "records",
    "splitmix",
    "table",
    "threads",
}


def test_other_rooms_know_only_kernels_that_need_no_numba():
    allowed = {"charrnn.kernels", *(f"charrnn.kernels.{name}" for name in NOT_COMPILED)}
    for path in modules():
        if room_of(path) != "kernels":
            for line, name in imported(path):
                assert not name.startswith("charrnn.kernels") or name in allowed, f"{path}:{line} imports {name}"
    for name in NOT_COMPILED:
        for found in top_level_imports(PACKAGE / "kernels" / f"{name}.py"):
            assert found.split(".")[0] != "numba", f"{name} imports {found}"
            assert not found.startswith("charrnn.kernels") or found in allowed, f"{name} imports {found}"


# What a module of the command line may import at its top: nothing that takes time, and no room but by these modules.
LIGHT = {
    "charrnn",
    "charrnn.errors",
    "charrnn.spec",
    "charrnn.distributed.group",
    "charrnn.distributed.tree",
    "charrnn.evaluation.units",
    "charrnn.text.item_kinds",
    "charrnn.text.task_names",
    "charrnn.render.colours",
    "charrnn.training.contradictions",
    "charrnn.training.defaults",
    "charrnn.training.model_options",
    "charrnn.training.options",
    "charrnn.training.spelling",
    "charrnn.training.schedules",
    "charrnn.training.settings",
}
COMMAND_MODULES = {f"charrnn.cli.{module}" for module, _ in COMMANDS.values()}


def test_command_modules_import_heavy_rooms_inside_their_functions():
    for path in (PACKAGE / "cli").glob("*.py"):
        for name in top_level_imports(path):
            top = name.split(".")[0]
            assert (
                top in sys.stdlib_module_names or top == "click" or name.startswith("charrnn.cli.") or name in LIGHT
            ), f"{path} imports {name} before it is called"


@pytest.mark.parametrize("name", sorted({*LIGHT, *COMMAND_MODULES}))
def test_what_is_light_imports_neither_numba_nor_numpy(name):
    code = f"import sys, {name}; heavy = {HEAVY} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_command_imports_another():
    for path in (PACKAGE / "cli").glob("*.py"):
        if path.name == "__init__.py":
            continue
        for line, name in imported(path):
            assert name not in COMMAND_MODULES, f"{path}:{line} imports the command {name}"


def test_what_is_rendered_knows_no_command():
    for path in (PACKAGE / "render").glob("*.py"):
        for line, name in imported(path):
            assert not name.startswith("charrnn.cli"), f"{path}:{line}"


def test_how_the_commands_speak_depends_on_no_command():
    names = [name for _, name in imported(PACKAGE / "cli" / "words.py")]
    assert names and not [name for name in names if name.startswith("charrnn.cli")]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_help_imports_neither_numba_nor_numpy(arguments):
    code = (
        f"import sys; from charrnn.cli import main; code = main(sys.argv[1:]); heavy = {HEAVY} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "charrnn" in done.stdout
