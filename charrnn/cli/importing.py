"""charrnn import: a model of PyTorch's as a run that every other command takes. What is to be said goes to stderr."""

from pathlib import Path

import click

from charrnn.cli.words import note, quoted
from charrnn.errors import CheckpointError, ConfigError, RunError


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--vocab-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model's symbols in the order of their ids: a list in a .json file, or else a text that has each once. "
    "Weights that charrnn exported need none.",
)
@click.option(
    "--vocab-text",
    type=click.Path(path_type=Path),
    metavar="TEXT",
    help="The text that the model was trained on, where its symbols are sorted(set(text)).",
)
@click.option("--encoding", metavar="NAME", help="Encoding of --vocab-text.  [default: utf-8]")
@click.option("--rnn", metavar="NAME", help="Which recurrent layers are meant, where there are several.")
@click.option("--embedding", metavar="NAME", help='Which matrix is the embedding; "none" where symbols enter one-hot.')
@click.option("--output-layer", metavar="NAME", help="Which matrix is that of the output.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    show_default="./checkpoints/<file>-<n>",
    help="Run folder to make, or a checkpoint file that ends in .safetensors.",
)
def command(file, output, **options):
    """Bring in a model that was trained in PyTorch.

    \b
    Example: charrnn import lstm.safetensors --vocab-file symbols.json
             charrnn import model.safetensors -o checkpoints/tuned

    FILE is the state_dict of a torch.nn.LSTM, GRU or RNN with an nn.Linear, and with an nn.Embedding or one-hot
    symbols, as safetensors.torch.save_file writes it; or what charrnn export --torch wrote, trained on or not.
    """
    from charrnn.export.imported import exported_model
    from charrnn.runs.checkpoint.state_dict import open_state_dict

    state = open_state_dict(file)
    if "charrnn" in state.metadata:
        raise CheckpointError(f"{file} is a checkpoint already, and can be used as it is: charrnn info {quoted(file)}")
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
        raise ConfigError(f"{option}: {state.path} says itself what its model is: leave {option} out", given)
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
            f"{state.path} does not say what its symbols are: name a file of them by --vocab-file, or the text that it "
            "was trained on by --vocab-text"
            if file is None
            else "--vocab-file and --vocab-text both name the symbols: leave one out",
            ["vocab_file", "vocab_text"],
        )
    if options["encoding"] is not None and text is None:
        raise ConfigError("--encoding is of --vocab-text, and a file of symbols is UTF-8: leave it out", ["encoding"])
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
            raise RunError(f"{output} is there already, and a checkpoint is not replaced: name another file with -o")
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
