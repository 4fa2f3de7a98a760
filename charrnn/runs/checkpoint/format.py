"""The bytes of a checkpoint: a `.safetensors` file, read and written.

    8 bytes          N, the length of the header, little-endian
    N bytes          the header, JSON: {"__metadata__": {"charrnn": "<JSON>", "sha256": "<hex>"},
                                        name: {"dtype", "shape", "data_offsets"}, ...}
    the rest         the tensors, little-endian, C order, without gaps

The safetensors library is not used (the tests hold this code to it): reading, so that every field is checked before
memory is taken and every fault gets its own sentence; writing, so that a model streams to the disk tensor by tensor,
the same bytes for the same content. A file is hostile until shown otherwise; rules.py has what may stand in it.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.files.storage import atomic_write
from charrnn.runs.checkpoint.refusals import DamagedCheckpoint, Refusal, unreadable
from charrnn.runs.checkpoint.rules import (
    FORMAT_VERSION,
    STORED_DTYPES,
    TensorEntry,
    check_finite,
    check_metadata,
    check_tensors,
    is_integer,
    tensor_entry,
)
from charrnn.runs.checkpoint.strict_json import dump_json, parse_json
from charrnn.runs.names import BEST, LAST
from charrnn.spec import OPTIONAL_KEYS
from charrnn.text.vocabulary import Vocabulary

MAX_HEADER_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything in a checkpoint file.

    model       {"cell", "hidden_size", "num_layers", "embedding_size", "tied", "dtype"}, and of
                spec.OPTIONAL_KEYS those that are not their defaults
    vocabulary  a Vocabulary; its size is V
    parameters  {PyTorch's name: ndarray}, exactly the table of `spec.parameter_shapes`
    optimizer   {"slot/PyTorch's name": ndarray}; each slot holds every parameter's shape. Empty: no slots
    carry       {"h": (L, B, H)}, and {"c": (L, B, H)} of a cell with c. Empty: the carry is zero
    training    what JSON can hold: options, step, cursor, random state, history, corpus fingerprint, ...

    All arrays have the model's dtype.
    """

    model: dict
    vocabulary: Vocabulary
    parameters: dict
    optimizer: Mapping
    carry: dict
    training: dict


# ---------------------------------------------------------------------------------------------------------- writing


def save_checkpoint(path, checkpoint):
    """Write a checkpoint so that `path` is the old file whole or the new one whole, whatever happens.

    The same content gives the same bytes. What could not be loaded again is not written: the checks are the reader's.

    Raises
    ------
    CheckpointError
        The checkpoint breaks a rule of the format, or holds a number that is not finite; nothing was written.
    StorageError
        The disk is full, read-only, or refuses; the file that stood at `path` stands there still.
    """
    path = Path(path)
    # A mapping may make its arrays when they are asked for: one is held at a time.
    places = {
        f"{prefix}/{name}": (arrays, name)
        for prefix, arrays in (
            ("param", checkpoint.parameters),
            ("optim", checkpoint.optimizer),
            ("carry", checkpoint.carry),
        )
        for name in arrays
    }

    def fetch(full_name):
        arrays, name = places[full_name]
        return np.asarray(arrays[name])

    metadata = {
        "format_version": oldest_format(checkpoint),
        "model": checkpoint.model,
        "vocabulary": checkpoint.vocabulary.to_json(),
        "training": checkpoint.training,
    }

    tags = {dtype: tag for tag, dtype in STORED_DTYPES.items()}
    tensors, end, refused = [], 0, None
    for name in sorted(places):
        array = fetch(name)
        tag = tags.get(array.dtype.newbyteorder("<"), str(array.dtype))
        begin, end = end, end + array.nbytes
        tensors.append(TensorEntry(name, tag, array.shape, begin, end))
        try:
            if tag in STORED_DTYPES:
                check_finite(name, array)
        except Refusal as refusal:
            refused = refused or refusal
    try:
        inner = dump_json(metadata)
        check_metadata(parse_json(inner))
        check_tensors(tensors, checkpoint.model, checkpoint.vocabulary.size)
        if refused is not None:
            raise refused
    except Refusal as refusal:
        raise CheckpointError(f"cannot save {path}: {refusal}; nothing was written") from None

    def stored(tensor):
        return np.ascontiguousarray(fetch(tensor.name), STORED_DTYPES[tensor.tag])

    digest = hashlib.sha256(inner.encode("ascii"))
    for tensor in tensors:
        digest.update(stored(tensor).data)
    header: dict[str, dict] = {"__metadata__": {"charrnn": inner, "sha256": digest.hexdigest()}}
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.tag,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.begin, tensor.end],
        }
    encoded = dump_json(header, sort_keys=False).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)  # so that the tensors begin on a multiple of 8, as safetensors has them
    if len(encoded) > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"cannot save {path}: its header needs {len(encoded):,} bytes, and at most {MAX_HEADER_BYTES:,} are "
            "allowed; keep a shorter history"
        )

    def pieces():
        yield len(encoded).to_bytes(8, "little")
        yield encoded
        for tensor in tensors:
            yield stored(tensor)

    atomic_write(path, pieces())


def oldest_format(checkpoint):
    """Return the oldest format that has room for all of a checkpoint: so old readers read what they can."""
    if checkpoint.vocabulary.unknown_symbol is not None:
        return 5
    if checkpoint.vocabulary.special:  # and with them labels
        return 4
    if checkpoint.vocabulary.rewriting:
        return 3
    return 2 if OPTIONAL_KEYS.keys() & checkpoint.model else 1


# ---------------------------------------------------------------------------------------------------------- reading


def load_checkpoint(path):
    """Read a checkpoint file; every field is checked against the others and the file's length before memory is taken.

    Returns
    -------
    Checkpoint, with arrays of its own that may be written to

    Raises
    ------
    CheckpointError
        Missing, truncated, corrupt, of a newer format version, not charrnn's, or with numbers that are not finite.
    """
    path = Path(path)
    with _remedied(path):
        return _load(path)


def _load(path):
    with open_file(path) as file:
        metadata, vocabulary, tensors, digest, promised = _read_header(file, path)
        parts = {"param": {}, "optim": {}, "carry": {}}
        for tensor in tensors:
            prefix, _, name = tensor.name.partition("/")
            parts[prefix][name] = _read_tensor(file, tensor, digest, path)
    if promised is not None and promised != digest.hexdigest():
        raise DamagedCheckpoint(path, "its content has changed since it was written (the sha256 differs)")
    return Checkpoint(
        model=metadata["model"],
        vocabulary=vocabulary,
        parameters=parts["param"],
        optimizer=parts["optim"],
        carry=parts["carry"],
        training=metadata["training"],
    )


def read_metadata(path):
    """Read and check the header alone: {"format_version", "model", "vocabulary", "training"} as stored.

    The tensors' names, shapes and places are checked as `load_checkpoint` checks them; their numbers are not read.
    """
    path = Path(path)
    with _remedied(path), open_file(path) as file:
        return _read_header(file, path)[0]


@contextlib.contextmanager
def _remedied(path):
    """Let the error of a damaged file name the run's other checkpoint, where that one is whole."""
    try:
        yield
    except DamagedCheckpoint as error:
        other = path.with_name({LAST: BEST, BEST: LAST}.get(path.name, LAST))
        if other.name == path.name or not is_whole(other):
            raise
        raise DamagedCheckpoint(path, error.what, f"name {other} instead") from None


def is_whole(path):
    """Say whether a file is a checkpoint that can be read to its end."""
    try:
        _load(path)
    except CheckpointError:
        return False
    return True


def open_file(path):
    """Open a regular file for reading, without a buffer; CheckpointError where that is not to be had."""
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} does not exist: name a checkpoint file or a run folder") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(kind):
        raise CheckpointError(f"{path} is a folder: name the {LAST} or {BEST} in it")
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"{path} is not a regular file: copy the checkpoint into one first")
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from None


def _read_header(file, path):
    """Check the header; leave the file at the first tensor.

    Returns (metadata, vocabulary, tensors in the order of the file, the sha256 begun, the sha256 promised or None).
    """
    size = os.fstat(file.fileno()).st_size
    start = read_exactly(file, bytearray(min(size, 8)), path)
    length = int.from_bytes(start, "little")
    foreign = foreign_kind(bytes(start))
    # A header is a JSON object; a first byte that is none tells a stray file from a damaged one.
    if size > 8 and not foreign:
        foreign = None if file.read(1) == b"{" else "not a safetensors file"
        file.seek(8)
    if foreign:
        raise CheckpointError(f"{path} is {foreign}: charrnn only reads .safetensors checkpoints that it wrote itself")
    if size <= 8 or size < 8 + length and 2 <= length <= MAX_HEADER_BYTES:
        raise DamagedCheckpoint(
            path, f"it is cut off inside its header, after {size:,} bytes" if size else "it is empty"
        )
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise DamagedCheckpoint(
            path, f"its header claims to have {length:,} bytes, but between 2 and {MAX_HEADER_BYTES:,} are allowed"
        )

    try:
        # utf-8 proper: a lone surrogate or a byte out of place is damage.
        header = parse_json(bytes(read_exactly(file, bytearray(length), path)).decode("utf-8"))
        outer = header.pop("__metadata__", {}) if isinstance(header, dict) else None
        if not isinstance(outer, dict) or not all(isinstance(value, str) for value in outer.values()):
            raise Refusal("its header is not a safetensors header")
        if "charrnn" not in outer:
            raise CheckpointError(
                f"{path} is a safetensors file, but not charrnn's (its metadata has no key 'charrnn'): "
                "name a checkpoint that charrnn wrote, or import a PyTorch model with 'charrnn import FILE'"
            )
        # A lone surrogate can be written in JSON's escapes, but not in UTF-8: no writer digests one.
        digest = hashlib.sha256(outer["charrnn"].encode("utf-8", "replace"))
        metadata = parse_json(outer["charrnn"])
        version = metadata.get("format_version") if isinstance(metadata, dict) else None
        if is_integer(version) and version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has checkpoint format {version}, but this charrnn reads formats up to {FORMAT_VERSION}: "
                "upgrade charrnn"
            )
        vocabulary = check_metadata(metadata)
        tensors = sorted(
            (tensor_entry(name, entry) for name, entry in header.items()), key=lambda one: (one.begin, one.end)
        )
        check_tensors(tensors, metadata["model"], vocabulary.size)
        promised = 8 + length + (tensors[-1].end if tensors else 0)
        if size < promised:
            raise Refusal(
                f"it is cut off: according to its header it has {promised:,} bytes, but the file has {size:,}"
            )
        if size > promised:
            raise Refusal(
                f"it is too long: according to its header it has {promised:,} bytes, but the file has {size:,}"
            )
    except Refusal as refusal:
        raise DamagedCheckpoint(path, str(refusal)) from None
    except UnicodeDecodeError as error:
        raise DamagedCheckpoint(path, f"its header is not UTF-8 at byte {8 + error.start:,}") from None
    return metadata, vocabulary, tensors, digest, outer.get("sha256")


def _read_tensor(file, tensor, digest, path):
    """Read the tensor the file stands at into memory of its own, feeding its bytes to the digest."""
    dtype = STORED_DTYPES[tensor.tag]
    try:
        array = np.empty(tensor.shape, dtype)
    except MemoryError:
        raise CheckpointError(
            f"{path} does not fit in memory: {tensor.name} alone needs {tensor.end - tensor.begin:,} bytes; use a "
            "machine with more memory"
        ) from None
    read_exactly(file, array.data.cast("B"), path)
    digest.update(array.data)
    try:
        check_finite(tensor.name, array)
    except Refusal as refusal:
        raise DamagedCheckpoint(path, str(refusal)) from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_exactly(file, buffer, path):
    """Fill a buffer from a file, and return it; DamagedCheckpoint where the file is shorter."""
    view = memoryview(buffer)
    while view:
        try:
            count = file.readinto(view)
        except OSError as error:
            raise unreadable(path, error) from None
        if not count:
            raise DamagedCheckpoint(path, "it became shorter while it was read")
        view = view[count:]
    return buffer


def foreign_kind(start):
    """Name the kind of file that begins with these bytes, or None where it could be a safetensors file."""
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive, like PyTorch's .pt and NumPy's .npz files"
    # A header within bounds has a length of three bytes at most: N may begin like a pickle, but then zeros follow.
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and any(start[3:]):
        return "a Python pickle, like old PyTorch files, which could run code when opened"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return None
