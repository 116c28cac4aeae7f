// The stream of server-sent events; after a lost connection it resumes where it stopped.

const RECENT = 5000;
const RETRY_INTERVAL_MS = 1000;
const TIMEOUT_MS = 20000; // several beats

/** Calls `onNews(message)` and `onState("live" | "lost" | "paused" | "hidden")`. */
export class Feed {
  constructor(onChanges, onState) {
    this.onChanges = onChanges;
    this.onState = onState;
    this.last = "";
    this.paused = false;
    this.source = null;
    this.lastMessageAt = 0;
    document.addEventListener("visibilitychange", () => this.follow());
    setInterval(() => {
      if (this.source && Date.now() - this.lastMessageAt > TIMEOUT_MS) this.reconnect();
    }, 5000);
    this.follow();
  }

  pause(paused) {
    this.paused = paused;
    this.follow();
  }

  /** Open or close the stream. A hidden page has none: a browser has few connections per server. */
  follow() {
    if (this.paused || document.hidden) {
      this.close();
      this.onState(this.paused ? "paused" : "hidden");
    } else if (!this.source) {
      this.open();
    }
  }

  open() {
    this.close();
    this.lastMessageAt = Date.now();
    const query = new URLSearchParams({ recent: RECENT, last: this.last });
    const source = new EventSource(`/_dev/stream?${query}`);
    this.source = source;
    source.addEventListener("news", (event) => {
      this.lastMessageAt = Date.now();
      this.onState("live");
      this.onChanges(JSON.parse(event.data));
      this.last = event.lastEventId;
    });
    source.addEventListener("beat", () => {
      this.lastMessageAt = Date.now();
    });
    source.addEventListener("error", () => this.reconnect());
  }

  reconnect() {
    this.close();
    this.onState("lost");
    this.timer = setTimeout(() => this.follow(), RETRY_INTERVAL_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
