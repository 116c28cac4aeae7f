// The grammar of the filter box; that of events is the same as in `_memory/filter.py`: both run one table of cases.

const MAX_QUERY_CHARS = 2000;

const NAMED = /([A-Za-z_$][A-Za-z0-9_$.-]*)(:|>=|<=|!=|=|>|<)/y;
const WORD = /[^\s"]+/y;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/** What is wrong with a filter, for the person who types it. */
export class FilterError extends Error {}

/** Return the predicate that a filter of events, or of requests, means; throws FilterError. */
export function parseFilter(query, target = EVENTS) {
  if ([...query].length > MAX_QUERY_CHARS) {
    throw new FilterError(`a filter has at most ${MAX_QUERY_CHARS} characters`);
  }
  const terms = [...parseTerms(query, target)];
  return (item) => terms.every((term) => term(item));
}

const TERM = /-?(?:[^\s"]*"(?:[^"\\]|\\.)*"|\S+)/gs;

/** Return the filter with a term in place of others of its field, or without it if it is there. */
export function toggleTerm(query, term) {
  const terms = query.match(TERM) ?? [];
  const [field] = term.match(/^[^:<>=!]+[:<>=!]+/);
  const others = terms.filter((one) => !one.startsWith(field) && !one.startsWith(`-${field}`));
  return (terms.includes(term) ? others : [...others, term]).join(" ");
}

export const hasTerm = (query, term) => (query.match(TERM) ?? []).includes(term);

/** Return a value as a filter needs it: in quotes where necessary. */
export function quote(value) {
  return /^[^\s"]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

function* parseTerms(query, target) {
  let at = 0;
  while (at < query.length) {
    if (/\s/.test(query[at])) {
      at += 1;
      continue;
    }
    const negated = query[at] === "-" && (query[at + 1] ?? "").trim() !== "";
    if (negated) at += 1;
    NAMED.lastIndex = at;
    const named = NAMED.exec(query);
    let term;
    if (named) {
      const [value, end] = readValue(query, NAMED.lastIndex, named[0]);
      at = end;
      term = namedTerm(target, named[1], named[2], value);
    } else {
      const [text, end] = readValue(query, at, "");
      at = end;
      term = contains(target, text.toLowerCase());
    }
    yield negated ? (event) => !term(event) : term;
  }
}

function readValue(query, start, before) {
  let at = start;
  if (query[at] !== '"') {
    WORD.lastIndex = at;
    const word = WORD.exec(query);
    if (!word) throw new FilterError(`${before} needs a value after it`);
    return [word[0], WORD.lastIndex];
  }
  let text = "";
  at += 1;
  while (at < query.length && query[at] !== '"') {
    if (query[at] === "\\" && at + 1 < query.length) at += 1;
    text += query[at];
    at += 1;
  }
  if (at >= query.length) throw new FilterError('a " is not closed');
  return [text, at + 1];
}

function namedTerm(target, name, sign, value) {
  if (sign !== ":") return comparison(target, name, sign, value);
  if (!Object.hasOwn(target.fields, name)) {
    throw new FilterError(
      `${name}: is not a field; fields are ${Object.keys(target.fields).join(", ")}; ` +
        `write ${target.compared(name)}, or put a text in quotes`,
    );
  }
  const get = target.fields[name];
  if (Object.hasOwn(target.choices, name)) {
    const choices = target.choices[name];
    if (!Object.hasOwn(choices, value)) {
      throw new FilterError(
        `${name}:${value} is unknown; write ${name}: and one of ${Object.keys(choices).join(", ")}`,
      );
    }
    return (item) => get(item) === choices[value];
  }
  const pattern = toPattern(value);
  return (item) => pattern.test(get(item) ?? "");
}

/** Compare a property, a trait or, with the prefix `context.`, a key of the context. */
function comparison(target, name, sign, value) {
  const number = NUMBER.test(value) ? Number(value) : null;
  const pattern = toPattern(value);
  const same = (found) => {
    if (Array.isArray(found)) return found.some((one) => !Array.isArray(one) && same(one));
    if (found === null || typeof found === "boolean") return value === String(found);
    if (typeof found === "number") return number !== null && found === number;
    return typeof found === "string" && pattern.test(found);
  };
  const ordered = (found) => {
    if (typeof found === "number") return number !== null && inOrder(sign, found, number);
    return typeof found === "string" && number === null && inOrder(sign, found, value);
  };
  return (item) => {
    const [exists, found] = target.find(item, name);
    if (!exists) return false;
    return sign === "=" || sign === "!=" ? same(found) === (sign === "=") : ordered(found);
  };
}

function inOrder(sign, found, value) {
  if (sign[0] === ">") return sign === ">=" ? found >= value : found > value;
  return sign === "<=" ? found <= value : found < value;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function findProperty(event, fullName) {
  const body = isObject(event.body) ? event.body : {};
  let name = fullName;
  let value = body[event.kind === "event" ? "properties" : "traits"];
  if (name.startsWith("context.")) {
    value = body.context;
    name = name.slice("context.".length);
  }
  if (isObject(value) && Object.hasOwn(value, name)) return [true, value[name]];
  for (const part of name.split(".")) {
    if (!isObject(value) || !Object.hasOwn(value, part)) return [false, null];
    value = value[part];
  }
  return [true, value];
}

function contains(target, needle) {
  return (item) => {
    for (const piece of pieces(target.body(item))) if (piece.toLowerCase().includes(needle)) return true;
    return false;
  };
}

/** Yield every key and value as text, without recursion: a body may be nested deeply. */
function* pieces(body) {
  const waiting = [body];
  while (waiting.length) {
    const value = waiting.pop();
    if (Array.isArray(value)) {
      for (const one of value) waiting.push(one);
    } else if (isObject(value)) {
      yield* Object.keys(value);
      for (const one of Object.values(value)) waiting.push(one);
    } else {
      yield String(value);
    }
  }
}

function toPattern(value) {
  const parts = value.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  return new RegExp(`^(?:${parts.join(".*")})$`, "s");
}

const sameChoices = (...names) => Object.fromEntries(names.map((name) => [name, name]));

const EVENTS = {
  fields: {
    user: (event) => event.user,
    type: (event) => event.type,
    kind: (event) => event.kind,
    is: (event) => event.status,
    id: (event) => event.message_id,
    request: (event) => event.request,
  },
  choices: {
    is: { accepted: "accepted", valid: "accepted", refused: "refused", duplicate: "duplicate" },
    kind: sameChoices("event", "identify"),
  },
  compared: (name) => `${name}=… for a property`,
  find: findProperty,
  body: (event) => event.body,
};

const NUMBERS = ["number", "status", "duration", "bytes", "events", "accepted", "duplicates", "refused", "retry"];

/** Requests have the same grammar with other fields. */
export const REQUESTS = {
  fields: {
    status: (request) => request.status ?? "none",
    method: (request) => request.method,
    path: (request) => request.path,
    agent: (request) => request.headers["user-agent"],
    error: (request) => request.error,
    fault: (request) => request.fault,
    is: (request) => (isFailed(request) ? "failed" : "ok"),
  },
  choices: { is: sameChoices("ok", "failed") },
  compared: () => `a comparison of ${NUMBERS.join(", ")}`,
  find: (request, name) => [NUMBERS.includes(name), request[name]],
  body: ({ method, path, status, error, reason, headers }) => [method, path, status, error, reason, headers],
};

/** Return whether a request was not answered with success. */
export const isFailed = ({ status }) => status === null || status < 200 || status > 299;
