"""What `charrnn doctor` looks at: each probe yields Facts, and whatever is broken, a Fact says so.

A probe imports what it needs inside itself, so that one thing that cannot be loaded hides no other.
"""

import importlib.metadata
import itertools
import os
import platform
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import charrnn
from charrnn.cli.words import can_print, quoted
from charrnn.errors import CharRNNError, counted

# What a probe may meet on a machine that is not in order; anything else is a defect of charrnn and is seen.
BROKEN = (OSError, ValueError, RuntimeError, ImportError, CharRNNError)
PACKAGES = "numpy", "numba", "llvmlite"
VECTORS = {"avx512": "AVX-512, 512 bits", "avx2": "AVX2, 256 bits", "neon": "NEON, 128 bits"}
MIN_MEMORY = 300 << 20  # bytes: Numba alone takes half of it while it compiles
MIN_DISK = 100 << 20  # bytes: a run of the default model keeps three checkpoints of 10 MB
VARIABLES = ("CHARRNN_", "NUMBA_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "XDG_CACHE_HOME", "TMPDIR", "PYTHONUTF8")
VARIABLES += ("PYTHONIOENCODING", "LC_ALL", "LC_CTYPE", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS")
REINSTALL = "python -m pip install --upgrade --force-reinstall numpy numba llvmlite"
SHOWN_BLOCKS = "█▁⠤●…"  # of the pictures on a terminal


class Fact(NamedTuple):
    """One line of the screen: what was looked at, what was seen, and where that is wrong, why and what to do."""

    name: str
    shown: str
    value: Any = None  # of --json; what is shown where it is None
    problem: str | None = None
    remedy: str | None = None  # a command that can be pasted


def examine():
    """Yield the Facts of all probes. What hinders several of them is a problem of the first."""
    told = set()
    for name, probe in PROBES.items():
        try:
            yield from probe()
        except BROKEN as error:
            fact = _broken(name, error)
            yield Fact(name, "cannot be checked until that is fixed") if fact.problem in told else fact
            told.add(fact.problem)


def _broken(name, error):
    """Return the Fact of a probe that could not be made. A CharRNNError says the remedy after its last colon."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, CharRNNError) and ": " in said:
        problem, _, remedy = said.rpartition(": ")
        return Fact(name, "cannot be used", None, problem, remedy)
    remedy = REINSTALL if isinstance(error, ImportError) else None
    return Fact(name, "cannot be checked", None, said, remedy)


def _versions():
    home = Path(charrnn.__file__).parent
    yield Fact("charrnn", f"{charrnn.__version__}, {home}", {"version": charrnn.__version__, "folder": str(home)})
    yield Fact("Python", f"{platform.python_version()}, {sys.executable}", platform.python_version())
    for name in PACKAGES:
        try:
            yield Fact(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Fact(name, "none", None, f"{name} is not installed", f"python -m pip install {name}")
    yield Fact("system", f"{platform.system()} {platform.release()}, {platform.machine()}")


def _cpu():
    from charrnn.files.machine import cpu_name

    yield Fact(
        "CPU", f"{cpu_name()}, {counted(os.cpu_count() or 1, 'core')}", {"name": cpu_name(), "cores": os.cpu_count()}
    )


def _compiler():
    from charrnn.kernels.environment import check_numba

    check_numba()
    yield Fact("compiler", "Numba can be used")


def _vectors():
    from charrnn.kernels.host import has_amx, has_bfloat16, is_faster_in_bfloat16, isa
    from charrnn.model.precision import default_precision

    bfloat16, amx, default = has_bfloat16(), has_amx(), default_precision("float32")
    use = "faster on this CPU" + (" (matrix unit AMX)" if amx else "")
    if not is_faster_in_bfloat16():
        use = "supported by this CPU, but slower than float32" if bfloat16 else "not supported by this CPU"
    if os.environ.get("CHARRNN_PRECISION"):
        use += f"; CHARRNN_PRECISION makes {default} the default"
    elif default == "bfloat16":
        use += ", so it is the default"
    yield Fact(
        "vectors", f"{VECTORS[isa()]}; --precision bfloat16 is {use}", {"isa": isa(), "bfloat16": bfloat16, "amx": amx}
    )


def _threads():
    from charrnn.files.machine import usable_cores
    from charrnn.kernels.threads import cpu_quota, explain_threads, max_threads, num_threads

    threads = num_threads()
    value = {"threads": threads, "at_most": max_threads(), "why": explain_threads(), "cpu_quota": cpu_quota()}
    ignored = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)]
    beside = f"; {' and '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect" if ignored else ""
    cores, problem, remedy = usable_cores(), None, None
    if threads > cores:
        problem = f"{counted(threads, 'thread')} on {counted(cores, 'core')}: the threads slow each other down"
        remedy = "unset NUMBA_NUM_THREADS"
    yield Fact("threads", f"{threads}, {explain_threads()}{beside}", value, problem, remedy)


def _cache():
    from charrnn.files.cache import cache_root

    chosen, root = os.environ.get("CHARRNN_CACHE_DIR"), cache_root()
    why = " (CHARRNN_CACHE_DIR)" if chosen else ""
    if chosen and os.path.expanduser(chosen).startswith("~"):
        problem = f"CHARRNN_CACHE_DIR={chosen} names the home folder of a user who does not exist, so it is ignored"
        yield Fact("cache", str(root), str(root), problem, _own_cache())
    elif root is not None and root.exists() and not root.is_dir():
        yield Fact("cache", f"{root}{why}", str(root), f"{root} is a file, not a folder", _own_cache())
    elif root is None:
        yield Fact("cache", "none", None, "there is no home folder, so there is no cache folder", _own_cache())
    else:
        yield Fact("cache", f"{root}{why}", str(root))


def _own_cache():
    """Return the command that gives charrnn a cache folder of this user's own; None without a home to write in."""
    return 'export CHARRNN_CACHE_DIR="$HOME/.charrnn-cache"' if _home_is_writable() else None


def _home_is_writable():
    return os.access(os.path.expanduser("~"), os.W_OK | os.X_OK)


def _kernel_cache():
    from charrnn.files.places import STRANGERS
    from charrnn.kernels.machine_code import cache_places

    places = cache_places()
    files = {folder: _count(folder) for folder in places.readable}
    value = {
        "read": [{"folder": str(folder), "files": n, "bytes": size} for folder, (n, size) in files.items()],
        "written": None if places.writable is None else str(places.writable),
        "refused": [{"folder": str(folder), "why": why} for folder, why in places.refused],
    }
    kept = [f"{counted(n, 'file')}, {size / 1e6:.1f} MB in {folder}" for folder, (n, size) in files.items()]
    if places.writable is None:
        kept.append("read-only" if any(n for n, _ in files.values()) else "nothing stored")
    problem = remedy = None
    unused = [(folder, why) for folder, why in places.refused if folder not in files]
    if unused:
        folder, why = unused[0]
        problem = f"{folder} is not used: {why}"
        place = _open_place(folder) if why == STRANGERS else None
        remedy = _own_cache() if place is None else f"chmod -R go-w {quoted(place)}"
    elif places.writable is None and not any(n for n, _ in files.values()):
        problem, remedy = ("no cache folder can be written, so every start compiles for 10 s or longer", _own_cache())
    yield Fact("kernels", "; ".join(kept), value, problem, remedy)


def _count(folder):
    """Return the number of files of code in a folder, and their bytes."""
    sizes = []
    for file in folder.glob("*.code"):
        try:
            sizes.append(file.stat().st_size)
        except OSError:  # removed meanwhile
            pass
    return len(sizes), sum(sizes)


def _open_place(folder):
    """Return the folder from which on all is to be closed to others; None where there is none, or where more is amiss.

    It is the outermost of this user's folders around `folder` that others can write in, or `folder` for a file in it.
    """
    mine = os.getuid()
    status = [folder.stat(), *(file.lstat() for file in folder.iterdir())]
    if any(one.st_uid != mine for one in status):
        return None
    own = itertools.takewhile(lambda place: place.stat().st_uid == mine, (folder, *folder.parents))
    places = [place for place in own if place.stat().st_mode & 0o022 and not place.stat().st_mode & stat.S_ISVTX]
    if places:
        return places[-1]
    return folder if any(one.st_mode & 0o022 for one in status) else None


def _texts():
    from charrnn.text.ids import open_scratch_file

    notes = []
    file = open_scratch_file(notes)
    file.close()
    problem = notes[0] if file.folder == "memory" else None
    yield Fact("texts in use", f"in {file.folder}", str(file.folder), problem, problem and _own_cache())


def _temporary():
    try:
        folder = tempfile.gettempdir()
    except OSError:
        yield Fact("temporary", "no folder, and none is needed", None)
        return
    yield Fact("temporary", f"{folder}, {_free(folder) / 1e9:,.1f} GB free", {"folder": folder, "free": _free(folder)})


def _free(folder):
    return shutil.disk_usage(folder).free


def _memory():
    from charrnn.files.machine import available_memory, container_memory, total_memory

    total, free, container = total_memory(), available_memory(), container_memory()
    limit = None if container is None else container.limit_bytes
    parts = [
        f"{size / 1e9:,.1f} GB {what}" for size, what in ((total, "in all"), (limit, "for this container")) if size
    ]
    parts.append("unknown" if free is None else f"{free / 1e9:,.1f} GB free")
    value = {"total": total, "container_limit": limit, "free": free}
    problem = remedy = None
    if free is not None and free < MIN_MEMORY:
        problem = f"only {free >> 20:,} MB are free: compiling alone needs {MIN_MEMORY >> 20}"
        remedy = "ps aux --sort=-rss | head  # then stop what you do not need, or give the container more memory"
    yield Fact("memory", ", ".join(parts), value, problem, remedy)


def _disk():
    try:
        here = Path.cwd()
    except FileNotFoundError:
        yield Fact("folder", "gone", None, "the current folder has been removed", 'cd "$HOME"')
        os.chdir(os.sep)  # Numba is not loaded in a folder that is gone, and is to be looked at too
        return
    free, problem, remedy = _free(here), None, None
    try:
        tempfile.TemporaryFile(dir=here).close()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        problem = f"the current folder cannot be written to ({why}), but runs are stored in ./checkpoints"
        remedy = 'cd "$HOME"' if _home_is_writable() else None
    if problem is None and free < MIN_DISK:
        problem, remedy = f"only {free >> 20:,} MB of disk are free: a run needs 30 MB or more", "df -h"
    yield Fact("folder", f"{here}, {free / 1e9:,.1f} GB free", {"folder": str(here), "free": free}, problem, remedy)


def _run():
    from charrnn.runs.checkpoint import find_checkpoint, newest_run, read_metadata
    from charrnn.runs.names import RUNS_FOLDER

    if os.path.lexists(RUNS_FOLDER) and not os.path.isdir(RUNS_FOLDER):
        what = "a link to a file that does not exist" if os.path.islink(RUNS_FOLDER) else "a file"
        problem = f"./{RUNS_FOLDER} is {what}, but runs must be stored there"
        yield Fact("newest run", "none", None, problem, f"mv -n {RUNS_FOLDER} {RUNS_FOLDER}.old")
        return
    run = newest_run()
    if run is None:
        yield Fact("newest run", "none under ./checkpoints", None)
        return
    path = find_checkpoint(run, prefer="last")
    try:
        training = read_metadata(path)["training"]
    except CharRNNError as error:
        other = find_checkpoint(run, prefer="best")
        remedy = f"charrnn info {quoted(other)}" if other != path else f"mv -n {quoted(run)} damaged-{quoted(run.name)}"
        yield Fact("newest run", str(run), {"folder": str(run), "step": None}, str(error), remedy)
        return
    if "imported" in training:
        yield Fact("newest run", f"{run}, imported", {"folder": str(run), "step": None})
        return
    state = "finished" if training.get("finished") else f"unfinished: charrnn train --resume {quoted(run)}"
    step = training["step"]
    yield Fact("newest run", f"{run}, step {step:,}, {state}", {"folder": str(run), "step": step})


def _terminal():
    from charrnn.render.colours import colour_mode

    is_terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding or "utf-8"
    colour, width = colour_mode(sys.stdout, os.environ), shutil.get_terminal_size().columns
    term = os.environ.get("TERM", "")
    if os.environ.get("NO_COLOR"):
        why = "NO_COLOR is set"
    elif colour != "none":
        why = f"TERM={term}" if term else "by the environment"
    elif not is_terminal:
        why = "stdout is not a terminal"
    else:
        why = f"TERM={term} has no colours" if term else "TERM is not set"
    value = {"terminal": is_terminal, "colours": colour, "why": why, "columns": width, "encoding": encoding}
    problem = remedy = None
    if not can_print(SHOWN_BLOCKS, sys.stdout):
        problem = f"the encoding {encoding} has no characters for bars and curves: they are shown as escapes"
        remedy = "export PYTHONUTF8=1"
    elif is_terminal and width < 60:
        problem, remedy = (
            f"only {width} columns: tables and bars need at least 60",
            "stty cols 80  # or a wider window",
        )
    shown = f"colours {colour} ({why}), {width} columns, {encoding}"
    yield Fact("terminal", shown, value, problem, remedy)


def _environment():
    names = sorted(name for name in os.environ if name.startswith(VARIABLES))
    values = {name: os.environ[name] for name in names}
    shown = " ".join(f"{name}={quoted(value)}" for name, value in values.items())
    yield Fact("environment", shown or "no variables that affect charrnn", values)


PROBES = {
    "folder": _disk,
    "versions": _versions,
    "CPU": _cpu,
    "compiler": _compiler,
    "vectors": _vectors,
    "threads": _threads,
    "cache": _cache,
    "kernels": _kernel_cache,
    "texts in use": _texts,
    "temporary": _temporary,
    "memory": _memory,
    "newest run": _run,
    "terminal": _terminal,
    "environment": _environment,
}
