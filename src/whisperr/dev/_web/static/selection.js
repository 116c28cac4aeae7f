// What is selected: the view, its filter, a time, a user, an event or a request. Mirrored in the address.

const VIEWS = ["events", "requests", "types", "users"];

export class Selection {
  constructor() {
    this.queries = { events: "", requests: "" };
    this.view = "events";
    this.user = this.event = this.request = this.range = null;
  }

  /** Which of the two filters the view has. */
  get target() {
    return this.view === "requests" ? "requests" : "events";
  }

  get query() {
    return this.queries[this.target];
  }

  /** Whether anything restricts what the view shows. */
  get isFiltered() {
    return this.query !== "" || this.range !== null;
  }

  write() {
    const params = new URLSearchParams();
    if (this.queries.events) params.set("q", this.queries.events);
    if (this.queries.requests) params.set("requests", this.queries.requests);
    if (this.view !== "events") params.set("view", this.view);
    if (this.user !== null) params.set("user", this.user);
    if (this.range) {
      params.set("from", this.range.from / 1000);
      params.set("to", this.range.to / 1000);
    }
    if (this.event !== null) params.set("event", this.event);
    if (this.request !== null) params.set("request", this.request);
    const hash = params.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
  }

  read() {
    const params = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (params.has(name) ? Number(params.get(name)) : null);
    const [from, to] = [number("from") * 1000, number("to") * 1000];
    this.view = VIEWS.find((name) => name === params.get("view")) ?? "events";
    this.queries = { events: params.get("q") ?? "", requests: params.get("requests") ?? "" };
    this.user = params.get("user");
    this.event = number("event");
    this.request = number("request");
    this.range = from > 0 && to > from ? { from, to } : null;
  }
}
