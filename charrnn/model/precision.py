"""The precision of the products of a training step: which this CPU and the model's dtype can have, and the default."""

import os

from charrnn.errors import ConfigError
from charrnn.kernels.host import has_bfloat16, is_faster_in_bfloat16
from charrnn.spec import PRECISIONS


def check_precision(precision, dtype="float32"):
    """Return the dtype of the inputs of products. Raises ConfigError if the CPU or the model's dtype does not fit."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}", ["precision"])
    if precision == "float32":
        return dtype
    if dtype != "float32":
        raise ConfigError(
            f"--precision {precision} needs --dtype float32, got {dtype}: leave one of them out", ["precision", "dtype"]
        )
    if not has_bfloat16():
        raise ConfigError(
            f"--precision {precision} needs a CPU with AVX512-BF16, which this CPU does not have: use --precision "
            "float32, which can also resume a run that was trained with bfloat16",
            ["precision"],
        )
    return precision


def pack_of(precision):
    """Return how many numbers are in a word of what products read, as Layout takes it."""
    return 2 if precision == "bfloat16" else 1


def default_precision(dtype):
    """Return the precision of a run that names none: CHARRNN_PRECISION, or the one in which this CPU is fastest.

    Raises ConfigError.
    """
    asked = os.environ.get("CHARRNN_PRECISION", "")
    if asked and asked not in PRECISIONS:
        raise ConfigError(
            f"the environment variable CHARRNN_PRECISION must be one of {', '.join(PRECISIONS)}, got {asked!r}"
        )
    if asked and dtype == "float32":
        return check_precision(asked)
    return "bfloat16" if dtype == "float32" and is_faster_in_bfloat16() else "float32"
