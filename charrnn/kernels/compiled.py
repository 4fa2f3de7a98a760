"""The one decorator for compiled functions, and where their machine code is kept.

Numba's own cache looks at the source file of the function alone: after a change in a function that it *calls* from
another file it would go on running the old code. Here the cache folder's name holds a digest of every kernel source, of
the versions of numba and llvmlite, so a change anywhere gives a fresh folder. Its files are run: they are read only
from a folder that nobody else can have written in, and only where a seal tells them whole and their own; else they are
made anew.
"""

import hashlib
import os
import pickle
import re
import shutil
import stat
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
from charrnn.files.cache import cache_root, temporary_root

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


def _cache_roots():
    """Yield the folders that may hold compiled kernels, best first."""
    if root := cache_root():
        yield root
    if root := temporary_root():
        owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        yield root / f"charrnn-{owner}"


def _is_private(folder):
    """Tell whether only this user, or root, can have written in `folder` or can put another one in its place.

    What is read from it is unpickled and run. So each folder above it must belong to the user or to root, and be closed
    to others or sticky, as /tmp is; and every file in it must be the user's own, should it have been open to others
    once.
    """
    if not hasattr(os, "getuid"):
        return True
    owners = {os.getuid(), 0} | _unmapped_owners()
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        return False
    for above in folder.parents:
        status = above.stat()
        # A group of one's own, the first group of a user on many systems, may write; 002 is their umask.
        strangers = 0o002 if status.st_gid in (os.getgid(), 0) else 0o022
        if status.st_uid not in owners or status.st_mode & strangers and not status.st_mode & stat.S_ISVTX:
            return False
    for file in folder.iterdir():
        try:
            status = file.lstat()
        except FileNotFoundError:  # another process has just put it in its place
            continue
        if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
            return False
    return True


def _unmapped_owners():
    """Return the id of every user from outside, root among them, if this process is in a user namespace."""
    try:
        if Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]:
            return set()
        return {int(Path("/proc/sys/kernel/overflowuid").read_text())}
    except (OSError, ValueError):  # no Linux
        return set()


@lru_cache(maxsize=1)
def cache_folder():
    """Return the folder for this version's machine code, or None where no folder can be written."""
    for root in _cache_roots():
        folder = root / "kernels" / kernel_digest()
        try:
            for place in (root, folder.parent, folder):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = folder.resolve()
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
    against accidents: against people there is `_is_private`.
    """

    def __init__(self, folder, name):
        self._folder = Path(folder)
        self._name = re.sub(r"[^A-Za-z0-9_]+", "-", name)[:60]

    def load(self, key):
        """Return what was saved under `key`; None where nothing was, or where it is damaged."""
        path = self._path(key)
        try:
            content = memoryview(path.read_bytes())
        except OSError:
            return None
        seal, data = content[:32], content[32:]
        return pickle.loads(data) if seal == self._seal(path, data) else None

    def save(self, key, data):
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
        return self._folder / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.code"

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

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file = _Files(self._cache_path, py_func.__qualname__)

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
