"""The compiler's side: the one decorator for compiled helpers, and how an entry becomes machine code.

An *entry* is a function that is called by its address: work items (entries.Items) and products (products.py). Nothing
here is imported where every entry's code is found on disk (machine_code.py).
"""

from importlib import import_module

import llvmlite.binding
from numba import njit, types
from numba.core import compiler, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import _FunctionCompiler

from charrnn.kernels.machine_code import Code


def inline(function):
    """Compile a helper that only other kernels call; it is linked into them.

    A function that is made more than once, over other functions each time, gets their names into its own: Numba tells
    such twins apart by a counter of the process alone.
    """
    if function.__closure__:
        over = [_full_name(cell.cell_contents) for cell in function.__closure__]
        function.__name__ = function.__qualname__ = f"{function.__qualname__}({', '.join(over)})"
    return njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def _full_name(value):
    """Return the module and name of a function, or what another value looks like."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


class _EntryCompiler(_FunctionCompiler):
    def _customize_flags(self, flags):
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.no_compile = True  # to an address in this process: the object file is all that is wanted
        flags.enable_pyobject = False
        return flags


@global_compiler_lock
def compile_entry(function, *arguments):
    """Return the Code of a function that returns nothing, for Numba types of its arguments.

    It is Numba's own function, without a wrapper for C, which would refer to Numba's runtime in case of an exception
    that no kernel raises. So a caller passes what that function takes: where its result, None, is to be written, and
    where an exception, both before the arguments (entry_arguments).
    """
    llvmlite.binding.initialize_native_asmparser()  # for instructions that tile.py names
    entry = _EntryCompiler(function, registry.cpu_target, {"error_model": "numpy"}, {}, compiler.Compiler)
    result = entry.compile(arguments, types.void)
    library = result.library
    library.finalize()
    return Code(result.fndesc.llvm_func_name, library.codegen._tm.emit_object(library._final_module))


def compile_items(source, arguments, dtype):
    """Return the Code of entries.Items for "float32" or "float64": function(table, like, item).

    source, arguments    as Items has them
    """
    module, name = source.split(":")
    function = getattr(import_module(module), name)
    if arguments:
        function = function(*arguments)
    return compile_entry(function, types.CPointer(types.int64), types.CPointer(getattr(types, dtype)), types.int64)
