"""What a run reads: one long text in streams, or items dealt to them; of a shape that fits it.

Knows options and texts; no model and no plan.
"""

import dataclasses

from charrnn.text.item_streams import ItemStreams, fit_item_streams
from charrnn.text.streams import Streams, fit_streams
from charrnn.training.options import BATCH_SIZE, SEQ_LENGTH


def make_streams(config, corpus, splits):
    """Return the Streams of a run's training split, or its ItemStreams."""
    start, stop = splits.train
    if corpus.items is None:
        return Streams(corpus.ids, start, stop, config.batch_size, config.seq_length)
    return ItemStreams(corpus.ids, corpus.items, start, stop, config.batch_size, config.seq_length, config.seed)


def fit_shape(config, corpus, splits):
    """Return the config with its batch and sequence, shrunk to the text where the user named none, and notes."""
    start, stop = splits.train
    batch_size, seq_length = config.batch_size or BATCH_SIZE, config.seq_length or SEQ_LENGTH
    fixed = config.batch_size is not None, config.seq_length is not None
    if corpus.items is None:
        batch_size, seq_length, notes = _fit(stop - start, batch_size, seq_length, fixed)
    else:
        batch_size, seq_length, notes = fit_item_streams(corpus.items, start, stop, (batch_size, seq_length), fixed)
    return dataclasses.replace(config, batch_size=batch_size, seq_length=seq_length), tuple(notes)


def _fit(characters, batch_size, seq_length, fixed):
    notes = []
    if any(fixed) and characters > 1 and batch_size * seq_length >= characters:
        # Of the two, only the one that was named is to be kept.
        if not fixed[1]:
            seq_length = max(1, (characters - 1) // batch_size)
            notes.append(f"the text is short: seq_length is lowered to {seq_length}")
        elif not fixed[0]:
            batch_size = max(1, (characters - 1) // seq_length)
            notes.append(f"the text is short: batch_size is lowered to {batch_size}")
    batch_size, seq_length, more = fit_streams(characters, batch_size, seq_length, any(fixed))
    return batch_size, seq_length, [*notes, *more]
