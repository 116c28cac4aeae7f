// The grammar of the filter box. The same as in `_filter.py`: both run one table of cases.

const FIELDS = ["user", "type", "kind", "is", "id"];
const STATES = { accepted: "accepted", valid: "accepted", refused: "refused", duplicate: "duplicate" };
const KINDS = ["event", "identify"];
const MAX_QUERY_CHARS = 2000;

const NAMED = /([A-Za-z_$][A-Za-z0-9_$.-]*)(:|>=|<=|!=|=|>|<)/y;
const WORD = /[^\s"]+/y;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/** What is wrong with a filter, in words for the person who types it. */
export class FilterError extends Error {}

/** Return the test that the filter stands for; throws FilterError. */
export function parsed(query) {
  if ([...query].length > MAX_QUERY_CHARS) {
    throw new FilterError(`a filter has at most ${MAX_QUERY_CHARS} characters`);
  }
  const terms = [...termsOf(query)];
  return (event) => terms.every((term) => term(event));
}

/** Write a value so that it is read as one: in quotes where it has to be. */
export function quoted(value) {
  return /^[^\s"]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

function* termsOf(query) {
  let at = 0;
  while (at < query.length) {
    if (/\s/.test(query[at])) {
      at += 1;
      continue;
    }
    const turned = query[at] === "-" && (query[at + 1] ?? "").trim() !== "";
    if (turned) at += 1;
    NAMED.lastIndex = at;
    const named = NAMED.exec(query);
    let term;
    if (named) {
      const [value, end] = valueAt(query, NAMED.lastIndex, named[0]);
      at = end;
      term = namedTerm(named[1], named[2], value);
    } else {
      const [text, end] = valueAt(query, at, "");
      at = end;
      term = contains(text.toLowerCase());
    }
    yield turned ? (event) => !term(event) : term;
  }
}

function valueAt(query, start, before) {
  let at = start;
  if (query[at] !== '"') {
    WORD.lastIndex = at;
    const word = WORD.exec(query);
    if (!word) throw new FilterError(`${before} needs a value behind it`);
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
  if (sign !== ":") return compares(name, sign, value);
  if (name === "is") {
    if (!Object.hasOwn(STATES, value)) {
      throw new FilterError(
        `is:${value} is unknown; write is: and one of ${Object.keys(STATES).join(", ")}`,
      );
    }
    return (event) => event.status === STATES[value];
  }
  if (name === "kind") {
    if (!KINDS.includes(value)) {
      throw new FilterError(`kind:${value} is unknown; write kind: and one of ${KINDS.join(", ")}`);
    }
    return (event) => event.kind === value;
  }
  if (!FIELDS.includes(name)) {
    throw new FilterError(
      `${name}: is no field; fields are ${FIELDS.join(", ")}; ` +
        `write ${name}=… for a property, or put a text in quotes`,
    );
  }
  const pattern = patternOf(value);
  const attribute = name === "id" ? "message_id" : name;
  return (event) => pattern.test(event[attribute] ?? "");
}

/** Compare a property, a trait, or with `context.` before it what the context holds. */
function compares(name, sign, value) {
  const number = NUMBER.test(value) ? Number(value) : null;
  const pattern = patternOf(value);
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
    const [there, found] = property(event, name);
    if (!there) return false;
    return sign === "=" || sign === "!=" ? same(found) === (sign === "=") : ordered(found);
  };
}

function inOrder(sign, found, value) {
  if (sign[0] === ">") return sign === ">=" ? found >= value : found > value;
  return sign === "<=" ? found <= value : found < value;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function property(event, fullName) {
  const body = isObject(event.body) ? event.body : {};
  let name = fullName;
  let place = body[event.kind === "event" ? "properties" : "traits"];
  if (name.startsWith("context.")) {
    place = body.context;
    name = name.slice("context.".length);
  }
  if (isObject(place) && Object.hasOwn(place, name)) return [true, place[name]];
  for (const part of name.split(".")) {
    if (!isObject(place) || !Object.hasOwn(place, part)) return [false, null];
    place = place[part];
  }
  return [true, place];
}

function contains(needle) {
  return (event) => {
    for (const piece of pieces(event.body)) if (piece.toLowerCase().includes(needle)) return true;
    return false;
  };
}

/** Every key and value as text, without recursion: a body may be nested deeply. */
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

function patternOf(value) {
  const parts = value.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  return new RegExp(`^(?:${parts.join(".*")})$`, "s");
}
