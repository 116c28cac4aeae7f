// Faults to switch, and what the clients then do: retries and recoveries, read from the requests.

import { byId, clock, el, gap, say } from "./dom.js";

const PRESETS = [
  { name: "Outage", hint: "503 for everything", fault: { kind: "status", code: 503 } },
  { name: "Rate limit", hint: "429, Retry-After: 5", fault: { kind: "status", code: 429, retry_after: "5" } },
  { name: "Wrong key", hint: "401 for everything", fault: { kind: "status", code: 401 } },
  { name: "Slow", hint: "answers after 2 s", fault: { kind: "latency", seconds: 2 } },
  { name: "Lost answers", hint: "half of them, after taking", fault: { kind: "lose_answer", rate: 0.5 } },
];
const MOST_LINES = 60;
const MOST_ATTEMPTS = 500;

const isLike = (fault, wanted) =>
  Object.entries({ rate: 1, times: null, path: null, ...wanted }).every(([key, value]) => fault[key] === value);

const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

export class Rehearsal {
  constructor(onError) {
    this.onError = onError;
    this.attempts = new Map();
    this.lines = [];
    this.retries = this.recoveries = 0;
    this.faults = null;
    this.switches = PRESETS.map((preset) => this.makeSwitch(preset.name, preset.hint, preset.fault));
    byId("faults").append(...this.switches.map((one) => one.item));
  }

  makeSwitch(name, hint, fault) {
    const box = el("input", { type: "checkbox", role: "switch", onchange: () => this.switched(fault, box.checked) });
    const item = el("li", {}, el("label", {}, box, el("span", {}, name), el("small", {}, hint)));
    return { fault, box, item };
  }

  /** Show which faults are on, also those that were asked for elsewhere. */
  show(faults) {
    if (JSON.stringify(faults) === JSON.stringify(this.faults)) return;
    this.faults = faults;
    for (const one of this.switches) one.box.checked = faults.some((fault) => isLike(fault, one.fault));
    byId("faults").querySelectorAll(".other").forEach((item) => item.remove());
    for (const fault of faults.filter((one) => !PRESETS.some((preset) => isLike(one, preset.fault)))) {
      const hint = fault.kind === "status" ? `HTTP ${fault.code}` : `${fault.seconds} s`;
      const times = fault.times === null ? "" : `, at most ${fault.times}`;
      const share = `${hint}, ${Math.round(fault.rate * 100)} %${times}`;
      const own = this.makeSwitch(fault.kind.replace("_", " "), share, fault);
      own.item.className = "other";
      own.box.checked = true;
      byId("faults").append(own.item);
    }
    const button = byId("rehearse-button");
    say(button, faults.length ? `Rehearsing ${faults.length}` : "Rehearse");
    button.classList.toggle("on", faults.length > 0);
  }

  /** Of faults that answer with a status only one can be on: the first would hide the others. */
  async switched(fault, on) {
    const status = (one) => one.kind === "status";
    const kept = (this.faults ?? []).filter(
      (one) => !isLike(one, fault) && !(on && status(fault) && status(one)));
    const wanted = (on ? [...kept, fault] : kept)
      .sort((a, b) => (b.kind === "latency") - (a.kind === "latency"));
    try {
      const answer = await fetch("/_dev/faults", { method: "PUT", body: JSON.stringify(wanted) });
      const read = await answer.json();
      if (!answer.ok) throw new Error(read.message);
      this.show(read.faults);
    } catch (error) {
      this.onError(`the faults could not be switched: ${error.message}`);
      const before = this.faults ?? [];
      this.faults = null;
      this.show(before);
    }
  }

  /** Read what the clients did from the requests that came. */
  heard(requests) {
    for (const request of requests) this.note(request);
    say(byId("reaction-counts"), `${count(this.retries, "retry", "retries")}, `
      + count(this.recoveries, "recovery", "recoveries"));
    say(byId("recovered"), `${this.retries} / ${this.recoveries}`);
    byId("reactions").replaceChildren(...this.lines.map(({ at, kind, text }) => el("li", { class: kind },
      el("span", { class: "when" }, clock(at, true)), el("span", {}, text))));
  }

  note(request) {
    const at = request.received_at * 1000;
    const what = request.path.endsWith("identify") ? "identify" : `batch of ${request.events}`;
    const answered = request.status === null ? "no answer" : `HTTP ${request.status}`;
    const fine = request.status !== null && request.status >= 200 && request.status < 300;
    const before = this.attempts.get(request.digest);
    if (before) {
      this.retries += 1;
      before.tries += 1;
    }
    if (fine) {
      if (!before) return;
      this.attempts.delete(request.digest);
      this.recoveries += 1;
      this.say(at, "recovery", `${what}: delivered by retry ${before.tries}, ${gap(at - before.at)}`);
      return;
    }
    if (before) this.say(at, "retry", `${what}: retry ${before.tries}, ${answered}, ${gap(at - before.at)}`);
    else {
      this.attempts.set(request.digest, { at, tries: 0 });
      this.say(at, "failure", `${what}: ${answered}${request.fault ? ", rehearsed" : ""}`);
    }
    if (this.attempts.size > MOST_ATTEMPTS) this.attempts.delete(this.attempts.keys().next().value);
  }

  say(at, kind, text) {
    this.lines.unshift({ at, kind, text });
    this.lines.length = Math.min(this.lines.length, MOST_LINES);
  }

  clear() {
    this.attempts.clear();
    this.lines = [];
    this.retries = this.recoveries = 0;
    this.heard([]);
  }
}
