// Make elements. Text that arrives is only ever set as text: nothing here makes markup of a string.

/** Return an element: attributes by name, `on…` a listener, children elements or text. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Return an element of a drawing. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Set the text of an element only when it differs, so that selections and screen readers rest. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const byId = (id) => document.getElementById(id);

const two = (number) => String(number).padStart(2, "0");

/** 12:00:05 or 12:00:05.123, in local time. */
export function clock(ms, withMillis = false) {
  const at = new Date(ms);
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return withMillis ? `${text}.${String(at.getMilliseconds()).padStart(3, "0")}` : text;
}

/** 2026-06-14 12:00:05, in local time. */
export function day(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** +3 m 12 s: the two largest units of a length. */
export function gap(ms) {
  const seconds = Math.max(ms, 0) / 1000;
  if (seconds < 10) return `+${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const [d, h, m, s] = [
    Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60,
  ];
  if (d) return `+${d} d ${h} h`;
  if (h) return `+${h} h ${m} m`;
  return m ? `+${m} m ${s} s` : `+${s} s`;
}

/** What stands in one line for an event: its properties, or the traits and channels. */
export function inOneLine(event) {
  const body = isObject(event.body) ? event.body : {};
  if (event.cut) return "too large for the list; open it";
  const shown = event.kind === "event"
    ? body.properties
    : { ...(isObject(body.traits) ? body.traits : {}), ...(body.channels ? { channels: body.channels } : {}) };
  if (!isObject(shown)) return shown === undefined ? "" : short(JSON.stringify(shown), 200);
  return short(Object.entries(shown).map(([key, value]) => `${key}: ${plain(value)}`).join("   "), 300);
}

export const isObject = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value);

export const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

export const SIGNS = { accepted: "✓", refused: "✗", duplicate: "=" };
