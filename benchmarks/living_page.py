"""Measure a page that `charrnn export --html` wrote: its size, its speed in Node and in Chromium, and how it agrees.

    charrnn export RUN --html page.html
    python benchmarks/living_page.py page.html RUN

Prints characters a second, with WebAssembly and without, the largest difference of a logit from charrnn's own over 200
characters, how long a text stays the one that `charrnn sample` writes with the same seed, and, where there is a
Chromium, when the first character was there after opening, and how many are written a second.
"""

import json
import re
import sys
import tempfile
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

IN_CHROMIUM = """new Promise((done) => {
  const text = (id) => document.getElementById(id).textContent;
  const worker = new Worker(URL.createObjectURL(new Blob([text("engine")], { type: "text/javascript" })));
  const begun = performance.now(), found = {}, speeds = [];
  worker.onmessage = ({ data }) => {
    if (data.type === "ready") {
      found.ready = performance.now() - begun;
      worker.postMessage({ type: "generate", count: 1 });
    }
    if (data.type === "steps") found.first ||= performance.now() - begun;
    if (data.type !== "done") return;
    speeds.push(data.count / data.seconds);
    if (speeds.length < 4) worker.postMessage({ type: "generate", count: 3000 });
    else done({ ...found, speed: Math.max(...speeds.slice(1)) });
  };
  const pieces = document.querySelectorAll(".weights");
  for (const { textContent } of pieces) worker.postMessage({ type: "weights", text: textContent });
  worker.postMessage({ type: "load", header: JSON.parse(text("header")) });
})"""


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
        with Chromium() as browser:
            opened = browser.open(page)
            opened.wait("document.documentElement.dataset.ready === 'yes'")
            loaded = opened.run("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart")
            there = opened.run(IN_CHROMIUM)
        print(
            f"Chromium: page parsed {loaded:.0f} ms after opening, engine ready {there['ready']:.0f} ms and first "
            f"character {there['first']:.0f} ms after that, {there['speed']:,.0f} characters/s"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
