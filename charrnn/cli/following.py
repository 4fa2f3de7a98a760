"""charrnn next: how likely each character is to come next after a text, or after each line of a file, on stdout."""

import json
from pathlib import Path

import click

from charrnn.cli.checks import check_bounds
from charrnn.cli.clamps import clamp_option, parse_clamps
from charrnn.cli.escapes import SPELT
from charrnn.cli.item_samples import label_to_follow
from charrnn.cli.opening import announce, text_in_the_place_of_a_run, use_threads
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
from charrnn.cli.show_next import next_record, print_next
from charrnn.cli.words import note


@click.command(name="next", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@prime_option
@prime_file_option
@each_line_option("Show what follows each line of --prime-file; all lines are read as one batch.")
@click.option(
    "--top-k", type=int, default=10, show_default=True, metavar="K", help="Show the K most likely characters."
)
@click.option(
    "--encoding",
    metavar="NAME",
    show_default="the run's",
    help="Encoding of --prime-file; for a byte model, also of --prime.",
)
@unknown_in_a_prime
@click.option(
    "-e",
    "--escapes",
    is_flag=True,
    help=f"Read {SPELT} in --prime and in the lines of --each-line; for a byte model \\xHH is a byte.",
)
@given_option("treat the text as a text with this label")
@clamp_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per text, one per line.")
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Number of threads.")
@click.pass_context
def command(ctx, checkpoint, **options):
    """Show how likely each character is to come next.

    \b
    Example: charrnn next --prime "ROMEO:"
             charrnn next --prime-file prompts.txt --each-line --top-k 3 --json

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. The probabilities are
    those at temperature 1. The line 'N more' shows the total probability of the N characters that are not listed. The
    last line is the entropy: how uncertain the model is, in bits. For a model of items, <END> is the end of the item.
    'charrnn sample --distribution' compares three temperatures.
    """
    check_bounds(options, ("top_k", 1, None), ("threads", 1, None))
    check_primes(options)
    data = read_prime_file(options)
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint

    with text_in_the_place_of_a_run(checkpoint, prime_meant("next")):
        path = find_checkpoint(checkpoint)
        opened = load_checkpoint(path)
    vocabulary = opened.vocabulary
    reader = PrimeReader.of_options(opened, options)
    primes = (
        reader.ids_of_lines(data, options["prime_file"]) if options["each_line"] else [reader.ids_of(options, data)]
    )
    label = label_to_follow(opened, path, options["given"], "next")
    announce(ctx)
    from charrnn.model.parameters import Model
    from charrnn.sampling.following import next_log_probabilities
    from charrnn.sampling.priming import first_ids

    model = Model.from_checkpoint(opened)
    held = parse_clamps(options["clamp"], model)
    if path != checkpoint:
        note(f"checkpoint {path}")
    use_threads(ctx, options["threads"])
    found = next_log_probabilities(model, [first_ids(vocabulary, ids, label) for ids in primes], held)
    for number, (prime_ids, log_p) in enumerate(zip(primes, found), 1):
        text = vocabulary.decode(prime_ids, reader.encoding)
        if options["as_json"]:
            line = {"line": number} if options["each_line"] else {}
            given = {} if label is None else {"given": options["given"]}
            record = {"checkpoint": str(path), **line, "prime": text, **given}
            click.echo(json.dumps({**record, **next_record(vocabulary, log_p, options["top_k"])}))
        else:
            if number > 1:
                click.echo()
            print_next(vocabulary, log_p, options["top_k"], text)
