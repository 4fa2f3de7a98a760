"""One `.safetensors` file that holds everything a run needs to go on, and everything a reader needs to use the model.

    8 bytes          N, the length of the header, little-endian
    N bytes          the header, JSON: {"__metadata__": {"charrnn": "<JSON>", "sha256": "<hex>"},
                                        name: {"dtype", "shape", "data_offsets"}, ...}
    the rest         the tensors, little-endian, C order, without gaps

docs/CHECKPOINT.md tells the format. The file is read and written here without the safetensors library (which the tests
hold it to): reading, so that every field is checked before memory is taken and every fault gets its own sentence;
writing, so that a model streams to the disk tensor by tensor, the same bytes for the same content.

A file is hostile until shown otherwise. This room must not import numba: `charrnn info` reads checkpoints with it.
"""

import hashlib
import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.errors import CheckpointError, VocabularyError, counted, either
from charrnn.files.storage import atomic_write
from charrnn.spec import CELLS, DTYPES, OPTIONAL_KEYS, STORED_KEYS, ModelConfig, parameter_shapes
from charrnn.text.vocabulary import Vocabulary

FORMAT_VERSION = 2  # the newest; a file is written in the oldest that has room for it
LAST, BEST = "last.safetensors", "best.safetensors"
GOOD = "good.safetensors"  # where a run that diverges goes back to; nobody else is led to it
RUNS_FOLDER = "checkpoints"

# On disk everything is little-endian. BF16 will join here when a model can be trained in it; NumPy has no such type.
_DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_TAG_OF_MODEL_DTYPE = {"float32": "F32", "float64": "F64"}

# Bounds on what a header may make the reader do. A vocabulary of 150,000 characters takes 2 MB of header.
_MAX_HEADER_BYTES = 16 << 20
_MAX_VALUES = 1_000_000  # in the header: Python takes up to 200 bytes for a value that takes two in JSON
_MAX_DEPTH = 64
_MAX_INTEGER_DIGITS = 64  # the state of a 128-bit generator has 39
_MAX_SIZE = 1 << 31
_MAX_LAYERS = 1000

_SLOT = re.compile(r"[a-z0-9_]{1,40}")


def is_count(value, least=0, most=2**53):
    """Say whether a value of a record that was read is a whole number in least .. most."""
    return type(value) is int and least <= value <= most


def is_figure(value):
    """Say whether a value of a record that was read is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything in a checkpoint file.

    model       {"cell", "hidden_size", "num_layers", "embedding_size", "tied", "dtype"}, and of spec.OPTIONAL_KEYS those
                that are not their defaults
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
    optimizer: dict
    carry: dict
    training: dict


@dataclass(frozen=True)
class _Tensor:
    name: str
    tag: str
    shape: tuple
    begin: int
    end: int


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
        "format_version": 2 if OPTIONAL_KEYS.keys() & checkpoint.model else 1,
        "model": checkpoint.model,
        "vocabulary": checkpoint.vocabulary.to_json(),
        "training": checkpoint.training,
    }

    tags = {dtype: tag for tag, dtype in _DTYPES.items()}
    tensors, end, refused = [], 0, None
    for name in sorted(places):
        array = fetch(name)
        tag = tags.get(array.dtype.newbyteorder("<"), str(array.dtype))
        begin, end = end, end + array.nbytes
        tensors.append(_Tensor(name, tag, array.shape, begin, end))
        try:
            if tag in _DTYPES:
                _check_finite(name, array)
        except _Refusal as refusal:
            refused = refused or refusal
    try:
        inner = _dump_json(metadata)
        _check_metadata(_parse_json(inner))
        _check_tensors(tensors, checkpoint.model, checkpoint.vocabulary.size)
        if refused is not None:
            raise refused
    except _Refusal as refusal:
        raise CheckpointError(f"cannot save {path}: {refusal}; nothing was written") from None

    def stored(tensor):
        return np.ascontiguousarray(fetch(tensor.name), _DTYPES[tensor.tag])

    digest = hashlib.sha256(inner.encode("ascii"))
    for tensor in tensors:
        digest.update(stored(tensor))
    header = {"__metadata__": {"charrnn": inner, "sha256": digest.hexdigest()}}
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.tag,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.begin, tensor.end],
        }
    encoded = _dump_json(header, sort_keys=False).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)  # so that the tensors begin on a multiple of 8, as safetensors has them
    if len(encoded) > _MAX_HEADER_BYTES:
        raise CheckpointError(
            f"cannot save {path}: its header takes {len(encoded):,} bytes, at most {_MAX_HEADER_BYTES:,} are allowed; "
            "keep less in the history"
        )

    def pieces():
        yield len(encoded).to_bytes(8, "little")
        yield encoded
        for tensor in tensors:
            yield stored(tensor)

    atomic_write(path, pieces())


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
    with _open(path) as file:
        metadata, vocabulary, tensors, digest, promised = _read_header(file, path)
        parts = {"param": {}, "optim": {}, "carry": {}}
        for tensor in tensors:
            prefix, _, name = tensor.name.partition("/")
            parts[prefix][name] = _read_tensor(file, tensor, digest, path)
    if promised is not None and promised != digest.hexdigest():
        raise _damaged(path, "its content is not the one it was written with (the sha256 differs)")
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
    with _open(path) as file:
        return _read_header(file, path)[0]


def _open(path):
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} does not exist: name a checkpoint file or a run folder") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(kind):
        raise CheckpointError(f"{path} is a folder: name the {LAST} or {BEST} in it")
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"{path} is not a regular file: copy the checkpoint into one first")
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_header(file, path):
    """Check the header; leave the file at the first tensor.

    Returns (metadata, vocabulary, tensors in the order of the file, the sha256 begun, the sha256 promised or None).
    """
    size = os.fstat(file.fileno()).st_size
    start = _read_exactly(file, bytearray(min(size, 8)), path)
    length = int.from_bytes(start, "little")
    foreign = _foreign(bytes(start))
    # A header is a JSON object; a first byte that is none tells a stray file from a damaged one.
    if size > 8 and not foreign:
        foreign = None if file.read(1) == b"{" else "not a safetensors file"
        file.seek(8)
    if foreign:
        raise CheckpointError(f"{path} is {foreign}: charrnn reads only the .safetensors checkpoints it wrote itself")
    if size <= 8 or size < 8 + length and 2 <= length <= _MAX_HEADER_BYTES:
        raise _damaged(path, f"it is cut off inside its header, after {size:,} bytes" if size else "it is empty")
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise _damaged(path, f"its header claims {length:,} bytes, between 2 and {_MAX_HEADER_BYTES:,} are allowed")

    try:
        # utf-8 proper: a lone surrogate or a byte out of place is damage.
        header = _parse_json(bytes(_read_exactly(file, bytearray(length), path)).decode("utf-8"))
        outer = header.pop("__metadata__", {}) if isinstance(header, dict) else None
        if not isinstance(outer, dict) or not all(isinstance(value, str) for value in outer.values()):
            raise _Refusal("its header is no safetensors header")
        if "charrnn" not in outer:
            raise CheckpointError(
                f"{path} is a safetensors file, but not charrnn's (its metadata has no key 'charrnn'): "
                "name a checkpoint that charrnn wrote"
            )
        # A lone surrogate can be written in JSON's escapes, but not in UTF-8: no writer digests one.
        digest = hashlib.sha256(outer["charrnn"].encode("utf-8", "replace"))
        metadata = _parse_json(outer["charrnn"])
        version = metadata.get("format_version") if isinstance(metadata, dict) else None
        if _is_integer(version) and version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has checkpoint format {version}, this charrnn reads up to {FORMAT_VERSION}: upgrade charrnn"
            )
        vocabulary = _check_metadata(metadata)
        tensors = sorted((_tensor(name, entry) for name, entry in header.items()), key=lambda one: (one.begin, one.end))
        _check_tensors(tensors, metadata["model"], vocabulary.size)
        promised = 8 + length + (tensors[-1].end if tensors else 0)
        if size < promised:
            raise _Refusal(f"it is cut off: its header promises {promised:,} bytes, the file has {size:,}")
        if size > promised:
            raise _Refusal(f"it runs on: its header promises {promised:,} bytes, the file has {size:,}")
    except _Refusal as refusal:
        raise _damaged(path, str(refusal)) from None
    except UnicodeDecodeError as error:
        raise _damaged(path, f"its header is not UTF-8 at byte {8 + error.start:,}") from None
    return metadata, vocabulary, tensors, digest, outer.get("sha256")


def _read_tensor(file, tensor, digest, path):
    """Read the tensor the file stands at into memory of its own, feeding its bytes to the digest."""
    dtype = _DTYPES[tensor.tag]
    try:
        array = np.empty(tensor.shape, dtype)
    except MemoryError:
        raise CheckpointError(
            f"{path} does not fit in memory: {tensor.name} alone takes {tensor.end - tensor.begin:,} bytes; "
            "use a machine with more"
        ) from None
    _read_exactly(file, memoryview(array).cast("B"), path)
    digest.update(array)
    try:
        _check_finite(tensor.name, array)
    except _Refusal as refusal:
        raise _damaged(path, str(refusal)) from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_exactly(file, buffer, path):
    view = memoryview(buffer)
    while view:
        try:
            count = file.readinto(view)
        except OSError as error:
            raise _unreadable(path, error) from None
        if not count:
            raise _damaged(path, "it became shorter while it was read")
        view = view[count:]
    return buffer


# ----------------------------------------------------------------------------------------------- the format's rules
# Each raises _Refusal with what is wrong; saving and loading put the file and the remedy around it.


class _Refusal(Exception):
    """A rule of the format is broken; the message says which, without the file."""


def _check_metadata(metadata):
    """Check the JSON under the key `charrnn`; return its Vocabulary."""
    if not isinstance(metadata, dict):
        raise _Refusal("its metadata is no JSON object")
    version = metadata.get("format_version")
    # Format 2 has what format 1 has, and optional keys of the model. A version that differs in more converts older metadata here.
    if not _is_integer(version) or not 1 <= version <= FORMAT_VERSION:
        raise _Refusal(f"its format version is {_short(version)}, not a whole number from 1")
    for key in ("model", "vocabulary", "training"):
        if not isinstance(metadata.get(key), dict):
            raise _Refusal(f"its metadata has no object {key!r}")
    _check_model(metadata["model"], version)
    try:
        return Vocabulary.from_json(metadata["vocabulary"])
    except VocabularyError as error:
        raise _Refusal(f"its vocabulary is malformed ({error})") from None


def _check_model(model, version):
    # A key that is not known could change what the numbers mean, so it is not passed over.
    optional = [name for name in OPTIONAL_KEYS if name in model]
    if sorted(model) != sorted([*STORED_KEYS, *optional]):
        missing, unknown = (sorted(set(STORED_KEYS) - set(model)), sorted(set(model) - {*STORED_KEYS, *OPTIONAL_KEYS}))
        raise _Refusal(
            f"its model must have the keys {', '.join(STORED_KEYS)}, and may have {' and '.join(OPTIONAL_KEYS)}: "
            + _short(
                "; ".join(
                    f"{what} {', '.join(keys)}"
                    for what, keys in (("not there:", missing), ("not known:", unknown))
                    if keys
                )
            )
        )
    for name in optional:
        if version < 2:
            raise _Refusal(f"its model has the key {name}, which format {version} has not")
        if not OPTIONAL_KEYS[name].is_stored_value(model[name]):
            raise _Refusal(f"its {name} must be {OPTIONAL_KEYS[name].stored_rule}, got {_short(model[name])}")
    if not isinstance(model["cell"], str) or model["cell"] not in CELLS:
        raise _Refusal(f"its cell must be {either(CELLS)}, got {_short(model['cell'])}")
    if not isinstance(model["dtype"], str) or model["dtype"] not in DTYPES:
        raise _Refusal(f"its dtype must be {either(DTYPES)}, got {_short(model['dtype'])}")
    for key, least in (("hidden_size", 1), ("num_layers", 1), ("embedding_size", 0)):
        if not _is_integer(model[key]) or not least <= model[key] < _MAX_SIZE:
            raise _Refusal(f"its {key} must be a whole number from {least} below 2**31, got {_short(model[key])}")
    if model["num_layers"] > _MAX_LAYERS:
        raise _Refusal(f"its num_layers must be at most {_MAX_LAYERS:,}, got {model['num_layers']:,}")
    if not isinstance(model["tied"], bool):
        raise _Refusal(f"its tied must be true or false, got {_short(model['tied'])}")
    if model["tied"] and model["embedding_size"] != model["hidden_size"]:
        raise _Refusal(
            f"its weights are tied, which needs embedding_size = hidden_size, got {model['embedding_size']} "
            f"and {model['hidden_size']}"
        )


def _tensor(name, entry):
    """Check one entry of the header for its types; return it as a _Tensor."""
    if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
        raise _Refusal(f"its entry {_short(name)} is no tensor")
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str):
        raise _Refusal(f"the dtype of {_short(name)} is no string")
    for key, value in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(value, list) or not all(_is_integer(each) and each >= 0 for each in value):
            raise _Refusal(f"{key} of {_short(name)} is no list of whole numbers")
    if len(shape) > 3 or len(offsets) != 2:
        raise _Refusal(f"shape or data_offsets of {_short(name)} has the wrong length")
    return _Tensor(name, tag, tuple(shape), *offsets)


def _check_tensors(tensors, model, vocab_size):
    """Check that names, dtypes and shapes are those of the model and that the tensors lie end to end, in this order."""
    by_name = {tensor.name: tensor for tensor in tensors}
    num_stored = sum(name.startswith("param/") for name in by_name)
    # Before the table is built: its length is the file's claim. A layer has four parameters.
    if num_stored < 4 * model["num_layers"]:
        raise _Refusal(
            f"it has {counted(num_stored, 'parameter')}, too few for {counted(model['num_layers'], 'layer')}"
        )

    shapes = parameter_shapes(ModelConfig(vocab_size=vocab_size, **model))
    expected = {f"param/{name}": shape for name, shape in shapes.items()}
    slots = [name.split("/", 2)[1] for name in by_name if name.startswith("optim/")]
    num_held, slots = len(slots), sorted(set(slots))
    if num_held != len(slots) * len(shapes):  # before slots times parameters names are made
        raise _Refusal(
            f"its optimiser has {counted(num_held, 'tensor')}, not {len(shapes):,} for each of {counted(len(slots), 'slot')}"
        )
    for slot in slots:
        if not _SLOT.fullmatch(slot):
            raise _Refusal(f"it has an optimiser slot with the name {_short(slot)}")
        expected |= {f"optim/{slot}/{name}": shape for name, shape in shapes.items()}
    if "carry/h" in by_name or "carry/c" in by_name:
        batch_size = _carry_batch_size(by_name, model)
        for state in CELLS[model["cell"]].states:
            expected[f"carry/{state}"] = (model["num_layers"], batch_size, model["hidden_size"])

    for name in sorted(expected.keys() | by_name.keys()):
        if name not in by_name:
            raise _Refusal(f"it lacks the tensor {_short(name)}")
        if name not in expected:
            raise _Refusal(f"it has a tensor {_short(name)} that its model has no place for")

    tag = _TAG_OF_MODEL_DTYPE[model["dtype"]]
    at = 0
    for tensor in tensors:
        if tensor.tag != tag:
            raise _Refusal(f"{_short(tensor.name)} has dtype {_short(tensor.tag)}, a {model['dtype']} model has {tag}")
        if tensor.shape != expected[tensor.name]:
            raise _Refusal(
                f"{_short(tensor.name)} has shape {_short(tensor.shape)}, its model has {expected[tensor.name]}"
            )
        if tensor.begin != at:
            raise _Refusal(f"{_short(tensor.name)} begins at {_short(tensor.begin)}, the tensor before it ends at {at}")
        at += math.prod(tensor.shape) * _DTYPES[tag].itemsize
        if tensor.end != at:
            raise _Refusal(f"{_short(tensor.name)} ends at {_short(tensor.end)}, its shape and dtype make that {at}")


def _carry_batch_size(by_name, model):
    shape = (by_name.get("carry/h") or by_name["carry/c"]).shape
    if len(shape) != 3 or not 1 <= shape[1] < _MAX_SIZE:
        layers, hidden_size = model["num_layers"], model["hidden_size"]
        raise _Refusal(f"its carry has shape {_short(shape)}, its model has ({layers}, B, {hidden_size}) with B from 1")
    return shape[1]


def _check_finite(name, array):
    # The extremes carry any NaN or infinity, and take no memory as isfinite(array) would.
    with np.errstate(all="ignore"):
        if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise _Refusal(f"{_short(name)} holds numbers that are not finite")


# ------------------------------------------------------------------------------------------------------ strict JSON


def _dump_json(value, sort_keys=True):
    """Encode as JSON in ASCII: without spaces, with sorted keys, and with no number JSON has not."""
    try:
        return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _Refusal(f"its metadata cannot be kept as JSON ({error})") from None


def _parse_json(text):
    """Parse JSON as every reader would: no doubled keys, no NaN or infinity, no endless integers, bounded depth."""

    def integer(digits):
        if len(digits) > _MAX_INTEGER_DIGITS:
            raise _Refusal(f"its header has an integer of {len(digits):,} digits")
        return int(digits)

    def number(digits):
        value = float(digits)
        if not math.isfinite(value):
            raise _Refusal(f"its header has the number {_short(digits)}, which is not finite")
        return value

    def constant(name):
        raise _Refusal(f"its header has the number {name}, which JSON has not")

    def unique(pairs):
        value = dict(pairs)
        if len(value) != len(pairs):
            raise _Refusal("its header has an object with a key twice")
        return value

    # Each value but the first comes after one of these; those inside strings are counted too, there are few.
    count = sum(map(text.count, "[{,:"))
    if count > _MAX_VALUES:
        raise _Refusal(f"its header has {count:,} values, at most {_MAX_VALUES:,} are allowed")
    try:
        value = json.loads(
            text, parse_int=integer, parse_float=number, parse_constant=constant, object_pairs_hook=unique
        )
    except json.JSONDecodeError as error:
        raise _Refusal(f"its header is no JSON ({error.msg.lower()} at character {error.pos:,})") from None
    except RecursionError:
        raise _Refusal(f"its header is nested more than {_MAX_DEPTH} levels deep") from None
    level, depth = [value], 0
    while level := [inner for one in level if isinstance(one, (dict, list)) for inner in _children(one)]:
        depth += 1
        if depth > _MAX_DEPTH:
            raise _Refusal(f"its header is nested more than {_MAX_DEPTH} levels deep")
    return value


def _children(value):
    return value.values() if isinstance(value, dict) else value


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value):
    """A value out of a file for a message: its repr, cut to a length that leaves the message readable."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _foreign(start):
    """Name the kind of file that begins with these bytes, or None where it could be a safetensors file."""
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive, as PyTorch's .pt and NumPy's .npz files are"
    # A header within bounds has a length of three bytes at most: N may begin like a pickle, but then zeros follow.
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and any(start[3:]):
        return "a Python pickle, as old PyTorch files are, and could run code when opened"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return None


def _damaged(path, what):
    return CheckpointError(f"{path} is damaged: {what}; use the run's other checkpoint ({LAST} or {BEST}) or a copy")


def _unreadable(path, error):
    reason = getattr(error, "strerror", None) or str(error)
    return CheckpointError(f"{path} cannot be read: {reason.lower()}; check its permissions and the disk")


# ---------------------------------------------------------------------------------------------------------- finding


def find_checkpoint(where=None, prefer="best"):
    """Return the path of the checkpoint file that `where` names.

    where : a checkpoint file, a run folder, or None: the newest run under ./checkpoints
    prefer : "best" or "last", which of a run's two files to take; where it is missing, the other

    Raises CheckpointError, saying what was looked for and how to get one.
    """
    if where is None:
        run = newest_run()
        found = run and _pick(run, prefer)
        if not found:
            raise CheckpointError(f"no run under ./{RUNS_FOLDER}: train one with 'charrnn train TEXT'")
        return found
    where = Path(where)
    try:
        is_folder = where.is_dir()
        if not is_folder and not where.exists():
            raise CheckpointError(f"{where} does not exist: name a checkpoint file or a run folder")
    except (OSError, ValueError) as error:
        raise _unreadable(where, error) from None
    if not is_folder:
        return where
    found = _pick(where, prefer)
    if found is None:
        inner = newest_run(where)
        raise CheckpointError(
            f"{where} holds no checkpoint (neither {BEST} nor {LAST}): "
            + (f"name one of the runs in it, such as {inner}" if inner else "name a run folder or a checkpoint file")
        )
    return found


def newest_run(folder=RUNS_FOLDER):
    """Return the run folder directly under `folder` with the newest checkpoint, or None."""
    newest = (0, "")
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for name in names:
        for file in (LAST, BEST):
            try:
                newest = max(newest, (os.stat(Path(folder, name, file)).st_mtime_ns, name))
            except OSError:
                pass
    return Path(folder, newest[1]) if newest[1] else None


def _pick(run, prefer):
    for name in (BEST, LAST) if prefer == "best" else (LAST, BEST):
        if (run / name).is_file():
            return run / name
    return None
