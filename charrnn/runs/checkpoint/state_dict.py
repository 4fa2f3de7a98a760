"""Tensors by name in a `.safetensors` file of another program: read within bounds, whatever they are.

The same checks as for a checkpoint, but for what only a model of charrnn's has: docs/CHECKPOINT.md lists them. What the
tensors mean is the business of its callers.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.runs.checkpoint.format import MAX_HEADER_BYTES, foreign_kind, open_file, read_exactly
from charrnn.runs.checkpoint.refusals import DamagedCheckpoint, Refusal, short
from charrnn.runs.checkpoint.rules import check_finite, tensor_entry
from charrnn.runs.checkpoint.strict_json import parse_json

# From a pickle to what is read here, as a Python program; torch runs no code of the file's with weights_only.
CONVERSION = (
    "import sys, torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v in "
    'torch.load(sys.argv[1], map_location="cpu", weights_only=True).items()}, sys.argv[2])'
)
# What a pickle of protocol 0 or 1 begins with: a dict, a list, a tuple, a long number (as torch.save writes), a class.
# Later ones begin with a mark of their own, which foreign_kind knows.
OLD_PICKLE = re.compile(
    rb"\([dl]p\d+\n|[}\])]q[\x00-\x1f]|\(I\d+\n|\(K[\x00-\x1f]|L\d+L?\n"
    rb"|c(?:collections|builtins|__builtin__|copy_reg|(?:torch|numpy)[\w.]*)\n"
)
# Those that hold a model's numbers; the halves become float32, which has every number that they have.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, eq=False)
class StateDict:
    """What is in a file.

    path, metadata   the file, and its {key: text}
    entries          {name: TensorEntry}
    """

    path: Path
    metadata: dict
    entries: dict
    begin: int  # of the tensors in the file

    def read(self, name):
        """Return a tensor as an ndarray of its own, float32 or float64. Raises CheckpointError."""
        entry = self.entries[name]
        dtype = np.dtype(DTYPES[entry.tag])
        try:
            array = np.empty(entry.shape, dtype)
        except MemoryError:
            raise CheckpointError(f"{self.path} does not fit in memory: {short(name)} alone is too large") from None
        with open_file(self.path) as file:
            file.seek(self.begin + entry.begin)
            read_exactly(file, array.data.cast("B") if array.size else bytearray(), self.path)
        if entry.tag == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        array = array.astype(np.float64 if entry.tag == "F64" else np.float32, copy=False)
        try:
            check_finite(name, array)
        except Refusal as refusal:
            raise CheckpointError(
                f"{self.path}: {refusal}: the model has diverged; use the weights of an earlier step"
            ) from None
        return array


def open_state_dict(path):
    """Read the header of a file and check it against the file's length; no tensor is read yet.

    Raises
    ------
    CheckpointError
        Missing, a pickle or another kind of file, truncated, corrupt, or with numbers of a kind that no model has.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: name a file that safetensors.torch.save_file wrote")
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = bytes(read_exactly(file, bytearray(min(size, 64)), path))
        _refuse_foreign(path, start)
        length = int.from_bytes(start[:8], "little")
        if size <= 8 or not 2 <= length <= MAX_HEADER_BYTES or 8 + length > size:
            raise DamagedCheckpoint(path, "its header is cut off or too long", "write it again")
        file.seek(8)
        try:
            header = parse_json(bytes(read_exactly(file, bytearray(length), path)).decode("utf-8"))
            metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
            if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
                raise Refusal("its header is not a safetensors header")
            entries = {name: tensor_entry(name, entry) for name, entry in header.items()}
            _check_kinds(path, entries.values())
            _check_places(entries.values(), size - 8 - length)
        except Refusal as refusal:
            raise DamagedCheckpoint(path, str(refusal), "write it again") from None
        except UnicodeDecodeError:
            raise DamagedCheckpoint(path, "its header is not UTF-8", "write it again") from None
    return StateDict(path, metadata, entries, 8 + length)


def _refuse_foreign(path, start):
    kind = foreign_kind(start[:8])
    if kind is None and OLD_PICKLE.match(start):
        kind = "a Python pickle of an old protocol"
    if kind is None and len(start) > 8 and start[8:9] != b"{":
        kind = "not a safetensors file"
    is_pickle = kind is not None and ("pickle" in kind or "zip" in kind)
    if is_pickle or kind is not None and path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        written = quote(str(path.with_suffix(".safetensors")))
        raise CheckpointError(
            f"{path} is {kind}; charrnn does not open such files, because a pickle can run code. Convert its tensors "
            "with: "
            f"python -c {quote(CONVERSION)} {quote(str(path))} {written} (if the file holds a dict with the "
            f'state_dict in it, add its key, such as ["state_dict"], before .items()), then: charrnn import {written}'
        )
    if kind is not None:
        raise CheckpointError(f"{path} is {kind}: name a .safetensors file with the state_dict of a model")


def _check_kinds(path, entries):
    for entry in entries:
        if entry.tag not in DTYPES:
            raise CheckpointError(
                f"{path}: {short(entry.name)} has dtype {short(entry.tag)}, but weights must be F32, F64, F16 or "
                "BF16: save it as float32 if it is a weight, or leave it out if it is not"
            )


def _check_places(entries, size):
    """Check that tensors of known kinds lie end to end and end with the file."""
    at = 0
    for entry in sorted(entries, key=lambda one: (one.begin, one.end)):
        if entry.begin != at:
            raise Refusal(f"{short(entry.name)} begins at {short(entry.begin)}, but the tensor before it ends at {at}")
        at += math.prod(entry.shape) * np.dtype(DTYPES[entry.tag]).itemsize
        if entry.end != at:
            raise Refusal(f"{short(entry.name)} ends at {short(entry.end)}, but its shape and dtype require {at}")
    if at != size:
        raise Refusal(f"according to its header it has {at:,} bytes of tensors, but the file has {size:,}")
