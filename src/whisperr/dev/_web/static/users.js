// Users with their last event and counts, and the story of one of them.

import {
  byId, el, formatDate, formatGap, formatTime, setText, shorten, SIGNS, toText,
} from "./dom.js";
import { buildStory, groupByUser } from "./memory.js";
import { makeSummary, nameEvent } from "./summary.js";

const MAX_EVENTS = 200;
const MAX_TRAITS = 40;

/** Fill the list of users; the chosen one is marked. */
export function showUsers(events, chosen, onChoose) {
  const { count, users } = groupByUser(events);
  setText(byId("users-count"), count > users.length ? `latest ${users.length} of ${count}` : String(count));
  const list = byId("users");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.user : null;
  list.replaceChildren(...users.map((user) => makeUserItem(user, user.id === chosen, onChoose)));
  if (focused !== null) {
    [...list.querySelectorAll("button")].find((one) => one.dataset.user === focused)?.focus();
  }
}

function makeUserItem(user, isChosen, onChoose) {
  const counts = ["accepted", "refused", "duplicate"].filter((status) => user[status]);
  return el("li", {}, el("button", {
    type: "button", class: "user", "aria-pressed": String(isChosen), "data-user": user.id,
    onclick: () => onChoose(isChosen ? null : user.id),
  },
  el("span", { class: "user-id" }, user.id),
  el("span", { class: "counts" }, ...counts.map((status) => el("span", {
    class: `is-${status}`, title: status, "aria-label": `${user[status]} ${status}`,
  }, `${SIGNS[status]} ${user[status]}`))),
  el("span", { class: "last" }, `${nameEvent(user.last)}, ${formatTime(user.last.at)}`)));
}

/** Fill the story of one user; return the seqs of its events in order, for the keyboard. */
export function showStory(events, id, chosen, onChoose) {
  const { entries, traits, channels, preferred } = buildStory(events, id);
  const latest = entries.slice(-MAX_EVENTS);
  setText(byId("story-name"), id);
  const facts = [...traits].slice(0, MAX_TRAITS).map(([name, value]) => makeFact(name, toText(value)));
  if (preferred !== null) facts.push(makeFact("preferred channel", toText(preferred)));
  facts.push(...channels.slice(0, MAX_TRAITS).map((one) => makeFact(one.channel, describeChannel(one))));
  byId("story-known").replaceChildren(
    ...(facts.length ? facts : [el("p", { class: "quiet" }, "No identify of this user.")]),
  );
  setText(byId("story-more"), latest.length < entries.length ? `the latest ${latest.length} of ${entries.length}` : "");
  const list = byId("story-events");
  const hadFocus = list.contains(document.activeElement);
  let date = "";
  list.replaceChildren(...latest.map((one) => {
    const today = formatDate(one.at);
    const isNew = today !== date;
    date = today;
    return makeStoryItem(one, isNew ? today : null, one.event.seq === chosen, onChoose);
  }));
  if (hadFocus) list.querySelector("[aria-current=true]")?.focus();
  return latest.map((one) => one.event.seq);
}

function makeStoryItem({ event, at, gap: since }, date, isChosen, onChoose) {
  return el("li", { class: `story-event is-${event.status}` },
    date && el("p", { class: "date" }, date),
    el("button", {
      type: "button", "data-seq": event.seq, "aria-current": isChosen ? "true" : null,
      onclick: () => onChoose(event.seq),
    },
    el("span", { class: "time" }, formatTime(at)),
    el("span", { class: "gap" }, since === null ? "first" : formatGap(since)),
    el("span", { class: "sign", "aria-label": event.status, title: event.status }, SIGNS[event.status]),
    el("span", { class: "name" }, nameEvent(event)),
    el("span", { class: "details" }, ...makeSummary(event))));
}

const makeFact = (name, value) =>
  el("div", { class: "fact" }, el("dt", {}, shorten(toText(name ?? ""), 60)), el("dd", {}, shorten(value, 200)));

function describeChannel(channel) {
  const flags = { opted_in: ["opted in", "opted out"], verified: ["verified", "not verified"] };
  const words = Object.entries(flags)
    .filter(([key]) => typeof channel[key] === "boolean")
    .map(([key, [yes, no]]) => (channel[key] ? yes : no));
  return [toText(channel.address ?? ""), ...words].join(", ");
}
