// Event types by property: their JSON types, how often null, examples, and warnings.

import { byId, el, isObject, shorten, toText } from "./dom.js";

const MAX_TYPES = 100;
const MAX_PROPERTIES = 60;
const EXAMPLES = 3;
const ONE = { string: "a string", number: "a number", boolean: "a boolean", array: "an array", object: "an object" };

/** Return a summary of each event type, by name, those with warnings first. Pure. */
export function summarizeTypes(events) {
  const types = new Map();
  for (const event of events) {
    if (event.kind !== "event" || event.type === null || event.status === "duplicate") continue;
    const type = types.get(event.type) ?? { name: event.type, count: 0, refused: 0, properties: new Map() };
    types.set(event.type, type);
    type.count += 1;
    type.refused += event.status === "refused";
    if (isObject(event.body?.properties)) addProperties(type.properties, event);
  }
  const found = [...types.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).slice(0, MAX_TYPES);
  const names = found.map((type) => type.name);
  for (const type of found) {
    type.warnings = [...findDrifts(type), ...findNearNames([...type.properties.keys()])];
    const other = names.find((name) => name !== type.name && isNear(name, type.name));
    if (other) type.warnings.unshift({ text: `the name is nearly ${other}` });
  }
  // The sort is stable, so the order of names is kept otherwise.
  return found.sort((a, b) => (b.warnings.length > 0) - (a.warnings.length > 0));
}

function addProperties(properties, event) {
  for (const [name, value] of Object.entries(event.body.properties)) {
    let property = properties.get(name);
    if (!property) {
      if (properties.size >= MAX_PROPERTIES) continue;
      property = { name, present: 0, nulls: 0, kinds: new Map(), examples: new Map() };
      properties.set(name, property);
    }
    property.present += 1;
    if (value === null) {
      property.nulls += 1;
      continue;
    }
    const kind = Array.isArray(value) ? "array" : typeof value;
    const seen = property.kinds.get(kind) ?? { count: 0, first: event.seq };
    seen.count += 1;
    property.kinds.set(kind, seen);
    const example = shorten(toText(value), 40);
    if (property.examples.size < EXAMPLES) property.examples.set(example, kind);
  }
}

function* findDrifts(type) {
  for (const { name, kinds } of type.properties.values()) {
    const order = [...kinds].sort((a, b) => b[1].count - a[1].count);
    for (const [kind, { count, first }] of order.slice(1)) {
      const times = count === 1 ? "once" : `${count} times`;
      yield { text: `${name} was ${times} ${ONE[kind]}, otherwise ${ONE[order[0][0]]}`, seq: first };
    }
  }
}

function* findNearNames(names) {
  for (const [index, name] of names.entries()) {
    const other = names.slice(index + 1).find((one) => isNear(name, one));
    if (other) yield { text: `${name} and ${other} are nearly the same name` };
  }
}

const normalize = (name) => name.replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();

/** Return whether two names look like two spellings of one. Pure. */
export function isNear(one, other) {
  const [a, b] = [normalize(one), normalize(other)];
  if (a === b) return true;
  if (Math.min(a.length, b.length) < 5 || Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start += 1;
  const [restA, restB] = [a.slice(start), b.slice(start)];
  if (/^\p{N}/u.test(restA + restB) || (/^\p{N}/u.test(restB) && !restA)) return false;
  return restA.slice(1) === restB.slice(1) || restA.slice(1) === restB || restA === restB.slice(1);
}

const percent = (part, whole) => {
  const share = (part / whole) * 100;
  if (share === 0) return "–";
  return share < 1 ? "< 1 %" : `${Math.round(share)} %`;
};

/** Fill the view. */
export function showTypes(events, onEvent, onType) {
  const types = summarizeTypes(events);
  byId("types").replaceChildren(
    ...(types.length ? types.map((type) => makeTypeSection(type, onEvent, onType))
      : [el("p", { class: "quiet" }, "No events to summarize.")]),
  );
}

function makeTypeSection(type, onEvent, onType) {
  const counts = `${type.count} ${type.count === 1 ? "event" : "events"}${type.refused ? `, ${type.refused} refused` : ""}`;
  return el("section", { class: "type" },
    el("h3", {}, el("button", { type: "button", class: "link", onclick: () => onType(type.name) }, type.name),
      el("small", {}, counts)),
    type.warnings.length > 0 && el("ul", { class: "warnings" },
      ...type.warnings.slice(0, 20).map((one) => makeWarning(one, onEvent))),
    type.properties.size ? makeTable(type) : el("p", { class: "quiet" }, "no properties"));
}

function makeWarning({ text, seq }, onEvent) {
  return el("li", {}, text, seq !== undefined && " ", seq !== undefined
    && el("button", { type: "button", class: "link", onclick: () => onEvent(seq) }, "show it"));
}

function makeTable(type) {
  const head = ["property", "types", "null", "missing", "examples"];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `properties of ${type.name}` },
    el("table", {},
      el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...[...type.properties.values()].map((property) => makeRow(property, type.count)))));
}

function makeRow(property, count) {
  const kinds = [...property.kinds].sort((a, b) => b[1].count - a[1].count);
  const mixed = kinds.length > 1;
  return el("tr", {},
    el("th", { scope: "row" }, property.name),
    el("td", { class: mixed ? "mixed" : null }, kinds
      .map(([kind, seen]) => (mixed ? `${kind} ${seen.count}` : kind)).join(", ") || "null"),
    el("td", { class: "number" }, percent(property.nulls, count)),
    el("td", { class: "number" }, percent(count - property.present, count)),
    el("td", { class: "examples" }, ...[...property.examples.keys()].map((one) => el("code", {}, one))));
}
