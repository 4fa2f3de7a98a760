"""What a notebook is given to show: fragments of HTML."""

from html.parser import HTMLParser

import pytest

from charrnn.render.colours import LIGHT, css_colour, step_colour, step_of
from charrnn.render.notebook import MAX_CHARACTERS, coloured_text, html_table


class Reader(HTMLParser):
    """Collect the words of a fragment and check that every tag is closed."""

    def __init__(self, fragment):
        super().__init__()
        self.words, self.tags, self.styles = [], [], []
        self.feed(fragment)
        self.close()
        assert not self.tags

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles.append((tag, dict(attrs).get("style", "")))

    def handle_endtag(self, tag):
        assert self.tags.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_a_table_escapes_what_it_is_given_and_sets_numbers_to_the_right():
    reader = Reader(html_table([("<b>", 12345), ("é&", "x")], headings=("name", "count"), caption="1 < 2"))
    assert reader.words == ["1 < 2", "name", "count", "<b>", "12,345", "é&", "x"]
    assert [style.rpartition(":")[2] for tag, style in reader.styles if tag == "td"] == [
        "left",
        "right",
        "left",
        "left",
    ]


def test_each_character_stands_on_the_colour_of_its_value():
    reader = Reader(coloured_text("ab<\nc", [1.0, 1.0, -0.5, 0.0, float("nan")]))
    spans = [style for tag, style in reader.styles if tag == "span"]
    expected = [css_colour(step_colour(step_of(value), "red-blue", LIGHT)) for value in (1.0, -0.5)]
    assert spans == [f"background:{colour}" for colour in expected]
    assert reader.words == ["ab", "<", "\nc"]


def test_a_long_text_is_cut_and_says_so():
    reader = Reader(coloured_text("x" * (MAX_CHARACTERS + 5), [0.0] * (MAX_CHARACTERS + 5)))
    assert reader.words == ["x" * MAX_CHARACTERS, "… and 5 more characters"]


def test_a_text_and_its_values_must_be_of_one_length():
    with pytest.raises(ValueError):
        coloured_text("abc", [0.0])
