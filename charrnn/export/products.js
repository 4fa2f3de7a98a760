"use strict";
// Matrix times vector, y += W x, and float16 made float32: in WebAssembly SIMD where there is such a thing, in plain
// JavaScript otherwise.
//
// W is float32, x, y and the sums are float64. All lie in one heap and are named by where they begin in it, in bytes.
// Rows and columns are padded with zeros to a multiple of 4, so neither way has a rest to think of. The module is put
// together here, instruction by instruction, rather than kept as bytes that nobody can read: it is two functions.

const PAD = 4; // rows of a tile, and columns of a step of its loop
const padded = (size) => Math.ceil(size / PAD) * PAD;

/**
 * Return the bytes of a WebAssembly module: multiply(W, x, y, rows, columns), which adds W x to y, and
 * widen(from, to, count), which makes `count` numbers float32 that are float16; count is a multiple of 4.
 */
function assembleProducts() {
  const unsigned = (value) => {
    const bytes = [];
    for (; value > 127; value >>>= 7) bytes.push(value & 127 | 128);
    return [...bytes, value];
  };
  const get = (local) => [0x20, local], set = (local) => [0x21, local], tee = (local) => [0x22, local];
  const constant = (value) => [0x41, value]; // 0..63
  const ADD = [0x6A], SUBTRACT = [0x6B], SHIFT = [0x74], DIFFERS = [0x47];
  const LOOP = [0x03, 0x40], AGAIN_IF = [0x0D, 0], END = [0x0B];
  const vector = (operation, ...rest) => [0xFD, ...unsigned(operation), ...rest];
  const loadTwoDoubles = (offset) => vector(0x00, 3, offset); // v128.load
  const loadTwoFloats = (offset) => [...vector(0x5D, 2, offset), ...vector(0x5F)]; // v128.load64_zero, f64x2.promote_low
  const MULTIPLY = vector(0xF2), SUM = vector(0xF0); // f64x2
  const lane = (number) => vector(0x21, number);
  const loadDouble = (offset) => [0x2B, 3, offset], storeDouble = (offset) => [0x39, 3, offset], ADD_DOUBLE = [0xA0];

  const [W, X, Y, ROWS, COLUMNS, STRIDE, AT, END_OF_X] = [0, 1, 2, 3, 4, 5, 6, 7];
  const places = [8, 9, 10, 11], sums = [12, 13, 14, 15], V = 16;
  const advance = (local, bytes) => [...get(local), ...constant(bytes), ...ADD, ...set(local)];
  const two = (offset) => [ // columns of the four rows: sum += W x
    ...get(AT), ...loadTwoDoubles(2 * offset), ...set(V),
    ...sums.flatMap((sum, row) => [
      ...get(sum), ...get(places[row]), ...loadTwoFloats(offset), ...get(V), ...MULTIPLY, ...SUM, ...set(sum),
    ]),
  ];
  const body = [
    ...get(COLUMNS), ...constant(2), ...SHIFT, ...set(STRIDE),
    ...get(X), ...get(STRIDE), ...constant(1), ...SHIFT, ...ADD, ...set(END_OF_X),
    ...LOOP, // four rows
    ...get(W), ...set(places[0]),
    ...[1, 2, 3].flatMap((row) => [...get(places[row - 1]), ...get(STRIDE), ...ADD, ...set(places[row])]),
    ...sums.flatMap((sum) => [...vector(0x0C), ...new Array(16).fill(0), ...set(sum)]),
    ...get(X), ...set(AT),
    ...LOOP, // four columns
    ...two(0), ...two(8),
    ...places.flatMap((place) => advance(place, 16)), ...advance(AT, 32),
    ...get(AT), ...get(END_OF_X), ...DIFFERS, ...AGAIN_IF,
    ...END,
    ...sums.flatMap((sum, row) => [
      ...get(Y), ...get(Y), ...loadDouble(8 * row), ...get(sum), ...lane(0), ...ADD_DOUBLE,
      ...get(sum), ...lane(1), ...ADD_DOUBLE, ...storeDouble(8 * row),
    ]),
    ...get(places[3]), ...set(W), ...advance(Y, 32),
    ...get(ROWS), ...constant(PAD), ...SUBTRACT, ...tee(ROWS), ...AGAIN_IF,
    ...END,
    ...END,
  ];

  // Moved by 13 bits, a float16 is a float32 2^112 times too small; where its exponent is all ones, so must be that of the float32.
  const [FROM, TO, COUNT, HALVES] = [0, 1, 2, 3];
  const fours = (bits) => vector(0x0C, ...[1, 2, 3, 4].flatMap(() => [0, 8, 16, 24].map((shift) => bits >>> shift & 255)));
  const AND = vector(0x4E), OR = vector(0x50), SHIFT_EACH = vector(0xAB), EQUAL = vector(0x37), MULTIPLY_FLOATS = vector(0xE6);
  const halves = (mask) => [...get(HALVES), ...fours(mask), ...AND];
  const widening = [
    ...LOOP, // four numbers
    ...get(FROM), ...vector(0x5D, 1, 0), ...vector(0xA9), ...set(HALVES), // v128.load64_zero, i32x4.extend_low_i16x8_u
    ...get(TO),
    ...halves(0x7FFF), ...constant(13), ...SHIFT_EACH, ...fours(0x77800000), ...MULTIPLY_FLOATS,
    ...halves(0x8000), ...constant(16), ...SHIFT_EACH, ...OR,
    ...halves(0x7C00), ...fours(0x7C00), ...EQUAL, ...fours(0x7F800000), ...AND, ...OR,
    ...vector(0x0B, 2, 0), // v128.store
    ...advance(FROM, 8), ...advance(TO, 16),
    ...get(COUNT), ...constant(4), ...SUBTRACT, ...tee(COUNT), ...AGAIN_IF,
    ...END,
    ...END,
  ];

  const I32 = 0x7F, V128 = 0x7B;
  const codes = [[2, 7, I32, 5, V128, ...body], [1, 1, V128, ...widening]]; // with their locals beside the parameters
  const section = (id, content) => [id, ...unsigned(content.length), ...content];
  const name = (text) => [text.length, ...[...text].map((letter) => letter.charCodeAt(0))];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6D, 1, 0, 0, 0,
    ...section(1, [2, 0x60, 5, I32, I32, I32, I32, I32, 0, 0x60, 3, I32, I32, I32, 0]), // the types of the functions
    ...section(2, [1, ...name("heap"), ...name("memory"), 2, 0, 1]), // the memory, imported
    ...section(3, [2, 0, 1]),
    ...section(7, [2, ...name("multiply"), 0, 0, ...name("widen"), 0, 1]),
    ...section(10, [2, ...codes.flatMap((code) => [...unsigned(code.length), ...code])]),
  ]);
}

/** Memory that is taken piece by piece and never given back, and the product over it. */
class Heap {
  /** size: bytes that will be taken at most; halves: float16 numbers that are widened at once, at most; plain: leave WebAssembly alone. */
  constructor(size, halves = 0, plain = false) {
    this._taken = 0;
    this._spare = Math.ceil(size / 16) * 16;
    const made = plain ? null : this._assembled(this._spare + (halves ? 6 * padded(halves) : 0));
    this.kind = made ? "WebAssembly SIMD" : "JavaScript";
    if (!made) this.buffer = new ArrayBuffer(size);
    this._floats = new Float32Array(this.buffer, 0, Math.floor(this.buffer.byteLength / 4));
    this._doubles = new Float64Array(this.buffer, 0, Math.floor(this.buffer.byteLength / 8));
    this._product = made ? made.multiply : (...places) => this._plainProduct(...places);
    this._widen = made ? made.widen : null;
  }

  _assembled(size) {
    try { // no WebAssembly, none with vectors, or a page's policy that forbids it
      const memory = new WebAssembly.Memory({ initial: Math.ceil(size / 65536) });
      const made = new WebAssembly.Instance(new WebAssembly.Module(assembleProducts()), { heap: { memory } });
      this.buffer = memory.buffer;
      return made.exports;
    } catch {
      return null;
    }
  }

  _take(bytes) {
    const at = this._taken;
    this._taken += Math.ceil(bytes / 16) * 16;
    return at;
  }

  /** Return a Float64Array of `size` numbers, zeros; its byteOffset names it. */
  vector(size) {
    return new Float64Array(this.buffer, this._take(8 * size), size);
  }

  /** Return { at, rows, columns } of a matrix, a copy of `values` (rows x columns). */
  matrix(values, rows, columns) {
    const wide = padded(columns), high = padded(rows), at = this._take(4 * wide * high);
    if (wide === columns) this._floats.set(values, at / 4);
    else for (let r = 0; r < rows; r++) {
      this._floats.set(values.subarray(r * columns, (r + 1) * columns), at / 4 + r * wide);
    }
    return { at, rows: high, columns: wide };
  }

  /** Return as float32 what `bytes` holds as float16, Float32Array: it holds until the next call. */
  widened(bytes) {
    const count = bytes.length / 2, from = this._spare, to = from + 2 * padded(count);
    if (!this._widen) return widenPlainly(new Uint16Array(bytes.buffer, bytes.byteOffset, count));
    new Uint8Array(this.buffer, from, bytes.length).set(bytes);
    if (count) this._widen(from, to, padded(count));
    return new Float32Array(this.buffer, to, count);
  }

  /** y += W x; x and y: where they begin. */
  multiply({ at, rows, columns }, x, y) {
    this._product(at, x, y, rows, columns);
  }

  _plainProduct(at, xAt, yAt, rows, columns) {
    const W = this._floats, x = this._doubles, first = xAt / 8, end = first + columns;
    for (let r = 0, y = yAt / 8, a = at / 4; r < rows; r += 4, y += 4, a += 3 * columns) {
      let b = a + columns, c = b + columns, d = c + columns, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let k = first; k < end; k++) {
        const v = x[k];
        s0 += W[a++] * v;
        s1 += W[b++] * v;
        s2 += W[c++] * v;
        s3 += W[d++] * v;
      }
      x[y] += s0;
      x[y + 1] += s1;
      x[y + 2] += s2;
      x[y + 3] += s3;
    }
  }
}

/** Return float16 numbers, given by their bits (IEEE 754 binary16), as Float32Array. */
function widenPlainly(halves) {
  const table = new Float32Array(65536), values = new Float32Array(halves.length);
  for (let bits = 0; bits < 32768; bits++) {
    const exponent = bits >> 10, fraction = bits & 1023;
    const value = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity) : (1024 + fraction) * 2 ** (exponent - 25);
    table[bits] = value;
    table[bits + 32768] = -value;
  }
  for (let i = 0; i < values.length; i++) values[i] = table[halves[i]];
  return values;
}

/** Return how many bytes of a heap matrices [[rows, columns], ...] and vectors [size, ...] take. */
function heapSize(matrices, vectors) {
  let size = 0;
  for (const [rows, columns] of matrices) size += 4 * padded(rows) * padded(columns) + 16;
  for (const numbers of vectors) size += 8 * numbers + 16;
  return size;
}
