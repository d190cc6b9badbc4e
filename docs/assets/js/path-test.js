// The test over a whole path: a seeded draw from all modules' questions, graded at once, with what to read again.

import { store } from "./store.js";

const PASS = 0.8;

// Numbers in [0, 1) that a seed decides (mulberry32), so that a reload shows the same draw.
function dice(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffle(list, roll) {
  for (let last = list.length - 1; last > 0; last -= 1) {
    const other = Math.floor(roll() * (last + 1));
    [list[last], list[other]] = [list[other], list[last]];
  }
  return list;
}

// One question from each module in turn, until there are enough or none is left.
function draw(modules, count, seed) {
  const roll = dice(seed);
  const piles = shuffle(modules.map((module) => shuffle([...module.questions], roll)), roll);
  const chosen = [];
  while (chosen.length < count && piles.some((pile) => pile.length)) {
    for (const pile of piles) if (pile.length && chosen.length < count) chosen.push(pile.pop());
  }
  return shuffle(chosen, roll);
}

function freshSeed() {
  const seed = Math.floor(Math.random() * 2 ** 32);
  store.set("test:seed", String(seed));
  return seed;
}

class PathTest {
  constructor(box, graders, say) {
    Object.assign(this, { box, graders, say });
    this.modules = [...box.querySelectorAll("[data-module]")].map((part) => {
      const questions = [...part.querySelectorAll(".mm-quiz")];
      for (const question of questions) question.dataset.from = part.dataset.module;
      part.remove(); // What is drawn is copied from these, untouched.
      return { title: part.dataset.module, index: part.dataset.index, quiz: part.dataset.quizPage, questions };
    });
    this.list = box.querySelector(".mm-test__draw");
    this.status = box.querySelector("[role=status]");
    this.table = box.querySelector(".mm-test__scores");
    box.querySelector("[data-test=new]").addEventListener("click", () => this.renew());
    box.querySelector("[data-test=grade]").addEventListener("click", () => this.grade());
    for (const hidden of box.querySelectorAll("[hidden]")) if (hidden !== this.table) hidden.hidden = false;
    this.lay(Number(store.get("test:seed") ?? freshSeed()));
    const last = store.get("test:last");
    if (last) this.status.textContent = `Last time: ${last}.`;
  }

  renew() {
    this.lay(freshSeed());
    this.status.textContent = `A new draw of ${this.list.children.length} questions.`;
    this.list.querySelector("input, button")?.focus();
    this.list.scrollIntoView();
  }

  lay(seed) {
    const drawn = draw(this.modules, Number(this.box.dataset.count), seed);
    this.list.replaceChildren(...drawn.map((question, index) => {
      const row = document.createElement("li");
      row.id = `question-${index + 1}`;
      row.append(question.cloneNode(true));
      row.querySelector(".mm-quiz__kind").prepend(`${index + 1} · `);
      return row;
    }));
    this.box.classList.remove("is-graded");
    this.table.hidden = true;
    this.warned = false;
    this.box.querySelector("[data-test=grade]").disabled = false;
  }

  grade() {
    const quizzes = [...this.list.querySelectorAll(".mm-quiz")];
    const results = quizzes.map((quiz) => this.graders[quiz.dataset.kind](quiz));
    const open = results.flatMap((result, index) => (result.right === undefined ? [index + 1] : []));
    if (open.length && !this.warned) {
      this.warned = true;
      this.status.textContent = `Without an answer: ${open.join(", ")}. Grade once more to count them as wrong.`;
      for (const quiz of quizzes) quiz.querySelectorAll("label").forEach((label) => label.classList.remove("is-right", "is-wrong"));
      this.status.scrollIntoView({ block: "center" });
      return;
    }
    results.forEach((result, index) => {
      const unanswered = result.right === undefined;
      this.say(quizzes[index], unanswered ? { message: "Not answered." } : result);
      quizzes[index].dataset.state = result.right ? "right" : "open";
      quizzes[index].querySelector("fieldset").disabled = true;
    });
    const right = results.filter((result) => result.right).length;
    const score = `${right} of ${results.length} right`;
    const passed = right >= PASS * results.length;
    store.set("test:last", score);
    this.status.textContent = passed ? `${score}: passed.` : `${score}; a pass is ${Math.ceil(PASS * results.length)}. Read again what the table names, then take a new draw.`;
    this.box.classList.add("is-graded");
    this.box.querySelector("[data-test=grade]").disabled = true;
    this.tell(quizzes, results);
    this.status.scrollIntoView({ block: "center" }); // The notes on the answers have pushed it down.
  }

  // A row for each module: its score, and where to read again what went wrong.
  tell(quizzes, results) {
    const rows = [];
    for (const module of this.modules) {
      const own = quizzes.flatMap((quiz, index) => (quiz.dataset.from === module.title ? [index] : []));
      if (!own.length) continue;
      const wrong = own.filter((index) => !results[index].right);
      const row = document.createElement("tr");
      const name = Object.assign(document.createElement("th"), { scope: "row", textContent: module.title });
      const score = Object.assign(document.createElement("td"), { textContent: `${own.length - wrong.length} of ${own.length}` });
      const again = document.createElement("td");
      if (wrong.length) {
        const link = (href, textContent) => Object.assign(document.createElement("a"), { href, textContent });
        again.append(link(module.index, module.title), ", ", link(module.quiz, "its quiz"), "; wrong here: ");
        wrong.forEach((index, place) => again.append(place ? ", " : "", link(`#question-${index + 1}`, `question ${index + 1}`)));
      } else again.textContent = "Nothing";
      row.append(name, score, again);
      rows.push(row);
    }
    this.table.querySelector("tbody").replaceChildren(...rows);
    this.table.hidden = false;
  }
}

export function startTests(graders, say) {
  for (const box of document.querySelectorAll("mm-test:not(.is-started)")) {
    box.classList.add("is-started");
    if (box.querySelector(".mm-quiz")) new PathTest(box, graders, say);
  }
}
