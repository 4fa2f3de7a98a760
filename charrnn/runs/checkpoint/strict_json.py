"""The header's JSON: the same text for the same content, and read within bounds, as a hostile file may have written it.

Every fault is a Refusal, which `format` puts the file's name around.
"""

import json
import math

from charrnn.runs.checkpoint.refusals import Refusal, short

# What a header may make the reader do. A vocabulary of 150,000 characters takes 2 MB of header.
MAX_VALUES = 1_000_000  # in the header: Python takes up to 200 bytes for a value that takes two in JSON
MAX_DEPTH = 64
MAX_INTEGER_DIGITS = 64  # the state of a 128-bit generator has 39


def dump_json(value, sort_keys=True):
    """Encode as JSON in ASCII: without spaces, with sorted keys, and with no number JSON has not."""
    try:
        return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refusal(f"its metadata cannot be stored as JSON ({error})") from None


def parse_json(text):
    """Parse JSON as every reader would: no doubled keys, no NaN or infinity, no endless integers, bounded depth."""

    def integer(digits):
        if len(digits) > MAX_INTEGER_DIGITS:
            raise Refusal(f"its header has an integer of {len(digits):,} digits")
        return int(digits)

    def number(digits):
        value = float(digits)
        if not math.isfinite(value):
            raise Refusal(f"its header has the number {short(digits)}, which is not finite")
        return value

    def constant(name):
        raise Refusal(f"its header has the number {name}, which is not JSON")

    def unique(pairs):
        value = dict(pairs)
        if len(value) != len(pairs):
            raise Refusal("its header has an object with the same key twice")
        return value

    # Each value but the first comes after one of these; those inside strings are counted too, there are few.
    count = sum(map(text.count, "[{,:"))
    if count > MAX_VALUES:
        raise Refusal(f"its header has {count:,} values, but at most {MAX_VALUES:,} are allowed")
    try:
        value = json.loads(
            text, parse_int=integer, parse_float=number, parse_constant=constant, object_pairs_hook=unique
        )
    except json.JSONDecodeError as error:
        raise Refusal(f"its header is not valid JSON ({error.msg.lower()} at character {error.pos:,})") from None
    except RecursionError:
        raise Refusal(f"its header is nested more than {MAX_DEPTH} levels deep") from None
    level, depth = [value], 0
    while level := [inner for one in level if isinstance(one, (dict, list)) for inner in _children(one)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise Refusal(f"its header is nested more than {MAX_DEPTH} levels deep")
    return value


def _children(value):
    return value.values() if isinstance(value, dict) else value
