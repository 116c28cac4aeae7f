// Event types by property: which JSON types were seen, how often null, examples, and what is odd.

import { byId, el, isObject, plain, short } from "./dom.js";

const MOST_TYPES = 100;
const MOST_PROPERTIES = 60;
const EXAMPLES = 3;
const ONE = { string: "a string", number: "a number", boolean: "a boolean", array: "an array", object: "an object" };

/** Return what the events show of each type, in the order of their names. Pure. */
export function typesOf(events) {
  const types = new Map();
  for (const event of events) {
    if (event.kind !== "event" || event.type === null || event.status === "duplicate") continue;
    const type = types.get(event.type) ?? { name: event.type, count: 0, refused: 0, properties: new Map() };
    types.set(event.type, type);
    type.count += 1;
    type.refused += event.status === "refused";
    if (isObject(event.body?.properties)) note(type.properties, event);
  }
  const found = [...types.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).slice(0, MOST_TYPES);
  const names = found.map((type) => type.name);
  for (const type of found) {
    type.warnings = [...drifts(type), ...doubles([...type.properties.keys()])];
    const other = names.find((name) => name !== type.name && near(name, type.name));
    if (other) type.warnings.unshift({ text: `the name is nearly ${other}` });
  }
  // What is odd comes first; a sort keeps the order of names otherwise.
  return found.sort((a, b) => (b.warnings.length > 0) - (a.warnings.length > 0));
}

function note(properties, event) {
  for (const [name, value] of Object.entries(event.body.properties)) {
    let property = properties.get(name);
    if (!property) {
      if (properties.size >= MOST_PROPERTIES) continue;
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
    const example = short(plain(value), 40);
    if (property.examples.size < EXAMPLES) property.examples.set(example, kind);
  }
}

function* drifts(type) {
  for (const { name, kinds } of type.properties.values()) {
    const order = [...kinds].sort((a, b) => b[1].count - a[1].count);
    for (const [kind, { count, first }] of order.slice(1)) {
      const times = count === 1 ? "once" : `${count} times`;
      yield { text: `${name} was ${times} ${ONE[kind]}, else ${ONE[order[0][0]]}`, seq: first };
    }
  }
}

function* doubles(names) {
  for (const [index, name] of names.entries()) {
    const other = names.slice(index + 1).find((one) => near(name, one));
    if (other) yield { text: `${name} and ${other} are nearly the same name` };
  }
}

const bare = (name) => name.replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();

/** Say whether two names look like one that was written in two ways. Pure. */
export function near(one, other) {
  const [a, b] = [bare(one), bare(other)];
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
  const types = typesOf(events);
  byId("types").replaceChildren(
    ...(types.length ? types.map((type) => typeSection(type, onEvent, onType))
      : [el("p", { class: "quiet" }, "No event is here to learn from.")]),
  );
}

function typeSection(type, onEvent, onType) {
  const counts = `${type.count} ${type.count === 1 ? "event" : "events"}${type.refused ? `, ${type.refused} refused` : ""}`;
  return el("section", { class: "type" },
    el("h3", {}, el("button", { type: "button", class: "link", onclick: () => onType(type.name) }, type.name),
      el("small", {}, counts)),
    type.warnings.length > 0 && el("ul", { class: "warnings" },
      ...type.warnings.slice(0, 20).map((one) => warning(one, onEvent))),
    type.properties.size ? table(type) : el("p", { class: "quiet" }, "no properties"));
}

function warning({ text, seq }, onEvent) {
  return el("li", {}, text, seq !== undefined && " ", seq !== undefined
    && el("button", { type: "button", class: "link", onclick: () => onEvent(seq) }, "see it"));
}

function table(type) {
  const head = ["property", "types", "null", "missing", "examples"];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `properties of ${type.name}` },
    el("table", {},
      el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...[...type.properties.values()].map((property) => row(property, type.count)))));
}

function row(property, count) {
  const kinds = [...property.kinds].sort((a, b) => b[1].count - a[1].count);
  const mixed = kinds.length > 1;
  return el("tr", {},
    el("th", { scope: "row" }, property.name),
    el("td", { class: mixed ? "odd" : null }, kinds
      .map(([kind, seen]) => (mixed ? `${kind} ${seen.count}` : kind)).join(", ") || "null"),
    el("td", { class: "number" }, percent(property.nulls, count)),
    el("td", { class: "number" }, percent(count - property.present, count)),
    el("td", { class: "examples" }, ...[...property.examples.keys()].map((one) => el("code", {}, one))));
}
