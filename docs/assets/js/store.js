// What this browser remembers of the reader: ticks, answers, notes. Nothing of it is ever sent.

const PREFIX = "minimind:";
export const store = {
  get(key) {
    try { return localStorage.getItem(PREFIX + key); } catch { return null; }
  },
  // Says whether it was kept: private windows may refuse to store, and the page still works.
  set(key, value) {
    try {
      if (value === null) localStorage.removeItem(PREFIX + key);
      else localStorage.setItem(PREFIX + key, value);
      return true;
    } catch { return false; }
  },
  keys(start) {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX + start)).map((key) => key.slice(PREFIX.length)).sort();
    } catch { return []; }
  },
  // Whether what another window did to the store touches keys with this beginning; null: it was cleared.
  changed(event, start) {
    return event.key === null || event.key.startsWith(PREFIX + start);
  },
  works() {
    return this.set("probe", "1") && this.set("probe", null);
  },
};
