// Switches for faults, and how the clients react: retries and recoveries, seen in the requests.

import { byId, count, el, formatGap, formatTime, setText } from "./dom.js";
import { isFailed } from "./filter.js";

const PRESETS = [
  { name: "Outage", hint: "503 for everything", fault: { kind: "status", code: 503 } },
  { name: "Rate limit", hint: "429, Retry-After: 5", fault: { kind: "status", code: 429, retry_after: "5" } },
  { name: "Wrong key", hint: "401 for everything", fault: { kind: "status", code: 401 } },
  { name: "Slow", hint: "answers after 2 s", fault: { kind: "latency", seconds: 2 } },
  { name: "Lost answers", hint: "half of the answers", fault: { kind: "lose_answer", rate: 0.5 } },
];
const MAX_LINES = 60;

const isSame = (fault, wanted) =>
  Object.entries({ rate: 1, times: null, path: null, ...wanted }).every(([key, value]) => fault[key] === value);

export class FaultPanel {
  constructor(onError) {
    this.onError = onError;
    this.lines = [];
    this.faults = null;
    this.switches = PRESETS.map((preset) => this.makeSwitch(preset.name, preset.hint, preset.fault));
    byId("faults").append(...this.switches.map((one) => one.item));
  }

  makeSwitch(name, hint, fault) {
    const box = el("input", { type: "checkbox", role: "switch", onchange: () => this.toggle(fault, box.checked) });
    const item = el("li", {}, el("label", {}, box, el("span", {}, name), el("small", {}, hint)));
    return { fault, box, item };
  }

  /** Show which faults are on, also those that were set elsewhere. */
  show(faults) {
    if (JSON.stringify(faults) === JSON.stringify(this.faults)) return;
    this.faults = faults;
    for (const one of this.switches) one.box.checked = faults.some((fault) => isSame(fault, one.fault));
    byId("faults").querySelectorAll(".other").forEach((item) => item.remove());
    for (const fault of faults.filter((one) => !PRESETS.some((preset) => isSame(one, preset.fault)))) {
      const hint = fault.kind === "status" ? `HTTP ${fault.code}` : `${fault.seconds} s`;
      const times = fault.times === null ? "" : `, at most ${fault.times}`;
      const share = `${hint}, ${Math.round(fault.rate * 100)} %${times}`;
      const own = this.makeSwitch(fault.kind.replace("_", " "), share, fault);
      own.item.className = "other";
      own.box.checked = true;
      byId("faults").append(own.item);
    }
    const button = byId("faults-button");
    setText(button, faults.length ? `Faults on: ${faults.length}` : "Inject faults");
    button.classList.toggle("on", faults.length > 0);
  }

  /** Turn a fault on or off. Of those that answer with a status, only one can be on. */
  async toggle(fault, on) {
    const status = (one) => one.kind === "status";
    const kept = (this.faults ?? []).filter(
      (one) => !isSame(one, fault) && !(on && status(fault) && status(one)));
    const wanted = (on ? [...kept, fault] : kept)
      .sort((a, b) => (b.kind === "latency") - (a.kind === "latency"));
    try {
      const answer = await fetch("/_dev/faults", { method: "PUT", body: JSON.stringify(wanted) });
      const read = await answer.json();
      if (!answer.ok) throw new Error(read.message);
      this.show(read.faults);
    } catch (error) {
      this.onError(`the faults could not be changed: ${error.message}`);
      const before = this.faults ?? [];
      this.faults = null;
      this.show(before);
    }
  }

  /** Show how the clients react, by their requests, with their retries marked. */
  addRequests(requests, { retries, recoveries }) {
    for (const request of requests) this.addRequest(request);
    setText(byId("reaction-counts"), `${count(retries, "retry", "retries")}, `
      + count(recoveries, "recovery", "recoveries"));
    byId("reactions").replaceChildren(...this.lines.map(({ at, kind, text }) => el("li", { class: kind },
      el("span", { class: "time" }, formatTime(at, true)), el("span", {}, text))));
  }

  addRequest(request) {
    const { at, retry, since, status, path, events } = request;
    const name = path.endsWith("identify") ? "identify" : `batch of ${events}`;
    const answered = status === null ? "no answer" : `HTTP ${status}`;
    if (!isFailed(request)) {
      if (retry) this.addLine(at, "recovery", `${name}: delivered by retry ${retry}, ${formatGap(since)}`);
    } else if (retry) {
      this.addLine(at, "retry", `${name}: retry ${retry}, ${answered}, ${formatGap(since)}`);
    } else {
      this.addLine(at, "failure", `${name}: ${answered}${request.fault ? ", injected" : ""}`);
    }
  }

  addLine(at, kind, text) {
    this.lines.unshift({ at, kind, text });
    this.lines.length = Math.min(this.lines.length, MAX_LINES);
  }

  clear() {
    this.lines = [];
    this.addRequests([], { retries: 0, recoveries: 0 });
  }
}
