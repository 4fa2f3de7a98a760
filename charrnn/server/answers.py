"""From what a request asks to the texts that are drawn, and from what is drawn to what is answered."""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple

import numpy as np

from charrnn.errors import DAMAGED, CharRNNError, ConfigError, VocabularyError
from charrnn.model.parameters import Model
from charrnn.sampling.priming import first_ids, label_of, stop_ids
from charrnn.sampling.stops import StopMatcher
from charrnn.server.batching import Drawing, Growth, Prompt, Scores
from charrnn.server.protocol import Asked, Limits, Refused, choice, completion, usage
from charrnn.text.special import listed
from charrnn.text.task_names import STEER
from charrnn.training.stored import shown_encoding

NOT_A_NUMBER = f"the model's output is not finite: {DAMAGED}"


class Served(NamedTuple):
    """A model and how it is named.

    name      by which clients ask for it
    created   when it was saved, seconds since 1970
    named_encoding   of the text of a model of bytes; None: its run's
    """

    model: Model
    name: str
    created: int
    limits: Limits
    named_encoding: str | None = None

    @property
    def vocabulary(self):
        return self.model.vocabulary

    @property
    def encoding(self):
        """Of the text of a model of bytes."""
        return self.named_encoding or shown_encoding(self.model.training)

    def about(self):
        """Return what /v1/models tells of it."""
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "charrnn"}


class Answer:
    """The texts of one request as they grow.

    Raises Refused where the model cannot do what is asked.
    """

    def __init__(self, served: Served, asked: Asked):
        self.served, self.asked = served, asked
        self.seed = secrets.randbits(32) if asked.seed is None else asked.seed
        self.about = {
            "id": f"cmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": served.name, "seed": self.seed,
        }  # fmt: skip
        self.prompt_characters = self.drawn = 0
        self.texts: list[_Text] = []
        self._by_drawing: dict[int, _Text] = {}
        self._make()

    @property
    def drawings(self) -> list[Drawing]:
        return [text.drawing for text in self.texts]

    def _make(self):
        asked, vocabulary = self.asked, self.served.vocabulary
        label = self._label()
        stop = self._stops()
        matcher = StopMatcher(stop) if stop else None
        # Of an item END takes a draw of its own.
        limit = asked.length + (vocabulary.end_id is not None and asked.length > 0)
        for place, text in enumerate(asked.prompts):
            ids = self._encoded(text, place)
            whole = np.asarray(first_ids(vocabulary, ids, label), np.int32).reshape(-1)
            scored = asked.logprobs if asked.echo and len(ids) else None
            prompt = Prompt(whole, scored, skip=len(whole) - len(ids))
            self.prompt_characters += len(ids)
            for number in range(asked.n):
                drawing = Drawing(prompt, asked.settings, self.seed, number, limit, matcher, asked.logprobs)
                self.texts.append(_Text(len(self.texts), drawing, ids, self.served, asked))
                self._by_drawing[id(drawing)] = self.texts[-1]

    def _label(self):
        vocabulary, rule = self.served.vocabulary, self.served.model.rule
        given = self.asked.given
        try:
            return label_of(self.served.model, given)
        except ConfigError:
            if rule is not None and rule.task == STEER:
                raise Refused(
                    f"this model writes texts for a label: give it in the field given, one of "
                    f"{listed(vocabulary.labels)}",
                    "given",
                ) from None
            raise Refused("this model has no labels: leave the field given out", "given") from None
        except VocabularyError as error:
            raise Refused(str(error), "given") from None

    def _stops(self):
        """Return the id sequences that end a text. A string that the model cannot write never comes: it is left out."""
        vocabulary, stops = self.served.vocabulary, []
        for text in self.asked.stop:
            try:
                ids = vocabulary.encode(text, self.served.encoding).tolist()
            except VocabularyError:
                continue
            if ids:
                stops.append(ids)
        return stop_ids(vocabulary, stops)

    def _encoded(self, text, place):
        which = f"prompt {place + 1}: " if len(self.asked.prompts) > 1 else ""
        try:
            ids = self.served.vocabulary.encode(text, self.served.encoding)
        except CharRNNError as error:
            raise Refused(f"{which}{error}", "prompt") from None
        if len(ids) > self.served.limits.prompt:
            raise Refused(
                f"{which}a prompt has at most {self.served.limits.prompt:,} bytes, got {len(ids):,}", "prompt"
            )
        return ids

    def take(self, drawn: list[Growth]) -> list[dict]:
        """Return what was drawn as choices, a part of each text: those that have become longer or are finished."""
        parts = []
        for one in drawn:
            if one.finished == "error":
                raise Refused(NOT_A_NUMBER, status=500)
            text = self._by_drawing[id(one.drawing)]
            before = text.drawn
            part = text.take(one)
            self.drawn += text.drawn - before
            if part is not None:
                parts.append(part)
        return parts

    @property
    def is_finished(self):
        return all(text.finished for text in self.texts)

    def chunk(self, parts):
        """Return some parts as a chunk of a stream."""
        return completion(self.about, parts, None)

    def usage(self):
        return usage(self.prompt_characters, self.drawn)

    def whole(self, parts):
        """Return the completion that all parts make, in the order of its texts."""
        by_text = [[] for _ in self.texts]
        for part in parts:
            by_text[part["index"]].append(part)
        return completion(self.about, [_joined(of_text) for of_text in by_text], self.usage())


class _Text:
    """One text: decoded as it comes, with the log probabilities that are asked for.

    prompt   ids of the prompt as it was given
    """

    def __init__(self, index, drawing, prompt, served, asked):
        self.index, self.drawing, self.finished, self.drawn = index, drawing, None, 0
        self._vocabulary, self._asked = served.vocabulary, asked
        self._in_bytes = served.vocabulary.mode == "bytes"
        self._decoder = served.vocabulary.decoder(served.encoding).fork()
        self._characters = 0  # of the text so far
        self._prompt = prompt
        self._begun = False
        if not asked.echo:  # a prompt in bytes may end inside a character, which the model then completes
            for number in prompt:
                self._decoder.feed(int(number))

    def take(self, one: Growth):
        """Return the choice of what was drawn, None where there is nothing to tell."""
        ids, scores = np.array(one.ids, np.int32), one.scores
        # Special symbols are never predicted in training; a model that has another mind is not followed.
        kept = np.flatnonzero(ids < len(self._vocabulary.symbols))[: self._asked.length - self.drawn]
        ids = ids[kept]
        if scores is not None:
            scores = Scores(scores.chosen[kept], scores.likeliest[kept], scores.log_p[kept])
        self.drawn += len(ids)
        parts = [(ids, scores)]
        if not self._begun and self._asked.echo:
            parts.insert(0, (self._prompt, self.drawing.prompt.scores))
        self._begun = True
        text, told = "", {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for some, of_some in parts:
            if of_some is None:
                text += "".join(self._decoder.feed(int(number)) for number in some)
                continue
            for place, number in enumerate(some):
                self._tell(told, int(number), of_some, place, self._characters + len(text))
                text += self._decoder.feed(int(number))
        self.finished = one.finished
        if self.finished:
            text += self._decoder.flush()
        self._characters += len(text)
        if not text and not self.finished and not told["tokens"]:
            return None
        return choice(self.index, text, told if self._asked.logprobs is not None else None, self.finished)

    def _tell(self, told, number, scores, place, offset):
        """Write down the log probabilities of a place. JSON has no NaN: where nothing stands before, it is null."""
        known = not np.isnan(scores.chosen[place])
        told["tokens"].append(self._token(number))
        told["token_logprobs"].append(float(scores.chosen[place]) if known else None)
        likeliest = zip(scores.likeliest[place].tolist(), scores.log_p[place].tolist())
        told["top_logprobs"].append({self._token(i): p for i, p in likeliest} if known else None)
        told["text_offset"].append(offset)

    def _token(self, number):
        """Return how a character is named: itself, or a byte beyond ASCII by its number."""
        symbol = self._vocabulary.shown_symbols[number]
        if isinstance(symbol, str):
            return symbol
        return chr(symbol) if symbol < 0x80 else f"bytes:\\x{symbol:02x}"


def _joined(parts):
    """Return the one choice that the parts of a text make."""
    told = None
    if parts[0]["logprobs"] is not None:
        told = {name: [x for part in parts for x in part["logprobs"][name]] for name in parts[0]["logprobs"]}
    return choice(parts[0]["index"], "".join(part["text"] for part in parts), told, parts[-1]["finish_reason"])
