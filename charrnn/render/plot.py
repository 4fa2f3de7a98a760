"""Curves as terminal text: pure functions from points to lines. What the curves mean is the caller's business.

The first curve is a line of braille dots, four by two to a character; the others are marks of different shapes on top
of it, so that curves come apart without colour. Without Unicode, all are marks. Where curves lie on one another none
hides the other: few points stand side by side, and long runs of them take turns, column by column.
"""

import math
import textwrap
from dataclasses import dataclass

from charrnn.render.ticks import round_powers, round_values

_MARKS = ("", "●", "×", "△", "■", "◇")
_ASCII_MARKS = (".", "o", "x", "%", "#", "*")  # none of them a part of the axes
_BAND, _ASCII_BAND = "░", ":"
_LEVEL, _ASCII_LEVEL = "╌", "-"
CHARACTERS = "│└─⠿" + "".join(_MARKS) + _BAND + _LEVEL  # what a terminal must have to be shown plots in Unicode
# The bit of each dot in a braille character, by row and column (Unicode 16.0, section 21.1).
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_MATTERS = 0.25  # of a curve's points: where fewer lie on another's, nothing is said
_MANY = 0.5  # of the columns: a curve of more marks takes turns where it meets another, one of fewer keeps each of them


@dataclass(frozen=True)
class Axes:
    """The axes of a plot.

    x_title, y_title   what they show, with the unit: a line above and one below the plot; empty for none
    log, log_x         the y or x axis runs over powers of ten; points that are not above 0 there are left out
    y_range            (low, high), or None: what the curves need; what lies beyond it is left out
    """

    x_title: str = ""
    y_title: str = ""
    log: bool = False
    log_x: bool = False
    y_range: tuple | None = None


@dataclass(frozen=True)
class Plot:
    """A plot as terminal text.

    lines    each a list of (text, index of the curve it belongs to, or None)
    shared   {(index, index): the xs at which these two curves fall into the same place, in ascending order}; left out
             where they are few
    """

    lines: list
    shared: dict


def plot(series, width=80, height=12, unicode=True, axes=Axes()):
    """Plot curves; return the lines as strings, none longer than `width`. See `plot_curves`."""
    return ["".join(text for text, _ in line) for line in plot_curves(series, width, height, unicode, axes=axes).lines]


def plot_curves(series, width=80, height=12, unicode=True, *, bands=(), levels=(), axes=Axes()):
    """Return the Plot of up to six curves.

    series : list of lists of (x, y); points that are not finite are left out
    width, height : characters, axes included but their titles; at least 24 and 4 are taken
    bands : a list for each curve, of (x, low, high) to be shaded where no curve runs; they widen no axis
    levels : the y of horizontal lines, drawn where nothing else is

    No point at all gives no lines.
    """
    width, height = max(width, 24), max(height, 4)
    bands = [[(x, low, high) for x, low, high in band if _finite(x, low) and _finite(x, high)] for band in bands]
    series = [[(float(x), float(y)) for x, y in points if _finite(x, y)] for points in series]
    y_range = axes.y_range
    if axes.log:
        bands = [[(x, _exponent(low), _exponent(high)) for x, low, high in band if high > 0] for band in bands]
        series = [[(x, math.log10(y)) for x, y in points if y > 0] for points in series]
        levels = [math.log10(y) for y in levels if y > 0]
        y_range = y_range and tuple(map(math.log10, y_range))
    if axes.log_x:
        bands = [[(math.log10(x), low, high) for x, low, high in band if x > 0] for band in bands]
        series = [[(math.log10(x), y) for x, y in points if x > 0] for points in series]
    if y_range:
        series = [[(x, y) for x, y in points if y_range[0] <= y <= y_range[1]] for points in series]
    series = [sorted(points) for points in series]
    points = [point for one in series for point in one]
    if not points:
        return Plot([], {})
    x_low, x_high = _widened(min(x for x, _ in points), max(x for x, _ in points))
    y_low, y_high = _widened(*(y_range or (min(y for _, y in points), max(y for _, y in points))))

    rows = height - 2
    ticks = (_power_labels if axes.log else _labels)(y_low, y_high, max(4, rows // 3))
    margin = max((len(text) for _, text in ticks), default=0) + 2
    columns = width - margin

    def column_of(x, dots):
        return min(int((x - x_low) / (x_high - x_low) * dots), dots - 1)

    def row_of(y, dots):
        return min(int((y_high - y) / (y_high - y_low) * dots), dots - 1)

    labels = [""] * rows  # each in the row that its value falls into
    for value, text in reversed(ticks):
        labels[row_of(min(value, y_high), rows)] = text
    cells: list[list[tuple[str, int | None]]] = [[(" ", None)] * columns for _ in range(rows)]
    for level in levels:
        if y_low <= level <= y_high:
            cells[row_of(level, rows)] = [(level_mark(unicode), None)] * columns
    for index, band in enumerate(bands):
        for x, low, high in band:
            if x_low <= x <= x_high and high >= y_low and low <= y_high:
                for row in range(row_of(min(high, y_high), rows), row_of(max(low, y_low), rows) + 1):
                    cells[row][column_of(x, columns)] = (band_mark(unicode), index)
    places = [{} for _ in series]  # of each curve: {(row, column): its xs there}
    for one, taken in zip(series, places):
        for x, y in one:
            taken.setdefault((row_of(y, rows), column_of(x, columns)), []).append(x)
    line = _line(series[0], rows, columns, column_of, row_of) if unicode else None
    _place(cells, places, line, unicode)

    edge = "│" if unicode else "|"
    lines = [[(f"{label:>{margin - 2}} {edge}", None)] + _merged(row) for label, row in zip(labels, cells)]
    corner, flat = ("└", "─") if unicode else ("+", "-")
    lines.append([(" " * (margin - 1) + corner + flat * columns, None)])
    first, last = (_number(round(10**x, 9) if axes.log_x else x) for x in (x_low, x_high))
    lines.append([(" " * margin + _between(first, last, axes.x_title, columns), None)])
    if axes.x_title and axes.x_title not in lines[-1][0][0]:
        lines.append([(axes.x_title[:width].rjust((margin + width + len(axes.x_title[:width])) // 2)[:width], None)])
    if axes.y_title:
        lines[:0] = [[(line, None)] for line in textwrap.wrap(axes.y_title, width)]
    return Plot(lines, _shared(places, (lambda x: round(10**x, 9)) if axes.log_x else lambda x: x))


def coincidences(shared, unicode=True, name="k"):
    """Say which curves of a Plot share places, and where; an empty text where none do.

    name : what x is called
    """
    said = []
    for (one, other), xs in shared.items():
        at = ", ".join(f"{x:g}" for x in xs) if len(xs) <= 8 else f"{xs[0]:g} to {xs[-1]:g}"
        said.append(f"{mark(one, unicode)} and {mark(other, unicode)} ({name} = {at})")
    return f"where two curves lie on each other, their marks alternate: {'; '.join(said)}" if said else ""


def mark(index, unicode=True):
    """Return the character that stands for the curve with this index in a legend."""
    if unicode:
        return _MARKS[index] or "⠤"
    return _ASCII_MARKS[index]


def band_mark(unicode=True):
    """Return the character that a band is shaded with."""
    return _BAND if unicode else _ASCII_BAND


def level_mark(unicode=True):
    """Return the character that a level is drawn with."""
    return _LEVEL if unicode else _ASCII_LEVEL


def _between(left, right, title, columns):
    """Return the ends of the x axis with its title between them where there is room."""
    room = columns - len(left) - len(right)
    return left + (title.center(room) if len(title) + 4 <= room else " " * max(0, room)) + right


def _place(cells, places, line, unicode):
    """Write the curves into the cells, so that none hides another.

    line : {(row, column): character} of the first curve as a line, None where it has marks too
    """
    columns = len(cells[0])
    dense = [len({column for _, column in taken}) > _MANY * columns for taken in places]
    wanted = {place: [0] for place in line} if line is not None else {}

    def marks_at(place):
        return [index for index in wanted.get(place, ()) if index or line is None]

    for index, taken in enumerate(places):
        if index == 0 and line is not None:
            continue
        for row, column in sorted(taken):
            place = row, column
            if not dense[index] and marks_at(place):  # beside the mark that is there, if there is room
                near = ((row, column + step) for step in (1, -1, 2, -2, 3, -3) if 0 <= column + step < columns)
                place = next((each for each in near if not marks_at(each)), place)
            wanted.setdefault(place, []).append(index)
    for (row, column), indices in wanted.items():
        kept = [index for index in indices if not dense[index] and (index or line is None)]
        indices = kept or indices  # a line is seen around a mark on it
        index = indices[column % len(indices)]
        text = line[row, column] if index == 0 and line is not None else mark(index, unicode)
        cells[row][column] = (text, index)


def _shared(places, value):
    """Return {(index, index): ascending xs} of the curves that share places for a part of their way that matters.

    value : of an x as placed
    """
    shared = {}
    for other, taken in enumerate(places):
        for one in range(other):
            xs = sorted({value(x) for place in taken.keys() & places[one].keys() for x in taken[place]})
            if len(xs) >= _MATTERS * min(sum(map(len, each.values())) for each in (taken, places[one])) > 0:
                shared[one, other] = xs
    return shared


def _line(points, rows, columns, column_of, row_of):
    """Return {(row, column): braille character} of a connected curve: the mean of the points in each dot column, joined
    by straight lines.
    """
    if not points:
        return {}
    dot_rows, dot_columns = 4 * rows, 2 * columns
    sums = {}
    for x, y in points:
        column = column_of(x, dot_columns)
        total, count = sums.get(column, (0.0, 0))
        sums[column] = (total + y, count + 1)
    knots = [(column, row_of(total / count, dot_rows)) for column, (total, count) in sorted(sums.items())]

    bits = {}
    for (column, row), (next_column, next_row) in zip(knots, knots[1:] or knots):
        steps = max(next_column - column, abs(next_row - row), 1)
        for step in range(steps + 1):
            dot_column = column + round((next_column - column) * step / steps)
            dot_row = row + round((next_row - row) * step / steps)
            cell = (dot_row // 4, dot_column // 2)
            bits[cell] = bits.get(cell, 0) | DOTS[dot_row % 4][dot_column % 2]
    return {place: chr(0x2800 + dots) for place, dots in bits.items()}


def _labels(low, high, about):
    """Return [(value, text)] of round numbers, all with the same number of decimals."""
    values, step = round_values(low, high, about)
    decimals = min(max(0, -math.floor(math.log10(step) + 1e-9)), 12)
    if max(abs(low), abs(high)) < 1e6:
        return [(value, f"{value:.{decimals}f}") for value in values]
    return [(value, f"{value:.6g}") for value in values]


def _power_labels(low, high, about):
    """Return [(exponent, text)] of powers of ten, and where there are not two of them, of 2 and 5 times such too."""
    powers = round_powers(low, high, about)
    if len(powers) > 1:
        return [(power, f"1e{power}") for power in powers]
    finer = [
        (power + math.log10(digit), f"{digit}e{power}")
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
    ]
    return [(value, text) for value, text in finer if low <= value <= high]


def _exponent(value):
    return math.log10(value) if value > 0 else -math.inf


def _merged(row):
    """Join neighbours that belong to the same curve; drop the blanks at the end."""
    spans = []
    for text, index in row:
        if spans and spans[-1][1] == index:
            spans[-1] = (spans[-1][0] + text, index)
        else:
            spans.append((text, index))
    if spans[-1][1] is None:
        text = spans.pop()[0].rstrip()
        spans += [(text, None)] if text else []
    return spans


def _widened(low, high):
    """Return the interval; one of no width (as far as floats go) gets some, around its middle."""
    least = max(abs(low), abs(high)) * 1e-9 or 1e-9
    if high - low > least:
        return low, high
    around = max(abs(low) * 0.5, 0.5)
    return low - around, high + around


def _number(value):
    return f"{value:,.0f}" if abs(value) < 1e9 and value == int(value) else f"{value:.4g}"


def _finite(x, y):
    # Beyond 1e100 the differences overflow, and no curve has anything to show.
    return all(isinstance(each, (int, float)) and abs(each) < 1e100 for each in (x, y))
