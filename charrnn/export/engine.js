"use strict";
// The engine of a living page: a model that runs, and the text that it reads and writes. No look, no DOM.
//
// It runs in a Web Worker made from this text, and under Node. One text is at hand: a list of entries, each an id that
// the model has read. Entry numbers count from 0 and are what every message means by a place in the text. What stands
// before the text (a newline that an unprimed text follows; START, a label and SEP of an item) is the engine's own
// affair and has no number. The model's state is always that after the last entry.
//
//   page:    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
//            worker.onmessage = ({ data }) => ...;  worker.postMessage({ type: "load", header, weights });
//   Node:    const engine = charrnnEngine((message) => ...);  engine.receive({ type: "load", header, weights });
//
// ---- to the engine. Each may have `request`, any value: the messages that answer it bear the same.
//
//   { type: "weights", text }               some of the weights, base64 of whole bytes, in their order: before "load"
//   { type: "load", header, weights }       once, before all that follows. header: the object of the page's header;
//                                           weights: base64, left out where "weights" has told them
//   { type: "settings", temperature, top_k, top_p, min_p, seed }
//                                           how characters are chosen from now on; what is left out stays. At first 1,
//                                           null (all), 1, 0 and 0. temperature 0 is greedy. seed: a number, or a string
//                                           of digits (up to 2^64 - 1). Answered by "next".
//   { type: "edit", keep, text }            the text becomes its first `keep` entries and then `text`, which is read.
//                                           Typing, deleting and pasting are all this. Ends a generation at once.
//   { type: "take", id }                    likewise: one more entry, of an id (one of the likeliest next, clicked)
//   { type: "begin", label }                an empty text; of a model that writes for a label, with that label
//   { type: "generate", count, rate, items }
//                                           write `count` entries more (left out: until told to stop), `rate` of them in
//                                           a second at most (left out or 0: as fast as it goes). Of a model of items it
//                                           ends with the item; `items`: so many items more, one after the other.
//                                           Of a model that translates: the text is the source, and its target follows.
//   { type: "stop" }                        end a generation; answered by its "done"
//   { type: "watch", layer, unit, quantity }
//                                           the unit whose values are told; quantity: one of header.quantities, left
//                                           out: the default one. Answered by "values" of the text so far.
//   { type: "hold", holds, from }           from now on hold just these units: [{ layer, unit, value, quantity }, ...],
//                                           [] holds none. quantity: one of header.holdable, left out: the default one.
//                                           from "now": the last entry is read again with them, so that "next" shows
//                                           what changes; what stands before it stays. from "start": the whole text is
//                                           read again, as `charrnn sample --clamp` would: "steps" from 0 on follow.
//   { type: "state", quantity }             answered by "state": every unit's value after the last entry
//
// ---- from the engine
//
//   { type: "ready", facts, milliseconds }  after "load". facts: { parameters, weights, arithmetic }; arithmetic:
//                                           "WebAssembly SIMD" or "JavaScript". "next" follows.
//   { type: "steps", at, of, ids, symbols, kinds, drawn, surprisal, values, guesses, chances }
//       entries from number `at` on: what was there from `at` on is gone, and these stand in its place, one of each
//       array for an entry (guesses and chances: `header.guesses` of them).
//       of          entries of the whole text now
//       ids         Int32Array
//       symbols     array of strings to show: a character; of a model of bytes "" until a character's last byte is in;
//                   of START, SEP and END their marks; of a label its name
//       kinds       Uint8Array: 0 a character, 1 START, 2 SEP, 3 END, 4 a label
//       drawn       Uint8Array: 1 where the engine wrote it, 0 where it was typed
//       surprisal   Float32Array, nats, of the entry after those before it, at temperature 1; NaN where nothing was
//                   predicted: the first entry that is typed, START, what the model never learned to predict
//       values      Float32Array, of the unit watched after it has read the entry; NaN where none is watched
//       guesses     Int32Array (n * G): the ids that were likeliest in the place of the entry, likeliest first
//       chances     Float32Array (n * G): their probabilities at temperature 1; -1 and 0 where nothing was predicted
//       A long edit or generation gives several, each of some milliseconds' work; with no entries (ids empty) the text
//       was only cut to `at`. Where a vocabulary rewrites its texts (lower case, normal forms), `at` may lie before
//       the `keep` that was asked for: an accent that is typed changes the letter before it.
//   { type: "next", at, ids, symbols, kinds, p, q, entropy, labels }
//       what would follow the text, entry number `at`: the likeliest, `header.guesses` of them. p at temperature 1, q as
//       the settings would draw it (0 where they leave it out); entropy in nats, of p. labels: of a model that
//       predicts labels [{ name, p }, ...], the likeliest first, as if the text ended here; else null. Sent after every
//       message that changes what follows, and while a generation runs after each of its "steps".
//   { type: "values", layer, unit, quantity, at, values }
//       Float32Array: of the unit now watched, of every entry from `at` on (0; more where a very long text's beginning
//       is no longer remembered)
//   { type: "state", quantity, layers, units, values }      Float32Array (L * H)
//   { type: "done", reason, at, seconds, count }
//       a generation is over: "count", "stopped", "end" (the item or the target ended), "edited"; count: entries
//       written. Exactly one for each "generate".
//   (Of a model of items, a character that is typed after an END begins an item: START and what goes with it are entries
//   then. `generate` likewise.)
//   { type: "left-out", symbols, count }    typed characters that the model does not know, and were not read
//   { type: "refused", problem }            a message that cannot be followed: a sentence; nothing has changed
//
// ---- the header (page.py writes it; export/payload.py makes it)
//
//   { format: 1, title, model_line, cell, cell_title, layers, units, vocab_size, embedding_size, tied, layer_norm,
//     zoneout, dtype, parameters,
//     vocabulary: { mode, symbols, special, labels, ... }   as in a checkpoint
//     shown        the symbol of every id as it is shown
//     task         null, "steer", "classify", "both" or "translate"; is_items: whether it is a model of items
//     quantities, sigmoids, default_quantity, holdable, default_hold  as in spec.py
//     guesses      how many likeliest ids are told
//     found        [{ name, phrase, layer, unit, quantity, score, measure, sign, null, untrained, off, on }, ...]: units
//                  that `charrnn cells` named, best first; off and on: their median where the signal is off and on
//     found_note   a sentence where there are none, else null
//     weights      { kind: "float32" | "float16" | "int8", loss_nats, full_loss_nats, cost_nats, characters, note }:
//                  what was measured on held-out text with these weights, and with all of their digits; null: not
//     run          { name, text, steps, minutes, date, command, validation_loss_nats }: facts of the run, null: not known
//     seed, temperature, prime                              what the page opens with
//     arrays       [{ name, shape, kind, at, scale_at }, ...] of the weights }

const SLICE_MS = 12; // of work between two looks at the messages
const SNAPSHOT_EVERY = 32, SNAPSHOTS_RECENT = 64; // entries after which the state is kept
const RECORD_BYTES = 160 * 2 ** 20, RECORD_BLOCK = 128; // of what every unit was: in all, and entries of a block
const GATE_LEVELS = 32767;

/** What cannot be done as it was asked for: a sentence. */
class Refusal extends Error {}

const now = () => performance.now();

/** Return a function that calls another soon, after the messages that wait. */
function makeLater() {
  if (typeof setImmediate !== "undefined") return (call) => setImmediate(call);
  const { port1, port2 } = new MessageChannel(), waiting = [];
  port1.onmessage = () => waiting.shift()();
  return (call) => { waiting.push(call); port2.postMessage(null); };
}

/** What every unit was after each entry: states as float32, gates as int16; of a very long text, of its last entries. */
class Records {
  constructor(network) {
    const { layers: L, units: H, rows } = network;
    this._network = network;
    this._states = network.hasC ? 2 * H : H;
    this._rows = rows;
    const bytes = L * (4 * this._states + 2 * rows);
    this._mayKeep = Math.max(2, Math.floor(RECORD_BYTES / bytes / RECORD_BLOCK));
    this._blocks = new Map();
    this.from = 0;
  }

  write(entry) {
    const network = this._network, number = Math.floor(entry / RECORD_BLOCK), L = network.layers, H = network.units;
    let block = this._blocks.get(number);
    if (!block) {
      block = {
        states: new Float32Array(RECORD_BLOCK * L * this._states), gates: new Int16Array(RECORD_BLOCK * L * this._rows),
      };
      this._blocks.set(number, block);
      while (this._blocks.size > this._mayKeep) {
        const first = Math.min(...this._blocks.keys());
        this._blocks.delete(first);
        this.from = (first + 1) * RECORD_BLOCK;
      }
    }
    for (let l = 0; l < L; l++) {
      const { h, c, gates } = network.layerOf(l), place = (entry % RECORD_BLOCK) * L + l;
      for (let u = 0, at = place * this._states; u < H; u++) block.states[at + u] = h[u];
      if (network.hasC) block.states.set(c, place * this._states + H);
      for (let g = 0, at = place * this._rows; g < this._rows; g++) block.gates[at + g] = Math.round(gates[g] * GATE_LEVELS);
    }
  }

  /** Forget entries from `count` on. */
  cut(count) {
    for (const number of this._blocks.keys()) if (number * RECORD_BLOCK >= count) this._blocks.delete(number);
    if (count <= this.from) this.from = 0;
  }

  /** Return a unit's quantity after entries [from, stop), Float32Array. */
  read(from, stop, layer, unit, quantity) {
    const values = new Float32Array(stop - from), { layers: L, units: H, blocks } = this._network;
    for (let entry = from; entry < stop; entry++) {
      const block = this._blocks.get(Math.floor(entry / RECORD_BLOCK));
      const place = (entry % RECORD_BLOCK) * L + layer;
      let value = NaN;
      if (block && quantity === "h") value = block.states[place * this._states + unit];
      else if (block && (quantity === "c" || quantity === "tanh-c")) {
        value = block.states[place * this._states + H + unit];
        if (quantity === "tanh-c") value = Math.tanh(value);
      } else if (block) value = block.gates[place * this._rows + blocks.indexOf(quantity) * H + unit] / GATE_LEVELS;
      values[entry - from] = value;
    }
    return values;
  }
}

class Engine {
  constructor(post) {
    this._post = post;
    this._later = makeLater();
    this._header = null;
    this._pieces = []; // of the weights, as bytes
  }

  receive(message) {
    this._request = message.request;
    try {
      const handle = { weights: 1, load: 1, settings: 1, edit: 1, take: 1, begin: 1, generate: 1, stop: 1, watch: 1, hold: 1, state: 1 };
      if (!handle[message.type]) throw new Refusal(`the engine knows no message ${message.type}`);
      if (!this._header && !["weights", "load"].includes(message.type)) throw new Refusal("the model is not loaded yet");
      this[message.type](message);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this._say("refused", { problem: error.message });
    }
  }

  _say(type, content = {}, transfer = [], request = this._request) {
    this._post(request === undefined ? { type, ...content } : { type, request, ...content }, transfer);
  }

  // ---- messages

  weights({ text }) {
    this._pieces.push(decodeBase64(text));
  }

  load({ header, weights, plain }) {
    const begun = now();
    if (header.format !== 1) throw new Refusal(`the page's model is of format ${header.format}, and this engine reads 1`);
    const network = new Network(header, weights === undefined ? joined(this._pieces) : decodeBase64(weights), plain);
    this._pieces = [];
    this._header = header;
    this._network = network;
    this._vocabulary = new Vocabulary(header);
    this._start = this._vocabulary.special("START");
    this._sep = this._vocabulary.special("SEP");
    this._end = this._vocabulary.special("END");
    this._settings = { ...ALL, temperature: header.temperature, seed: BigInt(header.seed) };
    this._watched = null;
    this._holds = [];
    this._label = header.task === "steer" ? 0 : null;
    this._ids = []; // of the entries; with, of each:
    this._origins = []; // null where it was typed, else { seed, stream, position } of its draw
    this._heldAt = []; // the holds that it was read with
    this._snapshots = new Map(); // entries read -> the state then
    this._records = new Records(network);
    this._waiting = []; // { id, origin }, still to be read
    this._job = null; // the generation that runs
    this._scheduled = false;
    this._out = null; // "steps" being collected
    this._rest();
    const facts = { parameters: header.parameters, weights: header.weights.kind, arithmetic: network.kind };
    this._say("ready", { facts, milliseconds: now() - begun });
    this._tellNext();
  }

  settings({ temperature, top_k: topK, top_p: topP, min_p: minP, seed }) {
    const changed = { ...this._settings };
    const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
    if (temperature !== undefined) {
      if (!isNumber(temperature) || temperature < 0) throw new Refusal("temperature must be 0 (greedy) or a positive number");
      changed.temperature = temperature;
    }
    if (topK !== undefined) {
      if (topK !== null && !(Number.isInteger(topK) && topK >= 1)) throw new Refusal("top-k must be at least 1");
      changed.top_k = topK;
    }
    if (topP !== undefined) {
      if (!isNumber(topP) || topP <= 0 || topP > 1) throw new Refusal("top-p must be above 0 and at most 1");
      changed.top_p = topP;
    }
    if (minP !== undefined) {
      if (!isNumber(minP) || minP < 0 || minP > 1) throw new Refusal("min-p must be between 0 and 1");
      changed.min_p = minP;
    }
    if (seed !== undefined) {
      const text = String(seed);
      if (!/^\d{1,20}$/.test(text) || BigInt(text) > MASK) throw new Refusal("the seed must be between 0 and 2^64 - 1");
      changed.seed = BigInt(text);
    }
    this._settings = changed;
    this._tellNext();
  }

  edit({ keep, text }) {
    this._endJob("edited");
    const known = [...this._ids, ...this._waiting.map(({ id }) => id)];
    const wanted = Math.max(0, Math.min(Number.isInteger(keep) ? keep : 0, known.length));
    const { kept, ids, leftOut } = this._vocabulary.encode(String(text ?? ""), known.slice(0, wanted));
    if (leftOut.length) this._say("left-out", { symbols: [...new Set(leftOut)].slice(0, 20), count: leftOut.length });
    this._replace(kept, ids);
  }

  take({ id }) {
    if (!Number.isInteger(id) || id < 0 || id >= this._vocabulary.size) {
      throw new Refusal(`an id must be 0 to ${this._vocabulary.size - 1}, got ${id}`);
    }
    this._endJob("edited");
    this._replace(this._ids.length + this._waiting.length, [id]);
  }

  begin({ label }) {
    if (this._header.task === "steer") {
      const number = this._vocabulary.labels.indexOf(label ?? this._vocabulary.labels[0]);
      if (number < 0) throw new Refusal(`the model has no label ${label}`);
      this._label = number;
    } else if (label !== undefined && label !== null) {
      throw new Refusal("the model writes for no label");
    }
    this._endJob("edited");
    this._replace(0, []);
  }

  generate({ count, rate, items }) {
    if (this._header.task === "classify") throw new Refusal("the model predicts labels, and writes no text of its own");
    if (count !== undefined && !(Number.isInteger(count) && count >= 1)) throw new Refusal("count must be at least 1");
    this._endJob("stopped");
    if (this._header.task === "translate" && this._isOver()) { // its target once more
      this._cut(this._ids.lastIndexOf(this._sep) + 1);
    }
    this._job = {
      request: this._request, left: count ?? Infinity, rate: rate > 0 ? rate : 0, items: items ?? 0,
      begun: now(), written: 0, isFirst: true,
    };
    this._pump();
  }

  stop() {
    this._endJob("stopped");
  }

  watch({ layer, unit, quantity }) {
    quantity ??= this._header.default_quantity;
    this._checkUnit(layer, unit);
    if (!this._header.quantities.includes(quantity)) {
      throw new Refusal(`a unit has ${this._header.quantities.join(", ")}, and no ${quantity}`);
    }
    this._watched = { layer, unit, quantity };
    const count = this._ids.length, at = Math.min(this._records.from, count);
    const values = this._records.read(at, count, layer, unit, quantity);
    this._say("values", { layer, unit, quantity, at, values }, [values.buffer]);
  }

  hold({ holds, from }) {
    const checked = [], held = new Set();
    for (const { layer, unit, value, quantity = this._header.default_hold } of holds) {
      this._checkUnit(layer, unit);
      if (!this._header.holdable.includes(quantity)) {
        throw new Refusal(`what can be held in a unit is ${this._header.holdable.join(" or ")}, not ${quantity}`);
      }
      if (!Number.isFinite(value)) throw new Refusal("a unit must be held at a finite number");
      if (quantity === "tanh-c" && Math.abs(value) > 1) throw new Refusal(`tanh(c) lies in -1..1, got ${value}`);
      if (held.has(`${layer}:${unit}`)) throw new Refusal("a unit can be held at one value only");
      held.add(`${layer}:${unit}`);
      checked.push({ layer, unit, value, quantity });
    }
    this._holds = checked;
    const count = this._ids.length;
    if (count === 0) {
      this._rest();
      if (!this._waiting.length) this._tellNext();
      return;
    }
    const keep = from === "start" ? 0 : count - 1;
    const again = this._ids.slice(keep).map((id, k) => ({ id, origin: this._origins[keep + k] }));
    const base = this._base;
    this._cut(keep);
    if (keep === 0) this._stand(base);
    this._waiting = [...again, ...this._waiting];
    this._feedRequest = this._request;
    this._pump();
  }

  state({ quantity = this._header.default_quantity }) {
    if (!this._header.quantities.includes(quantity)) throw new Refusal(`a unit has no ${quantity}`);
    const { layers, units } = this._header, values = new Float32Array(layers * units);
    for (let k = 0; k < values.length; k++) values[k] = this._network.valueOf(Math.floor(k / units), k % units, quantity);
    this._say("state", { quantity, layers, units, values }, [values.buffer]);
  }

  _checkUnit(layer, unit) {
    const { layers, units } = this._header;
    const isOne = Number.isInteger(layer) && Number.isInteger(unit) && layer >= 0 && layer < layers && unit >= 0 && unit < units;
    if (!isOne) throw new Refusal(`the units of this model are 0:0 to ${layers - 1}:${units - 1}, got ${layer}:${unit}`);
  }

  // ---- what stands before the text. "start": what an unprimed text follows (sampling/priming.py); "zero": nothing

  /** Be where an empty text is. */
  _rest() {
    this._stand("start");
  }

  _stand(base) {
    const network = this._network;
    this._base = base;
    network.holds = this._holds;
    network.reset();
    this._prediction = "none";
    if (base === "zero") return;
    const head = this._head();
    for (const id of head) network.step(id);
    this._prediction = head.length ? "model" : "uniform";
    this._checkFinite();
  }

  /** Return the ids that an unprimed text follows. */
  _head() {
    if (this._start >= 0) {
      return this._label === null ? [this._start] : [this._start, this._vocabulary.firstLabel + this._label, this._sep];
    }
    return this._vocabulary.encode("\n", []).ids;
  }

  // ---- the text

  /** Let the text be its first `keep` entries, of those read and those waiting, and then these ids. */
  _replace(keep, ids) {
    const read = this._ids.length;
    let told = false;
    if (keep < read) {
      this._cut(keep);
      told = true;
    }
    this._waiting.length = Math.max(0, keep - read);
    if (ids.length && this._start >= 0 && keep > 0 && this._isOverAfter(keep)) { // another item
      this._waiting.push(...this._head().map((id) => ({ id, origin: null })));
    }
    for (const id of ids) this._waiting.push({ id, origin: null });
    if (this._ids.length === 0 && this._waiting.length && this._start < 0) this._stand("zero");
    else if (this._ids.length === 0) this._rest();
    if (!this._waiting.length && (told || read === 0 || !ids.length)) {
      this._collect();
      this._flush();
      this._tellNext();
    }
    this._feedRequest = this._request;
    this._pump();
  }

  _idAt(place) {
    return place < this._ids.length ? this._ids[place] : this._waiting[place - this._ids.length].id;
  }

  /** Tell whether an item has ended with the first `count` entries. */
  _isOverAfter(count) {
    if (this._start < 0 || count === 0) return false;
    const last = this._idAt(count - 1);
    return last === this._end || last >= this._vocabulary.firstLabel && count > 1 && this._idAt(count - 2) === this._end;
  }

  _isOver() {
    return this._isOverAfter(this._ids.length);
  }

  /** Forget the entries from `count` on, and be where the text then ends. */
  _cut(count) {
    const network = this._network;
    this._flush();
    this._ids.length = this._origins.length = this._heldAt.length = count;
    for (const place of this._snapshots.keys()) if (place > count) this._snapshots.delete(place);
    this._records.cut(count);
    if (count === 0) {
      this._rest();
      return;
    }
    let from = count - 1; // the last step is taken again: it makes the logits
    while (from > 0 && !this._snapshots.has(from)) from--;
    if (from > 0) network.restore(this._snapshots.get(from));
    else this._stand(this._base);
    for (let k = from; k < count; k++) this._step(this._ids[k], this._heldAt[k], k === count - 1);
    this._prediction = this._isSilent() ? "none" : "model";
  }

  _step(id, holds, withLogits = true) {
    const network = this._network;
    network.holds = holds;
    if (id === this._start) network.reset();
    network.step(id, withLogits);
  }

  _checkFinite() {
    for (const logit of this._network.logits) {
      if (!Number.isFinite(logit)) throw new Refusal("the model's output is not a finite number: its weights are damaged");
    }
  }

  /** Tell whether nothing is predicted after the text: an item is over. */
  _isSilent() {
    const last = this._ids[this._ids.length - 1];
    return this._isOver() && !(last === this._end && ["both", "classify"].includes(this._header.task));
  }

  /** Tell whether the model has learned to predict an id that comes next (text/tasks.py). */
  _counts(id) {
    const { task } = this._header;
    if (this._prediction === "none" || id === this._start && this._start >= 0) return false;
    if (task === "classify") return id >= this._vocabulary.firstLabel;
    if (task !== "steer" && task !== "translate") return true;
    return id !== this._sep && this._isAfterSep();
  }

  _isAfterSep() {
    if (this._header.task === "steer") {
      const start = this._ids.lastIndexOf(this._start);
      return start < 0 || this._ids.length - start > 2;
    }
    return this._ids.lastIndexOf(this._sep) > this._ids.lastIndexOf(this._start);
  }

  /** Read one more entry, and collect what is to be told of it. */
  _read(id, origin) {
    const network = this._network, out = this._collect(), G = this._header.guesses;
    let surprisal = NaN, best = [], p = null;
    if (this._counts(id)) {
      if (this._prediction === "uniform") surprisal = Math.log(network.logits.length);
      else {
        const found = probabilities(network.logits);
        p = found.p;
        surprisal = found.logSum - network.logits[id];
        best = likeliest(p, G);
      }
    }
    this._step(id, this._holds);
    this._checkFinite();
    const symbol = this._vocabulary.symbol(id, this._ids.slice(-3));
    this._ids.push(id);
    this._origins.push(origin);
    this._heldAt.push(this._holds);
    const count = this._ids.length;
    this._records.write(count - 1);
    this._snapshots.set(count, network.save());
    const old = count - SNAPSHOTS_RECENT;
    if (old % SNAPSHOT_EVERY) this._snapshots.delete(old);
    this._prediction = this._isSilent() ? "none" : "model";
    out.ids.push(id);
    out.symbols.push(symbol);
    out.kinds.push(this._vocabulary.kind(id));
    out.drawn.push(origin ? 1 : 0);
    out.surprisal.push(surprisal);
    const watched = this._watched;
    out.values.push(watched ? network.valueOf(watched.layer, watched.unit, watched.quantity) : NaN);
    for (let k = 0; k < G; k++) {
      out.guesses.push(k < best.length ? best[k] : -1);
      out.chances.push(k < best.length ? p[best[k]] : 0);
    }
  }

  _collect() {
    this._out ||= {
      at: this._ids.length, ids: [], symbols: [], kinds: [], drawn: [], surprisal: [], values: [], guesses: [], chances: [],
    };
    return this._out;
  }

  /** Tell what was collected. */
  _flush(request = this._request) {
    const out = this._out;
    if (!out) return;
    this._out = null;
    const arrays = {
      ids: Int32Array.from(out.ids), kinds: Uint8Array.from(out.kinds), drawn: Uint8Array.from(out.drawn),
      surprisal: Float32Array.from(out.surprisal), values: Float32Array.from(out.values),
      guesses: Int32Array.from(out.guesses), chances: Float32Array.from(out.chances),
    };
    const transfer = Object.values(arrays).map(({ buffer }) => buffer);
    this._say("steps", { at: out.at, of: this._ids.length, symbols: out.symbols, ...arrays }, transfer, request);
  }

  // ---- work, in slices

  _schedule(milliseconds = 0) {
    if (this._scheduled) return;
    this._scheduled = true;
    const call = () => { this._scheduled = false; this._pump(); };
    if (milliseconds > 1) setTimeout(call, milliseconds);
    else this._later(call);
  }

  /** Read what waits, and write what is asked for, for some milliseconds. */
  _pump() {
    const until = now() + SLICE_MS, hadWaiting = this._waiting.length > 0;
    let read = 0, pause = 0;
    try {
      while (read < this._waiting.length && now() < until) {
        const { id, origin } = this._waiting[read++];
        this._read(id, origin);
      }
      this._waiting.splice(0, read);
      if (read) {
        this._flush(this._feedRequest);
      }
      const job = this._job;
      const wrote = job && !this._waiting.length;
      while (wrote && this._job === job && now() < until) {
        if (job.rate) {
          pause = job.begun + job.written * 1000 / job.rate - now();
          if (pause > 0) break;
        }
        this._writeOne(job);
      }
      if (wrote) this._flush(job.request);
      if ((wrote || hadWaiting) && !this._waiting.length) this._tellNext(wrote ? job.request : this._feedRequest);
      if (job && job.over) this._sayDone(job);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this._waiting = [];
      this._endJob("stopped");
      this._say("refused", { problem: error.message });
      return;
    }
    if (this._waiting.length || this._job) this._schedule(pause);
  }

  /** Write one entry of a generation, or end it. */
  _writeOne(job) {
    if (this._isOver()) {
      if (!job.isFirst && job.items <= 0) {
        this._finish(job, "end");
        return;
      }
      if (!job.isFirst) job.items--;
      this._beginItem();
    }
    job.isFirst = false;
    if (this._header.task === "translate" && !this._isAfterSep()) {
      this._read(this._sep, this._originAfter(-1));
    }
    const last = this._origins[this._origins.length - 1], { seed } = this._settings;
    const goesOn = last && last.seed === seed;
    const stream = goesOn ? last.stream : 0, position = goesOn ? last.position + 1 : 0;
    const draw = uniform(streamKey(seed, stream), position), { logits } = this._network;
    const isUniform = this._prediction === "uniform"; // nothing was read, so the filters have nothing to filter
    const settings = isUniform && this._settings.temperature > 0 ? ALL : this._settings;
    const id = choose(isUniform ? new Float64Array(logits.length) : logits, settings, draw);
    this._read(id, { seed, stream, position });
    job.written++;
    if (id === this._end && this._end >= 0 && job.items <= 0) this._finish(job, "end");
    else if (--job.left <= 0) this._finish(job, "count");
  }

  _originAfter(position, stream = 0) {
    return { seed: this._settings.seed, stream, position };
  }

  /** Begin an item after one that is over: what was typed at the beginning of that one comes again. */
  _beginItem() {
    const first = this._ids.lastIndexOf(this._start) + 1; // 0 where the START stands before the text
    const skip = first === 0 ? 0 : first + this._head().length - 1;
    let stop = skip;
    while (stop < this._ids.length && !this._origins[stop] && this._vocabulary.kind(this._ids[stop]) === KINDS.character) stop++;
    // What a former item was begun with came again in it, and was not typed there.
    while (stop < this._ids.length && this._origins[stop] && this._origins[stop].position === -1) stop++;
    const prime = this._ids.slice(skip, stop);
    const last = this._origins.findLast((origin) => origin);
    const stream = last && last.seed === this._settings.seed ? last.stream + 1 : 0;
    for (const id of [...this._head(), ...prime]) this._read(id, this._originAfter(-1, stream));
  }

  /** A generation is over; it is said when what it wrote has been told. */
  _finish(job, reason) {
    job.over = { reason, at: this._ids.length, seconds: (now() - job.begun) / 1000, count: job.written };
    this._job = null;
  }

  _sayDone(job) {
    this._say("done", job.over, [], job.request);
  }

  _endJob(reason) {
    const job = this._job;
    if (!job) return;
    this._finish(job, reason);
    this._flush(job.request);
    this._sayDone(job);
  }

  // ---- what comes next

  _tellNext(request = this._request) {
    const at = this._ids.length, { logits } = this._network, V = logits.length, G = this._header.guesses;
    let ids = [], p = new Float64Array(0), q = p, entropy = 0;
    if (this._prediction === "uniform") {
      p = q = new Float64Array(V).fill(1 / V);
      ids = likeliest(p, G);
    } else if (this._prediction === "model" && this._header.task !== "classify") {
      p = probabilities(logits).p;
      q = weigh(logits, this._settings);
      let total = 0;
      for (const weight of q) total += weight;
      for (let j = 0; j < V; j++) q[j] /= total;
      ids = likeliest(p, G);
    }
    for (const each of p) if (each > 0) entropy -= each * Math.log(each);
    const content = {
      at, ids: Int32Array.from(ids), symbols: ids.map((id) => this._vocabulary.shown(id)),
      kinds: Uint8Array.from(ids, (id) => this._vocabulary.kind(id)), p: Float32Array.from(ids, (id) => p[id]),
      q: Float32Array.from(ids, (id) => q[id]), entropy, labels: this._labels(),
    };
    this._say("next", content, [content.ids.buffer, content.kinds.buffer, content.p.buffer, content.q.buffer], request);
  }

  /** Return how likely each label is if the text ends here, the likeliest first; null of a model that tells none. */
  _labels() {
    const { task } = this._header, network = this._network, { firstLabel, labels } = this._vocabulary;
    if (task !== "classify" && task !== "both") return null;
    const last = this._ids.length ? this._ids[this._ids.length - 1] : -1;
    if (last >= firstLabel) return null;
    let logits = network.logits;
    if (last !== this._end) {
      const state = network.save(), before = logits.slice(), layers = this._header.layers;
      const gates = Array.from({ length: layers }, (_, l) => network.layerOf(l).gates.slice());
      this._step(this._end, this._holds);
      logits = network.logits.slice();
      network.restore(state);
      network.logits.set(before);
      gates.forEach((of, l) => network.layerOf(l).gates.set(of));
    }
    const { p } = probabilities(logits.slice(firstLabel));
    return labels.map((name, k) => ({ name, p: p[k] })).sort((a, b) => b.p - a.p);
  }
}

/** Make an engine. post(message, transfer) tells what it has to say; returns { receive(message) }. */
function charrnnEngine(post) {
  const engine = new Engine(post);
  return { receive: (message) => engine.receive(message) };
}

if (typeof WorkerGlobalScope !== "undefined" && typeof self !== "undefined" && self instanceof WorkerGlobalScope) {
  const engine = charrnnEngine((message, transfer) => self.postMessage(message, transfer || []));
  self.onmessage = ({ data }) => engine.receive(data);
} else if (typeof module !== "undefined") {
  module.exports = { charrnnEngine, Network, Heap, choose, weigh, uniform, streamKey, splitmix64, decodeBase64 };
}
