"""Round numbers on an axis."""

import math


def round_values(low, high, about):
    """Return (the multiples of 1, 2 or 5 times a power of ten between low and high, at most `about` + 1 of them; their
    distance).
    """
    step = 10.0 ** math.floor(math.log10((high - low) / about))
    step *= next(times for times in (1, 2, 5, 10, 20) if (high - low) / (step * times) <= about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)], step


def round_powers(low, high, about):
    """Return the powers of ten between 10**low and 10**high, as whole exponents, at most `about` + 1 of them."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if (last - first) / step <= about)
    return [power for power in range(first, last + 1) if power % every == 0]
