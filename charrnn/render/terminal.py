"""A text coloured by a value per character, for a terminal; signs under it where there are no colours.

Pure functions from symbols and values to a string. No character of the text reaches the terminal as a command: whatever
would move the cursor, reorder the line or be invisible is written as a mark or as its code.
"""

import unicodedata

from rich.cells import cell_len

from charrnn.render.colours import (
    DARK,
    RED_BLUE,
    SCALES,
    STEPS,
    ink_palette,
    parsed,
    step_colour,
    step_of,
    step_palette,
)

STRONG = 0.5  # from here on a value is + or - in signs
WEAK = 0.2  # below this it has no sign at all
TAB_STOP = 8
# Of what has no shape of its own the commonest, (in Unicode, in ASCII). A font that has one of these arrows has all.
MARKS = {"\n": ("↵", "$"), "\t": ("→", ">"), "\r": ("←", "<")}

_DOTTED_CIRCLE = "◌"
_RESET = "\x1b[0m"


def highlight(  # noqa: PLR0913 - how a text looks, each by its keyword and most with a default
    text,
    values,
    *,
    width,
    colour,
    title,
    unicode=True,
    scale=RED_BLUE.name,
    background=DARK,
    with_legend=True,
    most=None,
    unit="",
):
    r"""Return the text as lines of at most `width` cells, each character coloured by its value, under a title and a
    legend.

    Parameters
    ----------
    text : list of str (N,)
        One symbol a value. "\n" is shown as a mark and then breaks the line, "\t" as an arrow up to the next tab stop,
        "\r" as an arrow back. A line that is too long is broken between words where there is a blank in its second
        half. A combining character stands over the one before it, with that one's colour.
    values : array-like (N,)
        In [-1, 1].
    width : int
        Terminal cells; at least 20 are taken.
    colour : "truecolor", "256" or "none"
        With "none", a line of signs follows each line of text: + from STRONG up, - from -STRONG down, a dot for what
        lies between WEAK and STRONG either way, a blank for the rest.
    title : str
        What the values are; it may be several lines.
    unicode : bool
        False keeps the marks of our own to ASCII; the text's characters stay what they are.
    scale : a name in colours.SCALES
    background : colours.LIGHT or colours.DARK, the terminal's
    with_legend : bool
        False where `legend` has been shown before.
    most, unit : float and str
        Where given, the values are from 0 to `most` and more, in this unit, and only the upper half of the scale is
        used.

    Examples
    --------
    >>> print(highlight(list("ab\n"), [1, -1, 0.3], width=80, colour="none", title="unit 0:1"))
    unit 0:1
    + high (0.5 and more), - low (-0.5 and less), · weak (0.2 and more, either way)
    <BLANKLINE>
    ab↵
    +-·
    """
    width = max(width, 20)
    paint = _Paint(colour, scale, background) if colour != "none" else None
    if most is not None:
        values = [min(float(value), most) / most for value in values]
    lines = [line for part in title.split("\n") for line in wrapped_words(visible(part), width)]
    if paint:
        lines[0] = f"\x1b[1m{lines[0]}{_RESET}"
    shown = _legend(paint, unicode, width) if most is None else _rising_legend(paint, unicode, most, unit)
    lines += [shown, ""] if with_legend else [""]
    for line in wrapped_lines(text, values, width, unicode):
        lines.extend(_painted(line, paint) if paint else _signed(line, unicode))
    return "\n".join(lines)


def legend(*, width, colour, unicode=True, scale=RED_BLUE.name, background=DARK):
    """Return the line that says what the colours or the signs of `highlight` are."""
    return _legend(_Paint(colour, scale, background) if colour != "none" else None, unicode, max(width, 20))


def visible(text, unicode=True):
    """Write every character that a terminal would act on, or not show, as a picture or as its code."""
    return "".join(map(_visible_character if unicode else _ascii_character, text))


def wrapped_lines(text, values, width, unicode=True):
    """Yield the lines of a text: lists of [what is shown of a symbol, its cells, its value], at most `width` cells a
    line.

    text, values, width, unicode : as `highlight` takes them
    """
    newline, tab = (MARKS[character][not unicode] for character in "\n\t")
    line, used = [], 0
    for symbol, value in zip(text, values):
        value = float(value)
        if symbol == "\t":
            column = used % width  # 0 where the line is full and the tab will begin the next
            cells = min(TAB_STOP - column % TAB_STOP, width - column)
            shown = tab + " " * (cells - 1)
        else:
            shown = newline if symbol == "\n" else visible(symbol, unicode)
            cells = cell_len(shown)
        if cells == 0 and shown:  # a combining character
            if line and not line[-1][0].startswith((newline, tab)):
                line[-1][0] += shown
                continue
            shown, cells = _DOTTED_CIRCLE + shown, 1
        for piece, piece_cells in _pieces(shown, cells, width):
            while used + piece_cells > width:
                # A tab's width is that of its place, the next line's beginning.
                stays, line = _broken(line, width) if symbol != "\t" else (line, [])
                yield stays
                used = sum(cells for _, cells, _ in line)
            line.append([piece, piece_cells, value])
            used += piece_cells
        if symbol == "\n":
            yield line
            line, used = [], 0
    if line:
        yield line


def wrapped_words(text, width):
    """Return visible text as lines of at most `width` cells, broken between words where that can be done."""
    lines = ["".join(shown for shown, _, _ in line).rstrip() for line in wrapped_lines(text, [0.0] * len(text), width)]
    return lines or [""]


def _broken(line, width):
    """Break a full line after its last blank: (what stays, what goes to the next line); without one in its second half,
    at its end.
    """
    used = sum(cells for _, cells, _ in line)
    for at in range(len(line) - 1, -1, -1):
        if used <= width // 2:
            break
        if line[at][0].endswith(" ") or line[at][0] == MARKS["\t"][0]:
            return line[: at + 1], line[at + 1 :]
        used -= line[at][1]
    return line, []


def _visible_character(character):
    if character.isascii():
        if character.isprintable():
            return character
        if character == "\r":
            return MARKS[character][0]
        return "\u2421" if character == "\x7f" else chr(0x2400 + ord(character))
    return _escaped(character) if _is_hidden(character) else character


def _ascii_character(character):
    if character == "\r":
        return MARKS[character][1]
    if character.isascii() and not character.isprintable():
        return f"\\x{ord(character):02x}"
    return _visible_character(character)


def _is_hidden(character):
    # Controls, format characters (those that reorder a line among them), surrogates, what is unassigned or private, and
    # separators; marks are shown, but for the variation selectors, which can change the width of what is before them.
    category = unicodedata.category(character)
    return (
        category[0] == "C"
        or category in ("Zl", "Zp")
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _escaped(character):
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _pieces(shown, cells, width):
    """Cut what is wider than a whole line into characters."""
    return [(shown, cells)] if cells <= width else [(character, cell_len(character)) for character in shown]


def _painted(line, paint):
    """Return the one line of escape sequences; neighbours of one colour share theirs."""
    return [_coloured(((shown, step_of(value)) for shown, _, value in line), paint)]


def _coloured(pieces, paint):
    """Join (text, step) with the sequences between them; step 0 has the terminal's own colours."""
    parts, last = [], None
    for text, step in pieces:
        back = paint.back(step) if step else None
        if back != last:
            parts.append(_RESET if back is None else back if last else paint.ink + back)
            last = back
        parts.append(text)
    return "".join(parts) + (_RESET if last else "")


def _signed(line, unicode):
    """Return the line of text and, under it, the line of signs."""
    signs = "".join(_sign(value, unicode).ljust(1) * cells for _, cells, value in line)
    return ["".join(shown for shown, _, _ in line), signs.rstrip()]


def _sign(value, unicode):
    if abs(value) >= STRONG:
        return "+" if value > 0 else "-"
    return ("·" if unicode else ".") if abs(value) >= WEAK else " "


def _legend(paint, unicode, width):
    if paint is None:
        dot = "·" if unicode else "."
        full = f"+ high ({STRONG:g} and more), - low (-{STRONG:g} and less), {dot} weak ({WEAK:g} and more, either way)"
        return full if len(full) <= width else f"+ high, - low, {dot} weak"
    names = SCALES[paint.scale]
    before, after = f"{names.minus_name} -1 ", f" +1 {names.plus_name}"
    room = max(5, min(2 * STEPS + 1, width - len(before) - len(after)) - 1 | 1)  # odd: 0 is in the middle
    steps = [round(-STEPS + 2 * STEPS * at / (room - 1)) for at in range(room)]
    return before + _coloured(((" " if step else "0", step) for step in steps), paint) + after


def _rising_legend(paint, unicode, most, unit):
    if paint is None:
        return f"+ {STRONG * most:g} {unit} and more, {'·' if unicode else '.'} {WEAK * most:g} {unit} and more"
    return "0 " + _coloured(((" ", step) for step in range(STEPS + 1)), paint) + f" {most:g} {unit} and more"


class _Paint:
    """The escape sequences of a scale on a background: `ink` for the text, `back(step)` for what is behind it, if
    anything.
    """

    def __init__(self, colour, scale, background):
        self.scale, self._background, self._true = scale, background, colour == "truecolor"
        if self._true:
            self.ink = "\x1b[38;2;{};{};{}m".format(*parsed(background.ink))
        else:
            self.ink = f"\x1b[38;5;{ink_palette(background)}m"

    def back(self, step):
        if self._true:
            return "\x1b[48;2;{};{};{}m".format(*step_colour(step, self.scale, self._background))
        index = step_palette(step, self.scale, self._background)
        return None if index is None else f"\x1b[48;5;{index}m"
