"""Samples as they are made, in order: to a pipe exactly as they are, to a terminal decoded and neutralised.

A model of bytes writes its bytes to a pipe, whatever text they are. A model may have learned escape sequences, or have
been made to: so a terminal gets every control character but newline and tab made visible.
"""

import base64
import contextlib
import json
import os
from typing import NamedTuple

from charrnn.cli.words import neutralise
from charrnn.errors import StorageError

MAX_NEWLINE = 4  # bytes, in UTF-32


class Piece(NamedTuple):
    """What a sample has become longer by.

    stream     which sample, from 0
    text       decoded
    data       the bytes of a model of bytes, None for one of characters
    finished   why the sample ends here, None where it goes on
    drawn      characters drawn
    loss_nats  their loss, None where it was not asked for
    """

    stream: int
    text: str
    data: bytes | None
    finished: str | None
    drawn: int
    loss_nats: float | None


class SampleTexts:
    """Samples being made: decoded, in order, with what is to be said about each at its end.

    encoding    of the text that a model of bytes writes
    """

    def __init__(  # noqa: PLR0913 - what a sample is made of, which the command alone puts together
        self, sampler, vocabulary, prime_ids, length, stop_ids, seed, checkpoint, encoding="utf-8"
    ):
        self.sampler = sampler
        self.length = length
        self.stop_ids = stop_ids
        self.seed = seed
        self.checkpoint = checkpoint
        self.items = None  # an ItemDraw, of a model of items
        self._vocabulary, self._in_bytes = vocabulary, vocabulary.mode == "bytes"
        self._encoding, self._newline = encoding, "\n".encode(encoding) if self._in_bytes else None
        decoder = vocabulary.decoder(encoding)
        self.prime = "".join(decoder.feed(int(i)) for i in prime_ids)
        self.prime_data = vocabulary.decode_bytes(prime_ids) if self._in_bytes else None
        # A prime in bytes may end inside a character, which the model then completes.
        self._decoders = [decoder.fork() for _ in range(sampler.num_samples)]

    def pieces(self, with_losses=False):
        """Yield a Piece of each sample as they are made."""
        for block in self.sampler.generate(self.length, self.stop_ids, with_losses=with_losses):
            for j, (ids, finished, decoder) in enumerate(zip(block.ids, block.finished, self._decoders)):
                if not block.drawn[j]:
                    continue
                text = "".join(map(decoder.feed, ids.tolist()))
                if finished:
                    text += decoder.flush()
                yield Piece(
                    j,
                    text,
                    self._vocabulary.decode_bytes(ids) if self._in_bytes else None,
                    finished,
                    int(block.drawn[j]),
                    None if block.loss_nats is None else float(block.loss_nats[j]),
                )

    def write_text(self, output, hide_prime, separator=None):
        """Write the samples one after the other: the first as it is made, the others from memory.

        One sample goes to a pipe with nothing added. Of several each ends with a newline, and on a terminal it has a
        line of its own before it, as head and tail write it; or the separator stands between them, and nothing else.

        separator    str, or the bytes of a model of bytes
        """
        separator = self._shown(output, separator)
        count = self.sampler.num_samples
        waiting = [[] for _ in range(count)]  # pieces of the samples whose turn has not come
        finished = [False] * count
        shown = 0
        self._begin(output, shown, hide_prime, separator)
        for piece in self.pieces():
            j, written = piece.stream, output.choose(piece.text, piece.data)
            finished[j] = piece.finished is not None
            if j != shown:
                waiting[j].append(written)
                continue
            output.write(written)
            while finished[shown]:
                shown += 1
                if separator is None or shown == count:
                    output.end_line(always=count > 1 and separator is None, data=self._newline)
                if shown == count:
                    break
                self._begin(output, shown, hide_prime, separator)
                for written in waiting[shown]:
                    output.write(written)
                waiting[shown] = []
            output.flush()
        output.flush()

    def _begin(self, output, j, hide_prime, separator):
        count = self.sampler.num_samples
        if separator is None:
            if count > 1 and output.terminal:
                output.write(f"{'' if j == 0 else chr(10)}==> sample {j + 1} of {count} <==\n")
            output.begin_text()
        elif j > 0:
            output.write(separator)
        if not hide_prime:
            output.write(output.choose(self.prime, self.prime_data), dim=True)
        output.flush()

    def _shown(self, output, separator):
        """Return a separator as the output takes it."""
        if isinstance(separator, bytes) and output.terminal:
            return separator.decode(self._encoding, "replace")
        return separator

    def write_json(self, output):
        """Write one JSON object a sample, in order, each when it is finished."""
        count = self.sampler.num_samples
        settings = self.sampler.settings
        texts, data = ([[] for _ in range(count)] for _ in range(2))
        drawn = [0] * count
        loss_nats = [0.0] * count
        reasons = [None] * count
        shown = 0
        for piece in self.pieces(with_losses=True):
            j = piece.stream
            texts[j].append(piece.text)
            data[j].append(piece.data)
            drawn[j] += piece.drawn
            loss_nats[j] += piece.loss_nats
            reasons[j] = piece.finished
            while shown < count and reasons[shown]:
                record = {
                    "sample": shown,
                    "prime": self.prime,
                    "text": "".join(texts[shown]),
                    "stop_reason": reasons[shown],
                    "characters_drawn": drawn[shown],
                    "loss_nats": loss_nats[shown] / drawn[shown],
                    **fields_of_a_draw(self.seed, settings, self.checkpoint),
                }
                if self._in_bytes:
                    record["prime_base64"] = _base64(self.prime_data)
                    record["text_base64"] = _base64(b"".join(data[shown]))
                output.write(json.dumps(record) + "\n")
                output.flush()
                texts[shown] = data[shown] = []
                shown += 1


def fields_of_a_draw(seed, settings, checkpoint):
    """Return the fields of a JSON record that say what a text was drawn with."""
    choice = {name: getattr(settings, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    return {"seed": seed, **choice, "checkpoint": checkpoint}


def _base64(data):
    return base64.b64encode(data).decode("ascii")


class Output:
    """Write to a stream: text as exact UTF-8 and bytes as they are to a pipe, text neutralised to a terminal."""

    def __init__(self, stream):
        self._stream = stream
        self.terminal = stream.isatty()
        self.styled = self.terminal and _styled()
        self._line = "\n"  # the end of what has been written

    def choose(self, text, data):
        """Return which of the two `write` should have: the bytes on a pipe, where there are any."""
        return text if data is None or self.terminal else data

    def write(self, text, dim=False):
        """Write a str, or on a pipe bytes."""
        if not text:
            return
        self._line = (self._line + text if type(text) is type(self._line) else text)[-MAX_NEWLINE:]
        if isinstance(text, bytes):
            data = text
        elif not self.terminal:
            data = text.encode("utf-8", "surrogatepass")
        else:
            text = neutralise(text)
            if dim and self.styled:
                text = f"\x1b[2m{text}\x1b[0m"  # in one write, so that no interrupt leaves the terminal dim
            data = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._call(self._stream.buffer.write, data)

    def flush(self):
        self._call(self._stream.flush)

    def begin_text(self):
        """Let a text begin whose line is to be ended on a pipe even where it is empty."""
        if not self.terminal:
            self._line = ""

    def end_line(self, always=False, data=None):
        """End a line that has been begun; on a pipe only where `always` says so.

        data    a newline of a model of bytes
        """
        newline = self.choose("\n", data)
        ended = type(self._line) is type(newline) and self._line.endswith(newline)
        if not ended and (self.terminal or always):
            self.write(newline)
        self.flush()

    def close(self):
        """End the line if there is still somebody to see it; else let nothing be written to a closed pipe at exit."""
        try:
            self.end_line()
        except (BrokenPipeError, StorageError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    @staticmethod
    def _call(function, *args):
        try:
            function(*args)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StorageError(
                f"cannot write the sample to stdout: {(error.strerror or str(error)).lower()}"
            ) from error


def _styled():
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
