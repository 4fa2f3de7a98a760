"""Passages of text coloured by values, as a picture for slides and papers: SVG, or PNG with Pillow.

Both draw the same layout: a grid of character cells on a light background, each cell in its value's colour, a legend
below. An SVG names the fonts that are likely to be there and places every glyph on the grid by itself, so that it looks
the same whatever font is found.
"""

from dataclasses import dataclass, field
from html import escape
from io import BytesIO

import numpy as np
from rich.cells import cell_len

from charrnn.errors import ConfigError
from charrnn.files.marks import NAME, PNG_KEY, SVG_MARK
from charrnn.files.storage import atomic_write
from charrnn.render.colours import LIGHT, RED_BLUE, SCALES, STEPS, css_colour, parsed, step_colour, step_of
from charrnn.render.terminal import visible, wrapped_lines

MAX_CHARACTERS = 20_000
COLUMNS = 80
CELL, LINE = 9.6, 25.0  # a cell's width and a line's height
FONT, TITLE_FONT = 16, 17
MARGIN, GAP, TITLE_ROOM, LEGEND_ROOM = 32.0, 26.0, 32.0, 44.0
NOTE_FONT, _NOTE_WIDTH = 13, 7.4  # the legend's words: their size, and about what a letter of them takes
PNG_SCALE = 2  # pixels a unit

_MONO = "ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono','Noto Sans Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif"
_FADED = 0.45  # of ink in the marks that are not the text's own

# Files by which Pillow finds a font on Linux, macOS and Windows: fixed-width ones, then ones with other scripts.
_MONO_FILES = (
    "DejaVuSansMono.ttf",
    "Menlo.ttc",
    "consola.ttf",
    "NotoSansMono-Regular.ttf",
    "LiberationMono-Regular.ttf",
    "UbuntuMono-R.ttf",
    "CascadiaMono.ttf",
    "FreeMono.ttf",
    "cour.ttf",
    "Courier New.ttf",
)
TITLE_FILES = (
    "DejaVuSans-Bold.ttf",
    "Helvetica.ttc",
    "segoeuib.ttf",
    "arialbd.ttf",
    "NotoSans-Bold.ttf",
    "LiberationSans-Bold.ttf",
)
OTHER_FILES = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansMonoCJK-Regular.otf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msgothic.ttc",
    "msyh.ttc",
    "wqy-microhei.ttc",
    "seguisym.ttf",
    "Apple Symbols.ttf",
    "NotoSans-Regular.ttf",
)
_STAND_INS = {"↵": "¶", "→": "»", "←": "«"}  # where no font has our marks


@dataclass(frozen=True)
class Passage:
    """A piece of text with a value in [-1, 1] for each symbol, and a title over it."""

    title: str
    text: list
    values: np.ndarray


@dataclass
class _Layout:
    """What is to be drawn, in units of the SVG; words by the x they begin at and the y of their baseline."""

    width: float
    height: float = 0.0
    rectangles: list = field(default_factory=list)  # [x, y, width, height, colour]
    clusters: list = field(default_factory=list)  # (x, y, shown, cells, colour)
    titles: list = field(default_factory=list)  # (x, y, text)
    notes: list = field(default_factory=list)  # (x it ends at, y, text)


def write_svg(path, passages, scale=RED_BLUE.name):
    """Write passages one below the other as an SVG.

    Raises
    ------
    ConfigError
        There is no text, or more than a picture holds.
    StorageError
    """
    atomic_write(path, _svg(_laid_out(passages, scale)))


def write_png(path, passages, scale=RED_BLUE.name):
    """Write passages one below the other as a PNG of 2 pixels a unit; needs Pillow.

    Raises
    ------
    ConfigError
        There is no text, or more than a picture holds; Pillow is not installed.
    StorageError
    """
    layout = _laid_out(passages, scale)
    Image, ImageDraw, ImageFont = load_pillow()
    image = Image.new("RGB", (round(layout.width * PNG_SCALE), round(layout.height * PNG_SCALE)), LIGHT.paper)
    _draw(layout, ImageDraw.Draw(image), ImageFont)
    atomic_write(path, png_bytes(image))


def png_bytes(image):
    """Return an image of Pillow's as a PNG with charrnn's mark."""
    from PIL.PngImagePlugin import PngInfo

    mark, buffer = PngInfo(), BytesIO()
    mark.add_text(PNG_KEY, NAME)
    image.save(buffer, "PNG", optimize=True, pnginfo=mark)
    return buffer.getvalue()


def load_pillow():
    """Return Pillow's Image, ImageDraw and ImageFont. Raises ConfigError where it is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ConfigError(
            "a PNG needs Pillow, which is not installed: pip install pillow, or write an SVG, which needs nothing"
        ) from None
    return Image, ImageDraw, ImageFont


def first_font(fonts, files, size):
    """Return the first of these fonts that Pillow finds, or one of its own, of Latin letters."""
    for file in files:
        try:
            return fonts.truetype(file, size)
        except OSError:
            continue
    return fonts.load_default(size)


def short_number(value):
    """Return a coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _laid_out(passages, scale):
    size = sum(len(passage.text) for passage in passages)
    if not size:
        raise ConfigError("a picture needs at least one character of text, got none: choose a longer passage")
    if size > MAX_CHARACTERS:
        raise ConfigError(
            f"a picture holds at most {MAX_CHARACTERS:,} characters, got {size:,}: choose shorter passages, or "
            "write an HTML page"
        )
    layout = _Layout(width=2 * MARGIN + COLUMNS * CELL)
    y = MARGIN
    for passage in passages:
        if passage.title:
            for line in _title_lines(visible(passage.title)):
                layout.titles.append((MARGIN, y + TITLE_FONT, line))
                y += TITLE_FONT * 1.35
            y += TITLE_ROOM - TITLE_FONT * 1.35
        for line in wrapped_lines(passage.text, passage.values, COLUMNS):
            _lay_line(layout, line, y, scale)
            y += LINE
        y += GAP
    _lay_legend(layout, y, scale)
    layout.height = y + LEGEND_ROOM
    return layout


def _title_lines(title, longest=70):
    """Cut a title at blanks into lines that fit the picture."""
    lines = [""]
    for word in title.split(" "):
        for piece in [word[at : at + longest] for at in range(0, len(word), longest)] or [""]:
            if lines[-1] and len(lines[-1]) + 1 + len(piece) > longest:
                lines.append(piece)
            else:
                lines[-1] += (" " if lines[-1] else "") + piece
    return lines


def _lay_line(layout, line, y, scale):
    column, run = 0, None  # run: the rectangle that grows while the colour stays
    for shown, cells, value in line:
        step, x = step_of(value), MARGIN + column * CELL
        if step:
            if run is not None and run[0] == step:
                run[1][2] += cells * CELL
            else:
                rectangle = [x, y + 1, cells * CELL, LINE - 2, css_colour(step_colour(step, scale, LIGHT))]
                layout.rectangles.append(rectangle)
                run = step, rectangle
        else:
            run = None
        is_mark = shown in ("↵", "→", "←") or shown.startswith("→ ")
        ink = _faded(step_colour(step, scale, LIGHT)) if is_mark else LIGHT.ink
        for cluster, at, width in _clusters(shown, cells):
            layout.clusters.append((x + at * CELL, y + LINE * 0.69, cluster, width, ink))
        column += cells


def _faded(behind):
    return css_colour(
        tuple(round(_FADED * ink + (1 - _FADED) * paper) for ink, paper in zip(parsed(LIGHT.ink), behind))
    )


def _clusters(shown, cells):
    """Yield (text, cell it begins at, cells) for what is drawn as one: a character, or one with its combining marks."""
    widths = [cell_len(character) for character in shown]
    if sum(widths) != cells or any(width == 0 for width in widths):
        yield shown, 0, cells
        return
    at = 0
    for character, width in zip(shown, widths):
        if character != " ":
            yield character, at, width
        at += width


def _lay_legend(layout, y, scale):
    ends, cell = SCALES[scale], 5.0
    right = layout.width - MARGIN
    plus = f"{ends.plus_name} +1"
    layout.notes.append((right, y + 12.5, plus))
    x = right - 10 - _NOTE_WIDTH * len(plus) - (2 * STEPS + 1) * cell
    layout.notes.append((x - 10, y + 12.5, f"−1 {ends.minus_name}"))
    for step in range(-STEPS, STEPS + 1):
        layout.rectangles.append([x, y + 1, cell, 14, css_colour(step_colour(step, scale, LIGHT))])
        x += cell


# SVG


def _svg(layout):
    width, height = short_number(layout.width), short_number(layout.height)
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n',
        f'{SVG_MARK}\n<rect width="100%" height="100%" fill="{LIGHT.paper}"/>\n<g shape-rendering="crispEdges">\n',
    ]
    for x, y, across, down, colour in layout.rectangles:
        pieces.append(
            f'<rect x="{short_number(x)}" y="{short_number(y)}" width="{short_number(across)}" '
            f'height="{short_number(down)}" fill="{colour}"/>\n'
        )
    pieces.append(f'</g>\n<g font-family="{SANS}" fill="{LIGHT.ink}">\n')
    for x, y, text in layout.titles:
        pieces.append(
            f'<text x="{short_number(x)}" y="{short_number(y)}" font-size="{TITLE_FONT}" font-weight="600">'
            f"{escape(text)}</text>\n"
        )
    for x, y, text in layout.notes:
        pieces.append(
            f'<text x="{short_number(x)}" y="{short_number(y)}" font-size="{NOTE_FONT}" text-anchor="end">'
            f"{escape(text)}</text>\n"
        )
    pieces.append(f'</g>\n<g font-family="{_MONO}" font-size="{FONT}" font-variant-ligatures="none">\n')
    for y, colour, xs, text in _rows(layout.clusters):
        places = " ".join(map(short_number, xs))
        pieces.append(f'<text y="{short_number(y)}" x="{places}" fill="{colour}">{escape(text)}</text>\n')
    pieces.append("</g>\n</svg>\n")
    return "".join(pieces)


def _rows(clusters):
    """Join neighbours of one line and colour into (y, colour, [x of each character], text); what is not one UTF-16
    unit, or is wider than its cell may be, stands alone.
    """
    row = None
    for x, y, shown, cells, colour in clusters:
        is_plain = len(shown) == 1 and ord(shown) < 0x10000 and cells == 1
        if row is not None and is_plain and row[:2] == (y, colour):
            row[2].append(x)
            row = (*row[:3], row[3] + shown)
            continue
        if row is not None:
            yield row
            row = None
        if is_plain:
            row = (y, colour, [x], shown)
        else:
            yield y, colour, [x], shown
    if row is not None:
        yield row


# PNG


def _draw(layout, pen, fonts):
    def pixels(*lengths):
        return [round(length * PNG_SCALE) for length in lengths]

    for x, y, across, down, colour in layout.rectangles:
        left, top, right, bottom = pixels(x, y, x + across, y + down)
        pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    title = first_font(fonts, TITLE_FILES, TITLE_FONT * PNG_SCALE)
    note = first_font(fonts, OTHER_FILES, NOTE_FONT * PNG_SCALE)
    for x, y, text in layout.titles:
        pen.text(pixels(x, y), text, LIGHT.ink, font=title, anchor="ls")
    for x, y, text in layout.notes:
        pen.text(pixels(x, y), text, LIGHT.ink, font=note, anchor="rs")
    glyphs = _Glyphs(fonts)
    for x, y, shown, cells, colour in layout.clusters:
        text, font = glyphs.font_of(shown)
        left, baseline = pixels(x, y)
        if font is None:
            pen.rectangle(
                (left + 2, baseline - 22, left + round(cells * CELL * PNG_SCALE) - 4, baseline), outline=colour
            )
            continue
        slack = cells * CELL * PNG_SCALE - font.getlength(text)
        pen.text((left + round(slack / 2), baseline), text, parsed(colour), font=font, anchor="ls")


class _Glyphs:
    """Finds for each cluster the first font that has all its characters."""

    def __init__(self, fonts):
        mono = first_font(fonts, _MONO_FILES, 100)
        size = CELL * PNG_SCALE * 100 / mono.getlength("M")
        self._fonts = [first_font(fonts, _MONO_FILES, min(size, FONT * 1.1 * PNG_SCALE))]
        for file in OTHER_FILES:
            try:
                self._fonts.append(fonts.truetype(file, FONT * PNG_SCALE))
            except OSError:
                continue
        self._fonts.append(fonts.load_default(FONT * PNG_SCALE))
        self._missing = [_mask(font, "\U0010fffe") for font in self._fonts]
        self._known = {}

    def font_of(self, shown):
        """Return (text to draw, font), the font None where no font has it."""
        if shown not in self._known:
            self._known[shown] = next(
                (
                    (text, font)
                    for text in (shown, _STAND_INS.get(shown))
                    if text
                    for font, missing in zip(self._fonts, self._missing)
                    if all(_mask(font, character) != missing for character in text)
                ),
                (shown, None),
            )
        return self._known[shown]


def _mask(font, character):
    mask = font.getmask(character)
    return mask.size, bytes(mask)
