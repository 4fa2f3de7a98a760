"""The calls of `import charrnn`: load, train, evaluate, find_cells; sample and next_characters are in drawing.py.

    model = charrnn.load("checkpoints/demo")
    print(charrnn.sample(model, 300, prime="ROMEO:", temperature=0.8, seed=1))

They return the results that the commands print. Nothing in this module prints, writes to a terminal or handles
signals. The doctests run in a folder that contains corpus.txt, a short text, and demo, a run that was trained on it.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from charrnn.cells.findings import Findings
from charrnn.cells.report import CellsOptions
from charrnn.cells.report import find_cells as search_cells
from charrnn.errors import CharRNNError, ConfigError, check_integer, nearest
from charrnn.evaluation.judgement import Judgement, TrainingText
from charrnn.evaluation.report import JudgeOptions, judge
from charrnn.library.arguments import as_path, as_texts, check_string, naming_keywords
from charrnn.library.drawing import next_characters as next_characters
from charrnn.library.drawing import sample as sample
from charrnn.model.parameters import Model, check_model
from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.text.corpus import Corpus, Splits, read_corpus
from charrnn.text.excerpt import Excerpt
from charrnn.text.items import text_ids
from charrnn.training.launch import new_run, resumed_run
from charrnn.training.options import NAMES
from charrnn.training.provenance import read_run_text
from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Sampled, Saved, Step
from charrnn.training.spelling import spelt_in_python
from charrnn.training.stored import shown_encoding, stored_encoding, stored_items, stored_parting

StrPath: TypeAlias = str | PathLike[str]
Record: TypeAlias = Preflight | Step | Evaluated | Sampled | Saved | Notice | Finished
Progress: TypeAlias = Callable[[str, float, float], Any]

CELLS_CHARACTERS = 100_000  # of a text that a search reads, at most: enough for the scores of rare signals
SPLITS = Splits._fields


def load(path: StrPath | None = None) -> Model:
    """Load a trained model with its vocabulary.

    Parameters
    ----------
    path : path-like, optional
        A checkpoint file or a run folder. In a run folder, the best checkpoint is loaded, or the last one if the run
        has no best checkpoint yet. None means the newest run under ./checkpoints.

    Returns
    -------
    Model
        Its attributes `vocabulary`, `training` (the record of the run) and `path` (the checkpoint file) are set.

    Raises
    ------
    CheckpointError
        There is no checkpoint at `path`, or the file is damaged or not a charrnn checkpoint.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.load("demo")
    >>> model.config.cell, model.config.hidden_size, model.vocabulary.size
    ('lstm', 12, 16)
    """
    found = find_checkpoint(as_path("path", path))
    model = Model.from_checkpoint(load_checkpoint(found))
    model.path = found
    return model


class Training(Iterator[Record]):
    """A training run in progress. `train` returns it; iterate over it to train, one record at a time.

    The run locks its folder until the loop ends or `close` is called. If you may leave the loop early, use
    `with charrnn.train(...) as run:`, which closes the run. A loop that is left early loses the steps since the last
    save, as if the process had been killed; `charrnn.train(resume=run.folder)` continues from that save. To save before
    the run ends, call `stop` and let the loop finish.

    Attributes
    ----------
    folder : Path
        The run folder.

    Raises
    ------
    DivergenceError
        While iterating: the run diverged and could not recover. The folder keeps the last good checkpoint.
    StorageError
        While iterating: a checkpoint could not be written.
    """

    def __init__(self, opened: contextlib.ExitStack, trainer: Any):
        self._opened, self._trainer = opened, trainer
        self._records = trainer.run()
        self.folder: Path = trainer.folder.path

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def __next__(self) -> Record:
        try:
            with naming_keywords():
                return _spelt(next(self._records))
        except BaseException:  # StopIteration too: the run is over
            self.close()
            raise

    def stop(self) -> None:
        """Ask the run to save and end after the current step.

        Keep iterating until the run ends. The last record is a Finished; its `resumable` is True if steps remain.
        """
        self._trainer.stop()

    def close(self) -> None:
        """Release the run folder and the text without saving. At the end of the loop this happens by itself."""
        self._records.close()
        self._opened.close()


@naming_keywords()
def train(
    texts: StrPath | Sequence[StrPath] = (),
    *,
    output: StrPath | None = None,
    resume: StrPath | None = None,
    init_from: StrPath | None = None,
    samples: bool = False,
    **options: Any,
) -> Training:
    """Train a new model, or resume a run.

    The call checks the options, reads the text and creates the run folder; the training itself happens while you
    iterate over the result. If the call raises an error, it has written nothing.

    Parameters
    ----------
    texts : path-like or sequence of path-like
        Files, folders or glob patterns to train on, read one after the other. With `resume` they may be left out: the
        run remembers where its text is.
    output : path-like, optional
        The folder of the new run. None means ./checkpoints/<text>-<n>, with the next free number n.
    resume : path-like, optional
        The folder of a run to resume. Then `options` may only give a greater length (steps, epochs or minutes), or
        options that do not affect the trained weights.
    init_from : path-like, optional
        A checkpoint or run folder from which a new run takes its initial weights.
    samples : bool
        Yield a Sampled record now and then: a text drawn from the model as it is at that step.
    **options
        The options of `charrnn train`, with underscores: cell, hidden_size, num_layers, steps, epochs, minutes,
        learning_rate, seed and so on. A run takes five minutes if neither steps, epochs, minutes nor patience is given.

    Returns
    -------
    Training
        An iterator of records: Preflight before the first step; then Step, Evaluated, Saved and Sampled (only with
        `samples`); Finished at the end. A Notice may come at any time.

    Raises
    ------
    ConfigError
        An option is unknown, has a value that is not allowed, or contradicts another option or the run that is resumed.
    CorpusError, VocabularyError
        A text is missing, too short or not readable as text; or, with keep_vocabulary, it has characters that the
        vocabulary of the old model does not have.
    RunError
        `output` already contains a run; or `resume` is not a run folder, or another process is training in it.
    CheckpointError
        The checkpoint of `resume` or `init_from` is missing or damaged.
    StorageError
        The run folder cannot be written.

    Examples
    --------
    >>> import charrnn
    >>> for record in charrnn.train("corpus.txt", steps=4, hidden_size=8, output="run"):
    ...     if isinstance(record, charrnn.Finished):
    ...         print(record.step, record.checkpoint)
    4 run/best.safetensors
    """
    _check_names(options, NAMES, "train")
    if samples:
        options.setdefault("sample", True)  # also of a run that was started without
    named = as_texts(texts)
    where, run, source = as_path("output", output), as_path("resume", resume), as_path("init_from", init_from)
    with contextlib.ExitStack() as stack:
        if run is not None:
            if where is not None or source is not None:
                raise ConfigError("resume already gives the run: leave output and init_from out")
            folder = stack.enter_context(RunFolder.open(run))
            trainer = stack.enter_context(resumed_run(folder, options, texts=named, samples=samples))
        else:
            if not named:
                raise ConfigError("no text to train on: give one or more texts")
            new = new_run(named, options, output=where, init_from=source, samples=samples)
            trainer = stack.enter_context(new)
        return Training(stack.pop_all(), trainer)


@naming_keywords()
def evaluate(
    model: Model,
    texts: StrPath | Sequence[StrPath] | None = None,
    *,
    string: str | None = None,
    split: str = "val",
    unknown: str = "error",
    progress: Progress | None = None,
    **options: Any,
) -> Judgement:
    """Measure how well a model predicts a text, and compare it with n-grams and the compressor xz.

    Parameters
    ----------
    model : Model
        A model from `load`.
    texts : path-like or sequence of path-like, optional
        Files, folders or glob patterns to read. If neither `texts` nor `string` is given, charrnn finds the text that
        the model was trained on and reads the part that `split` names.
    string : str, optional
        The text itself, instead of `texts`.
    split : {"val", "test", "train"}
        Which part of the training text to read. It has no effect if `texts` or `string` is given.
    unknown : {"error", "skip"}
        What to do with characters of `texts` that the model does not know. Such a character in `string` is always an
        error.
    progress : callable, optional
        Called now and then as progress(task, done, total): `task` is a str such as "reading the text", and `done` goes
        from 0 to `total`.
    **options
        What to measure besides the loss:

        - baselines (bool, default True): compare with a uniform guess, unigrams, n-grams and xz.
        - mix_ngram (bool): also measure a mixture of the model and the n-gram.
        - dynamic (DynamicSettings of charrnn.evaluation.dynamic): read the text a second time with a copy of the model
          that keeps learning as it reads.
        - mistakes (bool): sort the mistakes by kind, and closing brackets by their distance from the opening ones.
        - memorised (bool), sample_length (int, characters, default 20,000), sample_seed (int): how much of a sample
          drawn from the model is copied word for word from the training text.
        - top_k (int, default 0), guessed (int or None): keep the top_k most probable characters at each place, for the
          first `guessed` characters (None: all).
        - after (tuple of int), beam (int, default 1): for a model that predicts labels, also predict them after these
          numbers of characters; for a model that translates, the width of the beam search.

    Returns
    -------
    Judgement
        `evaluation` has the loss in nats per character, in bits per character and as perplexity; `baselines` and
        `verdict` compare it.

    Raises
    ------
    ConfigError
        An option is unknown or has a value that is not allowed, or it needs the training text, which is gone.
    CorpusError
        A text is missing or is not text, the training text cannot be found, or there are fewer than 2 characters.
    VocabularyError
        The text has a character that the model does not know.
    DivergenceError
        The loss is not a finite number: the model is damaged.

    Examples
    --------
    >>> import charrnn
    >>> result = charrnn.evaluate(charrnn.load("demo"), string="to be or not to be", baselines=False)
    >>> result.evaluation.characters, 0 < result.evaluation.loss_nats < 4
    (17, True)
    """
    asked = _asked(JudgeOptions, options, "evaluate")
    excerpt, training = _read(model, texts, string, split, unknown)
    if training is None and (asked.baselines or asked.mistakes or asked.memorised or asked.mix_ngram):
        with contextlib.suppress(CharRNNError):  # gone: `judge` refuses what cannot be had without it
            training = _read(model, None, None, "train", unknown)[1]
    return judge(model, model.vocabulary, excerpt, training, asked, progress)


@naming_keywords()
def find_cells(
    model: Model,
    texts: StrPath | Sequence[StrPath] | None = None,
    *,
    string: str | None = None,
    split: str = "val",
    characters: int = CELLS_CHARACTERS,
    progress: Progress | None = None,
    **options: Any,
) -> Findings:
    """Find hidden units that follow a signal of a text, such as quotes, indentation or the position in a line.

    Parameters
    ----------
    model, texts, string, split, progress
        As for `evaluate`. The text needs at least 4,000 characters.
    characters : int
        Read at most this many characters, from the beginning of the text.
    **options
        - quantity (str): which value of a unit to record, one of the cell's `quantities`, such as "h", "c" or a gate.
          The default is "tanh-c" for an LSTM and "h" for other cells.
        - signals (sequence of (name, regular expression)): additional signals, each on inside every match.
        - wanted (str): name of one signal; select the unit that follows this signal best.
        - unit (tuple (layer, unit), counted from 0): select this unit instead.
        - clamp ("mean", "off", "zero" or float): hold each selected unit at this value and measure how the loss rises:
          its mean, its mean where the signal is off, zero, or a number.
        - gates (bool): measure how often each gate is nearly shut and nearly open.

        Without `wanted` and `unit`, all units in `named` are selected.

    Returns
    -------
    Findings
        `named` has the units that follow a signal clearly better than chance and than an untrained network, the most
        certain first; `found` has the best unit for every signal.

    Raises
    ------
    ConfigError
        The text is too short, an option is unknown, or an option does not fit the model or the text.
    CorpusError, VocabularyError
        As for `evaluate`.
    DivergenceError
        The values of the units are not finite numbers: the model is damaged.

    Examples
    --------
    >>> import charrnn
    >>> findings = charrnn.find_cells(charrnn.load("demo"), "corpus.txt")
    >>> findings.quantity, len(findings.found) > 0
    ('tanh-c', True)
    """
    asked = _asked(CellsOptions, options, "find_cells")
    check_integer("characters", characters)
    excerpt, _ = _read(model, texts, string, split, "error")
    if characters < 1:
        raise ConfigError(f"characters must be at least 1, got {characters}")
    stop = min(excerpt.stop, excerpt.start + characters)
    excerpt = dataclasses.replace(excerpt, stop=stop)
    return search_cells(model, model.vocabulary, excerpt, asked, progress)


def _spelt(record):
    """Return a record of a run; a Notice names keyword arguments."""
    if isinstance(record, Notice):
        return dataclasses.replace(record, text=spelt_in_python(record.text))
    return record


def _asked(kind, options, call):
    """Return the options of a call as a record of `kind`. Raises ConfigError for a name that it has not."""
    _check_names(options, [each.name for each in dataclasses.fields(kind)], call)
    return kind(**options)


def _check_names(options, names, call):
    for name in options:
        if name not in names:
            near = nearest(name, names)
            hint = f"it has {', '.join(names)}" if near is None else f"did you mean {near!r}?"
            raise ConfigError(f"{call}: unknown option {name!r}; {hint}", options=(name,))


def _read(model, texts, string, split, unknown):
    """Return the Excerpt that is asked for, and the TrainingText of the model's own text where that is read."""
    check_model(model)
    vocabulary, encoding = model.vocabulary, shown_encoding(model.training)
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if string is not None:
        check_string("string", string)
        if texts is not None:
            raise ConfigError("texts and string both give a text to read: leave one of them out")
        return Excerpt.whole(text_ids(vocabulary, string, encoding, model.rule), encoding=encoding), None
    if texts is None:
        if model.path is None or not model.training:
            raise ConfigError("the model does not belong to a run, so its text is unknown: give texts or a string")
        corpus, named, splits = read_run_text(model.training, model.path.parent, vocabulary)
        start, stop = getattr(splits, split)
        if stop - start < 1:
            raise ConfigError(f"the run has no {split} split: choose another, or give texts")
        excerpt = Excerpt(_kept(corpus), start, stop, f"{split} split of {', '.join(named)}", split, (), encoding)
        return excerpt, TrainingText(excerpt.ids, splits)
    named = as_texts(texts)
    corpus = read_corpus(
        named,
        mode=vocabulary.mode,
        encoding=stored_encoding(model.training),
        part_files=stored_parting(model.training),
        items=stored_items(model.training, named[0] if named else None),
        vocabulary=vocabulary,
        unknown=unknown,
    )
    ids, skipped = _kept(corpus), corpus.skipped
    return Excerpt(ids, 0, len(ids), ", ".join(map(str, named)), None, skipped, encoding), None


def _kept(corpus: Corpus):
    """Return the ids of a corpus, which is closed: their mapping lives as long as the array."""
    ids = corpus.ids
    corpus.close()
    return ids
