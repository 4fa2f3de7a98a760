"""A text as ids on disk, its vocabulary, its splits and its fingerprint.

One pass reads every text in blocks (sources.py, decoding.py) and writes its ids to an unlinked temporary file (ids.py),
which is then memory-mapped. This room knows files and ids; it knows nothing of batches, streams or models.
"""

import dataclasses
import math
import os
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.text.decoding import ReadProgress, TextReader, text_encoding, zero_bytes_kept
from charrnn.text.folders import find_files
from charrnn.text.ids import IdWriter, open_scratch_file
from charrnn.text.item_reader import ItemReader
from charrnn.text.rewriting import AS_IT_IS
from charrnn.text.sources import absolute, shown
from charrnn.text.symbols import MODES
from charrnn.text.tasks import ItemRule
from charrnn.text.validation_text import append_validation


class Splits(NamedTuple):
    """Index ranges (start, stop) of a corpus: train, then val, then test, in the order of the text.

    A validation text of its own comes last: train, then test, then val.
    """

    train: tuple[int, int]
    val: tuple[int, int]
    test: tuple[int, int]

    @property
    def validates(self):
        """Whether there is a text to validate on."""
        return self.val[1] > self.val[0]

    @property
    def held_out(self):
        """The range of val and test together, which is all that is not train."""
        return self.train[1], max(self.val[1], self.test[1])


def read_corpus(  # noqa: PLR0913 - the texts, and keywords
    sources,
    *,
    mode="chars",
    encoding="utf-8",
    rewriting=AS_IT_IS,
    part_files=False,
    items=None,
    vocabulary=None,
    keep_order=None,
    unknown="error",
    validation=None,
    min_count=1,
    progress=None,
):
    """Read texts, one after the other, as a Corpus.

    Parameters
    ----------
    sources : sequence of path-like
        Each is a file, a folder, a glob pattern, or "-" for stdin. Of a folder, all texts in it and its subfolders are
        read, sorted by path, except hidden files, binary files, and what charrnn itself wrote, such as run folders.
        `.gz`, `.bz2`, `.xz` and `.zst` are decompressed in both modes.
    mode : str
        "chars" decodes the text; "bytes" takes any file byte for byte.
    encoding : str
        Encoding of the files, in "chars" mode. A byte-order mark at the beginning of a file is left out.
    rewriting : Rewriting
        How the characters of each file are converted, in "chars" mode. A given `vocabulary` uses its own rewriting.
    part_files : bool
        Insert a newline between two files if the first one does not end with a newline.
    items : ItemsReading, optional
        How the text is divided into items, in "chars" mode. None reads one long text.
    vocabulary : Vocabulary, optional
        Vocabulary of the same mode to encode with. None makes one from the symbols of the text, in sorted order.
    keep_order : bool, optional
        Leave items in the order of the files whatever `items` says; None does so where a `vocabulary` is given, which
        only a text to train on has otherwise.
    unknown : str
        What to do with a symbol that `vocabulary`, or that of the text for `validation`, lacks: "error", or "skip" it.
    validation : path-like, optional
        A validation text. It is read in the same way, and its ids come after those of the text.
    min_count : int
        In chars mode, make one unknown symbol of the characters that come less often than this; a given `vocabulary`
        has its own, or none.
    progress : callable, optional
        Called as progress(bytes_done, bytes_total), in bytes on disk; the total is None if it is unknown.

    Raises
    ------
    CorpusError
        A source is missing, unreadable, empty, corrupt, not text or not in `encoding`, or a new vocabulary would have
        fewer than 2 symbols.
    VocabularyError
        A symbol is not in `vocabulary`.
    StorageError
        There is not enough space on the disk for the ids.
    """
    sources = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    if mode not in MODES:
        raise ConfigError(f'mode must be "chars" or "bytes", got {mode!r}')
    if unknown not in ("error", "skip"):
        raise ConfigError(f'unknown must be "error" or "skip", got {unknown!r}')
    if vocabulary is not None and vocabulary.mode != mode:
        raise ConfigError(
            f"the vocabulary has {vocabulary.mode}, but the text is to be read as {mode}: read it as {vocabulary.mode}"
        )
    if items is not None and mode != "chars":
        raise ConfigError("items consist of characters, but the text is to be read as bytes", ["items", "vocab"])
    if vocabulary is not None and (items is None) != (vocabulary.start_id is None):
        raise ConfigError(
            "either the vocabulary or the text has items, but not both: read the text in the same way as the vocabulary"
        )
    if mode == "chars":
        encoding = text_encoding(encoding, items is None)
    elif rewriting:
        raise ConfigError(f"{rewriting} rewrites characters, but bytes are read as they are: leave it out")
    if vocabulary is not None:
        rewriting = vocabulary.rewriting
    notes, is_new, found_items = [], vocabulary is None, None
    found = find_files(sources, mode, encoding, notes)
    files = found.files
    writer = IdWriter(open_scratch_file(notes), mode, vocabulary, unknown == "skip", min_count)
    try:
        done = ReadProgress(progress, files)
        if items is None:
            text = TextReader(mode, encoding, writer, done, notes, rewriting, part_files)
        else:
            text = ItemReader(items, encoding, writer, done, notes, rewriting)
        for path in files:
            text.read(path)
        if not writer.characters and not writer.skipped:
            what = text.nothing() if isinstance(text, ItemReader) else "no text: name a file that is not empty"
            raise CorpusError(f"{_named(sources)} {_holds(sources)} {what}")
        if vocabulary is None and writer.size < 2:
            only = f"byte 0x{writer.codes[0]:02x}" if mode == "bytes" else f"character {chr(writer.codes[0])!r}"
            raise CorpusError(
                f"a text needs at least 2 different characters to train on, {_named(sources)} "
                f"{_holds(sources)} only the {only}: name a longer text"
            )
        ids, vocabulary = writer.finish(vocabulary)
        if is_new and min_count > 1:
            _refuse_rare_only(vocabulary, min_count)
        file = writer.file
        if isinstance(text, ItemReader):
            ids, file, found_items = text.finish(ids, keep_order=not is_new if keep_order is None else keep_order)
        if rewriting != vocabulary.rewriting:
            vocabulary = dataclasses.replace(vocabulary, rewriting=rewriting)
        if is_new:
            notes.extend(text.remarks.notes())
        if mode == "chars" and "\0" in vocabulary.symbols:
            notes.extend(zero_bytes_kept(text.with_zeros, encoding))
        notes.extend(text.seams.notes(is_new))
        if writer.skipped:
            notes.append(left_out(writer.skipped, mode))
        if writer.unknown:
            notes.append(read_as_unknown(writer.unknown, vocabulary))
        if min_count > 1 and is_new:
            notes.append(_rare_note(writer.rare, min_count, vocabulary))
        if len(ids) == 0:
            raise CorpusError(f"{_named(sources)} {_holds(sources)} no character of the vocabulary: name another text")
    except BaseException:
        writer.file.close()
        raise
    corpus = Corpus(
        ids=ids,
        vocabulary=vocabulary,
        sources=tuple(absolute(source) for source in sources),
        encoding=encoding,
        notes=tuple(notes),
        size_bytes=text.size_bytes,
        fingerprint=text.digest.hexdigest(),
        files=tuple(absolute(path) for path in files),
        own=tuple(map(absolute, found.own)),
        skipped=tuple((code if mode == "bytes" else chr(code), count) for code, count in writer.skipped.most_common()),
        items=found_items,
        rare=writer.rare,
        file=file,
    )
    if validation is not None:
        options = {"mode": mode, "encoding": encoding, "part_files": part_files, "items": items, "unknown": unknown}
        try:
            append_validation(read_corpus, corpus, validation, options)
        except BaseException:
            corpus.close()
            raise
    return corpus


class Corpus:
    """A text as ids on disk. It has a lifetime: `close` it, or use it in a `with`, to free the disk.

    Attributes
    ----------
    ids : ndarray (N,), uint8, uint16 or uint32
        Memory-mapped, read-only.
    vocabulary : Vocabulary
    sources : tuple of str
        As given, absolute, so that the text can be found again; "-" is stdin.
    files : tuple of str
        The files read, in their order, absolute.
    own : tuple of str
        What charrnn itself wrote and is left out of the folders and globs among the sources, absolute.
    encoding : str
        Of the files, in chars mode.
    notes : tuple of str
        Messages for the user, such as that files were skipped.
    size_bytes : int
        Size of the text in bytes, decompressed.
    fingerprint : str
        sha256 in hex of the characters read and rewritten, as UTF-8, or of the bytes in bytes mode; it depends neither
        on the encoding nor on how the text was cut into files (but each file is rewritten by itself).
    skipped : tuple of (symbol, count)
        What `unknown="skip"` left out, the most common first.
    items : ItemSet or None
        Where the items begin and end; None for one long text.
    rare : (int, int)
        How many characters became the unknown symbol by `min_count`, and how often they occur in total.
    validation : ValidationText or None
        The validation text whose ids come after the text's own; the other attributes tell of the text alone, but for
        `ids`, `characters`, `files` and `items`.
    file
        The scratch file that holds the ids.
    """

    def __init__(  # noqa: PLR0913 - a record of what was read, which read_corpus alone makes
        self,
        *,
        ids,
        vocabulary,
        sources,
        encoding,
        notes,
        size_bytes,
        fingerprint,
        files,
        skipped,
        file,
        own=(),
        items=None,
        rare=(0, 0),
    ):
        self.ids = ids
        self.vocabulary = vocabulary
        self.sources = sources
        self.encoding = encoding
        self.notes = notes
        self.size_bytes = size_bytes
        self.fingerprint = fingerprint
        self.files = files
        self.own = own
        self.skipped = skipped
        self.items = items
        self.rare = rare
        self.validation = None
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def mode(self):
        """ "chars" or "bytes"."""
        return self.vocabulary.mode

    @property
    def characters(self):
        """N, the number of ids (bytes in bytes mode)."""
        return len(self.ids)

    @property
    def own_characters(self):
        """Number of ids of the text itself, without a validation text."""
        return self.characters - (0 if self.validation is None else self.validation.characters)

    def text(self, start, stop):
        """Return the text of ids[start:stop], a str."""
        return self.vocabulary.decode(self.ids[start:stop])

    def split(self, val_fraction, test_fraction):
        """Return Splits of contiguous ranges: test ends the text, val comes before it, train has the rest.

        Of items, whole ones: a share of their number, by their order. A validation text is all of val, whatever its
        fraction.

        Raises
        ------
        ConfigError
            A fraction is not in [0, 1), or together they leave nothing to train on.
        """
        for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 <= fraction < 1:
                raise ConfigError(f"{name} must be at least 0 and less than 1, got {fraction}")
        # As the decimals the user wrote: 1 - 0.05 - 0.05 is a little less than 0.9 in binary.
        val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
        if self.validation is not None:
            stop, test_start = self.own_characters, self._share_start(1 - test)
            return Splits((0, test_start), (stop, self.characters), (test_start, stop))
        if val + test >= 1:
            raise ConfigError(
                f"val_fraction and test_fraction must sum to less than 1, got {val_fraction} and {test_fraction}"
            )
        train_stop = self._share_start(1 - val - test)
        val_stop = self._share_start(1 - test) if val else train_stop
        return Splits((0, train_stop), (train_stop, val_stop), (val_stop, self.characters))

    def count_items(self, splits):
        """Return the number of items in each of the Splits; None for one long text."""
        if self.items is None:
            return None
        return tuple(self.items.first_of(stop) - self.items.first_of(start) for start, stop in splits)

    def count_labels(self, splits):
        """Return {label: [number of its items in each of the Splits]}; None if items have no labels."""
        if self.items is None or not self.vocabulary.labels:
            return None
        rule, starts = ItemRule.of(self.vocabulary, self.items.reading.task), self.items.starts
        found = None if rule is None else rule.label_ids(self.ids, starts)
        if found is None:
            return None
        counts = []
        for start, stop in splits:
            of_split = found[self.items.first_of(start) : self.items.first_of(stop)]
            counts.append(np.bincount(of_split, minlength=len(self.vocabulary.labels)).tolist())
        return {name: list(of_each) for name, *of_each in zip(self.vocabulary.labels, *counts)}

    def _share_start(self, share):
        return math.floor(self.own_characters * share) if self.items is None else self.items.share_start(share)

    def close(self):
        """Release the ids and their space on the disk."""
        self.ids = np.empty(0, self.ids.dtype)  # the mapping itself goes with the last array that shows it
        self.file.close()


# ---- words -----------------------------------------------------------------------------------------------------------


def _named(sources):
    return shown(sources[0]) if len(sources) == 1 else f"{len(sources)} sources together"


def _holds(sources):
    return "contains" if len(sources) == 1 else "contain"


def read_as_unknown(count, vocabulary):
    """Say how many characters are read as the unknown symbol of a vocabulary."""
    verb = "is" if count == 1 else "are"
    return (
        f"{counted(count, 'character')} that the model does not know {verb} read as its unknown symbol, "
        f"{vocabulary.unknown_symbol!r}"
    )


def _refuse_rare_only(vocabulary, min_count):
    """Raise CorpusError where --min-count leaves no character of a text."""
    if vocabulary.size < 2:
        raise CorpusError(
            f"--min-count {min_count} leaves only the unknown symbol, because no character occurs that often: use a "
            "lower value"
        )


def _rare_note(rare, min_count, vocabulary):
    """Say what --min-count came to."""
    kinds, occurrences = rare
    if not kinds:
        return f"--min-count {min_count}: every character occurs that often, so there is no unknown symbol"
    verb, become = ("comes", "becomes") if kinds == 1 else ("come", "become")
    return (
        f"--min-count {min_count}: {counted(kinds, 'character')} that {verb} less often, "
        f"{counted(occurrences, 'occurrence')} in all, {become} the unknown symbol {vocabulary.unknown_symbol!r}"
    )


def left_out(skipped, mode):
    """Say which symbols were left out: a Counter of their codes."""
    total = sum(skipped.values())
    shown = [f"0x{code:02x}" if mode == "bytes" else repr(chr(code)) for code, _ in skipped.most_common(5)]
    more = f" and {len(skipped) - 5:,} more" if len(skipped) > 5 else ""
    return (
        f"skipped {counted(total, 'character')} that {'is' if total == 1 else 'are'} not in the vocabulary: "
        f"{', '.join(shown)}{more}"
    )
