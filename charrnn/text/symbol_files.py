"""The vocabulary of a model that charrnn did not train: a file of symbols, the id of each its place.

    vocab.json    a list of one-character strings, or of bytes 0..255; an object {symbol: id}; or a vocabulary as a
                  checkpoint holds it, {"mode": ..., "symbols": [...]}
    vocab.txt     any other name: the symbols themselves, each once, one after the other

A newline that ends a text of symbols is taken for the editor's where the model has one symbol fewer.
"""

import json

from charrnn.errors import CorpusError, VocabularyError, counted
from charrnn.text.symbols import CODE_POINTS, shown
from charrnn.text.vocabulary import Vocabulary

MAX_BYTES = 32 << 20  # of a file: every character there is takes half of it in JSON


def read_vocabulary_file(path, sizes=()):
    """Return the Vocabulary in a file; VocabularyError or CorpusError where it holds none.

    sizes    numbers of symbols that the model may have
    """
    text = _read(path)
    if path.suffix.lower() == ".json":
        try:
            return _from_json(_parsed(text))
        except VocabularyError as error:
            raise VocabularyError(f"--vocab-file {path}: {error}") from None
    if text.endswith("\n") and len(text) - 1 in sizes and len(text) not in sizes:
        text = text[:-1]
    if len(set(text)) != len(text):
        twice = next(symbol for symbol in text if text.count(symbol) > 1)
        raise VocabularyError(
            f"--vocab-file {path} holds {twice!r} more than once, but it must list each symbol once, in the order of "
            "the ids. If it is the text that the model was trained on, and the symbols are sorted by code point, use "
            "--vocab-text"
        )
    try:
        return Vocabulary("chars", tuple(text))
    except VocabularyError as error:
        raise VocabularyError(f"--vocab-file {path}: {error}") from None


def _read(path):
    try:
        if not path.is_file():
            raise CorpusError(f"--vocab-file {path} does not exist: name a file with the symbols")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CorpusError(f"--vocab-file {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(data) > MAX_BYTES:
        raise CorpusError(
            f"--vocab-file {path} is longer than any vocabulary: if it is a text with these symbols, use --vocab-text"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"--vocab-file {path} is not UTF-8 at byte {error.start:,}: save it as UTF-8") from None


def _parsed(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VocabularyError(f"its name ends in .json, but it is not valid JSON ({error})"[:200]) from None


def _from_json(value):
    if isinstance(value, dict) and "symbols" in value:
        return Vocabulary.from_json(value)
    if isinstance(value, dict):
        value = _by_id(value)
    if not isinstance(value, list):
        raise VocabularyError(f"it must hold a list of symbols, or an object of their ids, got {shown(value)}")
    return Vocabulary("bytes" if value and all(type(symbol) is int for symbol in value) else "chars", tuple(value))


def _by_id(ids):
    """Return the symbols of {symbol: id} in the order of ids."""
    symbols = {}
    for symbol, number in ids.items():
        if type(number) is not int or not 0 <= number < min(len(ids), CODE_POINTS) or number in symbols:
            raise VocabularyError(
                f"the ids of {counted(len(ids), 'symbol')} must be 0 to {len(ids) - 1:,}, each once, got "
                f"{shown(number)} for {shown(symbol)}"
            )
        symbols[number] = symbol
    return [symbols[number] for number in range(len(symbols))]
