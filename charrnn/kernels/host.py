"""What vectors this CPU has, as LLVM names them. NUMBA_CPU_NAME (haswell, say) overrides it, to test other shapes."""

import ctypes
import os
from functools import lru_cache

import llvmlite.binding as llvm
import numpy as np

AVX512_CPUS = (
    "skylake-avx512",
    "cascadelake",
    "cooperlake",
    "cannonlake",
    "icelake",
    "tigerlake",
    "rocketlake",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "znver4",
    "znver5",
    "x86-64-v4",
)
BFLOAT16_CPUS = "cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "znver4", "znver5"


def _cpu_name():
    """Return the CPU that Numba is told to compile for, in small letters; "" where it is this one."""
    return os.environ.get("NUMBA_CPU_NAME", "").lower()


@lru_cache(maxsize=1)
def isa():
    """Return the family of tile shapes to emit: "avx512", "avx2" or "neon". LLVM splits avx2's for older x86 CPUs."""
    if not llvm.get_default_triple().startswith(("x86", "i686", "amd64")):
        return "neon"
    if _cpu_name():
        return "avx512" if _cpu_name().startswith(AVX512_CPUS) else "avx2"
    features = llvm.get_host_cpu_features()
    return "avx512" if features.get("avx512f") and features.get("avx512dq") and features.get("avx512vl") else "avx2"


@lru_cache(maxsize=1)
def has_fma():
    """Tell whether a fused multiply-add is one instruction here (otherwise llvm.fma would be a slow library call)."""
    if isa() == "neon":
        return True
    if _cpu_name():
        return _cpu_name() not in ("generic", "x86-64", "x86-64-v2", "nehalem", "westmere", "sandybridge")
    return bool(llvm.get_host_cpu_features().get("fma"))


@lru_cache(maxsize=1)
def has_bfloat16():
    """Tell whether this CPU multiplies bfloat16 pairs into float32 sums in one instruction (AVX512-BF16)."""
    if isa() != "avx512":
        return False
    if _cpu_name():
        return _cpu_name().startswith(BFLOAT16_CPUS)
    return bool(llvm.get_host_cpu_features().get("avx512bf16"))


AMX_ROWS, AMX_WORDS = 16, 16  # of a tile register
_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18  # Linux's numbers: a system call, its request, and of what


@lru_cache(maxsize=1)
def has_amx():
    """Tell whether bfloat16 is multiplied by the matrix unit AMX: this CPU has it, and the system lets us use it.

    The first call asks the system for that, for this process and its threads. Of a CPU that NUMBA_CPU_NAME names it is
    not used.
    """
    features = llvm.get_host_cpu_features()
    if _cpu_name() or not has_bfloat16() or not (features.get("amx-tile") and features.get("amx-bf16")):
        return False
    try:
        return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA) == 0
    except (OSError, TypeError, AttributeError):  # no Linux
        return False


@lru_cache(maxsize=1)
def is_faster_in_bfloat16():
    """Tell whether products of bfloat16 are faster than those of float32 on this CPU.

    They are with AMX, and with the dot-product instruction of AVX512-BF16 on a CPU without a matrix unit (1.6 to 1.9
    times on Zen 4). A CPU that has AMX has that instruction at a quarter of the multiply-add's rate: where the system
    refuses AMX, float32 is faster.
    """
    return has_amx() or has_bfloat16() and not llvm.get_host_cpu_features().get("amx-bf16")


CACHE_LINE = 64  # bytes
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "neon": 16}

WIDTHS = 3, 4, 5  # the widths of a register tile, in vectors; AVX2 has no registers for the last
PRODUCTS = "plain", "ahead", "transposed"  # kinds of them: ahead is plain, and fetches the next panel meanwhile
TILES = 2 * len(WIDTHS)  # of a model: plain or ahead, and transposed

# Rows of a register tile by its width in vectors: rows*width accumulators, width operands and a broadcast must fit in
# the 32 registers of AVX-512 and NEON, the 16 of AVX2 (where the operands fold into the multiply-add).
TILE_ROWS = {"avx512": {3: 8, 4: 6, 5: 5}, "neon": {3: 8, 4: 6, 5: 5}, "avx2": {3: 4, 4: 3}}

# A weight gradient takes its columns in packed blocks of so many vectors, a block's rows one behind the other.
PACKED_VECTORS = {"avx512": 1, "avx2": 3, "neon": 3}
PACKED_BLOCKS = {"avx512": 4, "avx2": 2, "neon": 4}  # that one item packs at a time
GRADIENT_ROWS = 128  # that it takes at once: with a panel's vectors beside them they fit the first cache


def instructions(with_bfloat16=True):
    """Return a list of what the last bits of a run depend on of this CPU.

    It names the vectors, says whether a multiply-add is one instruction, and with bfloat16 what multiplies that.
    """
    own = [isa(), "fma" if has_fma() else "no fma"]
    return [*own, "AMX" if has_amx() else "no AMX"] if with_bfloat16 else own


def lanes_of(itemsize):
    """Return how many numbers of `itemsize` bytes one vector holds."""
    return VECTOR_BYTES[isa()] // itemsize


def padded(count, multiple):
    """Round `count` up to a multiple."""
    return -(-count // multiple) * multiple


def lanes_of_dtype(dtype):
    """Return how many numbers of a NumPy dtype one vector holds here."""
    return lanes_of(np.dtype(dtype).itemsize)
