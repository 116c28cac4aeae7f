// A list of which only the rows in view are in the document: of events, or of requests.

import { el } from "./dom.js";

const OVERSCAN = 8; // rows above and below the view

export class List {
  /** `key` names the number of an item; `makeRow(item)` returns its cells; `head` has the columns' names. */
  constructor({ root, head, row, key, getClass, makeCells, onChoose }) {
    Object.assign(this, { scroller: root, row, key, getClass, makeCells });
    this.items = [];
    this.chosen = null;
    this.rows = new Map();
    this.head = root.appendChild(el("div", { class: `head ${row}-head`, role: "presentation", "aria-hidden": "true" },
      ...head.map((name) => el("span", {}, name))));
    this.spacer = root.appendChild(el("div", { class: "spacer", role: "presentation" }));
    root.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(root);
    root.addEventListener("click", (event) => {
      const found = event.target.closest("[data-seq]");
      if (found) onChoose(Number(found.dataset.seq));
    });
  }

  get height() {
    return parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row"));
  }

  /** Show these items, given oldest first; the newest is on top. */
  show(items, chosen) {
    const added = this.items.length ? this.countNewer(items, this.items[this.items.length - 1][this.key]) : 0;
    const height = this.height;
    const away = this.scroller.scrollTop > height / 2;
    this.items = items;
    this.chosen = chosen;
    this.spacer.style.height = `${items.length * height}px`;
    if (away && added) this.scroller.scrollTop += added * height; // what the reader sees stays in place
    this.draw();
  }

  countNewer(items, number) {
    let count = 0;
    while (count < items.length && items[items.length - 1 - count][this.key] > number) count += 1;
    return count;
  }

  at(index) {
    return this.items[this.items.length - 1 - index];
  }

  indexOf(number) {
    return this.items.findLastIndex((item) => item[this.key] === number);
  }

  reveal(number) {
    const found = this.indexOf(number);
    if (found < 0) return;
    const height = this.height;
    const top = (this.items.length - 1 - found) * height;
    const view = this.scroller;
    const visible = view.clientHeight - this.head.offsetHeight; // the head stays above the rows
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + height > view.scrollTop + visible) view.scrollTop = top + height - visible;
    this.draw();
  }

  draw() {
    if (!this.scroller.clientHeight) return; // it is not shown
    const height = this.height;
    const first = Math.max(Math.floor(this.scroller.scrollTop / height) - OVERSCAN, 0);
    const visible = Math.ceil(this.scroller.clientHeight / height) + 2 * OVERSCAN;
    const last = Math.min(first + visible, this.items.length);
    const kept = new Set();
    for (let index = first; index < last; index += 1) {
      const item = this.at(index);
      const number = item[this.key];
      kept.add(number);
      let row = this.rows.get(number);
      if (!row) {
        row = this.makeRow(item, number);
        this.rows.set(number, row);
        this.spacer.append(row);
      }
      row.style.transform = `translateY(${index * height}px)`;
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", this.items.length);
      row.setAttribute("aria-selected", number === this.chosen);
    }
    for (const [number, row] of this.rows) {
      if (kept.has(number)) continue;
      row.remove();
      this.rows.delete(number);
    }
    if (kept.has(this.chosen)) this.scroller.setAttribute("aria-activedescendant", `${this.row}-${this.chosen}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  makeRow(item, number) {
    return el("div", {
      id: `${this.row}-${number}`, role: "option", class: `${this.row} ${this.getClass(item)}`, "data-seq": number,
    }, ...this.makeCells(item));
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.items = [];
  }
}
