"""A validation text of one's own: its ids stand behind those of the text to train on, in the same file.

    ids    the text's own (training split, then test split), then those of the validation text

Knows files and ids; no run.
"""

import contextlib
import os
from typing import NamedTuple

import numpy as np

from charrnn.errors import CorpusError, VocabularyError
from charrnn.files.storage import write_all
from charrnn.text.ids import BLOCK_BYTES, map_ids, room_for_ids


class ValidationText(NamedTuple):
    """What is known of a validation text. characters : how many ids it has, the last ones of its Corpus."""

    source: str
    characters: int
    fingerprint: str


def append_validation(read, corpus, source, options):
    """Give a Corpus a validation text, encoded with its vocabulary.

    Parameters
    ----------
    read : callable
        `read_corpus`.
    corpus : Corpus
    source : path-like
        The validation text: a file, or whatever else a text may be but stdin.
    options : dict
        How `read` is to read it: as the text itself was.

    Raises
    ------
    CorpusError, VocabularyError, StorageError
        As `read_corpus`; what is wrong with the validation text is told as that of --val-text.
    """
    source = os.fspath(source)
    if source in ("", "-"):
        raise CorpusError(f"--val-text must name a file, got {source!r}")
    try:
        other = read([source], vocabulary=corpus.vocabulary, **options)
    except VocabularyError as error:
        missing = error.missing or str(error)
        raise VocabularyError(
            f"--val-text: {missing}: add --unknown skip to skip such characters, or validate on another text"
        ) from None
    except CorpusError as error:
        raise CorpusError(f"--val-text: {error}") from None
    with contextlib.closing(other):
        dtype, file = corpus.ids.dtype, corpus.file
        block = BLOCK_BYTES // dtype.itemsize
        with room_for_ids(file):
            os.lseek(file.fileno(), 0, os.SEEK_END)
            for start in range(0, len(other.ids), block):
                write_all(file.fileno(), np.asarray(other.ids[start : start + block], dtype))
        file.flush()
        own = len(corpus.ids)
        corpus.validation = ValidationText(source, len(other.ids), other.fingerprint)
        corpus.ids = map_ids(file, dtype, own + len(other.ids))
        corpus.files += other.files
        corpus.notes += tuple(f"--val-text: {note}" for note in other.notes)
        if corpus.items is not None:
            corpus.notes += _seen_in_training(corpus.items, other.items)
            corpus.items = corpus.items.followed_by(other.items)


def _seen_in_training(items, others):
    """Return a note on items to validate on that the text holds too, as notes."""
    known = int(np.isin(others.hashes, items.hashes).sum())
    if not known:
        return ()
    verb = "is" if known == 1 else "are"
    return (f"--val-text: {known:,} of its {len(others):,} items {verb} also in the training text",)
