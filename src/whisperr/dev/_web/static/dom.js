// Elements and the text in them. A string is only ever set as text, never parsed as markup.

/** Return an element: attributes by name, `on…` a listener, children elements or text. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Return an element of a drawing. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Set the text of an element only when it differs, so that selections are kept. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const byId = (id) => document.getElementById(id);

const pad = (number) => String(number).padStart(2, "0");

/** Return 12:00:05 or 12:00:05.123, in local time. */
export function formatTime(ms, withMillis = false) {
  const at = new Date(ms);
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return withMillis ? `${text}.${String(at.getMilliseconds()).padStart(3, "0")}` : text;
}

/** Return 2026-06-14, in local time. */
export function formatDate(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

/** Return 4 ms or 1.2 s. */
export function formatDuration(seconds) {
  const ms = seconds * 1000;
  if (ms < 1) return "< 1 ms";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
}

/** Return 1 event, 2 events or 5,000 events. */
export const count = (number, one, many = `${one}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** Return +3 m 12 s: the two largest units of a duration. */
export function formatGap(ms) {
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

export const isObject = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value);

export const shorten = (text, max) => (text.length > max ? `${text.slice(0, max - 1)}…` : text);

export function toText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

export const SIGNS = { accepted: "✓", refused: "✗", duplicate: "=" };
