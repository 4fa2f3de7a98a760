// The behaviour of a page whose text is given; common.js stands before it.
// Data: the JSON in #data, and in #streams a line a stream: numbers, deflated, in base 85 (render/page.py).
(() => {
  const { $, root, element, signed, percent, grouped, counted, visible, spoken, announce } = Common;
  const data = JSON.parse($("data").textContent);
  const lines = $("streams").textContent.trim().split("\n");
  const { text, vocabulary, found, gates } = data;
  const MOST = data.most_bits; // more than 0: the page is of surprisals, and a unit is a reader
  const N = text.length, H = data.units, U = data.layers * H, MIDDLE = (data.levels - 1) / 2, COLOURS = data.colours;
  const HEAD = 3; // streams before the units': surprisal, ids of the guesses, their probabilities
  const BLOCK_SIZE = 1000; // characters of a block at least: what is drawn, or left alone, as one

  // ---- streams

  const inflated = Common.streamReader(data.alphabet);
  const series = new Array(U).fill(null); // a unit's levels, 0 .. 2 MIDDLE, once they are read
  const sums = new Float64Array(U);
  const reading = new Map();

  function readUnit(unit) {
    if (!reading.has(unit)) {
      reading.set(unit, inflated(lines[HEAD + unit]).then((buffer) => {
        const levels = new Uint8Array(buffer);
        let sum = 0;
        for (let i = 0; i < N; i++) sum += levels[i];
        sums[unit] = sum;
        series[unit] = levels;
        lines[HEAD + unit] = "";
      }));
    }
    return reading.get(unit);
  }

  const pause = () => new Promise((done) => setTimeout(done, 0));
  let surprisal, guessIds, guessShares;

  let everything = null;
  const readAll = () => everything ||= readOneByOne();

  async function readOneByOne() {
    for (let unit = 0; unit < U; unit += 8) {
      const some = [];
      for (let one = unit; one < Math.min(unit + 8, U); one++) some.push(readUnit(one));
      await Promise.all(some);
      await pause();
    }
  }

  // ---- words

  const units = Common.unitNames(found, data.layers, H);
  const { nameOf, calledOf } = units;
  const DIGITS_OF_VALUE = Math.abs(data.step * 10 - Math.round(data.step * 10)) < 1e-9 ? 1 : 2;
  // ---- the text: a span a character, in blocks that the browser lays out and colours only when they are near

  const spans = new Array(N), kinds = new Array(N).fill("");
  const shownClass = new Array(N).fill("");
  const lineOf = new Int32Array(N), columnOf = new Int32Array(N);
  const blocks = []; // {element, start, stop, epoch}
  const near = new Set();
  const blockOf = new Map();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const block = blockOf.get(entry.target);
      if (entry.isIntersecting) { near.add(block); colourBlock(block); } else near.delete(block);
    }
  }, { rootMargin: "900px 0px" });

  function layOut() {
    const holder = $("text");
    let block = null, line = 1, column = 1, rows = 0;
    const close = (stop) => {
      block.stop = stop;
      block.element.style.containIntrinsicSize = `auto 600px auto ${Math.max(1, rows) * 23}px`;
      holder.append(block.element);
      blockOf.set(block.element, block);
      blocks.push(block);
      block = null;
    };
    for (let i = 0; i < N; i++) {
      if (!block) { block = { element: element("div", { className: "block" }), start: i, stop: i, epoch: -1 }; rows = 0; }
      const symbol = text[i], span = document.createElement("span");
      span.at = i;
      lineOf[i] = line;
      columnOf[i] = column++;
      if (symbol === "\n" || symbol === "\t") {
        span.textContent = symbol;
        kinds[i] = symbol === "\n" ? "nl" : "tab";
      } else {
        const shown = symbol === " " ? " " : visible(symbol);
        span.textContent = symbol.endsWith("\n") ? shown + "\n" : shown;
        if (shown !== symbol && shown.length > 1 && !symbol.endsWith("\n")) kinds[i] = "code";
      }
      if (kinds[i]) span.className = shownClass[i] = kinds[i];
      spans[i] = span;
      block.element.append(span);
      if (symbol.endsWith("\n")) {
        rows += Math.ceil(column / 90);
        line += 1;
        column = 1;
        if (i + 1 - block.start >= BLOCK_SIZE) close(i + 1);
      }
    }
    if (block) { rows += Math.ceil(column / 90); close(N); }
    blocks.forEach((one) => watcher.observe(one.element));
  }

  // ---- colours: a level's class is p1 .. p20 or m1 .. m20

  const classOfLevel = Array.from({ length: data.levels }, (_, level) => {
    const step = Math.round((level - MIDDLE) / MIDDLE * COLOURS);
    return step > 0 ? `p${step}` : step < 0 ? `m${-step}` : "";
  });

  let unit = -1, epoch = 0, cursor = 0, hovered = -1, anchor = 0, chosen = null;

  function classOf(i) {
    let name = unit >= 0 && series[unit] ? classOfLevel[series[unit][i]] : "";
    if (kinds[i]) name += " " + kinds[i];
    if (chosen && i >= chosen[0] && i < chosen[1]) name += " sel";
    if (i === cursor) name += " cursor";
    if (i === hovered) name += " hover";
    return name;
  }

  function colourAt(i) {
    if (i < 0 || i >= N) return;
    const name = classOf(i);
    if (name !== shownClass[i]) spans[i].className = shownClass[i] = name;
  }

  function colourBlock(block) {
    if (block.epoch === epoch) return;
    block.epoch = epoch;
    for (let i = block.start; i < block.stop; i++) colourAt(i);
  }

  function colourNear() {
    epoch += 1;
    near.forEach(colourBlock);
  }

  const levelToValue = (level) => (level - MIDDLE) / MIDDLE;
  const valueAt = (i) => levelToValue(series[unit][i]);
  const bitsOf = (value) => value >= 1 ? `${MOST}+ bits` : `${(value * MOST).toFixed(1)} bits`;

  // ---- picking a unit

  let target = 0; // the unit asked for last, which may still be on its way

  async function pick(wanted, say = true) {
    wanted = target = ((wanted % U) + U) % U;
    if (!series[wanted]) {
      await readUnit(wanted);
      if (target !== wanted) return;
    }
    unit = wanted;
    colourNear();
    const called = calledOf(unit);
    $("pick").value = nameOf(unit);
    $("unit-name").textContent = called || `Unit ${nameOf(unit)}`;
    $("unit-note").textContent = (called && !MOST ? `unit ${nameOf(unit)}, ` : "") + data.quantity;
    Common.pressUnit(unit);
    drawOverview();
    drawRings();
    show(hovered >= 0 ? hovered : cursor);
    if (say) announce(`Unit ${nameOf(unit)}${called ? ", " + called : ""}`);
  }

  // ---- the read-out of one character

  function show(i) {
    if (!N || unit < 0) return;
    const symbol = text[i], glyph = $("glyph"), shown = visible(symbol);
    glyph.textContent = shown;
    glyph.className = `${classOfLevel[series[unit][i]]} ${shown.length > 2 ? "long" : ""}`;
    const name = spoken(symbol);
    $("char-name").textContent = name === symbol ? `\u201c${symbol}\u201d` : name;
    $("char-place").replaceChildren(`line ${grouped(lineOf[i])}, column ${grouped(columnOf[i])}`,
      element("b", { textContent: `; ${grouped(i + 1)} of ${grouped(N)}` }));
    const value = valueAt(i);
    $("value").textContent = MOST ? bitsOf(value) : signed(value, DIGITS_OF_VALUE);
    const bar = $("value-axis").firstElementChild;
    bar.style.left = MOST ? "0" : `${50 + 50 * Math.min(0, value)}%`;
    bar.style.width = `${(MOST ? 100 : 50) * Math.abs(value)}%`;
    bar.className = value > 0 ? `p${COLOURS}` : `m${COLOURS}`;
    const bits = surprisal[i];
    $("surprisal").textContent = Number.isFinite(bits) ? `${bits.toFixed(2)} bits` : "\u2013";
    $("surprisal-track").firstElementChild.style.width = Number.isFinite(bits) ? `${Math.min(100, bits * 10)}%` : "0";
    $("surprisal-track").title = Number.isFinite(bits) ? `the model gave it a probability of ${percent(2 ** -bits)}` : "";
    const came = MOST ? symbol : i + 1 < N ? text[i + 1] : null;
    const guesses = guessesAt(i);
    if (MOST) {
      // What stands here is in the list too where it was none of the likeliest.
      if (Number.isFinite(bits) && !guesses.some(([guess]) => guess === came)) guesses.push([came, 2 ** -bits]);
      $("guesses-label").textContent = !i ? "This is the first character, so nothing was expected"
        : `What the model expected here${unit ? `, not ${nameOfReader(unit)}` : ""}`;
    }
    [...$("guesses").children].forEach((row, k) => {
      row.hidden = k >= guesses.length;
      if (row.hidden) return;
      const [guess, share] = guesses[k];
      row.className = guess === came ? "came" : "";
      row.children[0].textContent = visible(guess);
      row.children[0].title = spoken(guess) + (guess === came ? ": it came" : "");
      row.children[1].firstElementChild.style.width = `${100 * share}%`;
      row.children[2].textContent = percent(share);
    });
  }

  /** The likeliest characters and their shares: of a unit's page those after character i, of surprisals those for it. */
  function guessesAt(i) {
    const at = MOST ? i - 1 : i, guesses = [];
    for (let k = 0; at >= 0 && k < 5; k++) {
      const guess = vocabulary[guessIds[5 * at + k]], share = guessShares[5 * at + k] / 65535;
      if (guess !== undefined && share > 0) guesses.push([guess, share]);
    }
    return guesses;
  }

  const nameOfReader = (one) => (data.found.find((each) => each.layer * H + each.unit === one) || { signal: "the other" }).signal;

  function announceCharacter(i) {
    const bits = surprisal[i];
    const [likeliest] = guessesAt(i);
    announce(`${spoken(text[i])}: ${MOST ? bitsOf(valueAt(i)) : "value " + valueAt(i).toFixed(DIGITS_OF_VALUE)}` +
      (Number.isFinite(bits) ? `, surprisal ${bits.toFixed(1)} bits` : "") +
      (likeliest === undefined ? "" : `, ${MOST ? "expected" : "most likely next"} ${spoken(likeliest[0])} ${percent(likeliest[1])}`));
  }

  function hover(i) {
    if (i === hovered) return;
    const before = hovered;
    hovered = i;
    colourAt(before);
    colourAt(i);
    show(i >= 0 ? i : cursor);
    if (i >= 0) announceCharacter(i);
  }

  function moveCursor(i, extend) {
    const before = cursor;
    cursor = Math.max(0, Math.min(N - 1, i));
    hovered = -1;
    colourAt(before);
    colourAt(cursor);
    if (extend) choose(Math.min(anchor, cursor), Math.max(anchor, cursor) + 1);
    else anchor = cursor;
    spans[cursor].scrollIntoView({ block: "nearest" });
    show(cursor);
    announceCharacter(cursor);
  }

  /** Return the character one row up or down, nearest in x to the one at i. */
  function across(i, direction) {
    const box = (k) => spans[k].getClientRects()[0] || spans[k].getBoundingClientRect();
    const from = box(i), row = Math.max(4, from.height / 2);
    let best = i, distance = Infinity, top = null;
    for (let k = i + direction; k >= 0 && k < N; k += direction) {
      const here = box(k);
      if (Math.abs(here.top - from.top) < row) continue;
      if (top === null) top = here.top;
      if (Math.abs(here.top - top) >= row) break;
      const apart = Math.abs(here.left - from.left);
      if (apart < distance) { distance = apart; best = k; }
    }
    return best;
  }

  function wireText() {
    const holder = $("text");
    const indexAt = (target) => (target instanceof Element && target.at !== undefined ? target.at : -1);
    holder.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") { const i = indexAt(event.target); if (i >= 0) hover(i); } });
    holder.addEventListener("pointerleave", () => hover(-1));
    holder.addEventListener("click", (event) => {
      const i = indexAt(event.target);
      if (i < 0 || !getSelection().isCollapsed) return;
      clearChoice();
      moveCursor(i, event.shiftKey);
    });
    holder.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const start = () => { let i = cursor; while (i > 0 && lineOf[i - 1] === lineOf[cursor]) i--; return i; };
      const end = () => { let i = cursor; while (i < N - 1 && lineOf[i + 1] === lineOf[cursor]) i++; return i; };
      const places = {
        ArrowLeft: () => cursor - 1, ArrowRight: () => cursor + 1, ArrowUp: () => across(cursor, -1), ArrowDown: () => across(cursor, 1),
        Home: start, End: end,
      };
      if (!(event.key in places) || !N) return;
      event.preventDefault();
      getSelection().removeAllRanges();
      if (!event.shiftKey) clearChoice();
      moveCursor(places[event.key](), event.shiftKey);
    });
    document.addEventListener("selectionchange", () => {
      const range = chosenRange();
      if (!range) return;
      choose(...range);
      const before = cursor;
      cursor = range[1] - 1; // the keyboard goes on from where the pointer left off
      anchor = range[0];
      colourAt(before);
      colourAt(cursor);
    });
  }

  // ---- selecting a span: the units that are on there and off elsewhere

  function boundary(node, offset) {
    const holder = $("text");
    if (!holder.contains(node)) {
      return holder.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING ? 0 : N;
    }
    if (node.nodeType === Node.TEXT_NODE) return node.parentNode.at + (offset > 0 ? 1 : 0);
    if (node.at !== undefined) return node.at + (offset > 0 ? 1 : 0);
    if (blockOf.has(node)) return blockOf.get(node).start + offset;
    return offset < blocks.length ? blocks[offset].start : N;
  }

  function chosenRange() {
    const selection = getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    if (!range.intersectsNode($("text"))) return null;
    const start = boundary(range.startContainer, range.startOffset), stop = boundary(range.endContainer, range.endOffset);
    return stop > start ? [start, stop] : null;
  }

  let ranking = 0;

  function choose(start, stop) {
    const before = chosen;
    chosen = [start, stop];
    if (before) for (let i = before[0]; i < before[1]; i++) if (i < start || i >= stop) colourAt(i);
    for (let i = start; i < stop; i++) colourAt(i);
    $("clear").hidden = false;
    $("selection").classList.add("on");
    clearTimeout(ranking);
    ranking = setTimeout(rank, 90);
  }

  function clearChoice() {
    if (!chosen) return;
    const [start, stop] = chosen;
    chosen = null;
    for (let i = start; i < stop; i++) colourAt(i);
    $("clear").hidden = true;
    $("selection").classList.remove("on");
    $("ranking").replaceChildren();
    hintSelection();
  }

  function hintSelection() {
    $("selection-note").textContent = "Drag over the text, or use Shift and the arrow keys: the units that are on in the selection and off elsewhere are then ranked here.";
  }

  async function rank() {
    if (!chosen) return;
    const [start, stop] = chosen, size = stop - start, rest = N - size;
    const words = text.slice(start, Math.min(stop, start + 48)).map((symbol) => (symbol === " " ? " " : visible(symbol))).join("");
    $("selection-note").replaceChildren(element("q", { textContent: words + (size > 48 ? "\u2026" : "") }),
      ` ${counted(size, "character")}; reading the units\u2026`);
    await readAll();
    if (!chosen || chosen[0] !== start || chosen[1] !== stop) return;
    $("selection-note").lastChild.textContent = ` ${counted(size, "character")}. \u25cf mean here, \u25cb mean elsewhere.`;
    const ranked = Array.from(series, (levels, one) => {
      let inside = 0;
      for (let i = start; i < stop; i++) inside += levels[i];
      const here = levelToValue(inside / size), elsewhere = rest ? levelToValue((sums[one] - inside) / rest) : 0;
      return { one, here, elsewhere, apart: here - elsewhere };
    }).sort((a, b) => b.apart - a.apart);
    const row = ({ one, here, elsewhere }) => {
      const at = (value) => `${50 + 50 * value}%`;
      const link = element("i"), full = element("u"), hollow = element("s");
      link.style.left = at(Math.min(here, elsewhere));
      link.style.right = `${100 - (50 + 50 * Math.max(here, elsewhere))}%`;
      full.style.left = at(here);
      hollow.style.left = at(elsewhere);
      const pair = element("span", { className: "pair" }, link, hollow, full);
      const button = element("button", { type: "button", className: "rank", "aria-pressed": String(one === unit) },
        element("code", { textContent: nameOf(one) }), pair,
        element("small", { textContent: `${signed(here, 2)} / ${signed(elsewhere, 2)}` }));
      const called = calledOf(one);
      if (called) button.append(element("span", { className: "name", textContent: called }));
      button.dataset.unit = one;
      button.title = `unit ${nameOf(one)}: mean ${signed(here, 2)} here, ${signed(elsewhere, 2)} elsewhere`;
      return button;
    };
    $("ranking").replaceChildren(element("h3", { textContent: "On here, off elsewhere" }), ...ranked.slice(0, 8).map(row),
      element("h3", { textContent: "Off here, on elsewhere" }), ...ranked.slice(-4).reverse().map(row));
    announce(`${counted(size, "character")} selected; the unit that follows the selection best is ${nameOf(ranked[0].one)}`);
  }

  // ---- the unit over the whole text, in one strip

  function drawOverview() {
    const canvas = $("overview"), scale = window.devicePixelRatio || 1;
    const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale)), height = canvas.height = Math.round(22 * scale);
    const pen = canvas.getContext("2d"), levels = series[unit];
    if (!levels || !N) return;
    const style = getComputedStyle(root), colours = {};
    for (let step = 1; step <= COLOURS; step++) {
      colours[step] = style.getPropertyValue(`--p${step}`);
      colours[-step] = style.getPropertyValue(`--m${step}`);
    }
    pen.fillStyle = style.getPropertyValue("--paper");
    pen.fillRect(0, 0, width, height);
    for (let x = 0; x < width; x++) {
      const start = Math.floor(x * N / width), stop = Math.max(start + 1, Math.floor((x + 1) * N / width));
      let sum = 0;
      for (let i = start; i < stop; i++) sum += levels[i];
      const step = Math.round(levelToValue(sum / (stop - start)) * COLOURS);
      if (!step) continue;
      pen.fillStyle = colours[step];
      pen.fillRect(x, 0, 1, height);
    }
    drawWindow();
  }

  /** Frame the part of the strip that is on the screen. */
  function drawWindow() {
    const place = (y) => {
      for (const block of blocks) {
        const box = block.element.getBoundingClientRect();
        if (y < box.top) return block.start;
        if (y <= box.bottom) return block.start + (y - box.top) / (box.height || 1) * (block.stop - block.start);
      }
      return N;
    };
    const start = place($("strip").getBoundingClientRect().bottom), stop = place(innerHeight), frame = $("window").style;
    frame.left = `${100 * start / N}%`;
    frame.width = `${100 * (stop - start) / N}%`;
  }

  function wireOverview() {
    let waiting = false;
    const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; drawWindow(); }); } };
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", () => drawOverview());
    $("strip").addEventListener("click", (event) => {
      const i = Math.max(0, Math.min(N - 1, Math.floor(event.offsetX / $("strip").clientWidth * N)));
      clearChoice();
      spans[i].scrollIntoView({ block: "center" });
      moveCursor(i, false);
    });
  }

  // ---- the sheets: tables beside the text

  function layOutSheets() {
    data.sheets.forEach((sheet) => {
      const heads = element("tr", {}, ...sheet.columns.map((name) => element("th", { scope: "col", textContent: name })));
      const rows = sheet.rows.map((row, at) => {
        const cells = row.map((words, k) => element(k ? "td" : "th", k ? { textContent: words } : { scope: "row", textContent: words }));
        if (!sheet.bars.length) return element("tr", {}, ...cells);
        const bar = element("i");
        bar.style.width = `${100 * Math.max(0, Math.min(1, sheet.bars[at]))}%`;
        return element("tr", {}, ...cells, element("td", { className: "of-bar" }, element("span", { className: "track" }, bar)));
      });
      if (sheet.bars.length) heads.append(element("td"));
      $("sheets").append(element("details", { open: true, className: "sheet" },
        element("summary", {}, element("h2", { textContent: sheet.title })),
        element("p", { className: "quiet small-print", textContent: sheet.note }),
        element("table", {}, element("thead", {}, heads), element("tbody", {}, ...rows))));
    });
  }

  /** Say of surprisals what is said of units. */
  function becomeSurprisal() {
    root.dataset.of = "surprisal";
    $("found-title").textContent = "Whose surprise";
    $("found-key").hidden = $("found-count").hidden = true;
    $("value-name").textContent = "shown";
    $("surprisal-track").parentElement.parentElement.firstElementChild.textContent = "model";
    $("keys").replaceChildren(...["\u2190 \u2191 \u2193 \u2192 move", "p n or [ ] another reader", "c colours", "t theme"].join(" \u00b7 "));
    $("precision").textContent = `${counted(N, "character")}. Surprisals are rounded to steps of ${(data.step * MOST).toFixed(2)} bits, up to ${MOST}.`;
  }

  // ---- the gates' saturation: a plot a gate, a dot a unit

  const SVG = "http://www.w3.org/2000/svg", SIDE = 140, LEFT = 24, TOP = 20;
  const plots = [];

  function drawn(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function written(x, y, words, attributes = {}) {
    const made = drawn("text", { x, y, ...attributes });
    made.textContent = words;
    return made;
  }

  function drawGates() {
    const names = Object.keys(gates);
    $("gates").hidden = !names.length;
    if (data.layers > 1) {
      for (let layer = 0; layer < data.layers; layer++) {
        $("gate-layers").append(element("span", {}, element("i", { className: `layer${layer % 4}` }), `layer ${layer}`));
      }
    }
    for (const name of names) {
      const svg = drawn("svg", { viewBox: `0 0 ${SIDE + LEFT + 6} ${SIDE + TOP + 26}`, role: "img",
        "aria-label": `${name} gate: share of time nearly open against nearly shut, one dot per unit` });
      const x = (share) => LEFT + share * SIDE, y = (share) => TOP + (1 - share) * SIDE;
      svg.append(drawn("rect", { class: "frame", x: LEFT, y: TOP, width: SIDE, height: SIDE }),
        drawn("line", { class: "most", x1: x(0), y1: y(1), x2: x(1), y2: y(0) }),
        written(LEFT, TOP - 7, `${name} gate`, { class: "gate" }),
        written(LEFT, TOP + SIDE + 12, "0"), written(LEFT + SIDE, TOP + SIDE + 12, "100 %", { "text-anchor": "end" }),
        written(LEFT + SIDE / 2, TOP + SIDE + 12, "nearly shut", { "text-anchor": "middle" }),
        written(LEFT - 4, TOP + SIDE, "0", { "text-anchor": "end" }),
        written(0, 0, "nearly open", { "text-anchor": "middle", transform: `translate(${LEFT - 8} ${TOP + SIDE / 2}) rotate(-90)` }));
      const points = [];
      gates[name].forEach((layer, l) => {
        let path = "";
        layer.forEach(([shut, open], h) => {
          path += `M${x(shut).toFixed(1)} ${y(open).toFixed(1)}h0`;
          points.push({ unit: l * H + h, x: x(shut), y: y(open), shut, open });
        });
        svg.append(drawn("path", { class: `dots layer${l % 4}`, d: path }));
      });
      const ring = drawn("circle", { class: "ring", r: 5.5 }), nearest = drawn("circle", { class: "near", r: 5 });
      nearest.setAttribute("visibility", "hidden");
      svg.append(ring, nearest);
      const pointAt = (event) => {
        const box = svg.getBoundingClientRect(), zoom = (SIDE + LEFT + 6) / box.width;
        const px = (event.clientX - box.left) * zoom, py = (event.clientY - box.top) * zoom;
        let best = null, distance = 400;
        for (const point of points) {
          const apart = (point.x - px) ** 2 + (point.y - py) ** 2;
          if (apart < distance) { distance = apart; best = point; }
        }
        return best;
      };
      svg.addEventListener("pointermove", (event) => {
        const point = pointAt(event);
        nearest.setAttribute("visibility", point ? "visible" : "hidden");
        if (point) { nearest.setAttribute("cx", point.x); nearest.setAttribute("cy", point.y); noteGate(point.unit); }
      });
      svg.addEventListener("pointerleave", () => { nearest.setAttribute("visibility", "hidden"); noteGate(unit); });
      svg.addEventListener("click", (event) => { const point = pointAt(event); if (point) pick(point.unit); });
      plots.push({ name, points, ring });
      $("gate-plots").append(svg);
    }
  }

  /** Let the plots fill the window, for a lecture hall, and go back to their place. */
  function wireSize() {
    const wide = $("wide"), button = $("gate-size");
    wide.addEventListener("close", () => { $("gate-place").append($("gate-sheet")); button.textContent = "larger"; });
    button.addEventListener("click", () => {
      if (wide.open) { wide.close(); return; }
      wide.append($("gate-sheet"));
      button.textContent = "close";
      wide.showModal();
    });
  }

  function drawRings() {
    for (const plot of plots) {
      const point = plot.points[unit];
      plot.ring.setAttribute("cx", point.x);
      plot.ring.setAttribute("cy", point.y);
    }
    noteGate(unit);
  }

  function noteGate(one) {
    if (!plots.length) return;
    $("gate-note").textContent = `Unit ${nameOf(one)}: ` + plots.map(({ name, points }) =>
      `${name} shut ${percent(points[one].shut)}, open ${percent(points[one].open)}`).join("; ");
  }

  // ---- looks

  const looks = Common.wireLooks(data.scales, data.first_scale, ({ plus, minus }) => {
    $("legend-minus").textContent = MOST ? "0" : "\u22121";
    $("legend-plus").textContent = MOST ? `${MOST} bits or more` : "+1";
    $("legend").title = MOST ? `${plus}: what surprised the reader` : `${minus}: \u22121, ${plus}: +1`;
    if (MOST) $("scale").textContent = `Colours: ${plus}`;
    if (unit >= 0) drawOverview();
  });

  function wireKeys() {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target === $("pick")) return;
      const acts = {
        n: () => pick(target + 1), "]": () => pick(target + 1), p: () => pick(target - 1), "[": () => pick(target - 1),
        "/": () => $("pick").focus(), c: () => $("scale").click(), t: () => $("theme").click(),
        Escape: () => {
          if ($("wide").open) { $("wide").close(); return; }
          getSelection().removeAllRanges();
          clearChoice();
        },
      };
      if (!(event.key in acts)) return;
      event.preventDefault();
      acts[event.key]();
    });
  }

  // ---- beginning

  async function begin() {
    $("model").textContent = data.model_line;
    $("text").setAttribute("aria-label", `The text, ${counted(N, "character")}`);
    $("precision").textContent = `${counted(N, "character")}, ${counted(data.layers, "layer")} of ${counted(H, "unit")}. ` +
      `Values are rounded to steps of ${data.step}.`;
    for (let k = 0; k < (MOST ? 6 : 5); k++) {
      $("guesses").append(element("li", {}, element("code"), element("span", { className: "track" }, element("i")), element("b")));
    }
    if (matchMedia("(max-width: 860px)").matches) { $("found").open = false; $("gates").open = false; }
    if (MOST) becomeSurprisal();
    looks.dress();
    layOut();
    layOutSheets();
    Common.listFound(found, H, units);
    drawGates();
    hintSelection();
    Common.wirePicker(units, {
      current: () => unit, target: () => target, pick, leave: () => $("text").focus({ preventScroll: true }),
    });
    wireText();
    wireOverview();
    wireSize();
    wireKeys();
    const heads = await Promise.all(lines.slice(0, HEAD).map(inflated));
    surprisal = new Float32Array(heads[0]);
    guessIds = new Uint32Array(heads[1]);
    guessShares = new Uint16Array(heads[2]);
    $("clear").addEventListener("click", () => { getSelection().removeAllRanges(); clearChoice(); });
    await pick(found.length ? found[0].layer * H + found[0].unit : 0, false);
    root.dataset.shown = "yes";
    await readAll();
    root.dataset.ready = "yes";
  }

  begin();
})();
