"""A model as a Python module for PyTorch: its text, and the file of its weights.

    atomic_write_all(torch_files(checkpoint, Path("model.py"), Path("model.safetensors")))

The text is cut from a template, torch_model.py.in, to what the model needs: where torch.nn.LSTM, GRU or RNN computes
the same, it uses that; normalisation and zoneout are written out. The weights are a safetensors file under PyTorch's
names, which are a checkpoint's. Its metadata holds what a checkpoint says of the model, so that charrnn takes the file
back (imported.py). Knows checkpoints and texts; needs no PyTorch.
"""

import importlib.resources
import re
from typing import Any

import numpy as np

import charrnn
from charrnn.errors import counted
from charrnn.export.imported import MODEL_KEY
from charrnn.export.metadata import model_line
from charrnn.files.marks import NAME, WEIGHTS_KEY
from charrnn.runs.checkpoint import oldest_format
from charrnn.runs.checkpoint.strict_json import dump_json
from charrnn.spec import CELLS, ModelConfig, parameter_shapes
from charrnn.text.task_names import CLASSIFY, TASKS, TRANSLATE
from charrnn.text.tasks import stored_task

TEMPLATE = "torch_model.py.in"
# Of a run's options, those that say how a text is read: they go with the weights. Where its texts lay does not.
KEPT_OPTIONS = ("encoding", "items", "text_field", "task", "label_field", "label_from", "source_field", "target_field")

_DIRECTIVE = re.compile(r"\s*#: (if|elif|else|end)(?: (.*))?")
_PRIMES = ("The ", "the ", "A", "a")  # examples; the first that the vocabulary has is taken


def torch_files(checkpoint, module, weights, encoding="utf-8"):
    """Return {path: data} of the module and of the weights beside it, as `atomic_write_all` takes them.

    checkpoint    a Checkpoint
    encoding      Python's name of the one in which a model of bytes has its text
    """
    return {weights: weights_file(checkpoint), module: module_text(checkpoint, module.name, weights.name, encoding)}


# ------------------------------------------------------------------------------------------------------- the weights


def weights_file(checkpoint):
    """Yield the bytes of the safetensors file of a checkpoint's parameters; they are the same bits."""
    config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
    tag, dtype = {"float32": ("F32", "<f4"), "float64": ("F64", "<f8")}[config.dtype]
    header: dict[str, dict] = {"__metadata__": {WEIGHTS_KEY: NAME, MODEL_KEY: description(checkpoint)}}
    end = 0
    for name, shape in parameter_shapes(config).items():
        begin, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": tag, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = dump_json(header, sort_keys=False).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)
    yield len(encoded).to_bytes(8, "little")
    yield encoded
    for name in parameter_shapes(config):
        yield np.ascontiguousarray(checkpoint.parameters[name], dtype)


def description(checkpoint):
    """Return what the weights say of their model, as JSON: the metadata of a checkpoint without its run."""
    options = checkpoint.training.get("config")
    options = options if isinstance(options, dict) else {}
    kept = {name: options[name] for name in KEPT_OPTIONS if options.get(name) is not None}
    return dump_json(
        {
            "format_version": oldest_format(checkpoint),
            "model": checkpoint.model,
            "vocabulary": checkpoint.vocabulary.to_json(),
            "training": {"config": kept} if kept else {},
        }
    )


# ---------------------------------------------------------------------------------------------------------- the text


def module_text(checkpoint, name, weights, encoding="utf-8"):
    """Return the Python text of the module `name`, whose weights are in the file `weights`."""
    config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
    template = importlib.resources.files("charrnn.export").joinpath(TEMPLATE).read_text(encoding="utf-8")
    task = stored_task(checkpoint.training) if checkpoint.vocabulary.special else None
    text = select(template, _flags(config, checkpoint.vocabulary, task))
    values = _values(config, checkpoint.vocabulary, task, name)
    values |= {"WEIGHTS": _plain(weights, "a file"), "WEIGHTSTEXT": quoted(weights), "ENCODING": quoted(encoding)}
    return re.sub(r"__([A-Z]+)__", lambda found: str(values[found[1]]), text)


def select(template, flags):
    """Return a template without the lines whose conditions do not hold, and without the conditions.

    `#: if A and not B or C`, `#: elif`, `#: else` and `#: end` stand in lines of their own, and may be nested.

    flags    {name: whether it holds}
    """
    kept, levels = [], []  # of each level: whether it is taken now, and whether one of its branches has been
    for line in template.splitlines():
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            if all(taken for taken, _ in levels):
                kept.append(line)
            continue
        word, condition = found.groups()
        if word == "if":
            holds = _holds(condition, flags)
            levels.append((holds, holds))
        elif word == "end":
            levels.pop()
        else:
            _, done = levels.pop()
            holds = not done and (word == "else" or _holds(condition, flags))
            levels.append((holds, done or holds))
    return "\n".join(kept) + "\n"


def _holds(condition, flags):
    return any(
        all(flags[term.removeprefix("not ")] != term.startswith("not ") for term in one.split(" and "))
        for one in condition.split(" or ")
    )


def example_text(vocabulary):
    """Return a text that the model can read: one of _PRIMES, or a character of its own."""
    is_bytes = vocabulary.mode == "bytes"
    known = [chr(byte) for byte in vocabulary.symbols if byte < 0x80] if is_bytes else list(vocabulary.symbols)
    for text in _PRIMES:
        if set(text) <= set(known):
            return text
    return next((symbol for symbol in known if symbol.isalnum()), known[0] if known else "")


def _flags(config, vocabulary, task):
    rewriting = vocabulary.rewriting
    return {
        **{cell: cell == config.cell for cell in CELLS},
        "layer_norm": config.layer_norm,
        "zoneout": config.zoneout > 0,
        "written_out": config.layer_norm or config.zoneout > 0,
        "embedding": config.embedding_size > 0,
        "tied": config.tied,
        "float64": config.dtype == "float64",
        "bytes": vocabulary.mode == "bytes",
        "newlines": rewriting.newlines == "lf",
        "form": rewriting.normalize != "none",
        "lowercase": rewriting.lowercase,
        "after_newline": _newline(vocabulary) in vocabulary.symbols,
        "items": vocabulary.start_id is not None,
        "labels": bool(vocabulary.labels),
        **{name: task == name for name in TASKS},
    }


def _values(config, vocabulary, task, name) -> dict[str, Any]:
    """Return {NAME: what stands for __NAME__ in the template}."""
    cell, module = CELLS[config.cell], name.removesuffix(".py")
    lacks = [what for what, has in (("layer normalisation", config.layer_norm), ("zoneout", config.zoneout)) if has]
    example = example_text(vocabulary)
    label = next((label for label in vocabulary.labels if label.isidentifier()), "LABEL")
    return {
        "TITLE": _title(config, vocabulary, task),
        "DETAILS": _details(config, vocabulary),
        "VERSION": charrnn.__version__,
        "FILE": _plain(name, "FILE"),
        "MODULE": module if module.isidentifier() else "model",
        "RENAME": "" if module.isidentifier() else "  # once this file and what imports it call it model.py",
        "PRIME": quoted(example),
        "TEXT": quoted(example),
        "LABEL": label,
        "LABELTEXT": quoted(label),
        "V": config.vocab_size,
        "H": config.hidden_size,
        "L": config.num_layers,
        "E": config.embedding_size,
        "P": repr(float(config.zoneout)),
        "D": "E" if config.embedding_size else "V",
        "G": len(cell.blocks),
        "GAINS": len(cell.sums),
        "CLASS": cell.torch_class,
        "TORCHCLASS": f"torch.nn.{cell.torch_class}",
        "LACKS": " and no ".join(lacks),
        "FORM": quoted(vocabulary.rewriting.normalize.upper()),
        "SPECIALIDS": ", ".join(str(vocabulary.special_id(name)) for name in vocabulary.special),
        "SPECIALNAMES": ", ".join(vocabulary.special),
        "NEWLINE": 10 if vocabulary.mode == "bytes" else quoted("\n"),
        "LENGTH": 200 if vocabulary.special else 500,
        "TEMPERATURE": 0.0 if task == TRANSLATE else 1.0,
    }


def _title(config, vocabulary, task):
    """Say in a sentence what the model is."""
    unit = "byte" if vocabulary.mode == "bytes" else "character"
    what = {CLASSIFY: "A model that tells the labels of texts", TRANSLATE: "A model that translates texts"}
    return f"{what.get(task, f'A language model of {unit}s')}: {model_line(config)}."


def _details(config, vocabulary):
    """Say in a line what else there is to say of it."""
    enters = "one-hot"
    if config.embedding_size:
        enters = f"by an embedding of {config.embedding_size}" + (", which is the output's matrix too" * config.tied)
    parts = [
        f"{counted(len(vocabulary.symbols), 'byte' if vocabulary.mode == 'bytes' else 'character')} enter {enters}",
        *(["layer normalisation"] if config.layer_norm else []),
        *([f"zoneout {config.zoneout:g}"] if config.zoneout else []),
        config.dtype,
    ]
    return f"{'; '.join(parts)}."


def _newline(vocabulary):
    return 10 if vocabulary.mode == "bytes" else "\n"


def _plain(name, otherwise):
    """Return the name of a file where it may stand in a docstring and on a command line as it is."""
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else otherwise


def quoted(text):
    """Return a text as a Python literal in ASCII, in double quotes."""
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'
