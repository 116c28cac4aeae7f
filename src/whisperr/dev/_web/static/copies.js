// One event as something to paste elsewhere. Pure: text in, text out.

/** A number as it was sent: 19.90 stays 19.90, and 2**60 keeps its digits. */
class Digits {
  constructor(text) {
    this.text = text;
  }
}

/** Return the value of a JSON text; numbers keep their digits where the browser gives them. */
export function parseExact(text) {
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && context?.source ? new Digits(context.source) : value);
}

/** Return a command for a POSIX shell. The key is a variable in it, never a key. */
export function toCurl(raw, kind, origin) {
  const path = kind === "identify" ? "/v1/identify" : "/v1/events/track";
  return [
    `curl -sS '${origin}${path}' \\`,
    '  -H "X-API-Key: $WHISPERR_API_KEY" \\',
    "  -H 'Content-Type: application/json' \\",
    `  --data-binary '${raw.replaceAll("'", "'\\''")}'`,
  ].join("\n");
}

const IDENTIFY_NAMES = new Set(["anonymous_id", "traits", "preferred_channel", "channels"]);
const OWN_CONTEXT = new Set(["$message_id", "sdk_name", "sdk_version"]);

/** Return the call of the client that sends the same. */
export function toPython(raw, kind) {
  const body = parseExact(raw);
  if (kind === "identify") {
    const { external_user_id: user, ...rest } = Object(body);
    const named = Object.entries(rest).filter(([name]) => IDENTIFY_NAMES.has(name));
    const values = named.map(([name, value]) => `${name}=${toLiteral(value, 1)}`);
    // A name that the client does not know is text in a dictionary: as code it could do anything.
    const others = Object.entries(rest).filter(([name]) => !IDENTIFY_NAMES.has(name));
    if (others.length) values.push(`**${toLiteral(Object.fromEntries(others), 1)}`);
    return toCall("whisperr.identify", [toLiteral(user), ...values]);
  }
  const values = [toLiteral(body.external_user_id), toLiteral(body.event_type), toLiteral(body.properties, 1)];
  const context = Object.entries(body.context ?? {}).filter(([name]) => !OWN_CONTEXT.has(name));
  if (context.length) values.push(`context=${toLiteral(Object.fromEntries(context), 1)}`);
  if (typeof body.occurred_at !== "string") return toCall("whisperr.track", values);
  const moment = body.occurred_at.replace(/Z$/, "+00:00");
  values.push(`occurred_at=datetime.fromisoformat(${toLiteral(moment)})`);
  return `from datetime import datetime\n\n${toCall("whisperr.track", values)}`;
}

/** Return lines for a test that has a `whisperr.dev.LocalServer` named `server`. */
export function toPytest(raw, event) {
  const body = parseExact(raw);
  const filters = [`kind=${toLiteral(event.kind)}`];
  if (event.user !== null) filters.push(`user=${toLiteral(event.user)}`);
  if (/^[a-z0-9_]+$/.test(event.type ?? "")) filters.push(`type=${toLiteral(event.type)}`);
  const lines = [
    `arrival = server.wait(${filters.join(", ")})[-1]  # server: a whisperr.dev.LocalServer`,
  ];
  if (event.status === "refused") {
    const pointers = event.problems.map((problem) => problem.pointer);
    lines.push(`assert [problem.pointer for problem in arrival.problems] == ${toLiteral(pointers)}`);
    return lines.join("\n");
  }
  lines.push('assert arrival.status == "accepted"');
  const keys = event.kind === "event" ? ["properties"] : ["traits", "channels"];
  for (const key of keys) {
    if (body[key] !== undefined) lines.push(`assert arrival.body["${key}"] == ${toLiteral(body[key])}`);
  }
  return lines.join("\n");
}

function toCall(name, values) {
  const line = `${name}(${values.join(", ")})`;
  if (line.length <= 88 && !line.includes("\n")) return line;
  return `${name}(\n${values.map((value) => `    ${value},\n`).join("")})`;
}

const WIDTH = 72;

/** Return a value in Python, in several lines where one would be long. */
export function toLiteral(value, depth = 0) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (value instanceof Digits) return value.text;
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return toStringLiteral(value);
  const list = Array.isArray(value);
  const parts = list
    ? value.map((one) => toLiteral(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${toStringLiteral(name)}: ${toLiteral(one, depth + 1)}`);
  const [open, close] = list ? "[]" : "{}";
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length <= WIDTH && !line.includes("\n")) return line;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${parts.map((part) => `${indent}${part},\n`).join("")}${"    ".repeat(depth)}${close}`;
}

// JSON's escapes are Python's. What cannot be seen is escaped too: controls, marks of direction, tags.
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}]/gu;

function toStringLiteral(value) {
  return JSON.stringify(value).replace(INVISIBLE, (char) => {
    const digits = char.codePointAt(0).toString(16);
    return digits.length > 4 ? `\\U${digits.padStart(8, "0")}` : `\\u${digits.padStart(4, "0")}`;
  });
}
