// Users with their last event and counts, and the story of one of them.

import { byId, clock, day, el, gap, inOneLine, plain, say, short, SIGNS } from "./dom.js";
import { storyOf, usersOf } from "./memory.js";

const MOST_TOLD = 200;
const MOST_TRAITS = 40;

/** Fill the list of users; the one that is chosen is marked. */
export function showUsers(events, chosen, onChoose) {
  const { count, users } = usersOf(events);
  say(byId("users-count"), count > users.length ? `latest ${users.length} of ${count}` : String(count));
  const list = byId("users");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.user : null;
  list.replaceChildren(...users.map((user) => userItem(user, user.id === chosen, onChoose)));
  if (focused !== null) {
    [...list.querySelectorAll("button")].find((one) => one.dataset.user === focused)?.focus();
  }
}

function userItem(user, isChosen, onChoose) {
  const counts = ["accepted", "refused", "duplicate"].filter((state) => user[state]);
  return el("li", {}, el("button", {
    type: "button", class: "user", "aria-pressed": String(isChosen), "data-user": user.id,
    onclick: () => onChoose(isChosen ? null : user.id),
  },
  el("span", { class: "who" }, user.id),
  el("span", { class: "counts" }, ...counts.map((state) => el("span", {
    class: `is-${state}`, title: state, "aria-label": `${user[state]} ${state}`,
  }, `${SIGNS[state]} ${user[state]}`))),
  el("span", { class: "last" }, `${user.last.type ?? user.last.kind}, ${clock(user.last.at)}`)));
}

/** Fill the story of one user; returns the order of its events for the keyboard. */
export function showStory(events, id, chosen, onChoose) {
  const { told, traits, channels, preferred } = storyOf(events, id);
  const shown = told.slice(-MOST_TOLD);
  say(byId("story-name"), id);
  const known = [...traits].slice(0, MOST_TRAITS).map(([name, value]) => fact(name, plain(value)));
  if (preferred !== null) known.push(fact("preferred channel", plain(preferred)));
  known.push(...channels.slice(0, MOST_TRAITS).map((one) => fact(one.channel, channelText(one))));
  byId("story-known").replaceChildren(
    ...(known.length ? known : [el("p", { class: "quiet" }, "No identify has told about this user.")]),
  );
  say(byId("story-more"), shown.length < told.length ? `the latest ${shown.length} of ${told.length}` : "");
  const list = byId("story-events");
  const hadFocus = list.contains(document.activeElement);
  let date = "";
  list.replaceChildren(...shown.map((one) => {
    const today = day(one.at);
    const isNew = today !== date;
    date = today;
    return storyItem(one, isNew ? today : null, one.event.seq === chosen, onChoose);
  }));
  if (hadFocus) list.querySelector("[aria-current=true]")?.focus();
  return shown.map((one) => one.event.seq);
}

function storyItem({ event, at, gap: since }, date, isChosen, onChoose) {
  return el("li", { class: `told is-${event.status}` },
    date && el("p", { class: "date" }, date),
    el("button", {
      type: "button", "data-seq": event.seq, "aria-current": isChosen ? "true" : null,
      onclick: () => onChoose(event.seq),
    },
    el("span", { class: "when" }, clock(at)),
    el("span", { class: "gap" }, since === null ? "first" : gap(since)),
    el("span", { class: "sign", "aria-label": event.status, title: event.status }, SIGNS[event.status]),
    el("span", { class: "name" }, event.type ?? event.kind),
    el("span", { class: "what" }, inOneLine(event))));
}

const fact = (name, value) =>
  el("div", { class: "fact" }, el("dt", {}, short(plain(name ?? ""), 60)), el("dd", {}, short(value, 200)));

function channelText(channel) {
  const said = { opted_in: ["opted in", "opted out"], verified: ["verified", "not verified"] };
  const words = Object.entries(said)
    .filter(([key]) => typeof channel[key] === "boolean")
    .map(([key, [yes, no]]) => (channel[key] ? yes : no));
  return [plain(channel.address ?? ""), ...words].join(", ");
}
