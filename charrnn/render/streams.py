"""Bytes as text that a page's script reads again: deflated, in base 85."""

import zlib

import numpy as np

_EFFORT = 6  # of deflate: 9 saves 1 % and can take forty times as long
# Base 85 as in RFC 1924, with "," and "." for "<" and "&", which mean something to HTML.
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~"


def encode_stream(data):
    """Return bytes, deflated, in base 85."""
    # In noise, deflate's search for repeats makes the result a fifth longer than no search at all.
    return _base85(
        min((_deflated(data, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)), key=len)
    )


def _deflated(data, strategy):
    machine = zlib.compressobj(_EFFORT, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return machine.compress(data) + machine.flush()


def _base85(data):
    # Four bytes, big-endian, are five digits; of a last group of n bytes n + 1 digits are kept.
    padding = -len(data) % 4
    numbers = np.frombuffer(data + bytes(padding), ">u4").astype(np.int64)
    digits = np.empty((len(numbers), 5), np.uint8)
    for column in range(4, -1, -1):
        numbers, digits[:, column] = np.divmod(numbers, 85)
    letters = np.frombuffer(ALPHABET.encode(), np.uint8)[digits.reshape(-1)].tobytes()
    return letters[: len(letters) - padding]
