"""Which parts of a text are an item each, and how the options of a run say so.

    lines        a line each                csv, tsv     a row's field each, named by the file's first row
    paragraphs   between blank lines        jsonl        a JSON record a line: a string, or a field of an object
    files        a file each

Knows names alone; imports no NumPy, so that the options can be shown without.
"""

import os
from dataclasses import dataclass

from charrnn.errors import ConfigError

KINDS = ("lines", "paragraphs", "files", "csv", "tsv", "jsonl")
WITH_FIELDS = ("csv", "tsv", "jsonl")
HASH, ORDER = SPLITS = ("hash", "order")

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class ItemsReading:
    """How a text is read as items.

    kind        one of KINDS
    text_field  of WITH_FIELDS, the field that holds the text; None where there is but one
    split       "hash": the items in the order of a keyed hash of their content, so that a share of them is a fair
                sample, equal items stand side by side, and items that are added move none of the others; "order": in
                the order of the files
    """

    kind: str
    text_field: str | None = None
    split: str = HASH

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ConfigError(f"items must be one of {', '.join(KINDS)}, got {self.kind!r}", ["items"])
        if self.text_field is not None and self.kind not in WITH_FIELDS:
            raise ConfigError(
                f"--text-field {self.text_field} names a field, and {self.kind} have none: leave it out, or read a "
                f"file of records with --items {', '.join(WITH_FIELDS[:-1])} or {WITH_FIELDS[-1]}",
                ["text_field", "items"],
            )


def check_items(config):
    """Raise ConfigError where options of a run contradict each other about items; config : a TrainingConfig."""
    if config.items is None:
        for name, kinds in (("text_field", " or ".join(WITH_FIELDS)), ("split", "lines")):
            value = getattr(config, name)
            if value is not None:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"{flag} {value} is of items, and the text is one long one: add --items {kinds}, or leave it out",
                    [name, "items"],
                )
        return
    if config.vocab == "bytes":
        raise ConfigError(
            f"--items {config.items} is of characters, and --vocab bytes of bytes: leave one of them out",
            ["items", "vocab"],
        )
    if config.part_files:
        raise ConfigError(
            f"--part-files is of one long text, and --items {config.items} of many: leave one of them out",
            ["part_files", "items"],
        )
    ItemsReading(config.items, config.text_field)


def inferred(texts, asked):
    """Return the options of a run with `items` filled in where a field is named and the files' ending says the kind.

    texts    as they were named
    asked    {option name: value}
    """
    if asked.get("items") is not None or asked.get("text_field") is None:
        return asked
    kinds = {kind_by_ending(str(text)) for text in texts}
    if len(kinds) != 1 or None in kinds:
        raise ConfigError(
            f"--text-field {asked['text_field']} names a field of records, and the ending of {texts[0]} "
            f"does not say of which kind: add --items csv, tsv or jsonl",
            ["text_field", "items"],
        )
    return {**asked, "items": kinds.pop()}


def kind_by_ending(path):
    """Return the kind of records that a file's ending says, None where it says none."""
    stem, ending = os.path.splitext(path.lower())
    if ending in _COMPRESSED:
        ending = os.path.splitext(stem)[1]
    kind = {".ndjson": "jsonl"}.get(ending, ending[1:])
    return kind if kind in WITH_FIELDS else None
