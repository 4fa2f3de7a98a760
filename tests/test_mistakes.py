"""Kinds of mistakes, peeled off in order, and brackets by their distance: on texts small enough to say by hand."""

import math

import numpy as np
import pytest

from charrnn.evaluation.mistakes import DISTANCES, bracket_losses, count_words, find_mistakes, readable
from charrnn.text.vocabulary import Vocabulary


def kinds_of(text, wrong, first=0, sure=(), words=None, p=0.05):
    """Return {place: (kind, detail)} of the characters at `wrong`, by asking for one of them at a time."""
    found = {}
    for at in wrong:
        losses = np.full(len(text) - first, -math.log(0.9))
        losses[at - first] = -math.log(p)
        first_sure = np.zeros(len(losses), np.uint8)
        for place, order in sure:
            first_sure[place - first] = order
        mistakes = find_mistakes(
            text, first, losses, first_sure, count_words(words if words is not None else f"{text} " * 9)
        )
        assert mistakes.count == 1 and sum(one.count for one in mistakes.kinds) == 1
        assert mistakes.loss_share == pytest.approx(losses[at - first] / losses.sum())
        (one,) = [one for one in mistakes.kinds if one.count]
        assert one.loss_share == pytest.approx(mistakes.loss_share)
        found[at] = one.kind, one.detail
    return found


def test_each_kind_is_found_where_it_should_be():
    text = 'Mary saw Mary, "then" left.'
    found = kinds_of(text, [0, 1, 5, 9, 10, 13, 16, 17, 26])
    assert found[0] == found[5] == found[9] == ("word start", "after a space, a newline or a quote")
    assert found[10] == ("memory", "within 100 characters")  # the second Mary, from its second character on
    assert found[1][0] == "the rest"
    assert found[16][0] == "word start"  # after the quote
    assert found[13][0] == found[26][0] == "punctuation"
    assert found[17] == ("the rest", "p 0 to 0.1")


def test_the_order_of_peeling_decides():
    text = "Zebra Zebra"
    assert kinds_of(text, [7], sure=[(7, 4)])[7] == ("n-gram", "order 4")
    assert kinds_of(text, [7], words="")[7] == ("memory", "within 100 characters")
    assert kinds_of(text, [6, 1], words="") == {
        6: ("rare word", "never in the training text"),
        1: ("rare word", "never in the training text"),
    }
    assert kinds_of(text, [6], words="Zebra " * 5)[6] == ("rare word", "1 to 5 times in it")
    assert kinds_of(text, [6], words="Zebra " * 6)[6][0] == "word start"


@pytest.mark.parametrize("gap, detail", [(90, "100"), (120, "500"), (600, "1,000")])
def test_memory_says_how_far_back_the_word_was(gap, detail):
    text = "wombat" + "." * gap + "wombat"
    assert kinds_of(text, [len(text) - 3])[len(text) - 3] == ("memory", f"within {detail} characters")
    far = "wombat" + "." * 1000 + "wombat"
    assert kinds_of(far, [len(far) - 3])[len(far) - 3][0] == "the rest"


def test_context_counts_for_memory_but_is_not_judged():
    text = "wombat wombat"
    assert kinds_of(text, [8], first=7) == {8: ("memory", "within 100 characters")}
    assert kinds_of(text, [8], first=6) == {8: ("memory", "within 100 characters")}


@pytest.mark.parametrize(
    "p, detail", [(0.45, "p 0.4 to 0.5"), (0.35, "p 0.3 to 0.4"), (0.15, "p 0.1 to 0.2"), (1e-9, "p 0 to 0.1")]
)
def test_the_rest_is_told_by_its_probability(p, detail):
    assert kinds_of("abcdef", [3], p=p)[3] == ("the rest", detail)


def test_nothing_wrong_is_no_mistake_and_counts_add_up():
    text = "some (words) here, and some more words (here)."
    losses = np.random.default_rng(0).exponential(1.5, len(text))
    mistakes = find_mistakes(text, 0, losses, np.zeros(len(text)), count_words(text))
    assert mistakes.count == (np.exp(-losses) < 0.5).sum() == sum(one.count for one in mistakes.kinds)
    assert mistakes.loss_share == pytest.approx(sum(one.loss_share for one in mistakes.kinds))
    assert [kind for kind, _, _ in mistakes.by_kind()] == [
        "n-gram",
        "memory",
        "rare word",
        "word start",
        "punctuation",
        "the rest",
    ]
    assert find_mistakes(text, 0, np.zeros(len(text)), np.zeros(len(text)), count_words(text)).count == 0


def test_brackets_by_distance_nested_and_with_what_stands_before():
    text = "f(a[1]) (" + "x" * 20 + ") ) {"
    losses = np.arange(len(text), dtype=float)
    reaches = {one.low: one for one in bracket_losses(text, 0, losses, losses * 2)}
    assert reaches[1].count == 1 and reaches[1].loss_nats == text.index("]")  # [1]
    assert reaches[5].count == 1 and reaches[5].loss_nats == text.index(")")  # (a[1])
    assert reaches[20].count == 1 and reaches[20].ngram_loss_nats == 2 * (8 + 21)
    assert sum(one.count for one in reaches.values()) == 3  # a stray one closes nothing
    assert tuple(reaches) == DISTANCES and math.isnan(reaches[640].loss_nats)
    (inside,) = [one for one in bracket_losses(text, 6, losses[6:], losses[6:]) if one.low == 5]
    assert inside.count == 1 and inside.loss_nats == 6  # opened before what is judged


def test_bytes_above_127_are_letters_and_keep_their_places():
    vocabulary = Vocabulary("bytes", sorted(set("naïve, né".encode())))
    data = "naïve, né".encode()
    text = readable(vocabulary, vocabulary.encode_bytes(data))
    assert len(text) == len(data) and sorted(map(len, count_words(text))) == [3, 6]
    assert readable(Vocabulary("chars", "ab"), [0, 1, 1]) == "abb"
