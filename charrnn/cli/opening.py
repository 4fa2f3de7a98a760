"""How a command opens what it was named: a checkpoint and its model, a TEXT or the run's own text, and threads.

Says on stderr what a user should know of them; the commands say nothing of their own about it.
"""

import contextlib
import os
from typing import Any, NamedTuple

from charrnn.cli.checks import skip_first
from charrnn.cli.words import note, note_once, quoted, shorter
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, CorpusError, VocabularyError


class OpenedModel(NamedTuple):
    """A checkpoint that was found and read: its file, the Checkpoint, and the Model of its parameters."""

    path: Any
    checkpoint: Any
    model: Any


class OpenedText(NamedTuple):
    """A text that was read: its Corpus, the texts' names, and the run's Splits, None where it is not the run's own.

    encoding    in which a model of bytes has its text shown
    """

    corpus: Any
    named: list
    splits: Any
    encoding: str


def open_model(ctx, where, threads):
    """Return the OpenedModel of a CHECKPOINT as it was named, None for the newest run; name the file where that
    differs.

    Until the command of `ctx` ends, `threads` compute, and kernels that must be compiled are announced.
    """
    with text_in_the_place_of_a_run(where, _second(ctx)):
        path, checkpoint = open_checkpoint(where)
    announce(ctx)
    use_threads(ctx, threads)
    from charrnn.model.parameters import Model

    return OpenedModel(path, checkpoint, Model.from_checkpoint(checkpoint))


def open_checkpoint(where):
    """Return (file, Checkpoint) of a CHECKPOINT as it was named, None for the newest run; name the file where that
    differs. Needs no kernel.
    """
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(where)
    if path != where:
        note(f"checkpoint {shorter(path)}")
    return path, load_checkpoint(path)


@contextlib.contextmanager
def text_in_the_place_of_a_run(where, meant):
    """Where CHECKPOINT is none, and seems to be a text, say how the command is told of one.

    meant    a function of CHECKPOINT as it was named and the newest run, "RUN" without one; returns the remedy or None
    """
    from charrnn.runs.checkpoint import DamagedCheckpoint, newest_run

    try:
        yield
    except DamagedCheckpoint:
        raise
    except CheckpointError as error:
        if where is None or os.path.isdir(where) and newest_run(where) or where.suffix == ".safetensors":
            raise
        remedy = meant(where, quoted(newest_run() or "RUN"))
        if remedy is None:
            raise
        raise CheckpointError(f"{error}; {remedy}") from None


def _second(ctx):
    """Return a function that names a text in its place, after a run."""
    from charrnn.runs.checkpoint import find_checkpoint

    def meant(where, run):
        text, other = str(where), ctx.params.get("text")
        if text != "-" and not os.path.exists(where) and not any(sign in text for sign in "*?["):
            return None
        if other is not None:
            try:
                found = find_checkpoint(other)
            except CheckpointError:
                return None
            if found.suffix != ".safetensors":
                return None
            run = quoted(other)
        return f"the TEXT is the second argument: charrnn {ctx.info_name} {run} {quoted(text)}"

    return meant


def announce(ctx):
    """Say a word before kernels are compiled, until the command ends."""
    from charrnn.cli.progress import announce_compilation

    ctx.call_on_close(announce_compilation(note))


def use_threads(ctx, threads):
    """Compute with so many threads, all cores where None, until the command ends."""
    from charrnn.kernels.threads import num_threads, set_num_threads

    before = num_threads()
    ctx.call_on_close(lambda: set_num_threads(before))
    if threads is not None:
        set_num_threads(threads)


@contextlib.contextmanager
def open_text(opened, text, encoding, unknown=None, remedy=None):
    """Read TEXT, or where it is None the text that the run of a checkpoint was trained on, found again and checked.

    opened     an OpenedModel
    unknown    what to do with characters that the model does not know, "error" or "skip"; None where it was not said,
               which is "error"
    remedy     what to do where the run's own text is not at hand, "name a TEXT" where None

    Yields an OpenedText.
    """
    from charrnn.cli.progress import reading_bar
    from charrnn.text.corpus import read_corpus
    from charrnn.text.decoding import encoding_of_bytes
    from charrnn.training.provenance import NAME_ANOTHER, read_run_text
    from charrnn.training.stored import shown_encoding, stored_encoding, stored_items, stored_parting

    training, vocabulary = opened.checkpoint.training, opened.checkpoint.vocabulary
    if text is None and unknown is not None:
        raise ConfigError(f"--unknown {unknown} applies to a TEXT, but no TEXT was given: leave it out", ["unknown"])
    if text is None and encoding is not None:
        raise ConfigError(f"--encoding {encoding} applies to a TEXT, but no TEXT was given: leave it out", ["encoding"])
    if vocabulary.mode == "bytes" and encoding is not None:
        shown = encoding_of_bytes(encoding)
    else:
        shown = shown_encoding(training)
    with reading_bar() as progress:
        if text is None:
            corpus, named, splits = read_run_text(
                training, opened.path.parent, vocabulary, progress, remedy or NAME_ANOTHER
            )
        else:
            named, splits, encoding = [text], None, encoding or stored_encoding(training)
            try:
                corpus = read_corpus(
                    named,
                    mode=vocabulary.mode,
                    encoding=encoding,
                    part_files=stored_parting(training),
                    items=stored_items(training, text),
                    vocabulary=vocabulary,
                    unknown=unknown or "error",
                    progress=progress,
                )
            except VocabularyError as error:
                raise VocabularyError(skip_first(error)) from None
            except CorpusError as error:
                raise of_the_run(error, stored_items(training, text)) from None
    with contextlib.closing(corpus):
        if vocabulary.rewriting:
            note(f"the text is rewritten as in training, with {vocabulary.rewriting}, before characters are counted")
        for said in corpus.notes:
            note_once(said)  # of the run's own text too, where both are read
        yield OpenedText(corpus, named, splits, shown)


def of_the_run(error, reading):
    """Return the CorpusError of a text of records that a model is to read, with what to do about it; what is said to
    who trains is no remedy here.

    reading    the ItemsReading of the text, None of one long text
    """
    problem, _, train = str(error).partition("; train with ")
    if reading is None or not train:
        return CorpusError(problem if train else problem.replace(", or train with --items lines", ""))
    names = " and ".join(repr(field) for _, field in reading.fields if field is not None)
    if not names:
        return CorpusError(f"{problem}; keep only the field that contains the texts")
    return CorpusError(f"{problem}; the run learned from {names}: give the fields these names")


@contextlib.contextmanager
def open_training_text(opened, needed=None):
    """Yield the OpenedText of the run's own text, beside a TEXT; None, and a word on it, where it is not at hand.

    needed    the option that cannot be had without it: then its absence raises ConfigError
    """
    with contextlib.ExitStack() as stack:
        try:
            remedy = "restore that text" + (f", or leave {needed} out" if needed else " to have them")
            own = stack.enter_context(open_text(opened, None, None, remedy=remedy))
        except CharRNNError as error:
            if needed is not None:
                raise ConfigError(f"{needed} needs the text that the run was trained on: {error}") from None
            note(
                f"the training text is missing, so unigram and n-gram are left out, and xz compresses this text "
                f"alone: {error}"
            )
            own = None
        yield own
