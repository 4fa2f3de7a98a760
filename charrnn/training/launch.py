"""Make a Trainer from texts and options: for a new run, or for a run that is resumed.

    with new_run(["corpus.txt"], {"steps": 200}) as trainer:
        for record in trainer.run():
            ...

All checks are made before a folder is created, and a folder in which nothing was saved is removed again. This module
knows texts, plans and run folders. It shows nothing: messages for the user go to `say`.
"""

import contextlib
import dataclasses
import os
import shlex
from types import SimpleNamespace

from charrnn.distributed.group import ALONE, from_first, together
from charrnn.errors import RunError, VocabularyError
from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
from charrnn.runs.folder import RunFolder, refuse_a_run
from charrnn.runs.numbering import numbered_folder
from charrnn.text.corpus import read_corpus
from charrnn.text.decoding import encoding_of_bytes
from charrnn.text.item_kinds import inferred, items_hint
from charrnn.training.agreement import check_processes, check_texts, compare, default_shards
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import SIZES, has_to_be_paced, paced, plan_resume, plan_run
from charrnn.training.preparation import compile_kernels_ahead, measure_plan_s
from charrnn.training.preview import Preview
from charrnn.training.provenance import find_texts, find_validation, kept_vocabulary
from charrnn.training.stored import resumed_config, stored_config
from charrnn.training.trainer import Trainer
from charrnn.training.warm_start import check_kept, config_like

NAME_IT = "give the file's new path with --val-text"  # where a run's validation text is gone


def _say_nothing(_sentence):
    pass


@contextlib.contextmanager
def new_run(  # noqa: PLR0913 - the two that say what to train, and keywords
    texts, asked, *, output=None, init_from=None, samples=True, say=_say_nothing, progress=None, group=ALONE
):
    """A context that yields the Trainer of a new run. At its end, the text and the run folder are closed.

    Parameters
    ----------
    texts : sequence of path-like
        Files, folders or glob patterns, as for `read_corpus`.
    asked : dict
        {option name: value} of TrainingConfig; all other options have their defaults.
    output : Path, optional
        The run folder; None means ./checkpoints/<text>-<n>.
    init_from : path-like, optional
        A checkpoint or run folder to take the weights from.
    samples : bool
        Whether to draw samples during training, if the options ask for them.
    say : callable
        Called with each message about the text, a str.
    progress : callable, optional
        Called as progress(bytes done, total) while the text is read.
    group : Alone or MPIGroup
        The processes that train together; each makes the same call.

    Raises
    ------
    CharRNNError
        Options, text, weights or folder cannot be used; nothing has been written.
    """
    with _planned(texts, asked, output, init_from, say, progress, group) as (plan, corpus, stack):
        name = _name_of(texts)
        folder = together(group, lambda: stack.enter_context(_new_folder(output, name)) if group.rank == 0 else None)
        yield Trainer(plan, corpus, folder, texts, samples=samples, group=group)


@contextlib.contextmanager
def planned_run(texts, asked, *, output=None, init_from=None, say=_say_nothing, progress=None, group=ALONE):  # noqa: PLR0913 - as new_run
    """A context that yields the Preview of a run, with the arguments of `new_run`. It writes nothing."""
    with _planned(texts, asked, output, init_from, say, progress, group) as (plan, corpus, _):

        def folder():
            path = numbered_folder(_name_of(texts)) if output is None else output
            if path.is_dir():
                refuse_a_run(path)
            return SimpleNamespace(path=path)

        yield Preview(plan, corpus, together(group, folder), texts, group=group)


def _name_of(texts):
    return "stdin" if str(texts[0]) == "-" else texts[0]


@contextlib.contextmanager
def _planned(texts, asked, output, init_from, say, progress, group):  # noqa: PLR0913, PLR0917 - as new_run
    """Yield (Plan, Corpus, ExitStack) of a new run; the arguments are those of `new_run`."""
    asked = inferred(texts, asked)
    if group.size > 1:
        asked = {"shards": default_shards(group.size), **asked}
    with contextlib.ExitStack() as stack:

        def prepare():
            initial = None if init_from is None else load_checkpoint(find_checkpoint(init_from))
            config = TrainingConfig(**asked) if initial is None else config_like(initial, asked)
            if config.vocab == "bytes":
                encoding_of_bytes(config.encoding)  # it is trained without, but its samples are shown by it
            check_texts(group, texts)
            check_kept(config, initial)
            vocabulary = None if initial is None else initial.vocabulary
            corpus = stack.enter_context(contextlib.closing(_read(texts, config, vocabulary, progress)))
            for note in corpus.notes:
                say(note)
            if hint := items_hint(texts, config):
                say(hint)
            if corpus.items is not None and (repeats := corpus.items.repeats()):
                say(repeats)
            plan = plan_run(config, corpus, initial, sized=any(name in asked for name in SIZES))
            _refuse_text_within(output, corpus)
            check_processes(group, plan)
            return corpus, plan

        corpus, plan = together(group, prepare)
        compare(group, plan, corpus)
        compile_kernels_ahead(plan.config, group)
        if has_to_be_paced(plan):
            plan = paced(plan, from_first(group, lambda: measure_plan_s(plan, corpus)) / group.size)
        yield plan, corpus, stack


@contextlib.contextmanager
def _new_folder(output, name):
    """Yield the RunFolder of a new run; remove it where nothing came to be saved."""
    made = output is None or not output.exists()
    with RunFolder.create(output, name=name) as folder:
        try:
            yield folder
        finally:
            if not folder.last.exists():  # it failed before there was anything to keep
                folder.close()
                if made:
                    with contextlib.suppress(OSError):
                        folder.path.rmdir()


@contextlib.contextmanager
def resumed_run(  # noqa: PLR0913 - the two that a run is resumed by, and keywords
    folder, asked, *, texts=(), from_best=False, samples=True, say=_say_nothing, progress=None, group=ALONE
):
    """A context that yields the Trainer of a run that is resumed. At its end, the text is closed, but not the folder.

    Parameters
    ----------
    folder : RunFolder
        The open run folder in the first process of a group; None in the others.
    asked : dict
        {option name: value}, the options given for resuming: a greater length, or options that do not affect the
        trained weights.
    texts : sequence of path-like
        The present paths of the text; if empty, it is searched where the run found it.
    from_best : bool
        Whether to continue from the best checkpoint if the last one is missing or damaged.
    samples, say, progress, group
        As for `new_run`.

    Raises
    ------
    CharRNNError
        An option contradicts the run, the run is finished, or its text is missing or has changed.
    """
    checkpoint, is_best, run = from_first(group, lambda: (*folder.load_last(from_best, say), folder.path))
    with contextlib.ExitStack() as stack:

        def prepare():
            if "imported" in checkpoint.training:
                raise RunError(
                    f"{run} contains an imported model, not a run that can be resumed: start a new run from its "
                    f"weights with: charrnn train TEXT --init-from {shlex.quote(str(run))}"
                )
            config = stored_config(checkpoint.training)
            resumed_config(checkpoint.training, asked)  # what contradicts is said before the text is read
            found = texts or find_texts(checkpoint.training, run)
            check_texts(group, found)
            validation = asked.get("val_text") or find_validation(checkpoint.training, run, NAME_IT)
            config = dataclasses.replace(config, val_text=validation)
            corpus = stack.enter_context(contextlib.closing(_read(found, config, checkpoint.vocabulary, progress)))
            plan = plan_resume(checkpoint, corpus, asked)
            check_processes(group, plan)
            return found, corpus, plan

        found, corpus, plan = together(group, prepare)
        compare(group, plan, corpus)
        compile_kernels_ahead(plan.config, group)
        if is_best:
            from_first(group, lambda: folder.make_best_last())
        yield Trainer(plan, corpus, folder, found, samples=samples, group=group)


def _refuse_text_within(output, corpus):
    """Refuse a run folder that holds texts of the folders that were named: as a run folder it will be left out of them.

    A folder that was named itself, and files that were, are read whatever lies beside them.
    """
    if output is None:
        return
    folder = os.path.abspath(output)
    if folder in corpus.sources:
        return
    for path in corpus.files:
        if path not in corpus.sources and path.startswith(os.path.join(folder, "")):
            raise RunError(
                f"{output} contains part of the text, {os.path.relpath(path, folder)}, but a run folder is never read "
                "as text: name a new folder with -o/--output"
            )


def _read(texts, config, vocabulary, progress):
    """Read the texts of a run; vocabulary : that of the weights to begin with, which the run may keep."""
    try:
        return read_corpus(texts, **config.reading(), **kept_vocabulary(config, vocabulary), progress=progress)
    except VocabularyError as error:
        if not config.keep_vocabulary or str(error).startswith("--val-text"):
            raise
        raise VocabularyError(
            f"--keep-vocabulary: {error.missing or error}: add --unknown skip to skip such characters, or leave "
            "--keep-vocabulary out to learn them"
        ) from None
