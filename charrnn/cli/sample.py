"""charrnn sample: the prime, then the new text, on stdout as it is made; everything about it on stderr."""

import contextlib
import os
import secrets
import sys
import unicodedata
from pathlib import Path

import click
from click.core import ParameterSource

from charrnn.cli.checks import skip_first
from charrnn.cli.clamps import parse_clamps
from charrnn.cli.distribution import check_distribution, distribution_options, show_distribution
from charrnn.cli.escapes import SPELT, looks_escaped, read_escapes
from charrnn.cli.item_samples import ItemDraw, label_to_follow, refuse_of_a_stream, write_items
from charrnn.cli.opening import announce, text_in_the_place_of_a_run, use_threads
from charrnn.cli.pipes import heed_reader
from charrnn.cli.samples import Output, SampleTexts
from charrnn.cli.words import note, quoted
from charrnn.errors import ConfigError, CorpusError, VocabularyError

MAX_SAMPLES = 100_000  # of one batch, which is held in memory whole
MAX_PASTED = 200  # characters of a prime that a message spells in another way
OF_A_CHOICE = ("temperature", "top_k", "top_p", "min_p", "greedy")


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
@click.option(
    "--prime",
    metavar="TEXT",
    help="Continue TEXT; a newline in it is $'\\n' in bash, or \\n with -e.  [default: start after a newline; an item "
    "at its beginning]",
)
@click.option(
    "--prime-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Continue the text in FILE, its last newline included; - is stdin.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    show_default="the run's",
    help="Encoding of --prime-file; of a model of bytes that of --prime, --stop and --separator, and of its text where "
    "it is shown, on a terminal and in --json.",
)
@click.option(
    "--unknown",
    type=click.Choice(("error", "skip"), case_sensitive=False),
    default="error",
    show_default=True,
    help="What to do with characters of --prime or --prime-file that the model does not know; what is skipped is "
    "counted.",
)
@click.option("--hide-prime", is_flag=True, help="Write the new characters only.")
@click.option(
    "--stop",
    multiple=True,
    metavar="STRING",
    help="End a sample where STRING comes, and leave STRING out; may be repeated.",
)
@click.option(
    "-e",
    "--escapes",
    is_flag=True,
    help=f"Read {SPELT} in --prime, --stop and --separator; of a model of bytes \\xHH is a byte.",
)
@click.option("--num-samples", type=int, default=1, show_default=True, metavar="N", help="Samples, made as one batch.")
@click.option(
    "--given",
    metavar="LABEL",
    help="Of a model that learned labels and the texts of each: write texts with this label.",
)
@click.option(
    "--novel", is_flag=True, help="Of a model of items: write only items that are not in the run's text, each once."
)
@click.option(
    "--report", is_flag=True, help="Of a model of items: count how many are in the run's text, new, and distinct."
)
@click.option(
    "--separator",
    metavar="STRING",
    show_default="a newline where a sample does not end with one, and on a terminal a heading",
    help="Write STRING, and nothing else, between samples.",
)
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
@distribution_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write one JSON object a sample and line; of a model of bytes with its bytes in base64.",
)
@click.option(
    "--threads",
    type=int,
    show_default="all cores",
    metavar="N",
    help="Threads to compute with at most; the text does not depend on it.",
)
@click.pass_context
def command(ctx, checkpoint, **options):
    """Write new text from a trained model.

    \b
    Example: charrnn sample --temperature 0.8 --prime "ROMEO:"
             charrnn sample -e --prime 'ROMEO:\\n' --stop '\\n\\n'

    CHECKPOINT is a file or a run folder; left out, it is the newest run under ./checkpoints. A model of bytes writes
    its bytes as they are to a file or a pipe; a terminal shows them decoded.
    """
    heed_reader()
    output = Output(sys.stdout)
    try:
        outputs = check_distribution(_given(ctx), options)
        settings = _settings(_given(ctx), **{name: options[name] for name in OF_A_CHOICE})
        try:
            samples, separator = _prepare(ctx, checkpoint, settings, options, outputs)
        except MemoryError:
            raise _out_of_memory(options["num_samples"]) from None
        if options["distribution"]:
            show_distribution(samples, options["as_json"], outputs)
        elif samples.items is not None:
            write_items(samples, output, options)
        elif options["as_json"]:
            samples.write_json(output)
        else:
            samples.write_text(output, options["hide_prime"], separator)
    except KeyboardInterrupt:
        output.close()
        sys.exit(130)
    except BrokenPipeError:  # the reader has enough: `charrnn sample | head`
        output.close()


def _out_of_memory(num_samples):
    remedy = "ask for fewer with --num-samples" if num_samples > 1 else "free some memory, or use a smaller model"
    return ConfigError(f"the model and {num_samples:,} samples need more memory than there is: {remedy}")


def _given(ctx):
    """Return the names of the parameters that do not stand at their defaults by themselves."""
    return {name for name in ctx.params if ctx.get_parameter_source(name) != ParameterSource.DEFAULT}


def _settings(given, temperature, top_k, top_p, min_p, greedy):
    """Make the sampler's settings from the options; ConfigError where those that were given contradict each other.

    given  names of the parameters that the user gave, such as {"top_k"}
    """
    from charrnn.sampling.sampler import Settings

    values = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    if greedy and temperature != 0:
        values["temperature"] = temperature
    if greedy or temperature == 0:
        for name, value in values.items():
            if name in given:
                raise ConfigError(
                    f"{'--greedy' if greedy else '--temperature 0'} always takes the most likely character: leave it "
                    f"out, or --{name.replace('_', '-')} {value:g}",
                    ["greedy" if greedy else "temperature", name],
                )
        return Settings(temperature=0.0)
    return Settings(temperature, top_k, top_p, min_p)


def _prepare(ctx, where, settings, options, outputs):
    """Check what can be checked, load the model, prime it; return SampleTexts to be written, and the separator."""
    _check(options)
    prime = options["prime"] if options["prime_file"] is None else _read_prime(options["prime_file"])

    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.text.vocabulary import text_as_bytes

    with text_in_the_place_of_a_run(where, _prime_meant):
        path = find_checkpoint(where)
        checkpoint = load_checkpoint(path)
    outputs.protect(options["prime_file"])
    outputs.protect_run(checkpoint.training, path.parent)
    label = label_to_follow(checkpoint, path, options["given"])
    vocabulary = checkpoint.vocabulary
    encoding = _encoding(checkpoint, options["encoding"])
    typed = _typed(options, vocabulary.mode == "bytes")
    prime_ids = _encode_prime(vocabulary, typed("--prime", prime or ""), options, encoding)
    stop_ids = [_encode(vocabulary, typed("--stop", string), "--stop", encoding) for string in options["stop"]]
    separator = options["separator"] and typed("--separator", options["separator"])
    if separator and vocabulary.mode == "bytes":
        separator = text_as_bytes(separator, encoding)

    announce(ctx)
    from charrnn.model.parameters import Model
    from charrnn.sampling.priming import first_ids
    from charrnn.sampling.sampler import Sampler

    model = Model.from_checkpoint(checkpoint)
    held = parse_clamps(options["clamp"], model)
    if path != where:
        note(f"checkpoint {path}{_known(checkpoint.training)}")
    if checkpoint.training.get("step") == 0:
        note("this model is untrained (step 0): its text is noise")
    seed, num_samples, greedy = options["seed"], options["num_samples"], settings.temperature == 0
    if greedy and num_samples > 1:
        note(f"greedy samples are all alike: {num_samples} times the same text follows")
    if seed is None and not greedy:
        seed = secrets.randbits(32)
        note(f"seed {seed} (--seed {seed} gives this text again)")
    use_threads(ctx, options["threads"])

    def make_sampler(seed, number):
        return Sampler(model, settings, seed=seed, num_samples=number, clamps=held)

    sampler = make_sampler(seed or 0, num_samples)
    sampler.prime(first_ids(vocabulary, prime_ids, label))
    samples = SampleTexts(sampler, vocabulary, prime_ids, options["length"], stop_ids, seed, str(path), encoding)
    if vocabulary.start_id is None:
        refuse_of_a_stream(options)
    else:
        samples.items = ItemDraw(
            make_sampler, checkpoint, path, prime_ids, stop_ids, options["length"], num_samples, seed, label
        )
    return samples, separator


def _check(options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    length, num_samples, seed, threads = (options[name] for name in ("length", "num_samples", "seed", "threads"))
    if length < 1:
        raise ConfigError(f"--length must be at least 1 character, got {length}", ["length"])
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise ConfigError(f"--num-samples must be between 1 and {MAX_SAMPLES:,}, got {num_samples}", ["num_samples"])
    if seed is not None and not 0 <= seed < 2**64:
        raise ConfigError(f"--seed must be between 0 and 2**64 - 1, got {seed}", ["seed"])
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {threads}", ["threads"])
    if options["separator"] is not None and options["as_json"]:
        raise ConfigError(
            "--separator stands between texts, and --json writes a line for each sample: leave one out",
            ["separator", "json"],
        )
    if "" in options["stop"]:
        raise ConfigError("--stop must hold at least one character, got ''", ["stop"])
    if options["prime"] is not None and options["prime_file"] is not None:
        raise ConfigError(
            "--prime and --prime-file both say where to start: leave one of them out", ["prime", "prime_file"]
        )


def _known(training):
    """Say what a checkpoint tells of its training, in brackets."""
    step, best = training.get("step"), training.get("best")
    known = [f"step {step:,}"] if type(step) is int else []
    if isinstance(best, dict) and best.get("step") == step and isinstance(best.get("val_loss_nats"), float):
        known.append(f"validation {best['val_loss_nats']:.3f} nats")
    return f" ({', '.join(known)})" if known else ""


def _read_prime(path):
    """Return the priming text as bytes."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read --prime-file {path}: {(error.strerror or str(error)).lower()}") from error


def _typed(options, in_bytes):
    """Return a function that reads what was typed for an option, with its escapes if so asked for."""

    def typed(option, text):
        if isinstance(text, bytes):  # of a file
            return text
        if options["escapes"]:
            return read_escapes(text, option, in_bytes)
        if looks_escaped(text):
            note(f"the backslash in {option} stands for itself: add --escapes to read \\n as a newline")
        return text

    return typed


def _encoding(checkpoint, named):
    """Return the encoding that was named, or the run's: of the model's bytes, or of --prime-file."""
    from charrnn.text.decoding import encoding_of_bytes, stored_encoding_of_bytes, text_encoding
    from charrnn.training.stored import stored_encoding

    if named is None:
        named = stored_encoding(checkpoint.training)
        of_bytes = stored_encoding_of_bytes(named)
    else:
        of_bytes = encoding_of_bytes(named)
    # A file of UTF-16 may begin with its mark, which says the order of the bytes.
    return of_bytes if checkpoint.vocabulary.mode == "bytes" or not of_bytes.endswith("-le") else text_encoding(named)


def _prime_meant(where, run):
    """Return how a text, or words, are given that stand in the place of CHECKPOINT, None where it is neither."""
    text = str(where)
    if text == "-" or os.path.isfile(where):
        return f"a text to go on from is named by --prime-file: charrnn sample {run} --prime-file {quoted(text)}"
    if os.path.exists(where) or len(where.parts) > 1 or where.suffix:
        return None
    return f"words to go on from are given by --prime: charrnn sample {run} --prime {quoted(text)}"


def _encode_prime(vocabulary, text, options, encoding):
    """Return the ids of the prime, str or the bytes of a file, with or without what the model does not know."""
    from charrnn.text.corpus import left_out
    from charrnn.text.decoding import encoding_to_blame, is_utf8_in_another
    from charrnn.text.vocabulary import text_as_bytes

    option = "--prime" if options["prime_file"] is None else "--prime-file"
    data = text
    if isinstance(text, bytes) and vocabulary.mode == "chars":
        from charrnn.text.decoding import refuse_binary
        from charrnn.text.sources import SNIFF_BYTES

        refuse_binary(text[:SNIFF_BYTES], str(options["prime_file"]), encoding, "write the prime with --prime")
        text = _decoded(text, option, encoding)
    known = text
    if isinstance(text, str) and vocabulary.mode == "bytes":
        try:
            known = text_as_bytes(text, encoding)
        except VocabularyError as error:
            raise VocabularyError(f"{option}: {error}") from None
    if options["unknown"] == "skip":
        text, others = vocabulary.without_unknown(known)
        if others and not text:
            raise VocabularyError(f"{option} has no character that the model knows: write another, or leave it out")
        if others:
            note(f"{option}: {left_out(others, vocabulary.mode)}")
    try:
        return _encode(vocabulary, text, option, encoding)
    except VocabularyError as error:
        if vocabulary.mode == "chars" and isinstance(data, bytes) and is_utf8_in_another(data, encoding):
            raise VocabularyError(encoding_to_blame(error, options["prime_file"], encoding)) from None
        if isinstance(data, bytes):
            raise VocabularyError(skip_first(error)) from None
        raise VocabularyError(f"{error}; --unknown skip leaves such characters out") from None


def _decoded(data, option, encoding):
    """Return the text of a file."""
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        from charrnn.text.detection import SAMPLE_BYTES, suggest_encoding

        seems = suggest_encoding(data[:SAMPLE_BYTES])
        remedy = "name its encoding with --encoding NAME, such as cp1252 or shift_jis"
        if seems is not None and seems != encoding:
            remedy = f"it seems to be {seems.upper()}, read it with --encoding {seems}"
        raise VocabularyError(
            f"{option} is not {encoding.upper()}: byte 0x{data[error.start]:02x} at offset {error.start:,}; {remedy}"
        ) from None


def _encode(vocabulary, text, option, encoding):
    """Return the ids of what `option` gave, str or the bytes of a file; VocabularyError names the option."""
    try:
        if isinstance(text, bytes):
            return vocabulary.encode_bytes(text)
        return vocabulary.encode(text, encoding)
    except VocabularyError as error:
        said = f"{option}: {error}{_spelt_as_known(vocabulary, text, option)}"
        raise VocabularyError(said, f"{option}: {error.missing}", error.remedies) from error


def _spelt_as_known(vocabulary, text, option):
    """Return how to write `option` for bash, where the vocabulary knows its text in another normal form, else ""."""
    if option == "--prime-file" or len(text) > MAX_PASTED:
        return ""
    for form in ("NFD", "NFC", "NFKD", "NFKC"):
        other = unicodedata.normalize(form, text)
        with contextlib.suppress(VocabularyError):
            vocabulary.encode(other)
            return f"; here, in bash: {option} {_ansi_c(other)}"
    return ""


def _ansi_c(text):
    """Spell a text for bash and zsh with everything escaped that is not ASCII."""
    pieces = []
    for character in text:
        code = ord(character)
        if 0x20 <= code < 0x7F:
            pieces.append(f"\\{character}" if character in "\\'" else character)
        else:
            pieces.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f"$'{''.join(pieces)}'"
