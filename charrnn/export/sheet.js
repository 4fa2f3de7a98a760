// The text of a living page as it stands under the textarea: entries, as the engine reads them, and their drawing.
//
// The textarea #box is where one types; #text under it shows the same characters with their colours. Entries and the
// characters of the box are not one to one: a byte that a character begins with shows nothing, a mark may be a word.
// Of the entries the first `count` are as the engine has read them. Those after it are still to be read: what has just
// been typed, and what stood behind it, which keeps its colours until it is read again.

/** A typed array that grows; entries can be put into the middle of it. */
class Growing {
  constructor(kind) {
    this.items = new kind(1024);
  }

  reach(size) {
    if (size <= this.items.length) return;
    const larger = new this.items.constructor(Math.max(2 * this.items.length, size));
    larger.set(this.items);
    this.items = larger;
  }

  put(at, values) {
    this.reach(at + values.length);
    this.items.set(values, at);
  }

  /** Of `size` numbers replace those in from .. to by so many of `value`. */
  splice(from, to, inserted, value, size) {
    this.reach(size - to + from + inserted);
    this.items.copyWithin(from + inserted, to, size);
    this.items.fill(value, from, from + inserted);
  }
}

/** What a textarea keeps of a symbol: it would make a newline of a carriage return. */
const inBox = (symbol) => symbol.includes("\r") ? symbol.replaceAll("\r", "\u240d") : symbol;
const fromBox = (text) => text.replaceAll("\u240d", "\r");

const BLOCK_ENTRIES = 300; // of a block that ends with a line, at least
const SOFT_ENTRIES = 900; // of a block whose line does not end: it is cut where a row begins
const ROW_ENTRIES = 250; // of the first row of a block, at most
const DRAWING_MS = 6; // of a frame
const RELAID_ENTRIES = 300; // of a frame, where rows have another width
const NEAR = "400px 0px"; // of the screen: what is farther away is neither laid out nor painted

class Sheet {
  /** colourOf(i) gives the class of entry i's colour; changed() is called after a drawing; G guesses stand by each entry. */
  constructor({ holder, box, colourOf, changed, guesses }) {
    Object.assign(this, { holder, box, colourOf, changed, G: guesses });
    this.count = 0;
    this.symbols = [];
    this.string = ""; // of all symbols: what the box holds
    this.columns = { starts: Int32Array, kinds: Uint8Array, written: Uint8Array, ids: Int32Array, surprisal: Float32Array, values: Float32Array };
    for (const [name, kind] of Object.entries(this.columns)) this[name] = new Growing(kind);
    this.guessed = new Growing(Int32Array);
    this.chances = new Growing(Float32Array);
    this.isStale = false; // whether the box lacks what was written since
    this.spans = []; // of the entries that are drawn
    this.blocks = []; // elements, each with .epoch, .open and .soft
    this.near = new Set();
    this.unsettled = new Set(); // blocks that end, and whose height is not known yet
    this.stale = []; // blocks whose height was that of rows of another width
    this.epoch = 0;
    this.hovered = -1;
    this.undrawn = Common.element("span", { className: "pending" });
    this.later = Common.element("div", { className: "block pending" });
    this.tail = Common.element("div", { id: "tail" });
    this.caret = Common.element("span", { id: "caret" });
    this.holder.append(this.later, this.tail);
    this.watcher = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        if (isIntersecting) { this.near.add(target); this.colourBlock(target); } else this.near.delete(target);
        this.showOrHide(target);
      }
    }, { rootMargin: NEAR });
    new ResizeObserver(() => this.reflow()).observe(this.holder);
  }

  // ---- entries

  get total() {
    return this.symbols.length;
  }

  start(i) {
    return i < this.total ? this.starts.items[i] : this.string.length;
  }

  /** Return the number of entries that begin at or before a place in the string, less one where it is inside one. */
  entriesBefore(place) {
    let low = 0, high = this.total;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.start(middle) <= place) low = middle; else high = middle - 1;
    }
    return low;
  }

  /** Return the entry that shows the character at a place in the string, -1 where none does. */
  entryAt(place) {
    const i = place < 0 || place >= this.string.length ? -1 : this.entriesBefore(place);
    return i < this.total ? i : -1;
  }

  firstSpecial(from = 0) {
    for (let i = from; i < this.total; i++) if (this.kinds.items[i]) return i;
    return -1;
  }

  /** Keep the first entries alone. */
  truncate(keep) {
    if (keep >= this.total) return;
    this.string = this.string.slice(0, this.start(keep));
    this.symbols.length = keep;
    this.count = Math.min(this.count, keep);
    this.undraw(keep);
    this.drawSoon();
  }

  /** Let what is read begin at an entry again: it is all to be read once more. */
  rewind(at) {
    this.count = Math.min(this.count, at);
  }

  /** Let the text be `now`. Return {keep, rest}: the entries that stay as they are, and the text to be read after them. */
  edit(now) {
    const before = this.string, most = Math.min(before.length, now.length);
    let same = 0, last = 0;
    while (same < most && before.charCodeAt(same) === now.charCodeAt(same)) same++;
    while (last < most - same && before.charCodeAt(before.length - 1 - last) === now.charCodeAt(now.length - 1 - last)) last++;
    let keep = this.entriesBefore(same);
    while (keep > 0 && keep < this.total && this.start(keep - 1) === this.start(keep)) keep--; // bytes of one character
    let to = keep;
    while (to < this.total && this.start(to) < before.length - last) to++;
    const special = this.firstSpecial(to);
    if (special >= 0) { // what follows the end of an item is not of this one
      now = now.slice(0, now.length - before.length + this.start(special));
      this.truncate(special);
    }
    const place = this.start(keep), typed = [...now.slice(place, now.length - (this.string.length - this.start(to)))];
    this.splice(keep, to, typed);
    this.string = now;
    this.count = Math.min(this.count, keep);
    this.drawSoon();
    return { keep: this.count, rest: now.slice(this.start(this.count)) };
  }

  splice(keep, to, typed) {
    const size = this.total, inserted = typed.length;
    const wasDrawn = this.spans.length >= to && to < size;
    for (const name of Object.keys(this.columns)) {
      this[name].splice(keep, to, inserted, ["surprisal", "values"].includes(name) ? NaN : 0, size);
    }
    this.guessed.splice(keep * this.G, to * this.G, inserted * this.G, 0, size * this.G);
    this.chances.splice(keep * this.G, to * this.G, inserted * this.G, 0, size * this.G);
    if (inserted > 5000) this.symbols = this.symbols.slice(0, keep).concat(typed, this.symbols.slice(to));
    else this.symbols.splice(keep, to - keep, ...typed);
    const { items } = this.starts;
    let place = keep ? items[keep - 1] + this.symbols[keep - 1].length : 0;
    for (let i = keep; i < this.symbols.length; i++) { items[i] = place; place += this.symbols[i].length; }
    if (wasDrawn && inserted < 400 && to - keep < 400) this.spliceSpans(keep, to, inserted); else this.undraw(keep);
  }

  /** Take in a message of entries read. */
  take({ at, ids, symbols, kinds, drawn, surprisal, values, guesses, chances }) {
    const n = ids.length;
    let read = "", place = this.start(at);
    this.count = at;
    for (let k = 0; k < n; k++) {
      const i = at + k, shown = inBox(symbols[k]);
      if (i < this.total && this.symbols[i] !== shown) this.truncate(i);
      if (i >= this.total) {
        this.starts.put(i, [place]);
        this.written.put(i, [drawn[k]]);
        this.symbols.push(shown);
        read += shown;
      } else if (drawn[k]) {
        this.written.put(i, [1]);
      }
      place += shown.length;
    }
    this.string += read;
    this.kinds.put(at, kinds);
    this.ids.put(at, ids);
    this.surprisal.put(at, surprisal);
    this.values.put(at, values);
    this.guessed.put(at * this.G, guesses);
    this.chances.put(at * this.G, chances);
    this.count = at + n;
    for (let i = at; i < Math.min(this.count, this.spans.length); i++) {
      const block = this.spans[i].parentNode;
      if (this.near.has(block)) this.colourAt(i); else block.epoch = -1;
    }
    this.drawSoon();
  }

  takeValues({ at, values }) {
    this.values.put(0, new Float32Array(Math.min(at, this.count)).fill(NaN));
    this.values.put(at, values.subarray(0, Math.max(0, this.count - at)));
    this.recolour();
  }

  // ---- the textarea

  /** Let the textarea hold what is shown; the caret stays where it was, or at the end. */
  syncBox() {
    const { box } = this;
    this.isStale = false;
    if (box.value === this.string) return;
    const wasEnd = box.selectionStart >= box.value.length, { selectionStart: from, selectionEnd: to } = box;
    box.value = this.string;
    if (wasEnd) box.setSelectionRange(this.string.length, this.string.length);
    else box.setSelectionRange(Math.min(from, this.string.length), Math.min(to, this.string.length));
  }

  // ---- drawing: a span an entry, in blocks that the browser lays out each by itself

  block() {
    const last = this.blocks[this.blocks.length - 1];
    if (last && last.open) return last;
    const block = Common.element("div", { className: "block" });
    Object.assign(block, { epoch: this.epoch, open: true, soft: false });
    this.holder.insertBefore(block, this.later);
    this.blocks.push(block);
    this.watcher.observe(block);
    return block;
  }

  /** What is far from the screen is neither laid out nor painted, and is as high as it was: the textarea's lines stay beside it.
      `content-visibility: auto` would do that only for what is more than a screen away. */
  showOrHide(block) {
    const may = block.open || this.unsettled.has(block) || this.near.has(block);
    block.style.contentVisibility = may ? "" : "hidden";
  }

  /** Measure the blocks whose height is not known yet. */
  settle() {
    const heights = [...this.unsettled].map((block) => [block, block.getBoundingClientRect().height]);
    this.unsettled.clear();
    for (const [block, height] of heights) {
      block.style.containIntrinsicHeight = `${height}px`;
      this.showOrHide(block);
    }
    for (let size = 0; size < RELAID_ENTRIES && this.stale.length;) { // some in each frame: laid out in it, measured in the next
      const block = this.stale.shift();
      if (block.open || !block.isConnected) continue;
      size += block.childNodes.length;
      this.unsettle(block);
    }
  }

  unsettle(block) {
    if (!block.open) { this.unsettled.add(block); this.drawSoon(); }
    this.showOrHide(block);
  }

  close(block, soft) {
    block.open = false;
    block.soft = soft;
    this.unsettle(block);
  }

  dropBlock(block) {
    this.unsettled.delete(block);
    this.watcher.unobserve(block);
    this.near.delete(block);
    block.remove();
  }

  /** Take away the spans from an entry on. */
  undraw(keep) {
    if (keep >= this.spans.length) return;
    this.undrawn.remove();
    this.caret.remove();
    while (this.blocks.length) {
      const block = this.blocks[this.blocks.length - 1], first = block.firstChild ? block.firstChild.at : this.spans.length;
      const earlier = this.blocks[this.blocks.length - 2];
      if (first >= keep || earlier && earlier.soft && keep - first < ROW_ENTRIES) { // a shorter word may go up into the row before
        keep = Math.min(keep, first);
        this.dropBlock(block);
        this.blocks.pop();
        if (earlier && earlier.soft) {
          keep = Math.min(keep, earlier.firstChild.at);
          continue;
        }
        if (earlier && keep >= earlier.firstChild.at + earlier.childNodes.length) break;
        continue;
      }
      const range = document.createRange();
      range.setStart(block, keep - first);
      range.setEnd(block, block.childNodes.length);
      range.deleteContents();
      block.open = true;
      block.soft = false;
      this.unsettled.delete(block);
      this.unsettle(block);
      break;
    }
    this.spans.length = keep;
  }

  makeSpan(i) {
    const span = document.createElement("span");
    span.at = i;
    span.textContent = this.symbols[i];
    span.className = this.classOf(i);
    return span;
  }

  /** Replace the spans of the entries in keep .. to by those of so many others; all that follow stay. */
  spliceSpans(keep, to, inserted) {
    const after = this.spans[to] || null, before = keep ? this.spans[keep - 1] : null;
    const home = before ? before.parentNode : this.blocks[0], end = (after || this.spans[to - 1]).parentNode;
    const touched = this.blocks.slice(this.blocks.indexOf(home), this.blocks.indexOf(end) + 1);
    if (touched.some((block, k) => block.soft || k === 0 && this.blocks.indexOf(block) > 0 && this.blocks[this.blocks.indexOf(block) - 1].soft)) {
      this.undraw(keep);
      return;
    }
    this.undrawn.remove();
    this.caret.remove();
    for (let i = keep; i < to; i++) this.spans[i].remove();
    const made = [];
    for (let k = 0; k < inserted; k++) made.push(this.makeSpan(keep + k));
    if (before) before.after(...made); else home.prepend(...made);
    this.spans.splice(keep, to - keep, ...made);
    for (let i = keep; i < this.spans.length; i++) this.spans[i].at = i;
    this.unsettle(home);
    // A block is whole lines: where its last newline went, what follows comes into it.
    for (let at = this.blocks.indexOf(home); at < this.blocks.length;) {
      const block = this.blocks[at], next = this.blocks[at + 1], last = block.lastChild;
      if (!last) {
        this.dropBlock(block);
        this.blocks.splice(at, 1);
        if (!this.blocks.length) break;
      } else if (next && !last.textContent.endsWith("\n")) {
        block.append(...next.childNodes);
        block.open = next.open;
        block.soft = next.soft;
        block.epoch = -1;
        this.unsettled.delete(block);
        this.unsettle(block);
        this.dropBlock(next);
        this.blocks.splice(at + 1, 1);
      } else break;
    }
    this.near.forEach((block) => this.colourBlock(block));
  }

  drawSoon() {
    if (this.drawing) return;
    this.drawing = true;
    const draw = () => {
      if (!this.drawing) return;
      this.drawing = false;
      this.draw();
    };
    requestAnimationFrame(draw);
    if (document.hidden) setTimeout(draw, 100);
  }

  draw() {
    this.settle();
    const until = performance.now() + DRAWING_MS;
    this.undrawn.remove();
    this.caret.remove();
    while (this.spans.length < this.total && performance.now() < until) {
      const block = this.block(), some = document.createDocumentFragment();
      let size = block.childNodes.length;
      for (const stop = Math.min(this.total, this.spans.length + 64); this.spans.length < stop;) {
        const span = this.makeSpan(this.spans.length);
        this.spans.push(span);
        some.append(span);
        size += 1;
        if (size >= BLOCK_ENTRIES && span.textContent.endsWith("\n")) { this.close(block, false); break; }
      }
      block.append(some);
      if (block.open && size >= SOFT_ENTRIES) this.cutAtRow(block);
    }
    const rest = this.string.slice(this.start(this.spans.length));
    let line = rest.length > 3000 ? rest.indexOf("\n", 1500) + 1 : rest.length;
    if (!line) line = rest.length;
    const block = this.block();
    this.undrawn.textContent = rest.slice(0, line);
    block.append(line ? this.undrawn : this.caret);
    this.later.textContent = rest.slice(line);
    this.later.hidden = line >= rest.length;
    // A block that ends with a newline shows no line after it, where the textarea has one.
    this.tail.className = this.string.endsWith("\n") ? "line" : "";
    if (rest) this.drawSoon();
    this.changed();
  }

  /** Let a block whose line does not end, end before its last row: what comes later cannot change the rows before. */
  cutAtRow(block) {
    const spans = block.childNodes, top = (k) => spans[k].offsetTop;
    const last = top(spans.length - 1);
    let k = spans.length - 1;
    while (k > 0 && top(k - 1) === last) k--;
    if (k < BLOCK_ENTRIES) return;
    this.close(block, true);
    const rest = [...spans].slice(k);
    this.block().append(...rest);
  }

  /** Once rows have another width, blocks have another height, and those that were cut where a row began are drawn again. */
  reflow() {
    const width = this.holder.clientWidth;
    if (width === this.width) return;
    this.width = width;
    this.stale = this.blocks.filter((block) => !block.open);
    const soft = this.blocks.find((block) => block.soft);
    if (soft) this.undraw(soft.firstChild.at);
    if (this.stale.length || soft) this.drawSoon();
  }

  classOf(i) {
    const symbol = this.symbols[i];
    const colour = this.colourOf(i);
    let name = colour;
    if (!this.written.items[i]) name += " typed";
    if (this.kinds.items[i]) name += " mark";
    if (symbol === "\n") name += colour ? " nl lit" : " nl";
    else if (symbol === "\t") name += " tab";
    else if (symbol.length && symbol !== " " && Common.visible(symbol) !== symbol && !symbol.endsWith("\n")) name += " code";
    if (i === this.hovered) name += " hover";
    return name;
  }

  colourAt(i) {
    const span = this.spans[i];
    if (!span) return;
    const name = this.classOf(i);
    if (name !== span.className) span.className = name;
  }

  colourBlock(block) {
    if (block.epoch === this.epoch) return;
    block.epoch = this.epoch;
    for (const span of block.childNodes) if (span.at !== undefined) this.colourAt(span.at);
  }

  /** Colour all of the text again: what is near at once, the rest when it comes near. */
  recolour() {
    this.epoch += 1;
    this.near.forEach((block) => this.colourBlock(block));
  }

  hover(i) {
    const before = this.hovered;
    if (i === before) return;
    this.hovered = i;
    this.colourAt(before);
    this.colourAt(i);
  }

  /** Return the entry whose character is at a point of the window, -1 where none is. */
  entryUnder(x, y) {
    for (const one of document.elementsFromPoint(x, y)) if (one.at !== undefined && one === this.spans[one.at]) return one.at;
    return -1;
  }
}
