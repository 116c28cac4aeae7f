// The list of events: its rows, how many there are, and the older ones that only the server has.

import { byId, count, el, formatTime, setText, SIGNS } from "./dom.js";
import { HELD, toEvent } from "./memory.js";
import { List } from "./list.js";
import { makeSummary, nameEvent } from "./summary.js";

const LOADED = 500; // by one request

export function makeEventList(onChoose) {
  return new List({
    root: byId("list"), row: "row", key: "seq", onChoose, makeCells,
    head: ["Time", "", "Event", "User", "Properties"],
    getClass: (event) => `is-${event.status}`,
  });
}

function makeCells(event) {
  return [
    el("span", { class: "time" }, formatTime(event.at, true)),
    el("span", { class: "sign", title: event.status, "aria-label": event.status }, SIGNS[event.status]),
    el("span", { class: "name" }, nameEvent(event)),
    el("span", { class: "user-id" }, event.user ?? "(no user)"),
    el("span", { class: "details" }, ...makeSummary(event)),
  ];
}

/** Older events that match a filter, loaded when the user asks for them, as many as are held at most. */
export class Older {
  constructor(onLoaded, onError) {
    this.onLoaded = onLoaded;
    this.onError = onError;
    this.reset("", null);
  }

  reset(q, user) {
    Object.assign(this, { q, user, events: [], from: null, loading: null });
  }

  /** Return the loaded events of this filter; those of another one are dropped. */
  get(q, user) {
    if (q !== this.q || user !== this.user) this.reset(q, user);
    return this.events;
  }

  /** Keep events that the page drops, between the loaded ones and those that it holds. */
  keep(events) {
    if (!this.isUsed) return;
    this.events.push(...events);
    if (this.events.length > HELD) this.events.splice(0, this.events.length - HELD);
  }

  /** Whether any were loaded, or are being loaded: then the page shows all that it holds. */
  get isUsed() {
    return this.from !== null || this.loading !== null;
  }

  get isFull() {
    return this.events.length >= HELD;
  }

  /** Load the latest that match and are older than this seq. */
  async load(before) {
    if (this.loading) return;
    const query = new URLSearchParams({ q: this.q, before, limit: LOADED, short: 1 });
    if (this.user !== null) query.set("user", this.user);
    const loading = fetch(`/_dev/arrivals?${query}`);
    this.loading = loading;
    try {
      const answer = await loading;
      const read = await answer.json();
      if (!answer.ok) throw new Error(read.message);
      if (this.loading !== loading) return; // the filter has changed meanwhile
      this.events = [...read.arrivals.map(toEvent), ...this.events];
      this.from = read.arrivals.length < LOADED ? 0 : read.arrivals[0].seq; // 0: no more match
    } catch (error) {
      if (this.loading !== loading) return;
      this.onError(`older events could not be loaded: ${error.message}`);
    }
    this.loading = null;
    this.onLoaded();
  }
}

/** Show how many events, or requests, are listed, and the limit where it is reached. */
export function showCount({ listed, held, all, noun, missed = 0 }) {
  const latest = held < all;
  const parts = [listed === held
    ? `${latest ? `latest ${held.toLocaleString("en")} of ` : ""}${count(latest ? all : held, noun)}`
    : `${listed.toLocaleString("en")} of ${latest ? "the latest " : ""}${count(held, noun)}`];
  if (missed) parts.push(`${missed.toLocaleString("en")} missed`);
  setText(byId("count"), parts.join(", "));
}

/** Show that there are older events on the server, and a button that loads those that match. */
export function showOlder(older, waiting, isFiltered) {
  const box = byId("older");
  box.hidden = waiting === 0 || older.from === 0;
  setText(byId("older-text"), older.isFull
    ? `No more older events are loaded; narrow the filter. ${count(waiting, "event")} are only on the server.`
    : `The page holds the latest ${HELD.toLocaleString("en")} events; `
      + `${count(waiting, "older one")} ${waiting === 1 ? "is" : "are"} only on the server.`);
  const button = byId("older-load");
  button.hidden = older.isFull;
  button.disabled = older.loading !== null;
  setText(button, older.loading ? "Loading" : isFiltered ? "Search them" : "Load older ones");
}
