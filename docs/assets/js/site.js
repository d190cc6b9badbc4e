// Quizzes, ticks, progress and frames. Every listener sits on the document and every widget is a custom element or
// is restored by `restore`, so nothing has to be bound again when instant navigation swaps the page.

import { restoreNotes } from "./notes.js";
import { startTests } from "./path-test.js";
import { store } from "./store.js";

// --- Quizzes -----------------------------------------------------------------------------

const numberOf = (text) => Number(text.trim().replace(",", ".").replace("−", "-") || NaN);

const graders = {
  choice(quiz) {
    const inputs = [...quiz.querySelectorAll("fieldset input")];
    const chosen = inputs.filter((input) => input.checked);
    if (!chosen.length) return { message: "Choose an answer first." };
    for (const input of inputs) {
      const label = input.closest("label");
      label.classList.toggle("is-right", input.checked && input.hasAttribute("data-right"));
      label.classList.toggle("is-wrong", input.checked && !input.hasAttribute("data-right"));
    }
    const right = inputs.every((input) => input.checked === input.hasAttribute("data-right"));
    const missing = !right && chosen.every((input) => input.hasAttribute("data-right"));
    const notes = chosen.map((input) => quiz.querySelector(`[data-note="${input.value}"]`));
    return { right, message: right ? "Right." : missing ? "Right so far; there is more." : "Not quite.", notes };
  },
  number(quiz) {
    const field = quiz.querySelector("[data-answer]");
    const value = numberOf(field.value), answer = Number(field.dataset.answer);
    if (Number.isNaN(value)) return { message: "Write a number first." };
    const reach = Math.max(Number(field.dataset.absolute), Math.abs(answer) * Number(field.dataset.tolerance));
    const right = Math.abs(value - answer) <= reach + 1e-12;
    const near = (hint) => Math.abs(value - Number(hint.dataset.near)) <= Math.max(reach, 1e-9);
    const notes = right ? [] : [...quiz.querySelectorAll("[data-near]")].filter(near);
    return { right, message: right ? "Right." : "Not quite.", notes };
  },
  order(quiz) {
    const places = [...quiz.querySelectorAll("[data-place]")].map((line) => Number(line.dataset.place));
    const right = places.every((place, index) => place === index);
    const fixed = places.filter((place, index) => place === index).length;
    return { right, message: right ? "Right." : `Not yet: ${fixed} of ${places.length} stand in their place.` };
  },
  explain(quiz) {
    if (!quiz.querySelector("textarea").value.trim()) return { message: "Write a sentence first; nobody reads it but you." };
    return { right: null, message: "Compare, and tick what yours said." };
  },
};
graders.output = graders.choice;
graders.predict = graders.choice;

function say(quiz, { message, notes = [] }) {
  const box = quiz.querySelector(".mm-quiz__result");
  box.replaceChildren(Object.assign(document.createElement("strong"), { textContent: message }));
  for (const note of notes) {
    const copy = document.createElement("div");
    copy.append(...[...note.cloneNode(true).childNodes].filter((node) => node.nodeName !== "EM" || !/^(Right|Not this)\.$/.test(node.textContent)));
    box.append(copy);
  }
}

function check(quiz) {
  const { quiz: id, kind } = quiz.dataset;
  const result = graders[kind](quiz);
  if (kind === "predict" && result.notes) {
    const known = quiz.querySelector("fieldset [data-right]");
    const hit = quiz.querySelector("fieldset input:checked").hasAttribute("data-right");
    result.message = known ? (hit ? "Your prediction holds." : "Measured: it goes another way.") : "You said:";
    const why = quiz.querySelector("[data-why]");
    say(quiz, { ...result, notes: [...result.notes, why] });
    openGate(quiz);
    store.set(`choice:${id}`, quiz.querySelector("fieldset input:checked").value);
    return;
  }
  say(quiz, result);
  quiz.dataset.state = result.right ? "right" : "open";
  if (result.right || result.right === null) quiz.querySelector("details").open = true;
  if (result.right !== undefined) store.set(`quiz:${id}`, result.right === false ? "wrong" : "right");
  score();
}

function openGate(quiz) {
  const gate = document.querySelector(`[data-gate="${quiz.dataset.quiz}"]`);
  if (!gate) return;
  gate.classList.add("is-open");
  gate.open = true;
}

function move(button, step) {
  const line = button.closest("[data-place]");
  const other = step < 0 ? line.previousElementSibling : line.nextElementSibling;
  if (!other) return;
  if (step < 0) other.before(line); else other.after(line);
  button.focus();
}

function score() {
  const box = document.querySelector(".mm-score");
  if (!box) return;
  const graded = [...document.querySelectorAll(".mm-quiz:not([data-kind=predict])")];
  const right = graded.filter((quiz) => store.get(`quiz:${quiz.dataset.quiz}`) === "right").length;
  const passed = right >= 0.8 * graded.length;
  box.textContent = `${right} of ${graded.length} questions right` + (passed ? ": passed." : "; 80 % is a pass.");
}

// --- Ticks and progress ------------------------------------------------------------------

// A step is a page with a tick at its end, or (kept="check") a box of a checklist.
const isDone = ({ dataset }) => store.get(`${dataset.kept ?? "done"}:${dataset.step ?? dataset.extra}`) === "1";

function progress() {
  for (const path of document.querySelectorAll("[data-path]")) {
    const steps = [...path.querySelectorAll("[data-step]")];
    if (!steps.length) continue;
    const done = steps.filter(isDone);
    for (const step of path.querySelectorAll("[data-step], [data-extra]")) step.classList.toggle("is-done", isDone(step));
    path.querySelector("progress").value = done.length;
    path.querySelector("output").textContent = `${done.length} of ${steps.length} done`;
    const last = store.get("last");
    const seen = steps.find((step) => step.dataset.step === last && !isDone(step));
    const next = seen ?? steps.find((step) => !isDone(step));
    const started = done.length > 0 || seen;
    const box = path.querySelector(".mm-continue");
    box.hidden = !(started && next);
    if (next) {
      const link = box.querySelector("a");
      link.href = next.href;
      link.textContent = `Continue: ${next.textContent}`;
    }
  }
}

function restore() {
  for (const box of document.querySelectorAll("[data-check]")) box.checked = store.get(`check:${box.dataset.check}`) === "1";
  for (const box of document.querySelectorAll("[data-done]")) {
    box.checked = store.get(`done:${box.dataset.done}`) === "1";
    store.set("last", box.dataset.done);
  }
  for (const quiz of document.querySelectorAll(".mm-quiz")) {
    const { quiz: id, kind } = quiz.dataset;
    if (kind === "predict" && store.get(`choice:${id}`) !== null) {
      const input = quiz.querySelector(`fieldset input[value="${store.get(`choice:${id}`)}"]`);
      if (input) { input.checked = true; check(quiz); }
    } else if (kind === "explain") {
      quiz.querySelector("textarea").value = store.get(`text:${id}`) ?? "";
      for (const tick of quiz.querySelectorAll("[data-tick]")) tick.checked = store.get(`tick:${id}:${tick.dataset.tick}`) === "1";
    } else if (store.get(`quiz:${id}`) === "right") {
      quiz.dataset.state = "right";
    }
  }
  progress();
  score();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (button) {
    const quiz = button.closest(".mm-quiz");
    if (button.dataset.act === "check") check(quiz);
    else move(button, button.dataset.act === "up" ? -1 : 1);
    return;
  }
  const summary = event.target.closest(".mm-gate > summary");
  if (summary && !summary.parentElement.classList.contains("is-open")) {
    event.preventDefault();
    const quiz = document.querySelector(`.mm-quiz[data-quiz="${summary.parentElement.dataset.gate}"]`);
    say(quiz, { message: "Commit to a prediction first; a wrong one costs nothing." });
    quiz.querySelector("fieldset input").focus();
  }
});

document.addEventListener("change", ({ target }) => {
  const quiz = target.closest(".mm-quiz");
  if (target.dataset.tick) store.set(`tick:${quiz.dataset.quiz}:${target.dataset.tick}`, target.checked ? "1" : null);
  else if (quiz && target.tagName === "TEXTAREA") store.set(`text:${quiz.dataset.quiz}`, target.value || null);
  else if (target.dataset.check) { store.set(`check:${target.dataset.check}`, target.checked ? "1" : null); progress(); }
  else if (target.dataset.done) { store.set(`done:${target.dataset.done}`, target.checked ? "1" : null); progress(); }
});

document.addEventListener("keydown", (event) => {
  const field = event.target.closest?.(".mm-quiz input");
  // A test is graded as a whole; elsewhere Enter checks the question.
  if (field && event.key === "Enter" && !field.closest("mm-test")) { event.preventDefault(); check(field.closest(".mm-quiz")); }
});

// --- Frames under a slider ---------------------------------------------------------------

class Frames extends HTMLElement {
  connectedCallback() {
    if (this.querySelector("input[type=range]")) return;
    const frames = [...this.children];
    const label = document.createElement("label");
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: frames.length - 1, value: 0 });
    const shown = document.createElement("output");
    const show = () => {
      frames.forEach((frame, index) => { frame.hidden = index !== Number(range.value); });
      shown.textContent = frames[range.value].dataset.label;
      range.setAttribute("aria-valuetext", shown.textContent);
    };
    label.append(this.getAttribute("label") ?? "Frame", range, shown);
    this.prepend(label);
    range.addEventListener("input", show);
    show();
  }
}
if (!customElements.get("mm-frames")) customElements.define("mm-frames", Frames);

// --- Wide tables and formulas ------------------------------------------------------------

// What is wider than the screen scrolls inside a box; the keyboard must reach the box.
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

function watchBoxes() {
  boxes.disconnect();
  document.querySelectorAll(".md-typeset__scrollwrap, div.arithmatex").forEach((box) => boxes.observe(box));
}

window.document$.subscribe(() => {
  restore();
  startTests(graders, say);
  restoreNotes();
  setTimeout(watchBoxes); // The theme makes its boxes after this call.
});
