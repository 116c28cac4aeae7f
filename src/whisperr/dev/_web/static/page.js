// The page: keeps what is asked for in the address, and draws what is held at most once a blink.

import { Chart } from "./chart.js";
import { Detail } from "./detail.js";
import { byId, clock, say } from "./dom.js";
import { Feed } from "./feed.js";
import { parsed, quoted } from "./filter.js";
import { List, sayCount } from "./list.js";
import { HELD, Memory } from "./memory.js";
import { Rehearsal } from "./rehearse.js";
import { showTypes } from "./types.js";
import { showStory, showUsers } from "./users.js";

const STATES = { live: "connected", lost: "looking for the server", paused: "paused", hidden: "resting" };
const DRAW_MS = 80;

const memory = new Memory();
const asked = { q: "", view: "events", user: null, event: null, range: null };
let fits = () => true;
let order = []; // the seqs of the story, for the keyboard
let drawing = null;
let pressed = false;
let typesDrawn = "";

const list = new List(choose);
const chart = new Chart((range) => ask({ range }));
const rehearsal = new Rehearsal(tell);
const detail = new Detail({
  onUser: (user) => ask({ user, view: "events" }),
  onClose: () => choose(null),
  tell,
});

function tell(text) {
  const notice = byId("notice");
  notice.textContent = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => say(notice, ""), 4000);
}

// -- what is asked for, and the address

function ask(changes) {
  Object.assign(asked, changes);
  const place = new URLSearchParams();
  if (asked.q) place.set("q", asked.q);
  if (asked.view !== "events") place.set("view", asked.view);
  if (asked.user !== null) place.set("user", asked.user);
  if (asked.range) {
    place.set("from", asked.range.from / 1000);
    place.set("to", asked.range.to / 1000);
  }
  if (asked.event !== null) place.set("event", asked.event);
  const hash = place.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
  draw();
}

function readAddress() {
  const place = new URLSearchParams(location.hash.slice(1));
  const [from, to] = [Number(place.get("from")) * 1000, Number(place.get("to")) * 1000];
  asked.view = ["types", "users"].includes(place.get("view")) ? place.get("view") : "events";
  asked.user = place.get("user");
  asked.event = place.has("event") ? Number(place.get("event")) : null;
  asked.range = from > 0 && to > from ? { from, to } : null;
  byId("filter").value = place.get("q") ?? "";
  filter(byId("filter").value);
}

function filter(text) {
  const box = byId("filter");
  try {
    fits = parsed(text);
    say(byId("filter-error"), "");
    box.removeAttribute("aria-invalid");
    ask({ q: text.trim() });
  } catch (error) {
    say(byId("filter-error"), error.message);
    box.setAttribute("aria-invalid", "true");
  }
}

function setFilter(text) {
  byId("filter").value = text;
  filter(text);
}

function choose(seq) {
  ask({ event: seq });
  if (seq !== null) list.reveal(seq);
  // Where the detail covers everything, it takes the focus and gives it back.
  if (!matchMedia("(max-width: 760px)").matches) return;
  setTimeout(() => byId(seq === null ? "list" : "detail-close").focus(), 2 * DRAW_MS);
}

// -- drawing

function draw() {
  drawing ??= setTimeout(() => requestAnimationFrame(drawNow), drawNow.soon ? DRAW_MS : 0);
}

function drawNow() {
  drawing = null;
  if (pressed) return; // what is being clicked must not move; the release draws
  drawNow.soon = true;
  setTimeout(() => { drawNow.soon = false; }, DRAW_MS);
  const { range } = asked;
  const shown = memory.events.filter(
    (event) => fits(event) && (!range || (event.at >= range.from && event.at < range.to)));
  drawHeader();
  chart.draw(memory);
  chart.show(range);
  byId("range").hidden = !range;
  if (range) say(byId("range-text"), `${clock(range.from)} to ${clock(range.to)}`);
  sayCount(shown.length, memory.events.length, memory.missed);
  drawViews(shown);
  const event = asked.event === null ? undefined : memory.find(asked.event);
  if (event) detail.show(event);
  else if (asked.event === null || !detail.seq) detail.close();
  document.body.classList.toggle("has-detail", !byId("detail").hidden);
}

function drawViews(shown) {
  const empty = memory.events.length === 0;
  const story = asked.view === "events" && asked.user !== null;
  byId("empty").hidden = !empty;
  byId("list-box").hidden = empty || asked.view !== "events" || story;
  byId("story").hidden = empty || !story;
  byId("types").hidden = empty || asked.view !== "types";
  document.body.dataset.view = asked.view;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.tab === asked.view));
  }
  showUsers(shown, asked.user, (user) => ask({ user, view: "events" }));
  const place = `${asked.view} ${asked.q} ${asked.range?.from} ${asked.range?.to}`;
  const read = byId("types").matches(":focus-within, :hover"); // what one reads stays in place
  if (asked.view === "types" && !(read && place === typesDrawn)) {
    showTypes(shown, choose, (name) => { setFilter(`type:${quoted(name)}`); ask({ view: "events" }); });
  }
  typesDrawn = place;
  if (story) order = showStory(shown, asked.user, asked.event, choose);
  else list.show(shown, asked.event);
}

function drawHeader() {
  const { accepted = 0, refused = 0, duplicates = 0, batches = 0, agents = {} } = memory.summary;
  for (const [id, value] of Object.entries({ accepted, refused, duplicates, batches })) {
    say(byId(`total-${id}`), value.toLocaleString("en"));
  }
  const names = Object.keys(agents).filter(Boolean);
  say(byId("agents"), names.slice(0, 3).join(", ") + (names.length > 3 ? `, ${names.length - 3} more` : ""));
  byId("agents").title = names.slice(0, 20).join("\n");
  document.title = refused ? `(${refused}) whisperr dev` : "whisperr dev";
}

// -- what comes

const feed = new Feed((news) => {
  if (news.fresh) startOver();
  memory.missed += news.missed;
  memory.add(news.arrivals);
  memory.summary = news.summary;
  memory.faults = news.faults;
  rehearsal.show(news.faults);
  rehearsal.heard(news.requests);
  draw();
}, (state) => {
  say(byId("connection-text"), STATES[state]);
  byId("connection").dataset.state = state;
});

function startOver() {
  memory.clear();
  list.clear();
  rehearsal.clear();
  detail.close();
}

setInterval(() => {
  if (!document.hidden) chart.draw(memory);
}, 1000);

// -- what people do

byId("pause").addEventListener("click", () => {
  feed.pause(!feed.paused);
  byId("pause").setAttribute("aria-pressed", String(feed.paused));
  say(byId("pause"), feed.paused ? "Go on" : "Pause");
});
byId("clear").addEventListener("click", async () => {
  const answer = await fetch("/_dev/reset", { method: "POST" }).catch(() => ({ ok: false }));
  if (!answer.ok) {
    tell("the server could not be cleared");
    return;
  }
  startOver();
  memory.summary = await answer.json();
  ask({ event: null, user: null, range: null });
});
byId("rehearse-button").addEventListener("click", (event) => {
  const panel = byId("rehearse");
  panel.hidden = !panel.hidden;
  event.currentTarget.setAttribute("aria-expanded", String(!panel.hidden));
});
byId("filter").addEventListener("input", (event) => filter(event.target.value));
byId("range-clear").addEventListener("click", () => ask({ range: null }));
byId("story-close").addEventListener("click", () => ask({ user: null }));
for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => ask({ view: tab.dataset.tab, user: null }));
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
  const now = story ? seqs.indexOf(asked.event) : list.indexOf(asked.event);
  const index = story || now < 0 ? now : size - 1 - now;
  if (!size) return;
  const next = index < 0 ? 0 : Math.min(Math.max(index + by, 0), size - 1);
  choose(story ? seqs[next] : list.at(next).seq);
}

function escape() {
  const box = byId("filter");
  if (document.activeElement === box) box.blur();
  else if (asked.event !== null) choose(null);
  else if (asked.user !== null) ask({ user: null });
  else if (asked.range) ask({ range: null });
  else if (asked.q || box.value) setFilter("");
}

function released() {
  setTimeout(() => { pressed = false; draw(); }); // after the click that the release makes
}
addEventListener("pointerdown", (event) => { pressed = event.button === 0; }, true);
for (const name of ["pointerup", "pointercancel", "blur"]) addEventListener(name, released, true);
addEventListener("pointermove", (event) => {
  if (pressed && event.buttons === 0) released(); // it was let go outside of the window
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
function theme(name) {
  document.documentElement.dataset.theme = name;
  say(byId("theme"), `◐ ${name}`);
  byId("theme").setAttribute("aria-label", `Theme: ${name}`);
  try {
    localStorage.setItem("theme", name);
  } catch {
    return; // a browser that keeps nothing: the switch holds for this visit
  }
}
byId("theme").addEventListener("click", () => {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
});
function keptTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // likewise
  }
}
theme(THEMES.find((name) => name === keptTheme()) ?? "auto");

addEventListener("hashchange", readAddress);
readAddress();
// For tests: how much is held and how it is bounded.
export { HELD, memory };
