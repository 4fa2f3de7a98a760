"""Samples as they are made: decoded and in order, to a pipe exactly as they are, to a terminal neutralised.

A model may have learned escape sequences, or have been made to: so a terminal gets every control character but newline
and tab made visible.
"""

import contextlib
import json
import os

from charrnn.cli.words import neutralise
from charrnn.errors import StorageError

MAX_UTF8 = 4  # bytes of a character: as many priming bytes can matter to how the next ones decode


class SampleTexts:
    """Samples being made: decoded, in order, with what is to be said about each at its end."""

    def __init__(self, sampler, vocabulary, prime_ids, length, stop_ids, seed, checkpoint):
        self.sampler = sampler
        self.length = length
        self.stop_ids = stop_ids
        self.seed = seed
        self.checkpoint = checkpoint
        self._prime_ids = [int(i) for i in prime_ids]
        self._decoders = [vocabulary.decoder() for _ in range(sampler.num_samples)]
        for decoder in self._decoders:  # a prime in bytes may end inside a character, which the model then completes
            for i in self._prime_ids[-MAX_UTF8:]:
                decoder.feed(i)
        decoder = vocabulary.decoder()
        self.prime = "".join(map(decoder.feed, self._prime_ids))

    def pieces(self, with_losses=False):
        """Yield (stream, text, finished or None, characters drawn, their loss in nats or None) as they are made."""
        for block in self.sampler.generate(self.length, self.stop_ids, with_losses=with_losses):
            for j, (ids, finished, decoder) in enumerate(zip(block.ids, block.finished, self._decoders)):
                if not block.drawn[j]:
                    continue
                text = "".join(map(decoder.feed, ids.tolist()))
                if finished:
                    text += decoder.flush()
                yield (
                    j,
                    text,
                    finished,
                    int(block.drawn[j]),
                    None if block.loss_nats is None else float(block.loss_nats[j]),
                )

    def write_text(self, output, hide_prime):
        """Write the samples one after the other: the first as it is made, the others from memory.

        One sample goes to a pipe with nothing added. Of several each has a line of its own before it, as head and tail
        write it, and ends with a newline.
        """
        count = self.sampler.num_samples
        waiting = [[] for _ in range(count)]  # text of the samples whose turn has not come
        finished = [False] * count
        shown = 0
        self._begin(output, shown, hide_prime)
        for j, text, reason, _, _ in self.pieces():
            finished[j] = reason is not None
            if j != shown:
                waiting[j].append(text)
                continue
            output.write(text)
            while finished[shown]:
                output.end_line(always=count > 1)
                shown += 1
                if shown == count:
                    break
                self._begin(output, shown, hide_prime)
                output.write("".join(waiting[shown]))
                waiting[shown] = []
            output.flush()
        output.flush()

    def _begin(self, output, j, hide_prime):
        if self.sampler.num_samples > 1:
            output.write(f"{'' if j == 0 else chr(10)}==> sample {j + 1} of {self.sampler.num_samples} <==\n")
        if not hide_prime:
            output.write(self.prime, dim=True)
        output.flush()

    def write_json(self, output):
        """Write one JSON object a sample, in order, each when it is finished."""
        count = self.sampler.num_samples
        settings = self.sampler.settings
        texts = [[] for _ in range(count)]
        drawn = [0] * count
        loss_nats = [0.0] * count
        reasons = [None] * count
        shown = 0
        for j, text, reason, new, nats in self.pieces(with_losses=True):
            texts[j].append(text)
            drawn[j] += new
            loss_nats[j] += nats
            reasons[j] = reason
            while shown < count and reasons[shown]:
                record = {
                    "sample": shown,
                    "prime": self.prime,
                    "text": "".join(texts[shown]),
                    "stop_reason": reasons[shown],
                    "characters_drawn": drawn[shown],
                    "loss_nats": loss_nats[shown] / drawn[shown],
                    "seed": self.seed,
                    "temperature": settings.temperature,
                    "top_k": settings.top_k,
                    "top_p": settings.top_p,
                    "min_p": settings.min_p,
                    "checkpoint": self.checkpoint,
                }
                output.write(json.dumps(record) + "\n")
                output.flush()
                texts[shown] = []
                shown += 1


class Output:
    """Write text to a stream: exact UTF-8 to a pipe, neutralised to a terminal."""

    def __init__(self, stream):
        self._stream = stream
        self.terminal = stream.isatty()
        self.styled = self.terminal and _styled()
        self._last = "\n"

    def write(self, text, dim=False):
        if not text:
            return
        self._last = text[-1]
        if not self.terminal:
            data = text.encode("utf-8", "surrogatepass")
        else:
            text = neutralise(text)
            if dim and self.styled:
                text = f"\x1b[2m{text}\x1b[0m"  # in one write, so that no interrupt leaves the terminal dim
            data = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._call(self._stream.buffer.write, data)

    def flush(self):
        self._call(self._stream.flush)

    def end_line(self, always=False):
        """End a line that has been begun; on a pipe only where `always` says so."""
        if self._last != "\n" and (self.terminal or always):
            self.write("\n")
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
