// Bars of the last minutes; a range of time is selected in them by pointer or arrow keys.

import { byId, formatTime, setText, svg } from "./dom.js";

const BARS = 60;
const WIDTH = 600;
const HEIGHT = 56;
const FEW = 20; // events
const STATUSES = ["accepted", "duplicate", "refused"];

/** Return how high the bars are: a few events need no room. */
function getSize(sums) {
  const total = sums.reduce((one, other) => one + other, 0);
  if (total === 0) return "none";
  return total > FEW ? "high" : "low";
}

export class Chart {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.width = 5000;
    this.bars = [];
    this.from = this.to = null; // the selected range, by the start of its bars
    this.root = byId("chart");
    this.shade = svg("rect", { class: "shade", y: 0, height: HEIGHT, visibility: "hidden" });
    this.rects = Array.from({ length: BARS }, (_, index) =>
      STATUSES.map((status) => svg("rect", {
        class: `bar-${status}`, x: (index * WIDTH) / BARS + 1, width: WIDTH / BARS - 2,
      })));
    this.root.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.root.append(this.shade, ...this.rects.flat());
    this.root.addEventListener("pointerdown", (event) => this.down(event));
    this.root.addEventListener("pointermove", (event) => this.move(event));
    this.root.addEventListener("pointerup", (event) => this.up(event));
    this.root.addEventListener("keydown", (event) => this.key(event));
    byId("span").addEventListener("change", (event) => {
      this.width = Number(event.target.value) * 1000;
      this.draw(this.memory);
    });
  }

  draw(memory) {
    this.memory = memory;
    this.bars = memory.bars(Date.now(), this.width, BARS);
    const sum = (bar) => bar.accepted + bar.refused + bar.duplicate;
    const sums = this.bars.map(sum);
    const most = Math.max(...sums, 1);
    if (this.start === undefined) this.root.parentElement.dataset.size = getSize(sums);
    this.bars.forEach((bar, index) => {
      let y = HEIGHT;
      STATUSES.forEach((status, layer) => {
        const height = (bar[status] / most) * (HEIGHT - 4);
        const visible = bar[status] ? Math.max(height, 1.5) : 0;
        y -= visible;
        const rect = this.rects[index][layer];
        rect.setAttribute("y", y);
        rect.setAttribute("height", visible);
      });
    });
    setText(byId("chart-most"), most > 1 ? `max ${most.toLocaleString("en")} per bar` : "");
    setText(byId("chart-from"), formatTime(this.bars[0].from));
    this.shadeRange();
  }

  /** Show a range, in ms; null for none. */
  show(range) {
    this.from = range ? range.from : null;
    this.to = range ? range.to : null;
    this.shadeRange();
  }

  shadeRange() {
    if (this.from === null || !this.bars.length) {
      this.shade.setAttribute("visibility", "hidden");
      return;
    }
    const scale = WIDTH / (BARS * this.width);
    const start = Math.max((this.from - this.bars[0].from) * scale, 0);
    const end = Math.min((this.to - this.bars[0].from) * scale, WIDTH);
    this.shade.setAttribute("visibility", end > start ? "visible" : "hidden");
    this.shade.setAttribute("x", start);
    this.shade.setAttribute("width", Math.max(end - start, 0));
  }

  barAt(event) {
    const box = this.root.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return this.bars[Math.min(Math.max(Math.floor(share * BARS), 0), BARS - 1)].from;
  }

  down(event) {
    if (event.button !== 0 || !this.bars.length) return;
    this.root.setPointerCapture(event.pointerId);
    this.start = this.barAt(event);
    this.select(this.start, this.start);
  }

  move(event) {
    if (this.start !== undefined) this.select(this.start, this.barAt(event));
  }

  up(event) {
    if (this.start === undefined) return;
    this.select(this.start, this.barAt(event));
    this.start = undefined;
    this.onSelect({ from: this.from, to: this.to });
  }

  select(one, other) {
    this.from = Math.min(one, other);
    this.to = Math.max(one, other) + this.width;
    this.shadeRange();
  }

  /** Arrow keys move the selected bar; with Shift, they extend the range. */
  key(event) {
    const step = { ArrowLeft: -this.width, ArrowRight: this.width }[event.key];
    if (!step || !this.bars.length) return;
    event.preventDefault();
    const newest = this.bars[BARS - 1].from;
    const within = (from) => Math.min(Math.max(from, this.bars[0].from), newest);
    if (this.from === null) this.select(newest, newest);
    else if (event.shiftKey && step < 0) this.select(within(this.from + step), this.to - this.width);
    else if (event.shiftKey) this.select(this.from, within(this.to));
    else this.select(within(this.from + step), within(this.from + step));
    this.onSelect({ from: this.from, to: this.to });
  }
}
