"""Measure a page that `charrnn export --html` wrote: its size, its speed in Node and in Chromium, and how it agrees.

    charrnn export RUN --html page.html
    python benchmarks/living_page.py page.html RUN

Prints characters a second, with WebAssembly and without, the largest difference of a logit from charrnn's own over 200
characters, how long a text stays the one that `charrnn sample` writes with the same seed, and, where there is a
Chromium, when the first character was drawn after opening, and how long the page's own thread was busy at most.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from chromium import Chromium, find_chromium
from node import run_engine

from charrnn import load
from charrnn.export.page import weights_in
from charrnn.model.workspace import Workspace
from charrnn.sampling.sampler import Sampler

CHARACTERS, SEEDS, LENGTH = 3000, 20, 4000
OPENINGS, LONG = 7, 10_000

IN_NODE = """const { header, weights, ids, seeds, characters, length } = input;
const found = { speed: [], texts: [], load: [] };
for (const plain of [false, true]) {
  const { heard, tell } = driver();
  tell({ type: "load", header, weights, plain });
  found.load.push(heard[0].milliseconds);
  await tell({ type: "generate", count: 300 }, "done");
  const { seconds } = await tell({ type: "generate", count: characters }, "done");
  found.speed.push(characters / seconds);
}
for (let seed = 0; seed < seeds; seed++) {
  const { heard, tell } = driver();
  tell({ type: "load", header, weights });
  tell({ type: "settings", seed });
  await tell({ type: "generate", count: length }, "done");
  found.texts.push(textOf(heard).ids);
}
const network = new Network(header, decodeBase64(weights));
found.logits = ids.map((id) => { network.step(id); return network.logits.slice(); });
say(found);"""

FIRST = "Number(document.documentElement.dataset.first || 0)"
WATCH = """longest = []; new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longest.push(duration);
}).observe({ type: "longtask", buffered: true })"""
WRITTEN = (
    "document.documentElement.dataset.writing === 'no' && document.querySelectorAll('#text .block span[class]').length"
)


def first_characters(browser, page, count):
    """Open a page in so many tabs, one after the other; return when each drew its first character, ms."""
    found = []
    for _ in range(count):
        opened = browser.open(page, fragment="#seed=1&length=200&speed=5")
        opened.wait(FIRST)
        found.append(opened.run(FIRST))
        opened.call("Page.close")
    return found


def in_chromium(page):
    """Print when the first character is drawn, and the longest tasks of the page's own thread."""
    fresh = []
    for _ in range(OPENINGS):
        with Chromium() as browser:
            fresh += first_characters(browser, page, 1)
    with Chromium() as browser:
        first_characters(browser, page, 1)
        again = first_characters(browser, page, OPENINGS)
        opened = browser.open(page, fragment=f"#seed=1&length={LONG}&speed=5")
        opened.run(WATCH)
        while not opened.run(f"{WRITTEN} >= {LONG}"):
            time.sleep(0.5)
        speed = opened.run("document.getElementById('status').textContent")
        print(
            f"Chromium: first character drawn {np.median(again):.0f} ms after opening ({min(again)} to {max(again)}),"
        )
        print(f"in a new browser {np.median(fresh):.0f} ms ({min(fresh)} to {max(fresh)}); {speed}")
        print(f"tasks above 50 ms while it wrote {LONG:,} characters: {tasks(opened)}")
        for width in (800, 1280, 375, 1280):
            opened.resize(width, 800)
            time.sleep(3)
            print(f"at a width of {width} px: {tasks(opened)}")


def tasks(opened):
    """Return the long tasks since the last look at them, in words."""
    found = opened.run("longest.splice(0)")
    return f"{len(found)}, the longest {max(found):.0f} ms" if found else "none"


def main(page, run):
    text = Path(page).read_text(encoding="ascii")
    header = json.loads(re.search(r'<script[^>]*id="header"[^>]*>(.*?)</script>', text, re.S)[1])
    weights = weights_in(text)
    model = load(run)
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary.symbols), 200)
    prose = model.vocabulary.encode("\n")
    with tempfile.TemporaryDirectory() as folder:
        found = run_engine(
            Path(folder),
            IN_NODE,
            {
                "header": header,
                "weights": weights,
                "ids": ids.tolist(),
                "seeds": SEEDS,
                "characters": CHARACTERS,
                "length": LENGTH,
            },
        )
    logits = Workspace(model, 1, 200, training=False).logits(ids[:, None].astype(np.int32))[:, 0]
    same = []
    for seed, of_page in enumerate(found["texts"]):
        sampler = Sampler(model, seed=seed)
        sampler.prime(prose)
        own = np.concatenate([block.ids[0] for block in sampler.generate(LENGTH)])
        apart = np.flatnonzero(own != of_page)
        same.append(int(apart[0]) if len(apart) else LENGTH)
    print(f"{page}: {len(text) / 1e6:.2f} MB, weights {header['weights']}")
    print(
        f"Node: loaded in {found['load'][0]:.0f} ms, {found['speed'][0]:,.0f} characters/s; plain JavaScript", end=" "
    )
    print(f"{found['load'][1]:.0f} ms, {found['speed'][1]:,.0f}")
    print(f"largest difference of a logit over 200 characters: {np.abs(np.array(found['logits']) - logits).max():.1e}")
    print(
        f"the same text as charrnn sample: {sum(one == LENGTH for one in same)} of {SEEDS} seeds over {LENGTH:,} "
        f"characters; median {int(np.median(same)):,}, least {min(same):,}"
    )
    if find_chromium():
        in_chromium(page)


if __name__ == "__main__":
    main(*sys.argv[1:])
