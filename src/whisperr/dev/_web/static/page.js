// The page: takes what arrives and what the user selects, and draws what is held at a bounded rate.

import { Chart } from "./chart.js";
import { Detail } from "./detail.js";
import { byId, count, formatTime, setText } from "./dom.js";
import { prepareEmptyPage, showKey } from "./empty.js";
import { makeEventList, Older, showCount, showOlder } from "./events.js";
import { FaultPanel } from "./faults.js";
import { Feed } from "./feed.js";
import { parseFilter, quote, REQUESTS, toggleTerm } from "./filter.js";
import { Header } from "./header.js";
import { HELD, Memory, toEvent, toRequest } from "./memory.js";
import { makeRequestList, RequestDetail, showRefusals } from "./requests.js";
import { Selection } from "./selection.js";
import { Single } from "./single.js";
import { prepareTheme } from "./theme.js";
import { showTypes } from "./types.js";
import { showStory, showUsers } from "./users.js";

const CONNECTION = { live: "connected", lost: "reconnecting", paused: "paused", hidden: "in the background" };
const PLACEHOLDERS = {
  events: 'user:42 type:payment_* is:refused amount>100 "text"',
  requests: 'status:401 is:failed path:*/batch duration>0.5 "text"',
};
const DRAW_MS = 80;

const memory = new Memory();
const selection = new Selection();
const passes = { events: () => true, requests: () => true };
let order = []; // the seqs of the story, for the keyboard
let drawing = null;
let pressed = false;
let typesDrawn = "";

const list = makeEventList(choose);
const requestList = makeRequestList(choose);
const chart = new Chart((range) => select({ range }));
const header = new Header(toggle);
const faultPanel = new FaultPanel(notify);
const older = new Older(draw, notify);
const detail = new Detail({
  onUser: (user) => select({ user, view: "events", request: null }),
  onRequest: (request) => open("requests", "", { request }),
  onWebhook: (id) => open("events", `context.provider_event_id=${quote(id)}`, { event: detail.seq }),
  onClose: () => choose(null),
  notify,
});
const requestDetail = new RequestDetail({
  onEvent: (event) => open("events", "", { event }),
  onEvents: (number) => open("events", `request:${number}`),
  onClose: () => choose(null),
});
const farEvent = new Single({
  address: "/_dev/arrival?seq=", convert: ({ arrival }) => toEvent(arrival), onLoaded: draw,
  mayExist: (seq) => seq >= memory.oldest && seq <= memory.summary.last,
  onMissing: (seq) => notify(`the server does not have event ${seq}, or no longer has it`),
});
const farRequest = new Single({
  address: "/_dev/request?number=", convert: ({ request }) => toRequest(request), onLoaded: draw,
  mayExist: (number) => number > 0 && number <= (memory.requests.at(-1)?.number ?? 0),
  onMissing: (number) => notify(`the server does not have request ${number}, or no longer has it`),
});
memory.onDropped = (events) => older.keep(events);

function notify(text) {
  const notice = byId("notice");
  notice.textContent = text;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => setText(notice, ""), 4000);
}

// -- the selection

function select(changes) {
  Object.assign(selection, changes);
  selection.write();
  draw();
}

/** Open a view with another filter, and what is chosen in it. */
function open(view, query, chosen = {}) {
  select({ view, user: null, event: null, request: null, range: null, ...chosen });
  setFilter(query);
  reveal();
}

function toggle(target, term) {
  const isThere = selection.target === target;
  const query = toggleTerm(isThere ? selection.query : "", term);
  select({ view: isThere ? selection.view : target, user: null, event: null, request: null });
  setFilter(query);
}

function readAddress() {
  selection.read();
  for (const target of ["events", "requests"]) parse(target, selection.queries[target]);
  showFilter();
  draw();
}

/** Make the predicate of a filter; return what is wrong with it, or an empty text. */
function parse(target, text) {
  try {
    passes[target] = parseFilter(text, target === "requests" ? REQUESTS : undefined);
    return "";
  } catch (error) {
    return error.message;
  }
}

function filter(text) {
  const wrong = parse(selection.target, text);
  setText(byId("filter-error"), wrong);
  byId("filter").removeAttribute("aria-invalid");
  if (wrong) byId("filter").setAttribute("aria-invalid", "true");
  else select({ queries: { ...selection.queries, [selection.target]: text.trim() } });
}

function setFilter(text) {
  byId("filter").value = text;
  byId("filter").placeholder = PLACEHOLDERS[selection.target];
  filter(text);
}

/** Show the filter of the view. */
function showFilter() {
  setFilter(selection.query);
}

function choose(number) {
  const name = selection.view === "requests" ? "request" : "event";
  select({ event: null, request: null, [name]: number });
  if (number !== null) reveal();
  // Where the detail covers the page, it takes the focus and returns it.
  if (!matchMedia("(max-width: 760px)").matches) return;
  const from = name === "request" ? "request-list" : "list";
  setTimeout(() => byId(number === null ? from : byId("detail").hidden ? "request-close" : "detail-close").focus(), 2 * DRAW_MS);
}

function reveal() {
  if (selection.request !== null) requestList.reveal(selection.request);
  else if (selection.event !== null) list.reveal(selection.event);
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
  header.draw(memory, selection);
  showKey(memory.anyKey);
  chart.draw(memory);
  chart.show(range);
  byId("range").hidden = !range;
  if (range) setText(byId("range-text"), `${formatTime(range.from)} to ${formatTime(range.to)}`);
  document.body.dataset.view = selection.view;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.tab === selection.view));
  }
  if (selection.view === "requests") drawRequests();
  else drawEvents();
  drawDetail();
}

const isIn = (range) => (item) => !range || (item.at >= range.from && item.at < range.to);

/** Show one of the sections of the page. */
function showSection(name) {
  for (const id of ["empty", "refusals", "no-match", "list-box", "story", "types", "requests"]) {
    byId(id).hidden = id !== name;
  }
  document.body.classList.toggle("is-empty", name === "empty" || name === "refusals");
  document.body.classList.toggle("has-no-events", memory.events.length === 0);
}

function drawRequests() {
  const all = memory.latestRequests;
  const found = all.filter((one) => passes.requests(one) && isIn(selection.range)(one));
  showSection(!all.length ? "empty" : found.length ? "requests" : "no-match");
  requestList.show(found, selection.request);
  const arrived = memory.isBehind ? all.length : all.at(-1)?.number ?? 0;
  showCount({ listed: found.length, held: all.length, all: arrived, noun: "request" });
  const isPart = all.length < arrived;
  if (all.length && !found.length) showNoMatch(`${isPart ? "the latest " : ""}${count(all.length, "request")}`);
  byId("older").hidden = true;
}

function drawEvents() {
  const { view, user, range, event } = selection;
  const loaded = older.get(selection.queries.events, user);
  const latest = older.isUsed ? memory.events : memory.latest;
  const all = [...loaded, ...latest];
  const events = all.filter((one) => passes.events(one) && isIn(range)(one));
  const isEmpty = memory.events.length === 0;
  const story = view === "events" && user !== null;
  const noMatch = !isEmpty && !events.some((one) => !story || one.user === user);
  const shown = story ? "story" : view === "types" ? "types" : "list-box";
  showSection(!isEmpty ? (noMatch ? "no-match" : shown) : memory.requests.length ? "refusals" : "empty");
  showCount({
    listed: events.length, held: all.length, noun: "event", missed: memory.missed,
    all: memory.isBehind ? all.length : Math.max(all.length, memory.countOlder((latest.at(-1)?.seq ?? 0) + 1)),
  });
  if (isEmpty) showRefusals(memory.requests, (query) => open("requests", query));
  showUsers(events, user, (id) => select({ user: id, view: "events", request: null }));
  if (view === "types") drawTypes(events);
  if (story) order = showStory(events, user, event, choose);
  else list.show(events, event);
  const waiting = isEmpty ? 0 : memory.countOlder(older.from ?? latest[0].seq);
  showOlder(older, older.from === 0 || memory.isBehind ? 0 : waiting, selection.isFiltered || story);
  const isPart = waiting > 0 && older.from !== 0;
  if (noMatch) showNoMatch(`${isPart ? "the latest " : ""}${count(all.length, "event")}${older.from === 0 ? " and all older ones of the server" : ""}`);
}

function drawTypes(events) {
  const { queries, range } = selection;
  const key = `${queries.events} ${range?.from} ${range?.to}`;
  const isRead = byId("types").matches(":focus-within, :hover"); // then it must not move
  if (isRead && key === typesDrawn) return;
  showTypes(events, choose, (name) => open("events", `type:${quote(name)}`));
  typesDrawn = key;
}

function showNoMatch(searched) {
  const { query, user, range } = selection;
  const parts = [query, range && `the time from ${formatTime(range.from)} to ${formatTime(range.to)}`,
    user !== null && selection.view !== "requests" && `the user ${user}`].filter(Boolean);
  setText(byId("no-match-text"), `Searched ${searched}: no match for ${parts.join(" and ")}.`);
  byId("no-match-filter").hidden = !query;
  byId("no-match-range").hidden = !range;
}

function drawDetail() {
  const { event: seq, request: number } = selection;
  const isReady = feed.last !== "" && !memory.isBehind;
  const event = seq === null ? undefined
    : memory.find(seq) ?? older.events.find((one) => one.seq === seq) ?? (isReady ? farEvent.get(seq) : undefined);
  if (event) detail.show(event);
  else if (seq === null || detail.seq !== seq) detail.close();
  const request = number === null ? undefined
    : memory.requests.find((one) => one.number === number) ?? (isReady ? farRequest.get(number) : undefined);
  if (request) requestDetail.show(request);
  else if (number === null || requestDetail.number !== number) requestDetail.close();
  document.body.classList.toggle("has-detail", !byId("detail").hidden || !byId("request").hidden);
}

// -- changes from the server

const feed = new Feed((changes) => {
  if (changes.fresh) startOver();
  const requests = memory.take(changes);
  faultPanel.show(changes.faults);
  faultPanel.addRequests(requests, memory.attempts);
  draw();
}, (state) => {
  setText(byId("connection-text"), CONNECTION[state]);
  byId("connection").dataset.state = state;
});

function startOver() {
  memory.clear();
  list.clear();
  requestList.clear();
  older.reset("", null);
  farEvent.clear();
  farRequest.clear();
  faultPanel.clear();
  detail.close();
  requestDetail.close();
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
  select({ event: null, request: null, user: null, range: null });
});
byId("faults-button").addEventListener("click", (event) => {
  const panel = byId("faults-panel");
  panel.hidden = !panel.hidden;
  event.currentTarget.setAttribute("aria-expanded", String(!panel.hidden));
});
byId("filter").addEventListener("input", (event) => filter(event.target.value));
byId("range-clear").addEventListener("click", () => select({ range: null }));
byId("no-match-range").addEventListener("click", () => select({ range: null }));
byId("no-match-filter").addEventListener("click", () => {
  setFilter("");
  byId("filter").focus();
});
byId("older-load").addEventListener("click", () => {
  older.load(older.from ?? memory.events[0].seq);
  draw();
});
byId("story-close").addEventListener("click", () => select({ user: null }));
for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => {
    const keeps = (tab.dataset.tab === "requests") === (selection.view === "requests");
    select({ view: tab.dataset.tab, user: null, ...(keeps ? {} : { event: null, request: null }) });
    showFilter();
  });
}
prepareEmptyPage(notify);
prepareTheme();

function step(by) {
  const story = !byId("story").hidden;
  const shown = selection.view === "requests" ? requestList : list;
  const chosen = selection.view === "requests" ? selection.request : selection.event;
  const size = story ? order.length : shown.items.length;
  if (!size) return;
  const now = story ? order.indexOf(chosen) : shown.indexOf(chosen);
  const index = story || now < 0 ? now : size - 1 - now;
  const next = index < 0 ? 0 : Math.min(Math.max(index + by, 0), size - 1);
  choose(story ? order[next] : shown.at(next)[shown.key]);
}

function escape() {
  const box = byId("filter");
  if (document.activeElement === box) box.blur();
  else if (selection.event !== null || selection.request !== null) choose(null);
  else if (selection.user !== null) select({ user: null });
  else if (selection.range) select({ range: null });
  else if (selection.query || box.value) setFilter("");
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
  const isList = event.target.role === "listbox";
  if (event.key === "Escape") escape();
  else if (typing) return;
  else if (event.key === "/") {
    event.preventDefault();
    byId("filter").focus();
  } else if (event.key === "j" || (event.key === "ArrowDown" && isList)) {
    event.preventDefault();
    step(1);
  } else if (event.key === "k" || (event.key === "ArrowUp" && isList)) {
    event.preventDefault();
    step(-1);
  }
});

addEventListener("hashchange", readAddress);
readAddress();
// For tests: what is held, and its bound.
export { HELD, memory };
