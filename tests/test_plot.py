import math
import random

import pytest

from charrnn.render.plot import Axes, coincidences, mark, plot, plot_curves

FALLING = [(step, 1.5 + 2.5 * math.exp(-step / 200)) for step in range(0, 1001, 10)]
SPARSE = [(step, 1.6 + 2.4 * math.exp(-step / 200)) for step in range(100, 1001, 300)]


def test_a_falling_curve_begins_high_on_the_left_and_ends_low_on_the_right():
    lines = plot([FALLING], width=60, height=12)
    rows = [line.split("│")[1] for line in lines[:10]]
    assert rows[0][0] != " " and len(rows[0]) < 10
    assert rows[-1].strip() and not rows[-1][:10].strip()
    assert len(rows[-1]) == max(map(len, rows))


def test_a_straight_line_is_a_known_picture():
    assert plot([[(0, 0), (1, 1)]], width=24, height=4) == [
        "1.0 │         ⢀⣀⣀⠤⠤⠤⠒⠒⠊⠉",
        "0.0 │⣀⡠⠤⠤⠒⠒⠒⠉⠉⠁",
        "    └───────────────────",
        "     0                 1",
    ]


def test_two_curves_come_apart_without_colour():
    text = "\n".join(plot([FALLING, SPARSE], width=80, height=12))
    assert text.count("●") == len(SPARSE)
    assert any(0x2800 < ord(character) < 0x2900 for character in text)
    plain = "\n".join(plot([FALLING, SPARSE], width=80, height=12, unicode=False))
    assert plain.isascii() and plain.count("o") == len(SPARSE) and plain.count(".") > 20
    assert [mark(index, unicode) for unicode in (True, False) for index in (0, 1)] == ["⠤", "●", ".", "o"]


def test_the_axes_name_the_ends():
    lines = plot([[(0, 4.1), (12000, 1.2)]], width=80, height=12)
    assert lines[-1].split() == ["0", "12,000"]
    labels = [float(line.split("│")[0]) for line in lines[:10] if line.split("│")[0].strip()]
    assert labels == [4, 3, 2]


def test_a_label_is_a_round_number_in_the_row_that_holds_it():
    for low, high in ((0, 1.02), (1.4277, 3.2), (-7.3, 12.9), (0.51, 0.5123), (1200, 987654)):
        lines = plot([[(0, low), (1, high)]], 60, 14)
        for row, line in enumerate(lines[:12]):
            label = line.split("│")[0].strip()
            if label:
                top, bottom = high - row * (high - low) / 12, high - (row + 1) * (high - low) / 12
                assert bottom - 1e-9 <= float(label) <= top + 1e-9
    lines = plot([[(0, 0.0), (1, 1.02)]], 60, 18)
    assert [line.split("│")[0].strip() for line in lines[:16]] == ["1.0"] + [""] * 7 + ["0.5"] + [""] * 6 + ["0.0"]
    assert sum(bool(line.split("│")[0].strip()) for line in plot([[(0, 2e-3), (1, 9e-3)]], 60, 14)[:12]) >= 2
    log = [
        "".join(text for text, _ in line).split("│")[0].strip()
        for line in plot_curves([[(0, 0.2), (1, 0.93)]], 60, 14, axes=Axes(log=True)).lines[:12]
    ]
    assert [label for label in log if label] == ["5e-1", "2e-1"]


def test_spans_say_which_curve_a_text_belongs_to():
    spans = [span for line in plot_curves([FALLING, SPARSE]).lines for span in line]
    assert {index for _, index in spans} == {None, 0, 1}
    assert all(set(text) == {"●"} for text, index in spans if index == 1)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width, height", [(80, 12), (24, 4), (1, 1), (200, 50)])
@pytest.mark.parametrize(
    "points",
    [
        [(5, 2.0)],
        [(5, 2.0), (5, 2.0)],
        [(1, 2.0), (2, 2.0), (3, 2.0)],
        [(1, 2.0), (2, 2.0000000001)],
        [(0, 0.0), (0, 1.0)],
        [(-1e99, -1e99), (1e99, 1e99)],
        [(1, 1e-300), (2, 0.0)],
        [(1, math.nan), (2, math.inf), (3, 1.0), (4, 10**400)],
    ],
)
def test_odd_points_fit_the_box(points, width, height, unicode):
    lines = plot([points, points[:1]], width, height, unicode)
    assert len(lines) == max(height, 4)
    assert max(map(len, lines)) <= max(width, 24)


def test_nothing_to_plot_gives_no_lines():
    assert plot([]) == plot([[]]) == plot([[], [(1, math.nan)]]) == []


def test_random_curves_fit_the_box():
    rng = random.Random(0)
    for _ in range(200):
        points = [
            (rng.uniform(-1, 1) * 10 ** rng.randint(-9, 9), rng.gauss(0, 1) * 10 ** rng.randint(-9, 9))
            for _ in range(rng.randint(1, 50))
        ]
        lines = plot([points, points[::3]], 40, 8)
        assert len(lines) == 8 and max(map(len, lines)) <= 40


def test_a_log_axis_makes_equal_factors_equal_steps():
    lines = [
        "".join(text for text, _ in line)
        for line in plot_curves([[], [(k, 10.0**-k) for k in range(8)] + [(8, 0.0)]], 60, 10, axes=Axes(log=True)).lines
    ]
    rows = [
        next((at for at, line in enumerate(lines[:8]) if "●" in line and line.index("●") == column), None)
        for column in sorted({line.index("●") for line in lines[:8] if "●" in line})
    ]
    assert rows == list(range(8)) and sum(line.count("●") for line in lines) == 8
    labels = [line.split("│")[0].strip() for line in lines[:8]]
    assert [text for text in labels if text] == ["1e0", "1e-2", "1e-4", "1e-6"]


def test_bands_are_shaded_where_no_curve_runs():
    curve, band = [(k, 1.0) for k in range(50)], [(k, 0.3, 1.7) for k in range(50)]
    axes = Axes(y_range=(0, 2))
    spans = plot_curves([curve], 60, 12, bands=[band], axes=axes).lines
    shaded = [at for at, line in enumerate(spans) if any("░" in text and index == 0 for text, index in line)]
    assert len(shaded) >= 7 and 0 not in shaded and 9 not in shaded
    assert any(
        "⠤" in text or "⠒" in text or "⣀" in text or "⠉" in text for line in spans for text, index in line if index == 0
    )
    assert any(
        ":" in text for line in plot_curves([curve], 60, 12, False, bands=[band], axes=axes).lines for text, _ in line
    )
    bands = [[(0, 0.0, 1.0), (5, 1e-9, 1e9), (9, math.nan, 1.0)]]
    assert len(plot_curves([[(0, 1.0), (9, 1e-3)]], 60, 12, bands=bands, axes=Axes(log=True)).lines) == 12


def test_a_log_x_axis_names_its_ends():
    lines = plot_curves([[(0, 9.0), (2, 1.0), (10, 2.0), (100, 3.0)]], 60, 8, axes=Axes(log_x=True)).lines
    assert lines[-1][0][0].split() == ["2", "100"]


def test_both_axes_have_titles():
    axes = Axes("steps", "loss in nats per character")
    for unicode in (True, False):
        lines = plot([FALLING], 60, 12, unicode, axes)
        assert lines[0] == "loss in nats per character" and lines[-1].split() == ["0", "steps", "1,000"]
        assert len(lines) == 13 and max(map(len, lines)) <= 60
    narrow = plot([FALLING], 24, 4, axes=Axes("characters from what is shown", "a share"))
    assert narrow[-1].strip() == "characters from what is" and max(map(len, narrow)) <= 24


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("count", [2, 4])
def test_curves_that_coincide_are_all_seen(count, unicode):
    dense = [(k, 5.0 - k / 50) for k in range(201)]
    drawn = plot_curves([dense] * count, 60, 12, unicode)
    cells = [index for line in drawn.lines for text, index in line for _ in text if index is not None]
    assert set(cells) == set(range(count)) and min(cells.count(index) for index in range(count)) >= 50 // count - 8
    assert drawn.shared[0, 1] == list(range(201)) and len(drawn.shared) == count * (count - 1) // 2
    sparse = [(k, 1.0) for k in (2, 5, 10, 15, 20, 30, 50)]
    drawn = plot_curves([[(2, 0.0), (50, 0.5)], *[sparse] * (count - 1)], 60, 12, unicode)
    text = "".join(text for line in drawn.lines for text, _ in line)
    assert [text.count(mark(index, unicode)) for index in range(1, count)] == [7] * (count - 1)


def test_what_coincides_is_told_in_words():
    one, other = [(k, 1.0) for k in range(0, 100, 10)], [(k, 1.0 if k < 30 else 0.1) for k in range(0, 100, 10)]
    shared = plot_curves([one, other], 60, 12).shared
    assert coincidences(shared) == "where two curves lie on each other, their marks alternate: ⠤ and ● (k = 0, 10, 20)"
    dense = [(k, 1.0) for k in range(200)]
    assert coincidences(plot_curves([dense, dense], 60, 12, False).shared, False).endswith(". and o (k = 0 to 199)")
    assert coincidences(plot_curves([one, [(0, 0.5)]], 60, 12).shared) == ""


def test_a_level_is_drawn_where_nothing_else_is():
    lines = ["".join(text for text, _ in line) for line in plot_curves([FALLING], 60, 12, levels=[4.0, 2.0, 99]).lines]
    assert sum("╌" in line for line in lines) == 2
