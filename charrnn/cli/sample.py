"""charrnn sample: the prime, then the new text, on stdout as it is made; everything about it on stderr.

To a pipe the text goes exactly as it is. To a terminal it goes with every control character but newline and tab made
visible, because a model may have learned escape sequences, or have been made to.
"""

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from charrnn.cli.words import neutralise

START = "\n"  # what an unprimed text follows: a line's end, where the vocabulary has one
MOST_SAMPLES = 100_000  # of one batch, which is held in memory whole
LONGEST_UTF8 = 4  # bytes of a character at most: as many priming bytes can matter to how the next ones decode


@click.command(name="sample")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "--length",
    type=int,
    default=1000,
    show_default=True,
    metavar="N",
    help="New characters a sample (bytes with a bytes vocabulary); the prime is not counted.",
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="Below 1 safer, above 1 wilder; 0 is greedy.",
)
@click.option("--top-k", type=int, show_default="all", metavar="K", help="Draw only from the K most likely characters.")
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    show_default=True,
    metavar="P",
    help="Draw only from the smallest set of characters whose probability reaches P (0 to 1), after "
    "temperature and --top-k.",
)
@click.option(
    "--min-p",
    type=float,
    default=0.0,
    show_default=True,
    metavar="P",
    help="Draw only characters at least P (0 to 1) times as likely as the likeliest.",
)
@click.option("--greedy", is_flag=True, help="Always take the most likely character.")
@click.option("--prime", metavar="TEXT", help="Continue TEXT.  [default: start after a newline]")
@click.option(
    "--prime-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Continue the text in FILE, its last newline included; - is stdin.",
)
@click.option("--hide-prime", is_flag=True, help="Write the new characters only.")
@click.option(
    "--stop",
    multiple=True,
    metavar="STRING",
    help="End a sample where STRING comes, and leave STRING out; may be repeated. A newline is $'\\n' in bash.",
)
@click.option("--num-samples", type=int, default=1, show_default=True, metavar="N", help="Samples, made as one batch.")
@click.option(
    "--clamp",
    multiple=True,
    metavar="LAYER:UNIT=VALUE",
    help="Hold a unit, counted from 0, at VALUE (of an LSTM its cell: -1 to 1) and hear what it does; may be repeated.",
)
@click.option(
    "--seed",
    type=int,
    show_default="a random one, named on stderr",
    metavar="N",
    help="The same seed gives the same text.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a sample and line.")
@click.option(
    "--threads",
    type=int,
    show_default="all cores",
    metavar="N",
    help="Threads to compute with at most; the text does not depend on it.",
)
def command(
    checkpoint,
    length,
    temperature,
    top_k,
    top_p,
    min_p,
    greedy,
    prime,
    prime_file,
    hide_prime,
    stop,
    num_samples,
    clamp,
    seed,
    as_json,
    threads,
):
    """Write new text from a trained model.

    \b
    Example: charrnn sample --temperature 0.8 --prime "ROMEO:"

    CHECKPOINT is a file or a run folder; left out, it is the newest run under ./checkpoints.
    """
    output = Output(sys.stdout)
    try:
        settings = _settings(temperature, top_k, top_p, min_p, greedy, _given())
        try:
            samples = _prepare(checkpoint, settings, length, prime, prime_file, stop, num_samples, clamp, seed, threads)
        except MemoryError:
            raise _out_of_memory(num_samples) from None
        if as_json:
            samples.write_json(output)
        else:
            samples.write_text(output, hide_prime)
    except KeyboardInterrupt:
        output.close()
        sys.exit(130)
    except BrokenPipeError:  # the reader has enough: `charrnn sample | head`
        output.close()
        sys.exit(1)


def _out_of_memory(num_samples):
    from charrnn.errors import ConfigError

    remedy = "ask for fewer with --num-samples" if num_samples > 1 else "free some memory, or use a smaller model"
    return ConfigError(f"the model and {num_samples:,} samples need more memory than there is: {remedy}")


def _given():
    """Return the names of the parameters that do not stand at their defaults by themselves."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) != ParameterSource.DEFAULT}


def _settings(temperature, top_k, top_p, min_p, greedy, given):
    """Make the sampler's settings from the options; ConfigError where those that were given contradict each other.

    given  names of the parameters that the user gave, such as {"top_k"}
    """
    from charrnn.errors import ConfigError
    from charrnn.sampling.sampler import Settings

    values = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    if greedy and temperature != 0:
        values["temperature"] = temperature
    if greedy or temperature == 0:
        for name, value in values.items():
            if name in given:
                raise ConfigError(
                    f"{'--greedy' if greedy else '--temperature 0'} always takes the most likely character: leave it out, "
                    f"or --{name.replace('_', '-')} {value:g}"
                )
        return Settings(temperature=0.0)
    return Settings(temperature, top_k, top_p, min_p)


def _prepare(where, settings, length, prime, prime_file, stop, num_samples, clamps, seed, threads):
    """Check what can be checked, load the model, prime it; return Samples ready to be written."""
    import secrets

    from charrnn.errors import ConfigError

    if length < 1:
        raise ConfigError(f"--length must be at least 1 character, got {length}")
    if not 1 <= num_samples <= MOST_SAMPLES:
        raise ConfigError(f"--num-samples must be between 1 and {MOST_SAMPLES:,}, got {num_samples}")
    if seed is not None and not 0 <= seed < 2**64:
        raise ConfigError(f"--seed must be between 0 and 2**64 - 1, got {seed}")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {threads}")
    if "" in stop:
        raise ConfigError("--stop must hold at least one character, got ''")
    if prime is not None and prime_file is not None:
        raise ConfigError("--prime and --prime-file both say where to start: leave one of them out")
    if prime_file is not None:
        prime = _read_prime(prime_file)

    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(where)
    checkpoint = load_checkpoint(path)
    vocabulary = checkpoint.vocabulary
    prime_ids = _encode(vocabulary, prime or "", "--prime" if prime_file is None else "--prime-file")
    stop_ids = [_encode(vocabulary, string, "--stop") for string in stop]

    from charrnn.cli.display import announce_compilation

    click.get_current_context().call_on_close(announce_compilation(_note))
    from charrnn.model.parameters import Model
    from charrnn.sampling.sampler import Sampler

    model = Model.from_checkpoint(checkpoint)
    held = _parse_clamps(clamps, model)

    step, best = checkpoint.training.get("step"), checkpoint.training.get("best")
    if path != where:
        known = [f"step {step:,}"] if type(step) is int else []
        if isinstance(best, dict) and best.get("step") == step and isinstance(best.get("val_loss_nats"), float):
            known.append(f"validation {best['val_loss_nats']:.3f} nats")
        _note(f"checkpoint {path}{' (' + ', '.join(known) + ')' if known else ''}")
    if step == 0:
        _note("this model is untrained (step 0): its text is noise")
    greedy = settings.temperature == 0
    if greedy and num_samples > 1:
        _note(f"greedy samples are all alike: {num_samples} times the same text follows")
    if seed is None and not greedy:
        seed = secrets.randbits(32)
        _note(f"seed {seed} (--seed {seed} gives this text again)")
    _use_threads(threads)
    sampler = Sampler(model, settings, seed=seed or 0, num_samples=num_samples, clamps=held)
    sampler.prime(prime_ids if len(prime_ids) else start_ids(vocabulary))
    return Samples(sampler, vocabulary, prime_ids, length, stop_ids, seed, str(path))


def _parse_clamps(texts, model):
    """Return the Clamps of LAYER:UNIT=VALUE; ConfigError says what is wrong with one."""
    if not texts:
        return []
    from charrnn.cells.record import clamp_at, parse_unit
    from charrnn.errors import ConfigError
    from charrnn.model.workspace import Workspace

    clamps, config = [], model.config
    for text in texts:
        unit, equals, value = text.partition("=")
        try:
            value = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"--clamp is written LAYER:UNIT=VALUE, such as 0:17=1, got {text!r}")
        clamps.append(clamp_at(config, *parse_unit(unit, config), value))
    Workspace(model, 1, 1, training=False).set_clamps(clamps)  # it knows what a unit can be held at
    return clamps


def _read_prime(path):
    """Return the priming text as bytes."""
    from charrnn.errors import CorpusError

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read --prime-file {path}: {(error.strerror or str(error)).lower()}") from error


def _encode(vocabulary, text, option):
    """Return the ids of what `option` gave, str or the bytes of a file; VocabularyError names the option."""
    from charrnn.errors import VocabularyError

    try:
        if isinstance(text, bytes):
            if vocabulary.mode == "bytes":
                return vocabulary.encode_bytes(text)
            text = text.decode("utf-8").removeprefix("\ufeff")
        return vocabulary.encode(text)
    except UnicodeDecodeError as error:
        raise VocabularyError(
            f"{option} is not UTF-8: byte 0x{text[error.start]:02x} at offset {error.start}; convert it, for instance with iconv"
        ) from error
    except VocabularyError as error:
        raise VocabularyError(f"{option}: {error}") from error


def start_ids(vocabulary):
    """Return what an unprimed text follows: a newline's ids, or none where the model has never seen one.

    With none the sampler draws the first character uniformly.
    """
    from charrnn.errors import VocabularyError

    try:
        return vocabulary.encode(START)
    except VocabularyError:
        return ()


class Samples:
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
            for i in self._prime_ids[-LONGEST_UTF8:]:
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
        import json

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
        import os

        from charrnn.errors import StorageError

        try:
            self.end_line()
        except (BrokenPipeError, StorageError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            except (OSError, ValueError):
                pass

    @staticmethod
    def _call(function, *args):
        from charrnn.errors import StorageError

        try:
            function(*args)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StorageError(
                f"cannot write the sample to stdout: {(error.strerror or str(error)).lower()}"
            ) from error


def _styled():
    import os

    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _use_threads(threads):
    """Set the number of threads for this command."""
    from charrnn.kernels.threads import num_threads, set_num_threads

    before = num_threads()
    click.get_current_context().call_on_close(lambda: set_num_threads(before))
    if threads is not None:
        set_num_threads(threads)


def _note(text):
    click.echo(neutralise(text), err=True)
