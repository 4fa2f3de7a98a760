"""Signals on small texts annotated by hand: where one is on stands in ⟦ ⟧, which are no part of the text."""

import numpy as np
import pytest

from charrnn.cells.signals import (
    BUILT_IN,
    GRADED,
    ON_OFF,
    Signal,
    built_in_signals,
    custom_signal,
    find_signals,
    language,
    scan,
    without_twins,
)
from charrnn.cells.signals.scanning import MAX_FORMULA, MAX_QUOTATION, MAX_SPAN
from charrnn.errors import ConfigError


def values(text, name):
    return {signal.name: signal.values for signal in built_in_signals(text)}[name]


def plain(annotated):
    """Return (text, mask) of an annotated text."""
    text, mask, on = [], [], False
    for character in annotated:
        if character in "⟦⟧":
            on = character == "⟦"
        else:
            text.append(character)
            mask.append(on)
    return "".join(text), mask


def annotate(text, mask):
    """Return the text annotated by a mask."""
    parts, before = [], False
    for character, on in zip(text, map(bool, mask), strict=True):
        parts.append(("⟦" if on else "⟧") * (on != before) + character)
        before = on
    return "".join(parts) + "⟧" * bool(before)


def check(find, annotated):
    "find(text) must give the mask that `annotated` says."
    text, _ = plain(annotated)
    assert annotate(text, find(text)) == annotated


# ---- prose -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotated",
    [
        'He said ⟦"no⟧", and ⟦"yes⟧".',
        '⟦"No,⟧" he said, ⟦"not yet.⟧"',
        'a 6" nail and a 7" one',
        'say " alone',
        "he ⟦“read⟧” it",
        "a ⟦«b⟧» c ⟦„d⟧“ e",
        "so `⟦`he said'⟧' it",
        '--⟦"Well?⟧"--⟦"No.⟧"',
        '(⟦"x⟧") y',
        '⟦"one\ntwo⟧" three',
        '⟦"I speak on⟧\n\n⟦"and on⟧" he',  # unclosed: it ends with its paragraph
        '⟦"I speak on⟧\r\n\r\nand on',
    ],
)
def test_double_quotes_are_on_from_the_opening_mark_to_before_the_closing(annotated):
    check(lambda text: scan(text, "prose").quotes, annotated)


def test_a_stray_mark_does_not_turn_the_rest_inside_out():
    check(lambda text: scan(text, "prose").quotes, 'a "b c ⟦"d⟧" e ⟦"f⟧" g ⟦"h⟧" i')
    text = 'so "a stray. ' + 'he "x" and ' * 500
    mask = scan(text, "prose").quotes
    assert annotate(text[-11:], mask[-11:]) == 'he ⟦"x⟧" and ' and mask.mean() < 0.3


def test_a_quotation_is_bounded_where_no_paragraph_ends():
    assert not scan('a "' + "b " * 3000, "prose").quotes.any()


@pytest.mark.parametrize(
    "annotated",
    [
        "he said ⟦'no⟧' to it",
        "don't, can't, o'clock",
        "'tis true, 'twas",
        "the dogs' supper's",
        "i' the world o' the",
        "cry ⟦'Havoc!⟧' and don't",
        "cry ⟦'don't go,⟧' he",
        "cry ⟦‘it’s⟧’ he",
        "so ``he'' it",
        "one 'alone",
        "cry ⟦'the dogs' food,⟧' he",
        "cry ⟦'such dogs⟧' he",
    ],
)
def test_single_quotes_are_no_apostrophes(annotated):
    check(lambda text: scan(text, "prose").single_quotes, annotated)


def test_brackets_of_prose_close_with_their_paragraph():
    text = "a (b [c] d) :) e (f\n\ng"
    code = scan(text, "prose")
    assert code.depth.astype(int).tolist() == [0, 0, 1, 1, 1, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    check(lambda text: scan(text, "prose").parentheses, "a ⟦(b [c] d⟧) :) e ⟦(f⟧\n\ng")


# ---- C ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotated",
    [
        "a /⟦* b *⟧/ c",
        "a /⟦/ b⟧\nc",
        "a /⟦/ b \\\n c⟧\nd",
        "a / b; /⟦* it's *⟧/ c",
        'f("/* no */", 1)',
        '/⟦* "a" *⟧/ "b"',
        "a /⟦* b⟧",  # cut at the end of the text
        "x /⟦*/ y *⟧/ z",
        "⟦ * of before\n *⟧/\nint a; /⟦* b *⟧/",  # cut at its beginning
    ],
)
def test_comments_of_c(annotated):
    check(lambda text: scan(text, "c").comment, annotated)


@pytest.mark.parametrize(
    "annotated",
    [
        'f(⟦"/* no */⟧", 1)',
        r'f(⟦"a\"b⟧") + c',
        "x = ⟦'\"⟧'; y = ⟦\"'⟧\";",
        r"x = ⟦'\'⟧'; y",
        r"x = ⟦'\x41⟧'; y",
        '/* "a" */ ⟦"b⟧"',
        'a "b\nc" d',
        '⟦"b\\\nc⟧" d',
        "/* don't */ x = don't;",
    ],
)
def test_strings_of_c(annotated):
    check(lambda text: scan(text, "c").string, annotated)


def test_a_comment_without_an_end_is_bounded():
    assert not scan("a /* b\n" + "int c;\n" * 10_000, "c").comment.any()


@pytest.mark.parametrize(
    "annotated",
    [
        "if ⟦(a⟧) b;",
        "if ⟦(f(a) && (b)⟧) c",
        "elif (a) notif(b)",
        "if⟦(a == ')'⟧) {",
        "/* if (a) */ x",
        "if ⟦(a ⟧{",
        "} else if ⟦(a⟧) {",
    ],
)
def test_the_condition_of_an_if_in_c(annotated):
    check(lambda text: scan(text, "c").condition, annotated)


def test_braces_begin_anew_with_a_definition_in_the_first_column():
    text = "int f(void)\n{\n#ifdef A\n\tif (a) {\n#else\n\tif (b) {\n#endif\n\t}\n}\nint g(void)\n{\n\tx = y[1];\n}\n"
    depth = scan(text, "c").depth
    assert depth[text.index("if (b)")] == 2  # both branches open one
    assert depth[text.index("int g")] == 0 and depth[text.index("x = y")] == 1 and depth[text.index("1]")] == 2


def test_brackets_in_comments_and_strings_are_none():
    check(lambda text: scan(text, "c").depth > 0, 'f⟦(") (", /* ( */ 1⟧) x')


# ---- Python ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("annotated", ["a = 'b'  ⟦# it's⟧", 'a = "#" ⟦# b⟧\nc', "'''\n# a\n''' ⟦# b⟧"])
def test_comments_of_python(annotated):
    check(lambda text: scan(text, "python").comment, annotated)


@pytest.mark.parametrize(
    "annotated", ["a = ⟦'b⟧'  # it's", 'a = ⟦"#⟧" # b', "⟦'''a\n\"b''⟧'; c", r"a = ⟦'b\'c⟧'; d", "a = 'b\nc = ⟦'d⟧'"]
)
def test_strings_of_python(annotated):
    check(lambda text: scan(text, "python").string, annotated)


def test_a_text_cut_inside_a_docstring_is_not_turned_inside_out():
    check(
        lambda text: scan(text, "python").string,
        '⟦of before.\n""⟧"\nimport a\ndef f(x):\n    ⟦"""Do.""⟧"\n    return x\n',
    )


@pytest.mark.parametrize(
    "annotated", ["i⟦f a⟧: b", "  eli⟦f f(a[1:2], {b: c})⟧:", "x = a if b else c", "i⟦f a == ':'⟧: b", "iffy: b"]
)
def test_the_condition_of_an_if_in_python(annotated):
    check(lambda text: scan(text, "python").condition, annotated)


# ---- LaTeX -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotated",
    [
        "a ⟦$x+1⟧$ b",
        "a $⟦$x$⟧$ b",
        r"a \⟦(x\⟧) b \⟦[y\⟧] c",
        r"cost \$5 and ⟦$x⟧$",
        r"\begin{equation⟦}x\end{equation⟧} y",
        r"\begin{align*⟦}x\end{align*⟧} y",
        "% $a$\nb ⟦$c⟧$",
        r"\verb|$a$| b",
        "a $b\n\nc$ d",
        "\\begin{verbatim}\n$ a $\n\\end{verbatim} ⟦$b⟧$",
    ],
)
def test_latex_mathematics(annotated):
    check(lambda text: scan(text, "latex").math, annotated)


def test_latex_comments_are_neither_escaped_percents_nor_those_of_listings():
    check(lambda text: scan(text, "latex").comment, "50\\% a ⟦% b⟧\n\\begin{verbatim}\n% c\n\\end{verbatim}\n⟦% d⟧")


def test_latex_environment_depth_changes_when_the_name_is_read():
    text = r"\begin{a}\begin{b}x\end{b}y\end{c}\end{a}z"
    depth = scan(text, "latex").environments
    assert [int(depth[text.index(c)]) for c in "xyz"] == [2, 1, 0]
    assert int(depth[text.index("}")]) == 1 and int(depth[text.index("}") - 1]) == 0
    assert int(depth[text.index(r"\end{c}") + 6]) == 1  # it closes nothing


# ---- lines, words, characters ----------------------------------------------------------------------------------------


def test_position_in_line_and_to_its_end():
    text = "ab\n\n c\r\nd"
    assert values(text, "line-position").tolist() == [1, 2, 0, 0, 1, 2, 3, 0, 1]
    #                  after a, b, newline (an empty line is next), newline (" c"), " ", c, \r, newline (d), d
    assert values(text, "to-line-end").tolist() == [1, 0, 0, 2, 1, 0, 0, 1, 0]


def test_indentation_counts_levels_and_holds_until_a_line_says_another():
    text = "a\n  b c\n\td\n\n \te\n  f\r\n g\nh"
    assert values(text, "indentation").tolist() == [
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
        2,
        2,
        2,
        2,
        2,
        2,
        1,
        1,
        1,
        1,
        1,
        1,
        0,
    ]
    # a newline _  _  b _ c newline  tab d ...  (blank line, "e": still)  f  g  h


def test_in_code_what_goes_on_keeps_its_indentation():
    code = (
        """int f(int a,
      int b)
{
\tif (a &&
\t    b) {
#ifdef X
\t\t/* one
\t\t * two
\n\t\t */
again:
\t\tg(1,
\t\t\t2);
\t}
\treturn 0;
}
"""
        * 3
    )
    levels = values(code, "indentation")
    of_lines, at = [], 0
    for line in code.splitlines(keepends=True):
        of_lines.append(int(levels[at + len(line) - 1]))
        at += len(line)
    assert of_lines == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 1, 1, 0] * 3


@pytest.mark.parametrize(
    "name, annotated",
    [
        ("capital", "⟦A⟧n ox, é1 ⟦ROMEO⟧ ⟦KING⟧ ⟦RICHARD⟧ ⟦II⟧: ⟦É⟧ x"),
        ("all-capitals", "An ox, é1 ⟦ROMEO KING RICHARD II⟧: É x"),
        ("word-start", "⟦A⟧n ⟦o⟧x, ⟦é⟧1 ⟦R⟧OMEO"),
        ("vowel", "⟦A⟧n ⟦o⟧x, ⟦é⟧1 R⟦O⟧M⟦EO⟧"),
        ("digit", "An ⟦1805⟧ é⟦1⟧"),
        ("before-space", "⟦a⟧ b\nc\r\n"),
        ("before-newline", "a ⟦b⟧\n⟦c\r⟧\n"),
        ("url", "see ⟦http://a.b/c?d=1⟧. or (⟦https://x.y⟧), ⟦www.z.org/q⟧!"),
    ],
)
def test_words_and_characters(name, annotated):
    check(lambda text: values(text, name), annotated)


def test_position_in_word():
    assert values("An ox, é1", "word-position").tolist() == [1, 2, 0, 1, 2, 0, 0, 1, 0]


def test_your_own_signal_is_on_inside_each_match():
    check(lambda text: custom_signal(text, "year", r"1[89]\d\d").values, "year ⟦1805⟧, and ⟦1812⟧\n⟦1805⟧ 12")
    check(lambda text: custom_signal(text, "line", "^a").values, "⟦a⟧b\n⟦a⟧b a")


@pytest.mark.parametrize(
    "name, expression, words",
    [
        ("quotes", "a", "built in"),
        ("x", "(", "not a valid regular expression"),
        ("x", "zzz", "0 places"),
        ("", "a", "needs its own name"),
    ],
)
def test_a_signal_that_cannot_be_is_refused(name, expression, words):
    with pytest.raises(ConfigError, match=words):
        find_signals("a b " * 100, [(name, expression)])


def test_only_what_occurs_is_found():
    names = {signal.name for signal in find_signals("some words and no more\n" * 40)}
    assert "line-position" in names and "vowel" in names
    assert not names & {"quotes", "comment", "math", "digit", "capital", "url", "brackets", "if"}


def test_of_signals_that_are_on_together_the_later_stays():
    on = np.arange(400) % 4 == 0
    nearly, hardly = on.copy(), on.copy()
    nearly[0], hardly[:20] = False, False
    made = [
        Signal(name, name, kind, values)
        for name, kind, values in (
            ("quotes", ON_OFF, on),
            ("single-quotes", ON_OFF, hardly),
            ("line-position", GRADED, on.astype(np.float32)),
            ("string", ON_OFF, nearly),
            ("own", ON_OFF, on),
        )
    ]
    kept, twins = without_twins(made)
    assert [signal.name for signal in kept] == ["single-quotes", "line-position", "string", "own"] and twins == {
        "quotes": "string"
    }


@pytest.mark.parametrize(
    "text, expected",
    [
        ('It was a dark night;\nthe rain fell.\n\n"Oh," he said.\n' * 5, "prose"),
        ("#include <a.h>\n/* b */\nint f(void)\n{\n\treturn 0;\n}\n" * 3, "c"),
        ("import os\n\nclass A:\n    def f(self):\n        return self.x\n" * 3, "python"),
        ("\\section{A}\nSome words.\n\\begin{itemize}\n\\item one\n\\end{itemize}\n" * 3, "latex"),
        ("", "prose"),
    ],
)
def test_the_language_is_read_off_the_text(text, expected):
    assert language(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "\n", '"', "'", "(", "/*", '"""', "$", "\\begin{", "\\end{document}", "\r\n", "if (", "é‘"]
)
def test_no_text_is_too_short(text):
    for kind in ("prose", "c", "python", "latex"):
        scan(text, kind)
    signals = built_in_signals(text)
    assert [signal.name for signal in signals] == list(BUILT_IN)
    assert all(signal.values.shape == (len(text),) and signal.values.dtype in (bool, np.float32) for signal in signals)


def test_what_never_closes_opens_nothing_however_often():
    far = "x" * (MAX_SPAN + 1)
    code = scan("/* " * 50 + far + "*/ /* yes */", "c")
    assert not code.comment[: 150 + len(far)].any() and code.comment[-8:-1].all() and not code.comment[-1]
    assert scan("/* /* to the end", "c").comment[1:].all()
    far = "x" * (MAX_FORMULA + 1)
    text = "\\[ \\( " * 9 + far + "\\] \\[a\\] \\(b\n\nc\\) \\(d\\)"
    assert {text[t] for t in np.flatnonzero(scan(text, "latex").math)} == set("[a(d\\")
    text = "if (" * 9 + "x" * MAX_QUOTATION + ") if (y) z"
    assert "".join(text[t] for t in np.flatnonzero(scan(text, "c").condition)) == "(y"
