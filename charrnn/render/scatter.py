"""Points as terminal text: shares between 0 and 1 against each other, in braille dots or ASCII marks, with axes.

Made for the saturation of gates: how much of the time a unit's gate is nearly shut against how much it is nearly open.
"""

from charrnn.render.plot import DOTS
from charrnn.render.terminal import visible

_CROWDS = (".", "o", "@")  # for one point in a character, two to four, more


def scatter(x, y, *, width=40, height=14, title="", x_label="", y_label="", unicode=True):
    """Return points as lines of text, none longer than `width`, joined by newlines.

    x, y : sequences of equal length, in [0, 1]; points that are outside or not finite are left out, and counted in the
        title
    width, height : characters, everything included; at least 24 and 7 are taken

    A title line, the label of the y axis, the plot between 0 and 1 both ways, and the label of the x axis between its
    ends.
    """
    width, height = max(width, 24), max(height, 7)
    rows, columns = height - 4, width - 3
    points = [(float(one), float(other)) for one, other in zip(x, y) if 0 <= one <= 1 and 0 <= other <= 1]
    left_out = len(x) - len(points)
    drawn = (_braille if unicode else _ascii)(points, rows, columns)
    up, across, corner, flat = ("│", "→", "└", "─") if unicode else ("|", ">", "+", "-")
    heading = f"{visible(title)}{f' ({left_out:,} of {len(x):,} left out)' if left_out else ''}"
    label = f"{visible(x_label)} {across}" if x_label else ""
    lines = [heading[:width], (f"1 {'↑' if unicode else '^'} {visible(y_label)}" if y_label else "1")[:width]]
    lines += [("  " + up + row).rstrip() for row in drawn]
    lines.append("0 " + corner + flat * columns)
    lines.append("  0" + label[: columns - 4].center(columns - 1) + "1")
    return "\n".join(lines)


def scatters(gates, *, width=80, unicode=True):
    """Return the saturation of every gate and layer: a plot each, a row of them a layer, as many as fit beside each
    other.

    gates : {name: array-like (L, H, 2)}, shares of the time below 0.1 and above 0.9
    """
    names = list(gates)
    if not names:
        return ""
    fit = max(1, min(len(names), (width + 3) // (26 + 3)))
    plot_width = min(46, (width + 3) // fit - 3)
    blocks = []
    for layer in range(len(gates[names[0]])):
        for at in range(0, len(names), fit):
            plots = []
            for name in names[at : at + fit]:
                shares = [tuple(unit) for unit in gates[name][layer]]
                plots.append(
                    scatter(
                        [shut for shut, _ in shares],
                        [open_ for _, open_ in shares],
                        width=plot_width,
                        height=max(9, plot_width // 3 + 3),
                        title=f"layer {layer}, {name} gate",
                        x_label="nearly shut",
                        y_label="nearly open",
                        unicode=unicode,
                    ).split("\n")
                )
            blocks.append(
                "\n".join("   ".join(line.ljust(plot_width) for line in lines).rstrip() for lines in zip(*plots))
            )
    return "\n\n".join(blocks)


def _place(share, dots):
    return min(int(share * dots), dots - 1)


def _braille(points, rows, columns):
    bits = [[0] * columns for _ in range(rows)]
    for x, y in points:
        row, column = 4 * rows - 1 - _place(y, 4 * rows), _place(x, 2 * columns)
        bits[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(0x2800 + dots) if dots else " " for dots in line) for line in bits]


def _ascii(points, rows, columns):
    counts = [[0] * columns for _ in range(rows)]
    for x, y in points:
        counts[rows - 1 - _place(y, rows)][_place(x, columns)] += 1
    return ["".join(" " if not count else _CROWDS[(count > 1) + (count > 4)] for count in line) for line in counts]
