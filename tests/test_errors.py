"""How a message counts."""

from charrnn.errors import counted


def test_one_is_no_plural_and_large_counts_have_commas():
    assert [counted(number, "step") for number in (0, 1, 1.0, 2, 12345, 0.5)] == [
        "0 steps",
        "1 step",
        "1 step",
        "2 steps",
        "12,345 steps",
        "0.5 steps",
    ]
