// One event: its content, why it was refused, its request, and ways to copy it.

import { copyText, markDone } from "./clipboard.js";
import { toCurl, toPytest, toPython } from "./copies.js";
import { byId, el, formatDate, formatTime, isObject, setText } from "./dom.js";
import { pretty } from "./pretty.js";
import { nameEvent } from "./summary.js";

const MAX_CHARS = 200000;

export class Detail {
  constructor({ onUser, onRequest, onWebhook, onClose, notify }) {
    this.notify = notify;
    this.seq = null;
    this.root = byId("detail");
    byId("detail-close").addEventListener("click", onClose);
    byId("detail-user").addEventListener("click", () => this.event && onUser(this.event.user));
    byId("detail-open-request").addEventListener("click", () => this.event && onRequest(this.event.request));
    byId("detail-webhook").addEventListener("click", () => this.event && onWebhook(getWebhook(this.event).id));
    for (const [id, text] of Object.entries({
      "copy-json": () => this.raw,
      "copy-curl": () => toCurl(this.raw, this.event.kind, location.origin),
      "copy-python": () => toPython(this.raw, this.event.kind),
      "copy-pytest": () => toPytest(this.raw, this.event),
    })) byId(id).addEventListener("click", (event) => this.copy(event.currentTarget, text));
  }

  close() {
    this.seq = this.event = null;
    this.root.hidden = true;
  }

  /** Show what the page holds of an event at once, then the text as sent, from the server. */
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
      const found = answer.ok ? await answer.json() : { raw: null, request: null };
      if (this.seq !== event.seq) return;
      this.raw = found.raw ?? this.raw;
      this.fill(found.request);
    } catch {
      if (this.seq !== event.seq) return;
      setText(byId("detail-request-line"), "the server does not answer; this is what the page has");
    }
    this.root.removeAttribute("aria-busy");
  }

  fill(request) {
    const { event } = this;
    setText(byId("detail-name"), nameEvent(event));
    setText(byId("detail-open-request"), `request ${event.request}`);
    const badge = byId("detail-status");
    setText(badge, event.status);
    badge.className = `badge is-${event.status}`;
    setText(byId("detail-user"), event.user ?? "(no user)");
    byId("detail-user").disabled = event.user === null;
    setText(byId("detail-arrived"), `${formatDate(event.at)} ${formatTime(event.at, true)}`);
    setText(byId("detail-occurred"), event.occurred === null ? "–" : `${formatDate(event.occurred)} ${formatTime(event.occurred, true)}`);
    setText(byId("detail-id"), event.message_id ?? "–");
    this.fillWebhook(getWebhook(event));
    byId("detail-problems").replaceChildren(...event.problems.map(makeProblemItem));
    byId("detail-problems-box").hidden = event.problems.length === 0;
    byId("detail-pretty").replaceChildren(pretty(this.raw.slice(0, MAX_CHARS)));
    setText(byId("detail-raw"), this.raw.slice(0, MAX_CHARS));
    this.fillRequest(request);
  }

  fillWebhook(webhook) {
    byId("detail-webhook-box").hidden = webhook === null;
    if (webhook) setText(byId("detail-webhook"), [webhook.provider, webhook.id, webhook.type].filter(Boolean).join(" "));
  }

  fillRequest(request) {
    const line = request
      ? `${request.method} ${request.path}, ${request.status === null ? "no answer" : `answered ${request.status}`}`
      : "";
    setText(byId("detail-request-line"), line);
    const facts = request ? [
      ["request", `number ${request.number}, on connection ${request.connection}`],
      ["position", `${this.event.index + 1}`],
      ["size", `${request.bytes} bytes`],
      ...(request.fault ? [["injected fault", request.fault]] : []),
      ...Object.entries(request.headers),
    ] : [];
    byId("detail-headers").replaceChildren(...facts.map(([name, value]) =>
      el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, value))));
  }

  async copy(button, text) {
    let copy;
    try {
      copy = text();
    } catch (error) {
      this.notify(`this cannot be copied: ${error.message}`);
      return;
    }
    if (!await copyText(copy)) {
      this.notify("the browser refused access to the clipboard");
      return;
    }
    this.notify(`copied: ${button.textContent}`);
    markDone(button);
  }
}

/** Return which webhook of a billing provider an event is a signal of; null if it is none. */
function getWebhook({ body }) {
  const context = isObject(body) && isObject(body.context) ? body.context : {};
  const [id, provider, type] = ["provider_event_id", "provider", "provider_event_type"].map((name) =>
    typeof context[name] === "string" ? context[name] : "");
  return id ? { id, provider, type } : null;
}

function makeProblemItem({ pointer, found, expected, fix }) {
  return el("li", {},
    el("code", { class: "pointer" }, pointer || "(the body)"),
    el("dl", {},
      el("div", {}, el("dt", {}, "arrived"), el("dd", {}, el("code", {}, found))),
      el("div", {}, el("dt", {}, "allowed"), el("dd", {}, expected)),
      el("div", {}, el("dt", {}, "fix"), el("dd", {}, fix))));
}
