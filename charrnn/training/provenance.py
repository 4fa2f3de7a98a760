"""The text of a run: stored in its checkpoints by name and fingerprint, found again, checked and read.

A checkpoint may come from a stranger. So, of the paths that it names, only regular files and folders are opened
(`strange_sources_exist`), and their contents are not shown before `check_corpus` has accepted them. This module knows
texts and records, no models.
"""

import contextlib
import dataclasses
import os
import shlex

from charrnn.errors import CorpusError
from charrnn.text.corpus import read_corpus
from charrnn.text.sources import strange_sources_exist
from charrnn.training.settings import short
from charrnn.training.stored import stored_config

# What to do where the text of a run is not to be had: where TEXT must be the same one, and where it may be any.
NAME_IT = "give the TEXT's new path on the command line"
NAME_ANOTHER = "restore the old text, or name another TEXT to read"


def describe_texts(texts, folder):
    """Return a dict for the checkpoint: the paths of the texts, as given and relative to the run folder."""
    described = {"sources": [str(text) for text in texts]}
    try:
        described["sources_from_run"] = ["-" if str(text) == "-" else os.path.relpath(text, folder) for text in texts]
    except ValueError:  # another drive
        pass
    return described


def describe_validation(validation, folder):
    """Return a dict for the checkpoint that describes a ValidationText; {} for None."""
    if validation is None:
        return {}
    known = {"source": validation.source, "characters": validation.characters, "fingerprint": validation.fingerprint}
    with contextlib.suppress(ValueError):  # another drive
        known["source_from_run"] = os.path.relpath(validation.source, folder)
    return {"val": known}


def find_validation(training, run, remedy):
    """Return the path of the validation text of a run, searched as in `find_texts`; None if the run has none.

    Raises CorpusError if it is missing.
    """
    known = _validation_record(training)
    if known is None:
        return None
    for path in (os.path.normpath(os.path.join(run, known["source_from_run"])), known["source"]):
        path = os.path.expanduser(path)
        if strange_sources_exist([path]):
            return path
    raise CorpusError(f"the run's validation text is missing: {short(known['source'], 200)} does not exist; {remedy}")


def find_texts(training, run, remedy=NAME_IT):
    """Return the paths of the texts of a run: relative to the run folder if they exist there, otherwise as first given.

    Do not show their contents to a user before `check_corpus` has accepted them.

    Parameters
    ----------
    training : dict
        The training record of a checkpoint.
    run : path-like
        The run folder.
    remedy : str
        What the user can do if the texts are missing; the end of the message.

    Returns
    -------
    list of str

    Raises
    ------
    CorpusError
        The texts are missing, were read from stdin, or are not regular files or folders.
    """
    known = _corpus_record(training)
    named = known["sources"]
    if not named:
        raise CorpusError(f"the checkpoint does not name the text that it was trained on: {remedy}")
    if "-" in named:
        raise CorpusError(f"the run read its text from stdin, which cannot be read again: {remedy}")
    from_run = [os.path.normpath(os.path.join(run, text)) for text in known["sources_from_run"]]
    for texts in (from_run, named):
        texts = [os.path.expanduser(text) for text in texts]
        if texts and strange_sources_exist(texts):
            return texts
    raise CorpusError(f"the run's text is missing: {_named(named)} does not exist; {remedy}")


def read_run_text(training, run, vocabulary, progress=None, remedy=NAME_ANOTHER):
    """Find, read and check the text that a run was trained on.

    Parameters
    ----------
    training : dict
        A checkpoint's record of its training.
    run : path
        The run folder.
    vocabulary : Vocabulary
        The model's own.
    progress : callable, optional
        Called with (bytes done, of) while the text is read.
    remedy : str
        What to do where the text is gone or another one.

    Returns
    -------
    Corpus, list of str, Splits
        To be closed; the texts' names; the run's own splits.

    Raises
    ------
    CharRNNError
        The record says nothing of a text, or the text is gone or another one.
    """
    named = find_texts(training, run, remedy)
    config = stored_config(training)
    config = dataclasses.replace(config, val_text=find_validation(training, run, remedy))
    # Without a vocabulary, where it is the text's: the fingerprint tells better than an unknown character that the text
    # has changed.
    kept = kept_vocabulary(config, vocabulary)
    corpus = read_corpus(named, **{**config.reading(), "mode": vocabulary.mode}, **kept, progress=progress)
    try:
        check_corpus(training, corpus, remedy)  # before anything is said of what the checkpoint made us read
        return corpus, named, corpus.split(config.val_fraction, config.test_fraction)
    except BaseException:
        corpus.close()
        raise


def kept_vocabulary(config, vocabulary):
    """Return how `read_corpus` is told to read the text of a run with the vocabulary of its weights, if it is to."""
    return {"vocabulary": vocabulary, "keep_order": False} if config.keep_vocabulary else {}


def check_corpus(training, corpus, remedy):
    """Raise CorpusError unless `corpus` is the text of the run.

    remedy : what to do where it is not
    """
    known = _corpus_record(training)
    # The bytes of a text have the fingerprint of its characters.
    if not has_fingerprint(training, corpus) or known["characters"] not in (0, corpus.own_characters):
        if corpus.own and known["characters"] > corpus.own_characters:
            raise CorpusError(
                f"the run also learned files that charrnn itself wrote: it read {known['characters']:,} characters, "
                f"and {_named(corpus.sources)} now has {corpus.own_characters:,}, because run folders and pages are "
                "no longer read as text. Start a new run on the text alone: charrnn train "
                f"{shlex.join(corpus.sources)}"
            )
        raise CorpusError(
            "this is not the text that the run was started with, or it has changed: "
            f"{_named(known['sources']) or 'an unnamed text'} had {known['characters']:,} characters and the "
            f"fingerprint {known['fingerprint'][:12] or 'unknown'}; {_named(corpus.sources)} has "
            f"{corpus.own_characters:,} and {corpus.fingerprint[:12]}: {remedy}"
        )
    before, now = _validation_record(training), corpus.validation
    if before is not None and now is not None and before["fingerprint"] != now.fingerprint:
        raise CorpusError(
            "this is not the validation text that the run was started with, or it has changed: "
            f"{short(before['source'], 200)} had {before['characters']:,} characters and the fingerprint "
            f"{before['fingerprint'][:12] or 'unknown'}; {now.source} has {now.characters:,} and "
            f"{now.fingerprint[:12]}: {remedy}"
        )


def has_fingerprint(training, corpus):
    """Say whether a checkpoint's record has the fingerprint of `corpus`."""
    return _corpus_record(training)["fingerprint"] == corpus.fingerprint


def _corpus_record(training):
    """Return what a checkpoint says of its text, each value of the type that it should have, else empty."""
    known = training.get("corpus")
    known = known if isinstance(known, dict) else {}
    kinds = {"fingerprint": str, "characters": int, "sources": list, "sources_from_run": list}
    record = {name: known[name] if type(known.get(name)) is kind else kind() for name, kind in kinds.items()}
    for name in ("sources", "sources_from_run"):
        record[name] = [text for text in record[name] if isinstance(text, str)]
    return record


def _validation_record(training):
    """Return what a checkpoint says of its validation text, each value of the type that it should have; None where the
    run has none.
    """
    config, corpus = training.get("config"), training.get("corpus")
    if not isinstance(config, dict) or config.get("val_text") is None:
        return None
    known = corpus.get("val") if isinstance(corpus, dict) else None
    known = known if isinstance(known, dict) else {}
    kinds = {"source": str, "source_from_run": str, "characters": int, "fingerprint": str}
    return {name: known[name] if type(known.get(name)) is kind else kind() for name, kind in kinds.items()}


def _named(texts, most=3):
    return ", ".join(short(text, 200) for text in texts[:most]) + (
        f" and {len(texts) - most:,} more" if len(texts) > most else ""
    )
