"""The page as a file: its structure, its escaping, its streams and its size. tests/test_page_browser.py opens it."""

import base64
import hashlib
import html
import json
import math
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from charrnn.errors import ConfigError, StorageError
from charrnn.render.page import BUDGET_BYTES, LEVELS, FoundUnit, PageData, Sheet, write_page
from charrnn.render.streams import encode_stream

ATTACK = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>&lt;<!-- {{script}} \u2028\ud800"


def page_data(text="ab\n<c>\t&", layers=2, units=3, rng=None, **changes):
    rng = rng or np.random.default_rng(0)
    N = len(text)
    vocabulary = sorted(set(text))
    fields = {
        "text": list(text),
        "vocabulary": vocabulary,
        "layers": layers,
        "units": units,
        "quantity": "tanh(c)",
        "values": rng.uniform(-1, 1, (layers * units, N)),
        "guesses_ids": rng.integers(0, len(vocabulary), (N, 5)),
        "guesses_p": np.sort(rng.dirichlet(np.ones(5), N))[:, ::-1],
        "surprisal_bits": np.r_[math.nan, rng.exponential(2, N - 1)],
        "gates": {"forget": rng.dirichlet(np.ones(3), (layers, units))[..., :2]},
        "title": "A text",
        "model_line": "LSTM, 2 x 3",
        "found": [FoundUnit("quotes", "inside quotation marks", 1, 2, 0.9, 0.1, 0.95, "AUC", -1)],
    }
    return PageData(**{**fields, **changes})


class Parsed(HTMLParser):
    """What an HTML parser makes of a page.

    Its tags, and the text of each element that has an id, or is a script or a style.
    """

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self._open = attributes.get("id") or tag

    def handle_data(self, data):
        if self._open:
            self.texts[self._open] = self.texts.get(self._open, "") + data

    def handle_endtag(self, tag):
        self._open = None


def written(tmp_path, data):
    write_page(tmp_path / "page.html", data)
    return (tmp_path / "page.html").read_bytes().decode("ascii")


def decoded(line):
    """Return the bytes of a stream: base 85 by the standard library, then inflate."""
    return zlib.decompress(base64.b85decode(line.replace(",", "<").replace(".", "&")))


def test_every_number_comes_back_from_the_page(tmp_path):
    data = page_data()
    parsed = Parsed(written(tmp_path, data))
    small = json.loads(parsed.texts["data"])
    streams = parsed.texts["streams"].strip().split("\n")
    N, U = len(data.text), 6
    assert len(streams) == 3 + U
    surprisal = np.frombuffer(decoded(streams[0]), "<f4")
    np.testing.assert_array_equal(surprisal, data.surprisal_bits.astype(np.float32))
    np.testing.assert_array_equal(np.frombuffer(decoded(streams[1]), "<u4").reshape(N, 5), data.guesses_ids)
    np.testing.assert_allclose(
        np.frombuffer(decoded(streams[2]), "<u2").reshape(N, 5) / 65535, data.guesses_p, atol=1e-5
    )
    levels = np.stack([np.frombuffer(decoded(line), np.uint8) for line in streams[3:]])
    assert levels.shape == (U, N) and small["levels"] == LEVELS[0] and small["step"] == pytest.approx(0.01)
    np.testing.assert_allclose(levels / 100 - 1, data.values, atol=0.005 + 1e-12)
    assert small["text"] == data.text and small["vocabulary"] == data.vocabulary
    assert (small["layers"], small["units"], small["quantity"]) == (2, 3, "tanh(c)")
    np.testing.assert_allclose(small["gates"]["forget"], data.gates["forget"], atol=1e-4)
    assert small["found"] == [
        {
            "signal": "quotes",
            "description": "inside quotation marks",
            "layer": 1,
            "unit": 2,
            "score": 0.9,
            "null": 0.1,
            "probe": 0.95,
            "kind": "AUC",
            "sign": -1,
        }
    ]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1000, 1001])
def test_base_85_is_the_standard_librarys_but_for_two_letters(size):
    data = np.random.default_rng(size).bytes(size)
    assert decoded(encode_stream(data).decode()) == data


def test_values_are_clipped_and_what_is_no_number_is_zero(tmp_path):
    values = np.zeros((6, 8))
    values[0] = [3, -3, math.inf, -math.inf, math.nan, 0, 1, -1]
    streams = Parsed(written(tmp_path, page_data(values=values))).texts["streams"].strip().split("\n")
    assert list(decoded(streams[3])) == [200, 0, 200, 0, 100, 100, 200, 0]


def test_the_scale_asked_for_comes_first(tmp_path):
    for scale, place in (("red-blue", 0), ("orange-blue", 1)):
        data = json.loads(Parsed(written(tmp_path, page_data(scale=scale))).texts["data"])
        assert data["first_scale"] == place and data["scales"][place]["name"] == scale


def test_scores_that_are_not_known_are_null(tmp_path):
    found = [FoundUnit("s", "d", 0, 0, math.nan), FoundUnit("s", "d", 0, 1, np.float32(0.5), None, math.inf)]
    small = json.loads(Parsed(written(tmp_path, page_data(found=found))).texts["data"])
    assert [(one["score"], one["null"], one["probe"]) for one in small["found"]] == [
        (None, None, None),
        (0.5, None, None),
    ]


def test_a_hostile_text_adds_no_tag(tmp_path):
    tame = Parsed(written(tmp_path, page_data()))
    page = written(
        tmp_path,
        page_data(
            text=ATTACK,
            vocabulary=[ATTACK, "a"],
            guesses_ids=np.zeros((len(ATTACK), 5), int),
            quantity=ATTACK,
            title=ATTACK,
            model_line=ATTACK,
            gates={ATTACK: np.zeros((2, 3, 2))},
            found=[FoundUnit(ATTACK, ATTACK, 0, 0, 0.5, kind=ATTACK)],
        ),
    )
    hostile = Parsed(page)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in tame.tags]
    assert "".join(json.loads(hostile.texts["data"])["text"]) == ATTACK
    assert hostile.texts["script"] == tame.texts["script"]
    assert html.unescape(re.search("<title>(.*?)</title>", page, re.S).group(1)).startswith("</script><script>")


def test_the_policy_allows_this_script_and_style_and_nothing_else(tmp_path):
    parsed = Parsed(written(tmp_path, page_data()))
    policy = next(
        attributes["content"]
        for tag, attributes in parsed.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parsed.texts[kind].encode()).digest()).decode()
        assert directives[f"{kind}-src"] == f"'sha256-{digest}'"
    assert set(directives) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    page = written(tmp_path, page_data())
    assert not re.search(r"(src|href)=\"(?!data:,)", page)
    assert not re.search(
        r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|\bimport\(|innerHTML|insertAdjacentHTML|document\.write|\beval\b",
        page,
    )
    assert not re.search(r"\son\w+=\"", page)
    addresses = set(re.findall(r"https?://[^\s\"']+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_every_id_that_the_script_asks_for_is_on_the_page(tmp_path):
    parsed = Parsed(written(tmp_path, page_data()))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", parsed.texts["script"])) <= set(ids)
    for _, attributes in parsed.tags:
        for name in ("aria-controls", "aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids


def recording(rng, units, N, noise):
    """Return values like a trained network's: each unit drifts between saturated states, with some noise on top."""
    states = np.cumsum(rng.random((units, N)) < 0.05, axis=1)
    heights = rng.uniform(-1.5, 1.5, (units, states.max() + 1))
    return np.tanh(2 * np.take_along_axis(heights, states, 1) + noise * rng.standard_normal((units, N)))


@pytest.mark.slow
@pytest.mark.parametrize("noise, levels", [(0.0, 201), (0.3, None), (30.0, None), (None, LEVELS[-1])])
def test_20000_characters_by_1024_units_keep_under_12_mb(tmp_path, monkeypatch, noise, levels):
    # A quarter of the units, with a quarter of the budget: the streams are a line a unit, their sizes add up.
    rng, units, N = np.random.default_rng(1), 256, 20000
    text = "".join(rng.choice(list("etaoin shrdlu\n"), N))
    values = rng.uniform(-1, 1, (units, N)) if noise is None else recording(rng, units, N, noise)
    data = page_data(text, 1, units, rng, values=values.astype(np.float32), found=[], gates={})
    monkeypatch.setattr("charrnn.render.page.BUDGET_BYTES", BUDGET_BYTES // 4)
    shown = written(tmp_path, data)
    of_units = sum(map(len, shown.split('id="streams">')[1].split("</script>")[0].split()[3:]))
    assert len(shown) + 3 * of_units < 12_000_000
    chosen = int(re.search(r'"levels":(\d+)', shown).group(1))
    assert chosen in LEVELS and levels in (None, chosen)


def test_fewer_levels_are_the_nearest_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.render.page.BUDGET_BYTES", 1)
    data = page_data()
    parsed = Parsed(written(tmp_path, data))
    assert json.loads(parsed.texts["data"])["levels"] == 9
    levels = np.stack(
        [np.frombuffer(decoded(line), np.uint8) for line in parsed.texts["streams"].strip().split("\n")[3:]]
    )
    np.testing.assert_allclose(levels / 4 - 1, data.values, atol=0.125)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"values": np.zeros((6, 7))}, "values of a page must have shape (6, 8), got (6, 7)"),
        ({"guesses_ids": np.zeros((8, 4))}, "guesses_ids of a page must have shape (8, 5)"),
        ({"guesses_p": np.zeros((5, 8))}, "guesses_p of a page must have shape (8, 5)"),
        ({"surprisal_bits": np.zeros(7)}, "surprisal_bits of a page must have shape (8,)"),
        ({"gates": {"forget": np.zeros((3, 2, 2))}}, "gate 'forget' of a page must have shape (2, 3, 2)"),
        ({"found": [FoundUnit("s", "d", 2, 0, 0.5)]}, "a unit found must be in 0:0..1:2, got 2:0"),
        ({"text": []}, "a page needs a text"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        write_page(
            tmp_path / "page.html",
            page_data(**{"text": "ab\n<c>\t&", **changes})
            if "text" not in changes
            else PageData(**{**page_data().__dict__, **changes}),
        )
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")
    with pytest.raises(StorageError):
        write_page(tmp_path / "none" / "page.html", page_data())

    def fail(*_):
        raise ValueError

    monkeypatch.setattr("charrnn.render.streams._base85", fail)
    with pytest.raises(ValueError):
        write_page(tmp_path / "page.html", page_data())
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"] and (tmp_path / "page.html").read_text() == "old"


def test_a_page_of_surprisals_carries_its_tables_escaped(tmp_path):
    page = written(tmp_path, page_data(most_bits=8, sheets=[Sheet(ATTACK, "note", ["", "n"], [[ATTACK, "1"]], [0.5])]))
    data = json.loads(Parsed(page).texts["data"])
    assert data["most_bits"] == 8
    assert data["sheets"] == [
        {"title": ATTACK, "note": "note", "columns": ["", "n"], "rows": [[ATTACK, "1"]], "bars": [0.5]}
    ]
    assert ATTACK not in page
