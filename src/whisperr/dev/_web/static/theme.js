// Light and dark: as the system says, or as the user chose.

import { byId, setText } from "./dom.js";

const THEMES = ["auto", "light", "dark"];

/** Set the theme of the last visit, and switch it with the button. */
export function prepareTheme() {
  byId("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  });
  setTheme(THEMES.find((name) => name === readTheme()) ?? "auto");
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  setText(byId("theme"), `◐ ${name}`);
  byId("theme").setAttribute("aria-label", `Theme: ${name}`);
  try {
    localStorage.setItem("theme", name);
  } catch {
    return; // without storage, the theme holds for this visit
  }
}

function readTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // likewise
  }
}
