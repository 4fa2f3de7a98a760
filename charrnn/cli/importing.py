"""charrnn import: a model of PyTorch's as a run that every other command takes. What is to be said goes to stderr."""

from pathlib import Path

import click

from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.words import note, quoted
from charrnn.errors import CheckpointError, ConfigError, RunError


@click.command(name="import", cls=PlainCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--vocab-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the model's symbols in the order of their ids: a .json file with a list, or a text file that has "
    "each symbol once. Not needed for weights that charrnn exported.",
)
@click.option(
    "--vocab-text",
    type=click.Path(path_type=Path),
    metavar="TEXT",
    help="The text that the model was trained on, if its symbols are sorted(set(text)).",
)
@click.option("--encoding", metavar="NAME", help="Encoding of --vocab-text.  [default: utf-8]")
@click.option(
    "--rnn", metavar="NAME", help="Name of the recurrent network (its module in PyTorch), if the file has several."
)
@click.option("--embedding", metavar="NAME", help='Name of the embedding matrix; "none" if the input is one-hot.')
@click.option("--output-layer", metavar="NAME", help="Name of the output matrix.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    show_default="./checkpoints/<file>-<n>",
    help="Run folder to create, or a checkpoint file whose name ends in .safetensors.",
)
def command(file, output, **options):
    """Import a model that was trained with PyTorch.

    \b
    Example: charrnn import lstm.safetensors --vocab-file symbols.json
             charrnn import model.safetensors -o checkpoints/tuned

    FILE is a safetensors file (from safetensors.torch.save_file) with the state_dict of a torch.nn.LSTM, GRU or RNN, an
    nn.Linear as output and an nn.Embedding or one-hot input. It can also be a file that charrnn export --torch wrote,
    with or without further training.
    """
    from charrnn.export.imported import exported_model
    from charrnn.runs.checkpoint.state_dict import open_state_dict

    state = open_state_dict(file)
    if "charrnn" in state.metadata:
        raise CheckpointError(
            f"{file} is already a checkpoint of charrnn; use it as it is, for example: charrnn info {quoted(file)}"
        )
    known = exported_model(state)
    checkpoint = _foreign(state, options) if known is None else _own(state, known, options)
    where = _save(checkpoint, output, file)
    note(f"wrote {where}")
    note(f"next: {_first_use(checkpoint, quoted(where))}")


def _own(state, known, options):
    from charrnn.export.imported import take_back

    given = [name for name, value in options.items() if value is not None]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise ConfigError(f"{option}: {state.path} already describes its model: leave {option} out", given)
    return take_back(state, *known)


def _foreign(state, options):
    from charrnn.export.imported import Names, import_state_dict

    names = Names(options["rnn"], options["embedding"], options["output_layer"])
    checkpoint, notes = import_state_dict(state, _vocabulary(state, options), names)
    for said in notes:
        note(said)
    return checkpoint


def _vocabulary(state, options):
    """Return the Vocabulary that was named."""
    file, text = options["vocab_file"], options["vocab_text"]
    if (file is None) == (text is None):
        raise ConfigError(
            f"{state.path} does not contain its symbols: give a file of them with --vocab-file, or the text that it "
            "was trained on with --vocab-text"
            if file is None
            else "--vocab-file and --vocab-text both give the symbols: leave one of them out",
            ["vocab_file", "vocab_text"],
        )
    if options["encoding"] is not None and text is None:
        raise ConfigError(
            "--encoding applies to --vocab-text, and a file of symbols is always UTF-8: leave it out", ["encoding"]
        )
    if file is not None:
        from charrnn.text.symbol_files import read_vocabulary_file

        return read_vocabulary_file(file, {entry.shape[0] for entry in state.entries.values() if entry.shape})
    import contextlib

    from charrnn.text.corpus import read_corpus

    with contextlib.closing(read_corpus([str(text)], encoding=options["encoding"] or "utf-8")) as corpus:
        return corpus.vocabulary


def _save(checkpoint, output, file):
    """Write the checkpoint; return the run folder, or the file, that holds it."""
    import dataclasses

    import charrnn
    from charrnn.runs.checkpoint import save_checkpoint
    from charrnn.runs.folder import RunFolder

    training = {**checkpoint.training, "charrnn_version": charrnn.__version__, "imported": {"from": file.name}}
    checkpoint = dataclasses.replace(checkpoint, training=training)
    if output is not None and output.suffix == ".safetensors":
        if output.exists() or output.is_symlink():
            raise RunError(f"{output} already exists, and a checkpoint is never replaced: name another file with -o")
        save_checkpoint(output, checkpoint)
        return output
    with RunFolder.create(output, name=file.stem) as folder:
        folder.save(checkpoint)
        return folder.path


def _first_use(checkpoint, where):
    """Return a command that shows what the model does."""
    from charrnn.cli.item_samples import first_use
    from charrnn.text.tasks import stored_task

    return first_use(where, stored_task(checkpoint.training), checkpoint.vocabulary)
