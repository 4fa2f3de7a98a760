"""Sums of two numbers of up to four digits, and their results: a TSV of both, to translate. Needs no network."""

import hashlib

from charrnn.errors import RecipeError

SOURCE = "computed, from the sha256 of consecutive numbers"
LICENCE = "none needed: facts of arithmetic"
CLEANING = "200,000 different sums a+b; each number has 1 to 4 digits, all lengths equally likely"
SHA256 = "73fc29db7184b927dee2f97f097bd2baf9df32249c7c60516f6755eb06f6536f"
SIZE_BYTES = 2_502_431

COUNT = 200_000
MAX_DIGITS = 4


def make(source, work_folder, limit_bytes, reports):
    """Return the TSV: sum, result."""
    if source is not None:
        raise RecipeError("arithmetic needs no source: leave --from out")
    reports.say(f"adding {COUNT:,} pairs of numbers")
    sums, number = {}, 0
    while len(sums) < COUNT:
        drawn = hashlib.sha256(f"charrnn arithmetic {number}".encode()).digest()
        a, b = (_number(int.from_bytes(half, "big")) for half in (drawn[:16], drawn[16:]))
        sums[f"{a}+{b}"] = a + b
        number += 1
    return ("sum\tresult\n" + "".join(f"{each}\t{result}\n" for each, result in sums.items())).encode()


def _number(drawn):
    """Return a number of 1 to MAX_DIGITS digits, of a large random integer."""
    drawn, digits = divmod(drawn, MAX_DIGITS)
    low = 10**digits if digits else 0
    return low + drawn % (10 ** (digits + 1) - low)
