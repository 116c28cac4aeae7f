// One event as something to paste elsewhere. Pure: text in, text out.

/** A number as it was sent: 19.90 stays 19.90, and 2**60 keeps its digits. */
class Digits {
  constructor(text) {
    this.text = text;
  }
}

/** Return the value of a JSON text, numbers with their own digits where the browser tells them. */
export function exact(text) {
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && context?.source ? new Digits(context.source) : value);
}

/** A command for a POSIX shell. The key is the variable, never a key. */
export function asCurl(raw, kind, origin) {
  const path = kind === "identify" ? "/v1/identify" : "/v1/events/track";
  return [
    `curl -sS '${origin}${path}' \\`,
    '  -H "X-API-Key: $WHISPERR_API_KEY" \\',
    "  -H 'Content-Type: application/json' \\",
    `  --data-binary '${raw.replaceAll("'", "'\\''")}'`,
  ].join("\n");
}

const OWN_CONTEXT = new Set(["$message_id", "sdk_name", "sdk_version"]);

/** The call of the client that sends the same. */
export function asPython(raw, kind) {
  const body = exact(raw);
  if (kind === "identify") {
    const { external_user_id: user, ...rest } = body;
    const named = Object.entries(rest).map(([name, value]) => `${name}=${literal(value, 1)}`);
    return call("whisperr.identify", [literal(user), ...named]);
  }
  const values = [literal(body.external_user_id), literal(body.event_type), literal(body.properties, 1)];
  const context = Object.entries(body.context ?? {}).filter(([name]) => !OWN_CONTEXT.has(name));
  if (context.length) values.push(`context=${literal(Object.fromEntries(context), 1)}`);
  if (typeof body.occurred_at !== "string") return call("whisperr.track", values);
  const moment = body.occurred_at.replace(/Z$/, "+00:00");
  values.push(`occurred_at=datetime.fromisoformat(${literal(moment)})`);
  return `from datetime import datetime\n\n${call("whisperr.track", values)}`;
}

/** Lines for a test that has a `whisperr.dev.LocalServer` named `server`. */
export function asPytest(raw, event) {
  const body = exact(raw);
  const asked = [`kind=${literal(event.kind)}`];
  if (event.user !== null) asked.push(`user=${literal(event.user)}`);
  if (/^[a-z0-9_]+$/.test(event.type ?? "")) asked.push(`type=${literal(event.type)}`);
  const lines = [
    `arrival = server.wait(${asked.join(", ")})[-1]  # server: a whisperr.dev.LocalServer`,
  ];
  if (event.status === "refused") {
    const pointers = event.problems.map((problem) => problem.pointer);
    lines.push(`assert [problem.pointer for problem in arrival.problems] == ${literal(pointers)}`);
    return lines.join("\n");
  }
  lines.push('assert arrival.status == "accepted"');
  const keys = event.kind === "event" ? ["properties"] : ["traits", "channels"];
  for (const key of keys) {
    if (body[key] !== undefined) lines.push(`assert arrival.body["${key}"] == ${literal(body[key])}`);
  }
  return lines.join("\n");
}

function call(name, values) {
  const line = `${name}(${values.join(", ")})`;
  if (line.length <= 88 && !line.includes("\n")) return line;
  return `${name}(\n${values.map((value) => `    ${value},\n`).join("")})`;
}

const WIDTH = 72;

/** Write a value in Python, broken into lines where one would be long. */
export function literal(value, depth = 0) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (value instanceof Digits) return value.text;
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return text(value);
  const list = Array.isArray(value);
  const parts = list
    ? value.map((one) => literal(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${text(name)}: ${literal(one, depth + 1)}`);
  const [open, close] = list ? "[]" : "{}";
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length <= WIDTH && !line.includes("\n")) return line;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${parts.map((part) => `${indent}${part},\n`).join("")}${"    ".repeat(depth)}${close}`;
}

// JSON's escapes are Python's. What could change how a line reads is escaped as well.
const UNSEEN = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

function text(value) {
  return JSON.stringify(value).replace(
    UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
