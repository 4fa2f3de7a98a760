"""Which parts of a text are an item each, and how the options of a run say so.

    lines        a line each                csv, tsv     a row's field each, named by the file's first row
    paragraphs   between blank lines        jsonl        a JSON record a line: a string, or a field of an object
    files        a file each

Knows names alone; imports no NumPy, so that the options can be shown without.
"""

import itertools
import os
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.text.task_names import BOTH, CLASSIFY, STEER, TRANSLATE

KINDS = ("lines", "paragraphs", "files", "csv", "tsv", "jsonl")
WITH_FIELDS = ("csv", "tsv", "jsonl")
FIELDS = ("text_field", "label_field", "source_field", "target_field")  # options that name one
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
    task        one of tasks.TASKS, None of plain items
    label_field, label_from          where a label is: in a field, or "folder", the folder of a file
    source_field, target_field       the fields of a pair to be translated
    """

    kind: str
    text_field: str | None = None
    split: str = HASH
    task: str | None = None
    label_field: str | None = None
    label_from: str | None = None
    source_field: str | None = None
    target_field: str | None = None

    @property
    def fields(self):
        """What an item is made of, as (what it is, its field or None), in the order of the item."""
        if self.task == TRANSLATE:
            return (("source", self.source_field), ("target", self.target_field))
        text, label = ("text", self.text_field), ("label", self.label_field)
        return (text,) if self.task is None else (label, text) if self.task == STEER else (text, label)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ConfigError(f"items must be one of {', '.join(KINDS)}, got {self.kind!r}", ["items"])
        if self.text_field is not None and self.kind not in WITH_FIELDS:
            raise ConfigError(
                f"--text-field {self.text_field} names a field, but {self.kind} have no fields: leave it out, or read "
                f"a file of records with --items {', '.join(WITH_FIELDS[:-1])} or {WITH_FIELDS[-1]}",
                ["text_field", "items"],
            )
        for name in ("label_field", "source_field", "target_field"):
            value = getattr(self, name)
            if value is not None and self.kind not in WITH_FIELDS:
                raise ConfigError(
                    f"{_flag(name)} {value} names a field, but {self.kind} have no fields: read a file of records with "
                    f"--items {', '.join(WITH_FIELDS[:-1])} or {WITH_FIELDS[-1]}"
                    + (", or files with --items files --label-from folder" if name == "label_field" else ""),
                    [name, "items"],
                )
        if self.label_from is not None and self.kind != "files":
            raise ConfigError(
                f"--label-from {self.label_from} needs files, but --items is {self.kind}: use --items files, or name "
                "the label's field with --label-field",
                ["label_from", "items"],
            )


def _flag(name):
    return "--" + name.replace("_", "-")


def _check_task(config):
    """Raise ConfigError where a task and the fields that it needs do not fit."""
    if config.label_field is not None and config.label_from is not None:
        raise ConfigError(
            "--label-field and --label-from both give the label: leave one of them out", ["label_field", "label_from"]
        )
    if config.task in (CLASSIFY, BOTH) and config.label_field is None and config.label_from is None:
        how = {"files": "add --label-from folder"}.get(config.items, "add --label-field NAME")
        if config.items not in (*WITH_FIELDS, "files"):
            how = (
                f"{config.items} have no labels: read a file of records with --items csv --label-field NAME, or files "
                "in a "
                "folder for each label with --items files --label-from folder"
            )
        raise ConfigError(
            f"--task {config.task} needs a label{', and ' if 'have' in how else ': '}{how}", ["task", "label_field"]
        )
    if config.task == TRANSLATE:
        _check_translation(config)
    else:
        for name in ("source_field", "target_field"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"{_flag(name)} {getattr(config, name)} is for translation: add --task {TRANSLATE}, or leave it "
                    "out",
                    [name, "task"],
                )
    named = [name for name in FIELDS if getattr(config, name) is not None]
    for name, other in itertools.combinations(named, 2):
        if getattr(config, name) == getattr(config, other):
            raise ConfigError(
                f"{_flag(name)} and {_flag(other)} name the same field, {getattr(config, name)!r}: name two different "
                "ones",
                [name, other],
            )


def _check_translation(config):
    if config.items not in WITH_FIELDS:
        raise ConfigError(
            f"--task {TRANSLATE} needs a source and a target, but {config.items} have no fields: read a file of "
            "records with --items csv --source-field NAME --target-field NAME",
            ["task", "items"],
        )
    for name in ("source_field", "target_field"):
        if getattr(config, name) is None:
            raise ConfigError(f"--task {TRANSLATE} needs a source and a target: add {_flag(name)} NAME", ["task", name])
    for name in ("text_field", "label_field", "label_from"):
        if getattr(config, name) is not None:
            raise ConfigError(
                f"{_flag(name)} {getattr(config, name)} cannot be used with --task {TRANSLATE}, which reads a source "
                "and a target: leave it out",
                [name, "task"],
            )


def check_items(config):
    """Raise ConfigError where options of a run contradict each other about items; config : a TrainingConfig."""
    if config.items is None:
        of_records = " or ".join(WITH_FIELDS)
        kinds_of = dict.fromkeys((*FIELDS, "task"), of_records) | {"split": "lines", "label_from": "files"}
        if config.task is not None:
            fields = "--source-field NAME --target-field NAME" if config.task == TRANSLATE else "--label-field NAME"
            also = "" if config.task == TRANSLATE else " (if there are several other fields, also --text-field NAME)"
            raise ConfigError(
                f"--task {config.task} needs items, but this text is read as one long text: name the fields of a csv, "
                f"tsv or jsonl file with {fields}{also}, or leave --task out",
                ["task", "items"],
            )
        for name, kinds in kinds_of.items():
            value = getattr(config, name)
            if value is not None:
                flag = _flag(name)
                raise ConfigError(
                    f"{flag} {value} applies to items, but this text is read as one long text: add --items {kinds}, or "
                    "leave it out",
                    [name, "items"],
                )
        return
    if config.vocab == "bytes":
        raise ConfigError(
            f"--items {config.items} needs characters, but --vocab bytes gives bytes: leave one of them out",
            ["items", "vocab"],
        )
    if config.part_files:
        raise ConfigError(
            f"--part-files is for one long text, but --items {config.items} gives many: leave one of them out",
            ["part_files", "items"],
        )
    _check_task(config)
    reading_of(config)


def reading_of(config):
    """Return how the text of a run is read as items, an ItemsReading; None of one long text."""
    if config.items is None:
        return None
    task = config.task
    if task is None and (config.label_field is not None or config.label_from is not None):
        task = STEER
    return ItemsReading(
        config.items,
        config.text_field,
        config.split or HASH,
        task,
        config.label_field,
        config.label_from,
        config.source_field,
        config.target_field,
    )


def inferred(texts, asked):
    """Return the options of a run with `items` filled in where a field is named and the files' ending says the kind.

    texts    as they were named
    asked    {option name: value}
    """
    named = [name for name in FIELDS if asked.get(name) is not None]
    if asked.get("items") is None and asked.get("label_from") is not None and not named:
        return {**asked, "items": "files"}
    if asked.get("items") is not None or not named:
        return asked
    kinds = {kind_by_ending(str(text)) for text in texts}
    if len(kinds) != 1 or None in kinds:
        raise ConfigError(
            f"{_flag(named[0])} {asked[named[0]]} names a field of records, but the name of {texts[0]} does not end "
            "in .csv, .tsv or .jsonl: add --items csv, tsv or jsonl",
            [named[0], "items"],
        )
    return {**asked, "items": kinds.pop()}


def items_hint(texts, config):
    """Return a sentence for a user whose texts are files of records that are read as one long text; "" otherwise."""
    kinds = {kind_by_ending(str(text)) for text in texts}
    if config.items is not None or None in kinds or len(kinds) != 1:
        return ""
    kind = kinds.pop()
    rows = "lines" if kind == "jsonl" else "rows"
    return f"{texts[0]} is read as one long text; to learn its {rows} as separate items, add --items {kind}"


def kind_by_ending(path):
    """Return the kind of records that a file's ending says, None where it says none."""
    stem, ending = os.path.splitext(path.lower())
    if ending in _COMPRESSED:
        ending = os.path.splitext(stem)[1]
    kind = {".ndjson": "jsonl"}.get(ending, ending[1:])
    return kind if kind in WITH_FIELDS else None
