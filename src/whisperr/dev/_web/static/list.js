// The list of events; only the rows in view are in the document.

import { byId, el, formatTime, setText, SIGNS, summarize } from "./dom.js";

const OVERSCAN = 8; // rows above and below the view

export class List {
  constructor(onChoose) {
    this.scroller = byId("list");
    this.events = [];
    this.chosen = null;
    this.rows = new Map();
    this.spacer = this.scroller.appendChild(el("div", { class: "spacer", role: "presentation" }));
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    this.scroller.addEventListener("click", (event) => {
      const row = event.target.closest("[data-seq]");
      if (row) onChoose(Number(row.dataset.seq));
    });
  }

  get height() {
    return parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row"));
  }

  /** Show these events, given oldest first; the newest is on top. */
  show(events, chosen) {
    const added = this.events.length ? countNewer(events, this.events[this.events.length - 1].seq) : 0;
    const height = this.height;
    const away = this.scroller.scrollTop > height / 2;
    this.events = events;
    this.chosen = chosen;
    this.spacer.style.height = `${events.length * height}px`;
    if (away && added) this.scroller.scrollTop += added * height; // what the reader sees stays in place
    this.draw();
  }

  at(index) {
    return this.events[this.events.length - 1 - index];
  }

  indexOf(seq) {
    return this.events.findLastIndex((event) => event.seq === seq);
  }

  reveal(seq) {
    const found = this.indexOf(seq);
    if (found < 0) return;
    const height = this.height;
    const top = (this.events.length - 1 - found) * height;
    const view = this.scroller;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + height > view.scrollTop + view.clientHeight) {
      view.scrollTop = top + height - view.clientHeight;
    }
    this.draw();
  }

  draw() {
    const height = this.height;
    const first = Math.max(Math.floor(this.scroller.scrollTop / height) - OVERSCAN, 0);
    const visible = Math.ceil(this.scroller.clientHeight / height) + 2 * OVERSCAN;
    const last = Math.min(first + visible, this.events.length);
    const kept = new Set();
    for (let index = first; index < last; index += 1) {
      const event = this.at(index);
      kept.add(event.seq);
      let row = this.rows.get(event.seq);
      if (!row) {
        row = makeRow(event);
        this.rows.set(event.seq, row);
        this.spacer.append(row);
      }
      row.style.transform = `translateY(${index * height}px)`;
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", this.events.length);
      row.setAttribute("aria-selected", event.seq === this.chosen);
    }
    for (const [seq, row] of this.rows) {
      if (kept.has(seq)) continue;
      row.remove();
      this.rows.delete(seq);
    }
    if (kept.has(this.chosen)) this.scroller.setAttribute("aria-activedescendant", `row-${this.chosen}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }
}

function countNewer(events, seq) {
  let count = 0;
  while (count < events.length && events[events.length - 1 - count].seq > seq) count += 1;
  return count;
}

function makeRow(event) {
  const row = el("div", {
    id: `row-${event.seq}`, role: "option", class: `row is-${event.status}`, "data-seq": event.seq,
  });
  row.append(
    el("span", { class: "time" }, formatTime(event.at, true)),
    el("span", { class: "sign", title: event.status, "aria-label": event.status }, SIGNS[event.status]),
    el("span", { class: "name" }, event.type ?? event.kind),
    el("span", { class: "user-id" }, event.user ?? "(no user)"),
    el("span", { class: "details" }, event.problems.length ? describeProblem(event) : summarize(event)),
  );
  return row;
}

function describeProblem(event) {
  const { pointer, found, expected } = event.problems[0];
  return `${pointer || "the body"}: ${found}; expected ${expected}`;
}

/** Show how many of the events are listed. */
export function showCount(listed, held, missed) {
  const parts = [listed === held ? `${held}` : `${listed} of ${held}`];
  parts[0] += held === 1 ? " event" : " events";
  if (missed) parts.push(`${missed} missed`);
  setText(byId("count"), parts.join(", "));
}
