"""Items drawn from a model of items, an item a line on stdout; how many of them are new, on stderr."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from charrnn.cli.progress import progress_bar
from charrnn.cli.samples import fields_of_a_draw
from charrnn.cli.words import note, quoted
from charrnn.errors import ConfigError, VocabularyError, counted

MAX_BATCH = 4_096  # items drawn side by side while new ones are looked for
MAX_DRAWN = 100  # items drawn for each new one that is asked for, and FEW_DRAWN more, before the search ends
FEW_DRAWN = 5_000  # also the most that are drawn in a row without a new one among them, before it ends


class ItemDraw(NamedTuple):
    """What items are drawn with: options as `charrnn sample` has them, made ready.

    make_sampler    (seed, number of items) -> Sampler
    """

    make_sampler: Any
    checkpoint: Any
    path: Any
    prime_ids: Any
    stop_ids: list
    length: int
    num_samples: int
    seed: int | None
    label: int | None = None  # its id


class KnownItems:
    """The items of a run's own text, by a hash of their content.

    counts    items of each split, in the order of names
    """

    names = ("train", "validation", "test")

    def __init__(self, corpus, splits):
        items = corpus.items
        bounds = [(items.first_of(start), items.first_of(stop)) for start, stop in splits]
        self._hashes = [set(items.hashes[first:last].tolist()) for first, last in bounds]

    def split_of(self, text):
        """Return the name of the first split that holds an item, None where none does."""
        from charrnn.text.items import content_hash

        content = content_hash([text.encode()])
        return next((name for name, hashes in zip(self.names, self._hashes) if content in hashes), None)


class Item(NamedTuple):
    """An item that was drawn: its text with the prime, the DrawnItem, and in which split it stands, None in none."""

    text: str
    drawn: Any
    split: str | None


@dataclass
class Tally:
    """What all items that were drawn are, those that are not shown too.

    splits    how many stand in each split, under None those that stand in none
    texts     what they are, each once
    barren    how many were drawn since the last new one
    """

    splits: Counter = field(default_factory=Counter)
    texts: set = field(default_factory=set)
    barren: int = 0

    @property
    def drawn(self):
        """How many there are."""
        return self.splits.total()

    def add(self, item):
        """Take in an item; return whether it is new: in no split, and not drawn before."""
        is_new = item.split is None and item.text not in self.texts
        self.splits[item.split] += 1
        self.texts.add(item.text)
        self.barren = 0 if is_new else self.barren + 1
        return is_new


def draw(asked, known=None, novel=False, with_losses=False, report=None):
    """Return (Items, the Tally of all that were drawn): those to be shown, in the order in which they were drawn.

    known    KnownItems; without, no item is looked up
    novel    leave out what stands in the run's text, and what was drawn before, and draw on until there are enough
    report   called with (items found, of) where new ones are looked for
    """
    vocabulary, shown, tally, turn = asked.checkpoint.vocabulary, [], Tally(), 0
    prime = vocabulary.decode(asked.prime_ids)
    most = MAX_DRAWN * asked.num_samples + FEW_DRAWN
    while len(shown) < asked.num_samples and (turn == 0 or novel and tally.drawn < most and tally.barren < FEW_DRAWN):
        size = asked.num_samples if turn == 0 else min(MAX_BATCH, max(64, 2 * (asked.num_samples - len(shown))))
        for one in _draw_batch(asked, turn, size, with_losses):
            text = prime + vocabulary.decode(one.ids)
            item = Item(text, one, None if known is None else known.split_of(text))
            if tally.add(item) or not novel:
                shown.append(item)
        turn += 1
        if novel and report is not None:
            report(min(len(shown), asked.num_samples), asked.num_samples)
    return shown[: asked.num_samples], tally


def _draw_batch(asked, turn, size, with_losses):
    from charrnn.sampling.items import draw_items

    sampler = asked.make_sampler(((asked.seed or 0) + turn) % 2**64, size)
    return draw_items(
        sampler, asked.checkpoint.vocabulary, asked.length, asked.prime_ids, asked.stop_ids, with_losses, asked.label
    )


def write_items(samples, output, options):
    """Draw items and write them; look them up in the run's text where that is asked for.

    samples    SampleTexts with an ItemDraw
    options    of the command
    """
    from charrnn.cli.opening import OpenedModel, open_text
    from charrnn.text.item_kinds import ItemsReading
    from charrnn.training.stored import stored_items

    asked, known = samples.items, None
    if options["novel"] or options["report"]:
        needed = "--novel" if options["novel"] else "--report"
        opened = OpenedModel(asked.path, asked.checkpoint, samples.sampler.model)
        with open_text(opened, None, None, remedy=f"restore that text, or leave {needed} out") as own:
            known = KnownItems(own.corpus, own.splits)
    with progress_bar() as progress:

        def report(found, of):
            progress("looking for new items", found, of)

        shown, tally = draw(asked, known, options["novel"], options["as_json"], report)
    if options["as_json"]:
        _write_json(output, asked, shown, samples.sampler.settings, known)
    else:
        reading = stored_items(asked.checkpoint.training) or ItemsReading("lines")
        _write_text(output, asked, shown, reading, options)
    _tell(asked, shown, tally, options)


def _write_text(output, asked, items, reading, options):
    """Write items as text: a line each; records as their file has them; what may hold blank lines with one between.

    reading    the ItemsReading of the run
    options    of the command: hide_prime, separator
    """
    prime = asked.checkpoint.vocabulary.decode(asked.prime_ids)
    separator = options["separator"]
    for number, item in enumerate(items):
        text = item.text[len(prime) :] if options["hide_prime"] else item.text
        if separator is not None:
            output.write((separator if number else "") + text)
            continue
        if reading.kind in ("paragraphs", "files") and number:
            output.write("\n")
        output.write(_line(text, reading) + "\n")
    output.flush()


def _line(text, reading):
    """Return an item as a file of its kind has it."""
    if reading.kind == "jsonl":
        record = text if reading.text_field is None else {reading.text_field: text}
        return json.dumps(record, ensure_ascii=False)
    if reading.kind == "csv":
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow([text])
        return row.getvalue()
    return text


def _write_json(output, asked, items, settings, known):
    """Write one JSON object an item, as `charrnn sample --json` has them of any model."""
    vocabulary = asked.checkpoint.vocabulary
    prime = vocabulary.decode(asked.prime_ids)
    for number, item in enumerate(items):
        drawn = item.drawn
        characters = len(drawn.ids) + drawn.is_whole
        record = {
            "sample": number,
            "prime": prime,
            "text": item.text[len(prime) :],
            "stop_reason": "stop" if drawn.is_whole else "length",
            "characters_drawn": characters,
            "loss_nats": drawn.loss_nats / max(1, characters),
            **fields_of_a_draw(asked.seed, settings, str(asked.path)),
        }
        if asked.label is not None:
            record["given"] = vocabulary.names[asked.label]
        if known is not None:
            record["split"] = item.split
        output.write(json.dumps(record) + "\n")
    output.flush()


def _tell(asked, shown, tally, options):
    """Say what became of the items: how many are cut off, new, known and distinct."""
    cut = sum(not item.drawn.is_whole for item in shown)
    if cut:
        note(
            f"{counted(cut, 'item')} of {len(shown):,} did not end within {counted(asked.length, 'character')}: raise "
            "--length to let them end"
        )
    if options["novel"] and len(shown) < asked.num_samples:
        note(
            f"only {counted(len(shown), 'item')} of {tally.drawn:,} drawn {'is' if len(shown) == 1 else 'are'} new: "
            "the model mostly repeats its text; a higher --temperature gives more new items"
        )
    if options["report"]:
        told = ", ".join(f"{tally.splits[name]:,} in {name}" for name in KnownItems.names)
        note(
            f"of {counted(tally.drawn, 'item')} drawn: {told}, {tally.splits[None]:,} new; "
            f"{len(tally.texts):,} distinct"
        )


def first_use(run, task, vocabulary):
    """Return the command that shows what the model of a run does; run : as a shell reads it."""
    from charrnn.text.task_names import ASKED, STEER

    if task in ASKED:
        return f"charrnn predict {run} TEXT"
    label = f" --given {quoted(vocabulary.labels[0])}" if task == STEER else ""
    several = "" if vocabulary.start_id is None else " --num-samples 20"
    return f"charrnn sample {run}{label}{several} --temperature 0.8"


def label_to_follow(checkpoint, path, given, verb="sample", needed=True):
    """Return the id of the label that --given names, None where the model follows none.

    verb      the command that is told
    needed    whether a model that follows labels must be given one

    Raises ConfigError where it follows one and none is given, where it follows none, or where it writes no text.
    """
    from charrnn.text.special import listed
    from charrnn.text.task_names import BOTH, CLASSIFY, STEER, TRANSLATE
    from charrnn.text.tasks import stored_task

    task, vocabulary, run = stored_task(checkpoint.training), checkpoint.vocabulary, quoted(str(path))
    if task in (CLASSIFY, TRANSLATE):
        does = "predicts labels" if task == CLASSIFY else "translates"
        raise ConfigError(f"this model {does} and does not write texts; use it with: charrnn predict {run} TEXT")
    if task != STEER:
        if given is None:
            return None
        if task == BOTH:
            raise ConfigError(
                f"--given {given} needs a model that only writes texts for a label, but this one also predicts labels: "
                "leave it out, or train such a model with 'charrnn train TEXT --label-field NAME' and no task",
                ["given"],
            )
        raise ConfigError(
            f"--given {given} needs a model with labels, and this one has none: leave it out, or train one with "
            "'charrnn train TEXT --label-field NAME'",
            ["given"],
        )
    if given is None:
        if not needed:
            return None
        raise ConfigError(
            f"this model writes texts for a label; choose one of {listed(vocabulary.labels)}: charrnn "
            f"{verb} {run} --given {quoted(vocabulary.labels[0])}",
            ["given"],
        )
    try:
        return vocabulary.label_id(given)
    except VocabularyError as error:
        raise VocabularyError(f"--given: {error}") from None


def refuse_of_a_stream(options):
    """Refuse the options of items where a model reads one long text."""
    for name in ("novel", "report"):
        if options[name]:
            raise ConfigError(
                f"--{name} applies to items, but this model writes one long text: leave it out, or train a model of "
                "items with "
                "'charrnn train TEXT --items lines'",
                [name],
            )
