// Copyright 2026 The verl-htpo authors
// SPDX-License-Identifier: Apache-2.0
// The page of dumped tokens. `pack.py` writes what `unpack` reads; `dump.py` says what a token's rule is.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const RULES = ["kept", "clipped", "replaced", "detached"];
// Low entropy pale, high entropy darker: in grey too. Hue: hard-correct, hard-wrong, easy-correct, easy-wrong.
const GROUP_COLOURS = ["", "#e3eefb", "#86b6e8", "#fde4e0", "#ee9384", "#e2f3e3", "#83c58c", "#ece6f7", "#b39ad9"];
const form = document.getElementById("controls");
const list = document.getElementById("responses");
const view = { colour: "group", step: "", prompt: "", answer: "", difficulty: "", group: "", rule: "" };

async function unpack() {
  const text = atob(document.getElementById("packed").textContent.trim());
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = new DataView(raw.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + size)));
  const count = head.responses.reduce((sum, response) => sum + response.tokens, 0);
  const numbers = halfTable();
  const columns = {};
  let place = 4 + size;
  for (const name of head.columns) {
    const planes = name === "token" && head.wide ? 4 : 2;
    const values = new Uint32Array(count);
    for (let plane = 0; plane < planes; plane++, place += count) {
      for (let i = 0; i < count; i++) values[i] |= raw[place + i] << (8 * plane);
    }
    const whole = name === "token" || name === "state";
    columns[name] = whole ? values : Float32Array.from(values, (value) => numbers[value]);
  }
  return { head, columns };
}

/** Value of every half-precision number. */
function halfTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, mantissa = bits & 1023, sign = bits >> 15 ? -1 : 1;
    if (exponent === 31) table[bits] = mantissa ? NaN : sign * Infinity;
    else table[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + mantissa / 1024) : 2 ** -14 * (mantissa / 1024));
  }
  return table;
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in element && key !== "list") element[key] = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function start({ head, columns }) {
  const { vocabulary, responses, bits } = head;
  const colours = ["group", "entropy", "weight", ...["thr"].filter((name) => columns[name])];
  // An advantage transform's weight where the run has one, else how strongly the update pushes the token.
  const weightColumn = columns.weight || columns.push;
  // A weight of 1 changes nothing.
  const neutral = { weight: columns.weight ? 1 : 0, thr: 0 };
  let first = 0;
  for (const response of responses) {
    response.first = first;
    first += response.tokens;
  }
  const prompts = [];
  for (const response of responses) {
    if (response.text !== undefined) prompts[response.prompt] = { text: response.text, step: response.step };
  }

  const has = (state, ...names) => names.every((name) => state & bits[name]);
  const group = (i) => columns.state[i] & 15;
  const clipActive = (state) => has(state, "above", "positive") || has(state, "below", "negative");
  /** Index of the rule that fired; -1 outside the response mask. */
  function rule(i) {
    const state = columns.state[i];
    if (!(state & 15)) return -1;
    if (state & 48) return 3;
    if (has(state, "replaced")) return 2;
    return clipActive(state) || has(state, "over_cap", "negative") ? 1 : 0;
  }
  function quantile(values, share) {
    const sorted = Float32Array.from(values.filter((value) => value === value)).sort();
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : 1;
  }
  const most = {
    entropy: quantile(columns.entropy, 0.99) || 1,
    weight: quantile(weightColumn.map((value) => Math.abs(value - neutral.weight)), 0.99) || 1,
    thr: columns.thr ? quantile(columns.thr.map(Math.abs), 0.99) || 1 : 1,
  };
  const shade = (share, hue) => `hsl(${hue} 80% ${Math.round(98 - 43 * Math.min(1, Math.sqrt(share)))}%)`;

  /** Background and class of a token in the colours chosen. */
  function paint(element, i) {
    const fired = rule(i), id = group(i);
    const classes = ["t", fired < 0 ? "outside" : RULES[fired]];
    if (view.colour === "group") element.style.background = GROUP_COLOURS[id];
    else if (view.colour === "entropy") {
      const value = columns.entropy[i];
      element.style.background = value === value ? shade(value / most.entropy, 35) : "";
    } else {
      const value = (view.colour === "weight" ? weightColumn[i] : columns.thr[i]) - neutral[view.colour];
      element.style.background = value ? shade(Math.abs(value) / most[view.colour], value > 0 ? 150 : 330) : "";
      if (value) classes.push(value > 0 ? "up" : "down");
    }
    if ((view.group && id !== +view.group) || (view.rule && RULES[fired] !== view.rule)) classes.push("dim");
    element.className = classes.join(" ");
  }

  function shownText(i) {
    const text = vocabulary[columns.token[i]];
    if (text === "") return "\u00b7";
    return text.replaceAll("\n", "\u21b5\n").replaceAll("\t", "\u21e5\t");
  }

  const cards = responses.map((response, index) => {
    const n = response.tokens;
    let replaced = 0, clipped = 0, detached = 0;
    for (let i = response.first; i < response.first + n; i++) {
      const fired = rule(i);
      replaced += fired === 2; clipped += fired === 1; detached += fired === 3;
    }
    const of = response.epoch > 1 ? `, epoch ${response.epoch}` : "";
    const facts = [
      `step ${response.step}${of}`, `prompt ${response.prompt + 1}`, `response ${response.response}`,
      response.correct ? "correct" : "wrong", `${response.hard ? "hard" : "easy"} (pass rate ${response.pass_rate.toFixed(2)})`,
      `${n} tokens`, `${replaced} replaced`, `${clipped} clipped`, `${detached} detached`,
    ];
    const tokens = make("div", { className: "tokens", tabIndex: 0, role: "group",
      "aria-label": `Tokens of ${facts.slice(0, 4).join(", ")}; arrow keys move` });
    const card = make("details", { className: "response" },
      make("summary", {}, facts.join(" \u00b7 ")),
      make("div", { className: "prompt" }, prompts[response.prompt].text), tokens);
    card.addEventListener("toggle", () => card.open && build(index));
    tokens.addEventListener("mouseover", (event) => pick(event.target.closest(".t")));
    tokens.addEventListener("click", (event) => pick(event.target.closest(".t")));
    tokens.addEventListener("focus", () => { if (!tokens.querySelector(".current")) pick(tokens.firstChild); });
    tokens.addEventListener("keydown", (event) => move(event, tokens));
    list.append(card);
    return { card, tokens, response, built: false };
  });

  function build(index) {
    const entry = cards[index];
    if (entry.built) return;
    entry.built = true;
    const { first: from, tokens: n } = entry.response;
    const spans = [];
    for (let i = from; i < from + n; i++) {
      const span = make("span", {}, shownText(i));
      span.index = i;
      paint(span, i);
      spans.push(span);
    }
    entry.tokens.append(...spans);
  }

  let current = null;
  function pick(span) {
    if (!span || span === current) return;
    if (current) current.classList.remove("current");
    current = span;
    span.classList.add("current");
    describe(span.index);
  }

  function move(event, tokens) {
    const spans = tokens.children;
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    let place = current && current.parentNode === tokens ? [].indexOf.call(spans, current) : 0;
    if (event.key in steps) place += steps[event.key];
    else if (event.key === "Home") place = 0;
    else if (event.key === "End") place = spans.length - 1;
    else return;
    event.preventDefault();
    const next = spans[Math.max(0, Math.min(spans.length - 1, place))];
    pick(next);
    next.scrollIntoView({ block: "nearest" });
  }

  const digits = (value) => (value !== value ? "not known" : Math.abs(value) >= 1000 || (value && Math.abs(value) < 0.001)
    ? value.toExponential(2) : String(+value.toPrecision(3)));
  function describe(i) {
    const state = columns.state[i], id = group(i), fired = rule(i);
    const where = has(state, "above") ? "above the clip range" : has(state, "below") ? "below the clip range" : "inside the clip range";
    const facts = {
      "old log-prob": digits(columns.old_log_prob[i]),
      "new log-prob": digits(columns.old_log_prob[i] + columns.log_ratio[i]),
      ratio: digits(Math.exp(columns.log_ratio[i])),
      entropy: `${digits(columns.entropy[i])} nats`,
      advantage: digits(columns.advantage[i]),
      push: digits(columns.push[i]),
    };
    if (columns.weight) facts.weight = digits(columns.weight[i]);
    if (columns.thr) facts.THR = digits(columns.thr[i]);
    const key = columns.token[i];
    const row = id ? data.groups[id - 1] : { name: "outside the response mask", row: "" };
    const rules = fired < 0 ? "none" : fired === 3 ? `detached (${state & 16 ? "lowest" : "highest"} entropies)` : RULES[fired];
    document.getElementById("token").replaceChildren(
      make("p", {}, make("code", {}, JSON.stringify(vocabulary[key])), ` id ${head.ids[key]} \u00b7 `,
        make("b", {}, id ? `group ${id}, ${row.name}` : row.name), ` \u00b7 rule that fired: `, make("b", { id: "fired" }, rules),
        id ? ` \u00b7 ${where}` : ""),
      make("dl", {}, ...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
      make("p", { className: "row" }, row.row ? `the group's row: ${row.row}` : ""));
  }

  // Controls.
  const select = (name) => form.elements[name];
  const options = (element, values) => element.replaceChildren(
    make("option", { value: "" }, "all"), ...values.map(([value, text]) => make("option", { value }, text)));
  document.getElementById("colours").append(...colours.map((name) => make("label", {},
    make("input", { type: "radio", name: "colour", value: name }), ` ${name === "thr" ? "THR" : name}`)));
  options(select("step"), Object.keys(data.steps).map((step) => [step, step]));
  options(select("group"), data.groups.map(({ name }, index) => [String(index + 1), `${index + 1} ${name}`]));
  function offerPrompts() {
    const brief = (text) => text.trim().replace(/\s+/g, " ").slice(0, 40);
    options(select("prompt"), prompts.map(({ text, step }, index) => [index, text, step])
      .filter(([, , step]) => !view.step || step === +view.step)
      .map(([index, text]) => [String(index), `${index + 1}: ${brief(text)}`]));
    select("prompt").value = view.prompt;
    if (select("prompt").selectedIndex < 0) select("prompt").value = view.prompt = "";
  }

  function isShown(response) {
    if (view.step && response.step !== +view.step) return false;
    if (view.prompt && response.prompt !== +view.prompt) return false;
    if (view.answer && response.correct !== (view.answer === "correct")) return false;
    if (view.difficulty && response.hard !== (view.difficulty === "hard")) return false;
    if (!view.group && !view.rule) return true;
    for (let i = response.first; i < response.first + response.tokens; i++) {
      if ((!view.group || group(i) === +view.group) && (!view.rule || RULES[rule(i)] === view.rule)) return true;
    }
    return false;
  }

  function percent(part, whole) { return whole ? `${(100 * part / whole).toFixed(2)} %` : "-"; }
  function fillTable() {
    const names = ["tokens", "kept", "clip", "replaced", "low", "high", "known", "entropy", "ratio"];
    const add = (sum, entropy, ratio) => {
      if (Number.isFinite(entropy)) { sum.known++; sum.entropy += entropy; }
      sum.ratio += ratio;
    };
    const sums = Array.from({ length: 9 }, () => Object.fromEntries(names.map((name) => [name, 0])));
    for (const { response } of cards) {
      if (!response.shown) continue;
      for (let i = response.first; i < response.first + response.tokens; i++) {
        const id = group(i), state = columns.state[i], fired = rule(i);
        if (!id || (view.group && id !== +view.group) || (view.rule && RULES[fired] !== view.rule)) continue;
        for (const sum of [sums[id], sums[0]]) {
          sum.tokens++; sum.kept += fired === 0; sum.clip += clipActive(state); sum.replaced += fired === 2;
          sum.low += (state & 16) > 0; sum.high += (state & 32) > 0;
          if (view.rule) add(sum, columns.entropy[i], Math.exp(columns.log_ratio[i]));
        }
      }
      // Exact, unless a rule picks single tokens.
      for (const [id, [entropy, ratio]] of Object.entries(view.rule ? {} : response.sums)) {
        if (view.group && id !== view.group) continue;
        for (const sum of [sums[id], sums[0]]) add(sum, entropy, ratio);
      }
    }
    const step = view.step || (Object.keys(data.steps).length === 1 ? Object.keys(data.steps)[0] : "");
    const logged = (step && data.steps[step].logged) || {};
    const cell = (text, name, scale = 100, unit = " %") => {
      const small = name in logged ? [make("small", {}, `logged ${(scale * logged[name]).toFixed(scale === 100 ? 2 : 4)}${unit}`)] : [];
      return make("td", {}, text, ...small);
    };
    const line = (id) => {
      const sum = sums[id], suffix = `_group${id}`;
      const metric = (perGroup, all) => (id ? perGroup + suffix : all);
      const mean = (value) => (sum.tokens ? (value / sum.tokens).toFixed(4) : "-");
      return make("tr", { className: id ? "" : "sum" },
        make("th", { scope: "row" }, ...(id ? [make("span", { className: "t", style: `background:${GROUP_COLOURS[id]}` }, `\u00a0${id}\u00a0`), `\u00a0${data.groups[id - 1].name}`] : ["all"])),
        make("td", {}, String(sum.tokens)),
        cell(percent(sum.tokens, sums[0].tokens), metric("htpo/frac", "")),
        make("td", {}, percent(sum.kept, sum.tokens)),
        cell(percent(sum.clip, sum.tokens), metric("htpo/clip_frac", "actor/pg_clipfrac")),
        cell(percent(sum.replaced, sum.tokens), metric("htpo/replaced_frac", "htpo/replaced_frac")),
        cell(percent(sum.low, sum.tokens), metric("htpo/detach_low_frac", "htpo/detach_frac_low")),
        cell(percent(sum.high, sum.tokens), metric("htpo/detach_high_frac", "htpo/detach_frac_high")),
        cell(sum.known ? mean(sum.entropy) : "-", metric("htpo/entropy", ""), 1, ""),
        cell(mean(sum.ratio), metric("htpo/ratio", ""), 1, ""));
    };
    const heads = ["group", "tokens", "share", "kept", "clip active", "replaced", "detached low", "detached high", "mean entropy", "mean ratio"];
    document.getElementById("table").replaceChildren(
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...[1, 2, 3, 4, 5, 6, 7, 8, 0].map(line)));
  }

  function fillLegend() {
    const sample = (text, style, className = "") => make("span", { className: `t ${className}`, style }, text);
    const scale = (name, hue, sign) => [0.05, 0.3, 1].map((share) =>
      sample(digits(sign * share * most[name] + (neutral[name] || 0)), `background:${shade(share, hue)}`, sign < 0 ? "down" : name === "entropy" ? "" : "up"));
    const entries = view.colour === "group"
      ? data.groups.map(({ name }, index) => sample(`${index + 1} ${name}`, `background:${GROUP_COLOURS[index + 1]}`))
      : view.colour === "entropy" ? ["entropy in nats:", ...scale("entropy", 35, 1)]
      : [view.colour === "thr" ? "THR:" : columns.weight ? "weight of the advantage (1 is neutral):" : "push on the log-probability (minus the loss's gradient):",
        ...scale(view.colour, 150, 1), ...scale(view.colour, 330, -1)];
    document.getElementById("legend").replaceChildren(...entries, "\u00a0",
      ...["replaced", "clipped", "detached", "outside"].map((name) => sample(name === "outside" ? "not trained on" : name, "", name)));
  }

  function show() {
    for (const entry of cards) {
      entry.response.shown = isShown(entry.response);
      entry.card.hidden = !entry.response.shown;
      if (entry.built) for (const span of entry.tokens.children) {
        const isCurrent = span === current;
        paint(span, span.index);
        if (isCurrent) span.classList.add("current");
      }
    }
    const shown = cards.filter(({ response }) => response.shown).length;
    document.title = `${shown} of ${cards.length} responses - ${document.querySelector("h1").textContent}`;
    count.textContent = shown ? `${shown} of ${cards.length} responses` : "No response has all of this: choose less, or Reset.";
    fillTable();
    fillLegend();
    const entries = Object.entries(view).filter(([, value]) => value && value !== "group");
    history.replaceState(null, "", entries.length ? `#${new URLSearchParams(entries)}` : location.pathname + location.search);
  }

  const count = make("p", { id: "count", role: "status" });
  list.querySelector("p").replaceWith(count);
  const read = () => {
    for (const name of Object.keys(view)) view[name] = select(name).value;
    offerPrompts();
    show();
  };
  form.addEventListener("change", read);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(read));
  document.getElementById("open").addEventListener("click", () => cards.forEach(({ card, response }) => { card.open = response.shown || card.open; }));
  document.getElementById("close").addEventListener("click", () => cards.forEach(({ card }) => { card.open = false; }));
  document.getElementById("checks").append(...Object.entries(data.steps).map(([step, { responses: all, check, wrong }]) => make("span",
    { className: wrong ? "wrong" : "" }, `Step ${step}, ${all} responses: ${check}.`)));

  Object.assign(view, Object.fromEntries([...new URLSearchParams(location.hash.slice(1))].filter(([name]) => name in view)));
  if (!colours.includes(view.colour)) view.colour = "group";
  // An address may be of a page with other steps.
  if (!(view.step in data.steps)) view.step = "";
  form.querySelector('input[value="group"]').defaultChecked = true;
  offerPrompts();
  for (const [name, value] of Object.entries(view)) select(name).value = value;
  show();
  const opened = cards.find(({ response }) => response.shown);
  if (opened) opened.card.open = true;
}

unpack().then(start).catch((error) => {
  list.replaceChildren(make("p", {}, `The tokens could not be read: ${error}. A browser of 2023 or later is needed.`));
  throw error;
});
