// The questions of a report: filters, search, a list of which only what is in view is drawn, and
// one question with its passages. Data stands in the page as JSON; passages are parsed when needed.
// Texts are set as text, never as markup. The part of the address after # keeps what is shown.
"use strict";

const ROW = 64;  // pixels of a row, as in the style
const at = (id) => document.getElementById(id);
const read = (id) => JSON.parse(at(id).textContent);
const index = read("index");
const KIND = {
  right: "right", unsupported: "right, unsupported", retrieval: "retrieval missed",
  reader: "reader missed", metric: "near miss", wrong: "wrong", unjudged: "not judged",
};
const WRONG = ["retrieval", "reader", "metric", "wrong"];
const FILTERS = [
  ["all", "All", () => true],
  ["right", "Right", (i) => ["right", "unsupported"].includes(kind(i))],
  ["wrong", "Wrong", (i) => WRONG.includes(kind(i))],
  ["retrieval", "Retrieval missed", (i) => kind(i) === "retrieval"],
  ["reader", "Reader missed", (i) => kind(i) === "reader"],
  ["metric", "Near miss", (i) => kind(i) === "metric"],
  ["unsupported", "Right, unsupported", (i) => kind(i) === "unsupported"],
  ["differ", "Runs differ", (i) => new Set(index.runs.map((run, r) => isRight(i, r))).size > 1],
];
const state = { filter: "all", run: 0, q: "", id: null };
const parts = new Map();
const haystacks = new Map();
const counts = new Map();
const places = new Map(index.ids.map((id, i) => [id, i]));
let shown = [];    // positions of the questions that the filter lets through
let active = -1;   // place in `shown` of the row that the keys move

const kind = (i, run = state.run) => index.kinds[Number(index.runs[run].kinds[i])];
const isRight = (i, run) => ["right", "unsupported"].includes(kind(i, run));
const narrow = matchMedia("(max-width: 52rem)");

function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

// ------------------------------------------------------------------ the address

function fromAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const run = Number(said.get("run") ?? 1) - 1;
  state.filter = usable().some(([name]) => name === said.get("filter")) ? said.get("filter") : "all";
  state.run = index.runs[run] ? run : 0;
  state.q = said.get("q") ?? "";
  state.id = places.has(said.get("id")) ? said.get("id") : null;
}

function toAddress(step = false) {
  const said = new URLSearchParams();
  if (state.filter !== "all") said.set("filter", state.filter);
  if (state.run) said.set("run", state.run + 1);
  if (state.q) said.set("q", state.q);
  if (state.id !== null) said.set("id", state.id);
  const hash = "#" + said;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  try {
    history[step ? "pushState" : "replaceState"](step ? { opened: true } : history.state, "", hash);
  } catch { /* a frame without an address of its own */ }
}

// ------------------------------------------------------------------ filters and search

function usable() {
  const judged = index.runs.some((run) => run.judged);
  const supported = index.runs.some((run) => run.supported);
  return FILTERS.filter(([name]) => {
    if (name === "all") return true;
    if (name === "differ") return judged && index.runs.length > 1;
    return name === "right" || name === "wrong" ? judged : supported;
  });
}

function haystack(i) {
  let found = haystacks.get(i);
  if (found === undefined) {
    const said = index.runs.map((run) => run.texts[i]);
    found = fold([index.ids[i], index.questions[i], ...index.golds[i], ...said].join("\n"));
    haystacks.set(i, found);
  }
  return found;
}

// Without accents and case: "Curaçao" is found by "curacao".
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function choose() {
  const passes = FILTERS.find(([name]) => name === state.filter)[2];
  const words = fold(state.q).split(/\s+/).filter(Boolean);
  shown = [];
  for (let i = 0; i < index.ids.length; i++)
    if (passes(i) && (!words.length || words.every((word) => haystack(i).includes(word))))
      shown.push(i);
  active = shown.indexOf(places.get(state.id));
  const all = index.ids.length.toLocaleString("en");
  at("count").textContent = shown.length
    ? `${shown.length.toLocaleString("en")} of ${all} questions`
    : "No question is like that.";
  at("space").style.height = `${shown.length * ROW}px`;
  if (active >= 0) reveal();
  else at("list").scrollTop = 0;
  drawList();
}

function buildTools() {
  for (const [i, run] of index.runs.entries())
    at("run").append(make("option", { value: String(i), textContent: run.name }));
  at("run-field").hidden = index.runs.length < 2;
  const filters = usable();
  at("filters").hidden = filters.length < 2;
  for (const [name, title] of filters) {
    const input = make("input", { type: "radio", name: "filter", value: name });
    input.addEventListener("change", () => {
      state.filter = name;
      change();
    });
    at("filters").append(make("label", {}, input, title, " ", make("small")));
  }
}

function count(filter) {
  const key = `${state.run} ${filter}`;
  if (!counts.has(key)) {
    const passes = FILTERS.find(([name]) => name === filter)[2];
    let n = 0;
    for (let i = 0; i < index.ids.length; i++) n += passes(i);
    counts.set(key, n);
  }
  return counts.get(key);
}

function drawTools() {
  at("run").value = String(state.run);
  if (at("search").value !== state.q) at("search").value = state.q;
  for (const label of at("filters").children) {
    const input = label.querySelector("input");
    input.checked = input.value === state.filter;
    label.querySelector("small").textContent = count(input.value).toLocaleString("en");
  }
}

function change() {
  drawTools();
  choose();
  if (active < 0) {  // what was open is not among these
    state.id = null;
    if (shown.length && !narrow.matches) drawDetail(shown[0]);
  }
  toAddress();
}

// ------------------------------------------------------------------ the list

function drawList() {
  const list = at("list"), space = at("space");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
  const rows = [];
  for (let place = first; place < last; place++) rows.push(row(place));
  space.replaceChildren(...rows);
  if (active >= first && active < last) list.setAttribute("aria-activedescendant", `row-${active}`);
  else list.removeAttribute("aria-activedescendant");
}

function row(place) {
  const i = shown[place];
  const run = index.runs[state.run];
  const node = make(
    "div",
    {
      id: `row-${place}`, className: "row", role: "option",
      "aria-selected": String(place === active),
      "aria-posinset": String(place + 1), "aria-setsize": String(shown.length),
    },
    make("i", { className: `kind-${kind(i)}`, title: KIND[kind(i)] }),
    make("b", { dir: "auto", textContent: index.questions[i] }),
    make("span", { dir: "auto", textContent: run.texts[i].trim() || "(no text)" }),
  );
  if (run.judged) node.setAttribute("aria-description", KIND[kind(i)]);
  node.style.top = `${place * ROW}px`;
  node.dataset.place = place;
  return node;
}

function reveal() {
  const list = at("list"), top = active * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight)
    list.scrollTop = top + ROW - list.clientHeight;
}

function move(place, open) {
  if (!shown.length) return;
  active = Math.min(Math.max(place, 0), shown.length - 1);
  reveal();
  drawList();
  // On a wide page the question beside the list follows the keys.
  if (open || !narrow.matches) show(shown[active], open);
}

// ------------------------------------------------------------------ one question

function show(i, open) {
  const step = open && narrow.matches && !document.body.classList.contains("reading");
  state.id = index.ids[i];
  toAddress(step);
  drawDetail(i);
  if (!open) return;
  document.body.classList.add("reading");
  at("detail").querySelector("h3").focus({ preventScroll: !narrow.matches });
}

function close() {
  const was = narrow.matches && document.body.classList.contains("reading");
  document.body.classList.remove("reading");
  if (was && history.state?.opened) {
    history.back();
  } else if (was) {  // opened by a link: there is nothing to go back to
    state.id = null;
    toAddress();
  }
  at("list").focus({ preventScroll: !narrow.matches });
}

function part(number) {
  if (!parts.has(number)) {
    if (parts.size > 20) parts.delete(parts.keys().next().value);  // a phone has little memory
    parts.set(number, read(`part-${number}`));
  }
  return parts.get(number);
}

function drawDetail(i) {
  const detail = at("detail");
  const found = part(Math.floor(i / index.part));
  const said = found.questions[i % index.part];
  const buttons = make("div", { className: "bar-of-buttons" });
  const place = shown.indexOf(i);
  for (const [name, title, go, off] of [
    ["back", "Back", close, false],
    ["previous", "Previous", () => move(place - 1, true), place <= 0],
    ["next", "Next", () => move(place + 1, true), place < 0 || place + 1 >= shown.length],
  ]) {
    const button = make("button", { type: "button", className: name, textContent: title });
    button.disabled = off;
    button.addEventListener("click", go);
    buttons.append(button);
  }
  buttons.append(make("small", { textContent: index.ids[i] }));
  const children = [
    buttons,
    make("h3", { tabIndex: -1, dir: "auto", textContent: index.questions[i] }),
  ];
  if (index.golds[i].length) {
    const golds = make("p", { className: "golds", dir: "auto" }, "Known to be right: ");
    index.golds[i].forEach((gold, n) => golds.append(n ? " · " : "", make("b", { textContent: gold })));
    children.push(golds);
  }
  // The run of the list first: what is read there is what is looked for here.
  const order = [state.run, ...index.runs.keys()].filter((r, n, all) => all.indexOf(r) === n);
  for (const r of order) children.push(drawRun(i, r, said[r], found.passages));
  detail.replaceChildren(...children);
  detail.scrollTop = 0;
}

function drawRun(i, r, one, passages) {
  const run = index.runs[r];
  const node = make("section", { className: "run" });
  if (index.runs.length > 1) node.append(make("h4", { textContent: run.name }));
  const text = run.texts[i];
  node.append(
    make("p", {
      className: text.trim() ? "said" : "said none", dir: "auto",
      textContent: text.trim() ? text : "(no text)",
    }),
  );
  if (run.judged)
    node.append(
      make("span", { className: "tag" }, make("i", { className: `kind-${kind(i, r)}` }), KIND[kind(i, r)]),
    );
  const numbers = [`p(y|x) = ${probability(run.p[i])}`];
  run.metrics.forEach((label, m) => {
    if (one.v[m] === null) return;
    const value = run.units[m] === "share" ? `${round(100 * one.v[m], 1)} %` : round(one.v[m], 3);
    numbers.push(`${label} ${value}`);
  });
  node.append(make("span", { className: "numbers", textContent: numbers.join(" · ") }));
  if (one.z.length) node.append(drawPassages(i, text, one, passages));
  if (one.n > one.z.length)
    node.append(make("p", {
      className: "note", textContent: `${one.z.length} of ${one.n} passages are in this file.`,
    }));
  if (one.h) node.append(drawHeat(one, passages));
  return node;
}

function drawPassages(i, said, one, passages) {
  const list = make("ol", { className: "passages" });
  one.z.forEach((place, rank) => {
    const [id, title, text] = passages[place];
    const summary = make("summary", {}, `${rank + 1} · `, make("bdi", { textContent: title.trim() || id }));
    if (one.g?.includes(rank)) summary.append(make("span", { className: "badge", textContent: "known to be right" }));
    if (one.r === rank) summary.append(make("span", { className: "badge", textContent: "first with an answer" }));
    const body = make("p", { dir: "auto" });
    body.append(...marked(text, [...index.golds[i], said]));
    const details = make("details", { open: one.z.length <= 3 || isChief(one, rank) }, summary, body);
    details.append(make("small", {}, "id ", make("bdi", { textContent: id })));
    const bars = make("div", { className: "bars" });
    for (const [name, values] of [["prior", one.a], ["posterior", one.b]])
      if (values.length > rank) bars.append(bar(name, values[rank]));
    list.append(make("li", {}, details, bars));
  });
  return list;
}

// Open is what one would open first: the passage that the answer came from, and the right ones.
function isChief(one, rank) {
  const weights = one.b.length ? one.b : one.a;
  return weights[rank] === Math.max(...weights) || one.r === rank || !!one.g?.includes(rank);
}

function bar(name, value) {
  const fill = make("i");
  fill.style.width = `${share(value) * 100}%`;
  return make("div", { className: name }, name, make("span", {}, fill), make("em", { textContent: probability(value) }));
}

function marked(text, needles) {
  const known = needles.map((one) => one.trim()).filter(Boolean).sort((a, b) => b.length - a.length);
  if (!known.length) return [text];
  const escaped = known.map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+"));
  // Whole words: the answer "10" does not stand in "1910".
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${escaped.join("|")})(?![\\p{L}\\p{N}])`, "giu");
  // What is found stands at the odd places.
  return text.split(pattern).map((piece, n) => (n % 2 ? make("mark", { textContent: piece }) : piece));
}

function drawHeat(one, passages) {
  const head = make("tr", {}, make("td"));
  for (const token of one.t)
    head.append(make("th", { scope: "col" }, make("bdi", { textContent: visible(token) })));
  const body = make("tbody");
  one.z.forEach((place, rank) => {
    const name = passages[place][1].trim() || passages[place][0];
    const line = make("tr", {}, make("th", { scope: "row", title: name }, `${rank + 1} · `, make("bdi", { textContent: name })));
    for (const column of one.h) {
      const cell = make("td", { textContent: column[rank] === null ? "–" : (column[rank] ?? 0).toFixed(2) });
      cell.style.setProperty("--p", share(column[rank]));
      line.append(cell);
    }
    body.append(line);
  });
  return make(
    "div", {},
    make("h4", { textContent: "Which passage each token came from: p(z|x,yᵢ,y₍<ᵢ₎)" }),
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "tokens by passages" },
      make("table", { className: "heat" }, make("thead", {}, head), body)),
  );
}

const visible = (token) => token.replace(/ /g, "␣").replace(/[\n\r]/g, "↵").replace(/\t/g, "⇥");
const share = (value) => Math.min(Math.max(value ?? 0, 0), 1);
const round = (value, digits) => String(Number(value.toFixed(digits)));
function probability(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 0.0005 ? value.toExponential(1) : value.toFixed(3);
}

// ------------------------------------------------------------------ keys and fingers

function follow() {
  fromAddress();
  drawTools();
  choose();
  const i = places.get(state.id);
  if (i === undefined) {
    document.body.classList.remove("reading");
    if (shown.length && !narrow.matches) drawDetail(shown[0]);
    return;
  }
  drawDetail(i);
  document.body.classList.add("reading");
}

at("list").addEventListener("scroll", () => requestAnimationFrame(drawList), { passive: true });
at("list").addEventListener("click", (event) => {
  const found = event.target.closest(".row");
  if (found) move(Number(found.dataset.place), true);
});
at("list").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor(at("list").clientHeight / ROW) - 1);
  const to = {
    ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page,
    Home: 0, End: shown.length - 1,
  }[event.key];
  if (to !== undefined) move(to, false);
  else if (event.key === "Enter" || event.key === " ") move(Math.max(active, 0), true);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input[type=search], select");
  if (event.key === "Escape") {
    if (typing) at("list").focus();
    else if (at("detail").contains(document.activeElement) || document.body.classList.contains("reading")) close();
  } else if (typing) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    at("search").focus();
  } else if (event.key === "n" || event.key === "p") {
    move(active + (event.key === "n" ? 1 : -1), true);
  }
});
at("search").addEventListener("input", () => {
  state.q = at("search").value;
  change();
});
at("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === "ArrowDown") {
    event.preventDefault();
    at("list").focus();
    move(Math.max(active, 0), false);
  }
});
at("run").addEventListener("change", () => {
  state.run = Number(at("run").value);
  change();
  if (state.id !== null) drawDetail(places.get(state.id));
});
addEventListener("popstate", follow);
addEventListener("hashchange", follow);
addEventListener("resize", () => requestAnimationFrame(drawList));

buildTools();
for (const id of ["tools", "view", "keys"]) at(id).hidden = false;
follow();
