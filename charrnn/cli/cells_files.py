"""The files that `charrnn cells` writes: pictures of passages, and the page on which every unit can be looked at."""

import math

from charrnn.cli.cells_text import PASSAGE, heading, telling, units_of
from charrnn.cli.words import bare_symbol
from charrnn.errors import ConfigError
from charrnn.render.colours import SCALES

PAGE_VALUES = 12_000_000  # of a page: so many characters times units at most


def write_pictures(findings, scale, outputs):
    """Write the passages of the selected units as the PNG and SVG of Outputs; ConfigError where no unit is named."""
    from charrnn.render.picture import Passage, write_png, write_svg

    if not outputs.named("png") and not outputs.named("svg"):
        return
    if not findings.selected:
        raise ConfigError(
            "no unit clearly follows a signal, so there is nothing to draw: choose a unit with --find or --unit",
            ["find", "unit"],
        )
    ends, passages = SCALES[scale], []
    for one in telling(findings.selected):
        symbols, values, factor = findings.passage(one, PASSAGE)
        lines = heading(findings, one, factor, ends.plus_name, ends.minus_name)
        passages.append(Passage("; ".join(lines), symbols, values))
    for name, write in (("png", write_png), ("svg", write_svg)):
        outputs.write(name, write, passages, scale)


def write_cells_page(shown, model, scale, outputs, progress):
    """Write the page on which every unit can be looked at, where Outputs name one.

    shown       a Shown
    model       the one that was searched, which is read once more for its guesses
    progress    called with (what is being done, done, of) now and then
    """
    if not outputs.named("html"):
        return
    import numpy as np

    from charrnn.cells.findings import measure
    from charrnn.cells.passages import NEWLINE, first_whole, shown_values
    from charrnn.cells.record import read_guesses
    from charrnn.evaluation.stages import Stages
    from charrnn.render.page import FoundUnit, PageData, write_page

    findings = shown.findings
    excerpt, text, recording = findings.excerpt, findings.symbols, findings.recording
    L, H, N = recording.values.shape
    symbols = findings.vocabulary.shown_symbols
    before = bare_symbol(symbols[excerpt.ids[excerpt.start - 1]]) if excerpt.start else ""
    first = first_whole(text, before)
    N = min(N - first, max(2_000, PAGE_VALUES // (L * H)))
    start = excerpt.start + first
    guesses_ids, guesses_p = read_guesses(
        model, excerpt.ids, start, start + N, Stages(progress).begin("computing the model's guesses")
    )
    surprisal = np.concatenate([[np.nan], recording.loss_nats])[first : first + N] / math.log(2)
    values = np.empty((L * H, N), np.float32)
    for k, of_unit in enumerate(recording.units):
        progress("writing the page", k, L * H)
        values[k] = shown_values(of_unit[first : first + N], findings.quantity)[0]
    which = f"the first {N:,} characters"
    if first:
        which = f"{N:,} characters from the first whole {'line' if text[first - 1] == NEWLINE else 'word'}"
    found = [
        FoundUnit(
            signal=f.signal.name,
            description=f.signal.phrase,
            layer=f.layer,
            unit=f.unit,
            score=f.score,
            null=f.null,
            probe=f.probe,
            kind=measure(f.signal),
            sign=f.sign,
        )
        for f, *_ in telling(units_of(findings.named))
    ]
    write_page(
        outputs.path("html"),
        PageData(
            text=text[first : first + N],
            vocabulary=[bare_symbol(symbol) for symbol in symbols],
            layers=L,
            units=H,
            quantity=findings.quantity,
            values=values,
            found=found,
            guesses_ids=guesses_ids,
            guesses_p=guesses_p,
            surprisal_bits=surprisal,
            gates=findings.gates or {},
            title=shown.title,
            model_line=f"{shown.model_line}, on {which} {shown.of}",
            scale=scale,
        ),
    )
