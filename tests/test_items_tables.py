"""benchmarks/items.py: its splits are those of a run."""

import sys
from pathlib import Path

import pytest

from charrnn.text.corpus import read_corpus
from charrnn.text.item_kinds import ItemsReading

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from items import read_records, split_records  # noqa: E402


@pytest.mark.parametrize("ending, between", [("tsv", "\t"), ("csv", ",")])
def test_records_are_in_the_splits_that_a_run_has_them_in(tmp_path, ending, between):
    path = tmp_path / f"sums.{ending}"
    rows = [(f"{a}+{b}", str(a + b + c)) for a in range(30) for b in range(9) for c in range(1 + (a == b))]
    path.write_text("\n".join(between.join(row) for row in [("sum", "result"), *rows]) + "\n")
    reading = ItemsReading(ending, task="translate", source_field="sum", target_field="result")
    with read_corpus([path], items=reading) as corpus:
        start, sep, end = corpus.vocabulary.marks
        expected = []
        for first, stop in corpus.split(0.1, 0.25):
            items = corpus.text(first, stop).removeprefix(start).removesuffix(end).split(end + start)
            expected.append(sorted(tuple(item.split(sep)) for item in items))
    found = split_records(read_records(path), 0.1, 0.25)
    assert [sorted(found[name]) for name in ("train", "validate", "test")] == expected
    assert sum(map(len, expected)) == len(rows) and min(map(len, expected)) > 9
