// Requests: their list, one of them with its events, and why all of them are refused.

import { byId, count, el, formatDate, formatDuration, formatTime, setText } from "./dom.js";
import { isFailed, quote } from "./filter.js";
import { List } from "./list.js";
import { pretty } from "./pretty.js";
import { nameEvent } from "./summary.js";

const MAX_CHARS = 200000;
const MAX_EVENTS = 100; // in the detail of one request
const MAX_REFUSALS = 8;

export function makeRequestList(onChoose) {
  return new List({
    root: byId("request-list"), row: "request", key: "number", onChoose, makeCells, getClass: (one) => `is-${getState(one)}`,
    head: ["Time", "Status", "Request", "Events", "Duration", "User agent", "Reason"],
  });
}

const getState = (request) => {
  if (isFailed(request)) return "refused";
  return request.refused ? "duplicate" : "accepted";
};

const describeStatus = ({ status }) => (status === null ? "none" : String(status));
const describeCall = ({ method, path }) => `${method} ${path}`.trim() || "(no HTTP)";
function describeEvents({ path, events }) {
  if (path.endsWith("/identify") && events === 1) return "identify";
  return events ? count(events, "event") : "–";
}
const getAgent = ({ headers }) => headers["user-agent"] || "(none)";

function describeReason(request) {
  if (request.reason) return request.reason;
  const parts = [];
  if (request.refused) parts.push(`${request.refused} of ${count(request.events, "event")} refused`);
  if (request.duplicates) parts.push(count(request.duplicates, "duplicate"));
  if (request.fault) parts.push(`injected fault: ${request.fault}`);
  return parts.join(", ");
}

function makeCells(request) {
  const reason = describeReason(request);
  const retry = request.retry ? `retry ${request.retry}` : "";
  return [
    el("span", { class: "time" }, formatTime(request.at, true)),
    el("span", { class: "status", "aria-label": request.status === null ? "no answer" : null }, describeStatus(request)),
    el("span", { class: "name" }, describeCall(request)),
    el("span", { class: "amount" }, describeEvents(request)),
    el("span", { class: "amount" }, request.status === null ? "–" : formatDuration(request.duration)),
    el("span", { class: "agent" }, getAgent(request)),
    el("span", { class: "reason" }, [retry, reason].filter(Boolean).join(": ")),
  ];
}

/** One request: why it was refused, its events, its body and headers. */
export class RequestDetail {
  constructor({ onEvent, onEvents, onClose }) {
    this.onEvent = onEvent;
    this.number = null;
    this.root = byId("request");
    byId("request-close").addEventListener("click", onClose);
    byId("request-list-events").addEventListener("click", () => onEvents(this.number));
  }

  close() {
    this.number = null;
    this.root.hidden = true;
  }

  /** Show what the page holds of a request at once, then its events and body, from the server. */
  async show(request) {
    if (this.number === request.number) return;
    const { number } = request;
    this.number = number;
    this.root.hidden = false;
    this.root.scrollTop = 0;
    this.root.setAttribute("aria-busy", "true");
    this.fill(request);
    let found = null;
    try {
      const answer = await fetch(`/_dev/request?number=${number}`);
      if (answer.ok) found = await answer.json();
      else setText(byId("request-none"), "the server no longer has the body and the events of this request");
    } catch {
      setText(byId("request-none"), "the server does not answer; this is what the page has");
    }
    if (this.number !== number) return;
    if (found) this.fillFound(found, request);
    this.root.removeAttribute("aria-busy");
  }

  fill(request) {
    const state = getState(request);
    setText(byId("request-name"), describeCall(request));
    setText(byId("request-status"), request.status === null ? "no answer" : String(request.status));
    byId("request-status").className = `badge is-${state}`;
    byId("request-why").hidden = !request.reason;
    setText(byId("request-reason"), request.reason ?? "");
    setText(byId("request-error"), request.error ?? "");
    setText(byId("request-fix"), request.fix ?? "");
    byId("request-fix").hidden = !request.fix;
    const facts = {
      request: `number ${request.number}, on connection ${request.connection}`,
      arrived: `${formatDate(request.at)} ${formatTime(request.at, true)}`,
      duration: request.status === null ? "no answer" : formatDuration(request.duration),
      size: count(request.bytes, "byte"),
      events: [request.events ? describeEvents(request) : "none were read", describeReason({ ...request, reason: null })].filter(Boolean).join(", "),
      "user agent": getAgent(request),
      ...(request.retry ? { retry: `number ${request.retry}, of a request with the same body` } : {}),
      ...(request.fault ? { "injected fault": request.fault } : {}),
    };
    byId("request-facts").replaceChildren(...Object.entries(facts).map(([name, value]) => makeFact(name, value)));
    byId("request-headers").replaceChildren(
      ...Object.entries(request.headers).map(([name, value]) => makeFact(name, value)));
    byId("request-events").replaceChildren();
    byId("request-body").replaceChildren();
    setText(byId("request-none"), "");
    byId("request-list-events").hidden = true;
  }

  fillFound({ request, arrivals }, { events }) {
    byId("request-events").replaceChildren(...arrivals.slice(0, MAX_EVENTS).map((one) => this.makeEventItem(one)));
    byId("request-list-events").hidden = arrivals.length === 0;
    setText(byId("request-list-events"), `Show ${arrivals.length === 1 ? "it" : `all ${arrivals.length}`} in the list of events`);
    if (!arrivals.length) setText(byId("request-none"), events ? "None was accepted, or the server no longer has them." : "No events were read.");
    byId("request-body").replaceChildren(pretty(request.body.slice(0, MAX_CHARS)));
    byId("request-body-box").hidden = !request.body;
  }

  makeEventItem(arrival) {
    return el("li", { class: `is-${arrival.status}` }, el("button", {
      type: "button", class: "link", onclick: () => this.onEvent(arrival.seq),
    }, nameEvent(arrival)),
    el("span", { class: "quiet" }, arrival.user ?? "(no user)"),
    el("span", { class: "state" }, arrival.status));
  }
}

const makeFact = (name, value) =>
  el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, value));

/** Show why the requests of an otherwise empty page are refused: the latest reasons, with their counts. */
export function showRefusals(requests, onQuery) {
  const groups = new Map();
  for (const request of requests) {
    const key = JSON.stringify([request.status, request.error, request.reason]);
    const before = groups.get(key)?.count ?? 0;
    groups.delete(key); // so that the map has the order of the latest
    groups.set(key, { request, count: before + 1 });
  }
  const latest = [...groups].slice(-MAX_REFUSALS).reverse();
  const list = byId("refusals-list");
  const drawn = JSON.stringify(latest.map(([key, { count: times, request }]) => [key, times, request.number]));
  if (list.dataset.drawn === drawn) return; // a selection in it is kept
  list.dataset.drawn = drawn;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  list.replaceChildren(...latest.map(([key, group]) => makeRefusal(key, group, onQuery)));
  if (focused !== null) [...list.querySelectorAll("button")].find((one) => one.dataset.key === focused)?.focus();
}

function makeRefusal(key, { request, count: times }, onQuery) {
  const query = request.status === null ? "status:none" : `status:${request.status}`;
  return el("li", { class: "refusal" },
    el("p", { class: "refusal-head is-refused" },
      el("strong", { class: "status" }, request.status === null ? "no answer" : String(request.status)),
      el("span", {}, request.reason ?? "it was answered, but had no events")),
    request.fix && el("p", {}, request.fix),
    el("p", { class: "quiet" }, `${count(times, "request")}, the latest at ${formatTime(request.at)}: `,
      `${describeCall(request)} from ${getAgent(request)}. `,
      el("button", {
        type: "button", class: "link", "data-key": key,
        onclick: () => onQuery(request.error ? `${query} error:${quote(request.error)}` : query),
      }, times === 1 ? "Show it" : "Show them")));
}
