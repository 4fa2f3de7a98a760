"""What may stand in a checkpoint: its metadata, its model, its tensors, and the values of its records.

Each check raises a Refusal with what is wrong. The same ones are made before a file is written and after it is read.
"""

import math
import re
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from charrnn.errors import VocabularyError, counted, either
from charrnn.runs.checkpoint.refusals import Refusal, short
from charrnn.spec import CELLS, DTYPES, OPTIONAL_KEYS, STORED_KEYS, ModelConfig, parameter_shapes
from charrnn.text.vocabulary import Vocabulary

FORMAT_VERSION = 5  # the newest; a file is written in the oldest that has room for it

# On disk everything is little-endian. BF16 will join here when a model can be trained in it; NumPy has no such type.
STORED_DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
TAG_OF_MODEL_DTYPE = {"float32": "F32", "float64": "F64"}

MAX_SIZE = 1 << 31
MAX_LAYERS = 1000

_SLOT = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as the header tells of it: bytes begin .. end after the header."""

    name: str
    tag: str
    shape: tuple
    begin: int
    end: int


def is_count(value, least=0, most=2**53):
    """Say whether a value of a record that was read is a whole number in least .. most."""
    return type(value) is int and least <= value <= most


def is_figure(value):
    """Say whether a value of a record that was read is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def is_integer(value) -> TypeGuard[int]:
    """Say whether a value of a header is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_metadata(metadata):
    """Check the JSON under the key `charrnn`; return its Vocabulary."""
    if not isinstance(metadata, dict):
        raise Refusal("its metadata is not a JSON object")
    version = metadata.get("format_version")
    # Format 2 is format 1 with optional keys of the model, format 3 with those of the vocabulary too, format 4 with its
    # special symbols and labels, format 5 with an unknown symbol. A version that differs in more converts older
    # metadata here.
    if not is_integer(version) or not 1 <= version <= FORMAT_VERSION:
        raise Refusal(f"its format version is {short(version)}, not a whole number from 1")
    for key in ("model", "vocabulary", "training"):
        if not isinstance(metadata.get(key), dict):
            raise Refusal(f"its metadata has no object {key!r}")
    _check_model(metadata["model"], version)
    try:
        vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    except VocabularyError as error:
        raise Refusal(f"its vocabulary is malformed ({error})") from None
    if vocabulary.rewriting and version < 3:
        keys = ", ".join(vocabulary.rewriting.to_json())
        raise Refusal(f"its vocabulary has the key {keys}, which format {version} does not have")
    if vocabulary.special and version < 4:
        raise Refusal(f"its vocabulary has the key special, which format {version} does not have")
    if vocabulary.unknown_symbol is not None and version < 5:
        raise Refusal(f"its vocabulary has the key unknown, which format {version} does not have")
    return vocabulary


def _check_model(model, version):
    # A key that is not known could change what the numbers mean, so it is not passed over.
    optional = [name for name in OPTIONAL_KEYS if name in model]
    if sorted(model) != sorted([*STORED_KEYS, *optional]):
        missing, unknown = (sorted(set(STORED_KEYS) - set(model)), sorted(set(model) - {*STORED_KEYS, *OPTIONAL_KEYS}))
        raise Refusal(
            f"its model must have the keys {', '.join(STORED_KEYS)}, and can have {' and '.join(OPTIONAL_KEYS)}: "
            + short(
                "; ".join(
                    f"{what} {', '.join(keys)}" for what, keys in (("missing:", missing), ("unknown:", unknown)) if keys
                )
            )
        )
    for name in optional:
        if version < 2:
            raise Refusal(f"its model has the key {name}, which format {version} does not have")
        if not OPTIONAL_KEYS[name].is_stored_value(model[name]):
            raise Refusal(f"its {name} must be {OPTIONAL_KEYS[name].stored_rule}, got {short(model[name])}")
    if not isinstance(model["cell"], str) or model["cell"] not in CELLS:
        raise Refusal(f"its cell must be {either(CELLS)}, got {short(model['cell'])}")
    if not isinstance(model["dtype"], str) or model["dtype"] not in DTYPES:
        raise Refusal(f"its dtype must be {either(DTYPES)}, got {short(model['dtype'])}")
    for key, least in (("hidden_size", 1), ("num_layers", 1), ("embedding_size", 0)):
        if not is_integer(model[key]) or not least <= model[key] < MAX_SIZE:
            raise Refusal(f"its {key} must be a whole number from {least} below 2**31, got {short(model[key])}")
    if model["num_layers"] > MAX_LAYERS:
        raise Refusal(f"its num_layers must be at most {MAX_LAYERS:,}, got {model['num_layers']:,}")
    if not isinstance(model["tied"], bool):
        raise Refusal(f"its tied must be true or false, got {short(model['tied'])}")
    if model["tied"] and model["embedding_size"] != model["hidden_size"]:
        raise Refusal(
            f"its weights are tied, which needs embedding_size = hidden_size, got {model['embedding_size']} "
            f"and {model['hidden_size']}"
        )


def tensor_entry(name, entry):
    """Check one entry of the header for its types; return it as a TensorEntry."""
    if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
        raise Refusal(f"its entry {short(name)} is not a tensor")
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str):
        raise Refusal(f"the dtype of {short(name)} is not a string")
    for key, value in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(value, list) or not all(is_integer(each) and each >= 0 for each in value):
            raise Refusal(f"{key} of {short(name)} is not a list of whole numbers")
    if len(shape) > 3 or len(offsets) != 2:
        raise Refusal(f"shape or data_offsets of {short(name)} has the wrong length")
    return TensorEntry(name, tag, tuple(shape), *offsets)


def check_tensors(tensors, model, vocab_size):
    """Check that names, dtypes and shapes are those of the model and that the tensors lie end to end, in this order."""
    by_name = {tensor.name: tensor for tensor in tensors}
    num_stored = sum(name.startswith("param/") for name in by_name)
    # Before the table is built: its length is the file's claim. A layer has four parameters.
    if num_stored < 4 * model["num_layers"]:
        raise Refusal(
            f"it has only {counted(num_stored, 'parameter')}, too few for {counted(model['num_layers'], 'layer')}"
        )

    shapes = parameter_shapes(ModelConfig(vocab_size=vocab_size, **model))
    expected = {f"param/{name}": shape for name, shape in shapes.items()}
    slots = [name.split("/", 2)[1] for name in by_name if name.startswith("optim/")]
    num_held, slots = len(slots), sorted(set(slots))
    if num_held != len(slots) * len(shapes):  # before slots times parameters names are made
        raise Refusal(
            f"its optimiser has {counted(num_held, 'tensor')}, not {len(shapes):,} for each of "
            f"{counted(len(slots), 'slot')}"
        )
    for slot in slots:
        if not _SLOT.fullmatch(slot):
            raise Refusal(f"it has an optimiser slot with the name {short(slot)}")
        expected |= {f"optim/{slot}/{name}": shape for name, shape in shapes.items()}
    if "carry/h" in by_name or "carry/c" in by_name:
        batch_size = _carry_batch_size(by_name, model)
        for state in CELLS[model["cell"]].states:
            expected[f"carry/{state}"] = (model["num_layers"], batch_size, model["hidden_size"])

    for name in sorted(expected.keys() | by_name.keys()):
        if name not in by_name:
            raise Refusal(f"the tensor {short(name)} is missing")
        if name not in expected:
            raise Refusal(f"it has a tensor {short(name)} that its model does not use")

    tag = TAG_OF_MODEL_DTYPE[model["dtype"]]
    at = 0
    for tensor in tensors:
        if tensor.tag != tag:
            raise Refusal(
                f"{short(tensor.name)} has dtype {short(tensor.tag)}, but a {model['dtype']} model needs {tag}"
            )
        if tensor.shape != expected[tensor.name]:
            raise Refusal(
                f"{short(tensor.name)} has shape {short(tensor.shape)}, but its model needs {expected[tensor.name]}"
            )
        if tensor.begin != at:
            raise Refusal(
                f"{short(tensor.name)} begins at {short(tensor.begin)}, but the tensor before it ends at {at}"
            )
        at += math.prod(tensor.shape) * STORED_DTYPES[tag].itemsize
        if tensor.end != at:
            raise Refusal(f"{short(tensor.name)} ends at {short(tensor.end)}, but its shape and dtype require {at}")


def _carry_batch_size(by_name, model):
    shape = (by_name.get("carry/h") or by_name["carry/c"]).shape
    if len(shape) != 3 or not 1 <= shape[1] < MAX_SIZE:
        layers, hidden_size = model["num_layers"], model["hidden_size"]
        raise Refusal(
            f"its carry has shape {short(shape)}, but its model needs ({layers}, B, {hidden_size}) with B of at least 1"
        )
    return shape[1]


def check_finite(name, array):
    # The extremes carry any NaN or infinity, and take no memory as isfinite(array) would.
    with np.errstate(all="ignore"):
        if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise Refusal(f"{short(name)} contains numbers that are not finite")
