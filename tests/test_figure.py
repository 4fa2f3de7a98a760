"""Figures of curves: what stands where, on both scales, in SVG and PNG; and what is refused."""

import math
import re
from xml.etree import ElementTree

import pytest

from charrnn.errors import ConfigError
from charrnn.render import figure as drawing
from charrnn.render.colours import DARK, LIGHT, contrast, parsed
from charrnn.render.figure import (
    COLOURS,
    DASHES,
    LEFT,
    MAX_CURVES,
    PLOT_HEIGHT,
    Curve,
    Figure,
    Panel,
    power_text,
    shared_range,
    write_png,
    write_svg,
)

SVG = "{http://www.w3.org/2000/svg}"
FALLING = Curve("falling", [0, 1, 2], [1, 1e-5, 1e-10], [0.5, 1e-6, 0.0], [2, 1e-4, 1e-9])


def drawn(tmp_path, figure):
    write_svg(tmp_path / "figure.svg", figure)
    return ElementTree.fromstring((tmp_path / "figure.svg").read_text(encoding="utf-8"))


def make(*panels, **how):
    return Figure("a title", "k", "a norm", list(panels) or [Panel("one", [FALLING])], **{"log": True, **how})


def lines(root, name):
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
        if line.get("class") == name
    ]


def words(root):
    return [text.text for text in root.iter(f"{SVG}text")]


def test_equal_factors_are_equal_steps_on_a_log_axis(tmp_path):
    root = drawn(tmp_path, make())
    (a, b, c), sample = lines(root, "c0")
    assert b[1] - a[1] == pytest.approx(c[1] - b[1], abs=0.02) and b[1] > a[1]
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.02) and a[0] == LEFT
    assert a[1] - (c[1] - PLOT_HEIGHT) == pytest.approx(
        PLOT_HEIGHT * math.log(2) / math.log(2e10), abs=0.02
    )  # below the band's upper end
    assert len({y for _, y in sample}) == 1  # the legend's


def test_words_axes_and_bands_are_there(tmp_path):
    root = drawn(
        tmp_path,
        make(Panel("one", [FALLING]), Panel("two", [FALLING, Curve("flat <&>", [0, 2], [1, 1])], [(0.1, "chance")])),
    )
    found = words(root)
    assert {"a title", "k", "a norm", "one", "two", "falling", "flat <&>", "chance", "10⁰", "10⁻⁶"} <= set(found)
    assert found.count("10⁻⁶") == 1  # one y axis for all panels
    assert [band.get("class") for band in root.iter(f"{SVG}polygon")] == ["c0", "c0"]


def test_notes_and_long_titles_are_cut_into_lines(tmp_path):
    long = "a title that is far too long for a third of the page, " * 2
    root = drawn(tmp_path, make(*[Panel(long, [FALLING])] * 3, notes=("a note " * 60, "another")))
    height, found = float(root.get("height")), words(root)
    assert found.count("another") == 1 and sum(text.startswith(("a note", "note")) for text in found) >= 3
    assert long not in found and max(map(len, found)) < 140
    places = [float(text.get("y")) for text in root.iter(f"{SVG}text")]
    assert max(places) < height and len(root.findall(f"{SVG}text")) > 12


def test_a_panel_may_have_a_y_axis_of_its_own(tmp_path):
    rate = Panel("rate", [Curve("rate", [0, 1, 2], [1e-3, 2e-3, 1e-3])], y_label="learning rate")
    loss = Panel("loss", [Curve("loss", [0, 1, 2], [4, 3, 2])])
    root = drawn(tmp_path, make(loss, rate, log=False))
    assert {"a norm", "learning rate", "0.0018", "3.5"} <= set(words(root))
    first, _, second, _ = lines(root, "c0")
    assert first[0][1] == second[1][1] and first[-1][1] == second[0][1]  # each fills its own axis


def test_bars_stand_on_the_axis_and_have_names(tmp_path):
    panels = [Panel(str(at), [Curve("p", [0, 1], [0.75, 0.25])], x_names=["a", "<"]) for at in range(2)]
    root = drawn(tmp_path, make(*panels, log=False, bars=True, y_range=(0.0, 1.0)))
    bars = [[tuple(map(float, p.split(","))) for p in bar.get("points").split()] for bar in root.iter(f"{SVG}polygon")]
    heights = [bar[0][1] - bar[1][1] for bar in bars]
    assert heights == pytest.approx([0.75 * PLOT_HEIGHT, 0.25 * PLOT_HEIGHT] * 2, abs=0.1)
    assert all(bar[1][0] < bar[2][0] for bar in bars) and bars[0][2][0] < bars[1][1][0]
    assert words(root).count("<") == 2


def test_everything_lies_inside_and_panels_apart(tmp_path):
    root = drawn(tmp_path, make(*[Panel(str(at), [FALLING] * MAX_CURVES) for at in range(3)]))
    width, height = float(root.get("width")), float(root.get("height"))
    points = [point for shape in root.iter() if shape.get("points") for point in shape.get("points").split()]
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in (point.split(",") for point in points))
    assert all(
        0 <= float(text.get("x")) <= width and 0 <= float(text.get("y")) <= height for text in root.iter(f"{SVG}text")
    )
    starts = {line[0][0] for line in lines(root, "c5")}
    assert len(starts) == 3


def test_a_point_alone_is_a_marker_inside_the_frame(tmp_path):
    lone = [Curve("a", [40], [2.0]), Curve("b", [40], [3.0])]
    long = [Curve("a", [1, 20, 40], [5.0, 4.0, 3.0]), Curve("b", [1, 20, 40], [5.0, 4.5, 4.0])]
    root = drawn(tmp_path, make(Panel("Validation", lone), Panel("Training", long), log=False))
    frames = [line for line in lines(root, "ink") if len(line) == 3]
    (left, top), (_, bottom), (right, _) = frames[0]
    outlines = []
    for name in ("c0", "c1"):
        marker, sample = (
            [tuple(map(float, point.split(","))) for point in shape.get("points").split()]
            for shape in root.iter(f"{SVG}polygon")
            if shape.get("class") == name
        )
        assert all(left < x < right and top < y < bottom for x, y in marker) and len(marker) == len(sample)
        assert len(lines(root, name)) == 2  # the other panel's, and the legend's
        outlines.append(len(marker))
    assert len(set(outlines)) == 2 and words(root).count("a") == 1  # one legend for both panels


def test_a_legend_that_all_panels_share_is_there_once(tmp_path):
    same = [Panel(str(at), [FALLING]) for at in range(2)]
    assert words(drawn(tmp_path, make(*same))).count("falling") == 1
    other = Panel("2", [FALLING, Curve("flat", [0, 2], [0.1, 0.1])])
    assert words(drawn(tmp_path, make(*same, other))).count("falling") == 2


def test_what_a_range_leaves_out_is_not_drawn(tmp_path):
    root = drawn(tmp_path, make(y_range=(1e-6, 1)))
    assert len(lines(root, "c0")[0]) == 2 and "falling, below 10⁻⁶ from 2 on" in words(root)
    arrow = [shape.get("points") for shape in root.iter(f"{SVG}polygon") if shape.get("class") == "c0"][-1]
    (axis,) = (line for line in lines(root, "ink") if len(line) == 3)
    assert float(arrow.split(",")[-1]) == axis[1][1]  # its tip is on the x axis
    assert not any("below" in word for word in words(drawn(tmp_path, make())))
    root = drawn(tmp_path, make(Panel("", [Curve("odd", [0, 1, 2, 3], [1, 0, math.nan, 0.1])])))
    assert len(lines(root, "c0")[0]) == 2


def test_curves_are_told_apart_without_colour_and_on_either_paper(tmp_path):
    assert len(set(DASHES)) == MAX_CURVES
    for paper in (LIGHT, DARK):
        assert len(set(COLOURS[paper.name])) == MAX_CURVES
        assert min(contrast(parsed(colour), parsed(paper.paper)) for colour in COLOURS[paper.name]) >= 3
    write_svg(tmp_path / "figure.svg", make())
    text = (tmp_path / "figure.svg").read_text()
    light, dark = text.split("prefers-color-scheme: dark")
    assert LIGHT.paper in light and DARK.paper in dark and COLOURS["dark"][0] in dark


def test_ticks_are_round_numbers_inside_the_axis():
    assert [text for _, text in drawing._Scale(0, 1, False).ticks()] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [text for _, text in drawing._Scale(3e-41, 2, True).ticks()] == [
        power_text(power) for power in range(-40, 1, 5)
    ]
    assert [value for value, _ in drawing._Scale(0, 200, False).ticks(5)] == [0, 50, 100, 150, 200]


def test_a_flat_or_single_value_has_an_axis(tmp_path):
    drawn(tmp_path, make(Panel("", [Curve("one", [3], [2.0])])))
    low, high = shared_range(make(Panel("", [Curve("one", [3], [2.0])]), log=False))
    assert low < 2 < high


@pytest.mark.parametrize("log", [True, False])
def test_nothing_to_draw_is_refused(tmp_path, log):
    with pytest.raises(ConfigError, match="at least one finite value"):
        write_svg(tmp_path / "figure.svg", make(Panel("", [Curve("none", [1], [math.nan])]), log=log))
    with pytest.raises(ConfigError, match="at most 6 curves, got 7"):
        write_svg(tmp_path / "figure.svg", make(Panel("", [FALLING] * 7)))
    assert not list(tmp_path.iterdir())


def test_a_png_shows_the_curves(tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install pillow)")
    write_png(
        tmp_path / "figure.png", make(Panel("one", [FALLING, Curve("flat", [0, 2], [0.1, 0.1])], [(1e-3, "chance")]))
    )
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width == 2 * drawing.WIDTH
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {parsed(LIGHT.paper), parsed(LIGHT.ink), parsed(COLOURS["light"][0]), parsed(COLOURS["light"][1])} <= colours


def test_dashes_leave_their_share_of_a_line():
    pieces = drawing._dashed([(0, 0), (7, 0), (20, 0)], [3, 2])
    assert [(piece[0][0], piece[-1][0]) for piece in pieces] == [(0, 3), (5, 8), (10, 13), (15, 18)]
    assert drawing._dashed([(0, 0), (1, 1)], ()) == [[(0, 0), (1, 1)]]


def test_no_control_character_reaches_a_file(tmp_path):
    write_svg(
        tmp_path / "figure.svg",
        Figure("\x1b[31m</text>", "\ud800", "\x00", [Panel("\x9b", [Curve("\x07", [0, 1], [0, 1])])]),
    )
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
