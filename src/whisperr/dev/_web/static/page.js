// The page: mirrors the selection in the address, and draws what is held at a bounded rate.

import { Chart } from "./chart.js";
import { Detail } from "./detail.js";
import { byId, formatTime, setText } from "./dom.js";
import { FaultPanel } from "./faults.js";
import { Feed } from "./feed.js";
import { parseFilter, quote } from "./filter.js";
import { List, showCount } from "./list.js";
import { HELD, Memory } from "./memory.js";
import { showTypes } from "./types.js";
import { showStory, showUsers } from "./users.js";

const CONNECTION = { live: "connected", lost: "reconnecting", paused: "paused", hidden: "in the background" };
const DRAW_MS = 80;

const memory = new Memory();
const selection = { q: "", view: "events", user: null, event: null, range: null };
let passes = () => true;
let order = []; // the seqs of the story, for the keyboard
let drawing = null;
let pressed = false;
let typesDrawn = "";

const list = new List(choose);
const chart = new Chart((range) => select({ range }));
const faultPanel = new FaultPanel(notify);
const detail = new Detail({
  onUser: (user) => select({ user, view: "events" }),
  onClose: () => choose(null),
  notify,
});

function notify(text) {
  const notice = byId("notice");
  notice.textContent = text;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => setText(notice, ""), 4000);
}

// -- the selection, and the address

function select(changes) {
  Object.assign(selection, changes);
  const params = new URLSearchParams();
  if (selection.q) params.set("q", selection.q);
  if (selection.view !== "events") params.set("view", selection.view);
  if (selection.user !== null) params.set("user", selection.user);
  if (selection.range) {
    params.set("from", selection.range.from / 1000);
    params.set("to", selection.range.to / 1000);
  }
  if (selection.event !== null) params.set("event", selection.event);
  const hash = params.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
  draw();
}

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  const [from, to] = [Number(params.get("from")) * 1000, Number(params.get("to")) * 1000];
  selection.view = ["types", "users"].includes(params.get("view")) ? params.get("view") : "events";
  selection.user = params.get("user");
  selection.event = params.has("event") ? Number(params.get("event")) : null;
  selection.range = from > 0 && to > from ? { from, to } : null;
  byId("filter").value = params.get("q") ?? "";
  filter(byId("filter").value);
}

function filter(text) {
  const box = byId("filter");
  try {
    passes = parseFilter(text);
    setText(byId("filter-error"), "");
    box.removeAttribute("aria-invalid");
    select({ q: text.trim() });
  } catch (error) {
    setText(byId("filter-error"), error.message);
    box.setAttribute("aria-invalid", "true");
  }
}

function setFilter(text) {
  byId("filter").value = text;
  filter(text);
}

function choose(seq) {
  select({ event: seq });
  if (seq !== null) list.reveal(seq);
  // Where the detail covers the page, it takes the focus and returns it.
  if (!matchMedia("(max-width: 760px)").matches) return;
  setTimeout(() => byId(seq === null ? "list" : "detail-close").focus(), 2 * DRAW_MS);
}

// -- drawing

function draw() {
  drawing ??= setTimeout(() => requestAnimationFrame(drawNow), drawNow.soon ? DRAW_MS : 0);
}

function drawNow() {
  drawing = null;
  if (pressed) return; // a button must not move while it is clicked; the release draws
  drawNow.soon = true;
  setTimeout(() => { drawNow.soon = false; }, DRAW_MS);
  const { range } = selection;
  const events = memory.events.filter(
    (event) => passes(event) && (!range || (event.at >= range.from && event.at < range.to)));
  drawHeader();
  chart.draw(memory);
  chart.show(range);
  byId("range").hidden = !range;
  if (range) setText(byId("range-text"), `${formatTime(range.from)} to ${formatTime(range.to)}`);
  showCount(events.length, memory.events.length, memory.missed);
  drawViews(events);
  const event = selection.event === null ? undefined : memory.find(selection.event);
  if (event) detail.show(event);
  else if (selection.event === null || !detail.seq) detail.close();
  document.body.classList.toggle("has-detail", !byId("detail").hidden);
}

function drawViews(events) {
  const empty = memory.events.length === 0;
  const story = selection.view === "events" && selection.user !== null;
  byId("empty").hidden = !empty;
  byId("list-box").hidden = empty || selection.view !== "events" || story;
  byId("story").hidden = empty || !story;
  byId("types").hidden = empty || selection.view !== "types";
  document.body.dataset.view = selection.view;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.tab === selection.view));
  }
  showUsers(events, selection.user, (user) => select({ user, view: "events" }));
  const key = `${selection.view} ${selection.q} ${selection.range?.from} ${selection.range?.to}`;
  const isRead = byId("types").matches(":focus-within, :hover"); // then it must not move
  if (selection.view === "types" && !(isRead && key === typesDrawn)) {
    showTypes(events, choose, (name) => { setFilter(`type:${quote(name)}`); select({ view: "events" }); });
  }
  typesDrawn = key;
  if (story) order = showStory(events, selection.user, selection.event, choose);
  else list.show(events, selection.event);
}

function drawHeader() {
  const { accepted = 0, refused = 0, duplicates = 0, batches = 0, agents = {} } = memory.summary;
  for (const [id, value] of Object.entries({ accepted, refused, duplicates, batches })) {
    setText(byId(`total-${id}`), value.toLocaleString("en"));
  }
  const names = Object.keys(agents).filter(Boolean);
  setText(byId("agents"), names.slice(0, 3).join(", ") + (names.length > 3 ? `, ${names.length - 3} more` : ""));
  byId("agents").title = names.slice(0, 20).join("\n");
  document.title = refused ? `(${refused}) whisperr dev` : "whisperr dev";
}

// -- changes from the server

const feed = new Feed((changes) => {
  if (changes.fresh) startOver();
  memory.missed += changes.missed;
  memory.add(changes.arrivals);
  memory.summary = changes.summary;
  memory.faults = changes.faults;
  faultPanel.show(changes.faults);
  faultPanel.addRequests(changes.requests);
  draw();
}, (state) => {
  setText(byId("connection-text"), CONNECTION[state]);
  byId("connection").dataset.state = state;
});

function startOver() {
  memory.clear();
  list.clear();
  faultPanel.clear();
  detail.close();
}

setInterval(() => {
  if (!document.hidden) chart.draw(memory);
}, 1000);

// -- the user's actions

byId("pause").addEventListener("click", () => {
  feed.pause(!feed.paused);
  byId("pause").setAttribute("aria-pressed", String(feed.paused));
  setText(byId("pause"), feed.paused ? "Resume" : "Pause");
});
byId("clear").addEventListener("click", async () => {
  const answer = await fetch("/_dev/reset", { method: "POST" }).catch(() => ({ ok: false }));
  if (!answer.ok) {
    notify("the server could not be cleared");
    return;
  }
  startOver();
  memory.summary = await answer.json();
  select({ event: null, user: null, range: null });
});
byId("faults-button").addEventListener("click", (event) => {
  const panel = byId("faults-panel");
  panel.hidden = !panel.hidden;
  event.currentTarget.setAttribute("aria-expanded", String(!panel.hidden));
});
byId("filter").addEventListener("input", (event) => filter(event.target.value));
byId("range-clear").addEventListener("click", () => select({ range: null }));
byId("story-close").addEventListener("click", () => select({ user: null }));
for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => select({ view: tab.dataset.tab, user: null }));
}
for (const snippet of document.querySelectorAll("[data-snippet]")) {
  snippet.addEventListener("click", () => {
    for (const box of document.querySelectorAll(".snippet")) box.hidden = box.id !== snippet.dataset.snippet;
    for (const one of document.querySelectorAll("[data-snippet]")) {
      one.setAttribute("aria-pressed", String(one === snippet));
    }
  });
}
for (const code of document.querySelectorAll(".address")) code.textContent = location.origin;

function step(by) {
  const story = !byId("story").hidden;
  const seqs = story ? order : null;
  const size = story ? seqs.length : list.events.length;
  const now = story ? seqs.indexOf(selection.event) : list.indexOf(selection.event);
  const index = story || now < 0 ? now : size - 1 - now;
  if (!size) return;
  const next = index < 0 ? 0 : Math.min(Math.max(index + by, 0), size - 1);
  choose(story ? seqs[next] : list.at(next).seq);
}

function escape() {
  const box = byId("filter");
  if (document.activeElement === box) box.blur();
  else if (selection.event !== null) choose(null);
  else if (selection.user !== null) select({ user: null });
  else if (selection.range) select({ range: null });
  else if (selection.q || box.value) setFilter("");
}

function release() {
  setTimeout(() => { pressed = false; draw(); }); // after the click event of the release
}
addEventListener("pointerdown", (event) => { pressed = event.button === 0; }, true);
for (const name of ["pointerup", "pointercancel", "blur"]) addEventListener(name, release, true);
addEventListener("pointermove", (event) => {
  if (pressed && event.buttons === 0) release(); // it was released outside of the window
}, true);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") escape();
  else if (typing) return;
  else if (event.key === "/") {
    event.preventDefault();
    byId("filter").focus();
  } else if (event.key === "j" || (event.key === "ArrowDown" && event.target.id === "list")) {
    event.preventDefault();
    step(1);
  } else if (event.key === "k" || (event.key === "ArrowUp" && event.target.id === "list")) {
    event.preventDefault();
    step(-1);
  }
});

// -- light and dark

const THEMES = ["auto", "light", "dark"];
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
byId("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
});
function readTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // likewise
  }
}
setTheme(THEMES.find((name) => name === readTheme()) ?? "auto");

addEventListener("hashchange", readAddress);
readAddress();
// For tests: what is held, and its bound.
export { HELD, memory };
