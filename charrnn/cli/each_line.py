"""What `charrnn sample --each-line` writes: what follows each prime of a file, a line for each."""

import base64
import json

from charrnn.cli.escapes import on_one_line
from charrnn.cli.progress import progress_bar
from charrnn.cli.samples import fields_of_a_draw
from charrnn.cli.words import bars_hidden


def write_lines(samples, opened, output, options):
    """Draw what follows each prime and write it, in the order of the primes; of several samples a line for each.

    samples    SampleTexts with an ItemDraw
    opened     what `sample` has opened: its prime_ids are those of the lines
    options    of the command
    """
    from charrnn.sampling.items import continue_prompts

    asked, primes = samples.items, opened.prime_ids
    found = continue_prompts(
        lambda number, streams: asked.make_sampler(asked.seed or 0, number, streams),
        opened.checkpoint.vocabulary, primes, asked.length, asked.num_samples, asked.stop_ids, options["as_json"],
        asked.label,
    )  # fmt: skip
    write = _write_json if options["as_json"] else _write_text
    with progress_bar() as progress:
        progress("writing continuations", 0, len(primes))
        for line, (prime_ids, drawn) in enumerate(zip(primes, found), 1):
            with bars_hidden():
                for number, one in enumerate(drawn):
                    write(output, opened, samples, (line, number), prime_ids, one, options)
                output.flush()
            progress("writing continuations", line, len(primes))


def _write_text(output, opened, samples, place, prime_ids, drawn, options):
    vocabulary, encoding = opened.checkpoint.vocabulary, opened.reader.encoding
    ids = drawn.ids.tolist() if options["hide_prime"] else [*map(int, prime_ids), *drawn.ids.tolist()]
    if vocabulary.mode != "bytes" or output.terminal:
        output.write(on_one_line(vocabulary.decode(ids, encoding)) + "\n")
        return
    text = vocabulary.decode_bytes(ids)
    if "\n".encode(encoding) == b"\n":  # bytes that are no text stay as they are
        output.write(on_one_line(text.decode(encoding, "surrogateescape")).encode(encoding, "surrogateescape") + b"\n")
    else:
        output.write((on_one_line(text.decode(encoding, "replace")) + "\n").encode(encoding, "replace"))


def _write_json(output, opened, samples, place, prime_ids, drawn, options):
    """Write one JSON object, with the fields of `charrnn sample --json` and the number of the line."""
    vocabulary = opened.checkpoint.vocabulary
    decoder = vocabulary.decoder(opened.reader.encoding)
    prime = "".join(decoder.feed(int(i)) for i in prime_ids)
    characters = drawn.drawn
    if vocabulary.end_id is not None:
        characters = len(drawn.ids) + drawn.is_whole
    record = {
        "line": place[0],
        "sample": place[1],
        "prime": prime,
        "text": "".join(decoder.feed(int(i)) for i in drawn.ids) + decoder.flush(),
        "stop_reason": "stop" if drawn.is_whole else "length",
        "characters_drawn": characters,
        "loss_nats": drawn.loss_nats / max(1, characters),
        **fields_of_a_draw(samples.seed, samples.sampler.settings, samples.checkpoint),
    }
    if opened.label is not None:
        record["given"] = vocabulary.names[opened.label]
    if vocabulary.mode == "bytes":
        for name, ids in (("prime", prime_ids), ("text", drawn.ids)):
            record[f"{name}_base64"] = base64.b64encode(vocabulary.decode_bytes(ids)).decode("ascii")
    output.write(json.dumps(record) + "\n")
