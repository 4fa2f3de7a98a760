"""charrnn predict: the labels of texts, or the texts that answer others, on stdout; what is to be said, on stderr."""

import dataclasses
import json
import sys
from pathlib import Path

import click

from charrnn.cli.checks import MAX_BEAM, beam_option, check_bounds, skip_first, unknown_option
from charrnn.cli.escapes import on_one_line
from charrnn.cli.opening import of_the_run, open_model
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.words import can_print, neutralise, note, quoted
from charrnn.errors import ConfigError, CorpusError, VocabularyError, counted

MAX_LENGTH = 100_000
BYTES_A_CHARACTER = 32  # of the longest text, at the peak: as ids, as a list of them, and in the chunk's order
HELD_A_BYTE = 4  # of a file: read, joined, decoded and cut into texts


@click.command(name="predict", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", nargs=-1, metavar="[TEXT]")
@click.option(
    "--file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Read texts from FILE, one per line; from a .csv, .tsv or .jsonl file, read the field that the run learned "
    "from. FILE may be compressed (.gz, .bz2, .xz or .zst).",
)
@click.option(
    "--top-k",
    type=int,
    metavar="K",
    show_default="1",
    help="For a model that predicts labels: show the K most likely labels of each text.",
)
@beam_option
@click.option(
    "--n-best", type=int, metavar="N", show_default="1", help="Show the N best answers; needs --beam N or more."
)
@click.option(
    "--length",
    type=int,
    metavar="N",
    show_default="200",
    help="For a model that translates: stop an answer after N characters.",
)
@click.option("--encoding", metavar="NAME", show_default="utf-8", help="Encoding of FILE.")
@unknown_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per text, one per line.")
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Number of threads.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Predict the labels of texts, or translate them.

    \b
    Example: charrnn predict checkpoints/names-1 "O'Connor"
             charrnn predict checkpoints/names-1 --top-k 3 - < names.txt

    CHECKPOINT is a file or a run folder of a model trained with --task. TEXT is one text, or - to read one text per
    line from stdin. For each text, predict writes a line: a label and its probability, or a translation. With --top-k
    or --n-best above 1, predict writes several lines per text. If there are also several texts, each line begins with
    its text. Columns are separated by tabs. Inside a column, \\n stands for a newline, \\t for a tab, \\r for a
    carriage return and \\\\ for a backslash. With --n-best 2 or more, or --json, each translation has a score: the
    natural logarithm of its probability. The nearer to 0, the better.
    """
    check_bounds(
        options,
        ("threads", 1, None),
        ("top_k", 1, None),
        ("beam", 1, MAX_BEAM),
        ("n_best", 1, MAX_BEAM),
        ("length", 1, MAX_LENGTH),
    )
    if len(text) > 1:
        raise ConfigError(
            f"predict takes one TEXT, got {len(text)}: if they are one text, quote it, {quoted(' '.join(text))}; for "
            "several texts, write one per line to stdin and give - as TEXT, or give a file of lines with --file",
            ["file"],
        )
    text = text[0] if text else None
    beam, n_best = options["beam"] or 1, options["n_best"] or 1
    if n_best > beam:
        raise ConfigError(
            f"--n-best {n_best} needs a beam of at least {n_best}, got {beam}: add --beam {n_best}", ["n_best", "beam"]
        )
    if text is not None and options["file"] is not None:
        raise ConfigError(
            f"--file {options['file']} and the text {text[:40]!r} both give texts to read: leave one of them out",
            ["file"],
        )
    if text is None and options["file"] is None:
        run = quoted("RUN" if checkpoint is None else str(checkpoint))
        raise ConfigError(
            f"no text given: name {'a run and ' if checkpoint is None else ''}a text, as in 'charrnn predict {run} "
            "TEXT'. With - texts are read from stdin, one per line, with --file FILE from a file",
            ["file"],
        )
    opened = open_model(ctx, checkpoint, options["threads"])
    task = _task(opened, options)
    texts = _texts(opened, text, options)
    _check_memory(texts)
    known = [_encode(opened.checkpoint.vocabulary, one, number, options) for number, one in enumerate(texts, 1)]
    places = [place for place, ids in enumerate(known) if len(ids)]
    if not places:
        empty = "the text is empty" if len(texts) == 1 else "every line is empty"
        raise CorpusError(f"no text found: {empty}")
    found = _answers(opened, task, [known[place] for place in places], options)
    answers = [[] for _ in texts]
    for place, answer in zip(places, found):
        answers[place] = answer
    several = len(texts) > 1 and max(map(len, answers)) > 1
    for one, answer in zip(texts, answers):
        if options["as_json"]:
            record = {"text": one, "answers" if task == "translate" else "labels": answer}
            line = json.dumps(record, ensure_ascii=False)
            click.echo(line if can_print(line, sys.stdout) else json.dumps(record))
            continue
        before = [one] if several else []
        for each in answer:
            if task != "translate":
                _write_columns(*before, each["label"], f"{each['probability']:.4f}")
            else:
                _write_columns(*before, each["text"], *([f"{each['score_nats']:.4f}"] if n_best > 1 else []))
        if not answer:
            click.echo()


def _write_columns(*columns):
    """Write a line of columns, with a tab between them: what parts lines or columns inside of one is an escape."""
    line = "\t".join(on_one_line(column).replace("\t", "\\t") for column in columns)
    encoding = sys.stdout.encoding or "utf-8"
    line = neutralise(line) if sys.stdout.isatty() else line
    click.echo(line.encode(encoding, "backslashreplace").decode(encoding))


def _task(opened, options):
    """Return the task of a model that answers; ConfigError for another, or an option of another task."""
    from charrnn.text.task_names import BOTH, STEER, TRANSLATE
    from charrnn.text.tasks import stored_task

    checkpoint, run = opened.checkpoint, quoted(str(opened.path))
    task = stored_task(checkpoint.training)
    if task == STEER:
        raise ConfigError(
            f"this model writes texts for a label and does not predict labels: charrnn sample {run} --given "
            f"{quoted(checkpoint.vocabulary.labels[0])}"
        )
    if task is None:
        what = "one long text" if checkpoint.vocabulary.start_id is None else "items"
        raise ConfigError(
            f"this model learned {what} and does not predict anything: write texts with 'charrnn sample {run}', or "
            "train a model that predicts labels with 'charrnn train data.csv --task classify --text-field text "
            "--label-field label'"
        )
    others = ("top_k",) if task == TRANSLATE else ("beam", "n_best", "length")
    for name in others:
        if options[name] is not None:
            flag, does = "--" + name.replace("_", "-"), "translates" if task == TRANSLATE else "predicts labels"
            raise ConfigError(f"{flag} {options[name]} has no effect, because this model {does}: leave it out", [name])
    return "classify" if task == BOTH else task


def _texts(opened, text, options):
    """Return the texts to be answered."""
    if text is not None and text != "-":
        return [text]
    from charrnn.text.decoding import text_encoding

    path = Path("-") if text == "-" else options["file"]
    encoding = options["encoding"] or "utf-8"
    data = _read(path)
    try:
        whole = data.decode(text_encoding(encoding, takes_bytes=False)).removeprefix("\ufeff")
    except UnicodeError as error:
        where = "stdin" if str(path) == "-" else path
        at = f"byte 0x{data[error.start]:02x} at offset {error.start:,}" if hasattr(error, "start") else error
        raise CorpusError(f"{where} is not {encoding.upper()}: {at}; give its encoding with --encoding") from None
    from charrnn.text.item_kinds import ItemsReading, kind_by_ending
    from charrnn.text.items import read_records
    from charrnn.training.stored import stored_items

    kind, reading = kind_by_ending(str(path)) or "lines", stored_items(opened.checkpoint.training)
    field = None if kind == "lines" or reading is None else reading.source_field or reading.text_field
    plain = ItemsReading(kind, field)
    try:
        texts = [fields[0] for fields, _ in read_records([whole], str(path), plain)]
    except CorpusError as error:
        if kind == "lines" or field is not None or reading is None or reading.label_field is None:
            raise of_the_run(error, plain) from None
        # The run told the text by its being the only field beside the label.
        beside = dataclasses.replace(reading, kind=kind)
        texts = [fields[0] for fields, _ in read_records([whole], str(path), beside)]
    if not texts:
        raise CorpusError(f"{'stdin' if str(path) == '-' else path} has no text: write one text per line")
    return texts


def _read(path):
    """Return the bytes of a file, decompressed as training does by its ending, or of stdin.

    Raises CorpusError where they are more than memory holds, as soon as that is known.
    """
    from charrnn.files.machine import available_memory
    from charrnn.text.sources import BLOCK_BYTES, open_source, read_block

    if str(path) != "-" and path.is_dir():
        raise CorpusError(f"cannot read {path}: is a directory; name a file")
    free, blocks, size = available_memory(), [], 0
    with open_source(str(path)) as source:
        while block := read_block(source, str(path), BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if free is not None and size * HELD_A_BYTE > free:
                name = "stdin" if str(path) == "-" else path
                raise CorpusError(
                    f"{name} is longer than {size / 1e9:,.1f} GB, but only {free / 1e9:,.1f} GB of memory are free: "
                    "split it into smaller files"
                )
    return b"".join(blocks)


def _check_memory(texts):
    """Raise CorpusError where the longest text does not fit into memory: all of it is read in one go."""
    from charrnn.files.machine import available_memory

    number, longest = max(enumerate(map(len, texts), 1), key=lambda one: one[1])
    needed, free = longest * BYTES_A_CHARACTER, available_memory()
    if free is not None and needed > free:
        raise CorpusError(
            f"text {number:,} has {counted(longest, 'character')}, which need {needed / 1e9:,.1f} GB of memory, but "
            f"only {free / 1e9:,.1f} GB are free: split it into shorter texts"
        )


def _encode(vocabulary, text, number, options):
    """Return the ids of a text, with or without what the model does not know."""
    if options["unknown"] == "skip":
        text, left_out = vocabulary.without_unknown(text)
        if left_out:
            note(
                f"text {number:,}: skipped {counted(sum(left_out.values()), 'character')} that the model does not know"
            )
    try:
        return vocabulary.encode(text)
    except VocabularyError as error:
        raise VocabularyError(f"text {number:,}: {skip_first(error)}") from None


def _answers(opened, task, texts, options):
    """Return a list of records for each text: labels with their probabilities, or answers with their scores."""
    import numpy as np

    from charrnn.cli.progress import progress_bar
    from charrnn.evaluation.answers import MAX_TARGET, tell_labels, translate

    vocabulary, model = opened.checkpoint.vocabulary, opened.model
    with progress_bar() as progress:

        def report(done, of):
            progress("reading", done, of)

        if task != "translate":
            found = tell_labels(model, vocabulary, texts, report=report)
            best = np.argsort(-found, axis=1, kind="stable")[:, : options["top_k"] or 1]
            return [
                [{"label": vocabulary.labels[k], "probability": float(p[k])} for k in order]
                for p, order in zip(found, best.tolist())
            ]
        length = options["length"] or MAX_TARGET
        found = translate(model, vocabulary, texts, options["beam"] or 1, length, options["n_best"] or 1, report=report)
    cut = sum(not each.is_whole for several in found for each in several)
    if cut:
        note(
            f"{counted(cut, 'answer')} did not end within {counted(length, 'character')}: raise --length to let them "
            "end"
        )
    return [
        [
            {"text": vocabulary.decode(each.ids), "score_nats": each.score_nats, "is_whole": each.is_whole}
            for each in several
        ]
        for several in found
    ]
