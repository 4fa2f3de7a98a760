"""The page as a reader meets it: opened from disk in a headless Chromium, with real pointers and keys."""

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from test_page import ATTACK, page_data

from charrnn.render.page import FoundUnit, Sheet, write_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (apt-get install chromium)"),
]

LAYERS, UNITS = 2, 20
QUOTED = 1 * UNITS + 7  # the unit that is on inside quotation marks
OPPOSITE = 0 * UNITS + 3
TEXT = "".join(f'line {n} says "quoted words" and goes on\n\tfor a while; {"more " * (n % 7)}\n' for n in range(120))


def span(at):
    return f"document.querySelectorAll('#text .block span')[{at}]"


def words(name):
    return f"document.getElementById('{name}').textContent"


def is_quoted(text):
    inside, marks = np.zeros(len(text), bool), 0
    for at, symbol in enumerate(text):
        marks += symbol == '"'
        inside[at] = marks % 2 == 1
    return inside


def reader_data():
    rng = np.random.default_rng(3)
    values = rng.uniform(-0.4, 0.4, (LAYERS * UNITS, len(TEXT)))
    values[QUOTED] = np.where(is_quoted(TEXT), 0.9, -0.8)
    values[OPPOSITE] = -values[QUOTED]
    found = [
        FoundUnit("quotes", "inside quotation marks", 1, 7, 0.97, 0.2, 0.99, "AUC"),
        FoundUnit("newline", "a line is about to end", 0, 5, 0.61, 0.2, 0.8, "AUC", -1),
    ]
    return page_data(TEXT, LAYERS, UNITS, rng, values=values, found=found, title="Reader's text")


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, reader_data())
    return path


def opened(browser, path, **how):
    page = browser.open(path, **how)
    page.wait("document.documentElement.dataset.ready === 'yes'")
    return page


@pytest.fixture
def page(browser, path):
    page = opened(browser, path)
    yield page
    assert page.troubles() == []
    page.call("Page.close")


def test_the_page_shows_the_text_and_the_best_unit_found(page):
    assert page.run("document.querySelector('#text').textContent") == TEXT
    assert page.run("document.querySelector('#pick').value") == "1:7"
    assert page.run(words("unit-name")) == "inside quotation marks"
    quote = TEXT.index('"')
    assert page.run(f"{span(quote)}.classList.contains('p18')") and page.run(f"{span(0)}.classList.contains('m16')")
    red, _, blue = page.run(f"getComputedStyle({span(quote)}).backgroundColor.match(/\\d+/g).map(Number)")
    assert red > blue


def test_a_unit_is_picked_from_the_keyboard_by_its_place_and_by_its_name(page):
    page.press("/")
    assert page.run("document.activeElement.id") == "pick" and page.run("!document.getElementById('options').hidden")
    page.type("0:3")
    page.press("Enter")
    page.wait(words("unit-name") + " === 'Unit 0:3'")
    assert page.run(f"{span(0)}.classList.contains('p16')")
    page.press("/")
    page.type("about to end")
    page.press("Enter")
    page.wait(words("unit-name") + " === 'a line is about to end'")
    page.press("n")
    page.wait("document.querySelector('#pick').value === '0:6'")
    page.press("[")
    page.press("p")
    page.wait("document.querySelector('#pick').value === '0:4'")
    page.press("/")
    page.press("Escape")
    assert (
        page.run("document.activeElement.id") == "text" and page.run("document.querySelector('#pick').value") == "0:4"
    )


def test_the_first_unit_follows_the_last(page):
    page.press("/")
    page.type("0:0")
    page.press("Enter")
    page.wait("document.querySelector('#pick').value === '0:0'")
    page.press("p")
    page.wait(f"document.querySelector('#pick').value === '{LAYERS - 1}:{UNITS - 1}'")
    page.press("n")
    page.wait("document.querySelector('#pick').value === '0:0'")


def test_a_unit_is_picked_with_the_pointer(page):
    page.click("document.querySelectorAll('.find')[1]")
    page.wait("document.querySelector('#pick').value === '0:5'")
    assert page.run("document.querySelectorAll('.find')[1].getAttribute('aria-pressed')") == "true"
    page.click("document.querySelector('#pick')")
    page.click("document.querySelectorAll('#options li')[0]")
    page.wait("document.querySelector('#pick').value === '1:7'")
    page.click("document.querySelector('#next')")
    page.wait("document.querySelector('#pick').value === '1:8'")


def test_hovering_shows_value_guesses_and_surprisal(page):
    data, at = reader_data(), TEXT.index("quoted")
    page.move(span(at))
    page.wait(words("char-name") + " === '\u201cq\u201d'")
    assert page.run(words("value")) == "+0.90"
    assert page.run(words("surprisal")) == f"{data.surprisal_bits[at]:.2f} bits"
    rows = page.run(
        "[...document.querySelectorAll('#guesses li:not([hidden])')]"
        ".map((row) => [row.querySelector('code').title, row.querySelector('b').textContent])"
    )
    assert len(rows) == 5
    for (title, share), symbol, p in zip(rows, data.guesses_ids[at], data.guesses_p[at]):
        name = {"\n": "newline", "\t": "tab", " ": "space"}.get(data.vocabulary[symbol], data.vocabulary[symbol])
        assert title == name + (": it came" if data.vocabulary[symbol] == TEXT[at + 1] else "")
        assert float(share.strip("<% ")) == pytest.approx(100 * p, abs=0.51)
    page.wait(words("live") + ".startsWith('q: value 0.90, surprisal')")
    page.move("document.querySelector('h1')")
    page.wait(words("char-name") + " === '\u201cl\u201d'")  # back at the cursor
    assert page.run(words("surprisal")) == "\u2013"  # the first character has none


def test_newlines_and_tabs_are_visible_and_named(page):
    for symbol, name in (("\n", "newline"), ("\t", "tab"), (" ", "space")):
        page.move(span(TEXT.index(symbol)))
        page.wait(words("char-name") + f" === '{name}'")
    shown = page.run(f"getComputedStyle({span(TEXT.index(chr(10)))}, '::before').content")
    assert shown == '"\u21b5"'


def test_selecting_a_span_ranks_the_units_that_are_on_there_and_off_elsewhere(page):
    start = TEXT.index("quoted")
    page.drag(span(start), span(start + 8))
    page.wait("document.querySelectorAll('.rank').length === 12")
    assert page.run("document.querySelectorAll('.rank')[0].dataset.unit") == str(QUOTED)
    assert page.run("document.querySelectorAll('.rank')[8].dataset.unit") == str(OPPOSITE)
    inside = is_quoted(TEXT)
    chosen = page.run("[...document.querySelectorAll('#text .sel')].map((one) => one.at)")
    assert chosen == list(range(chosen[0], chosen[-1] + 1)) and abs(len(chosen) - 8) <= 1
    elsewhere = np.where(inside, 0.9, -0.8)
    elsewhere = np.delete(elsewhere, chosen).mean()
    assert page.run("document.querySelector('.rank small').textContent") == f"+0.90 / \u2212{-elsewhere:.2f}"
    page.click("document.querySelectorAll('.rank')[8]")
    page.wait("document.querySelector('#pick').value === '0:3'")
    assert page.run("document.querySelectorAll('#text .sel').length") == len(chosen)
    page.click("document.querySelector('#clear')")
    assert page.run("document.querySelectorAll('#text .sel, .rank').length") == 0


def test_the_keyboard_moves_and_selects(page):
    page.run("document.querySelector('#text').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    assert page.run("document.querySelector('.cursor').at") == 3
    page.press("ArrowDown")
    second = TEXT.index("\n") + 1
    assert page.run("document.querySelector('.cursor').at") >= second
    page.press("Home")
    assert page.run("document.querySelector('.cursor').at") == second
    page.press("ArrowUp")
    assert page.run("document.querySelector('.cursor').at") == 0
    page.press("End")
    assert page.run("document.querySelector('.cursor').at") == second - 1
    page.press("Home")
    for _ in range(4):
        page.press("ArrowRight", shift=True)
    page.wait("document.querySelectorAll('.rank').length > 0")
    assert page.run("[...document.querySelectorAll('#text .sel')].map((one) => one.at)") == [0, 1, 2, 3, 4]
    page.press("Escape")
    assert page.run("document.querySelectorAll('#text .sel').length") == 0
    for _ in range(3):
        page.press("ArrowUp")  # at the top nothing is above
    assert page.run("document.querySelector('.cursor').at") <= 5


def test_every_control_is_reached_by_tab_and_shows_its_focus(page):
    names = page.run("""[...document.querySelectorAll('button, input, summary, [tabindex]')]
        .filter((one) => one.checkVisibility())
        .map((one) => { one.focus({ focusVisible: true }); const style = getComputedStyle(one);
          return [one.id || one.className || one.tagName, document.activeElement === one,
            style.outlineStyle, parseFloat(style.outlineWidth)]; })""")
    assert len(names) > 8
    for name, focused, style, width in names:
        assert focused and style == "solid" and width >= 1, name


def test_text_far_down_is_coloured_when_it_is_reached(page):
    last = len(TEXT) - 1
    page.run(f"{span(last)}.scrollIntoView()")
    page.wait(f"{span(last)}.classList.contains('m16')")
    page.press("/")
    page.type("0:3")
    page.press("Enter")
    page.wait(f"{span(last)}.classList.contains('p16')")
    page.run("scrollTo(0, 0)")
    page.wait(f"{span(0)}.classList.contains('p16')")


def test_a_dot_of_the_gates_plot_picks_its_unit(page):
    shares = reader_data().gates["forget"].reshape(-1, 2)
    apart = ((shares[:, None] - shares) ** 2).sum(-1) + 9 * np.eye(len(shares))
    alone = int(apart.min(1).argmax())
    page.run("document.querySelector('#gate-plots').scrollIntoView({block: 'center'})")
    x, y = page.run(f"""(() => {{ const svg = document.querySelector('#gate-plots svg');
        const frame = svg.querySelector('.frame').getBoundingClientRect();
        return [frame.left + {shares[alone, 0]} * frame.width,
          frame.bottom - {shares[alone, 1]} * frame.height]; }})()""")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            **({} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}),
        )
    page.wait(f"document.querySelector('#pick').value === '{alone // UNITS}:{alone % UNITS}'")
    page.run("document.querySelector('#gate-size').click()")
    assert page.run("document.querySelector('#wide').open && document.querySelector('#wide #gate-plots') !== null")
    page.press("Escape")
    page.wait("!document.querySelector('#wide').open && document.querySelector('#gate-place #gate-plots') !== null")


def test_light_dark_and_the_other_scale(browser, path):
    for dark in (False, True):
        page = opened(browser, path, dark=dark)
        brightness = "(getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128)"
        assert page.run(brightness) is not dark
        page.click("document.querySelector('#theme')")  # light, whatever the system says
        assert page.run(brightness) is True
        page.press("t")
        assert page.run(brightness) is False
        before = page.run(f"getComputedStyle({span(TEXT.index(chr(34)))}).backgroundColor")
        page.press("c")
        assert page.run(f"getComputedStyle({span(TEXT.index(chr(34)))}).backgroundColor") != before
        assert "orange" in page.run(words("scale"))
        assert page.troubles() == []
        page.call("Page.close")


def test_a_unit_that_is_low_where_its_signal_is_on_has_an_arrow_not_a_minus(browser, path):
    page = opened(browser, path)
    assert page.run("[...document.querySelectorAll('.find code')].map((one) => one.textContent)") == [
        "1:7",
        "0:5 \u2193",
    ]
    page.call("Page.close")


def test_the_page_opens_with_the_scale_it_was_written_with(browser, path, tmp_path):
    other = tmp_path / "other.html"
    other.write_bytes(path.read_bytes().replace(b'"first_scale":0', b'"first_scale":1'))
    page = opened(browser, other)
    assert "orange" in page.run(words("scale")) and page.run("document.documentElement.dataset.scale") == "orange-blue"
    page.press("c")
    assert "red" in page.run(words("scale"))
    page.call("Page.close")


def test_a_phone_scrolls_one_way_only_and_a_tap_shows_a_character(browser, path):
    page = opened(browser, path, width=375, height=720, mobile=True)
    assert page.run("document.documentElement.scrollWidth") == 375
    x, y = page.place(span(2))
    page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.wait(words("char-name") + " === '\u201cn\u201d'")
    box = page.run(
        "(({top, bottom}) => [top, bottom, innerHeight])(document.querySelector('#now').getBoundingClientRect())"
    )
    assert 0 < box[0] < box[1] <= box[2]
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.documentElement.scrollWidth") == 375
    assert page.troubles() == []


def test_a_hostile_text_does_not_run(browser, tmp_path):
    hostile = [FoundUnit(ATTACK, ATTACK, 0, 0, 0.5, kind=ATTACK)]
    write_page(
        tmp_path / "page.html",
        page_data(
            ATTACK,
            vocabulary=[ATTACK, "<script>document.title='run'</script>"],
            guesses_ids=np.arange(len(ATTACK) * 5).reshape(-1, 5) % 2,
            quantity=ATTACK,
            title=ATTACK,
            model_line=ATTACK,
            gates={ATTACK: np.zeros((2, 3, 2))},
            found=hostile,
        ),
    )
    page = opened(browser, tmp_path / "page.html")
    page.move(span(3))
    page.drag(span(2), span(20))
    page.wait("document.querySelectorAll('.rank').length > 0")
    page.click("document.querySelector('#pick')")
    assert page.run("document.title") != "run" and page.run("document.title").startswith("</script><script>")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.querySelectorAll('script').length") == 3
    assert page.run("document.querySelector('#text').textContent").startswith(ATTACK[:60])
    assert page.run(words("model")).startswith("</script><script>")
    assert page.troubles() == []


def test_what_did_get_in_would_not_run(page):
    page.run("""(() => { const script = document.createElement('script'); script.textContent = "document.title = 'run'";
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p onclick="document.title=1" id="p">x</p>');
        document.getElementById('p').click(); })()""")
    assert page.run("document.title") == "Reader's text"
    refused = page.troubles()
    assert len(refused) == 2 and all("Content Security Policy" in one for one in refused)
    page._browser.events.clear()


def test_one_character_and_no_find_is_a_page_too(browser, tmp_path):
    write_page(tmp_path / "page.html", page_data("x", found=[], gates={}, guesses_ids=np.zeros((1, 5), int)))
    page = opened(browser, tmp_path / "page.html")
    assert page.run(words("unit-name")) == "Unit 0:0"
    assert page.run(
        "!document.querySelector('#found').checkVisibility() && !document.querySelector('#gates').checkVisibility()"
    )
    page.run("document.querySelector('#text').focus()")
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"):
        page.press(key)
    page.press("ArrowRight", shift=True)
    page.wait("document.querySelectorAll('.rank').length > 0")
    assert page.troubles() == []


def test_other_scripts_and_odd_characters_are_shown(browser, tmp_path):
    text = list("e\u0301\u6f22\U0001f600\u05d0\u05d1\x1b\u202e\u200b\ud800\r\x7f\xa0") + ["\\xc3"]
    data = page_data("".join(text[:-1]) + "?")
    data.text[-1] = "\\xc3"
    write_page(tmp_path / "page.html", data)
    page = opened(browser, tmp_path / "page.html")
    shown = page.run("[...document.querySelectorAll('#text .block span')].map((one) => one.textContent)")
    assert shown == [
        "e",
        "\u0301",
        "\u6f22",
        "\U0001f600",
        "\u05d0",
        "\u05d1",
        "\u241b",
        "U+202E",
        "U+200B",
        "U+D800",
        "\u2190",
        "\u2421",
        "\xa0",
        "\\xc3",
    ]
    assert page.troubles() == []


@pytest.mark.slow
def test_a_page_of_surprisals_names_its_readers_and_shows_bits(browser, tmp_path):
    text = "abc\n" * 50
    values = np.zeros((2, len(text)))
    values[0, 1::4], values[1, 2::4] = 1.0, 0.5
    readers = [FoundUnit(name, name, 0, k, float("nan")) for k, name in enumerate(("the model", "a 7-gram"))]
    sheet = Sheet("Mistakes", "of what kind", ["", "characters"], [["word start", "17"], ["the rest", "4"]], [1, 0.25])
    write_page(
        tmp_path / "bits.html",
        page_data(
            text,
            1,
            2,
            values=values,
            found=readers,
            gates={},
            most_bits=8,
            sheets=[sheet],
            quantity="bits of each character",
        ),
    )
    page = opened(browser, tmp_path / "bits.html")
    assert page.run(words("unit-name")) == "the model" and page.run(words("legend-plus")) == "8 bits or more"
    assert "p20" in page.run(f"{span(1)}.className") and page.run(f"{span(2)}.className") == ""
    page.run(f"{span(1)}.dispatchEvent(new PointerEvent('pointermove', {{bubbles: true, pointerType: 'mouse'}}))")
    assert page.run(words("value")) == "8+ bits"
    page.run("document.querySelectorAll('#found-list button')[1].click()")
    page.wait(f"{words('unit-name')} === 'a 7-gram'")
    assert "p10" in page.run(f"{span(2)}.className")
    assert page.run("document.querySelector('.sheet tbody').textContent") == "word start17the rest4"
    hidden = "getComputedStyle(document.querySelector('{}')).display === 'none'"
    assert (
        page.run(hidden.format(".choice"))
        and page.run(hidden.format("#selection"))
        and not page.run(hidden.format("#found"))
    )


def surprisal_page(path):
    """Write a page of surprisals; return its PageData. Before character 6 comes what was expected there, 'c' first, and
    at character 10 stands a 'Z' that nobody expected.
    """
    text = "abc\nabc\nabZ\n" * 20
    vocabulary = ["\n", "a", "b", "c", "d", "e", "Z"]
    ids, p = np.tile([1, 2, 3, 4, 5], (len(text), 1)), np.tile([0.5, 0.2, 0.1, 0.1, 0.05], (len(text), 1))
    ids[5] = [3, 1, 2, 4, 5]
    surprisal = np.full(len(text), 1.0)
    surprisal[[0, 10]] = np.nan, 6.0
    readers = [FoundUnit(name, name, 0, k, float("nan")) for k, name in enumerate(("the model", "a 7-gram"))]
    sheet = Sheet("Mistakes", "of what kind", ["", "characters"], [["word start", "17"]], [1])
    data = page_data(
        text,
        1,
        2,
        vocabulary=vocabulary,
        guesses_ids=ids,
        guesses_p=p,
        surprisal_bits=surprisal,
        found=readers,
        gates={},
        most_bits=8,
        sheets=[sheet],
        quantity="bits of each character",
    )
    write_page(path, data)
    return data


def test_the_list_of_a_page_of_surprisals_is_of_the_character_itself(browser, tmp_path):
    surprisal_page(tmp_path / "bits.html")
    page = opened(browser, tmp_path / "bits.html")

    def guesses(at):
        page.run(f"{span(at)}.dispatchEvent(new PointerEvent('pointermove', {{bubbles: true, pointerType: 'mouse'}}))")
        return page.run(
            "[...document.querySelectorAll('#guesses li:not([hidden])')].map((row) => [row.querySelector('code')"
            ".textContent, row.className, row.querySelector('b').textContent].join(' '))"
        )

    assert guesses(6) == ["c came 50 %", "a  20 %", "b  10 %", "d  10 %", "e  5.0 %"]
    page.wait(words("live") + ".endsWith('expected c 50 %')")
    assert page.run(words("guesses-label")) == "What the model expected here"
    unexpected = guesses(10)
    assert len(unexpected) == 6 and unexpected[0] == "a  50 %" and unexpected[5] == "Z came 1.6 %"
    page.run("document.querySelectorAll('#found-list button')[1].click()")
    page.wait(f"{words('unit-name')} === 'a 7-gram'")
    assert guesses(10) == unexpected  # they stay the model's, and the list says so
    assert page.run(words("guesses-label")) == "What the model expected here, not a 7-gram"
    assert guesses(0) == [] and "nothing was expected" in page.run(words("guesses-label"))
    assert page.troubles() == []


def test_on_a_phone_the_text_comes_before_the_tables(browser, tmp_path):
    surprisal_page(tmp_path / "bits.html")
    page = opened(browser, tmp_path / "bits.html", width=375, height=720, mobile=True)
    top = "document.querySelector('{}').getBoundingClientRect().top"
    assert 0 < page.run(top.format("#text")) < 400 < page.run(top.format("#sheets"))
    assert page.run("document.documentElement.scrollWidth") == 375
    assert page.troubles() == []
