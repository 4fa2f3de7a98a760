"""The living page as a reader meets it: opened from disk in a headless Chromium, with real pointers and keys."""

import json
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from chromium import Chromium, find_chromium

from charrnn import next_characters
from charrnn.evaluation.loss import read_losses
from charrnn.export.page import page_pieces
from charrnn.export.payload import PageFacts, make_payload
from charrnn.export.weights import pack_model
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.spec import ModelConfig
from charrnn.text.tasks import ItemRule
from charrnn.text.vocabulary import Vocabulary

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (apt-get install chromium)"),
]

SYMBOLS = "\t\n abcdefghijklm"
HELD = 1, 4
FOUND = (
    {"name": "line", "phrase": "a line is about to end", "layer": 1, "unit": 4, "quantity": "tanh-c", "score": 0.9}
    | {"measure": "auroc", "sign": 1, "null": 0.5, "untrained": 0.6, "off": -0.5, "on": 0.5},
)
READY = "document.documentElement.dataset.ready === 'yes'"
IDLE = "document.documentElement.dataset.writing === 'no'"
SHOWN = "[...document.querySelectorAll('#text .block span[class]')]"
DRAWN = "document.querySelectorAll('#text .block span[class]').length"


def make_model(vocabulary, task=None, seed=3):
    """Return a Model of larger weights than a fresh one's, so that its states and choices are lively."""
    config = ModelConfig("lstm", vocab_size=vocabulary.size, hidden_size=13, num_layers=2)
    model = Model.initialise(config, seed, rule=ItemRule.of(vocabulary, task))
    rng = np.random.default_rng(seed)
    arrays = {name: value * 3 + rng.normal(0, 0.2, value.shape) for name, value in model.get_parameters().items()}
    if model.rule is not None:
        arrays["output.bias"][model.rule.never()] = -1e4
    model.set_parameters(arrays)
    model.vocabulary = vocabulary
    return model


def write_page(path, model, title="A model that writes"):
    facts = PageFacts(title, "LSTM of 2 layers of 13 units", {"name": "run-1", "steps": 7}, found=FOUND)
    payload = make_payload(model, pack_model(model, "float32"), "float32", facts)
    path.write_bytes(b"".join(page_pieces(payload.header, payload.weights, piece_bytes=4096)))
    return path


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def model():
    return make_model(Vocabulary("chars", SYMBOLS))


@pytest.fixture(scope="module")
def path(tmp_path_factory, model):
    return write_page(tmp_path_factory.mktemp("page") / "page.html", model)


@pytest.fixture
def opened(browser, path):
    """Return a function that opens the page with a state in its address; at the end nothing has gone wrong in it."""
    pages = []

    def open_page(state, where=path, **how):
        state = urlencode({"speed": 5, **state}, doseq=True, quote_via=quote)
        page = browser.open(where, fragment=f"#{state}", **how)
        page.wait(READY + " && " + IDLE)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.troubles() == []
        page.call("Page.close")


def text_of(page):
    """Return the text of the box once all of it is read and drawn; the drawing shows the same."""
    page.wait(f"{IDLE} && document.querySelector('#text .pending:not([hidden])') === null")
    box = page.run("document.getElementById('box').value")
    page.wait(f"document.getElementById('text').textContent === {json.dumps(box)}")
    return box


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def words(page, name):
    return page.run(f"document.getElementById('{name}').textContent")


def press(page, key, code, modifiers):
    for kind in ("rawKeyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=modifiers)


def sampled(model, prompt, length, clamps=(), **settings):
    sampler = Sampler(model, Settings(**settings), seed=5, clamps=list(clamps))
    sampler.prime(model.vocabulary.encode(prompt))
    return prompt + model.vocabulary.decode(np.concatenate([block.ids[0] for block in sampler.generate(length)]))


def test_the_same_seed_writes_what_sample_writes_and_a_held_unit_another_text(opened, model):
    state = {"prompt": "a bad\n", "seed": 5, "temperature": 0.8, "top-k": 9, "length": 200}
    page = opened(state)
    free = text_of(page)
    assert free == sampled(model, "a bad\n", 200, temperature=0.8, top_k=9)
    assert page.run("document.querySelectorAll('#text .typed').length") == 6
    assert page.run("document.getElementById('text').offsetHeight === document.getElementById('box').scrollHeight")
    page.run("document.getElementById('command').open = true")
    page.wait("document.getElementById('command-line').textContent.includes('--length 200')")
    assert words(page, "command-line") == (
        "charrnn sample run-1 --seed 5 --temperature 0.8 --top-k 9 --length 200 --prime $'a bad\\n'"
    )

    held = opened({**state, "hold": "1:4=0.9", "unit": "1:4"})
    clamp = Clamp(*HELD, 0.9, "tanh-c")
    assert text_of(held) == sampled(model, "a bad\n", 200, [clamp], temperature=0.8, top_k=9) != free
    assert held.run("[...document.querySelectorAll('#text span.typed')].every((one) => one.className.includes('p18'))")
    held.click("document.getElementById('compare-open')")
    sides = "[...document.querySelectorAll('.side')].map((side) => side.textContent)"
    held.wait(f"document.querySelectorAll('.parted').length === 2 && {sides}.every((side) => side.length === 206)")
    assert held.run(sides) == [free, text_of(held)]
    assert "the texts differ from the mark on (character" in words(held, "compare-note")


def test_what_is_typed_is_read_coloured_and_can_be_changed_in_the_middle(opened, model):
    page = opened({"prompt": "", "write": 0, "by": "surprisal"})
    page.run("document.getElementById('box').focus()")
    page.type("a bag\n\tfed")
    assert text_of(page) == "a bag\n\tfed"
    page.run("document.getElementById('box').setSelectionRange(3, 5)")
    page.type("cka")
    text = text_of(page)
    assert text == "a bcka\n\tfed" and page.run("document.getElementById('box').selectionStart") == 6
    losses = read_losses(model, model.vocabulary.encode(text), 0, len(text)) / np.log(2)
    said = f"11 typed, {losses.mean():.2f} bits each"
    page.wait(f"document.getElementById('status').textContent.startsWith('{said}')")
    page.wait(f"document.querySelectorAll('#text span[class]').length === {len(text)}")
    colours = page.run("[...document.querySelectorAll('#text .block span')].map((one) => one.className)")
    for name, bits in zip(colours[1:], losses):
        step = round(20 * min(1, bits / 8))
        assert (f"p{step} " if step else "") == ("" if name.startswith(" ") else name.split(" ")[0] + " "), name
    # A character under the pointer, and the one before the caret, show what was expected there.
    page.move("document.querySelectorAll('#text .block span')[4]")
    page.wait(
        "document.getElementById('char-name').textContent === '\u201cc\u201d'".replace("c\u201d", text[4] + "\u201d")
    )
    assert words(page, "surprisal") == f"{losses[3]:.2f} bits"
    assert words(page, "guesses-label") == "What was expected here"
    page.move("document.querySelector('h1')")
    for symbol, name in (("\n", "newline"), ("\t", "tab")):
        page.run(
            f"document.getElementById('box').setSelectionRange({text.index(symbol) + 1}, {text.index(symbol) + 1})"
        )
        page.wait(f"document.getElementById('char-name').textContent === '{name}'")


def test_a_likely_character_is_taken_by_pointer_and_by_key_and_an_unknown_one_refused(opened, model):
    page = opened({"prompt": "abc", "write": 0})
    text_of(page)
    first = "document.querySelector('.guess code').textContent"
    second = next_characters(model, "abc", 2)[1].symbol
    name = {"\n": "newline", "\t": "tab", " ": "space"}.get(second, second)
    page.wait(f"document.querySelectorAll('.guess')[1].getAttribute('aria-label')?.startsWith('Insert {name},')")
    page.click("document.querySelectorAll('.guess')[1]")
    page.wait("document.getElementById('box').value.length === 4")
    assert text_of(page) == "abc" + second
    page.wait(f"{first} !== ''")
    page.run("document.getElementById('box').focus()")
    press(page, "!", "Digit1", 1 + 8)
    page.wait("document.getElementById('box').value.length === 5")
    before = text_of(page)
    page.type("z\u00e9a")
    page.wait("!document.getElementById('problem').hidden")
    assert text_of(page) == before + "a"
    assert "\u201cz\u201d" in words(page, "problem") and "U+00E9" in words(page, "problem")
    page.type("b")
    page.wait("document.getElementById('problem').hidden")


def test_the_page_is_worked_from_the_keyboard_alone_and_every_control_has_a_name(opened):
    page = opened({"prompt": "a", "write": 0, "length": 40})
    nameless = page.run("""[...document.querySelectorAll('button, input, textarea, select, summary, output')]
        .filter((one) => one.checkVisibility() && one.tagName !== 'OUTPUT')
        .filter((one) => !one.getAttribute('aria-label') && !one.textContent.trim() && !(one.labels || []).length)
        .map((one) => one.id || one.className)""")
    assert nameless == []
    unfocused = page.run("""[...document.querySelectorAll('button:not(:disabled), input, textarea, summary')]
        .filter((one) => one.checkVisibility())
        .filter((one) => { one.focus(); return document.activeElement !== one; }).map((one) => one.id)""")
    assert unfocused == []
    page.run("document.getElementById('box').focus()")
    press(page, "Enter", "Enter", 2)
    page.wait("document.getElementById('box').value.length === 41")
    text = text_of(page)
    page.press("Escape")
    assert page.run("document.activeElement.id") == "write" and words(page, "write") == "Go on"
    page.press("]")
    page.wait("document.getElementById('pick').value === '1:5'")
    page.press("/")
    page.type("about to end")
    page.press("Enter")
    page.wait("document.getElementById('unit-name').textContent === 'a line is about to end'")
    page.press("s")
    assert page.run("document.documentElement.dataset.by") == "surprisal"
    page.press("h")
    page.wait("document.getElementById('hold-on').checked")
    page.press("w")
    page.wait(f"document.getElementById('box').value.length === 81 && {IDLE}")
    assert text_of(page).startswith(text)
    page.run("document.getElementById('back').focus()")
    page.press("Enter")
    page.wait("document.getElementById('box').value === 'a'")


@pytest.mark.parametrize("how", [{"width": 1280, "dark": True}, {"width": 375, "height": 720, "mobile": True}])
def test_dark_and_on_a_phone_nothing_stands_over(opened, how):
    page = opened({"prompt": "abc " * 40 + "m" * 90 + "\n" * 3, "seed": 1, "length": 300}, **how)
    text_of(page)
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.documentElement.scrollWidth") == how["width"]
    dark = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] < 128")
    assert dark is how.get("dark", False)
    page.click("document.getElementById('scale')")
    assert "orange" in words(page, "scale")
    height = page.run("[document.getElementById('text').offsetHeight, document.getElementById('box').scrollHeight]")
    assert height[0] == height[1]


def test_a_long_text_is_drawn_line_for_line_as_the_box_breaks_it(opened):
    page = opened({"prompt": "", "write": 0})
    lines = "".join("abc def ghi jkl m" * (n % 9) + "\n" for n in range(100)) + "one line ab de fgh " * 150
    text = "".join(c for c in lines if c in SYMBOLS)
    page.run(f"document.getElementById('box').focus(), document.getElementById('box').value = {json.dumps(text)}")
    page.run("document.getElementById('box').dispatchEvent(new Event('input'))")
    assert text_of(page) == text
    page.wait(f"{DRAWN} >= {len(text)}")
    sizes = "[document.getElementById('text').offsetHeight, document.getElementById('box').scrollHeight]"
    for width in (1280, 900):
        page.resize(width, 700)
        page.wait(f"(([one, other]) => one === other)({sizes}) && {DRAWN} >= {len(text)}")
    at = len(text) - 900
    page.run(f"document.getElementById('box').setSelectionRange({at}, {at + 2})")
    page.type("ma\nm")
    text = text[:at] + "ma\nm" + text[at + 2 :]
    assert text_of(page) == text
    page.wait(f"(([one, other]) => one === other)({sizes}) && {SHOWN}.every((one, k) => one.at === k)")


def test_a_menu_says_which_state_or_gate_of_the_unit_colours_the_text(opened, model):
    text = "a bad\n"
    page = opened({"prompt": text, "write": 0, "unit": "1:5", "quantity": "f"})
    workspace = Workspace(model, 1, len(text), training=False)
    workspace.logits(model.vocabulary.encode(text)[:, None].astype(np.int32))

    def check(quantity, shown):
        steps = np.rint(20 * shown(workspace.states(quantity)[1, :, 0, 5]) + 0.0).astype(int)
        colours = [f"p{step}" if step > 0 else f"m{-step}" if step else "typed" for step in steps]
        found = f"{SHOWN}.map((one) => one.className.split(' ')[0] || 'typed')"
        page.wait(f"JSON.stringify({found}) === '{dumps(colours)}'")
        assert page.run("document.getElementById('quantity').value") == quantity

    check("f", lambda share: 2 * share - 1)
    assert words(page, "legend-minus") == "0"
    page.run("document.activeElement.blur()")
    page.press("q")
    check("g", lambda value: value)
    assert words(page, "legend-minus") == "\u22121"
    page.run("document.getElementById('quantity').value = 'c'")
    page.run("document.getElementById('quantity').dispatchEvent(new Event('change'))")
    check("c", lambda value: np.clip(value, -1, 1))
    page.press("]")
    page.wait("document.getElementById('pick').value === '1:6'")
    assert page.run("document.getElementById('quantity').value") == "c"
    page.click("document.getElementById('share')")
    page.wait("location.hash.includes('quantity=c')")


def item_page(tmp_path, task, special, labels=()):
    vocabulary = Vocabulary("chars", SYMBOLS, special=special, labels=labels)
    return write_page(tmp_path / f"{task}.html", make_model(vocabulary, task))


def test_models_of_items_have_their_labels_and_translations(opened, tmp_path):
    steer = opened({"label": "two", "length": 2}, item_page(tmp_path, "steer", ("START", "SEP", "END"), ("one", "two")))
    assert steer.run("document.getElementById('label').value") == "two" and len(text_of(steer)) > 0

    classify = opened({"prompt": "abc"}, item_page(tmp_path, "classify", ("START", "END"), ("one", "two")))
    assert text_of(classify) == "abc"
    classify.wait("document.querySelectorAll('#label-list li').length === 2")
    shares = "[...document.querySelectorAll('#label-list b')].map((one) => parseFloat(one.textContent))"
    before = classify.run(shares)
    assert sum(before) == pytest.approx(100, abs=1.5)
    classify.run("document.getElementById('box').focus()")
    classify.type("dad a bad")
    classify.wait(f"JSON.stringify({shares}) !== '{json.dumps(before).replace(' ', '')}'")
    assert not classify.run("document.getElementById('write').checkVisibility()")

    translate = opened({"prompt": "abc", "length": 9}, item_page(tmp_path, "translate", ("START", "SEP", "END")))
    assert text_of(translate).startswith("abc\u241f")


def test_bytes_make_characters(opened, tmp_path):
    vocabulary = Vocabulary("bytes", sorted({*b"abc \n", 0xC3, 0xA9, 0xA8}))
    page = opened({"prompt": "a\u00e9\u00e8", "write": 0}, write_page(tmp_path / "bytes.html", make_model(vocabulary)))
    assert text_of(page) == "a\u00e9\u00e8"
    page.run("document.getElementById('box').focus(), document.getElementById('box').setSelectionRange(2, 3)")
    page.type("\u00e9b")
    assert text_of(page) == "a\u00e9\u00e9b"
    page.wait("document.getElementById('status').textContent.startsWith('6 typed')")


def test_a_link_brings_the_state_back(opened):
    page = opened(
        {"prompt": "a bad\n", "seed": 12, "temperature": 0.5, "length": 60, "unit": "0:3", "hold": "0:1=-0.5"}
    )
    text = text_of(page)
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.run("document.getElementById('box').focus()")
    page.type("a")
    page.click("document.getElementById('back')")
    page.wait(f"document.getElementById('box').value === {json.dumps(text)}")
    page.click("document.getElementById('share')")
    page.wait("location.hash.includes('length=60')")
    state = dict(part.split("=") for part in page.run("location.hash")[1:].replace("%3D", "-").split("&"))
    assert state["seed"] == "12" and state["unit"] == "0%3A3"
    page.run("document.getElementById('clear').click()")
    page.wait("document.getElementById('box').value === ''")
    page.run("location.reload()")
    page.wait(
        f"document.readyState === 'complete' && {READY} && document.getElementById('box').value === {json.dumps(text)}"
    )


def test_a_hostile_title_does_not_run(opened, tmp_path, model):
    attack = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>"
    page = opened({"prompt": "a", "write": 0}, write_page(tmp_path / "hostile.html", model, title=attack))
    assert (
        page.run("document.title").startswith("</script>") and page.run("document.querySelectorAll('img').length") == 0
    )
