"""The compiler's side: the one decorator for compiled helpers, and how an entry becomes machine code.

An *entry* is a function that is called by its address: work items (entries.Items) and products (products.py). Nothing
here is imported where every entry's code is found on disk (machine_code.py).
"""

import contextlib
import gc
from functools import cached_property
from importlib import import_module

import llvmlite.binding
from numba import types
from numba.core import codegen, compiler, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import _FunctionCompiler

from charrnn.kernels.machine_code import Code

# Levels of optimisation, one after the other. With the last alone, Numba's own, training steps take 1 to 2 % longer.
LEVELS = {"opt": 1, "loop_vectorize": False}, {"opt": 2, "loop_vectorize": False}, {}


class _Library(codegen.JITCodeLibrary):
    """The LLVM module of a function, with those of the helpers that it calls, as Numba lowered them.

    Only an entry's module is optimised, when everything is in it. Numba's own library optimises a helper's module,
    again in each function that calls it, and makes machine code of it that nobody runs: half of the time.
    """

    def _optimize_final_module(self):
        pass

    def _finalize_specific(self):
        pass

    def get_pointer_to_function(self, name):
        """Return 0: there is no machine code in this process."""
        self._ensure_finalized()
        return 0

    def emit_optimised(self):
        """Return the object file (bytes) of the optimised module."""
        self._ensure_finalized()
        for level in LEVELS:
            manager, builder = self._codegen._module_pass_manager(**level)
            manager.run(self._final_module, builder)
        return self._codegen._tm.emit_object(self._final_module)


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library

    def _add_module(self, module):
        pass

    def set_env(self, env_name, env):
        pass


class _Target(registry.CPUTarget):
    """Numba's CPU, with all that it knows of types and functions, but libraries as above."""

    @cached_property
    def _toplevel_target_context(self):
        return registry.cpu_target.target_context.subtarget(_internal_codegen=_Codegen("charrnn"))

    @property
    def typing_context(self):
        return registry.cpu_target.typing_context


_TARGET = _Target("cpu")


class _Helper(registry.CPUDispatcher):
    targetdescr = _TARGET


def inline(function):
    """Compile a helper that only other kernels call; it is linked into them.

    A function that is made more than once, over other functions each time, gets their names into its own: Numba tells
    such twins apart by a counter of the process alone.
    """
    if function.__closure__:
        over = [_full_name(cell.cell_contents) for cell in function.__closure__]
        function.__name__ = function.__qualname__ = f"{function.__qualname__}({', '.join(over)})"
    options = {"nopython": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _Helper(function, locals={}, targetoptions=options)


def _full_name(value):
    """Return the module and name of a function, or what another value looks like."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


class _EntryCompiler(_FunctionCompiler):
    def _customize_flags(self, flags):
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.no_compile = True  # to an address in this process: the object file is all that is wanted
        flags.enable_pyobject = False
        return flags


@contextlib.contextmanager
def _without_collector():
    """Keep the garbage collector from walking again and again over the many small objects that a compilation makes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@global_compiler_lock
@_without_collector()
def compile_entry(function, *arguments):
    """Return the Code of a function that returns nothing, for Numba types of its arguments.

    It is Numba's own function, without a wrapper for C, which would refer to Numba's runtime in case of an exception
    that no kernel raises. So a caller passes what that function takes: where its result, None, is to be written, and
    where an exception, both before the arguments (entry_arguments).
    """
    llvmlite.binding.initialize_native_asmparser()  # for instructions that tile.py names
    entry = _EntryCompiler(function, _TARGET, {"error_model": "numpy"}, {}, compiler.Compiler)
    result = entry.compile(arguments, types.void)
    return Code(result.fndesc.llvm_func_name, result.library.emit_optimised())


def compile_items(source, arguments, dtype):
    """Return the Code of entries.Items for "float32" or "float64": function(table, like, item).

    source, arguments    as Items has them
    """
    module, name = source.split(":")
    function = getattr(import_module(module), name)
    if arguments:
        function = function(*arguments)
    return compile_entry(function, types.CPointer(types.int64), types.CPointer(getattr(types, dtype)), types.int64)
