// What the page holds: the latest events and requests, counts for the chart; what is derived from them.

import { Attempts } from "./attempts.js";

export const HELD = 5000;
const BUCKET_MS = 5000;
const BUCKETS = 900; // over an hour
const MAX_USERS = 100;

export class Memory {
  constructor() {
    this.clear();
    this.summary = {};
    this.faults = [];
    this.anyKey = true;
    this.onDropped = () => {}; // called with the events that are dropped for the limit
  }

  clear() {
    this.events = [];
    this.requests = [];
    this.attempts = new Attempts();
    this.buckets = new Map();
    this.missed = 0;
    this.isBehind = false; // whether more follows at once
    this.oldest = 1; // the seq of the oldest event that the server keeps
  }

  /** Take what a message of the stream says; return its requests, with the retries marked. */
  take(changes) {
    this.missed += changes.missed;
    this.summary = changes.summary;
    this.faults = changes.faults;
    this.oldest = changes.oldest;
    this.anyKey = changes.any_key;
    this.isBehind = changes.more;
    this.add(changes.arrivals);
    const requests = changes.requests.map(toRequest);
    for (const request of requests) this.attempts.mark(request);
    this.requests.push(...requests);
    trim(this.requests);
    return requests;
  }

  /** The latest events: what is held above the limit is not shown. */
  get latest() {
    return this.events.length > HELD ? this.events.slice(-HELD) : this.events;
  }

  get latestRequests() {
    return this.requests.length > HELD ? this.requests.slice(-HELD) : this.requests;
  }

  /** How many events before the one with this seq are only on the server. */
  countOlder(seq) {
    return Math.max(seq - this.oldest, 0);
  }

  add(arrivals) {
    for (const one of arrivals) {
      const event = toEvent(one);
      this.events.push(event);
      const bucket = Math.floor(event.at / BUCKET_MS);
      const counts = this.buckets.get(bucket) ?? { accepted: 0, refused: 0, duplicate: 0 };
      counts[event.status] += 1;
      this.buckets.set(bucket, counts);
    }
    this.onDropped(trim(this.events));
    while (this.buckets.size > BUCKETS) this.buckets.delete(this.buckets.keys().next().value);
  }

  find(seq) {
    let [low, high] = [0, this.events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return this.events[low]?.seq === seq ? this.events[low] : undefined;
  }

  /** Return the counts of `bars` bars of `width` ms; the last one contains `end`. */
  bars(end, width, bars) {
    const last = Math.floor(end / width);
    const found = Array.from({ length: bars }, (_, index) => ({
      from: (last - bars + 1 + index) * width, accepted: 0, refused: 0, duplicate: 0,
    }));
    for (const [bucket, counts] of this.buckets) {
      const bar = found[Math.floor((bucket * BUCKET_MS) / width) - (last - bars + 1)];
      if (!bar) continue;
      bar.accepted += counts.accepted;
      bar.refused += counts.refused;
      bar.duplicate += counts.duplicate;
    }
    return found;
  }
}

/** Keep the latest, and return the others; dropping a tenth at a time keeps an arrival cheap. */
function trim(items) {
  return items.length > HELD * 1.1 ? items.splice(0, items.length - HELD) : [];
}

/** Return an arrival of the API as an event of the page. */
export function toEvent(arrival) {
  return { ...arrival, at: arrival.received_at * 1000, occurred: parseOccurredAt(arrival) };
}

/** Return a request of the API as the page holds it. */
export function toRequest(request) {
  return { ...request, at: request.received_at * 1000, retry: 0, since: 0 };
}

function parseOccurredAt(arrival) {
  const moment = Date.parse(arrival.body?.occurred_at ?? "");
  return Number.isNaN(moment) ? null : moment;
}

/** Return the users of these events, the latest first, and how many there are. */
export function groupByUser(events) {
  const users = new Map();
  for (const event of events) {
    if (event.user === null) continue;
    let user = users.get(event.user);
    if (user) users.delete(event.user); // so that the map has the order of the last events
    else user = { id: event.user, accepted: 0, refused: 0, duplicate: 0, last: null };
    user[event.status] += 1;
    user.last = event;
    users.set(event.user, user);
  }
  return { count: users.size, users: [...users.values()].slice(-MAX_USERS).reverse() };
}

/** Return one user's events in order of time, and the traits and channels of identify. */
export function buildStory(events, id) {
  const own = events.filter((event) => event.user === id);
  const traits = new Map();
  const channels = new Map();
  let preferred = null;
  for (const { kind, status, body } of own) {
    if (kind !== "identify" || status === "refused" || !body) continue;
    for (const [name, value] of Object.entries(body.traits ?? {})) traits.set(name, value);
    for (const channel of body.channels ?? []) {
      channels.set(`${channel.channel} ${channel.address}`, channel);
    }
    preferred = body.preferred_channel ?? preferred;
  }
  const moment = (event) => event.occurred ?? event.at;
  own.sort((a, b) => moment(a) - moment(b) || a.seq - b.seq);
  const entries = own.map((event, index) => ({
    event, at: moment(event), gap: index ? moment(event) - moment(own[index - 1]) : null,
  }));
  return { entries, traits, channels: [...channels.values()], preferred };
}
