"""charrnn eval: the loss of a checkpoint on a text, as one stream with its carry kept, on stdout."""

import contextlib
import json
import os
import sys
from pathlib import Path

import click

from charrnn.cli.info import loss_text, printable

SPLITS = ("val", "test", "train")


@click.command(name="eval")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--split", type=click.Choice(SPLITS), show_default="val", help="Split of the text the run was trained on.")
@click.option("--encoding", metavar="NAME", show_default="the run's", help="Encoding of TEXT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Threads to compute with.")
@click.pass_context
def command(ctx, checkpoint, text, split, encoding, as_json, threads):
    """Measure how well a model predicts a text.

    \b
    Example: charrnn eval checkpoints/shakespeare-1 sonnets.txt

    CHECKPOINT is a file or a run folder; left out, it is the newest run under ./checkpoints. TEXT is a file, a folder,
    a glob, or - for stdin; left out, it is a split of the text that the run was trained on, found again.
    """
    from charrnn.errors import ConfigError

    if threads is not None and threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {threads}")
    if text is not None and split is not None:
        raise ConfigError(f"--split {split} is of the run's own text: leave it out, or leave out {text}")

    from charrnn.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.cli.display import announce_compilation

    path = find_checkpoint(checkpoint)
    if path != checkpoint:
        click.echo(f"checkpoint {printable(str(path), sys.stderr)}", err=True)
    loaded = load_checkpoint(path)
    ctx.call_on_close(announce_compilation(lambda sentence: click.echo(sentence, err=True)))
    from charrnn.evaluation import evaluate_stream
    from charrnn.kernels import set_num_threads
    from charrnn.model import Model, ModelConfig

    if threads is not None:
        set_num_threads(threads)
    model = Model(ModelConfig(vocab_size=loaded.vocabulary.size, **loaded.model))
    model.set_parameters(loaded.parameters)
    with open_text(loaded, path, text, encoding) as (corpus, named, splits):
        start, stop = 0, corpus.characters
        where = text
        if splits is not None:
            split = split or SPLITS[0]
            start, stop = getattr(splits, split)
            where = f"{split} split of {', '.join(named)}"
            if stop - start < 1:
                raise ConfigError(f"the run has no {split} split: choose another --split, or name a TEXT")
        evaluation = evaluate_stream(model, corpus.ids, start, stop)
    if as_json:
        click.echo(json.dumps({**evaluation.to_dict(), "split": split, "text": where, "checkpoint": os.fspath(path)}))
    else:
        click.echo(f"{loss_text(evaluation.loss_nats)}, over {evaluation.characters:,} characters")
        click.echo(f"of the {printable(where, sys.stderr)}" if split else f"of {printable(where, sys.stderr)}", err=True)


@contextlib.contextmanager
def open_text(loaded, path, text, encoding):
    """Read TEXT, or where it is None the text that the run of a checkpoint was trained on, found again and checked.

    Yields (corpus, the texts' names, the run's Splits or None for a TEXT). Says on stderr what a user should know.
    """
    from charrnn.corpus import read_corpus
    from charrnn.errors import ConfigError
    from charrnn.trainer import check_corpus, find_texts, stored_config, stored_encoding

    if text is None:
        if encoding is not None:
            raise ConfigError(f"--encoding {encoding} is of a TEXT, and none is named: leave it out")
        config = stored_config(loaded.training)
        named, encoding = find_texts(loaded.training, path.parent), config.encoding
        vocabulary = None  # the fingerprint says better than an unknown character that the text has changed
    else:
        named, vocabulary = [text], loaded.vocabulary
        encoding = encoding or stored_encoding(loaded.training)
    with contextlib.closing(
        read_corpus(named, mode=loaded.vocabulary.mode, encoding=encoding, vocabulary=vocabulary)
    ) as corpus:
        splits = None
        if text is None:  # before anything is said of what the checkpoint made us read
            check_corpus(loaded.training, corpus)
            splits = corpus.split(config.val_fraction, config.test_fraction)
        for note in corpus.notes:
            click.echo(printable(note, sys.stderr), err=True)
        yield corpus, named, splits
