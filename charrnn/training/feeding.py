"""How a run reads its text: one long text in streams, or items distributed over the streams; with a batch size and a
chunk length that fit the text.

This module knows options and texts; no model and no plan.
"""

import dataclasses

import numpy as np

from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.text.item_streams import ItemStreams, fit_item_streams
from charrnn.text.special import listed
from charrnn.text.streams import Streams, fit_streams
from charrnn.text.task_names import BOTH, CLASSIFY
from charrnn.text.tasks import ItemRule
from charrnn.training.defaults import BATCH_SIZE, SEQ_LENGTH


def make_streams(config, corpus, splits):
    """Return the Streams of the training split, or ItemStreams if the text is a set of items."""
    start, stop = splits.train
    if corpus.items is None:
        return Streams(corpus.ids, start, stop, config.batch_size, config.seq_length)
    rule = make_rule(config, corpus.vocabulary)
    silent = None if rule is None else rule.silent(corpus.ids, corpus.items.starts)
    shape = config.batch_size, config.seq_length
    return ItemStreams(corpus.ids, corpus.items, start, stop, *shape, config.seed, silent)


def make_rule(config, vocabulary):
    """Return the ItemRule of the model; None for a run on one long text."""
    reading = config.items_reading
    return None if reading is None else ItemRule.of(vocabulary, reading.task)


def reach_note(config, corpus):
    """Return a tuple with a note if most texts are longer than seq_length, so that the gradient of a label cannot reach
    their beginnings; otherwise ().
    """
    if config.task not in (CLASSIFY, BOTH):
        return ()
    typical = int(np.median(np.diff(corpus.items.starts))) - 2
    if typical <= config.seq_length:
        return ()
    return (
        f"half of the texts are longer than {typical:,} characters, but the gradient of a label reaches back only "
        f"{config.seq_length:,}: use --seq-length {typical:,} to reach their beginnings",
    )


def check_labels(corpus, splits):
    """Return a tuple of notes on labels without examples in the validation or test split.

    Raises CorpusError if there is only one label, or a label has only one example or none in the training split.
    """
    counts = corpus.count_labels(splits)
    if counts is None:
        return ()
    name = next(iter(counts))
    if len(counts) < 2:
        more = "use a text with 2 or more labels, or train without them"
        if corpus.items.reading.label_from is not None:
            more = "name a folder that contains one folder for each label, or train without --label-from"
        raise CorpusError(f"all items have the same label, {name!r}: {more}")
    for name, of_each in counts.items():
        if sum(of_each) < 2:
            raise CorpusError(f"the label {name!r} has only one example: add more, or remove it from the text")
        if not of_each[0]:
            raise CorpusError(
                f"the label {name!r} has {counted(sum(of_each), 'example')}, but none in the training split: add "
                "more, remove it from the text, or lower --val-fraction and --test-fraction"
            )
    notes = []
    for place, (split, option) in enumerate((("validation", "val"), ("test", "test")), 1):
        without = [name for name, of_each in counts.items() if not of_each[place]]
        if without and any(of_each[place] for of_each in counts.values()):
            notes.append(
                f"no example in the {split} split of {counted(len(without), 'label')}, {listed(without)}: "
                f"{'it is' if len(without) == 1 else 'they are'} not measured there; a higher --{option}-fraction may "
                "include some"
            )
    return tuple(notes)


def fit_shape(config, corpus, splits):
    """Return the TrainingConfig with batch_size and seq_length set, and a tuple of notes.

    Values that the user did not give are reduced if the text is short. Raises ConfigError if the text is too short for
    the values that the user gave, or the batch cannot be divided into the shards.
    """
    start, stop = splits.train
    batch_size, seq_length = config.batch_size or BATCH_SIZE, config.seq_length or SEQ_LENGTH
    fixed = config.batch_size is not None, config.seq_length is not None
    if corpus.items is None:
        batch_size, seq_length, notes = _fit(stop - start, batch_size, seq_length, fixed)
    else:
        batch_size, seq_length, notes = fit_item_streams(corpus.items, start, stop, (batch_size, seq_length), fixed)
    if batch_size % config.shards:
        raise ConfigError(
            f"a batch of {counted(batch_size, 'stream')} cannot be divided into {config.shards} equal shards: use "
            f"--batch-size {config.shards} or a multiple of it, or fewer --shards",
            ["batch_size", "shards"],
        )
    return dataclasses.replace(config, batch_size=batch_size, seq_length=seq_length), tuple(notes)


def _fit(characters, batch_size, seq_length, fixed):
    notes = []
    if any(fixed) and characters > 1 and batch_size * seq_length >= characters:
        # Of the two, only the one that was named is to be kept.
        if not fixed[1]:
            seq_length = max(1, (characters - 1) // batch_size)
            notes.append(f"the text is short: using --seq-length {seq_length}")
        elif not fixed[0]:
            batch_size = max(1, (characters - 1) // seq_length)
            notes.append(f"the text is short: using --batch-size {batch_size}")
    batch_size, seq_length, more = fit_streams(characters, batch_size, seq_length, any(fixed))
    return batch_size, seq_length, [*notes, *more]
