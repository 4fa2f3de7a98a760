import random
import re

import pytest
from rich.cells import cell_len
from rich.text import Text

from charrnn.render.colours import DARK, LIGHT, SCALES, ink_palette, parsed, step_colour, step_of, step_palette
from charrnn.render.terminal import highlight, legend, visible

SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \x00\x08\r\x7f \u202eback\u2066 \ufeff\u200b\u200d\u2028\ud800\U000f0000"


def body(shown):
    """Return the lines below the title and the legend."""
    lines = shown.split("\n")
    assert lines[2] == ""
    return lines[3:]


def plain(shown):
    return SEQUENCE.sub("", shown)


def test_without_colours_signs_stand_under_the_text():
    values = [0.9, 0.5, 0.49, 0.2, 0.19, 0, -0.19, -0.2, -0.49, -0.5, -1]
    assert body(highlight(list("abcdefghij\n"), values, width=40, colour="none", title="t")) == [
        "abcdefghij↵",
        "++··   ··--",
    ]


def test_the_title_and_a_legend_come_first():
    shown = highlight(["a"], [1], width=80, colour="none", title="unit 1:37, tanh(c)")
    assert shown.split("\n")[:3] == [
        "unit 1:37, tanh(c)",
        "+ high (0.5 and more), - low (-0.5 and less), · weak (0.2 and more, either way)",
        "",
    ]
    assert highlight(["a"], [1], width=20, colour="none", title="t").split("\n")[1] == "+ high, - low, · weak"
    shown = highlight(["a"], [1], width=60, colour="truecolor", title="t").split("\n")[1]
    assert shown == legend(width=60, colour="truecolor")
    assert plain(shown).startswith("blue -1 ") and plain(shown).endswith(" +1 red")
    first, last = "\x1b[48;2;{};{};{}m".format(*step_colour(-20, "red-blue", DARK)), step_colour(20, "red-blue", DARK)
    assert first in shown and "\x1b[48;2;{};{};{}m".format(*last) in shown
    assert plain(highlight(["a"], [1], width=60, colour="256", title="t", scale="orange-blue")).count("orange") == 1


@pytest.mark.parametrize("background", [DARK, LIGHT])
@pytest.mark.parametrize("scale", sorted(SCALES))
def test_each_character_has_the_colour_of_its_value(scale, background):
    text, values = list("abcdef"), [1, -1, 0.5, 0.5, 0, -0.25]
    line = body(highlight(text, values, width=80, colour="truecolor", title="t", scale=scale, background=background))[0]
    rich_text = Text.from_ansi(line)
    assert rich_text.plain == "abcdef"
    for at, value in enumerate(values):
        style = rich_text.get_style_at_offset(_console(), at)
        if value == 0:
            assert style.color is None and style.bgcolor is None
        else:
            assert tuple(style.bgcolor.triplet) == step_colour(step_of(value), scale, background)
            assert tuple(style.color.triplet) == parsed(background.ink)
    assert line.endswith("\x1b[0m")


def _console():
    from rich.console import Console

    return Console()


def test_the_palette_of_256_is_kept_to():
    line = body(highlight(list("abc"), [1, -0.5, 0.1], width=80, colour="256", title="t"))[0]
    plus, minus = (step_palette(step, "red-blue", DARK) for step in (20, -10))
    assert line == f"\x1b[38;5;{ink_palette(DARK)}m\x1b[48;5;{plus}ma\x1b[48;5;{minus}mb\x1b[0mc"


def test_neighbours_of_one_colour_share_a_sequence():
    line = body(highlight(list("abc" * 20), [0.8] * 60, width=80, colour="truecolor", title="t"))[0]
    assert len(SEQUENCE.findall(line)) == 3


@pytest.mark.parametrize("colour", ["truecolor", "256", "none"])
def test_no_colour_runs_over_the_end_of_a_line(colour):
    for line in body(highlight(list("ab\ncd\n"), [1] * 6, width=20, colour=colour, title="t")):
        assert not SEQUENCE.search(line) or line.endswith("\x1b[0m")


def test_newlines_and_tabs_are_visible():
    assert body(highlight(list("a\tb\n\n"), [1, 0.3, 0, -1, 1], width=40, colour="none", title="t")) == [
        "a→      b↵",
        "+······· -",
        "↵",
        "+",
    ]
    assert body(highlight(list("a\tb\n"), [1, 0.3, 0, -1], width=40, colour="none", title="t", unicode=False)) == [
        "a>      b$",
        "+....... -",
    ]


def test_a_tab_ends_where_the_line_does():
    assert body(highlight(list("x" * 18 + "\ty"), [0] * 20, width=20, colour="none", title="t"))[::2] == [
        "x" * 18 + "→ ",
        "y",
    ]
    assert body(highlight(list("x" * 20 + "\ty"), [0] * 22, width=20, colour="none", title="t"))[::2] == [
        "x" * 20,
        "→       y",
    ]


def test_a_carriage_return_is_an_arrow_back_in_every_font():
    assert body(highlight(list("a\r\n"), [1, 1, 1], width=40, colour="none", title="t"))[0] == "a←↵"
    assert body(highlight(list("a\r\n"), [1, 1, 1], width=40, colour="none", title="t", unicode=False))[0] == "a<$"


def test_lines_break_between_words_where_the_line_stays_half_full():
    def shown(text):
        return body(highlight(list(text), [1] * len(text), width=20, colour="none", title="t"))[::2]

    assert shown("the quick brown fox jumps\n") == ["the quick brown fox ", "jumps↵"]
    assert shown("the quick brown foxes.\n") == ["the quick brown ", "foxes.↵"]
    assert shown("the quick brown foxe\n") == ["the quick brown ", "foxe↵"]  # the mark of a newline is not left alone
    assert shown("the quick" + "x" * 20) == ["the quickxxxxxxxxxxx", "xxxxxxxxx"]
    assert shown("a\tb\tcdefgh\n") == ["a→      b→      ", "cdefgh↵"]
    assert shown("abcdefgh abcdefghijk\ta") == ["abcdefgh abcdefghijk", "→       a"]


def test_a_title_is_broken_between_words_and_the_legend_can_be_left_out():
    shown = highlight(
        ["a"], [1], width=20, colour="none", title="inside a comment: unit 0:234\nAUROC", with_legend=False
    )
    assert shown.split("\n") == ["inside a comment:", "unit 0:234", "AUROC", "", "a", "+"]
    assert legend(width=20, colour="none") == "+ high, - low, · weak"


def test_lines_wrap_at_the_width_and_wide_characters_count_twice():
    lines = body(highlight(list("漢字" * 8), [1, -1] * 8, width=21, colour="none", title="t"))
    assert lines == ["漢字" * 5, "++--" * 5, "漢字" * 3, "++--" * 3]


def test_a_combining_character_stays_with_its_base():
    assert body(highlight(list("e\u0301x"), [1, -1, 0.3], width=20, colour="none", title="t")) == ["e\u0301x", "+·"]
    assert body(highlight(list("\u0301x"), [1, -1], width=20, colour="none", title="t")) == ["◌\u0301x", "+-"]
    assert body(highlight(list("a\n\u0301"), [1, 1, -1], width=20, colour="none", title="t")) == [
        "a↵",
        "++",
        "◌\u0301",
        "-",
    ]
    line = body(highlight(list("e\u0301x"), [1, -1, 1], width=20, colour="truecolor", title="t"))[0]
    assert "e\u0301x" in line


@pytest.mark.parametrize("colour", ["truecolor", "256", "none"])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_character_of_a_text_commands_the_terminal(colour, unicode):
    text = HOSTILE + "".join(map(chr, range(0x20))) + "".join(map(chr, range(0x7F, 0xA0)))
    shown = plain(highlight(list(text), [0.5] * len(text), width=60, colour=colour, title=HOSTILE, unicode=unicode))
    for character in shown:
        assert character == "\n" or character.isprintable(), repr(character)
    shown.encode("utf-8")
    assert "\\u202e" in shown and "\\ud800" in shown and "\\x9b" in shown
    assert ("␛[31m" if unicode else "\\x1b[31m") in shown


def test_ascii_marks_alone_where_there_is_no_unicode():
    for colour in ("none", "256"):
        shown = highlight(list("a\tb\x1b\n"), [1, 0.3, 0, -1, 0.3], width=40, colour=colour, title="t", unicode=False)
        assert shown.isascii()


def test_symbols_of_several_characters_are_one_value():
    assert body(highlight(["\\xc3", "a"], [1, -1], width=20, colour="none", title="t")) == ["\\xc3a", "++++-"]
    assert body(highlight(["x" * 45], [1], width=20, colour="none", title="t"))[::2] == ["x" * 20, "x" * 20, "x" * 5]


def test_nothing_to_show_is_a_title_and_a_legend():
    assert body(highlight([], [], width=20, colour="none", title="t")) == []


def test_random_texts_fit_the_width_and_lose_nothing():
    rng = random.Random(0)
    alphabet = list("abc \n\té漢字ｱ😀🇩🇪\u0301\u0e33\x1b\u202e") + ["\u1112\u1161\u11ab", "👍🏽"]
    for _ in range(300):
        text = [rng.choice(alphabet) for _ in range(rng.randint(0, 120))]
        values = [rng.uniform(-1, 1) for _ in text]
        width = rng.randint(20, 50)
        coloured = body(highlight(text, values, width=width, colour="truecolor", title="t"))
        signed = body(highlight(text, values, width=width, colour="none", title="t"))
        assert [plain(line) for line in coloured] == signed[::2]
        assert all(cell_len(plain(line)) <= width for line in coloured)
        assert all(cell_len(signs) <= cell_len(line) for line, signs in zip(signed[::2], signed[1::2]))
        joined = "".join(signed[::2]).replace("◌", "").replace("↵", "").replace(" ", "").replace("→", "")
        assert joined == "".join(visible(symbol) for symbol in text if symbol not in "\n\t ")


def test_a_value_that_is_no_number_has_no_colour():
    assert body(highlight(["a"], [float("nan")], width=20, colour="truecolor", title="t")) == ["a"]
    assert body(highlight(["a"], [float("nan")], width=20, colour="none", title="t")) == ["a", ""]


def test_values_from_0_up_have_a_legend_of_their_own():
    shown = highlight(list("abcd\n"), [0, 1.5, 1.7, 4, 99], width=60, colour="none", title="bits", most=8, unit="bits")
    assert shown.split("\n")[1] == "+ 4 bits and more, · 1.6 bits and more"
    assert body(shown) == ["abcd↵", "  ·++"]
    legend = highlight(["a"], [8], width=60, colour="truecolor", title="t", most=8, unit="bits").split("\n")[1]
    assert plain(legend).startswith("0 ") and plain(legend).endswith(" 8 bits and more")
    assert "\x1b[48;2;{};{};{}m".format(*step_colour(20, "red-blue", DARK)) in legend
    assert "\x1b[48;2;{};{};{}m".format(*step_colour(-20, "red-blue", DARK)) not in legend
