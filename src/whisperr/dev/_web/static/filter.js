// The grammar of the filter box, the same as in `_memory/filter.py`: both run one table of cases.

const FIELDS = ["user", "type", "kind", "is", "id"];
const STATUSES = { accepted: "accepted", valid: "accepted", refused: "refused", duplicate: "duplicate" };
const KINDS = ["event", "identify"];
const MAX_QUERY_CHARS = 2000;

const NAMED = /([A-Za-z_$][A-Za-z0-9_$.-]*)(:|>=|<=|!=|=|>|<)/y;
const WORD = /[^\s"]+/y;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/** What is wrong with a filter, for the person who types it. */
export class FilterError extends Error {}

/** Return the predicate that a filter means; throws FilterError. */
export function parseFilter(query) {
  if ([...query].length > MAX_QUERY_CHARS) {
    throw new FilterError(`a filter has at most ${MAX_QUERY_CHARS} characters`);
  }
  const terms = [...parseTerms(query)];
  return (event) => terms.every((term) => term(event));
}

/** Return a value as a filter needs it: in quotes where necessary. */
export function quote(value) {
  return /^[^\s"]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

function* parseTerms(query) {
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
      term = namedTerm(named[1], named[2], value);
    } else {
      const [text, end] = readValue(query, at, "");
      at = end;
      term = contains(text.toLowerCase());
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

function namedTerm(name, sign, value) {
  if (sign !== ":") return comparison(name, sign, value);
  if (name === "is") {
    if (!Object.hasOwn(STATUSES, value)) {
      throw new FilterError(
        `is:${value} is unknown; write is: and one of ${Object.keys(STATUSES).join(", ")}`,
      );
    }
    return (event) => event.status === STATUSES[value];
  }
  if (name === "kind") {
    if (!KINDS.includes(value)) {
      throw new FilterError(`kind:${value} is unknown; write kind: and one of ${KINDS.join(", ")}`);
    }
    return (event) => event.kind === value;
  }
  if (!FIELDS.includes(name)) {
    throw new FilterError(
      `${name}: is not a field; fields are ${FIELDS.join(", ")}; ` +
        `write ${name}=… for a property, or put a text in quotes`,
    );
  }
  const pattern = toPattern(value);
  const attribute = name === "id" ? "message_id" : name;
  return (event) => pattern.test(event[attribute] ?? "");
}

/** Compare a property, a trait or, with the prefix `context.`, a key of the context. */
function comparison(name, sign, value) {
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
  return (event) => {
    const [exists, found] = findProperty(event, name);
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

function contains(needle) {
  return (event) => {
    for (const piece of pieces(event.body)) if (piece.toLowerCase().includes(needle)) return true;
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
