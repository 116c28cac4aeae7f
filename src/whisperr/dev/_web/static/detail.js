// One event: what it says, why it was refused, how it came, and ways to take it along.

import { asCurl, asPytest, asPython } from "./copies.js";
import { byId, clock, day, el, say } from "./dom.js";
import { pretty } from "./pretty.js";

const MOST_CHARS = 200000;

export class Detail {
  constructor({ onUser, onClose, tell }) {
    this.tell = tell;
    this.seq = null;
    this.root = byId("detail");
    byId("detail-close").addEventListener("click", onClose);
    byId("detail-user").addEventListener("click", () => this.event && onUser(this.event.user));
    for (const [id, text] of Object.entries({
      "copy-json": () => this.raw,
      "copy-curl": () => asCurl(this.raw, this.event.kind, location.origin),
      "copy-python": () => asPython(this.raw, this.event.kind),
      "copy-pytest": () => asPytest(this.raw, this.event),
    })) byId(id).addEventListener("click", (event) => this.copy(event.currentTarget, text));
  }

  close() {
    this.seq = this.event = null;
    this.root.hidden = true;
  }

  /** Show an event at once from what is held, then as it came, from the server. */
  async show(event) {
    if (this.seq === event.seq) return;
    this.seq = event.seq;
    this.event = event;
    this.raw = JSON.stringify(event.body);
    this.root.hidden = false;
    this.root.scrollTop = 0;
    this.root.setAttribute("aria-busy", "true");
    this.fill(null);
    try {
      const answer = await fetch(`/_dev/arrival?seq=${event.seq}`);
      const whole = answer.ok ? await answer.json() : { raw: null, request: null };
      if (this.seq !== event.seq) return;
      this.raw = whole.raw ?? this.raw;
      this.fill(whole.request);
    } catch {
      if (this.seq !== event.seq) return;
      say(byId("detail-request-line"), "the server does not answer; shown is what the page holds");
    }
    this.root.removeAttribute("aria-busy");
  }

  fill(request) {
    const { event } = this;
    say(byId("detail-name"), event.type ?? event.kind);
    const state = byId("detail-status");
    say(state, event.status);
    state.className = `badge is-${event.status}`;
    say(byId("detail-user"), event.user ?? "(no user)");
    byId("detail-user").disabled = event.user === null;
    say(byId("detail-arrived"), `${day(event.at)} ${clock(event.at, true)}`);
    say(byId("detail-occurred"), event.occurred === null ? "–" : `${day(event.occurred)} ${clock(event.occurred, true)}`);
    say(byId("detail-id"), event.message_id ?? "–");
    byId("detail-problems").replaceChildren(...event.problems.map(problemItem));
    byId("detail-problems-box").hidden = event.problems.length === 0;
    byId("detail-pretty").replaceChildren(pretty(this.raw.slice(0, MOST_CHARS)));
    say(byId("detail-raw"), this.raw.slice(0, MOST_CHARS));
    this.fillRequest(request);
  }

  fillRequest(request) {
    const line = request
      ? `${request.method} ${request.path}, ${request.status === null ? "no answer" : `answered ${request.status}`}`
      : "";
    say(byId("detail-request-line"), line);
    const facts = request ? [
      ["request", `number ${request.number}, on connection ${request.connection}`],
      ["place in it", `${this.event.index + 1}`],
      ["size", `${request.bytes} bytes`],
      ...(request.fault ? [["rehearsed", request.fault]] : []),
      ...Object.entries(request.headers),
    ] : [];
    byId("detail-headers").replaceChildren(...facts.map(([name, value]) =>
      el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, value))));
  }

  async copy(button, text) {
    let made;
    try {
      made = text();
    } catch (error) {
      this.tell(`this cannot be written so: ${error.message}`);
      return;
    }
    try {
      await navigator.clipboard.writeText(made);
    } catch {
      if (!copiedByHand(made)) {
        this.tell("the browser does not let the page copy");
        return;
      }
    }
    this.tell(`copied: ${button.textContent}`);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  }
}

/** The way of browsers that give no clipboard to a page of this address. */
function copiedByHand(text) {
  const box = el("textarea", { class: "away", "aria-hidden": "true" });
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  return done;
}

function problemItem({ pointer, found, expected, fix }) {
  return el("li", {},
    el("code", { class: "pointer" }, pointer || "(the body)"),
    el("dl", {},
      el("div", {}, el("dt", {}, "arrived"), el("dd", {}, el("code", {}, found))),
      el("div", {}, el("dt", {}, "allowed"), el("dd", {}, expected)),
      el("div", {}, el("dt", {}, "to fix it"), el("dd", {}, fix))));
}
