"use strict";
// What charrnn's pages share: words for characters and numbers, streams of numbers, light and dark, the picker of units
// and the list of those found. Text reaches the document through textContent alone, never as markup.
const Common = (() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  function element(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in made) made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // ---- streams: bytes, deflated, in base 85 (render/streams.py)

  /** Return a function that makes the bytes of a stream from its line. */
  function streamReader(alphabet) {
    const digits = new Uint8Array(128);
    [...alphabet].forEach((character, at) => { digits[character.charCodeAt(0)] = at; });
    const bytesOf = (line) => {
      const size = line.length, whole = Math.floor(size / 5), rest = size % 5;
      const bytes = new Uint8Array(whole * 4 + (rest ? rest - 1 : 0));
      let at = 0;
      for (let i = 0; i < size; i += 5) {
        let number = 0;
        for (let k = 0; k < 5; k++) number = number * 85 + (i + k < size ? digits[line.charCodeAt(i + k)] : 84);
        for (let shift = 24; shift >= 0 && at < bytes.length; shift -= 8) bytes[at++] = (number >>> shift) & 255;
      }
      return bytes;
    };
    return async (line) => {
      const stream = new Blob([bytesOf(line)]).stream().pipeThrough(new DecompressionStream("deflate"));
      return new Response(stream).arrayBuffer();
    };
  }

  // ---- words

  const signed = (value, digits) => (value > 0 ? "+" : value < 0 ? "\u2212" : "\u00a0") + Math.abs(value).toFixed(digits);
  const percent = (share) => share >= 0.0995 ? `${Math.round(100 * share)} %` : share >= 0.001 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %";
  const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ","); // toLocaleString takes 30 ms when it is first called
  const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
  const HIDDEN = /^[\p{C}\p{Zl}\p{Zp}]$/u;

  function codeOf(symbol) {
    return "U+" + symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  }

  function visible(symbol) {
    if (symbol.length > 1 && symbol.endsWith("\n")) return visible(symbol.slice(0, -1)); // an item's end
    if (symbol === "\n") return "\u21b5";
    if (symbol === "\t") return "\u2192";
    if (symbol === "\r") return "\u2190";
    if (symbol === " ") return "\u2423";
    const code = symbol.codePointAt(0);
    if (symbol.length === 1 && code < 32) return String.fromCodePoint(0x2400 + code);
    if (code === 127) return "\u2421";
    if (HIDDEN.test(symbol)) return codeOf(symbol);
    return symbol;
  }

  function spoken(symbol) {
    if (symbol.length > 1 && symbol.endsWith("\n")) return spoken(symbol.slice(0, -1));
    if (symbol === "\n") return "newline";
    if (symbol === "\t") return "tab";
    if (symbol === "\r") return "carriage return";
    if (symbol === " ") return "space";
    if (symbol === "\u00a0") return "no-break space";
    return HIDDEN.test(symbol) ? codeOf(symbol) : symbol;
  }

  let announcing = 0;

  function announce(words) {
    clearTimeout(announcing);
    announcing = setTimeout(() => { $("live").textContent = words; }, 250);
  }

  // ---- units: their names, those that were found, and the picker

  /** Names and findings of the units of L layers of H: found is a list of {signal, description, layer, unit, score, null, probe, kind, sign}. */
  function unitNames(found, layers, H) {
    const foundAs = new Map(); // unit -> the found entries that name it
    found.forEach((entry) => {
      const unit = entry.layer * H + entry.unit;
      foundAs.set(unit, [...(foundAs.get(unit) || []), entry]);
    });
    const entriesOf = (unit) => foundAs.get(unit) || [];
    const nameOf = (unit) => `${Math.floor(unit / H)}:${unit % H}`;
    const calledOf = (unit) => entriesOf(unit).map((entry) => entry.description || entry.signal).join("; ");
    return { count: layers * H, nameOf, calledOf, entriesOf, inOrder: [...new Set([...foundAs.keys(), ...Array(layers * H).keys()])] };
  }

  const MOST_OPTIONS = 150;

  /** Wire the combobox (WAI-ARIA 1.2) #pick, whose list #options holds the found units first, and the buttons beside it.

      units      of unitNames
      current()  the unit that is shown; target() the one asked for last
      pick(unit) shows one; leave() takes the focus away from the picker
      Returns {close}, which also writes the current unit's name into it. */
  function wirePicker(units, { current, target, pick, leave }) {
    const input = $("pick"), list = $("options");
    let options = [], active = 0;
    const searched = new Map(units.inOrder.map((one) => [one, (units.calledOf(one) + " " +
      units.entriesOf(one).map((entry) => entry.signal).join(" ")).toLowerCase()]));

    function open(query) {
      const wanted = query.trim().toLowerCase();
      const fits = units.inOrder.filter((one) => !wanted || units.nameOf(one).startsWith(wanted) || (isNaN(wanted[0]) && searched.get(one).includes(wanted)));
      options = fits.slice(0, MOST_OPTIONS);
      active = wanted ? 0 : Math.max(0, options.indexOf(current()));
      const items = options.map((one, at) => {
        const entries = units.entriesOf(one);
        const score = entries.length && entries[0].score !== null ? entries[0].score.toFixed(2) : "";
        return element("li", { id: `option-${at}`, role: "option" }, element("code", { textContent: units.nameOf(one) }),
          element("span", { textContent: units.calledOf(one) }), element("b", { textContent: score }));
      });
      if (!items.length) items.push(element("li", { className: "none", textContent: `no unit has this name: use 0:0 to ${units.nameOf(units.count - 1)}, or the name of a signal` }));
      if (fits.length > options.length) items.push(element("li", { className: "none", textContent: `and ${grouped(fits.length - options.length)} more: type more of the name` }));
      list.replaceChildren(...items);
      list.hidden = false;
      input.setAttribute("aria-expanded", "true");
      markActive();
    }

    function markActive() {
      [...list.children].forEach((item, at) => item.id && item.setAttribute("aria-selected", String(at === active)));
      const item = options.length ? list.children[active] : null;
      if (item) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
      else input.removeAttribute("aria-activedescendant");
    }

    function close() {
      list.hidden = true;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
      input.value = units.nameOf(current());
    }

    input.addEventListener("focus", () => { input.select(); open(""); });
    input.addEventListener("click", () => { if (list.hidden) { input.select(); open(""); } });
    input.addEventListener("input", () => open(input.value));
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) open("");
        else if (options.length) active = (active + (event.key === "ArrowDown" ? 1 : options.length - 1)) % options.length;
        markActive();
      } else if (event.key === "Enter" && !list.hidden && options.length) {
        event.preventDefault(); // a button that the focus goes to would take the key for a click
        const wanted = options[active];
        leave();
        pick(wanted);
      } else if (event.key === "Escape") {
        leave();
      }
      event.stopPropagation();
    });
    list.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus until the click
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li[role=option]");
      if (!item) return;
      const wanted = options[[...list.children].indexOf(item)];
      input.blur();
      pick(wanted);
    });
    $("previous").addEventListener("click", () => pick(target() - 1));
    $("next").addEventListener("click", () => pick(target() + 1));
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-unit]");
      if (button) pick(Number(button.dataset.unit));
    });
    return { close };
  }

  /** Fill #found: a button a unit, with its score beside what chance and a probe on all units reach. */
  function listFound(found, H, units) {
    $("found").hidden = !found.length;
    $("found-count").textContent = found.length ? `${found.length}` : "";
    const some = (name) => found.some((entry) => entry[name] !== null);
    $("found-key").replaceChildren("Bar: how well this unit follows the signal. ");
    if (some("null")) $("found-key").append(element("span", { className: "key-null" }), " the score of chance. ");
    if (some("probe")) $("found-key").append(element("span", { className: "key-probe" }), " the score of a probe that reads all units.");
    const at = (score) => `${100 * Math.max(0, Math.min(1, score))}%`;
    found.forEach((entry) => {
      const one = entry.layer * H + entry.unit, track = element("span", { className: "track" });
      const says = [];
      if (entry.score !== null) {
        const bar = element("i");
        bar.style.width = at(entry.score);
        track.append(bar);
        says.push(`${entry.kind ? entry.kind + " " : ""}${entry.score.toFixed(2)}`);
      }
      for (const [name, tag] of [["null", "u"], ["probe", "s"]]) {
        if (entry[name] === null) continue;
        const mark = element(tag);
        mark.style.left = at(entry[name]);
        track.append(mark);
        says.push(`${name === "null" ? "chance" : "probe"} ${entry[name].toFixed(2)}`);
      }
      const button = element("button", { type: "button", className: "find", title: `${entry.signal}: ${says.join(", ")}` },
        element("span", { className: "what", textContent: entry.description || entry.signal }),
        element("code", { textContent: units.nameOf(one) + (entry.sign < 0 ? " \u2193" : "") }),
        element("span", { className: "score" }, track, element("small", { textContent: says[0] || "" })));
      button.dataset.unit = one;
      $("found-list").append(element("li", {}, button));
    });
    if (found.some((entry) => entry.sign < 0)) $("found-key").append(" \u2193: the unit is low where the signal is on.");
  }

  /** Mark the buttons of the unit that is shown. */
  function pressUnit(unit) {
    for (const button of document.querySelectorAll("[data-unit]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.unit) === unit));
    }
  }

  // ---- looks: light or dark, and one of the scales of colours

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const THEMES = ["auto", "light", "dark"];

  /** Wire #theme and #scale. dressed(scale) is called whenever the page has put on other colours.

      scales   [{name, plus, minus}];  first  the number of the one to begin with
      Returns {dress}, to be called once when the page is ready for it. */
  function wireLooks(scales, first, dressed) {
    let theme = 0, scale = first;

    function dress() {
      root.dataset.theme = THEMES[theme] === "auto" ? (dark.matches ? "dark" : "light") : THEMES[theme];
      root.dataset.scale = scales[scale].name;
      $("theme").textContent = `Theme: ${THEMES[theme]}`;
      $("scale").textContent = `Colours: ${scales[scale].plus} / ${scales[scale].minus}`;
      dressed(scales[scale]);
    }

    $("theme").addEventListener("click", () => { theme = (theme + 1) % THEMES.length; dress(); });
    $("scale").addEventListener("click", () => { scale = (scale + 1) % scales.length; dress(); announce($("scale").textContent); });
    $("theme").title = "Light or dark (t)";
    $("scale").title = "Other colours, easier to tell apart for colour-blind readers (c)";
    dark.addEventListener("change", dress);
    return { dress };
  }

  return { $, root, element, streamReader, signed, percent, grouped, counted, codeOf, visible, spoken, announce, unitNames, wirePicker, listFound, pressUnit, wireLooks };
})();
