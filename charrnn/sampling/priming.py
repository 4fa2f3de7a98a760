"""What an unprimed text follows. Knows a vocabulary's ids, not files."""

from charrnn.errors import VocabularyError

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
