"""Curves as terminal text: pure functions from points to lines. What the curves mean is the caller's business.

The first curve is a line of braille dots, four by two to a character; the others are marks on top of it, so that two
curves come apart without colour. Without Unicode, both are marks.
"""

import math

from charrnn.render.ticks import round_powers, round_values

_MARKS = ("", "●", "◆", "▲", "■", "○")
_ASCII_MARKS = (".", "o", "+", "x", "#", "*")
_BAND, _ASCII_BAND = "░", ":"
# The bit of each dot in a braille character, by row and column (Unicode 16.0, section 21.1).
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def plot(series, width=80, height=12, unicode=True):
    """Plot curves; return the lines as strings, none longer than `width`.

    series : list of lists of (x, y), up to six; points that are not finite are left out
    width, height : characters, axes included; at least 24 and 4 are taken

    No point at all gives no lines.
    """
    return ["".join(text for text, _ in line) for line in plot_spans(series, width, height, unicode)]


def plot_spans(series, width=80, height=12, unicode=True, bands=(), log=False, log_x=False, y_range=None):
    """Plot as `plot` does; return each line as a list of (text, index of the curve it belongs to, or None).

    bands : a list for each curve, of (x, low, high) to be shaded where no curve runs; they widen no axis
    log, log_x : let the y or x axis run over powers of ten; points that are not above 0 there are left out
    y_range : (low, high), or None: what the curves need; what lies beyond it is left out
    """
    width, height = max(width, 24), max(height, 4)
    bands = [[(x, low, high) for x, low, high in band if _finite(x, low) and _finite(x, high)] for band in bands]
    series = [[(float(x), float(y)) for x, y in points if _finite(x, y)] for points in series]
    if log:
        bands = [[(x, _exponent(low), _exponent(high)) for x, low, high in band if high > 0] for band in bands]
        series = [[(x, math.log10(y)) for x, y in points if y > 0] for points in series]
        y_range = y_range and tuple(map(math.log10, y_range))
    if log_x:
        bands = [[(math.log10(x), low, high) for x, low, high in band if x > 0] for band in bands]
        series = [[(math.log10(x), y) for x, y in points if x > 0] for points in series]
    if y_range:
        series = [[(x, y) for x, y in points if y_range[0] <= y <= y_range[1]] for points in series]
    series = [sorted(points) for points in series]
    points = [point for one in series for point in one]
    if not points:
        return []
    x_low, x_high = _widened(min(x for x, _ in points), max(x for x, _ in points))
    y_low, y_high = _widened(*(y_range or (min(y for _, y in points), max(y for _, y in points))))

    rows = height - 2
    ticks = (_power_labels if log else _labels)(y_low, y_high, max(4, rows // 3))
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
    for index, band in enumerate(bands):
        for x, low, high in band:
            if x_low <= x <= x_high and high >= y_low and low <= y_high:
                for row in range(row_of(min(high, y_high), rows), row_of(max(low, y_low), rows) + 1):
                    cells[row][column_of(x, columns)] = (band_mark(unicode), index)
    for index, one in enumerate(series):
        if index == 0 and unicode:
            _draw_line(cells, one, column_of, row_of)
            continue
        mark = _MARKS[index] if unicode else _ASCII_MARKS[index]
        for x, y in one:
            cells[row_of(y, rows)][column_of(x, columns)] = (mark, index)

    edge = "│" if unicode else "|"
    lines = [[(f"{label:>{margin - 2}} {edge}", None)] + _merged(row) for label, row in zip(labels, cells)]
    corner, flat = ("└", "─") if unicode else ("+", "-")
    lines.append([(" " * (margin - 1) + corner + flat * columns, None)])
    left, right = (_number(round(10**x, 9)) for x in (x_low, x_high)) if log_x else map(_number, (x_low, x_high))
    lines.append([(" " * margin + left + right.rjust(columns - len(left)), None)])
    return lines


def mark(index, unicode=True):
    """Return the character that stands for the curve with this index in a legend."""
    if unicode:
        return _MARKS[index] or "⠤"
    return _ASCII_MARKS[index]


def band_mark(unicode=True):
    """Return the character that a band is shaded with."""
    return _BAND if unicode else _ASCII_BAND


def _draw_line(cells, points, column_of, row_of):
    """Draw a connected curve in braille dots: the mean of the points in each dot column, joined by straight lines."""
    if not points:
        return
    dot_rows, dot_columns = 4 * len(cells), 2 * len(cells[0])
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
    for (row, column), dots in bits.items():
        cells[row][column] = (chr(0x2800 + dots), 0)


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
        spans.pop()
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
