// The behaviour of a living page: what is typed and asked goes to the engine, in a worker; what it tells is shown.
// start.js, common.js, sheet.js and compare.js stand before this. The messages are described in engine.js.
(() => {
  const { $, root, element, percent, grouped, counted, visible, spoken, signed, announce } = Common;
  const { header } = Start, looks = JSON.parse($("looks").textContent);
  const H = header.units, L = header.layers, COLOURS = looks.colours, MOST_BITS = 8, LN2 = Math.log(2);
  const PACES = [10, 30, 60, 120, 300, 0];
  const translates = header.task === "translate", classifies = header.task === "classify" || header.task === "both";
  const writes = header.task !== "classify", steers = header.task === "steer";
  const labels = (header.vocabulary || {}).labels || [];
  const found = (header.found || []).map((one) => ({ ...one, description: one.phrase || one.signal, kind: one.measure || "",
    score: one.score ?? null, null: one.null ?? null, probe: one.probe ?? null, sign: one.sign || 1 }));
  const units = Common.unitNames(found, L, H);
  const counts = header.is_items && !translates; // a length is in items
  const box = $("box");

  // ---- the engine, which start.js has started

  const failed = (problem) => complain(`The model has stopped with an error: ${problem || "its worker could not be started"}. Reload the page.`);

  /** Return a worker beside the one at hand, with the same model. */
  function makeEngine(hear) {
    const worker = Start.another();
    Start.listen(worker, hear, failed);
    return worker;
  }

  let serial = 0, cutting = 0; // numbers of messages: "steps" of those before the last one that cut the text are stale

  function tell(message, cuts = false) {
    const request = ++serial;
    if (cuts) cutting = request;
    Start.worker.postMessage({ ...message, request });
    return request;
  }

  // ---- what is shown of a value

  let by = "unit", unit = -1, quantity = header.default_quantity, watching = 0;
  let chosen = null; // a quantity, in the menu; null: of each unit the one in which it was found
  const isShare = (name) => header.sigmoids.includes(name); // 0 to 1; the others: about -1 to 1
  const shownValue = (value) => Math.max(-1, Math.min(1, isShare(quantity) ? 2 * value - 1 : value)) || 0;

  function classOf(value, nats) {
    const of = by === "unit" ? shownValue(value) : by === "surprisal" ? Math.min(1, (nats || 0) / LN2 / MOST_BITS) : 0;
    const step = Math.round(of * COLOURS);
    return step > 0 ? `p${step}` : step < 0 ? `m${-step}` : "";
  }

  const text = new Sheet({
    holder: $("text"), box, changed: afterDrawing, guesses: header.guesses,
    colourOf: (i) => classOf(text.values.items[i], text.surprisal.items[i]),
  });
  const comparison = new Comparison({ makeEngine, colourOf: classOf });

  // ---- hearing the engine

  let upcoming = null, writing = 0, lastRate = 0, loaded = false, wasWritten = 0;

  const heard = {
    ready() {
      loaded = true;
      $("write").disabled = box.disabled = false;
      root.dataset.ready = "yes";
    },
    steps(message) {
      if (message.request < cutting || message.at > text.total) return;
      text.take(message);
      if (message.drawn[0]) {
        wasWritten += message.drawn.length;
        text.isStale = true;
      }
    },
    next(message) {
      if (!(message.request < cutting)) {
        upcoming = message;
        // What was typed and is not among the entries was left out; an answer to settings may come before all is read.
        if (message.request === cutting || message.request === writing) text.truncate(message.at);
        if (!composing && !writing) text.syncBox();
      }
      showSoon();
    },
    values(message) {
      if (message.request === watching) text.takeValues(message);
      showSoon();
    },
    done({ request, seconds, count, reason }) {
      if (request !== writing) return;
      lastRate = seconds > 0 && count > 20 ? count / seconds : 0;
      writing = 0;
      if (!composing) text.syncBox();
      lookWriting();
      if (reason !== "edited") announce(`Wrote ${counted(count, "character")}.`);
      showSoon();
    },
    "left-out"({ symbols, count }) {
      const named = [...new Set(symbols)].slice(0, 8).map((symbol) => `\u201c${visible(symbol)}\u201d (${spokenOrCode(symbol)})`);
      complain(`This model does not know ${named.join(", ")}: ${count === 1 ? "the character was" : `${grouped(count)} characters were`} left out.`);
    },
    refused({ problem }) {
      complain(problem);
    },
  };

  const spokenOrCode = (symbol) => spoken(symbol) === symbol ? Common.codeOf(symbol) : spoken(symbol);

  function complain(words) {
    $("problem").textContent = words;
    $("problem").hidden = !words;
  }

  // ---- writing

  const lengthAsked = () => Math.floor(Number($("length").value)) || 0;
  let left = 0; // of the characters asked for

  function write(count = lengthAsked()) {
    if (writing || !writes) return;
    complain("");
    text.isStale = true;
    if (translates) {
      const end = text.firstSpecial();
      if (end >= 0) cutTo(end);
    }
    wasWritten = 0;
    left = count;
    writing = tell({ type: "generate", ...(!count ? {} : counts ? { items: count - 1 } : { count }), rate: PACES[$("pace").value] });
    lookWriting();
  }

  function stop() {
    if (writing) tell({ type: "stop" });
  }

  const writeOrStop = () => writing ? stop() : write();

  function lookWriting() {
    root.classList.toggle("writing", Boolean(writing));
    root.dataset.writing = writing ? "yes" : "no";
    const goesOn = text.count && text.written.items[text.count - 1];
    $("write").textContent = writing ? "Stop" : translates ? "Translate" : goesOn ? "Go on" : "Write";
    $("write").title = writing ? "Stop writing (Ctrl+Enter)" : "Let the model write (Ctrl+Enter)";
    follow = true;
  }

  /** Keep so many entries, and read nothing more. */
  function cutTo(keep) {
    writing = 0;
    text.truncate(keep);
    tell({ type: "edit", keep, text: "" }, true);
    text.syncBox();
    lookWriting();
  }

  /** Return how many entries stand before the first that was written: the beginning. */
  function beginning() {
    let i = 0;
    while (i < text.count && !text.written.items[i] && !text.kinds.items[i]) i++;
    return i;
  }

  const promptText = () => {
    const i = beginning();
    return fromBox(i < text.count ? text.string.slice(0, text.start(i)) : text.string);
  };

  function beginAgain(label = $("label").value, prompt = "") {
    writing = 0;
    text.truncate(0);
    tell({ type: "begin", ...(steers && label ? { label } : {}) }, true);
    if (prompt) {
      text.edit(inBox(prompt));
      tell({ type: "edit", keep: 0, text: prompt }, true);
    }
    box.value = text.string;
    lookWriting();
    showSoon();
  }

  function takeBack() {
    if (!text.count) return;
    const last = text.written.items[text.count - 1];
    let keep = text.count;
    while (keep > 0 && text.written.items[keep - 1] === last) keep--;
    cutTo(keep);
    showSoon();
  }

  function another() {
    $("seed").value = newSeed();
    tellSettings();
    cutTo(beginning());
    write();
  }

  // ---- typing

  let composing = false;

  function edited() {
    if (!loaded) return;
    const now = box.value;
    if (now === text.string) return;
    complain("");
    writing = 0;
    const { keep, rest } = text.edit(now);
    tell({ type: "edit", keep, text: fromBox(rest) }, true);
    lookWriting();
    root.dataset.edits = Number(root.dataset.edits || 0) + 1;
    if (translates) {
      clearTimeout(translating);
      translating = setTimeout(() => { if (text.count) write(); }, 500);
    }
  }

  let translating = 0;

  function wireBox() {
    const fresh = () => { if (text.isStale) text.syncBox(); };
    for (const kind of ["pointerdown", "keydown", "beforeinput", "focus", "copy", "cut"]) box.addEventListener(kind, fresh, true);
    box.addEventListener("compositionstart", () => { fresh(); composing = true; });
    box.addEventListener("compositionend", () => { composing = false; edited(); });
    box.addEventListener("input", () => edited());
    let point = null;
    const look = () => {
      if (!point) return;
      const [x, y] = point;
      point = null;
      hover(text.entryUnder(x, y));
    };
    box.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      if (!point) requestAnimationFrame(look);
      point = [event.clientX, event.clientY];
    });
    box.addEventListener("pointerleave", () => { point = null; hover(-1); });
    document.addEventListener("selectionchange", () => { if (document.activeElement === box) showSoon(); });
    $("sheet").addEventListener("click", (event) => { if (event.target === $("sheet")) box.focus(); });
  }

  function hover(i) {
    if (i === text.hovered) return;
    text.hover(i);
    showSoon();
  }

  // ---- settings

  const newSeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0] % 100000);
  const temperature = () => Number($("temperature").value);

  function settings() {
    const top_k = Math.floor(Number($("top-k").value)) || null;
    const seed = $("seed").value.trim();
    return { temperature: temperature(), top_k: top_k && Math.max(1, top_k), top_p: Number($("top-p").value), seed: /^\d+$/.test(seed) ? seed : "0" };
  }

  function tellSettings() {
    showDials();
    tell({ type: "settings", ...settings() });
  }

  function showDials() {
    $("temperature-value").textContent = temperature() ? temperature().toFixed(2) : "greedy";
    $("top-p-value").textContent = Number($("top-p").value) < 1 ? Number($("top-p").value).toFixed(2) : "all";
    const pace = PACES[$("pace").value];
    $("pace-value").textContent = pace ? `${pace}/s` : "full";
    $("pace").setAttribute("aria-valuetext", pace ? `${pace} characters per second` : "as fast as it goes");
    showCommandSoon();
  }

  function wireSettings() {
    for (const id of ["temperature", "top-p", "top-k"]) $(id).addEventListener("input", tellSettings);
    $("seed").addEventListener("change", () => {
      const seed = $("seed").value.trim();
      const good = /^\d+$/.test(seed) && BigInt(seed) < 2n ** 64n;
      $("seed").setAttribute("aria-invalid", String(!good));
      complain(good ? "" : `A seed is a whole number from 0 to 18446744073709551615, got \u201c${seed}\u201d: the page uses 0 instead.`);
      tellSettings();
    });
    $("dice").addEventListener("click", () => { $("seed").value = newSeed(); tellSettings(); });
    $("length").addEventListener("input", showCommandSoon);
    $("pace").addEventListener("input", () => {
      showDials();
      if (!writing) return;
      const rest = counts ? 1 : left ? Math.max(1, left - wasWritten) : 0;
      stop();
      writing = 0;
      write(rest);
    });
  }

  // ---- the unit that is watched, and units that are held

  const holds = new Map(); // unit -> value

  function pick(wanted, say = true) {
    unit = ((wanted % units.count) + units.count) % units.count;
    watch();
    $("pick").value = units.nameOf(unit);
    if (by !== "unit") setBy("unit");
    Common.pressUnit(unit);
    nameUnit();
    if (!holds.has(unit)) $("hold-at").value = levelOf("on") ?? 1;
    showHold();
    if (say) announce(`Unit ${units.nameOf(unit)}${units.calledOf(unit) ? ", " + units.calledOf(unit) : ""}`);
  }

  const isState = (name) => ["h", "c", "tanh-c"].includes(name);
  const quantityName = (name) => name === "tanh-c" ? "tanh(c)" : isState(name) ? name : `gate ${name}`;

  function watch() {
    const entry = units.entriesOf(unit)[0];
    quantity = chosen || (entry && header.quantities.includes(entry.quantity) && entry.quantity) || header.default_quantity;
    $("quantity").value = quantity;
    watching = tell({ type: "watch", layer: Math.floor(unit / H), unit: unit % H, quantity });
  }

  function setQuantity(name) {
    chosen = name;
    watch();
    setBy("unit");
    announce(`Unit ${units.nameOf(unit)}, ${quantityName(quantity)}`);
  }

  function wireQuantity() {
    const names = header.quantities;
    $("quantity").append(...names.map((name) => element("option", { value: name, textContent: quantityName(name) })));
    $("quantity").hidden = names.length < 2;
    $("quantity").addEventListener("change", () => setQuantity($("quantity").value));
  }

  function nameUnit() {
    const called = units.calledOf(unit);
    if (by === "surprisal") {
      $("unit-name").textContent = "Surprise";
      $("unit-note").textContent = "how surprising each character was, in bits";
    } else if (by === "none") {
      $("unit-name").textContent = $("unit-note").textContent = "";
    } else {
      $("unit-name").textContent = called || `Unit ${units.nameOf(unit)}`;
      $("unit-note").textContent = called ? `unit ${units.nameOf(unit)}` : "";
    }
    $("legend-minus").textContent = by === "surprisal" || isShare(quantity) ? "0" : (quantity === "c" ? "\u2264 " : "") + "\u22121";
    $("legend-plus").textContent = by === "surprisal" ? `${MOST_BITS} bits` : isShare(quantity) ? "1" : (quantity === "c" ? "\u2265 " : "") + "+1";
    $("value-name").textContent = `unit ${units.nameOf(unit)}`;
  }

  function setBy(wanted) {
    by = wanted;
    root.dataset.by = by;
    document.querySelector(`input[name=by][value=${by}]`).checked = true;
    nameUnit();
    text.recolour();
    comparison.recolour();
    showSoon();
  }

  /** Return at what the unit is usually held where its signal is "on" or "off", undefined where that is not known. */
  function levelOf(name) {
    const entry = units.entriesOf(unit)[0];
    return entry && entry.quantity === header.default_hold && typeof entry[name] === "number" ? Math.max(-1, Math.min(1, entry[name])) : undefined;
  }

  function showHold() {
    const held = holds.has(unit);
    $("hold-on").checked = held;
    $("hold-name").textContent = units.nameOf(unit);
    if (held) $("hold-at").value = holds.get(unit);
    $("hold-value").textContent = signed(Number($("hold-at").value), 2);
    const others = [...holds].filter(([one]) => one !== unit);
    for (const name of ["off", "on"]) {
      const level = levelOf(name);
      $(`level-${name}`).hidden = level === undefined;
      if (level !== undefined) $(`level-${name}`).textContent = `${name}: ${signed(level, 2)}`;
    }
    $("held-list").replaceChildren(...others.map(([one, value]) => {
      const free = element("button", { type: "button", className: "small", textContent: `${units.nameOf(one)} at ${signed(value, 2)} \u00d7`,
        title: `Release unit ${units.nameOf(one)}`, "aria-label": `Release unit ${units.nameOf(one)}, held at ${value}` });
      free.addEventListener("click", () => { holds.delete(one); tellHolds("start"); });
      return element("li", {}, free);
    }));
    $("held-list").hidden = !others.length;
    $("compare-open").textContent = holds.size > 1 || (holds.size && !held) ? "Write with and without these held units" : "Write with and without this held unit";
    showCommandSoon();
  }

  const holdMessages = (of = holds) => [...of].map(([one, value]) => ({ layer: Math.floor(one / H), unit: one % H, value, quantity: header.default_hold }));

  /** Tell the holds. from "start" the text is read again with them; from "now" its last character only. */
  function tellHolds(from) {
    const cuts = from === "start" && !writing && text.count > 0;
    if (cuts) {
      text.syncBox();
      text.rewind(0);
    }
    tell({ type: "hold", holds: holdMessages(), from: cuts ? "start" : "now" }, cuts);
    showHold();
  }

  function wireHold() {
    let waiting = false;
    $("hold-on").addEventListener("change", () => {
      if ($("hold-on").checked) holds.set(unit, Number($("hold-at").value)); else holds.delete(unit);
      tellHolds("start");
    });
    $("hold-at").addEventListener("input", () => {
      holds.set(unit, Number($("hold-at").value));
      showHold();
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; tellHolds("now"); });
    });
    $("hold-at").addEventListener("change", () => tellHolds("start"));
    for (const name of ["off", "on"]) {
      $(`level-${name}`).addEventListener("click", () => { holds.set(unit, levelOf(name)); tellHolds("start"); });
    }
    $("compare-open").addEventListener("click", () => {
      const held = new Map(holds.size ? holds : [[unit, Number($("hold-at").value)]]);
      const name = [...held].map(([one, value]) => `${units.nameOf(one)} held at ${signed(value, 2)}`).join(", ");
      comparison.show({
        label: steers ? $("label").value : undefined, settings: settings(), holds: holdMessages(held), prompt: promptText(), name, title: "Without and with the held unit",
        watch: { layer: Math.floor(unit / H), unit: unit % H, quantity }, count: Math.min(lengthAsked() || 400, 600), rate: PACES[$("pace").value],
      });
    });
    $("compare-close").addEventListener("click", () => { comparison.close(); $("compare-open").focus(); });
  }

  // ---- what is beside the text: the character pointed at, what comes next, how it is going

  let showing = false;

  function showSoon() {
    if (showing) return;
    showing = true;
    requestAnimationFrame(() => { showing = false; show(); });
  }

  function entryShown() {
    if (text.hovered >= 0 && text.hovered < text.count) return text.hovered;
    if (document.activeElement === box && !writing && box.selectionStart > 0 && box.selectionStart < text.string.length) return text.entryAt(box.selectionStart - 1);
    return -1;
  }

  function show() {
    const pointed = entryShown(), i = pointed >= 0 ? pointed : text.count - 1;
    if (i >= 0) {
      const symbol = fromBox(text.symbols[i]), glyph = $("glyph"), shown = visible(symbol) || "\u2026";
      glyph.textContent = shown;
      glyph.className = `${classOf(text.values.items[i], text.surprisal.items[i])} ${shown.length > 2 ? "long" : ""}`;
      const name = spoken(symbol);
      $("char-name").textContent = !symbol ? "part of a character" : name === symbol ? `\u201c${symbol}\u201d` : name;
      $("char-place").textContent = `${text.written.items[i] ? "written" : "typed"}, no. ${grouped(i + 1)}`;
      const value = text.values.items[i], of = shownValue(value);
      $("value").textContent = Number.isNaN(value) ? "\u2013" : signed(value, 2);
      const bar = $("value-axis").firstElementChild;
      bar.style.left = `${50 + 50 * Math.min(0, of)}%`;
      bar.style.width = `${50 * Math.abs(of)}%`;
      bar.className = of > 0 ? `p${COLOURS}` : `m${COLOURS}`;
      const bits = text.surprisal.items[i] / LN2;
      $("surprisal").textContent = Number.isFinite(bits) ? `${bits.toFixed(2)} bits` : "\u2013";
      $("surprisal-track").firstElementChild.style.width = Number.isFinite(bits) ? `${Math.min(100, bits * 10)}%` : "0";
      $("surprisal-track").title = Number.isFinite(bits) ? `the model gave it a probability of ${percent(2 ** -bits)}` : "";
    }
    document.querySelector(".char").hidden = document.querySelector("#here .facts").hidden = i < 0;
    if (pointed >= 0) showExpected(pointed); else showNext();
    showLabels();
    showStatus();
  }

  function fillGuess(row, symbol, share, mark, came) {
    const [, code, track, b] = row.children;
    row.hidden = false;
    row.classList.toggle("came", came);
    code.textContent = visible(symbol);
    track.firstElementChild.style.width = `${100 * share}%`;
    track.lastElementChild.hidden = mark === null;
    if (mark !== null) track.lastElementChild.style.left = `${100 * mark}%`;
    b.textContent = percent(share);
  }

  const rows = [], offered = [];  // what the rows show, which may be a frame older than `upcoming`

  function showNext() {
    $("guesses-label").textContent = "What comes next";
    const off = Boolean(upcoming) && rows.some((_, k) => Math.abs(upcoming.p[k] - upcoming.q[k]) > 0.004);
    $("doubt").textContent = upcoming ? `${(upcoming.entropy / LN2).toFixed(1)} bits of uncertainty` : "";
    $("mark-note").classList.toggle("none", !off);
    $("doubt").title = "The entropy of the next character: 0 if the model is certain, 1 if it is as uncertain as a coin toss";
    rows.forEach((row, k) => {
      if (!upcoming || k >= upcoming.ids.length || !upcoming.symbols[k]) { row.hidden = true; return; }
      const { symbols, p, q } = upcoming, differs = Math.abs(p[k] - q[k]) > 0.004;
      fillGuess(row, symbols[k], q[k], differs ? p[k] : null, false);
      offered[k] = upcoming.ids[k];
      row.disabled = false;
      row.title = differs ? `${percent(p[k])} at temperature 1 with all characters allowed; ${percent(q[k])} with your settings` : "Click to insert it";
      row.setAttribute("aria-label", `Insert ${spoken(symbols[k])}, ${percent(q[k])}`);
    });
  }

  function showExpected(i) {
    const G = header.guesses;
    $("guesses-label").textContent = "What was expected here";
    $("mark-note").classList.add("none");
    $("doubt").textContent = "";
    rows.forEach((row, k) => {
      const id = text.guessed.items[i * G + k], share = text.chances.items[i * G + k];
      if (k >= G || !(share > 0) || Number.isNaN(text.surprisal.items[i])) { row.hidden = true; return; }
      fillGuess(row, header.shown[id], share, null, id === text.ids.items[i]);
      row.disabled = true;
      row.title = "";
      row.setAttribute("aria-label", `${spoken(header.shown[id])}, ${percent(share)}`);
    });
  }

  function takeGuess(k) {
    if (!upcoming || rows[k].hidden || rows[k].disabled || !loaded) return;
    complain("");
    writing = 0;
    tell({ type: "take", id: offered[k] });
    lookWriting();
  }

  function showLabels() {
    const told = classifies && upcoming && upcoming.labels;
    $("labels").hidden = !told;
    if (!told) return;
    const list = $("label-list"), shown = told.slice(0, 8);
    while (list.children.length < shown.length) {
      list.append(element("li", {}, element("span", { className: "name" }), element("span", { className: "track" }, element("i")), element("b")));
    }
    [...list.children].forEach((row, k) => {
      row.hidden = k >= shown.length;
      if (row.hidden) return;
      row.children[0].textContent = row.children[0].title = shown[k].name;
      row.children[1].firstElementChild.style.width = `${100 * shown[k].p}%`;
      row.children[2].textContent = percent(shown[k].p);
    });
  }

  let statusAt = 0;

  function showStatus() {
    const now = performance.now();
    if (writing && now - statusAt < 200) return;
    statusAt = now;
    const sums = [[0, 0, 0], [0, 0, 0]]; // characters, those predicted, their nats
    for (let i = 0; i < text.count; i++) {
      if (text.kinds.items[i]) continue;
      const of = sums[text.written.items[i]], nats = text.surprisal.items[i];
      of[0] += 1;
      if (nats === nats) { of[1] += 1; of[2] += nats; }
    }
    const said = [];
    const bits = ([, n, nats]) => n ? `, ${(nats / n / LN2).toFixed(2)} bits each` : "";
    if (sums[0][0]) said.push(`${grouped(sums[0][0])} typed${bits(sums[0])}`);
    if (sums[1][0]) said.push(`${grouped(sums[1][0])} written${bits(sums[1])}`);
    if (lastRate && !writing) said.push(`${grouped(Math.round(lastRate))} characters/s`);
    if (text.count < text.total) said.push("reading\u2026");
    $("status").textContent = said.join(" \u00b7 ");
    $("status").title = "Bits each: the mean surprisal of a character";
    showCommandSoon();
  }

  // ---- the end of the text stays in view while it is written, unless one has scrolled away

  let follow = true;

  function afterDrawing() {
    if (wasWritten && text.spans.length) root.dataset.first ||= Math.round(performance.now());
    if (writing && follow) {
      const below = text.tail.getBoundingClientRect().bottom + 48 - bottomOfView();
      if (below > 0) scrollBy(0, below);
    }
    showSoon();
  }

  const bottomOfView = () => matchMedia("(max-width: 860px)").matches ? $("now").getBoundingClientRect().top : innerHeight;

  function wireFollowing() {
    const away = () => { follow = text.tail.getBoundingClientRect().bottom < innerHeight + 40; };
    addEventListener("wheel", () => requestAnimationFrame(away), { passive: true });
    addEventListener("touchmove", () => requestAnimationFrame(away), { passive: true });
    addEventListener("keyup", (event) => { if (["PageUp", "PageDown", "Home", "End"].includes(event.key)) away(); });
  }

  // ---- the command, links and copies

  function shellQuoted(words) {
    if (/^[\w.:=/+-]+$/.test(words)) return words;
    if (!/[\x00-\x1f\x7f]/.test(words)) return `'${words.replaceAll("'", "'\\''")}'`;
    const escaped = { "\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'" };
    return `$'${words.replace(/[\x00-\x1f\x7f\\']/g, (one) => escaped[one] || `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`)}'`;
  }

  function command() {
    const { temperature: t, top_k, top_p, seed } = settings(), prompt = promptText();
    const run = (header.run && header.run.name) || header.title || "RUN";
    let written = 0;
    for (let i = 0; i < text.count; i++) written += text.written.items[i] && !text.kinds.items[i] ? 1 : 0;
    const parts = ["charrnn sample", shellQuoted(run), "--seed", seed];
    if (t !== 1) parts.push("--temperature", String(t));
    if (t && top_k) parts.push("--top-k", String(top_k));
    if (t && top_p < 1) parts.push("--top-p", String(top_p));
    if (counts) parts.push("--num-samples", String(itemsBegun() || lengthAsked() || 1));
    else parts.push("--length", String(written || lengthAsked() || 1000));
    if (steers && $("label").value) parts.push("--given", shellQuoted($("label").value));
    if (prompt) parts.push("--prime", shellQuoted(prompt));
    for (const [one, value] of holds) parts.push("--clamp", `${units.nameOf(one)}=${value}`);
    return parts.join(" ");
  }

  /** Return how many items the text has, the one at its end included. */
  function itemsBegun() {
    let items = text.count ? 1 : 0;
    for (let i = 0; i < text.count - 1; i++) items += text.kinds.items[i] === 3 ? 1 : 0;
    return items;
  }

  let commanding = 0;

  function showCommandSoon() {
    if (commanding || !loaded) return;
    commanding = setTimeout(() => {
      commanding = 0;
      if ($("command").open) $("command-line").textContent = command();
    }, 150);
  }

  function link() {
    const { temperature: t, top_k, top_p, seed } = settings(), hash = new URLSearchParams();
    hash.set("prompt", promptText());
    hash.set("seed", seed);
    hash.set("temperature", t);
    if (top_k) hash.set("top-k", top_k);
    if (top_p < 1) hash.set("top-p", top_p);
    let written = 0;
    for (let i = beginning(); i < text.count; i++) written += text.written.items[i];
    hash.set("length", (counts ? 0 : written) || lengthAsked() || "");
    if (!written) hash.set("write", "0");
    hash.set("unit", units.nameOf(unit));
    if (chosen) hash.set("quantity", chosen);
    if (by !== "unit") hash.set("by", by);
    if (steers && $("label").value) hash.set("label", $("label").value);
    for (const [one, value] of holds) hash.append("hold", `${units.nameOf(one)}=${value}`);
    return `#${hash}`;
  }

  const unitNamed = (name) => {
    const match = /^(\d+):(\d+)$/.exec(name || "");
    return match && Number(match[1]) < L && Number(match[2]) < H ? Number(match[1]) * H + Number(match[2]) : -1;
  };

  /** Bring back the state that a link names; what it leaves out is as the page opens. */
  function restore(hash) {
    const asked = new URLSearchParams(hash.slice(1)), number = (name, otherwise) => {
      const value = parseFloat(asked.get(name));
      return Number.isFinite(value) ? value : otherwise;
    };
    $("temperature").value = number("temperature", header.temperature ?? 1);
    $("top-p").value = number("top-p", 1);
    $("top-k").value = asked.get("top-k") || "";
    $("length").value = asked.has("length") ? asked.get("length") : translates ? "" : counts ? 5 : 600;
    $("seed").value = /^\d+$/.test(asked.get("seed") || "") ? asked.get("seed") : header.seed ?? newSeed();
    $("pace").value = number("speed", 2);
    if (labels.includes(asked.get("label"))) $("label").value = asked.get("label");
    holds.clear();
    for (const hold of asked.getAll("hold")) {
      const [name, value] = hold.split("="), one = unitNamed(name);
      if (one >= 0 && Math.abs(Number(value)) <= 1) holds.set(one, Number(value));
    }
    chosen = header.quantities.includes(asked.get("quantity")) ? asked.get("quantity") : null;
    const wanted = unitNamed(asked.get("unit"));
    pick(wanted >= 0 ? wanted : found.length ? found[0].layer * H + found[0].unit : 0, false);
    setBy(["unit", "surprisal", "none"].includes(asked.get("by")) ? asked.get("by") : "unit");
    tellSettings();
    tell({ type: "hold", holds: holdMessages(), from: "now" });
    const prompt = asked.has("prompt") ? asked.get("prompt") : header.prime || "";
    beginAgain($("label").value, prompt);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches && !hash;
    return asked.get("write") !== "0" && !still && (!translates || prompt) && writes;
  }

  async function copy(words, button) {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const spare = element("textarea", { value: words, className: "unseen" });
      document.body.append(spare);
      spare.select();
      document.execCommand("copy");
      spare.remove();
      button.focus();
    }
    button.textContent = "Copied";
    announce("Copied");
    setTimeout(() => { button.textContent = said; }, 1200);
  }

  function wireTools() {
    $("write").addEventListener("click", writeOrStop);
    $("back").addEventListener("click", takeBack);
    $("clear").addEventListener("click", () => { beginAgain(); box.focus(); });
    $("again").addEventListener("click", another);
    $("copy").addEventListener("click", () => copy(fromBox(text.string), $("copy")));
    $("share").addEventListener("click", () => {
      ownHash = link();
      location.hash = ownHash;
      copy(location.href, $("share"));
    });
    $("command-copy").addEventListener("click", () => copy(command(), $("command-copy")));
    $("command").addEventListener("toggle", showCommandSoon);
    addEventListener("hashchange", () => {
      if (location.hash === ownHash || decodeURI(location.hash) === decodeURI(ownHash)) return;
      if (restore(location.hash)) write();
    });
  }

  let ownHash = "";

  // ---- keys

  function wireKeys() {
    document.addEventListener("keydown", (event) => {
      const digit = /^(?:Digit|Numpad)([1-5])$/.exec(event.code || "");
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        writeOrStop();
      } else if (digit && event.altKey && !event.metaKey) {
        event.preventDefault();
        takeGuess(Number(digit[1]) - 1);
      } else if (event.key === "Escape" && event.target === box) {
        if (writing) stop(); else $("write").focus();
      } else if (!event.ctrlKey && !event.altKey && !event.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.type === "radio") {
        const acts = {
          w: writeOrStop, n: () => pick(unit + 1), "]": () => pick(unit + 1), p: () => pick(unit - 1), "[": () => pick(unit - 1),
          "/": () => $("pick").focus(), c: () => $("scale").click(), t: () => $("theme").click(), h: () => $("hold-on").click(),
          q: () => setQuantity(header.quantities[(header.quantities.indexOf(quantity) + 1) % header.quantities.length]),
          s: () => setBy(by === "surprisal" ? "unit" : "surprisal"), Escape: stop,
        };
        for (let k = 1; k <= 5; k++) acts[k] = () => takeGuess(k - 1);
        if (!Object.hasOwn(acts, event.key)) return;
        event.preventDefault();
        acts[event.key]();
      }
    });
  }

  // ---- facts

  function listFacts() {
    const run = header.run || {}, weighed = header.weights || {};
    const nats = (value) => `${value.toFixed(4)} nats per character (${(value / LN2).toFixed(3)} bits)`;
    const facts = [
      ["Cell", header.cell_title || header.cell],
      ["Size", `${counted(L, "layer")} of ${counted(H, "unit")}, ${header.parameters ? grouped(header.parameters) + " parameters" : ""}`],
      ["Reads", `${counted(header.vocab_size, (header.vocabulary || {}).mode === "bytes" ? "byte" : "symbol")}${header.embedding_size ? `, each as ${header.embedding_size} numbers` : ""}${header.tied ? ", tied with the output" : ""}`],
      ["Also", [header.layer_norm && "layer normalisation", header.zoneout && `zoneout ${header.zoneout}`].filter(Boolean).join(", ")],
      ["Text", [run.text || []].flat().join(", ")],
      ["Trained", [run.steps && counted(run.steps, "step"), run.minutes && `${run.minutes} minutes`, run.date && `saved on ${run.date}`].filter(Boolean).join(", ")],
      ["Validation", run.validation_loss_nats ? nats(run.validation_loss_nats) : ""],
      ["Weights", weighed.kind ? `stored as ${weighed.kind}` + (weighed.cost_nats === undefined || weighed.cost_nats === null ? "" :
        `, which changes the loss by ${signed(weighed.cost_nats, 5)} nats per character` + (weighed.characters ? `, measured on ${grouped(weighed.characters)} held-out characters` : "")) : ""],
      ["Trained by", run.command],
    ];
    $("fact-list").append(...facts.filter(([, words]) => words).flatMap(([name, words]) => [element("dt", { textContent: name }), element("dd", { textContent: words })]));
    $("command-note").textContent = `The same seed gives the same text at first. Later, the rounding of numbers${weighed.kind && weighed.kind !== "float32" ? `, here of the weights to ${weighed.kind},` : ""} may change a character, and what follows then differs.`;
  }

  // ---- beginning

  function begin() {
    $("model").textContent = header.model_line || "";
    $("label-row").hidden = !steers;
    $("label").append(...labels.map((name) => element("option", { value: name, textContent: name })));
    $("label").addEventListener("change", () => { beginAgain(); write(); });
    box.placeholder = classifies ? "Type or paste a text, and see which label the model gives it." : translates ? "Type a text to translate." : "Type a beginning, and press Write.";
    for (let k = 0; k < header.guesses; k++) {
      const row = element("button", { type: "button", className: "guess", hidden: true }, element("kbd", { textContent: String(k + 1) }), element("code"),
        element("span", { className: "track" }, element("i"), element("u")), element("b"));
      row.addEventListener("click", () => takeGuess(k));
      rows.push(row);
      $("guesses").append(element("li", {}, row));
    }
    if (matchMedia("(max-width: 860px)").matches) $("found").open = false;
    if (translates || !writes) for (const id of ["again", "settings", "command"]) $(id).hidden = true;
    if (!writes) for (const id of ["write", "compare-open"]) $(id).hidden = true;
    if (counts) document.querySelector("label[for=length]").textContent = "Items";
    Common.wireLooks(looks.scales, looks.first_scale, ({ plus, minus }) => {
      $("legend").title = `${minus}: low, ${plus}: high`;
    }).dress();
    Common.listFound(found, H, units);
    if (!found.length && header.found_note) {
      $("found").hidden = false;
      $("found-key").textContent = header.found_note;
    }
    listFacts();
    lookWriting();
    Common.wirePicker(units, { current: () => unit, target: () => unit, pick, leave: () => $("write").focus({ preventScroll: true }) });
    for (const radio of document.querySelectorAll("input[name=by]")) radio.addEventListener("change", () => setBy(radio.value));
    wireQuantity();
    wireBox();
    wireSettings();
    wireHold();
    wireTools();
    wireFollowing();
    wireKeys();
    if (restore(location.hash)) write();
    const start = heard.ready;
    heard.ready = (message) => {
      start(message);
      if (!matchMedia("(pointer: coarse)").matches) box.focus({ preventScroll: true });
      showSoon();
    };
    Start.listen(Start.worker, (message) => { if (heard[message.type]) heard[message.type](message); }, failed);
  }

  begin();
})();
