"""What `charrnn export --html` does: weigh the weights on held-out text, find cells in it, write the page."""

import contextlib
import datetime
import json

from charrnn.cli.words import note, shorter
from charrnn.errors import CharRNNError, ConfigError

COST_CHARACTERS, CELLS_CHARACTERS = 50_000, 40_000  # of the held-out text, at most


def check_page_options(options):
    """Refuse options of the page that contradict each other, or that are given without it."""
    if options["html"] is None:
        for name, flag in (("weights", "--weights"), ("cells", "--cells"), ("no_cells", "--no-cells")):
            if options[name]:
                raise ConfigError(f"{flag} needs --html: add --html FILE, or leave it out", [name, "html"])
    if options["cells"] is not None and options["no_cells"]:
        raise ConfigError("--cells and --no-cells contradict each other: leave one of them out", ["cells", "no_cells"])


def export_page(opened, options, outputs):
    """Write the page of an OpenedModel, and say what is in it."""
    from charrnn.cli.progress import progress_bar
    from charrnn.export.metadata import model_line
    from charrnn.export.page import page_pieces
    from charrnn.export.payload import PageFacts, make_payload, run_facts
    from charrnn.export.weights import DEFAULT_KIND, pack_model
    from charrnn.files.storage import atomic_write
    from charrnn.training.stored import shown_encoding

    kind, model = options["weights"] or DEFAULT_KIND, opened.model
    packed = pack_model(model, kind)
    found = () if options["cells"] is None else _read_cells(options["cells"], model.config)
    searches = options["cells"] is None and not options["no_cells"]
    found_note = "No search for units was made." if options["no_cells"] else None
    if options["cells"] is not None and not found:
        found_note = "No unit was found that clearly follows a signal."
    cost = cost_note = None
    with contextlib.ExitStack() as stack:
        try:
            read = _held_out(stack, opened)
        except CharRNNError as error:
            cost_note = "The text of the run was missing, so the effect of rounding the weights was not measured."
            found_note = found_note or (
                "The text of the run was missing, so no units were searched for." if searches else None
            )
            missing = (
                f"neither the effect of --weights {kind} nor any units"
                if searches
                else f"no effect of --weights {kind}"
            )
            note(f"the page will show {missing}: {error}")
        else:
            with progress_bar() as progress:
                cost = _measure(model, packed, read, progress)
                if searches:
                    found, found_note = _search(model, read, progress)
    title = opened.path.parent.name or opened.path.name
    facts = PageFacts(
        title=title,
        model_line=model_line(model.config),
        run=run_facts(model.training, title, _saved_on(opened.path), _train_command(model.training)),
        encoding=shown_encoding(model.training),
        found=found,
        found_note=found_note,
        cost=cost,
        cost_note=cost_note,
    )
    # A page draws, and so never the unknown symbol; what rounding costs was measured with it.
    payload = make_payload(model, pack_model(model.for_drawing(), kind), kind, facts)
    pieces = list(page_pieces(payload.header, payload.weights))
    outputs.write("html", atomic_write, pieces)
    _say(kind, cost, found, sum(map(len, pieces)))


def _saved_on(path):
    """Return the day on which a file was written, None where that cannot be told."""
    try:
        return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    except (OSError, OverflowError, ValueError):
        return None


def _train_command(training):
    """Return a function that makes the command of a run of its texts' names; None where the record has no options."""
    from charrnn.training.spelling import train_command
    from charrnn.training.stored import stored_config

    try:
        config = stored_config(training)
    except ConfigError:
        return None
    return lambda texts: train_command(config, texts)


def _say(kind, cost, found, size):
    """Say how large the page is, what its weights cost, and how many units are named."""
    parts = [f"{size / 1e6:.2f} MB", f"weights {kind}"]
    if cost is not None:
        parts.append(
            f"which change the loss by {cost.cost_nats:+z.5f} nats per character on {cost.characters:,} held-out "
            f"characters (from {cost.full_loss_nats:.4f} to {cost.loss_nats:.4f})"
        )
    names = len({(one["layer"], one["unit"]) for one in found})
    parts.append(f"{names} unit{'' if names == 1 else 's'} named")
    note(", ".join(parts))


def _held_out(stack, opened):
    """Return (ids, start, stop, name, encoding) of the validation split of the run's own text. Raises CharRNNError."""
    from charrnn.cli.opening import open_text

    read = stack.enter_context(open_text(opened, None, None, remedy="restore that text to have both"))
    start, stop = read.splits.val
    if stop - start < 1:
        raise ConfigError("the run held out no text")
    return read.corpus.ids, start, stop, ", ".join(read.named), read.encoding


def _measure(model, packed, held_out, progress):
    from charrnn.export.weights import measure_cost

    ids, start, stop, *_ = held_out
    progress("measuring the effect of rounding", 0, 1)
    return measure_cost(model, packed, ids, start, min(stop, start + COST_CHARACTERS))


def _search(model, held_out, progress):
    """Return the units found on held-out text, as the header has them, and a sentence where there are none."""
    from charrnn.cells.report import find_cells
    from charrnn.export.payload import found_units, levels_of
    from charrnn.text.excerpt import Excerpt

    ids, start, stop, name, encoding = held_out
    excerpt = Excerpt(ids, start, min(stop, start + CELLS_CHARACTERS), name, "val", encoding=encoding)
    try:
        findings = find_cells(model, model.vocabulary, excerpt, progress=progress)
    except ConfigError as error:
        return (), f"No units were searched for: {error}."
    found = found_units(model.config, findings.to_dict(), levels_of(findings))
    return found, None if found else "No unit was found that clearly follows a signal."


def _read_cells(path, config):
    """Return the units that `charrnn cells --json` wrote to a file. Raises ConfigError."""
    from charrnn.export.payload import found_units

    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--cells {shorter(path)} cannot be read: {(error.strerror or str(error)).lower()}", ["cells"]
        ) from None
    except ValueError:
        report = None
    return found_units(config, report)
