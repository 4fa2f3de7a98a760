"""The mark in every page, picture and exported model that charrnn writes, by which it knows its own files again.

A page has it as its generator, a drawing and a Python module as a comment, a picture as a text chunk, a file of weights
as the first of its metadata, an ONNX graph as its producer. Such files may be replaced unasked, and are never read as
part of a text.
"""

import os

NAME = "charrnn"
PAGE_MARK = f'<meta name="generator" content="{NAME}">'
SVG_MARK = f"<!-- generator: {NAME} -->"
PNG_KEY = "Software"  # of the text chunk, whose value is NAME
ONNX_IR_VERSION = 7
_ONNX_HEAD = bytes((0x08, ONNX_IR_VERSION, 0x12, len(NAME))) + NAME.encode()  # the fields ir_version, producer_name
PYTHON_MARK = f"# generator: {NAME}\n"  # the first line
WEIGHTS_KEY = "generator"  # of a safetensors file's metadata, the first of them, whose value is NAME

_HEAD_BYTES = 4096  # of a file, in which the mark stands
_KINDS = (  # how such a file begins, and its mark
    (b"<!DOCTYPE html>", PAGE_MARK.encode()),
    (b"<svg ", SVG_MARK.encode()),
    (b"\x89PNG\r\n\x1a\n", b"tEXt" + PNG_KEY.encode() + b"\0" + NAME.encode()),
    (_ONNX_HEAD, _ONNX_HEAD),
    (PYTHON_MARK.encode(), b""),
)
_WEIGHTS_HEAD = f'{{"__metadata__":{{"{WEIGHTS_KEY}":"{NAME}"'.encode()  # after the 8 bytes of the header's length


def has_mark(path):
    """Say whether charrnn wrote the file at `path`, by its mark; False where it cannot be read."""
    if not os.path.isfile(path):  # opening a pipe waits
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if head[8:].startswith(_WEIGHTS_HEAD):
        return True
    return any(head.startswith(beginning) and mark in head for beginning, mark in _KINDS)
