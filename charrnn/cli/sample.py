"""charrnn sample: the prime, then the new text, on stdout as it is made; everything about it on stderr."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from charrnn.cli.checks import check_bounds
from charrnn.cli.clamps import clamp_option, parse_clamps
from charrnn.cli.distribution import check_distribution, distribution_options, show_distribution
from charrnn.cli.drawing import check_numbers, check_stop, known_of, seed_of, settings_of
from charrnn.cli.each_line import write_lines
from charrnn.cli.escapes import SPELT
from charrnn.cli.interactive import LENGTH_AT_A_PROMPT, run_prompt
from charrnn.cli.item_samples import ItemDraw, label_to_follow, refuse_of_a_stream, write_items
from charrnn.cli.opening import announce, text_in_the_place_of_a_run, use_threads
from charrnn.cli.pipes import heed_reader
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.primes import (
    PrimeReader,
    check_primes,
    each_line_option,
    given_option,
    prime_file_option,
    prime_meant,
    prime_option,
    read_prime_file,
    unknown_in_a_prime,
)
from charrnn.cli.samples import Output, SampleTexts
from charrnn.cli.words import note
from charrnn.errors import ConfigError

# What makes no sense beside another option, and why: {option: (others, why)}.
ALONE = {
    "each_line": (("separator", "novel", "report", "distribution"), "writes one line for each prime"),
    "interactive": (
        ("num_samples", "separator", "novel", "report", "distribution", "each_line", "json"),
        "continues what you type",
    ),
}


@click.command(name="sample", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "--length",
    type=int,
    default=1000,
    show_default=True,
    metavar="N",
    help=f"Number of new characters per sample, without the prime (bytes for a byte model). With --interactive "
    f"the default is {LENGTH_AT_A_PROMPT}.",
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="Below 1: more predictable text; above 1: more surprising text; 0: always the most likely character.",
)
@click.option("--top-k", type=int, show_default="all", metavar="K", help="Draw only from the K most likely characters.")
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    show_default=True,
    metavar="P",
    help="Draw only from the smallest set of characters whose total probability reaches P (0 to 1); "
    "applied after --temperature and --top-k.",
)
@click.option(
    "--min-p",
    type=float,
    default=0.0,
    show_default=True,
    metavar="P",
    help="Draw only characters that are at least P (0 to 1) times as likely as the most likely one.",
)
@click.option("--greedy", is_flag=True, help="Always take the most likely character, as --temperature 0 does.")
@prime_option
@prime_file_option
@each_line_option(
    "Continue each line of --prime-file separately, and write one line for each. In this output, \\n stands for a "
    "newline, \\r for a carriage return and \\\\ for a backslash. With -e, you can write them in the same way in the "
    "lines of --prime-file. Each line is continued as it would be alone, with the same seed."
)
@click.option(
    "--encoding",
    metavar="NAME",
    show_default="the run's",
    help="Encoding of --prime-file. For a byte model, also of --prime, --stop, --separator and of the text shown "
    "on a terminal and in --json.",
)
@unknown_in_a_prime
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Let samples contain the unknown symbol of a model that was trained with 'charrnn train TEXT --min-count N'.",
)
@click.option("--hide-prime", is_flag=True, help="Write only the new characters, not the prime.")
@click.option(
    "--stop", multiple=True, metavar="STRING", help="Stop a sample at STRING, and do not write STRING. May be repeated."
)
@click.option(
    "-e",
    "--escapes",
    is_flag=True,
    help=f"Read {SPELT} in --prime, --stop, --separator and the lines of --each-line; for a byte model \\xHH is a "
    "byte.",
)
@click.option(
    "--num-samples", type=int, default=1, show_default=True, metavar="N", help="Number of samples, drawn as one batch."
)
@given_option("write texts with this label")
@click.option(
    "--novel", is_flag=True, help="For a model of items: write only items that are not in the run's text, each once."
)
@click.option(
    "--report",
    is_flag=True,
    help="For a model of items: count how many of the written items are in the run's text, how many "
    "are new, and how many are distinct.",
)
@click.option(
    "--separator",
    metavar="STRING",
    show_default="a heading on a terminal; otherwise a newline, if the sample does not end with one",
    help="Write exactly STRING between samples.",
)
@clamp_option
@click.option(
    "--seed", type=int, show_default="random, shown on stderr", metavar="N", help="The same seed gives the same text."
)
@click.option(
    "-i",
    "--interactive",
    is_flag=True,
    help="Keep the model loaded and continue each line that you type or pipe in; type /help for the commands.",
)
@distribution_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write one JSON object per sample, each on its own line; for a byte model it includes the bytes in base64.",
)
@click.option(
    "--threads",
    type=int,
    show_default="all cores",
    metavar="N",
    help="Maximum number of threads; the text does not depend on it.",
)
@click.pass_context
def command(ctx, checkpoint, **options):
    """Write new text from a trained model.

    \b
    Example: charrnn sample --temperature 0.8 --prime "ROMEO:"
             charrnn sample -e --prime 'ROMEO:\\n' --stop '\\n\\n'
             charrnn sample --interactive

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. A byte model
    writes its bytes unchanged to a file or a pipe; on a terminal they are shown decoded.
    """
    heed_reader()
    output = Output(sys.stdout)
    try:
        given = _given(ctx)
        _check(given, options)
        outputs = check_distribution(given, options)
        settings = settings_of(given, options)
        try:
            opened = _open(ctx, checkpoint, options, outputs)
            if options["interactive"]:
                options["length"] = options["length"] if "length" in given else LENGTH_AT_A_PROMPT
                return run_prompt(ctx, opened, settings, output, options)
            samples = _prepare(ctx, opened, settings, options)
        except MemoryError:
            raise _out_of_memory(options["num_samples"]) from None
        if options["distribution"]:
            show_distribution(samples, options["as_json"], outputs)
        elif options["each_line"]:
            write_lines(samples, opened, output, options)
        elif samples.items is not None:
            write_items(samples, output, options)
        elif options["as_json"]:
            samples.write_json(output)
        else:
            samples.write_text(output, options["hide_prime"], opened.separator)
    except KeyboardInterrupt:
        output.close()
        sys.exit(130)
    except BrokenPipeError:  # the reader has enough: `charrnn sample | head`
        output.close()


def _out_of_memory(num_samples):
    remedy = "ask for fewer with --num-samples" if num_samples > 1 else "free some memory, or use a smaller model"
    return ConfigError(f"not enough memory for the model and {num_samples:,} samples: {remedy}")


def _given(ctx):
    """Return the names of the parameters that do not stand at their defaults by themselves."""
    return {name for name in ctx.params if ctx.get_parameter_source(name) != ParameterSource.DEFAULT}


class Opened(NamedTuple):
    """A model that is to write, and what it was told of the text: a prime, what ends a text, which label.

    path, checkpoint, model    what was opened
    reader                     the PrimeReader
    prime_ids, stop_ids        ids of --prime, a sequence, and of each --stop; of --each-line a sequence for each line
    separator                  str, of a byte model its bytes; or None
    label                      the id of the label to follow, or None
    """

    path: Any
    checkpoint: Any
    model: Any
    reader: PrimeReader
    prime_ids: Any
    stop_ids: list
    separator: Any
    label: int | None


def _open(ctx, where, options, outputs):
    """Load the model and read what goes with it; what can be refused is refused before the model is made."""
    data = read_prime_file(options)

    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.text.byte_text import text_as_bytes

    with text_in_the_place_of_a_run(where, prime_meant("sample")):
        path = find_checkpoint(where)
        checkpoint = load_checkpoint(path)
    outputs.protect(options["prime_file"])
    outputs.protect_run(checkpoint.training, path.parent)
    label = label_to_follow(checkpoint, path, options["given"], needed=not options["interactive"])
    reader = PrimeReader.of_options(checkpoint, options)
    if options["each_line"]:
        prime_ids = reader.ids_of_lines(data, options["prime_file"])
    else:
        prime_ids = reader.ids_of(options, data)
    stop_ids = [reader.look_up(reader.typed(string, "--stop"), "--stop") for string in options["stop"]]
    separator = options["separator"] and reader.typed(options["separator"], "--separator")
    if separator and checkpoint.vocabulary.mode == "bytes":
        separator = text_as_bytes(separator, reader.encoding)
    announce(ctx)
    from charrnn.model.parameters import Model

    model = Model.from_checkpoint(checkpoint)
    if not options["allow_unknown"]:
        model = model.for_drawing()
    if path != where:
        note(f"checkpoint {path}{known_of(checkpoint.training)}")
    if checkpoint.training.get("step") == 0:
        note("this model is untrained (step 0): its text is random")
    use_threads(ctx, options["threads"])
    return Opened(path, checkpoint, model, reader, prime_ids, stop_ids, separator, label)


def _prepare(ctx, opened, settings, options):
    """Prime the model; return SampleTexts to be written."""
    from charrnn.sampling.priming import first_ids
    from charrnn.sampling.sampler import Sampler

    vocabulary, model = opened.checkpoint.vocabulary, opened.model
    held = parse_clamps(options["clamp"], model)
    num_samples, is_greedy = options["num_samples"], settings.temperature == 0
    if is_greedy and num_samples > 1:
        note(f"greedy samples are all the same: {num_samples} equal texts follow")
    seed = seed_of(options["seed"], is_greedy)

    def make_sampler(seed, number, streams=None):
        return Sampler(model, settings, seed=seed, num_samples=number, clamps=held, streams=streams)

    prime_ids = () if options["each_line"] else opened.prime_ids
    sampler = make_sampler(seed or 0, num_samples)
    sampler.prime(first_ids(vocabulary, prime_ids, opened.label))
    length, stop_ids, encoding = options["length"], opened.stop_ids, opened.reader.encoding
    samples = SampleTexts(sampler, vocabulary, prime_ids, length, stop_ids, seed, str(opened.path), encoding)
    if vocabulary.start_id is None:
        refuse_of_a_stream(options)
    if vocabulary.start_id is not None or options["each_line"]:
        samples.items = ItemDraw(
            make_sampler, opened.checkpoint, opened.path, prime_ids, stop_ids, length, num_samples, seed, opened.label
        )
    return samples


def _check(given, options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    check_numbers(options["length"], options["num_samples"], options["seed"])
    check_bounds(options, ("threads", 1, None))
    if options["separator"] is not None and options["as_json"]:
        raise ConfigError(
            "--separator is for plain text, but --json writes one line per sample: leave one of them out",
            ["separator", "json"],
        )
    check_stop(options["stop"])
    check_primes(options)
    for name, (others, why) in ALONE.items():
        for other in others if options[name] else ():
            if ("as_json" if other == "json" else other) in given:
                flag, beside = (f"--{one.replace('_', '-')}" for one in (name, other))
                raise ConfigError(
                    f"{flag} {why} and cannot be combined with {beside}: leave one of them out", [name, other]
                )
    if options["interactive"] and str(options["prime_file"]) == "-":
        raise ConfigError(
            "--interactive reads from stdin, and so would --prime-file -: leave --prime-file out", ["prime_file"]
        )
