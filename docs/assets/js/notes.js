// The reader's own notes: a box on each lesson page, and on the learning log what becomes of them.
// A note is text. It is put into the page by `value` and `textContent` alone, never as HTML.

import { store } from "./store.js";

const KEPT = "Kept in this browser as you type, and sent nowhere.";
const LOST = "This browser keeps nothing for this site (a private window?): what you write here is gone when you leave the page. Copy it elsewhere first.";

function show(box) {
  const field = box.querySelector("textarea");
  const kept = store.get(`note:${box.dataset.note}`);
  field.value = kept === null ? "" : JSON.parse(kept).text;
  if (field.value) box.querySelector("details").open = true;
  box.querySelector("[role=status]").textContent = store.works() ? KEPT : LOST;
}

function keep(box) {
  const text = box.querySelector("textarea").value;
  const note = { title: box.dataset.title, address: location.href.split("#")[0], changed: new Date().toISOString(), text };
  const kept = store.set(`note:${box.dataset.note}`, text.trim() ? JSON.stringify(note) : null);
  const state = box.querySelector("[role=status]"), words = kept ? KEPT : LOST;
  if (state.textContent !== words) state.textContent = words; // Said once, not at every key.
}

// --- The learning log --------------------------------------------------------------------

// All notes, in the order of the site's pages; a page that is gone leaves its note at the front.
function notes(log) {
  const order = [...log.querySelectorAll("[data-page]")].map((page) => `note:${page.dataset.page}`);
  const keys = store.keys("note:").sort((one, other) => order.indexOf(one) - order.indexOf(other));
  return keys.map((key) => JSON.parse(store.get(key)));
}

const day = (date) => [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// The finished pages and the ticked lines, page by page, in the order of the site.
function ticks(log) {
  return [...log.querySelectorAll("[data-ticks] > li")].map((page) => ({
    title: page.firstChild.textContent,
    finished: store.get(`done:${page.dataset.page}`) === "1",
    lines: [...page.querySelectorAll("[data-tick]")].filter((line) => store.get(`check:${line.dataset.tick}`) === "1").map((line) => line.textContent),
  })).filter((page) => page.finished || page.lines.length);
}

function markdown(log) {
  const parts = [`# Learning log\n\nExported on ${day(new Date())}.\n\n## My notes`];
  for (const note of notes(log)) {
    parts.push(`### ${note.title}\n\n<${note.address}> · last changed on ${day(new Date(note.changed))}\n\n${note.text.trim()}`);
  }
  if (parts.length === 1) parts.push("None yet.");
  parts.push("## What I have ticked");
  const pages = ticks(log);
  for (const page of pages) {
    const lines = [...(page.finished ? ["Finished this page"] : []), ...page.lines];
    parts.push(`### ${page.title}\n\n${lines.map((line) => `- [x] ${line}`).join("\n")}`);
  }
  if (!pages.length) parts.push("Nothing yet.");
  return `${parts.join("\n\n")}\n`;
}

function exportNotes(log) {
  const file = URL.createObjectURL(new Blob([markdown(log)], { type: "text/markdown" }));
  Object.assign(document.createElement("a"), { href: file, download: "learning_log.md" }).click();
  setTimeout(() => URL.revokeObjectURL(file));
}

function deleteNotes(log) {
  const keys = store.keys("note:");
  if (keys.length && !confirm(`Delete ${counted(keys.length, "note")} for good? Ticks stay. Nobody has a copy but you.`)) return;
  for (const key of keys) store.set(key, null);
  list(log);
}

// What is there: how much, and a link to each page with a note.
function list(log) {
  const all = notes(log), lines = ticks(log).reduce((sum, page) => sum + page.finished + page.lines.length, 0);
  log.querySelector("[role=status]").textContent = store.works()
    ? `This browser keeps ${counted(all.length, "note")} and ${counted(lines, "tick")} of yours.`
    : "This browser keeps nothing for this site (a private window?), so there are no notes to export.";
  log.querySelector("[data-log=delete]").disabled = !all.length;
  log.querySelector("[data-list]").replaceChildren(...all.map((note) => {
    const row = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: note.address, textContent: note.title });
    row.append(link, ` (${day(new Date(note.changed))})`);
    return row;
  }));
}

export function restoreNotes() {
  document.querySelectorAll("mm-notes").forEach(show);
  document.querySelectorAll("mm-log").forEach(list);
}

document.addEventListener("input", ({ target }) => {
  const box = target.closest("mm-notes");
  if (box) keep(box);
});

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-log]");
  if (!button) return;
  if (button.dataset.log === "export") exportNotes(button.closest("mm-log"));
  else deleteNotes(button.closest("mm-log"));
});

// The same page in another window: take over what was written there, unless one is writing here.
addEventListener("storage", (event) => {
  // Showing a note probes the store, which the other window hears of: it must not show its own for that.
  if (!store.changed(event, "note:")) return;
  for (const box of document.querySelectorAll("mm-notes")) if (!box.contains(document.activeElement)) show(box);
});
