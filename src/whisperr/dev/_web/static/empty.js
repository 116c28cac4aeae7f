// The page before the first event: how to begin, with the address and the key of this server.

import { copyText, markDone, selectText } from "./clipboard.js";
import { byId, setText } from "./dom.js";

const DEFAULT_PORT = "8722";

/** Prepare the snippets: the address of this server, the choice of a framework, the buttons that copy. */
export function prepareEmptyPage(notify) {
  for (const code of document.querySelectorAll("#empty .address")) code.textContent = location.origin;
  if (location.port !== DEFAULT_PORT) {
    for (const code of document.querySelectorAll("#empty .port")) code.textContent = `--port ${location.port} `;
  }
  for (const choice of document.querySelectorAll("[data-snippet]")) {
    choice.addEventListener("click", () => chooseSnippet(choice));
  }
  for (const button of document.querySelectorAll("#empty .copy")) {
    button.addEventListener("click", () => copySnippet(button, notify));
  }
}

function chooseSnippet(choice) {
  for (const box of document.querySelectorAll(".snippet")) box.hidden = box.id !== choice.dataset.snippet;
  for (const one of document.querySelectorAll("[data-snippet]")) {
    one.setAttribute("aria-pressed", String(one === choice));
  }
}

async function copySnippet(button, notify) {
  const code = button.parentElement.querySelector("pre:not([hidden])");
  if (await copyText(code.textContent)) {
    notify("copied");
    markDone(button);
    setText(button, "Copied");
    setTimeout(() => setText(button, "Copy"), 1200);
    return;
  }
  selectText(code);
  notify("the browser refused access to the clipboard; the text is selected: copy it with the keyboard");
}

/** Show whether any key is accepted. */
export function showKey(anyKey) {
  setText(byId("any-key"), anyKey ? "It accepts any key."
    : "It accepts only the key that it was started with (--key). Write that key in place of YOUR_KEY.");
  for (const code of document.querySelectorAll("#empty .dev-key")) setText(code, anyKey ? "wrk_dev" : "YOUR_KEY");
  setText(byId("run-key"), anyKey ? "" : "--key YOUR_KEY ");
}
