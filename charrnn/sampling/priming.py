"""The ids that a model reads before it draws a text, and those that end the text. Knows ids, not files."""

import numpy as np

from charrnn.errors import ConfigError, VocabularyError
from charrnn.text.special import SEP, listed
from charrnn.text.task_names import CLASSIFY, STEER, TRANSLATE

START = "\n"  # the end of a line, where the vocabulary has one


def start_ids(vocabulary):
    """Return the ids that a model reads before it draws a text without a prime.

    They are START for a model of items, otherwise a newline. If the vocabulary has no newline, the result is empty, and
    the sampler draws the first character uniformly.
    """
    if vocabulary.start_id is not None:
        return (vocabulary.start_id,)
    try:
        return vocabulary.encode(START)
    except VocabularyError:
        return ()


def first_ids(vocabulary, prime_ids, label=None):
    """Return the ids that a model reads before it draws a text that begins with a prime.

    prime_ids    the ids of the prime; if empty, the result is that of `start_ids`
    label        the id of a label, for a model that writes texts for a label; otherwise None

    For a model of items, START comes before the prime; with a label, START, the label and SEP.
    """
    if label is not None:
        return [vocabulary.start_id, label, vocabulary.special_id(SEP), *prime_ids]
    if vocabulary.start_id is not None:
        return [vocabulary.start_id, *prime_ids]
    return prime_ids if len(prime_ids) else start_ids(vocabulary)


def stop_ids(vocabulary, sequences):
    """Return `sequences`, the id sequences that end a text, and END if the vocabulary has it."""
    return sequences if vocabulary.end_id is None else [*sequences, [vocabulary.end_id]]


def side_by_side(prompts):
    """Return prompts of different lengths as one batch: ids, ndarray (T, n) int32, and begins, ndarray (T, n) bool.

    prompts    n sequences of ids; some may be empty, but not all

    All prompts end at the last time step; a shorter one is padded at its beginning. `begins` is True where a prompt
    begins: the state must be set to zero there, so that the padding has no effect.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    T = lengths.max()
    ids = np.zeros((T, len(prompts)), np.int32)
    for j, prompt in enumerate(prompts):
        ids[T - len(prompt) :, j] = prompt
    return ids, np.arange(T)[:, None] == T - lengths


def label_of(model, given):
    """Return the id of the label named `given`; None if `given` is None.

    Raises ConfigError if the model needs a label and none is given, if it does not write texts for labels, or if it
    writes no texts at all; VocabularyError if there is no such label.
    """
    task, labels = None if model.rule is None else model.rule.task, model.vocabulary.labels
    if task in (CLASSIFY, TRANSLATE):
        raise ConfigError("the model predicts labels or translates, and does not write texts")
    if task == STEER and given is None:
        raise ConfigError(f"the model writes texts for a label: give one of {listed(labels)}")
    if task != STEER and given is not None:
        raise ConfigError(f"the model has no labels, got given={given!r}: leave it out")
    return None if given is None else model.vocabulary.label_id(given)
