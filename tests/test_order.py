"""A text in an order that makes its split unfair is told of; any other is not."""

import random
from pathlib import Path

import pytest

from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading
from charrnn.training.options import TrainingConfig
from charrnn.training.order import WINDOW, WINDOWS, find_order
from charrnn.training.plan import plan_run

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROOT = Path(__file__).parent.parent


def words(count, seed=1, most=12):
    draw = random.Random(seed)
    return ["".join(draw.choice(LETTERS) for _ in range(draw.randint(3, most))) for _ in range(count)]


def notes(tmp_path, lines, mode="chars", **options):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    reading = ItemsReading("lines", split=options.get("split", "hash")) if options.get("items") else None
    with read_corpus([path], mode=mode, items=reading) as corpus:
        config = TrainingConfig(hidden_size=9, steps=1, vocab=mode, **options)
        return [note for note in plan_run(config, corpus).notes if "at the end differ from those" in note]


@pytest.mark.parametrize(
    "arranged",
    [
        sorted,
        lambda lines: sorted(lines, reverse=True),
        lambda lines: sorted([*lines, *(word.title() for word in lines[::3])]),  # Z before a
        lambda lines: sorted(lines, key=lambda word: word[0]),  # within a letter in any order
        lambda lines: [f"- {word}, of {len(word)} letters" for word in sorted(lines)],
    ],
    ids=["rising", "falling", "capitals first", "by letter", "with marks"],
)
def test_an_alphabetical_list_is_told_of_with_the_remedy(tmp_path, arranged):
    (said,) = notes(tmp_path, arranged(words(3000)))
    assert said.startswith("the lines of the text are in alphabetical order") and "with --items lines, or" in said


def test_a_list_by_length_is_told_of(tmp_path):
    (said,) = notes(tmp_path, sorted(words(3000), key=len))
    assert "in the order of their length" in said


def test_a_shuffled_list_is_not_told_of_nor_one_that_is_split_by_hash_or_not_at_all(tmp_path):
    lines = sorted(words(3000))
    assert notes(tmp_path, words(3000)) == []
    assert notes(tmp_path, lines, items="lines") == []
    assert notes(tmp_path, lines, val_fraction=0.0, test_fraction=0.0) == []
    (said,) = notes(tmp_path, lines, items="lines", split="order")
    assert said.startswith("the items of the text") and "leave --split order out" in said
    (said,) = notes(tmp_path, lines, mode="bytes")
    assert "--items" not in said and "shuf" in said


def test_a_long_list_is_looked_at_in_places_all_over_it(tmp_path):
    lines = sorted(words(2 * WINDOWS * WINDOW // 8, most=5))
    assert notes(tmp_path, lines)
    # Sorted in each place, as a manual's index of each chapter is, and yet not as a whole.
    parts = [lines[k : k + 5000] for k in range(0, len(lines), 5000)]
    random.Random(2).shuffle(parts)
    assert notes(tmp_path, [word for part in parts for word in part]) == []


def test_prose_code_records_and_short_texts_are_not_told_of(tmp_path):
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "charrnn" / "text" / "vocabulary.py"):
        assert notes(tmp_path, path.read_text(encoding="utf-8").splitlines()) == []
    assert notes(tmp_path, [f"2026-01-{n // 1000:02} {n % 1000:03} {word}" for n, word in enumerate(words(3000))]) == []
    assert notes(tmp_path, ["the same line of any text"] * 500) == []
    assert find_order([sorted(words(60))]) is None
