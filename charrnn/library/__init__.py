"""The calls of `import charrnn`: load, train, evaluate, find_cells; sample and next_characters are in drawing.py.

    model = charrnn.load("checkpoints/demo")
    print(charrnn.sample(model, 300, prime="ROMEO:", temperature=0.8, seed=1))

They return what the commands print. Nothing here prints, writes to a terminal or looks at a signal. The doctests run in
a folder that has a short text, corpus.txt.
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
from charrnn.errors import CharRNNError, ConfigError, nearest
from charrnn.evaluation.judgement import Judgement, TrainingText
from charrnn.evaluation.report import JudgeOptions, judge
from charrnn.library.drawing import next_characters as next_characters
from charrnn.library.drawing import sample as sample
from charrnn.model.parameters import Model
from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.text.corpus import Corpus, Splits, read_corpus
from charrnn.text.excerpt import Excerpt
from charrnn.text.items import text_ids
from charrnn.training.launch import new_run, resumed_run
from charrnn.training.options import NAMES
from charrnn.training.provenance import read_run_text
from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Sampled, Saved, Step
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
        A checkpoint or a run folder, of which the best checkpoint is taken; None takes the newest run under
        ./checkpoints.

    Returns
    -------
    Model
        With .vocabulary, .training (the record of its run) and .path.

    Raises
    ------
    CheckpointError
        There is no checkpoint, or it is damaged.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.load("demo")
    >>> model.config.cell, model.config.hidden_size, model.vocabulary.size
    ('lstm', 12, 16)
    """
    found = find_checkpoint(None if path is None else Path(path))
    model = Model.from_checkpoint(load_checkpoint(found))
    model.path = found
    return model


class Training(Iterator[Record]):
    """A run in progress: an iterator of its records, made by `train`.

    Leaving the loop early is like killing the process: the run can be resumed from its last save. `stop` saves first.

    Attributes
    ----------
    folder : Path
        The run folder.
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
            return next(self._records)
        except BaseException:  # StopIteration too: the run is over
            self.close()
            raise

    def stop(self) -> None:
        """Ask the run to end after the step at hand; it is saved, and the last record is a Finished that says so."""
        self._trainer.stop()

    def close(self) -> None:
        """Let go of the run folder and the text, as at the end of the loop."""
        self._records.close()
        self._opened.close()


def train(
    texts: StrPath | Sequence[StrPath] = (),
    *,
    output: StrPath | None = None,
    resume: StrPath | None = None,
    init_from: StrPath | None = None,
    samples: bool = False,
    **options: Any,
) -> Training:
    """Train a model, or resume a run, record by record.

    Parameters
    ----------
    texts : path-like or sequence of path-like
        Files, folders or globs, read one after the other. With `resume` they may be left out.
    output : path-like, optional
        The run folder; None takes ./checkpoints/<text>-<n>.
    resume : path-like, optional
        A run folder to resume. Of the options, a longer length and those that bear on no result may be given.
    init_from : path-like, optional
        A checkpoint or run folder to take the weights of a new run from.
    samples : bool
        Draw samples while training, as the command does.
    **options
        The options of `charrnn train`, with underscores: cell, hidden_size, num_layers, steps, epochs, minutes,
        learning_rate, seed and so on. Without a length the run takes five minutes.

    Returns
    -------
    Training
        Yields Notice, Preflight, Step (loss in nats, before clipping the gradient's norm), Evaluated, Saved, and at the
        end Finished. charrnn.training.records has their fields.

    Raises
    ------
    CharRNNError
        An option breaks its rule, the text will not do, or the folder holds a run. Nothing has been written then.

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
    named = [texts] if isinstance(texts, (str, PathLike)) else list(texts)
    with contextlib.ExitStack() as stack:
        if resume is not None:
            if output is not None or init_from is not None:
                raise ConfigError("resume already gives the run: leave output and init_from out")
            folder = stack.enter_context(RunFolder.open(Path(resume)))
            trainer = stack.enter_context(resumed_run(folder, options, texts=named, samples=samples))
        else:
            if not named:
                raise ConfigError("no text to train on: give one or more texts")
            where = None if output is None else Path(output)
            run = new_run(named, options, output=where, init_from=init_from, samples=samples)
            trainer = stack.enter_context(run)
        return Training(stack.pop_all(), trainer)


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
    """Measure how well a model predicts a text, beside what n-grams and xz reach.

    Parameters
    ----------
    model : Model
        From `load`.
    texts : path-like or sequence of path-like, optional
        The text; None takes a split of the text that the model was trained on, found again.
    string : str, optional
        The text itself, in place of `texts`.
    split : str
        "val", "test" or "train", where the model's own text is read.
    unknown : str
        What to do with a character of `texts` that the model does not know: "error", or "skip" it. A `string` must
        have none.
    progress : callable, optional
        Called with (what is being done, done, of).
    **options
        Of JudgeOptions: baselines, mix_ngram, dynamic, mistakes, memorised, sample_length, sample_seed, top_k, guessed.

    Returns
    -------
    Judgement
        .evaluation has the loss in nats, bits per character and perplexity; .baselines and .verdict what stands beside.

    Raises
    ------
    CharRNNError
        The text will not do, or something asked for needs the training text and that is gone.

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
    """Find the hidden units of a model that follow something in a text.

    Parameters
    ----------
    model, texts, string, split, progress
        As for `evaluate`.
    characters : int
        Of the text, at most: its first ones.
    **options
        Of CellsOptions: quantity, signals, wanted, unit, clamp, gates.

    Returns
    -------
    Findings
        .named are the units that beat chance and an untrained network, the surest first; .found has every signal.

    Raises
    ------
    CharRNNError
        The text is shorter than 4,000 characters, or an option does not fit the model.

    Examples
    --------
    >>> import charrnn
    >>> findings = charrnn.find_cells(charrnn.load("demo"), "corpus.txt")
    >>> findings.quantity, len(findings.found) > 0
    ('tanh-c', True)
    """
    asked = _asked(CellsOptions, options, "find_cells")
    excerpt, _ = _read(model, texts, string, split, "error")
    if characters < 1:
        raise ConfigError(f"characters must be at least 1, got {characters}")
    stop = min(excerpt.stop, excerpt.start + characters)
    excerpt = dataclasses.replace(excerpt, stop=stop)
    return search_cells(model, model.vocabulary, excerpt, asked, progress)


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
    vocabulary, encoding = model.vocabulary, shown_encoding(model.training)
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if string is not None:
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
    named = [texts] if isinstance(texts, (str, PathLike)) else list(texts)
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
