"""The rules of a vocabulary's symbols, and how a stranger's value is shown where it breaks one."""

from collections.abc import Iterable

from charrnn.errors import VocabularyError

MODES = ("chars", "bytes")
CODE_POINTS = 0x110000

_SURROGATES = range(0xD800, 0xE000)


def validated(mode, symbols):
    """Return the symbols of a vocabulary of `mode` as a tuple. Raises VocabularyError if one is not allowed."""
    if not isinstance(mode, str) or mode not in MODES:
        raise VocabularyError(f'a vocabulary\'s mode must be "chars" or "bytes", got {shown(mode)}')
    if not isinstance(symbols, Iterable):
        raise VocabularyError(f"a vocabulary's symbols must be a sequence, got {shown(symbols)}")
    # Read no further than the most there can be: an endless iterable is an error, not a hang.
    most = 256 if mode == "bytes" else CODE_POINTS - len(_SURROGATES)
    taken = []
    for symbol in symbols:
        if len(taken) == most:
            raise VocabularyError(f"a vocabulary of {mode} has at most {most:,} symbols, got more")
        taken.append(symbol)
    if not taken:
        raise VocabularyError("a vocabulary needs at least 1 symbol, got none")
    for number, symbol in enumerate(taken):
        if mode == "bytes":
            # bool is an int to Python, but true is no byte.
            if type(symbol) is not int or not 0 <= symbol <= 255:
                raise VocabularyError(f"symbol {number:,} must be a byte, 0 to 255, got {shown(symbol)}")
        elif type(symbol) is not str or len(symbol) != 1:
            raise VocabularyError(f"symbol {number:,} must be one character, got {shown(symbol)}")
        elif ord(symbol) in _SURROGATES:
            raise VocabularyError(f"symbol {number:,} must be a character, got the lone surrogate {symbol!r}")
    if len(set(taken)) != len(taken):
        seen = set()
        twice = next(symbol for symbol in taken if symbol in seen or seen.add(symbol))
        raise VocabularyError(f"a vocabulary's symbols must differ, got {twice!r} twice")
    return tuple(taken)


def shown(value):
    """Return a short repr of what may be huge, nested without end, or unprintable."""
    if isinstance(value, (str, bytes)):
        return repr(value[:20]) + ("..." if len(value) > 20 else "")
    if isinstance(value, float) or value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if -(10**20) < value < 10**20 else "a huge number"
    return f"a {type(value).__name__}"
