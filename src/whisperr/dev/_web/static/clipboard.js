// Copying, also in a browser that gives a page of this address no clipboard.

import { el } from "./dom.js";

/** Copy a text and return whether that was possible. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const box = el("textarea", { class: "away", "aria-hidden": "true", tabindex: -1 });
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  focused?.focus({ preventScroll: true }); // the selection has taken it
  return done;
}

/** Select the text of an element, for the user to copy. */
export function selectText(element) {
  getSelection().selectAllChildren(element);
}

/** Mark the button of a copy for a moment. */
export function markDone(button) {
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
}
