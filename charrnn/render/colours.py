"""A value in [-1, 1] as a colour, and whether a stream shows colours at all.

Two diverging scales from the background's own colour (0) to a strong one at either end: red (+1) and blue (-1), and
orange and blue, which stay further apart for eyes that lack one kind of cone. On each of them text keeps one colour,
with a contrast of at least 4.5 (WCAG 2.2, 1.4.3) at every value: dark text on a light background, light on a dark one.
"""

from dataclasses import dataclass
from functools import cache

STEPS = 20  # colours from 0 to either end
CONTRAST = 4.5

_TRUECOLOUR_TERMS = ("truecolor", "24bit", "direct", "kitty", "alacritty", "wezterm", "ghostty", "foot", "contour")
_TRUECOLOUR_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "mintty", "rio", "Tabby")
_PALETTE_TERMS = (
    "256",
    "xterm",
    "screen",
    "tmux",
    "rxvt",
    "linux",
    "konsole",
    "gnome",
    "vte",
    "cygwin",
    "st-",
    "putty",
)


@dataclass(frozen=True)
class Background:
    """A background to read on: its colour, the text's colour on it and on every step of a scale, and how dark it is."""

    name: str
    paper: str
    ink: str


@dataclass(frozen=True)
class Scale:
    """A diverging scale: the colours of +1 and -1 on a light and on a dark background, and what they are called."""

    name: str
    plus_name: str
    minus_name: str
    plus: dict  # background's name -> colour
    minus: dict


LIGHT = Background("light", "#fffefb", "#15171a")
DARK = Background("dark", "#15171b", "#f2f1ee")
BACKGROUNDS = (LIGHT, DARK)

RED_BLUE = Scale(
    "red-blue", "red", "blue", {"light": "#f4564a", "dark": "#cc2f28"}, {"light": "#5b93f5", "dark": "#2a62da"}
)
ORANGE_BLUE = Scale(
    "orange-blue", "orange", "blue", {"light": "#f39c1f", "dark": "#a05c00"}, {"light": "#4f8ff0", "dark": "#1f63dc"}
)
# In the palette of 256, from weak to strong; weaker still is no colour.
_RAMPS = {
    ("red", "dark"): (52, 88, 124, 160),
    ("red", "light"): (224, 217, 210, 203),
    ("blue", "dark"): (17, 18, 25, 26),
    ("blue", "light"): (189, 153, 111, 69),
    ("orange", "dark"): (58, 94, 130),
    ("orange", "light"): (223, 215, 214, 208),
}
_FIRST_OF_RAMP = 3  # the step
SCALES = {scale.name: scale for scale in (RED_BLUE, ORANGE_BLUE)}


def colour_mode(stream, environ):
    """Return "truecolor", "256" or "none": what a stream can show.

    NO_COLOR, where it is set to anything, means none (no-color.org); a FORCE_COLOR other than 0 gives colours to a
    pipe.
    """
    if environ.get("NO_COLOR"):
        return "none"
    forced = environ.get("FORCE_COLOR", "0") not in ("", "0")
    try:
        terminal = stream.isatty()
    except (AttributeError, ValueError):  # no stream of the kind that has it, or a closed one
        terminal = False
    if not terminal and not forced:
        return "none"
    term, program = environ.get("TERM", "").lower(), environ.get("TERM_PROGRAM", "")
    if term == "dumb":
        return "none"
    if (
        environ.get("COLORTERM", "").lower() in ("truecolor", "24bit")
        or program in _TRUECOLOUR_PROGRAMS
        or any(name in term for name in _TRUECOLOUR_TERMS)
        or environ.get("WT_SESSION")
    ):
        return "truecolor"
    if forced or program or any(name in term for name in _PALETTE_TERMS):
        return "256"
    return "none"


def background_of(environ):
    """Return the background of the terminal as far as COLORFGBG tells it; dark where nothing does."""
    colour = environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if colour in ("7", "15") else DARK


def step_of(value):
    """Return the step of a value, -STEPS .. STEPS; a value that is not a number is 0."""
    if not -1 <= value <= 1:
        value = 0.0 if value != value else max(-1.0, min(1.0, value))
    return round(value * STEPS)


@cache
def step_colour(step, scale, background):
    """Return the colour (r, g, b) of a step, 0..255: a straight line in Oklab from the paper to the end of the scale.

    scale : a name in SCALES
    """
    ends = SCALES[scale].plus if step > 0 else SCALES[scale].minus
    paper, end = (_to_oklab(parsed(colour)) for colour in (background.paper, ends[background.name]))
    share = abs(step) / STEPS
    return _from_oklab(tuple(a + (b - a) * share for a, b in zip(paper, end)))


def step_palette(step, scale, background):
    """Return the colour of a step in the palette of 256, or None for one too weak to have any."""
    if abs(step) < _FIRST_OF_RAMP:
        return None
    ramp = _RAMPS[SCALES[scale].plus_name if step > 0 else SCALES[scale].minus_name, background.name]
    return ramp[(abs(step) - _FIRST_OF_RAMP) * len(ramp) // (STEPS + 1 - _FIRST_OF_RAMP)]


def palette_colour(index):
    """Return (r, g, b) of a colour in the palette of 256: the cube from 16 on, the greys from 232 on."""
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    levels = (0, 95, 135, 175, 215, 255)
    index -= 16
    return levels[index // 36], levels[index // 6 % 6], levels[index % 6]


def ink_palette(background):
    """Return the text's colour in the palette of 256."""
    return 16 if background is LIGHT else 231


def contrast(one, other):
    """Return the contrast ratio of two colours (r, g, b), 1..21 (WCAG 2.2)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def parsed(text):
    """Return #rrggbb as (r, g, b)."""
    return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))


def css_colour(colour):
    """Return (r, g, b) as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour):
    red, green, blue = map(_linear, colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel):
    channel /= 255
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel):
    channel = min(1.0, max(0.0, channel))
    return 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055


def _to_oklab(colour):
    """Return a colour in Oklab, where equal distances look equal (Ottosson 2020)."""
    red, green, blue = map(_linear, colour)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _from_oklab(colour):
    lightness, a, b = colour
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return tuple(round(255 * _gamma(channel)) for channel in linear)
