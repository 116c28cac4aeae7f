// Indented JSON, made from its text as it was sent: digits and order do not change.

import { el } from "./dom.js";

const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[{}[\],:]/g;
const MAX_TOKENS = 4000;

/** Return the text indented, with its strings, numbers, keys and words marked. */
export function pretty(text) {
  const fragment = document.createDocumentFragment();
  let plain = "";
  let depth = 0;
  let count = 0;
  const put = (kind, token) => {
    if (plain) fragment.append(plain);
    plain = "";
    fragment.append(el("span", { class: `json-${kind}` }, token));
  };
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  const tokens = [...text.matchAll(TOKEN)].map((match) => match[0]);
  for (const [index, token] of tokens.entries()) {
    if (++count > MAX_TOKENS) {
      plain += "\n… and more: copy it as JSON";
      break;
    }
    const next = tokens[index + 1];
    if (token === "{" || token === "[") {
      depth += 1;
      plain += next === "}" || next === "]" ? token : token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      const before = tokens[index - 1];
      plain += before === "{" || before === "[" ? token : line() + token;
    } else if (token === ",") {
      plain += token + line();
    } else if (token === ":") {
      plain += ": ";
    } else if (token[0] === '"') {
      put(next === ":" ? "key" : "string", token);
    } else {
      put(/^[tfn]/.test(token) ? "word" : "number", token);
    }
  }
  if (plain) fragment.append(plain);
  return fragment;
}
