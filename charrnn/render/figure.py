"""Curves with bands as a figure for slides and papers: panels side by side over one y axis, as SVG, or as PNG with
Pillow.

Both draw the same layout. The SVG follows the reader's light or dark scheme; its colours keep a contrast of 3 on either
paper (WCAG 2.2, 1.4.11) and each curve has dashes of its own, so that none is told by colour alone.
"""

import math
import textwrap
from dataclasses import dataclass, field, replace
from html import escape

from charrnn.errors import ConfigError
from charrnn.files.marks import SVG_MARK
from charrnn.files.storage import atomic_write
from charrnn.render.colours import DARK, LIGHT, parsed
from charrnn.render.picture import (
    OTHER_FILES,
    PNG_SCALE,
    SANS,
    TITLE_FILES,
    first_font,
    load_pillow,
    png_bytes,
    short_number,
)
from charrnn.render.terminal import visible
from charrnn.render.ticks import round_powers, round_values

WIDTH, PLOT_HEIGHT = 960.0, 300.0
LEFT, RIGHT, TOP, GAP = 78.0, 22.0, 22.0, 24.0
TITLE, WORDS, SMALL = 17, 14, 13
LINE_WIDTH, BAND_OPACITY = 2.0, 0.16
MAX_CURVES = 6
COLOURS = {
    LIGHT.name: ("#0b5cad", "#c2410c", "#00775a", "#93379c", "#806000", "#4b5563"),
    DARK.name: ("#6cb0ff", "#ff9466", "#3ed2a2", "#e596ee", "#e6bd4a", "#b6bfcc"),
}
DASHES = ((), (9, 4), (2.5, 3.5), (12, 4, 3, 4), (5, 3), (16, 5))
MARKERS = ((16, 0), (4, 45), (3, 0), (4, 0), (3, 180), (6, 0))  # of lone points: (corners, degrees turned)
MARKER_RADIUS = 5.0
_FAINT = 0.14  # opacity of the grid's lines


@dataclass(frozen=True)
class Curve:
    """A line through (x, y), with a band from low to high where these are given. Values that are not finite are left
    out.
    """

    name: str
    x: list
    y: list
    low: list | None = None
    high: list | None = None


@dataclass(frozen=True)
class Panel:
    """Up to MAX_CURVES curves under a title, and levels (y, name): horizontal lines, such as chance.

    y_label     of a panel that has a y axis of its own, where it shows another quantity than the first one
    x_names     what stands under the bars at 0, 1, 2 and so on, in a figure of bars
    """

    title: str
    curves: list
    levels: list = field(default_factory=list)
    y_label: str | None = None
    x_names: list | None = None


@dataclass(frozen=True)
class Figure:
    """Panels side by side.

    log             the y axis runs over powers of ten, whichever of them is needed; what is not above 0 is left out
    y_range         (low, high), or None: what the medians need, and what bands add to it
    log_x           the x axis likewise, with its ticks at x_ticks
    notes           paragraphs below the panels
    bars            each point is a bar that begins at 0
    """

    title: str
    x_label: str
    y_label: str
    panels: list
    log: bool = False
    y_range: tuple | None = None
    log_x: bool = False
    x_ticks: list | None = None
    notes: tuple = ()
    bars: bool = False


@dataclass(frozen=True)
class _Shape:
    """A word, a line or a filled outline; `curve` chooses its colour, None is ink."""

    points: list
    curve: int | None = None
    text: str = ""
    size: float = SMALL
    anchor: str = "start"
    bold: bool = False
    upright: bool = False
    filled: bool = False
    opacity: float = 1.0
    width: float = 1.0
    dashes: tuple = ()


def write_svg(path, figure):
    """Write the figure as an SVG. Raises ConfigError where there is nothing to draw, StorageError."""
    atomic_write(path, _svg(*_laid_out(figure)))


def write_png(path, figure):
    """Write the figure as a PNG of 2 pixels a unit; needs Pillow. Raises ConfigError, StorageError."""
    shapes, height = _laid_out(figure)
    atomic_write(path, _png(shapes, height, *load_pillow()))


def shared_range(figure) -> tuple[float, float]:
    """Return (low, high) of the y axis: over the bands and levels of all panels that have none of their own, as far as
    they are finite and, on a log axis, above 0.
    """
    if figure.y_range:
        return figure.y_range
    panels = [panel for panel in figure.panels if panel.y_label is None]
    values = [
        y
        for panel in panels
        for curve in panel.curves
        for line in (curve.y, curve.low or (), curve.high or ())
        for y in line
    ]
    values = [
        y
        for y in (*values, *(y for panel in panels for y, _ in panel.levels))
        if math.isfinite(y) and (y > 0 or not figure.log)
    ]
    if not values:
        raise ConfigError(
            "a figure needs at least one finite value to draw" + (" above 0" if figure.log else "") + ", got none"
        )
    low, high = min(values), max(values)
    if figure.log:
        return (low, high) if high / low > 1.01 else (low / 3, high * 3)
    if not high > low:
        return low - 0.5, high + 0.5
    room = 0.06 * (high - low) if any(_lone(figure, panel) for panel in panels) else 0.0  # a marker keeps off the axis
    return low - room, high + room


def power_text(power):
    """Return 10 to a power as it is written: 10⁻³."""
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


# The layout


def _laid_out(figure):
    """Return (shapes, height)."""
    for panel in figure.panels:
        if len(panel.curves) > MAX_CURVES:
            raise ConfigError(f"a panel holds at most {MAX_CURVES} curves, got {len(panel.curves)}: ask for fewer")
    to_y = _Scale(*shared_range(figure), figure.log)
    xs = [x for panel in figure.panels for curve in panel.curves for x in curve.x]
    beside = 0.5 if figure.bars else 0.0  # half a bar
    lone = [x for panel in figure.panels for x in _lone(figure, panel)]
    before, after = (
        0.03 * (max(xs) - min(xs)) if end in lone and not figure.log_x else beside for end in (min(xs), max(xs))
    )
    to_x = _Scale(min(xs) - before, max(xs) + after, figure.log_x)
    shapes, y = [], TOP
    if figure.title:
        shapes.append(_Shape([(LEFT, y + TITLE)], text=visible(figure.title), size=TITLE, bold=True))
        y += TITLE + 16
    gaps = [0.0, *(GAP if panel.y_label is None else LEFT + 14 for panel in figure.panels[1:])]
    across = (WIDTH - LEFT - RIGHT - sum(gaps)) / len(figure.panels)
    title_lines = max(len(_wrapped(panel.title, across, WORDS)) for panel in figure.panels)
    if title_lines:
        y += 8 + title_lines * (WORDS + 3) - 3
    bottom, rows = y + PLOT_HEIGHT, max(len(panel.curves) for panel in figure.panels)
    for at, panel in enumerate(figure.panels):
        left, scale, label = LEFT + at * across + sum(gaps[: at + 1]), to_y, figure.y_label if at == 0 else None
        if panel.y_label is not None:
            own = replace(figure, panels=[replace(panel, y_label=None)], y_range=None)
            scale, label = _Scale(*shared_range(own), figure.log), panel.y_label
        _lay_panel(shapes, figure, panel, (left, y, across), to_x, scale, label is not None)
        if label is not None:
            middle = left - LEFT + (20.0 if at == 0 else 6.0), y + PLOT_HEIGHT / 2
            shapes.append(_Shape([middle], text=visible(label), anchor="middle", upright=True))
    y = bottom + 56 + rows * 20 + 12
    for said in figure.notes:
        for line in _wrapped(said, WIDTH - LEFT - RIGHT, SMALL):
            y += SMALL + 5
            shapes.append(_Shape([(LEFT, y)], text=line))
        y += 12
    return shapes, y


def _lone(figure, panel):
    """Return the x of each curve of a panel that is drawn as one marker, because it has only one point to draw."""
    drawn = [
        [x for x, y in zip(curve.x, curve.y) if math.isfinite(y) and (y > 0 or not figure.log)]
        for curve in panel.curves
        if not figure.bars
    ]
    return [xs[0] for xs in drawn if len(xs) == 1]


def _leaves_below(curve, to_y):
    """Return the x from which on a curve lies below the y axis, where it does not begin there; else None."""
    points = [(x, y) for x, y in zip(curve.x, curve.y) if math.isfinite(y)]
    inside = [at for at, (_, y) in enumerate(points) if y >= to_y.low]
    return points[inside[-1] + 1][0] if inside and inside[-1] + 1 < len(points) else None


def _marker(x, y, index):
    """Return the shape of a lone point of the curve with this index; each has an outline of its own."""
    corners, turned = MARKERS[index]
    angles = [math.radians(turned + 360 * corner / corners) for corner in range(corners)]
    outline = [(x + MARKER_RADIUS * math.sin(angle), y - MARKER_RADIUS * math.cos(angle)) for angle in angles]
    return _Shape(outline, index, filled=True)


def _legend_names(figure, panel, to_y):
    """Return what the curves of a panel are called in the legend, with where they leave the y axis below."""
    edge = power_text(math.ceil(math.log10(to_y.low) - 1e-9)) if figure.log else f"{to_y.low:.4g}"
    leaving = [None if panel.y_label else _leaves_below(curve, to_y) for curve in panel.curves]
    return [
        visible(curve.name) + ("" if x is None else f", below {edge} from {x:g} on")
        for curve, x in zip(panel.curves, leaving)
    ]


def _lay_legend(shapes, figure, panel, corner, to_y):
    """Lay the legend of a panel below it; panels whose curves have the same names share that of the first of them."""
    (left, bottom), names = corner, _legend_names(figure, panel, to_y)
    sharing = [one for one in figure.panels if _legend_names(figure, one, to_y) == names]
    if sharing[0] is not panel:
        return
    for index, name in enumerate(names):
        y = bottom + 62 + index * 20
        lone = {bool(_lone(figure, replace(one, curves=[one.curves[index]]))) for one in sharing}
        if False in lone:
            sample = [(left, y - 4.5), (left + 34, y - 4.5)]
            shapes.append(_Shape(sample, index, width=LINE_WIDTH, dashes=DASHES[index]))
        if True in lone:
            shapes.append(_marker(left + 17, y - 4.5, index))
        shapes.append(_Shape([(left + 44, y)], text=name))


def _wrapped(text, across, size):
    """Return the lines of a text that is to be no wider than `across`, by the mean width of letters."""
    return textwrap.wrap(visible(text), max(10, int(across / (0.54 * size))))


def _lay_panel(shapes, figure, panel, place_on_page, to_x, to_y, has_labels):
    left, top, across = place_on_page
    bottom = top + PLOT_HEIGHT

    def place(x, y):
        return left + to_x.share(x) * across, bottom - to_y.share(y) * PLOT_HEIGHT

    for above, line in enumerate(reversed(_wrapped(panel.title, across, WORDS))):
        shapes.append(_Shape([(left, top - 9 - above * (WORDS + 3))], text=line, size=WORDS, bold=True))
    for value, text in to_y.ticks():
        y = place(to_x.low, value)[1]
        shapes.append(_Shape([(left, y), (left + across, y)], opacity=_FAINT))
        if has_labels:
            shapes.append(_Shape([(left - 8, y + 4.5)], text=text, anchor="end"))
    ticks = [(x, f"{x:g}") for x in figure.x_ticks] if figure.x_ticks else to_x.ticks(5)
    for value, text in enumerate(map(visible, panel.x_names)) if panel.x_names else ticks:
        x = place(value, to_y.low)[0]
        shapes.append(_Shape([(x, bottom), (x, bottom + 5)]))
        shapes.append(_Shape([(x, bottom + 19)], text=text, anchor="middle"))
    shapes.append(_Shape([(left, top), (left, bottom), (left + across, bottom)]))
    shapes.append(_Shape([(left + across / 2, bottom + 38)], text=visible(figure.x_label), anchor="middle"))
    for value, name in panel.levels:
        y = place(to_x.low, value)[1]
        shapes.append(_Shape([(left, y), (left + across, y)], dashes=(3, 3), opacity=0.7))
        shapes.append(_Shape([(left + 8, y - 5)], text=visible(name)))
    for index, curve in enumerate(panel.curves):
        if curve.low is not None:
            band = [
                (x, low, high)
                for x, low, high in zip(curve.x, curve.low, curve.high)
                if math.isfinite(low) and math.isfinite(high) and (high > 0 or not figure.log)
            ]
            outline = [place(x, high) for x, _, high in band] + [place(x, low) for x, low, _ in reversed(band)]
            if len(band) > 1:
                shapes.append(_Shape(outline, index, filled=True, opacity=BAND_OPACITY))
    for index, curve in enumerate(panel.curves):
        points = [
            place(x, y)
            for x, y in zip(curve.x, curve.y)
            if math.isfinite(y) and (y > 0 or not figure.log) and to_y.low <= y <= to_y.high
        ]
        if figure.bars:
            half = across / (to_x.high - to_x.low) / (2.5 * len(panel.curves))
            for x, y in points:
                x += (2 * index - len(panel.curves) + 1) * half
                outline = [(x - half, bottom), (x - half, y), (x + half, y), (x + half, bottom)]
                shapes.append(_Shape(outline, index, filled=True))
        elif len(points) > 1:
            shapes.append(_Shape(points, index, width=LINE_WIDTH, dashes=DASHES[index]))
        elif points:
            shapes.append(_marker(*points[0], index))
        if not figure.bars and (x := _leaves_below(curve, to_y)) is not None:
            x = place(x, to_y.low)[0]
            shapes.append(_Shape([(x - 5, bottom - 10), (x + 5, bottom - 10), (x, bottom)], index, filled=True))
    _lay_legend(shapes, figure, panel, (left, bottom), to_y)


class _Scale:
    """An axis: from a value to a share of its length, held to 0..1."""

    def __init__(self, low, high, log):
        self.low, self.high, self.log = low, high, log
        if not high > low:
            self.low, self.high = (low / 2, low * 2) if log else (low - 0.5, low + 0.5)

    def share(self, value):
        if self.log:
            value = math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else 0.0
        else:
            value = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, value))

    def ticks(self, about=9):
        """Return [(value, text)] at round numbers."""
        if self.log:
            return [
                (10.0**power, power_text(power))
                for power in round_powers(math.log10(self.low), math.log10(self.high), about)
            ]
        return [(value, f"{value:.6g}") for value in round_values(self.low, self.high, about)[0]]


# SVG


def _svg(shapes, height):
    width, height = short_number(WIDTH), short_number(height)
    rules = [_rules(LIGHT), "@media (prefers-color-scheme: dark) {\n", _rules(DARK), "}\n"]
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{SANS}">\n{SVG_MARK}\n<style>\n',
        *rules,
        '</style>\n<rect class="paper" width="100%" height="100%"/>\n',
    ]
    for shape in shapes:
        name = "ink" if shape.curve is None else f"c{shape.curve}"
        points = " ".join(f"{short_number(x)},{short_number(y)}" for x, y in shape.points)
        if shape.text:
            ((x, y),) = shape.points
            turn = f' transform="rotate(-90 {short_number(x)} {short_number(y)})"' if shape.upright else ""
            bold = ' font-weight="600"' if shape.bold else ""
            pieces.append(
                f'<text class="{name}" x="{short_number(x)}" y="{short_number(y)}" font-size="{shape.size:g}" '
                f'text-anchor="{shape.anchor}"{bold}{turn}>{escape(shape.text)}</text>\n'
            )
        elif shape.filled:
            pieces.append(f'<polygon class="{name}" points="{points}" fill-opacity="{shape.opacity:g}"/>\n')
        else:
            dashes = f' stroke-dasharray="{" ".join(f"{dash:g}" for dash in shape.dashes)}"' if shape.dashes else ""
            faint = f' stroke-opacity="{shape.opacity:g}"' if shape.opacity < 1 else ""
            pieces.append(
                f'<polyline class="{name}" points="{points}" stroke-width="{shape.width:g}"{dashes}{faint}/>\n'
            )
    pieces.append("</svg>\n")
    return "".join(pieces)


def _rules(background):
    """Return the style rules of one scheme: words and outlines are filled, lines are drawn."""
    rules = [f".paper {{ fill: {background.paper} }}\n"]
    for name, colour in (
        ("ink", background.ink),
        *((f"c{at}", colour) for at, colour in enumerate(COLOURS[background.name])),
    ):
        rules.append(
            f"text.{name}, polygon.{name} {{ fill: {colour} }} polyline.{name} {{ fill: none; stroke: {colour}; "
            "stroke-linejoin: round }\n"
        )
    return "".join(rules)


# PNG


def _png(shapes, height, Image, ImageDraw, ImageFont):
    size = round(WIDTH * PNG_SCALE), round(height * PNG_SCALE)
    image = Image.new("RGBA", size, (*parsed(LIGHT.paper), 255))
    for shape in shapes:
        colour = parsed(LIGHT.ink if shape.curve is None else COLOURS[LIGHT.name][shape.curve])
        points = [(x * PNG_SCALE, y * PNG_SCALE) for x, y in shape.points]
        if shape.text:
            font = first_font(ImageFont, TITLE_FILES if shape.bold else OTHER_FILES, shape.size * PNG_SCALE)
            _write_word(image, shape, points[0], colour, font, Image, ImageDraw)
            continue
        layer = Image.new("RGBA", size, (*colour, 0))
        pen = ImageDraw.Draw(layer)
        opaque = (*colour, round(255 * shape.opacity))
        if shape.filled:
            pen.polygon(points, fill=opaque)
        else:
            for piece in _dashed(points, [dash * PNG_SCALE for dash in shape.dashes]):
                pen.line(piece, fill=opaque, width=max(1, round(shape.width * PNG_SCALE)), joint="curve")
        image.alpha_composite(layer)
    return png_bytes(image.convert("RGB"))


def _write_word(image, shape, place, colour, font, Image, ImageDraw):
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
    if not shape.upright:
        ImageDraw.Draw(image).text(place, shape.text, colour, font=font, anchor=anchor)
        return
    left, top, right, bottom = font.getbbox(shape.text, anchor="ls")
    word = Image.new("RGBA", (right - left + 4, bottom - top + 4), (*colour, 0))
    ImageDraw.Draw(word).text((2 - left, 2 - top), shape.text, (*colour, 255), font=font, anchor="ls")
    word = word.transpose(Image.Transpose.ROTATE_90)
    image.alpha_composite(word, (max(0, round(place[0] + top)), max(0, round(place[1] - word.height / 2))))


def _dashed(points, dashes):
    """Return the pieces of a line that its dashes leave; the whole line where there are none."""
    if not dashes:
        return [points]
    pieces, piece, at, left = [], [points[0]], 0, dashes[0]
    for (x, y), (to_x, to_y) in zip(points, points[1:]):
        length = math.hypot(to_x - x, to_y - y)
        done = 0.0
        while length - done > left:
            done += left
            here = (x + (to_x - x) * done / length, y + (to_y - y) * done / length)
            if at % 2 == 0:
                pieces.append([*piece, here])
            piece, at = [here], at + 1
            left = dashes[at % len(dashes)]
        left -= length - done
        piece.append((to_x, to_y))
    if at % 2 == 0 and len(piece) > 1:
        pieces.append(piece)
    return pieces
