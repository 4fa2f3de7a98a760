import math
import random

import pytest

from charrnn.render.scatter import scatter, scatters


def test_points_stand_where_their_shares_are():
    assert scatter(
        [0, 1, 0.5], [0, 0, 0.999], width=24, height=8, title="forget", x_label="shut", y_label="open"
    ).split("\n") == [
        "forget",
        "1 ↑ open",
        "  │          ⠈",
        "  │",
        "  │",
        "  │⡀                   ⢀",
        "0 └─────────────────────",
        "  0       shut →       1",
    ]


def test_ascii_marks_tell_crowds():
    lines = scatter([0] * 9 + [0.5] * 3 + [1], [0] * 9 + [0.5] * 3 + [1], width=24, height=7, unicode=False).split("\n")
    assert lines == [
        "",
        "1",
        "  |                    .",
        "  |          o",
        "  |@",
        "0 +---------------------",
        "  0                    1",
    ]


def test_points_outside_are_left_out_and_counted():
    shown = scatter([0.5, 1.1, -0.1, math.nan], [0.5, 0.5, 0.5, 0.5], title="t")
    assert shown.startswith("t (3 of 4 left out)\n")
    assert sum(0x2800 < ord(character) < 0x2900 for character in shown) == 1


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width, height", [(24, 7), (1, 1), (80, 24), (200, 60)])
def test_any_points_fit_the_box(width, height, unicode):
    rng = random.Random(0)
    for count in (0, 1, 500):
        x, y = ([rng.choice([0, 1, rng.random()]) for _ in range(count)] for _ in range(2))
        lines = scatter(
            x, y, width=width, height=height, title="t" * 99, x_label="x" * 99, y_label="y\x1b" * 99, unicode=unicode
        ).split("\n")
        assert len(lines) == max(height, 7) and all(len(line) <= max(width, 24) for line in lines)
        assert all(character.isprintable() for line in lines for character in line)


def test_every_gate_and_layer_has_its_plot_beside_the_others():
    gates = {name: [[(0.1, 0.2)], [(0.9, 0)]] for name in ("input", "forget", "output")}
    wide = scatters(gates, width=100).split("\n")
    assert [line for line in wide if "layer" in line] == [
        "   ".join(f"layer {layer}, {name} gate".ljust(31) for name in gates).rstrip() for layer in (0, 1)
    ]
    assert max(map(len, wide)) <= 100
    narrow = scatters(gates, width=40).split("\n")
    assert sum("layer" in line for line in narrow) == 6 and max(map(len, narrow)) <= 40
    assert scatters({}) == ""
