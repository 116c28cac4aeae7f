// The list of events: only the rows that can be seen are in the document.

import { byId, clock, el, inOneLine, say, SIGNS } from "./dom.js";

const BEYOND = 8; // rows above and below what is seen

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

  /** Show these events, oldest first as they are held; the newest is on top. */
  show(events, chosen) {
    const grown = this.events.length ? newerThan(events, this.events[this.events.length - 1].seq) : 0;
    const height = this.height;
    const away = this.scroller.scrollTop > height / 2;
    this.events = events;
    this.chosen = chosen;
    this.spacer.style.height = `${events.length * height}px`;
    if (away && grown) this.scroller.scrollTop += grown * height; // what one reads stays in place
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
    const first = Math.max(Math.floor(this.scroller.scrollTop / height) - BEYOND, 0);
    const seen = Math.ceil(this.scroller.clientHeight / height) + 2 * BEYOND;
    const last = Math.min(first + seen, this.events.length);
    const kept = new Set();
    for (let index = first; index < last; index += 1) {
      const event = this.at(index);
      kept.add(event.seq);
      let row = this.rows.get(event.seq);
      if (!row) {
        row = rowOf(event);
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

function newerThan(events, seq) {
  let count = 0;
  while (count < events.length && events[events.length - 1 - count].seq > seq) count += 1;
  return count;
}

function rowOf(event) {
  const row = el("div", {
    id: `row-${event.seq}`, role: "option", class: `row is-${event.status}`, "data-seq": event.seq,
  });
  row.append(
    el("span", { class: "when" }, clock(event.at, true)),
    el("span", { class: "sign", title: event.status, "aria-label": event.status }, SIGNS[event.status]),
    el("span", { class: "name" }, event.type ?? event.kind),
    el("span", { class: "who" }, event.user ?? "(no user)"),
    el("span", { class: "what" }, event.problems.length ? problemLine(event) : inOneLine(event)),
  );
  return row;
}

function problemLine(event) {
  const { pointer, found, expected } = event.problems[0];
  return `${pointer || "the body"}: ${found}; expected ${expected}`;
}

/** Say how many of the held events are shown. */
export function sayCount(shown, held, missed) {
  const parts = [shown === held ? `${held}` : `${shown} of ${held}`];
  parts[0] += held === 1 ? " event" : " events";
  if (missed) parts.push(`${missed} came and went unseen`);
  say(byId("count"), parts.join(", "));
}
