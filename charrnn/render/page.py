"""One self-contained HTML page: a text coloured by any unit of a model, with what the model expected at each character.

The same page shows surprisals in the place of units: `most_bits` says so, and `sheets` stand beside the text as tables.

The page is page.html with page.css, common.js and page.js put into it (document.py), and the data: JSON for what is
small, streams for what is large (streams.py), one stream a line:

    float32 (N,)      surprisal in bits
    uint32 (N, 5)     ids of the guesses
    uint16 (N, 5)     their probabilities * 65535
    uint8 (N,)        a unit's values as levels 0 .. levels - 1, from -1 to 1, one stream for each of the L*H units

all little-endian. A browser inflates a unit's stream when it is asked for.
"""

import math
from dataclasses import asdict, dataclass, field
from itertools import chain

import numpy as np

from charrnn.errors import ConfigError
from charrnn.files.storage import atomic_write
from charrnn.render.colours import RED_BLUE, STEPS
from charrnn.render.document import document, escaped, resource, scale_names, script_json, style
from charrnn.render.streams import ALPHABET, encode_stream

GUESSES = 5
LEVELS = (201, 101, 41, 21, 11, 9)  # steps of 0.01, 0.02, 0.05, 0.1, 0.2, 0.25 between two levels
BUDGET_BYTES = 9_500_000  # of the units' streams: the most levels that keep to it are taken
SAMPLED_UNITS = 32  # on which the size is estimated


@dataclass(frozen=True)
class FoundUnit:
    """A unit that tells a signal: where it is (0-based), and how well it does. A score that is not known is NaN."""

    signal: str
    description: str
    layer: int
    unit: int
    score: float  # 0..1
    null: float = math.nan  # what chance reaches
    probe: float = math.nan  # what a probe on all units reaches
    kind: str = ""  # what the score is, such as "AUC"
    sign: int = 1  # -1: the unit is low where the signal is on


@dataclass(frozen=True)
class Sheet:
    """A table beside the text: rows of words, and where `bars` is given a bar a row, as a share 0..1."""

    title: str
    note: str
    columns: list
    rows: list
    bars: list = field(default_factory=list)


@dataclass(frozen=True)
class PageData:
    """What a page shows.

    text            N symbols, one a value; "\\n" breaks the line
    vocabulary      symbols by id, for the guesses
    layers, units   L and H
    quantity        what the values are, such as "tanh(c)"
    values          (L*H, N) in [-1, 1], clipped; layer by layer
    guesses_ids     (N, 5) the likeliest next characters after each one, likeliest first
    guesses_p       (N, 5) their probabilities
    surprisal_bits  (N,) of each character given those before it; NaN where it has none
    gates           {gate: (L, H, 2)} shares of the time below 0.1 and above 0.9
    scale           a name in colours.SCALES: what the page opens with
    most_bits       more than 0: the values are surprisals, 1 being so many bits; a unit is a reader, `found` says which
    sheets          Sheets beside the text
    """

    text: list
    vocabulary: list
    layers: int
    units: int
    quantity: str
    values: np.ndarray
    guesses_ids: np.ndarray
    guesses_p: np.ndarray
    surprisal_bits: np.ndarray
    title: str
    model_line: str
    found: list = field(default_factory=list)
    gates: dict = field(default_factory=dict)
    scale: str = RED_BLUE.name
    most_bits: float = 0.0
    sheets: list = field(default_factory=list)


def write_page(path, data):
    """Write `data`, a PageData, as one HTML page; the file is the old one or the new one, never half of each.

    Raises
    ------
    ConfigError
        An array's shape does not fit the others, or the text is empty.
    StorageError
    """
    _check(data)
    atomic_write(path, page_pieces(data))


def page_pieces(data):
    """Yield the page as bytes, all ASCII."""
    levels, streams = _unit_streams(data)
    arrays = (
        (data.surprisal_bits, "<f4"),
        (data.guesses_ids, "<u4"),
        (np.rint(np.nan_to_num(np.clip(data.guesses_p, 0, 1)) * 65535), "<u2"),
    )
    heads = (encode_stream(np.ascontiguousarray(array, dtype).tobytes()) for array, dtype in arrays)
    yield from document(
        resource("page.html"),
        resource("common.js") + resource("page.js"),
        style(),
        title=escaped(data.title),
        data=script_json(_small(data, levels)),
        streams=(line + b"\n" for line in chain(heads, streams)),
    )


def _unit_streams(data):
    """Return the number of levels and an iterator over the units' streams."""
    values = data.values
    sampled = np.unique(np.linspace(0, len(values) - 1, SAMPLED_UNITS).astype(int))
    for levels in LEVELS:
        size = (
            sum(len(encode_stream(_quantised(values[unit], levels))) for unit in sampled) * len(values) / len(sampled)
        )
        if size <= BUDGET_BYTES:
            break
    return levels, (encode_stream(_quantised(series, levels)) for series in values)


def _quantised(series, levels):
    """Return values in [-1, 1] as the nearest of so many levels, bytes; what is not a number is 0."""
    middle = levels // 2
    clipped = np.nan_to_num(np.clip(np.asarray(series, np.float64), -1, 1), nan=0.0)
    return (np.rint(clipped * middle) + middle).astype(np.uint8).tobytes()


def _small(data, levels):
    """Return what goes into the page as JSON."""
    return {
        "model_line": data.model_line,
        "quantity": data.quantity,
        "layers": data.layers,
        "units": data.units,
        "levels": levels,
        "step": 2 / (levels - 1),
        "colours": STEPS,
        "alphabet": ALPHABET,
        "scales": scale_names(),
        "first_scale": [scale["name"] for scale in scale_names()].index(data.scale),
        "vocabulary": list(data.vocabulary),
        "text": list(data.text),
        "found": [
            {
                name: _number(value) if name in ("score", "null", "probe") else value
                for name, value in asdict(unit).items()
            }
            for unit in data.found
        ],
        "gates": {
            name: np.nan_to_num(np.asarray(shares, float)).round(4).tolist() for name, shares in data.gates.items()
        },
        "most_bits": data.most_bits,
        "sheets": [asdict(sheet) for sheet in data.sheets],
    }


def _number(value):
    return round(float(value), 4) if value is not None and math.isfinite(value) else None


def _check(data):
    N, U = len(data.text), data.layers * data.units
    if not N:
        raise ConfigError("a page needs a text of at least one character, got none: name a longer text")
    shapes = {"values": (U, N), "guesses_ids": (N, GUESSES), "guesses_p": (N, GUESSES), "surprisal_bits": (N,)}
    for name, shape in shapes.items():
        if np.shape(getattr(data, name)) != shape:
            raise ConfigError(f"{name} of a page must have shape {shape}, got {np.shape(getattr(data, name))}")
    for name, shares in data.gates.items():
        if np.shape(shares) != (data.layers, data.units, 2):
            raise ConfigError(
                f"gate {name!r} of a page must have shape {(data.layers, data.units, 2)}, got {np.shape(shares)}"
            )
    for unit in data.found:
        if not (0 <= unit.layer < data.layers and 0 <= unit.unit < data.units):
            raise ConfigError(
                f"a unit found must be in 0:0..{data.layers - 1}:{data.units - 1}, got {unit.layer}:{unit.unit}"
            )
