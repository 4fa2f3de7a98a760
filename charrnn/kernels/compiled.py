"""The one decorator for compiled functions, and where their machine code is kept.

Numba's own cache looks at the source file of the function alone: after a change in a function that it *calls* from
another file it would go on running the old code. Here the cache folder's name holds a digest of every kernel source, of
the versions of numba and llvmlite, so a change anywhere gives a fresh folder; a damaged file is compiled again.
"""
import hashlib
import os
import shutil
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import llvmlite
import numba
from numba import njit, types
from numba.core.ccallback import CFunc
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator

KEPT_DAYS = 30  # a digest folder that no process has opened for this long is removed


@lru_cache(maxsize=1)
def kernel_digest():
    """Return a digest (16 hex digits) of all kernel sources and of the compiler's versions."""
    h = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version_info[:2]}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        h.update(path.name.encode() + b"\0" + path.read_bytes())
    return h.hexdigest()[:16]


def _cache_roots():
    """Yield the folders that may hold compiled kernels, best first."""
    if os.environ.get("CHARRNN_CACHE_DIR"):
        yield Path(os.environ["CHARRNN_CACHE_DIR"])
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"]) / "charrnn"
    try:
        yield Path.home() / ".cache" / "charrnn"
    except RuntimeError:  # no home folder at all
        pass
    owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    yield Path(tempfile.gettempdir()) / f"charrnn-{owner}"


def _is_private(folder):
    """Tell whether only this user can have written in `folder`: what is read from it is run as machine code."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


@lru_cache(maxsize=1)
def cache_folder():
    """Return the folder for this version's machine code, or None where no folder can be written."""
    for root in _cache_roots():
        folder = root / "kernels" / kernel_digest()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            tempfile.TemporaryFile(dir=folder).close()
            if not _is_private(folder):
                continue
            os.utime(folder)
        except OSError:
            continue
        _forget_old(folder)
        return folder
    return None


def _forget_old(current):
    """Remove the machine code of versions that were not used for KEPT_DAYS."""
    for folder in current.parent.iterdir():
        try:
            if folder != current and time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass


class _Locator(_CacheLocator):
    def __init__(self, py_func):
        self._py_file = py_func.__code__.co_filename
        self._lineno = py_func.__code__.co_firstlineno

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return kernel_digest()

    def get_disambiguator(self):
        return ""

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func) if cache_folder() is not None else None


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


_ENTRIES = []
COMPILE_LISTENERS = []  # each is called with a kernel's name when it is about to be compiled


def _announce(name):
    for listener in COMPILE_LISTENERS:
        listener(name)


class _Cache(FunctionCache):
    _impl_class = _Impl

    def _index_key(self, sig, codegen):
        """The digest in the folder's name covers every source; a closure over other kernels need not be hashed."""
        return sig, codegen.magic_tuple(), self._py_func.__qualname__

    def load_overload(self, sig, target_context):
        try:
            loaded = super().load_overload(sig, target_context)
        except Exception:  # a damaged or half-written file of any kind: compile again, and write it anew
            loaded = None
            try:
                self.flush()
            except OSError:
                pass
        if loaded is None:
            _announce(self._py_func.__qualname__)
        return loaded

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk costs the cache, not the run
            pass


class _NoCache(NullCache):
    def __init__(self, name):
        self._name = name

    def load_overload(self, sig, target_context):
        _announce(self._name)


def inline(function):
    """Compile a helper that only other kernels call; it is linked into them and needs no cache of its own.

    A function that is made more than once, over other functions each time, gets their names into its own. Numba tells
    such twins apart by a counter of the process; two that were compiled in two processes can have the same number, and
    a third that loads both from the cache would run the one's code in the place of the other's.
    """
    if function.__closure__:
        over = [getattr(cell.cell_contents, "__qualname__", repr(cell.cell_contents)) for cell in function.__closure__]
        function.__name__ = function.__qualname__ = f"{function.__qualname__}({', '.join(over)})"
    return njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def kernel(function=None, *, parallel=False, name=None):
    """Compile a function that Python calls; its machine code is kept on disk, under `name` if it is made more than once."""
    if function is None:
        return lambda f: kernel(f, parallel=parallel, name=name)
    function.__name__ = function.__qualname__ = name or function.__name__
    dispatcher = njit(nogil=True, error_model="numpy", parallel=parallel)(function)
    dispatcher._cache = _NoCache(function.__name__) if cache_folder() is None else _Cache(function)
    return dispatcher


def entry_address(function, signature):
    """Compile a function to one that takes raw pointers; return its address. Its machine code is kept on disk too.

    The function is never freed: its address stays good for the life of the process.
    """
    entry = CFunc(function, (signature.args, signature.return_type), locals={}, options={"error_model": "numpy"})
    entry._cache = _NoCache(function.__qualname__) if cache_folder() is None else _Cache(function)
    entry.compile()
    _ENTRIES.append(entry)
    return entry.address


class Items:
    """Work cut into independent items, function(table, like, item), for threads to take in turn.

    table   int64: sizes, switches and the addresses of every buffer; the Python side lays it out and keeps the buffers
    like    a pointer that is never read: its type is the dtype that the function is compiled for
    item    which piece of the work to do

    The function is compiled on its own and called by its address from one small parallel loop (run_items): a parallel
    kernel of its own each, with every buffer an argument, took Numba several times as long to compile.
    """

    def __init__(self, function, name=None):
        function.__name__ = function.__qualname__ = name or function.__name__
        self._function, self._addresses = function, {}

    def address(self, dtype):
        """Return the address of the function for "float32" or "float64", compiled on first use."""
        if dtype not in self._addresses:
            sig = types.void(types.CPointer(types.int64), types.CPointer(getattr(types, dtype)), types.int64)
            self._addresses[dtype] = entry_address(self._function, sig)
        return self._addresses[dtype]
