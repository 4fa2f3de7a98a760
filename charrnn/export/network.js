"use strict";
// A model's arithmetic: weights out of the page's bytes, and one time step at a time.
//
// Weights are kept as float32, sums and states as float64, which is what JavaScript computes in: the only rounding that
// a step has beside charrnn's own is that of the weights.
//
//     H  units of a layer    L  layers    V  vocabulary size    D  inputs of a layer
//     rows of a matrix are its outputs, as in PyTorch: the blocks of a cell one after the other, H rows each

const EPSILON = 1e-5; // of layer normalisation, kernels/layernorm.py's
const MAX_TANH = 1 - 2 ** -20; // of a unit that is held, model/clamps.py's
const CACHED_INPUTS = 32 * 2 ** 20; // bytes of input sums that are kept, of characters already read

function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Return one Uint8Array of several, end to end. */
function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) { whole.set(piece, at); at += piece.length; }
  return whole;
}

/**
 * Return one of the header's arrays, Float32Array; of float16 it holds until the next one is unpacked.
 *
 * bytes    all weights: a Uint8Array, little-endian, each array at a multiple of 4
 */
function unpackArray({ shape, kind, at, scale_at }, bytes, heap) {
  const size = shape.reduce((product, each) => product * each, 1), start = bytes.byteOffset + at;
  if (kind === "float32") return new Float32Array(bytes.buffer, start, size);
  if (kind === "float16") return heap.widened(bytes.subarray(at, at + 2 * size));
  const values = new Float32Array(size), levels = new Int8Array(bytes.buffer, start, size);
  const scales = new Float32Array(bytes.buffer, bytes.byteOffset + scale_at, shape[0]), columns = size / shape[0];
  for (let row = 0, i = 0; row < shape[0]; row++) {
    for (const end = i + columns, scale = scales[row]; i < end; i++) values[i] = levels[i] * scale;
  }
  return values;
}

/** Normalise H sums from `at` on to mean 0 and variance 1, and multiply them by their gains. */
function normalise(sums, at, H, gain, gainAt) {
  let mean = 0, variance = 0;
  for (let u = 0; u < H; u++) mean += sums[at + u];
  mean /= H;
  for (let u = 0; u < H; u++) variance += (sums[at + u] - mean) ** 2;
  const scale = 1 / Math.sqrt(variance / H + EPSILON);
  for (let u = 0; u < H; u++) sums[at + u] = (sums[at + u] - mean) * scale * gain[gainAt + u];
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// ---- cells: one layer's time step. bias: of each sum; h and c: before it, then after it; gates: written.

const STEPS = {
  // a = sums + b; c = f c + i g; h = o tanh(c)
  lstm({ sums, bias, h, c, gates }, H) {
    for (let u = 0; u < H; u++) {
      const i = sigmoid(sums[u] + bias[u]), f = sigmoid(sums[H + u] + bias[H + u]);
      const g = Math.tanh(sums[2 * H + u] + bias[2 * H + u]), o = sigmoid(sums[3 * H + u] + bias[3 * H + u]);
      c[u] = f * c[u] + i * g;
      h[u] = o * Math.tanh(c[u]);
      gates[u] = i; gates[H + u] = f; gates[2 * H + u] = g; gates[3 * H + u] = o;
    }
  },
  // n = tanh(x Wx_n + b_n + r (h Wh_n + b_m)); h = n + z (h - n)
  gru({ sums, recurrent, bias, h, gates }, H) {
    for (let u = 0; u < H; u++) {
      const r = sigmoid(sums[u] + bias[u]), z = sigmoid(sums[H + u] + bias[H + u]);
      const n = Math.tanh(sums[2 * H + u] + bias[2 * H + u] + r * (recurrent[2 * H + u] + bias[3 * H + u]));
      h[u] = n + z * (h[u] - n);
      gates[u] = r; gates[H + u] = z; gates[2 * H + u] = n;
    }
  },
  rnn({ sums, bias, h }, H) {
    for (let u = 0; u < H; u++) h[u] = Math.tanh(sums[u] + bias[u]);
  },
};

/**
 * A model that runs. `logits`, Float64Array (V), is what it expects; its state and gates are told by valueOf, and kept
 * and brought back by save and restore.
 *
 * holds    units that are held: { layer, unit, value, quantity }
 */
class Network {
  /** plain: leave WebAssembly alone. */
  constructor(header, bytes, plain = false) {
    const { layers: L, units: H, vocab_size: V, blocks } = header;
    this.cell = header.cell;
    this.blocks = blocks; // names of the G blocks of H rows
    this.layers = L;
    this.units = H;
    this.zoneout = header.zoneout;
    this.hasC = header.has_c;
    this.splits = header.cell === "gru"; // its n needs the recurrent product by itself
    this.holds = [];
    const rows = this.rows = blocks.length * H, D = this.inputSize = header.embedding_size || V;
    const embedded = header.embedding_size > 0;
    const matrices = [[V, H], [rows, H]], vectors = [padded(V), padded(rows), padded(rows), padded(D)];
    for (let l = 0; l < L; l++) {
      matrices.push([rows, H]);
      if (l > 0 || embedded) matrices.push([rows, l ? H : D]);
      vectors.push(padded(H));
    }
    const halves = header.arrays.filter(({ kind }) => kind === "float16").map(({ shape }) => shape[0] * shape[1]);
    const heap = this._heap = new Heap(heapSize(matrices, vectors), Math.max(0, ...halves), plain);
    this.kind = heap.kind;
    const array = (name) => {
      const entry = header.arrays.find((one) => one.name === name);
      return entry ? unpackArray(entry, bytes, heap) : null;
    };
    this._embedding = embedded ? array("embedding.weight").slice() : null; // tied, it is the output's weights too
    this._firstInput = embedded ? null : array("rnn.weight_ih_l0").slice();
    this._output = heap.matrix(header.tied ? this._embedding : array("output.weight"), V, H);
    this._outputBias = array("output.bias");
    this._sums = heap.vector(padded(rows));
    this._recurrent = heap.vector(padded(rows));
    this._read = heap.vector(padded(D));
    this._outputs = heap.vector(padded(V));
    this.logits = this._outputs.subarray(0, V);
    this._parts = [];
    for (let l = 0; l < L; l++) {
      const input = l > 0 || embedded ? heap.matrix(array(`rnn.weight_ih_l${l}`), rows, l ? H : D) : null;
      this._parts.push({
        input,
        recurrent: heap.matrix(array(`rnn.weight_hh_l${l}`), rows, H),
        bias: array(`rnn.bias_l${l}`),
        gain: array(`rnn.norm_gain_l${l}`),
        h: heap.vector(padded(H)),
        c: new Float64Array(this.hasC ? H : 0),
        gates: new Float64Array(rows),
      });
    }
    this._before = new Float64Array(H);
    this._beforeC = new Float64Array(H);
    this._inputs = new Map(); // id -> x Wx of the lowest layer
    this._mayCache = Math.max(1, Math.floor(CACHED_INPUTS / 8 / rows));
  }

  /** Let the state be zero. */
  reset() {
    for (const { h, c } of this._parts) { h.fill(0); c.fill(0); }
  }

  save() {
    return this._parts.map(({ h, c }) => ({ h: h.slice(), c: c.slice() }));
  }

  restore(state) {
    this._parts.forEach((part, l) => { part.h.set(state[l].h); part.c.set(state[l].c); });
  }

  /** Return the input sums of a character in the lowest layer, Float64Array: they never change. */
  _inputOf(id) {
    const known = this._inputs.get(id);
    if (known) return known;
    if (this._inputs.size >= this._mayCache) this._inputs.delete(this._inputs.keys().next().value);
    const D = this.inputSize, sums = this._recurrent; // not in use yet in a step
    sums.fill(0);
    if (this._firstInput) {
      for (let r = 0; r < this.rows; r++) sums[r] = this._firstInput[r * D + id];
    } else {
      this._read.set(this._embedding.subarray(id * D, (id + 1) * D));
      this._heap.multiply(this._parts[0].input, this._read.byteOffset, sums.byteOffset);
    }
    const found = sums.slice();
    this._inputs.set(id, found);
    return found;
  }

  /** Read a character: the state after it and, unless told otherwise, the logits. */
  step(id, withLogits = true) {
    const H = this.units, heap = this._heap, sums = this._sums, recurrent = this._recurrent;
    for (let l = 0; l < this.layers; l++) {
      const part = this._parts[l], { gain } = part;
      if (l === 0) sums.set(this._inputOf(id));
      else {
        sums.fill(0);
        heap.multiply(part.input, this._parts[l - 1].h.byteOffset, sums.byteOffset);
      }
      if (this.splits) {
        recurrent.fill(0);
        heap.multiply(part.recurrent, part.h.byteOffset, recurrent.byteOffset);
        for (let r = 0; r < 2 * H; r++) sums[r] += recurrent[r];
      } else {
        heap.multiply(part.recurrent, part.h.byteOffset, sums.byteOffset);
      }
      if (gain) {
        for (let at = 0; at < this.rows; at += H) normalise(sums, at, H, gain, at);
        if (this.splits) normalise(recurrent, 2 * H, H, gain, 3 * H);
      }
      this._finish(part, l);
    }
    if (withLogits) {
      this._outputs.fill(0);
      heap.multiply(this._output, this._parts[this.layers - 1].h.byteOffset, this._outputs.byteOffset);
      for (let v = 0; v < this.logits.length; v++) this.logits[v] += this._outputBias[v];
    }
  }

  /** Let a layer's gates make its state of its sums; then zoneout, in expectation, and what is held. */
  _finish(part, l) {
    const { h, c } = part, H = this.units, P = this.zoneout, before = this._before, beforeC = this._beforeC;
    if (P > 0) { before.set(h.subarray(0, H)); beforeC.set(c); }
    STEPS[this.cell]({ ...part, sums: this._sums, recurrent: this._recurrent }, H);
    if (P > 0) {
      for (let u = 0; u < H; u++) h[u] += P * (before[u] - h[u]);
      for (let u = 0; u < c.length; u++) c[u] += P * (beforeC[u] - c[u]);
    }
    for (const hold of this.holds) if (hold.layer === l) this._hold(part, hold);
  }

  /** Hold a unit, as model/clamps.py says: h alone, or c and with it h = o tanh(c). */
  _hold({ h, c, gates }, { unit, value, quantity }) {
    if (quantity === "h") {
      h[unit] = value;
      return;
    }
    const tanh = quantity === "c" ? Math.tanh(value) : Math.max(-MAX_TANH, Math.min(MAX_TANH, value));
    c[unit] = quantity === "c" ? value : Math.atanh(tanh);
    h[unit] = gates[this.blocks.indexOf("o") * this.units + unit] * tanh;
  }

  /** Return a unit's quantity after the last step. */
  valueOf(layer, unit, quantity) {
    const { h, c, gates } = this._parts[layer];
    if (quantity === "h") return h[unit];
    if (quantity === "c") return c[unit];
    if (quantity === "tanh-c") return Math.tanh(c[unit]);
    return gates[this.blocks.indexOf(quantity) * this.units + unit];
  }

  /** Return the states and gates of a layer after the last step, as they are: to be copied at once. */
  layerOf(layer) {
    return this._parts[layer];
  }
}
