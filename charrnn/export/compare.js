// Two texts side by side, from one beginning with one seed: as the model writes it, and with units held. Each is written by an
// engine of its own, so that the text at hand stays as it is.

class Comparison {
  /** makeEngine(hear) makes another engine; colourOf(value, surprisal) gives the class of a colour. */
  constructor({ makeEngine, colourOf }) {
    Object.assign(this, { makeEngine, colourOf });
    this.sides = ["free", "held"].map((id) => ({ place: Common.$(id), engine: null, symbols: [], values: [], surprisal: [], spans: [], written: [] }));
    this.over = 0;
  }

  /** Write both. setting: { label, settings, watch, holds, prompt, count, rate, name, title } */
  show(setting) {
    const { $ } = Common;
    this.close();
    $("compare").hidden = false;
    $("compare-title").textContent = setting.title;
    $("held-name").textContent = setting.name;
    $("compare-note").textContent = "The same beginning, the same seed, the same settings.";
    this.parted = -1;
    this.compared = 0;
    this.over = 0;
    this.sides.forEach((side, which) => {
      side.engine = this.makeEngine((message) => this.hear(side, message));
      const tell = (message) => side.engine.postMessage(message);
      tell({ type: "settings", ...setting.settings });
      tell({ type: "watch", ...setting.watch });
      if (which) tell({ type: "hold", holds: setting.holds, from: "start" });
      tell({ type: "begin", label: setting.label });
      if (setting.prompt) tell({ type: "edit", keep: 0, text: setting.prompt });
      tell({ type: "generate", count: setting.count, rate: setting.rate });
    });
    $("compare").scrollIntoView({ block: "nearest" });
  }

  hear(side, message) {
    if (message.type === "steps") {
      const { at, ids, symbols, values, surprisal, drawn } = message;
      for (const list of [side.symbols, side.values, side.surprisal, side.written]) list.length = at;
      side.spans.splice(at).forEach((span) => span.remove());
      for (let k = 0; k < ids.length; k++) {
        side.symbols.push(symbols[k]);
        side.values.push(values[k]);
        side.surprisal.push(surprisal[k]);
        side.written.push(drawn[k]);
      }
      this.drawSoon();
    } else if (message.type === "done") {
      side.engine.terminate();
      if (++this.over === 2) {
        this.drawSoon();
        Common.announce($text("compare-note"));
      }
    }
  }

  drawSoon() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; this.draw(); });
  }

  draw() {
    const [free, held] = this.sides, most = Math.min(free.symbols.length, held.symbols.length);
    while (this.parted < 0 && this.compared < most) {
      if (free.symbols[this.compared] !== held.symbols[this.compared]) this.parted = this.compared;
      this.compared += 1;
    }
    for (const side of this.sides) {
      const some = document.createDocumentFragment();
      for (let i = side.spans.length; i < side.symbols.length; i++) {
        const span = document.createElement("span");
        span.textContent = side.symbols[i];
        side.spans.push(span);
        some.append(span);
        this.colour(side, i);
      }
      side.place.append(some);
      const first = side.spans[this.parted];
      if (first && !first.classList.contains("parted")) first.classList.add("parted");
    }
    const shown = free.written.indexOf(1);
    if (this.parted >= 0) {
      Common.$("compare-note").textContent = "The same beginning, the same seed, the same settings: the texts differ from the mark on " +
        `(${shown < 0 || this.parted < shown ? "in the typed text" : `character ${this.parted - shown + 1} of the written text`}).`;
    } else if (this.over === 2) {
      Common.$("compare-note").textContent = "The same beginning, the same seed, the same settings: both texts are the same, character by character.";
    }
  }

  colour(side, i) {
    side.spans[i].className = `${this.colourOf(side.values[i], side.surprisal[i])}${side.written[i] ? "" : " typed"}${i === this.parted ? " parted" : ""}`;
  }

  recolour() {
    for (const side of this.sides) side.spans.forEach((_, i) => this.colour(side, i));
  }

  close() {
    Common.$("compare").hidden = true;
    for (const side of this.sides) {
      if (side.engine) side.engine.terminate();
      Object.assign(side, { engine: null, symbols: [], values: [], surprisal: [], spans: [], written: [] });
      side.place.replaceChildren();
    }
  }
}

const $text = (id) => Common.$(id).textContent;
