"""Judge how well a model predicts a text, and what that is to be held against: all that `charrnn eval` measures.

    judgement = judge(model, vocabulary, Excerpt.whole(vocabulary.encode(text)))
    judgement.evaluation.loss_nats, judgement.to_dict()

Knows a model, a vocabulary and ids; no file, no terminal. judgement.py has the records.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charrnn.errors import DAMAGED, ConfigError, DivergenceError, check_integer, is_integer
from charrnn.evaluation import baselines
from charrnn.evaluation.answers import judge_answers
from charrnn.evaluation.baselines import MAX_TRAINING
from charrnn.evaluation.dynamic import DynamicSettings, read_losses_dynamic
from charrnn.evaluation.items import judge_items
from charrnn.evaluation.judgement import Copies, DynamicLosses, Guesses, Judgement, StandardError
from charrnn.evaluation.loss import read_guesses, read_losses, standard_error, sum_up
from charrnn.evaluation.memorised import overlaps
from charrnn.evaluation.mistakes import bracket_losses, count_words, find_mistakes, readable
from charrnn.evaluation.mixing import mix
from charrnn.evaluation.ngram import BYTES_A_CHARACTER, MAX_ORDERS, Stretch
from charrnn.evaluation.parts import find_unlike_parts
from charrnn.evaluation.stages import Stages
from charrnn.files.machine import available_memory
from charrnn.sampling.priming import start_ids
from charrnn.sampling.sampler import Sampler
from charrnn.sampling.sampler import Settings as SamplerSettings
from charrnn.text.task_names import STEER

CONTEXT = 2_000  # characters before the judged ones in which mistakes and brackets are followed
SAMPLE_LENGTH = 20_000


@dataclass(frozen=True)
class JudgeOptions:
    """What to measure besides the loss.

    baselines        compare with a uniform guess, unigrams, n-grams and xz, trained on the same text
    mix_ngram        also measure a mixture of the model and the n-gram; needs the training text
    dynamic          DynamicSettings: read the text again with a copy that keeps learning; None leaves this out
    mistakes         sort mistakes by kind, and closing brackets by their distance; needs the training text
    memorised        measure how much of a sample is copied word for word from the training text, which it needs
    sample_length    characters of that sample, and of the held-out text that it is compared with; at least 1
    sample_seed      seed of that sample, 0 .. 2**64 - 1
    top_k            keep this many guesses per character, the most probable ones; 0 keeps none
    guessed          keep guesses for this many characters, the first ones, at least 1; None means all
    after            for a model that predicts labels: also predict them after these numbers of characters
    beam             for a model that translates: number of hypotheses that the beam search keeps

    Raises ConfigError if a value is not allowed.
    """

    baselines: bool = True
    mix_ngram: bool = False
    dynamic: DynamicSettings | None = None
    mistakes: bool = False
    memorised: bool = False
    sample_length: int = SAMPLE_LENGTH
    sample_seed: int = 0
    top_k: int = 0
    guessed: int | None = None
    after: tuple[int, ...] = ()
    beam: int = 1

    def __post_init__(self):
        for name in ("sample_length", "sample_seed", "top_k", "beam"):
            check_integer(name, getattr(self, name))
        if self.guessed is not None:
            check_integer("guessed", self.guessed, 1)
        if self.dynamic is not None and not isinstance(self.dynamic, DynamicSettings):
            raise ConfigError(
                "dynamic must be DynamicSettings() of charrnn.evaluation.dynamic, with settings of your choice, or "
                f"None, got {self.dynamic!r}",
                ["dynamic"],
            )
        if isinstance(self.after, str) or not isinstance(self.after, Iterable) or not all(map(is_integer, self.after)):
            raise ConfigError(f"after must be a sequence of integers, such as (1, 10), got {self.after!r}", ["after"])
        if self.sample_length < 1:
            raise ConfigError(f"sample_length must be at least 1 character, got {self.sample_length}")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be at least 0, got {self.top_k}")


def judge(model, vocabulary, text, training=None, options=JudgeOptions(), progress=None):
    """Judge how well a model predicts a text.

    Parameters
    ----------
    model : Model
    vocabulary : Vocabulary
        The model's own.
    text : Excerpt
        Read as one stream from end to end, after up to 256 characters before it; its first character is judged only
        where one stands before it.
    training : TrainingText, optional
        The text that the model was trained on. Without it there are no unigram and no n-gram, and xz learns nothing.
    options : JudgeOptions
    progress : callable, optional
        Called with (what is being done, done, of) now and then, `done` from 0 to `of`.

    Returns
    -------
    Judgement

    Raises
    ------
    ConfigError
        An option needs the training text, which was not given, or more memory than is free.
    CorpusError
        There is no character to predict.
    DivergenceError
        The loss is not a finite number, or stops being one while the model learns.
    """
    return _Judge(model, vocabulary, text, training, options, Stages(progress)).judge()


class _Judge:
    """The parts of one judgement, in the order in which they are measured."""

    def __init__(self, model, vocabulary, text, training, options, stages):
        self.model, self.vocabulary, self.text, self.training = model, vocabulary, text, training
        self.options, self.stages = options, stages
        self.counted = None  # which of the judged characters count

    def judge(self):
        options, text = self.options, self.text
        asked = next((name for name in ("mistakes", "memorised", "mix_ngram") if getattr(options, name)), None)
        if self.training is None and asked is not None:
            raise ConfigError(f"{asked} needs the text that the model was trained on: give it as `training`")
        losses = read_losses(self.model, text.ids, text.start, text.stop, self.stages.begin("reading the text"))
        self.counted = counted = self._count(text.ids, text.first, text.stop)
        evaluation = sum_up(losses, counted)
        if not math.isfinite(evaluation.loss_nats):
            raise DivergenceError(f"the model's loss on this text is not a finite number: {DAMAGED}")
        found = {}
        if counted is not None:
            self._refuse_what_needs_a_stream()
            if self.model.rule.task in (None, STEER):
                report = self.stages.begin("drawing items")
                found["items"] = judge_items(
                    self.model, self.vocabulary, text.predicted_ids, losses, options.sample_seed, report
                )
            if self.model.rule.task is not None:
                report = self.stages.begin("answering")
                found["answers"] = judge_answers(
                    self.model, self.vocabulary, text, losses, options.after, options.beam, report
                )
        if options.baselines or options.mistakes or options.mix_ngram:
            found |= self._measure_baselines()
        if options.mix_ngram:
            found["mixed"] = mix(losses, found["ngram"].loss_nats, found["ngram"].order, counted)
        if options.dynamic is not None:
            found["dynamic"] = self._read_dynamically()
        if options.mistakes:
            found |= self._find_mistakes(losses, found["ngram"])
        if options.memorised:
            found |= self._measure_copies()
        if options.top_k:
            found["guesses"] = self._read_guesses()
        error = StandardError(*standard_error(losses if counted is None else losses[counted]))
        return Judgement(self.vocabulary, text, losses, evaluation, error, self._size_bytes(), counted=counted, **found)

    def _refuse_what_needs_a_stream(self):
        """Refuse what has no meaning of a model of items."""
        for name, asked in (("memorised", self.options.memorised), ("mistakes", self.options.mistakes)):
            if asked:
                raise ConfigError(
                    f"{name} needs a model of one long text, but this is a model of items: leave it out", [name]
                )

    def _training_ids(self):
        """Return the training split's ids, the last ones of a very long one, or None."""
        if self.training is None:
            return None
        start, stop = self.training.splits.train
        return self.training.ids[max(start, stop - MAX_TRAINING) : stop]

    def _measure_baselines(self):
        V, ids, training = self.model.config.vocab_size, self.text.predicted_ids, self._training_ids()
        measured, result = [baselines.uniform(V - self._count_never())], {}
        if training is not None:
            text = _with_context(self.text.ids, self.text.first, self.text.stop, self.counted)
            start, stop = self.training.splits.val
            validation = None
            if self.text.split == "val":
                validation = text
            elif stop > start:
                validation = _with_context(self.training.ids, start, stop, self._count(self.training.ids, start, stop))
            _check_memory(len(training), BYTES_A_CHARACTER * (len(training) + len(text.ids) + stop - start))
            result["training_used"] = len(training)
            end = self.training.splits.train[1]
            counted = self._count(self.training.ids, end - len(training), end)
            measured.append(baselines.unigram(_those(training, counted), _those(ids, self.counted), V))
            ngram, result["ngram"] = baselines.ngram(
                training, validation, text, V, self.stages.begin_share("training n-grams"), self.model.start_id
            )
            measured.append(ngram)
            if self.text.split in ("val", "test") and not self._has_task():
                report = self.stages.begin_share("comparing the parts of the text")
                parts = find_unlike_parts(self.training.ids, self.training.splits, V, report, self.model.start_id)
                result["unlike"] = next((part for part in parts if part.name == self.text.split), None)
        # Of a task xz would write all of what only a part is asked of.
        if self.options.baselines and not self._has_task():
            before = b"" if training is None else baselines.encoded(self.vocabulary, training)
            data = baselines.encoded(self.vocabulary, ids)
            measured += baselines.xz(
                before, data, len(_those(ids, self.counted)), self.stages.begin_share("compressing with xz")
            )
        if self.options.baselines:
            result["baselines"] = tuple(sorted(measured, key=lambda baseline: -baseline.loss_nats))
        return result

    def _count(self, ids, first, stop):
        """Return which of ids[first:stop] count, None for all."""
        return None if self.model.rule is None else self.model.rule.counts(ids, first, stop)

    def _has_task(self):
        """Say whether the model is of items of which only a part is asked, or that have a label."""
        return self.model.rule is not None and self.model.rule.task is not None

    def _count_never(self):
        """Return how many symbols are never predicted."""
        return 0 if self.model.rule is None else len(self.model.rule.never())

    def _read_dynamically(self):
        text, settings = self.text, self.options.dynamic
        report = self.stages.begin("reading and learning")
        losses = read_losses_dynamic(
            self.model, text.ids, text.start, text.stop, settings, self._training_ids(), report
        )
        return DynamicLosses(settings, losses, self.counted)

    def _find_mistakes(self, losses, ngram):
        self.stages.begin("sorting the mistakes")
        before = min(CONTEXT, self.text.first)
        text = readable(self.vocabulary, self.text.ids[self.text.first - before : self.text.stop])
        words = count_words(readable(self.vocabulary, self._training_ids()))
        return {
            "mistakes": find_mistakes(text, before, losses, ngram.first_sure, words),
            "brackets": tuple(bracket_losses(text, before, losses, ngram.loss_nats)),
        }

    def _measure_copies(self):
        length = self.options.sample_length
        held_out, name = self._held_out()
        sampler = Sampler(self.model.for_drawing(), SamplerSettings(), seed=self.options.sample_seed, num_samples=1)
        sampler.prime(start_ids(self.vocabulary))
        report, drawn = self.stages.begin("drawing a sample"), []
        for block in sampler.generate(length):
            drawn.append(block.ids[0])
            report(sum(map(len, drawn)), length)
        texts = {"sample": ("a sample of the model", np.concatenate(drawn)), "held_out": (name, held_out[:length])}
        found = overlaps(
            self._training_ids(),
            [ids for _, ids in texts.values()],
            self.model.config.vocab_size,
            self.stages.begin_share("looking for copies"),
        )
        return {
            key: Copies(
                name, ids, one, self.vocabulary.decode(ids[one.start : one.start + one.longest], self.text.encoding)
            )
            for (key, (name, ids)), one in zip(texts.items(), found)
        }

    def _held_out(self):
        """Return (ids, their name) of a text that the model has not seen."""
        if self.text.split is None:
            return self.text.ids, self.text.name
        for split in (self.text.split, "test", "val"):
            start, stop = getattr(self.training.splits, split)
            if split != "train" and stop > start:
                return self.text.ids[start:stop], f"the {split} split"
        return self.text.ids[:0], "nothing held out"

    def _read_guesses(self):
        text, options = self.text, self.options
        stop = text.stop if options.guessed is None else min(text.stop, text.first + options.guessed)
        return Guesses(
            *read_guesses(
                self.model,
                text.ids,
                text.start,
                stop,
                options.top_k,
                self.stages.begin("computing the model's guesses"),
            )
        )

    def _size_bytes(self):
        """Return the bytes that the judged characters take, of characters in UTF-8."""
        ids = self.text.predicted_ids
        if self.vocabulary.mode == "bytes":
            return len(ids)
        lines = [*(baselines.LINES[name] for name in self.vocabulary.special), *self.vocabulary.labels]
        sizes = np.array([len(symbol.encode()) for symbol in (*self.vocabulary.symbols, *lines)])
        return int(np.bincount(_those(ids, self.counted), minlength=len(sizes)) @ sizes)


def _those(ids, counted):
    """Return those of ids that count, all where None."""
    return ids if counted is None else ids[counted]


def _with_context(ids, first, stop, counted=None):
    """Return the Stretch of ids[first:stop] after as many characters as an n-gram looks at."""
    before = min(MAX_ORDERS, first)
    return Stretch(ids[first - before : stop], before, counted)


def _check_memory(characters, need_bytes):
    """Raise ConfigError where an n-gram of so many characters does not fit into memory."""
    free = available_memory()
    if free is not None and need_bytes > free:
        raise ConfigError(
            f"an n-gram of {characters:,} characters needs {need_bytes / 1e9:.1f} GB of memory, but only "
            f"{free / 1e9:.1f} GB are free: add --no-baselines",
            ["baselines"],
        )
