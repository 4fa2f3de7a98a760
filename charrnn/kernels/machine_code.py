"""Machine code on disk: an object file for each entry, found, linked and run without the compiler.

The folder's name holds a digest of every kernel source and of the versions of numba and llvmlite, so a change anywhere
gives a fresh folder. Its files are run: they are read only from a folder that nobody but this user and root can have
written in, and only where a seal tells them whole and their own; else they are made anew. Such a folder need not be
writable: one that was filled when an image was made is read, and what it lacks is kept in the next folder that can be
written, or nowhere.

A file, named after the entry and a digest of the CPU that it is for:

    32 bytes    the seal: sha256 of the file's name and the rest
    2 bytes     the length of the symbol's name, little-endian
    the symbol's name, ASCII
    the rest    the object file

Nothing in it is unpickled. An object file refers to nothing but the C library (exp, log, memset), so LLVM's linker,
which llvmlite holds, is all that it needs: importing Numba takes longer than drawing a thousand characters.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import llvmlite
import llvmlite.binding as llvm

from charrnn import spec
from charrnn.files.cache import cache_roots
from charrnn.files.places import find_places
from charrnn.kernels.environment import asked_of_numba, check_numba

KEPT_DAYS = 30  # a digest folder that no process has opened for this long is removed
ABANDONED_S = 3600  # a temporary file this old was left by a killed process
SEAL_BYTES = 32

COMPILE_LISTENERS = []  # each is called with an entry's name when it is about to be compiled
UNKEPT_LISTENERS = []  # each is called with the OSError for which an entry that was compiled is not kept
_ENGINES = []  # they hold the code that runs, and are never freed


class Code(NamedTuple):
    """An entry's machine code: an object file, and the symbol in it that is the entry."""

    symbol: str
    data: bytes


@lru_cache(maxsize=1)
def kernel_digest():
    """Return a digest (16 hex digits) of all kernel sources, the table of cells, and the compiler's versions."""
    numba = importlib.util.find_spec("numba")  # not imported: that would take longer than all else
    version = Path(numba.origin).with_name("_version.py").read_bytes() if numba else b""
    h = hashlib.sha256(version + f"{llvmlite.__version__} {sys.version_info[:2]}".encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        h.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    h.update(Path(spec.__file__).read_bytes())  # what a cell's entry says is compiled in
    return h.hexdigest()[:16]


@lru_cache(maxsize=1)
def _target():
    """Say what machine code is made for here: the CPU, its features, and what the environment asks of Numba."""
    features = llvm.get_host_cpu_features().flatten()
    return repr((llvm.get_process_triple(), llvm.get_host_cpu_name(), features, asked_of_numba()))


@lru_cache(maxsize=1)
def cache_places():
    """Return the Places of this version's machine code."""
    places = find_places(cache_roots(), f"kernels/{kernel_digest()}")
    if places.writable is not None:
        _forget_old(places.writable)
    return places


def cache_folder():
    """Return the folder that this version's machine code is kept in, or None where no folder can be written."""
    return cache_places().writable


def _forget_old(current):
    """Remove the machine code of versions not used for KEPT_DAYS, and what killed processes left of this one."""
    for folder in current.parent.iterdir():
        try:
            if folder != current and time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
    for file in current.glob("*.tmp"):
        try:
            if time.time() - file.stat().st_mtime > ABANDONED_S:
                file.unlink()
        except OSError:
            pass


def _file_name(name):
    """Return the name of an entry's file: no two entries share one, so processes that begin at once do not mix up."""
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", name)[:60]
    return f"{readable}-{hashlib.sha256(repr((name, _target())).encode()).hexdigest()[:32]}.code"


def _seal(file_name, data):
    """Return the seal of a file's content. It is against accidents; against people there is `places.is_private`."""
    digest = hashlib.sha256(file_name.encode())
    digest.update(data)
    return digest.digest()


def read_code(name, folders):
    """Return the Code that was kept for an entry; None where there is none, or where it is damaged."""
    file_name = _file_name(name)
    for folder in folders:
        try:
            content = (folder / file_name).read_bytes()
        except OSError:
            continue
        seal, data = content[:SEAL_BYTES], memoryview(content)[SEAL_BYTES:]
        if len(data) < 2 or seal != _seal(file_name, data):
            continue
        begin = 2 + int.from_bytes(data[:2], "little")
        return Code(bytes(data[2:begin]).decode("ascii"), bytes(data[begin:]))
    return None


def keep_code(name, code, folder):
    """Keep an entry's Code. Raises OSError."""
    file_name, symbol = _file_name(name), code.symbol.encode("ascii")
    data = len(symbol).to_bytes(2, "little") + symbol + code.data
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f"{file_name.removesuffix('.code')}-", suffix=".tmp")
    try:
        with open(descriptor, "wb") as file:
            file.write(_seal(file_name, data))
            file.write(data)
        os.chmod(temporary, 0o644)  # others may read it: root fills the cache of an image for its users
        os.replace(temporary, folder / file_name)  # no fsync: what a power cut takes is made anew
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@cache
def _machine():
    """Return LLVM's description of this machine, for its linker."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault")


def link(code):
    """Return the address of an entry's code, which is never freed. A linker of its own: symbols of two may be alike."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.data))
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine.get_function_address(code.symbol)


def elsewhere(_name):
    """Return whether another process has just compiled an entry: never, until `ahead.compile_ahead` is asked to."""
    return False


def entry_address(name, make, *arguments):
    """Return the address of an entry; its code is found on disk, or compiled by make(*arguments) and kept there.

    make    returns the entry's Code; called only where no code is found, when Numba has been loaded

    Raises ConfigError where Numba would be needed and is of no use.
    """
    places = cache_places()
    code = read_code(name, places.readable)
    if code is None:
        check_numba()
        for listener in COMPILE_LISTENERS[:]:
            listener(name)
        if elsewhere(name):
            code = read_code(name, places.readable)
    if code is None:
        code = make(*arguments)
        if places.writable is not None:
            try:
                keep_code(name, code, places.writable)
            except OSError as error:  # a full disk costs the cache, not the run
                for listener in UNKEPT_LISTENERS[:]:
                    listener(error)
    return link(code)
