import io

import pytest

from charrnn.render.colours import (
    BACKGROUNDS,
    CONTRAST,
    DARK,
    LIGHT,
    SCALES,
    STEPS,
    background_of,
    colour_mode,
    contrast,
    ink_palette,
    palette_colour,
    parsed,
    step_colour,
    step_of,
    step_palette,
)

EVERY = [(scale, background) for scale in SCALES for background in BACKGROUNDS]
# How eyes that lack one kind of cone see linear RGB (Machado, Oliveira & Fernandes 2009, severity 1.0).
DEFICIENCIES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def linear(colour):
    return [(c / 255) / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]


def seen_apart(one, other, matrix):
    """Return how far apart two colours look: the distance in CIELAB (D65), 2.3 being just noticeable."""

    def lab(colour):
        rgb = [sum(a * b for a, b in zip(row, linear(colour))) for row in matrix]
        xyz = [
            sum(a * b for a, b in zip(row, rgb))
            for row in ((0.4339, 0.3763, 0.1897), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))
        ]
        x, y, z = (max(c, 1e-9) ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in xyz)
        return 116 * y - 16, 500 * (x - y), 200 * (y - z)

    return sum((a - b) ** 2 for a, b in zip(lab(one), lab(other))) ** 0.5


@pytest.mark.parametrize("scale, background", EVERY)
def test_text_is_readable_at_every_step(scale, background):
    for step in range(-STEPS, STEPS + 1):
        assert contrast(step_colour(step, scale, background), parsed(background.ink)) >= CONTRAST
        index = step_palette(step, scale, background)
        assert (index is None) is (abs(step) < 3)
        if index is not None:
            assert contrast(palette_colour(index), palette_colour(ink_palette(background))) >= CONTRAST


def test_contrast_is_the_one_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scale, background", EVERY)
def test_a_scale_begins_at_the_paper_and_ends_at_its_colours(scale, background):
    colours = SCALES[scale]
    assert step_colour(0, scale, background) == parsed(background.paper)
    for step, end in ((STEPS, colours.plus), (-STEPS, colours.minus)):
        assert max(abs(a - b) for a, b in zip(step_colour(step, scale, background), parsed(end[background.name]))) <= 1


@pytest.mark.parametrize("scale, background", EVERY)
def test_colours_move_away_from_the_paper_step_by_step(scale, background):
    plain = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    paper = parsed(background.paper)
    for sign in (1, -1):
        distances = [seen_apart(step_colour(sign * step, scale, background), paper, plain) for step in range(STEPS + 1)]
        assert all(b > a for a, b in zip(distances, distances[1:]))


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_ends_come_apart_for_every_eye_and_further_on_the_alternative_scale(background):
    worst = {}
    for scale in SCALES:
        ends = step_colour(STEPS, scale, background), step_colour(-STEPS, scale, background)
        worst[scale] = min(seen_apart(*ends, DEFICIENCIES[kind]) for kind in ("protan", "deutan"))
        assert seen_apart(*ends, DEFICIENCIES["tritan"]) > 40
    assert 40 < worst["red-blue"] < worst["orange-blue"]


@pytest.mark.parametrize("scale, background", EVERY)
def test_the_palette_has_the_colours_of_the_scale_in_fewer_steps(scale, background):
    for sign in (1, -1):
        for step in range(3, STEPS + 1):
            red, _, blue = palette_colour(step_palette(sign * step, scale, background))
            assert sign * (red - blue) > 0
        ramp = [
            contrast(palette_colour(step_palette(sign * step, scale, background)), parsed(background.paper))
            for step in range(3, STEPS + 1)
        ]
        assert ramp == sorted(ramp) and len(set(ramp)) >= 3


@pytest.mark.parametrize(
    "value, step",
    [
        (0, 0),
        (1, 20),
        (-1, -20),
        (0.5, 10),
        (7, 20),
        (-7, -20),
        (float("nan"), 0),
        (float("inf"), 20),
        (0.02, 0),
        (-0.03, -1),
    ],
)
def test_steps_are_even_and_clipped(value, step):
    assert step_of(value) == step


@pytest.mark.parametrize(
    "environ, mode",
    [
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "screen", "COLORTERM": "24bit"}, "truecolor"),
        ({"TERM": "xterm-kitty"}, "truecolor"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, "256"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "truecolor"),
        ({"WT_SESSION": "1"}, "truecolor"),
        ({"TERM": "linux"}, "256"),
        ({"TERM": "vt100"}, "none"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({}, "none"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1", "FORCE_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"),
    ],
)
def test_a_terminal_shows_what_it_says_it_can(environ, mode):
    assert colour_mode(Terminal(), environ) == mode


def test_a_pipe_gets_no_colours_unless_they_are_forced():
    environ = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    assert colour_mode(io.StringIO(), environ) == colour_mode(None, environ) == "none"
    assert colour_mode(io.StringIO(), {**environ, "FORCE_COLOR": "0"}) == "none"
    assert colour_mode(io.StringIO(), {**environ, "FORCE_COLOR": "1"}) == "truecolor"
    assert colour_mode(io.StringIO(), {"FORCE_COLOR": "1"}) == "256"
    closed = io.StringIO()
    closed.close()
    assert colour_mode(closed, environ) == "none"


def test_the_background_is_dark_unless_the_terminal_says_otherwise():
    assert background_of({}) is background_of({"COLORFGBG": "15;0"}) is background_of({"COLORFGBG": "odd"}) is DARK
    assert background_of({"COLORFGBG": "0;15"}) is background_of({"COLORFGBG": "0;default;15"}) is LIGHT
