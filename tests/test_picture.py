import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.errors import ConfigError, StorageError
from charrnn.render.colours import LIGHT, css_colour, parsed, step_colour
from charrnn.render.picture import CELL, COLUMNS, LINE, MARGIN, MAX_CHARACTERS, PNG_SCALE, Passage, write_png, write_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>&lt;]]> \x00\x1b[31m\ud800\ufffe\u202e \U0001f600\u6f22e\u0301"


def drawn(tmp_path, *passages, **how):
    write_svg(tmp_path / "picture.svg", passages, **how)
    return ElementTree.fromstring((tmp_path / "picture.svg").read_text(encoding="utf-8"))


def glyphs(root):
    """Return {(x, baseline): text} of the text on the grid: the second group of words."""
    found = {}
    for text in root.findall(f"{SVG}g")[2]:
        xs = [float(x) for x in text.get("x").split()]
        pieces = list(text.text) if len(xs) > 1 else [text.text]
        assert len(pieces) == len(xs)
        found.update({(x, float(text.get("y"))): piece for x, piece in zip(xs, pieces)})
    return found


def rectangles(root):
    return [
        (float(one.get("x")), float(one.get("y")), float(one.get("width")), one.get("fill"))
        for one in root.findall(f"{SVG}g")[0]
    ]


def test_each_character_stands_on_its_cell_in_its_colour(tmp_path):
    root = drawn(tmp_path, Passage("a title", list("ab c\nd"), np.array([1, 1, -1, 0, 0.5, -0.5])))
    first, second = sorted({y for _, y in glyphs(root)})
    assert second - first == pytest.approx(LINE)
    assert glyphs(root) == {
        (round(MARGIN + at * CELL, 2), y): symbol
        for at, y, symbol in [(0, first, "a"), (1, first, "b"), (3, first, "c"), (4, first, "↵"), (0, second, "d")]
    }
    colours = [css_colour(step_colour(step, "red-blue", LIGHT)) for step in (20, -20, 10, -10)]
    cells = [(x, width, colour) for x, _, width, colour in rectangles(root)[:4]]
    assert cells == [
        (pytest.approx(x), pytest.approx(width), colour)
        for (x, width), colour in zip(
            [(MARGIN, 2 * CELL), (MARGIN + 2 * CELL, CELL), (MARGIN + 4 * CELL, CELL), (MARGIN, CELL)], colours
        )
    ]


def test_a_carriage_return_is_drawn_as_an_arrow_that_fonts_have(tmp_path):
    assert "".join(glyphs(drawn(tmp_path, Passage("", list("a\r\n"), np.zeros(3)))).values()) == "a←↵"


def test_titles_and_the_legend_are_there(tmp_path):
    root = drawn(
        tmp_path,
        Passage("one", ["a"], [0]),
        Passage("two " * 40, ["a"], [0]),
        Passage("", ["b"], [1]),
        scale="orange-blue",
    )
    words = [text.text for text in root.findall(f"{SVG}g")[1]]
    assert (
        words[0] == "one" and words[-2:] == ["orange +1", "−1 blue"] and " ".join(words[1:-2]).split() == ["two"] * 40
    )
    assert max(map(len, words)) <= 70
    assert len(rectangles(root)) == 41 + 1


def test_everything_lies_inside_the_picture(tmp_path):
    rng = np.random.default_rng(0)
    text = list("".join(rng.choice(list("abc \n\t\u6f22"), 2000)))
    root = drawn(
        tmp_path, Passage("t", text, rng.uniform(-1, 1, 2000)), Passage("u", text[:90], rng.uniform(-1, 1, 90))
    )
    width, height = float(root.get("width")), float(root.get("height"))
    assert width == 2 * MARGIN + COLUMNS * CELL
    assert all(
        MARGIN <= x <= x + across <= width - MARGIN + 0.02 and 0 < y < height - MARGIN
        for x, y, across, _ in rectangles(root)
    )
    assert all(MARGIN <= x < width - MARGIN and 0 < y < height for x, y in glyphs(root))


def test_a_hostile_text_is_text(tmp_path):
    root = drawn(tmp_path, Passage(HOSTILE, list(HOSTILE), np.linspace(-1, 1, len(HOSTILE))))
    assert {element.tag for element in root.iter()} == {f"{SVG}{name}" for name in ("svg", "g", "rect", "text")}
    shown = "".join(text for _, text in sorted(glyphs(root).items(), key=lambda item: (item[0][1], item[0][0])))
    assert shown == re.sub(
        " ", "", "</text><script>alert(1)</script>&lt;]]>␀␛[31m\\ud800\\ufffe\\u202e\U0001f600\u6f22e\u0301"
    )


@pytest.mark.parametrize("write", [write_svg, write_png])
def test_what_no_picture_can_hold_is_refused(tmp_path, write):
    with pytest.raises(ConfigError, match="at least one character"):
        write(tmp_path / "picture", [Passage("t", [], [])])
    with pytest.raises(ConfigError, match="at most 20,000 characters, got 20,001"):
        write(tmp_path / "picture", [Passage("t", ["a"] * (MAX_CHARACTERS + 1), [0] * (MAX_CHARACTERS + 1))])
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(StorageError, match="create the folder first"):
        write_svg(tmp_path / "none" / "picture.svg", [Passage("t", ["a"], [0])])


def test_without_pillow_a_png_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=re.escape("pip install pillow, or write an SVG")):
        write_png(tmp_path / "picture.png", [Passage("t", ["a"], [0])])
    assert not list(tmp_path.iterdir())


def opened(path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install pillow)")
    return Image.open(path).convert("RGB")


def test_a_png_has_the_colours_of_the_svg(tmp_path):
    pytest.importorskip("PIL", reason="needs Pillow (pip install pillow)")
    passage = Passage("title", list("    x\n" + HOSTILE), np.r_[1, -1, 0.5, 0, 1, 0, np.zeros(len(HOSTILE))])
    write_png(tmp_path / "picture.png", [passage])
    image, root = opened(tmp_path / "picture.png"), drawn(tmp_path, passage)
    assert image.size == (round(float(root.get("width")) * PNG_SCALE), round(float(root.get("height")) * PNG_SCALE))
    y = round((rectangles(root)[0][1] + 5) * PNG_SCALE)
    for at, step in ((0, 20), (1, -20), (2, 10), (3, 0)):
        assert image.getpixel((round((MARGIN + (at + 0.5) * CELL) * PNG_SCALE), y)) == step_colour(
            step, "red-blue", LIGHT
        )
    cell = image.crop(
        [round(length * PNG_SCALE) for length in (MARGIN + 4 * CELL, y / 2 - 4, MARGIN + 5 * CELL, y / 2 + 18)]
    )
    darkest = min(colour for _, colour in cell.getcolors(10_000))
    assert max(abs(a - b) for a, b in zip(darkest, parsed(LIGHT.ink))) < 60  # the x is drawn


def test_a_png_needs_no_font_of_the_system(tmp_path, monkeypatch):
    ImageFont = pytest.importorskip("PIL.ImageFont", reason="needs Pillow (pip install pillow)")
    real = ImageFont.truetype

    def none_found(font=None, *arguments, **keywords):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return real(font, *arguments, **keywords)

    monkeypatch.setattr(ImageFont, "truetype", none_found)
    write_png(tmp_path / "picture.png", [Passage("title", list("words\t\n" + HOSTILE), np.zeros(7 + len(HOSTILE)))])
    assert len(opened(tmp_path / "picture.png").getcolors(1 << 20)) > 20
