"""charrnn info: what is in a checkpoint, on stdout. Reads the header alone; imports no numba.

What a checkpoint says is shown as it says it, with everything escaped that a terminal would act on, and whatever an
optional entry holds, it is no reason to fail.
"""

import math
import sys
from pathlib import Path

import click

from charrnn.cli.loss_figure import NATS, STEPS, history_of, points, run_figure
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.words import can_print, duration, loss_text, printable, wrapped
from charrnn.errors import ConfigError, counted
from charrnn.spec import ModelConfig, num_parameters, parameter_shapes
from charrnn.text.task_names import CLASSIFY
from charrnn.training.contradictions import MOMENTUM_OPTIMIZERS
from charrnn.training.defaults import WEIGHT_DECAYS
from charrnn.training.settings import option, shown

_SHOWN_SYMBOLS = 512
_SHOWN_SNAPSHOTS = 8
# Options that the other parts of the page tell.
_SHOWN = {
    "cell",
    "hidden_size",
    "num_layers",
    "embedding_size",
    "tie_weights",
    "layer_norm",
    "zoneout",
    "dtype",
    "vocab",
    "normalize",
    "lowercase",
    "newlines",
    "items",
    "text_field",
    "task",
    "label_field",
    "label_from",
    "source_field",
    "target_field",
    "learning_rate",
    "dropout",
    "seed",
}
# Options that only have an effect with certain values of another one; they are not shown otherwise.
_ONLY_WITH = {
    "momentum": ("optimizer", MOMENTUM_OPTIMIZERS),
    "weight_decay": ("optimizer", tuple(WEIGHT_DECAYS)),
    "decay": ("schedule", ("step",)),
    "decay_after": ("schedule", ("step",)),
    "plateau_factor": ("schedule", ("plateau",)),
    "plateau_wait": ("schedule", ("plateau",)),
    "min_learning_rate": ("schedule", ("cosine", "plateau")),
}


@click.command(name="info", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the checkpoint's metadata as JSON.")
@file_option("svg", "Write an SVG drawing of the losses and the learning rate over the steps.")
@force_option("svg")
def command(checkpoint, as_json, **options):
    """Show a checkpoint's settings, size and loss history.

    \b
    Example: charrnn info checkpoints/shakespeare-1
             charrnn info checkpoints/shakespeare-1 --svg loss.svg

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used.
    """
    from charrnn.runs.checkpoint import find_checkpoint, read_metadata
    from charrnn.text.vocabulary import Vocabulary

    outputs = Outputs(options, "svg")
    path = find_checkpoint(checkpoint)
    if checkpoint is None and as_json:  # the page begins with it
        click.echo(f"checkpoint {printable(str(path), sys.stderr)}", err=True)
    metadata = read_metadata(path)
    outputs.protect_run(metadata["training"], path.parent)
    config = ModelConfig(vocab_size=Vocabulary.from_json(metadata["vocabulary"]).size, **metadata["model"])
    history = history_of(path, metadata["training"])
    if outputs and (figure := run_figure(path, history)) is None:
        raise ConfigError(f"{path} has no losses to draw yet: train it first, or leave out --svg", ["svg"])
    if as_json:
        _print_json(path, metadata, config)
    else:
        _print_text(path, metadata, config, history)
    if outputs:
        from charrnn.render.figure import write_svg

        outputs.write("svg", write_svg, figure)


def _print_json(path, metadata, config):
    """Print the metadata as stored, with the file and its parameters beside it."""
    import json

    tensors = {name: list(shape) for name, shape in parameter_shapes(config).items()}
    parameters = {"total": num_parameters(config), "shapes": tensors}
    from charrnn.runs.names import snapshots_in

    snapshots = snapshots_in(path.parent)
    kept = {"snapshots": snapshots} if snapshots else {}
    click.echo(json.dumps({"file": str(path), **metadata, "parameters": parameters, **kept}, indent=2))


def _print_text(path, metadata, config, history):
    from rich.console import Console
    from rich.text import Text

    from charrnn.text.vocabulary import Vocabulary

    # Rich decides on colour: none with NO_COLOR, none into a pipe.
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    width = min(console.width, 100)

    def heading(text):
        console.print(Text(f"\n{text}", style="bold"))

    def table(rows):
        rows = [(name, value) for name, value in rows if value is not None]
        longest = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            line = f"  {name:<{longest}}  {printable(value, sys.stdout)}"
            console.print(Text(wrapped(line, sys.stdout, longest + 4)))

    console.print(Text(printable(str(path), sys.stdout), style="bold"))
    heading("Model")
    table(_model_rows(metadata["model"]))
    heading("Vocabulary")
    vocabulary = metadata["vocabulary"]
    known = Vocabulary.from_json(vocabulary)
    special = ", ".join(f"{name} {mark}" for name, mark in zip(known.special, known.marks))
    table(
        [
            ("mode", vocabulary["mode"]),
            ("size", f"{known.size:,}"),
            ("of which special", special or None),
            ("of which labels", f"{len(known.labels):,}" if known.labels else None),
            ("unknown symbol", _unknown_text(known, metadata["training"])),
            ("texts are read with", str(known.rewriting) or None),
        ]
    )
    for line in _symbol_lines(vocabulary, width - 2, sys.stdout):
        console.print(Text(f"  {line}"))
    heading("Parameters")
    shapes = parameter_shapes(config)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = f"{num_parameters(config):,}"
    digits = max(len(total), *(len(f"{size:,}") for size in sizes.values()))
    longest = max(map(len, shapes))
    for name, shape in shapes.items():
        console.print(Text(f"  {name:<{longest}}  {sizes[name]:>{digits},}  {' x '.join(map(str, shape))}"))
    console.print(Text(f"  {'total':<{longest}}  {total:>{digits}}  trainable (the two biases of a gate count as one)"))

    training = metadata["training"]
    heading("Training")
    table([*_training_rows(training), ("snapshots", _snapshots_text(path))])
    rows = _option_rows(_as_dict(training.get("config")))
    if rows:
        heading("Other options ('charrnn train --help-all' explains them)")
        table(rows)
    _print_history(console, heading, history, width)


def _print_history(console, heading, history, width):
    from rich.text import Text

    from charrnn.render.plot import CHARACTERS, Axes, mark, plot_curves

    curves = [points(history, key) for key in ("train_loss_nats", "val_loss_nats")]
    unicode = can_print(CHARACTERS, sys.stdout)
    lines = plot_curves(curves, width, 14, unicode, axes=Axes(STEPS, NATS)).lines
    if not lines:
        return
    heading("Loss")
    styles = ("cyan", "yellow")
    for line in lines:
        console.print(Text.assemble(*((text, styles[index] if index is not None else "") for text, index in line)))
    legend = [
        (f"  {mark(index, unicode)} {name}", styles[index])
        for index, name in enumerate(("training", "validation"))
        if curves[index]
    ]
    console.print(Text.assemble(*legend))


def _model_rows(model):
    embedding = f"{model['embedding_size']:,}" if model["embedding_size"] else "none; the input is one-hot"
    return [
        ("cell", model["cell"]),
        ("hidden size", f"{model['hidden_size']:,}"),
        ("layers", f"{model['num_layers']:,}"),
        ("embedding", embedding + (", shared with the output layer" if model["tied"] else "")),
        ("normalisation", "yes, of each gate's sums" if model.get("layer_norm") else None),
        ("numbers", model["dtype"]),
        (
            "zoneout",
            f"{model['zoneout']:g} (the expected value is used after training)" if "zoneout" in model else None,
        ),
    ]


def _training_rows(training):
    """Return (name, text or None) for what a reader asks first of a run; None where the checkpoint does not say."""
    options, corpus = _as_dict(training.get("config")), _as_dict(training.get("corpus"))
    best = _as_dict(training.get("best"))
    best_loss, best_step = _number(best.get("val_loss_nats")), _count(best.get("step"))
    loss = None
    if best_loss is not None:
        per = "label" if options.get("task") == CLASSIFY else "character"
        loss = loss_text(best_loss, per) + (f", at step {best_step}" if best_step else "")
    sources = corpus.get("sources")
    sources = ", ".join(map(_plain, sources)) if isinstance(sources, list) else None
    history = training.get("history")
    final = history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {}
    elapsed_s = _number(training.get("elapsed_s"))
    rate = _number(final.get("learning_rate"))
    return [
        ("imported from", _plain(_as_dict(training.get("imported")).get("from"))),
        ("steps", _count(training.get("step"))),
        ("epochs", _plain(training.get("epoch"))),
        ("time", duration(elapsed_s) if elapsed_s is not None and 0 <= elapsed_s < 1e12 else None),
        ("best validation loss", loss),
        ("ended", _ended_text(training, options, best_step)),
        ("learning rate", _plain(options.get("learning_rate"))),
        ("learning rate now", None if rate is None else f"{rate:.6g}"),
        ("diverged", _divergence_text(_as_dict(training.get("divergence")))),
        *_gradient_rows(_as_dict(training.get("last"))),
        ("dropout", _plain(options.get("dropout"))),
        ("seed", _plain(options.get("seed"))),
        ("corpus", sources),
        ("items", _items_text(options, corpus)),
        ("task", _task_text(options)),
        ("labels", _labels_text(corpus)),
        ("characters", _count(corpus.get("characters"))),
        ("validation text", _plain(_as_dict(corpus.get("val")).get("source"))),
        ("fingerprint", _plain(corpus.get("fingerprint"))),
        ("charrnn", _plain(training.get("charrnn_version"))),
    ]


def _option_rows(options):
    """Return (option, value) for the options of a run that have an effect and are not shown elsewhere."""
    rows = []
    for name, value in sorted(options.items()):
        other, values = _ONLY_WITH.get(name, (None, ()))
        if name in _SHOWN or other in options and options[other] not in values:
            continue
        text = shown(value) if isinstance(value, bool | int | float) else _plain(value)
        if name == "min_learning_rate" and text is not None:
            text = f"{text} of the learning rate above"
        rows.append((option(printable(name, sys.stdout)), text))
    return rows


def _snapshots_text(path):
    """Name the snapshots that stand beside a checkpoint; None where there are none."""
    from charrnn.runs.names import snapshots_in

    names = snapshots_in(path.parent)
    if len(names) > _SHOWN_SNAPSHOTS:
        names = [*names[: _SHOWN_SNAPSHOTS - 1], f"{len(names) - _SHOWN_SNAPSHOTS:,} more", names[-1]]
    return ", ".join(names) or None


def _ended_text(training, options, best_step):
    """Say that --patience has ended a run; None where it has not."""
    patience = _number(options.get("patience"))
    waited = _number(_as_dict(training.get("waiting")).get("since_best"))
    if training.get("finished") is not True or patience is None or waited is None or waited < patience:
        return None
    since = f" after step {best_step}" if best_step else ""
    return f"by its patience: {waited:.0f} validations{since} brought no new best loss"


def _unknown_text(vocabulary, training):
    """Say which symbol stands for all characters that the model does not know; None where there is none."""
    if vocabulary.unknown_symbol is None:
        return None
    rare = _as_dict(training.get("corpus")).get("rare")
    counts = [_number(one) for one in rare] if isinstance(rare, list) else []
    if len(counts) != 2 or None in counts:
        return vocabulary.unknown_symbol
    kinds, occurrences = (counted(int(one or 0), what) for one, what in zip(counts, ("character", "occurrence")))
    return f"{vocabulary.unknown_symbol} for all others; in the text {kinds}, {occurrences}"


def _task_text(options):
    """Say what a run learned of items beside their text; None where it is nothing."""
    task, field = _plain(options.get("task")), _plain(options.get("label_field"))
    if task == "translate":
        return f"translate {_plain(options.get('source_field'))} to {_plain(options.get('target_field'))}"
    label = f"field {field}" if field else "folder" if options.get("label_from") else None
    if label is None:
        return None
    what = {"classify": "predict the label", "both": "predict the text and its label"}
    return f"{what.get(task or '', 'write texts for a label')}, {label}"


def _labels_text(corpus):
    """Return the labels that a run knows with their counts, the most frequent first; None where there are none."""
    counts = {
        name: sum(int(_number(one) or 0) for one in of_each)
        for name, of_each in _as_dict(corpus.get("labels")).items()
        if isinstance(of_each, list)
    }
    return ", ".join(f"{name} {counts[name]:,}" for name in sorted(counts, key=lambda name: -counts[name])) or None


def _items_text(options, corpus):
    """Say which items a run learned, and how many; None where it learned one long text."""
    kind = _plain(options.get("items"))
    if kind is None:
        return None
    counts = _as_dict(corpus.get("items"))
    field = _plain(options.get("text_field"))
    of_each = [
        (_count(counts.get(name)), word) for name, word in (("train", "train"), ("val", "validation"), ("test", "test"))
    ]
    told = ", ".join(f"{number} {word}" for number, word in of_each if number is not None)
    return kind + (f", field {field}" if field else "") + (f": {told}" if told else "")


def _gradient_rows(record):
    """Return what a log record tells of the gradient and the recurrent matrices."""
    share, norms, values = (
        _number(record.get("clipped_share")),
        _as_dict(record.get("grad_norms")),
        record.get("singular_values"),
    )
    norms = [(str(part), _number(norm)) for part, norm in norms.items()]
    values = [_number(value) for value in values] if isinstance(values, list) else []
    return [
        ("gradient norm", ", ".join(f"{part}: {norm:.3g}" for part, norm in norms if norm is not None) or None),
        ("clipped steps", None if share is None else f"{share:.3%} recently"),
        (
            "singular values",
            ", ".join(f"layer {layer}: {value:.3g}" for layer, value in enumerate(values) if value is not None) or None,
        ),
    ]


def _divergence_text(divergence):
    """Say what a run did about its divergence; None where there was none."""
    returns, skipped, factor = (
        divergence.get("returns"),
        _number(divergence.get("skipped")),
        _number(divergence.get("factor")),
    )
    said = []
    if isinstance(returns, list) and returns:
        latest = _as_dict(returns[-1])
        times = "once" if len(returns) == 1 else f"{len(returns):,} times"
        said.append(
            f"returned {times} to an earlier state, most recently from step {_count(latest.get('returned_from'))} to "
            f"step {_count(latest.get('step'))}"
        )
        if factor is not None:
            said.append(f"the learning rate is now {factor:g} times the one that was asked for")
    if skipped:
        said.append(f"{counted(skipped, 'step')} skipped")
    return "; ".join(said) or None


def _symbol_lines(vocabulary, width, stream):
    """Return the symbols in lines, blanks between them; a blank itself is shown as \\x20, a backslash as \\\\."""
    from rich.cells import cell_len

    symbols = vocabulary["symbols"]
    lines, line, used = [], [], 0
    for symbol in symbols[:_SHOWN_SYMBOLS]:
        shown = _show_symbol(symbol, vocabulary["mode"], stream)
        size = cell_len(shown) + 1
        if line and used + size > width:
            lines.append(" ".join(line))
            line, used = [], 0
        line.append(shown)
        used += size
    lines.append(" ".join(line))
    if len(symbols) > _SHOWN_SYMBOLS:
        lines.append(f"and {len(symbols) - _SHOWN_SYMBOLS:,} more (--json shows all)")
    return lines


def _show_symbol(symbol, mode, stream):
    import unicodedata

    if mode == "bytes":
        if symbol >= 0x7F:
            return f"\\x{symbol:02x}"
        symbol = chr(symbol)
    if symbol == " " or unicodedata.category(symbol)[0] == "M":  # a combining mark would sit on its neighbour
        return f"\\x{ord(symbol):02x}" if ord(symbol) < 0x100 else symbol.encode("ascii", "backslashreplace").decode()
    return printable(symbol.replace("\\", "\\\\"), stream)


def _as_dict(value):
    return value if isinstance(value, dict) else {}


def _number(value):
    """Return a number as a float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _count(value):
    value = _number(value)
    return None if value is None else f"{value:,.0f}"


def _plain(value):
    """Return any JSON value as text; None stays None."""
    import json

    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
