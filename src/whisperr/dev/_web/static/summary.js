// The line for an event: its properties, or its traits and channels, as a filter would name them.

import { el, isObject, shorten, toText } from "./dom.js";

const MAX_PAIRS = 12;
const MAX_CHARS = 120; // of one value

/** Return the summary of an event as elements: strings in quotes, numbers and words marked. */
export function makeSummary(event) {
  if (event.problems.length) return [describeProblem(event)];
  if (event.cut) return ["too large for the list; open it"];
  const body = isObject(event.body) ? event.body : {};
  const details = event.kind === "event"
    ? body.properties
    : { ...(isObject(body.traits) ? body.traits : {}), ...(body.channels ? { channels: body.channels } : {}) };
  if (details === undefined) return [];
  if (!isObject(details)) return [makeValue(details)];
  return Object.entries(details).slice(0, MAX_PAIRS).map(([key, value]) =>
    el("span", { class: "pair" }, el("span", { class: "key" }, `${shorten(key, MAX_CHARS)}=`), makeValue(value)));
}

function makeValue(value) {
  const kind = { string: "string", number: "number" }[typeof value] ?? (isObject(value) || Array.isArray(value) ? "object" : "word");
  return el("span", { class: `value-${kind}` }, shorten(JSON.stringify(value), MAX_CHARS));
}

function describeProblem(event) {
  const { pointer, found, expected } = event.problems[0];
  return `${pointer || "the body"}: ${found}; expected ${expected}`;
}

/** Return an event's name for a person. */
export const nameEvent = (event) => toText(event.type ?? event.kind);
