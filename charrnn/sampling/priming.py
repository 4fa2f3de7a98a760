"""What a text that is drawn follows, and what ends it. Knows a vocabulary's ids, not files."""

import numpy as np

from charrnn.errors import ConfigError, VocabularyError
from charrnn.text.special import SEP, listed
from charrnn.text.task_names import CLASSIFY, STEER, TRANSLATE

START = "\n"  # the end of a line, where the vocabulary has one


def start_ids(vocabulary):
    """Return what an unprimed text follows: a newline's ids, or none where the model has never seen one.

    With none the sampler draws the first character uniformly. An item of a model of items follows its START.
    """
    if vocabulary.start_id is not None:
        return (vocabulary.start_id,)
    try:
        return vocabulary.encode(START)
    except VocabularyError:
        return ()


def first_ids(vocabulary, prime_ids, label=None):
    """Return what a text follows that begins with a prime: the prime; nothing of it, what an unprimed text follows; of
    a model of items START and the prime; START, the label and SEP before it, where the id of a label is given.
    """
    if label is not None:
        return [vocabulary.start_id, label, vocabulary.special_id(SEP), *prime_ids]
    if vocabulary.start_id is not None:
        return [vocabulary.start_id, *prime_ids]
    return prime_ids if len(prime_ids) else start_ids(vocabulary)


def stop_ids(vocabulary, sequences):
    """Return the id sequences that end a text: those that are given, and of a model of items END."""
    return sequences if vocabulary.end_id is None else [*sequences, [vocabulary.end_id]]


def side_by_side(prompts):
    """Return prompts of different lengths as one batch: ids (T, n), int32, and begins (T, n), bool.

    prompts    n sequences of ids; one may be empty, but not all

    All end at the last step, so each begins late by what it is shorter than the longest one. What is read before that
    is forgotten: the state is to be zero where `begins` says so.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    T = lengths.max()
    ids = np.zeros((T, len(prompts)), np.int32)
    for j, prompt in enumerate(prompts):
        ids[T - len(prompt) :, j] = prompt
    return ids, np.arange(T)[:, None] == T - lengths


def label_of(model, given):
    """Return the id of the label that a text is drawn of, `given` by its name; None where the model follows none."""
    task, labels = None if model.rule is None else model.rule.task, model.vocabulary.labels
    if task in (CLASSIFY, TRANSLATE):
        raise ConfigError("the model predicts labels or translates, and does not write texts")
    if task == STEER and given is None:
        raise ConfigError(f"the model writes texts for a label: give one of {listed(labels)}")
    if task != STEER and given is not None:
        raise ConfigError(f"the model has no labels, got given={given!r}: leave it out")
    return None if given is None else model.vocabulary.label_id(given)
