"""Drafts: the points of a sweep planned on the text, before anything is trained; what a dry run shows."""

import contextlib
from dataclasses import dataclass

from charrnn.errors import CharRNNError
from charrnn.spec import num_parameters
from charrnn.sweep.points import Point
from charrnn.text.corpus import read_corpus
from charrnn.text.validation_text import ValidationText
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import SIZES, plan_run
from charrnn.training.spelling import spelt_in_file

ADDRESSABLE_BYTES = 1 << 47  # by one process, on any machine of today
NO_MEMORY = "this does not fit in memory: lower hidden-size, num-layers, batch-size or seq-length"


@dataclass(frozen=True)
class Text:
    """What tells a text from another one; its fields are a Corpus's."""

    sources: tuple
    own_characters: int
    fingerprint: str
    own: tuple = ()
    validation: ValidationText | None = None


@dataclass(frozen=True)
class Draft:
    """A point planned on the text. config : with what the text decides filled in; None where `error` says why not."""

    point: Point
    config: TrainingConfig | None = None
    parameters: int | None = None
    memory_bytes: int | None = None
    text: Text | None = None
    error: str | None = None
    total_steps: int | None = None  # None where the run is by the clock


def draft(points, texts, progress=None, say=None):
    """Plan every point on the text, read once for each way to read it. Raises CorpusError where that cannot be done.

    progress    called with (bytes done, of) while the text is read
    say         called with each sentence about the text that the user should know, once
    """
    drafts, ways, said = {}, {}, set()
    for point in points:
        if point.config is None:
            drafts[point.name] = Draft(point, error=point.error)
        else:
            ways.setdefault(tuple(point.config.reading().items()), []).append(point)
    for reading, alike in ways.items():
        with contextlib.closing(read_corpus(texts, **dict(reading), progress=progress)) as corpus:
            for note in corpus.notes:
                if say is not None and note not in said:
                    said.add(note)
                    say(note)
            for point in alike:
                drafts[point.name] = _draft(point, corpus)
    return [drafts[point.name] for point in points]


def _draft(point, corpus):
    try:
        plan = plan_run(point.config, corpus, must_fit=False, sized=any(name in point.options for name in SIZES))
    except CharRNNError as error:
        return Draft(point, error=spelt_in_file(str(error)))
    parameters, memory_bytes = num_parameters(plan.model_config), plan.memory_needed()
    if memory_bytes > ADDRESSABLE_BYTES:
        return Draft(point, error=NO_MEMORY)
    text = Text(corpus.sources, corpus.own_characters, corpus.fingerprint, corpus.own, corpus.validation)
    return Draft(point, plan.config, parameters, memory_bytes, text, total_steps=plan.total_steps)
