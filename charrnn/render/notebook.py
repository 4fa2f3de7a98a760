"""Values as fragments of HTML for a notebook's cell: a table, and a text coloured by values.

A fragment carries its own style, because a notebook gives it none: dark ink on light paper in either theme. All text
in it is escaped. This module knows neither models nor texts' files.
"""

from html import escape
from itertools import groupby

from charrnn.render.colours import LIGHT, RED_BLUE, css_colour, step_colour, step_of

MAX_CHARACTERS = 4_000  # of a coloured text: a notebook keeps every output
_TABLE = f"border-collapse:collapse;background:{LIGHT.paper};color:{LIGHT.ink}"
_CELL = "padding:2px 10px;border-bottom:1px solid #d8d6d0"
_TEXT = (
    f"white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace;line-height:1.5;padding:8px;"
    f"background:{LIGHT.paper};color:{LIGHT.ink}"
)


def html_table(rows, headings=(), caption=""):
    """Return a table as HTML.

    rows : of values; a number is shown to the right, all else to the left
    headings : of the columns, or empty for a table of names and values
    """
    parts = [f'<table style="{_TABLE}">']
    if caption:
        parts.append(f'<caption style="text-align:left;padding:4px 0">{escape(caption)}</caption>')
    if headings:
        parts.append("<tr>" + "".join(_cell("th", name, False) for name in headings) + "</tr>")
    for row in rows:
        parts.append("<tr>" + "".join(_cell("td", value, isinstance(value, (int, float))) for value in row) + "</tr>")
    return "".join(parts) + "</table>"


def coloured_text(text, values, *, scale=RED_BLUE.name, title=""):
    """Return a text as HTML, each character on the colour of its value.

    text : sequence of symbols (a str, or a list of characters), of which the first MAX_CHARACTERS are shown
    values : as many numbers in -1..1
    scale : a name in colours.SCALES
    """
    parts = [f"<div>{escape(title)}</div>" if title else "", f'<div style="{_TEXT}">']
    shown = list(zip(text, map(step_of, values), strict=True))[:MAX_CHARACTERS]
    for step, run in groupby(shown, key=lambda pair: pair[1]):
        words = escape("".join(symbol for symbol, _ in run))
        colour = css_colour(step_colour(step, scale, LIGHT))
        parts.append(f'<span style="background:{colour}">{words}</span>' if step else words)
    if len(text) > MAX_CHARACTERS:
        parts.append(f"<div>… and {len(text) - MAX_CHARACTERS:,} more characters</div>")
    return "".join(parts) + "</div>"


def _cell(tag, value, right):
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    align = "right" if right else "left"
    return f'<{tag} style="{_CELL};text-align:{align}">{escape(shown)}</{tag}>'
