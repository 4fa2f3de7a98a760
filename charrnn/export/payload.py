"""What a page knows of its model: a header, plain numbers and words, and the weights, base64.

engine.js documents the header's fields. Knows models, vocabularies and what `charrnn cells` found; no file, no page.
"""

import math
from base64 import b64encode
from dataclasses import dataclass
from pathlib import PurePath

from charrnn.errors import ConfigError
from charrnn.export.weights import lay_out
from charrnn.spec import CELLS
from charrnn.text.task_names import TRANSLATE
from charrnn.training.stored import stored_validation_loss

FORMAT = 1
GUESSES = 5
MAX_FOUND = 200


@dataclass(frozen=True)
class Payload:
    """What a page carries: `header`, what JSON can hold, and `weights`, base64, ASCII."""

    header: dict
    weights: str


@dataclass(frozen=True)
class PageFacts:
    """What is said of a model beside its numbers.

    title, model_line    of the page
    run                  facts of the run, what JSON can hold
    encoding             of the text that a model of bytes writes
    found                from found_units
    found_note           why there are none, a sentence, or None
    cost                 a WeightsCost, or None where it was not measured
    cost_note            why not, a sentence, or None
    """

    title: str
    model_line: str
    run: dict
    encoding: str = "utf-8"
    found: tuple = ()
    found_note: str | None = None
    cost: object = None
    cost_note: str | None = None


def make_payload(model, packed, kind, facts):
    """Return the Payload of a Model with its vocabulary.

    packed    its PackedArrays, of `kind` (weights.py)
    facts     PageFacts
    """
    config, vocabulary = model.config, model.vocabulary
    cell = CELLS[config.cell]
    data, arrays = lay_out(packed)
    task = None if model.rule is None else model.rule.task
    header = {
        "format": FORMAT,
        "title": facts.title,
        "model_line": facts.model_line,
        "cell": config.cell,
        "cell_title": cell.title,
        "blocks": list(cell.blocks),
        "has_c": cell.has_c,
        "layers": config.num_layers,
        "units": config.hidden_size,
        "vocab_size": config.vocab_size,
        "embedding_size": config.embedding_size,
        "tied": config.tied,
        "layer_norm": config.layer_norm,
        "zoneout": config.zoneout,
        "dtype": config.dtype,
        "parameters": model.num_parameters,
        "vocabulary": vocabulary.to_json(),
        "shown": _shown(vocabulary),
        "encoding": facts.encoding,
        "byte_texts": _byte_texts(vocabulary, facts.encoding),
        "task": task,
        "is_items": vocabulary.start_id is not None,
        "quantities": list(cell.quantities),
        "sigmoids": list(cell.sigmoids),
        "default_quantity": cell.default_quantity,
        "holdable": list(cell.holdable),
        "default_hold": cell.default_quantity,
        "guesses": min(GUESSES, config.vocab_size),
        "found": list(facts.found),
        "found_note": facts.found_note,
        "weights": {
            "kind": kind,
            **(
                dict.fromkeys(("full_loss_nats", "loss_nats", "cost_nats", "characters"))
                if facts.cost is None
                else facts.cost.to_dict()
            ),
            "note": facts.cost_note,
        },
        "run": facts.run,
        "seed": 1,
        "temperature": 0 if task == TRANSLATE else 1,
        "prime": "",
        "arrays": arrays,
    }
    return Payload(header, b64encode(data).decode("ascii"))


def run_facts(training, name=None, date=None, command=None):
    """Return facts of a run, of a checkpoint's record of it, which may be a stranger's.

    name       of the run, or of its file: what `charrnn sample` finds it by
    date       on which it was saved, "2026-11-28"
    command    a function that makes the command that trains such a model of the names of its texts
    """
    corpus = training.get("corpus") if isinstance(training.get("corpus"), dict) else {}
    sources, step, elapsed = corpus.get("sources"), training.get("step"), _figure(training.get("elapsed_s"))
    texts = [PurePath(str(one)).name for one in sources] if isinstance(sources, list) else None
    return {
        "name": name,
        "text": texts,
        "steps": step if isinstance(step, int) else None,
        "minutes": None if elapsed is None else round(elapsed / 60, 1),
        "date": date,
        "command": command(texts) if command is not None and texts else None,
        "validation_loss_nats": stored_validation_loss(
            training
        ),  # of this checkpoint, which need not be the run's best
    }


def found_units(config, report, levels=None):
    """Return the units of a search for cells as the header lists them, the surest first.

    report    Findings.to_dict(), or what `charrnn cells --json` printed, which may be a stranger's
    levels    {(signal, layer, unit): (off, on)} of units whose medians are known

    Raises ConfigError where it is of another model, or no such report.
    """
    levels = levels or {}
    try:
        shape = report["layers"], report["units"]
        if shape != (config.num_layers, config.hidden_size):
            raise ConfigError(
                f"--cells is from a model of {shape[0]} x {shape[1]} units, but this one has {config.num_layers} x "
                f"{config.hidden_size}: leave it out to search again",
                ["cells"],
            )
        quantity, found = report["quantity"], []
        if quantity not in CELLS[config.cell].quantities:
            raise KeyError(quantity)
        for one in report["signals"]:
            if not one["named"]:
                continue
            layer, unit = one["layer"], one["unit"]
            if not (isinstance(layer, int) and isinstance(unit, int)):
                raise KeyError("layer")
            if not (0 <= layer < config.num_layers and 0 <= unit < config.hidden_size):
                raise KeyError("unit")
            off, on = levels.get((one["signal"], layer, unit), (None, None))
            found.append(
                {
                    "name": str(one["signal"]),
                    "phrase": str(one["phrase"]),
                    "layer": layer,
                    "unit": unit,
                    "quantity": quantity,
                    "measure": str(one["measure"]),
                    "sign": -1 if one["sign"] == -1 else 1,
                    **{name: _figure(one[name]) for name in ("score", "null", "untrained")},
                    "off": _figure(off),
                    "on": _figure(on),
                }
            )
    except (KeyError, TypeError, IndexError):
        raise ConfigError(
            "--cells must be a file with the output of 'charrnn cells RUN --json', but this file is something else",
            ["cells"],
        ) from None
    return tuple(found[:MAX_FOUND])


def levels_of(findings):
    """Return {(signal, layer, unit): (off, on)} of the units that Findings named."""
    return {
        (one.signal.name, one.layer, one.unit): findings.levels(one)
        for one in findings.selected
        if one.signal is not None
    }


def _figure(value):
    """Return a number that JSON has, None for any other value."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _shown(vocabulary):
    """Return what stands for each id where it is shown: of a byte that is no ASCII its number, of a label its name."""
    if vocabulary.mode == "bytes":
        return [chr(byte) if byte < 0x80 else f"\\x{byte:02x}" for byte in vocabulary.symbols]
    shown = list(vocabulary.shown_symbols)
    shown[vocabulary.first_label :] = vocabulary.labels
    return shown


def _byte_texts(vocabulary, encoding):
    """Return the character of each byte where the text of a model of bytes has one byte a character; else None."""
    if vocabulary.mode != "bytes" or encoding == "utf-8":
        return None
    texts = [bytes([byte]).decode(encoding, "replace") for byte in range(256)]
    whole = bytes(range(256)).decode(encoding, "replace")
    return texts if all(len(text) == 1 for text in texts) and whole == "".join(texts) else None
