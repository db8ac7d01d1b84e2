// The page of a study: asks this machine for a pair, shows it, sends back what was chosen.
// Texts are set as text, never as markup. A judgement counts as made when the answer is back.
"use strict";

const ASPECTS = [
  ["factuality", "Which is more factual?"],
  ["specificity", "Which is more specific?"],
];
const CHOICES = [
  ["left", "A"],
  ["right", "B"],
  ["both", "Both good"],
  ["neither", "Neither good"],
];
const at = (id) => document.getElementById(id);
let pair = null;
let waiting = Promise.resolve();

function build() {
  for (const [aspect, question] of ASPECTS) {
    const set = document.createElement("fieldset");
    set.id = aspect;
    const legend = set.appendChild(document.createElement("legend"));
    legend.append(question);
    const choices = set.appendChild(document.createElement("div"));
    choices.className = "choices";
    for (const [choice, title] of CHOICES) {
      const label = choices.appendChild(document.createElement("label"));
      const input = label.appendChild(document.createElement("input"));
      Object.assign(input, { type: "radio", name: aspect, value: choice });
      input.addEventListener("change", () => judge(aspect, choice));
      label.append(title);
    }
    at("aspects").append(set);
  }
}

async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer, found;
  try {
    answer = await fetch(path, options);
    found = await answer.json();
  } catch {
    throw new Error("The page's server does not answer. Is ragkit annotate still running?");
  }
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function fault(error) {
  at("fault").textContent = error ? error.message : "";
  at("fault").hidden = !error;
}

function show(section) {
  for (const id of ["enter", "judge", "done"]) at(id).hidden = id !== section;
}

async function open(annotator, place) {
  const query = new URLSearchParams({ annotator });
  if (place !== undefined) query.set("at", place);
  try {
    pair = await ask("pair?" + query);
    fault();
    draw();
  } catch (error) {
    fault(error);
  }
}

function draw() {
  remember(pair.annotator);
  if (pair.at === null) {
    show("done");
    at("done").querySelector("h1").focus();
    return;
  }
  show("judge");
  at("who").textContent = pair.annotator;
  at("question").textContent = pair.question;
  at("known").hidden = !pair.answers.length;
  at("answers").textContent = pair.answers.join(" · ");
  for (const side of ["left", "right"]) {
    at(side).textContent = pair[side].trim() ? pair[side] : "(no text)";
    at(side).className = pair[side].trim() ? "" : "none";
  }
  at("back").disabled = pair.at === 0;
  mark();
  at("question").focus();
  scrollTo(0, 0);
}

function mark() {
  at("count").textContent = `${pair.done} of ${pair.total} judged · pair ${pair.at + 1}`;
  Object.assign(at("bar"), { max: pair.total, value: pair.done });
  for (const [aspect] of ASPECTS)
    for (const input of at(aspect).querySelectorAll("input"))
      input.checked = pair.chosen[aspect] === input.value;
  at("next").textContent = pair.at + 1 < pair.total ? "Next" : "Finish";
}

function judge(aspect, choice) {
  const { annotator, at: place, chosen } = pair;
  const before = chosen[aspect];
  chosen[aspect] = choice;  // at once, for the next key may come before the answer
  mark();
  // One after the other, so that the last choice is the last that is kept.
  waiting = waiting.then(async () => {
    try {
      const now = await ask("judge", { annotator, at: place, aspect, choice });
      fault();
      if (pair.at !== place) return;
      pair.done = now.done;
      mark();
      if (ASPECTS.every(([name]) => pair.chosen[name])) at("next").focus();
    } catch (error) {
      if (before) chosen[aspect] = before;
      else delete chosen[aspect];
      if (pair.at === place) mark();
      fault(error);
    }
  });
}

async function next() {
  await waiting;
  const last = pair.at + 1 >= pair.total;
  await open(pair.annotator, last ? undefined : pair.at + 1);
}

async function back() {
  await waiting;
  if (pair.at > 0) await open(pair.annotator, pair.at - 1);
}

function remember(name) {
  try {
    localStorage.setItem("annotator", name);
  } catch { /* a browser that keeps nothing */ }
}

function remembered() {
  try {
    return localStorage.getItem("annotator") ?? "";
  } catch {
    return "";
  }
}

document.addEventListener("keydown", (event) => {
  if (at("judge").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const inside = document.activeElement.closest("fieldset");
  const open = ASPECTS.map(([name]) => name).find((name) => !pair.chosen[name]);
  const aspect = inside ? inside.id : open;
  const choice = CHOICES[Number(event.key) - 1];
  if (choice && aspect) {
    event.preventDefault();
    judge(aspect, choice[0]);
  } else if (event.key === "ArrowLeft" && !inside) {
    back();
  } else if (event.key === "Enter" && !document.activeElement.closest("button, summary")) {
    event.preventDefault();
    next();
  }
});
at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  open(at("name").value);
});
at("next").addEventListener("click", next);
at("back").addEventListener("click", back);
at("review").addEventListener("click", () => open(pair.annotator, pair.total - 1));

build();
at("name").value = remembered();
show("enter");
at("name").focus();
