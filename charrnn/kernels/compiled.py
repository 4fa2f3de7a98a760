"""The one decorator for compiled functions, and where their machine code is kept.

Numba's own cache looks at the source file of the function alone: after a change in a function that it *calls* from
another file it would go on running the old code. Here the cache folder's name holds a digest of every kernel source, of
the versions of numba and llvmlite, so a change anywhere gives a fresh folder. Its files are run: they are read only
from a folder that nobody but this user and root can have written in, and only where a seal tells them whole and their
own; else they are made anew. Such a folder need not be writable: one that was filled when an image was made is read,
and what it lacks is kept in the next folder that can be written, or nowhere.
"""

import hashlib
import os
import pickle
import re
import shutil
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import llvmlite
import numba
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator
from numba.core.ccallback import CFunc
from numba.core.serialize import dumps

from charrnn import spec
from charrnn.files.cache import cache_roots
from charrnn.files.places import find_places

KEPT_DAYS = 30  # a digest folder that no process has opened for this long is removed
ABANDONED_S = 3600  # a temporary file this old was left by a killed process


@lru_cache(maxsize=1)
def kernel_digest():
    """Return a digest (16 hex digits) of all kernel sources, the table of cells, and the compiler's versions."""
    h = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version_info[:2]}".encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        h.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    h.update(Path(spec.__file__).read_bytes())  # what a cell's entry says is compiled in
    return h.hexdigest()[:16]


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


class _Files:
    """The machine code of one function on disk, a file for each signature.

        32 bytes    the seal: sha256 of the file's name and the rest
        the rest    Numba's pickle

    Numba keeps an index from signatures to numbered files, and two processes that begin at once can make the one's
    entry point at the other's code. Here the name of a file is a digest of what it is for, so there is no index to race
    for; and a file that is cut off, flipped in a bit or put in the place of another breaks its seal. The seal is
    against accidents: against people there is `places.is_private`.
    """

    def __init__(self, folder, name, readable=()):
        self._folder = None if folder is None else Path(folder)
        self._readable = [Path(one) for one in (readable or [folder])]
        self._name = re.sub(r"[^A-Za-z0-9_]+", "-", name)[:60]

    def load(self, key):
        """Return what was saved under `key`; None where nothing was, or where it is damaged."""
        for folder in self._readable:
            path = folder / self._file_name(key)
            try:
                content = memoryview(path.read_bytes())
            except OSError:
                continue
            seal, data = content[:32], content[32:]
            if seal == self._seal(path, data):
                return pickle.loads(data)
        return None

    def save(self, key, data):
        """Keep `data` under `key`, where there is a folder to write in. Raises OSError."""
        if self._folder is None:
            return
        path, data = self._path(key), dumps(data)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=f"{path.stem}-", suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                file.write(self._seal(path, data))
                file.write(data)
            os.replace(temporary, path)  # no fsync: what a power cut takes is made anew
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, key):
        return self._folder / self._file_name(key)

    def _file_name(self, key):
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.code"

    @staticmethod
    def _seal(path, data):
        digest = hashlib.sha256(path.name.encode())
        digest.update(data)
        return digest.digest()


class _Locator(_CacheLocator):
    def __init__(self, py_func):
        self._py_file = py_func.__code__.co_filename
        self._lineno = py_func.__code__.co_firstlineno

    def get_cache_path(self):
        return str(cache_folder() or cache_places().readable[0])

    def get_source_stamp(self):
        return kernel_digest()

    def get_disambiguator(self):
        return ""

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func) if cache_places().readable else None


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


_ENTRIES = []
COMPILE_LISTENERS = []  # each is called with a kernel's name when it is about to be compiled
UNKEPT_LISTENERS = []  # each is called with the OSError for which a kernel that was compiled is not kept


def _announce(name):
    for listener in COMPILE_LISTENERS[:]:
        listener(name)


class _Cache(FunctionCache):
    _impl_class = _Impl

    def __init__(self, py_func):
        super().__init__(py_func)
        places = cache_places()
        self._cache_file = _Files(places.writable, py_func.__qualname__, places.readable)

    def _index_key(self, sig, codegen):
        """The digest in the folder's name covers every source; a closure over other kernels need not be hashed."""
        code = self._py_func.__code__
        return (
            str(sig),
            codegen.magic_tuple(),
            self._py_func.__qualname__,
            Path(code.co_filename).parts[-2:],  # packages of kernels may have modules of one name
            code.co_firstlineno,
        )

    def load_overload(self, sig, target_context):
        try:
            loaded = super().load_overload(sig, target_context)
        except Exception:  # sealed, and yet no use here: compile again, and write it anew
            loaded = None
        if loaded is None:
            _announce(self._py_func.__qualname__)
        return loaded

    def save_overload(self, sig, data):
        if cache_folder() is None:
            return
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk costs the cache, not the run
            for listener in UNKEPT_LISTENERS[:]:
                listener(error)


class _NoCache(NullCache):
    def __init__(self, name):
        self._name = name

    def load_overload(self, sig, target_context):
        _announce(self._name)


def _make_cache(function):
    return _Cache(function) if cache_places().readable else _NoCache(function.__qualname__)


def inline(function):
    """Compile a helper that only other kernels call; it is linked into them and needs no cache of its own.

    A function that is made more than once, over other functions each time, gets their names into its own. Numba tells
    such twins apart by a counter of the process; two that were compiled in two processes can have the same number, and
    a third that loads both from the cache would run the one's code in the place of the other's.
    """
    if function.__closure__:
        over = [_full_name(cell.cell_contents) for cell in function.__closure__]
        function.__name__ = function.__qualname__ = f"{function.__qualname__}({', '.join(over)})"
    return njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def _full_name(value):
    """Return the module and name of a function, or what another value looks like."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


def kernel(function=None, *, parallel=False, name=None):
    """Compile a function that Python calls; its code is kept on disk, under `name` if it is made more than once."""
    if function is None:
        return lambda f: kernel(f, parallel=parallel, name=name)
    function.__name__ = function.__qualname__ = name or function.__name__
    dispatcher = njit(nogil=True, error_model="numpy", parallel=parallel)(function)
    dispatcher._cache = _make_cache(function)
    return dispatcher


def entry_address(function, signature):
    """Compile a function to one that takes raw pointers; return its address. Its machine code is kept on disk too.

    The function is never freed: its address stays good for the life of the process.
    """
    entry = CFunc(function, (signature.args, signature.return_type), locals={}, options={"error_model": "numpy"})
    entry._cache = _make_cache(function)
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
