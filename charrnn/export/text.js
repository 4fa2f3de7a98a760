"use strict";
// Characters or bytes <-> ids, and what is done to a text before it is looked up: text/vocabulary.py and rewriting.py.

const KINDS = { character: 0, START: 1, SEP: 2, END: 3, label: 4 };
const MAX_JOINED = 32; // entries before a place of typing that what is typed may join with

class Vocabulary {
  constructor(header) {
    const { mode, symbols, special = [], labels = [] } = header.vocabulary;
    this.isBytes = mode === "bytes";
    this.size = header.vocab_size;
    this.characters = symbols.length;
    this.labels = labels;
    this.firstLabel = symbols.length + special.length;
    this._symbols = symbols;
    this._shown = header.shown;
    this._special = special;
    this._rewriting = header.vocabulary;
    this._byteTexts = header.byte_texts;
    this._encoding = header.encoding;
    this._ids = new Map(symbols.map((symbol, id) => [symbol, id]));
    this.rewrites = Boolean(this._rewriting.normalize || this._rewriting.lowercase || this._rewriting.newlines);
  }

  /** Return the id of START, SEP or END, -1 where there is none. */
  special(name) {
    const place = this._special.indexOf(name);
    return place < 0 ? -1 : this.characters + place;
  }

  kind(id) {
    if (id < this.characters) return KINDS.character;
    return id < this.firstLabel ? KINDS[this._special[id - this.characters]] : KINDS.label;
  }

  shown(id) {
    return this._shown[id];
  }

  _rewritten(text) {
    const { newlines, normalize, lowercase } = this._rewriting;
    const normal = (one) => normalize ? one.normalize(normalize.toUpperCase()) : one;
    if (newlines === "lf") text = text.replace(/\r\n?/g, "\n");
    text = normal(text);
    return lowercase ? normal(text.toLowerCase()) : text;
  }

  _bytesOf(text) {
    if (this._encoding === "utf-8") return new TextEncoder().encode(text);
    const table = this._byteTexts;
    return [...text].flatMap((character) => {
      const byte = table ? table.indexOf(character) : character < "\x80" ? character.charCodeAt(0) : -1;
      return byte < 0 ? [character] : [byte]; // a character is no byte, and is left out as one that is not known
    });
  }

  /**
   * Return { kept, ids, leftOut } of a text that comes after `before`, ids: how many of these stay, and what follows.
   * Where a text is rewritten, what is typed may change what stands before it: an accent joins its letter.
   */
  encode(text, before) {
    const ids = [], leftOut = [];
    let kept = before.length;
    let pieces;
    if (this.isBytes) {
      pieces = this._bytesOf(text);
    } else if (this.rewrites) {
      const from = Math.max(0, kept - MAX_JOINED);
      const tail = before.slice(from);
      const first = tail.findLastIndex((id) => this.kind(id) !== KINDS.character) + 1;
      const joined = tail.slice(first).map((id) => this._symbols[id]);
      pieces = [...this._rewritten(joined.join("") + text)];
      let same = 0;
      while (same < joined.length && pieces[same] === joined[same]) same++;
      kept = from + first + same;
      pieces = pieces.slice(same);
    } else {
      pieces = text; // a string goes by code points
    }
    for (const piece of pieces) {
      const id = this._ids.get(piece);
      if (id === undefined) leftOut.push(typeof piece === "number" ? `\\x${piece.toString(16).padStart(2, "0")}` : piece);
      else ids.push(id);
    }
    return { kept, ids, leftOut };
  }

  /** Return what is shown of an id that comes after `before`, ids of which the last few matter. */
  symbol(id, before) {
    if (!this.isBytes) return this._shown[id];
    const byte = this._symbols[id];
    if (this._byteTexts) return this._byteTexts[byte];
    return this._decoded([...this._unfinished(before), byte]);
  }

  _decoded(bytes) {
    const decoder = new TextDecoder(this._encoding, { ignoreBOM: true });
    return decoder.decode(new Uint8Array(bytes), { stream: true });
  }

  /** Return the bytes at the end of `before` that are the beginning of a character. */
  _unfinished(before) {
    for (let size = Math.min(3, before.length); size > 0; size--) {
      const bytes = before.slice(-size).map((id) => this._symbols[id]);
      if (this._decoded(bytes) === "") return bytes;
    }
    return [];
  }
}
